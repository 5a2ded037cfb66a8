//! A shortest path from a root to an object: a search in the breadth over what is live, one pointer at a time.
//!
//! It remembers for each object with pointers by which one it was met, four bytes each, so it is made only when it
//! is asked for. Objects that the mark does not follow (gs, Ps, what goroutines wait in) are not followed either.

use rustc_hash::FxHashMap;

use super::Wanted;
use super::book::{Book, Form, kind};
use super::pass::object_at;
use super::typing::Typing;
use crate::addr::Addr;
use crate::heap::HeapError;
use crate::heap::batch::Batch;
use crate::heap::marker::{MarkState, Marker, locked};
use crate::heap::root_log::{Root, RootLog};
use crate::heap::spans::{Kind, ObjectId, Span};
use crate::heap::types::Types;
use crate::image::symtab;
use crate::process::{ReadError, TargetExt as _};
use crate::runtime::GoProcess;

/// Most objects of a path that are shown; a list may be any length.
const MOST_STEPS: usize = 10_000;
/// Spans that are read with one call, at most, and their bytes.
const BATCH: usize = 64;
const BATCH_BYTES: u64 = 1 << 20;
/// How deep types may consist of others.
const MOST_DEEP: usize = 32;

/// An object on a path, and the pointer in it that leads to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it begins.
    pub addr: Addr,
    /// Bytes of its slot.
    pub size: u64,
    /// Its type; `None` where that is not known.
    pub type_name: Option<String>,
    /// How far from its beginning the pointer is, bytes; `None` for the last object.
    pub offset: Option<u64>,
    /// The field that this is, as `.items[3].next`; `None` where the type is not known.
    pub field: Option<String>,
}

/// A path from a root to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where it begins.
    pub root: Root,
    /// The variable's name and the distance from its beginning, bytes, where the program has symbols.
    pub variable: Option<(String, u64)>,
    /// Objects from the root on; the last one is what was wanted.
    pub steps: Vec<Step>,
    /// How many objects were left out in the middle.
    pub left_out: u64,
}

/// A field, and what it points to, where these are known.
type Named = (Option<String>, Option<String>);

/// The objects of a path, and where it begins.
pub(super) type Found = (Root, Vec<ObjectId>);

/// A search.
pub(super) struct Search<'s, 't> {
    pub(super) marker: &'s Marker<'t>,
    pub(super) typing: Option<&'s Typing<'t>>,
    /// What is met and not followed.
    pub(super) closed: &'s MarkState,
}

/// What a search knows of objects.
struct Met {
    /// A bit for each object, where the mark has its bits.
    seen: Vec<u64>,
    /// Of those with pointers: by the number of which object it was met, plus one; 0 for a root.
    parents: Vec<u32>,
    /// Numbers of the first object of each span.
    first: Vec<u32>,
    /// Objects to be followed next, a bit each where the mark has what was scanned, and their spans.
    next: Vec<u64>,
    spans: Vec<u32>,
    /// Whether a span is among these.
    listed: Vec<bool>,
}

impl<'t> Search<'_, 't> {
    /// The path, if there is one, and what the search took, bytes.
    pub(super) fn run(&self, wanted: &Wanted, log: &RootLog) -> Result<(Option<Found>, usize), HeapError> {
        let spans = self.marker.spans();
        let target = match wanted {
            Wanted::Address(addr) => match object_at(self.marker, *addr) {
                Some(object) => Some(object),
                None => return Ok((None, 0)),
            },
            Wanted::Type(_) => None,
        };
        let is_target = |object: ObjectId| match target {
            Some(target) => target == object,
            None => spans
                .spans
                .get(object.span as usize)
                .is_some_and(|span| self.typing.is_some_and(|typing| typing.wanted_name(span, object.index).is_some())),
        };
        let mut first = Vec::with_capacity(spans.len());
        let mut all = 0_u32;
        for span in &spans.spans {
            first.push(all);
            let count = if span.kind == Kind::NoScan { 0 } else { span.elements };
            all = all.checked_add(count).ok_or_else(|| HeapError::NoHeap("it has too many objects".to_owned()))?;
        }
        let (words, scans) = spans.words;
        let mut met = Met {
            seen: vec![0; words],
            parents: vec![0; all as usize],
            first,
            next: vec![0; scans],
            spans: Vec::new(),
            listed: vec![false; spans.len()],
        };
        let memory = 8 * (words + scans) + 4 * all as usize + 9 * spans.len();
        let mut roots: FxHashMap<ObjectId, Root> = FxHashMap::default();
        let mut reader = Reader::new(self);
        let mut end: Option<(ObjectId, Option<ObjectId>)> = None;
        for (object, root) in &log.objects {
            if self.meet(&mut met, *object, 0) {
                roots.insert(*object, *root);
                if is_target(*object) {
                    return Ok((Some((*root, vec![*object])), memory));
                }
            }
        }
        // What an object holds that is a root by its contents: the object itself is none.
        for (object, root) in &log.contents {
            let mut inner = Vec::new();
            reader.one(*object, &mut |child| inner.push(child))?;
            for child in inner.into_iter().filter(|child| self.marker.is_marked(*child)) {
                if self.meet(&mut met, child, 0) {
                    roots.insert(child, *root);
                    if is_target(child) {
                        return Ok((Some((*root, vec![child])), memory));
                    }
                }
            }
        }
        while !met.spans.is_empty() && end.is_none() {
            let mut now = std::mem::take(&mut met.spans);
            now.sort_unstable();
            let mut following: Vec<(u32, Vec<(usize, u64)>)> = Vec::with_capacity(now.len().min(BATCH));
            // The bits of this round are taken out before any of the next are set.
            let mut current: Vec<(u32, usize, u64)> = Vec::new();
            for number in &now {
                let Some(span) = spans.spans.get(*number as usize) else { continue };
                if let Some(listed) = met.listed.get_mut(*number as usize) {
                    *listed = false;
                }
                for n in 0..(span.elements as usize).div_ceil(64) {
                    if let Some(word) = met.next.get_mut(span.scans as usize + n) {
                        let bits = std::mem::take(word);
                        if bits != 0 {
                            current.push((*number, n, bits));
                        }
                    }
                }
            }
            for (number, n, bits) in current {
                match following.last_mut() {
                    Some((last, words)) if *last == number => words.push((n, bits)),
                    _ => following.push((number, vec![(n, bits)])),
                }
            }
            'round: for batch in following.chunks(BATCH) {
                reader.batch(batch.iter().map(|(number, _)| *number))?;
                for (at, (number, words)) in batch.iter().enumerate() {
                    for (n, bits) in words {
                        let mut bits = *bits;
                        while bits != 0 {
                            let index = 64 * *n as u32 + bits.trailing_zeros();
                            bits &= bits - 1;
                            let parent = ObjectId { span: *number, index };
                            let id = met.first.get(*number as usize).map_or(0, |first| first + index + 1);
                            let mut hit = None;
                            reader.read(at, parent, &mut |child| {
                                if hit.is_none() && self.marker.is_marked(child) && self.meet(&mut met, child, id) {
                                    hit = is_target(child).then_some(child);
                                }
                            })?;
                            if let Some(child) = hit {
                                end = Some((child, Some(parent)));
                                break 'round;
                            }
                        }
                    }
                }
            }
        }
        let Some((last, parent)) = end else { return Ok((None, memory)) };
        let mut path = vec![last];
        let mut next = parent;
        while let Some(object) = next {
            path.push(object);
            let at = met.first.get(object.span as usize).map_or(0, |first| first + object.index);
            let id = met.parents.get(at as usize).copied().unwrap_or(0);
            next = id.checked_sub(1).map(|id| {
                let span = met.first.partition_point(|first| *first <= id).saturating_sub(1);
                let first = met.first.get(span).copied().unwrap_or(0);
                ObjectId { span: u32::try_from(span).unwrap_or(0), index: id - first }
            });
        }
        path.reverse();
        let root = path.first().and_then(|first| roots.get(first)).copied().unwrap_or(Root::Thread);
        Ok((Some((root, path)), memory))
    }

    /// Notes that an object was met, by another one or by a root (0); false if it was before.
    fn meet(&self, met: &mut Met, object: ObjectId, parent: u32) -> bool {
        let Some(span) = self.marker.spans().spans.get(object.span as usize) else { return false };
        let bit = 1_u64 << (object.index % 64);
        let word = object.index as usize / 64;
        match met.seen.get_mut(span.marks as usize + word) {
            Some(seen) if *seen & bit == 0 => *seen |= bit,
            _ => return false,
        }
        if span.kind == Kind::NoScan {
            return true;
        }
        let at = met.first.get(object.span as usize).map_or(0, |first| first + object.index);
        if let Some(entry) = met.parents.get_mut(at as usize) {
            *entry = parent;
        }
        if !self.closed.is_scanned(span.scans as usize, object.index)
            && let Some(next) = met.next.get_mut(span.scans as usize + word)
        {
            *next |= bit;
            if let Some(listed) = met.listed.get_mut(object.span as usize).filter(|listed| !**listed) {
                *listed = true;
                met.spans.push(object.span);
            }
        }
        true
    }
}

/// Reads objects, and says what they point to.
struct Reader<'r, 't> {
    marker: &'r Marker<'t>,
    batch: Batch<'r>,
    places: Vec<(u32, Option<crate::heap::batch::Place>)>,
    types: Types<'t>,
}

impl<'r, 't> Reader<'r, 't> {
    fn new(search: &Search<'r, 't>) -> Self {
        let marker = search.marker;
        Self {
            marker,
            batch: Batch::new(marker.target, marker.spans(), marker.layout.form()),
            places: Vec::new(),
            types: Types::new(marker.target, marker.layout.types, marker.minor),
        }
    }

    /// Reads these spans; long ones are read when their turn comes.
    fn batch(&mut self, numbers: impl Iterator<Item = u32>) -> Result<(), ReadError> {
        self.batch.clear();
        self.places.clear();
        for number in numbers {
            let Some(span) = self.marker.spans().spans.get(number as usize) else { continue };
            let place = (span.bytes() <= BATCH_BYTES).then(|| self.batch.plan(span, 0, span.bytes()));
            self.places.push((number, place));
        }
        self.batch.fetch()?;
        Ok(())
    }

    /// What an object in the span that was read as number `at` points to.
    fn read(&mut self, at: usize, object: ObjectId, each: &mut dyn FnMut(ObjectId)) -> Result<(), ReadError> {
        let Some((number, Some(place))) = self.places.get(at).copied().filter(|(number, _)| *number == object.span)
        else {
            return self.long(object, each);
        };
        let spans = self.marker.spans();
        let Some(span) = spans.spans.get(number as usize) else { return Ok(()) };
        let large = spans.large.get(&number).copied();
        let piece = self.batch.piece(0, place);
        piece.each(span, object.index, large, &mut self.types, |word, _| {
            if let Some(child) = spans.find(word) {
                each(child);
            }
        })?;
        Ok(())
    }

    /// What one object points to, whatever was read.
    fn one(&mut self, object: ObjectId, each: &mut dyn FnMut(ObjectId)) -> Result<(), ReadError> {
        self.batch(std::iter::once(object.span))?;
        self.read(0, object, each)
    }

    fn long(&mut self, object: ObjectId, each: &mut dyn FnMut(ObjectId)) -> Result<(), ReadError> {
        let spans = self.marker.spans();
        let Some(span) = spans.spans.get(object.span as usize) else { return Ok(()) };
        let large = spans.large.get(&object.span).copied();
        let mut batch = Batch::new(self.marker.target, spans, self.marker.layout.form());
        let mut offset = 0;
        while offset < span.bytes() {
            let len = (span.bytes() - offset).min(BATCH_BYTES);
            batch.clear();
            let place = batch.plan(span, offset, len);
            if batch.fetch()?.missing > 0 {
                break;
            }
            let piece = batch.piece(offset, place);
            let more = piece.each(span, object.index, large, &mut self.types, |word, _| {
                if let Some(child) = spans.find(word) {
                    each(child);
                }
            })?;
            if !more {
                break;
            }
            offset += len;
        }
        Ok(())
    }
}

/// A path in words.
pub(super) fn described(process: GoProcess<'_>, search: &Search<'_, '_>, found: Found) -> Result<Path, HeapError> {
    let (root, objects) = found;
    let half = MOST_STEPS / 2;
    let left_out = objects.len().saturating_sub(MOST_STEPS);
    let mut steps = Vec::new();
    let mut by_pointer = None;
    for (n, object) in objects.iter().enumerate() {
        if left_out == 0 || n < half || n >= half + left_out {
            let (step, points_to) = search.step(*object, objects.get(n + 1).copied(), by_pointer.take())?;
            steps.push(step);
            by_pointer = points_to;
        }
    }
    let variable = match root {
        Root::Variable(addr) => symtab::variable_at(&process.program.elf, process.program.bias.unload(addr)),
        _ => None,
    };
    Ok(Path { root, variable, steps, left_out: left_out as u64 })
}

impl Search<'_, '_> {
    /// An object in words, and what its pointer says of the next. `by_pointer` is what the one before says of this.
    fn step(
        &self,
        object: ObjectId,
        next: Option<ObjectId>,
        by_pointer: Option<String>,
    ) -> Result<(Step, Option<String>), HeapError> {
        let spans = self.marker.spans();
        let Some(span) = spans.spans.get(object.span as usize) else {
            return Err(HeapError::NoHeap("a span is not there".to_owned()));
        };
        let start = span.base + span.offset(object.index);
        let offset = match next {
            Some(next) => self.points_at(span, start, next)?,
            None => None,
        };
        let mut step = Step { addr: Addr(start), size: span.slot(), type_name: None, offset, field: None };
        let Some(typing) = self.typing.filter(|typing| typing.is_typed(span, object.index)) else {
            return Ok((step, None));
        };
        let mut points_to = None;
        // Objects that name their types are not numbered, and begin after that name.
        let named = match span.kind {
            Kind::Header => self.marker.target.read_u64(Addr(start))?.map(|ty| (ty, 8)),
            Kind::Large => spans.large.get(&object.span).map(|ty| (*ty, 0)),
            _ => None,
        };
        if let Some((ty, header)) = named {
            step.addr = Addr(start + header);
            let mut book = locked(&typing.book);
            let room = span.size().saturating_sub(header);
            let many = book.descriptor(ty)?.is_some_and(|ty| ty.size > 0 && room / ty.size >= 2);
            step.type_name = book.name(ty)?.map(|name| if many { format!("[]{name}") } else { name });
            step.offset = offset.and_then(|offset| offset.checked_sub(header));
            if let Some(offset) = step.offset {
                (step.field, points_to) = field(&mut book, ty, many, offset)?;
            }
        } else if span.kind == Kind::NoScan {
            // Types of what has no pointers are only counted.
            step.type_name = typing.wanted_name(span, object.index).map(str::to_owned).or(by_pointer);
        } else if let Some(known) = typing.known(object) {
            let mut book = locked(&typing.book);
            step.type_name = Some(known.name.clone());
            if let (Some(offset), Form::Value | Form::Array) = (offset, known.form) {
                (step.field, points_to) = field(&mut book, known.addr, known.form == Form::Array, offset)?;
            }
        }
        Ok((step, points_to))
    }

    /// Where the first word in an object is that points to another, bytes from its beginning.
    fn points_at(&self, span: &Span, start: u64, next: ObjectId) -> Result<Option<u64>, ReadError> {
        let mut at = 0;
        while at < span.size() {
            let len = (span.size() - at).min(BATCH_BYTES);
            let mut buf = vec![0; usize::try_from(len).unwrap_or(0)];
            let got = self.marker.target.read(Addr(start.wrapping_add(at)), &mut buf)?;
            let words = buf.get(..got).unwrap_or_default().as_chunks::<8>().0;
            let found = words.iter().position(|word| self.marker.spans().find(u64::from_le_bytes(*word)) == Some(next));
            if let Some(found) = found {
                return Ok(Some(at + 8 * found as u64));
            }
            if (got as u64) < len {
                break;
            }
            at += len;
        }
        Ok(None)
    }
}

/// What is at `offset` in a value of a type, or in values of it one after the other; and what a pointer there
/// points to.
fn field(book: &mut Book<'_>, ty: u64, many: bool, offset: u64) -> Result<Named, ReadError> {
    let (mut ty, mut offset, mut out) = (ty, offset, String::new());
    if many {
        let Some(one) = book.descriptor(ty)?.filter(|one| one.size > 0) else { return Ok((None, None)) };
        out.push_str(&format!("[{}]", offset / one.size));
        offset %= one.size;
    }
    for _ in 0..MOST_DEEP {
        let Some(descriptor) = book.descriptor(ty)? else { break };
        match descriptor.kind {
            kind::STRUCT => {
                let fields = book.fields(&descriptor)?;
                // Fields without a size may be where the next begins.
                let Some((name, inner, at)) = fields.into_iter().rfind(|(_, _, at)| *at <= offset) else { break };
                let name = book.field_name(name)?.unwrap_or_else(|| "_".to_owned());
                out.push('.');
                out.push_str(&name);
                (ty, offset) = (inner, offset - at);
            }
            kind::ARRAY => {
                let inner = descriptor.more[0];
                let Some(one) = book.descriptor(inner)?.filter(|one| one.size > 0) else { break };
                out.push_str(&format!("[{}]", offset / one.size));
                (ty, offset) = (inner, offset % one.size);
            }
            _ => break,
        }
    }
    let points_to = match book.descriptor(ty)? {
        Some(leaf) if leaf.kind == kind::POINTER => book.name(leaf.more[0])?,
        Some(leaf) if leaf.kind == kind::SLICE => book.name(leaf.more[0])?.map(|name| format!("[]{name}")),
        Some(leaf) if leaf.kind == kind::STRING => Some("string data".to_owned()),
        _ => None,
    };
    Ok(((!out.is_empty()).then_some(out), points_to))
}
