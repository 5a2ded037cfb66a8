//! One of the threads that follow what is marked: it takes spans from the queue, reads them, and marks what their
//! objects point to.
//!
//! Nearly all of the time goes into waiting for memory: to mark an object, its page, its span and its mark bit are
//! looked up, each at a place that depends on the last. So the pointers of many objects are collected, and all take
//! the first step before any takes the second: what does not depend on each other is fetched at the same time.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::batch::{Batch, Fetched, Place};
use super::marker::{Marker, Queue, locked};
use super::pointers::Word;
use super::spans::{Kind, ObjectId, Span};
use super::types::Types;
use crate::process::ReadError;

/// Most spans that are read with one call.
const BATCH: usize = 64;
/// Bytes of a batch; a longer span is read alone and in pieces.
const BATCH_BYTES: u64 = 1 << 20;
/// Pointers that are collected before they are looked up: their steps fit into the caches that are nearest.
const TOGETHER: usize = 1 << 10;

/// Words that were found in objects.
#[derive(Default)]
struct Words {
    pointers: Vec<u64>,
    /// Those that may be pointers.
    maybe: Vec<u64>,
    /// Pointers with the numbers of their spans.
    in_spans: Vec<(u64, u32)>,
    /// Objects that are not marked yet.
    unmarked: Vec<Unmarked>,
    /// Spans that have to be scanned, for the queue.
    found: Vec<u32>,
}

/// An object whose mark was not set a moment ago.
#[derive(Clone, Copy)]
struct Unmarked {
    /// Its word of mark bits.
    word: u32,
    span: u32,
    bit: u8,
    noscan: bool,
}

impl Words {
    #[inline]
    fn put(&mut self, word: u64, kind: Word) {
        match kind {
            _ if word == 0 => {}
            Word::Pointer => self.pointers.push(word),
            Word::Maybe => self.maybe.push(word),
        }
    }

    fn is_full(&self) -> bool {
        self.pointers.len() + self.maybe.len() >= TOGETHER
    }

    /// Marks what was collected.
    fn mark(&mut self, marker: &Marker<'_>) -> Result<(), ReadError> {
        let Self { pointers, maybe, in_spans, unmarked, found } = self;
        let spans = marker.spans();
        in_spans.clear();
        in_spans.extend(pointers.drain(..).filter_map(|addr| Some((addr, spans.span_at(addr)?))));
        unmarked.clear();
        for &(addr, number) in in_spans.iter() {
            let Some(span) = spans.spans.get(number as usize) else { continue };
            let Some(index) = span.index(addr.wrapping_sub(span.base)) else { continue };
            let (word, bit) = (span.marks.wrapping_add(index / 64), (index % 64) as u8);
            if marker.marks.get(word as usize).is_some_and(|marks| marks.load(Relaxed) >> bit & 1 == 0) {
                unmarked.push(Unmarked { word, span: number, bit, noscan: span.kind == Kind::NoScan });
            }
        }
        for object in unmarked.iter() {
            let Some(word) = marker.marks.get(object.word as usize) else { continue };
            let bit = 1_u64 << object.bit;
            if word.fetch_or(bit, SeqCst) & bit == 0 && !object.noscan {
                found.extend(marker.enqueued(object.span));
            }
        }
        for addr in maybe.drain(..) {
            found.extend(marker.maybe_at(addr)?);
        }
        Ok(())
    }
}

/// A thread's own part of a mark.
pub(super) struct Worker<'m, 'a> {
    marker: &'m Marker<'a>,
    types: Types<'a>,
    numbers: Vec<u32>,
    places: Vec<Place>,
    batch: Batch<'m>,
    words: Words,
}

impl<'m, 'a> Worker<'m, 'a> {
    pub(super) fn new(marker: &'m Marker<'a>) -> Self {
        Self {
            marker,
            types: Types::new(marker.target, marker.layout.types, marker.minor),
            numbers: Vec::new(),
            places: Vec::new(),
            batch: Batch::new(marker.target, marker.spans(), marker.layout.form()),
            words: Words::default(),
        }
    }

    /// Works until the queue is empty and none of the `threads` can add to it.
    pub(super) fn run(&mut self, threads: usize) {
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
            queue.spans.extend(self.words.found.drain(..));
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
        self.numbers.clear();
        let mut bytes = 0;
        while self.numbers.len() < most
            && let Some(&span) = queue.spans.front()
        {
            bytes += self.marker.spans().spans.get(span as usize).map_or(0, Span::bytes);
            if bytes > BATCH_BYTES && !self.numbers.is_empty() {
                break;
            }
            queue.spans.pop_front();
            self.numbers.push(span);
        }
        self.numbers.sort_unstable();
    }

    fn scan_batch(&mut self) -> Result<(), ReadError> {
        let spans = self.marker.spans();
        let numbers = std::mem::take(&mut self.numbers);
        if let [only] = numbers.as_slice()
            && let Some(span) = spans.spans.get(*only as usize)
            && span.bytes() > BATCH_BYTES
        {
            self.scan_long(*only, span)?;
        } else {
            self.batch.clear();
            self.places.clear();
            for number in &numbers {
                let Some(span) = spans.spans.get(*number as usize) else { continue };
                let place = self.batch.plan(span, 0, span.bytes());
                self.places.push(place);
            }
            self.fetch(numbers.len() as u64)?;
            for (n, number) in numbers.iter().enumerate() {
                if let (Some(span), Some(place)) = (spans.spans.get(*number as usize), self.places.get(n).copied()) {
                    self.scan_span(*number, span, place)?;
                }
            }
        }
        self.numbers = numbers;
        Ok(())
    }

    /// Reads what was planned, of so many spans.
    fn fetch(&mut self, spans: u64) -> Result<Fetched, ReadError> {
        let fetched = self.batch.fetch()?;
        self.marker.unreadable.fetch_add(fetched.missing, Relaxed);
        self.marker.bytes_read.fetch_add(fetched.bytes, Relaxed);
        self.marker.span_reads.fetch_add(spans, Relaxed);
        Ok(fetched)
    }

    /// Scans all objects of a span that are marked and were not scanned, and those that this marks.
    fn scan_span(&mut self, number: u32, span: &Span, place: Place) -> Result<(), ReadError> {
        let Self { marker, types, batch, words, .. } = self;
        let marker = *marker;
        let Some(queued) = marker.queued.get(number as usize) else { return Ok(()) };
        let (marks, scans) = marker.bits(span);
        let large = marker.spans().large.get(&number).copied().filter(|_| span.kind == Kind::Large);
        let piece = batch.piece(0, place);
        if scans.iter().all(|word| word.load(Relaxed) == 0) {
            marker.progress.done.fetch_add(span.bytes(), Relaxed);
        }
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
                    piece.each(span, index, large, types, |word, kind| words.put(word, kind))?;
                    if words.is_full() {
                        words.mark(marker)?;
                    }
                }
            }
            words.mark(marker)?;
            if any {
                continue;
            }
            // Who marks something here after this puts the span into the queue again. What was marked
            // before it is seen now.
            queued.store(false, SeqCst);
            let left = marks.iter().zip(scans).any(|(mark, scan)| mark.load(SeqCst) & !scan.load(SeqCst) != 0);
            if !left || queued.swap(true, SeqCst) {
                return Ok(());
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
        self.scan_one(object)
    }

    /// Marks what one object points to; it is read in pieces.
    pub(super) fn scan_one(&mut self, object: ObjectId) -> Result<(), ReadError> {
        let marker = self.marker;
        let Some(span) = marker.spans().spans.get(object.span as usize) else { return Ok(()) };
        let large = marker.spans().large.get(&object.span).copied().filter(|_| span.kind == Kind::Large);
        // An object of a span with several of them is never longer than a piece.
        let mut offset = 0;
        while offset < span.bytes() {
            let len = (span.bytes() - offset).min(BATCH_BYTES);
            self.batch.clear();
            let place = self.batch.plan(span, offset, len);
            // Not all of what seems to be a span need be memory.
            if self.fetch(u64::from(offset == 0))?.none {
                break;
            }
            let (piece, words) = (self.batch.piece(offset, place), &mut self.words);
            let more = piece.each(span, object.index, large, &mut self.types, |word, kind| words.put(word, kind))?;
            words.mark(marker)?;
            if !more {
                break;
            }
            offset += len;
        }
        Ok(())
    }

    /// Puts the spans that were found into the queue.
    pub(super) fn hand_over(&mut self) {
        locked(&self.marker.queue).spans.extend(self.words.found.drain(..));
    }
}
