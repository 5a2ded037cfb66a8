//! Snapshots of a program, one after the other: where they come from, when the next one is due, and what
//! happens when the program ends, executes another one or comes back.
//!
//! * `source`: what gives snapshots
//! * `pacer`: when to read, within an interval and a CPU budget
//! * `sampler`: reads, watches waits, and streams samples to a visitor
//! * `monitor`: a sampler on its own thread, read on request
//! * `follow`: a process through `execve`, and what replaces it after its end
//!
//! What the snapshots say over time is [`crate::analysis::series`]. Nothing here formats, prints or knows
//! an exit status.

pub(crate) mod cpu;
pub(crate) mod follow;
pub(crate) mod monitor;
pub(crate) mod pacer;
pub(crate) mod sampler;
pub(crate) mod source;

pub use monitor::{Monitor, Report};
pub use pacer::Pacer;
pub use sampler::{Sample, Sampler};
pub use source::{SnapshotSource, SourceEnd, Successor};
