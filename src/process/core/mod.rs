//! An ELF core file as a [`Target`](super::Target): by the kernel, by `gcore`, by QEMU, or the inside of a capture
//! that gospy made itself.
//!
//! Nothing is loaded up front but headers and notes, so a core file of 10 GB opens as fast as one of 10 MB.
//! Pages that the kernel omitted because they are in a file are read from that file, if it is the same build. A
//! truncated file is read as far as it goes, and reported
//! ([`Target::limitations`](super::Target::limitations)). Core files of other machines are refused.

mod arguments;
mod backing;
mod dumped;
mod error;
pub(super) mod facts;
mod file_parts;
mod files;
pub(super) mod headers;
mod mappings;
pub(super) mod memory;
pub(super) mod notes;
mod open;
mod options;
mod recorded;
mod target;
#[cfg(test)]
mod tests;

pub use self::error::CoreError;
pub use self::options::CoreOptions;
pub use self::target::CoreTarget;
