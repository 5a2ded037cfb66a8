//! Readings to compare and to judge: a process as it is now, or a file.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::source::{Depth, Sources, Wanted};
use super::{Exit, Failure};
use crate::analysis::Census;
use crate::model::SymbolPool;
use crate::report::json::read::{self, ReadBackError};

/// Where a reading comes from.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// A file that holds one; `-` for standard input.
    File(PathBuf),
    /// A process now.
    Process(Wanted, Depth),
}

impl Given {
    /// Reads it; names go into `pool`.
    pub(super) fn census(&self, sources: &dyn Sources, pool: &mut SymbolPool) -> Result<Census, Failure> {
        match self {
            Self::File(path) if path.as_os_str() == "-" => {
                let name = "standard input";
                read::read(io::stdin().lock(), name, pool).map_err(|error| not_read(name, &error))
            }
            Self::File(path) => {
                let name = path.display().to_string();
                let unreadable =
                    |error: io::Error| Failure::new(Exit::Error, format!("{name} cannot be read: {error}"));
                let file = File::open(path).map_err(unreadable)?;
                if file.metadata().map_err(unreadable)?.is_dir() {
                    return Err(Failure::new(Exit::Error, format!("{name} is a directory: name a file")));
                }
                read::read(file, name.as_str(), pool).map_err(|error| not_read(&name, &error))
            }
            Self::Process(wanted, depth) => {
                let snapshot = sources.open(wanted)?.capture(depth)?;
                Ok(Census::of_snapshot(&snapshot, name_of(wanted), pool))
            }
        }
    }
}

/// What a process is called.
pub(super) fn name_of(wanted: &Wanted) -> String {
    format!("pid {}", wanted.pid)
}

fn not_read(name: &str, error: &ReadBackError) -> Failure {
    let advice = match error {
        ReadBackError::Json(error) if !error.is_io() => {
            "\n`gospy stack --pid PID --json > FILE` writes a file that can be read back"
        }
        _ => "",
    };
    Failure::new(Exit::Error, format!("{name} cannot be read: {error}{advice}"))
}
