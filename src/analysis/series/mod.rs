//! Functions of snapshots over time: how long goroutines have been in the same wait, how counts changed, and
//! whether they grow.
//!
//! Code that compares two snapshots first checks that they are of the same run of the program ([`same_run`]),
//! and compares ids of names, places and stacks only where both have the same pool
//! ([`crate::model::SymbolPool::id`]). Nothing here reads, sleeps or asks for the time: that is
//! [`crate::sampling`]'s.

pub mod baseline;
pub mod gc_cpu;
pub mod group_counts;
pub mod growth;
pub mod heap;
pub mod heap_parts;
pub mod heap_since;
pub mod history;
pub mod places;
pub mod same_run;
pub mod watching;

pub use baseline::Baseline;
pub use gc_cpu::{GcCpu, GcShare};
pub use group_counts::GroupCounts;
pub use heap::{HeapGrowth, HeapSeries};
pub use history::History;
pub use places::PlaceCounts;
pub use same_run::{has_restarted, has_started_since};
pub use watching::{Observed, Watching};
