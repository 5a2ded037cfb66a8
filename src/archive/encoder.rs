//! Snapshots to samples: what has changed since the one before.

use rustc_hash::FxHashMap;

use super::facts::Fact;
use super::script::Differ;
use super::{MAX_GOROUTINE_BYTES, MAX_GOROUTINES, MAX_LIST};
use crate::model::{Goroutine, Snapshot, Wait, WaitKind, WaitObject, WaitObjectId};

/// Why a snapshot cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    /// It is too large.
    #[error("a sample is too large: {what}")]
    TooLarge {
        /// What of it.
        what: &'static str,
    },
    /// It has something that has no encoding.
    #[error("a sample cannot be encoded: {0}")]
    Encoding(#[from] postcard::Error),
}

/// A goroutine, what it waits for, with numbers of objects that stay, and when it was certainly blocked already: ns
/// since the Unix epoch, as the runtime keeps the end of a collection. By `nanotime` that would be another number in
/// each sample, since the difference of the two clocks is never read twice alike.
pub(super) type Record<G> = (G, Option<Wait>, Option<u64>);

/// The lists of a sample, in the order in which they are written.
#[derive(Debug, Default)]
struct Lists {
    facts: Differ,
    pauses: Differ,
    processors: Differ,
    threads: Differ,
    goroutines: Differ,
    objects: Differ,
    not_in_go: Differ,
    descriptors: Differ,
}

impl Lists {
    fn all(&mut self) -> [(&mut Differ, &'static str, usize); 8] {
        [
            (&mut self.facts, "its program", MAX_LIST),
            (&mut self.pauses, "its pauses", MAX_LIST),
            (&mut self.processors, "its Ps", MAX_LIST),
            (&mut self.threads, "its threads", MAX_LIST),
            (&mut self.goroutines, "its goroutines", MAX_GOROUTINE_BYTES),
            (&mut self.objects, "what goroutines wait on", MAX_LIST),
            (&mut self.not_in_go, "its system calls", MAX_LIST),
            (&mut self.descriptors, "its descriptors", MAX_LIST),
        ]
    }
}

/// What samples are made of, as it was in the last one.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    lists: Lists,
    numbers: Numbers,
}

impl Encoder {
    /// The next sample is a whole one.
    pub(super) fn reset(&mut self) {
        self.lists.all().into_iter().for_each(|(list, _, _)| list.reset());
        self.numbers = Numbers::default();
    }

    /// Adds a sample to `out`: what differs from the last one. Dead goroutines are left out.
    ///
    /// # Errors
    /// When it is too large. It is as if it had not been there then.
    pub(super) fn encode(&mut self, snapshot: &Snapshot, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let filled = self.fill(snapshot);
        let too_many = (self.lists.goroutines.len() > MAX_GOROUTINES).then_some("its goroutines");
        let too_large = |(list, what, most): (&mut Differ, _, _)| (list.size() > most).then_some(what);
        let too_large = too_many.or_else(|| self.lists.all().into_iter().find_map(too_large));
        let failed = filled.err().map(EncodeError::Encoding);
        if let Some(error) = failed.or(too_large.map(|what| EncodeError::TooLarge { what })) {
            self.lists.all().into_iter().for_each(|(list, _, _)| list.abandon());
            return Err(error);
        }
        self.lists.all().into_iter().for_each(|(list, _, _)| list.write(out));
        Ok(())
    }

    fn fill(&mut self, snapshot: &Snapshot) -> Result<(), postcard::Error> {
        let lists = &mut self.lists;
        for (about, fact) in Fact::all(snapshot) {
            lists.facts.push((about, 0), &fact)?;
        }
        // Newest first in a snapshot; here new ones come at the end.
        for pause in snapshot.gc.iter().flat_map(|gc| gc.recent_pauses.iter().rev()) {
            lists.pauses.push((pause.end_unix_ns, pause.duration_ns), pause)?;
        }
        for processor in &snapshot.processors {
            lists.processors.push((u64::from(processor.id.unsigned_abs()), 0), processor)?;
        }
        for thread in &snapshot.threads {
            lists.threads.push((thread.id.unsigned_abs(), thread.addr.0), thread)?;
        }
        let numbered = self.numbers.of(snapshot);
        let offset = snapshot.captured_at_unix_ns.wrapping_sub(snapshot.monotonic_ns);
        for goroutine in snapshot.goroutines.iter().filter(|goroutine| !goroutine.status.is_dead()) {
            let wait = snapshot.waiting_on(goroutine).map(|wait| renumbered(wait, |id| numbered.get(id)));
            let blocked = goroutine.blocked_before_ns.map(|before| before.get().wrapping_add(offset));
            let record: Record<&Goroutine> = (goroutine, wait.flatten(), blocked);
            lists.goroutines.push((goroutine.id.0, goroutine.addr.0), &record)?;
        }
        let mut objects: Vec<(u32, &WaitObject)> = snapshot
            .waits
            .objects()
            .filter_map(|(id, object)| Some((u32::try_from(numbered.get(id)?.index()).ok()?, object)))
            .collect();
        objects.sort_unstable_by_key(|(number, _)| *number);
        for (number, object) in objects {
            lists.objects.push((number.into(), 0), &(number, object))?;
        }
        for outside in snapshot.not_in_go.iter() {
            lists.not_in_go.push((outside.goroutine.0, 0), outside)?;
        }
        for (fd, descriptor) in snapshot.descriptors.iter() {
            lists.descriptors.push((u64::from(fd.unsigned_abs()), 0), &(fd, descriptor))?;
        }
        Ok(())
    }
}

/// Numbers of objects that stay while the object is there, whatever comes and goes beside it.
#[derive(Debug, Default)]
struct Numbers {
    known: FxHashMap<(u64, WaitKind), u32>,
    free: Vec<u32>,
    next: u32,
}

/// The numbers of one snapshot's objects, by their own ids.
struct Numbered(Vec<Option<u32>>);

impl Numbered {
    fn get(&self, id: WaitObjectId) -> Option<WaitObjectId> {
        let number = (*self.0.get(id.index())?)?;
        Some(WaitObjectId::of_index(usize::try_from(number).ok()?))
    }
}

impl Numbers {
    fn of(&mut self, snapshot: &Snapshot) -> Numbered {
        let mut known = FxHashMap::default();
        let mut numbered = Vec::with_capacity(snapshot.waits.objects().len());
        for (_, object) in snapshot.waits.objects() {
            let key = (object.addr.0, object.kind());
            if let Some(number) = self.known.remove(&key) {
                known.insert(key, number);
            }
            numbered.push(known.get(&key).copied());
        }
        self.free.extend(self.known.drain().map(|(_, number)| number));
        for (number, (_, object)) in numbered.iter_mut().zip(snapshot.waits.objects()) {
            if number.is_none() {
                *number = Some(*known.entry((object.addr.0, object.kind())).or_insert_with(|| {
                    self.free.pop().unwrap_or_else(|| {
                        self.next = self.next.saturating_add(1);
                        self.next - 1
                    })
                }));
            }
        }
        self.known = known;
        Numbered(numbered)
    }
}

/// The same wait with other numbers of its objects; `None` if one has none.
pub(super) fn renumbered(wait: &Wait, number: impl Fn(WaitObjectId) -> Option<WaitObjectId>) -> Option<Wait> {
    let mut wait = wait.clone();
    match &mut wait {
        Wait::Channel { channel: Some(object), .. } | Wait::Lock { object, .. } | Wait::Poll { object, .. } => {
            *object = number(*object)?;
        }
        Wait::Select { cases } => {
            for case in cases.iter_mut() {
                case.channel = number(case.channel)?;
            }
        }
        Wait::Channel { channel: None, .. }
        | Wait::Syscall
        | Wait::C
        | Wait::Sleep { .. }
        | Wait::Coroutine { .. }
        | Wait::Runtime
        | Wait::Unknown { .. } => {}
    }
    Some(wait)
}
