use super::objects::{Contents, write};
use super::*;
use crate::addr::Addr;
use crate::analysis::objects::{OnlyFrom, groups};
use crate::heap::objects::{Amount, Changes, Keeper, Objects, Path, Root, Standing, Step, TypeSum, Untyped};
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use std::time::Duration;

const MIB: u64 = 1 << 20;

pub(super) fn amount(objects: u64, bytes: u64) -> Amount {
    Amount { objects, bytes }
}

pub(super) fn snapshot() -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let frames =
        |function, line| vec![frame("runtime.gopark", "/go/proc.go", 1), frame(function, "/app/worker.go", line)];
    for id in 1..=5 {
        let (function, line) = if id < 4 { ("main.worker", 12) } else { ("example.com/shop/cart.(*Cart).wait", 77) };
        builder.add(&GoroutineSpec {
            id,
            reason: Some("chan receive"),
            frames: frames(function, line),
            ..Default::default()
        });
    }
    builder.add(&GoroutineSpec {
        id: 9,
        reason: Some("GC worker (idle)"),
        frames: frames("runtime.gcBgMarkWorker", 1),
        system: true,
        ..Default::default()
    });
    let mut snapshot = builder.build();
    snapshot.target.module.path = Some("main".to_owned());
    snapshot
}

pub(super) fn objects() -> Objects {
    let sum = |name: &str, live, only| TypeSum { name: name.to_owned(), live, only };
    let step = |addr, size, name: Option<&str>, offset, field: Option<&str>| Step {
        addr: Addr(addr),
        size,
        type_name: name.map(str::to_owned),
        offset,
        field: field.map(str::to_owned),
    };
    Objects {
        standing: Standing::Frozen(Duration::from_millis(212)),
        live: amount(120_000, 470 * MIB),
        garbage: amount(3_000, 20 * MIB),
        kept: vec![
            (Keeper::Variables, amount(90_000, 300 * MIB)),
            (Keeper::Finalizers, amount(2, 2 * MIB)),
            (Keeper::Timers, amount(0, 0)),
            (Keeper::Threads, amount(0, 0)),
            (Keeper::Group(0), amount(20_000, 100 * MIB)),
            (Keeper::Group(1), amount(9_000, 60 * MIB)),
            (Keeper::Group(2), amount(98, MIB)),
            (Keeper::OtherGoroutines, amount(0, 0)),
            (Keeper::Only, amount(900, 7 * MIB)),
        ],
        types: Some(vec![
            sum("[]uint8", amount(1_000, 300 * MIB), amount(10, MIB)),
            sum("main.order", amount(50_000, 100 * MIB), amount(800, 5 * MIB)),
            sum(
                "*atomic.Pointer[example.com/shop/internal/a/very/long/path.Thing[go.shape.struct { Name string }]]",
                amount(1, 16),
                amount(0, 0),
            ),
            sum("func \u{1b}[2Jmain.f.func1", amount(1, 16), amount(0, 0)),
        ]),
        untyped: vec![
            Untyped { size: Some(64), pointers: true, live: amount(50_000, 40 * MIB) },
            Untyped { size: None, pointers: false, live: amount(2, 30 * MIB) },
        ],
        path: Some(Path {
            root: Root::Variable(Addr(0x5a_1230)),
            variable: Some(("main.registry".to_owned(), 8)),
            steps: vec![
                step(0xc0_0001_0000, 2_048, Some("main.store"), Some(72), Some(".orders")),
                step(0xc0_0002_0000, 64, None, Some(8), None),
                step(0xc0_0003_0000, 96, Some("main.order"), None, None),
            ],
            left_out: 0,
        }),
        notes: Vec::new(),
        memory: 1,
        took: (Duration::from_millis(100), Duration::from_millis(200)),
    }
}

fn text(contents: &Contents<'_>, limit: usize) -> String {
    let mut out = Vec::new();
    let style = TextStyle { width: Some(80), colour: false };
    write(&mut out, contents, Options { style, limit, verbose: false }).unwrap();
    String::from_utf8(out).unwrap()
}

/// What people see at 80 columns: all that can be asked for; a program that runs, and is of an older Go.
#[test]
fn the_screen_of_objects_looks_as_it_did() {
    let snapshot = snapshot();
    let index = Index::new(&snapshot);
    let groups = groups(&index);
    let all = objects();
    let ids = [4, 5];
    let changes = Changes { spans: 7, objects: 1_234, goroutines: 1 };
    let old = Objects {
        standing: Standing::Running(changes),
        types: None,
        path: None,
        kept: objects().kept.into_iter().filter(|(by, _)| *by != Keeper::Only).collect(),
        notes: vec!["2 spans of the heap cannot be what they say".to_owned()],
        ..objects()
    };
    let without = Contents { index: &index, groups: &groups, objects: &old, only: None, path_to: Some("main.order") };
    let plain = Contents { path_to: None, ..without };
    let contents = Contents {
        objects: &all,
        only: Some(("cart.(*Cart).wait", &ids)),
        path_to: Some("main.order"),
        index: &index,
        groups: &groups,
    };
    let all = [text(&contents, 3), text(&without, 8), text(&plain, 1)].join("\n=====\n\n");
    assert!(all.lines().all(|line| line.chars().count() <= 80), "{all}");
    crate::report::golden::compare("heap/objects.txt", &all);
}

/// A list of a million elements is a path, too.
#[test]
fn long_paths_are_cut_in_the_middle() {
    let snapshot = snapshot();
    let index = Index::new(&snapshot);
    let mut all = objects();
    let path = all.path.as_mut().unwrap();
    let one = path.steps[1].clone();
    path.steps = (0..100).map(|n| Step { addr: Addr(n), ..one.clone() }).collect();
    path.left_out = 1_000;
    let contents = Contents { index: &index, groups: &[], objects: &all, only: None, path_to: Some("0x63") };
    let text = text(&contents, 1);
    assert_eq!(text.lines().filter(|line| line.contains(" 0x")).count(), 30 + 1);
    assert!(text.contains("over 1,100 objects") && text.contains("… 1,070 more objects"), "{text}");
    assert!(text.contains(" 0xe\n") && text.contains(" 0x63\n"), "{text}");
}

#[test]
fn goroutines_are_named_by_their_function() {
    let snapshot = snapshot();
    let index = Index::new(&snapshot);
    let ids = |name: &str| OnlyFrom::Function(name.to_owned()).ids(&index);
    assert_eq!(ids("main.worker"), Ok(vec![1, 2, 3]));
    assert_eq!(ids("cart.(*Cart).wait"), Ok(vec![4, 5]));
    assert_eq!(ids("example.com/shop/cart.(*Cart).wait"), Ok(vec![4, 5]));
    let error = ids("main.nothing").unwrap_err();
    assert!(error.contains("no goroutine is in main.nothing") && error.contains("main.worker"), "{error}");
    assert!(!error.contains("runtime."), "the runtime's own are no help: {error}");
    assert_eq!(OnlyFrom::Goroutine(5).ids(&index), Ok(vec![5]));
    assert_eq!(OnlyFrom::Goroutine(6).ids(&index), Err("there is no goroutine 6".to_owned()));
    let groups = groups(&index);
    let counts: Vec<_> = groups.iter().map(|group| (group.place.is_some(), group.ids.len())).collect();
    assert_eq!(counts, [(true, 3), (true, 2), (false, 1)]);
}
