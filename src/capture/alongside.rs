//! What else is read of a target while a capture is taken of it, in the same stop of the program.

use std::time::Duration;

use super::errors::CaptureError;
use crate::model::FreezeInfo;
use crate::process::Frozen;
use crate::runtime::GoProcess;

/// Reads something else. It may be asked more than once, when a stop did not hold: the last time counts.
pub(crate) trait Alongside {
    /// How long that takes, about.
    fn takes(&self) -> Duration;

    /// Reads it; `frozen` is the stop, if the program was stopped.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&mut self, process: GoProcess<'_>, frozen: Option<&dyn Frozen>) -> Result<(), CaptureError>;

    /// Afterwards, when the program runs again: reads what takes no stop, and stores what was found out.
    ///
    /// # Errors
    /// When it cannot be read.
    fn finish(&mut self, process: GoProcess<'_>, freeze: Option<&FreezeInfo>) -> Result<(), CaptureError>;
}
