//! Finds variables by what they hold.
//!
//! The last resort when functions have no names that are known, and a cross-check else. `allgs`
//! needs no layout at all: only what has not moved in a g since long before 1.19 (its stack, its M
//! and its saved registers are the first things in it).

use super::{Global, Located, SymbolSource};
use crate::addr::{Addr, LinkAddr, LoadBias};
use crate::bytes::FieldsExt as _;
use crate::image::moduledata::ModuleData;
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::layout::Layout;
use crate::runtime::readers::bulk;

use super::probe::{Process, slice_of_ps, version_at};

/// Most bytes of one range of variables that are searched. Everything that is searched for lies early in it;
/// what makes these ranges large are buffers.
const MAX_RANGE: u64 = 64 << 20;

/// Most elements of a slice that is taken for `allgs`.
const MAX_LEN: u64 = 1 << 28;

/// Lowest and highest address that a pointer may have.
const POINTERS: std::ops::Range<u64> = 0x1_0000..1 << 47;

/// Elements that are checked before a slice is accepted.
const SAMPLE: usize = 64;

/// Offset of `g.sched.sp`, which `g.sched.pc` follows (1.17 to 1.27).
const SCHED: usize = 56;

/// `sched.maxmcount` unless the program has called `debug.SetMaxThreads`.
const MAX_M_COUNT: i32 = 10_000;

/// The variables of a module, as words with their addresses.
#[derive(Debug)]
pub(crate) struct DataWords {
    ranges: Vec<(u64, Vec<u8>)>,
}

impl DataWords {
    /// Reads the variables that may hold pointers (`.data` and `.bss`).
    pub(crate) fn read(target: &dyn Target, module: &ModuleData) -> Result<Self, ReadError> {
        let mut out = Self { ranges: Vec::new() };
        for range in [&module.data, &module.bss] {
            let len = usize::try_from(range.end.saturating_sub(range.start).min(MAX_RANGE)).unwrap_or(0);
            let mut bytes = vec![0; len];
            let got = target.read(Addr(range.start), &mut bytes)?;
            bytes.truncate(got);
            out.ranges.push((range.start, bytes));
        }
        Ok(out)
    }

    /// Address and bytes from there on, at every multiple of 8.
    fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.ranges.iter().flat_map(|(start, bytes)| {
            (0..bytes.len()).step_by(8).filter_map(move |at| Some((start.checked_add(at as u64)?, bytes.get(at..)?)))
        })
    }
}

fn is_pointer(value: u64) -> bool {
    value.is_multiple_of(8) && POINTERS.contains(&value)
}

fn found(link: LinkAddr, detail: &str) -> Located {
    Located::new(link, SymbolSource::Scan { detail: detail.to_owned() })
}

/// Whether `bytes` begin like a g: a stack with the saved stack pointer in it, and a saved program
/// counter in text; or a g without a stack, when `may_be_dead`.
fn like_g(bytes: &[u8], module: &ModuleData, may_be_dead: bool) -> bool {
    let word = |at: usize| bytes.u64_at(at).unwrap_or(u64::MAX);
    let (lo, hi, sp, pc) = (word(0), word(8), word(SCHED), word(SCHED + 8));
    if lo == 0 && hi == 0 {
        return may_be_dead;
    }
    lo < hi && hi - lo <= 2 << 30 && lo.is_multiple_of(8) && (lo..=hi).contains(&sp) && module.text.contains(&pc)
}

/// Three words that may be a slice.
#[derive(Clone, Copy, Debug)]
struct Slice {
    at: u64,
    array: u64,
    len: u64,
    cap: u64,
}

/// `allgs`, and `allgptr` where exactly one other word is the same pointer.
pub(crate) fn allgs(
    process: Process<'_>,
    module: &ModuleData,
    words: &DataWords,
) -> Result<Vec<(Global, Located)>, ReadError> {
    let slices: Vec<Slice> = words
        .iter()
        .filter_map(|(at, bytes)| {
            let (array, len, cap) = (bytes.u64_at(0)?, bytes.u64_at(8)?, bytes.u64_at(16)?);
            (is_pointer(array) && (2..=cap).contains(&len) && cap <= MAX_LEN).then_some(Slice { at, array, len, cap })
        })
        .collect();
    let heads = bulk::words(process.target, &slices.iter().map(|slice| Addr(slice.array)).collect::<Vec<_>>())?;
    let heads: Vec<(Slice, u64)> = slices
        .into_iter()
        .zip(heads)
        .filter_map(|(slice, head)| Some((slice, head.filter(|h| is_pointer(*h))?)))
        .collect();
    let mut likely = Vec::new();
    let firsts: Vec<Addr> = heads.iter().map(|(_, head)| Addr(*head)).collect();
    bulk::for_each(process.target, &firsts, SCHED as u32 + 16, |index, bytes| {
        if let (Some(bytes), Some((slice, _))) = (bytes, heads.get(index))
            && like_g(bytes, module, false)
        {
            likely.push(*slice);
        }
    })?;
    let mut fits = Vec::new();
    for slice in likely {
        let count = usize::try_from(slice.len).unwrap_or(0).min(SAMPLE);
        // Its beginning, and its very end: what is not a slice has no end there.
        let last = slice.array.checked_add(8 * (slice.len - 1)).map(Addr).unwrap_or_default();
        let (Some(pointers), Some(last)) =
            (process.target.read_vec(Addr(slice.array), count * 8)?, process.target.read_u64(last)?)
        else {
            continue;
        };
        let gs = (0..count).filter_map(|i| pointers.u64_at(i * 8)).chain([last]).map(Addr);
        let gs: Vec<Addr> = gs.collect();
        let (mut good, mut good_end) = (0_usize, false);
        bulk::for_each(process.target, &gs, SCHED as u32 + 16, |index, bytes| {
            let fits = bytes.is_some_and(|b| like_g(b, module, true));
            if index < count {
                good += usize::from(fits);
            } else {
                good_end = fits;
            }
        })?;
        // One may be caught in the middle of a change.
        if good_end && good + count / 16 >= count {
            fits.push(slice);
        }
    }
    // The collector keeps a copy while it marks. It has no room to grow, which the original has
    // nearly always.
    if fits.len() > 1 {
        fits.retain(|slice| slice.cap > slice.len);
    }
    let [slice] = fits.as_slice() else { return Ok(Vec::new()) };
    let link = |at: u64| process.bias.unload(Addr(at));
    let mut out = vec![(Global::Allgs, found(link(slice.at), "a slice of what begins like goroutines"))];
    let is_copy = |bytes: &[u8]| {
        let (len, cap) = (bytes.u64_at(8).unwrap_or(0), bytes.u64_at(16).unwrap_or(0));
        len != 0 && len == cap && len <= slice.len
    };
    let same: Vec<u64> = words
        .iter()
        .filter(|(at, bytes)| *at != slice.at && bytes.u64_at(0) == Some(slice.array) && !is_copy(bytes))
        .map(|(at, _)| at)
        .collect();
    if let [mirror] = same.as_slice() {
        out.push((Global::Allgptr, found(link(*mirror), "the only copy of runtime.allgs's pointer")));
    }
    Ok(out)
}

/// `allp`: a slice of Ps, each with its index as id and an mcache of its own. In some programs a
/// copy of it in `m0` comes first; it holds the same.
pub(crate) fn allp(process: Process<'_>, words: &DataWords, layout: &Layout) -> Result<Option<Located>, ReadError> {
    for (at, bytes) in words.iter() {
        let word = |i: usize| bytes.u64_at(i * 8).unwrap_or(0);
        let (array, len, cap) = (word(0), word(1), word(2));
        if is_pointer(array)
            && (1..=cap).contains(&len)
            && cap <= 1 << 16
            && slice_of_ps(process.target, Addr(at), layout)?.is_some()
            && have_own_caches(process.target, Addr(array), len, layout)?
        {
            return Ok(Some(found(process.bias.unload(Addr(at)), "a slice of Ps whose ids are their indices")));
        }
    }
    Ok(None)
}

fn have_own_caches(target: &dyn Target, array: Addr, len: u64, layout: &Layout) -> Result<bool, ReadError> {
    let count = usize::try_from(len).unwrap_or(0);
    let Some(pointers) = target.read_vec(array, count.saturating_mul(8))? else { return Ok(false) };
    let at: Vec<Addr> =
        (0..count).filter_map(|i| pointers.u64_at(i * 8)?.checked_add(layout.p.mcache.into())).map(Addr).collect();
    let mut caches: Vec<u64> = bulk::words(target, &at)?.into_iter().flatten().filter(|c| is_pointer(*c)).collect();
    caches.sort_unstable();
    caches.dedup();
    Ok(caches.len() == count)
}

/// `sched`: the limit of threads stands where it should, and the numbers around it can be.
pub(crate) fn sched(words: &DataWords, layout: &Layout, max_goid: u64, ps: u64, bias: LoadBias) -> Option<Located> {
    let s = &layout.sched;
    let mut fits = words.iter().filter(|(_, bytes)| {
        let int = |at: u32| bytes.i32_at(at as usize).unwrap_or(-1);
        let goidgen = bytes.u64_at(s.goidgen as usize).unwrap_or(0);
        int(s.maxmcount) == MAX_M_COUNT
            && bytes.i64_at(s.mnext as usize).is_some_and(|n| n > 0)
            && u64::try_from(int(s.npidle)).is_ok_and(|n| n <= ps)
            && int(s.nmidle) >= 0
            && (max_goid..=max_goid.saturating_add(ps.max(1).saturating_mul(64)).saturating_add(16)).contains(&goidgen)
    });
    let (Some((at, _)), None) = (fits.next(), fits.next()) else { return None };
    Some(found(bias.unload(Addr(at)), "its limit of 10000 threads and the counts around it"))
}

/// `buildVersion`: a string that is a version of Go. There may be several; they are equal then, or none is
/// accepted.
pub(crate) fn build_version(process: Process<'_>, words: &DataWords) -> Result<Option<Located>, ReadError> {
    let mut out: Option<(Located, String)> = None;
    for (at, bytes) in words.iter() {
        let (text, len) = (bytes.u64_at(0).unwrap_or(0), bytes.u64_at(8).unwrap_or(0));
        if !(6..=256).contains(&len) || !POINTERS.contains(&text) {
            continue;
        }
        let link = process.bias.unload(Addr(at));
        if let Some(version) = version_at(process, link)? {
            match &out {
                None => out = Some((found(link, "a string with a version of Go"), version.text)),
                Some((_, text)) if *text == version.text => {}
                Some(_) => return Ok(None),
            }
        }
    }
    Ok(out.map(|(located, _)| located))
}
