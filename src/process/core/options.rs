//! What a core file may need beside it.

use std::path::PathBuf;

/// Where the files are that a core file does not contain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreOptions {
    /// The program's own file, when it is not where the core file says.
    pub bin: Option<PathBuf>,
    /// A directory in which all files are found by the paths of the core file.
    pub sysroot: Option<PathBuf>,
}
