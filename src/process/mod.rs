//! Access to a process: running, in a core file, or recorded in a capture.
//!
//! Everything above this layer sees a [`Target`] and never a pid. This layer knows nothing of Go. It never
//! writes to a target, signals it or stops it, except for a freeze that the user requests.
//!
//! * [`live`]: a running process, with `memory` (how bytes are read), `maps`, `proc_dir`,
//!   `file_bytes`, `clock`, `permission` (why access was refused, and the remedy), and the freeze
//! * [`core`]: an ELF core file
//! * `recording` and [`capture_file`]: writing a capture, and its format; `remember`: recording the results
//!   of searches and of reads that may be retried
//! * [`Accounting`]: what the kernel accounts to a process
//! * `access`: the checks that reading a process depends on, with results
//! * [`CpuClocks`]: samples of the threads that use CPUs
//! * `process_list`: the processes that can be seen
//! * `resources`: CPU now, limits of cgroups, how many descriptors
//! * [`descriptor`] and `descriptors`: what descriptors refer to, with the addresses and states of sockets
//! * `syscall_names`: system calls by their numbers
//! * `coalesce`: many small pieces read in few calls, from any target
//! * `fake`: a test double (feature `testing`)

pub(crate) mod access;
mod accounting;
mod blocked;
pub mod capture_file;
mod cgroup;
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod coalesce;
pub(crate) mod container;
pub(crate) mod container_files;
pub mod core;
#[cfg(feature = "testing")]
pub(crate) mod decoders;
mod description;
pub mod descriptor;
pub(crate) mod descriptors;
mod error;
#[cfg(any(test, feature = "testing"))]
pub mod fake;
pub(crate) mod file_bytes;
mod freeze;
mod frozen;
pub(crate) mod hostname;
pub mod live;
pub(crate) mod maps;
pub(crate) mod memory;
pub(crate) mod perf;
pub(crate) mod permission;
mod presence;
pub(crate) mod proc_dir;
pub(crate) mod process_list;
pub(crate) mod recording;
pub(crate) mod remember;
pub(crate) mod resources;
mod sock_diag;
mod socket_owner;
mod sockets;
pub(crate) mod syscall_names;
mod syscalls;
mod target;
mod thread_ids;

pub use accounting::Accounting;
pub use description::{
    BlockedThread, Clock, Ended, GeneralRegisters, Mapping, MemRange, ProcessInfo, Registers, SignalInfo, SystemCall,
    ThreadActivity, ThreadInfo, Tid, Usage,
};
pub use descriptor::Descriptor;
pub use descriptors::Descriptors;
pub use error::{ErrorKind, ReadError, TargetError};
pub use freeze::await_none_held;
pub use frozen::{Broken, FreezeOptions, FreezeWhich, Frozen};
pub use perf::{CpuClockStats, CpuClocks, RawCpuSample};
pub use remember::unlogged;
pub use resources::Resources;
pub(crate) use socket_owner::{Owner, SocketOwners};
pub use target::{Backend, Limitation, Precedence, ReadStats, Recorder, Remembered, Target, TargetExt};

/// Has large blocks of memory given back to the kernel as soon as they are free, for the whole process: what a
/// program does at its start, and a library must not. It does nothing where the C library is not the GNU one.
pub fn free_large_blocks_at_once() {
    syscalls::free_large_blocks_at_once();
}
