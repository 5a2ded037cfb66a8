//! Locks that are not released.

use super::{Finding, Seen};

/// A goroutine has waited for a mutex for a minute or longer. A goroutine that has waited for a millisecond
/// is served before all newcomers (sync/mutex.go), so the lock is not being released. Runtimes before 1.20 do
/// not record what a semaphore is for, so they have no such findings.
#[derive(Debug)]
pub(super) struct LongLockWait;

impl Finding for LongLockWait {
    fn code(&self) -> &'static str {
        "long_lock_wait"
    }

    fn one(&self) -> &'static str {
        "has waited for a lock for a minute or longer"
    }

    fn many(&self) -> &'static str {
        "have waited for locks for a minute or longer"
    }

    fn meaning(&self) -> &'static str {
        "The lock is not released: look for a goroutine that blocks or exited while holding it."
    }

    fn rests_on_waits(&self) -> bool {
        true
    }

    fn names(&self, goroutine: &Seen<'_>) -> bool {
        matches!(goroutine.reason, Some("sync.Mutex.Lock" | "sync.RWMutex.Lock" | "sync.RWMutex.RLock"))
            && goroutine.is_blocked_for_a_minute()
    }
}
