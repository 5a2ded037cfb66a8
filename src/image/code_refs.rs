//! Which data a piece of Go machine code refers to.
//!
//! A stripped program has no symbols, but its functions still have names (pclntab) and its code still holds the
//! addresses of the runtime's variables. This module extracts them from one function's code. Which function
//! refers to which variable is knowledge of the runtime layer. It decodes linearly and follows no branches.

mod amd64;
mod arm64;
#[cfg(test)]
mod tests;

use crate::addr::{Arch, LinkAddr};

/// One reference from code to a fixed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRef {
    /// Address of the instruction; of the second one if the address takes two.
    pub at: LinkAddr,
    /// The referenced address.
    pub target: LinkAddr,
    /// How many bytes are read or written there; 0 when the code only takes the address.
    pub size: u8,
    /// Whether something is written there.
    pub write: bool,
    /// The constant in the same instruction, where it has one (`cmp`, `mov` to memory), with its
    /// sign extended.
    pub immediate: Option<i64>,
}

/// The references to data in `code`, which lies at `base`, in order. Bytes that are not an instruction are
/// skipped. Targets are not checked: some are code, and for damaged code they are arbitrary.
#[must_use]
pub fn data_refs(arch: Arch, code: &[u8], base: LinkAddr) -> Vec<CodeRef> {
    match arch {
        Arch::Amd64 => amd64::data_refs(code, base),
        Arch::Arm64 => arm64::data_refs(code, base),
    }
}

/// Offset of the field that the head of a linked list is stored in: the displacement, at least `at_least`
/// bytes, of the first store through a register (other than the stack pointer) of the word that was loaded from
/// `head`.
///
/// `mcommoninit` does `mp.alllink = allm`, so there this is the offset of `m.alllink`, which differs between
/// patch releases. The bound excludes the write barrier's buffer, which gets a copy of the word first.
#[must_use]
pub fn linked_store(arch: Arch, code: &[u8], base: LinkAddr, head: LinkAddr, at_least: u32) -> Option<u32> {
    match arch {
        Arch::Amd64 => amd64::linked_store(code, base, head, at_least),
        Arch::Arm64 => arm64::linked_store(code, base, head, at_least),
    }
}
