//! The container that a process runs in, from the path of its cgroup.
//!
//! Container runtimes and systemd put ids into cgroup directory names. Docker, containerd, CRI-O, Podman,
//! Kubernetes, LXC and systemd-nspawn are recognised, with the drivers `cgroupfs` and `systemd`, in cgroup v1
//! and v2 (cgroups(7)). User-chosen container names are not in there. Anyone who may create cgroups can name
//! them freely: nothing here is proof.

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Container {
    /// Its id, usually 64 hexadecimal digits; for LXC and systemd-nspawn its name.
    pub id: String,
    /// Its Kubernetes pod uid.
    pub pod_uid: Option<String>,
}

/// Minimum digits of an id: anything shorter may be a name.
const LEAST_DIGITS: usize = 32;

/// The innermost container named in a `/proc/PID/cgroup`.
#[must_use]
pub(crate) fn container(cgroup: &str) -> Option<Container> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        of_path(fields.nth(2)?)
    })
}

fn of_path(path: &str) -> Option<Container> {
    let parts: Vec<&str> = path.split('/').collect();
    let (at, id) = parts.iter().enumerate().rev().find_map(|(at, part)| {
        let above = at.checked_sub(1).and_then(|above| parts.get(above)).copied();
        Some((at, id(part, above)?))
    })?;
    let pod_uid = parts.iter().take(at.saturating_add(1)).rev().find_map(|part| pod_uid(part));
    Some(Container { id, pod_uid })
}

fn id(part: &str, above: Option<&str>) -> Option<String> {
    let name = part.strip_suffix(".scope").or(part.strip_suffix(".service")).unwrap_or(part);
    let digits = name.rsplit([':', '-']).next().unwrap_or(name);
    let is_id = digits.len() >= LEAST_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let made_by = name.strip_suffix(digits).unwrap_or_default();
    // Podman's monitor and systemd's own units are not containers.
    let is_container = made_by.is_empty() && above.is_some_and(|above| !above.is_empty())
        || ["docker-", "libpod-", "crio-", "containerd-", ":"].iter().any(|by| made_by.ends_with(by));
    if is_id && is_container {
        return Some(digits.to_owned());
    }
    let machine = name.strip_prefix("machine-").filter(|_| above == Some("machine.slice"));
    let lxc = part.strip_prefix("lxc.payload.").or_else(|| (above == Some("lxc")).then_some(part));
    let name = machine.or(name.strip_prefix("systemd-nspawn@")).map(unescaped).or(lxc.map(str::to_owned));
    name.filter(|name| !name.is_empty())
}

/// `pod` and its uid, with `_` for `-` where systemd names the directory.
fn pod_uid(part: &str) -> Option<String> {
    let name = part.split(':').next().unwrap_or(part);
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let uid = name.rsplit_once("-pod").map_or_else(|| name.strip_prefix("pod"), |(_, uid)| Some(uid))?;
    let uid = uid.replace('_', "-");
    let is_uid = uid.len() >= LEAST_DIGITS && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

/// Decodes systemd's escape `\x2d` (hyphen), the only one in machine names.
fn unescaped(name: &str) -> String {
    name.replace("\\x2d", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_runtime_is_recognised() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let inner = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
        let uid = "6a2c8d4e-0b1f-4c3d-9e8a-7f6b5c4d3e2f";
        let flat = uid.replace('-', "_");
        let of_file = "0123456789abcdef0123456789abcdef";
        let burstable = format!("kubepods-burstable-pod{flat}.slice");
        for line in [
            "0::/",
            "",
            "nonsense",
            "0::/user.slice/user-1000.slice/session-3.scope",
            "0::/system.slice/prometheus.service",
            &format!("0::/{id}"),
            &format!("0::/machine.slice/libpod-conmon-{id}.scope"),
            "0::/machine.slice/machine-.scope",
        ] {
            assert_eq!(container(line), None, "{line}");
        }
        for (line, wanted, pod_uid) in [
            (format!("0::/system.slice/docker-{id}.scope"), id, None),
            (format!("0::/../../docker-{id}.scope/init"), id, None),
            (format!("12:pids:/docker/{id}"), id, None),
            (format!("3:cpu,cpuacct:/\n2:pids:/docker/{id}/docker/{inner}"), inner, None),
            (format!("0::/machine.slice/libpod-{id}.scope/container"), id, None),
            (format!("1:name=systemd:/kubepods/burstable/pod{uid}/{id}"), id, Some(uid)),
            (format!("0::/kubepods.slice/{burstable}/cri-containerd-{id}.scope"), id, Some(uid)),
            (format!("0::/kubepods.slice/kubepods-pod{of_file}.slice/crio-{id}.scope"), id, Some(of_file)),
            (format!("0::/system.slice/containerd.service/{burstable}:cri-containerd:{id}"), id, Some(uid)),
            ("0::/lxc.payload.web/system.slice/nginx.service".to_owned(), "web", None),
            ("4:cpu:/lxc/web".to_owned(), "web", None),
            ("0::/machine.slice/machine-my\\x2dbox.scope/payload".to_owned(), "my-box", None),
        ] {
            let wanted = Container { id: wanted.to_owned(), pod_uid: pod_uid.map(str::to_owned) };
            assert_eq!(container(&line), Some(wanted), "{line}");
        }
    }
}
