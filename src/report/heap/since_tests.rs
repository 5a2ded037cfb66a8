use super::*;
use crate::analysis::series::heap_parts::{self, Walk};
use crate::analysis::series::heap_since::{Changes, PartKind};
use crate::analysis::series::heap_since::{HeapChange, HeapMoment};
use crate::heap::objects::{Amount, TypeSum};
use crate::report::heap::objects_tests::{amount, objects, snapshot as with_groups};
use crate::report::heap::tests::{classes, profile, snapshot};
use crate::report::json::ReadBackError;

const MIB: u64 = 1 << 20;

fn written(limit: usize) -> Vec<u8> {
    let (snapshot, classes, profile) = (snapshot(), classes(), profile());
    let index = Index::new(&snapshot);
    let contents = Contents { index: &index, classes: Some(Ok(&classes)), profile: Ok(&profile) };
    let mut out = Vec::new();
    json::write(&mut out, &contents, limit).unwrap();
    out
}

fn written_objects(objects: &crate::heap::objects::Objects, limit: usize) -> Vec<u8> {
    let snapshot = with_groups();
    let index = Index::new(&snapshot);
    let groups = crate::analysis::objects::groups(&index);
    let contents = super::objects::Contents { index: &index, groups: &groups, objects, only: None, path_to: None };
    let mut out = Vec::new();
    objects_json::write(&mut out, &contents, limit).unwrap();
    out
}

/// Objects whose parts add up.
fn whole() -> crate::heap::objects::Objects {
    let mut all = objects();
    all.kept.retain(|(by, _)| *by != crate::heap::objects::Keeper::Only);
    all.live = all.kept.iter().fold(Amount::default(), |sum, (_, amount)| sum.with(*amount));
    all
}

fn restored(text: &[u8], pool: &mut SymbolPool) -> HeapMoment {
    restore::moment("before.json".to_owned(), text, pool).unwrap()
}

fn unchanged(changes: &Changes) -> bool {
    changes.parts.as_ref().is_ok_and(Vec::is_empty)
}

/// What is written and read back is what was read from memory: nothing has changed.
#[test]
fn json_is_read_back_as_it_was() {
    let mut pool = SymbolPool::default();
    let before = restored(&written(usize::MAX), &mut pool);
    let (snapshot, classes, profile) = (snapshot(), classes(), profile());
    let mut now = HeapMoment::of_snapshot("pid 1".to_owned(), &snapshot, "nothing");
    now.sites = Ok(heap_parts::sites(&profile, &snapshot.target, &mut pool));
    now.classes = Ok(heap_parts::in_use(&classes));
    assert_eq!((before.in_use, before.cycles, before.allocated), (now.in_use, now.cycles, now.allocated));
    assert!(before.sites.as_ref().is_ok_and(|sites| sites.len() == 2), "{:?}", before.sites);
    let change = HeapChange::between(&before, &now, &pool);
    let by_kind = |change: &HeapChange, kind| change.changes.iter().find(|of| of.kind == kind).cloned().unwrap();
    assert!(unchanged(&by_kind(&change, PartKind::Sites)) && unchanged(&by_kind(&change, PartKind::SizeClasses)));

    let all = whole();
    let before = restored(&written_objects(&all, usize::MAX), &mut pool);
    let snapshot = with_groups();
    let groups = crate::analysis::objects::groups(&Index::new(&snapshot));
    let walk = Walk { snapshot: &snapshot, groups: &groups, objects: &all };
    let mut now = HeapMoment::of_snapshot("pid 1".to_owned(), &snapshot, "nothing");
    (now.types, now.roots) = (Ok(heap_parts::types(&walk, &mut pool)), Ok(heap_parts::roots(&walk, &mut pool)));
    assert!(before.walked.is_some_and(|walked| walked.exact && walked.live == all.live));
    let change = HeapChange::between(&before, &now, &pool);
    assert!(
        unchanged(&by_kind(&change, PartKind::Types)) && unchanged(&by_kind(&change, PartKind::Roots)),
        "{change:?}"
    );
    assert!(by_kind(&change, PartKind::Sites).parts.is_err());
}

/// What a list leaves out would look as if it had grown.
#[test]
fn lists_that_were_cut_short_are_not_compared() {
    let mut pool = SymbolPool::default();
    let cut = restored(&written(1), &mut pool);
    assert!(cut.sites.as_ref().is_err_and(|why| why.contains("--limit")), "{:?}", cut.sites);
    let cut = restored(&written_objects(&whole(), 2), &mut pool);
    assert!(cut.types.is_err() && cut.roots.is_err(), "{cut:?}");
    // So are goroutines that were counted apart.
    let apart = restored(&written_objects(&objects(), usize::MAX), &mut pool);
    assert!(apart.types.is_ok() && apart.roots.as_ref().is_err_and(|why| why.contains("--only-from")), "{apart:?}");
}

#[test]
fn files_that_are_no_heap_are_refused() {
    let read = |text: &str| restore::moment("file".to_owned(), text.as_bytes(), &mut SymbolPool::default());
    let error = |text: &str| read(text).unwrap_err().to_string();
    assert!(matches!(read(r#"{"schema_version":99}"#), Err(ReadBackError::Newer { found: 99 })));
    assert!(error("{}").contains("schema_version is missing"));
    let neither = error(r#"{"schema_version":1,"captured_at":"2026-05-28T20:26:40Z","waits":[]}"#);
    assert!(neither.contains("gospy heap --objects --json"), "{neither}");
    assert!(error(r#"{"schema_version":1,"captured_at":"now","heap":{}}"#).contains("RFC 3339"));
    for damaged in [
        r#"{"schema_version":1,"captured_at":"2026-05-28T20:26:40Z","heap":{"alloc_bytes":-1}}"#,
        r#"{"schema_version":1,"captured_at":"2026-05-28T20:26:40Z","heap":7}"#,
        r#"{"schema_version":1,"captured_at":"2026-05-28T20:26:40Z","heap":{}"#,
    ] {
        assert!(read(damaged).is_err(), "{damaged}");
    }
    // Sums beyond any heap are no panic.
    let site = format!(r#"{{"place":null,"in_use_bytes":{0},"in_use_objects":{0},"stacks":{0}}}"#, u64::MAX);
    let text = format!(
        r#"{{"schema_version":1,"captured_at":"2026-05-28T20:26:40Z","heap":{{"profile":{{"records":{},"places":[{site},{site}]}}}}}}"#,
        u64::MAX
    );
    let found = read(&text).unwrap();
    assert_eq!(found.sites.unwrap()[0].1, amount(u64::MAX, u64::MAX));
    let many = "0,".repeat(1 << 21);
    let text = format!(
        r#"{{"schema_version":1,"captured_at":"2026-05-28T20:26:40Z","heap":{{"size_classes":[{}]}}}}"#,
        many.replace("0,", r#"{"objects":0,"bytes":0},"#).trim_end_matches(',')
    );
    assert!(error(&text).contains("more than 1048576 rows"));
}

/// What people see at 80 columns.
#[test]
fn what_grew_looks_as_it_did() {
    let mut pool = SymbolPool::default();
    let mut before = restored(&written(usize::MAX), &mut pool);
    let (all, with) = (whole(), restored(&written_objects(&whole(), usize::MAX), &mut pool));
    (before.types, before.roots, before.walked) = (with.types, with.roots, with.walked);
    let (mut snapshot, mut profile) = (snapshot(), profile());
    snapshot.captured_at_unix_ns += 90_000_000_000;
    snapshot.target.uptime_ns = before.of.program.uptime_ns.map(|uptime| uptime + 90_000_000_000);
    snapshot.heap.as_mut().unwrap().heap_alloc += 30 * MIB;
    profile.sites[0].allocs += 4_000;
    profile.sites[0].alloc_bytes += 4_000 * 4096;
    profile.sites[1].frees += 1;
    profile.sites[1].free_bytes += 512;
    let mut grown = all;
    grown.types.as_mut().unwrap()[1].live = amount(150_000, 300 * MIB);
    grown.types.as_mut().unwrap().push(TypeSum {
        name: "new \u{1b}[2Jtype".to_owned(),
        live: amount(1, 8),
        only: amount(0, 0),
    });
    grown.kept[4].1 = amount(120_000, 300 * MIB);
    grown.standing = crate::heap::objects::Standing::Running(crate::heap::objects::Changes::default());
    let of_walk = with_groups();
    let groups = crate::analysis::objects::groups(&Index::new(&of_walk));
    let walk = Walk { snapshot: &of_walk, groups: &groups, objects: &grown };
    let mut after = HeapMoment::of_snapshot("pid 1".to_owned(), &snapshot, "nothing");
    after.sites = Ok(heap_parts::sites(&profile, &snapshot.target, &mut pool));
    after.classes = Err("the spans make no sense".to_owned());
    (after.types, after.roots) = (Ok(heap_parts::types(&walk, &mut pool)), Ok(heap_parts::roots(&walk, &mut pool)));
    after.walked =
        Some(crate::analysis::series::heap_since::Walked { live: grown.live, garbage: grown.garbage, exact: false });
    let change = HeapChange::between(&before, &after, &pool);
    let subject = since::Subject { before: &before, after: &after, change: &change, pool: &pool };
    let mut out = Vec::new();
    since::write(&mut out, TextStyle { width: Some(80), colour: false }, &subject, 1).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    crate::report::golden::compare("heap/since.txt", &text);
}
