//! Why the kernel does not let us sample a process, and the remedy.
//!
//! The checks are those of `perf_event_open` (kernel/events/core.c): `kernel.perf_event_paranoid`, which
//! distributions set to 3 or 4 to allow it to nobody without `CAP_PERFMON`; the same access to the process as for
//! reading its `/proc` files; a seccomp filter before all of them. This module only reads.

use std::fs;

use nix::errno::Errno;

use crate::process::TargetError;
use crate::process::permission::{Facts, can_gain, container_remedy};

/// Bits of `CAP_PERFMON` and `CAP_SYS_ADMIN`, either of which lifts the limits.
const CAP_PERFMON: u64 = 1 << 38;
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// What to use instead, where this is not allowed.
const OTHERWISE: &str = "Without it: `gospy record` without --cpu shows in which functions goroutines started that run, \
                         and with --freeze=running, which stops each for a moment, their stacks.";

/// The error for a process whose threads have no events.
pub(super) fn refused(pid: i32, errno: Errno) -> TargetError {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
    let paranoid = paranoid.and_then(|text| text.trim().parse().ok());
    let (reason, remedy) = advise(errno, paranoid, &Facts::gather(pid));
    TargetError::NotSampled { pid, reason, advice: format!("{remedy}{OTHERWISE}") }
}

/// The check that failed, and what to do, with a space after it where that is something.
fn advise(errno: Errno, paranoid: Option<i32>, facts: &Facts) -> (String, String) {
    let is_privileged = facts.own.cap_effective & (CAP_PERFMON | CAP_SYS_ADMIN) != 0 && facts.in_first_user_ns;
    let with_more = || match facts.container {
        Some(container) => format!("{} ", container_remedy(container, "PERFMON")),
        None if !can_gain(facts, CAP_PERFMON | CAP_SYS_ADMIN) => {
            "CAP_PERFMON was taken away from this session; run gospy from one that has it. ".to_owned()
        }
        None => format!("Run: sudo gospy record --cpu … --pid {} ", facts.pid),
    };
    match errno {
        Errno::ENOSYS | Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EINVAL => {
            (format!("this kernel has no CPU clock events (perf_event_open: {})", errno.desc()), String::new())
        }
        Errno::EMFILE | Errno::ENFILE => {
            ("there are no descriptors left (perf_event_open)".to_owned(), "Raise the limit: ulimit -n. ".to_owned())
        }
        Errno::EACCES | Errno::EPERM if !is_privileged && paranoid.is_some_and(|level| level > 2) => {
            let level = paranoid.unwrap_or_default();
            let sysctl = match facts.container {
                // It is the host's.
                Some(_) => "",
                None => "Or, for all users: sudo sysctl kernel.perf_event_paranoid=2. ",
            };
            let reason = format!("kernel.perf_event_paranoid is {level}, so perf_event_open takes CAP_PERFMON");
            (reason, with_more() + sysctl)
        }
        Errno::EACCES | Errno::EPERM if facts.own.seccomp != 0 => {
            let reason = format!("a seccomp filter on gospy refuses perf_event_open ({})", errno.desc());
            let remedy = match facts.container {
                Some(_) => with_more(),
                None => "Run gospy outside of the sandbox that filters its system calls. ".to_owned(),
            };
            (reason, remedy)
        }
        Errno::EACCES | Errno::EPERM => (format!("the kernel refuses perf_event_open ({})", errno.desc()), with_more()),
        errno => (format!("perf_event_open: {}", errno.desc()), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::permission::{Container, Credentials};

    fn facts(caps: u64, seccomp: u32, container: Option<Container>) -> Facts {
        let own = Credentials { cap_effective: caps, cap_bounding: u64::MAX, seccomp, ..Credentials::default() };
        Facts { pid: 7, own, in_first_user_ns: true, container, ..Facts::default() }
    }

    #[test]
    fn the_cause_is_named_with_its_remedy() {
        let docker = Some(Container::Docker);
        let cases = [
            (Errno::EACCES, Some(4), facts(0, 0, None), "perf_event_paranoid is 4", "sudo sysctl"),
            (Errno::EACCES, Some(3), facts(0, 2, docker), "perf_event_paranoid is 3", "--cap-add PERFMON"),
            (Errno::EPERM, Some(2), facts(0, 2, docker), "a seccomp filter", "--cap-add PERFMON"),
            (Errno::EPERM, Some(4), facts(CAP_PERFMON, 2, None), "a seccomp filter", "outside of the sandbox"),
            (Errno::EACCES, Some(2), facts(0, 0, None), "the kernel refuses", "sudo gospy record --cpu"),
            (Errno::ENOSYS, None, facts(0, 0, None), "this kernel has no CPU clock events", ""),
            (Errno::EMFILE, None, facts(0, 0, None), "no descriptors left", "ulimit -n"),
        ];
        for (errno, paranoid, facts, cause, remedy) in cases {
            let (reason, advice) = advise(errno, paranoid, &facts);
            assert!(reason.contains(cause) && advice.contains(remedy), "{errno}: {reason} {advice}");
        }
        let taken = Facts { own: Credentials::default(), pid: 7, ..Facts::default() };
        assert!(advise(Errno::EACCES, Some(4), &taken).1.contains("was taken away"));
        assert!(refused(i32::MAX, Errno::EPERM).to_string().contains("--freeze=running"));
    }
}
