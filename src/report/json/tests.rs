use super::*;
use crate::analysis::Request;
use crate::model::Status;
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};

fn json(builder: SnapshotBuilder, options: JsonOptions) -> serde_json::Value {
    let snapshot = builder.build();
    let index = Index::new(&snapshot);
    let mut out = Vec::new();
    write(&mut out, &Answer::of(&index, Request::default()), options).expect("a Vec takes everything");
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one object on one line");
    serde_json::from_slice(&out).expect("what was written is JSON")
}

#[test]
fn keys_that_scripts_rely_on() {
    let mut builder = SnapshotBuilder::new();
    builder.add(&GoroutineSpec {
        id: 7,
        reason: Some("chan receive"),
        wait_ns: Some(90),
        frames: vec![frame("runtime.gopark", "", 0), frame("a.b/c%2ed.(*T).M", "/x/y.go", 3)],
        creator: Some(frame("main.main", "/x/main.go", 9)),
        parent: Some(1),
        thread: Some(2),
        labels: vec![("k", "\u{1b}[31m")],
        ..Default::default()
    });
    let json = json(builder, JsonOptions { frames: true, ..Default::default() });
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["captured_at"], "2026-05-28T20:26:40.123456789Z");
    for key in ["pid", "exe", "go_version", "arch", "build_id", "gomaxprocs", "uptime_ns"] {
        assert!(!json["target"][key].is_null(), "target.{key}");
    }
    let one = &json["goroutines"]["list"][0];
    assert_eq!(one["id"], 7);
    assert_eq!(
        (&one["state"], &one["wait_reason"], &one["wait_ns"]),
        (&"waiting".into(), &"chan receive".into(), &90.into())
    );
    assert_eq!((&one["parent_id"], &one["thread_id"], &one["system"]), (&1.into(), &4244.into(), &false.into()));
    assert_eq!(one["current"]["function"], "a.b/c%2ed.(*T).M");
    assert_eq!(one["innermost"]["file"], serde_json::Value::Null);
    assert_eq!(one["frames"][1]["package"], "a.b/c.d");
    assert_eq!(one["labels"]["k"], "\u{1b}[31m");
    assert!(one["current"]["pc"].as_str().is_some_and(|pc| pc.starts_with("0x")));
    assert!(one.as_object().is_some_and(|map| map.contains_key("bubble_id")), "unknown is null and present");
    assert_eq!(json["goroutines"]["by_wait_reason"]["chan receive"], 1);
    assert_eq!(json["complete"], true);
}

#[test]
fn totals_do_not_depend_on_the_list() {
    let mut builder = SnapshotBuilder::new();
    for id in 1..=5 {
        builder.add(&GoroutineSpec { id, status: Status::Runnable, ..Default::default() });
    }
    let snapshot = builder.build();
    let mut out = Vec::new();
    let index = Index::new(&snapshot);
    let request = Request { limit: Some(1), ..Request::default() };
    write(&mut out, &Answer::at(&index, vec![4, 2, 3], request), JsonOptions::default())
        .expect("a Vec takes everything");
    let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let goroutines = &json["goroutines"];
    assert_eq!((&goroutines["total"], &goroutines["matching"]), (&5.into(), &3.into()));
    assert_eq!(goroutines["by_state"]["runnable"], 5);
    assert_eq!(goroutines["list"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_missing_is_null_and_incomplete() {
    let mut builder = SnapshotBuilder::new();
    builder.edit().sched = None;
    builder.edit().gc.as_mut().expect("the builder has one").cpu_fraction = f64::NAN;
    let json = json(builder, JsonOptions::default());
    assert!(json["sched"].is_null() && json["gc"]["cpu_fraction"].is_null());
    assert_eq!((&json["complete"], &json["goroutines"]["total"]), (&false.into(), &0.into()));
}
