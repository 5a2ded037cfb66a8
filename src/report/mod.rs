//! Functions of snapshots and analyses to a writer.
//!
//! A report never captures, never ends the program, and never colours unless asked to. What it shows
//! of the target in text is cleaned first; see `clean`. Errors are those of the writer.

pub mod captures;
pub mod check;
pub(crate) mod clean;
#[cfg(feature = "cli")]
pub mod contention;
pub(crate) mod deadlock;
mod death;
pub mod descriptors;
pub mod diff;
#[cfg(feature = "cli")]
pub mod doctor;
pub(crate) mod findings;
pub mod folded;
pub(crate) mod frames;
#[cfg(all(test, feature = "cli"))]
mod golden;
#[cfg(feature = "cli")]
pub mod heap;
pub(crate) mod heap_part;
pub mod json;
pub(crate) mod labels;
pub mod leaks;
pub(crate) mod matching;
pub(crate) mod members;
#[cfg(feature = "serve")]
pub(crate) mod metrics;
pub mod page;
pub(crate) mod place;
#[cfg(feature = "cli")]
pub mod processes;
pub mod profile;
#[cfg(feature = "cli")]
pub mod recording;
pub(crate) mod resources;
pub(crate) mod stack_groups;
#[cfg(test)]
mod stack_tests;
pub mod text;
pub mod traceback;
pub(crate) mod units;
pub mod variables;
pub mod waits;
