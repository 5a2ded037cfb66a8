//! Address types that cannot be mixed up, and the architectures gospy reads.
//!
//! A position-independent Go program has two addresses for everything: its link address in the file and its
//! address in the process. Mixing them up gives wrong answers that look right, so they are different types, and
//! only a [`LoadBias`] converts between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An address in the target process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Addr(pub u64);

/// An address as in the file (link-time), before loading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkAddr(pub u64);

/// The offset from a [`LinkAddr`] to its address in the process (modulo 2⁶⁴); 0 unless the program is
/// position-independent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LoadBias(pub u64);

impl Addr {
    /// The address `n` bytes further on, or `None` past the end of the address space.
    #[must_use]
    pub fn checked_add(self, n: u64) -> Option<Self> {
        self.0.checked_add(n).map(Self)
    }

    /// Whether this is the nil pointer.
    #[must_use]
    pub fn is_nil(self) -> bool {
        self.0 == 0
    }
}

impl LoadBias {
    /// The address of `link` in the process.
    #[must_use]
    pub fn load(self, link: LinkAddr) -> Addr {
        Addr(link.0.wrapping_add(self.0))
    }

    /// The link address of `addr`.
    #[must_use]
    pub fn unload(self, addr: Addr) -> LinkAddr {
        LinkAddr(addr.0.wrapping_sub(self.0))
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for LinkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} (as linked)", self.0)
    }
}

/// Supported architectures (`GOARCH`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// AArch64, little-endian.
    Arm64,
}

impl Arch {
    /// Go's name, as in `GOARCH`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// By that name; amd64 where it is another.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        if name == Self::Arm64.name() { Self::Arm64 } else { Self::Amd64 }
    }

    /// `sys.PCQuantum`: the smallest instruction size, in bytes; pclntab's PC deltas are in this unit.
    #[must_use]
    pub fn pc_quantum(self) -> u64 {
        match self {
            Self::Amd64 => 1,
            Self::Arm64 => 4,
        }
    }
}
