//! Targets that end, come back or are recordings, and readings that fail.

use super::*;

#[test]
fn the_end_of_the_target_is_an_event() {
    let mut script = Script::new(settings());
    script.seconds(0..2);
    script.at = 2 * SECOND;
    script.apply(Event::Tick).apply(Event::SourceEnd(SourceEnd::Ended("process 4242 has ended".to_owned())));
    assert_eq!(script.state.link(), &Link::Ended("process 4242 has ended".to_owned()));
    script.at = 60 * SECOND;
    assert!(!script.apply(Event::Tick).wants_reading());
    assert!(!script.keys("r").wants_reading());
    // The last view can still be looked through.
    assert_eq!(script.groups().len(), 3);
    script.keys("\n");
    assert!(script.state.page().is_some());
    assert_eq!(script.keys("q").left(), Some(Leave::Done));
}

#[test]
fn a_failed_reading_is_tried_again() {
    let mut script = Script::new(settings());
    script.apply(Event::Tick).apply(Event::SourceEnd(SourceEnd::Failed("no".to_owned())));
    assert!(!script.apply(Event::Tick).wants_reading());
    script.at = SECOND;
    assert!(script.apply(Event::Tick).wants_reading());
    script.take(snapshot(1), Duration::ZERO);
    assert_eq!(script.state.link(), &Link::Live);
}

#[test]
fn a_successor_starts_anew() {
    let mut script = Script::new(Settings { wait: true, ..settings() });
    script.seconds(0..3).keys("d\n");
    script.apply(Event::SourceEnd(SourceEnd::Ended("gone".to_owned())));
    script.watch.reset();
    script.at = 9 * SECOND;
    assert!(script.apply(Event::Returned).wants_reading());
    assert!(script.state.view().is_none() && script.state.page().is_none());
    script.take(snapshot(0), Duration::ZERO);
    let group = &script.state.view().unwrap().groups[0];
    assert_eq!((script.state.memory().growth(group), script.state.memory().since_mark(group)), (Some(0), None));
}

#[test]
fn leaving() {
    assert_eq!(Script::new(settings()).keys("q").left(), Some(Leave::Done));
    assert_eq!(Script::new(settings()).apply(Event::Terminate(15)).left(), Some(Leave::Signal(15)));
    let mut script = Script::new(Settings { iterations: Some(2), ..settings() });
    assert_eq!(script.seconds(0..1).left(), None);
    assert_eq!(script.seconds(1..2).left(), Some(Leave::Done));
    // Any key closes the help and does nothing else, q too; Ctrl-C leaves.
    let mut script = Script::new(settings());
    for key in ["x", "q", "d", "2", "\u{1b}", "?"] {
        assert_eq!(script.keys("?").state.help(), Some(0));
        assert_eq!((script.keys(key).state.help(), script.left(), script.state.tab()), (None, None, Tab::Groups));
    }
    script.keys("?").apply(Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
    assert_eq!(script.left(), Some(Leave::Done));
}

#[test]
fn a_target_that_ends_before_anything_was_shown_is_left_at_once() {
    let ended = || Event::SourceEnd(SourceEnd::Ended("process 4242 has ended".to_owned()));
    let mut script = Script::new(settings());
    script.apply(Event::Tick).apply(ended());
    assert_eq!(script.left(), Some(Leave::Ended("process 4242 has ended".to_owned())));
    // Who waits for its successor stays, and may give up.
    let mut script = Script::new(Settings { wait: true, ..settings() });
    script.apply(Event::Tick).apply(ended());
    assert_eq!(script.left(), None);
    assert_eq!(script.keys("q").left(), Some(Leave::Ended("process 4242 has ended".to_owned())));
    // What was shown can still be looked at.
    let mut script = Script::new(settings());
    script.seconds(0..1).apply(ended());
    assert_eq!(script.left(), None);
    assert_eq!(script.keys("q").left(), Some(Leave::Done));
}

#[test]
fn another_run_in_the_same_process_starts_anew() {
    let mut script = Script::new(settings());
    script.seconds(0..5).keys("d\n");
    assert!(script.state.memory().growth(&script.state.view().unwrap().groups[0]).is_some_and(|growth| growth > 0));
    let run = |second, uptime| {
        let mut next = snapshot(second);
        next.target.uptime_ns = Some(uptime);
        next
    };
    script.at = 5 * SECOND;
    script.apply(Event::Tick).take(run(5, 300_000_000), Duration::ZERO);
    assert!(
        script.state.notice().is_some_and(|notice| notice.contains("has restarted")),
        "{:?}",
        script.state.notice()
    );
    let (view, memory) = (script.state.view().unwrap(), script.state.memory());
    let group = &view.groups[0];
    assert_eq!(
        (memory.growth(group), memory.since_mark(group), memory.groups.change(group.key)),
        (Some(0), None, None)
    );
    assert_eq!((memory.totals.len(), memory.groups.len(), script.state.page()), (1, 1, None));
    assert_eq!((script.state.restarts(), script.state.settings().selection.group_order.key), (1, GroupSort::Count));
    script.at = 6 * SECOND;
    script.apply(Event::Tick).take(run(6, 1_300_000_000), Duration::ZERO);
    assert_eq!((script.state.restarts(), script.state.memory().totals.len()), (1, 2));
}

#[test]
fn a_recording_has_nothing_to_compare_with() {
    let mut script = Script::new(Settings { recorded: true, ..settings() });
    script.seconds(0..1);
    script.at = 60 * SECOND;
    assert!(!script.apply(Event::Tick).wants_reading());
    let before = script.state.settings().interval;
    for key in ["d", "D", "+", "-", " ", "r"] {
        script.keys(key);
        assert_eq!(script.state.notice(), Some("this is a recording: it does not change"), "{key}");
    }
    assert_eq!((memory_mark(&script.state), script.state.settings().interval), (None, before));
    assert!(!script.state.is_paused() && !script.wants_reading());
    // Only the columns that are there.
    let key = |script: &Script| script.state.settings().selection.group_order.key;
    assert_eq!(key(script.keys(">")), GroupSort::Age);
    assert_eq!(key(script.keys(">>")), GroupSort::Function);
    assert_eq!(key(script.keys("<<<")), GroupSort::Count);
}

#[test]
fn a_snapshot_is_written_on_request() {
    assert!(Script::new(settings()).keys("w").effects.iter().all(|effect| !matches!(effect, Effect::Save { .. })));
    let mut script = Script::new(settings());
    script.seconds(0..1).keys("w");
    assert!(matches!(script.effects.as_slice(), [Effect::Save { live: true, .. }]));
    script.apply(Event::Saved(Ok("x.capture".to_owned())));
    assert_eq!(script.state.notice(), Some("written to x.capture"));
    script.at += 10 * SECOND;
    script.apply(Event::Tick);
    assert_eq!(script.state.notice(), None);
    // What a paused view shows is not what the program is now.
    script.keys(" w");
    assert!(script.effects.iter().any(|effect| matches!(effect, Effect::Save { live: false, .. })));
}

#[test]
fn an_empty_target_and_keys_before_there_is_anything() {
    let everything = "jkgGdD<>I brS+-w\n?x1234\u{1b}/a\u{1b}";
    let mut script = Script::new(settings());
    script.keys(everything);
    script.apply(Event::Tick).take(SnapshotBuilder::new().build(), Duration::ZERO).keys(everything);
    let mut builder = SnapshotBuilder::new();
    builder.add(&GoroutineSpec { id: 0, status: Status::Dead, ..Default::default() });
    script.take(builder.build(), Duration::ZERO).keys(everything);
    assert!(script.state.view().unwrap().groups.is_empty());
}

#[test]
fn names_that_are_numbered_anew_change_nothing_of_what_is_selected_or_open() {
    for open in [false, true] {
        // From here on, names are numbered as `snapshot` meets them.
        drop(SnapshotBuilder::of_new_session());
        let mut script = Script::new(settings());
        script.seconds(0..3);
        let before = script.state.view().unwrap().observed.snapshot().symbols.id();
        let selected = |script: &Script| {
            let state = &script.state;
            let row = state.rows()[state.cursor().at];
            let Row::Group(at) = row else { panic!("{row:?}") };
            state.name(&state.view().unwrap().groups[at])
        };
        script.press(KeyCode::Down).press(KeyCode::Down);
        assert!(selected(&script).starts_with("main.leak"));
        let key_of_leak = |script: &Script| {
            let groups = &script.state.view().unwrap().groups;
            groups.iter().find(|group| script.state.name(group).starts_with("main.leak")).unwrap().key
        };
        let key_before = key_of_leak(&script);
        script.keys("d");
        if open {
            script.press(KeyCode::Enter);
        }
        script.at = Duration::from_secs(3);
        script.apply(Event::Tick).take(renumbered(3), Duration::from_millis(10));
        assert_ne!(script.state.view().unwrap().observed.snapshot().symbols.id(), before);
        assert_ne!(key_of_leak(&script), key_before, "else this shows nothing");
        // Counts of the other pool are not compared with these.
        assert_eq!(script.state.memory().groups.len(), 1);
        assert!(script.state.memory().mark.is_none());
        assert_eq!(script.state.settings().selection.group_order, Order::by(GroupSort::Count));
        assert_eq!(script.state.restarts(), 0);
        if open {
            assert!(matches!(script.state.page(), Some(Page::Group { name, .. }) if name.starts_with("main.leak")));
            let members = script.state.rows().iter().filter(|row| matches!(row, Row::Goroutine(_))).count();
            assert_eq!(members, 19);
            script.keys("\u{1b}");
        }
        assert!(selected(&script).starts_with("main.leak"), "{}", selected(&script));
    }
}

/// The same program in a pool that numbers names differently, as a session starts one when it has met
/// more names than it keeps.
fn renumbered(second: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::of_new_session();
    let mut add = |count: u64, function, first: u64, reason| {
        for id in first..first + count {
            let frames = vec![frame("runtime.gopark", "/go/proc.go", 1), frame(function, "/app/x.go", 1)];
            builder.add(&GoroutineSpec { id, frames, reason: Some(reason), ..Default::default() });
        }
    };
    // In another order, and behind another one: the ids that names had are those of others now.
    add(1, "main.first", 5_000, "select");
    add(10 + second * 3, "main.leak", 1_000, "chan send");
    add(30, "main.wobble", 100, "chan receive");
    add(50, "main.steady", 1, "select");
    let mut snapshot = builder.build();
    snapshot.goroutines.sort_by_key(|goroutine| goroutine.id);
    snapshot.monotonic_ns = NOW_NS + second * 1_000_000_000;
    snapshot
}

#[test]
fn a_recording_is_played_back_and_forth() {
    use crate::top::play::{Extent, Seek};
    let second = |second: u64| NOW_NS + second * 1_000_000_000;
    let playing = Some(Extent { first_ns: second(0), last_ns: second(9) });
    let mut script = Script::new(Settings { playing, ..settings() });
    script.seconds(0..4);
    assert!(script.state.memory().totals.recent(crate::top::view::Total::All, 9).count() == 4);
    // A step holds it there.
    script.press(KeyCode::Char('['));
    assert!(
        matches!(script.effects.as_slice(), [Effect::Seek(Seek::Samples(-1)), Effect::Read]),
        "{:?}",
        script.effects
    );
    assert!(script.state.is_paused());
    // Steps that are asked for meanwhile are one step more.
    script.press(KeyCode::Char('[')).press(KeyCode::Char('['));
    assert!(script.effects.is_empty(), "{:?}", script.effects);
    script.take(snapshot(2), Duration::from_millis(1));
    assert!(
        matches!(script.effects.as_slice(), [Effect::Seek(Seek::Samples(-2)), Effect::Read]),
        "{:?}",
        script.effects
    );
    script.take(snapshot(0), Duration::from_millis(1));
    assert_eq!(script.state.view().unwrap().observed.snapshot().monotonic_ns, second(0));
    // What was added up is of later moments.
    assert_eq!(script.state.memory().totals.recent(crate::top::view::Total::All, 9).count(), 1);
    assert!(!script.wants_reading());
    script.press(KeyCode::Char('}'));
    assert!(matches!(script.effects.as_slice(), [Effect::Seek(Seek::Time(60_000_000_000)), Effect::Read]));
    // At its end it goes on nowhere, but back.
    script.apply(Event::SourceEnd(SourceEnd::Finished));
    script.press(KeyCode::Char('('));
    assert!(matches!(script.effects.as_slice(), [Effect::Seek(Seek::First), Effect::Read]));
    assert_eq!(script.state.link(), &Link::Live);
    script.take(snapshot(0), Duration::from_millis(1));
    script.press(KeyCode::Char(' '));
    script.seconds(30..31);
}

#[test]
fn what_is_not_recorded_has_no_other_moments() {
    let mut script = Script::new(settings());
    script.seconds(0..1);
    script.press(KeyCode::Char('['));
    assert!(script.effects.is_empty() && script.state.notice().is_some_and(|text| text.contains("only a recording")));
}
