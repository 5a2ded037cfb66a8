//! What the live view draws, compared with the screens in `tests/top`. `GOSPY_BLESS=1` writes them
//! anew.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::alone;
use crossterm::event::{KeyCode, KeyEvent};
use gospy::analysis::series::Watching;
use gospy::analysis::{Filter, GroupBy, Index, PlaceKind, SortKey};
use gospy::heap::Grade;
use gospy::heap::testing::made_up_leaks;
use gospy::model::testing::waiting::waiting_server;
use gospy::model::testing::{FrameSpec, GoroutineSpec, NOW_NS, SnapshotBuilder, frame};
use gospy::model::{Goid, Snapshot, Status, WarningCode};
use gospy::sampling::{Sample, SourceEnd};
use gospy::top::draw::{Theme, draw};
use gospy::top::event::{Event, Settings};
use gospy::top::leaks::LeaksFound;
use gospy::top::order::{GroupSort, Order};
use gospy::top::play::Extent;
use gospy::top::state::State;
use gospy::top::tab::Tab;
use gospy::top::view::Selection;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use unicode_width::UnicodeWidthStr;

const SIZES: [(u16, u16); 4] = [(40, 10), (60, 18), (80, 24), (132, 43)];
/// Sizes at which what is waited on is shown in different ways.
const WIDER: [(u16, u16); 5] = [(40, 10), (60, 18), (80, 24), (120, 30), (200, 30)];

fn settings() -> Settings {
    Settings {
        interval: Duration::from_secs(1),
        max_cpu: 0.25,
        selection: Selection {
            grouping: GroupBy::Place(PlaceKind::User),
            filter: None,
            no_system: true,
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

/// A shop that leaks two goroutines a second.
fn shop(second: u64) -> Snapshot {
    let http = |function, line| -> Vec<FrameSpec<'static>> {
        vec![
            frame("runtime.gopark", "/usr/lib/go/src/runtime/proc.go", 462),
            frame(function, "/src/shop/internal/orders/store.go", line),
            frame("example.com/shop/internal/orders.(*Server).Handle", "/src/shop/internal/orders/server.go", 118),
            frame("net/http.HandlerFunc.ServeHTTP", "/usr/lib/go/src/net/http/server.go", 2322),
            frame("net/http.(*conn).serve", "/usr/lib/go/src/net/http/server.go", 2109),
        ]
    };
    let serve = || Some(frame("net/http.(*Server).Serve", "/usr/lib/go/src/net/http/server.go", 3464));
    let mut builder = SnapshotBuilder::new();
    builder.add(&GoroutineSpec {
        id: 1,
        reason: Some("IO wait"),
        wait_ns: Some(11_000_000_000_000),
        frames: vec![
            frame("runtime.gopark", "/usr/lib/go/src/runtime/proc.go", 462),
            frame("net.(*netFD).accept", "/usr/lib/go/src/net/fd_unix.go", 172),
            frame("main.main", "/src/shop/cmd/orders/main.go", 41),
        ],
        ..Default::default()
    });
    for (id, function) in [(2, "runtime.forcegchelper"), (3, "runtime.bgsweep"), (4, "runtime.bgscavenge")] {
        let frames = vec![
            frame("runtime.gopark", "/usr/lib/go/src/runtime/proc.go", 462),
            frame(function, "/usr/lib/go/src/runtime/mgc.go", 300),
        ];
        builder.add(&GoroutineSpec {
            id,
            reason: Some("GC worker (idle)"),
            frames,
            system: true,
            ..Default::default()
        });
    }
    builder.add(&GoroutineSpec {
        id: 19,
        status: Status::Running,
        frames: vec![frame("example.com/shop/internal/price.(*Engine).loop", "/src/shop/internal/price/engine.go", 77)],
        thread: Some(2),
        locked: true,
        ..Default::default()
    });
    for id in 100..124 {
        builder.add(&GoroutineSpec {
            id,
            status: if id % 8 == second % 8 { Status::Runnable } else { Status::Waiting },
            reason: (id % 8 != second % 8).then_some("select"),
            frames: http("example.com/shop/internal/orders.(*Store).Query", 204),
            creator: serve(),
            parent: Some(1),
            labels: vec![("tenant", if id % 3 == 0 { "blue" } else { "green" }), ("route", "/orders/{id}")],
            ..Default::default()
        });
    }
    for id in 1_000..1_010 + 2 * second {
        builder.add(&GoroutineSpec {
            id,
            reason: Some("chan send"),
            frames: vec![
                frame("runtime.gopark", "/usr/lib/go/src/runtime/proc.go", 462),
                frame("example.com/shop/internal/audit.(*Log).flush.func1", "/src/shop/internal/audit/log.go", 58),
            ],
            creator: Some(frame("example.com/shop/internal/audit.(*Log).flush", "/src/shop/internal/audit/log.go", 55)),
            parent: Some(19),
            ..Default::default()
        });
    }
    let mut snapshot = builder.build();
    snapshot.monotonic_ns = NOW_NS + second * 1_000_000_000;
    snapshot.target.cpu_ns = Some(62_500_000_000 + second * 130_000_000);
    snapshot.processors[0].schedtick += u32::try_from(second * 250).unwrap();
    snapshot.processors[0].running = Some(Goid(19));
    snapshot
}

/// A state at a size, with what feeds it.
struct Screen {
    state: State,
    watch: Watching,
    at: Duration,
}

impl Screen {
    fn new(settings: Settings, (width, height): (u16, u16)) -> Self {
        Self { state: State::new(settings, width, height), watch: Watching::default(), at: Duration::ZERO }
    }

    fn take(mut self, snapshot: Snapshot) -> Self {
        self.state.apply(self.at, Event::Tick);
        let observed = self.watch.observe(snapshot);
        self.state.apply(self.at, Event::Snapshot(Sample { observed, cost: Duration::from_millis(12) }));
        self.at += Duration::from_secs(1);
        self
    }

    fn shop(size: (u16, u16)) -> Self {
        (0..12).fold(Self::new(settings(), size), |screen, second| screen.take(shop(second)))
    }

    fn event(mut self, event: Event) -> Self {
        self.state.apply(self.at, event);
        self
    }

    fn keys(mut self, keys: &str) -> Self {
        for c in keys.chars() {
            let code = match c {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                c => KeyCode::Char(c),
            };
            self = self.event(Event::Key(KeyEvent::from(code)));
        }
        self
    }

    /// Presses the key of a view.
    fn show(self, tab: Tab) -> Self {
        self.keys(&tab.number().to_string())
    }

    /// After the notices have gone.
    fn later(mut self) -> Self {
        self.at += Duration::from_secs(5);
        self.event(Event::Tick)
    }

    fn buffer(&self, colour: bool) -> Buffer {
        let size = (self.state.layout().body.width, self.state.layout().footer.bottom());
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| draw(frame, &self.state, Theme { colour })).unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(&self) -> String {
        text(&self.buffer(true))
    }
}

fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        let mut x = 0;
        while x < buffer.area.width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += u16::try_from(symbol.width().max(1)).unwrap();
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Compares with `tests/top/NAME-WIDTHxHEIGHT.txt` at each size.
fn check(name: &str, make: impl Fn((u16, u16)) -> Screen) {
    check_at(&SIZES, name, make);
}

fn check_at(sizes: &[(u16, u16)], name: &str, make: impl Fn((u16, u16)) -> Screen) {
    let mut wrong = Vec::new();
    for &size in sizes {
        let shown = make(size).text();
        let (width, height) = size;
        assert_eq!(shown.lines().count(), usize::from(height));
        for line in shown.lines() {
            assert!(line.width() <= usize::from(width), "{line:?} is wider than {width}");
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/top/{name}-{width}x{height}.txt"));
        if std::env::var_os("GOSPY_BLESS").is_some() {
            std::fs::write(&path, &shown).unwrap();
        } else {
            let wanted = std::fs::read_to_string(&path).unwrap_or_default();
            if wanted != shown {
                wrong.push(format!("{}\nis\n{wanted}\nand not\n{shown}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn groups() {
    check("groups", Screen::shop);
    check("groups-with-system", |size| Screen::shop(size).keys("S"));
}

#[test]
fn groups_with_a_mark() {
    check("groups-marked", |size| {
        let screen = Screen::shop(size).keys("d");
        (12..18).fold(screen, |screen, second| screen.take(shop(second))).later()
    });
}

#[test]
fn groups_by_stack_and_label() {
    check("groups-by-stack", |size| Screen::shop(size).keys("b"));
    check("groups-by-label", |size| {
        let mut settings = settings();
        settings.selection.grouping = GroupBy::Label("tenant".to_owned());
        Screen::new(settings, size).take(shop(0)).take(shop(1))
    });
}

#[test]
fn goroutines() {
    check("goroutines", |size| Screen::shop(size).keys("2jj"));
}

#[test]
fn states() {
    check("states", |size| Screen::shop(size).keys("3"));
}

#[test]
fn scheduler() {
    check("scheduler", |size| Screen::shop(size).keys("4"));
}

/// The shop, when something is wrong with it.
fn troubled(second: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let mut add = |id, reason, wait_ns, function| {
        let frames = vec![
            frame("runtime.gopark", "/usr/lib/go/src/runtime/proc.go", 462),
            frame(function, "/src/shop/internal/audit/log.go", 58),
        ];
        let creator = Some(frame("main.main", "/src/shop/cmd/orders/main.go", 30));
        builder.add(&GoroutineSpec { id, reason: Some(reason), wait_ns, frames, creator, ..Default::default() });
    };
    add(1, "select (no cases)", None, "main.main");
    for id in 20..43 {
        add(id, "sync.Mutex.Lock", Some(95_000_000_000), "example.com/shop/internal/audit.(*Log).Write");
    }
    add(50, "chan receive (nil chan)", None, "example.com/shop/internal/audit.(*Log).rotate");
    let mut snapshot = builder.build();
    snapshot.monotonic_ns = NOW_NS + second * 1_000_000_000;
    snapshot
}

#[test]
fn findings() {
    let troubled = |size| Screen::new(settings(), size).take(troubled(0)).take(troubled(1));
    check("findings", |size| troubled(size).show(Tab::Findings));
    check("finding", |size| troubled(size).show(Tab::Findings).keys("j\n"));
    check("findings-over", |size| troubled(size).take(shop(2)).show(Tab::Findings));
    check("groups-with-findings", troubled);
}

/// What goroutines wait on: in the lists, where there is room, and in a view of its own.
#[test]
fn waits() {
    let server = |size| Screen::new(settings(), size).take(waiting_server()).take(waiting_server());
    let all = |name: &str, keys: &str| {
        check_at(&WIDER, name, |size| server(size).keys(keys));
    };
    all("waits", "5");
    all("waits-groups", "");
    all("waits-goroutines", "2");
    // Sorted by age, reversed, filtered; what is selected stays so in the next refresh.
    all("waits-filtered", "5>>>I/kind=network\n");
    all("waits-object", "5jj\n");
    all("waits-goroutine", "5j\n\n");
    check("waits-stay", |size| server(size).keys("5jjj").take(waiting_server()));
    check("waits-none", |size| Screen::shop(size).keys("5"));
}

#[test]
fn a_group() {
    check("group", |size| Screen::shop(size).keys("j\n"));
    check("group-unfolded", |size| Screen::shop(size).keys("j\nf"));
}

#[test]
fn a_goroutine() {
    check("goroutine", |size| Screen::shop(size).keys("2jjjjj\n"));
}

#[test]
fn a_filter_and_a_bad_one() {
    check("filter", |size| Screen::shop(size).keys("/reason=select or state=runnable\n"));
    check("filter-bad", |size| Screen::shop(size).keys("/reason=select and aeg>5m\n"));
    // Where it does not apply, the view says so.
    check("filter-scheduler", |size| Screen::shop(size).keys("/reason=select or state=runnable\n4"));
    check("filter-group", |size| Screen::shop(size).keys("/reason=select or state=runnable\n\n"));
    check("filter-typed", |size| Screen::shop(size).keys("/func~audit"));
    check("filter-nothing", |size| Screen::shop(size).keys("/creator=audit\n"));
}

#[test]
fn a_recording() {
    let recorded = |size| Screen::new(Settings { recorded: true, ..settings() }, size).take(shop(0));
    check("recorded", recorded);
    check("recorded-states", |size| recorded(size).keys("3"));
}

#[test]
fn a_recording_is_played() {
    let now = shop(0).monotonic_ns;
    let playing = Some(Extent { first_ns: now - 90_000_000_000, last_ns: now + 3_510_000_000_000 });
    let screen = |size| Screen::new(Settings { playing, ..settings() }, size).take(shop(0));
    check("playing", screen);
    check("playing-paused", |size| screen(size).keys(" "));
    check("playing-ended", |size| screen(size).event(Event::SourceEnd(SourceEnd::Finished)));
}

#[test]
fn help() {
    check("help", |size| Screen::shop(size).keys("?"));
    check("help-scrolled", |size| Screen::shop(size).keys("?jjjjjjjjjjjjjjjjjjjj"));
}

#[test]
fn banners() {
    check("paused", |size| Screen::shop(size).keys(" "));
    check("ended", |size| {
        Screen::shop(size).event(Event::SourceEnd(SourceEnd::Ended("process 4242 has ended".to_owned())))
    });
    check("failing", |size| {
        Screen::shop(size).event(Event::SourceEnd(SourceEnd::Failed("no permission\u{1b}[31m".to_owned())))
    });
    check("before", |size| Screen::new(settings(), size));
    check("stretched", |size| {
        let mut screen = Screen::new(settings(), size);
        screen.state.apply(screen.at, Event::Tick);
        let observed = screen.watch.observe(shop(0));
        screen.event(Event::Snapshot(Sample { observed, cost: Duration::from_millis(800) }))
    });
}

#[test]
fn an_empty_target_and_one_without_statistics() {
    check("empty", |size| {
        let mut builder = SnapshotBuilder::new();
        let snapshot = builder.edit();
        (snapshot.heap, snapshot.gc, snapshot.sched) = (None, None, None);
        snapshot.processors.clear();
        snapshot.threads.clear();
        (snapshot.target.uptime_ns, snapshot.target.gomaxprocs, snapshot.target.os_threads) = (None, None, None);
        snapshot.warnings.add(WarningCode::SymbolMissing, "runtime.sched was not found");
        Screen::new(settings(), size).take(builder.build())
    });
    check("one", |size| {
        let mut builder = SnapshotBuilder::new();
        let frames = vec![frame("main.main", "/m.go", 1)];
        builder.add(&GoroutineSpec { id: 1, status: Status::Running, frames, ..Default::default() });
        Screen::new(settings(), size).take(builder.build())
    });
}

fn many(count: u64, second: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let names: Vec<String> = (0..200).map(|n| format!("example.com/app/pkg{n}.(*Worker).run")).collect();
    for id in 1..=count {
        let name = &names[usize::try_from(id * id % 200).unwrap()];
        let frames = vec![frame("runtime.gopark", "/go/proc.go", 1), frame(name, "/app/w.go", 33)];
        builder.add(&GoroutineSpec { id, reason: Some("chan receive"), frames, ..Default::default() });
    }
    let mut snapshot = builder.build();
    snapshot.monotonic_ns = NOW_NS + second * 1_000_000_000;
    snapshot
}

#[test]
fn a_hundred_thousand() {
    let snapshots = [many(100_000, 0), many(100_000, 1)];
    check("many", |size| {
        snapshots
            .iter()
            .fold(Screen::new(settings(), size), |screen, snapshot| screen.take(snapshot.clone()))
            .keys("2G")
    });
}

#[test]
fn hostile_and_long_and_wide_names() {
    let long = format!("example.com/{}/pkg.(*Type).{}", "very/".repeat(60), "Method".repeat(700));
    let snapshot = || {
        let mut builder = SnapshotBuilder::new();
        let names = [
            "main.\u{1b}[2J\u{1b}]0;owned\u{7}evil",
            "main.\u{202e}gnp.exe\u{200b}",
            "例え.名前.(*型).とても長いメソッドの名前がここに続きます",
            "main.naïve\u{301}\u{301}\u{301}",
            long.as_str(),
            "main.👩‍👩‍👧‍👦.family",
            "",
        ];
        for (id, name) in (1..).zip(names) {
            builder.add(&GoroutineSpec {
                id,
                reason: Some("chan\u{9b}2J receive"),
                frames: vec![frame(name, "/src/\u{1b}[31m/名前.go", 7)],
                labels: vec![("k\u{1b}ey", "v\nalue")],
                ..Default::default()
            });
        }
        let snapshot = builder.edit();
        snapshot.target.exe = "/bin/\u{1b}[2Jx".to_owned();
        snapshot.target.go_version = "go1.26\r\u{1b}c".to_owned();
        builder.build()
    };
    check("hostile", |size| Screen::new(settings(), size).take(snapshot()));
    check("hostile-goroutine", |size| Screen::new(settings(), size).take(snapshot()).keys("2\n"));
    for keys in ["", "\n", "2", "2G\n", "3", "4", "bb"] {
        let buffer = Screen::new(settings(), (100, 30)).take(snapshot()).keys(keys).buffer(true);
        for cell in &buffer.content {
            assert!(!cell.symbol().chars().any(char::is_control), "{:?} after {keys:?}", cell.symbol());
        }
    }
}

#[test]
fn every_size_can_be_drawn() {
    for keys in ["", "2", "3", "4", "5", "5\n", "6", "6\n", "\n", "2\n", "?", "/", "/x=", "d"] {
        let mut screen = Screen::shop((80, 24)).take(troubled(12)).keys(keys);
        for (width, height) in [(1, 1), (2, 40), (200, 1), (7, 3), (13, 5), (20, 6), (300, 80), (40, 10), (0, 0)] {
            screen = screen.event(Event::Resize(width, height));
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &screen.state, Theme { colour: true })).unwrap();
        }
        // A terminal that has shrunk before it said so.
        let screen = screen.event(Event::Resize(120, 50));
        let mut terminal = Terminal::new(TestBackend::new(30, 8)).unwrap();
        terminal.draw(|frame| draw(frame, &screen.state, Theme { colour: true })).unwrap();
    }
}

#[test]
fn without_colour_there_is_none() {
    let is_plain =
        |buffer: &Buffer| buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset);
    for keys in ["", "2", "3", "4", "\n", "?", "/x="] {
        let screen = Screen::shop((132, 43)).keys(keys);
        assert!(is_plain(&screen.buffer(false)), "{keys:?}");
        assert!(!is_plain(&screen.buffer(true)), "{keys:?}");
        // Only the terminal's own sixteen colours.
        let theirs = |colour: Color| !matches!(colour, Color::Rgb(..) | Color::Indexed(_));
        assert!(screen.buffer(true).content.iter().all(|cell| theirs(cell.fg) && theirs(cell.bg)));
    }
}

/// Memory of this process, bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn memory_is_flat_over_a_thousand_refreshes() {
    alone("top_screens::memory_is_flat_over_a_thousand_refreshes", memory_over_a_thousand_refreshes);
}

fn memory_over_a_thousand_refreshes() {
    let mut settings = settings();
    settings.selection.filter = Some(("id>0".to_owned(), Filter::parse("id>0").unwrap()));
    let mut screen = Screen::new(settings, (80, 24)).take(shop(0)).keys("d");
    let mut early = 0;
    for refresh in 1..=1_000 {
        // Names come and go, so that groups do.
        let mut builder = SnapshotBuilder::new();
        let names: Vec<String> = (refresh..refresh + 50).map(|n| format!("main.f{}", n % 400)).collect();
        for id in 1..=2_000_u64 {
            let frames = vec![frame(&names[usize::try_from(id % 50).unwrap()], "/x.go", 1)];
            builder.add(&GoroutineSpec {
                id: id + refresh * 100,
                reason: Some("select"),
                frames,
                ..Default::default()
            });
        }
        let mut snapshot = builder.build();
        snapshot.monotonic_ns = NOW_NS + refresh * 1_000_000_000;
        screen = screen.take(snapshot);
        screen.text();
        if refresh == 400 {
            early = resident();
        }
    }
    let grown = resident().saturating_sub(early);
    assert!(grown < 8 << 20, "{grown} bytes more after 600 refreshes");
    assert!(screen.state.memory().groups.followed() <= 400);
}

/// What the heap of the shop shows: its audit log's goroutines are leaked, and two handlers wait for each other.
fn leaked(grade: Grade) -> Arc<LeaksFound> {
    let snapshot = shop(5);
    let index = Index::new(&snapshot);
    let ids = [(1_000..1_010).collect::<Vec<u64>>(), vec![100, 101]];
    Arc::new(LeaksFound::of(&index, &made_up_leaks(grade, &ids, &[vec![100, 101]]), Duration::from_millis(210)))
}

#[test]
fn leaks_are_shown_when_they_were_asked_for() {
    check("leaks-before", |size| Screen::shop(size).show(Tab::Leaks));
    check("leaks-looking", |size| Screen::shop(size).keys("L").later());
    let found = |size, grade| Screen::shop(size).keys("L").event(Event::Leaks(0, Ok(leaked(grade))));
    check("leaks", |size| found(size, Grade::Certain).later());
    check("leaks-confirmed", |size| found(size, Grade::Confirmed));
    check("leaks-group", |size| found(size, Grade::Certain).keys("\n").later());
    check("leaks-failed", |size| {
        Screen::shop(size).keys("L").event(Event::Leaks(0, Err("cannot walk the heap\u{1b}[31m".to_owned())))
    });
}
