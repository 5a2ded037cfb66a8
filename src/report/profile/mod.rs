//! Profiles in the formats of `go tool pprof`: `profile.proto`, gzipped, and the older lists in text.
//!
//! They are what the program would write of itself (runtime/pprof; 1.19 to 1.27): the same sample types,
//! names, addresses and mapping, so that the two can be compared with `go tool pprof -diff_base`.

mod builder;
pub mod contention;
pub mod counts;
#[cfg(feature = "cli")]
pub mod cpu;
#[cfg(feature = "cli")]
pub mod delta;
pub mod goroutines;
pub mod heap;
mod list;
mod protobuf;
#[cfg(feature = "cli")]
pub mod wall;

#[cfg(feature = "cli")]
pub(crate) use self::builder::shown_frames;
#[cfg(feature = "cli")]
pub(crate) use self::list::shown_name;
