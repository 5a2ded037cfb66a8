//! Finds out where fields are when no table fits.
//!
//! Fields move in groups: whatever is inserted into a structure shifts all fields after it. So one
//! recognisable field of a group (an anchor) places the group. Only anchors that a dozen goroutines prove are
//! used, and the result has to pass the same checks as any other layout.

use std::collections::HashSet;

use super::layout::{LayoutTable, wanted};
use super::validate::{Checker, Sample};
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{ReadError, TargetExt as _};

/// Where an anchor may be: first offset and one past the last, bytes.
type Window = std::ops::Range<usize>;

/// Where `g.goid` may be.
const GOID: Window = 104..256;
/// Where `g.gopc` may be.
const GOPC: Window = 240..400;
/// Where `g.syscallsp` may be.
const SYSCALLSP: Window = 96..136;
/// Where `m.procid` may be.
const PROCID: Window = 40..120;

/// Fields of a g that have moved along with `goid` since 1.19.
const WITH_GOID: &[&str] = &[
    "param",
    "stktopsp",
    "atomicstatus",
    "goid",
    "schedlink",
    "waitsince",
    "waitreason",
    "preempt",
    "asyncSafePoint",
    "activeStackChans",
    "parkingOnChan",
    "trackingSeq",
    "lockedm",
    "sig",
];

/// Fields of a g that have moved along with `gopc`.
const WITH_GOPC: &[&str] = &[
    "parentGoid",
    "gopc",
    "ancestors",
    "startpc",
    "waiting",
    "cgoCtxt",
    "labels",
    "timer",
    "sleepWhen",
    "selectDone",
    "coroarg",
    "syncGroup",
    "bubble",
];

const _: () = {
    wanted::check_all("runtime.g", WITH_GOID);
    wanted::check_all("runtime.g", WITH_GOPC);
};

impl Checker<'_> {
    /// Moves the fields of `table` to where `sample` has them, and names the anchors that moved.
    pub(crate) fn infer(&self, table: &mut LayoutTable, sample: &Sample) -> Result<Vec<String>, ReadError> {
        let mut moved = Vec::new();
        let mut place = |table: &mut LayoutTable, structure: &str, anchor: &str, group: &[&str], at: Option<u32>| {
            let (Some(at), Some(was)) = (at, table.offset(structure, anchor)) else { return };
            if at == was {
                return;
            }
            let short = structure.strip_prefix("runtime.").unwrap_or(structure);
            moved.push(format!("{short}.{anchor}"));
            for field in group {
                let offset = table.offset(structure, field).and_then(|o| (o + at).checked_sub(was));
                if let Some(offset) = offset {
                    table.set_offset(structure, field, offset);
                }
            }
        };
        place(table, "runtime.g", "goid", WITH_GOID, self.goid(sample));
        place(table, "runtime.g", "gopc", WITH_GOPC, self.gopc(sample));
        place(table, "runtime.g", "syscallsp", &["syscallsp", "syscallpc", "syscallbp"], self.syscallsp(sample));
        let others: Vec<String> = table
            .structs
            .get("runtime.m")
            .map(|m| m.fields.keys().filter(|field| *field != "g0").cloned().collect())
            .unwrap_or_default();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        let procid = self.procid(sample)?;
        place(table, "runtime.m", "procid", &others, procid);
        Ok(moved)
    }

    /// The only offset in `window` that `fits`.
    fn only(window: Window, fits: impl Fn(usize) -> bool) -> Option<u32> {
        let mut found = window.step_by(8).filter(|at| fits(*at));
        let (Some(at), None) = (found.next(), found.next()) else { return None };
        u32::try_from(at).ok()
    }

    /// 1 in the first goroutine, different and small in all; the state is 8 bytes before it.
    fn goid(&self, sample: &Sample) -> Option<u32> {
        Self::only(GOID, |at| {
            let ids: Vec<u64> = sample.gs.iter().filter_map(|(_, b)| b.u64_at(at)).collect();
            let used: Vec<u64> = ids.iter().copied().filter(|id| *id != 0).collect();
            let distinct: HashSet<u64> = used.iter().copied().collect();
            let states = sample.gs.iter().all(|(_, b)| b.u32_at(at - 8).is_some_and(|s| s & !0x1000 <= 12));
            ids.first() == Some(&1) && used.len() == distinct.len() && used.iter().all(|id| *id < 1 << 40) && states
        })
    }

    /// An address within a function, and 16 bytes after it that of a function's first instruction.
    fn gopc(&self, sample: &Sample) -> Option<u32> {
        // The first one was created by assembly, which is no worse but not typical.
        let gs: Vec<&[u8]> = sample.alive().skip(1).map(|(_, b)| b.as_slice()).collect();
        Self::only(GOPC, |at| {
            let fits = |b: &&&[u8]| {
                let (gopc, startpc) = (b.u64_at(at).unwrap_or(0), b.u64_at(at + 16).unwrap_or(0));
                self.in_text(gopc) && !self.is_entry(gopc) && self.is_entry(startpc)
            };
            !gs.is_empty() && gs.iter().filter(fits).count() * 20 >= gs.len() * 19
        })
    }

    /// 0 in most, and within the stack in some, with an address of code after it.
    fn syscallsp(&self, sample: &Sample) -> Option<u32> {
        Self::only(SYSCALLSP, |at| {
            let mut set = 0;
            let mut all = 0;
            for (_, b) in sample.alive() {
                let word = |at: usize| b.u64_at(at).unwrap_or(u64::MAX);
                all += 1;
                if word(at) != 0 {
                    set += 1;
                    if !(word(0)..=word(8)).contains(&word(at)) || !self.in_text(word(at + 8)) {
                        return false;
                    }
                }
            }
            set > 0 && set < all
        })
    }

    /// The id of one of the process's threads, in every M that a goroutine is on.
    fn procid(&self, sample: &Sample) -> Result<Option<u32>, ReadError> {
        let Ok(threads) = self.target.threads() else { return Ok(None) };
        let tids: HashSet<u64> = threads.iter().filter_map(|t| u64::try_from(t.tid).ok()).collect();
        let ms: HashSet<u64> = sample.gs.iter().filter_map(|(_, b)| b.u64_at(48)).filter(|m| *m != 0).collect();
        let mut heads = Vec::new();
        for m in ms {
            heads.extend(self.target.read_vec(Addr(m), PROCID.end)?);
        }
        Ok(Self::only(PROCID, |at| {
            !heads.is_empty() && heads.iter().all(|b| b.u64_at(at).is_some_and(|id| tids.contains(&id)))
        }))
    }
}
