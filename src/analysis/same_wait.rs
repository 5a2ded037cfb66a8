//! Since when a goroutine has been in one and the same wait, from sample to sample: the rule on what is the
//! same wait, and on what proves that it has not run in between.
//!
//! It is the same only where state, wait reason and stack are. Two values that the runtime keeps show it, with
//! different certainty:
//!
//! * `g.waitsince`, equal and not zero: a proof. The runtime zeroes it whenever the goroutine runs, sets
//!   it once in a collection's cycle, and every cycle sets another value.
//! * `g.trackingSeq`, equal: an indication. It is a byte, so a goroutine that has run shows the same one
//!   by chance, 1 time in 256 in each interval in which it has run.
//!
//! CPU time could prove the rest (256 departures cost 14 µs at least), but the kernel counts it in ticks of
//! 10 ms. So equal bytes count only when three intervals in a row agree, and the wait counts from the first
//! sample that three agreeing intervals confirm: a wait that is reported too long takes three coincidences in
//! a row (1 in 16.7 million for a goroutine that is always busy).

use std::num::NonZeroU64;

use super::census::Member;
use super::group::Word;
use crate::addr::Addr;
use crate::model::{FrameId, Goroutine, StackState};

/// How many intervals in a row have to agree before equal bytes count.
pub(crate) const LEAST_INTERVALS: u8 = 3;

/// What the runtime keeps of a goroutine that changes when it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// `g.trackingSeq`; `None` where it proves nothing.
    pub run_seq: Option<u8>,
    /// `g.waitsince`, ns by the target's `nanotime`; `None` where it is not set or not known.
    pub stamp_ns: Option<u64>,
}

/// What two samples of one goroutine, at the same place in the same state, show about the time between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// It has not run.
    Still,
    /// Nothing shows that it has run, but that may be chance.
    Likely,
    /// It has run, or is elsewhere.
    Ran,
    /// No evidence either way.
    Unknown,
}

/// One goroutine in one snapshot, as far as that says whether another is of the same wait. Ids are those
/// of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    state: Word,
    reason: Option<Word>,
    /// The g and its stack pointer; `None` where that was not recorded.
    at: Option<(Addr, Addr)>,
    /// Its stack, or why there is none; `None` where stacks cannot be compared.
    stack: Option<Option<StackState>>,
    current: Option<FrameId>,
    marks: Marks,
    /// For how long it has been blocked, ns, to go by where there are no marks.
    wait_ns: Option<u64>,
}

/// Times are rounded when they are recorded, ns.
const ROUNDING_NS: i128 = 1_000_000;

impl Wait {
    /// Of a snapshot. Without `stacks`, which is for snapshots of different pools, only the stack pointer
    /// says where it is.
    #[must_use]
    pub(crate) fn of(goroutine: &Goroutine, stacks: bool) -> Self {
        Self {
            state: Word::Status(goroutine.status),
            reason: goroutine.wait_reason.map(Word::Reason),
            at: Some((goroutine.addr, goroutine.sp)),
            stack: stacks.then_some(Some(goroutine.stack)),
            current: None,
            marks: Marks::of(goroutine),
            wait_ns: None,
        }
    }

    /// Of a census. Without `stacks`, which is for a census that has none, its place counts.
    #[must_use]
    pub(crate) fn of_member(member: &Member, stacks: bool) -> Self {
        Self {
            state: Word::Text(member.state),
            reason: member.reason.map(Word::Text),
            at: None,
            stack: stacks.then_some(member.stack.map(StackState::Known)),
            current: member.current,
            marks: member.marks,
            wait_ns: member.wait_ns(),
        }
    }

    /// What this, and `elapsed_ns` later `now`, show about the time between.
    #[must_use]
    pub(crate) fn until(&self, now: &Self, elapsed_ns: i128) -> Between {
        let same_place = self.state == now.state
            && self.reason == now.reason
            && self.at.zip(now.at).is_none_or(|(was, now)| was == now)
            && self.current == now.current
            && self.stack.zip(now.stack).is_none_or(|(was, now)| was == now);
        if !same_place {
            return Between::Ran;
        }
        match self.marks.until(now.marks) {
            Between::Unknown if !self.waits_on(now, elapsed_ns) => Between::Ran,
            between => between,
        }
    }

    /// Whether it can have waited on by the times that it has been blocked for.
    fn waits_on(&self, now: &Self, elapsed_ns: i128) -> bool {
        match (self.wait_ns, now.wait_ns) {
            (Some(was), Some(now)) => (i128::from(now) - i128::from(was) - elapsed_ns).abs() <= ROUNDING_NS,
            // It has run, or the collector would not have cleared the stamp.
            (Some(_), None) => false,
            (None, _) => true,
        }
    }
}

impl Marks {
    /// Those of a goroutine.
    #[must_use]
    pub fn of(goroutine: &Goroutine) -> Self {
        Self { run_seq: goroutine.run_seq, stamp_ns: goroutine.wait_since_ns.map(NonZeroU64::get) }
    }

    /// What these, and later those of `now`, show about the time between.
    #[must_use]
    pub fn until(self, now: Self) -> Between {
        match (self.stamp_ns, now.stamp_ns) {
            // Where running is not counted, a stamp may be left over from an earlier wait.
            _ if self.run_seq.is_none() || now.run_seq.is_none() => Between::Unknown,
            _ if self.run_seq != now.run_seq => Between::Ran,
            (Some(was), Some(now)) if was == now => Between::Still,
            // A stamp appears during a wait, but it neither changes nor disappears.
            (Some(_), _) => Between::Ran,
            (None, _) => Between::Likely,
        }
    }
}

/// Since when a goroutine has been in one wait, as far as that can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stillness {
    since_ns: u64,
    /// From then on nothing has shown that it ran.
    apparent_ns: u64,
    /// Intervals before `since_ns` in which only the byte agreed.
    passed: u8,
}

impl Stillness {
    /// Of a goroutine that is first seen in a wait, or in another one than before.
    #[must_use]
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { since_ns: now_ns, apparent_ns: now_ns, passed: 0 }
    }

    /// The same after another snapshot.
    #[must_use]
    pub(crate) fn then(self, between: Between, now_ns: u64) -> Self {
        match between {
            Between::Still => self,
            Between::Likely if self.passed.saturating_add(1) >= LEAST_INTERVALS => self,
            Between::Likely => Self { since_ns: now_ns, passed: self.passed.saturating_add(1), ..self },
            Between::Ran | Between::Unknown => Self::new(now_ns),
        }
    }

    /// Whether it stays as it is in snapshots that show the same as this one does, in which `between` was seen of one and
    /// the same goroutine.
    #[must_use]
    pub(crate) fn is_settled(self, between: Between) -> bool {
        match between {
            Between::Still => true,
            Between::Likely => self.passed.saturating_add(1) >= LEAST_INTERVALS,
            Between::Ran | Between::Unknown => false,
        }
    }

    /// From then on it has not run: the time of a snapshot, by the clock that the snapshots were given with.
    /// That of the latest one means nothing.
    #[must_use]
    pub(crate) fn since_ns(self) -> u64 {
        self.since_ns
    }

    /// From then on nothing has shown that it ran, which may be chance for the three latest intervals.
    #[must_use]
    pub(crate) fn apparent_ns(self) -> u64 {
        self.apparent_ns
    }
}

#[cfg(test)]
mod tests {
    use super::{Between, LEAST_INTERVALS, Marks, Stillness};

    const fn marks(run_seq: u8, stamp_ns: Option<u64>) -> Marks {
        Marks { run_seq: Some(run_seq), stamp_ns }
    }

    fn since(snapshots: &[Marks]) -> u64 {
        let mut still = Stillness::new(0);
        for (now, pair) in (1..).zip(snapshots.windows(2)) {
            still = still.then(pair[0].until(pair[1]), now);
        }
        still.since_ns()
    }

    #[test]
    fn what_two_readings_say() {
        let uncounted = Marks { run_seq: None, stamp_ns: Some(5) };
        for (was, now, want) in [
            (marks(7, Some(5)), marks(7, Some(5)), Between::Still),
            (marks(7, None), marks(7, None), Between::Likely),
            (marks(7, None), marks(7, Some(5)), Between::Likely),
            (marks(7, Some(5)), marks(7, None), Between::Ran),
            (marks(7, Some(5)), marks(7, Some(6)), Between::Ran),
            (marks(7, Some(5)), marks(8, Some(5)), Between::Ran),
            (uncounted, uncounted, Between::Unknown),
            (uncounted, marks(0, Some(5)), Between::Unknown),
        ] {
            assert_eq!(was.until(now), want, "{was:?} {now:?}");
        }
    }

    #[test]
    fn equal_bytes_count_after_three_intervals() {
        let same = [marks(7, None); 6];
        // The latest sample shows nothing.
        for snapshots in 1..=3 {
            assert_eq!(since(&same[..snapshots]), u64::try_from(snapshots - 1).unwrap());
        }
        assert_eq!((since(&same[..4]), since(&same)), (2, 2));
        // One coincidence, after which it waits: what it did before does not count.
        let ran = [marks(1, None), marks(7, None), marks(7, None), marks(7, None), marks(7, None)];
        assert_eq!(since(&ran), 3);
        assert_eq!(since(&[marks(7, Some(5)); 2]), 0, "a stamp is a proof at once");
        assert_eq!(since(&[marks(7, None), marks(7, Some(5)), marks(7, Some(5))]), 1, "from the stamp on");
    }

    /// Goroutines that run in every interval, each with any byte afterwards.
    #[test]
    fn chance_makes_no_wait() {
        let mut state = 1_u64;
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            marks(u8::try_from(state >> 56).unwrap(), None)
        };
        let (mut pairs, mut wrong) = (0, 0);
        for _ in 0..20_000 {
            let snapshots: Vec<_> = (0..8).map(|_| byte()).collect();
            pairs += snapshots.windows(2).filter(|pair| pair[0].run_seq == pair[1].run_seq).count();
            wrong += (2..=8).filter(|&until| since(&snapshots[..until]) < u64::try_from(until - 1).unwrap()).count();
        }
        assert!(pairs > 300, "bytes do agree by chance: {pairs}");
        assert_eq!((wrong, LEAST_INTERVALS), (0, 3));
    }
}
