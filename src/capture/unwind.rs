//! From a program counter and a stack pointer to the physical frames of a stack, by the runtime's
//! own rules (runtime/traceback.go, Go 1.19 to 1.27).
//!
//! Works on any memory: a closure gives the words of the stack. It refuses to guess: a stack whose
//! callers cannot be found for certain ends with the reason, and the caller decides what that
//! means. Frame pointers are not used; they lose frames after asynchronous preemption and below
//! callbacks from C.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::{Addr, Arch, LinkAddr, LoadBias};
use crate::image::pclntab::{Function, Pclntab};

/// Most physical frames of one stack that are followed; at Go's default limit of 1 GiB a stack
/// overflows before it gets there, unless its frames are tiny.
pub const MAX_FRAMES: usize = 4 << 20;

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Program counter.
    pub pc: Addr,
    /// Stack pointer.
    pub sp: Addr,
    /// Link register (arm64); nil where it is on the stack, and on amd64.
    pub lr: Addr,
    /// What kind of a stop it was.
    pub kind: StartKind,
}

/// What the first program counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartKind {
    /// Saved when the goroutine was descheduled: behind a call.
    Parked,
    /// Saved on entry to a system call or to C: behind a call, and the function may have changed SP
    /// since.
    Syscall,
    /// Registers of a thread that was interrupted anywhere: the very next instruction.
    Interrupted,
}

/// One physical frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PhysicalFrame {
    /// Program counter: a return address, unless `exact`.
    pub pc: u64,
    /// Whether `pc` is the next instruction itself (the frame was interrupted by a signal), so that
    /// it is looked up as it is and not at minus one.
    pub exact: bool,
    /// Stack pointer.
    pub sp: u64,
    /// Top of the frame: the caller's stack pointer.
    pub fp: u64,
}

/// Why a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At a function that is marked as the outermost: the whole stack was seen.
    TopFrame,
    /// In a function that has no frame information (race detector, foreign code).
    NoFrameInfo,
    /// In a function that changes SP as it likes: its caller cannot be known.
    WritesSp,
    /// At a return address of zero.
    NoCaller,
    /// At a program counter that is in no Go function.
    BadPc(u64),
    /// At a word of the stack that could not be had.
    BadStack(u64),
    /// At a frame that is its own caller.
    Stuck,
    /// At the limit.
    TooDeep,
}

/// What has to be known of a program counter to step over it; remembered, because a million
/// goroutines stand at a few thousand of them.
#[derive(Clone, Copy, Debug)]
struct PcInfo {
    frame_size: Option<u64>,
    has_frame_size: bool,
    top_frame: bool,
    writes_sp: bool,
    /// Its caller was interrupted rather than called it.
    injected: bool,
}

/// Unwinds stacks of one program.
#[derive(Debug)]
pub struct Unwinder {
    pclntab: Arc<Pclntab>,
    bias: LoadBias,
    arch: Arch,
    injected: &'static [&'static str],
    pcs: FxHashMap<u64, Option<PcInfo>>,
}

impl Unwinder {
    /// An unwinder for a program of Go 1.`minor`.
    #[must_use]
    pub fn new(pclntab: Arc<Pclntab>, bias: LoadBias, arch: Arch, minor: u32) -> Self {
        // Until 1.20 the runtime itself took asyncPreempt for a call and looked its caller up at
        // minus one; its own dumps say so.
        let injected: &[&str] = if minor >= 21 {
            &["runtime.sigpanic", "runtime.debugCallV2", "runtime.asyncPreempt"]
        } else {
            &["runtime.sigpanic", "runtime.debugCallV2"]
        };
        Self { pclntab, bias, arch, injected, pcs: FxHashMap::default() }
    }

    fn look_up(&mut self, pc: u64) -> Option<PcInfo> {
        if let Some(&known) = self.pcs.get(&pc) {
            return known;
        }
        let link = self.bias.unload(Addr(pc));
        let info = self.pclntab.function_at(link).map(|function| self.describe(&function, link));
        self.pcs.insert(pc, info);
        info
    }

    fn describe(&self, function: &Function, link: LinkAddr) -> PcInfo {
        let name = self.pclntab.name(function).unwrap_or_default();
        PcInfo {
            frame_size: self.pclntab.frame_size(function, link),
            has_frame_size: self.pclntab.has_frame_size(function),
            top_frame: function.flags.is_top_frame(),
            // cgocallback changes SP, but keeps a frame for the unwinder on both stacks.
            writes_sp: function.flags.writes_sp() && name != "runtime.cgocallback",
            injected: self.injected.contains(&name.as_str()),
        }
    }

    /// Follows the callers from `start` on, with `word` giving the words of the stack, and puts the
    /// frames into `frames`, innermost first.
    pub fn unwind(
        &mut self,
        start: Start,
        mut word: impl FnMut(u64) -> Option<u64>,
        frames: &mut Vec<PhysicalFrame>,
    ) -> End {
        frames.clear();
        let link_register = self.arch == Arch::Arm64;
        let Start { pc: Addr(mut pc), sp: Addr(mut sp), lr: Addr(mut lr), kind } = start;
        if pc == 0 {
            // A call of a nil function: its caller is where the story starts.
            let Some(caller) = word(sp) else { return End::BadStack(sp) };
            (pc, lr) = (caller, 0);
            if !link_register {
                sp = sp.wrapping_add(8);
            }
        }
        let mut exact = kind == StartKind::Interrupted;
        let mut innermost = true;
        loop {
            let Some(info) = self.look_up(pc) else { return End::BadPc(pc) };
            if !info.has_frame_size {
                return End::NoFrameInfo;
            }
            let Some(size) = info.frame_size else { return End::BadPc(pc) };
            let return_address_size = if link_register { 0 } else { 8 };
            let Some(fp) = sp.checked_add(size).and_then(|fp| fp.checked_add(return_address_size)) else {
                return End::BadStack(sp);
            };
            frames.push(PhysicalFrame { pc, exact, sp, fp });
            if info.top_frame {
                return End::TopFrame;
            }
            if info.writes_sp && !(innermost && kind == StartKind::Syscall) {
                return End::WritesSp;
            }
            let slot = match link_register {
                false => Some(fp.wrapping_sub(8)),
                true => ((innermost && sp < fp) || lr == 0).then_some(sp),
            };
            if let Some(slot) = slot {
                let Some(value) = word(slot) else { return End::BadStack(slot) };
                lr = value;
            }
            if lr == 0 {
                return End::NoCaller;
            }
            if lr == pc && sp == fp {
                return End::Stuck;
            }
            if frames.len() >= MAX_FRAMES {
                return End::TooDeep;
            }
            (pc, sp, lr) = (lr, fp, 0);
            (exact, innermost) = (info.injected, false);
            if link_register && info.injected {
                // The signal handler pushed the link register before it faked the call.
                let Some(saved) = word(sp) else { return End::BadStack(sp) };
                sp = sp.wrapping_add(16);
                if self.look_up(pc).is_some_and(|caller| caller.frame_size == Some(0)) {
                    lr = saved;
                }
            }
        }
    }
}
