//! Every invariant of the rule, from two readings of a header.

use super::*;

const SECOND: u64 = 1_000_000_000;
/// When the stack was read.
const READ_NS: u64 = 100 * SECOND;
const SELECT: u8 = 1;
const COROUTINE: u8 = 2;

fn reasons() -> ReasonSet {
    ReasonSet::kept(&["", "select", "coroutine"].map(str::to_owned))
}

fn waiting() -> G {
    G {
        stack_lo: 0x2000,
        stack_hi: 0x2800,
        sched_sp: 0x2700,
        sched_pc: 0x40_1000,
        atomicstatus: 4,
        goid: 7,
        waitreason: SELECT,
        tracking_seq: 9,
        startpc: 1,
        gopc: 2,
        sleep_when: Some(0),
        ..G::default()
    }
}

fn mark(g: &G) -> Mark {
    Mark::of(g, &reasons()).expect("it can be kept")
}

/// One whose stack was read in capture 10, with that stamp.
fn standing(stamp: u64) -> Standing {
    let mark = mark(&G { waitsince: stamp, ..waiting() });
    Standing { mark, stamped: stamp != 0, read_ns: READ_NS, read_at: 10, changed_at: 0 }
}

/// A capture so many after that, at 1 Hz; slot 0 is due when the number is a multiple of 64.
fn later(captures: u32) -> Moment {
    Moment { number: 10 + captures, now_ns: READ_NS + u64::from(captures) * SECOND, second_newest_stamp: 0 }
}

fn judge(standing: &Standing, g: &G, moment: &Moment) -> Verdict {
    standing.judge(&mark(g), 0, moment)
}

#[test]
fn an_unchanged_header_keeps_the_stack() {
    assert_eq!(judge(&standing(0), &waiting(), &later(1)), Verdict::Likely);
    // The collector looks at its stack.
    let scanned = G { atomicstatus: 0x1004, ..waiting() };
    assert_eq!(judge(&standing(0), &scanned, &later(1)), Verdict::Likely);
}

/// Everything by which one that has gone on can differ.
#[test]
fn every_field_that_differs_has_it_read() {
    let changes: [fn(&mut G); 21] = [
        |g| g.goid += 1,
        |g| g.tracking_seq = g.tracking_seq.wrapping_add(1),
        |g| g.sched_sp -= 8,
        |g| g.sched_pc += 1,
        |g| g.sched_lr += 1,
        |g| g.stack_lo -= 0x800,
        |g| g.stack_hi += 0x800,
        |g| g.stktopsp += 8,
        |g| g.m = 0x7000,
        |g| g.lockedm = 0x7000,
        |g| g.waiting = 0xc000,
        |g| g.schedlink = 0xc000,
        |g| g.param = 0xc000,
        |g| g.timer = 0xc000,
        |g| g.sleep_when = Some(1),
        |g| g.labels = 0xc000,
        |g| g.ancestors = 0xc000,
        |g| g.bubble = Some(0xc000),
        |g| g.startpc += 1,
        |g| g.gopc += 1,
        |g| g.waitsince = READ_NS + 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut g = waiting();
        change(&mut g);
        assert_eq!(judge(&standing(0), &g, &later(1)), Verdict::Changed, "change {number}");
    }
}

#[test]
fn only_waits_on_the_list_can_be_kept() {
    let kept = |change: fn(&mut G)| {
        let mut g = waiting();
        change(&mut g);
        Mark::of(&g, &reasons()).is_some()
    };
    assert!(kept(|_| {}));
    // Idle, runnable, running, in a system call, dead, copying its stack, preempted, leaked, unknown.
    for status in [0, 1, 2, 3, 6, 8, 9, 10, 77] {
        let g = G { atomicstatus: status, ..waiting() };
        assert_eq!(Mark::of(&g, &reasons()), None, "{status}");
    }
    assert!(!kept(|g| g.waitreason = COROUTINE));
    assert!(!kept(|g| g.waitreason = 0));
    assert!(!kept(|g| g.waitreason = 200));
    assert!(!kept(|g| g.syscallsp = 0x2700));
    assert!(!kept(|g| g.panic = 0x2700));
    assert!(!kept(|g| g.sched_pc = 0));
}

#[test]
fn an_equal_stamp_is_a_proof_for_as_long_as_it_lasts() {
    let stamped = G { waitsince: 5 * SECOND, ..waiting() };
    for captures in [1, 4, 64, 10_000] {
        let busy = Standing { changed_at: 9, ..standing(5 * SECOND) };
        assert_eq!(judge(&busy, &stamped, &later(captures)), Verdict::Proven, "{captures}");
    }
    // Another stamp, or none: it ran.
    assert_eq!(judge(&standing(5 * SECOND), &waiting(), &later(1)), Verdict::Changed);
    let other = G { waitsince: 6 * SECOND, ..waiting() };
    assert_eq!(judge(&standing(5 * SECOND), &other, &later(1)), Verdict::Changed);
    // A stamp does not make up for anything else.
    let gone_on = G { tracking_seq: 10, ..stamped };
    assert_eq!(judge(&standing(5 * SECOND), &gone_on, &later(1)), Verdict::Changed);
}

/// One that came after the stack was read proves nothing about the time before, and passes only if the collection that
/// it names began before that.
#[test]
fn a_later_stamp_is_no_proof() {
    let stamped = G { waitsince: READ_NS - 1, ..waiting() };
    assert_eq!(judge(&standing(0), &stamped, &later(1)), Verdict::Likely);
    let mut carried = standing(0);
    carried.mark.stamp = READ_NS - 1;
    assert_eq!(judge(&carried, &stamped, &later(1)), Verdict::Likely);
    assert_eq!(judge(&carried, &stamped, &later(ROLLING)), Verdict::Due);
    assert_eq!(judge(&carried, &waiting(), &later(1)), Verdict::Changed);
    let late = G { waitsince: READ_NS + 1, ..waiting() };
    assert_eq!(judge(&standing(0), &late, &later(1)), Verdict::Changed);
}

#[test]
fn two_collections_without_a_stamp_have_it_read() {
    let moment = Moment { second_newest_stamp: READ_NS + 1, ..later(1) };
    assert_eq!(judge(&standing(0), &waiting(), &moment), Verdict::Due);
    let moment = Moment { second_newest_stamp: READ_NS, ..later(1) };
    assert_eq!(judge(&standing(0), &waiting(), &moment), Verdict::Likely);
}

/// Whatever its slot, and however fast captures follow each other.
#[test]
fn nothing_that_is_not_proven_is_older_than_the_limits() {
    let fast = |captures: u32| Moment { now_ns: READ_NS + 1, ..later(captures) };
    for slot in 0..200 {
        let due = |captures| standing(0).judge(&mark(&waiting()), slot, &fast(captures)) == Verdict::Due;
        assert!((1..=ROLLING).any(due), "slot {slot}");
        assert!(due(ROLLING) && due(ROLLING + 1) && due(1_000), "slot {slot}");
        // Once in a round, so that it costs a sixty-fourth.
        assert_eq!((1..ROLLING).filter(|&captures| due(captures)).count(), usize::from(slot % 64 != 10), "slot {slot}");
    }
    let slow = Moment { now_ns: READ_NS + LONGEST_NS, ..later(1) };
    assert_eq!(judge(&standing(0), &waiting(), &slow), Verdict::Due);
    let just_before = Moment { now_ns: READ_NS + LONGEST_NS - 1, ..later(1) };
    assert_eq!(judge(&standing(0), &waiting(), &just_before), Verdict::Likely);
}

#[test]
fn what_has_gone_on_lately_is_read_every_fourth_time() {
    let warm = Standing { changed_at: 10, ..standing(0) };
    let verdicts: Vec<Verdict> = (1..=5).map(|captures| judge(&warm, &waiting(), &later(captures))).collect();
    assert_eq!(verdicts[..3], [Verdict::Likely; 3]);
    assert_eq!(verdicts[3..], [Verdict::Due; 2]);
    // Long ago is not lately, and the first sight of it is no change.
    let long_ago = Standing { changed_at: 10, read_at: 10 + LATELY - 5, ..standing(0) };
    let moment = |number| Moment { number, ..later(1) };
    assert_eq!(judge(&long_ago, &waiting(), &moment(10 + LATELY)), Verdict::Due);
    assert_eq!(judge(&long_ago, &waiting(), &moment(11 + LATELY)), Verdict::Likely);
    assert_eq!(judge(&standing(0), &waiting(), &later(5)), Verdict::Likely);
}
