//! The names by which people know a program, and which processes have one.
//!
//! A process goes by its name in the kernel, the base name of its executable, the path of its main module
//! and the last element of that, and the id or name of its container, of its pod and of its host. Names
//! are compared as they are, capitals included; nothing in them is a pattern.

use super::processes::{Inventory, Process};

/// Fewest digits by which a container's id is known, as with Docker's own commands.
const LEAST_DIGITS: usize = 4;

impl Process {
    /// The names that it goes by, the usual one first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let exe = self.exe.as_deref().and_then(|exe| exe.rsplit('/').next());
        let module = self.module.as_deref();
        let of_host = [&self.container, &self.pod, &self.pod_uid, &self.hostname];
        [exe, Some(&*self.name), module, module.map(last_element)]
            .into_iter()
            .chain(of_host.map(Option::as_deref))
            .flatten()
            .filter(|name| !name.is_empty())
    }

    /// What people call it: the base name of its executable, or where that is not known the name that the
    /// kernel keeps.
    #[must_use]
    pub fn usual_name(&self) -> &str {
        self.names().next().unwrap_or("?")
    }

    /// Whether this is one of its names, or the start of its container's id.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let is_id = name.len() >= LEAST_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let by_id = is_id && self.container.as_deref().is_some_and(|id| id.starts_with(name));
        by_id || self.names().any(|own| own == name)
    }

    fn is_nearly_called(&self, name: &str) -> bool {
        self.names().any(|own| own.starts_with(name))
    }
}

/// `server` for `example.com/shop/server`, and for `example.com/shop/server/v2`.
fn last_element(module: &str) -> &str {
    let is_version = |element: &str| {
        element.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut elements = module.rsplit('/').filter(|element| !element.is_empty());
    let last = elements.next().unwrap_or(module);
    if is_version(last) { elements.next().unwrap_or(last) } else { last }
}

/// The processes that `name` means: those with exactly that name, or else those with a name that begins
/// so. Processes that may be Go programs, but are not readable, count where they have exactly that name,
/// or where no Go program matches at all.
#[must_use]
pub(crate) fn matching<'a>(all: &'a Inventory, name: &str) -> Vec<&'a Process> {
    if name.is_empty() {
        return Vec::new();
    }
    let is = |process: &&Process| process.is_called(name);
    let begins = |process: &&Process| process.is_nearly_called(name);
    let exact: Vec<&Process> = all.programs.iter().chain(&all.hidden).filter(is).collect();
    if !exact.is_empty() {
        return exact;
    }
    let nearly: Vec<&Process> = all.programs.iter().filter(begins).collect();
    if nearly.is_empty() { all.hidden.iter().filter(begins).collect() } else { nearly }
}

/// Other programs of exactly that name.
#[must_use]
pub(crate) fn others<'a>(all: &'a Inventory, name: &str) -> Vec<&'a Process> {
    all.others.iter().filter(|process| process.is_called(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, name: &str, exe: &str, module: &str) -> Process {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Process { pid, name: name.to_owned(), exe: text(exe), module: text(module), ..Process::default() }
    }

    fn pids(all: &Inventory, name: &str) -> Vec<i32> {
        matching(all, name).iter().map(|process| process.pid).collect()
    }

    #[test]
    fn a_program_is_known_by_each_of_its_names() {
        let id = "4f5e6d7c8b9a".repeat(5) + "beef";
        let mut pod = process(3, "api", "/app/api", "example.com/shop/v3");
        (pod.container, pod.pod_uid) = (Some(id.clone()), Some("1b2c".repeat(8)));
        (pod.pod, pod.hostname) = (Some("orders-7f9c4-x2".to_owned()), Some("orders-7f9c4-x2".to_owned()));
        let mut container = process(4, "api", "/app/api", "example.com/shop/v3");
        container.hostname = Some("web".to_owned());
        let all = Inventory {
            programs: vec![
                process(1, "prometheus", "/usr/bin/prometheus", "github.com/prometheus/prometheus/cmd/prometheus"),
                process(
                    2,
                    "prometheus-node",
                    "/usr/bin/prometheus-node-exporter",
                    "github.com/prometheus/node_exporter",
                ),
                pod,
                container,
                process(5, "1234", "/tmp/1234", ""),
                process(6, "-h", "/tmp/-h", ""),
            ],
            hidden: vec![process(7, "secret", "", ""), process(8, "prometheus", "", "")],
            others: vec![process(9, "bash", "/bin/bash", ""), process(10, "prom", "/bin/prom", "")],
            as_root: false,
        };
        for (name, wanted) in [
            // One with exactly that name hides those that begin so.
            ("prometheus", &[1, 8][..]),
            ("prometheus-node", &[2]),
            ("prometheus-node-exporter", &[2]),
            ("node_exporter", &[2]),
            ("github.com/prometheus/prometheus/cmd/prometheus", &[1]),
            ("prom", &[1, 2]),
            ("shop", &[3, 4]),
            ("v3", &[]),
            ("orders-7f9c4-x2", &[3]),
            ("orders", &[3]),
            (&id, &[3]),
            ("4f5e6d7c8b9a", &[3]),
            ("web", &[4]),
            ("1234", &[5]),
            ("-h", &[6]),
            ("secret", &[7]),
            ("sec", &[7]),
            ("bash", &[]),
            ("PROMETHEUS", &[]),
            ("prom.*", &[]),
            ("", &[]),
        ] {
            assert_eq!(pids(&all, name), wanted, "{name}");
        }
        assert_eq!(others(&all, "bash").len(), 1);
        assert!(others(&all, "ba").is_empty());
    }
}
