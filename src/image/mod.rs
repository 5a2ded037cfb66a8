//! Reading the binary: sections, build information, symbols, types and references in code.
//!
//! This layer does no I/O of its own and never sees a process: it gets the bytes of a file, reads only what a
//! query needs, and returns link addresses. It knows the file formats (ELF, DWARF, Go's own), but not how the
//! runtime uses their contents.

pub(crate) mod build_info;
pub(crate) mod code_refs;
pub(crate) mod dwarf;
pub(crate) mod eh_frame;
pub(crate) mod elf;
pub(crate) mod moduledata;
pub(crate) mod pclntab;
pub mod symtab;
#[cfg(test)]
pub(crate) mod test_elf;
