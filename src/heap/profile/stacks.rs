//! From the return addresses of a bucket to frames, by the rules of `runtime.CallersFrames` (runtime/symtab.go;
//! 1.19 to 1.27).
//!
//! Older buckets hold an address for each inlined call, too. From 1.23 on, those of the block and mutex profiles
//! hold physical frames only. The rule covers both: what follows from an address and does not follow it in the list
//! is added.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::capture::symbolize::intern;
use crate::go_names::{is_hidden_by_profiles, is_shown};
use crate::model::{FrameId, ProfileStack, Stack, StackFrame, SymbolPool};
use crate::runtime::GoProcess;

/// Most frames of all stacks together; what goes beyond is cut off. Each address may stand for many.
const MAX_FRAMES: usize = 16 << 20;

/// A call, inlined or not.
#[derive(Clone, Copy, Debug)]
struct Call {
    frame: FrameId,
    /// Where it returns to, or the address that stands for that.
    pc: Addr,
    inlined: bool,
    /// Whether the compiler made it, to call another function.
    wrapper: bool,
    /// Whether wrappers that call it are shown.
    panics: bool,
}

/// Finds names for return addresses, each once.
pub(crate) struct Names<'a> {
    process: GoProcess<'a>,
    pub(crate) pool: SymbolPool,
    known: FxHashMap<Addr, Arc<[Call]>>,
    /// Whether heap profiles leave out an address at the top of a stack.
    hidden: FxHashMap<Addr, bool>,
    /// Frames that may still be added.
    left: usize,
}

impl<'a> Names<'a> {
    pub(crate) fn new(process: GoProcess<'a>) -> Self {
        Self {
            process,
            pool: SymbolPool::default(),
            known: FxHashMap::default(),
            hidden: FxHashMap::default(),
            left: MAX_FRAMES,
        }
    }

    /// The frames of a bucket. Addresses that are in no function are left out.
    pub(crate) fn stack(&mut self, pcs: Vec<Addr>) -> ProfileStack {
        let mut frames: Vec<FrameId> = Vec::with_capacity(pcs.len());
        let mut rest: Option<Arc<[Call]>> = None;
        let mut shown_from = None;
        for (index, pc) in pcs.iter().enumerate() {
            if shown_from.is_none() && !self.is_hidden(*pc) {
                shown_from = Some(frames.len());
            }
            let calls = self.calls(*pc);
            let Some(first) = calls.first() else { continue };
            frames.push(first.frame);
            // What it was inlined into, unless that comes next by itself. The last one is left as it is.
            let next = pcs.get(index + 1);
            let mut callee = first;
            rest = None;
            if first.inlined && next.is_none() {
                rest = Some(Arc::clone(&calls));
            }
            for caller in calls.iter().skip(1) {
                if next.is_none_or(|next| *next == caller.pc) {
                    break;
                }
                if caller.wrapper && !callee.panics {
                    continue;
                }
                frames.push(caller.frame);
                callee = caller;
            }
        }
        let recorded = frames.len();
        if let Some(calls) = rest {
            // The stack was cut off within calls that were inlined (`runtime_expandFinalInlineFrame`).
            let pairs = calls.iter().zip(calls.iter().skip(1));
            let shown = pairs.filter(|(callee, caller)| !caller.wrapper || callee.panics);
            frames.extend(shown.map(|(_, caller)| caller.frame));
        }
        frames.truncate(self.left);
        self.left -= frames.len();
        // Where nothing would be left, the runtime shows all.
        let hidden = shown_from.filter(|first| *first < frames.len()).unwrap_or(0);
        let frames = frames.into_iter().map(|frame| self.stack_frame(frame)).collect();
        ProfileStack { pcs, stack: self.pool.intern_stack(Stack { frames }), recorded, hidden }
    }

    /// Whether a heap profile leaves out what returns there, at the top of a stack: `writeHeapProto` looks for the
    /// function at the return address itself, where the next instruction may be of another package that was inlined.
    fn is_hidden(&mut self, pc: Addr) -> bool {
        if let Some(known) = self.hidden.get(&pc) {
            return *known;
        }
        let minor = self.process.rules().minor();
        let hidden = self.function_at(pc).is_some_and(|name| is_hidden_by_profiles(&name, minor));
        self.hidden.insert(pc, hidden);
        hidden
    }

    /// The return addresses that the runtime records of a stack, at most `most`: one for each call, inlined or not,
    /// without wrappers (`tracebackPCs`, runtime/traceback.go; `gentraceback` to 1.20). `physical` are return addresses
    /// of the stack's physical frames, innermost first.
    pub(crate) fn expanded(&mut self, physical: impl Iterator<Item = Addr>, most: usize) -> Vec<Addr> {
        let mut out = Vec::new();
        let mut callee_panics = false;
        for pc in physical {
            for call in self.calls(pc).iter() {
                if out.len() >= most {
                    return out;
                }
                if !call.wrapper || callee_panics {
                    out.push(call.pc);
                }
                callee_panics = call.panics;
            }
        }
        out
    }

    /// The function that an address is in, or the innermost one that was inlined there (`runtime.FuncForPC`).
    pub(crate) fn function_at(&self, pc: Addr) -> Option<String> {
        let program = self.process.program;
        let link = program.bias.unload(pc);
        let function = program.pclntab.function_at(link)?;
        let innermost = program.pclntab.source_frames(&function, link).into_iter().next()?;
        Some(innermost.function.to_string())
    }

    fn stack_frame(&self, frame: FrameId) -> StackFrame {
        let hidden = !is_shown(self.pool.function(frame), self.process.rules().minor());
        StackFrame { frame, sp_offset: 0, fp_offset: 0, hidden }
    }

    /// The calls at a return address, innermost first: those that were inlined, and the function itself.
    fn calls(&mut self, pc: Addr) -> Arc<[Call]> {
        if let Some(calls) = self.known.get(&pc) {
            return Arc::clone(calls);
        }
        let calls: Arc<[Call]> = self.find(pc).unwrap_or_default().into();
        self.known.insert(pc, Arc::clone(&calls));
        calls
    }

    fn find(&mut self, pc: Addr) -> Option<Vec<Call>> {
        let program = self.process.program;
        let link = program.bias.unload(pc);
        let function = program.pclntab.function_at(link)?;
        let entry = program.bias.load(function.entry);
        let at = if link > function.entry { crate::addr::LinkAddr(link.0 - 1) } else { link };
        let wrapper_id = self.process.rules().wrapper_id();
        let sources = program.pclntab.source_frames(&function, at);
        let calls = sources.iter().enumerate().map(|(index, source)| {
            // An address that stands for a call is that after the instruction that does.
            let pc = if index == 0 { pc } else { Addr(program.bias.load(source.pc).0.wrapping_add(1)) };
            let panics = matches!(&*source.function, "runtime.gopanic" | "runtime.sigpanic" | "runtime.panicwrap");
            Call {
                frame: intern(&mut self.pool, source, pc, entry),
                pc,
                inlined: source.inlined,
                wrapper: source.func_id == wrapper_id,
                panics,
            }
        });
        Some(calls.collect())
    }
}
