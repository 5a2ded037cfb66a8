//! What threads hold that were stopped: registers, and the stacks that the scheduler and signal handlers run on.
//!
//! The collector never meets a thread there, since it waits until each is at a safe place. A freeze does: a timer
//! that has just been taken out of its heap is only on the scheduler's stack, and a channel may be in a register
//! only. So what threads hold counts, word by word.

use super::HeapError;
use super::marker::Marker;
use super::stacks::Stacks;
use crate::addr::Addr;
use crate::process::{GeneralRegisters, Tid};
use crate::runtime::GoProcess;
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::m::M;

/// What is known of stopped threads.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Values of registers, each with the address of the g of the goroutine that runs there; 0 for none.
    pub(super) words: Vec<(u64, u64)>,
    /// Stacks of threads, from the stack pointer on.
    pub(super) stacks: Vec<(u64, u64)>,
    /// Goroutines that run on threads whose registers are not known, or not all of them.
    pub(super) unknown: u64,
}

impl Running {
    /// Of the threads of `ms`, by the registers of each.
    ///
    /// Threads without a P and a goroutine hold nothing: they wait for work, or for time to pass.
    ///
    /// # Errors
    /// When the target could not be read.
    pub fn of(
        process: GoProcess<'_>,
        ms: &[M],
        registers: impl Fn(Tid) -> Option<GeneralRegisters>,
        pc: impl Fn(Tid) -> Option<Addr>,
    ) -> Result<Self, HeapError> {
        let mut out = Self::default();
        // One without a thread and a P is kept for callbacks from C: no goroutine runs on it.
        for m in ms.iter().filter(|m| m.p != 0 || (m.curg != 0 && m.tid().is_some())) {
            let registers = m.tid().and_then(&registers);
            let copies = m.tid().and_then(&pc).is_some_and(|pc| is_copying(process, pc));
            out.unknown += u64::from(registers.is_none() || copies);
            let sp = registers.as_ref().map_or(0, |registers| registers.sp.0);
            let [curg, g0, gsignal] = [m.curg, m.g0, m.gsignal].map(|g| stack(process, g));
            let (curg, g0, gsignal) = (curg?, g0?, gsignal?);
            let holds = |stack: &Option<(u64, u64)>| stack.is_some_and(|(lo, hi)| (lo..hi).contains(&sp));
            let from_sp = |stack: Option<(u64, u64)>| stack.map(|(_, hi)| (sp & !7, hi));
            if holds(&g0) {
                out.stacks.extend(from_sp(g0));
            } else if !holds(&curg) {
                // In a signal handler, which may have interrupted the scheduler; in C; or unknown.
                out.stacks.extend(if holds(&gsignal) { from_sp(gsignal) } else { gsignal });
                out.stacks.extend(g0);
            }
            let words = registers.map(|registers| registers.words).unwrap_or_default();
            out.words.extend(words.into_iter().map(|word| (m.curg, word)));
        }
        Ok(out)
    }

    /// How many threads run Go code, or may, whose registers are not known.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    pub(super) fn scan(&self, stacks: &mut Stacks<'_, '_>, marker: &Marker<'_>) -> Result<(), HeapError> {
        self.scan_registers(marker, |_| true)?;
        self.scan_stacks(stacks)
    }

    /// What registers hold, on threads that run one of these gs.
    pub(super) fn scan_registers(&self, marker: &Marker<'_>, gs: impl Fn(u64) -> bool) -> Result<(), HeapError> {
        for (_, word) in self.words.iter().filter(|(g, _)| gs(*g)) {
            marker.mark_maybe(*word)?;
        }
        Ok(())
    }

    /// What the threads' own stacks hold.
    pub(super) fn scan_stacks(&self, stacks: &mut Stacks<'_, '_>) -> Result<(), HeapError> {
        for (from, to) in &self.stacks {
            stacks.thread_words(*from, *to)?;
        }
        Ok(())
    }
}

/// Whether the code at `pc` may hold pointers in vector registers, which are not read: `memmove` does while it
/// moves memory over itself (runtime/memmove_*.s). What the compiler makes copies through them, but leaves the
/// original where it is.
fn is_copying(process: GoProcess<'_>, pc: Addr) -> bool {
    let pclntab = &process.program.pclntab;
    let function = pclntab.function_at(process.program.bias.unload(pc));
    function.and_then(|function| pclntab.name(&function)).is_some_and(|name| name == "runtime.memmove")
}

/// Bounds of the stack of a g.
fn stack(process: GoProcess<'_>, g: u64) -> Result<Option<(u64, u64)>, HeapError> {
    Ok(process.read::<G>(Addr(g))?.map(|g| (g.stack_lo, g.stack_hi)))
}
