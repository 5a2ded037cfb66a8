//! Functions on snapshots: filter, sort, group and count; find problems; compare and judge.
//!
//! Nothing here reads a target, formats for people, or knows what a terminal is. Costs are linear
//! in the number of goroutines (sorting apart): what depends on names is worked out once for each
//! distinct name or stack, and goroutines are compared by ids.

pub(crate) mod age;
pub mod answer;
pub mod census;
pub mod check;
pub(crate) mod counts;
pub mod cpu;
pub mod diagnosis;
pub mod diff;
pub mod filter;
pub mod findings;
pub mod group;
pub(crate) mod index;
pub(crate) mod labels;
pub mod leaks;
pub mod objects;
pub(crate) mod place;
pub mod profile;
pub(crate) mod quantity;
pub mod recording;
pub mod redact;
pub(crate) mod same_wait;
pub mod series;
pub(crate) mod sort;
pub(crate) mod sysmon;
pub mod timeline;
pub mod waits;

pub use age::{Age, AgeSource};
pub use answer::{Answer, Request};
pub use census::Census;
pub use counts::Counts;
pub use diagnosis::{Diagnosis, HeapProof};
pub use diff::Diff;
pub use filter::{Filter, FilterError};
pub use group::{Group, GroupBy, WaitRange};
pub use index::Index;
pub use place::{Place, PlaceKind, Spot};
pub use sort::{Sort, SortKey};
