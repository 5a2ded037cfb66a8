use super::*;
use crate::model::Status;
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame, later};
use serde_json::Value;

fn waiting(id: u64, function: &str) -> GoroutineSpec<'_> {
    GoroutineSpec {
        id,
        reason: Some("chan receive"),
        wait_ns: Some(60_000_000_000),
        frames: vec![frame(function, "app/main.go", 7), frame("main.serve", "app/main.go", 20)],
        creator: Some(frame("main.main", "app/main.go", 3)),
        ..GoroutineSpec::default()
    }
}

fn document(index: &Index<'_>, filter: Option<&str>) -> Value {
    let filter = filter.map(|text| (text.to_owned(), crate::analysis::Filter::parse(text).unwrap()));
    let mut out = Vec::new();
    write_document(&mut out, index, &PageOptions { filter, ..PageOptions::default() }).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn goroutines_with_one_stack_are_one_group() {
    let mut builder = SnapshotBuilder::new();
    builder.add(&waiting(7, "main.worker")).add(&waiting(8, "main.worker"));
    builder.add(&GoroutineSpec { id: 9, status: Status::Running, ..GoroutineSpec::default() });
    builder.edit().target.cmdline = vec!["app".to_owned(), "--password=hunter2".to_owned()];
    let mut snapshot = builder.build();
    let first = document(&Index::new(&snapshot), None);
    assert!(!first.to_string().contains("hunter2"), "no arguments");
    let groups = first["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 2);
    let group = &groups[0];
    assert_eq!(
        (group["count"].as_u64(), &group["ids"], &group["state"]),
        (Some(2), &serde_json::json!([7, 8]), &"chan receive".into())
    );
    assert_eq!(
        (group["waited_ns"].as_u64(), &group["wait"]),
        (Some(120_000_000_000), &serde_json::json!([60_000_000_000_u64, 60_000_000_000_u64]))
    );
    let name =
        |at: &Value| first["frames"][usize::try_from(at.as_u64().unwrap()).unwrap()][0].as_str().unwrap().to_owned();
    let stack: Vec<String> = group["stack"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(stack, ["main.serve", "main.worker"], "root first");
    assert_eq!(name(&group["creator"]), "main.main");
    assert_eq!(groups[1]["why"], "[running]");
    // A page recognises a group in the next reading, also of another session.
    later(&mut snapshot, 1_000_000_000);
    let second = document(&Index::new(&snapshot), None);
    assert_eq!(second["groups"][0]["key"], group["key"]);
    assert_ne!(groups[1]["key"], group["key"]);
    let filtered = document(&Index::new(&snapshot), Some("state=running"));
    assert_eq!(filtered["groups"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&filtered["summary"]["goroutines"]["matching"], &filtered["summary"]["goroutines"]["total"]),
        (&1.into(), &3.into())
    );
}

/// However many goroutines and stacks there are.
#[test]
fn what_is_sent_is_bounded() {
    let mut builder = SnapshotBuilder::new();
    let functions: Vec<String> =
        (0..2_000).map(|n| format!("example.com/company/product/internal/worker{n}.(*Pool).run")).collect();
    for id in 0..20_000_u64 {
        builder.add(&waiting(id + 1, &functions[usize::try_from(id * id % 2_000).unwrap()]));
    }
    let snapshot = builder.build();
    let index = Index::new(&snapshot);
    let document = document(&index, None);
    let listed: u64 = document["groups"].as_array().unwrap().iter().map(|group| group["count"].as_u64().unwrap()).sum();
    assert_eq!(listed + document["more_goroutines"].as_u64().unwrap(), 20_000);
    assert!(document.to_string().len() <= 300_000, "{}", document.to_string().len());
    let mut tick = Vec::new();
    write_tick(&mut tick, &index, &PageOptions::default()).unwrap();
    assert!(tick.len() <= 10_000 && !tick.contains(&b'\n'), "{}", tick.len());
    let tick: Value = serde_json::from_slice(&tick).unwrap();
    assert_eq!((&tick["groups"][0][0], &tick["complete"]), (&document["groups"][0]["key"], &Value::Bool(false)));
}

/// What the program calls its things cannot end the script that they are in.
#[test]
fn a_page_is_one_file_whatever_names_there_are() {
    let mut builder = SnapshotBuilder::new();
    builder.add(&waiting(1, "main.</script><script>alert(1)</script><!--"));
    let snapshot = builder.build();
    let mut out = Vec::new();
    write(&mut out, &Index::new(&snapshot), &PageOptions::default()).unwrap();
    let page = String::from_utf8(out).unwrap();
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(
        page.contains(SCRIPT) && page.contains(STYLE) && !page.contains("src=\"") && !page.contains("href=\"/"),
        "all of it is there"
    );
    let data = page.split("id=\"document\">").nth(1).unwrap().split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["frames"][1][0], "main.</script><script>alert(1)</script><!--");
    assert!(!page.contains("http://") || page.contains("http://www.w3.org/2000/svg"), "no address but a name of XML");
    assert!(HTML.len() + SCRIPT.len() + STYLE.len() <= 150_000);
}
