//! Takes a capture that can be written to a file and read again with the same result.

use super::alongside::Alongside;
use super::errors::{CaptureError, OpenError};
use super::options::{CaptureOptions, FreezeMode, OpenOptions};
use super::session::Session;
use crate::model::Snapshot;
use crate::process::recording::{ElfImage, RecordingTarget};
use crate::process::{Target, TargetError};

/// Why a target could not be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It could not be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The recording could not be assembled.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// Reads everything that any command needs: the thorough search for the runtime and the ordinary one, and one
/// capture with stacks and dead goroutines. Reading the recording gives the same snapshot.
///
/// # Errors
/// When it cannot be opened or read, as for [`Session::open`] and [`Session::capture`].
pub fn record(target: Box<dyn Target>, freeze: Option<FreezeMode>) -> Result<(ElfImage, Snapshot), RecordError> {
    record_with(target, freeze, None)
}

/// The same, and something else in the same stop.
///
/// # Errors
/// As [`record`], and those of `also`.
pub(crate) fn record_with(
    target: Box<dyn Target>,
    freeze: Option<FreezeMode>,
    also: Option<&mut (dyn Alongside + '_)>,
) -> Result<(ElfImage, Snapshot), RecordError> {
    let recording = RecordingTarget::new(target);
    let open = |thorough| Session::open(Box::new(recording.clone()), &OpenOptions { bin: None, thorough });
    drop(open(true)?);
    let everything = CaptureOptions {
        stacks: true,
        dead: true,
        c_frames: true,
        system_calls: true,
        waits: true,
        traceback: true,
        freeze,
        ..CaptureOptions::default()
    };
    let mut session = open(false)?;
    let snapshot = match also {
        Some(also) => {
            let snapshot = session.capture_with(&everything, Some(also))?;
            also.finish(session.process(), snapshot.reading.freeze.as_ref())?;
            snapshot
        }
        None => session.capture(&everything)?,
    };
    Ok((recording.image()?, snapshot))
}
