//! Safe functions for system calls without a suitable safe wrapper elsewhere, and for a setting of the allocator.
//!
//! Most are made by the tracer of a freeze, a process that shares only our memory ([`spawn`]). It has no
//! thread-local storage of its own, where the C library keeps `errno`, so they bypass the C library and return
//! errors as values. They allocate nothing and take no locks.
//!
//! Besides, nix supports only the 31 classic signals, while real-time signals must be handed back to stopped
//! threads too.
#![allow(unsafe_code, reason = "this is the one place that makes system calls; every block says why it is sound")]

mod files;
mod memory;
mod perf;
mod processes;
mod raw;
mod threads;
mod ticks;
mod timer;
mod trace;
mod tracer;

pub(super) use self::files::{await_pipe, close, directory_entries, exists_at, open_at, read, rewind, write_byte};
pub(super) use self::memory::free_large_blocks_at_once;
pub(super) use self::perf::{PerfAttr, PerfEvent, perf_event_open};
pub(super) use self::processes::{before_exec, ignore_sigchld, pidfd_open, pidfd_send_signal};
pub(super) use self::threads::{be_punctual, futex_wait, futex_wake, hurry, nap, own_tid, yield_now};
pub(super) use self::ticks::time_stamp_counter;
pub(super) use self::timer::Timer;
pub(super) use self::trace::{detach, interrupt, peek_stop, reap, registers, seize};
pub(super) use self::tracer::{End, NO_TIMER, Tracer, TracerJob, spawn};

#[cfg(test)]
mod tests;
