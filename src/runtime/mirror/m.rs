//! `runtime.m`: one operating system thread as the scheduler sees it.

use super::mirror;
use crate::process::Tid;

mirror! {
    /// What is read of a `runtime.m` (runtime2.go), as it is in memory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct M, MLayout of "runtime.m" at addr {
        /// `g0`: the goroutine whose stack the scheduler runs on.
        g0: u64 = "g0",
        /// `gsignal`: the goroutine whose stack signal handlers run on.
        gsignal: u64 = "gsignal",
        /// `procid`: the kernel's id of the thread; 0 before it has started.
        procid: u64 = "procid",
        /// `tls[0]`: in programs without cgo on amd64, the g that the thread executes now.
        tls0: u64 = "tls",
        /// `curg`: the goroutine on it; 0 for none.
        curg: u64 = "curg",
        /// `p`: the P that it owns; 0 for none.
        p: u64 = "p",
        /// `id`.
        id: i64 = "id",
        /// `spinning`: whether it is looking for work.
        spinning: bool = "spinning",
        /// `blocked`: whether it is parked on a note.
        blocked: bool = "blocked",
        /// `incgo`: whether it executes C code.
        incgo: bool = "incgo",
        /// `ncgocall`: calls into C so far.
        ncgocall: u64 = "ncgocall",
        /// `alllink`: the next M on `allm`.
        alllink: u64 = "alllink",
        /// `lockedg`: the goroutine that is locked to it; 0 for none.
        lockedg: u64 = "lockedg",
        /// `syscalltick`.
        syscalltick: u32 = "syscalltick",
        /// `libcallsp`: its stack pointer where it called into the C library for the runtime.
        libcallsp: u64 = "libcallsp",
        /// `vdsoSP`: its stack pointer where it called into the vDSO; 0 when it did not.
        vdso_sp: u64 = "vdsoSP",
        /// `vdsoPC`: its program counter there.
        vdso_pc: u64 = "vdsoPC",
    }
    optional {
        /// `isextra` (1.21 on): whether it stands by for callbacks from threads that Go did not make.
        is_extra: bool = "isextra",
        /// `isExtraInC` (1.21 on): whether such an M is used by a thread that is in C now.
        is_extra_in_c: bool = "isExtraInC",
        /// `dying`: how far it is in ending the program; 0 while it is not. See [`M::is_dying`].
        dying: u32 = "dying",
    }
}

mirror! {
    /// Where a `runtime.m` was created (runtime2.go).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Creation, CreationLayout of "runtime.m" {}
    offsets { create_stack = "createstack" }
}

/// `len(m{}.createstack)` (runtime2.go; 1.19 to 1.27): return addresses of where an M was created.
pub(crate) const CREATE_STACK: u32 = 32;

impl M {
    /// The kernel's id of its thread; `None` before that has started, and for what is no id.
    #[must_use]
    pub fn tid(&self) -> Option<Tid> {
        Tid::try_from(self.procid).ok().filter(|&tid| tid > 0)
    }

    /// Whether it is ending the program.
    #[must_use]
    pub fn is_dying(&self) -> bool {
        self.dying.is_some_and(|dying| dying != 0)
    }
}
