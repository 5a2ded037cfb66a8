//! Every decoder of bytes that others wrote, on inputs that once broke something, on seeds, and on a fixed number of
//! mutations of these. The targets are those of `fuzz/`, where cargo-fuzz runs them too; docs/fuzzing.md has the rest.
//!
//! `GOSPY_FUZZ='TARGET --seconds 600 --seed 7' cargo test --test fuzz -- --nocapture` runs one for longer.

// A test that cannot go on fails, and a panic is how.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable,
    unreachable_pub,
    dead_code
)]

#[path = "../../fuzz/src/bases.rs"]
mod bases;
#[path = "../../fuzz/src/files.rs"]
mod files;
#[path = "../../fuzz/src/image.rs"]
mod image;
#[path = "../../fuzz/src/limits.rs"]
mod limits;
#[path = "../../fuzz/src/memory.rs"]
mod memory;
#[path = "../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../fuzz/src/parts.rs"]
mod parts;
#[path = "../../fuzz/src/requests.rs"]
mod requests;
#[path = "../../fuzz/src/runner.rs"]
mod runner;
#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// Where the targets' files are.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// Inputs of a target that is quick; others have fewer.
const INPUTS: &str = "all --inputs 2000";

// The only test here: what is counted is the process's.
#[test]
fn no_input_panics_or_takes_too_much() {
    let words = std::env::var("GOSPY_FUZZ").unwrap_or_else(|_| INPUTS.to_owned());
    let arguments = words.split_whitespace().map(str::to_owned);
    let (inputs, broken) = runner::run(arguments).unwrap();
    assert!(inputs > 0);
    assert_eq!(broken, 0, "inputs that broke something; they are in fuzz/artifacts");
}
