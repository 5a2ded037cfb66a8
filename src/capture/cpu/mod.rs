//! From samples of threads that use CPUs to what the Go program did: stacks, goroutines, labels.
//!
//! Everything of a sample itself (registers, callers, the top of the stack) is of its moment. What has to be read of
//! the program's memory for it is read a moment later, so goroutines and labels are given only where they are
//! certain (`goroutines`), and a stack that had to be read then only where nothing speaks against it.

mod goroutines;
mod stacks;

use std::ops::ControlFlow;
use std::time::Duration;

use self::goroutines::Goroutines;
use self::stacks::Stacks;
use super::errors::CaptureError;
use super::options::CaptureOptions;
use super::session::Session;
use crate::model::{CpuSample, CpuSamples};

/// For how long samples are waited for at most; new threads are noticed as often.
const TICK: Duration = Duration::from_millis(20);

impl Session {
    /// Samples the program where it uses CPUs, `hz` times for each second of CPU time, until `each` says stop. It
    /// is called for samples that come together, and at least every 20 ms.
    ///
    /// # Errors
    /// When the kernel refuses, with the reason and what to do; when the program has ended or executed another one,
    /// after what was sampled before.
    pub fn sample_cpu(
        &mut self,
        hz: f64,
        each: &mut dyn FnMut(CpuSamples<'_>) -> ControlFlow<()>,
    ) -> Result<(), CaptureError> {
        // What the goroutines were before the first sample.
        let mut before = self.capture(&CaptureOptions::default())?;
        let known = std::mem::take(&mut before.goroutines);
        let (process, decoder, c_stacks, pool) = self.parts();
        let mut clocks = process.target.cpu_clocks(hz)?;
        let mut goroutines = Goroutines::new(&known, clocks.now_ns());
        drop(known);
        let mut stacks = Stacks::default();
        let mut raw = Vec::new();
        loop {
            raw.clear();
            let waited = clocks.wait(TICK, &mut |sample| raw.push(sample));
            goroutines.read(process, pool, &raw, || clocks.now_ns());
            stacks.prepare(process, c_stacks, pool, &raw);
            let samples: Vec<CpuSample> = raw
                .iter()
                .enumerate()
                .map(|(index, sample)| {
                    let (goroutine, labels) = goroutines.of(index, sample);
                    let g = goroutines.addr_of(index);
                    let mut m = || goroutines.m(process, sample.tid);
                    let (stack, complete) = stacks.of(process, decoder, pool, sample, g, &mut m);
                    CpuSample { thread: sample.tid, kernel: sample.kernel, stack, complete, goroutine, labels }
                })
                .collect();
            let batch = CpuSamples { samples: &samples, stats: clocks.stats(), symbols: pool, before: &before };
            let goes_on = each(batch);
            waited?;
            if goes_on.is_break() {
                return Ok(());
            }
        }
    }
}
