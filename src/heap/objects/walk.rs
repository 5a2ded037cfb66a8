//! One of the threads that find types: it takes spans, reads them, and follows the objects whose types are known.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;

use super::Amount;
use super::book::{Form, Known, Leads};
use super::typing::{Tally, Typing, fits};
use crate::addr::Addr;
use crate::heap::batch::{Batch, Place};
use crate::heap::marker::locked;
use crate::heap::pointers::Piece;
use crate::heap::spans::{Kind, ObjectId, Span};
use crate::process::ReadError;

/// Most spans that are read with one call.
const BATCH: usize = 64;
/// Bytes of a batch; a longer span is read alone and in pieces.
const BATCH_BYTES: u64 = 1 << 20;
/// Most answers that a thread remembers for itself.
const MOST_REMEMBERED: usize = 1 << 16;
/// The first word of an object that names its type.
const HEADER: u64 = 8;
/// Objects of this size without pointers may hold several values (`maxTinySize`, runtime/malloc.go).
const TINY: u64 = 16;

/// A thread's own part.
pub(super) struct Typist<'w, 't> {
    typing: &'w Typing<'t>,
    batch: Batch<'w>,
    numbers: Vec<(u32, bool)>,
    places: Vec<Place>,
    known: FxHashMap<(Form, u64), Option<Arc<Known>>>,
    by_id: Vec<Option<Arc<Known>>>,
    interfaces: FxHashMap<u64, Option<(Form, u64)>>,
    functions: FxHashMap<u64, bool>,
    /// Spans that have to be walked again.
    found: Vec<u32>,
    pub(super) tally: Tally,
}

impl<'w, 't> Typist<'w, 't> {
    pub(super) fn new(typing: &'w Typing<'t>) -> Self {
        let marker = typing.marker;
        Self {
            typing,
            batch: Batch::new(marker.target, marker.spans(), marker.layout.form()),
            numbers: Vec::new(),
            places: Vec::new(),
            known: FxHashMap::default(),
            by_id: Vec::new(),
            interfaces: FxHashMap::default(),
            functions: FxHashMap::default(),
            found: Vec::new(),
            tally: Tally::new(),
        }
    }

    /// Puts the spans that were found into the queue.
    pub(super) fn hand_over(&mut self) {
        locked(&self.typing.work).again.extend(self.found.drain(..));
    }

    /// Works until there is nothing left and no thread can add to it.
    pub(super) fn run(&mut self) {
        let typing = self.typing;
        let spans = typing.marker.spans().len();
        let mut work = locked(&typing.work);
        loop {
            if work.failed.is_some() {
                typing.changed.notify_all();
                return;
            }
            if work.next >= spans && work.again.is_empty() {
                if work.busy == 0 {
                    typing.changed.notify_all();
                    return;
                }
                work = typing.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            self.numbers.clear();
            let mut bytes = 0;
            while self.numbers.len() < BATCH && bytes < BATCH_BYTES {
                let (number, is_first) = if work.next < spans {
                    work.next += 1;
                    (work.next - 1, true)
                } else if let Some(number) = work.again.pop_front() {
                    (number as usize, false)
                } else {
                    break;
                };
                let Some(span) = typing.marker.spans().spans.get(number) else { continue };
                // The others are not read at all.
                let read = matches!(span.kind, Kind::InSpan(_) | Kind::Header | Kind::Large);
                if read && (!is_first || typing.bits(span).0.iter().any(|word| word.load(Relaxed) != 0)) {
                    bytes += span.bytes();
                    if is_first {
                        typing.marker.progress.done.fetch_add(span.bytes(), Relaxed);
                    }
                    self.numbers.extend(u32::try_from(number).ok().map(|number| (number, is_first)));
                }
            }
            work.busy += 1;
            drop(work);
            let result = self.walk_batch();
            work = locked(&typing.work);
            work.busy -= 1;
            work.again.extend(self.found.drain(..));
            if let Err(error) = result {
                work.failed = Some(error);
            }
            typing.changed.notify_all();
        }
    }

    fn walk_batch(&mut self) -> Result<(), ReadError> {
        let spans = self.typing.marker.spans();
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.sort_unstable();
        self.batch.clear();
        self.places.clear();
        for (number, _) in &numbers {
            let Some(span) = spans.spans.get(*number as usize) else { continue };
            let len = if span.bytes() > BATCH_BYTES { 0 } else { span.bytes() };
            let place = self.batch.plan(span, 0, len);
            self.places.push(place);
        }
        self.batch.fetch()?;
        let batch = std::mem::replace(
            &mut self.batch,
            Batch::new(self.typing.marker.target, spans, self.typing.marker.layout.form()),
        );
        for (n, (number, is_first)) in numbers.iter().enumerate() {
            let (Some(span), Some(place)) = (spans.spans.get(*number as usize), self.places.get(n)) else { continue };
            let piece = batch.piece(0, *place);
            match span.kind {
                Kind::InSpan(map) => self.small(*number, span, &piece, u64::from(map) / 8, *is_first)?,
                Kind::Header => self.with_headers(span, &piece)?,
                Kind::Large => self.large(*number, span)?,
                Kind::NoScan | Kind::Arena | Kind::Unknown => {}
            }
        }
        self.batch = batch;
        self.numbers = numbers;
        Ok(())
    }

    /// Follows what is marked in a span of small objects.
    fn small(
        &mut self,
        number: u32,
        span: &Span,
        piece: &Piece<'_>,
        map: u64,
        is_first: bool,
    ) -> Result<(), ReadError> {
        let typing = self.typing;
        let Some(queued) = typing.queued.get(number as usize) else { return Ok(()) };
        queued.store(true, SeqCst);
        let (marks, typed, followed) = typing.bits(span);
        let words = span.slot() / 8;
        if is_first {
            for (n, (mark, typed)) in marks.iter().zip(typed).enumerate() {
                let mut new = mark.load(Relaxed) & !typed.load(Relaxed);
                while new != 0 {
                    let index = 64 * n as u32 + new.trailing_zeros();
                    new &= new - 1;
                    let first = span.offset(index) / 8;
                    let mask = piece.mask_in_span(map, first, words);
                    self.looked_at(ObjectId { span: number, index }, span, (piece, first), mask)?;
                }
            }
        }
        loop {
            for (n, (typed, follow)) in typed.iter().zip(followed).enumerate() {
                let new = typed.load(SeqCst) & !follow.load(Relaxed);
                let mut new = new & !follow.fetch_or(new, SeqCst);
                while new != 0 {
                    let index = 64 * n as u32 + new.trailing_zeros();
                    new &= new - 1;
                    let first = span.offset(index) / 8;
                    let mask = piece.mask_in_span(map, first, words);
                    self.follow_small(ObjectId { span: number, index }, span, (piece, first), mask)?;
                }
            }
            queued.store(false, SeqCst);
            let left = typed.iter().zip(followed).any(|(typed, follow)| typed.load(SeqCst) & !follow.load(SeqCst) != 0);
            if !left || queued.swap(true, SeqCst) {
                return Ok(());
            }
        }
    }

    /// What a small object says of itself and of others, whatever it is.
    fn looked_at(
        &mut self,
        object: ObjectId,
        span: &Span,
        (piece, first): (&Piece<'_>, u64),
        mask: u64,
    ) -> Result<(), ReadError> {
        let start = piece.word(first);
        if mask & 1 == 0 && self.typing.text.contains(&start) && self.is_function(start) {
            return self.assign_object(object, span, Form::Closure, start);
        }
        if let Some(element) = self.channel(span, (piece, first), mask)? {
            return self.assign_object(object, span, Form::Channel, element);
        }
        // Pointers that follow each other: the first may say what the second points to.
        let mut pairs = mask & (mask >> 1);
        while pairs != 0 {
            let at = first + u64::from(pairs.trailing_zeros());
            pairs &= pairs - 1;
            self.pair(piece.word(at), piece.word(at + 1))?;
        }
        Ok(())
    }

    /// The type of a channel's elements, if an object looks like one.
    fn channel(&mut self, span: &Span, (piece, first): (&Piece<'_>, u64), mask: u64) -> Result<Option<u64>, ReadError> {
        let Some(layout) = self.typing.channel else { return Ok(None) };
        let at = u64::from(layout.elemtype / 8);
        if !(u64::from(layout.size)..u64::from(layout.size) + 16).contains(&span.slot()) || mask >> at & 1 == 0 {
            return Ok(None);
        }
        let element = piece.word(first + at);
        if !self.typing.types.contains(&element) {
            return Ok(None);
        }
        let size_at = u64::from(layout.elemsize);
        let size = piece.word(first + size_at / 8) >> (8 * (size_at % 8)) & 0xffff;
        let known = self.known(Form::Value, element)?;
        Ok(known.filter(|known| known.size == size && known.pointers).map(|_| element))
    }

    /// Two words of which the first may be that of an interface, and the second its value.
    #[inline]
    pub(super) fn pair(&mut self, word: u64, value: u64) -> Result<(), ReadError> {
        let spans = self.typing.marker.spans();
        if word == 0 || value == 0 || spans.span_at(value).is_none() || spans.span_at(word).is_some() {
            return Ok(());
        }
        match self.interface(word)? {
            Some((form, addr)) => self.assign(value, form, addr),
            None => Ok(()),
        }
    }

    /// Follows a small object of which is known what it is, if that agrees with the heap.
    fn follow_small(
        &mut self,
        object: ObjectId,
        span: &Span,
        at: (&Piece<'_>, u64),
        mask: u64,
    ) -> Result<(), ReadError> {
        let id = self.typing.number(object).map_or(0, |number| number.load(Relaxed));
        let Some(known) = self.by_id(id) else { return Ok(()) };
        if !agrees(&known, mask, span.slot() / 8) {
            self.typing.take_back(span, object.index);
            return Ok(());
        }
        self.count(&known, span, object.index);
        self.follow(&known, at, span.slot() / 8)
    }

    /// Objects that name their types.
    fn with_headers(&mut self, span: &Span, piece: &Piece<'_>) -> Result<(), ReadError> {
        for (n, mark) in self.typing.bits(span).0.iter().enumerate() {
            let mut marked = mark.load(Relaxed);
            while marked != 0 {
                let index = 64 * n as u32 + marked.trailing_zeros();
                marked &= marked - 1;
                let first = span.offset(index) / 8;
                let room = span.slot().saturating_sub(HEADER);
                let Some(known) = self.named(piece.word(first), room)? else { continue };
                if self.typing.set_typed(span, index) {
                    self.count(&known, span, index);
                    self.follow(&known, (piece, first + 1), room / 8)?;
                }
            }
        }
        Ok(())
    }

    /// What an object is that names its type: one value or several.
    fn named(&mut self, ty: u64, room: u64) -> Result<Option<Arc<Known>>, ReadError> {
        let Some(one) = self.known(Form::Value, ty)? else { return Ok(None) };
        if one.size > room || !one.pointers {
            return Ok(None);
        }
        if room / one.size >= 2 { self.known(Form::Array, ty) } else { Ok(Some(one)) }
    }

    /// A large object, read in pieces of whole values.
    fn large(&mut self, number: u32, span: &Span) -> Result<(), ReadError> {
        let marker = self.typing.marker;
        let (marks, ty) = (self.typing.bits(span).0, marker.spans().large.get(&number).copied());
        let is_marked = marks.first().is_some_and(|word| word.load(Relaxed) & 1 != 0);
        let Some(ty) = ty.filter(|_| is_marked) else { return Ok(()) };
        let Some(known) = self.named(ty, span.size())? else { return Ok(()) };
        if !self.typing.set_typed(span, 0) {
            return Ok(());
        }
        self.count(&known, span, 0);
        let step = (BATCH_BYTES / known.size).max(1) * known.size;
        let mut buf = Vec::new();
        let mut at = 0;
        while at < span.size() && !known.edges.is_empty() {
            // Of a value that is larger than that, only the first part is followed.
            let len = (span.size() - at).min(step).min(BATCH_BYTES);
            buf.resize(usize::try_from(len).unwrap_or(0), 0);
            let got = marker.target.read(Addr(span.base.wrapping_add(at)), &mut buf)?;
            let words = buf.get(..got).unwrap_or_default().as_chunks::<8>().0;
            self.follow(&known, (&Piece { words, ..Piece::default() }, 0), words.len() as u64)?;
            if (got as u64) < len {
                break;
            }
            at += step;
        }
        Ok(())
    }

    /// Follows the pointers of an object of `words` words from word `first` of a piece on.
    fn follow(&mut self, known: &Known, (piece, first): (&Piece<'_>, u64), words: u64) -> Result<(), ReadError> {
        let size = known.size / 8;
        let count = if matches!(known.form, Form::Array | Form::MapDirectory) && size > 0 { words / size } else { 1 };
        for n in 0..count {
            let value = first + n * size;
            for edge in &known.edges {
                let at = value + u64::from(edge.offset / 8);
                let word = piece.word(at);
                if word == 0 {
                    continue;
                }
                match edge.leads {
                    Leads::To(form, addr) => self.assign(word, form, addr)?,
                    Leads::Text => self.assign(word, Form::Text, 0)?,
                    Leads::Interface(_) => self.pair(word, piece.word(at + 1))?,
                    Leads::Function => {}
                    Leads::MapGroups(map) => {
                        let to = locked(&self.typing.book).map_groups(map, piece.word(at + 1))?;
                        if let Some((form, addr)) = to {
                            self.assign(word, form, addr)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Says what the object at `addr` is, if something live begins there and nothing is known of it.
    #[inline]
    pub(super) fn assign(&mut self, addr: u64, form: Form, ty: u64) -> Result<(), ReadError> {
        let spans = self.typing.marker.spans();
        let Some(number) = spans.span_at(addr) else { return Ok(()) };
        let Some(span) = spans.spans.get(number as usize) else { return Ok(()) };
        if !matches!(span.kind, Kind::NoScan | Kind::InSpan(_)) {
            return Ok(());
        }
        let offset = addr.wrapping_sub(span.base);
        let Some(index) = span.index(offset) else { return Ok(()) };
        let is_tiny = form == Form::Text && span.kind == Kind::NoScan && span.slot() == TINY;
        if offset != span.offset(index) && !is_tiny || self.typing.is_typed(span, index) {
            return Ok(());
        }
        self.assign_object(ObjectId { span: number, index }, span, form, ty)
    }

    fn assign_object(&mut self, object: ObjectId, span: &Span, form: Form, ty: u64) -> Result<(), ReadError> {
        let typing = self.typing;
        let Some(known) = self.known(form, ty)? else { return Ok(()) };
        let noscan = span.kind == Kind::NoScan;
        if known.pointers == noscan || !fits(&known, span.slot()) || !typing.marker.is_marked(object) {
            return Ok(());
        }
        if noscan {
            if typing.set_typed(span, object.index) {
                self.count(&known, span, object.index);
            }
        } else if let Some(number) = typing.number(object)
            && number.compare_exchange(0, known.id, SeqCst, Relaxed).is_ok()
        {
            typing.set_typed(span, object.index);
            let queued = typing.queued.get(object.span as usize);
            if queued.is_some_and(|queued| !queued.load(SeqCst) && !queued.swap(true, SeqCst)) {
                self.found.push(object.span);
            }
        }
        Ok(())
    }

    fn count(&mut self, known: &Known, span: &Span, index: u32) {
        let at = usize::from(known.id);
        if self.tally.len() <= at {
            self.tally.resize(at + 1, <(Amount, Amount)>::default());
        }
        if let Some((live, only)) = self.tally.get_mut(at) {
            live.add(1, span.slot());
            if self.typing.is_apart(span, index) {
                only.add(1, span.slot());
            }
        }
        self.typing.found(known, span, index);
    }

    fn known(&mut self, form: Form, addr: u64) -> Result<Option<Arc<Known>>, ReadError> {
        if let Some(known) = self.known.get(&(form, addr)) {
            return Ok(known.clone());
        }
        let known = locked(&self.typing.book).get(form, addr)?;
        if self.known.len() < MOST_REMEMBERED {
            self.known.insert((form, addr), known.clone());
        }
        Ok(known)
    }

    fn by_id(&mut self, id: u16) -> Option<Arc<Known>> {
        let at = usize::from(id);
        if self.by_id.len() <= at {
            self.by_id.resize(at + 1, None);
        }
        let remembered = self.by_id.get_mut(at)?;
        if remembered.is_none() {
            *remembered = locked(&self.typing.book).all().get(at.checked_sub(1)?).cloned();
        }
        remembered.clone()
    }

    fn interface(&mut self, word: u64) -> Result<Option<(Form, u64)>, ReadError> {
        if let Some(known) = self.interfaces.get(&word) {
            return Ok(*known);
        }
        let found = locked(&self.typing.book).interface(word)?;
        if self.interfaces.len() < MOST_REMEMBERED {
            self.interfaces.insert(word, found);
        }
        Ok(found)
    }

    fn is_function(&mut self, pc: u64) -> bool {
        if let Some(known) = self.functions.get(&pc) {
            return *known;
        }
        let found = locked(&self.typing.book).is_function(pc);
        if self.functions.len() < MOST_REMEMBERED {
            self.functions.insert(pc, found);
        }
        found
    }
}

/// Whether the words of a small object that are pointers, by the heap, are those of what is known of it.
fn agrees(known: &Known, mask: u64, words: u64) -> bool {
    let Some(ty) = &known.mask else { return true };
    let one = ty.mask.first().copied().unwrap_or(0);
    if !matches!(known.form, Form::Array | Form::MapDirectory) {
        return mask == one;
    }
    let mut all = 0;
    let mut at = 0;
    // Values that would go on after the end of the slot are none.
    while at + ty.words <= words && at < 64 {
        all |= one << at;
        at += ty.words;
    }
    mask & !all == 0 && mask != 0
}
