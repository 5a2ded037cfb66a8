//! Reading the binary: sections, build information, symbols, types and references in code.
//!
//! This layer does no I/O of its own and never sees a process: it gets the bytes of a file, reads only what a
//! query needs, and returns link addresses. It knows the file formats (ELF, DWARF, Go's own), but not how the
//! runtime uses their contents.

pub mod build_info;
pub mod code_refs;
pub mod dwarf;
pub mod eh_frame;
pub mod elf;
pub mod moduledata;
pub mod pclntab;
pub mod symtab;
#[cfg(test)]
pub(crate) mod test_elf;
