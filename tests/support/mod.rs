//! What the integration tests share: building and running the fixtures and other programs,
//! reading Go's own tracebacks, and running `gospy` itself.
//!
//! Nothing here uses the `gospy` library, so that a mistake in it cannot cancel out.

// Each test binary includes this module and uses a part of it.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
// A test that cannot go on fails, and a panic is how. clippy.toml says so for test
// functions only, not for what they call.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unreachable
)]

pub mod alone;
pub mod chains;
pub mod command;
pub mod compare;
pub mod core_dump;
pub mod files;
pub mod fixture;
pub mod freeze;
pub mod live;
pub mod process;
pub mod qemu;
pub mod real;
pub mod recorded;
pub mod refusal;
pub mod schedtrace;
pub mod server;
pub mod tally;
pub mod terminal;
pub mod tools;
pub mod traceback;

pub use alone::alone;
pub use chains::ChainRule;
pub use command::{Output, gospy, gospy_with};
pub use fixture::{Fixture, Mode, VERSIONS};
pub use live::{live, live_bytes, live_program, write_program};
pub use process::Running;
pub use tally::{Tally, each, matrix};
pub use tools::{need, need_root, until};
pub use traceback::{DumpCreator, DumpFrame, DumpGoroutine, parse_traceback};
