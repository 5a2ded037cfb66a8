//! Whether a goroutine matches.

use regex::Regex;
use rustc_hash::FxHashMap;

use super::{Expr, Filter, FlagField, TextField};
use crate::analysis::{Index, PlaceKind, waits};
use crate::model::{
    Channel, FrameId, Goroutine, LabelsId, ObjectState, StackId, StackState, Status, SymbolPool, WaitKind, WaitObject,
    WaitReasonId,
};

/// Applies a [`Filter`] to the goroutines of one snapshot. A regular expression sees each distinct stack,
/// frame and reason once, however many goroutines there are.
#[derive(Debug)]
pub struct Matcher<'f> {
    filter: &'f Filter,
    index: &'f Index<'f>,
    memory: Vec<FxHashMap<Subject, bool>>,
}

/// What a text test was applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Subject {
    Status(Status),
    Reason(WaitReasonId),
    Frame(FrameId),
    Stack(StackId),
    Labels(LabelsId),
    Kind(WaitKind),
    Nothing,
}

impl<'f> Matcher<'f> {
    pub(super) fn new(filter: &'f Filter, index: &'f Index<'f>) -> Self {
        Self { filter, index, memory: vec![FxHashMap::default(); filter.slots] }
    }

    /// Whether `goroutine` matches.
    pub fn matches(&mut self, goroutine: &Goroutine) -> bool {
        holds(&self.filter.expr, goroutine, self.index, &mut self.memory)
    }
}

fn holds(expr: &Expr, goroutine: &Goroutine, index: &Index<'_>, memory: &mut [FxHashMap<Subject, bool>]) -> bool {
    match expr {
        Expr::All(terms) => terms.iter().all(|term| holds(term, goroutine, index, memory)),
        Expr::Any(terms) => terms.iter().any(|term| holds(term, goroutine, index, memory)),
        Expr::Not(inner) => !holds(inner, goroutine, index, memory),
        Expr::Flag(FlagField::System) => goroutine.system,
        Expr::Flag(FlagField::Locked) => goroutine.locked,
        Expr::Number { field, comparison, value } => {
            field.any(goroutine, index, |found| comparison.holds(found, *value))
        }
        // As many different ones as goroutines: remembering them would cost more than asking again.
        Expr::Text { field: TextField::Type, pattern, .. } => {
            let snapshot = index.snapshot();
            let of = |object: &WaitObject| match object.state {
                ObjectState::Channel(Channel { element_type: Some(name), .. }) => {
                    pattern.is_match(snapshot.symbols.str(name))
                }
                _ => false,
            };
            waits::objects(snapshot, goroutine).any(of)
        }
        Expr::Text { field: TextField::Peer, pattern, .. } => {
            let of = |object: &WaitObject| match &object.state {
                ObjectState::Descriptor { details: Some(details), .. } => {
                    let known = [details.remote.as_deref(), details.path.as_deref()];
                    known.into_iter().flatten().any(|text| pattern.is_match(text))
                }
                _ => false,
            };
            waits::objects(index.snapshot(), goroutine).any(of)
        }
        Expr::Text { field, pattern, slot } => {
            let Some(memory) = memory.get_mut(*slot) else { return false };
            subjects(field, goroutine, index)
                .into_iter()
                .flatten()
                .any(|subject| *memory.entry(subject).or_insert_with(|| found(field, pattern, subject, index)))
        }
    }
}

/// What `field` looks at in `goroutine`: its stack, or without one the frames that are known.
fn subjects(field: &TextField, goroutine: &Goroutine, index: &Index<'_>) -> [Option<Subject>; 4] {
    let one = |subject: Option<Subject>| [Some(subject.unwrap_or(Subject::Nothing)), None, None, None];
    let frame = |id: Option<FrameId>| id.map(Subject::Frame);
    match field {
        TextField::State => one(Some(Subject::Status(goroutine.status))),
        TextField::Reason => one(goroutine.wait_reason.map(Subject::Reason)),
        TextField::Place => {
            let Some(spot) = index.place(goroutine, PlaceKind::User).spot() else { return one(None) };
            [frame(Some(spot.frame)), frame(spot.callee), frame(spot.operation), frame(goroutine.current)]
        }
        TextField::Start => one(frame(goroutine.start)),
        TextField::Creator => one(frame(goroutine.creator)),
        TextField::Kind => {
            let wait = index.snapshot().waiting_on(goroutine);
            one(wait.map(|wait| Subject::Kind(index.snapshot().waits.kind(wait))))
        }
        TextField::AnyLabel | TextField::Label(_) => one(goroutine.labels.map(Subject::Labels)),
        // Asked without being remembered.
        TextField::Type | TextField::Peer => one(None),
        TextField::Func | TextField::File => {
            let stack = match goroutine.stack {
                StackState::Known(id) => Some(Subject::Stack(id)),
                StackState::NotShown(_) => None,
            };
            let ends = [stack, frame(goroutine.current), frame(goroutine.innermost), frame(goroutine.start)];
            if ends.iter().all(Option::is_none) { one(None) } else { ends }
        }
    }
}

fn found(field: &TextField, pattern: &Regex, subject: Subject, index: &Index<'_>) -> bool {
    let symbols = &index.snapshot().symbols;
    match subject {
        Subject::Nothing => pattern.is_match(""),
        Subject::Status(status) => pattern.is_match(status.name()),
        Subject::Kind(kind) => pattern.is_match(kind.name()),
        Subject::Reason(id) => pattern.is_match(index.snapshot().wait_reason(id).unwrap_or("")),
        Subject::Frame(id) => in_frame(field, pattern, id, symbols),
        Subject::Stack(id) => symbols
            .stack(id)
            .is_some_and(|stack| stack.frames.iter().any(|frame| in_frame(field, pattern, frame.frame, symbols))),
        Subject::Labels(id) => symbols.labels(id).iter().any(|label| {
            let (key, value) = (symbols.str(label.key), symbols.str(label.value));
            match field {
                TextField::Label(wanted) => key == wanted && pattern.is_match(value),
                _ => pattern.is_match(&format!("{key}={value}")),
            }
        }),
    }
}

fn in_frame(field: &TextField, pattern: &Regex, id: FrameId, symbols: &SymbolPool) -> bool {
    let Some(frame) = symbols.frame(id) else { return false };
    let function = || pattern.is_match(symbols.str(frame.function));
    let place = || pattern.is_match(&format!("{}:{}", symbols.str(frame.file), frame.line));
    match field {
        TextField::File => place(),
        TextField::Place => function() || place(),
        _ => function(),
    }
}
