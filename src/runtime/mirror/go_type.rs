//! The descriptor of a type: `internal/abi.Type`, or `runtime._type` up to 1.20.

use super::{Mirror as _, mirror};
use crate::addr::Addr;
use crate::runtime::layout::LayoutTable;

mirror! {
    /// What is read of an `internal/abi.Type` (internal/abi/type.go; 1.21 on), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AbiType, AbiTypeLayout of "internal/abi.Type" {
        /// `TFlag`.
        flags: u8 = "TFlag",
        /// `Kind_`: its kind, and flags from bit 5 on.
        kind: u8 = "Kind_",
        /// `Str`: how far its name is from the module's types; negative where it was made at run time.
        name: i32 = "Str",
    }
}

mirror! {
    /// The same of a `runtime._type` (runtime/type.go; to 1.20).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RuntimeType, RuntimeTypeLayout of "runtime._type" {
        /// `tflag`.
        flags: u8 = "tflag",
        /// `kind`.
        kind: u8 = "kind",
        /// `str`.
        name: i32 = "str",
    }
}

mirror! {
    /// Which words of a value are pointers: of an `internal/abi.Type` (1.21 on), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AbiPointers, AbiPointersLayout of "internal/abi.Type" {
        /// `Size_`, bytes.
        value_size: u64 = "Size_",
        /// `PtrBytes`: how far into it there are pointers, bytes.
        pointer_bytes: u64 = "PtrBytes",
        /// `TFlag`.
        flags: u8 = "TFlag",
        /// `Kind_`.
        kind: u8 = "Kind_",
        /// `GCData`: where the mask is, one bit a word.
        mask: u64 = "GCData",
    }
}

/// Where the fields of a type's descriptor are, by the name that it has in the program's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeLayout {
    /// From 1.21 on.
    Abi(AbiTypeLayout),
    /// Up to 1.20.
    Runtime(RuntimeTypeLayout),
}

impl TypeLayout {
    /// Takes the offsets out of `table`; `None` where it has neither.
    #[must_use]
    pub fn resolve(table: &LayoutTable) -> Option<Self> {
        let abi = AbiTypeLayout::resolve(table).ok().map(Self::Abi);
        abi.or_else(|| RuntimeTypeLayout::resolve(table).ok().map(Self::Runtime))
    }

    /// Size of a descriptor in bytes, without what follows it for some kinds.
    #[must_use]
    pub const fn size(&self) -> u32 {
        match self {
            Self::Abi(layout) => layout.size,
            Self::Runtime(layout) => layout.size,
        }
    }

    /// Takes a descriptor's bytes apart. `None` when there are too few.
    #[must_use]
    pub fn parse(&self, bytes: &[u8]) -> Option<AbiType> {
        match self {
            Self::Abi(layout) => AbiType::parse(Addr(0), bytes, layout),
            Self::Runtime(layout) => {
                let RuntimeType { flags, kind, name } = RuntimeType::parse(Addr(0), bytes, layout)?;
                Some(AbiType { flags, kind, name })
            }
        }
    }
}
