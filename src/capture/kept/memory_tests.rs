use super::*;

fn reasons() -> Vec<String> {
    ["", "select"].map(str::to_owned).to_vec()
}

fn waiting(goid: u64) -> G {
    G { atomicstatus: 4, goid, waitreason: 1, sched_pc: 1, ..G::default() }
}

/// A capture at `now_ns` that reads these, with the stack of each; gives what the next one has.
fn capture(kept: &mut Kept, now_ns: u64, gs: &[(u64, Option<G>)]) {
    kept.begin(now_ns, None, &reasons(), false);
    let mut noted = Noted::default();
    for (addr, g) in gs {
        let entry = kept.find(*addr, &mut kept.first_from(*addr));
        noted.read(kept, (*addr, entry), g.as_ref(), g.map(|_| StackNode::for_test(7)), 5);
    }
    kept.end(noted);
}

fn keeps(kept: &Kept, addr: u64, g: &G) -> bool {
    kept.find(addr, &mut kept.first_from(addr)).and_then(|entry| kept.keep((addr, entry), g)).is_some()
}

#[test]
fn those_that_come_and_go_are_found_by_address() {
    let mut kept = Kept::default();
    capture(&mut kept, 1, &[(0x300, Some(waiting(3))), (0x100, Some(waiting(1)))]);
    capture(&mut kept, 2, &[(0x200, Some(waiting(2))), (0x400, Some(waiting(4))), (0x300, None)]);
    kept.begin(3, None, &reasons(), false);
    let found: Vec<bool> = [(0x100, 1), (0x200, 2), (0x300, 3), (0x400, 4), (0x500, 5)]
        .map(|(addr, goid)| keeps(&kept, addr, &waiting(goid)))
        .to_vec();
    assert_eq!(found, [true, true, false, true, false]);
    // The way in which a chunk finds them: all addresses in order, with some that are not known.
    let mut cursor = kept.first_from(0x180);
    let numbers: Vec<Option<u32>> =
        [0x180, 0x200, 0x280, 0x300, 0x400, 0x500].map(|at| kept.find(at, &mut cursor)).to_vec();
    assert_eq!(numbers, [None, Some(1), None, Some(2), Some(3), None]);
}

/// Of one goroutine, what was noted last counts: a first try that failed, and one that did not.
#[test]
fn the_last_reading_of_a_goroutine_counts() {
    let mut kept = Kept::default();
    capture(&mut kept, 1, &[(0x100, Some(waiting(1)))]);
    capture(&mut kept, 2, &[(0x100, None), (0x100, Some(waiting(1)))]);
    kept.begin(3, None, &reasons(), false);
    assert!(keeps(&kept, 0x100, &waiting(1)));
    kept.end(Noted::default());
    capture(&mut kept, 4, &[(0x100, Some(waiting(1))), (0x100, None)]);
    kept.begin(5, None, &reasons(), false);
    assert!(!keeps(&kept, 0x100, &waiting(1)));
}

#[test]
fn other_words_and_a_clock_that_goes_back_keep_nothing() {
    let mut kept = Kept::default();
    capture(&mut kept, 10, &[(0x100, Some(waiting(1)))]);
    kept.begin(9, None, &reasons(), false);
    assert!(!keeps(&kept, 0x100, &waiting(1)));
    capture(&mut kept, 10, &[(0x100, Some(waiting(1)))]);
    kept.begin(11, Some(WaitWords::USUAL), &reasons(), false);
    assert!(!keeps(&kept, 0x100, &waiting(1)));
}

/// A stamp that a kept goroutine gets is carried on, so that another one later shows.
#[test]
fn stamps_of_kept_ones_are_carried_on() {
    let mut kept = Kept::default();
    capture(&mut kept, 100, &[(0x100, Some(waiting(1)))]);
    kept.begin(101, None, &reasons(), false);
    let stamped = G { waitsince: 50, ..waiting(1) };
    let keep = kept.keep((0x100, 0), &stamped).unwrap();
    assert!(!keep.proven);
    let mut noted = Noted::default();
    noted.keep(&kept, keep);
    assert_eq!(noted.readings(3, 101), StackReadings { read: 2, kept: 1, kept_proven: 0, oldest_ms: Some(0) });
    kept.end(noted);
    kept.begin(102, None, &reasons(), false);
    assert!(keeps(&kept, 0x100, &stamped));
    assert!(!keeps(&kept, 0x100, &waiting(1)));
    assert!(!keeps(&kept, 0x100, &G { waitsince: 60, ..stamped }));
}

#[test]
fn the_second_newest_stamp_is_that_of_another_collection() {
    let mut kept = Kept::default();
    kept.begin(100, None, &reasons(), false);
    for stamps in [&[7, 7, 0][..], &[], &[9, 7], &[8, 9], &[3]] {
        let mut noted = Noted::default();
        stamps.iter().for_each(|&stamp| noted.stamp(stamp));
        kept.end(noted);
    }
    assert_eq!((kept.newest_stamp, kept.moment.second_newest_stamp), (9, 8));
}
