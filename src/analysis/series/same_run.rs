//! Whether two snapshots are of the same run of a program.

use crate::model::Snapshot;

/// Whether another run of the program has begun in the same process between two of its snapshots
/// (`execve`): its runtime started after the first of them was taken.
#[must_use]
pub fn has_restarted(then: &Snapshot, now: &Snapshot) -> bool {
    now.target.pid != then.target.pid || has_started_since(then.monotonic_ns, now)
}

/// Whether the runtime of the program started after `then_ns`, by the clock of the snapshot.
#[must_use]
pub fn has_started_since(then_ns: u64, now: &Snapshot) -> bool {
    let passed = now.monotonic_ns.saturating_sub(then_ns);
    now.target.uptime_ns.is_some_and(|uptime| uptime < passed)
}
