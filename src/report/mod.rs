//! Functions of snapshots and analyses to a writer.
//!
//! A report never captures, never ends the program, and never colours unless asked to. What it shows
//! of the target in text is cleaned first; see [`clean`]. Errors are those of the writer.

pub mod captures;
pub mod check;
pub mod clean;
mod death;
pub mod diff;
#[cfg(feature = "cli")]
pub mod doctor;
pub mod findings;
pub mod folded;
pub mod json;
pub mod labels;
pub mod leaks;
pub mod matching;
pub mod members;
pub(crate) mod place;
pub mod pprof;
#[cfg(feature = "cli")]
pub mod processes;
mod protobuf;
pub(crate) mod resources;
pub mod stack_groups;
#[cfg(test)]
mod stack_tests;
pub mod text;
pub mod traceback;
pub mod units;
