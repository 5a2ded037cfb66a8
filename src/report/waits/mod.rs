//! What goroutines wait on, and why a program does not go on: for people, and as JSON.

pub(crate) mod brief;
pub mod graph;
pub mod json;
#[cfg(feature = "cli")]
pub mod table;
#[cfg(test)]
#[cfg(feature = "cli")]
mod tests;
pub mod why;
pub(crate) mod words;
