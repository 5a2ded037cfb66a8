//! What can be found out without a snapshot to show: which Go programs run, by which names they go, and
//! how reading one of them would go.
//!
//! Inspections are data. Nothing here prints, prompts, or knows an exit status; what is found wrong
//! of one process is a gap in its entry, never the end of a list.

pub mod doctor;
pub mod names;
pub mod processes;

use crate::capture::{CaptureError, OpenError, ProgramError};
use crate::image::build_info::BuildInfo;
use crate::image::elf::Elf;
use crate::process::{ReadError, TargetError};
use crate::runtime::RuntimeError;

/// Why a program could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Its process or file could not be opened.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It could not be found, or is none that can be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

impl Problem {
    /// Whether it is the rights that are missing.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let target = |error: &TargetError| {
            matches!(error, TargetError::Permission { .. } | TargetError::Read(ReadError::Denied { .. }))
        };
        match self {
            Self::Target(error)
            | Self::Open(OpenError::Program(ProgramError::Target(error)))
            | Self::Capture(CaptureError::Target(error)) => target(error),
            Self::Open(
                OpenError::Program(ProgramError::Read(error)) | OpenError::Runtime(RuntimeError::Read(error)),
            )
            | Self::Capture(CaptureError::Read(error)) => matches!(error, ReadError::Denied { .. }),
            _ => false,
        }
    }
}

fn has_dwarf(elf: &Elf) -> bool {
    elf.section(".debug_info").is_some() || elf.section(".zdebug_info").is_some()
}

/// The path of the main module, or else of the main package, and its version.
fn module_of(info: &BuildInfo) -> Option<(String, String)> {
    let path = info.main_path.clone().or_else(|| info.package_path.clone())?;
    Some((path, info.main_version.clone().unwrap_or_default()))
}
