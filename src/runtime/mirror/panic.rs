//! `runtime._panic`: a panic that a goroutine is in.

use super::{FromMemory, mirror};
use crate::bytes::FieldsExt as _;

/// An interface value: what stands for its type, and its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Address of the type; 0 for nil.
    pub kind: u64,
    /// The data word: a pointer to the value, or the value itself where that is a pointer.
    pub data: u64,
}

impl FromMemory for Interface {
    fn from_memory(bytes: &[u8], at: u32) -> Option<Self> {
        Some(Self { kind: bytes.u64_at(at as usize)?, data: bytes.u64_at(at.checked_add(8)? as usize)? })
    }
}

mirror! {
    /// One `runtime._panic` (runtime2.go and panic.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Panic, PanicLayout of "runtime._panic" {
        /// `arg`: what was passed to `panic`. When the program dies of it, errors and Stringers have been
        /// replaced by their texts (`preprintpanics`).
        arg: Interface = "arg",
        /// `link`: the next older one; 0 for none.
        link: u64 = "link",
        /// `recovered`.
        recovered: bool = "recovered",
        /// `goexit`: it is no panic but a `runtime.Goexit`.
        goexit: bool = "goexit",
    }
    optional {
        /// `repanicked` (1.25 on): the next newer one has the same value.
        repanicked: bool = "repanicked",
        /// `deferreturn` (1.22 on): it is no panic but the run of an ordinary function's deferred calls.
        deferreturn: bool = "deferreturn",
    }
}

impl Panic {
    /// Whether the next newer one has the same value, as its versions note it.
    #[must_use]
    pub(crate) fn is_repanicked(&self) -> bool {
        self.repanicked == Some(true)
    }
}
