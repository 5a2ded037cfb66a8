//! Under construction.
pub mod elf;
pub mod moduledata;
pub mod pclntab;
