//! The census of a snapshot.

use rustc_hash::FxHashMap;

use super::{Census, Identity, Member, intern_line, intern_lines};
use crate::analysis::Index;
use crate::analysis::findings::Died;
use crate::analysis::place::{Place, PlaceKind, Spot};
use crate::analysis::same_wait::Marks;
use crate::model::{
    FrameId, Goroutine, Label, LabelsId, NotShown, Snapshot, StackId, StackState, StrId, SymbolPool, TargetInfo,
};
use crate::process::Backend;

impl Identity {
    /// That of a snapshot's program.
    #[must_use]
    pub fn of(target: &TargetInfo) -> Self {
        Self {
            pid: Some(target.pid),
            exe: target.exe.clone(),
            build_id: target.build_id.clone(),
            go_version: target.go_version.clone(),
            arch: target.arch.to_owned(),
            module: target.module.package.clone().or_else(|| target.module.path.clone()),
            uptime_ns: target.uptime_ns,
        }
    }
}

impl Census {
    /// Of a snapshot; `name` is its display name. Names are put into `pool`, each distinct one once.
    #[must_use]
    pub fn of_snapshot(snapshot: &Snapshot, name: impl Into<String>, pool: &mut SymbolPool) -> Self {
        Self::of_index(&Index::new(snapshot), name, pool)
    }

    /// The same, with waits that were measured.
    #[must_use]
    pub fn of_index(index: &Index<'_>, name: impl Into<String>, pool: &mut SymbolPool) -> Self {
        let snapshot = index.snapshot();
        let target = &snapshot.target;
        let mut translation = Translation::new(&snapshot.symbols, pool);
        let alive = || snapshot.goroutines.iter().filter(|goroutine| !goroutine.status.is_dead());
        let members: Vec<Member> = alive().map(|goroutine| translation.member(index, goroutine)).collect();
        Self {
            name: name.into(),
            program: Identity::of(target),
            captured_at_unix_ns: snapshot.captured_at_unix_ns,
            time_of_file: snapshot.reading.backend == Backend::Core.name(),
            has_stacks: !alive().any(|goroutine| goroutine.stack == StackState::NotShown(NotShown::NotAsked)),
            complete: snapshot.is_complete(),
            died: Died::of(snapshot),
            stopped: matches!(target.process_state, Some('T' | 't')),
            total: u64::try_from(members.len()).unwrap_or(u64::MAX),
            members,
        }
    }
}

/// From the ids of one pool to those of another, by text.
pub(in crate::analysis) struct Translation<'a> {
    from: &'a SymbolPool,
    to: &'a mut SymbolPool,
    lines: FxHashMap<FrameId, Option<FrameId>>,
    stacks: FxHashMap<StackId, Option<StackId>>,
    labels: FxHashMap<LabelsId, LabelsId>,
}

impl<'a> Translation<'a> {
    pub(in crate::analysis) fn new(from: &'a SymbolPool, to: &'a mut SymbolPool) -> Self {
        Self { from, to, lines: FxHashMap::default(), stacks: FxHashMap::default(), labels: FxHashMap::default() }
    }

    fn member(&mut self, index: &Index<'_>, goroutine: &Goroutine) -> Member {
        let stack = goroutine.stack.known().and_then(|id| self.stack(id));
        Member {
            id: goroutine.id.0,
            state: self.to.intern_str(goroutine.status.name()),
            reason: index.reason(goroutine).map(|text| self.to.intern_str(text)),
            age: index.age(goroutine),
            wait_at_most_ns: index.wait_at_most_ns(goroutine),
            marks: Marks::of(goroutine),
            system: goroutine.system,
            parent: goroutine.parent.map(|id| id.0),
            current: index.place(goroutine, PlaceKind::Current).frame().and_then(|id| self.line(id)),
            place: self.place(index.place(goroutine, PlaceKind::User)),
            start: goroutine.start.and_then(|id| self.line(id)),
            creator: goroutine.creator.and_then(|id| self.line(id)),
            stack,
            labels: goroutine.labels.map(|id| self.labels(id)),
            panic: goroutine.panic.map(|id| self.to.intern_str(self.from.str(id))),
        }
    }

    pub(in crate::analysis) fn place(&mut self, place: Place) -> Place {
        match place {
            Place::At(spot) => self.line(spot.frame).map_or(Place::Unknown, |frame| {
                let (callee, operation) = (spot.callee, spot.operation);
                let mut line = |frame: Option<FrameId>| frame.and_then(|id| self.line(id));
                Place::At(Spot { frame, callee: line(callee), operation: line(operation) })
            }),
            Place::StartedIn(frame) => self.line(frame).map_or(Place::Unknown, Place::StartedIn),
            Place::Unknown => Place::Unknown,
        }
    }

    fn line(&mut self, id: FrameId) -> Option<FrameId> {
        if let Some(&known) = self.lines.get(&id) {
            return known;
        }
        let from = self.from;
        let frame = from.frame(id);
        let translated =
            frame.map(|frame| intern_line(self.to, from.str(frame.function), from.str(frame.file), frame.line));
        self.lines.insert(id, translated);
        translated
    }

    fn stack(&mut self, id: StackId) -> Option<StackId> {
        if let Some(&known) = self.stacks.get(&id) {
            return known;
        }
        let from = self.from;
        let translated = from.stack(id).map(|stack| {
            let lines: Vec<(FrameId, bool)> =
                stack.frames.iter().filter_map(|frame| Some((self.line(frame.frame)?, frame.hidden))).collect();
            intern_lines(self.to, lines)
        });
        self.stacks.insert(id, translated);
        translated
    }

    fn labels(&mut self, id: LabelsId) -> LabelsId {
        if let Some(&known) = self.labels.get(&id) {
            return known;
        }
        let from = self.from;
        let mut text = |id: StrId| self.to.intern_str(from.str(id));
        let labels =
            from.labels(id).iter().map(|label| Label { key: text(label.key), value: text(label.value) }).collect();
        let translated = self.to.intern_labels(labels);
        self.labels.insert(id, translated);
        translated
    }
}
