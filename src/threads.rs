//! Threads that take a share of the work, where the system lets us have them.
//!
//! A limit of processes (`RLIMIT_NPROC`, `pids.max`) or of memory may refuse any thread: pthread_create(3) fails with
//! EAGAIN, and `std::thread::Scope::spawn` panics. Here the caller does the share of a thread that was refused. All
//! threads of a scope are started here, which clippy.toml sees to.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle, available_parallelism, scope};

/// How many threads can run at the same time: the CPUs that this process may use, 1 at least. That is asked once, since
/// the answer is in files of control groups.
pub(crate) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| available_parallelism().map_or(1, NonZeroUsize::get))
}

/// Starts a thread; `None` where the system refuses it. Then nothing of `work` was done.
pub(crate) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    start_as(Builder::new(), scope, work)
}

fn start_as<'scope, T: Send + 'scope>(
    builder: Builder,
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Option<ScopedJoinHandle<'scope, T>> {
    builder.spawn_scoped(scope, work).ok()
}

/// What a thread returns. Its panic goes on here.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Calls `work` for two parts of something, for both at the same time where there can be another thread.
pub(crate) fn both<D: ?Sized + Send, T: Send>(one: &mut D, other: &mut D, work: impl Fn(&mut D) -> T + Sync) -> (T, T) {
    both_as(Builder::new(), one, other, work)
}

fn both_as<D: ?Sized + Send, T: Send>(
    builder: Builder,
    one: &mut D,
    other: &mut D,
    work: impl Fn(&mut D) -> T + Sync,
) -> (T, T) {
    // Whichever thread does it has it alone.
    let one = Mutex::new(one);
    scope(|scope| match start_as(builder, scope, || work(&mut locked(&one))) {
        Some(thread) => {
            let other = work(other);
            (joined(thread), other)
        }
        None => (work(&mut locked(&one)), work(other)),
    })
}

/// Calls `own` on this thread and `helper` on up to `helpers` others, as many as there can be, at the same time. What
/// there is to do must not depend on how many there are. Returns what they return, `own` first.
pub(crate) fn together<T: Send>(helpers: usize, helper: impl Fn() -> T + Sync, own: impl FnOnce() -> T) -> Vec<T> {
    scope(|scope| {
        // After one that was refused, others would be too.
        let threads: Vec<_> = (0..helpers).map_while(|_| start(scope, &helper)).collect();
        let mut returned = vec![own()];
        returned.extend(threads.into_iter().map(joined));
        returned
    })
}

/// Whether there can be so many more threads now. For libraries that panic where there cannot.
///
/// # Errors
/// What the system says.
#[cfg(feature = "serve")]
pub(crate) fn can_start(count: usize) -> std::io::Result<()> {
    let gate = Mutex::new(());
    scope(|scope| {
        // None ends before all have started.
        let closed = locked(&gate);
        for _ in 0..count {
            Builder::new().spawn_scoped(scope, || drop(locked(&gate)))?;
        }
        drop(closed);
        Ok(())
    })
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// One whose stack has no room in any address space.
    fn refused() -> Builder {
        Builder::new().stack_size(1 << 60)
    }

    #[test]
    fn what_a_refused_thread_was_to_do_is_done_here() {
        scope(|scope| {
            assert!(start_as(refused(), scope, || ()).is_none());
            assert_eq!(start(scope, || 5).map(joined), Some(5));
        });
        for builder in [refused(), Builder::new()] {
            let (mut one, mut other) = ([1, 2, 3], [10, 20]);
            let doubled = |part: &mut [i32]| {
                part.iter_mut().for_each(|n| *n *= 2);
                part.len()
            };
            assert_eq!(both_as(builder, &mut one[..], &mut other[..], doubled), (3, 2));
            assert_eq!((one, other), ([2, 4, 6], [20, 40]));
        }
    }

    #[test]
    fn helpers_share_what_there_is() {
        for helpers in [0, 1, 3] {
            let next = AtomicUsize::new(0);
            let work =
                || std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|n| *n < 1000).sum();
            let sums: Vec<usize> = together(helpers, work, || work() + 1);
            assert_eq!((sums.len(), sums.iter().sum::<usize>()), (helpers + 1, 1 + 999 * 1000 / 2));
        }
    }

    #[test]
    #[cfg(feature = "serve")]
    fn some_threads_can_be_had() {
        can_start(3).unwrap();
    }
}
