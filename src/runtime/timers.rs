//! Where a P keeps its timers, when its layout is another version's.
//!
//! They follow buffers that grow from version to version, and most of the time there are none. So a timer is
//! accepted only if it names the P that it was found through.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::Layout;
use super::mirror::p::P;
use super::readers::bulk;
use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{ReadError, Target};

/// How far they may have moved either way, bytes; from 1.24 to 1.25 it was 552.
const WINDOW: u32 = 1024;

/// Longest heap of timers that is accepted.
const MAX_TIMERS: u64 = 1 << 28;

/// What proves where the timers are: offsets as a table has them.
#[derive(Clone, Copy)]
struct Evidence {
    /// The slice, whose elements begin with a pointer to a timer, in a P.
    slice: u32,
    /// A copy of the slice's length in a P.
    count: u32,
    /// In a timer: the P (up to 1.22), or the `timers` in it.
    owner: u32,
    /// Those `timers` in a P; 0 where a timer has the P itself.
    owned: Option<u32>,
}

impl Evidence {
    fn new(layout: &Layout) -> Option<Self> {
        let (p, timer) = (&layout.p, layout.timer.as_ref()?);
        let timers = p.timers_slice?;
        if let Some(count) = p.num_timers {
            return Some(Self { slice: timers, count, owner: timer.pp?, owned: None });
        }
        Some(Self { slice: p.timers_heap?, count: p.timers_len?, owner: timer.ts?, owned: Some(timers) })
    }

    /// How far the timers of `ps` have moved; `None` where no timer shows it, or some P contradicts.
    fn shift(&self, target: &dyn Target, ps: &[P]) -> Result<Option<i32>, ReadError> {
        let start = self.slice.min(self.count).saturating_sub(WINDOW);
        let len = self.slice.saturating_add(24).max(self.count.saturating_add(4)) - start + WINDOW;
        let window = WINDOW.cast_signed();
        let addrs: Vec<Addr> = ps.iter().filter_map(|p| p.addr.0.checked_add(start.into())).map(Addr).collect();
        let mut contradicted = BTreeSet::new();
        let mut claims: Vec<(i32, Addr, u64)> = Vec::new();
        bulk::for_each(target, &addrs, len, |index, bytes| {
            for shift in (-window..=window).step_by(8) {
                let at = |offset: u32| Some((offset.checked_add_signed(shift)?.checked_sub(start)?) as usize);
                let slice = |n: usize| bytes?.u64_at(at(self.slice)? + 8 * n);
                let count = || bytes?.u32_at(at(self.count)?);
                match (slice(0), slice(1), slice(2), count(), ps.get(index)) {
                    (Some(array), Some(len), Some(cap), Some(count), Some(p))
                        if len <= cap
                            && cap <= MAX_TIMERS
                            && (array == 0) == (cap == 0)
                            && array.is_multiple_of(8)
                            && u64::from(count) == len =>
                    {
                        if len > 0 {
                            claims.push((shift, p.addr, array));
                        }
                    }
                    _ => drop(contradicted.insert(shift)),
                }
            }
        })?;
        claims.retain(|(shift, _, _)| !contradicted.contains(shift));
        let follow = |addrs: Vec<u64>| bulk::words(target, &addrs.into_iter().map(Addr).collect::<Vec<_>>());
        let timers = follow(claims.iter().map(|(_, _, array)| *array).collect())?;
        let owner = |timer: &Option<u64>| timer.unwrap_or(0).wrapping_add(self.owner.into());
        let owners = follow(timers.iter().map(owner).collect())?;
        let mut proven: BTreeMap<i32, bool> = BTreeMap::new();
        for ((shift, p, _), owner) in claims.into_iter().zip(owners) {
            let owned = self.owned.map_or(Some(0), |at| at.checked_add_signed(shift));
            let names_it = owned.is_some_and(|at| owner == Some(p.0.wrapping_add(at.into())));
            *proven.entry(shift).or_insert(true) &= names_it;
        }
        Ok(proven
            .into_iter()
            .filter(|(_, names_it)| *names_it)
            .map(|(shift, _)| shift)
            .min_by_key(|s| s.unsigned_abs()))
    }
}

/// Puts the count of timers in `layout` where the timers of `ps` prove it, or takes it out. How far it
/// moved; `None` when nothing proves it.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn place_timers(target: &dyn Target, ps: &[P], layout: &mut Layout) -> Result<Option<i32>, ReadError> {
    /// The program runs on, and timers come and go.
    const TRIES: usize = 3;
    let mut found = None;
    if let Some(evidence) = Evidence::new(layout) {
        for _ in 0..TRIES {
            found = evidence.shift(target, ps)?;
            if found.is_some() {
                break;
            }
        }
    }
    let p = &mut layout.p;
    for count in [&mut p.num_timers, &mut p.timers_len] {
        *count = count.zip(found).and_then(|(at, shift)| at.checked_add_signed(shift));
        p.size = p.size.max(count.map_or(0, |at| at.saturating_add(4)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::process::fake::FakeTarget;
    use crate::runtime::layout::checked_in;

    const PS: u64 = 0x10_0000;
    const HEAP: u64 = 0x20_0000;

    fn layout(minor: u32) -> Layout {
        Layout::resolve(checked_in(minor, Arch::Amd64).unwrap()).unwrap()
    }

    /// Two Ps, the first of which has two timers, `shift` bytes from where `layout` has them.
    fn process(layout: &Layout, shift: i32) -> (FakeTarget, [P; 2]) {
        let target = FakeTarget::new(Arch::Amd64)
            .with_segment(Addr(PS), vec![0; 0x1_0000])
            .with_segment(Addr(HEAP), vec![0; 4096]);
        let put = |at: u64, value: u64| target.memory(|memory| memory.put_u64(Addr(at), value));
        let evidence = Evidence::new(layout).unwrap();
        let at = |offset: u32| PS + u64::from(offset.checked_add_signed(shift).unwrap());
        put(at(evidence.slice), HEAP);
        put(at(evidence.slice) + 8, 2);
        put(at(evidence.slice) + 16, 4);
        target.memory(|memory| memory.put(Addr(at(evidence.count)), &2_u32.to_le_bytes()));
        put(HEAP, HEAP + 0x100);
        put(HEAP + 0x100 + u64::from(evidence.owner), evidence.owned.map_or(PS, at));
        (target, [PS, PS + 0x8000].map(|addr| P { addr: Addr(addr), ..P::default() }))
    }

    #[test]
    fn a_timer_proves_where_its_p_has_it() {
        for minor in [19, 22, 23, 27] {
            for shift in [0, -8, 24, 552] {
                let mut moved = layout(minor);
                let (target, ps) = process(&moved, shift);
                let was = moved.p.num_timers.or(moved.p.timers_len).unwrap();
                assert_eq!(place_timers(&target, &ps, &mut moved).unwrap(), Some(shift), "1.{minor}");
                let is = moved.p.num_timers.or(moved.p.timers_len);
                assert_eq!(is, was.checked_add_signed(shift), "1.{minor}");
                assert!(moved.p.size >= is.unwrap() + 4);
            }
        }
    }

    #[test]
    fn without_proof_nothing_is_told() {
        let unknown = |target: &FakeTarget, ps: &[P], minor| {
            let mut layout = layout(minor);
            assert_eq!(place_timers(target, ps, &mut layout).unwrap(), None, "1.{minor}");
            assert_eq!((layout.p.num_timers, layout.p.timers_len), (None, None), "1.{minor}");
        };
        for minor in [21, 26] {
            let (target, ps) = process(&layout(minor), 0);
            unknown(&target, &ps[1..], minor); // no timers
            unknown(&target, &[], minor);
            unknown(&FakeTarget::new(Arch::Amd64), &ps, minor);
            // A timer of another P.
            let owner = u64::from(Evidence::new(&layout(minor)).unwrap().owner);
            target.memory(|memory| memory.put_u64(Addr(HEAP + 0x100 + owner), PS + 0x8000));
            unknown(&target, &ps, minor);
            // Counts that do not agree.
            let (target, ps) = process(&layout(minor), 0);
            let count = u64::from(Evidence::new(&layout(minor)).unwrap().count);
            target.memory(|memory| memory.put(Addr(PS + count), &3_u32.to_le_bytes()));
            unknown(&target, &ps, minor);
        }
    }
}
