//! Reading a heap that stands still: a program that is stopped for it, a core file, or one in which no Go code
//! happens to run.
//!
//! A thread whose registers cannot be read may hold the only pointer to an object, so a stop with such a thread
//! proves nothing and is made again.

use std::time::{Duration, Instant};

use super::HeapError;
use super::threads::Running;
use crate::capture::CaptureError;
use crate::model::Warnings;
use crate::process::{Broken, FreezeOptions, FreezeWhich, GeneralRegisters, TargetError};
use crate::runtime::GoProcess;
use crate::runtime::mirror::m::M;
use crate::runtime::readers::processors::Ticks;
use crate::runtime::readers::threads::read_ms;
use crate::runtime::symbols::Global;

/// No more tries for a quiet moment are begun after this time.
pub(super) const QUIET_TIME: Duration = Duration::from_secs(3);
/// How long to wait for one, each time.
const QUIET_WAIT: Duration = Duration::from_millis(50);
/// How often the program is stopped at most: a thread that waits for a CPU has no registers to read.
const FREEZES: usize = 5;
/// How many times longer than before the stop a pass may take.
const SLOWER: u32 = 8;
/// No program is stopped for longer.
const LONGEST: Duration = Duration::from_secs(60);

fn ms(process: GoProcess<'_>) -> Result<Vec<M>, HeapError> {
    let allm = process.addr(Global::Allm).ok_or(HeapError::NotFound(Global::Allm))?;
    Ok(read_ms(process.target, allm, &[], &process.runtime.layout.m, &mut Warnings::default())?)
}

/// What the threads of a core file hold.
pub(super) fn threads_in_core(process: GoProcess<'_>) -> Result<Running, HeapError> {
    let target = process.target;
    let pc = |tid| target.registers(tid).map(|registers| registers.pc);
    Running::of(process, &ms(process)?, |tid| target.general_registers(tid), pc)
}

/// Stops the program and makes an attempt that takes about as long as `takes`, and again where that says why it
/// is no proof. What was found, and for how long the program was stopped.
pub(super) fn frozen<T>(
    process: GoProcess<'_>,
    takes: Duration,
    attempt: impl Fn(&Running) -> Result<Result<T, String>, HeapError>,
) -> Result<(T, Duration), HeapError> {
    let usual = FreezeOptions::default();
    let mut why = None;
    for tried in 1.. {
        // With nothing to run, an M waits for the network in the scheduler, which calls epoll_wait again after
        // EINTR (runtime/netpoll_epoll.go). One that is in C belongs to other code.
        let all = ms(process)?;
        let idle = all.iter().filter(|m| m.curg == 0 && !m.incgo);
        let hold = takes.saturating_mul(SLOWER).clamp(usual.hold, LONGEST);
        let freeze = FreezeOptions { hold, resilient: idle.filter_map(M::tid).collect() };
        let frozen = process.target.freeze_with(&FreezeWhich::All, &freeze)?;
        let attempted = || -> Result<Result<T, String>, HeapError> {
            let registers = |tid| {
                // One that was left asleep is in a system call: what it needs is on its stack.
                let asleep = || frozen.asleep(tid).map(|r| GeneralRegisters { sp: r.sp, words: Vec::new() });
                frozen.general_registers(tid).or_else(asleep)
            };
            let pc = |tid| frozen.registers(tid).map(|registers| registers.pc);
            let running = Running::of(process, &ms(process)?, registers, pc)?;
            match unknown(&running) {
                Some(why) => Ok(Err(why)),
                None => attempt(&running),
            }
        };
        let attempted = attempted();
        match frozen.resume() {
            Ok(stood) => match attempted? {
                Ok(found) => return Ok((found, stood)),
                Err(reason) => why = Some(HeapError::Unproven(reason)),
            },
            Err(broken) => {
                let pid = process.target.process().pid;
                why = Some(match broken {
                    Broken::Exec => TargetError::Replaced { pid }.into(),
                    broken => CaptureError::NotFrozen { pid, broken }.into(),
                });
            }
        }
        if tried >= FREEZES {
            break;
        }
        // What waits for a CPU gets one.
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(why.unwrap_or_else(|| HeapError::Unproven("it could not be stopped".to_owned())))
}

/// Why what was read says less than all that threads hold.
pub(super) fn unknown(running: &Running) -> Option<String> {
    let unknown = running.unknown();
    (unknown > 0).then(|| format!("not all registers of {unknown} running threads are known"))
}

/// The counts of all Ps, when a moment comes in which all are idle.
pub(super) fn quiet_moment(process: GoProcess<'_>) -> Result<Option<Ticks>, HeapError> {
    let started = Instant::now();
    loop {
        if let Some(ticks) = Ticks::read_idle(process)? {
            return Ok(Some(ticks));
        }
        if started.elapsed() >= QUIET_WAIT {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
