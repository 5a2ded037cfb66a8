//! The tables that the compiler attaches to a function: funcdata, one block of read-only bytes for the whole
//! function, and pcdata, a number for each of its instructions (`_func` in runtime/runtime2.go; numbers in
//! runtime/funcdata.h and internal/abi/symtab.go, unchanged from Go 1.18 to 1.27).
//!
//! What is absent and what cannot be read are different answers: a function without a table of arguments has
//! none, and one whose table is not in a capture may have any.

use super::Pclntab;
use super::function::Function;
use super::header::Format;
use crate::addr::LinkAddr;

/// Tables of a whole function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FuncData {
    /// `FUNCDATA_ArgsPointerMaps`: bitmaps of the words of its arguments and results that are pointers, to be
    /// chosen by [`PcData::StackMapIndex`].
    ArgsPointerMaps = 0,
    /// `FUNCDATA_LocalsPointerMaps`: likewise of its local variables.
    LocalsPointerMaps = 1,
    /// `FUNCDATA_StackObjects`: variables whose address is taken.
    StackObjects = 2,
    /// `FUNCDATA_InlTree`: inlined calls, to be chosen by [`PcData::InlineTreeIndex`].
    InlineTree = 3,
    /// `FUNCDATA_ArgInfo`: where its arguments are, as tracebacks print them (1.17 on).
    ArgInfo = 5,
    /// `FUNCDATA_ArgLiveInfo`: bitmaps of arguments in registers whose copy on the stack is valid, to be chosen
    /// by [`PcData::ArgLiveIndex`] (1.18 on).
    ArgLiveInfo = 6,
}

/// Tables with a value for each instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PcData {
    /// `PCDATA_UnsafePoint`: whether it can be preempted there.
    UnsafePoint = 0,
    /// `PCDATA_StackMapIndex`: number of the bitmaps of pointers.
    StackMapIndex = 1,
    /// `PCDATA_InlTreeIndex`: number of the innermost inlined call.
    InlineTreeIndex = 2,
    /// `PCDATA_ArgLiveIndex`: offset of the bitmap in [`FuncData::ArgLiveInfo`], bytes.
    ArgLiveIndex = 3,
}

/// A table that is malformed, or not among the bytes that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a table of the function is malformed or missing")]
pub struct Unreadable;

impl Pclntab {
    /// Where a table of `function` is; `None` if the function has no such table (`funcdata` in
    /// runtime/symtab.go). Its length is in its contents: read it with [`Elf::read`] or [`Elf::read_up_to`].
    ///
    /// [`Elf::read`]: crate::image::elf::Elf::read
    /// [`Elf::read_up_to`]: crate::image::elf::Elf::read_up_to
    ///
    /// # Errors
    /// When the function's record cannot be read, and from Go 1.18 on when `moduledata.gofunc`, which such
    /// tables are relative to, is unknown ([`Pclntab::with_gofunc`]).
    pub fn funcdata(&self, function: &Function, table: FuncData) -> Result<Option<LinkAddr>, Unreadable> {
        let table = table as u32;
        if table >= u32::from(function.nfuncdata) {
            return Ok(None);
        }
        let find = || {
            let after_pcdata = function
                .record
                .checked_add(self.header.format.func_size())?
                .checked_add(4 * u64::from(function.npcdata))?;
            if self.header.format == Format::Go116 {
                let aligned = after_pcdata.checked_add(function.record.wrapping_sub(after_pcdata) & 7)?;
                let addr = self.elf.bytes().u64(aligned.checked_add(8 * u64::from(table))?)?;
                return Some((addr != 0).then_some(addr));
            }
            let offset = self.elf.bytes().u32(after_pcdata.checked_add(4 * u64::from(table))?)?;
            match offset {
                u32::MAX => Some(None),
                _ => self.gofunc?.0.checked_add(offset.into()).map(Some),
            }
        };
        find().map(|addr| addr.map(LinkAddr)).ok_or(Unreadable)
    }

    /// The value of a table of `function` at `pc`; -1 if it has no such table, or no value there (`pcdatavalue`
    /// in runtime/symtab.go). For a return address, `pc` is the address minus one.
    ///
    /// # Errors
    /// When the function's record or the table cannot be read, or `pc` is past the function's end.
    pub fn pcdata(&self, function: &Function, table: PcData, pc: LinkAddr) -> Result<i32, Unreadable> {
        let table = table as u32;
        if table >= function.npcdata {
            return Ok(-1);
        }
        let record = function.record.checked_add(self.header.format.func_size());
        let at = record.and_then(|end| end.checked_add(4 * u64::from(table)));
        match at.and_then(|at| self.elf.bytes().u32(at)).ok_or(Unreadable)? {
            0 => Ok(-1),
            offset => self.pc_value(function, offset, pc).ok_or(Unreadable),
        }
    }
}
