use std::sync::Arc;

use proptest::prelude::*;

use super::snapshot;
use crate::addr::Addr;
use crate::analysis::{Answer, Index, Request};
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
use crate::model::{
    Activity, Death, DeathKind, DeathSignal, Descriptor, ForeignFrame, Goid, NotInGo, Outside, PanicValue, Snapshot,
    StackKind, StackState, Status, SystemCall, Wait, WarningCode, WatchedWaits,
};
use crate::process::descriptor::{Pipe, Protocol, Socket, SocketName, SocketState};
use crate::report::json::ReadBackError;
use crate::report::json::{JsonOptions, write};
use crate::report::waits::words;

fn made_up() -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    builder
        .add(&GoroutineSpec { id: 2, status: Status::Running, system: true, ..Default::default() })
        .add(&GoroutineSpec { id: 7, reason: Some("select"), wait_ns: Some(u64::MAX / 2), ..Default::default() })
        .add(&GoroutineSpec {
            id: u64::MAX,
            reason: Some("chan receive"),
            wait_ns: Some(5),
            frames: vec![frame("runtime.gopark", "/go/proc.go", 1), frame("main.w[...]", "/app/w.go", 7)],
            creator: Some(frame("main.main", "", 0)),
            parent: Some(1),
            labels: vec![("k", "a\"b\n\u{1b}"), ("é", "")],
            ..Default::default()
        })
        .add(&GoroutineSpec { id: 0, status: Status::Dead, ..Default::default() });
    let mut snapshot = builder.build();
    let text = Arc::make_mut(&mut snapshot.symbols).intern_str("boom\n\u{9b}");
    snapshot.goroutines[2].panic = Some(text);
    snapshot.death = Some(died(&snapshot));
    // serde_json reads this as another number.
    snapshot.gc.as_mut().unwrap().cpu_fraction = 0.009_762_161_945_453_863;
    snapshot.warnings.add_many(WarningCode::StackMalformed, "odd \u{7}", 3);
    snapshot
}

fn died(snapshot: &Snapshot) -> Death {
    let StackState::Known(stack) = snapshot.goroutines[2].stack else { panic!("it has a stack") };
    let signal = |number| DeathSignal {
        number,
        code: Some(-6),
        addr: Some(Addr(16)),
        pc: Some(Addr(u64::MAX)),
        sender_pid: Some(12),
        sender_uid: Some(0),
    };
    let panic =
        PanicValue { go_type: Some("string".into()), text: "boom".into(), repanicked: true, ..Default::default() };
    Death {
        kind: DeathKind::Signal,
        text: "SIGQUIT: quit\n\u{1b}".into(),
        message: Some("all goroutines are asleep".into()),
        panics: vec![panic],
        signal: Some(signal(3)),
        core_signal: signal(6),
        process: snapshot.target.pid,
        thread: 4,
        m: Some(0),
        stack_kind: StackKind::Gsignal,
        object: Some("/lib/libc.so.6".into()),
        goroutine: Some(Goid(u64::MAX)),
        stack: Some(stack),
        stack_complete: true,
        certain: true,
    }
}

fn document(snapshot: &Snapshot) -> String {
    let mut out = Vec::new();
    let index = Index::new(snapshot);
    write(&mut out, &Answer::of(&index, Request::default()), JsonOptions { frames: true, ..Default::default() })
        .unwrap();
    String::from_utf8(out).unwrap()
}

/// Nothing that a document says gets lost or is changed.
#[test]
fn what_is_read_back_is_written_again() {
    let first = document(&made_up());
    let restored = snapshot(first.as_bytes()).unwrap();
    assert_eq!(document(&restored), first);
    assert!(!restored.is_complete() && restored.goroutines.len() == 4);
}

/// A system call, C, and what is known of their descriptors.
#[test]
fn system_calls_come_back() {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=5 {
        builder.add(&GoroutineSpec { id, status: Status::Syscall, ..Default::default() });
    }
    let mut read = builder.build();
    let symbols = Arc::make_mut(&mut read.symbols);
    let (function, object) = (symbols.intern_str("poll"), symbols.intern_str("/lib/libc.so.6"));
    let in_call = |number, arguments| Activity::In(SystemCall { number, arguments });
    let ends = [
        // read, poll, and one that nobody has; addresses are above what JavaScript's numbers hold.
        (Wait::Syscall, in_call(0, [7, u64::MAX - 5, 4096, 0, 0, 0]), vec![]),
        (Wait::C, in_call(7, [0xc000, 2, u64::MAX, 0, 0, 0]), vec![8, 9]),
        (Wait::Syscall, in_call(99_999, [1, 2, 3, 4, 5, 6]), vec![]),
        (Wait::Syscall, Activity::Running, vec![]),
    ];
    let mut outside = Vec::new();
    for (goroutine, (wait, activity, polled)) in read.goroutines.iter_mut().zip(ends) {
        let in_c = wait == Wait::C;
        let frame = ForeignFrame { function: Some(function), object, pc: Addr(0x7f00_0000_0010), offset: 0x10 };
        let c_function = in_c.then_some(frame);
        outside.push(Outside { goroutine: goroutine.addr, in_c, activity, c_function, polled });
        goroutine.waiting_on = Some(read.waits.add(wait));
    }
    // Nothing is known of what the last one does.
    read.goroutines[4].waiting_on = Some(read.waits.add(Wait::Syscall));
    read.not_in_go = NotInGo::new(outside, None);
    let socket = Socket {
        protocol: Some(Protocol::Tcp),
        local: Some(SocketName::Ip("10.0.0.3:41234".parse().unwrap())),
        remote: Some(SocketName::Ip("10.0.0.7:5432".parse().unwrap())),
        state: Some(SocketState::Established),
        receive_queue: Some(3),
        ..Socket::unknown(0)
    };
    let pipe = Descriptor::Pipe(Pipe { inode: 0, end: None });
    read.descriptors = [(7, Descriptor::Socket(socket)), (9, pipe)].into_iter().collect();

    let written = document(&read);
    let json: serde_json::Value = serde_json::from_str(&written).unwrap();
    let of = |at: usize| &json["goroutines"]["list"][at]["waiting_on"];
    let call = &of(0)["system_call"];
    assert_eq!((&call["number"], &call["name"]), (&0.into(), &"read".into()));
    assert_eq!(call["arguments"], serde_json::json!(["0x7", "0xfffffffffffffffa", "0x1000"]));
    assert_eq!(call["descriptors"][0]["remote"], "10.0.0.7:5432");
    assert_eq!((&of(0)["fd"], &of(0)["remote"]), (&7.into(), &"10.0.0.7:5432".into()));
    let fds = of(1)["system_call"]["descriptors"].as_array().unwrap();
    let fds: Vec<_> = fds.iter().map(|one| (&one["fd"], &one["descriptor"])).collect();
    assert_eq!(fds, [(&8.into(), &serde_json::Value::Null), (&9.into(), &"pipe".into())]);
    assert_eq!(
        (&of(1)["c_function"]["name"], &of(1)["c_function"]["library"]),
        (&"poll".into(), &"/lib/libc.so.6".into())
    );
    assert_eq!(of(2)["system_call"]["arguments"].as_array().unwrap().len(), 6);
    assert_eq!(
        (&of(3)["system_call"]["activity"], &of(3)["system_call"]["number"]),
        (&"running".into(), &serde_json::Value::Null)
    );
    assert!(of(4)["system_call"].is_null() && of(4)["kind"] == "syscall");

    let back = snapshot(written.as_bytes()).unwrap();
    assert_eq!(document(&back), written);
    assert_eq!(back.descriptors, read.descriptors);
    let words = |snapshot: &Snapshot| -> Vec<String> {
        snapshot.goroutines.iter().filter_map(|goroutine| words::waits(snapshot, goroutine)).collect()
    };
    assert_eq!(words(&back), words(&read));
    assert_eq!(
        words(&back)[0],
        "is in read(7 → TCP 10.0.0.3:41234 → 10.0.0.7:5432 ESTABLISHED, 0xfffffffffffffffa, 4096)"
    );
    // Words and numbers that this gospy does not know.
    let odd = written.replace("\"in_call\"", "\"elsewhere\"").replace("\"0x7\"", "\"seven\"");
    assert_eq!(words(&snapshot(odd.as_bytes()).unwrap())[0], "is in unknown");
}

#[test]
fn every_warning_is_known_by_its_name() {
    let mut names: Vec<&str> = WarningCode::ALL.iter().map(|code| code.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), WarningCode::ALL.len());
    // A later gospy's is kept, and so are words that are not known.
    let text = document(&made_up()).replace("stack_malformed", "brand_new").replace("chan receive", "brand new reason");
    let text = text.replace("\"state\":\"running\"", "\"state\":\"jumping\"").replace("go1.", "go9.");
    let restored = snapshot(text.as_bytes()).unwrap();
    let again = document(&restored);
    assert!(again.contains("brand_new: odd") && again.contains("brand new reason"), "{again}");
    assert!(again.contains("\"state\":\"unknown\""), "{again}");
}

#[test]
fn a_list_that_was_cut_is_incomplete() {
    let whole = made_up();
    let mut out = Vec::new();
    let index = Index::new(&whole);
    write(&mut out, &Answer::at(&index, vec![0], Request::default()), JsonOptions::default()).unwrap();
    let restored = snapshot(out.as_slice()).unwrap();
    assert_eq!(restored.goroutines.len(), 1);
    let cut = restored.warnings.iter().find(|warning| warning.code == WarningCode::LimitReached).unwrap();
    assert!(cut.message.contains("lists 1 of 3"), "{cut:?}");
}

#[test]
fn a_snapshot_that_says_it_is_incomplete_stays_so() {
    let mut builder = SnapshotBuilder::new();
    builder.add(&GoroutineSpec { id: 1, ..Default::default() });
    let whole = document(&builder.build());
    assert!(whole.contains("\"complete\":true"), "{whole}");
    assert!(snapshot(whole.as_bytes()).unwrap().is_complete());
    let part = whole.replace("\"complete\":true", "\"complete\":false");
    let restored = snapshot(part.as_bytes()).unwrap();
    assert!(!restored.is_complete());
    let warnings: Vec<&str> = restored.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["the snapshot says that it is not complete"]);
    // It is said once, however often it is written and read.
    let again = snapshot(document(&restored).as_bytes()).unwrap();
    assert_eq!(document(&again), document(&restored));
}

/// Whatever a program printed, the JSON of it can be read.
#[test]
fn the_longest_text_of_a_death_is_read_back() {
    for text in ["x", "\"", "\n", "\u{1b}", "\u{9b}", "é", "\u{e0001}", "𝅳"] {
        let mut whole = made_up();
        let death = whole.death.as_mut().unwrap();
        death.text = text.repeat(2 << 20);
        assert!(Death::cut(&mut death.text));
        let written = document(&whole);
        let restored = snapshot(written.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(restored.death.unwrap().text, whole.death.unwrap().text);
    }
}

#[test]
fn what_is_no_snapshot_is_refused_with_the_reason() {
    let reasons: Vec<String> =
        (0..300).map(|n| format!(r#"{{"id":{n},"state":"waiting","wait_reason":"r{n}"}}"#)).collect();
    let reasons = format!(r#"{{"schema_version":1,"goroutines":{{"list":[{}]}}}}"#, reasons.join(","));
    for (text, reason) in [
        ("", "EOF while parsing"),
        ("{}", "the key schema_version is missing"),
        (r#"{"schema_version":1,"processes":[]}"#, "the key goroutines is missing"),
        (r#"{"schema_version":1,"goroutines":{}}"#, "goroutines.list is missing"),
        (r#"{"schema_version":1,"goroutines":{"list":[],"groups":[{}]}}"#, "write it without --group"),
        (r#"{"schema_version":1,"captured_at":"noon"}"#, "captured_at is no time"),
        (r#"{"schema_version":1,"target":{"pid":"x"}}"#, "invalid type"),
        (r#"{"schema_version":2,"goroutines":7}"#, "use a newer one"),
        (reasons.as_str(), "more than 255 wait reasons"),
    ] {
        let error = snapshot(text.as_bytes()).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    let late = br#"{"goroutines":{"list":[]},"schema_version":99}"#;
    assert!(matches!(snapshot(late.as_slice()), Err(ReadBackError::Newer { found: 99 })));
    // Everything but what a goroutine is may be missing.
    let least =
        br#"{"schema_version":1,"goroutines":{"list":[{"id":1,"state":"waiting","wait_ns":18446744073709551615}]}}"#;
    document(&snapshot(least.as_slice()).unwrap());
}

proptest! {
    #[test]
    fn damaged_documents_do_not_panic(at in 0.0..1.0_f64, byte: u8, cut in 0.0..1.0_f64) {
        let mut bytes = document(&made_up()).into_bytes();
        // Without its last byte a document is none any more; the end of its line is none of it.
        let len = bytes.trim_ascii_end().len();
        let place = |share: f64| (share * len as f64) as usize;
        let (at, cut) = (place(at), place(cut));
        bytes[at] = byte;
        if let Ok(snapshot) = snapshot(bytes.as_slice()) {
            document(&snapshot);
        }
        prop_assert!(snapshot(&bytes[..cut]).is_err());
    }
}

/// Ages come back as they were written: how long at least and at most, and how that is known. A document
/// that is written again is the same.
#[test]
fn ages_come_back() {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=5 {
        builder.add(&GoroutineSpec { id, reason: Some("sync.Mutex.Lock"), ..Default::default() });
    }
    let mut read = builder.build();
    let second = 1_000_000_000;
    let since = |ns: u64| std::num::NonZeroU64::new(read.monotonic_ns - ns);
    let (long, short) = (since(90 * second), since(40 * second));
    // Blocked for 40 s at least, with a stamp of 90 s ago; a stamp of which nothing else is known; one that
    // was measured; nothing.
    (read.goroutines[0].blocked_before_ns, read.goroutines[0].wait_since_ns) = (short, long);
    read.goroutines[1].wait_since_ns = long;
    let mut waits = WatchedWaits::default();
    waits.insert(Goid(3), read.monotonic_ns - 5 * second);
    let json = |index: &Index<'_>| {
        let mut out = Vec::new();
        write(&mut out, &Answer::of(index, Request::default()), JsonOptions::default()).unwrap();
        String::from_utf8(out).unwrap()
    };
    let written = json(&Index::with_waits(&read, &waits));
    let document: serde_json::Value = serde_json::from_str(&written).unwrap();
    let ages = |at: usize| {
        let goroutine = &document["goroutines"]["list"][at];
        let ns = |key: &str| goroutine[key].as_u64().map(|ns| ns / second);
        (ns("wait_ns"), goroutine["wait_source"].as_str(), ns("wait_at_most_ns"))
    };
    let unstamped = ages(3).2;
    assert_eq!(ages(0), (Some(40), Some("gc"), Some(91)));
    assert_eq!(ages(1), (None, None, Some(91)));
    assert_eq!(ages(2), (Some(5), Some("watched"), unstamped));
    assert_eq!(ages(3), (None, None, unstamped));
    assert!(unstamped.is_some_and(|most| most != 91));
    let back = snapshot(written.as_bytes()).unwrap();
    assert_eq!(back.goroutines[2].blocked_before_ns, None);
    let again: serde_json::Value = serde_json::from_str(&json(&Index::new(&back))).unwrap();
    for at in 0..5 {
        for key in ["wait_ns", "wait_source", "wait_at_most_ns"] {
            let of = |document: &serde_json::Value| document["goroutines"]["list"][at][key].clone();
            assert_eq!(of(&document), of(&again), "{key} of goroutine {}", at + 1);
        }
    }
    // In the live view too.
    let observed = crate::analysis::series::Watching::default().observe(back);
    assert!(observed.is_watched(2) && !observed.is_watched(0));
}
