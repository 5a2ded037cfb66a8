//! Checks whether the fields in a goroutine's header are possible.
//!
//! A program may have overwritten its own memory. A field with a value that no runtime writes there causes a
//! warning, one for each goroutine, and is shown as unknown where possible. A plausible wrong value cannot be
//! detected.
//!
//! These are unknown in a healthy program, and cause no warning:
//! * the creator and the start function of a goroutine that runs callbacks from C (`oneNewExtraM` in
//!   runtime/proc.go), which belongs to its thread for its whole life (`lockedm`)
//! * the parent, before Go 1.21 and of goroutines that the runtime itself created at its start
//! * `waitsince`, until a collection has found the goroutine blocked
//! * `m`, of goroutines that are neither running nor in system calls
//! * `lockedm`, `labels`, `ancestors` and the bubble, of most

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::core_clock::MAX_STAMP;
use super::scheduler::SchedulerState;
use crate::addr::Addr;
use crate::model::{Goid, Goroutine, Status, WarningCode, Warnings};
use crate::process::{Clock, ReadError, Target};
use crate::runtime::mirror::g::{G, GLayout};
use crate::runtime::readers::threads::is_m;
use crate::runtime::rules::Rules;
use crate::runtime::{GoProcess, MAX_GOID};

const PARENT: &str = "g.parentGoid";

/// How much later than the start of the capture a stamp may be, ns: longer than any capture takes.
const LATER_NS: u64 = 600_000_000_000;

/// The possible values of a goroutine's fields, in this program at this time.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks {
    /// The largest id that was assigned when the capture began (`sched.goidgen`).
    max_goid: u64,
    /// Times of the runtime's `nanotime`: when it started, and the latest possible.
    times: (u64, u64),
    /// How many wait reasons there are; 0 where that is unknown.
    wait_reasons: usize,
    /// The Ms that there were when the capture began.
    ms: FxHashSet<u64>,
    /// The goroutines that were on them (`m.curg`).
    curgs: FxHashSet<u64>,
    /// The rules of the program's runtime.
    rules: Rules,
}

/// A field with an impossible value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadField {
    /// Its name.
    pub(super) field: &'static str,
    /// What it holds.
    pub(super) value: u64,
    /// What was expected.
    pub(super) expected: Expected,
}

/// What a field should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A goroutine's id. It may have been assigned after the capture began.
    Id,
    /// The address of an M. It may be younger than the list of Ms.
    M,
    /// Anything else, as the end of a sentence.
    Other(&'static str),
}

impl BadField {
    const fn new(field: &'static str, value: u64, expected: &'static str) -> Self {
        Self { field, value, expected: Expected::Other(expected) }
    }

    /// A sentence about the goroutine `id`.
    pub(super) fn sentence(&self, id: Goid) -> String {
        let expected = match self.expected {
            Expected::Id => "an id that was assigned",
            Expected::M => "the address of an M",
            Expected::Other(text) => text,
        };
        format!("goroutine {}: {} is {:#x}, which is not {expected}", id.0, self.field, self.value)
    }
}

/// What is known of the code addresses of a goroutine.
#[derive(Clone, Copy, Debug)]
pub(super) struct CodeFacts {
    /// Whether `startpc` is the entry of a function.
    pub(super) starts_at_entry: bool,
    /// Whether `gopc` is in a function.
    pub(super) created_in_code: bool,
}

impl Checks {
    /// For a program whose scheduler is in this state, at the time `now_ns` of `nanotime` (0 where that
    /// is unknown).
    pub(super) fn new(
        state: &SchedulerState,
        wait_reasons: usize,
        max_goid: Option<u64>,
        now_ns: u64,
        rules: Rules,
    ) -> Self {
        let latest = if now_ns == 0 { MAX_STAMP } else { now_ns.saturating_add(LATER_NS) };
        Self {
            max_goid: max_goid.map_or(MAX_GOID, |id| id.min(MAX_GOID)),
            times: (state.runtime_init_ns.unwrap_or(0), latest),
            wait_reasons,
            ms: state.ms.iter().map(|m| m.addr.0).collect(),
            curgs: state.ms.iter().map(|m| m.curg).filter(|&g| g != 0).collect(),
            rules,
        }
    }

    /// What the fields of goroutines of `process` can hold at the time of `now`.
    pub(super) fn of(process: GoProcess<'_>, state: &SchedulerState, now: Clock) -> Result<Arc<Self>, ReadError> {
        let (reasons, max_goid) = (process.runtime.wait_reasons.len(), process.max_goid()?);
        Ok(Arc::new(Self::new(state, reasons, max_goid, now.monotonic_ns, process.rules())))
    }

    /// Addresses of the Ms that there were when the capture began.
    pub(super) fn ms(&self) -> &FxHashSet<u64> {
        &self.ms
    }

    /// Whether an M had the goroutine at `addr` as its own when the capture began.
    pub(super) fn was_on_m(&self, addr: u64) -> bool {
        self.curgs.contains(&addr)
    }

    /// Whether it is one that `newproc1` is just making: it has its state, and its id within nanoseconds.
    pub(super) fn is_being_born(&self, g: &G) -> bool {
        self.rules.gives_id_after_state() && g.goid == 0 && g.status() == Status::Runnable
    }

    /// Whether a stamp is valid: after the runtime's start, and not in the future.
    pub(super) fn time_can_be(&self, stamp: u64) -> bool {
        (self.times.0..=self.times.1).contains(&stamp)
    }

    fn is_m(&self, addr: u64) -> bool {
        addr == 0 || self.ms.contains(&addr)
    }

    /// The first field of a live goroutine with a value that is, or seems, impossible.
    #[inline]
    pub(super) fn first_bad(&self, g: &G, status: Status, code: CodeFacts) -> Option<BadField> {
        let waits = matches!(status, Status::Waiting | Status::Leaked);
        let for_c = g.startpc == 0 && g.lockedm != 0;
        if !g.stack_can_be() {
            Some(BadField::new("the size of its stack", g.stack_hi.wrapping_sub(g.stack_lo), "the size of a stack"))
        } else if matches!(status, Status::Unknown(_) | Status::Idle) {
            Some(BadField::new("g.atomicstatus", g.atomicstatus.into(), "a state of a goroutine"))
        } else if waits
            && self.wait_reasons != 0
            && !(usize::from(self.rules.always_has_reason())..self.wait_reasons).contains(&g.waitreason.into())
        {
            Some(BadField::new("g.waitreason", g.waitreason.into(), "a wait reason"))
        } else if !for_c && !code.starts_at_entry {
            Some(BadField::new("g.startpc", g.startpc, "the entry of a function"))
        } else if !(code.created_in_code || (for_c && g.gopc == 0)) {
            Some(BadField::new("g.gopc", g.gopc, "in a function"))
        } else if g.waitsince != 0 && !self.time_can_be(g.waitsince) {
            Some(BadField::new("g.waitsince", g.waitsince, "a time since the program started"))
        } else if g.m == 0 && matches!(status, Status::Running | Status::Syscall) {
            Some(BadField::new("g.m", 0, "the address of an M"))
        } else if !self.is_m(g.m) {
            Some(BadField { field: "g.m", value: g.m, expected: Expected::M })
        } else if !self.is_m(g.lockedm) {
            Some(BadField { field: "g.lockedm", value: g.lockedm, expected: Expected::M })
        } else if (g.goid == 0 && !self.is_being_born(g)) || g.goid > self.max_goid {
            Some(BadField { field: "g.goid", value: g.goid, expected: Expected::Id })
        } else {
            let parent = g.parent_goid.filter(|&id| id > self.max_goid || id == g.goid)?;
            Some(BadField { field: PARENT, value: parent, expected: Expected::Id })
        }
    }
}

/// A goroutine with a field whose value is, or seems, impossible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect {
    /// Its index among all that were captured.
    pub(super) index: usize,
    /// The field.
    pub(super) bad: BadField,
}

/// Warns of those with impossible values. What is newer than the start of the capture is looked up first:
/// `max_goid` is the current `sched.goidgen`.
pub(super) fn report(
    target: &dyn Target,
    layout: &GLayout,
    max_goid: Option<u64>,
    suspects: &[Suspect],
    goroutines: &mut [Goroutine],
    warnings: &mut Warnings,
) -> Result<(), ReadError> {
    let mut ms: FxHashMap<u64, bool> = FxHashMap::default();
    for one in suspects {
        let Some(goroutine) = goroutines.get_mut(one.index) else { continue };
        let bad = &one.bad;
        let is_right = match bad.expected {
            Expected::Id => {
                let assigned = bad.value != 0 && bad.value <= max_goid.unwrap_or(MAX_GOID);
                assigned && (bad.field != PARENT || bad.value != goroutine.id.0)
            }
            Expected::M => match ms.get(&bad.value) {
                Some(&known) => known,
                None => {
                    let is_m = is_m(target, layout, bad.value)?;
                    ms.insert(bad.value, is_m);
                    is_m
                }
            },
            Expected::Other(_) => false,
        };
        if !is_right {
            // An impossible value is shown as unknown.
            match (bad.expected, bad.field) {
                (Expected::Id, PARENT) => goroutine.parent = None,
                (Expected::M, _) if goroutine.m == Some(Addr(bad.value)) => goroutine.m = None,
                _ => {}
            }
            warnings.add(WarningCode::GoroutineInconsistent, bad.sentence(goroutine.id));
        }
    }
    Ok(())
}

/// Warns of goroutines that share an id. They are in order of id, the dead ones last.
pub(super) fn warn_of_twins(goroutines: &[Goroutine], warnings: &mut Warnings) {
    for (one, next) in goroutines.iter().zip(goroutines.iter().skip(1)) {
        // An invalid id is reported anyway.
        if one.id == next.id && (1..MAX_GOID).contains(&one.id.0) && !next.status.is_dead() {
            let message = format!("goroutine {}: another goroutine has the same id, at {}", one.id.0, next.addr);
            warnings.add(WarningCode::GoroutineInconsistent, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: CodeFacts = CodeFacts { starts_at_entry: true, created_in_code: true };

    fn checks() -> Checks {
        Checks {
            max_goid: 100,
            times: (1_000, 9_000),
            wait_reasons: 40,
            ms: [0x7000].into_iter().collect(),
            curgs: FxHashSet::default(),
            rules: Rules::of(26),
        }
    }

    fn waiting() -> G {
        G {
            stack_lo: 0x2000,
            stack_hi: 0x2800,
            atomicstatus: 4,
            goid: 7,
            waitreason: 3,
            waitsince: 2_000,
            startpc: 1,
            gopc: 2,
            parent_goid: Some(1),
            ..G::default()
        }
    }

    /// The bad field when a waiting goroutine was changed like this.
    fn bad(change: impl Fn(&mut G)) -> Option<&'static str> {
        let mut g = waiting();
        change(&mut g);
        checks().first_bad(&g, g.status(), CODE).map(|bad| bad.field)
    }

    #[test]
    fn what_a_runtime_writes_is_accepted() {
        assert_eq!(bad(|_| {}), None);
        assert_eq!(bad(|g| g.waitsince = 0), None);
        assert_eq!(bad(|g| g.parent_goid = None), None);
        assert_eq!(bad(|g| g.parent_goid = Some(0)), None);
        assert_eq!(bad(|g| (g.atomicstatus, g.m) = (2, 0x7000)), None);
        assert_eq!(bad(|g| g.lockedm = 0x7000), None);
        // Larger ones begin at a page.
        assert_eq!(bad(|g| (g.stack_lo, g.stack_hi) = (0x6000, 0xe000)), None);
        // Stale reasons of those that do not wait.
        assert_eq!(bad(|g| (g.atomicstatus, g.waitreason) = (1, 200)), None);
        // It runs callbacks from C.
        let mut g = waiting();
        (g.startpc, g.gopc, g.lockedm) = (0, 0, 0x7000);
        let none = CodeFacts { starts_at_entry: false, created_in_code: false };
        assert_eq!(checks().first_bad(&g, g.status(), none), None);
        g.lockedm = 0;
        assert_eq!(checks().first_bad(&g, g.status(), none).map(|bad| bad.field), Some("g.startpc"));
    }

    #[test]
    fn what_no_runtime_writes_is_rejected() {
        let stack = "the size of its stack";
        assert_eq!(bad(|g| g.stack_lo = 0), Some(stack));
        assert_eq!(bad(|g| g.stack_hi = u64::MAX), Some(stack));
        assert_eq!(bad(|g| g.stack_hi = g.stack_lo), Some(stack));
        assert_eq!(bad(|g| (g.stack_lo, g.stack_hi) = (0x2100, 0x2900)), Some(stack));
        assert_eq!(bad(|g| g.stack_lo = 0x2400), Some(stack));
        assert_eq!(bad(|g| g.atomicstatus = 0), Some("g.atomicstatus"));
        assert_eq!(bad(|g| g.atomicstatus = 77), Some("g.atomicstatus"));
        assert_eq!(bad(|g| g.waitreason = 0), Some("g.waitreason"));
        assert_eq!(bad(|g| g.waitreason = 40), Some("g.waitreason"));
        assert_eq!(bad(|g| g.waitsince = 999), Some("g.waitsince"));
        assert_eq!(bad(|g| g.waitsince = u64::MAX), Some("g.waitsince"));
        assert_eq!(bad(|g| g.atomicstatus = 2), Some("g.m"));
        assert_eq!(bad(|g| g.m = 8), Some("g.m"));
        assert_eq!(bad(|g| g.lockedm = 8), Some("g.lockedm"));
        assert_eq!(bad(|g| g.goid = 0), Some("g.goid"));
        assert_eq!(bad(|g| g.goid = 101), Some("g.goid"));
        assert_eq!(bad(|g| g.parent_goid = Some(7)), Some(PARENT));
        assert_eq!(bad(|g| g.parent_goid = Some(101)), Some(PARENT));
        let g = waiting();
        let field = |code| checks().first_bad(&g, g.status(), code).map(|bad| bad.field);
        assert_eq!(field(CodeFacts { starts_at_entry: false, ..CODE }), Some("g.startpc"));
        assert_eq!(field(CodeFacts { created_in_code: false, ..CODE }), Some("g.gopc"));
    }

    #[test]
    fn what_older_runtimes_leave_unset_for_a_moment_is_accepted() {
        let of = |minor: u32, g: G| {
            let checks = Checks { rules: Rules::of(minor), ..checks() };
            checks.first_bad(&g, g.status(), CODE).map(|bad| bad.field)
        };
        let no_reason = G { waitreason: 0, ..waiting() };
        assert_eq!((of(19, no_reason), of(20, no_reason)), (None, None));
        assert_eq!(of(21, no_reason), Some("g.waitreason"));
        let fresh = G { atomicstatus: 1, goid: 0, ..waiting() };
        assert_eq!((of(19, fresh), of(23, fresh)), (None, None));
        assert_eq!(of(24, fresh), Some("g.goid"));
        // One that waits has had an id for long.
        assert_eq!(of(23, G { goid: 0, ..waiting() }), Some("g.goid"));
    }

    #[test]
    fn the_dead_have_nothing_of_the_living() {
        let dead = G { atomicstatus: 6, waitreason: 0, waitsince: 0, ..waiting() };
        assert!(dead.is_dead_for_certain());
        assert!(!(G { waitreason: 3, ..dead }).is_dead_for_certain());
        assert!(!(G { m: 0x7000, ..dead }).is_dead_for_certain());
        // For callbacks from C.
        assert!((G { m: 0x7000, startpc: 0, ..dead }).is_dead_for_certain());
        assert!((G { m: 0x7000, waitreason: 3, lockedm: 0x7000, ..dead }).is_dead_for_certain());
    }
}
