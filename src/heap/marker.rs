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
use super::layout::HeapLayout;
use super::objects::Amount;
use super::root_log::{Root, RootLog};
use super::spans::{Kind, ObjectId, Span, Spans};
use super::worker::Worker;
use crate::process::{ReadError, Target};
use crate::threads::together;

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

/// How far a mark is; it can be read from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) done: AtomicU64,
    pub(super) all: AtomicU64,
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
    pub(super) target: &'a dyn Target,
    pub(super) layout: &'a HeapLayout,
    pub(super) minor: u32,
    spans: &'a Spans,
    pub(super) marks: Vec<AtomicU64>,
    scans: Vec<AtomicU64>,
    /// Whether a span is in the queue, or being scanned.
    pub(super) queued: Vec<AtomicBool>,
    pub(super) queue: Mutex<Queue>,
    pub(super) changed: Condvar,
    /// Which objects of a span are in use, for words that may be pointers.
    allocated: Mutex<FxHashMap<u32, Option<Vec<u8>>>>,
    pub(super) bytes_read: AtomicU64,
    pub(super) span_reads: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) progress: &'a Progress,
    /// What roots point to, where that is wanted.
    roots: Option<Mutex<RootLog>>,
}

/// Spans that have to be scanned.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) spans: VecDeque<u32>,
    /// Threads that may add to it.
    pub(super) busy: usize,
    pub(super) failed: Option<ReadError>,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Marker<'a> {
    /// Nothing is marked yet. `minor` is the minor version of Go.
    #[must_use]
    pub(crate) fn new(
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
            roots: None,
        }
    }

    /// From now on it is kept what roots point to.
    pub(super) fn keep_roots(&mut self) {
        self.roots = Some(Mutex::new(RootLog::new(self.marks.len())));
    }

    /// What roots point to, as far as that was kept.
    pub(super) fn take_roots(&mut self) -> Option<RootLog> {
        self.roots.take().map(|log| log.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is marked from now on is marked for the sake of this root.
    #[inline]
    pub(super) fn comes_from(&self, root: impl FnOnce() -> Root) {
        if let Some(log) = &self.roots {
            locked(log).origin = root();
        }
    }

    fn log(&self, addr: u64, contents: bool) {
        if let Some(log) = &self.roots
            && let Some(object) = self.spans.find(addr)
            && let Some(span) = self.spans.spans.get(object.span as usize)
            && self.is_marked(object)
        {
            locked(log).add(object, (span.marks as usize, object.index), contents);
        }
    }

    /// The spans that it marks.
    #[must_use]
    pub(crate) fn spans(&self) -> &'a Spans {
        self.spans
    }

    /// What it takes, bytes, with the spans.
    #[must_use]
    pub(crate) fn memory(&self) -> usize {
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
    pub(super) fn enqueued(&self, span: u32) -> Option<u32> {
        let queued = self.queued.get(span as usize)?;
        (!queued.load(SeqCst) && !queued.swap(true, SeqCst)).then_some(span)
    }

    /// Marks the object that `addr` points to, if it points to one.
    pub(crate) fn mark(&self, addr: u64) {
        if let Some(span) = self.mark_at(addr) {
            locked(&self.queue).spans.push_back(span);
        }
        if self.roots.is_some() {
            self.log(addr, false);
        }
    }

    /// The same for a word that may be a pointer: an object that is free is not marked.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn mark_maybe(&self, addr: u64) -> Result<(), ReadError> {
        if let Some(span) = self.maybe_at(addr)? {
            locked(&self.queue).spans.push_back(span);
        }
        if self.roots.is_some() {
            self.log(addr, false);
        }
        Ok(())
    }

    pub(super) fn maybe_at(&self, addr: u64) -> Result<Option<u32>, ReadError> {
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

    pub(super) fn scan_word(&self, object: ObjectId) -> Option<&AtomicU64> {
        let span = self.spans.spans.get(object.span as usize).filter(|span| span.kind != Kind::NoScan)?;
        self.scans.get(span.scans as usize + object.index as usize / 64)
    }

    /// From now on the object that holds `addr` may be marked, but what it points to is not followed.
    pub(crate) fn never_scan(&self, addr: u64) {
        if let Some(object) = self.spans.find(addr)
            && let Some(word) = self.scan_word(object)
        {
            word.fetch_or(1 << (object.index % 64), SeqCst);
        }
    }

    /// Marks all that is never to be scanned.
    pub(super) fn mark_closed(&self) {
        for span in self.spans.spans.iter().filter(|span| span.kind != Kind::NoScan) {
            let (marks, scans) = self.bits(span);
            marks.iter().zip(scans).for_each(|(mark, scan)| {
                mark.fetch_or(scan.load(Relaxed), Relaxed);
            });
        }
    }

    /// Marks the object that holds `addr`, and follows it even if it was not to be.
    pub(crate) fn scan(&self, addr: u64) {
        let Some(object) = self.spans.find(addr) else { return };
        if let Some(word) = self.scan_word(object) {
            word.fetch_and(!(1 << (object.index % 64)), SeqCst);
        }
        let Some(span) = self.spans.spans.get(object.span as usize) else { return };
        self.set_mark(span, object.index);
        if self.roots.is_some() {
            self.log(addr, true);
        }
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
    pub(super) fn mark_contents(&self, objects: impl IntoIterator<Item = ObjectId>) -> Result<(), ReadError> {
        let mut worker = Worker::new(self);
        let scanned = objects.into_iter().try_for_each(|object| {
            if let Some(log) = &self.roots {
                locked(log).contents_of(object);
            }
            worker.scan_one(object)
        });
        worker.hand_over();
        scanned
    }

    /// Follows everything that is marked, on `threads` threads, until nothing new is found.
    ///
    /// # Errors
    /// When the target could not be read.
    pub(crate) fn drain(&self, threads: usize) -> Result<(), ReadError> {
        if locked(&self.queue).spans.is_empty() {
            return Ok(());
        }
        let threads = threads.max(1);
        let work = || Worker::new(self).run(threads);
        together(threads - 1, work, work);
        locked(&self.queue).failed.take().map_or(Ok(()), Err)
    }

    /// What it has cost and found so far.
    #[must_use]
    pub(crate) fn stats(&self) -> MarkStats {
        MarkStats {
            objects: self.marks.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum(),
            bytes_read: self.bytes_read.load(Relaxed),
            span_reads: self.span_reads.load(Relaxed),
            unreadable: self.unreadable.load(Relaxed),
        }
    }

    /// The bits of a span's objects: which are marked, and which were scanned.
    pub(super) fn bits(&self, span: &Span) -> (&[AtomicU64], &[AtomicU64]) {
        let words = (span.elements as usize).div_ceil(64);
        let part = |first: u32| first as usize..first as usize + words;
        let (marks, scans) = (self.marks.get(part(span.marks)), self.scans.get(part(span.scans)));
        (marks.unwrap_or_default(), scans.unwrap_or_default())
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
    pub(crate) fn marked_bytes(&self) -> u64 {
        self.spans.spans.iter().map(|span| self.marked_in(span) * span.size()).sum()
    }

    /// All objects that are marked, with what the runtime counts for each.
    #[must_use]
    pub(super) fn marked(&self) -> Amount {
        let mut all = Amount::default();
        self.spans.spans.iter().for_each(|span| all.add(self.marked_in(span), span.slot()));
        all
    }

    fn marked_in(&self, span: &Span) -> u64 {
        self.bits(span).0.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum()
    }
}

/// Which objects are marked, and which were scanned.
#[derive(Clone, Debug, Default)]
pub(super) struct MarkState {
    marks: Vec<u64>,
    scans: Vec<u64>,
}

impl MarkState {
    /// What it takes, bytes.
    pub(super) fn memory(&self) -> usize {
        8 * (self.marks.capacity() + self.scans.capacity())
    }

    /// Whether an object was marked, by the first word of its span's marks and its index.
    pub(super) fn has(&self, first: usize, index: u32) -> bool {
        self.marks.get(first + index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }

    /// Whether an object was scanned, or never to be, likewise.
    pub(super) fn is_scanned(&self, first: usize, index: u32) -> bool {
        self.scans.get(first + index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }
}
