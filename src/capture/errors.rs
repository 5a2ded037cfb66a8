//! Why a target could not be opened or captured, or a source of snapshots gives none.
//!
//! The layers below have their own errors, with the details. Callers that only decide what to do next (what
//! to print, whether to retry, how to exit) need no more than the kind.

use super::record::RecordError;
use crate::addr::Addr;
use crate::process::core::CoreError;
use crate::process::{Broken, ErrorKind, ReadError, TargetError};
use crate::runtime::RuntimeError;
use crate::runtime::program::ProgramError;

/// Why a target could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no Go program in it that could be read.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Its runtime could not be read.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Why a capture could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The target could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The target could not be read or stopped.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It did not stay stopped while it was read, twice.
    #[error(
        "process {pid} did not stay stopped: {broken}\nnothing is shown; try again, or stop \
         running threads only, one at a time (--freeze=running)"
    )]
    NotFrozen {
        /// Its pid.
        pid: i32,
        /// What happened.
        broken: Broken,
    },
    /// What was to be read beside it could not be.
    #[error("{message}")]
    Alongside {
        /// Why.
        message: String,
        /// Of what kind that is.
        kind: ErrorKind,
    },
    /// The list of goroutines is not where it should be.
    #[error("the list of goroutines (runtime.allgs at {at}) cannot be read: {what}")]
    NoGoroutines {
        /// Where it was searched for.
        at: Addr,
        /// What is there instead.
        what: String,
    },
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The process cannot be read.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The core file or capture cannot be read.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// There is no Go program in it that can be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> Self {
        Self::Target(error.into())
    }
}

impl From<RecordError> for SourceError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Open(error) => error.into(),
            RecordError::Capture(error) => error.into(),
            RecordError::Target(error) => error.into(),
        }
    }
}

impl SourceError {
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Target(error) => error.kind(),
            Self::Core(error) => error.kind(),
            Self::Open(error) => error.kind(),
            Self::Capture(error) => error.kind(),
        }
    }
}

impl OpenError {
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Program(error) => error.kind(),
            Self::Runtime(RuntimeError::Read(error)) => error.kind(),
            Self::Runtime(_) => ErrorKind::NotGo,
        }
    }
}

impl CaptureError {
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Target(error) => error.kind(),
            Self::NotFrozen { .. } => ErrorKind::Read,
            Self::Alongside { kind, .. } => *kind,
            Self::NoGoroutines { .. } => ErrorKind::NotGo,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::options::OpenOptions;
    use super::super::session::Session;
    use super::*;
    use crate::addr::{Addr, Arch};
    use crate::process::core::{CoreOptions, CoreTarget};
    use crate::process::fake::FakeTarget;
    use crate::process::live::LiveTarget;

    /// Real failures, each on its real path.
    #[test]
    fn kinds_come_up_through_all_layers() {
        let opened = |bytes: Vec<u8>| CoreTarget::from_source(Arc::new(bytes), &CoreOptions::default()).err().unwrap();
        assert_eq!(SourceError::from(opened(b"something".to_vec())).kind(), ErrorKind::Unsupported);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/captures/tiny-1.26.6-amd64.capture");
        let mut capture = std::fs::read(path).unwrap();
        capture.truncate(5000);
        assert_eq!(SourceError::from(opened(capture.clone())).kind(), ErrorKind::Damaged);
        capture[8] = 99;
        assert_eq!(SourceError::from(opened(capture)).kind(), ErrorKind::Unsupported);
        let gone = LiveTarget::open(i32::MAX).unwrap_err();
        assert_eq!(SourceError::from(gone).kind(), ErrorKind::Gone);
        let open = |target| Session::open(Box::new(target), &OpenOptions::default()).err().unwrap();
        let not_elf = FakeTarget::new(Arch::Amd64).with_executable(Arc::new(b"#!/bin/sh\n".to_vec()));
        assert_eq!(SourceError::from(open(not_elf)).kind(), ErrorKind::NotGo);
        let nothing = FakeTarget::new(Arch::Amd64).with_segment(Addr(0x1000), [0; 8]);
        assert_eq!(SourceError::from(open(nothing)).kind(), ErrorKind::Unsupported);
        let denied = ReadError::Denied { pid: 1, reason: String::new() };
        assert_eq!(SourceError::from(CaptureError::from(denied)).kind(), ErrorKind::Denied);
        let damaged = ReadError::Damaged { attachment: "goroutines".into(), what: String::new() };
        assert_eq!(SourceError::from(OpenError::from(RuntimeError::Read(damaged))).kind(), ErrorKind::Damaged);
    }
}
