//! `gospy top` on programs that become others.

use crate::support::process::Killed;
use crate::support::{Fixture, Mode};

#[test]
fn a_program_that_executes_itself_is_counted_anew() {
    // At the same addresses, and at others.
    for mode in [Mode::Sw, Mode::Pie] {
        executes_itself(mode);
    }
}

fn executes_itself(mode: Mode) {
    let mut target = Fixture::start("profile", "1.26.6", mode, &[]);
    let pid = target.pid().to_string();
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_gospy"))
        .args(["top", "--pid", &pid, "--wait", "--json", "-i", "0.1", "--max-cpu", "1000"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.0.stdout.take().unwrap()));
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    while next()["refresh"].as_u64().unwrap() < 3 {}
    // The same pid, the same file.
    target.send("exec");
    target.wait_ready();
    let restart = loop {
        let line = next();
        match line["type"].as_str().unwrap() {
            "refresh" | "failure" => assert_ne!(line["refresh"], 1_000, "no restart was seen"),
            _ => break line,
        }
    };
    assert_eq!(restart["type"], "restart", "{restart}");
    assert!(restart["reason"].as_str().unwrap().contains(&pid), "{restart}");
    let first = next();
    assert_eq!((&first["type"], &first["target"]["pid"]), (&"refresh".into(), &target.pid().into()));
    for group in first["groups"].as_array().unwrap() {
        assert!(group["change"].is_null() && group["rate_per_second"].is_null(), "{group}");
        assert_eq!(group["change_since_start"], 0, "{group}");
    }
}
