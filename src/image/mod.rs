//! What the binary says: sections, build information, symbols, types and the code's own references.
//!
//! Bytes in, facts out. This layer does no I/O of its own and never sees a process: it is given
//! the bytes of a file, reads of them only what a question needs, and answers in link addresses.
//! It knows the file formats (ELF, DWARF, Go's own) and not what the runtime does with the things
//! it finds in them.

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
