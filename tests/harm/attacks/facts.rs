//! Attributes of a process in /proc that only the process itself may change.

use std::collections::BTreeMap;
use std::fs;

/// Lines of `/proc/PID/status`.
const STATUS: [&str; 14] = [
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "SigIgn",
    "Cpus_allowed",
    "Mems_allowed",
    "Umask",
];

/// Whole files.
const FILES: [&str; 6] = ["limits", "oom_score_adj", "cgroup", "timerslack_ns", "coredump_filter", "personality"];

/// Rights, limits, priorities and descriptors of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(BTreeMap<String, String>);

impl Facts {
    pub(crate) fn of(pid: i32, with_descriptors: bool) -> Facts {
        let mut facts = BTreeMap::new();
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        for line in read("status").lines() {
            if let Some((name, value)) = line.split_once(':').filter(|(name, _)| STATUS.contains(name)) {
                facts.insert(name.to_owned(), value.trim().to_owned());
            }
        }
        for name in FILES {
            facts.insert(name.to_owned(), read(name));
        }
        // After the name in parentheses: priority and nice value are the 18th and 19th of all, policies the 41st.
        if let Some((_, rest)) = read("stat").rsplit_once(") ") {
            let fields: Vec<&str> = rest.split(' ').collect();
            facts.insert("priority, nice value, policy".to_owned(), [fields[15], fields[16], fields[38]].join(" "));
        }
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            if with_descriptors && let Ok(to) = fs::read_link(entry.path()) {
                facts.insert(format!("descriptor {}", entry.file_name().display()), to.display().to_string());
            }
        }
        Facts(facts)
    }

    /// What is not as in `before`.
    pub(crate) fn changes(&self, before: &Facts) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(before.0.keys()).collect();
        let differ = names.into_iter().filter(|name| self.0.get(*name) != before.0.get(*name));
        differ.map(|name| format!("{name}: {:?}, was {:?}", self.0.get(name), before.0.get(name))).collect()
    }
}
