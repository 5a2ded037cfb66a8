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
                let mut switches = |pc: u64| self.look_up(pc).is_some_and(|info| info.switches_stack);
                chain.complete = !frames.iter().any(|frame| switches(frame.pc.wrapping_sub(1)));
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::addr::Addr;
    use crate::capture::{CaptureOptions, OpenOptions, Session};
    use crate::process::TargetExt as _;
    use crate::process::core::{CoreOptions, CoreTarget};
    use crate::runtime::mirror::g::G;

    /// A goroutine of a recorded program, as if its thread had been interrupted.
    struct Parked {
        session: Session,
        start: Start,
        frames: Vec<PhysicalFrame>,
        /// Entry of a function, where no function has a frame yet.
        leaf: u64,
    }

    impl Parked {
        /// The deepest stack of the recorded program.
        fn of(capture: &str) -> (Self, Unwinder) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/captures").join(capture);
            let target = CoreTarget::open(&path, &CoreOptions::default()).unwrap();
            let mut session = Session::open(Box::new(target), &OpenOptions::default()).unwrap();
            let snapshot = session.capture(&CaptureOptions { stacks: true, ..Default::default() }).unwrap();
            let process = session.process();
            let (program, arch) = (process.program, process.arch());
            let mut unwinder = Unwinder::new(Arc::clone(&program.pclntab), program.bias, arch, process.rules());
            let read = |addr: u64| process.target.read_u64(Addr(addr)).unwrap();
            let stacks = snapshot.goroutines.iter().filter_map(|goroutine| {
                let g = process.read::<G>(goroutine.addr).unwrap()?;
                let kind = StartKind::Parked;
                let start = Start { pc: Addr(g.sched_pc), sp: Addr(g.sched_sp), lr: Addr(g.sched_lr), kind };
                let unwound = unwinder.unwind(start, read);
                let frames = unwinder.frames(unwound.stack?);
                (unwound.end == End::TopFrame).then_some((start, frames))
            });
            let (start, frames) = stacks.max_by_key(|(_, frames)| frames.len()).unwrap();
            let first = program.pclntab.function_at(program.bias.unload(start.pc)).unwrap();
            let leaf = program.bias.load(first.entry).0;
            (Self { session, start, frames, leaf }, unwinder)
        }

        fn word(&self, addr: u64) -> Option<u64> {
            self.session.process().target.read_u64(Addr(addr)).unwrap()
        }

        /// What the register has while frame number `index` is the innermost that has made itself.
        fn pointer(&self, index: usize, arch: Arch) -> u64 {
            match arch {
                Arch::Amd64 => self.start.sp.0 + self.frames[index].fp_offset - 16,
                Arch::Arm64 => self.start.sp.0 + self.frames[index].sp_offset - 8,
            }
        }

        fn pcs(&self, from: usize) -> Vec<u64> {
            self.frames[from..].iter().map(|frame| frame.pc).collect()
        }
    }

    fn pcs(chain: &Chain) -> Vec<u64> {
        chain.frames.iter().map(|frame| frame.pc).collect()
    }

    const CAPTURES: [(&str, Arch); 4] = [
        ("tiny-1.19-amd64.capture", Arch::Amd64),
        ("tiny-1.27.3-amd64.capture", Arch::Amd64),
        ("tiny-1.22.10-arm64.capture", Arch::Arm64),
        ("tiny-1.27.3-arm64.capture", Arch::Arm64),
    ];

    /// Wherever a thread is interrupted, with or without the frame of its function, its stack is the same.
    #[test]
    fn leaves_keep_their_callers() {
        for (capture, arch) in CAPTURES {
            let (parked, mut unwinder) = Parked::of(capture);
            let frames = &parked.frames;
            assert!(frames.len() >= 4, "{capture}: {frames:?}");
            for (index, &frame) in frames.iter().enumerate().take(frames.len() - 1) {
                let (sp, fp) = (parked.start.sp.0 + frame.sp_offset, parked.pointer(index, arch));
                let registers = |pc: u64, sp: u64, lr: u64, fp: u64| Registers {
                    pc: Addr(pc),
                    sp: Addr(sp),
                    lr: Addr(lr),
                    fp: Addr(fp),
                    g: Addr(0),
                };
                // With its frame: as frame pointers say it.
                let wanted = parked.pcs(index);
                if frame.fp_offset - frame.sp_offset > 16 {
                    let chain =
                        unwinder.interrupted(&registers(frame.pc, sp, 0, fp), &wanted, |addr| parked.word(addr));
                    assert_eq!((pcs(&chain), chain.complete), (wanted.clone(), true), "{capture} {index}");
                    assert!(chain.frames[0].exact && !chain.frames[1].exact, "{capture}");
                }
                // A function that it has just called: frame pointers skip the caller.
                let by_pointers = [vec![parked.leaf], parked.pcs(index + 1)].concat();
                let wanted = [vec![parked.leaf], parked.pcs(index)].concat();
                let (sp, lr) = match arch {
                    Arch::Amd64 => (sp - 8, 0),
                    Arch::Arm64 => (sp, frame.pc),
                };
                let word =
                    |addr: u64| if arch == Arch::Amd64 && addr == sp { Some(frame.pc) } else { parked.word(addr) };
                let chain = unwinder.interrupted(&registers(parked.leaf, sp, lr, fp), &by_pointers, word);
                assert_eq!((pcs(&chain), chain.complete), (wanted.clone(), true), "{capture} leaf of {index}");
                // Something else in the register: by the tables alone, as far as the stack is known.
                let bad = registers(parked.leaf, sp, lr, 0x1234);
                let chain = unwinder.interrupted(&bad, &[parked.leaf], word);
                assert_eq!((pcs(&chain), chain.complete), (wanted, true), "{capture} data in the register {index}");
                let chain = unwinder.interrupted(&bad, &[parked.leaf], |_| None);
                assert!(!chain.complete && chain.frames.len() <= 2, "{capture}: {chain:?}");
            }
            // In C or the vDSO: the first that is Go, and its callers.
            let from_c = [vec![0x7fff_0000_1000, 0x7fff_0000_2000], parked.pcs(1)].concat();
            let chain = unwinder.callers(&from_c);
            assert_eq!((pcs(&chain), chain.complete), (parked.pcs(1), true), "{capture}");
            assert_eq!(unwinder.callers(&[1, 2, 3]), Chain::default());
            assert!(!unwinder.callers(&parked.pcs(0)[..2]).complete);
        }
    }
}
