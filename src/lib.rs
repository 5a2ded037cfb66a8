//! gospy reads the memory of a running Go program from outside and tells what every goroutine does.
//!
//! Data flows one way, and each layer knows only those above it in this list:
//!
//! * [`process`]: the bytes of a process
//! * [`image`]: what the binary says
//! * [`runtime`]: where this version of Go keeps things
//! * [`capture`]: one walk through them, giving a snapshot
//! * [`model`]: the snapshot, pure data
//! * [`analysis`]: functions of snapshots
//! * [`report`]: functions of analyses to a writer
//! * [`top`]: the live view
//! * [`commands`]: the command line
//!
//! Everything that is read from a target is treated as hostile: lengths, loops and depths are
//! bounded, arithmetic is checked, and one odd goroutine is a warning in the answer, never a
//! failed command.

pub mod addr;
pub mod analysis;
pub mod bytes;
pub mod capture;
pub mod commands;
pub mod go_names;
pub mod image;
pub mod model;
pub mod new_file;
pub mod process;
pub mod report;
pub mod runtime;
pub mod top;
