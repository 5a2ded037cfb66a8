//! What is reachable: a mark over the heap, with its memory read when it is needed.
//!
//! The way of the runtime's own newer collector (mgcmark_greenteagc.go, 1.25 on): not objects wait to be
//! scanned but spans, in the order in which they were met. When the turn of a span comes it is read, and all of
//! its objects that were marked by then are scanned, so that most spans are read once and memory is touched in
//! order. Two bits an object say that it is marked, and that it was scanned; spans without pointers are never
//! read. Several threads take spans from one queue.
//!
//! The target may run on meanwhile: then what is found is of no one moment, and says nothing alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::kept::NewMarks;
use super::layout::{HeapLayout, PointerForm};
use super::pointers::{Maps, Piece, Word};
use super::spans::{ARENA, Kind, ObjectId, Span, Spans};
use super::types::Types;
use crate::addr::Addr;
use crate::process::{MemRange, ReadError, Target};

/// Most spans that are read with one call.
const BATCH: usize = 64;
/// Bytes of a batch; a longer span is read alone and in pieces.
const BATCH_BYTES: u64 = 1 << 20;

/// What a mark has cost and found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkStats {
    /// Objects marked.
    pub objects: u64,
    /// Bytes of the heap that were read.
    pub bytes_read: u64,
    /// Times that a span was read.
    pub span_reads: u64,
    /// Spans, or parts of them, that could not be read though something points to them.
    pub unreadable: u64,
}

/// How far a mark is, for whoever watches it from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    all: AtomicU64,
}

impl Progress {
    /// Bytes of spans that were read, and of all spans that have pointers, as far as something reaches them; 0 and
    /// 0 before that is known.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.all.load(Relaxed))
    }
}

/// A mark over the heap.
pub struct Marker<'a> {
    target: &'a dyn Target,
    layout: &'a HeapLayout,
    minor: u32,
    spans: &'a Spans,
    marks: Vec<AtomicU64>,
    scans: Vec<AtomicU64>,
    /// Whether a span is in the queue, or being scanned.
    queued: Vec<AtomicBool>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Which objects of a span are in use, for words that may be pointers.
    allocated: Mutex<FxHashMap<u32, Option<Vec<u8>>>>,
    bytes_read: AtomicU64,
    span_reads: AtomicU64,
    unreadable: AtomicU64,
    progress: &'a Progress,
}

#[derive(Default)]
struct Queue {
    spans: VecDeque<u32>,
    /// Threads that may add to it.
    busy: usize,
    failed: Option<ReadError>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Marker<'a> {
    /// Nothing is marked yet. `minor` is the minor version of Go.
    #[must_use]
    pub fn new(
        target: &'a dyn Target,
        layout: &'a HeapLayout,
        minor: u32,
        spans: &'a Spans,
        progress: &'a Progress,
    ) -> Self {
        progress.done.store(0, Relaxed);
        progress.all.store(spans.bytes().1, Relaxed);
        let zeros = |len| std::iter::repeat_with(AtomicU64::default).take(len).collect();
        Self {
            target,
            layout,
            minor,
            spans,
            marks: zeros(spans.words.0),
            scans: zeros(spans.words.1),
            queued: std::iter::repeat_with(AtomicBool::default).take(spans.len()).collect(),
            queue: Mutex::default(),
            changed: Condvar::new(),
            allocated: Mutex::default(),
            bytes_read: AtomicU64::new(0),
            span_reads: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            progress,
        }
    }

    /// The spans that it marks.
    #[must_use]
    pub fn spans(&self) -> &'a Spans {
        self.spans
    }

    /// What it takes, bytes, with the spans.
    #[must_use]
    pub fn memory(&self) -> usize {
        8 * (self.marks.len() + self.scans.len()) + self.queued.len() + self.spans.memory()
    }

    /// Sets the mark of an object; true if it was not set before.
    #[inline]
    fn set_mark(&self, span: &Span, index: u32) -> bool {
        let bit = 1 << (index % 64);
        let Some(word) = self.marks.get(span.marks as usize + index as usize / 64) else { return false };
        word.load(Relaxed) & bit == 0 && word.fetch_or(bit, SeqCst) & bit == 0
    }

    /// Marks what `addr` points to, and says which span has to be scanned for that.
    #[inline]
    fn mark_at(&self, addr: u64) -> Option<u32> {
        let object = self.spans.find(addr)?;
        self.mark_object(object)
    }

    #[inline]
    fn mark_object(&self, object: ObjectId) -> Option<u32> {
        let span = self.spans.spans.get(object.span as usize)?;
        (self.set_mark(span, object.index) && span.kind != Kind::NoScan).then_some(())?;
        self.enqueued(object.span)
    }

    /// The span, unless it is in the queue already.
    #[inline]
    fn enqueued(&self, span: u32) -> Option<u32> {
        let queued = self.queued.get(span as usize)?;
        (!queued.load(SeqCst) && !queued.swap(true, SeqCst)).then_some(span)
    }

    /// Marks the object that `addr` points to, if it points to one.
    pub fn mark(&self, addr: u64) {
        if let Some(span) = self.mark_at(addr) {
            locked(&self.queue).spans.push_back(span);
        }
    }

    /// The same for a word that may be a pointer: an object that is free is not marked.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn mark_maybe(&self, addr: u64) -> Result<(), ReadError> {
        if let Some(span) = self.maybe_at(addr)? {
            locked(&self.queue).spans.push_back(span);
        }
        Ok(())
    }

    fn maybe_at(&self, addr: u64) -> Result<Option<u32>, ReadError> {
        /// Most spans whose bits are remembered, at 128 bytes or less each.
        const MOST: usize = 1 << 16;
        let Some(object) = self.spans.find(addr) else { return Ok(None) };
        if self.is_marked(object) {
            return Ok(None);
        }
        let in_use = |bits: &Option<Vec<u8>>| {
            let byte = bits.as_ref().and_then(|bits| bits.get(object.index as usize / 8));
            // Where nothing is known it may be in use.
            byte.is_none_or(|byte| byte >> (object.index % 8) & 1 != 0)
        };
        let known = locked(&self.allocated).get(&object.span).map(in_use);
        let allocated = match known {
            Some(allocated) => allocated,
            None => {
                let bits = self.spans.allocated(self.target, self.layout, object.span)?;
                let allocated = in_use(&bits);
                let mut remembered = locked(&self.allocated);
                if remembered.len() < MOST {
                    remembered.insert(object.span, bits);
                }
                allocated
            }
        };
        Ok(if allocated { self.mark_object(object) } else { None })
    }

    /// Whether an object is marked.
    #[must_use]
    pub fn is_marked(&self, object: ObjectId) -> bool {
        let Some(span) = self.spans.spans.get(object.span as usize) else { return false };
        let word = self.marks.get(span.marks as usize + object.index as usize / 64);
        word.is_some_and(|word| word.load(SeqCst) >> (object.index % 64) & 1 != 0)
    }

    fn scan_word(&self, object: ObjectId) -> Option<&AtomicU64> {
        let span = self.spans.spans.get(object.span as usize).filter(|span| span.kind != Kind::NoScan)?;
        self.scans.get(span.scans as usize + object.index as usize / 64)
    }

    /// From now on the object that holds `addr` may be marked, but what it points to is not followed.
    pub fn never_scan(&self, addr: u64) {
        if let Some(object) = self.spans.find(addr)
            && let Some(word) = self.scan_word(object)
        {
            word.fetch_or(1 << (object.index % 64), SeqCst);
        }
    }

    /// Marks the object that holds `addr`, and follows it even if it was not to be.
    pub fn scan(&self, addr: u64) {
        let Some(object) = self.spans.find(addr) else { return };
        if let Some(word) = self.scan_word(object) {
            word.fetch_and(!(1 << (object.index % 64)), SeqCst);
        }
        let Some(span) = self.spans.spans.get(object.span as usize) else { return };
        self.set_mark(span, object.index);
        if span.kind != Kind::NoScan
            && let Some(span) = self.enqueued(object.span)
        {
            locked(&self.queue).spans.push_back(span);
        }
    }

    /// Marks what objects point to, but not themselves.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn mark_contents(&self, objects: impl IntoIterator<Item = ObjectId>) -> Result<(), ReadError> {
        let mut worker = Worker::new(self);
        for object in objects {
            let mut found = Vec::new();
            worker.scan_one(object, &mut |word, kind| found.push((word, kind)))?;
            for (word, kind) in found {
                match kind {
                    Word::Pointer => self.mark(word),
                    Word::Maybe => self.mark_maybe(word)?,
                }
            }
        }
        Ok(())
    }

    /// Follows everything that is marked, on `threads` threads, until nothing new is found.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn drain(&self, threads: usize) -> Result<(), ReadError> {
        if locked(&self.queue).spans.is_empty() {
            return Ok(());
        }
        if threads <= 1 {
            Worker::new(self).run(1);
        } else {
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(|| Worker::new(self).run(threads));
                }
                Worker::new(self).run(threads);
            });
        }
        locked(&self.queue).failed.take().map_or(Ok(()), Err)
    }

    /// What it has cost and found so far.
    #[must_use]
    pub fn stats(&self) -> MarkStats {
        MarkStats {
            objects: self.marks.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum(),
            bytes_read: self.bytes_read.load(Relaxed),
            span_reads: self.span_reads.load(Relaxed),
            unreadable: self.unreadable.load(Relaxed),
        }
    }

    /// What is marked and scanned now. Nothing may be left to drain.
    pub(super) fn state(&self) -> MarkState {
        let copy = |words: &[AtomicU64]| words.iter().map(|word| word.load(SeqCst)).collect();
        MarkState { marks: copy(&self.marks), scans: copy(&self.scans) }
    }

    /// Goes back to a state of a marker over the same spans.
    pub(super) fn restore(&self, state: &MarkState) {
        let put = |words: &[AtomicU64], values: &[u64]| {
            words.iter().zip(values).for_each(|(word, value)| word.store(*value, Relaxed));
        };
        put(&self.marks, &state.marks);
        put(&self.scans, &state.scans);
    }

    /// The same where only these words have changed.
    pub(super) fn restore_some(&self, state: &MarkState, changed: &[NewMarks]) {
        let put = |words: &[AtomicU64], values: &[u64], at: usize| {
            if let (Some(word), Some(value)) = (words.get(at), values.get(at)) {
                word.store(*value, Relaxed);
            }
        };
        for marks in changed {
            put(&self.marks, &state.marks, marks.at);
            if let Some(at) = marks.scans_at {
                put(&self.scans, &state.scans, at);
            }
        }
    }

    /// A word of the marks.
    pub(super) fn mark_word(&self, at: usize) -> u64 {
        self.marks.get(at).map_or(0, |word| word.load(SeqCst))
    }

    /// What is marked and was not in `state`.
    pub(super) fn marked_since(&self, state: &MarkState) -> Vec<NewMarks> {
        let mut out = Vec::new();
        for span in &self.spans.spans {
            let from = span.marks as usize;
            for at in from..from + (span.elements as usize).div_ceil(64) {
                let bits = self.mark_word(at) & !state.marks.get(at).copied().unwrap_or(u64::MAX);
                if bits != 0 {
                    let scans_at = (span.kind != Kind::NoScan).then(|| span.scans as usize + (at - from));
                    out.push(NewMarks { at, scans_at, bits, size: span.size() });
                }
            }
        }
        out
    }

    /// Bytes of all objects that are marked.
    #[must_use]
    pub fn marked_bytes(&self) -> u64 {
        let of = |span: &Span| {
            let words = (span.elements as usize).div_ceil(64);
            let words = self.marks.get(span.marks as usize..span.marks as usize + words).unwrap_or_default();
            let count: u64 = words.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum();
            count * span.size()
        };
        self.spans.spans.iter().map(of).sum()
    }
}

/// Which objects are marked, and which were scanned.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkState {
    marks: Vec<u64>,
    scans: Vec<u64>,
}

/// Where the parts of a span are in a batch's buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    data: (usize, usize),
    map: (usize, usize),
    no_more: (usize, usize),
}

struct Worker<'m, 'a> {
    marker: &'m Marker<'a>,
    types: Types<'a>,
    batch: Vec<u32>,
    places: Vec<Place>,
    ranges: Vec<MemRange>,
    got: Vec<usize>,
    buf: Vec<u8>,
    /// Spans that have to be scanned, for the queue.
    found: Vec<u32>,
}

impl<'m, 'a> Worker<'m, 'a> {
    fn new(marker: &'m Marker<'a>) -> Self {
        Self {
            marker,
            types: Types::new(marker.target, marker.layout.types, marker.minor),
            batch: Vec::new(),
            places: Vec::new(),
            ranges: Vec::new(),
            got: Vec::new(),
            buf: Vec::new(),
            found: Vec::new(),
        }
    }

    fn run(&mut self, threads: usize) {
        let marker = self.marker;
        let mut queue = locked(&marker.queue);
        loop {
            if queue.failed.is_some() {
                marker.changed.notify_all();
                return;
            }
            if queue.spans.is_empty() {
                if queue.busy == 0 {
                    marker.changed.notify_all();
                    return;
                }
                queue = marker.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            self.take(&mut queue, threads);
            queue.busy += 1;
            drop(queue);
            let result = self.scan_batch();
            queue = locked(&marker.queue);
            queue.busy -= 1;
            queue.spans.extend(self.found.drain(..));
            if let Err(error) = result {
                queue.failed = Some(error);
            }
            if threads > 1 {
                marker.changed.notify_all();
            }
        }
    }

    fn take(&mut self, queue: &mut Queue, threads: usize) {
        let most = (queue.spans.len() / threads).clamp(1, BATCH);
        self.batch.clear();
        let mut bytes = 0;
        while self.batch.len() < most
            && let Some(&span) = queue.spans.front()
        {
            bytes += self.marker.spans.spans.get(span as usize).map_or(0, Span::bytes);
            if bytes > BATCH_BYTES && !self.batch.is_empty() {
                break;
            }
            queue.spans.pop_front();
            self.batch.push(span);
        }
        self.batch.sort_unstable();
    }

    fn scan_batch(&mut self) -> Result<(), ReadError> {
        let spans = self.marker.spans;
        let batch = std::mem::take(&mut self.batch);
        if let [only] = batch.as_slice()
            && let Some(span) = spans.spans.get(*only as usize)
            && span.bytes() > BATCH_BYTES
        {
            self.scan_long(*only, span)?;
        } else {
            self.read(&batch)?;
            for (n, number) in batch.iter().enumerate() {
                if let (Some(span), Some(place)) = (spans.spans.get(*number as usize), self.places.get(n).copied()) {
                    self.scan_span(*number, span, place)?;
                }
            }
        }
        self.batch = batch;
        Ok(())
    }

    /// Reads whole spans, and what arenas say of them.
    fn read(&mut self, batch: &[u32]) -> Result<(), ReadError> {
        self.places.clear();
        self.ranges.clear();
        let mut at = 0_usize;
        for number in batch {
            let Some(span) = self.marker.spans.spans.get(*number as usize) else { continue };
            let len = usize::try_from(span.bytes()).unwrap_or(0);
            let place = self.plan(span, 0, len, &mut at);
            self.places.push(place);
        }
        self.fetch(at, batch.len() as u64)
    }

    /// Reads the ranges that were planned, `len` bytes of them.
    fn fetch(&mut self, len: usize, spans: u64) -> Result<(), ReadError> {
        if self.buf.len() < len {
            self.buf.resize(len, 0);
        }
        let marker = self.marker;
        marker.target.read_ranges(&self.ranges, &mut self.buf, &mut self.got)?;
        let mut at = 0;
        let mut missing = 0_u64;
        for (range, got) in self.ranges.iter().zip(&self.got) {
            if *got < range.len {
                missing += 1;
                // What was there before is another span's.
                if let Some(rest) = self.buf.get_mut(at + got..at + range.len) {
                    rest.fill(0);
                }
            }
            at += range.len;
        }
        if missing > 0 {
            marker.unreadable.fetch_add(missing, Relaxed);
        }
        marker.bytes_read.fetch_add(len as u64, Relaxed);
        marker.span_reads.fetch_add(spans, Relaxed);
        Ok(())
    }

    fn range(&mut self, start: u64, len: usize) {
        // Neighbours in memory are neighbours in the buffer: one range.
        if let Some(last) = self.ranges.last_mut()
            && last.start.0.wrapping_add(last.len as u64) == start
        {
            last.len += len;
            return;
        }
        self.ranges.push(MemRange { start: Addr(start), len });
    }

    /// Plans to read `len` bytes of a span from `offset` on, and the bitmaps for them.
    fn plan(&mut self, span: &Span, offset: u64, len: usize, at: &mut usize) -> Place {
        let start = span.base.wrapping_add(offset);
        let mut place = Place { data: (*at, len), ..Place::default() };
        self.range(start, len);
        *at += len;
        if span.kind != Kind::Arena {
            return place;
        }
        // A byte of the bitmap is for so many of the heap.
        let (map, no_more) = match self.marker.layout.form() {
            PointerForm::TwoBits { bitmap } => (Some((bitmap, 32)), None),
            PointerForm::OneBit { bitmap, no_more } => (Some((bitmap, 64)), Some((no_more, 4096))),
            PointerForm::SpansAndTypes => (None, None),
        };
        place.map = self.plan_map(start, len, map, at);
        place.no_more = self.plan_map(start, len, no_more, at);
        place
    }

    fn plan_map(&mut self, start: u64, len: usize, map: Option<(u32, u64)>, at: &mut usize) -> (usize, usize) {
        let Some((field, per_byte)) = map else { return (0, 0) };
        let (first, end) = (*at, start.wrapping_add(len as u64));
        let known = |addr: u64| self.marker.spans.arenas.get(&(addr / ARENA)).copied();
        let arenas = start / ARENA..=end.saturating_sub(1) / ARENA;
        if arenas.clone().any(|arena| known(arena * ARENA).is_none()) {
            return (0, 0);
        }
        for arena in arenas {
            let from = start.max(arena * ARENA);
            let to = end.min((arena + 1) * ARENA);
            let record = self.marker.spans.arenas.get(&arena).copied().unwrap_or(0);
            let place = record.wrapping_add(field.into()).wrapping_add(from % ARENA / per_byte);
            let bytes = usize::try_from((to - from) / per_byte).unwrap_or(0);
            self.range(place, bytes);
            *at += bytes;
        }
        (first, *at - first)
    }

    fn piece<'b>(buf: &'b [u8], form: PointerForm, offset: u64, place: Place) -> Piece<'b> {
        let part = |(at, len): (usize, usize)| buf.get(at..at + len).unwrap_or_default();
        let maps = match form {
            _ if place.map.1 == 0 => Maps::None,
            PointerForm::TwoBits { .. } => Maps::TwoBits(part(place.map)),
            PointerForm::OneBit { .. } => Maps::OneBit(part(place.map), part(place.no_more)),
            PointerForm::SpansAndTypes => Maps::None,
        };
        Piece { offset, words: part(place.data).as_chunks::<8>().0, maps }
    }

    /// Scans all objects of a span that are marked and were not scanned, and those that this marks.
    fn scan_span(&mut self, number: u32, span: &Span, place: Place) -> Result<(), ReadError> {
        let marker = self.marker;
        let Some(queued) = marker.queued.get(number as usize) else { return Ok(()) };
        let words = (span.elements as usize).div_ceil(64);
        let marks = marker.marks.get(span.marks as usize..span.marks as usize + words).unwrap_or_default();
        let scans = marker.scans.get(span.scans as usize..span.scans as usize + words).unwrap_or_default();
        let large = marker.spans.large.get(&number).copied().filter(|_| span.kind == Kind::Large);
        let piece = Self::piece(&self.buf, marker.layout.form(), 0, place);
        if scans.iter().all(|word| word.load(Relaxed) == 0) {
            marker.progress.done.fetch_add(span.bytes(), Relaxed);
        }
        let mut failed = Ok(());
        loop {
            let mut any = false;
            for (n, (mark, scan)) in marks.iter().zip(scans).enumerate() {
                let new = mark.load(SeqCst) & !scan.load(Relaxed);
                if new == 0 {
                    continue;
                }
                let mut new = new & !scan.fetch_or(new, SeqCst);
                any |= new != 0;
                while new != 0 {
                    let index = 64 * n as u32 + new.trailing_zeros();
                    new &= new - 1;
                    let found = &mut self.found;
                    let failed = &mut failed;
                    piece.each(span, index, large, &mut self.types, |word, kind| match kind {
                        Word::Pointer => found.extend(marker.mark_at(word)),
                        Word::Maybe => match marker.maybe_at(word) {
                            Ok(span) => found.extend(span),
                            Err(error) => *failed = Err(error),
                        },
                    })?;
                }
            }
            if any {
                continue;
            }
            // Whoever marks something here after this puts the span into the queue again. What was marked
            // before it is seen now.
            queued.store(false, SeqCst);
            let left = marks.iter().zip(scans).any(|(mark, scan)| mark.load(SeqCst) & !scan.load(SeqCst) != 0);
            if !left || queued.swap(true, SeqCst) {
                return failed;
            }
        }
    }

    /// Scans the one object of a long span, piece by piece.
    fn scan_long(&mut self, number: u32, span: &Span) -> Result<(), ReadError> {
        let marker = self.marker;
        if let Some(queued) = marker.queued.get(number as usize) {
            queued.store(false, SeqCst);
        }
        let object = ObjectId { span: number, index: 0 };
        let Some(scanned) = marker.scan_word(object) else { return Ok(()) };
        if scanned.fetch_or(1, SeqCst) & 1 != 0 {
            return Ok(());
        }
        marker.progress.done.fetch_add(span.bytes(), Relaxed);
        let mut found = std::mem::take(&mut self.found);
        let mut failed = Ok(());
        let scanned = self.scan_one(object, &mut |word, kind| match kind {
            Word::Pointer => found.extend(marker.mark_at(word)),
            Word::Maybe => match marker.maybe_at(word) {
                Ok(span) => found.extend(span),
                Err(error) => failed = Err(error),
            },
        });
        self.found = found;
        scanned.and(failed)
    }

    /// The words of one object, read in pieces.
    fn scan_one(&mut self, object: ObjectId, each: &mut dyn FnMut(u64, Word)) -> Result<(), ReadError> {
        let marker = self.marker;
        let Some(span) = marker.spans.spans.get(object.span as usize) else { return Ok(()) };
        let large = marker.spans.large.get(&object.span).copied().filter(|_| span.kind == Kind::Large);
        // An object of a span with several of them is never longer than a piece.
        let mut offset = 0;
        while offset < span.bytes() {
            let len = (span.bytes() - offset).min(BATCH_BYTES);
            self.ranges.clear();
            let mut at = 0;
            let place = self.plan(span, offset, usize::try_from(len).unwrap_or(0), &mut at);
            self.fetch(at, u64::from(offset == 0))?;
            let piece = Self::piece(&self.buf, marker.layout.form(), offset, place);
            if !piece.each(span, object.index, large, &mut self.types, &mut *each)? {
                return Ok(());
            }
            offset += len;
        }
        Ok(())
    }
}
