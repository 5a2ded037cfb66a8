//! The calls that were inlined at a program counter: from the physical function to logical frames.

use std::sync::Arc;

use super::Pclntab;
use super::function::Function;
use super::header::Format;
use super::tables::{FuncData, PcData};
use crate::addr::LinkAddr;
use crate::bytes::FieldsExt;

/// Maximum nesting of inlined calls accepted.
const MAX_INLINE_DEPTH: usize = 1024;

/// A logical frame: a function and its position in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFrame {
    /// Function name as the table has it.
    pub function: Arc<str>,
    /// `funcID` of the (possibly inlined) function.
    pub func_id: u8,
    /// File; `"?"` where the table has none, as the runtime prints.
    pub file: Arc<str>,
    /// Line; 0 where the table has none.
    pub line: u32,
    /// Line of the function's `func` keyword; 0 before Go 1.20.
    pub start_line: u32,
    /// Whether this function was inlined into the next one.
    pub inlined: bool,
    /// Where in the physical function its code is: of what calls an inlined one, the instruction that stands for
    /// the call.
    pub pc: LinkAddr,
}

impl Pclntab {
    /// The logical frames of the code at `pc`, innermost first: the inlined calls, then `function`
    /// itself. For a return address, `pc` is the address minus one.
    #[must_use]
    pub fn source_frames(&self, function: &Function, pc: LinkAddr) -> Vec<SourceFrame> {
        let mut frames = Vec::new();
        let mut pc = pc;
        if let Ok(Some(tree)) = self.funcdata(function, FuncData::InlineTree) {
            while frames.len() < MAX_INLINE_DEPTH
                && let Some(call) = self.inlined_call(function, tree, pc)
            {
                let (file, line) = self.file_line(function, pc);
                frames.push(SourceFrame {
                    function: call.name.into(),
                    func_id: call.func_id,
                    file: file.into(),
                    line,
                    start_line: call.start_line,
                    inlined: true,
                    pc,
                });
                pc = call.parent_pc;
            }
        }
        let (file, line) = self.file_line(function, pc);
        frames.push(SourceFrame {
            function: self.name(function).unwrap_or_else(|| "?".to_owned()).into(),
            func_id: function.func_id,
            file: file.into(),
            line,
            start_line: function.start_line,
            inlined: false,
            pc,
        });
        frames
    }

    /// Where in `function` itself the code at `pc` is: at `pc`, or where the outermost of the calls inlined there
    /// is (`parentPc` in runtime/symtab.go).
    #[must_use]
    pub fn outermost_call(&self, function: &Function, pc: LinkAddr) -> LinkAddr {
        let Ok(Some(tree)) = self.funcdata(function, FuncData::InlineTree) else { return pc };
        let callers = std::iter::successors(Some(pc), |&pc| Some(self.inlined_call(function, tree, pc)?.parent_pc));
        callers.take(MAX_INLINE_DEPTH).last().unwrap_or(pc)
    }

    fn inlined_call(&self, function: &Function, tree: LinkAddr, pc: LinkAddr) -> Option<InlinedCall> {
        let index = u64::try_from(self.pcdata(function, PcData::InlineTreeIndex, pc).ok()?).ok()?;
        let size = self.header.format.inlined_call_size();
        let at = self.elf.offset_of(LinkAddr(tree.0.checked_add(index.checked_mul(size)?)?))?;
        let mut bytes = [0_u8; 20];
        self.elf.bytes().read_exact(at, bytes.get_mut(..usize::try_from(size).ok()?)?)?;
        let (func_id, name, parent_pc, start_line) = match self.header.format {
            Format::Go116 | Format::Go118 => (bytes.u8_at(2)?, bytes.u32_at(12)?, bytes.u32_at(16)?, 0),
            Format::Go120 => (bytes.u8_at(0)?, bytes.u32_at(4)?, bytes.u32_at(8)?, bytes.u32_at(12)?),
        };
        let parent_pc = LinkAddr(function.entry.0.checked_add(parent_pc.into())?);
        // A parent outside the function is corrupt.
        (parent_pc < function.end).then_some(())?;
        Some(InlinedCall { func_id, name: self.name_at(name)?, parent_pc, start_line })
    }
}

struct InlinedCall {
    func_id: u8,
    name: String,
    parent_pc: LinkAddr,
    start_line: u32,
}
