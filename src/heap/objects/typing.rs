//! Of which types live objects are, as far as the heap itself says so (Go 1.22 to 1.27).
//!
//! Where it begins: from 1.22 on, objects of more than 512 bytes with pointers name their type; so do interfaces
//! (the type of the value, or a table of methods that names it, before the pointer), channels, closures by their
//! function, and finalizers (the type of their object; a cleanup keeps none of its argument). From there it goes on by
//! the program's type data: what a pointer, a slice, a map or a channel in a value of a known type points to is of a
//! known type as well. The first type that fits stays: its size goes with that of the slot, and the words that are
//! pointers are those that the heap says. What only package variables and stacks point to has no type, since nothing
//! on the heap says theirs.
//!
//! Spans are walked in the order of their addresses, and again when more is known of their objects, on several
//! threads, as in the mark.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex};

use rustc_hash::FxHashMap;

use super::book::{Book, Form, Known};
use super::numbers::Numbers;
use super::variables::{SINCE, VariableTypes};
use super::walk::Typist;
use super::{Amount, TypeSum, Untyped};
use crate::heap::marker::{MarkState, Marker, locked};
use crate::heap::roots::{Finalized, Module, UNBOUNDED};
use crate::heap::spans::{Kind, MAX_IN_SPAN, ObjectId, Span};
use crate::process::ReadError;
use crate::runtime::GoProcess;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::hchan::{Hchan, HchanLayout};
use crate::threads::together;
use crate::{addr::Addr, bytes::FieldsExt as _};

/// Bytes of variables that are read at a time.
const PIECE: u64 = 1 << 20;

/// Spans that are to be walked.
#[derive(Default)]
pub(super) struct Work {
    /// The next that was never walked.
    pub(super) next: usize,
    /// Those of whose objects more is known now.
    pub(super) again: VecDeque<u32>,
    /// Threads that may add to it.
    pub(super) busy: usize,
    pub(super) failed: Option<ReadError>,
}

/// Where types are known from, beside the heap.
#[derive(Clone, Copy)]
pub(super) struct Seeds<'s> {
    /// Addresses of gs.
    pub(super) gs: &'s [u64],
    /// Those of sudogs.
    pub(super) sudogs: &'s [u64],
    /// Those of channels that are waited for.
    pub(super) channels: &'s [u64],
    /// What package variables point to.
    pub(super) variables: &'s VariableTypes,
    /// Objects with finalizers, which say the type.
    pub(super) finalized: &'s [Finalized],
}

/// What is known of the types of objects.
pub(super) struct Typing<'t> {
    pub(super) marker: &'t Marker<'t>,
    pub(super) channel: Option<&'t HchanLayout>,
    pub(super) text: Range<u64>,
    pub(super) types: Range<u64>,
    pub(super) book: Mutex<Book<'t>>,
    /// What small objects are.
    pub(super) numbers: Numbers,
    /// A bit for each object whose type is known, where the mark has its bits.
    typed: Vec<AtomicU64>,
    /// A bit for each object whose pointers were followed by its type, where the mark has what was scanned.
    followed: Vec<AtomicU64>,
    /// Whether a span is in the queue, or is being walked.
    pub(super) queued: Vec<AtomicBool>,
    pub(super) work: Mutex<Work>,
    pub(super) changed: Condvar,
    /// What was marked before what is counted apart.
    since: Option<&'t MarkState>,
    /// Name of the type whose objects are wanted, and a bit for each of them.
    wanted: Option<(&'t str, Vec<AtomicU64>)>,
}

/// Live objects of one form: all, and those that are counted apart.
pub(super) type Tally = Vec<(Amount, Amount)>;

fn zeros(len: usize) -> Vec<AtomicU64> {
    std::iter::repeat_with(AtomicU64::default).take(len).collect()
}

impl<'t> Typing<'t> {
    /// `None` where the heap says nothing of types, or the program's type data is not found.
    pub(super) fn new(
        process: GoProcess<'t>,
        marker: &'t Marker<'t>,
        since: Option<&'t MarkState>,
        wanted: Option<&'t str>,
    ) -> Option<Self> {
        if process.rules().minor() < SINCE {
            return None;
        }
        let book = Book::new(process, marker.layout.types)?;
        let spans = marker.spans();
        marker.progress.all.fetch_add(spans.bytes().1, Relaxed);
        let small = |span: &Span| if matches!(span.kind, Kind::InSpan(_)) { span.elements } else { 0 };
        let numbers = Numbers::new(spans.spans.iter().map(small))?;
        Some(Self {
            marker,
            channel: process.layout::<Hchan>(),
            text: process.program.module.text.clone(),
            types: book.range(),
            book: Mutex::new(book),
            numbers,
            typed: zeros(spans.words.0),
            followed: zeros(spans.words.1),
            queued: std::iter::repeat_with(AtomicBool::default).take(spans.len()).collect(),
            work: Mutex::default(),
            changed: Condvar::new(),
            since,
            wanted: wanted.map(|name| (name, zeros(spans.words.0))),
        })
    }

    /// What it takes, bytes.
    pub(super) fn memory(&self) -> usize {
        let words = self.typed.len() + self.followed.len() + self.wanted.as_ref().map_or(0, |(_, bits)| bits.len());
        8 * words + self.numbers.memory() + self.queued.len()
    }

    /// Finds types.
    pub(super) fn run(
        &self,
        process: GoProcess<'_>,
        modules: &[Module],
        seeds: Seeds<'_>,
        threads: usize,
    ) -> Result<Tally, ReadError> {
        let mut first = Typist::new(self);
        for g in seeds.gs {
            first.assign(*g, Form::Runtime, 0)?;
        }
        for sudog in seeds.sudogs {
            first.assign(*sudog, Form::Runtime, 1)?;
        }
        self.seed_channels(process, seeds.channels, &mut first)?;
        for Finalized { pointer_type, object } in seeds.finalized {
            // The two words of an interface that holds the object.
            first.pair(*pointer_type, *object)?;
            first.settle_many();
        }
        self.seed_variables(process, modules, seeds.variables, &mut first)?;
        first.hand_over();
        let run = |mut typist: Typist<'_, 't>| {
            typist.run();
            typist.tally
        };
        let tallies = together(threads.saturating_sub(1), || run(Typist::new(self)), || run(first));
        if let Some(error) = locked(&self.work).failed.take() {
            return Err(error);
        }
        let mut all = Tally::new();
        for tally in tallies {
            if all.len() < tally.len() {
                all.resize(tally.len(), <(Amount, Amount)>::default());
            }
            for ((live, only), (more, more_only)) in all.iter_mut().zip(tally) {
                (*live, *only) = (live.with(more), only.with(more_only));
            }
        }
        Ok(all)
    }

    /// Channels that goroutines wait for say what they hold, whether there are pointers in it or not.
    fn seed_channels(
        &self,
        process: GoProcess<'_>,
        channels: &[u64],
        typist: &mut Typist<'_, 't>,
    ) -> Result<(), ReadError> {
        for (addr, element) in channels_at(process, channels)? {
            typist.assign(addr, Form::Channel, element)?;
        }
        Ok(())
    }

    /// Package variables that are interfaces say what is in them, and DWARF what others point to.
    fn seed_variables(
        &self,
        process: GoProcess<'_>,
        modules: &[Module],
        variables: &VariableTypes,
        typist: &mut Typist<'_, 't>,
    ) -> Result<(), ReadError> {
        for (start, end) in modules.iter().flat_map(Module::variables) {
            let (mut at, mut before) = (start, 0);
            while at < end {
                let len = (end - at).min(PIECE);
                let mut piece = vec![0; usize::try_from(len).unwrap_or(0)];
                let got = process.target.read(Addr(at), &mut piece)?;
                for n in 0..got / 8 {
                    let word = piece.u64_at(8 * n).unwrap_or(0);
                    typist.pair(before, word)?;
                    typist.settle_many();
                    before = word;
                }
                for (addr, form, ty) in variables.within(at, at + got as u64) {
                    let word = usize::try_from(addr - at).ok().and_then(|into| piece.u64_at(into));
                    typist.assign(word.unwrap_or(0), form, ty)?;
                }
                at += len;
            }
        }
        Ok(())
    }

    /// Whether the type of an object is known.
    #[inline]
    pub(super) fn is_typed(&self, span: &Span, index: u32) -> bool {
        let word = self.typed.get(span.marks as usize + index as usize / 64);
        word.is_some_and(|word| word.load(Relaxed) >> (index % 64) & 1 != 0)
    }

    /// Says that the type of an object is known; false if it was.
    #[inline]
    pub(super) fn set_typed(&self, span: &Span, index: u32) -> bool {
        let (bit, word) = (1 << (index % 64), self.typed.get(span.marks as usize + index as usize / 64));
        word.is_some_and(|word| word.fetch_or(bit, SeqCst) & bit == 0)
    }

    /// The type was none.
    pub(super) fn take_back(&self, span: &Span, index: u32) {
        if let Some(word) = self.typed.get(span.marks as usize + index as usize / 64) {
            word.fetch_and(!(1 << (index % 64)), SeqCst);
        }
    }

    /// Bits of the objects of a span: marked, with a type, and followed.
    pub(super) fn bits(&self, span: &Span) -> (&[AtomicU64], &[AtomicU64], &[AtomicU64]) {
        let words = (span.elements as usize).div_ceil(64);
        let part = |all: &'_ [AtomicU64], first: u32| first as usize..(first as usize + words).min(all.len());
        let typed = self.typed.get(part(&self.typed, span.marks)).unwrap_or_default();
        let followed = self.followed.get(part(&self.followed, span.scans)).unwrap_or_default();
        (self.marker.bits(span).0, typed, followed)
    }

    /// Whether an object is one of those that are counted apart.
    #[inline]
    pub(super) fn is_apart(&self, span: &Span, index: u32) -> bool {
        self.since.is_some_and(|since| !since.has(span.marks as usize, index))
    }

    /// Whether objects of this form are looked for.
    pub(super) fn is_wanted(&self, known: &Known) -> bool {
        self.wanted.as_ref().is_some_and(|(name, _)| known.name == *name)
    }

    /// An object was found that is looked for.
    pub(super) fn found(&self, span: &Span, index: u32) {
        if let Some((_, bits)) = &self.wanted
            && let Some(word) = bits.get(span.marks as usize + index as usize / 64)
        {
            word.fetch_or(1 << (index % 64), SeqCst);
        }
    }

    /// The name of the type that is wanted, if an object is of it.
    pub(super) fn wanted_name(&self, span: &Span, index: u32) -> Option<&'t str> {
        let (name, bits) = self.wanted.as_ref()?;
        let word = bits.get(span.marks as usize + index as usize / 64)?;
        (word.load(Relaxed) >> (index % 64) & 1 != 0).then_some(*name)
    }

    /// What an object of a span of small objects with pointers is.
    pub(super) fn known(&self, object: ObjectId) -> Option<Arc<Known>> {
        let number = self.numbers.get(object);
        locked(&self.book).all().get(usize::from(number).checked_sub(1)?).cloned()
    }

    /// Sums by name, largest first.
    pub(super) fn sums(&self, tally: &Tally) -> Vec<TypeSum> {
        let mut by_name: FxHashMap<String, (Amount, Amount)> = FxHashMap::default();
        for (known, (live, only)) in locked(&self.book).all().iter().zip(tally.iter().skip(1)) {
            let sum = by_name.entry(known.name.clone()).or_default();
            *sum = (sum.0.with(*live), sum.1.with(*only));
        }
        let mut sums: Vec<TypeSum> =
            by_name.into_iter().map(|(name, (live, only))| TypeSum { name, live, only }).collect();
        sums.retain(|sum| sum.live.objects > 0);
        sums.sort_by(|a, b| (Reverse(a.live.bytes), &a.name).cmp(&(Reverse(b.live.bytes), &b.name)));
        sums
    }
}

/// Channels at these addresses, and the types of their values.
pub(super) fn channels_at(process: GoProcess<'_>, channels: &[u64]) -> Result<Vec<(u64, u64)>, ReadError> {
    let Some(layout) = process.layout::<Hchan>() else { return Ok(Vec::new()) };
    let mut wanted: Vec<u64> = channels.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let addrs = wanted.iter().map(|addr| Addr(*addr));
    let found = Frontier::new(process.target, UNBOUNDED).mirrors::<Hchan>(layout, addrs)?;
    Ok(wanted.into_iter().filter_map(|addr| Some((addr, found.get(Addr(addr))?.elemtype))).collect())
}

/// Live objects without a type by their size, largest first. Without types none has one.
pub(super) fn untyped(marker: &Marker<'_>, typing: Option<&Typing<'_>>) -> Vec<Untyped> {
    let mut classes: FxHashMap<(Option<u64>, bool), Amount> = FxHashMap::default();
    for span in &marker.spans().spans {
        let mut count = 0;
        for (n, word) in marker.bits(span).0.iter().enumerate() {
            let typed = typing.and_then(|typing| typing.typed.get(span.marks as usize + n));
            let typed = typed.map_or(0, |word| word.load(Relaxed));
            count += u64::from((word.load(Relaxed) & !typed).count_ones());
        }
        if count > 0 {
            let size = (span.elem != 0).then(|| span.slot());
            classes.entry((size, span.kind != Kind::NoScan)).or_default().add(count, span.slot());
        }
    }
    let mut out: Vec<Untyped> =
        classes.into_iter().map(|((size, pointers), live)| Untyped { size, pointers, live }).collect();
    out.sort_by_key(|class| (Reverse(class.live.bytes), class.size, class.pointers));
    out
}

/// Whether an object of this size can be what is known: a value fills a slot but for what size classes round up
/// (at most a fifth, and 16 bytes in the smallest; runtime/sizeclasses.go, 1.19 to 1.27).
#[inline]
pub(super) fn fits(known: &Known, slot: u64) -> bool {
    let size = known.size;
    match known.form {
        _ if size == 0 => true,
        Form::Array | Form::MapDirectory => size <= slot,
        _ if slot > MAX_IN_SPAN => size <= slot,
        _ => size <= slot && slot - size <= (size / 4).max(15),
    }
}
