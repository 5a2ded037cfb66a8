//! How many freezes this process holds, and the signals that wait meanwhile.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// While a target stands still, signals by which a terminal stops this process wait in this thread: Ctrl-Z
/// would leave the target to its deadline. What ends this process lets the target go.
pub(super) struct Calm(PhantomData<*const ()>);

thread_local! {
    /// How many freezes this thread holds, and the signals that were blocked before the first.
    static CALM: Cell<Option<(usize, SigSet)>> = const { Cell::new(None) };
}

/// How many freezes this process holds.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Waits until this process holds no freeze, but no longer than that; false if it holds one still. For who is
/// about to stop this process: what it holds would stand still until the deadline.
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
                // Valid once, valid again.
                let _ = before.thread_set_mask();
            }
            Some((count, before)) => CALM.set(Some((count.saturating_sub(1), before))),
            None => {}
        }
    }
}
