//! What the kernel accounts to a process, as monitoring reads it: CPU time, memory, descriptors, network.

use std::io;

use procfs::process::{LimitValue, Stat};

use super::proc_dir::ProcDir;

/// What the kernel accounts to a process. `None` is what could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Accounting {
    /// CPU time, user and system, s; counted in ticks of 10 ms.
    pub cpu_seconds: Option<f64>,
    /// When it was started, s since the Unix epoch.
    pub start_unix_seconds: Option<f64>,
    /// Virtual memory, bytes.
    pub virtual_bytes: Option<u64>,
    /// Virtual memory allowed (RLIMIT_AS), bytes; the largest `u64` without a limit.
    pub virtual_limit_bytes: Option<u64>,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<u64>,
    /// Soft limit of them (RLIMIT_NOFILE); the largest `u64` without one.
    pub fd_limit: Option<u64>,
    /// Bytes received by its network namespace.
    pub received_bytes: Option<u64>,
    /// Bytes sent by its network namespace.
    pub sent_bytes: Option<u64>,
}

impl Accounting {
    /// Reads it, `stat` having been read already; `boot` is when the machine was started, s since the Unix epoch.
    pub(super) fn read(dir: &ProcDir, stat: &Stat, boot: Option<u64>) -> Self {
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second().max(1) as f64;
        let limits = dir.limits().ok();
        let soft = |limit: LimitValue| match limit {
            LimitValue::Value(value) => value,
            LimitValue::Unlimited => u64::MAX,
        };
        let network = dir.record("net/netstat").ok();
        let network = network.map(|text| octets(&String::from_utf8_lossy(&text))).unwrap_or_default();
        Self {
            cpu_seconds: Some(seconds(stat.utime.saturating_add(stat.stime))),
            start_unix_seconds: boot.map(|boot| boot as f64 + seconds(stat.starttime)),
            virtual_bytes: Some(stat.vsize),
            virtual_limit_bytes: limits.as_ref().map(|limits| soft(limits.max_address_space.soft_limit)),
            resident_bytes: Some(stat.rss.saturating_mul(procfs::page_size())),
            open_fds: super::resources::open_fds(dir),
            fd_limit: limits.as_ref().map(|limits| soft(limits.max_open_files.soft_limit)),
            received_bytes: network.0,
            sent_bytes: network.1,
        }
    }
}

/// When the machine was started, s since the Unix epoch (`btime` of `/proc/stat`).
pub(super) fn boot_time() -> io::Result<u64> {
    procfs::boot_time_secs().map_err(|e| io::Error::other(e.to_string()))
}

/// `InOctets` and `OutOctets` of `IpExt`: a line of names, and one of numbers.
fn octets(netstat: &str) -> (Option<u64>, Option<u64>) {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return (None, None) };
    let of = |wanted: &str| {
        let at = names.split_whitespace().position(|name| name == wanted)?;
        values.split_whitespace().nth(at)?.parse().ok()
    };
    (of("InOctets"), of("OutOctets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_found_by_name() {
        let text = "TcpExt: A InOctets\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 7 9\n";
        assert_eq!(octets(text), (Some(7), Some(9)));
        assert_eq!(octets("IpExt: InOctets\n"), (None, None));
        assert_eq!(octets("IpExt: A InOctets\nIpExt: 1 x\n"), (None, None));
        assert_eq!(octets(""), (None, None));
    }

    /// A process that sleeps, by what its files in `/proc` say.
    #[test]
    fn a_process_has_what_its_files_say() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        let dir = ProcDir::open(i32::try_from(child.id()).unwrap()).unwrap();
        let found = Accounting::read(&dir, &dir.stat().unwrap(), boot_time().ok());
        let pages = dir.text("statm").unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        child.kill().unwrap();
        child.wait().unwrap();
        let bytes = |at| pages.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap() * procfs::page_size();
        assert_eq!(found.virtual_bytes, Some(bytes(0)));
        // The kernel counts it in batches for each CPU.
        let resident = found.resident_bytes.unwrap();
        assert!(resident > 0 && resident.abs_diff(bytes(1)) <= 1 << 20, "{resident} and {pages}");
        let age = now - found.start_unix_seconds.unwrap();
        assert!((0.0..10.0).contains(&age), "{age}");
        assert!(found.received_bytes.is_some() && found.sent_bytes.is_some() && found.open_fds > Some(0), "{found:?}");
    }
}
