//! The processor's clock. Not a system call, but it takes an instruction that only intrinsics give.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

/// The time stamp counter of x86 (what `runtime.cputicks` reads); `None` on other processors.
#[must_use]
pub(in crate::process) fn time_stamp_counter() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
        Some(unsafe { std::arch::x86_64::_rdtsc() })
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}
