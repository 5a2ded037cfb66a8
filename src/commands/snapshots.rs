//! Snapshots to compare and to judge: a process as it is now, or a file.

use std::path::PathBuf;

use super::Failure;
use super::input::{Contents, InputError, InputFile};
use super::live::opened;
use super::redacted;
use super::source::{Location, SourceFailure, Sources, TargetSpec};
use crate::analysis::Census;
use crate::capture::{CaptureOptions, FreezeMode};
use crate::model::SymbolPool;
use crate::report::json::read;

const STANDARD_INPUT: &str = "standard input";

/// Where a snapshot comes from.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// A file that holds one: a capture, a core file, a recording (`FILE@TIME`), or JSON; `-` for standard input. Of a core file
    /// `bin` and `sysroot` say where the program's files are.
    File { path: PathBuf, bin: Option<PathBuf>, sysroot: Option<PathBuf> },
    /// A process now.
    Process(TargetSpec, CaptureOptions),
}

impl Input {
    /// What it is called.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File { path, .. } if path.as_os_str() == "-" => STANDARD_INPUT.to_owned(),
            Self::File { path, .. } => path.display().to_string(),
            Self::Process(wanted, _) => name_of(wanted),
        }
    }

    /// What to read the heap of, and whether to stop it for that; `None` for a stream, which is read only once.
    pub(super) fn heap(&self) -> Option<(TargetSpec, bool)> {
        match self {
            Self::File { path, .. } if path.as_os_str() == "-" => None,
            Self::File { path, bin, sysroot } => {
                let (bin, sysroot) = (bin.clone(), sysroot.clone());
                Some((TargetSpec { bin, sysroot, ..TargetSpec::file(path.clone()) }, false))
            }
            Self::Process(wanted, options) => Some((wanted.clone(), options.freeze == Some(FreezeMode::All))),
        }
    }

    /// Reads it; names go into `pool`.
    pub(super) fn census(&self, sources: &dyn Sources, pool: &mut SymbolPool) -> Result<Census, Failure> {
        match self {
            Self::File { path, bin, sysroot } => {
                let (bin, sysroot) = (bin.clone(), sysroot.clone());
                let wanted = TargetSpec { bin, sysroot, ..TargetSpec::file(path.clone()) };
                let Location::File(file) = &wanted.location else { return Err(InputError::NoName.into()) };
                let input = InputFile::open(file)?;
                let name = match &wanted.at {
                    Some(at) => format!("{}@{at}", input.name),
                    None => input.name.clone(),
                };
                let is_whole = matches!(input.contents, Contents::Memory | Contents::Recording) || sources.redacts();
                if !is_whole && wanted.at.is_none() {
                    let census = read::read(input.into_reader(), name.as_str(), pool);
                    return Ok(census.map_err(|error| InputError::Json { name, error })?);
                }
                let mut source = match input.is_stream() {
                    true => {
                        let opened = opened(input, &wanted);
                        let source = opened.map_err(|cause| SourceFailure::at(&wanted.location, cause))?;
                        match sources.redactor() {
                            Some(redactor) => redacted::source(source, redactor),
                            None => source,
                        }
                    }
                    false => sources.open(&wanted)?,
                };
                let options = CaptureOptions { stacks: true, ..CaptureOptions::default() };
                Ok(Census::of_snapshot(&source.capture(&options)?, name, pool))
            }
            Self::Process(wanted, options) => {
                let snapshot = sources.open(wanted)?.capture(options)?;
                Ok(Census::of_snapshot(&snapshot, name_of(wanted), pool))
            }
        }
    }
}

/// What a process is called.
pub(super) fn name_of(wanted: &TargetSpec) -> String {
    wanted.pid().map_or_else(|| wanted.name(), |pid| format!("pid {pid}"))
}
