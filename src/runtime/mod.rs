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
pub mod c_call;
pub mod frontier;
mod go_runtime;
mod infer;
pub mod layout;
mod locate;
pub mod mirror;
mod named;
pub mod program;
pub mod readers;
mod recorded;
pub mod rules;
pub mod signal_frame;
pub mod symbols;
mod timers;
mod validate;
pub mod values;
mod variables;
pub mod version;
pub mod view;
pub mod wait_reason;

pub use go_runtime::{GoRuntime, RuntimeError};
pub use locate::LocateOptions;
pub use validate::LayoutMismatch;
pub(crate) use validate::MAX_GOID;
pub use view::GoProcess;
