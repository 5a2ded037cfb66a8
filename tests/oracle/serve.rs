//! The server: its metrics against those of Go's own client library in the same program, against
//! `runtime/metrics`, and in a real Prometheus; who may ask.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gospy::capture::{OpenOptions, Session};
use gospy::process::live::LiveTarget;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::fixture::script;
use crate::support::real::Real;
use crate::support::server::{Server, token_file};
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, each, need, need_root, until};

/// Toolchains that the client library builds with.
const WITH_CLIENT: [&str; 3] = ["1.25.5", "1.26.6", "1.27.3"];

/// Families with their types, and names of values with their labels, in order.
fn shape(text: &str) -> Vec<String> {
    let line = |line: &str| match line.strip_prefix("# TYPE ") {
        Some(kind) => Some(kind.to_owned()),
        None if line.starts_with('#') => None,
        None => line.rsplit_once(' ').map(|(name, _)| name.to_owned()),
    };
    text.lines().filter_map(line).collect()
}

fn values(text: &str) -> Values {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

type Values = BTreeMap<String, f64>;

/// A value that is the same before and after was that in between; one that only grows was something from the one to
/// the other; and of one that went up and down nothing is said.
fn lies_between(tally: &mut Tally, before: &Values, own: &Values, after: &Values) {
    for (name, own) in own {
        let (Some(before), Some(after)) = (before.get(name), after.get(name)) else {
            tally.wrong(format!("{name} is missing"));
            continue;
        };
        let grows = ["_total", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        // The client library asks its collectors on goroutines of their own.
        let more = if name == "go_goroutines" { 4.0 } else { 0.0 };
        if grows || before == after {
            tally.between(name, *before, *own, after + more);
        }
    }
}

/// What went away and came back between two readings is compared once more.
fn in_some_round(tally: &mut Tally, mut compare: impl FnMut(&mut Tally)) {
    const ROUNDS: usize = 5;
    for round in 1.. {
        let mut found = tally.another();
        compare(&mut found);
        if found.wrong.is_empty() || round == ROUNDS {
            tally.add(found);
            return;
        }
    }
}

#[test]
fn metrics_are_those_of_the_client_library() {
    let cases: Vec<(&str, Mode)> = WITH_CLIENT
        .into_iter()
        .flat_map(|version| [Mode::Default, Mode::Sw, Mode::CgoPieSw].map(|mode| (version, mode)))
        .collect();
    let tally = each(
        &cases,
        |(version, mode)| format!("{version} {}", mode.name()),
        |(version, mode), tally: &mut Tally| {
            let mut program = Fixture::start("metrics", version, *mode, &[]);
            let server = Server::start(&["--pid", &program.pid().to_string()]);
            let path = format!("/pid/{}/metrics", program.pid());
            for step in ["", "gc", "grow", "gc"] {
                if !step.is_empty() {
                    program.ask(step);
                }
                in_some_round(tally, |tally| {
                    // Once, so that what the first time takes is there.
                    program.ask("gather");
                    program.wait_until_it_reads();
                    let before = server.body(&path);
                    let own = program.ask("gather")["text"].as_str().unwrap().to_owned();
                    program.wait_until_it_reads();
                    let after = server.body(&path);
                    tally.equal("families, types, names and labels", shape(&own), shape(&before));
                    lies_between(tally, &values(&before), &values(&own), &values(&after));
                });
            }
        },
    );
    tally.check(9 * 4 * 25);
}

/// Older toolchains, to which the client library has only what `runtime/metrics` says.
#[test]
fn metrics_are_those_of_the_runtime() {
    let tally = each(
        &VERSIONS,
        |version| (*version).to_owned(),
        |version, tally: &mut Tally| {
            let mut program = Fixture::start("fx", version, Mode::Sw, &["many", "3000"]);
            program.settle();
            let target = LiveTarget::open(program.pid()).unwrap();
            let mut session = Session::open(Box::new(target), &OpenOptions::default()).unwrap();
            let mut ours = |program: &Running| {
                program.wait_until_it_reads();
                let found = session.metrics().unwrap();
                let (heap, gc) = (found.heap.unwrap(), found.collections.unwrap());
                BTreeMap::from([
                    ("/sched/goroutines:goroutines", found.goroutines.unwrap() as f64),
                    ("/gc/cycles/total:gc-cycles", gc.cycles.into()),
                    ("/gc/heap/allocs:bytes", heap.total_alloc as f64),
                    ("/gc/heap/objects:objects", heap.heap_objects as f64),
                    ("/gc/heap/goal:bytes", found.next_goal.unwrap() as f64),
                    ("/memory/classes/heap/objects:bytes", heap.heap_alloc as f64),
                    ("/memory/classes/heap/released:bytes", heap.heap_released as f64),
                    ("/memory/classes/heap/stacks:bytes", heap.stack_inuse as f64),
                    ("/memory/classes/metadata/mspan/inuse:bytes", found.mspan_inuse.unwrap() as f64),
                    ("/memory/classes/metadata/mcache/inuse:bytes", found.mcache_inuse.unwrap() as f64),
                    ("/memory/classes/metadata/other:bytes", heap.gc_sys as f64),
                    ("/memory/classes/profiling/buckets:bytes", heap.buckhash_sys as f64),
                    ("/memory/classes/other:bytes", heap.other_sys as f64),
                    ("/memory/classes/total:bytes", heap.sys as f64),
                ])
            };
            in_some_round(tally, |tally| {
                let before = ours(&program);
                let own = program.ask("metrics")["metrics"].clone();
                let after = ours(&program);
                for (name, before) in &before {
                    let after = after[name];
                    // From 1.26 on that counts the system's goroutines, too, and NumGoroutine still does not.
                    if *name == "/sched/goroutines:goroutines" && ["1.26.6", "1.27.3"].contains(version) {
                        tally.equal("goroutines of the program", 3001.0, *before);
                        continue;
                    }
                    match own[*name].as_f64() {
                        Some(own) => tally.between(*name, before.min(after), own, before.max(after)),
                        // Not all versions have all of them.
                        None => tally.holds(format!("{name} came later"), own[*name].is_null()),
                    }
                }
            });
        },
    );
    tally.check(8 * 14);
}

/// Prometheus finds the programs, scrapes them and answers queries; its own checker has nothing to say.
#[test]
fn prometheus_finds_and_scrapes_programs() {
    let mut program = Fixture::start("metrics", "1.26.6", Mode::Sw, &[]);
    let server = Server::start(&["--name", "metrics"]);
    let pid = program.pid();
    let promtool = script("real", &["prometheus"]).with_file_name("promtool");
    let mut checker = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = server.body(&format!("/pid/{pid}/metrics"));
    checker.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = checker.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    // What it says of the client library's own names is said of these, too.
    assert!(checked.status.code() == Some(3) || checked.status.success(), "{said}");
    for line in said.lines() {
        assert!(line.contains("_total") || line.contains("non-histogram") || line.contains("counter"), "{said}");
    }

    let config = format!(
        "scrape_configs:\n- job_name: gospy\n  scrape_interval: 1s\n  http_sd_configs:\n  - url: http://{}/sd\n    \
         refresh_interval: 1s\n",
        server.address
    );
    let prometheus = Real::prometheus_with(&config);
    let query = |query: &str| -> Vec<Value> {
        let answer: Value = serde_json::from_str(&prometheus.get(&format!("/api/v1/query?query={query}"))).unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    };
    until("it is scraped", || query("up").first().filter(|up| up["value"][1] == "1").map(drop));
    let host = nix::sys::utsname::uname().unwrap().nodename().to_string_lossy().into_owned();
    let goroutines = query("go_goroutines").remove(0);
    assert_eq!(goroutines["value"][1], "21");
    assert_eq!(goroutines["metric"]["instance"], format!("{host}/metrics"));
    assert_eq!(goroutines["metric"]["service"], "metrics");
    // Queries of the dashboards that people have.
    for wanted in [
        "go_memstats_alloc_bytes",
        "rate(go_memstats_alloc_bytes_total[1m])",
        "go_memstats_stack_inuse_bytes",
        "process_resident_memory_bytes",
        "process_open_fds/process_max_fds",
        "go_gc_duration_seconds%7Bquantile=%221%22%7D",
        "go_threads",
    ] {
        until(wanted, || query(wanted).first().map(drop));
    }
    program.send("quit");
    // It is not there any more, and that is no zero.
    until("it is down", || (server.get(&format!("/pid/{pid}/metrics")).status == 404).then_some(()));
    until("it is off the list", || (server.body("/sd") == "[]").then_some(()));
}

#[test]
fn another_user_needs_the_token() {
    need_root();
    let (setpriv, curl) = (need("setpriv", "util-linux"), need("curl", "curl"));
    let program = Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    let directory = tempfile::tempdir().unwrap();
    let token = "0123456789abcdef0123456789abcdef";
    let file = token_file(directory.path(), token);
    let pid = program.pid().to_string();
    let server = Server::start(&["--pid", &pid, "--token-file", file.to_str().unwrap()]);
    let as_nobody = |more: &[&str]| {
        let mut command = Command::new(&setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&curl);
        command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).args(more);
        let out = command.arg(format!("http://{}/pid/{pid}/metrics", server.address)).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    assert_eq!(server.get(&format!("/pid/{pid}/metrics")).status, 200);
    assert_eq!(as_nobody(&[]), "401");
    assert_eq!(as_nobody(&["-H", &format!("Authorization: Bearer {token}")]), "200");
    assert_eq!(as_nobody(&["-H", "Authorization: Bearer 0123456789abcdef0123456789abcdeX"]), "401");
    assert!(!server.log().contains(token), "{}", server.log());
    // A socket is closed to them from the start.
    let socket = directory.path().join("s");
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = Server::start_with(&["--pid", &pid, "--listen", &format!("unix:{}", socket.display())], |_| ());
    assert_eq!(server.get(&format!("/pid/{pid}/metrics")).status, 200);
    let mut command = Command::new(&setpriv);
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&curl);
    command.args(["-s", "--unix-socket"]).arg(&socket).arg("http://localhost/metrics");
    assert_eq!(command.output().unwrap().status.code(), Some(7), "curl could connect");
}

/// What a scrape costs does not depend on how fast the machine is: it is counted.
#[test]
fn a_scrape_takes_few_calls() {
    const SCRAPES: usize = 200;
    let program = Fixture::start("tiny", "1.26.6", Mode::Sw, &[]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let mut connection = server.connect();
    let request = format!("GET /pid/{}/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", program.pid());
    let mut scrape = || {
        connection.write_all(request.as_bytes()).unwrap();
        let (mut answer, mut piece) = (String::new(), [0; 4096]);
        let is_whole = |answer: &str| {
            let length = |body: &str| format!("content-length: {}", body.len());
            answer.split_once("\r\n\r\n").is_some_and(|(head, body)| head.lines().any(|line| line == length(body)))
        };
        while !is_whole(&answer) {
            let got = connection.read(&mut piece).unwrap();
            assert!(got > 0, "{answer}");
            answer.push_str(std::str::from_utf8(&piece[..got]).unwrap());
        }
    };
    scrape();
    let counts = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new(need("strace", "strace"))
        .args(["-f", "-c", "-qq", "-o"])
        .arg(counts.path())
        .args(["-p", &server.pid().to_string()])
        .spawn()
        .unwrap();
    is_traced(&server);
    (0..SCRAPES).for_each(|_| scrape());
    interrupt(&mut strace);
    let counts = std::fs::read_to_string(counts.path()).unwrap();
    let total = counts.lines().find(|line| line.ends_with(" total")).unwrap_or_else(|| panic!("{counts}"));
    let calls: usize = total.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(calls > SCRAPES * 5 && calls <= SCRAPES * 20, "{calls} calls for {SCRAPES} scrapes:\n{counts}");
}

/// Waits until strace has attached: threads say so.
fn is_traced(server: &Server) {
    until("strace is there", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        (!status.contains("TracerPid:\t0\n")).then_some(())
    });
}

/// Has strace write what it knows, and end.
fn interrupt(strace: &mut Child) {
    kill(Pid::from_raw(strace.id().cast_signed()), Signal::SIGTERM).unwrap();
    strace.wait().unwrap();
}

/// Nothing that is asked stops a program or signals it, and what it keeps to itself is in no answer.
#[test]
fn a_program_is_only_read() {
    const SECRET: &str = "hunter2-7d1f";
    let program = Fixture::new("tiny", "1.26.6", Mode::Sw).env("PASSWORD", SECRET).run(&[SECRET]);
    let pid = program.pid().to_string();
    let server = Server::start(&["--pid", &pid]);
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new(need("strace", "strace"))
        .args(["-f", "-qq", "-o"])
        .arg(trace.path())
        .args(["-e", "trace=ptrace,kill,tkill,tgkill,pidfd_send_signal,process_vm_writev,execve", "-p"])
        .arg(server.pid().to_string())
        .spawn()
        .unwrap();
    is_traced(&server);
    let profiles = [
        "metrics?leaks=1",
        "debug/pprof/",
        "debug/pprof/cmdline",
        "debug/pprof/goroutine?debug=1",
        "debug/pprof/goroutine?debug=2",
        "debug/pprof/goroutineleak?debug=2",
        "debug/pprof/threadcreate?debug=1",
        "debug/pprof/heap?debug=1",
        "debug/pprof/profile?seconds=1",
        "debug/fgprof?seconds=1",
    ];
    let profiles = profiles.map(|path| format!("/pid/{pid}/{path}"));
    let metrics = format!("/pid/{pid}/metrics");
    let others = ["/", "/sd", "/metrics", &metrics, "/name/tiny/metrics", "/pid/1/metrics"];
    for path in others.into_iter().chain(profiles.iter().map(String::as_str)) {
        let reply = server.get(path);
        assert!(!reply.body.contains(SECRET), "{path}: {}", reply.body);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    std::thread::sleep(Duration::from_millis(200));
    interrupt(&mut strace);
    assert_eq!(std::fs::read_to_string(trace.path()).unwrap(), "");
    assert!(!server.log().contains(SECRET));
}
