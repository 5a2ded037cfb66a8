//! Options for opening a core file.

use std::path::PathBuf;

/// Where to find files that a core file does not contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreOptions {
    /// The program's own file, when it is not where the core file says.
    pub bin: Option<PathBuf>,
    /// A directory that contains all files under their paths in the core file.
    pub sysroot: Option<PathBuf>,
}
