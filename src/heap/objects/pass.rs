//! One walk over the heap.

use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};

use super::changes::{self, Counts};
use super::path::{self, Search};
use super::typing::{Seeds, Typing, untyped};
use super::variables::VariableTypes;
use super::{Amount, Changes, Keeper, ObjectOptions, Objects, Standing, Wanted};
use crate::addr::Addr;
use crate::capture::allgs;
use crate::heap::goroutines::{Blocked, Goroutine, Goroutines, unmoved};
use crate::heap::layout::HeapLayout;
use crate::heap::leaks::{Heap, PassOptions};
use crate::heap::marker::{MarkState, Marker, Progress};
use crate::heap::root_log::Root;
use crate::heap::roots::{Finalized, Module, Roots, Variables, modules};
use crate::heap::stacks::Stacks;
use crate::heap::threads::Running;
use crate::heap::{HeapError, waits};
use crate::model::Warnings;
use crate::process::Backend;
use crate::runtime::GoProcess;
use crate::runtime::readers::processors::read_ps;
use crate::runtime::symbols::Global;

/// What a walk found, and what says later how much has changed.
pub(super) struct Found {
    pub(super) objects: Objects,
    heap: Heap,
    counts: Counts,
    goroutines: Vec<Goroutine>,
}

impl Found {
    /// What has changed since it began.
    pub(super) fn changes(&self, process: GoProcess<'_>) -> Result<Changes, HeapError> {
        let (layout, spans) = (&self.heap.layout, &self.heap.spans);
        let now = Counts::read(process, layout, spans)?;
        let new = changes::new_spans(process, layout, spans)?;
        let same = unmoved(process, layout, &self.goroutines)?;
        let goroutines = same.iter().filter(|same| !**same).count() as u64;
        let Changes { spans, objects, .. } = self.counts.changes(&now);
        Ok(Changes { spans: spans + new.spans, objects: objects + new.objects, goroutines })
    }
}

/// Walks the heap once.
pub(super) fn pass(
    process: GoProcess<'_>,
    options: &ObjectOptions,
    (how, variables): (&PassOptions, &VariableTypes),
    running: &Running,
    progress: &Progress,
) -> Result<Found, HeapError> {
    let layout = HeapLayout::resolve(&process.runtime.layout.table)?;
    let before = match process.target.backend() {
        // Nothing moves there.
        Backend::Core | Backend::Capture => Variables::default(),
        _ => Variables::read(process, &modules(process, &layout)?)?,
    };
    let heap = Heap::read(process)?;
    let counts = Counts::read(process, &heap.layout, &heap.spans)?;
    let (objects, goroutines) = over(process, (&heap, &before), &counts, (options, how, variables), running, progress)?;
    Ok(Found { objects, heap, counts, goroutines })
}

fn over(
    process: GoProcess<'_>,
    (heap, before): (&Heap, &Variables),
    counts: &Counts,
    (options, how, variables): (&ObjectOptions, &PassOptions, &VariableTypes),
    running: &Running,
    progress: &Progress,
) -> Result<(Objects, Vec<Goroutine>), HeapError> {
    let started = Instant::now();
    let unheard = &mut Warnings::default();
    if process.runtime.wait_reasons.is_empty() {
        return Err(HeapError::NotFound(Global::WaitReasonStrings));
    }
    let mut marker = heap.marker(process, progress);
    if options.path_to.is_some() {
        marker.keep_roots();
    }
    let gs = allgs::read(process, unheard)?;
    let goroutines = Goroutines::read(process, &heap.layout, gs)?;
    let modules = modules(process, &heap.layout)?;
    let mut mark = Mark::new(process, heap, &marker, how, &modules, &goroutines.list)?;
    mark.steps(options, (running, before), unheard)?;
    let Mark { mut notes, channels, sudogs, finalized, closed, kept, apart, unreadable, .. } = mark;
    if unreadable > 0 {
        notes.push(format!("{unreadable} stacks could not be read"));
    }
    let stats = marker.stats();
    if stats.unreadable > 0 {
        notes.push(format!("{} parts of the heap could not be read", stats.unreadable));
    }
    if heap.spans.odd() > 0 {
        notes.push(format!("{} spans of the heap cannot be what they say", heap.spans.odd()));
    }
    let live = marker.marked();
    let marked = started.elapsed();
    let log = marker.take_roots();

    let started = Instant::now();
    let wanted = match &options.path_to {
        Some(Wanted::Type(name)) => Some(name.as_str()),
        _ => None,
    };
    let typing = Typing::new(process, &marker, apart.as_ref(), wanted);
    let mut types = None;
    if let Some(typing) = &typing {
        let sudogs: Vec<u64> = sudogs.into_values().flatten().collect();
        let gs: Vec<u64> = goroutines.list.iter().map(|goroutine| goroutine.addr).collect();
        let seeds = Seeds { gs: &gs, sudogs: &sudogs, channels: &channels, variables, finalized: &finalized };
        let tally = typing.run(process, &modules, seeds, how.threads)?;
        types = Some(typing.sums(&tally));
    }
    let untyped = untyped(&marker, typing.as_ref());
    let mut memory = marker.memory() + counts.memory() + size_of_val(goroutines.list.as_slice());
    memory += typing.as_ref().map_or(0, Typing::memory);
    let found = match (&options.path_to, log) {
        (Some(wanted), Some(log)) => {
            if log.cut {
                notes.push("there are too many roots: not all were looked at for a path".to_owned());
            }
            let search = Search { marker: &marker, typing: typing.as_ref(), closed: &closed };
            let (path, took) = search.run(wanted, &log)?;
            memory += took;
            path.map(|path| path::described(process, &search, path)).transpose()?
        }
        _ => None,
    };
    let garbage = counts.allocated(&heap.spans).beyond(live);
    let objects = Objects {
        standing: Standing::Quiet,
        live,
        garbage,
        kept,
        types,
        untyped,
        path: found,
        notes,
        memory,
        took: (marked, started.elapsed()),
    };
    Ok((objects, goroutines.list))
}

/// The mark, step by step.
struct Mark<'p, 'm> {
    process: GoProcess<'p>,
    heap: &'p Heap,
    marker: &'p Marker<'m>,
    how: &'p PassOptions,
    modules: &'p [Module],
    list: &'p [Goroutine],
    stacks: Stacks<'p, 'm>,
    notes: Vec<String>,
    /// Addresses of channels that goroutines wait for.
    channels: Vec<u64>,
    /// Objects with finalizers, and their types.
    finalized: Vec<Finalized>,
    /// Sudogs by the address of the g that waits in them.
    sudogs: FxHashMap<u64, Vec<u64>>,
    /// Objects that are met but not followed: a bit for each, where the mark has what was scanned.
    closed: MarkState,
    kept: Vec<(Keeper, Amount)>,
    /// What was marked before those that come last.
    apart: Option<MarkState>,
    unreadable: u64,
    before: Amount,
}

impl<'p, 'm> Mark<'p, 'm> {
    fn new(
        process: GoProcess<'p>,
        heap: &'p Heap,
        marker: &'p Marker<'m>,
        how: &'p PassOptions,
        modules: &'p [Module],
        list: &'p [Goroutine],
    ) -> Result<Self, HeapError> {
        // The list of all gs is in a variable, and reaches what each of them holds: each is followed when its turn
        // comes. Sudogs lead from one goroutine to another: each is followed with its own.
        list.iter().for_each(|goroutine| marker.never_scan(goroutine.addr));
        let mut sudogs: FxHashMap<u64, Vec<u64>> = FxHashMap::default();
        let waited = waits::read(process, &heap.layout, list, marker, modules)?;
        waited.sudogs.iter().for_each(|(g, sudog)| sudogs.entry(*g).or_default().push(*sudog));
        let channels = waiting_channels(list, waited.objects);
        Ok(Self {
            process,
            heap,
            marker,
            how,
            modules,
            list,
            stacks: Stacks::new(process, &heap.layout, marker, modules),
            notes: Vec::new(),
            channels,
            finalized: Vec::new(),
            sudogs,
            closed: MarkState::default(),
            kept: Vec::new(),
            apart: None,
            unreadable: 0,
            before: Amount::default(),
        })
    }

    /// What goroutines reach.
    fn goroutines(&mut self, goroutines: &[&Goroutine]) -> Result<(), HeapError> {
        self.stacks.scan(goroutines)?;
        for goroutine in goroutines {
            for sudog in self.sudogs.get(&goroutine.addr).into_iter().flatten() {
                self.marker.comes_from(|| Root::Goroutine(goroutine.goid));
                self.marker.scan(*sudog);
            }
        }
        Ok(())
    }

    /// What was reached since the last step is this one's.
    fn done(&mut self, by: Keeper) -> Result<(), HeapError> {
        self.marker.drain(self.how.threads)?;
        let now = self.marker.marked();
        self.kept.push((by, now.beyond(self.before)));
        self.before = now;
        Ok(())
    }

    fn steps(
        &mut self,
        options: &ObjectOptions,
        (running, before): (&Running, &Variables),
        unheard: &mut Warnings,
    ) -> Result<(), HeapError> {
        let ps = match self.process.addr(Global::Allp) {
            Some(allp) => read_ps(self.process.target, allp, &self.process.runtime.layout, unheard)?,
            None => Vec::new(),
        };
        // Likewise the list of all Ps, and their timers.
        ps.iter().for_each(|p| self.marker.never_scan(p.addr.0));
        // Only a search needs them later.
        if options.path_to.is_some() {
            self.closed = self.marker.state();
        }
        self.marker.mark_closed();
        let marker = self.marker;
        let (process, layout, queues) = (self.process, &self.heap.layout, self.how.queues);
        let mut roots = Roots { process, layout, marker, queues, unproven: &mut self.notes };
        roots.modules(self.modules, None)?;
        roots.modules(self.modules, Some(before))?;
        self.done(Keeper::Variables)?;
        let mut roots = Roots { process, layout, marker, queues, unproven: &mut self.notes };
        marker.comes_from(|| Root::Finalizer);
        let mut finalized = roots.specials()?;
        finalized.extend(roots.queued()?);
        self.finalized = finalized;
        self.done(Keeper::Finalizers)?;
        marker.comes_from(|| Root::Timer);
        ps.iter().for_each(|p| marker.scan(p.addr.0));
        self.done(Keeper::Timers)?;

        let only: FxHashSet<u64> = options.only.iter().flatten().copied().collect();
        let group_of: FxHashMap<u64, usize> =
            options.groups.iter().enumerate().flat_map(|(n, ids)| ids.iter().map(move |id| (*id, n))).collect();
        let mut groups: Vec<Vec<&Goroutine>> = vec![Vec::new(); options.groups.len()];
        let (mut others, mut last) = (Vec::new(), Vec::new());
        for goroutine in self.list {
            if only.contains(&goroutine.goid) {
                last.push(goroutine);
            } else if let Some(group) = group_of.get(&goroutine.goid).and_then(|n| groups.get_mut(*n)) {
                group.push(goroutine);
            } else {
                others.push(goroutine);
            }
        }
        let gone = only.len().saturating_sub(last.len());
        if gone > 0 {
            self.notes.push(format!("{gone} of the goroutines that were asked for are not there any more"));
        }
        marker.comes_from(|| Root::Thread);
        let last_gs: FxHashSet<u64> = last.iter().map(|goroutine| goroutine.addr).collect();
        let is_last = |g: u64| last_gs.contains(&g);
        running.scan_registers(marker, |g| !is_last(g))?;
        running.scan_stacks(&mut self.stacks)?;
        self.done(Keeper::Threads)?;
        for (n, group) in groups.iter().enumerate() {
            self.goroutines(group)?;
            self.done(Keeper::Group(n))?;
        }
        self.goroutines(&others)?;
        self.done(Keeper::OtherGoroutines)?;
        if options.only.is_some() {
            self.apart = Some(marker.state());
            marker.comes_from(|| Root::Thread);
            running.scan_registers(marker, is_last)?;
            self.goroutines(&last)?;
            self.done(Keeper::Only)?;
        }
        self.unreadable = self.stacks.unreadable;
        Ok(())
    }
}

/// Addresses of the channels that goroutines wait for; `objects` is what each of them waits for.
pub(super) fn waiting_channels(list: &[Goroutine], objects: Vec<Vec<u64>>) -> Vec<u64> {
    let on_channels = list.iter().zip(objects).filter(|(goroutine, _)| goroutine.blocked == Blocked::Channels);
    on_channels.flat_map(|(_, objects)| objects).collect()
}

/// The object that holds an address; `None` where that is not on the heap, or not live.
pub(super) fn object_at(marker: &Marker<'_>, addr: u64) -> Option<crate::heap::ObjectId> {
    marker.spans().find(Addr(addr).0).filter(|object| marker.is_marked(*object))
}
