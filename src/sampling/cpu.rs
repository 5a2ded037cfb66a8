//! What reading costs gospy itself.

use std::time::Duration;

use nix::time::ClockId;

/// CPU time that this process has used so far, all threads together.
#[must_use]
pub(crate) fn cpu_time() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}
