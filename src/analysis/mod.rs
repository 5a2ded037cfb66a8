//! Functions on snapshots: filter, sort, group and count; find problems; compare and judge.
//!
//! Nothing here reads a target, formats for people, or knows what a terminal is. Costs are linear
//! in the number of goroutines (sorting apart): what depends on names is worked out once for each
//! distinct name or stack, and goroutines are compared by ids.

pub mod age;
pub mod census;
pub mod check;
pub mod counts;
pub mod diff;
pub mod filter;
pub mod findings;
pub mod group;
pub mod index;
pub mod labels;
pub mod leaks;
pub mod place;
pub mod quantity;
pub mod same_wait;
pub mod series;
pub mod sort;
pub mod sysmon;

pub use age::{Age, AgeSource};
pub use census::Census;
pub use counts::Counts;
pub use diff::Diff;
pub use filter::{Filter, FilterError};
pub use group::{Group, GroupBy, WaitRange};
pub use index::Index;
pub use place::{Place, PlaceKind, Spot};
pub use sort::{Sort, SortKey};
