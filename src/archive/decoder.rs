//! Samples to snapshots.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::encoder::{Record, renumbered};
use super::facts::Fact;
use super::room::Held;
use super::script::Patched;
use super::{MAX_GOROUTINE_BYTES, MAX_LIST, Malformed, Moment};
use crate::model::{
    Descriptor, Descriptors, Goroutine, NotInGo, Outside, Pause, Processor, Reading, SelectCase, Snapshot, SymbolPool,
    TargetInfo, Thread, Wait, WaitId, WaitObject, WaitObjectId, Waits, Warnings, WatchedWaits,
};

/// The lists of the sample that was decoded last.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    facts: Patched<Fact>,
    pauses: Patched<Pause>,
    processors: Patched<Processor>,
    threads: Patched<Thread>,
    goroutines: Patched<Record<Goroutine>>,
    objects: Patched<(u32, WaitObject)>,
    not_in_go: Patched<Outside>,
    descriptors: Patched<(i32, Descriptor)>,
}

impl Held for Fact {}
impl Held for Pause {}
impl Held for Processor {}
impl Held for Thread {}
impl Held for (u32, WaitObject) {}
impl Held for Outside {}
impl Held for (i32, Descriptor) {}

impl Held for Record<Goroutine> {
    fn owns_at_most(encoded: usize) -> usize {
        encoded.saturating_mul(size_of::<SelectCase>())
    }

    fn owns(&self, _: usize) -> usize {
        // Nothing else in it is of any length.
        match &self.1 {
            Some(Wait::Select { cases }) => size_of_val(&**cases),
            _ => 0,
        }
    }
}

impl Decoder {
    /// Applies the next sample; its lists may take `room` bytes of memory, twice over, and their snapshot.
    ///
    /// # Errors
    /// When it is malformed; no later one can be decoded then, until there is a whole one.
    pub(super) fn apply(&mut self, mut sample: &[u8], room: usize) -> Result<(), Malformed> {
        let bytes = &mut sample;
        let mut left = room;
        // A list has what those before it have left.
        macro_rules! patch {
            ($list:ident, $most:expr) => {
                self.$list.patch(bytes, $most, left)?;
                left = left.saturating_sub(self.$list.memory());
            };
        }
        patch!(facts, MAX_LIST);
        patch!(pauses, MAX_LIST);
        patch!(processors, MAX_LIST);
        patch!(threads, MAX_LIST);
        patch!(goroutines, MAX_GOROUTINE_BYTES);
        patch!(objects, MAX_LIST);
        patch!(not_in_go, MAX_LIST);
        self.descriptors.patch(bytes, MAX_LIST, left)?;
        if bytes.is_empty() { Ok(()) } else { Err(Malformed("a sample is longer than what is in it")) }
    }

    /// When the sample was taken.
    pub(super) fn moment(&self) -> Moment {
        self.facts.iter().find_map(Fact::moment).unwrap_or_default()
    }

    /// The snapshot, with these names.
    pub(super) fn snapshot(&self, symbols: Arc<SymbolPool>) -> Snapshot {
        let (waits, waiting_on) = self.waits();
        let goroutines = self.goroutines.iter().zip(waiting_on);
        let Moment { monotonic_ns, unix_ns } = self.moment();
        let by_nanotime = |ns: u64| NonZeroU64::new(ns.wrapping_sub(unix_ns.wrapping_sub(monotonic_ns)));
        let goroutines = goroutines.map(|((goroutine, _, blocked), waiting_on)| Goroutine {
            waiting_on,
            blocked_before_ns: blocked.and_then(by_nanotime),
            ..goroutine.clone()
        });
        let why = |said: fn(&Fact) -> Option<&String>| self.facts.iter().find_map(said).cloned();
        let why_not_in_go = why(|fact| match fact {
            Fact::WhyNotInGo(why) => Some(why),
            _ => None,
        });
        let why_descriptors = why(|fact| match fact {
            Fact::WhyDescriptors(why) => Some(why),
            _ => None,
        });
        let found: BTreeMap<i32, Descriptor> = self.descriptors.iter().cloned().collect();
        let mut snapshot = Snapshot {
            captured_at_unix_ns: 0,
            monotonic_ns: 0,
            unchanged_since_ns: None,
            target: TargetInfo::default(),
            reading: Reading::default(),
            sched: None,
            heap: None,
            gc: None,
            processors: self.processors.iter().cloned().collect(),
            threads: self.threads.iter().cloned().collect(),
            goroutines: goroutines.collect::<Vec<_>>().into(),
            dead_goroutines: 0,
            wait_reasons: Vec::new(),
            waits,
            not_in_go: NotInGo::new(self.not_in_go.iter().cloned().collect(), why_not_in_go),
            descriptors: Descriptors::of_known(found, why_descriptors),
            watched: WatchedWaits::default(),
            death: None,
            traceback: None,
            symbols,
            warnings: Warnings::default(),
        };
        self.facts.iter().for_each(|fact| fact.apply(&mut snapshot));
        if let Some(gc) = &mut snapshot.gc {
            gc.recent_pauses = self.pauses.iter().copied().collect();
            gc.recent_pauses.reverse();
        }
        snapshot
    }

    /// What is waited for, and the number of that for each goroutine. A wait on what is not there is none.
    fn waits(&self) -> (Waits, Vec<Option<WaitId>>) {
        let objects = self.objects.iter().enumerate();
        let ids: FxHashMap<u32, WaitObjectId> =
            objects.map(|(index, (number, _))| (*number, WaitObjectId::of_index(index))).collect();
        let id = |number: WaitObjectId| ids.get(&u32::try_from(number.index()).ok()?).copied();
        let mut known: FxHashMap<&Wait, Option<WaitId>> = FxHashMap::default();
        let mut waits = Vec::new();
        let mut number = |wait| {
            *known.entry(wait).or_insert_with(|| {
                waits.push(renumbered(wait, id)?);
                Some(WaitId::of_index(waits.len() - 1))
            })
        };
        let waiting_on = self.goroutines.iter().map(|(_, wait, _)| number(wait.as_ref()?)).collect();
        (Waits::new(waits, self.objects.iter().map(|(_, object)| object.clone()).collect()), waiting_on)
    }
}
