//! What tests need of gospy's internals: no part of its API, and only there with the feature `testing`.

pub mod decoders;

pub use crate::bytes::ByteSource;
pub use crate::image::build_info::BuildInfo;
pub use crate::image::code_refs::{data_refs, linked_store};
pub use crate::image::dwarf::Dwarf;
pub use crate::image::elf::Elf;
pub use crate::image::pclntab::{FuncData, Header, PcData, Pclntab};
pub use crate::image::symtab::{self, Symbols};
pub use crate::process::coalesce::{ChunkReader, Limits};
pub use crate::process::file_bytes::FileBytes;
pub use crate::process::syscall_names::{Parameter, signature};
pub use crate::runtime::layout::{Layout, LayoutSource, LayoutTable};
pub use crate::runtime::program::Program;
pub use crate::runtime::symbols::{Global, SymbolSource};
pub use crate::runtime::version::GoVersionSource;
pub use crate::runtime::{GoProcess, GoRuntime, LocateOptions, RuntimeError};

/// What a session has found in its target.
pub trait Internals {
    /// The target with its program and its runtime.
    fn process(&self) -> GoProcess<'_>;

    /// The runtime.
    fn runtime(&self) -> &GoRuntime;
}

impl Internals for crate::capture::Session {
    fn process(&self) -> GoProcess<'_> {
        self.process()
    }

    fn runtime(&self) -> &GoRuntime {
        self.runtime()
    }
}
