//! Commands that answer requests: what the command line prints about a program, for a program that is served.
//!
//! The server does not know the command line; who starts it says how a command is run.

use std::io::Write;
use std::sync::Arc;

use super::targets::Program;

/// A command to run.
pub struct CommandRun<'a> {
    /// The programs that it may know of.
    pub programs: &'a [Arc<Program>],
    /// What would be typed after `gospy`.
    pub arguments: &'a [String],
    /// Where its answer goes.
    pub out: &'a mut dyn Write,
    /// Where it says what went wrong.
    pub err: &'a mut dyn Write,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Done,
    /// It does not understand what is asked of it.
    Usage,
    /// The program has ended.
    Gone,
    /// What was asked for is not there, or cannot be read.
    Failed,
}

/// Runs a command.
pub type RunCommand = fn(CommandRun<'_>) -> Outcome;
