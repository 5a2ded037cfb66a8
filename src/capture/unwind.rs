//! From a program counter and a stack pointer to the physical frames of a stack, by the runtime's
//! own rules (runtime/traceback.go, Go 1.19 to 1.27).
//!
//! Works on any memory: a closure gives the words of the stack. It refuses to guess: a stack whose callers
//! cannot be determined ends with the reason, and the caller decides what that means. Frame pointers are not
//! used, as they lose frames after asynchronous preemption and below callbacks from C; but for samples of threads that
//! run ([`frame_pointers`]).

mod frame_pointers;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::{Addr, Arch, LinkAddr, LoadBias};
use crate::image::pclntab::{Function, Pclntab};
use crate::runtime::rules::Rules;

pub(crate) use self::frame_pointers::Chain;

/// Most physical frames of one stack that are followed. Runaway recursion reaches Go's default limit of 1 GiB
/// with some ten million frames; a million of them show what it is.
const MAX_FRAMES: u32 = 1 << 20;

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StartKind {
    /// Saved when the goroutine was descheduled: after a call.
    Parked,
    /// Saved on entry to a system call or to C: after a call, and the function may have changed SP since.
    Syscall,
    /// Registers of a thread that was interrupted anywhere: the very next instruction.
    Interrupted,
}

/// One physical frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PhysicalFrame {
    /// Program counter: a return address, unless `exact`.
    pub pc: u64,
    /// Whether `pc` is the next instruction itself (the frame was interrupted by a signal), so that
    /// it is looked up as it is and not at minus one.
    pub exact: bool,
    /// Its stack pointer, in bytes above that of the innermost frame.
    pub sp_offset: u64,
    /// Top of the frame, which is the caller's stack pointer, likewise.
    pub fp_offset: u64,
}

/// A stack that was met: its outermost frame, which leads to all the others. Equal ones of one
/// unwinder are identical, frame by frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StackNode(u32);

#[cfg(test)]
impl StackNode {
    /// One of no unwinder.
    pub(crate) const fn for_test(number: u32) -> Self {
        Self(number)
    }
}

/// The result of following a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unwound {
    /// Why it ended.
    pub end: End,
    /// The frames that were found, if there are any.
    pub stack: Option<StackNode>,
    /// Stack pointer of the innermost frame.
    pub sp: u64,
}

/// Why a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At a function that is marked as the outermost: the whole stack was seen.
    TopFrame,
    /// In a function that has no frame information (race detector, foreign code).
    NoFrameInfo,
    /// In a function that changes SP freely: its caller is unknown.
    WritesSp,
    /// At a return address of zero.
    NoCaller,
    /// At a program counter that is in no Go function.
    BadPc(u64),
    /// At a word of the stack that could not be read.
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
    /// Frame pointers lead to nothing that called it.
    ends_chain: bool,
    /// Tables do not lead from it to what called it.
    switches_stack: bool,
}

/// A frame with all frames inside it. A million goroutines stand on a few thousand different stacks, so a
/// frame that is found again after the same inner ones costs a comparison.
#[derive(Clone, Copy, Debug)]
struct Node {
    frame: PhysicalFrame,
    info: PcInfo,
    /// The next inner frame.
    inner: Option<StackNode>,
    depth: u32,
}

/// What is read each time a frame is met, apart from the rest so that those of a program's stacks fit into
/// the cache. The rest is at the same index in `Unwinder::nodes`.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// As in the frame.
    fp_offset: u64,
    /// Program counter of the caller that was met last; 0, which no caller has, before the first.
    last_pc: u64,
    /// That caller.
    last: StackNode,
    kind: StepKind,
}

/// How to continue from a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepKind {
    /// Its return address is right below its top, and there is nothing else to check.
    Plain,
    /// It is the outermost.
    Top,
    /// By all the rules.
    Special,
}

/// Unwinds stacks of one program.
#[derive(Debug)]
pub(crate) struct Unwinder {
    pclntab: Arc<Pclntab>,
    bias: LoadBias,
    arch: Arch,
    rules: Rules,
    pcs: FxHashMap<u64, Option<PcInfo>>,
    nodes: Vec<Node>,
    steps: Vec<Step>,
    innermost: FxHashMap<(u64, StartKind), StackNode>,
    callers: FxHashMap<(StackNode, u64), StackNode>,
}

impl Unwinder {
    /// An unwinder for a program whose runtime has these `rules`.
    #[must_use]
    pub(crate) fn new(pclntab: Arc<Pclntab>, bias: LoadBias, arch: Arch, rules: Rules) -> Self {
        Self {
            pclntab,
            bias,
            arch,
            rules,
            pcs: FxHashMap::default(),
            nodes: Vec::new(),
            steps: Vec::new(),
            innermost: FxHashMap::default(),
            callers: FxHashMap::default(),
        }
    }

    /// How many frames are remembered, each with all inside it.
    #[must_use]
    pub(crate) fn remembered(&self) -> usize {
        self.nodes.len()
    }

    /// The frames of a stack, innermost first.
    #[must_use]
    pub(crate) fn frames(&self, stack: StackNode) -> Vec<PhysicalFrame> {
        let mut frames = Vec::new();
        let mut next = Some(stack);
        while let Some(node) = next.and_then(|id| self.node(id)) {
            frames.push(node.frame);
            next = node.inner;
        }
        frames.reverse();
        frames
    }

    fn node(&self, id: StackNode) -> Option<&Node> {
        self.nodes.get(usize::try_from(id.0).ok()?)
    }

    fn step(&self, id: StackNode) -> Option<Step> {
        self.steps.get(usize::try_from(id.0).ok()?).copied()
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
            writes_sp: function.flags.writes_sp() && !self.rules.keeps_frame(&name),
            injected: self.rules.is_injected(&name),
            ends_chain: function.flags.is_top_frame() || self.rules.ends_frame_pointers(&name),
            switches_stack: self.rules.switches_stack(&name),
        }
    }

    /// Stores a frame that was not found before after these inner ones.
    fn add(&mut self, inner: Option<StackNode>, pc: u64, exact: bool, sp_offset: u64) -> Result<StackNode, End> {
        let info = self.look_up(pc).ok_or(End::BadPc(pc))?;
        if !info.has_frame_size {
            return Err(End::NoFrameInfo);
        }
        let size = info.frame_size.ok_or(End::BadPc(pc))?;
        let return_address_size = if self.arch == Arch::Arm64 { 0 } else { 8 };
        let fp_offset =
            sp_offset.checked_add(size).and_then(|top| top.checked_add(return_address_size)).ok_or(End::BadPc(pc))?;
        let depth = inner.and_then(|id| self.node(id)).map_or(0, |node| node.depth.saturating_add(1));
        let id = u32::try_from(self.nodes.len()).map(StackNode).map_err(|_| End::TooDeep)?;
        let frame = PhysicalFrame { pc, exact, sp_offset, fp_offset };
        self.nodes.push(Node { frame, info, inner, depth });
        let kind = match self.arch {
            _ if info.top_frame => StepKind::Top,
            Arch::Arm64 => StepKind::Special,
            // A return address lies in the frame, so that a frame is never its own caller.
            _ if !info.writes_sp && depth < MAX_FRAMES => StepKind::Plain,
            _ => StepKind::Special,
        };
        self.steps.push(Step { fp_offset, last_pc: 0, last: id, kind });
        Ok(id)
    }

    fn start_node(&mut self, pc: u64, kind: StartKind) -> Result<StackNode, End> {
        if let Some(&known) = self.innermost.get(&(pc, kind)) {
            return Ok(known);
        }
        let id = self.add(None, pc, kind == StartKind::Interrupted, 0)?;
        self.innermost.insert((pc, kind), id);
        Ok(id)
    }

    fn caller(&mut self, callee: StackNode, pc: u64, sp_offset: u64) -> Result<StackNode, End> {
        let exact = self.node(callee).is_some_and(|node| node.info.injected);
        let id = match self.callers.get(&(callee, pc)) {
            Some(&known) => known,
            None => {
                let id = self.add(Some(callee), pc, exact, sp_offset)?;
                self.callers.insert((callee, pc), id);
                id
            }
        };
        if let Some(step) = usize::try_from(callee.0).ok().and_then(|index| self.steps.get_mut(index)) {
            (step.last_pc, step.last) = (pc, id);
        }
        Ok(id)
    }

    /// Follows the callers from `start` on, with `word` giving the words of the stack.
    pub(crate) fn unwind(&mut self, start: Start, mut word: impl FnMut(u64) -> Option<u64>) -> Unwound {
        let link_register = self.arch == Arch::Arm64;
        let Start { pc: Addr(mut pc), sp: Addr(mut base), lr: Addr(mut lr), kind } = start;
        let ended = |end, stack, sp| Unwound { end, stack, sp };
        if pc == 0 {
            // A call of a nil function: the trace starts at its caller.
            let Some(caller) = word(base) else { return ended(End::BadStack(base), None, base) };
            (pc, lr) = (caller, 0);
            if !link_register {
                base = base.wrapping_add(8);
            }
        }
        let mut stack = match self.start_node(pc, kind) {
            Ok(id) => id,
            Err(end) => return ended(end, None, base),
        };
        loop {
            let Some(step) = self.step(stack) else { return ended(End::TooDeep, None, base) };
            match step.kind {
                StepKind::Top => return ended(End::TopFrame, Some(stack), base),
                StepKind::Plain => {
                    let slot = base.wrapping_add(step.fp_offset).wrapping_sub(8);
                    match word(slot) {
                        Some(0) => return ended(End::NoCaller, Some(stack), base),
                        Some(caller) if caller == step.last_pc => stack = step.last,
                        Some(caller) => match self.caller(stack, caller, step.fp_offset) {
                            Ok(id) => stack = id,
                            Err(end) => return ended(end, Some(stack), base),
                        },
                        None => return ended(End::BadStack(slot), Some(stack), base),
                    }
                    lr = 0;
                    continue;
                }
                StepKind::Special => {}
            }
            let Some(&Node { frame, info, inner, depth }) = self.node(stack) else {
                return ended(End::TooDeep, None, base);
            };
            let innermost = inner.is_none();
            let (sp, fp) = (base.wrapping_add(frame.sp_offset), base.wrapping_add(frame.fp_offset));
            if info.writes_sp && !(innermost && kind == StartKind::Syscall) {
                return ended(End::WritesSp, Some(stack), base);
            }
            let slot = match link_register {
                false => Some(fp.wrapping_sub(8)),
                true => ((innermost && sp < fp) || lr == 0).then_some(sp),
            };
            if let Some(slot) = slot {
                let Some(value) = word(slot) else { return ended(End::BadStack(slot), Some(stack), base) };
                lr = value;
            }
            if lr == 0 {
                return ended(End::NoCaller, Some(stack), base);
            }
            if lr == frame.pc && sp == fp {
                return ended(End::Stuck, Some(stack), base);
            }
            if depth >= MAX_FRAMES {
                return ended(End::TooDeep, Some(stack), base);
            }
            let mut next_sp = frame.fp_offset;
            let mut saved = None;
            if link_register && info.injected {
                // The signal handler pushed the link register before it faked the call.
                let Some(pushed) = word(fp) else { return ended(End::BadStack(fp), Some(stack), base) };
                next_sp = next_sp.wrapping_add(16);
                saved = Some(pushed);
            }
            let next = if lr == step.last_pc { Ok(step.last) } else { self.caller(stack, lr, next_sp) };
            stack = match next {
                Ok(id) => id,
                Err(end) => return ended(end, Some(stack), base),
            };
            // A function interrupted before it made its frame still has its caller in the register.
            let frameless = self.node(stack).is_some_and(|node| node.info.frame_size == Some(0));
            lr = saved.filter(|_| frameless).unwrap_or(0);
        }
    }
}
