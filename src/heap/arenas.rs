//! The records of arenas (`heapArena`, runtime/mheap.go), where versions differ in what they keep: the bitmaps of
//! pointers to 1.21, and from 1.25 on which spans have their mark bits in them.

use rustc_hash::FxHashMap;

use super::layout::HeapLayout;
use super::roots::UNBOUNDED;
use super::span_list::ListedSpan;
use super::spans::ARENA;
use crate::addr::Addr;
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::mspan::SPAN_PAGE;

/// Records of the arenas that spans are in.
pub(super) struct Arenas<'a> {
    pub(super) target: &'a dyn Target,
    pub(super) layout: &'a HeapLayout,
    /// Address of `mheap.arenas`.
    pub(super) table: u64,
    pub(super) process: GoProcess<'a>,
}

impl Arenas<'_> {
    /// Number of the arena of an address (`arenaIndex`, runtime/mheap.go): addresses are signed on amd64.
    fn number(&self, addr: u64) -> u64 {
        match self.process.arch() {
            crate::addr::Arch::Amd64 => addr.wrapping_add(0x8000_0000_0000) / ARENA,
            crate::addr::Arch::Arm64 => addr / ARENA,
        }
    }

    /// Reads where the record of each arena is, by `addr / ARENA`, if this version keeps anything there.
    pub(super) fn read(&self, spans: &[ListedSpan], out: &mut FxHashMap<u64, u64>) -> Result<(), ReadError> {
        let layout = &self.layout.arena;
        if layout.bitmap.is_none() && layout.inline_marks.is_none() {
            return Ok(());
        }
        // One level only on 64-bit Linux: mheap.arenas[0] points to the records of all.
        let Some(table) = self.target.read_u64(Addr(self.table))? else { return Ok(()) };
        let mut arenas: Vec<u64> = Vec::new();
        for span in spans {
            let last = span.end().saturating_sub(1);
            // Spans are in the order of their addresses.
            let from = arenas.last().map_or(0, |last| last + 1).max(span.start / ARENA);
            arenas.extend(from..=last / ARENA);
        }
        arenas.dedup();
        let addrs = arenas.iter().map(|n| Addr(table.wrapping_add(8 * self.number(n * ARENA))));
        let words = Frontier::new(self.target, UNBOUNDED).words(addrs.clone())?;
        out.extend(arenas.iter().zip(addrs).filter_map(|(n, addr)| Some((*n, *words.get(&addr)?))));
        out.retain(|_, record| *record != 0);
        Ok(())
    }

    /// Which spans have their mark bits in them, by the bits of the arenas.
    pub(super) fn inline_marks(
        &self,
        spans: &[ListedSpan],
        arenas: &FxHashMap<u64, u64>,
    ) -> Result<Box<dyn Fn(u64) -> bool>, ReadError> {
        /// Bits for the pages of an arena, bytes.
        const BITS: usize = (ARENA / SPAN_PAGE / 8) as usize;
        let Some(at) = self.layout.arena.inline_marks else { return Ok(Box::new(|_| false)) };
        let mut bits: FxHashMap<u64, Vec<u8>> = FxHashMap::default();
        for span in spans {
            let arena = span.start / ARENA;
            if let (std::collections::hash_map::Entry::Vacant(entry), Some(record)) =
                (bits.entry(arena), arenas.get(&arena))
            {
                entry.insert(self.target.read_vec(Addr(record.wrapping_add(at.into())), BITS)?.unwrap_or_default());
            }
        }
        Ok(Box::new(move |base| {
            let page = (base % ARENA / SPAN_PAGE) as usize;
            bits.get(&(base / ARENA))
                .and_then(|bits| bits.get(page / 8))
                .is_some_and(|byte| byte >> (page % 8) & 1 != 0)
        }))
    }
}
