//! That no target is harmed: freezes of programs that change all the time, and kills of everything that
//! takes part in a freeze, at any moment.
//!
//! A bounded share runs with the other tests. `GOSPY_HARM=full cargo test --test harm -- --nocapture` runs
//! the whole: thousands of freezes and kills. `GOSPY_HARM_SEED` repeats the random moments of a run as
//! far as they can be repeated. What is counted is printed as tables; docs/harm.md explains them.
//!
//! Whether a target fares well is learnt from the target's own counters and from `/proc`, never from what
//! gospy says.

// A test that cannot go on fails, and a panic is how.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable
)]

mod attacks;
mod binary;
mod counters;
mod deadline;
mod eintr;
mod freezer;
mod kills;
mod lab;
mod look;
mod outcome;
mod random;
mod sizes;
mod storms;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod unstopped;
