//! Readings to compare and to judge: a process as it is now, or a file.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::source::{Depth, Place, Sources, Wanted};
use super::{Exit, Failure};
use crate::analysis::Census;
use crate::model::SymbolPool;
use crate::report::json::read::{self, ReadBackError};

const STANDARD_INPUT: &str = "standard input";

/// Where a reading comes from.
#[derive(Clone, Debug)]
pub(super) enum Given {
    /// A file that holds one: a capture, a core file, or JSON; `-` for standard input. Of a core file
    /// `bin` and `sysroot` say where the program's files are.
    File { path: PathBuf, bin: Option<PathBuf>, sysroot: Option<PathBuf> },
    /// A process now.
    Process(Wanted, Depth),
}

impl Given {
    /// What it is called.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File { path, .. } if path.as_os_str() == "-" => STANDARD_INPUT.to_owned(),
            Self::File { path, .. } => path.display().to_string(),
            Self::Process(wanted, _) => name_of(wanted),
        }
    }

    /// Reads it; names go into `pool`.
    pub(super) fn census(&self, sources: &dyn Sources, pool: &mut SymbolPool) -> Result<Census, Failure> {
        match self {
            Self::File { path, .. } if path.as_os_str() == "-" => {
                read::read(io::stdin().lock(), STANDARD_INPUT, pool).map_err(|error| not_read(STANDARD_INPUT, &error))
            }
            Self::File { path, bin, sysroot } => {
                let name = path.display().to_string();
                let unreadable =
                    |error: io::Error| Failure::new(Exit::Error, format!("{name} cannot be read: {error}"));
                let file = File::open(path).map_err(unreadable)?;
                if file.metadata().map_err(unreadable)?.is_dir() {
                    return Err(Failure::new(Exit::Error, format!("{name} is a directory: name a file")));
                }
                if holds_memory(&file) {
                    let (bin, sysroot) = (bin.clone(), sysroot.clone());
                    let wanted = Wanted { place: Place::File(path.clone()), bin, sysroot };
                    let snapshot = sources.open(&wanted)?.capture(&Depth {
                        stacks: true,
                        dead: false,
                        freeze: None,
                        c_frames: false,
                    })?;
                    return Ok(Census::of_snapshot(&snapshot, name, pool));
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

/// Whether a file is a capture or a core file rather than a snapshot in JSON.
fn holds_memory(file: &File) -> bool {
    let mut head = [0; 8];
    // A pipe cannot be looked into before it is read, and these files are no pipes.
    std::os::unix::fs::FileExt::read_exact_at(file, &mut head, 0).is_ok()
        && (head == crate::target::capture_file::MAGIC || head.starts_with(b"\x7fELF"))
}

/// What a process is called.
pub(super) fn name_of(wanted: &Wanted) -> String {
    wanted.pid().map_or_else(|| wanted.name(), |pid| format!("pid {pid}"))
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
