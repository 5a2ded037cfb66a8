//! `runtime._func`, one function's record.

use crate::addr::LinkAddr;

/// `funcFlag` of `_func` (internal/abi/symtab.go; same bits in 1.19 to 1.27).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FuncFlags(pub u8);

impl FuncFlags {
    /// The outermost function of a stack: unwinding ends here.
    #[must_use]
    pub fn is_top_frame(self) -> bool {
        self.0 & 1 != 0
    }

    /// It writes SP other than by push, pop and fixed frames: its caller cannot be found.
    #[must_use]
    pub fn writes_sp(self) -> bool {
        self.0 & 2 != 0
    }

    /// Written in assembly.
    #[must_use]
    pub fn is_asm(self) -> bool {
        self.0 & 4 != 0
    }
}

/// `runtime._func`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// First instruction.
    pub entry: LinkAddr,
    /// One past its last address: the next function's entry.
    pub end: LinkAddr,
    /// Number in the table.
    pub index: u32,
    /// `funcID`; its numbers differ between Go versions.
    pub func_id: u8,
    /// Flags.
    pub flags: FuncFlags,
    /// Line of the `func` keyword; 0 before Go 1.20.
    pub start_line: u32,
    /// Bytes of its arguments and results on the stack (`args`); `i32::MIN` where they differ from call to call.
    pub args: i32,
    /// Offset from the entry of the call of `deferreturn`, bytes (`deferreturn`); 0 for none.
    pub deferreturn: u32,
    pub(super) name: u32,
    pub(super) pcsp: u32,
    pub(super) pcfile: u32,
    pub(super) pcln: u32,
    pub(super) npcdata: u32,
    pub(super) nfuncdata: u8,
    pub(super) cu: u32,
    /// File offset of the record.
    pub(super) record: u64,
}
