//! The list of programs for Prometheus' `http_sd_configs`: each program is a target of its own, with its own `up`.
//!
//! Labels are what stays the same when a program is started again: its name, host, container and pod; never its
//! pid, its arguments or anything of its goroutines.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::inspect::processes::Process;

/// One entry of the list.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Group {
    /// Where Prometheus asks.
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

/// The list; `server` is the name and port by which the caller reached this server, and `host` that of the machine.
pub(super) fn groups(processes: &[&Process], server: &str, host: &str) -> Vec<Group> {
    let groups = processes.iter().zip(labels(processes, host));
    groups
        .map(|(process, labels)| {
            let path = ("__metrics_path__", format!("/pid/{}/metrics", process.pid));
            Group { targets: [server.to_owned()], labels: labels.into_iter().chain([path]).collect() }
        })
        .collect()
}

/// The labels of each program, which are those of no other.
pub(super) fn labels<'a>(processes: &[&'a Process], host: &str) -> Vec<Vec<(&'static str, String)>> {
    let place = |process: &'a Process| process.hostname.as_deref().unwrap_or(host);
    let mut same: FxHashMap<(&str, &str), usize> = FxHashMap::default();
    for process in processes {
        *same.entry((place(process), process.usual_name())).or_default() += 1;
    }
    processes
        .iter()
        .map(|process| {
            let (host, name) = (place(process), process.usual_name());
            let is_alone = same.get(&(host, name)) == Some(&1);
            // Several with the same name on one host need the pid to have different names.
            let instance = if is_alone { format!("{host}/{name}") } else { format!("{host}/{name}:{}", process.pid) };
            let optional = [
                ("container", &process.container),
                ("namespace", &process.namespace),
                ("pod", &process.pod),
                ("pod_uid", &process.pod_uid),
            ];
            let optional = optional.into_iter().filter_map(|(label, value)| Some((label, value.clone()?)));
            [("instance", instance), ("service", name.to_owned())].into_iter().chain(optional).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_have_pids_only_where_names_collide() {
        let process = |pid, name: &str, container: Option<&str>| Process {
            pid,
            name: name.to_owned(),
            container: container.map(str::to_owned),
            ..Process::default()
        };
        let all = [process(1, "api", None), process(2, "worker", Some("c")), process(3, "worker", None)];
        let groups = groups(&all.each_ref(), "localhost:8974", "node");
        let instances: Vec<&str> = groups.iter().map(|group| group.labels["instance"].as_str()).collect();
        assert_eq!(instances, ["node/api", "node/worker:2", "node/worker:3"]);
        assert_eq!(groups[1].labels["container"], "c");
        let json = serde_json::to_value(&groups[0]).unwrap();
        let expected = serde_json::json!({
            "targets": ["localhost:8974"],
            "labels": {"__metrics_path__": "/pid/1/metrics", "instance": "node/api", "service": "api"},
        });
        assert_eq!(json, expected);
    }
}
