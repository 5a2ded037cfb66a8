//! The stack of a thread that was interrupted anywhere, from its registers, the top of its stack, and its callers by
//! frame pointers.
//!
//! Frame pointers alone skip the caller of every function that has not made its frame, or makes none: the leaves,
//! where time is spent. The tables of frame sizes need the whole stack, and end where it goes on on another one.
//! So the innermost frames come from the tables, up to the first whose saved frame pointer is where the register
//! points; from there on the callers are those by frame pointers, which go on across the scheduler's stack, the vDSO
//! and simple C code.

use super::{End, PhysicalFrame, Start, StartKind, Unwinder, Unwound};
use crate::addr::Arch;
use crate::process::Registers;

/// A stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Its frames, innermost first; their offsets are unknown (0).
    pub(crate) frames: Vec<PhysicalFrame>,
    /// Whether it was followed to its end.
    pub(crate) complete: bool,
}

impl Unwinder {
    /// The stack of a thread that is in Go code. `callers` is where it is and its callers by frame pointers, and
    /// `word` gives the words of the stack as far as they are known.
    pub(crate) fn interrupted(
        &mut self,
        registers: &Registers,
        callers: &[u64],
        word: impl Fn(u64) -> Option<u64>,
    ) -> Chain {
        let Registers { pc, sp, lr, fp, .. } = *registers;
        let by_pointers = callers.get(1..).unwrap_or_default();
        let unwound = self.unwind(Start { pc, sp, lr, kind: StartKind::Interrupted }, word);
        let frames = unwound.stack.map(|stack| self.frames(stack)).unwrap_or_default();
        let saves_pointer = |frame: &PhysicalFrame| {
            // Where its function has put the frame pointer of its caller, and the register points.
            match self.arch {
                Arch::Amd64 => unwound.sp.wrapping_add(frame.fp_offset).wrapping_sub(16) == fp.0,
                Arch::Arm64 => {
                    frame.sp_offset < frame.fp_offset
                        && unwound.sp.wrapping_add(frame.sp_offset).wrapping_sub(8) == fp.0
                }
            }
        };
        let known = match frames.iter().position(saves_pointer) {
            Some(last) => frames.get(..=last),
            // Nothing is known of its frame, but where the register points is its caller's business.
            None if unwound.end == End::WritesSp => Some(&frames[..]),
            None => None,
        };
        let mut chain = Chain::default();
        match known {
            Some(known) => {
                known.iter().for_each(|frame| chain.push(*frame));
                self.append(&mut chain, by_pointers);
            }
            None if unwound.end == End::TopFrame => {
                frames.iter().for_each(|frame| chain.push(*frame));
                chain.complete = true;
            }
            None => {
                // The register holds something else, or too little of the stack is known.
                if self.look_up(pc.0).is_some() {
                    chain.push(PhysicalFrame { pc: pc.0, exact: true, sp_offset: 0, fp_offset: 0 });
                }
                self.append(&mut chain, by_pointers);
                if !chain.complete {
                    chain.frames.clear();
                    frames.iter().for_each(|frame| chain.push(*frame));
                }
            }
        }
        chain
    }

    /// The stack of callers by frame pointers alone, of a thread that is not in Go code: from the first that is.
    pub(crate) fn callers(&mut self, callers: &[u64]) -> Chain {
        let mut chain = Chain::default();
        self.append(&mut chain, callers.get(1..).unwrap_or_default());
        chain
    }

    /// A stack that was followed from a saved place, without the offsets of its frames.
    pub(crate) fn saved(&self, unwound: &Unwound) -> Chain {
        let mut chain = Chain { complete: unwound.end == End::TopFrame, ..Chain::default() };
        let frames = unwound.stack.map(|stack| self.frames(stack)).unwrap_or_default();
        frames.iter().for_each(|frame| chain.push(*frame));
        chain
    }

    /// Adds callers, and finds out whether the chain is complete then. What is not Go code is left out: C code that
    /// called back into Go.
    fn append(&mut self, chain: &mut Chain, callers: &[u64]) {
        let mut last = None;
        for frame in &chain.frames {
            last = self.look_up(frame.pc);
            if last.is_some_and(|info| info.ends_chain) {
                chain.complete = true;
                return;
            }
        }
        for &pc in callers {
            let exact = last.is_some_and(|info| info.injected);
            // A return address may be the first after its function.
            let Some(info) = self.look_up(if exact { pc } else { pc.wrapping_sub(1) }) else { continue };
            chain.push(PhysicalFrame { pc, exact, sp_offset: 0, fp_offset: 0 });
            if info.ends_chain {
                chain.complete = true;
                return;
            }
            last = Some(info);
        }
    }
}

impl Chain {
    fn push(&mut self, frame: PhysicalFrame) {
        self.frames.push(PhysicalFrame { sp_offset: 0, fp_offset: 0, ..frame });
    }
}
