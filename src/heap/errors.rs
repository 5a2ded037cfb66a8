//! Why the heap of a target cannot be walked.

use crate::capture::CaptureError;
use crate::process::{ErrorKind, ReadError, TargetError};
use crate::runtime::layout::MissingField;
use crate::runtime::symbols::Global;

/// Why the heap cannot be walked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeapError {
    /// The target could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The target could not be read or stopped.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its goroutines could not be listed, or it did not stay stopped.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The layout of its runtime lacks what every version has.
    #[error("cannot walk the heap: {0}")]
    Layout(#[from] MissingField),
    /// A variable of the runtime was not found.
    #[error("cannot walk the heap: {} was not found in this program", .0.name())]
    NotFound(Global),
    /// Not everything could be read that decides it.
    #[error("which goroutines are leaked cannot be proven: {0}")]
    Unproven(String),
    /// It has more in spans with pointers than is allowed.
    #[error(
        "the heap has {mib} MiB of objects with pointers, and at most {max_mib} MiB are captured: --max-heap {mib}MiB allows that"
    )]
    TooLarge {
        /// MiB that there are.
        mib: u64,
        /// MiB that are allowed.
        max_mib: u64,
    },
    /// The memory of the heap is not there, as in a capture of goroutines only.
    #[error("cannot walk the heap: {0}")]
    NoHeap(String),
}

impl HeapError {
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Target(error) => error.kind(),
            Self::Capture(error) => error.kind(),
            Self::Layout(_) | Self::NotFound(_) | Self::Unproven(_) | Self::NoHeap(_) | Self::TooLarge { .. } => {
                ErrorKind::Unsupported
            }
        }
    }
}
