use super::{Place, PlaceKind};
use crate::analysis::group::{GroupBy, group};
use crate::analysis::{Census, Index};
use crate::model::testing::{FrameSpec, GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{Snapshot, SymbolPool};

/// The source file that the compiler would name.
fn file(function: &str, root: &str) -> String {
    let package = crate::go_names::package(function).unwrap_or_default().into_owned();
    let standard = package != "main" && !package.contains('.') && !package.starts_with("shop");
    let dir = match package.as_str() {
        "main" => "/home/me/shop".to_owned(),
        "time" => format!("{root}runtime"),
        _ if standard => format!("{root}{package}"),
        _ => format!("/home/me/go/pkg/mod/{package}"),
    };
    format!("{dir}/x.go")
}

/// Functions from the innermost to the outermost; a star before the name of a wrapper.
fn stack(root: &'static str, functions: &[&'static str]) -> Vec<FrameSpec<'static>> {
    let spec = |(line, function): (u32, &&'static str)| {
        let file: &'static str = Box::leak(file(function, root).into_boxed_str());
        frame(function, file, line)
    };
    (1..).zip(functions).map(spec).collect()
}

/// What is written of the place of the last goroutine.
fn text(snapshot: &Snapshot) -> String {
    let index = Index::new(snapshot);
    let place = index.place(snapshot.goroutines.last().unwrap(), PlaceKind::User);
    let started = if matches!(place, Place::StartedIn(_)) { "started in " } else { "" };
    let Some(spot) = place.spot() else { return "unknown".to_owned() };
    let name = |frame| index.function(Some(frame));
    let callee = spot.callee.map_or(String::new(), |frame| format!(" <- {}", name(frame)));
    let operation = spot.operation.map_or(String::new(), |frame| format!(" (in {})", name(frame)));
    format!("{started}{}{callee}{operation}", name(spot.frame))
}

fn snapshot(functions: &[&'static str], root: &'static str, module: Option<&str>, system: bool) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    builder.edit().target.module.path = module.map(str::to_owned);
    builder.edit().target.module.package = None;
    builder.add(&GoroutineSpec { frames: stack(root, functions), system, ..Default::default() });
    builder.build()
}

const READ: [&str; 8] = [
    "runtime.gopark",
    "runtime.netpollblock",
    "internal/poll.runtime_pollWait",
    "internal/poll.(*pollDesc).wait",
    "internal/poll.(*FD).Read",
    "net.(*netFD).Read",
    "net.(*conn).Read",
    "bufio.(*Reader).fill",
];

#[test]
fn the_users_frame_stands_for_a_stack() {
    let on = |inner: &[&'static str], outer: &[&'static str]| [inner, outer, &["runtime.goexit"]].concat();
    let lock =
        ["runtime.gopark", "internal/sync.(*Mutex).lockSlow", "internal/sync.(*Mutex).Lock", "sync.(*Mutex).Lock"];
    let pq = [
        "io.ReadAtLeast",
        "github.com/lib/pq.(*conn).recv",
        "database/sql.(*DB).Query",
        "main.dbQuery",
        "main.handler",
    ];
    for (functions, want) in [
        (on(&READ, &pq), "main.dbQuery <- github.com/lib/pq.(*conn).recv (in net.(*conn).Read)"),
        // Another module's code that the main module does not call.
        (on(&READ, &["github.com/lib/pq.(*conn).listen"]), "github.com/lib/pq.(*conn).listen (in net.(*conn).Read)"),
        // The main module's own packages are like package main, and the innermost of them counts.
        (on(&lock, &["shop.com/app/cart.Update", "main.main"]), "shop.com/app/cart.Update (in sync.(*Mutex).Lock)"),
        (on(&["runtime.chanrecv1"], &["main.worker"]), "main.worker"),
        (on(&["runtime.gopark", "time.Sleep"], &["main.tick"]), "main.tick (in time.Sleep)"),
        (on(&["syscall.Syscall", "syscall.Flock"], &["main.lock"]), "main.lock (in syscall.Flock)"),
        // Called back by the standard library: what is further out does not count.
        (
            on(&["runtime.gopark"], &["main.handler", "net/http.HandlerFunc.ServeHTTP", "net/http.(*conn).serve"]),
            "main.handler",
        ),
        // Nothing but the standard library: the outermost of it.
        (
            on(&READ, &["net/http.(*connReader).Read", "bufio.(*Reader).Peek", "net/http.(*conn).serve"]),
            "net/http.(*conn).serve (in net.(*conn).Read)",
        ),
        (
            on(&["runtime.gopark", "runtime.selectgo"], &["net/http.(*persistConn).writeLoop"]),
            "net/http.(*persistConn).writeLoop",
        ),
        (on(&["runtime.gopark", "os/signal.signal_recv"], &["os/signal.loop"]), "os/signal.loop"),
        // Nothing but the runtime.
        (on(&["runtime.gopark"], &["runtime.main"]), "runtime.main"),
        (on(&["runtime.gopark"], &[]), "runtime.gopark"),
    ] {
        for root in ["/usr/local/go/src/", ""] {
            assert_eq!(text(&snapshot(&functions, root, Some("shop.com/app"), false)), want, "{root:?}");
        }
    }
    // Which module is the main one is not known.
    let functions = on(&lock, &["shop.com/app/cart.Update", "github.com/x/y.Run", "main.main"]);
    assert_eq!(
        text(&snapshot(&functions, "", None, false)),
        "main.main <- shop.com/app/cart.Update (in sync.(*Mutex).Lock)"
    );
}

#[test]
fn wrappers_stand_for_nothing() {
    let functions = ["runtime.gopark", "net/http.(*Server).Serve", "main.main.gowrap1", "runtime.goexit"];
    let mut builder = SnapshotBuilder::new();
    builder.add(&GoroutineSpec { frames: stack("", &functions), ..Default::default() });
    let snapshot = builder.build();
    assert_eq!(
        text(&snapshot),
        "main.main.gowrap1 (in net/http.(*Server).Serve)",
        "the builder hides the runtime's frames only"
    );
    let crate::model::StackState::Known(id) = snapshot.goroutines[0].stack else { panic!("it has a stack") };
    let mut hidden = snapshot.symbols.stack(id).unwrap().clone();
    hidden.frames[2].hidden = true;
    let mut snapshot = snapshot;
    let mut pool = snapshot.symbols.view();
    snapshot.goroutines[0].stack = crate::model::StackState::Known(pool.intern_stack(hidden));
    snapshot.symbols = std::sync::Arc::new(pool);
    assert_eq!(text(&snapshot), "net/http.(*Server).Serve");
}

/// All of them wait in one function of the runtime; their start functions identify them.
#[test]
fn system_goroutines_are_where_they_started() {
    let functions = ["runtime.gopark", "runtime.bgsweep", "runtime.gcenable.gowrap1", "runtime.goexit"];
    let mut one = snapshot(&functions, "/go/src/", None, true);
    one.goroutines[0].start = one
        .symbols
        .stack(match one.goroutines[0].stack {
            crate::model::StackState::Known(id) => id,
            crate::model::StackState::NotShown(_) => panic!("it has a stack"),
        })
        .map(|stack| stack.frames[2].frame);
    assert_eq!(text(&one), "runtime.bgsweep");
    // The same in a census, which JSON, diff and check go by.
    let mut pool = SymbolPool::default();
    let census = Census::of_snapshot(&one, "one", &mut pool);
    assert_eq!(census.members[0].place.frame().map(|frame| pool.function(frame)), Some("runtime.bgsweep"));
}

#[test]
fn what_is_known_of_those_without_a_stack() {
    let mut running = SnapshotBuilder::new();
    running.add(&GoroutineSpec {
        status: crate::model::Status::Running,
        frames: vec![frame("main.spin", "/s.go", 1)],
        ..Default::default()
    });
    assert_eq!(text(&running.build()), "started in main.spin");
    let mut unknown = SnapshotBuilder::new();
    unknown.add(&GoroutineSpec::default());
    assert_eq!(text(&unknown.build()), "unknown");
}

/// What merges, and what does not.
#[test]
fn groups_are_made_by_the_users_frame() {
    let mut builder = SnapshotBuilder::new();
    let send = ["runtime.gopark", "net.(*conn).Write", "github.com/lib/pq.(*conn).send", "main.dbQuery"];
    let read = [&READ[..], &["github.com/lib/pq.(*conn).recv", "main.dbQuery"]].concat();
    let mut deeper = read.clone();
    deeper.remove(3);
    let mut add = |id, functions: &[&'static str]| {
        let mut frames = stack("/go/src/", functions);
        // One line of the program, with any frames further in.
        frames.last_mut().unwrap().line = 27;
        builder.add(&GoroutineSpec { id, frames, reason: Some("IO wait"), ..Default::default() });
    };
    add(1, &read);
    add(2, &deeper);
    add(3, &send);
    add(4, &[&READ[..], &["net/http.(*conn).serve"]].concat());
    let snapshot = builder.build();
    let index = Index::new(&snapshot);
    let counts: Vec<u64> =
        group(&index, &GroupBy::Place(PlaceKind::User), &[0, 1, 2, 3], 9).iter().map(|group| group.count).collect();
    assert_eq!(counts, [2, 1, 1]);
    // The same in a census.
    let mut pool = SymbolPool::default();
    let census = Census::of_snapshot(&snapshot, "one", &mut pool);
    let groups = crate::analysis::census::groups(&census.members, &GroupBy::Place(PlaceKind::User), &pool);
    assert_eq!(groups.iter().map(|group| group.count).collect::<Vec<_>>(), [2, 1, 1]);
}
