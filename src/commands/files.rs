//! Files that commands write.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Exit, Failure};

/// Writes a file in place: for what may be a device or a pipe.
pub(super) fn write_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = BufWriter::new(File::create(path).map_err(|error| not_written(path, &error))?);
    write(&mut out).and_then(|()| out.flush()).map_err(|error| not_written(path, &error))
}

/// Writes a file under another name beside it and renames it when it is whole, so that nobody ever
/// finds half of one.
pub(super) fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_file(&temporary, write);
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path).map_err(|error| not_written(path, &error)));
    if renamed.is_err() {
        // Whatever is left of it is of no use; that it cannot be removed either changes nothing.
        let _ = std::fs::remove_file(&temporary);
    }
    renamed
}

/// Makes a directory and those above it.
pub(super) fn make_directory(path: &Path) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(path)
        .map_err(|error| Failure::new(Exit::Error, format!("{} cannot be made: {error}", path.display())))?;
    Ok(path.to_owned())
}

fn not_written(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Error, format!("{} could not be written: {error}", path.display()))
}
