//! Scripts of keys and snapshots in, states out.

mod ends;

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{Effect, Event, Identity, Leave, Link, Page, Row, Settings, State, Tab};
use crate::analysis::series::{Observed, Watching};
use crate::analysis::{GroupBy, PlaceKind, SortKey};
use crate::heap::Grade;
use crate::heap::testing::made_up_leaks;
use crate::model::testing::{GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
use crate::model::{Goid, Snapshot, Status};
use crate::sampling::Sample;
use crate::sampling::source::SourceEnd;
use crate::top::leaks::LeaksFound;
use crate::top::order::{GroupSort, Order};
use crate::top::view::Selection;

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        interval: SECOND,
        max_cpu: 0.25,
        selection: Selection {
            grouping: GroupBy::Place(PlaceKind::User),
            filter: None,
            no_system: false,
            group_order: Order::by(GroupSort::Count),
            goroutine_order: Order::by(SortKey::Id),
        },
        iterations: None,
        wait: false,
        recorded: false,
        playing: None,
        tab: Tab::Groups,
    }
}

/// 50 steady, 30 that come and go in number, and a leak of 3 a second.
fn snapshot(second: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let mut add = |count: u64, function, first: u64, reason| {
        for id in first..first + count {
            let frames = vec![frame("runtime.gopark", "/go/proc.go", 1), frame(function, "/app/x.go", 1)];
            builder.add(&GoroutineSpec {
                id,
                frames,
                reason: Some(reason),
                creator: Some(frame("main.main", "/app/m.go", 9)),
                parent: Some(1),
                ..Default::default()
            });
        }
    };
    add(50, "main.steady", 1, "select");
    add(30 + (second % 2) * 40, "main.wobble", 100, "chan receive");
    add(10 + second * 3, "main.leak", 1_000, "chan send");
    let mut snapshot = builder.build();
    snapshot.monotonic_ns = NOW_NS + second * 1_000_000_000;
    snapshot
}

/// A state with what feeds it.
struct Script {
    state: State,
    watch: Watching,
    at: Duration,
    effects: Vec<Effect>,
}

impl Script {
    fn new(settings: Settings) -> Self {
        Self {
            state: State::new(settings, 80, 24),
            watch: Watching::default(),
            at: Duration::ZERO,
            effects: Vec::new(),
        }
    }

    fn apply(&mut self, event: Event) -> &mut Self {
        self.effects = self.state.apply(self.at, event);
        self
    }

    fn observe(&mut self, snapshot: Snapshot) -> Arc<Observed> {
        self.watch.observe(snapshot)
    }

    fn take(&mut self, snapshot: Snapshot, cost: Duration) -> &mut Self {
        let observed = self.observe(snapshot);
        self.apply(Event::Snapshot(Sample { observed, cost }))
    }

    /// A whole refresh at each of these seconds.
    fn seconds(&mut self, seconds: std::ops::Range<u64>) -> &mut Self {
        for second in seconds {
            self.at = Duration::from_secs(second);
            self.apply(Event::Tick);
            assert!(self.wants_reading(), "at second {second}");
            self.take(snapshot(second), Duration::from_millis(10));
        }
        self
    }

    fn wants_reading(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Read))
    }

    fn left(&self) -> Option<Leave> {
        self.effects
            .iter()
            .find_map(|effect| if let Effect::Leave(leave) = effect { Some(leave.clone()) } else { None })
    }

    fn press(&mut self, code: KeyCode) -> &mut Self {
        self.apply(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn keys(&mut self, keys: &str) -> &mut Self {
        for c in keys.chars() {
            match c {
                '\n' => self.press(KeyCode::Enter),
                '\u{1b}' => self.press(KeyCode::Esc),
                c => self.press(KeyCode::Char(c)),
            };
        }
        self
    }

    fn groups(&self) -> Vec<String> {
        let view = self.state.view().expect("a view");
        view.groups.iter().map(|group| self.state.name(group).split("  ").next().unwrap().to_owned()).collect()
    }

    fn selected(&self) -> String {
        let cursor = self.state.cursor();
        match self.state.rows().get(cursor.at) {
            Some(Row::Group(at)) => self.groups()[*at].clone(),
            Some(Row::Goroutine(at)) => self.state.view().unwrap().observed.snapshot().goroutines[*at].id.0.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn text(&self) -> String {
        let line = |line: &super::Line| line.pieces.iter().map(|piece| piece.text.as_str()).collect::<String>();
        self.state.lines().iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn a_mark_brings_the_leak_to_the_top() {
    let mut script = Script::new(settings());
    script.seconds(0..4);
    assert_eq!(script.groups(), ["main.wobble", "main.steady", "main.leak"]);
    script.keys("d").seconds(4..9);
    assert_eq!(script.groups()[0], "main.leak");
    let (group, memory) = (&script.state.view().unwrap().groups[0], script.state.memory());
    assert_eq!((memory.since_mark(group), memory.growth(group)), (Some(15), Some(24)));
    assert!((memory.groups.rate(group.key).unwrap() - 3.0).abs() < 0.01);
    script.keys("D");
    assert_eq!(script.state.settings().selection.group_order.key, GroupSort::Count);
    assert_eq!(memory_mark(&script.state), None);
}

fn memory_mark(state: &State) -> Option<u64> {
    state.memory().mark.as_ref().map(|mark| mark.at_ns)
}

#[test]
fn the_selection_stays_with_the_thing() {
    let mut script = Script::new(settings());
    script.seconds(0..1);
    // Nothing selected: whatever is first.
    assert_eq!(script.groups(), ["main.steady", "main.wobble", "main.leak"]);
    assert_eq!(script.selected(), "main.steady");
    script.seconds(1..2);
    assert_eq!(script.selected(), "main.wobble");
    // Now it is chosen, and stays wherever it moves.
    script.keys("j");
    assert_eq!(script.selected(), "main.steady");
    script.seconds(2..3);
    assert_eq!((script.selected().as_str(), script.state.cursor().at), ("main.steady", 0));
    script.seconds(3..4);
    assert_eq!((script.selected().as_str(), script.state.cursor().at), ("main.steady", 1));
    script.keys("g").seconds(4..5);
    assert_eq!(script.state.cursor().selected, None);
}

#[test]
fn a_selected_goroutine_keeps_its_line_of_the_screen() {
    let mut script = Script::new(settings());
    script.seconds(0..2).keys("2");
    for _ in 0..60 {
        script.keys("j");
    }
    assert_eq!(script.selected(), "110");
    let before = script.state.cursor();
    assert!(before.scroll > 0);
    // Ten before it have ended.
    let mut next = snapshot(3);
    next.goroutines.retain(|goroutine| goroutine.id.0 > 10);
    script.at = 2 * SECOND;
    script.apply(Event::Tick).take(next, Duration::ZERO);
    let after = script.state.cursor();
    assert_eq!((script.selected().as_str(), before.at - after.at, before.scroll - after.scroll), ("110", 10, 10));
    // It has ended itself: its place stays selected.
    let mut next = snapshot(5);
    next.goroutines.retain(|goroutine| goroutine.id.0 > 10 && goroutine.id.0 != 110);
    script.at = 3 * SECOND;
    script.apply(Event::Tick).take(next, Duration::ZERO);
    assert_eq!((script.selected().as_str(), script.state.cursor().at), ("111", after.at));
    script.keys("G").press(KeyCode::PageUp);
    assert_ne!(script.selected(), "111");
}

#[test]
fn a_filter_is_typed_explained_used_and_cleared() {
    let mut script = Script::new(settings());
    script.seconds(0..1).keys("/fnuc=leak\n");
    let prompt = script.state.prompt().expect("it stays open");
    assert!(prompt.error().expect("an error").problem().contains("fnuc"));
    for _ in 0.."fnuc=leak".len() {
        script.press(KeyCode::Backspace).press(KeyCode::Delete);
    }
    script.keys("func~leak\n");
    assert_eq!(script.groups(), ["main.leak"]);
    // A new prompt starts with it; Esc leaves it as it was.
    script.keys("/xx\u{1b}");
    assert_eq!(script.groups(), ["main.leak"]);
    script.keys("\u{1b}");
    assert_eq!(script.groups().len(), 3);
    // A q in a prompt is a letter.
    assert_eq!(script.keys("/q").left(), None);
}

#[test]
fn pages_open_on_each_other_and_close() {
    let mut script = Script::new(settings());
    // That it has not run is sure from the fourth refresh on.
    script.seconds(0..5).keys("\n");
    assert!(matches!(script.state.page(), Some(Page::Group { name, .. }) if name.starts_with("main.steady")));
    assert!(script.text().contains("50 goroutines: select"), "{}", script.text());
    assert!(script.text().contains("main.steady"), "{}", script.text());
    assert!(script.text().contains("created by main.main"), "{}", script.text());
    script.keys("G\n");
    assert_eq!(script.state.page(), Some(&Page::Goroutine(Goid(50))));
    assert!(script.text().contains("Waits    select"), "{}", script.text());
    assert!(script.text().contains("≥ 2s, found so at each refresh"), "{}", script.text());
    // Its creator is a line that leads on.
    let link = script.state.lines().iter().position(|line| line.link.is_some()).expect("a link");
    while script.state.cursor().at != link {
        script.keys("j");
    }
    script.keys("\n");
    assert_eq!(script.state.page(), Some(&Page::Goroutine(Goid(1))));
    // It ends while it is shown: its last facts stay.
    let mut next = snapshot(3);
    next.goroutines.remove(0);
    script.at = 3 * SECOND;
    script.apply(Event::Tick).take(next, Duration::ZERO);
    assert!(script.text().starts_with("goroutine 1 is not there any more\ngoroutine 1"), "{}", script.text());
    script.keys("\u{1b}\u{1b}\u{1b}\u{1b}");
    assert_eq!(script.state.page(), None);
}

#[test]
fn a_state_opens_as_a_filter() {
    let mut script = Script::new(settings());
    script.seconds(0..1).keys("3");
    let is_select = |row: &Row| matches!(script.state.identity(row), Some(Identity::Reason(_)));
    let at = script.state.rows().iter().position(is_select).expect("a reason");
    while script.state.cursor().at != at {
        script.keys("j");
    }
    script.keys("\n");
    assert_eq!(script.state.tab(), Tab::Goroutines);
    assert_eq!(
        script.state.settings().selection.filter.as_ref().map(|(text, _)| text.as_str()),
        Some("reason=\"select\"")
    );
    assert_eq!(script.state.rows().len(), 50);
}

#[test]
fn views_sorting_and_grouping() {
    let mut script = Script::new(settings());
    script.seconds(0..1).press(KeyCode::Tab);
    assert_eq!(script.state.tab(), Tab::Goroutines);
    script.keys("I");
    assert_eq!(script.selected(), "1009");
    script.press(KeyCode::BackTab).press(KeyCode::BackTab);
    assert_eq!(script.state.tab(), Tab::Leaks);
    script.keys("1>>>");
    // Without a mark its column is passed over.
    assert_eq!(script.state.settings().selection.group_order.key, GroupSort::Rate);
    script.keys(">>>");
    assert_eq!(script.groups(), ["main.leak", "main.steady", "main.wobble"]);
    script.keys("I");
    assert_eq!(script.groups()[0], "main.wobble");
    script.keys("b");
    assert_eq!(script.state.settings().selection.grouping, GroupBy::SimilarStack);
    script.keys("bb");
    assert_eq!(script.groups(), ["main.main"]);
    script.keys("b");
    assert_eq!(script.state.settings().selection.grouping, GroupBy::Object);
    script.keys("b");
    assert_eq!(script.state.settings().selection.grouping, GroupBy::Place(PlaceKind::User));
}

#[test]
fn pausing_holds_the_screen() {
    let mut script = Script::new(settings());
    script.seconds(0..1);
    script.at = SECOND;
    assert!(script.apply(Event::Tick).wants_reading());
    // The reading that goes on comes too late.
    script.keys(" ").take(snapshot(1), Duration::ZERO);
    assert_eq!(script.state.refreshes(), 1);
    script.at = 5 * SECOND;
    assert!(!script.apply(Event::Tick).wants_reading());
    assert_eq!(script.state.wake_at(), None);
    // One refresh on request, and no more.
    assert!(script.keys("r").wants_reading());
    script.take(snapshot(5), Duration::ZERO);
    assert_eq!(script.state.refreshes(), 2);
    script.at = 9 * SECOND;
    assert!(!script.apply(Event::Tick).wants_reading());
    assert!(script.keys("s").wants_reading());
}

#[test]
fn a_slow_reading_is_never_asked_for_twice() {
    let mut script = Script::new(settings());
    assert!(script.apply(Event::Tick).wants_reading());
    script.at = 10 * SECOND;
    assert!(!script.apply(Event::Tick).wants_reading());
    assert!(!script.keys("r").wants_reading());
    assert_eq!(script.state.slow_reading(), Some(10 * SECOND));
    script.take(snapshot(10), Duration::from_millis(1));
    assert_eq!(script.state.slow_reading(), None);
}

#[test]
fn the_interval_stretches_below_the_limit_of_cpu() {
    let mut script = Script::new(settings());
    script.apply(Event::Tick).take(snapshot(0), Duration::from_millis(800));
    assert_eq!(script.state.actual_interval(), Duration::from_millis(3_200));
    assert_eq!(script.state.own_cpu(), Some(0.25));
    script.at = 3 * SECOND;
    assert!(!script.apply(Event::Tick).wants_reading());
    script.at = Duration::from_millis(3_200);
    assert!(script.apply(Event::Tick).wants_reading());
    // Cheap again.
    for second in 4..12 {
        script.take(snapshot(second), Duration::from_millis(1));
    }
    assert_eq!(script.state.actual_interval(), SECOND);
    script.keys("+");
    assert_eq!(script.state.settings().interval, 2 * SECOND);
    script.keys("----------");
    assert_eq!(script.state.settings().interval, Duration::from_millis(100));
}

#[test]
fn trends_are_there_in_every_grouping() {
    let mut script = Script::new(settings());
    script.seconds(0..8);
    let trend = |script: &Script, name: &str| -> Vec<u64> {
        let groups = script.groups();
        let at = groups.iter().position(|group| group == name).unwrap_or_else(|| panic!("{name} in {groups:?}"));
        script.state.memory().groups.recent(script.state.view().unwrap().groups[at].key, 100).collect()
    };
    let leak: Vec<u64> = (0..8).map(|second| 10 + second * 3).collect();
    let wobble: Vec<u64> = (0..8).map(|second| 30 + (second % 2) * 40).collect();
    let all: Vec<u64> = leak.iter().zip(&wobble).map(|(leak, wobble)| 50 + leak + wobble).collect();
    for _ in 0..2 {
        assert_eq!((trend(&script, "main.leak"), trend(&script, "main.wobble")), (leak.clone(), wobble.clone()));
        // By stack, where they started, and who created them.
        assert_eq!(trend(script.keys("b"), "main.leak"), leak);
        assert_eq!(trend(script.keys("b"), "main.leak"), leak);
        assert_eq!(trend(script.keys("b"), "main.main"), all);
        let group = &script.state.view().unwrap().groups[0];
        assert_eq!(script.state.memory().groups.change(group.key), Some(43));
        assert_eq!(script.state.memory().groups.rate(group.key).map(f64::round), Some(5.0));
        // What they wait on is not followed, and does not disturb the others.
        script.keys("bb");
    }
    // They go on from there, and another filter is about others.
    script.keys("b").seconds(8..9);
    assert_eq!(trend(&script, "main.leak").last(), Some(&34));
    assert_eq!(trend(&script, "main.leak").len(), 9);
    script.keys("/id>1000\n");
    assert_eq!(trend(&script, "main.leak"), [33]);
}

#[test]
fn a_filter_that_matches_nothing_says_so() {
    let mut script = Script::new(settings());
    script.seconds(0..1).keys("/func=leak\n");
    let nothing = |script: &Script| script.state.view().unwrap().nothing.join("\n");
    let want = "no goroutine matches func=leak, of 90\n= needs the whole text; func~leak finds 10 goroutines";
    assert_eq!(nothing(&script), want);
    script.seconds(1..2);
    assert!(nothing(&script).ends_with("finds 13 goroutines"), "{}", nothing(&script));
    script.keys("\u{1b}");
    assert_eq!(nothing(&script), "");
}

#[test]
fn the_view_of_findings_is_there_once_there_is_one() {
    let stuck = |second: u64, ids: &[u64]| {
        let mut builder = SnapshotBuilder::new();
        for &id in ids {
            let frames = vec![frame("main.stuck", "/app/x.go", 1)];
            builder.add(&GoroutineSpec { id, frames, reason: Some("chan send (nil chan)"), ..Default::default() });
        }
        builder.add(&GoroutineSpec { id: 99, reason: Some("select"), ..Default::default() });
        let mut snapshot = builder.build();
        snapshot.monotonic_ns = NOW_NS + second * 1_000_000_000;
        snapshot
    };
    let mut script = Script::new(settings());
    script.take(stuck(0, &[]), SECOND).keys(&Tab::Findings.number().to_string());
    assert_eq!((script.state.tab(), script.state.notice()), (Tab::Groups, Some("there are no findings")));
    assert_eq!(script.press(KeyCode::BackTab).state.tab(), Tab::Leaks);
    script.take(stuck(1, &[7, 8]), SECOND).press(KeyCode::Tab);
    assert_eq!(script.state.tab(), Tab::Findings);
    assert_eq!(script.state.identity(&script.state.rows()[1]), Some(Identity::Finding("nil_channel")));
    script.press(KeyCode::Enter);
    assert_eq!(script.state.page(), Some(&Page::Finding("nil_channel")));
    // Whatever the filter says.
    script.keys("/id=99\n");
    let members = |script: &Script| script.state.rows().iter().filter(|row| matches!(row, Row::Goroutine(_))).count();
    assert_eq!(members(&script), 2);
    script.take(stuck(2, &[8]), SECOND);
    assert_eq!(members(&script), 1);
    script.press(KeyCode::Down).press(KeyCode::End).press(KeyCode::Enter);
    assert_eq!(script.state.page(), Some(&Page::Goroutine(Goid(8))));
    // It stays when there is none any more, and goes with the program.
    script.take(stuck(3, &[]), SECOND).press(KeyCode::Esc);
    assert_eq!((script.state.page(), members(&script)), (Some(&Page::Finding("nil_channel")), 0));
    script.press(KeyCode::Esc);
    assert_eq!((script.state.tab(), script.state.rows().len()), (Tab::Findings, 0));
    script.apply(Event::Returned);
    assert_eq!((script.state.tab(), script.state.tabs().len()), (Tab::Groups, Tab::ALL.len() - 1));
}

#[test]
fn a_wait_that_is_unknown_says_why() {
    let mut script = Script::new(settings());
    let mut none = snapshot(0);
    for goroutine in &mut none.goroutines {
        (goroutine.blocked_before_ns, goroutine.wait_since_ns) = (None, None);
    }
    let page = |script: &mut Script, cycles, second: u64| {
        let mut snapshot = none.clone();
        snapshot.monotonic_ns += second * 1_000_000_000;
        snapshot.gc.as_mut().unwrap().cycles = cycles;
        script.at = Duration::from_secs(second);
        script.apply(Event::Tick).take(snapshot, Duration::ZERO);
        if script.state.page().is_none() {
            script.keys("2\n");
        }
        let text = |line: &super::Line| line.pieces.iter().map(|piece| piece.text.as_str()).collect::<String>();
        script.state.lines().iter().map(text).find(|line| line.starts_with("Blocked"))
    };
    assert_eq!(page(&mut script, 0, 0).as_deref(), Some("Blocked  for how long is unknown: no GC yet"));
    assert_eq!(page(&mut script, 5, 1), None);
    page(&mut script, 5, 2);
    let watched = page(&mut script, 5, 3).expect("three intervals agree");
    assert_eq!(watched, "Blocked  ≥ 1s, found so at each refresh, and it has not run in between");
}

/// Leaks are looked for when that is asked for, one search at a time, and belong to one run of the program.
#[test]
fn leaks_are_looked_for_by_a_key() {
    let found = |snapshot: &Snapshot| {
        let leaks = made_up_leaks(Grade::Certain, &[vec![1_000, 1_001, 1_002, 9_999], vec![2]], &[]);
        Arc::new(LeaksFound::of(&crate::analysis::Index::new(snapshot), &leaks, SECOND))
    };
    let searches = |script: &Script| {
        let of = |effect: &Effect| if let Effect::FindLeaks { run, .. } = effect { Some(*run) } else { None };
        script.effects.iter().filter_map(of).collect::<Vec<u64>>()
    };
    let mut script = Script::new(settings());
    script.seconds(0..1).keys(&Tab::Leaks.number().to_string());
    assert_eq!((searches(&script), script.state.tab()), (vec![], Tab::Leaks), "showing the view reads no heap");
    script.keys("1L");
    assert_eq!((searches(&script), script.state.tab()), (vec![0], Tab::Leaks));
    script.keys("L");
    assert_eq!(searches(&script), [0; 0], "one at a time");
    script.apply(Event::Leaks(0, Ok(found(&snapshot(0)))));
    let groups = |script: &Script| script.state.rows().iter().filter(|row| matches!(row, Row::Leak(_))).count();
    assert_eq!((groups(&script), script.state.leak_times().0), (2, None));
    // Enter shows those that are still there.
    script.keys("\n");
    assert!(matches!(script.state.page(), Some(Page::Leak(1_000))), "{:?}", script.state.page());
    let members = |script: &Script| script.state.rows().iter().filter(|row| matches!(row, Row::Goroutine(_))).count();
    assert_eq!(members(&script), 3);
    script.keys("\u{1b}");
    // A search that failed keeps what was found before.
    script.keys("L");
    script.apply(Event::Leaks(0, Err("no".to_owned())));
    assert_eq!((groups(&script), script.state.leaks().problem.as_deref()), (2, Some("no")));
    // Of another run, nothing is kept, and what comes of the old one is not taken.
    script.keys("L");
    script.apply(Event::Returned);
    script.take(snapshot(1), SECOND);
    script.apply(Event::Leaks(0, Ok(found(&snapshot(0)))));
    assert_eq!(*script.state.leaks(), super::LeakView::default());
    script.apply(Event::SourceEnd(SourceEnd::Ended("gone".to_owned())));
    script.keys("L");
    assert!(searches(&script).is_empty() && script.state.notice().is_some_and(|text| text.contains("has ended")));
}

/// The view of what is waited on: its rows lead to the goroutines, and stay selected by what they are about.
#[test]
fn what_is_waited_on_leads_to_who_waits() {
    use crate::model::testing::waiting::waiting_server;
    use crate::top::waited::WaitKey;
    let mut script = Script::new(settings());
    script.take(waiting_server(), Duration::ZERO).keys(&Tab::Waits.number().to_string());
    let keys = |script: &Script| -> Vec<Identity> {
        script.state.rows().iter().filter_map(|row| script.state.identity(row)).collect()
    };
    let all = keys(&script);
    let Some(Identity::Wait(WaitKey::Object(lock))) = all.first() else { panic!("{all:?}") };
    assert_eq!(all.len(), script.state.rows().len());
    script.keys("jj");
    let selected = script.state.cursor().selected;
    assert_eq!(selected, all.get(2).copied());
    // In another order, and in the next refresh.
    script.keys("I");
    assert_eq!(script.state.cursor().selected, selected);
    assert!(script.state.cursor().at > 2, "{:?}", script.state.cursor());
    script.keys("I").take(waiting_server(), Duration::ZERO);
    assert_eq!((script.state.cursor().selected, script.state.cursor().at), (selected, 2));
    // The lock, and the goroutines that wait for it.
    script.keys("g\n");
    let members = |script: &Script| script.state.rows().iter().filter(|row| matches!(row, Row::Goroutine(_))).count();
    assert_eq!(members(&script), 211);
    let Some(Page::Wait { key, name }) = script.state.page() else { panic!("{:?}", script.state.page()) };
    assert_eq!((*key, name.as_str()), (WaitKey::Object(*lock), format!("Mutex {lock}").as_str()));
    script.keys("/id<=20\n");
    assert_eq!(members(&script), 3);
    let clear = || Event::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
    script.keys("/").apply(clear()).keys("id>1000\n");
    let first: String = script.state.lines()[0].pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!((members(&script), first), (0, format!("no goroutine waits on Mutex {lock} now")));
    // Its likely holder is a line that leads to that.
    script.keys("/").apply(clear()).keys("\n");
    let at = script.state.lines().iter().position(|line| line.link == Some(Goid(17))).expect("a line leads to it");
    for _ in 0..at {
        script.keys("j");
    }
    script.keys("\n");
    assert_eq!(script.state.page(), Some(&Page::Goroutine(Goid(17))));
    script.press(KeyCode::Esc).press(KeyCode::Esc);
    assert_eq!((script.state.page(), script.state.tab()), (None, Tab::Waits));
    // By address, whatever has none last; then by age.
    script.keys(">>");
    let objects: Vec<u64> = keys(&script)
        .iter()
        .filter_map(|key| match key {
            Identity::Wait(WaitKey::Object(addr)) => Some(addr.0),
            _ => None,
        })
        .collect();
    assert!(objects.is_sorted() && objects.len() > 4, "{objects:x?}");
}
