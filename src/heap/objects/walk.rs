//! One of the threads that find types: it takes spans, reads them, and follows the objects whose types are known.
//!
//! As in the mark, nearly all of the time goes into waiting for memory. So what the pointers of many objects say is
//! collected, and all take the first step before any takes the second. Nothing that is looked at for each object is
//! written by other threads, but for the bits and numbers of objects.

use std::rc::Rc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;

use super::Amount;
use super::book::{Form, Known, Leads};
use super::forms::Followed;
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
/// Pointers that are collected before they are looked up: their steps fit into the caches that are nearest.
const TOGETHER: usize = 1 << 10;
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
    /// Forms by their numbers, and their numbers; 0 is what nothing is known of.
    forms: Vec<Option<Rc<Followed>>>,
    ids: FxHashMap<(Form, u64), u16>,
    /// What the second word of an interface points to, by its first.
    interfaces: FxHashMap<u64, u16>,
    functions: FxHashMap<u64, bool>,
    /// Addresses and the numbers of what is there.
    leads: Vec<(u64, u16)>,
    /// The same with the numbers of their spans.
    in_spans: Vec<(u64, u32, u16)>,
    /// The same by objects of which nothing is known yet.
    unknown: Vec<(ObjectId, u16)>,
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
            forms: Vec::new(),
            ids: FxHashMap::default(),
            interfaces: FxHashMap::default(),
            functions: FxHashMap::default(),
            leads: Vec::new(),
            in_spans: Vec::new(),
            unknown: Vec::new(),
            found: Vec::new(),
            tally: Tally::new(),
        }
    }

    /// Puts the spans that were found into the queue.
    pub(super) fn hand_over(&mut self) {
        self.settle();
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
                    self.settle_many();
                }
            }
        }
        loop {
            self.settle();
            let mut any = false;
            for (n, (typed, follow)) in typed.iter().zip(followed).enumerate() {
                let new = typed.load(SeqCst) & !follow.load(Relaxed);
                if new == 0 {
                    continue;
                }
                let mut new = new & !follow.fetch_or(new, SeqCst);
                any |= new != 0;
                while new != 0 {
                    let index = 64 * n as u32 + new.trailing_zeros();
                    new &= new - 1;
                    let first = span.offset(index) / 8;
                    let mask = piece.mask_in_span(map, first, words);
                    self.follow_small(ObjectId { span: number, index }, span, (piece, first), mask)?;
                }
            }
            if any {
                continue;
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
            let id = self.id(Form::Closure, start)?;
            self.assign_object(object, span, id);
            return Ok(());
        }
        if let Some(element) = self.channel(span, (piece, first), mask)? {
            let id = self.id(Form::Channel, element)?;
            self.assign_object(object, span, id);
            return Ok(());
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
        let id = self.id(Form::Value, element)?;
        Ok(self.form(id).filter(|form| form.known.size == size && form.known.pointers).map(|_| element))
    }

    /// Two words of which the first may be that of an interface, and the second its value.
    #[inline]
    pub(super) fn pair(&mut self, word: u64, value: u64) -> Result<(), ReadError> {
        let spans = self.typing.marker.spans();
        if word == 0 || value == 0 || spans.span_at(word).is_some() || spans.span_at(value).is_none() {
            return Ok(());
        }
        let id = self.interface(word)?;
        self.lead(value, id);
        Ok(())
    }

    /// Follows a small object of which is known what it is, if that agrees with the heap.
    fn follow_small(
        &mut self,
        object: ObjectId,
        span: &Span,
        at: (&Piece<'_>, u64),
        mask: u64,
    ) -> Result<(), ReadError> {
        let Some(form) = self.form(self.typing.numbers.get(object)) else { return Ok(()) };
        if !agrees(&form.known, mask, span.slot() / 8) {
            self.typing.take_back(span, object.index);
            return Ok(());
        }
        self.count(&form, span, object.index);
        self.follow(&form, at, span.slot() / 8)
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
                let Some(form) = self.named(piece.word(first), room)? else { continue };
                if self.typing.set_typed(span, index) {
                    self.count(&form, span, index);
                    self.follow(&form, (piece, first + 1), room / 8)?;
                }
            }
        }
        self.settle();
        Ok(())
    }

    /// What an object is that names its type: one value or several.
    fn named(&mut self, ty: u64, room: u64) -> Result<Option<Rc<Followed>>, ReadError> {
        let id = self.id(Form::Value, ty)?;
        let Some(one) = self.form(id) else { return Ok(None) };
        if one.known.size > room || !one.known.pointers {
            return Ok(None);
        }
        if room / one.known.size < 2 {
            return Ok(Some(one));
        }
        let id = self.id(Form::Array, ty)?;
        Ok(self.form(id))
    }

    /// A large object, read in pieces of whole values.
    fn large(&mut self, number: u32, span: &Span) -> Result<(), ReadError> {
        let marker = self.typing.marker;
        let (marks, ty) = (self.typing.bits(span).0, marker.spans().large.get(&number).copied());
        let is_marked = marks.first().is_some_and(|word| word.load(Relaxed) & 1 != 0);
        let Some(ty) = ty.filter(|_| is_marked) else { return Ok(()) };
        let Some(form) = self.named(ty, span.size())? else { return Ok(()) };
        if !self.typing.set_typed(span, 0) {
            return Ok(());
        }
        self.count(&form, span, 0);
        let step = (BATCH_BYTES / form.known.size).max(1) * form.known.size;
        let mut buf = Vec::new();
        let mut at = 0;
        while at < span.size() && !form.known.edges.is_empty() {
            // Of a value that is larger than that, only the first part is followed.
            let len = (span.size() - at).min(step).min(BATCH_BYTES);
            buf.resize(usize::try_from(len).unwrap_or(0), 0);
            let got = marker.target.read(Addr(span.base.wrapping_add(at)), &mut buf)?;
            let words = buf.get(..got).unwrap_or_default().as_chunks::<8>().0;
            self.follow(&form, (&Piece { words, ..Piece::default() }, 0), words.len() as u64)?;
            if (got as u64) < len {
                break;
            }
            at += step;
        }
        self.settle();
        Ok(())
    }

    /// Follows the pointers of an object of `words` words from word `first` of a piece on.
    fn follow(&mut self, form: &Followed, (piece, first): (&Piece<'_>, u64), words: u64) -> Result<(), ReadError> {
        let size = form.known.size / 8;
        let many = matches!(form.known.form, Form::Array | Form::MapDirectory) && size > 0;
        let count = if many { words / size } else { 1 };
        for n in 0..count {
            let value = first + n * size;
            for (edge, to) in form.edges() {
                let at = value + u64::from(edge.offset / 8);
                let word = piece.word(at);
                if word == 0 {
                    continue;
                }
                match edge.leads {
                    Leads::To(to_form, addr) => {
                        let id = to.get_or(|| self.id(to_form, addr))?;
                        self.lead(word, id);
                    }
                    Leads::Text => {
                        let id = to.get_or(|| self.id(Form::Text, 0))?;
                        self.lead(word, id);
                    }
                    Leads::Interface(_) => self.pair(word, piece.word(at + 1))?,
                    Leads::Function => {}
                    Leads::MapGroups(map) => {
                        // A map with one group only, or with tables.
                        let (tables, to) = (piece.word(at + 1), to.of(piece.word(at + 1) != 0));
                        let id = to.get_or(|| {
                            let found = locked(&self.typing.book).map_groups(map, tables)?;
                            found.map_or(Ok(0), |(form, addr)| self.id(form, addr))
                        })?;
                        self.lead(word, id);
                    }
                }
            }
            self.settle_many();
        }
        Ok(())
    }

    /// Says what is at `addr`, if something live begins there and nothing is known of it. [`Self::settle`] enters it.
    pub(super) fn assign(&mut self, addr: u64, form: Form, ty: u64) -> Result<(), ReadError> {
        let id = self.id(form, ty)?;
        self.lead(addr, id);
        self.settle_many();
        Ok(())
    }

    #[inline]
    fn lead(&mut self, addr: u64, id: u16) {
        if id != 0 {
            self.leads.push((addr, id));
        }
    }

    /// Enters what was collected, if that is much.
    #[inline]
    pub(super) fn settle_many(&mut self) {
        if self.leads.len() >= TOGETHER {
            self.settle();
        }
    }

    /// Enters what was collected.
    fn settle(&mut self) {
        let (typing, spans) = (self.typing, self.typing.marker.spans());
        self.in_spans.clear();
        let found = self.leads.drain(..).filter_map(|(addr, id)| Some((addr, spans.span_at(addr)?, id)));
        self.in_spans.extend(found);
        let mut unknown = std::mem::take(&mut self.unknown);
        for &(addr, number, id) in &self.in_spans {
            let Some(span) = spans.spans.get(number as usize) else { continue };
            if !matches!(span.kind, Kind::NoScan | Kind::InSpan(_)) {
                continue;
            }
            let offset = addr.wrapping_sub(span.base);
            let Some(index) = span.index(offset) else { continue };
            if typing.is_typed(span, index) {
                continue;
            }
            if offset != span.offset(index) && !self.may_share(span, id) {
                continue;
            }
            unknown.push((ObjectId { span: number, index }, id));
        }
        for (object, id) in unknown.drain(..) {
            if let Some(span) = spans.spans.get(object.span as usize) {
                self.assign_object(object, span, id);
            }
        }
        self.unknown = unknown;
    }

    /// Whether a pointer to this may lead to the middle of an object: short strings share one.
    fn may_share(&self, span: &Span, id: u16) -> bool {
        let form = self.forms.get(usize::from(id)).and_then(Option::as_ref);
        span.kind == Kind::NoScan && span.slot() == TINY && form.is_some_and(|form| form.known.form == Form::Text)
    }

    /// Enters what an object is, unless that cannot be or something is known of it.
    fn assign_object(&mut self, object: ObjectId, span: &Span, id: u16) {
        let typing = self.typing;
        let Some(form) = self.form(id) else { return };
        let noscan = span.kind == Kind::NoScan;
        if form.known.pointers == noscan || !fits(&form.known, span.slot()) || !typing.marker.is_marked(object) {
            return;
        }
        if noscan {
            if typing.set_typed(span, object.index) {
                self.count(&form, span, object.index);
            }
        } else if typing.numbers.set(object, id) {
            typing.set_typed(span, object.index);
            let queued = typing.queued.get(object.span as usize);
            if queued.is_some_and(|queued| !queued.load(SeqCst) && !queued.swap(true, SeqCst)) {
                self.found.push(object.span);
            }
        }
    }

    fn count(&mut self, form: &Followed, span: &Span, index: u32) {
        let at = usize::from(form.known.id);
        if self.tally.len() <= at {
            self.tally.resize(at + 1, <(Amount, Amount)>::default());
        }
        if let Some((live, only)) = self.tally.get_mut(at) {
            live.add(1, span.slot());
            if self.typing.is_apart(span, index) {
                only.add(1, span.slot());
            }
        }
        if form.wanted {
            self.typing.found(span, index);
        }
    }

    /// The number of a form; 0 where nothing is known of it.
    fn id(&mut self, form: Form, addr: u64) -> Result<u16, ReadError> {
        if let Some(id) = self.ids.get(&(form, addr)) {
            return Ok(*id);
        }
        let known = locked(&self.typing.book).get(form, addr)?;
        let id = known.map_or(0, |known| self.keep(known));
        if self.ids.len() < MOST_REMEMBERED {
            self.ids.insert((form, addr), id);
        }
        Ok(id)
    }

    /// The form with this number.
    #[inline]
    fn form(&mut self, id: u16) -> Option<Rc<Followed>> {
        if let Some(Some(form)) = self.forms.get(usize::from(id)) {
            return Some(Rc::clone(form));
        }
        let known = locked(&self.typing.book).all().get(usize::from(id).checked_sub(1)?).cloned()?;
        self.keep(known);
        self.forms.get(usize::from(id)).cloned().flatten()
    }

    fn keep(&mut self, known: Arc<Known>) -> u16 {
        let (id, at) = (known.id, usize::from(known.id));
        if self.forms.len() <= at {
            self.forms.resize(at + 1, None);
        }
        if let Some(form @ None) = self.forms.get_mut(at) {
            let wanted = self.typing.is_wanted(&known);
            *form = Some(Rc::new(Followed::new(known, wanted)));
        }
        id
    }

    fn interface(&mut self, word: u64) -> Result<u16, ReadError> {
        if let Some(id) = self.interfaces.get(&word) {
            return Ok(*id);
        }
        let found = locked(&self.typing.book).interface(word)?;
        let id = found.map_or(Ok(0), |(form, addr)| self.id(form, addr))?;
        if self.interfaces.len() < MOST_REMEMBERED {
            self.interfaces.insert(word, id);
        }
        Ok(id)
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
