use super::*;
use crate::analysis::answer::{Rows, SystemGoroutines};
use crate::analysis::{Filter, GroupBy, Index, PlaceKind, Request};
use crate::model::testing::waiting::waiting_server;
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{PStatus, Snapshot, Status, WarningCode, WatchedWaits};

const MINUTE: u64 = 60_000_000_000;

/// A program with a bit of everything.
fn shop() -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::new();
    let park = || frame("runtime.gopark", "/usr/local/go/src/runtime/proc.go", 461);
    builder
        .add(&GoroutineSpec {
            id: 1,
            reason: Some("select (no cases)"),
            wait_ns: Some(190 * MINUTE),
            frames: vec![park(), frame("main.main", "/home/ci/shop/cmd/orders/main.go", 88)],
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 2,
            reason: Some("force gc (idle)"),
            frames: vec![park(), frame("runtime.forcegchelper", "/usr/local/go/src/runtime/proc.go", 373)],
            system: true,
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 19,
            status: Status::Running,
            thread: Some(2),
            frames: vec![frame("example.com/shop/internal/pricing.(*Engine).Recalculate", "/x/engine.go", 1)],
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 34,
            status: Status::Syscall,
            wait_ns: Some(3 * MINUTE + 4_000_000_000),
            thread: Some(0),
            locked: true,
            frames: vec![
                frame("syscall.Syscall6", "/usr/local/go/src/syscall/syscall_linux.go", 96),
                frame("github.com/fsnotify/fsnotify.(*inotify).readEvents", "/go/pkg/mod/github.com/fsnotify/fsnotify@v1.9.0/backend_inotify.go", 412),
            ],
            ..Default::default()
        })
        .add(&GoroutineSpec {
            id: 35,
            reason: Some("chan receive"),
            wait_ns: Some(12 * MINUTE),
            frames: vec![
                park(),
                frame(
                    "github.com/prometheus/client_golang/prometheus/internal/collector.(*Registry).processMetricsLoop.func1",
                    "/go/pkg/mod/github.com/prometheus/client_golang@v1.22.0/prometheus/internal/collector/registry.go",
                    455,
                ),
            ],
            ..Default::default()
        });
    builder
}

fn many() -> SnapshotBuilder {
    let mut builder = shop();
    for id in 100..1_340_u64 {
        let (reason, function, file, line) = match id % 31 {
            0..=20 => (
                "chan receive",
                "example.com/shop/internal/worker.(*Pool).run",
                "/home/ci/shop/internal/worker/pool.go",
                71,
            ),
            21..=28 => ("IO wait", "internal/poll.(*FD).Read", "/usr/local/go/src/internal/poll/fd_unix.go", 165),
            29 => ("select", "net/http.(*persistConn).writeLoop", "/usr/local/go/src/net/http/transport.go", 2590),
            _ => (
                "sync.Mutex.Lock",
                "example.com/shop/internal/cart.Update[go.shape.struct { ID int64; Lines []example.com/shop/internal/cart.Line }]",
                "/home/ci/shop/internal/cart/update.go",
                40,
            ),
        };
        builder.add(&GoroutineSpec {
            id,
            reason: Some(reason),
            wait_ns: (id % 3 != 0).then_some((id % 7) * MINUTE + 1_000_000_000),
            frames: vec![frame(function, file, line)],
            ..Default::default()
        });
    }
    builder
}

/// As the command asks for it.
fn request() -> Request {
    let rows = Rows::Auto { most_single: 60, by: GroupBy::Place(PlaceKind::User) };
    Request { system: SystemGoroutines::Apart, rows, group_limit: Some(40), ..Request::default() }
}

fn each() -> Request {
    Request { rows: Rows::Each, ..request() }
}

fn render(snapshot: &Snapshot, options: SummaryOptions) -> String {
    answered(&Index::new(snapshot), request(), options)
}

fn answered(index: &Index<'_>, request: Request, options: SummaryOptions) -> String {
    let mut out = Vec::new();
    summary(&mut out, &Answer::of(index, request), options).expect("a Vec takes everything");
    String::from_utf8(out).expect("text is UTF-8")
}

fn at(width: usize) -> SummaryOptions {
    SummaryOptions { style: TextStyle { width: Some(width), colour: false }, ..Default::default() }
}

/// Compares with `src/report/text/golden/NAME`.
fn golden(name: &str, text: &str) {
    crate::report::golden::compare(&format!("text/golden/{name}"), text);
}

fn widest(text: &str) -> usize {
    text.lines().map(shorten::width).max().unwrap_or(0)
}

#[test]
fn the_summary_looks_as_it_should() {
    for width in [80, 140] {
        let few = render(&shop().build(), at(width));
        let groups = render(&many().build(), at(width));
        assert!(widest(&few) <= width && widest(&groups) <= width);
        golden(&format!("few-{width}.txt"), &few);
        golden(&format!("many-{width}.txt"), &groups);
    }
}

#[test]
fn ps_and_ms_are_shown_when_they_stand_out() {
    let calm = || {
        let mut builder = shop();
        let snapshot = builder.edit();
        for p in &mut snapshot.processors {
            p.run_queue = 0;
        }
        snapshot.sched.as_mut().unwrap().global_run_queue = Some(0);
        builder
    };
    let shown = |edit: &dyn Fn(&mut Snapshot), verbose: bool| {
        let mut builder = calm();
        edit(builder.edit());
        let text = render(&builder.build(), SummaryOptions { verbose, ..at(100) });
        let all = text.contains("\nPs\n") && text.contains("\nMs\n");
        assert_eq!(text.contains("-v shows every P and M"), !all, "{text}");
        (text.contains("\nPs\n"), text.contains("\nMs\n"))
    };
    assert_eq!(shown(&|_| {}, false), (false, false));
    assert_eq!(shown(&|_| {}, true), (true, true));
    assert_eq!(shown(&|s| s.processors[1].run_queue = 1, false), (true, false));
    assert_eq!(shown(&|s| s.sched.as_mut().unwrap().global_run_queue = Some(1), false), (true, false));
    assert_eq!(shown(&|s| s.processors[1].status = PStatus::GcStop, false), (true, false));
    assert_eq!(shown(&|s| s.threads[1].state = Some('D'), false), (false, true));
    let near = |s: &mut Snapshot| {
        let sched = s.sched.as_mut().unwrap();
        (sched.threads, sched.max_threads) = (Some(8_000), Some(10_000));
    };
    assert_eq!(shown(&near, false), (false, true));
    let text = render(&calm().build(), SummaryOptions { verbose: true, ..at(100) });
    assert!(text.lines().any(|line| line.starts_with("  1 ") && line.ends_with("  sysmon")), "{text}");
}

/// Findings stand below the name, before anything else; each with its stack at the end.
#[test]
fn findings_come_first() {
    for width in [60, 80, 120, 200] {
        let text = render(&many().build(), at(width));
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("  ! 1 finding: 22 goroutines")), "{text}");
        let (_, section) = text.split_once("\nFindings\n").unwrap();
        assert!(section.contains("as goroutine 185:\n") && section.contains("update.go:40"), "{section}");
        assert!(section.lines().all(|line| shorten::width(line) <= width), "{section}");
    }
    assert!(!render(&shop().build(), at(80)).contains("finding"));
}

#[test]
fn warnings_filter_and_colour() {
    let mut builder = shop();
    let snapshot = builder.edit();
    let message = "go1.99 is not known; the table of go1.27 was used after all of its checks passed on this program";
    snapshot.warnings.add(WarningCode::NearestLayout, message);
    snapshot.reading.consistency.moving = 1;
    snapshot.reading.consistency.retried = 2;
    (snapshot.sched, snapshot.heap, snapshot.gc) = (None, None, None);
    let mut options = at(80);
    options.style.colour = true;
    let filter = Some(("state=waiting".to_owned(), Filter::parse("state=waiting").expect("a filter")));
    let request = Request { filter, limit: Some(2), place: PlaceKind::Creator, ..request() };
    let snapshot = builder.build();
    let all = (0..snapshot.goroutines.len()).collect();
    let mut out = Vec::new();
    summary(&mut out, &Answer::at(&Index::new(&snapshot), all, request), options).expect("a Vec takes everything");
    golden("odd-80-colour.txt", &String::from_utf8(out).expect("text is UTF-8"));
}

#[test]
fn hostile_names_stay_on_their_lines() {
    let long = "x".repeat(5_000);
    let mut builder = SnapshotBuilder::new();
    for (id, function) in
        [(1, "evil\u{1b}[2J\u{202e}.f\n\r"), (2, "名前/パッケージ.(*関数).呼び出し"), (3, long.as_str()), (4, "")]
    {
        let reason = Some("wait\0\u{200b}ing");
        builder.add(&GoroutineSpec { id, reason, frames: vec![frame(function, "\u{7}.go", 1)], ..Default::default() });
    }
    builder.edit().target.cmdline = vec!["x".to_owned(), "\u{1b}]0;owned\u{7}".to_owned()];
    let snapshot = builder.build();
    for width in [80, 140] {
        let text = render(&snapshot, at(width));
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
        assert!(!text.contains(['\u{202e}', '\u{200b}']), "{text}");
        assert!(widest(&text) <= width, "{text}");
    }
}

#[test]
fn any_number_of_goroutines() {
    let none = render(&SnapshotBuilder::new().build(), at(80));
    assert!(none.contains("Goroutines  0") && !none.contains("The program's own"), "{none}");

    let mut builder = SnapshotBuilder::new();
    for id in 0..100_000 {
        let function = if id % 2 == 0 { "main.even" } else { "main.odd" };
        builder.add(&GoroutineSpec { id, frames: vec![frame(function, "/m.go", 1)], ..Default::default() });
    }
    let snapshot = builder.build();
    let groups = render(&snapshot, at(80));
    assert!(groups.contains("100,000 in 2 places") && groups.lines().count() < 60);
    let index = Index::new(&snapshot);
    let all = answered(&index, each(), at(80));
    assert!(all.lines().count() > 100_000);
    let some = answered(&index, Request { limit: Some(10), ..each() }, at(80));
    assert!(some.contains("… and 99,990 more goroutines"), "{some}");
}

#[test]
fn without_a_width_nothing_is_shortened() {
    let text = render(&shop().build(), SummaryOptions::default());
    assert!(
        text.contains("prometheus/client_golang/prometheus/internal/collector.(*Registry).processMetricsLoop.func1")
    );
    assert!(text.contains(
        "/go/pkg/mod/github.com/prometheus/client_golang@v1.22.0/prometheus/internal/collector/registry.go:455"
    ));
}

/// Ages that are unknown say why where that is known, and those that were measured look different.
#[test]
fn ages_say_how_they_are_known() {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=3 {
        let frames = vec![frame("main.wait", "/app/w.go", 3)];
        builder.add(&GoroutineSpec { id, reason: Some("sync.Mutex.Lock"), frames, ..Default::default() });
    }
    builder.edit().gc.as_mut().expect("it has statistics").cycles = 0;
    let mut snapshot = builder.build();
    let written = |snapshot: &Snapshot, waits: &WatchedWaits, request, can_watch| {
        answered(&Index::with_waits(snapshot, waits), request, SummaryOptions { can_watch, ..at(100) })
    };
    let none = WatchedWaits::default();
    let text = written(&snapshot, &none, each(), true);
    assert!(text.contains("  ages         unknown: no GC yet (--watch 2s measures them)\n"), "{text}");
    let text = written(&snapshot, &none, each(), false);
    assert!(text.contains("unknown: no GC yet\n") && !text.contains("--watch"), "{text}");

    let mut waits = WatchedWaits::default();
    waits.insert(snapshot.goroutines[0].id, snapshot.monotonic_ns - 2 * MINUTE);
    snapshot.goroutines[1].blocked_before_ns = std::num::NonZeroU64::new(snapshot.monotonic_ns - 3 * MINUTE);
    let text = written(&snapshot, &waits, each(), true);
    let age = |text: &str, first: &str| {
        let mut rows = text.lines().filter(|line| line.contains("main.wait"));
        let row = rows.find(|line| line.trim_start().starts_with(first)).map(str::to_owned);
        row.unwrap_or_else(|| panic!("no row {first}: {text}"))
    };
    assert!(age(&text, "1 ").contains("Lock  2m watched  main.wait"), "{text}");
    assert!(age(&text, "2 ").contains("        3m  main.wait"), "{text}");
    assert!(!text.contains("unknown"), "{text}");
    // A lock that was watched for a minute is a finding, though the program has never collected.
    assert!(text.contains("long_lock_wait"), "{text}");
    let text =
        written(&snapshot, &waits, Request { rows: Rows::Groups(GroupBy::Place(PlaceKind::User)), ..request() }, true);
    assert!(text.contains("2m–3m watched"), "{text}");
}

/// What goroutines wait on has the room that nothing else wants: where there is little, all else stays as it is
/// without.
#[test]
fn what_is_waited_on_stands_beside_the_state() {
    let snapshot = waiting_server();
    let mut without = snapshot.clone();
    without.goroutines.iter_mut().for_each(|goroutine| goroutine.waiting_on = None);
    for width in [60, 80, 120, 200] {
        let shown = |snapshot: &Snapshot, request: Request| answered(&Index::new(snapshot), request, at(width));
        let groups = shown(&snapshot, request());
        let few = || Request {
            ids: vec!["17-20".parse().unwrap(), "229-231".parse().unwrap(), "355-375".parse().unwrap()],
            ..each()
        };
        let some = shown(&snapshot, few());
        for (text, request) in [(&groups, request()), (&some, few())] {
            assert!(widest(text) <= width.max(widest(&shown(&without, request))), "{text}");
        }
        golden(&format!("waits-{width}.txt"), &groups);
        golden(&format!("waits-each-{width}.txt"), &some);
        for (with, request) in [(&groups, request()), (&some, few())] {
            let bare = shown(&without, request);
            assert_eq!(with.lines().count(), bare.lines().count(), "{with}{bare}");
            if width <= 80 {
                let last = |line: &str| line.split_whitespace().last().unwrap_or_default().to_owned();
                for (with, bare) in with.lines().zip(bare.lines()) {
                    assert!(with == bare || last(with) == last(bare), "{with}\n{bare}");
                }
            }
        }
    }
}
