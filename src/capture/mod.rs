//! One walk through a target: everything that the runtime keeps, as one snapshot.
//!
//! Bulk reads and few calls; costs are linear in the number of goroutines. The target runs on while it is
//! read, so every goroutine is validated (see [`Session::capture`]), and what cannot be read completely is
//! marked and counted, never guessed. Nothing here decides what is shown.

pub(crate) mod allgs;
mod alongside;
mod arguments;
mod at_rest;
mod blocked;
mod close;
mod core_clock;
mod cpu;
mod death;
mod decode;
mod ending;
mod errors;
mod fields;
mod follow;
mod foreign;
mod freeze;
mod goroutines;
mod kept;
mod listed;
mod not_in_go;
mod options;
mod parameters;
mod place;
mod read;
mod record;
mod recording;
mod scheduler;
mod session;
mod starts;
mod still;
pub(crate) mod symbolize;
mod target_info;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod unwind;
mod waits;

pub(crate) use alongside::Alongside;

pub use crate::runtime::RuntimeError;
pub use crate::runtime::program::ProgramError;
pub use errors::{CaptureError, OpenError, SourceError};
pub use options::{CaptureOptions, FreezeMode, OpenOptions};
pub(crate) use record::record_with;
pub use record::{RecordError, record};
pub use session::Session;
