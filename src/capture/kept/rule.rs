//! Whether the stack of a goroutine that was read before is still what it was, decided by two readings of its header.
//!
//! That a goroutine has gone on shows in its header, mostly in `g.trackingSeq`, which wraps after 256 departures. So
//! equal headers are a proof only together with an equal, non-zero `g.waitsince`: `execute` and `exitsyscall` zero it,
//! a collection stamps a goroutine once at most, and each collection has another value (runtime/proc.go, mgcmark.go;
//! 1.19 to 1.27). What is not proven is believed for a limited time only: [`ROLLING`] captures, [`LONGEST_NS`], and
//! [`WARM`] captures where the goroutine has been seen to run lately. Coroutines and goroutines that the collector
//! suspends go on without being counted; they are never believed (see `docs/consistency.md`).

use crate::model::Status;
use crate::runtime::mirror::g::G;
use crate::runtime::wait_reason::ReasonSet;

/// Every so many captures, a stack that is not proven to be the same is read again. It bounds how long a wrong one
/// lives.
pub(super) const ROLLING: u32 = 64;
/// Likewise where the goroutine has gone on within the last [`LATELY`] captures.
pub(super) const WARM: u32 = 4;
/// How many captures count as lately.
pub(super) const LATELY: u32 = 250;
/// No stack that is not proven to be the same is older, ns.
pub(super) const LONGEST_NS: u64 = 60_000_000_000;

/// Odd, so that no difference of one field is lost: the first outputs of splitmix64, with their lowest bits set.
const FACTORS: [u64; 19] = [
    factor(1),
    factor(2),
    factor(3),
    factor(4),
    factor(5),
    factor(6),
    factor(7),
    factor(8),
    factor(9),
    factor(10),
    factor(11),
    factor(12),
    factor(13),
    factor(14),
    factor(15),
    factor(16),
    factor(17),
    factor(18),
    factor(19),
];

const fn factor(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) | 1
}

/// What a header shows of whether its goroutine has gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capture) struct Mark {
    /// `g.goid`.
    pub(super) goid: u64,
    /// Of all fields that have to be the same, a hash: the sum of their products with [`FACTORS`]. It is equal where
    /// these are equal, and unequal where one of them differs.
    pub(super) fields: u64,
    /// `g.waitsince`, ns.
    pub(super) stamp: u64,
}

impl Mark {
    /// Of a goroutine whose stack may be kept: one that waits for one of `reasons`, and is in no panic.
    #[inline]
    pub(in crate::capture) fn of(g: &G, reasons: &ReasonSet) -> Option<Self> {
        let may_be_kept = g.status() == Status::Waiting
            && reasons.contains(g.waitreason)
            && g.syscallsp == 0
            && g.sched_pc != 0
            && g.panic == 0;
        if !may_be_kept {
            return None;
        }
        let words = [
            g.sched_sp,
            g.sched_pc,
            g.sched_lr,
            g.stack_lo,
            g.stack_hi,
            g.stktopsp,
            g.m,
            g.lockedm,
            g.waiting,
            g.schedlink,
            g.param,
            g.timer,
            g.sleep_when.unwrap_or_default(),
            g.labels,
            g.ancestors,
            g.bubble(),
            g.startpc,
            g.gopc,
            u64::from(g.waitreason) << 8 | u64::from(g.tracking_seq),
        ];
        // One after the other they would wait for each other's products.
        let fields = words
            .into_iter()
            .zip(FACTORS)
            .fold(0_u64, |sum, (word, factor)| sum.wrapping_add(word.wrapping_mul(factor)));
        Some(Self { goid: g.goid, fields, stamp: g.waitsince })
    }
}

/// What is known of a goroutine since its stack was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its header then; its stamp is the newest that was seen since.
    pub(super) mark: Mark,
    /// Whether the stamp was there already when the stack was read.
    pub(super) stamped: bool,
    /// When the capture began that read the stack, ns by `nanotime`.
    pub(super) read_ns: u64,
    /// The number of that capture.
    pub(super) read_at: u32,
    /// The number of the last capture that saw it go on; 0 for none.
    pub(super) changed_at: u32,
}

/// The capture for which it is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    /// Its number, from 1.
    pub(super) number: u32,
    /// When it began, ns by `nanotime`.
    pub(super) now_ns: u64,
    /// The second-newest stamp of those seen on any goroutine: two collections have begun since then.
    pub(super) second_newest_stamp: u64,
}

/// What the rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has gone on: its stack has to be read.
    Changed,
    /// Nothing shows that it has gone on, but it is time to read its stack again.
    Due,
    /// Its stack is very likely the same.
    Likely,
    /// Its stack is the same: the runtime's stamp proves it.
    Proven,
}

impl Standing {
    /// What a header that is read now says. `slot` spreads those that are due over the captures.
    pub(super) fn judge(&self, now: &Mark, slot: u32, moment: &Moment) -> Verdict {
        let (then, stamp) = (&self.mark, now.stamp);
        if (then.goid, then.fields) != (now.goid, now.fields) {
            return Verdict::Changed;
        }
        match (then.stamp, stamp) {
            // A stamp is the time at which the collection before began, which did not find it blocked.
            (0, stamp) if stamp > self.read_ns => return Verdict::Changed,
            // Two collections found it running, or it is one that they do not stamp.
            (0, 0) if moment.second_newest_stamp > self.read_ns => return Verdict::Due,
            (0, _) => {}
            (then, now) if then != now => return Verdict::Changed,
            _ if self.stamped => return Verdict::Proven,
            _ => {}
        }
        let captures = moment.number.saturating_sub(self.read_at);
        let is_lately = self.changed_at != 0 && moment.number.saturating_sub(self.changed_at) <= LATELY;
        let is_due = moment.now_ns.saturating_sub(self.read_ns) >= LONGEST_NS
            || captures >= ROLLING
            || (captures > 0 && slot % ROLLING == moment.number % ROLLING)
            || (is_lately && captures >= WARM);
        if is_due { Verdict::Due } else { Verdict::Likely }
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
