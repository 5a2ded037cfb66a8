//! The tests that everybody can run: no network, no Go, no root. They read recorded captures and core
//! files, made-up programs, and one small Go program that is checked in (`fixtures/live`).
//!
//! What needs toolchains, packages or root is in `tests/oracle`.

// A test that cannot go on fails, and a panic is how. clippy.toml says so for test functions only, not for
// what they call.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable
)]

#[macro_use]
#[path = "../strict/mod.rs"]
mod strict;
#[path = "../snapshots/mod.rs"]
mod snapshots;
#[path = "../support/mod.rs"]
mod support;

mod api;
mod captures;
mod check;
mod cli;
mod cpu;
mod diff;
mod documents;
mod dumps;
mod errors;
mod files;
mod findings;
mod forms;
mod freeze;
mod heap;
mod hostile;
mod json_reports;
mod json_schema;
mod leaks;
mod mcp;
mod no_threads;
mod objects;
mod profiles_served;
mod recorded;
mod recordings;
mod run;
mod schema_files;
mod serve;
mod targets;
mod top;
mod top_screens;
mod waits;
mod why;
