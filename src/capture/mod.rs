//! One walk through a target: everything that the runtime keeps, as one snapshot.
//!
//! Bulk reads and few calls; costs are linear in the number of goroutines. The target runs on while
//! it is read, so every goroutine is validated (see [`Session::capture`]), and what cannot be had
//! whole is marked and counted, never guessed. Nothing here decides what is shown.

mod allgs;
mod blocked;
mod close;
mod core_clock;
mod death;
mod error;
mod fields;
mod follow;
mod foreign;
mod freeze;
mod goroutines;
mod labels;
mod place;
mod program;
mod read;
mod record;
mod recording;
mod scheduler;
mod session;
mod still;
pub mod symbolize;
pub mod unwind;

pub use error::SourceError;
pub use freeze::FreezeMode;
pub use program::{Program, ProgramError, SymbolFile};
pub use record::{RecordError, record};
pub use session::{CaptureError, CaptureOptions, OpenError, OpenOptions, Session};
