//! Why a target could not be opened or captured.

use crate::addr::Addr;
use crate::process::{Broken, ReadError, TargetError};
use crate::runtime::RuntimeError;
use crate::runtime::program::ProgramError;

/// Why a target could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no Go program in it that could be read.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Its runtime could not be made sense of.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Why a capture could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The target could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The target could not be looked into or stopped.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It did not stand still for as long as it was read, twice.
    #[error(
        "process {pid} did not stand still: {broken}\nnothing of what was read is shown; try again, or stop \
         running threads only, one at a time (--freeze=running)"
    )]
    NotFrozen {
        /// Its pid.
        pid: i32,
        /// What happened.
        broken: Broken,
    },
    /// The list of goroutines is not where it should be.
    #[error("the list of goroutines (runtime.allgs at {at}) cannot be read: {what}")]
    NoGoroutines {
        /// Where it was looked for.
        at: Addr,
        /// What is there instead.
        what: String,
    },
}
