//! What the server gives up before it takes the first request, so that the kernel refuses it whatever a request
//! may bring about: signals, ptrace, writing into other processes, starting programs, changing files, new sockets.
//!
//! Landlock is not used: the kernel refuses to let a thread in a Landlock domain read the memory of any process outside
//! that domain (`hook_ptrace_access_check`, security/landlock/task.c; seen on Linux 6.18), which is all that a reader
//! does.

use std::io::{self, Write};

use caps::{CapSet, Capability, CapsHashSet};
use nix::libc;
use seccompiler::{
    BackendError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// What reading takes: memory and `/proc` of other users' processes, their files, and samples of their CPU use.
const KEPT: [Capability; 3] = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH, Capability::CAP_PERFMON];

/// System calls that are refused with EPERM. One file may be removed: the server's own socket, at the end.
const REFUSED: &[libc::c_long] = &[
    // Signals and control of other processes.
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_setpriority,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setscheduler,
    // Programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Files.
    libc::SYS_openat2,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
    // The network: the one socket that listens is open.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    // Other ways to the same, and the machine.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
];

/// The same under the older names that only this architecture has.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[libc::c_long] = &[
    libc::SYS_creat,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_ioperm,
    libc::SYS_iopl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[libc::c_long] = &[];

/// System calls that open files, and which argument holds the flags.
#[cfg(target_arch = "x86_64")]
const OPENING: &[(libc::c_long, u8)] = &[(libc::SYS_open, 1), (libc::SYS_openat, 2)];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2)];

/// Gives up what is not needed. For the calling thread and those that it starts.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn confine() -> io::Result<()> {
    nix::sys::prctl::set_no_new_privs()?;
    drop_capabilities().map_err(io::Error::other)
}

/// Has the kernel refuse the system calls that are not needed, likewise. Needs [`confine`] before.
///
/// # Errors
/// Where the kernel has no seccomp filters.
pub(super) fn refuse_calls() -> io::Result<()> {
    let filter = filter().and_then(TryInto::<seccompiler::BpfProgram>::try_into).map_err(io::Error::other)?;
    seccompiler::apply_filter(&filter).map_err(io::Error::other)
}

/// Gives up both before the first thread is started; a missing filter is a line on `log`, since a server is as useful
/// without, and as careful.
///
/// # Errors
/// When the kernel refuses the first.
pub(super) fn give_up(log: &mut dyn Write) -> io::Result<()> {
    confine()?;
    if let Err(error) = refuse_calls() {
        let _ = writeln!(log, "warning: no seccomp filter: {error}");
    }
    Ok(())
}

/// Names of the capabilities that are in effect.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn effective() -> io::Result<Vec<String>> {
    let set = caps::read(None, CapSet::Effective).map_err(io::Error::other)?;
    let mut names: Vec<String> = set.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    Ok(names)
}

fn drop_capabilities() -> Result<(), caps::errors::CapsError> {
    let kept: CapsHashSet = KEPT.into_iter().collect();
    let permitted = caps::read(None, CapSet::Permitted)?;
    caps::clear(None, CapSet::Inheritable)?;
    let left: CapsHashSet = permitted.intersection(&kept).copied().collect();
    caps::set(None, CapSet::Effective, &left)?;
    caps::set(None, CapSet::Permitted, &left)
}

fn filter() -> Result<SeccompFilter, BackendError> {
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().chain(REFUSED_OLD).map(|number| (*number, Vec::new())).collect();
    for (number, argument) in OPENING {
        // Write-only, read-write, and the flags that change a file without either.
        let writing = [
            (libc::O_ACCMODE, libc::O_WRONLY),
            (libc::O_ACCMODE, libc::O_RDWR),
            (libc::O_ACCMODE, libc::O_ACCMODE),
            (libc::O_CREAT, libc::O_CREAT),
            (libc::O_TRUNC, libc::O_TRUNC),
        ];
        let refused = writing.into_iter().map(|(mask, value)| {
            let mask = SeccompCmpOp::MaskedEq(u64::from(mask.unsigned_abs()));
            let flags =
                SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, mask, u64::from(value.unsigned_abs()))?;
            SeccompRule::new(vec![flags])
        });
        rules.insert(*number, refused.collect::<Result<_, _>>()?);
    }
    // Limits may be read, and a thread of its own may be aborted.
    let changing = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![changing])?]);
    let own = u64::from(std::process::id());
    let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, own)?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![other])?]);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)
}
