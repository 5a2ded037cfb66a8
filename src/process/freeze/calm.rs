//! Counts the freezes this process holds, and delays job-control signals meanwhile.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// While a target is frozen, this thread blocks the terminal's stop signals: Ctrl-Z would leave the target
/// frozen until the deadline. Signals that end this process release the target anyway.
pub(super) struct Calm(PhantomData<*const ()>);

thread_local! {
    /// Number of freezes this thread holds, and its signal mask before the first.
    static CALM: Cell<Option<(usize, SigSet)>> = const { Cell::new(None) };
}

/// Number of freezes this process holds.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Waits up to this long until the process holds no freeze; false if it still holds one. Call it before
/// stopping this process: a target it holds would stay frozen until the deadline.
pub fn await_none_held(within: Duration) -> bool {
    const PAUSE: Duration = Duration::from_millis(1);
    let start = Instant::now();
    while HELD.load(SeqCst) != 0 {
        if start.elapsed() >= within {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}

impl Calm {
    pub(super) fn begin() -> Self {
        HELD.fetch_add(1, SeqCst);
        let waiting = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
        let before = match CALM.get() {
            Some((count, before)) => Some((count.saturating_add(1), before)),
            None => {
                let waiting: SigSet = waiting.into_iter().collect();
                waiting.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok().map(|before| (1, before))
            }
        };
        CALM.set(before);
        Self(PhantomData)
    }
}

impl Drop for Calm {
    fn drop(&mut self) {
        HELD.fetch_sub(1, SeqCst);
        match CALM.get() {
            Some((1, before)) => {
                CALM.set(None);
                // It was valid before, so it still is.
                let _ = before.thread_set_mask();
            }
            Some((count, before)) => CALM.set(Some((count.saturating_sub(1), before))),
            None => {}
        }
    }
}
