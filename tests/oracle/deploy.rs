//! The files of `deploy/`, with the code of those who read them: Kubernetes' own types, Alloy's parser, Prometheus,
//! systemd; and the server with just the rights that they give it. The files that forges read, by their schemas.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::fixture::script;
use crate::support::real::Real;
use crate::support::server::{Server, token_file};
use crate::support::{Fixture, Mode, Running, need, need_root, until};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn deploy(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap()
}

/// A program of another user.
fn of_nobody() -> (Running, tempfile::TempDir) {
    let path = Fixture::build("tiny", "1.26.6", Mode::Sw);
    let mut directory = tempfile::Builder::new();
    let directory = directory.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir_in("/tmp");
    let directory = directory.unwrap();
    let install = Command::new("install").args(["-m", "755"]).arg(&path).arg(directory.path().join("tiny")).status();
    assert!(install.unwrap().success());
    let mut command = Command::new(need("setpriv", "util-linux"));
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(directory.path().join("tiny"));
    (Running::spawn(command), directory)
}

#[test]
fn kubernetes_and_alloy_can_read_them() {
    let checker = Fixture::build("deploy", "1.26.6", Mode::Default);
    let checked = Command::new(checker).arg(deploy("daemonset.yaml")).arg(deploy("config.alloy")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert!(text("daemonset.yaml").lines().count() <= 80);
    // The server takes these arguments, and answers to the addresses that the kubelet puts in.
    let arguments: Vec<String> = serde_json::from_slice(&checked.stdout).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = token_file(directory.path(), TOKEN).display().to_string();
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| match argument.as_str() {
            "$(POD_IP)" => "10.1.2.3".to_owned(),
            "$(HOST_IP)" => "10.9.9.9".to_owned(),
            "0.0.0.0:8974" => "0.0.0.0:0".to_owned(),
            "/etc/gospy/token" => file.clone(),
            other => other.to_owned(),
        })
        .collect();
    assert_eq!(arguments.first().map(String::as_str), Some("serve"));
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let server = Server::start_with(&arguments, |_| ());
    for host in ["10.1.2.3:8974", "10.9.9.9:8974"] {
        assert_eq!(server.ask("GET", "/", &[("Host", host)]).status, 200, "{host}");
    }
    assert_eq!(server.ask("GET", "/", &[("Host", "10.1.2.4:8974")]).status, 403);
}

#[test]
fn systemd_can_read_the_unit() {
    let analyze = need("systemd-analyze", "systemd");
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("gospy.service");
    std::fs::write(&unit, text("gospy.service").replace("/usr/bin/gospy", env!("CARGO_BIN_EXE_gospy"))).unwrap();
    let out = Command::new(&analyze).args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Prometheus finds and scrapes a program with the file as it is, but for the port and the places.
#[test]
fn prometheus_scrapes_with_this_file() {
    let program = Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    let directory = tempfile::tempdir().unwrap();
    let file = token_file(directory.path(), TOKEN);
    let server = Server::start(&["--pid", &program.pid().to_string(), "--token-file", file.to_str().unwrap()]);
    let config = text("prometheus.yml")
        .replace("127.0.0.1:8974", &server.address)
        .replace("/etc/prometheus/gospy-token", file.to_str().unwrap())
        .replace("15s", "1s")
        .replace("30s", "1s");
    let prometheus = Real::prometheus_with(&config);
    let query = |query: &str| -> Vec<Value> {
        let answer: Value = serde_json::from_str(&prometheus.get(&format!("/api/v1/query?query={query}"))).unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    };
    until("both jobs are up", || {
        let up = query("up");
        (up.len() == 2 && up.iter().all(|up| up["value"][1] == "1")).then_some(())
    });
    until("it has values", || query("go_goroutines%7Bservice=%22tiny%22%7D").first().map(drop));
    until("so has the server", || query("gospy_programs").first().map(drop));
}

/// In a cluster, one scrape has all programs: Prometheus reads the file, and what it gets by its first job keeps the labels
/// of each program. Debian's Prometheus was built without the API of Kubernetes: addresses stand in for it.
#[test]
fn prometheus_scrapes_a_node_at_once() {
    let promtool = script("real", &["prometheus"]).with_file_name("promtool");
    let text = text("prometheus-kubernetes.yml");
    let directory = tempfile::tempdir().unwrap();
    let file = token_file(directory.path(), TOKEN);
    let here = text.replace("/etc/prometheus/gospy-token", file.to_str().unwrap());
    let programs: Vec<Running> = (0..2).map(|_| Fixture::start("tiny", "1.26.6", Mode::Sw, &[])).collect();
    let pids: Vec<String> = programs.iter().map(|program| program.pid().to_string()).collect();
    let server = Server::start(&["--pid", &pids[0], "--pid", &pids[1], "--token-file", file.to_str().unwrap()]);
    let mut checker = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    checker.stdin.take().unwrap().write_all(server.body("/all/metrics").as_bytes()).unwrap();
    let checked = checker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    // What it says of the client library's own names is said of these, too.
    assert!(checked.status.code() == Some(3) || checked.status.success(), "{said}");
    for line in said.lines() {
        assert!(line.contains("_total") || line.contains("non-histogram") || line.contains("counter"), "{said}");
    }

    let discovery = "  kubernetes_sd_configs:\n  - role: pod\n    namespaces: {names: [gospy]}\n";
    let address = format!("  static_configs:\n  - targets: ['{}']\n", server.address);
    assert_eq!(here.matches(discovery).count(), 2, "{here}");
    let config = here.replace(discovery, &address).replace("__meta_kubernetes_pod_node_name", "__address__");
    let config = config.replace("15s", "1s");
    let prometheus = Real::prometheus_with(&config);
    let query = |query: &str| -> Vec<Value> {
        let answer: Value = serde_json::from_str(&prometheus.get(&format!("/api/v1/query?query={query}"))).unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    };
    until("both programs are there", || (query("go_goroutines").len() == 2).then_some(()));
    let mut instances: Vec<String> = query("gospy_up")
        .iter()
        .map(|up| {
            assert_eq!((&up["value"][1], &up["metric"]["service"]), (&Value::from("1"), &Value::from("tiny")), "{up}");
            up["metric"]["instance"].as_str().unwrap().rsplit_once('/').unwrap().1.to_owned()
        })
        .collect();
    instances.sort();
    let mut expected: Vec<String> = pids.iter().map(|pid| format!("tiny:{pid}")).collect();
    expected.sort();
    assert_eq!(instances, expected);
}

/// The three capabilities that the files give it are enough for the programs of other users.
#[test]
fn three_capabilities_are_enough() {
    need_root();
    let setpriv = need("setpriv", "util-linux");
    let (program, _directory) = of_nobody();
    let server = Server::start_with(&["--all", "--listen", "127.0.0.1:0"], |command| {
        let mut confined = Command::new(setpriv);
        let set = "-all,+sys_ptrace,+dac_read_search,+perfmon";
        confined.args([format!("--bounding-set={set}"), "--inh-caps=-all".to_owned()]).arg("--no-new-privs");
        confined.arg(command.get_program()).args(command.get_args());
        *command = confined;
    });
    let metrics = server.body(&format!("/pid/{}/metrics", program.pid()));
    assert!(metrics.contains("\ngo_goroutines ") && metrics.contains("\nprocess_open_fds "), "{metrics}");
}

#[test]
fn forges_can_read_the_workflows_and_the_action() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    for (schema, name, part, wrong) in [
        ("github-workflows", ".github/workflows/release.yml", "runs-on:", "runs_on:"),
        ("github-actions", "packaging/action/action.yml", "using: composite", "using: nothing"),
        ("gitlab-ci", ".gitlab-ci.yml", "script:", "scripts:"),
    ] {
        let check =
            |file: &Path| Command::new(root.join("fixtures/forges/check")).arg(schema).arg(file).output().unwrap();
        let checked = check(&root.join(name));
        assert!(checked.status.success(), "{name}: {checked:?}");
        // The checker does check.
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        assert!(text.contains(part));
        let damaged = directory.path().join("damaged.yml");
        std::fs::write(&damaged, text.replace(part, wrong)).unwrap();
        let checked = check(&damaged);
        assert_eq!(checked.status.code(), Some(1), "{name}: {checked:?}");
    }
}
