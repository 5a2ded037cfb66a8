//! The goroutines as the mark sees them: which can run, and which wait for something that another one
//! would have to reach.
//!
//! The rules of the runtime's own profile of leaked goroutines (`isMaybeRunnable` in runtime/mgc.go, 1.26 and
//! 1.27). One that is not certain to wait is taken for one that can run.

use rustc_hash::FxHashMap;

use super::HeapError;
use super::layout::HeapLayout;
use super::roots::UNBOUNDED;
use crate::addr::Addr;
use crate::go_names::is_system_start;
use crate::model::Status;
use crate::process::MemRange;
use crate::runtime::GoProcess;
use crate::runtime::frontier::Frontier;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::g::{G, StackRoots};

/// How a goroutine's stack is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// Its registers are saved: by the maps of its frames.
    Parked,
    /// The same, saved on entry to a system call or to C.
    Syscall,
    /// It runs, or may: all of its stack, word by word.
    Running,
}

/// What its wait reason says of what can end the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// It can run, or something outside of the heap can wake it.
    No,
    /// Nothing: a nil channel, or a select without cases.
    ForEver,
    /// What reaches one of the channels in its sudogs.
    Channels,
    /// What reaches the semaphore in its sudog.
    Semaphore,
    /// What reaches the `sync.Cond`.
    Cond,
}

impl Blocked {
    /// By the wait reason and the minor version of Go.
    ///
    /// Until 1.23 a `sync.WaitGroup`, and until 1.20 a mutex, waits as "semacquire"; from 1.24 on only the
    /// runtime's and the poller's own semaphores do, which the runtime itself takes for something that ends.
    pub(super) fn of(reason: &str, minor: u32) -> Self {
        match reason {
            "chan receive (nil chan)" | "chan send (nil chan)" | "select (no cases)" => Self::ForEver,
            "chan receive" | "chan send" | "select" => Self::Channels,
            "sync.Mutex.Lock" | "sync.RWMutex.Lock" | "sync.RWMutex.RLock" | "sync.WaitGroup.Wait" => Self::Semaphore,
            "semacquire" if minor <= 23 => Self::Semaphore,
            "sync.Cond.Wait" => Self::Cond,
            _ => Self::No,
        }
    }
}

/// A goroutine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goroutine {
    pub(super) addr: u64,
    pub(super) goid: u64,
    pub(super) lo: u64,
    pub(super) hi: u64,
    pub(super) pc: u64,
    pub(super) sp: u64,
    pub(super) lr: u64,
    /// `g.waiting`: its first sudog.
    pub(super) waiting: u64,
    pub(super) roots: StackRoots,
    pub(super) stands: Stands,
    pub(super) blocked: Blocked,
    /// What has to be the same for it not to have moved.
    pub(super) same: Same,
}

/// What changes when a goroutine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Same {
    goid: u64,
    status: u32,
    reason: u8,
    sequence: u8,
    sp: u64,
    pc: u64,
    m: u64,
    waiting: u64,
}

/// Gs: those that are in use, and the addresses of all.
#[derive(Debug, Default)]
pub(super) struct Goroutines {
    pub(super) list: Vec<Goroutine>,
    /// Addresses of all gs, the dead ones included, which the mark meets but does not follow.
    pub(super) gs: Vec<u64>,
}

/// Gs that are read at a time.
const CHUNK: usize = 1 << 15;

impl Goroutines {
    /// Reads them all. `gs` are the addresses in `allgs`.
    pub(super) fn read(process: GoProcess<'_>, layout: &HeapLayout, gs: Vec<u64>) -> Result<Self, HeapError> {
        let mut list = Vec::new();
        let mut systems: FxHashMap<u64, bool> = FxHashMap::default();
        let reasons = &process.runtime.wait_reasons;
        let minor = process.rules().minor();
        let kinds: Vec<Blocked> = reasons.iter().map(|reason| Blocked::of(reason, minor)).collect();
        each(process, layout, &gs, |g, roots| {
            if let Some(goroutine) = decode(process, g, roots, &kinds, &mut systems) {
                list.push(goroutine);
            }
        })?;
        Ok(Self { list, gs })
    }
}

/// Which of `goroutines` have not moved since they were read.
pub(super) fn unmoved(
    process: GoProcess<'_>,
    layout: &HeapLayout,
    goroutines: &[Goroutine],
) -> Result<Vec<bool>, HeapError> {
    let addrs: Vec<u64> = goroutines.iter().map(|goroutine| goroutine.addr).collect();
    let mut now: FxHashMap<u64, Same> = FxHashMap::default();
    each(process, layout, &addrs, |g, _| {
        now.insert(g.addr, same(&g.g));
    })?;
    Ok(goroutines.iter().map(|goroutine| now.get(&goroutine.addr) == Some(&goroutine.same)).collect())
}

struct Raw {
    addr: u64,
    g: G,
}

fn each(
    process: GoProcess<'_>,
    layout: &HeapLayout,
    addrs: &[u64],
    mut each: impl FnMut(&Raw, StackRoots),
) -> Result<(), HeapError> {
    let g_layout = &process.runtime.layout.g;
    let len = g_layout.size as usize;
    for chunk in addrs.chunks(CHUNK) {
        let ranges = chunk.iter().map(|&addr| MemRange { start: Addr(addr), len });
        Frontier::new(process.target, UNBOUNDED).ranges(ranges, |range, bytes| {
            let g = G::parse(range.start, bytes, g_layout);
            let roots = StackRoots::parse(range.start, bytes, &layout.stack_roots);
            if let (Some(g), Some(roots)) = (g, roots) {
                each(&Raw { addr: range.start.0, g }, roots);
            }
        })?;
    }
    Ok(())
}

fn same(g: &G) -> Same {
    Same {
        goid: g.goid,
        // Without the bit by which the collector holds it for a moment.
        status: g.atomicstatus & !0x1000,
        reason: g.waitreason,
        sequence: g.tracking_seq,
        sp: g.sched_sp,
        pc: g.sched_pc,
        m: g.m,
        waiting: g.waiting,
    }
}

fn decode(
    process: GoProcess<'_>,
    raw: &Raw,
    roots: StackRoots,
    kinds: &[Blocked],
    systems: &mut FxHashMap<u64, bool>,
) -> Option<Goroutine> {
    let g = &raw.g;
    let status = g.status();
    if status.is_dead() || status == Status::Idle {
        return None;
    }
    let stands = match status {
        _ if !g.stack_is_readable() => Stands::Running,
        Status::Waiting | Status::Leaked | Status::Runnable | Status::Preempted => {
            if g.syscallsp == 0 {
                Stands::Parked
            } else {
                Stands::Syscall
            }
        }
        Status::Syscall if g.syscallsp != 0 => Stands::Syscall,
        _ => Stands::Running,
    };
    let mut system = || {
        *systems.entry(g.startpc).or_insert_with(|| {
            let table = &process.program.pclntab;
            let start = table.function_at(process.program.bias.unload(Addr(g.startpc)));
            start.and_then(|function| table.name(&function)).is_none_or(|name| is_system_start(&name))
        })
    };
    let blocked = match status {
        Status::Waiting | Status::Leaked if stands == Stands::Parked => {
            kinds.get(usize::from(g.waitreason)).copied().unwrap_or(Blocked::No)
        }
        _ => Blocked::No,
    };
    let blocked = if blocked != Blocked::No && system() { Blocked::No } else { blocked };
    let (pc, sp, lr) = match stands {
        Stands::Syscall => (g.syscallpc, g.syscallsp, 0),
        _ => (g.sched_pc, g.sched_sp, g.sched_lr),
    };
    Some(Goroutine {
        addr: raw.addr,
        goid: g.goid,
        lo: g.stack_lo,
        hi: g.stack_hi,
        pc,
        sp,
        lr,
        waiting: g.waiting,
        roots,
        stands,
        blocked,
        same: same(g),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_wake_whom() {
        for minor in 19..=27 {
            assert_eq!(Blocked::of("select (no cases)", minor), Blocked::ForEver);
            assert_eq!(Blocked::of("chan receive (nil chan)", minor), Blocked::ForEver);
            assert_eq!(Blocked::of("select", minor), Blocked::Channels);
            assert_eq!(Blocked::of("sync.Cond.Wait", minor), Blocked::Cond);
            for ends in
                ["sleep", "IO wait", "coroutine", "GC worker (idle)", "chan receive (durable)", "finalizer wait"]
            {
                assert_eq!(Blocked::of(ends, minor), Blocked::No, "{ends}");
            }
            let semacquire = if minor <= 23 { Blocked::Semaphore } else { Blocked::No };
            assert_eq!(Blocked::of("semacquire", minor), semacquire);
        }
    }
}
