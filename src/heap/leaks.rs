//! One pass over the heap: which goroutines wait for what no goroutine that can still run can reach.
//!
//! What variables, timers, finalizers and goroutines that can run point to is marked. A goroutine that waits is
//! itself one that can run once something that it waits for is marked, or is not on the heap; then its stack
//! counts too, and so on until nothing changes. The rest is leaked: nothing can send, close, unlock or signal
//! any more. gs and sudogs are met by the mark, since lists of the runtime hold them all, but not followed.
//!
//! The result is a proof if nothing moved during the pass, and a suspicion otherwise; see [`super::proof`].

use super::HeapError;
use super::goroutines::{Blocked, Goroutine, Goroutines};
use super::layout::HeapLayout;
use super::marker::{MarkState, MarkStats, Marker, Progress};
use super::queues::Queues;
use super::roots::{Roots, modules};
use super::spans::Spans;
use super::stacks::{StackStats, Stacks};
use super::threads::Running;
use super::waits;
use crate::addr::Addr;
use crate::capture::allgs;
use crate::model::Warnings;
use crate::runtime::GoProcess;
use crate::runtime::readers::processors::read_ps;
use crate::runtime::symbols::Global;

/// How a pass is made.
#[derive(Clone, Copy, Debug)]
pub struct PassOptions {
    /// Threads that mark.
    pub threads: usize,
    /// Where calls of finalizers and cleanups are queued; see [`Queues::find`].
    pub queues: Queues,
    /// Whether all goroutines count as able to run, so that what is marked is what the collector would keep.
    pub all_run: bool,
}

impl Default for PassOptions {
    /// As many threads as there are CPUs, but not more than four.
    fn default() -> Self {
        let threads = crate::threads::cpus().min(4);
        Self { threads, queues: Queues::default(), all_run: false }
    }
}

/// A goroutine that can never wake again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeakedGoroutine {
    /// Address of its g.
    pub addr: Addr,
    /// Its id.
    pub goid: u64,
    /// Bytes of its stack.
    pub stack_bytes: u64,
    /// Addresses of what it waits for, as far as it waits for something: channels, a semaphore, the list of a
    /// `sync.Cond`. Empty where nothing could ever wake it.
    pub objects: Vec<Addr>,
    pub(super) goroutine: Goroutine,
}

/// What a pass has cost and found, beside the leaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassStats {
    /// Goroutines that are not dead.
    pub goroutines: u64,
    /// Those that wait for something by which another goroutine would have to wake them.
    pub candidates: u64,
    /// How often the mark went on because of goroutines that turned out to be able to run.
    pub rounds: u64,
    /// Bytes of the spans of the heap, and of those whose objects have pointers.
    pub heap_bytes: (u64, u64),
    /// Bytes of objects that only leaked goroutines keep.
    pub leaked_bytes: u64,
    /// Of the mark.
    pub mark: MarkStats,
    /// Of stacks.
    pub stacks: StackStats,
    /// What gospy needed for it, bytes.
    pub memory: usize,
}

/// What one pass found.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// Goroutines that can never wake again, in the order of their ids.
    pub leaked: Vec<LeakedGoroutine>,
    /// Why it cannot be a proof, even if nothing moved: parts that could not be read.
    pub unproven: Vec<String>,
    /// What it has cost.
    pub stats: PassStats,
    /// Where there are leaks: what was marked before anything was for their sake.
    pub(super) state: Option<MarkState>,
}

/// The heap that a pass marks; its parts can be compared with the collector's own marks.
pub struct Heap {
    /// Where the fields are.
    pub layout: HeapLayout,
    /// The spans.
    pub spans: Spans,
}

impl Heap {
    /// Reads the spans.
    ///
    /// # Errors
    /// When the target could not be read, or has no heap.
    pub fn read(process: GoProcess<'_>) -> Result<Self, HeapError> {
        let layout = HeapLayout::resolve(&process.runtime.layout.table)?;
        let spans = Spans::read(process, &layout)?;
        Ok(Self { layout, spans })
    }

    /// A marker over them.
    #[must_use]
    pub fn marker<'a>(&'a self, process: GoProcess<'a>, progress: &'a Progress) -> Marker<'a> {
        Marker::new(process.target, &self.layout, process.rules().minor(), &self.spans, progress)
    }

    /// Finds what can never wake again. `running` is what is known of threads that were stopped.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn pass(
        &self,
        process: GoProcess<'_>,
        marker: &Marker<'_>,
        running: &Running,
        options: &PassOptions,
    ) -> Result<Pass, HeapError> {
        let unheard = &mut Warnings::default();
        let mut pass = Pass::default();
        if process.runtime.wait_reasons.is_empty() {
            return Err(HeapError::NotFound(Global::WaitReasonStrings));
        }
        let gs = allgs::read(process, unheard)?;
        let goroutines = Goroutines::read(process, &self.layout, gs)?;
        let modules = modules(process, &self.layout)?;
        let list = goroutines.list.as_slice();
        let objects = if options.all_run {
            vec![Vec::new(); list.len()]
        } else {
            goroutines.gs.iter().for_each(|g| marker.never_scan(*g));
            waits::read(process, &self.layout, list, marker, &modules)?.objects
        };
        let ps = match process.addr(Global::Allp) {
            // The collector keeps what stopped timers refer to.
            Some(allp) if !options.all_run => read_ps(process.target, allp, &process.runtime.layout, unheard)?,
            _ => Vec::new(),
        };
        let drain = || marker.drain(options.threads);
        Roots { process, layout: &self.layout, marker, queues: options.queues, unproven: &mut pass.unproven }
            .all(&modules, &ps)?;
        drain()?;
        let mut stacks = Stacks::new(process, &self.layout, marker, &modules);
        running.scan(&mut stacks, marker)?;
        // Reachable if any is, or if one is none of the heap's.
        let reached = |objects: &[u64]| {
            objects.iter().any(|addr| marker.spans().find(*addr).is_none_or(|object| marker.is_marked(object)))
        };
        let mut waiting: Vec<(&Goroutine, &[u64])> = Vec::new();
        let mut for_ever: Vec<&Goroutine> = Vec::new();
        let mut live: Vec<&Goroutine> = Vec::new();
        for (goroutine, objects) in list.iter().zip(&objects) {
            match goroutine.blocked {
                _ if options.all_run => live.push(goroutine),
                Blocked::No => live.push(goroutine),
                Blocked::ForEver => for_ever.push(goroutine),
                // It waits for something, but what could not be read.
                _ if objects.is_empty() => live.push(goroutine),
                _ => waiting.push((goroutine, objects)),
            }
        }
        pass.stats.candidates = (waiting.len() + for_ever.len()) as u64;
        loop {
            stacks.scan(&live)?;
            drain()?;
            pass.stats.rounds += 1;
            let (reachable, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(_, objects)| reached(objects));
            waiting = rest;
            live = reachable.into_iter().map(|(goroutine, _)| goroutine).collect();
            if live.is_empty() {
                break;
            }
        }
        let leaked = for_ever.iter().map(|goroutine| (*goroutine, [].as_slice())).chain(waiting);
        let (main, leaked): (Vec<_>, Vec<_>) = leaked.partition(|(goroutine, _)| is_main_for_ever(goroutine));
        pass.leaked = leaked.iter().map(|(g, o)| LeakedGoroutine::new(g, o)).collect();
        pass.leaked.sort_unstable_by_key(|leaked| leaked.goid);
        let precise = stacks.stats;
        // What goroutine 1 keeps is kept without them.
        stacks.scan(&main.iter().map(|(goroutine, _)| *goroutine).collect::<Vec<_>>())?;
        drain()?;
        let before = marker.marked_bytes();
        pass.state = (!pass.leaked.is_empty()).then(|| marker.state());
        // What only they keep: everything that is marked for their sake.
        stacks.scan(&leaked.iter().map(|(goroutine, _)| *goroutine).collect::<Vec<_>>())?;
        drain()?;
        pass.stats.leaked_bytes = marker.marked_bytes().saturating_sub(before);
        pass.stats.stacks = precise;
        pass.stats.goroutines = list.len() as u64;
        pass.stats.heap_bytes = self.spans.bytes();
        pass.stats.mark = marker.stats();
        let kept = pass.state.as_ref().map_or(0, MarkState::memory);
        pass.stats.memory = marker.memory() + kept + size_of_val(list) + 8 * goroutines.gs.len();
        let unreadable = stacks.unreadable;
        if unreadable > 0 {
            pass.unproven.push(format!("{unreadable} stacks could not be read"));
        }
        if pass.stats.mark.unreadable > 0 {
            pass.unproven.push(format!("{} parts of the heap could not be read", pass.stats.mark.unreadable));
        }
        if self.spans.odd() > 0 {
            pass.unproven.push(format!("{} spans of the heap cannot be what they say", self.spans.odd()));
        }
        Ok(pass)
    }
}

/// Whether it is goroutine 1 in `select {}`, which is how a program says that it runs until it is ended. What it
/// holds counts as little as for the others (1.27 does the same; 1.26 lists it).
fn is_main_for_ever(goroutine: &Goroutine) -> bool {
    goroutine.goid == 1 && goroutine.blocked == Blocked::ForEver
}

impl LeakedGoroutine {
    fn new(goroutine: &Goroutine, objects: &[u64]) -> Self {
        Self {
            addr: Addr(goroutine.addr),
            goid: goroutine.goid,
            stack_bytes: goroutine.hi.saturating_sub(goroutine.lo),
            objects: objects.iter().copied().map(Addr).collect(),
            goroutine: *goroutine,
        }
    }

    /// Whether two passes found the same one: goroutine, what it waits for, and that it has not run in between.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.addr == other.addr && self.objects == other.objects && self.goroutine.same == other.goroutine.same
    }
}
