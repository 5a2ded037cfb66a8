//! The timer that ends a tracer.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use nix::libc;

use super::raw::{call, timespec, word};

/// Makes the kernel kill the process that created it, even if it is stopped or blocked.
#[derive(Debug)]
pub(in crate::process) struct Timer(libc::c_int);

impl Timer {
    /// `None` if the kernel cannot create one.
    pub(super) fn new() -> Option<Self> {
        let mut timer: libc::c_int = 0;
        // SAFETY: zeroes are a sigevent, for a signal to the process; pointers are to values that outlive
        // the call. The kernel's timer_t is an int.
        let made = unsafe {
            let mut event = MaybeUninit::<libc::sigevent>::zeroed().assume_init();
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = libc::SIGKILL;
            call(
                libc::SYS_timer_create,
                [libc::CLOCK_MONOTONIC as usize, ptr::from_ref(&event) as usize, ptr::from_mut(&mut timer) as usize],
            )
        };
        made.is_ok().then_some(Self(timer))
    }

    /// Sets it to expire after this time, replacing any earlier setting. False if the kernel refuses.
    pub(in crate::process) fn set(&self, within: Duration) -> bool {
        // Zero would disarm it.
        let within = within.max(Duration::from_nanos(1));
        let value = libc::itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(within) };
        // SAFETY: the pointer is to a value that outlives the call; the old value is not requested.
        unsafe { call(libc::SYS_timer_settime, [word(self.0), 0, ptr::from_ref(&value) as usize, 0]) }.is_ok()
    }
}
