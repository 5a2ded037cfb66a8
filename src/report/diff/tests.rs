use super::{Options, Subject, json, markdown, text};
use crate::analysis::{Census, Diff, GroupBy};
use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame, later};
use crate::model::{Snapshot, SymbolPool};
use crate::report::text::TextStyle;

fn snapshot(leaked: u64, later_s: u64) -> Snapshot {
    let mut builder = SnapshotBuilder::new();
    let spec = |id, function, wait_ns, user| GoroutineSpec {
        id,
        reason: Some("chan receive"),
        wait_ns,
        frames: vec![frame("runtime.gopark", "/go/proc.go", 1), frame(function, "/app/w.go", 7)],
        creator: Some(frame("main.main", "/app/m.go", 3)),
        labels: vec![("user", user)],
        ..Default::default()
    };
    builder.add(&spec(1, "main.steady", Some((60 + later_s) * 1_000_000_000), "a`|<b>"));
    if later_s == 0 {
        builder.add(&spec(2, "main.gone\u{1b}[2J", None, "b"));
    }
    for id in 0..leaked {
        builder.add(&spec(10 + id, "example.com/shop/internal/queue.(*Worker[...]).leak", None, "c"));
    }
    later(builder.edit(), later_s * 1_000_000_000);
    builder.build()
}

fn told(by: &GroupBy, style: TextStyle, write: impl Fn(&mut Vec<u8>, &Subject<'_>, &Options)) -> String {
    let mut pool = SymbolPool::default();
    let a = Census::of_snapshot(&snapshot(1, 0), "before.json", &mut pool);
    let b = Census::of_snapshot(&snapshot(4, 30), "pid 4242", &mut pool);
    let diff = Diff::of(&a, &b, by, false, &pool);
    let mut out = Vec::new();
    let subject = Subject { a: &a, b: &b, diff: &diff, pool: &pool };
    write(&mut out, &subject, &Options { style, limit: 40, system: false });
    String::from_utf8(out).expect("text")
}

const NARROW: TextStyle = TextStyle { width: Some(80), colour: false };

#[test]
fn the_text() {
    let text = told(&GroupBy::Stack, NARROW, |out, subject, options| text(out, subject, options).unwrap());
    let want = "\
3 → 5 goroutines (+2), 30.0 s later
  before       before.json: orders (pid 4242), go1.26.6, 2026-05-28T20:26:40Z
  after        pid 4242: orders, go1.26.6, 2026-05-28T20:27:10Z

Grown  1 group, +3
  +3  1 → 4  [chan receive]
    example.com/shop/internal/queue.(*Worker[...]).leak(...)
        /app/w.go:7
    created by main.main
        /app/m.go:3

Gone  1 group, -1
  -1  1 → 0  [chan receive]
    main.gone\\x1b[2J(...)
        /app/w.go:7
    created by main.main
        /app/m.go:3

Unchanged  1 group, 1 goroutine

Still there  2 goroutines, in the same wait in both as far as is known
  COUNT  WAITED   REASON        PLACE
      1  ≥ 1m30s  chan receive  main.steady /app/w.go:7
      1  ?        chan receive  …/queue.(*Worker[...]).leak /app/w.go:7
";
    assert_eq!(text, want);
    let coloured = TextStyle { width: Some(80), colour: true };
    let coloured = told(&GroupBy::Stack, coloured, |out, subject, options| super::text(out, subject, options).unwrap());
    assert!(coloured.contains("\u{1b}[33m+3\u{1b}"), "{coloured}");
}

#[test]
fn other_keys_have_a_name() {
    let label = GroupBy::Label("user".to_owned());
    let text = told(&label, NARROW, |out, subject, options| text(out, subject, options).unwrap());
    assert!(text.contains("+3  1 → 4  user=c"), "{text}");
    let text = told(&GroupBy::Start, NARROW, |out, subject, options| super::text(out, subject, options).unwrap());
    assert!(text.contains("+3  1 → 4  example.com/shop/internal/queue.(*Worker[...]).leak"), "{text}");
    for name in ["stack", "similar", "place", "start", "creator", "state", "reason", "label=user"] {
        assert_eq!(name.parse::<GroupBy>().unwrap().name(), name);
    }
}

#[test]
fn nothing_acts_in_markdown() {
    let label = GroupBy::Label("user".to_owned());
    let text = told(&label, NARROW, |out, subject, options| markdown(out, subject, options).unwrap());
    assert!(text.starts_with("### Goroutines: 3 → 5 (+2)\n"), "{text}");
    assert!(text.contains("| +3 | 1 | 4 | grown | chan receive | `user=c` |"), "{text}");
    assert!(text.contains("<details><summary>+3 example.com/shop/internal/queue.(*Worker[...]).leak"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains("<b>"), "{text}");
}

#[test]
fn json_has_everything() {
    let text = told(&GroupBy::Stack, NARROW, |out, subject, _| json(out, subject).unwrap());
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    assert_eq!((&json["by"], &json["before"], &json["after"]), (&"stack".into(), &3.into(), &5.into()));
    assert_eq!(json["relation"]["same_process"], true);
    assert_eq!(json["relation"]["elapsed_ns"], 30_000_000_000_u64);
    let changes = json["changes"].as_array().unwrap();
    let fates: Vec<&str> = changes.iter().filter_map(|change| change["change"].as_str()).collect();
    assert_eq!(fates, ["grown", "gone", "unchanged"]);
    assert_eq!((&changes[0]["delta"], &changes[1]["delta"]), (&3.into(), &(-1).into()));
    assert_eq!(changes[0]["example"]["frames"][0]["hidden"], true);
    assert_eq!(json["stayed"][0]["waits"]["longest_ns"], 90_000_000_000_u64);
}
