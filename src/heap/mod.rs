//! The heap of a Go program from outside: its spans, its objects, which words of them are pointers, what is
//! reachable from where, and so which goroutines can never run again.
//!
//! It is a layer of its own between the runtime's structures and analyses: spans and objects are streamed and
//! never enter a snapshot. The rules are those of the runtime's own collector (runtime/mgcmark.go, mbitmap.go,
//! mheap.go; 1.19 to 1.27), and of its profile of leaked goroutines (mgc.go; 1.26 and 1.27).
//!
//! It refuses to call an object unreachable that may be reached: where a type, a stack or a map of pointers
//! cannot be read, every word counts as a pointer. That can hide a leak, and never makes one up.

mod arenas;
mod batch;
mod classes;
mod deadlocks;
mod errors;
mod goroutines;
mod kept;
mod layout;
mod leaks;
mod marker;
pub mod objects;
mod pages;
mod pointers;
pub mod profile;
mod proof;
mod queues;
mod recording;
mod root_log;
mod roots;
mod span_list;
mod spans;
mod stack_maps;
mod stacks;
mod standing;
mod survivors;
#[doc(hidden)]
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod threads;
mod types;
mod waits;
mod worker;

pub use classes::size_classes;
pub use errors::HeapError;
pub use kept::{Deadlock, KeptBytes};
pub use layout::HeapLayout;
pub use leaks::{Heap, LeakedGoroutine, Pass, PassOptions, PassStats};
pub use marker::{MarkStats, Marker, Progress};
pub use proof::{Grade, LeakOptions, Leaks, Proof, find};
pub use queues::Queues;
pub use recording::{HeapRecorder, recorded_ticks};
pub use spans::{ObjectId, SpanInfo, Spans};
pub use stacks::StackStats;
pub use survivors::survivors;
pub use threads::Running;
