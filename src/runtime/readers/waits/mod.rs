//! What goroutines are queued at: sudogs, channels, locks, descriptors and timers, many at a time.
//!
//! All of this changes while it is read. So nothing is taken for an object because a pointer leads to it: a sudog
//! has to name its goroutine, a channel to have the sudog in one of its queues, a descriptor to name itself and
//! its goroutine. Every list is followed for a limited number of steps, whatever the memory contains.

pub(crate) mod channels;
pub(crate) mod locks;
pub(crate) mod parked;
pub(crate) mod sudogs;
pub(crate) mod timers;

use crate::runtime::frontier::Budget;

/// How much is read of one kind in one capture.
pub(crate) const BUDGET: Budget = Budget { objects: 1 << 24, bytes: 4 << 30, depth: 0 };

#[cfg(test)]
mod tests;
