//! The stacks that a session keeps from one capture to the next, so that a repeated capture costs what has changed.
//!
//! A stack is kept only if it was accepted when it was read, and if the rule ([`rule`]) says of each header since that
//! the goroutine has not gone on. Only its frames and a word of it are kept here: everything that the header shows is
//! read again each time. What is not certain is read: a new goroutine, one that does not wait, one whose reading failed.

mod memory;
mod rule;

pub(super) use memory::{Keep, Kept, Noted, Renewed};
