//! Files that commands write. How is in [`crate::new_file`]; here is what each may replace.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::{Exit, Failure};
use crate::new_file::{Directory, Goal, NewFileError, Replace};

/// Whether a file stands for standard input or output.
pub(super) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Where the report that `option` names is to be written: a new file, or one of the user's own, which
/// an earlier run may have left. Asked for before the work is done.
pub(super) fn report_file(option: &str, path: &Path) -> Result<Goal, Failure> {
    if is_dash(path) {
        let message = format!("{option} -: standard output is taken; name a file (./- for one of that name)");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Goal::new(path, Replace::Own)?)
}

/// Writes a file.
pub(super) fn write_file(goal: &Goal, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    goal.write(write)?;
    Ok(())
}

/// Opens the directory that `option` names to write files into, and makes it and those above it if
/// need be.
pub(super) fn make_directory(option: &str, path: &Path) -> Result<Arc<Directory>, Failure> {
    if is_dash(path) {
        return Err(Failure::new(Exit::Usage, format!("{option} -: name a directory (./- for one of that name)")));
    }
    Ok(Arc::new(Directory::make(path)?))
}

impl From<NewFileError> for Failure {
    fn from(error: NewFileError) -> Self {
        Self::new(Exit::Error, error.to_string())
    }
}
