//! The live view: a state, the events that change it, and a pure drawing function.
//!
//! It stands beside the commands: [`state`] decides, [`draw`] shows, [`crate::sampling`] reads on a
//! thread of its own, `terminal` keeps the terminal, [`stream`] does without one. Neither state nor
//! drawing knows where snapshots come from, what time it is, or that there is a terminal, so both are tested as functions.

pub(crate) mod atoms;
pub mod draw;
pub mod event;
pub(crate) mod grouping;
pub(crate) mod keys;
pub(crate) mod layout;
pub mod leaks;
pub mod order;
pub(crate) mod piece;
pub mod play;
pub(crate) mod prompt;
pub(crate) mod run;
pub mod state;
pub mod stream;
pub mod tab;
pub(crate) mod terminal;
pub mod view;
pub mod waited;
pub(crate) mod words;
