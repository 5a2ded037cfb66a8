//! What goroutines wait on, and why a program does not go on: for people, and as JSON.

pub mod json;
pub mod table;
pub mod why;
pub(crate) mod words;
