//! Nothing of what is left out is anywhere in a redacted snapshot, and what is kept is still what it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::addr::Addr;
use crate::model::testing::{FrameSpec, GoroutineSpec, SnapshotBuilder, frame, later};
use crate::model::{
    Activity, Ancestor, Channel, DeathKind, DeathSignal, ForeignStack, Goid, Outside, StackKind, TextMapping,
    WaitObject, WarningCode,
};
use crate::process::descriptor::{FileKind, Protocol, UnixKind};

/// In everything that must not be there.
const SECRET: &str = "SECRET";
const ROOT: &str = "/SECRET/go/src/";

fn secret(what: &str) -> String {
    format!("{SECRET}-{what}")
}

fn socket(local: &str, remote: Option<&str>) -> Descriptor {
    let name = |text: &str| text.parse().map_or_else(|_| SocketName::Unix(text.into()), SocketName::Ip);
    let protocol = Some(if local.starts_with('@') { Protocol::Unix(UnixKind::Stream) } else { Protocol::Tcp });
    Descriptor::Socket(Socket { protocol, local: Some(name(local)), remote: remote.map(name), ..Socket::unknown(9) })
}

/// A snapshot with a secret in every string field, of a program built with absolute paths.
fn full() -> Snapshot {
    let [proc, time, serve] =
        ["runtime/proc.go", "runtime/time.go", "net/http/server.go"].map(|file| format!("{ROOT}{file}"));
    let mut builder = SnapshotBuilder::of_new_session();
    let stack = vec![
        frame("runtime.gopark", &proc, 398),
        frame("time.Sleep", &time, 3),
        frame("net/http.(*conn).serve", &serve, 2009),
        FrameSpec { inlined: true, ..frame("main.handle", "/SECRET/shop/cmd/shop/main.go", 3) },
        frame("example.com/shop/db.(*DB).Query", "/SECRET/shop/db/db.go", 9),
        frame("github.com/x/y.F", "/SECRET/pkg/mod/github.com/x/y@v1.2.3/y.go", 9),
        frame("corp/lib.G", "/SECRET/corp/lib/g.go", 9),
        FrameSpec { foreign: true, ..frame("poll", "/SECRET/lib/libc.so.6", 0) },
    ];
    let tenants = [secret("a"), secret("b"), secret("a")];
    for (id, tenant) in (1..).zip(&tenants) {
        let labels = vec![("tenant", tenant.as_str())];
        builder.add(&GoroutineSpec { id, reason: Some("sleep"), frames: stack.clone(), labels, ..Default::default() });
    }
    let place = builder.frame(&frame("main.main", "/SECRET/shop/cmd/shop/main.go", 4));
    let mut snapshot = builder.build();
    let symbols = Arc::make_mut(&mut snapshot.symbols);
    let chain = vec![Ancestor { id: Goid(1), frames: vec![place], printed: Vec::new(), creator: Some(place) }];
    snapshot.goroutines[0].ancestors = Some(symbols.intern_ancestors(chain));
    snapshot.goroutines[0].panic = Some(symbols.intern_str(&secret("panic")));
    symbols.intern_str(&secret("that nothing refers to"));
    let object = |symbols: &mut SymbolPool, path: &str| symbols.intern_str(path);
    let c = ForeignFrame {
        function: Some(symbols.intern_str("read")),
        object: object(symbols, "/SECRET/lib/libc.so.6"),
        pc: Addr(1),
        offset: 2,
    };
    // Another library of the same name, at the same place: numbers of stacks stay all the same.
    let other = ForeignFrame { object: object(symbols, "/SECRET/old/libc.so.6"), ..c };
    let in_c = |frame| ForeignStack { frames: vec![frame], complete: true, syscall: None };
    snapshot.goroutines[0].foreign = Some(symbols.intern_foreign(in_c(c)));
    snapshot.goroutines[1].foreign = Some(symbols.intern_foreign(in_c(other)));
    let element_type = Some(symbols.intern_str("*main.T"));
    snapshot
        .waits
        .add_object(WaitObject::new(Addr(3), ObjectState::Channel(Channel { element_type, ..Channel::default() })));
    let peer = DescriptorDetails::of(&socket("127.0.0.1:80", Some("10.1.2.3:5432"))).map(Box::new);
    let path = DescriptorDetails::of(&socket("@SECRET", None)).map(Box::new);
    for details in [peer, path] {
        let state = ObjectState::Descriptor { fd: 4, network: true, details };
        snapshot.waits.add_object(WaitObject::new(Addr(4), state));
    }
    let outside = Outside {
        goroutine: Addr(5),
        in_c: true,
        activity: Activity::Unknown,
        c_function: Some(c),
        polled: Vec::new(),
    };
    snapshot.not_in_go = NotInGo::new(vec![outside], Some(format!("/{SECRET} is not there")));
    let file = OpenFile { path: format!("/{SECRET}"), deleted: false, kind: Some(FileKind::Regular) };
    let found = [
        (3, Descriptor::File(file)),
        (4, socket("127.0.0.1:80", Some("10.1.2.3:5432"))),
        (5, socket("@SECRET", Some("/SECRET"))),
        (6, Descriptor::Unknown { reason: format!("/{SECRET}") }),
    ];
    snapshot.descriptors = Descriptors::of_known(found.into(), Some(format!("/{SECRET}")));
    snapshot.death = Some(death());
    snapshot.traceback = Some(TracebackDetails {
        labels: true,
        strings: [((1, 2), secret("argument"))].into_iter().collect(),
        ..TracebackDetails::default()
    });
    let target = &mut snapshot.target;
    target.exe = format!("/{SECRET}/bin/shop");
    target.cmdline = vec!["shop".to_owned(), secret("token")];
    target.text = Some(TextMapping {
        file: format!("/{SECRET}/bin/shop"),
        gnu_build_id: None,
        start: Addr(1),
        end: Addr(2),
        offset: 0,
    });
    target.module = ModuleInfo {
        package: Some("example.com/shop/cmd/shop".to_owned()),
        path: Some("example.com/shop".to_owned()),
        settings: BTreeMap::from([
            ("-ldflags".to_owned(), secret("-X main.token")),
            ("-race".to_owned(), "true".to_owned()),
        ]),
        ..ModuleInfo::default()
    };
    snapshot.reading.layout = format!("DWARF of /{SECRET}");
    snapshot.reading.provenance = vec![Provenance {
        name: "runtime.allgs".to_owned(),
        source: format!("symbols of /{SECRET}"),
        cross_checks: vec![format!("/{SECRET}"), "code".to_owned()],
    }];
    snapshot.warnings.add(WarningCode::ImageMalformed, format!("/{SECRET} is malformed"));
    snapshot.warnings.add(WarningCode::StackMalformed, "goroutine 7: its stack ends early");
    snapshot
}

fn death() -> Death {
    Death {
        kind: DeathKind::Panic,
        text: format!("panic: {SECRET}\n"),
        message: None,
        panics: vec![PanicValue { go_type: Some("string".to_owned()), text: secret("panic"), ..Default::default() }],
        signal: None,
        core_signal: DeathSignal::default(),
        process: 7,
        thread: 7,
        m: None,
        stack_kind: StackKind::Goroutine,
        object: Some(format!("/{SECRET}/libc.so.6")),
        goroutine: None,
        stack: None,
        stack_complete: true,
        certain: true,
    }
}

/// All of it, the pool included, whether anything refers to it or not.
fn holds_a_secret(snapshot: &Snapshot) -> bool {
    let entries: Vec<PoolEntry> = snapshot.symbols.entries_after(PoolLen::default()).collect();
    format!("{snapshot:?} {entries:?}").contains(SECRET)
}

fn redacted(redactor: &mut Redactor, snapshot: &Snapshot) -> Snapshot {
    let mut redacted = snapshot.clone();
    redactor.snapshot(&mut redacted);
    redacted
}

#[test]
fn nothing_is_left_of_what_is_left_out() {
    let snapshot = full();
    assert!(holds_a_secret(&snapshot));
    let mut redactor = Redactor::default();
    let once = redacted(&mut redactor, &snapshot);
    assert!(!holds_a_secret(&once), "{once:?}");
    // What was redacted can be redacted.
    let twice = redacted(&mut Redactor::default(), &once);
    assert!(!holds_a_secret(&twice));
    let pool = redactor.pool(&snapshot.symbols, &snapshot.target);
    assert!(!format!("{:?}", pool.entries_after(PoolLen::default()).collect::<Vec<_>>()).contains(SECRET));
}

#[test]
fn names_stay_and_files_are_named_as_with_trimpath() {
    let redacted = redacted(&mut Redactor::default(), &full());
    let (target, symbols) = (&redacted.target, &redacted.symbols);
    assert_eq!((target.exe.as_str(), target.name(), target.cmdline.len()), ("shop", "shop", 0));
    assert_eq!(target.module.settings, BTreeMap::from([("-race".to_owned(), "true".to_owned())]));
    let stack = symbols.stack(redacted.goroutines[0].stack.known().unwrap()).unwrap();
    let frames = stack.frames.iter().map(|frame| symbols.frame(frame.frame).unwrap());
    let lines: Vec<String> = frames
        .map(|frame| format!("{} {}:{}", symbols.str(frame.function), symbols.str(frame.file), frame.line))
        .collect();
    assert_eq!(
        lines,
        [
            "runtime.gopark runtime/proc.go:398",
            "time.Sleep runtime/time.go:3",
            "net/http.(*conn).serve net/http/server.go:2009",
            "main.handle example.com/shop/cmd/shop/main.go:3",
            "example.com/shop/db.(*DB).Query example.com/shop/db/db.go:9",
            "github.com/x/y.F github.com/x/y@v1.2.3/y.go:9",
            "corp/lib.G corp/lib@unknown/g.go:9",
            "poll libc.so.6:0",
        ]
    );
    // Equal values are equal, others are not, and keys are there.
    let tenant = |goroutine: usize| {
        symbols.str(symbols.label(redacted.goroutines[goroutine].labels.unwrap(), "tenant").unwrap())
    };
    assert_eq!((tenant(0), tenant(1), tenant(2)), ("redacted-1", "redacted-2", "redacted-1"));
    assert_eq!(symbols.str(redacted.goroutines[0].panic.unwrap()), REDACTED);
    let object = |goroutine: usize| {
        symbols.str(symbols.foreign(redacted.goroutines[goroutine].foreign.unwrap()).unwrap().frames[0].object)
    };
    assert_eq!((object(0), object(1)), ("libc.so.6", "libc.so.6 (2)"));
    // Whose code a function is does not change.
    let places = |snapshot: &Snapshot| {
        let index = crate::analysis::Index::new(snapshot);
        format!("{:?}", index.place(&snapshot.goroutines[0], crate::analysis::PlaceKind::User))
    };
    assert_eq!(places(&redacted), places(&full()));
}

#[test]
fn ports_and_loopback_stay_of_addresses() {
    let redacted = redacted(&mut Redactor::default(), &full());
    let names = |fd| match redacted.descriptors.get(fd) {
        Some(Descriptor::Socket(socket)) => (socket.local.clone().unwrap(), socket.remote.clone().unwrap()),
        other => panic!("{other:?}"),
    };
    let unix = |name: &str| SocketName::Unix(name.to_owned());
    assert_eq!(names(4), (SocketName::Ip("127.0.0.1:80".parse().unwrap()), unix("redacted:5432")));
    assert_eq!(names(5), (unix(REDACTED), unix(REDACTED)));
    let details = redacted.waits.objects().find_map(|(_, object)| match &object.state {
        ObjectState::Descriptor { details, .. } => details.clone(),
        _ => None,
    });
    let details = details.unwrap();
    assert_eq!((details.local.as_deref(), details.remote.as_deref()), (Some("127.0.0.1:80"), Some("redacted:5432")));
    let death = redacted.death.unwrap();
    assert_eq!(death.headline(), "panic: redacted");
    let warnings: Vec<&str> = redacted.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, [REDACTED, "goroutine 7: its stack ends early"]);
}

/// What is compared is numbered together.
#[test]
fn equal_labels_of_two_programs_stay_equal() {
    let values = LabelValues::default();
    let first = redacted(&mut Redactor::sharing(&values), &full());
    let mut builder = SnapshotBuilder::of_new_session();
    for (id, tenant) in [(1, "new"), (2, "SECRET-b")] {
        builder.add(&GoroutineSpec { id, labels: vec![("tenant", tenant)], ..Default::default() });
    }
    let second = redacted(&mut Redactor::sharing(&values), &builder.build());
    let tenant = |snapshot: &Snapshot, goroutine: usize| {
        let labels = snapshot.goroutines[goroutine].labels.unwrap();
        snapshot.symbols.str(snapshot.symbols.label(labels, "tenant").unwrap()).to_owned()
    };
    assert_eq!(tenant(&second, 1), tenant(&first, 1));
    assert_eq!(tenant(&second, 0), "redacted-3");
}

/// As with a session that goes on: what comes later gets new numbers, and what was there keeps its own.
#[test]
fn the_next_snapshot_has_the_same_names() {
    let mut redactor = Redactor::default();
    let first = full();
    let one = redacted(&mut redactor, &first);
    let mut second = first.clone();
    later(&mut second, 1_000);
    let two = redacted(&mut redactor, &second);
    assert_eq!(one.symbols.id(), two.symbols.id());
    assert_eq!(one.goroutines[0].stack.known(), first.goroutines[0].stack.known());
    let key = |snapshot: &Snapshot| {
        let stack = snapshot.goroutines[1].stack.known().unwrap();
        (stack, snapshot.symbols.stack(stack).cloned(), snapshot.goroutines[1].labels)
    };
    assert_eq!(key(&one), key(&two));
    // Another program is another pool.
    let other = redacted(&mut redactor, &full());
    assert!(other.symbols.id() != one.symbols.id());
    assert!(!holds_a_secret(&other));
}
