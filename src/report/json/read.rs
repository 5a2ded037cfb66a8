//! Reading back what [`super::write`] wrote, as a [`Census`].

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess};

use super::visit::{Contents, ReadBackError, unix_ns, visit};
use crate::analysis::census::{Identity, LongestWaits, Member, WaitBound, intern_line, intern_lines};
use crate::analysis::findings::Died;
use crate::analysis::place::{Ends, Places, Spot, learn};
use crate::analysis::same_wait::Marks;
use crate::analysis::{self, Age, Census};
use crate::go_names::Origins;
use crate::model::{FrameId, Label, Status, SymbolPool};
use crate::process::Backend;

/// Reads one document; `name` is what people call it.
///
/// # Errors
/// With what was expected, and the line and column where it is not; when it is of a newer version, or
/// lists groups in the place of goroutines.
pub fn read(input: impl Read, name: impl Into<String>, pool: &mut SymbolPool) -> Result<Census, ReadBackError> {
    let mut census = OfCensus { pool, document: Document::default() };
    visit(input, &mut census)?;
    let OfCensus { pool, document } = census;
    Ok(document.census(name.into(), pool))
}

#[derive(Debug, Default, Deserialize)]
struct Target {
    pid: Option<i32>,
    exe: Option<String>,
    build_id: Option<String>,
    go_version: Option<String>,
    arch: Option<String>,
    #[serde(default)]
    module: Module,
    uptime_ns: Option<u64>,
    process_state: Option<char>,
}

/// What it was read from.
#[derive(Debug, Default, Deserialize)]
struct Reading {
    backend: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Gc {
    cycles: Option<u32>,
    last_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Module {
    package: Option<String>,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Goroutine {
    id: u64,
    state: String,
    wait_reason: Option<String>,
    wait_ns: Option<u64>,
    wait_source: Option<String>,
    wait_at_most_ns: Option<u64>,
    #[serde(default)]
    system: bool,
    parent_id: Option<u64>,
    place: Option<UserPlace>,
    current: Option<Place>,
    start: Option<Place>,
    creator: Option<Place>,
    #[serde(default)]
    stack: StackBytes,
    panic: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    frames: Option<Vec<Place>>,
}

#[derive(Debug, Default, Deserialize)]
struct StackBytes {
    status: Option<String>,
}

/// A place or a frame.
#[derive(Debug, Deserialize)]
struct Place {
    function: String,
    file: Option<String>,
    line: Option<u32>,
    #[serde(default)]
    hidden: bool,
}

/// Where a goroutine is in the user's code; not in documents of early versions.
#[derive(Debug, Deserialize)]
pub(in crate::report) struct UserPlace {
    #[serde(flatten)]
    place: Place,
    callee: Option<String>,
    operation: Option<String>,
    #[serde(default)]
    started_in: bool,
}

impl UserPlace {
    pub(in crate::report) fn intern(&self, pool: &mut SymbolPool) -> analysis::Place {
        let frame = self.place.intern(pool);
        if self.started_in {
            return analysis::Place::StartedIn(frame);
        }
        let mut function = |name: &Option<String>| name.as_deref().map(|name| intern_line(pool, name, "", 0));
        let (callee, operation) = (function(&self.callee), function(&self.operation));
        analysis::Place::At(Spot { frame, callee, operation })
    }
}

impl Place {
    fn intern(&self, pool: &mut SymbolPool) -> FrameId {
        intern_line(pool, &self.function, self.file.as_deref().unwrap_or(""), self.line.unwrap_or(0))
    }
}

/// The age of a wait as a document has it.
pub(super) fn age(wait_ns: Option<u64>, source: Option<&str>) -> Option<Age> {
    match source {
        Some("watched") => Age::of(None, wait_ns),
        _ => Age::of(wait_ns, None),
    }
}

impl Goroutine {
    /// What bounds its wait. The stamp is not in the document: where that does not say
    /// itself for how long it is blocked at most, only for how long at least is known.
    fn bound(&self) -> Option<WaitBound> {
        let start = self.start.as_ref().map_or("", |start| &start.function);
        Status::is_blocked_name(&self.state).then(|| match self.wait_ns {
            Some(_) => WaitBound::Start,
            None => WaitBound::unstamped(self.wait_reason.as_deref(), start),
        })
    }

    fn member(&self, pool: &mut SymbolPool) -> Member {
        let stack = self.frames.as_ref().filter(|frames| !frames.is_empty()).map(|frames| {
            let lines: Vec<(FrameId, bool)> = frames.iter().map(|frame| (frame.intern(pool), frame.hidden)).collect();
            intern_lines(pool, lines)
        });
        let labels = self.labels.as_ref().map(|labels| {
            let labels = labels.iter();
            let labels = labels.map(|(key, value)| Label { key: pool.intern_str(key), value: pool.intern_str(value) });
            let labels = labels.collect();
            pool.intern_labels(labels)
        });
        Member {
            id: self.id,
            state: pool.intern_str(&self.state),
            reason: self.wait_reason.as_deref().map(|text| pool.intern_str(text)),
            age: age(self.wait_ns, self.wait_source.as_deref()),
            wait_at_most_ns: self.wait_at_most_ns,
            marks: Marks::default(),
            system: self.system,
            parent: self.parent_id,
            current: self.current.as_ref().or(self.start.as_ref()).map(|place| place.intern(pool)),
            place: self.place.as_ref().map_or(analysis::Place::Unknown, |place| place.intern(pool)),
            start: self.start.as_ref().map(|place| place.intern(pool)),
            creator: self.creator.as_ref().map(|place| place.intern(pool)),
            stack,
            labels,
            panic: self.panic.as_deref().map(|text| pool.intern_str(text)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Death {
    headline: String,
    goroutine_id: Option<u64>,
}

#[derive(Default)]
struct Document {
    target: Target,
    /// When the last collection ended, and the number of cycles.
    last_gc: Option<(u64, u32)>,
    captured_at_unix_ns: u64,
    reading: Reading,
    complete: bool,
    death: Option<Death>,
    total: u64,
    members: Vec<Member>,
    /// What bounds the wait of each of them, where it is blocked.
    bounds: Vec<Option<WaitBound>>,
    /// Whether some goroutine's stack was known and is not written down.
    stacks_left_out: bool,
}

impl Document {
    fn census(self, name: String, pool: &SymbolPool) -> Census {
        let target = self.target;
        let longest = LongestWaits::new(self.captured_at_unix_ns, self.last_gc, target.uptime_ns);
        let mut members = self.members;
        for (member, bound) in members.iter_mut().zip(&self.bounds) {
            // Documents of earlier versions do not say.
            member.wait_at_most_ns = member.wait_at_most_ns.or_else(|| bound.and_then(|bound| longest.of(bound)));
        }
        choose_places(&mut members, &target.module, pool);
        Census {
            name,
            program: Identity {
                pid: target.pid,
                exe: target.exe.unwrap_or_default(),
                build_id: target.build_id,
                go_version: target.go_version.unwrap_or_default(),
                arch: target.arch.unwrap_or_default(),
                module: target.module.package.or(target.module.path),
                uptime_ns: target.uptime_ns,
            },
            captured_at_unix_ns: self.captured_at_unix_ns,
            time_of_file: self.reading.backend.as_deref() == Some(Backend::Core.name()),
            has_stacks: !self.stacks_left_out,
            complete: self.complete,
            died: self.death.map(|death| Died { headline: death.headline, goroutine: death.goroutine_id }),
            stopped: matches!(target.process_state, Some('T' | 't')),
            total: self.total.max(u64::try_from(members.len()).unwrap_or(u64::MAX)),
            members,
        }
    }
}

/// The places of those that an early version wrote without.
fn choose_places(members: &mut [Member], module: &Module, pool: &SymbolPool) {
    if members.iter().all(|member| member.place != analysis::Place::Unknown) {
        return;
    }
    let mut origins = Origins::new(module.path.as_deref(), module.package.as_deref());
    let stacks = members.iter().filter_map(|member| pool.stack(member.stack?));
    let _ = stacks.flat_map(|stack| &stack.frames).any(|frame| learn(&mut origins, pool, frame.frame));
    let mut places = Places::new(origins);
    for member in members.iter_mut().filter(|member| member.place == analysis::Place::Unknown) {
        let Member { stack, start, system, .. } = *member;
        // Without a place of its own, the start stands in for it.
        let current = member.current.filter(|_| member.current != start || stack.is_some());
        member.place = places.of(pool, Ends { stack, current, start, system });
    }
}

/// What a census is made of.
struct OfCensus<'a> {
    pool: &'a mut SymbolPool,
    document: Document,
}

impl Contents for OfCensus<'_> {
    type Goroutine = Goroutine;

    fn captured_at(&mut self, unix_ns: u64) {
        self.document.captured_at_unix_ns = unix_ns;
    }

    fn value<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "target" => self.document.target = map.next_value()?,
            "gc" => {
                let gc: Option<Gc> = map.next_value()?;
                self.document.last_gc = gc.and_then(|gc| Some((unix_ns(&gc.last_at?)?, gc.cycles?)));
            }
            "reading" => self.document.reading = map.next_value()?,
            "complete" => self.document.complete = map.next_value()?,
            "death" => self.document.death = map.next_value()?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }

    fn total(&mut self, total: u64) {
        self.document.total = total;
    }

    fn goroutine(&mut self, goroutine: Goroutine) -> Result<(), String> {
        if matches!(goroutine.state.as_str(), "dead" | "waiting for cgo callback") {
            return Ok(());
        }
        let member = goroutine.member(self.pool);
        let known = goroutine.stack.status.as_deref().is_none_or(|status| status == "known");
        self.document.stacks_left_out |= known && member.stack.is_none();
        self.document.bounds.push(goroutine.bound());
        self.document.members.push(member);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ReadBackError, read};
    use crate::analysis::census::{Census, Member};
    use crate::analysis::same_wait::Marks;
    use crate::analysis::{Answer, Index, Request};
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};
    use crate::model::{Snapshot, Status, SymbolPool};
    use crate::report::json::{self, JsonOptions};

    fn snapshot() -> Snapshot {
        let mut builder = SnapshotBuilder::new();
        builder
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
            .add(&GoroutineSpec { id: 2, status: Status::Running, ..Default::default() })
            .add(&GoroutineSpec { id: 0, status: Status::Dead, ..Default::default() });
        builder.build()
    }

    fn document(snapshot: &Snapshot, frames: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let index = Index::new(snapshot);
        json::write(&mut out, &Answer::of(&index, Request::default()), JsonOptions { frames, ..Default::default() })
            .unwrap();
        out
    }

    fn read_bytes(bytes: &[u8]) -> Result<Census, ReadBackError> {
        read(bytes, "x.json", &mut SymbolPool::default())
    }

    #[test]
    fn what_was_written_is_read_back() {
        let snapshot = snapshot();
        let mut pool = SymbolPool::default();
        let direct = Census::of_snapshot(&snapshot, "a", &mut pool);
        let back = read(document(&snapshot, true).as_slice(), "b", &mut pool).unwrap();
        // The document does not say whether they have run.
        let unknown = |member: &Member| Member { marks: Marks::default(), ..*member };
        assert!(direct.members[0].wait_at_most_ns.is_some_and(|ns| Some(ns) < snapshot.target.uptime_ns));
        assert_eq!(direct.members.iter().map(unknown).collect::<Vec<_>>(), back.members);
        assert_eq!(direct.program, back.program);
        assert_eq!((direct.captured_at_unix_ns, direct.total), (back.captured_at_unix_ns, back.total));
        assert!(direct.has_stacks && back.has_stacks && back.complete && !back.is_partial());

        let places = read(document(&snapshot, false).as_slice(), "c", &mut pool).unwrap();
        assert!(!places.has_stacks);
        assert_eq!(places.members[0].place, direct.members[0].place);
    }

    #[test]
    fn versions_and_unknown_keys() {
        let text = String::from_utf8(document(&snapshot(), true)).unwrap();
        let newer = text.replacen("\"schema_version\":1", "\"schema_version\":2", 1);
        let error = read_bytes(newer.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "it has schema_version 2; this gospy reads up to 1: use a newer one");
        // Whatever else is different about it, and wherever its version stands.
        let late = br#"{"goroutines":{"list":[]},"schema_version":99}"#;
        assert!(matches!(read_bytes(late), Err(ReadBackError::Newer { found: 99 })));
        let more = text.replace("\"id\":", "\"colour\":{\"deep\":[1,null]},\"id\":").replacen('{', "{\"new\":true,", 1);
        assert_eq!(read_bytes(more.as_bytes()).unwrap().members.len(), 2);
    }

    #[test]
    fn what_is_no_snapshot_is_refused_with_the_reason() {
        let deep = format!("{{\"x\":{}", "[".repeat(100_000));
        let long = format!("{{\"schema_version\":1,\"x\":\"{}\"}}", "a".repeat(2 << 20));
        let escaped = format!("{{\"{}", "\\\"".repeat(2 << 20));
        for (text, told) in [
            ("", "EOF while parsing"),
            ("[]", "expected a snapshot as `gospy stack --json` writes it"),
            ("{}", "the key schema_version is missing"),
            (r#"{"schema_version":1,"processes":[]}"#, "the key goroutines is missing"),
            (r#"{"schema_version":1,"goroutines":{}}"#, "goroutines.list is missing"),
            (r#"{"schema_version":1,"goroutines":{"list":[],"groups":[{}]}}"#, "write it without --group"),
            (r#"{"schema_version":1,"goroutines":{"list":[{"id":-1,"state":""}]}}"#, "invalid value: integer `-1`"),
            (r#"{"schema_version":1,"captured_at":"noon"}"#, "captured_at is no time"),
            (r#"{"schema_version":1,"goroutines":{"list":[]}} x"#, "trailing characters"),
            (deep.as_str(), "EOF while parsing a list"),
            (long.as_str(), "a string or number is longer than"),
            (escaped.as_str(), "a string or number is longer than"),
        ] {
            let error = read_bytes(text.as_bytes()).expect_err(told).to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    proptest! {
        #[test]
        fn damaged_documents_do_not_panic(at in 0.0..1.0_f64, byte: u8, cut in 0.0..1.0_f64) {
            let mut bytes = document(&snapshot(), true);
            // Without its last byte a document is none any more; the end of its line is none of it.
            let len = bytes.trim_ascii_end().len();
            let place = |share: f64| (share * len as f64) as usize;
            let (at, cut) = (place(at), place(cut));
            bytes[at] = byte;
            let _ = read_bytes(&bytes);
            prop_assert!(read_bytes(&bytes[..cut]).is_err());
        }
    }
}
