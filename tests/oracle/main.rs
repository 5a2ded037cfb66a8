//! gospy against what others say of the same program: the program's own dumps and figures, Go's
//! toolchains, gdb, Delve, the kernel's core files, QEMU; and in namespaces, which take root.
//!
//! Eight toolchains and what they build take 10 GB in `.cache` and a network to come over; `fixtures/README.md`
//! names the tools. So these tests run with `--test oracle` only.

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

#[path = "../snapshots/mod.rs"]
mod snapshots;
#[path = "../support/mod.rs"]
mod support;

mod access;
mod allocations;
mod archive;
mod arm64;
mod c_frames;
mod captures;
mod check;
mod churn;
mod completions;
mod containers;
mod cores;
mod cpu;
mod damage;
mod deadlocks;
mod deaths;
mod debuggers;
mod deploy;
mod dumps;
mod errors;
mod files;
mod findings;
mod fixtures_selftest;
mod freeze;
mod freeze_safety;
mod gc_cpu;
mod heap_captures;
mod heap_growth;
mod image;
mod keeping;
mod leak_runs;
mod leaks;
mod limits;
mod live;
mod made_up_runtime;
mod mcp;
mod not_in_go;
mod objects;
mod page;
mod pclntab;
mod peers;
mod profiles;
mod profiles_served;
mod real;
mod real_objects;
mod record;
mod recorded;
mod run;
mod scribbled;
mod secrets;
mod serve;
mod soak;
mod soak_readers;
mod symbols;
mod top;
mod truth;
mod values;
mod variables;
mod waits;
