//! From physical frames to the frames that a person reads: inlined calls expanded, names, files
//! and lines interned, and those marked that the runtime's own traceback leaves out.
//!
//! The rules for leaving out are the runtime's (`showframe` in runtime/traceback.go and its
//! versions from 1.19 to 1.27), so that what is shown is what the program itself would print.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::unwind::PhysicalFrame;
use crate::addr::{Addr, LinkAddr, LoadBias};
use crate::go_names::is_shown;
use crate::image::pclntab::{Function, Pclntab, SourceFrame};
use crate::model::{AncestorFrame, Frame, FrameId, Language, Stack, StackFrame, StackId, SymbolPool};
use crate::runtime::rules::Rules;

/// One logical frame with what the rules need.
#[derive(Clone, Debug)]
struct Logical {
    id: FrameId,
    role: Role,
}

/// What a function means to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Role {
    wrapper: bool,
    gopanic: bool,
    /// `gopanic`, `sigpanic` or `panicwrap`: a wrapper that calls one of them is shown.
    panics: bool,
    visible: bool,
}

/// Turns program counters into frames, each one once.
#[derive(Debug)]
pub(crate) struct Symbolizer {
    pclntab: Arc<Pclntab>,
    bias: LoadBias,
    rules: Rules,
    /// Logical frames by program counter and exactness.
    at: FxHashMap<(u64, bool), Vec<Logical>>,
}

impl Symbolizer {
    /// A symbolizer for a program whose runtime has these `rules`.
    #[must_use]
    pub(crate) fn new(pclntab: Arc<Pclntab>, bias: LoadBias, rules: Rules) -> Self {
        Self { pclntab, bias, rules, at: FxHashMap::default() }
    }

    /// The stack made of `frames`, innermost first.
    pub(crate) fn stack(&mut self, pool: &mut SymbolPool, frames: &[PhysicalFrame]) -> StackId {
        let frames = self.stack_frames(pool, frames);
        pool.intern_stack(Stack { frames })
    }

    /// The frames of that stack.
    pub(crate) fn stack_frames(&mut self, pool: &mut SymbolPool, frames: &[PhysicalFrame]) -> Vec<StackFrame> {
        let mut out = Vec::with_capacity(frames.len());
        let mut callee = None;
        let mut any_shown = false;
        for frame in frames {
            for logical in self.logical(pool, frame.pc, frame.exact) {
                let hidden = !shown(logical.role, callee, !any_shown);
                any_shown |= !hidden;
                callee = Some(logical.role);
                out.push(StackFrame {
                    frame: logical.id,
                    sp_offset: frame.sp_offset,
                    fp_offset: frame.fp_offset,
                    hidden,
                });
            }
        }
        out
    }

    fn logical(&mut self, pool: &mut SymbolPool, pc: u64, exact: bool) -> &[Logical] {
        let (pclntab, bias, rules) = (&self.pclntab, self.bias, self.rules);
        self.at.entry((pc, exact)).or_insert_with(|| {
            let Some((function, lookup)) = call_site(pclntab, bias, pc, exact) else { return Vec::new() };
            let entry = bias.load(function.entry);
            pclntab
                .source_frames(&function, lookup)
                .into_iter()
                .map(|source| {
                    let role = role(rules.minor(), &source.function, source.func_id == rules.wrapper_id());
                    Logical { id: intern(pool, &source, Addr(pc), entry), role }
                })
                .collect()
        })
    }

    /// The innermost logical frame at a return address.
    pub(crate) fn call_site(&mut self, pool: &mut SymbolPool, pc: u64) -> Option<FrameId> {
        self.logical(pool, pc, false).first().map(|logical| logical.id)
    }

    /// A frame of an ancestor as a traceback prints it: by the name of the innermost call inlined at `pc`, and
    /// with the place of `pc` itself and not of the call before it; whether it is left out goes by the physical
    /// function (`printAncestorTraceback`, runtime/traceback.go). `first` is the innermost.
    pub(crate) fn ancestor_frame(&mut self, pool: &mut SymbolPool, pc: u64, first: bool) -> Option<AncestorFrame> {
        let (function, at) = call_site(&self.pclntab, self.bias, pc, true)?;
        let innermost = self.pclntab.source_frames(&function, at).into_iter().next()?;
        let frame =
            intern(pool, &SourceFrame { inlined: false, ..innermost }, Addr(pc), self.bias.load(function.entry));
        let is_wrapper = function.func_id == self.rules.wrapper_id() && self.rules.hides_wrappers_of_ancestors();
        let name = self.pclntab.name(&function).unwrap_or_default();
        let hidden = !shown(role(self.rules.minor(), &name, is_wrapper), None, first);
        Some(AncestorFrame { frame, hidden })
    }

    /// The function whose entry is `pc`: its name, file and the line of its code there.
    pub(crate) fn start(&mut self, pool: &mut SymbolPool, pc: Addr) -> Option<FrameId> {
        self.pclntab.is_entry(self.bias.unload(pc)).then(|| self.physical(pool, pc, true)).flatten()
    }

    /// The `go` statement that `pc` follows, by the name of the physical function, as the runtime's `created
    /// by` has it.
    pub(crate) fn creator(&mut self, pool: &mut SymbolPool, pc: Addr) -> Option<FrameId> {
        self.physical(pool, pc, false)
    }

    fn physical(&mut self, pool: &mut SymbolPool, pc: Addr, exact: bool) -> Option<FrameId> {
        let link = self.bias.unload(pc);
        let function = self.pclntab.function_at(link)?;
        let back = if exact || link == function.entry { 0 } else { self.pclntab.header().quantum.into() };
        let (file, line) = self.pclntab.file_line(&function, LinkAddr(link.0.wrapping_sub(back)));
        let source = SourceFrame {
            function: self.pclntab.name(&function)?.into(),
            func_id: function.func_id,
            file: file.into(),
            line,
            start_line: function.start_line,
            inlined: false,
            pc: link,
        };
        Some(intern(pool, &source, pc, self.bias.load(function.entry)))
    }
}

/// The function that holds `pc`, and where in it its frame is looked up. A call may be the last instruction of its
/// function or of an inlined one, so a return address belongs to the instruction before it; one that is `exact` is
/// no return address.
pub(super) fn call_site(pclntab: &Pclntab, bias: LoadBias, pc: u64, exact: bool) -> Option<(Function, LinkAddr)> {
    let link = bias.unload(Addr(pc));
    let function = pclntab.function_at(link)?;
    let lookup = if exact || link == function.entry { link } else { LinkAddr(link.0.wrapping_sub(1)) };
    Some((function, lookup))
}

/// The id of a frame at `pc`, in the function that starts at `entry`.
pub(crate) fn intern(pool: &mut SymbolPool, source: &SourceFrame, pc: Addr, entry: Addr) -> FrameId {
    let (function, file) = (pool.intern_str(&source.function), pool.intern_str(&source.file));
    let (line, start_line, inlined) = (source.line, source.start_line, source.inlined);
    pool.intern_frame(Frame { function, file, line, start_line, pc, entry, inlined, language: Language::Go })
}

fn role(minor: u32, name: &str, wrapper: bool) -> Role {
    Role {
        wrapper,
        gopanic: name == "runtime.gopanic",
        panics: matches!(name, "runtime.gopanic" | "runtime.sigpanic" | "runtime.panicwrap"),
        visible: is_shown(name, minor),
    }
}

fn shown(role: Role, callee: Option<Role>, first: bool) -> bool {
    if role.wrapper && !callee.is_some_and(|callee| callee.panics) {
        return false;
    }
    role.visible || (role.gopanic && !first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_are_left_out_unless_they_panic() {
        let wrapper = role(26, "main.(*T).M", true);
        let plain = role(26, "main.f", false);
        let panics = role(26, "runtime.gopanic", false);
        assert!(!shown(wrapper, Some(plain), true));
        assert!(shown(wrapper, Some(panics), false));
        assert!(shown(panics, Some(plain), false));
        assert!(!shown(panics, None, true));
    }
}
