//! What a program is: version, build, times.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use serde_json::Value;

use crate::support::fixture::script;
use crate::support::{Mode, Running, Tally};

pub(crate) fn compare(truth: &Value, seen: &Value, begun: Instant, mode: Mode, tally: &mut Tally) {
    let elapsed = u64::try_from(begun.elapsed().as_nanos()).unwrap();
    let target = &seen["target"];
    tally.equal("go_version", &truth["go_version"], &target["go_version"]);
    tally.equal("arch", &truth["goarch"], &target["arch"]);
    tally.equal("pid", &truth["pid"], &target["pid"]);
    tally.equal("gomaxprocs", &truth["gomaxprocs"], &target["gomaxprocs"]);
    let stripped = !matches!(mode, Mode::Default | Mode::W | Mode::Pie | Mode::Cgo | Mode::CgoStatic | Mode::Race);
    tally.equal("stripped", stripped, target["stripped"].as_bool().unwrap());

    // The runtime was up before the program's own first line ran, and was not before it was started.
    let captured = unix_ns(&seen["captured_at"]);
    let started = truth["start_unix_ns"].as_u64().unwrap();
    let uptime = target["uptime_ns"].as_u64().unwrap();
    tally.between("uptime", captured - started, uptime, elapsed);
    let exe = std::fs::read_link(format!("/proc/{}/exe", truth["pid"])).unwrap();
    tally.equal("exe", exe.to_str().unwrap(), target["exe"].as_str().unwrap());
    let cmdline = std::fs::read_to_string(format!("/proc/{}/cmdline", truth["pid"])).unwrap();
    let own: Vec<&str> = cmdline.trim_end_matches('\0').split('\0').collect();
    tally.equal("cmdline", &serde_json::json!(own), &target["cmdline"]);
    build(exe.to_str().unwrap(), target, tally);
}

/// What `go version -m` and `go tool buildid` say.
fn build(exe: &str, target: &Value, tally: &mut Tally) {
    let said = go(&["version", "-m", exe]);
    let mut lines = said.lines();
    let version = lines.next().unwrap().rsplit(": ").next().unwrap();
    tally.equal("go version", version, target["go_version"].as_str().unwrap());
    let module = &target["module"];
    let mut settings = serde_json::Map::new();
    for line in lines {
        let fields: Vec<&str> = line.trim_start_matches('\t').split('\t').collect();
        match fields[..] {
            ["path", path] => tally.equal("package", path, module["package"].as_str().unwrap()),
            ["mod", path, version, ..] => {
                tally.equal("module", path, module["path"].as_str().unwrap());
                tally.equal("module version", version, module["version"].as_str().unwrap());
            }
            ["build", setting] => {
                let (key, value) = setting.split_once('=').unwrap();
                settings.insert(key.to_owned(), value.trim_matches('"').into());
            }
            _ => {}
        }
    }
    tally.equal("vcs.revision", &settings["vcs.revision"], &module["vcs_revision"]);
    tally.equal("vcs.time", &settings["vcs.time"], &module["vcs_time"]);
    tally.equal("vcs.modified", settings["vcs.modified"] == "true", module["vcs_modified"].as_bool().unwrap());
    tally.equal("settings", &Value::Object(settings), &module["settings"]);
    tally.equal("build id", go(&["tool", "buildid", exe]).trim_end(), target["build_id"].as_str().unwrap());
}

fn go(arguments: &[&str]) -> String {
    static ROOT: OnceLock<std::path::PathBuf> = OnceLock::new();
    let root = ROOT.get_or_init(|| script("toolchain", &[crate::support::VERSIONS[7]]));
    let output = Command::new(root.join("bin/go")).env("GOROOT", root).args(arguments).output().unwrap();
    assert!(output.status.success(), "go {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// RFC 3339 to ns since the Unix epoch.
pub(crate) fn unix_ns(time: &Value) -> u64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    u64::try_from(time.as_nanosecond()).unwrap()
}

/// Looking at it did not make a stopped program go on.
pub(crate) fn is_stopped(program: &Running, seen: &Value, tally: &mut Tally) {
    tally.equal("state", "T", seen["target"]["process_state"].as_str().unwrap());
    let states = program.thread_states();
    tally.holds(format!("threads are {states:?}"), states.iter().all(|state| *state == 'T'));
}
