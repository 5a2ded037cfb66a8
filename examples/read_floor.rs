//! How near gospy's reading comes to the machine's own limit: `read_floor PID [stacks|headers]`.
//!
//! Takes one capture of a running Go program and notes every range that it reads and the CPU time
//! that the calls take. Then it reads the very same ranges again in a plain loop, one call after the
//! other into one buffer, and does nothing else. Prints both, and their ratio, as one line of JSON.
//! `benches/side_by_side` runs it; CPU time is compared, because a shared machine disturbs it least.

use std::io::{IoSliceMut, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use gospy::capture::{CaptureOptions, OpenOptions, Session};
use gospy::process::MemRange;
use gospy::process::fake::Altered;
use gospy::process::live::LiveTarget;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Most ranges and bytes of one call, as in the product.
const RANGES_A_CALL: usize = 1024;
const BYTES_A_CALL: usize = 8 << 20;
/// The plain loop is run that often; the fastest counts.
const REPEATS: usize = 5;

#[derive(Default)]
struct Noted {
    calls: Vec<Vec<MemRange>>,
    cpu: Duration,
    wall: Duration,
}

fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// A live target that notes what is read of it.
fn noting(inner: LiveTarget, noted: &Arc<Mutex<Noted>>) -> Altered<LiveTarget> {
    let lock = |noted: &Arc<Mutex<Noted>>| {
        let noted = Arc::clone(noted);
        move |with: &dyn Fn(&mut Noted)| with(&mut noted.lock().unwrap_or_else(PoisonError::into_inner))
    };
    let (costs, calls) = (lock(noted), lock(noted));
    Altered::new(inner)
        .with_reads(move |_, read| {
            let (wall, cpu) = (Instant::now(), thread_cpu());
            let result = read();
            let (wall, cpu) = (wall.elapsed(), thread_cpu().saturating_sub(cpu));
            costs(&|noted| {
                noted.wall += wall;
                noted.cpu += cpu;
            });
            result
        })
        .after_reads(move |ranges, got| {
            // What is not there is not part of the floor.
            let there = ranges.iter().zip(got).filter(|(_, got)| **got > 0);
            let there: Vec<MemRange> = there.map(|(range, got)| MemRange { start: range.start, len: *got }).collect();
            calls(&|noted| noted.calls.push(there.clone()));
        })
}

/// One pass over `calls`, and how long it took: wall and CPU.
fn plain_loop(pid: Pid, calls: &[Vec<MemRange>], buf: &mut [u8]) -> (u64, Duration, Duration) {
    let mut remote: Vec<RemoteIoVec> = Vec::with_capacity(RANGES_A_CALL);
    let mut bytes_read = 0;
    let (wall, cpu) = (Instant::now(), thread_cpu());
    for ranges in calls {
        let mut ranges = ranges.iter().peekable();
        while ranges.peek().is_some() {
            remote.clear();
            let mut bytes = 0;
            while remote.len() < RANGES_A_CALL
                && let Some(range) = ranges.next_if(|range| remote.is_empty() || bytes + range.len <= BYTES_A_CALL)
            {
                let len = range.len.min(BYTES_A_CALL);
                remote.push(RemoteIoVec { base: usize::try_from(range.start.0).unwrap_or_default(), len });
                bytes += len;
            }
            let local = buf.get_mut(..bytes).unwrap_or_default();
            bytes_read += process_vm_readv(pid, &mut [IoSliceMut::new(local)], &remote).unwrap_or_default() as u64;
        }
    }
    (bytes_read, wall.elapsed(), thread_cpu().saturating_sub(cpu))
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: read_floor PID [stacks|headers]";
    let pid: i32 = args.next().context(usage)?.parse().context(usage)?;
    let stacks = match args.next().as_deref() {
        None | Some("stacks") => true,
        Some("headers") => false,
        Some(_) => bail!(usage),
    };
    let noted = Arc::new(Mutex::new(Noted::default()));
    let target = noting(LiveTarget::open(pid)?, &noted);
    let mut session = Session::open(Box::new(target), &OpenOptions::default())?;
    let forget = || std::mem::take(&mut *noted.lock().unwrap_or_else(PoisonError::into_inner));
    // What is read to find the runtime is not what grows with the goroutines.
    drop(forget());
    let snapshot = session.capture(&CaptureOptions { stacks, ..CaptureOptions::default() })?;
    let Noted { calls, cpu, wall } = forget();

    let mut buf = vec![1_u8; BYTES_A_CALL];
    let passes: Vec<_> = (0..REPEATS).map(|_| plain_loop(Pid::from_raw(pid), &calls, &mut buf)).collect();
    let (bytes, plain_wall, plain_cpu) =
        passes.into_iter().min_by_key(|(_, _, cpu)| *cpu).context("no pass was made")?;
    let ratio = cpu.as_secs_f64() / plain_cpu.as_secs_f64().max(1e-9);
    let answer = serde_json::json!({
        "goroutines": snapshot.goroutines.len(),
        "ranges": calls.iter().map(Vec::len).sum::<usize>(),
        "syscalls": snapshot.reading.syscalls,
        "bytes": bytes,
        "gospy_cpu_ms": cpu.as_secs_f64() * 1e3,
        "gospy_wall_ms": wall.as_secs_f64() * 1e3,
        "plain_cpu_ms": plain_cpu.as_secs_f64() * 1e3,
        "plain_wall_ms": plain_wall.as_secs_f64() * 1e3,
        "ratio": ratio,
    });
    writeln!(std::io::stdout(), "{answer}")?;
    Ok(())
}
