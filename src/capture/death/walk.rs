//! From the registers of a thread to everything that it was doing: across the frames that the kernel makes
//! for signal handlers, and the switches from one stack to another.
//!
//! A Go program that dies is in a signal handler or two, on the stack for signals, called from the
//! scheduler's stack, to which some goroutine switched. Every stack on the way is unwound by the one
//! unwinder; what is added here is how to get from one to the next (`sigtramp`, `systemstack`, `mcall`,
//! `morestack` and `asmcgocall` in sys_linux_amd64.s, asm_amd64.s and those of arm64, Go 1.19 to 1.27).
//! Nothing is guessed: where the next step is not known, it ends.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::capture::unwind::{End, Start, StartKind, Unwinder};
use crate::model::StackKind;
use crate::process::{ReadError, Registers, SignalInfo};
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::m::M;
use crate::runtime::{GoProcess, signal_frame};

/// Most stretches of a stack between two signals or switches.
const MAX_STRETCHES: usize = 32;
/// Bytes of a stack that are read from its stack pointer up: of one that overflowed, the inner end is
/// enough.
const WINDOW: u64 = 1 << 20;
/// Bytes that are read of a stack whose end is not known.
const UNKNOWN_STACK: u64 = 64 << 10;

/// Most entries of all threads together, about 100 MiB: memory can claim that every thread has 32 stacks
/// of the smallest frames. An overflow of the stack has some tens of thousands.
const MAX_ENTRIES: usize = 1 << 20;
/// Most bytes of stacks that are read for all threads together.
const MAX_BYTES: u64 = 4 << 30;

/// Where a stack pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct On {
    pub(super) kind: StackKind,
    /// Address of the g whose stack it is; 0 for a stack that Go does not know.
    pub(super) g: u64,
}

/// A frame of Go code.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) function: Arc<str>,
    pub(super) pc: u64,
    /// Whether `pc` is the next instruction rather than a return address.
    pub(super) exact: bool,
    pub(super) sp: u64,
    /// Top of the frame: the caller's stack pointer.
    pub(super) fp: u64,
    pub(super) on: On,
}

/// One step outwards.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// A frame of Go code.
    Frame(Frame),
    /// What the kernel saved when a signal arrived; what follows was interrupted by it.
    Signal { info: SignalInfo, at: Registers, on: On },
    /// Code that is not Go's.
    Outside { on: On },
    /// The end of a stack, seen whole.
    Top,
}

/// A thread, from its innermost frame outwards.
#[derive(Clone, Debug)]
pub(super) struct Walked {
    pub(super) m: Option<M>,
    pub(super) entries: Vec<Entry>,
    /// The goroutine on it and where its own stack starts, if that was followed to its end.
    pub(super) goroutine: Option<(u64, Start)>,
    /// Whether it was cut before its end: it loops, or is too long.
    pub(super) cut: bool,
}

/// Walks threads of one stopped process.
pub(super) struct Walker<'a> {
    pub(super) process: GoProcess<'a>,
    pub(super) unwinder: &'a mut Unwinder,
    functions: FxHashMap<u64, Option<Arc<str>>>,
    /// What is left of [`MAX_ENTRIES`] and [`MAX_BYTES`].
    entries_left: usize,
    bytes_left: u64,
}

/// The stacks of an M.
struct Stacks {
    gsignal: Option<(u64, G)>,
    g0: Option<(u64, G)>,
    curg: Option<(u64, G)>,
}

impl Stacks {
    fn all(&self) -> [(StackKind, &Option<(u64, G)>); 3] {
        [(StackKind::Gsignal, &self.gsignal), (StackKind::G0, &self.g0), (StackKind::Goroutine, &self.curg)]
    }

    /// Whose stack `sp` is on, and where that ends.
    fn of(&self, sp: u64) -> (On, Option<u64>) {
        let found = self.all().into_iter().find_map(|(kind, stack)| {
            let (addr, g) = stack.as_ref()?;
            (g.stack_lo..=g.stack_hi).contains(&sp).then_some((On { kind, g: *addr }, Some(g.stack_hi)))
        });
        found.unwrap_or((On { kind: StackKind::Outside, g: 0 }, None))
    }
}

impl<'a> Walker<'a> {
    pub(super) fn new(process: GoProcess<'a>, unwinder: &'a mut Unwinder) -> Self {
        let functions = FxHashMap::default();
        Self { process, unwinder, functions, entries_left: MAX_ENTRIES, bytes_left: MAX_BYTES }
    }

    /// Name of the function at `pc`; `None` where there is none.
    pub(super) fn function(&mut self, pc: u64) -> Option<Arc<str>> {
        let program = self.process.program;
        let look = || {
            let function = program.pclntab.function_at(program.bias.unload(Addr(pc)))?;
            program.pclntab.name(&function).map(Arc::from)
        };
        self.functions.entry(pc).or_insert_with(look).clone()
    }

    /// Whether a function starts at `pc`.
    pub(super) fn is_entry(&self, pc: u64) -> bool {
        let program = self.process.program;
        self.process.is_go_code(pc) && program.pclntab.is_entry(program.bias.unload(Addr(pc)))
    }

    /// The g at `addr`; `None` for nil and for what cannot be read.
    pub(super) fn g(&self, addr: u64) -> Result<Option<(u64, G)>, ReadError> {
        Ok(self.process.read::<G>(Addr(addr))?.map(|g| (addr, g)))
    }

    /// Follows a thread outwards from its registers.
    pub(super) fn walk(&mut self, registers: &Registers, m: Option<&M>) -> Result<Walked, ReadError> {
        let stacks = Stacks {
            gsignal: self.g(m.map_or(0, |m| m.gsignal))?,
            g0: self.g(m.map_or(0, |m| m.g0))?,
            curg: self.g(m.map_or(0, |m| m.curg))?,
        };
        let mut walked = Walked { m: m.copied(), entries: Vec::new(), goroutine: None, cut: false };
        let mut seen: Vec<(Addr, Addr)> = Vec::new();
        let mut next = Some(interrupted(registers));
        while let Some(start) = next {
            let place = (start.pc, start.sp);
            if seen.len() == MAX_STRETCHES || seen.contains(&place) || self.entries_left == 0 || self.bytes_left == 0 {
                walked.cut = true;
                break;
            }
            seen.push(place);
            // For steps that are not frames; frames are deducted where they are found.
            self.entries_left = self.entries_left.saturating_sub(1);
            next = self.stretch(start, &stacks, &mut walked)?;
        }
        Ok(walked)
    }

    /// Follows one stack, and returns where to continue.
    fn stretch(&mut self, start: Start, stacks: &Stacks, walked: &mut Walked) -> Result<Option<Start>, ReadError> {
        let sp = start.sp.0;
        let (on, end) = stacks.of(sp);
        if start.pc.0 != 0 && self.function(start.pc.0).is_none() {
            walked.entries.push(Entry::Outside { on });
            // C runs below Go's call of it, and Go noted where that was.
            return Ok(stacks.curg.as_ref().filter(|_| on.kind != StackKind::Goroutine).and_then(in_call_of_c));
        }
        let len = end.map_or(UNKNOWN_STACK, |end| end.saturating_sub(sp).min(WINDOW));
        self.bytes_left = self.bytes_left.saturating_sub(len);
        let mut stack = vec![0; usize::try_from(len).unwrap_or_default()];
        let got = self.process.target.read(Addr(sp), &mut stack)?;
        stack.truncate(got);
        let word = |addr: u64| stack.u64_at(usize::try_from(addr.checked_sub(sp)?).ok()?);
        let unwound = self.unwinder.unwind(start, word);
        let frames = unwound.stack.map(|stack| self.unwinder.frames(stack)).unwrap_or_default();
        // The unwinder remembers all of them, also those beyond a switch to another stack.
        let room = self.entries_left;
        self.entries_left = room.saturating_sub(frames.len());
        let before = walked.entries.len();
        for physical in frames {
            let Some(function) = self.function(physical.pc) else { break };
            let frame = Frame {
                function,
                pc: physical.pc,
                exact: physical.exact,
                sp: unwound.sp.wrapping_add(physical.sp_offset),
                fp: unwound.sp.wrapping_add(physical.fp_offset),
                on,
            };
            if walked.entries.len().saturating_sub(before) >= room {
                walked.cut = true;
                return Ok(None);
            }
            walked.entries.push(Entry::Frame(frame.clone()));
            match &*frame.function {
                "runtime.sigtramp" | "runtime.cgoSigtramp" => return self.signal(&frame, stacks, walked),
                // Interrupted at its start, it has not switched yet.
                _ if frame.exact || on.kind == StackKind::Goroutine => {}
                "runtime.systemstack" | "runtime.mcall" => {
                    return Ok(stacks.curg.as_ref().map(|(_, g)| parked(g, StartKind::Parked)));
                }
                "runtime.morestack" => {
                    return Ok(stacks.curg.as_ref().map(|(_, g)| parked(g, StartKind::Interrupted)));
                }
                "runtime.asmcgocall" | "runtime.asmcgocall.abi0" if on.kind == StackKind::G0 => {
                    return Ok(stacks.curg.as_ref().and_then(in_call_of_c));
                }
                _ => {}
            }
        }
        if matches!(unwound.end, End::BadPc(_)) && on.kind != StackKind::Goroutine {
            // A fault in C of which the runtime made a panic (`sigpanic`).
            walked.entries.push(Entry::Outside { on });
            return Ok(stacks.curg.as_ref().and_then(in_call_of_c));
        }
        if unwound.end == End::TopFrame {
            walked.entries.push(Entry::Top);
            if on.kind == StackKind::Goroutine && walked.goroutine.is_none() {
                walked.goroutine = Some((on.g, start));
            }
        }
        Ok(None)
    }

    /// The kernel's frame above that of the handler.
    fn signal(&self, frame: &Frame, stacks: &Stacks, walked: &mut Walked) -> Result<Option<Start>, ReadError> {
        let mut bytes = vec![0; signal_frame::FRAME];
        let got = self.process.target.read(Addr(frame.fp), &mut bytes)?;
        bytes.truncate(got);
        let Some((info, at)) = signal_frame::above_handler(&bytes, self.process.arch()) else { return Ok(None) };
        walked.entries.push(Entry::Signal { info, at, on: stacks.of(at.sp.0).0 });
        Ok(Some(interrupted(&at)))
    }
}

fn interrupted(registers: &Registers) -> Start {
    Start { pc: registers.pc, sp: registers.sp, lr: registers.lr, kind: StartKind::Interrupted }
}

/// Where a goroutine switched to another stack.
fn parked(g: &G, kind: StartKind) -> Start {
    Start { pc: Addr(g.sched_pc), sp: Addr(g.sched_sp), lr: Addr(g.sched_lr), kind }
}

/// Where a goroutine called C.
fn in_call_of_c((_, g): &(u64, G)) -> Option<Start> {
    let at = Start { pc: Addr(g.syscallpc), sp: Addr(g.syscallsp), lr: Addr(0), kind: StartKind::Syscall };
    (g.syscallsp != 0).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::capture::CaptureOptions;
    use crate::capture::testing::session;
    use crate::process::fake::FakeTarget;
    use crate::runtime::program::Program;
    use crate::runtime::rules::Rules;

    fn unwinder(program: &Program) -> Unwinder {
        Unwinder::new(Arc::clone(&program.pclntab), program.bias, program.elf.arch(), Rules::of(26))
    }

    fn at(pc: u64, sp: u64) -> Registers {
        Registers { pc: Addr(pc), sp: Addr(sp), lr: Addr(0), fp: Addr(0), g: Addr(0) }
    }

    #[test]
    fn a_way_that_leads_in_a_circle_is_left() {
        const G: u64 = 0x10_0000;
        let session = session();
        let (program, runtime) = (session.process().program, session.runtime());
        let layout = &runtime.layout;
        // Code that is not Go's, called from a place that is not Go's either.
        let mut g = vec![0_u8; layout.g.size as usize];
        for (field, word) in [(layout.g.syscallpc, 1_u64), (layout.g.syscallsp, 0x6000)] {
            g[field as usize..][..8].copy_from_slice(&word.to_le_bytes());
        }
        let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(G), g);
        let mut unwinder = unwinder(program);
        let mut walker = Walker::new(GoProcess { target: &target, program, runtime }, &mut unwinder);
        let m = M { curg: G, ..M::default() };
        let walked = walker.walk(&at(1, 0x5000), Some(&m)).unwrap();
        assert!(walked.cut && walked.entries.len() == 2, "{walked:?}");
        let straight = walker.walk(&at(1, 0x5000), None).unwrap();
        assert!(!straight.cut && straight.entries.len() == 1, "{straight:?}");
    }

    #[test]
    fn all_threads_together_have_so_many_frames() {
        let mut session = session();
        let snapshot = session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() }).unwrap();
        let mut unwinder = unwinder(session.process().program);
        let mut walker = Walker::new(session.process(), &mut unwinder);
        let mut walks = 0;
        for goroutine in &snapshot.goroutines {
            let Some((curg, g)) = walker.g(goroutine.addr.0).unwrap() else { continue };
            let (m, registers) = (M { curg, ..M::default() }, at(g.sched_pc, g.sched_sp));
            (walker.entries_left, walker.bytes_left) = (MAX_ENTRIES, MAX_BYTES);
            let whole = walker.walk(&registers, Some(&m)).unwrap();
            if whole.entries.len() < 4 {
                continue;
            }
            walks += 1;
            assert!(!whole.cut && walker.entries_left == MAX_ENTRIES - whole.entries.len());
            // The second thread gets what the first has left: one frame, and one of what is none.
            walker.entries_left = whole.entries.len() + 2;
            assert!(!walker.walk(&registers, Some(&m)).unwrap().cut);
            let second = walker.walk(&registers, Some(&m)).unwrap();
            assert!(second.cut && second.entries.len() == 1, "{second:?}");
            let third = walker.walk(&registers, Some(&m)).unwrap();
            assert!(third.cut && third.entries.is_empty(), "{third:?}");
            (walker.entries_left, walker.bytes_left) = (MAX_ENTRIES, 1);
            assert!(!walker.walk(&registers, Some(&m)).unwrap().cut, "what was begun is finished");
            assert!(walker.walk(&registers, Some(&m)).unwrap().cut);
        }
        assert!(walks > 0, "no stack is long enough");
    }
}
