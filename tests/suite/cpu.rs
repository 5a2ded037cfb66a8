//! `gospy record --cpu` on the program that comes with the sources. Whether the kernel allows it is the machine's
//! business; what gospy says if not is gospy's.

use crate::support::refusal::{PERMISSION, USAGE, refused};
use crate::support::{gospy, live};

#[test]
fn what_computes_is_seen_or_the_refusal_says_why() {
    let busy = live(&["idle", "-busy", "1"]);
    let pid = busy.pid().to_string();
    let arguments = ["record", &pid, "--cpu", "-d", "3s", "-o", "-", "--format", "folded"];
    let output = gospy(&arguments);
    if output.code() == PERMISSION {
        eprintln!("THE KERNEL REFUSES perf_event_open: only what gospy says of that is tested");
        let said = refused(&output, PERMISSION);
        assert!(said.contains("perf_event") && said.contains("--freeze=running"), "{said}");
        let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
        // Root is refused by a filter only, anybody by the setting or by a filter.
        let allows = level.trim().parse::<i32>().is_ok_and(|level| level <= 2);
        assert!(!allows || said.contains("seccomp") || said.contains("the kernel refuses"), "{level}: {said}");
        return;
    }
    assert_eq!(output.code(), 0, "{output:?}");
    let us = |which: &dyn Fn(&str) -> bool| -> u64 {
        let lines = output.stdout.lines().map(|line| line.rsplit_once(' ').unwrap());
        lines.filter(|(stack, _)| which(stack)).map(|(_, us)| us.parse::<u64>().unwrap()).sum()
    };
    let (all, busy) = (us(&|_| true), us(&|stack| stack.starts_with("main.")));
    assert!(all > 100_000 && busy * 10 > all * 9, "{output:?}");
    let facts = output.stderr.lines().next().unwrap();
    for part in [" samples in ", " for each second of CPU time, of ", " lost; ", " in the kernel", " points"] {
        assert!(facts.contains(part), "{part}: {facts}");
    }
}

#[test]
fn options_that_mean_nothing_there_are_refused() {
    for more in [&["--idle"][..], &["--cpu-budget", "1%"], &["--only", "waiting"], &["--freeze"]] {
        let output = gospy(&[&["record", "1", "--cpu", "-o", "-", "--format", "folded"], more].concat());
        let said = refused(&output, USAGE);
        assert!(said.contains("--cpu"), "{said}");
    }
    let output = gospy(&["record", "--cpu", "--from", "x.capture", "-o", "-", "--format", "folded"]);
    assert!(refused(&output, USAGE).contains("a running program"), "{output:?}");
}
