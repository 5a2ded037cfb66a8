//! Where a Go runtime keeps things, and readers for them.
//!
//! Given a process and its program, this layer finds the version of Go, the layout of its
//! structures and the addresses of its variables, each with its source and with whatever else
//! could be compared; and it has one mirror type for each runtime type that is read. It walks
//! nothing as large as the list of goroutines, unwinds no stacks, and knows no text of any version:
//! strings are read from the target.
//!
//! A new version of Go touches the tables (`fixtures/layouts`), perhaps a mirror, and nothing above
//! this layer.

mod adjust;
pub(crate) mod c_call;
pub(crate) mod frontier;
mod go_runtime;
mod infer;
pub(crate) mod layout;
mod locate;
pub(crate) mod mirror;
mod named;
#[cfg(feature = "cli")]
pub(crate) mod package_variables;
pub(crate) mod program;
pub(crate) mod readers;
mod recorded;
pub(crate) mod rules;
pub(crate) mod signal_frame;
pub(crate) mod symbols;
mod timers;
mod validate;
pub(crate) mod values;
mod variables;
pub(crate) mod version;
pub(crate) mod view;
pub(crate) mod wait_reason;

pub use go_runtime::{GoRuntime, RuntimeError};
pub use locate::LocateOptions;
pub(crate) use validate::MAX_GOID;
pub use view::GoProcess;
