//! Samples of the threads of a process that use CPUs, by the kernel's own timers (perf_event_open(2)).
//!
//! The process is neither stopped nor traced. Each of its threads has an event of its own, which counts the time
//! that the thread is on a CPU and takes a sample whenever that is another period longer: the software event
//! `PERF_COUNT_SW_CPU_CLOCK`, which needs no performance counters and so works in virtual machines. Samples come
//! with callers by frame pointers, a few registers, and the top of the stack. New threads are noticed by the
//! records of their starts, which come in order, and by looking at the list of threads.
//!
//! It refuses to go on after an `execve`: what comes then is of another program.

mod record;
mod refusal;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::ClockId;
use rustc_hash::FxHashMap;

use self::record::{REGISTERS, SAMPLE_TYPE};
use super::clock::nanoseconds;
use super::live::LiveTarget;
use super::syscalls::{PerfAttr, PerfEvent, be_punctual, perf_event_open};
use super::{ReadError, Target as _, TargetError, Tid};
use crate::addr::Arch;

pub use self::record::RawCpuSample;
pub(super) use self::record::{Record, records};

/// Most bytes of a stack that come with a sample: with less, assembly that keeps data in the frame pointer (SHA-256 of
/// Go 1.19) hides its callers.
const STACK: u32 = 2048;
/// Pages of a ring: some 25 of the largest samples.
const PAGES: usize = 16;
/// How often the list of threads is looked at.
const SCAN: Duration = Duration::from_millis(250);
/// Most threads that are sampled; the runtime allows 10,000 unless set otherwise.
const MAX_THREADS: usize = 20_000;

/// Bits of `PerfAttr::flags`.
mod flag {
    pub(super) const EXCLUDE_KERNEL: u64 = 1 << 5;
    pub(super) const EXCLUDE_HV: u64 = 1 << 6;
    pub(super) const COMM: u64 = 1 << 9;
    pub(super) const TASK: u64 = 1 << 13;
    pub(super) const EXCLUDE_CALLCHAIN_KERNEL: u64 = 1 << 21;
    pub(super) const COMM_EXEC: u64 = 1 << 24;
    pub(super) const USE_CLOCKID: u64 = 1 << 25;
}

/// How sampling has gone so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuClockStats {
    /// CPU time between two samples of a thread, ns.
    pub period_ns: u64,
    /// Threads that were sampled.
    pub threads: u64,
    /// Threads that could not be sampled: there were too many, or the kernel refused.
    pub threads_missed: u64,
    /// Samples that found no room in a ring.
    pub lost: u64,
    /// Whether samples are taken in the kernel too.
    pub in_kernel: bool,
    /// Samples that would have been taken in the kernel if they had been allowed.
    pub kernel_samples: u64,
}

/// Samples of the CPU time of one process.
pub trait CpuClocks: Send {
    /// Waits for samples, `within` at most, and hands over those that there are: in order for each thread.
    ///
    /// # Errors
    /// When the process has ended or executed another program, after what was sampled before.
    fn wait(&mut self, within: Duration, each: &mut dyn FnMut(RawCpuSample)) -> Result<(), ReadError>;

    /// The clock of the samples, now.
    fn now_ns(&self) -> u64;

    /// How it has gone so far.
    fn stats(&self) -> CpuClockStats;
}

/// A thread that is sampled.
struct Thread {
    event: PerfEvent,
    /// Its id in its own pid namespace.
    own: Tid,
    /// Samples so far, lost ones included.
    samples: u64,
}

/// The events of a running process.
pub(super) struct Clocks<'a> {
    target: &'a LiveTarget,
    arch: Arch,
    period_ns: u64,
    in_kernel: bool,
    threads: FxHashMap<Tid, Thread>,
    /// Pages of a new ring.
    pages: usize,
    scanned: Instant,
    stats: CpuClockStats,
    /// Memory for the contents of a ring.
    batch: Vec<u8>,
}

/// Why a thread has no event.
enum NotOpened {
    Ended,
    Refused(Errno),
}

impl<'a> Clocks<'a> {
    /// Opens an event for each thread of `target`, to be read by the calling thread, each to take `hz` samples for a second of CPU time.
    ///
    /// # Errors
    /// When the kernel refuses; the message says why and what to do.
    pub(super) fn open(target: &'a LiveTarget, hz: f64) -> Result<Self, TargetError> {
        let period_ns = Duration::try_from_secs_f64(1.0 / hz.clamp(0.001, 10_000.0)).unwrap_or_default().as_nanos();
        let arch = if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 };
        let mut clocks = Self {
            target,
            arch,
            period_ns: u64::try_from(period_ns).unwrap_or(u64::MAX),
            in_kernel: true,
            threads: FxHashMap::default(),
            pages: PAGES,
            scanned: Instant::now(),
            stats: CpuClockStats::default(),
            batch: Vec::new(),
        };
        // What is read for a sample is the more certain the sooner it is.
        be_punctual();
        match clocks.scan()? {
            Some(errno) if clocks.threads.is_empty() => Err(refusal::refused(target.pid(), errno)),
            _ if clocks.threads.is_empty() => Err(ReadError::Gone { pid: target.pid() }.into()),
            _ => Ok(clocks),
        }
    }

    fn attributes(&self) -> PerfAttr {
        const SOFTWARE: u32 = 1;
        const CPU_CLOCK: u64 = 0;
        const CLOCK_MONOTONIC: i32 = 1;
        let where_else = if self.in_kernel { flag::EXCLUDE_CALLCHAIN_KERNEL } else { flag::EXCLUDE_KERNEL };
        PerfAttr {
            kind: SOFTWARE,
            size: u32::try_from(size_of::<PerfAttr>()).unwrap_or_default(),
            config: CPU_CLOCK,
            sample_period: self.period_ns,
            sample_type: SAMPLE_TYPE,
            flags: where_else | flag::EXCLUDE_HV | flag::COMM | flag::COMM_EXEC | flag::TASK | flag::USE_CLOCKID,
            wakeup_events: 1,
            sample_regs_user: REGISTERS,
            sample_stack_user: STACK,
            clockid: CLOCK_MONOTONIC,
            ..PerfAttr::default()
        }
    }

    /// Opens an event for a thread, by its id in our namespace.
    fn add(&mut self, tid: Tid) -> Result<(), NotOpened> {
        // A process without privileges may sample user mode only.
        let mut opened = perf_event_open(&self.attributes(), tid);
        if self.in_kernel && self.threads.is_empty() && matches!(opened, Err(Errno::EACCES | Errno::EPERM)) {
            self.in_kernel = false;
            opened = perf_event_open(&self.attributes(), tid);
        }
        let mut fd = match opened {
            Ok(fd) => fd,
            Err(Errno::ESRCH) => return Err(NotOpened::Ended),
            Err(errno) => return Err(NotOpened::Refused(errno)),
        };
        let page = usize::try_from(procfs::page_size()).unwrap_or(4096);
        let event = loop {
            match PerfEvent::map(fd, page, self.pages) {
                Ok(event) => break event,
                // More memory than a user without rights may lock.
                Err((Errno::EPERM | Errno::ENOMEM, unmapped)) if self.pages > 1 => {
                    self.pages /= 2;
                    fd = unmapped;
                }
                Err((errno, _)) => return Err(NotOpened::Refused(errno)),
            }
        };
        let own = self.target.own_tid(tid).ok_or(NotOpened::Ended)?;
        self.threads.insert(tid, Thread { event, own, samples: 0 });
        self.stats.threads = self.stats.threads.saturating_add(1);
        Ok(())
    }

    /// Opens events for the threads that have none yet, and gives the error for one that was refused.
    fn scan(&mut self) -> Result<Option<Errno>, TargetError> {
        self.scanned = Instant::now();
        let mut refused = None;
        let mut missed = 0_u64;
        for tid in self.target.tids()? {
            if self.threads.contains_key(&tid) {
                continue;
            }
            if self.threads.len() >= MAX_THREADS {
                missed = missed.saturating_add(1);
            } else if let Err(NotOpened::Refused(errno)) = self.add(tid) {
                missed = missed.saturating_add(1);
                refused = Some(errno);
            }
        }
        // At the worst moment; they are tried again.
        self.stats.threads_missed = self.stats.threads_missed.max(missed);
        Ok(refused)
    }

    /// Waits, and gives the threads that have ended.
    fn ready(&self, within: Duration) -> Vec<Tid> {
        let mut tids = Vec::with_capacity(self.threads.len());
        let mut fds = Vec::with_capacity(self.threads.len());
        for (tid, thread) in &self.threads {
            tids.push(*tid);
            fds.push(PollFd::new(thread.event.as_fd(), PollFlags::POLLIN));
        }
        let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        if poll(&mut fds, within).is_err() {
            // A signal; what there is, is read all the same.
            return Vec::new();
        }
        let has_ended = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
        tids.into_iter().zip(&fds).filter(|(_, fd)| has_ended(fd)).map(|(tid, _)| tid).collect()
    }

    /// Reads the rings of all threads; true if one of them says that another program was executed.
    fn drain(&mut self, started: &mut Vec<Tid>, each: &mut dyn FnMut(RawCpuSample)) -> bool {
        let (pid, arch) = (self.target.pid(), self.arch);
        let mut executed = false;
        for thread in self.threads.values_mut() {
            self.batch.clear();
            let mut lost = u64::from(!thread.event.take(&mut self.batch));
            let mut is_new_program = false;
            let whole = records(&self.batch, arch, |record| match record {
                // After an `execve` everything is of another program.
                _ if is_new_program => {}
                Record::Sample(of, sample) if of == pid => {
                    thread.samples = thread.samples.saturating_add(1);
                    each(RawCpuSample { tid: thread.own, ..sample });
                }
                Record::Lost(more) => lost = lost.saturating_add(more),
                Record::Thread { pid: of, tid } if of == pid => started.push(tid),
                Record::Exec => is_new_program = true,
                // Its id was another process's by the time that it was opened.
                Record::Sample(..) | Record::Thread { .. } | Record::Other => {}
            });
            lost = lost.saturating_add(u64::from(!whole));
            thread.samples = thread.samples.saturating_add(lost);
            self.stats.lost = self.stats.lost.saturating_add(lost);
            executed |= is_new_program;
        }
        executed
    }

    /// Samples that a thread would have had in the kernel: what its CPU time is more than its samples.
    fn in_kernel_samples(&self, thread: &Thread) -> u64 {
        let ticks = thread.event.count().unwrap_or_default() / self.period_ns.max(1);
        if self.in_kernel { 0 } else { ticks.saturating_sub(thread.samples) }
    }
}

impl CpuClocks for Clocks<'_> {
    fn wait(&mut self, within: Duration, each: &mut dyn FnMut(RawCpuSample)) -> Result<(), ReadError> {
        let pid = self.target.pid();
        let ended = self.ready(within);
        let mut started = Vec::new();
        let executed = self.drain(&mut started, each);
        for tid in ended {
            if let Some(thread) = self.threads.remove(&tid) {
                let samples = self.in_kernel_samples(&thread);
                self.stats.kernel_samples = self.stats.kernel_samples.saturating_add(samples);
            }
        }
        if executed {
            return Err(ReadError::Gone { pid });
        }
        for tid in started {
            if !self.threads.contains_key(&tid) && self.threads.len() < MAX_THREADS {
                // It is tried again, and counted, when the list of threads is looked at.
                let _ = self.add(tid);
            }
        }
        if self.scanned.elapsed() >= SCAN || self.threads.is_empty() {
            match self.scan() {
                // The record of an `execve` may have found no room.
                Ok(_) if self.threads.is_empty() || self.target.is_replaced() => return Err(ReadError::Gone { pid }),
                Ok(_) => {}
                Err(TargetError::Read(error)) => return Err(error),
                Err(_) if !self.target.still_the_same() => return Err(ReadError::Gone { pid }),
                Err(error) => return Err(ReadError::Io(error.to_string())),
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(ClockId::CLOCK_MONOTONIC)
    }

    fn stats(&self) -> CpuClockStats {
        let kernel = self.threads.values().map(|thread| self.in_kernel_samples(thread));
        CpuClockStats {
            period_ns: self.period_ns,
            in_kernel: self.in_kernel,
            kernel_samples: kernel.fold(self.stats.kernel_samples, u64::saturating_add),
            ..self.stats
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::syscalls::own_tid;

    fn compute(until: Instant) -> u64 {
        let mut sum = 0_u64;
        while Instant::now() < until {
            sum = (0..10_000_u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(std::hint::black_box(n)));
        }
        sum
    }

    /// Several times what a ring holds, so that it is wrapped around; or, where the kernel refuses, why.
    #[test]
    fn own_threads_are_sampled() {
        let me = LiveTarget::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let mut clocks = match Clocks::open(&me, 999.0) {
            Ok(clocks) => clocks,
            Err(error) => {
                eprintln!("THE KERNEL REFUSES perf_event_open: {error}");
                assert!(matches!(error, TargetError::NotSampled { .. }), "{error}");
                return;
            }
        };
        let tid = own_tid();
        let mut samples = Vec::new();
        let begun = Instant::now();
        // Another thread, which starts and ends meanwhile.
        let other = std::thread::spawn(|| (own_tid(), compute(Instant::now() + Duration::from_millis(300))));
        while samples.len() < 100 && begun.elapsed() < Duration::from_secs(30) {
            compute(Instant::now() + Duration::from_millis(10));
            clocks.wait(Duration::ZERO, &mut |sample| samples.push(sample)).unwrap();
        }
        let (other, _) = other.join().unwrap();
        clocks.wait(Duration::ZERO, &mut |sample| samples.push(sample)).unwrap();
        let now = clocks.now_ns();
        let own: Vec<&RawCpuSample> = samples.iter().filter(|sample| sample.tid == tid).collect();
        assert!(own.len() >= 20, "{} of {}", own.len(), samples.len());
        for sample in own {
            let registers = sample.registers.unwrap();
            assert_eq!(sample.callers.first(), Some(&registers.pc.0), "{sample:?}");
            assert!(sample.time_ns < now && sample.stack.len() <= STACK as usize, "{sample:?}");
        }
        assert!(samples.iter().any(|sample| sample.tid == other), "the thread that started later");
        let stats = clocks.stats();
        assert_eq!(stats.period_ns, 1_001_001);
        // A thread has no more CPU time than there was time.
        let ns = samples.iter().filter(|sample| sample.tid == tid).count() as u64 * stats.period_ns;
        assert!(u128::from(ns) <= begun.elapsed().as_nanos() + 10_000_000, "{ns}");
    }
}
