//! Why a core file or capture cannot be read.

use std::path::PathBuf;

use crate::process::ErrorKind;
use crate::process::capture_file::CaptureFileError;

/// Why a core file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// It could not be opened or read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// It is another kind of file.
    #[error("this is neither a capture nor a core file that can be read: {what}")]
    NotCore {
        /// What was found instead.
        what: String,
    },
    /// Its headers are malformed.
    #[error("the headers of the core file are malformed: {what}")]
    Headers {
        /// What is wrong.
        what: String,
    },
    /// It is an unreadable capture.
    #[error(transparent)]
    Capture(#[from] CaptureFileError),
    /// An attachment of a capture is damaged.
    #[error("the capture is damaged: its attachment {name:?} cannot be read: {what}")]
    Attachment {
        /// The key it is stored under.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A capture's own note is damaged.
    #[error("the capture's {note} cannot be read: {what}")]
    Note {
        /// Which one.
        note: &'static str,
        /// What is wrong with it.
        what: String,
    },
}

impl CoreError {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Capture(CaptureFileError::Io(_)) => ErrorKind::Read,
            Self::NotCore { .. } | Self::Capture(CaptureFileError::Version { .. }) => ErrorKind::Unsupported,
            Self::Headers { .. } | Self::Attachment { .. } | Self::Note { .. } | Self::Capture(_) => ErrorKind::Damaged,
        }
    }
}
