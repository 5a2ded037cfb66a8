//! How the allocator treats large blocks.
//!
//! `unsafe` is allowed in this folder alone; see its root for why.

/// Blocks from this size on, bytes, are mapped and unmapped one by one.
#[cfg(target_env = "gnu")]
const LARGE: nix::libc::c_int = 1 << 20;

/// Has large blocks given back to the kernel as soon as they are free, and not kept for blocks like them.
///
/// The GNU C library maps large blocks at first, but takes whatever was freed as the new limit (up to 32 MiB,
/// mallopt(3)). A capture frees lists of several sizes, one after the other, and none of them fits where the last one
/// was: at a million goroutines that was 17 MB of 255 MB. For a program, once at its start; a library must not.
pub(in crate::process) fn free_large_blocks_at_once() {
    // SAFETY: it sets a number of the allocator, under the allocator's lock.
    #[cfg(target_env = "gnu")]
    let _ = unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, LARGE) };
}
