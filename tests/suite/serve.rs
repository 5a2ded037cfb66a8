//! The server from a client's side: what is there, what is refused, and what does not hurt it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::server::{Server, fetch_with, token_file};
use crate::support::{gospy, live, until};

#[test]
fn a_program_has_metrics() {
    let program = live(&["idle"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let path = format!("/pid/{}/metrics", program.pid());
    let reply = server.get(&path);
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(reply.body.lines().filter(|line| line.starts_with("# TYPE ")).count(), 38, "{}", reply.body);
    let sd: serde_json::Value = serde_json::from_str(&server.body("/sd")).unwrap();
    assert_eq!(sd[0]["targets"][0], "localhost");
    assert_eq!(sd[0]["labels"]["__metrics_path__"], path.as_str());
    let own = server.body("/metrics");
    assert!(own.contains("gospy_programs 1\n") && own.contains("gospy_readings_total 1\n"), "{own}");
    let head = server.ask("HEAD", &path, &[("Host", "localhost")]);
    assert!(head.status == 200 && head.body.is_empty(), "{head:?}");
    assert!(server.log().contains(&format!(" GET {path} 200 ")), "{}", server.log());
}

/// Readings are counted where they are made, for all who ask.
#[test]
fn every_reading_is_counted() {
    let program = live(&["idle"]);
    let pid = program.pid();
    let server = Server::start(&["--pid", &pid.to_string()]);
    let count = |name: &str| -> f64 {
        let text = server.body("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        value.trim().parse().unwrap()
    };
    let mut before = (count("gospy_readings_total"), count("gospy_reading_seconds_total"));
    for path in
        ["summary", "stacks", "waits", "why", "leaks", "heap", "heap?objects", "heap?watch=2s&interval=250ms", "events"]
    {
        let path = format!("/api/v1/pid/{pid}/{path}");
        // Snapshots are kept for others for a second; they are no readings.
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        match path.ends_with("events") {
            true => drop(crate::api::events(&server, &path).next().unwrap()),
            false => drop(server.body(&path)),
        }
        let now = (count("gospy_readings_total"), count("gospy_reading_seconds_total"));
        assert!(now.0 > before.0 && now.1 > before.1, "{path}: {before:?} {now:?}");
        before = now;
    }
    assert!(count("process_resident_memory_bytes") > 1e6 && count("process_open_fds") > 3.0);
    assert!(count("gospy_readings_failed_total").abs() < f64::EPSILON);
    drop(program);
    until("a failed one is", || {
        assert_eq!(server.get(&format!("/api/v1/pid/{pid}/summary")).status, 404);
        (count("gospy_readings_failed_total") > 0.0).then_some(())
    });
}

/// Texts are gzipped for clients that take it, and say the same.
#[test]
fn texts_are_gzipped_where_they_may_be() {
    let program = live(&["many", "3000"]);
    let pid = program.pid();
    let server = Server::start(&["--pid", &pid.to_string()]);
    for (path, streamed) in [
        ("/", false),
        ("/page.js", false),
        ("/pid/PID/page.json", false),
        ("/pid/PID/metrics", false),
        ("/pid/PID/debug/pprof/goroutine?debug=1", false),
        ("/pid/PID/debug/pprof/goroutine?debug=2", true),
        ("/api/v1/pid/PID/stacks", true),
        ("/api/v1/openapi.json", false),
    ] {
        let path = path.replace("PID", &pid.to_string());
        let page = if path == "/" { "Accept: text/html\r\n" } else { "" };
        let plain = fetch_with(&server.address, &path, page);
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        let packed = fetch_with(&server.address, &path, &format!("{page}Accept-Encoding: br, gzip;q=0.5\r\n"));
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}: {}", packed.head);
        assert_eq!(packed.header("content-length").is_none(), streamed, "{path}: {}", packed.head);
        let unpacked = packed.unpacked();
        assert!(packed.body.len() * 3 < unpacked.len() * 2, "{path}: {} of {}", packed.body.len(), unpacked.len());
        // Ages and counters go on.
        let same = plain.body.len().abs_diff(unpacked.len()) * 50 <= plain.body.len();
        assert!(same, "{path}: {} and {}", plain.body.len(), unpacked.len());
        let refused = fetch_with(&server.address, &path, &format!("{page}Accept-Encoding: gzip;q=0\r\n"));
        assert_eq!(refused.header("content-encoding"), None, "{path}");
    }
    // A profile is gzipped already, and short answers are not worth it.
    for path in [format!("/pid/{pid}/debug/pprof/goroutine"), "/sd".to_owned()] {
        let reply = fetch_with(&server.address, &path, "Accept-Encoding: gzip\r\n");
        assert_eq!((reply.status, reply.header("content-encoding")), (200, None), "{path}");
    }
}

/// All programs in one answer, each by its labels.
#[test]
fn programs_are_scraped_together() {
    let (first, second) = (live(&["idle"]), live(&["many", "70"]));
    let server = Server::start(&["--pid", &first.pid().to_string(), "--pid", &second.pid().to_string()]);
    let sd: serde_json::Value = serde_json::from_str(&server.body("/sd")).unwrap();
    let instances: Vec<&str> = (0..2).map(|n| sd[n]["labels"]["instance"].as_str().unwrap()).collect();
    let reply = server.get("/all/metrics");
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    // Each family once, with those of both.
    assert_eq!(reply.body.lines().filter(|line| line.starts_with("# TYPE ")).count(), 39, "{}", reply.body);
    let value = |text: &str, name: &str, instance: &str| -> Option<f64> {
        let start = format!("{name}{{instance=\"{instance}\",service=\"live\"");
        let line = text.lines().find(|line| line.starts_with(&start))?;
        line.rsplit_once(' ').unwrap().1.parse().ok()
    };
    assert!(value(&reply.body, "go_goroutines", instances[1]).unwrap() > 70.0, "{}", reply.body);
    for instance in &instances {
        assert_eq!(value(&reply.body, "gospy_up", instance), Some(1.0), "{}", reply.body);
    }
    // Without time, nothing is read, and that is said.
    let hurried =
        server.ask("GET", "/all/metrics", &[("Host", "localhost"), ("X-Prometheus-Scrape-Timeout-Seconds", "0")]);
    assert_eq!(value(&hurried.body, "gospy_up", instances[0]), Some(0.0), "{}", hurried.body);
    assert_eq!(value(&hurried.body, "go_goroutines", instances[0]), None, "{}", hurried.body);
    drop(second);
    // What has ended is not there any more.
    until("the other is left", || {
        let text = server.body("/all/metrics");
        let ups: Vec<&str> = text.lines().filter(|line| line.starts_with("gospy_up{")).collect();
        (ups.len() == 1 && ups[0].ends_with("} 1")).then_some(())
    });
}

/// Programs that were not chosen look like pids that nobody has.
#[test]
fn others_are_not_there() {
    let (chosen, other) = (live(&["idle"]), live(&["idle"]));
    let server = Server::start(&["--pid", &chosen.pid().to_string()]);
    let of = |pid: i32| server.get(&format!("/pid/{pid}/metrics"));
    assert_eq!(of(chosen.pid()).status, 200);
    let nobody = of(i32::MAX);
    for pid in [other.pid(), 1, server.pid()] {
        let reply = of(pid);
        assert_eq!((reply.status, &reply.body), (404, &nobody.body), "{pid}");
    }
    for path in [
        "/pid/x/metrics",
        "/pid/-1/metrics",
        "/pid//metrics",
        "/pid",
        "/nothing",
        "//",
        "/../etc/passwd",
        "/pid/99999999999999999999/metrics",
        "/name/%2e%2e/metrics",
    ] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    assert_eq!(server.ask("POST", "/sd", &[("Host", "localhost")]).status, 405);
    assert_eq!(server.ask("GET", "/sd", &[("Host", "evil.test")]).status, 403);
    assert_eq!(server.ask("GET", "/sd", &[("Host", "localhost"), ("Origin", "http://evil.test")]).status, 403);
}

#[test]
fn programs_come_and_go() {
    let first = live(&["idle"]);
    let name = std::fs::read_link(format!("/proc/{}/exe", first.pid())).unwrap();
    let name = name.file_name().unwrap().to_str().unwrap().to_owned();
    let server = Server::start(&["--name", &name]);
    let path = format!("/pid/{}/metrics", first.pid());
    assert_eq!(server.get(&path).status, 200);
    drop(first);
    until("it is gone", || (server.get(&path).status == 404).then_some(()));
    let second = live(&["idle"]);
    let path = format!("/pid/{}/metrics", second.pid());
    until("the next one is there", || (server.get(&path).status == 200).then_some(()));
}

#[test]
fn requests_that_are_none_hurt_nobody() {
    let program = live(&["idle"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    let requests: [&[u8]; 8] = [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    // Some of them have no end, and would be waited for.
    for request in requests {
        let mut stream = server.connect();
        let _ = stream.write_all(request);
        drop(stream);
        assert_eq!(server.get("/").status, 200);
    }
    for request in [long.as_bytes(), many.as_bytes()] {
        let answer = server.send(request);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // Several requests over one connection, and one that never ends beside it.
    let mut slow = server.connect();
    slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    let twice =
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(server.send(twice).matches("HTTP/1.1 200").count(), 2);
}

/// More connections than there is room for wait until others end, which those that say nothing have to.
#[test]
fn silent_connections_are_closed() {
    let program = live(&["idle"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let mut silent: Vec<_> = (0..80).map(|_| server.connect()).collect();
    for stream in &mut silent {
        stream.write_all(b"GET /").unwrap();
    }
    assert_eq!(server.get("/").status, 200, "after those that came first were closed");
    let mut answer = Vec::new();
    let _ = silent[0].read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{answer:?}");
    drop(silent);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    until("descriptors are given back", || (open() < 40).then_some(()));
}

#[test]
fn a_socket_is_for_its_user_and_goes_with_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listen = format!("unix:{}", path.display());
    let server = Server::start_with(&["--all", "--listen", &listen], |_| ());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.get("/").status, 200);
    let second = gospy(&["serve", "--all", "--listen", &listen]);
    assert!(second.code() == 1 && second.stderr.contains("another server answers there"), "{second:?}");
    kill(Pid::from_raw(server.pid()), Signal::SIGTERM).unwrap();
    until("it is removed", || (!path.exists()).then_some(()));
}

/// From the moment there is a socket, a signal ends the server in order.
#[test]
fn a_signal_at_the_first_moment_leaves_no_socket() {
    for signal in [Signal::SIGTERM, Signal::SIGINT].into_iter().cycle().take(10) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
        command.args(["serve", "--all", "--listen", &format!("unix:{}", path.display())]);
        let mut server = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !path.exists() {
            assert_eq!(server.try_wait().unwrap(), None);
        }
        kill(Pid::from_raw(server.id().cast_signed()), signal).unwrap();
        let status = until("it ends", || server.try_wait().unwrap());
        assert_eq!((status.code(), path.exists()), (Some(0), false), "{signal}");
    }
}

/// Where nobody reads its log, requests wait, and the server still ends when it is told to.
#[test]
fn a_log_that_nobody_reads_does_not_keep_the_server() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gospy"));
    command.args(["serve", "--all", "--listen", "127.0.0.1:0"]);
    let mut server = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Kept open to the end, and not read any further.
    let mut log = BufReader::new(server.stderr.take().unwrap());
    let mut first = String::new();
    log.read_line(&mut first).unwrap();
    let address = first.trim().split("http://").nth(1).unwrap().split(';').next().unwrap();
    // More than a pipe holds: of requests that are answered, and of those that are refused.
    let path = "x".repeat(6 << 10);
    let mut waiting = Vec::new();
    for host in ["localhost", "evil.test"].into_iter().cycle().take(30) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        waiting.push(stream);
    }
    let writing = format!("{} 0x2 ", nix::libc::SYS_write);
    until("it waits for somebody to read its log", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).unwrap();
        let calls = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("syscall")).ok());
        calls.into_iter().any(|call| call.starts_with(&writing)).then_some(())
    });
    kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGTERM).unwrap();
    let status = until("it ends", || server.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    drop((log, waiting));
}

#[test]
fn addresses_that_others_reach_take_a_token() {
    let refused = gospy(&["serve", "--all", "--listen", "0.0.0.0:0"]);
    assert!(refused.code() == 1 && refused.stderr.contains("--token-file"), "{refused:?}");
    let directory = tempfile::tempdir().unwrap();
    let file = token_file(directory.path(), "0123456789abcdef0123456789abcdef");
    let server = Server::start_with(
        &["--all", "--listen", "0.0.0.0:0", "--token-file", file.to_str().unwrap(), "--allow-host", "node.test"],
        |_| (),
    );
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let host = format!("node.test:{port}");
    assert_eq!(server.ask("GET", "/", &[("Host", &host)]).status, 200);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = gospy(&["serve", "--all", "--token-file", file.to_str().unwrap()]);
    assert!(refused.code() == 1 && refused.stderr.contains("chmod 600"), "{refused:?}");
    let refused = gospy(&["serve"]);
    assert!(refused.code() == 2 && refused.stderr.contains("--all"), "{refused:?}");
}

/// A typing error in a pid is seen at once, and not as a program that has ended.
#[test]
fn a_pid_that_cannot_be_served_is_an_error_at_start() {
    let absent = gospy(&["serve", "--pid", &i32::MAX.to_string()]);
    assert!(absent.code() == 3 && absent.stderr.contains("no process"), "{absent:?}");
    let not_go = gospy(&["serve", "--pid", &std::process::id().to_string()]);
    assert!(not_go.code() == 5, "{not_go:?}");
}

/// The kernel refuses the server what it has no use for, as `/proc` shows.
#[test]
fn the_server_has_given_up_what_it_does_not_need() {
    let program = live(&["idle"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    assert_eq!(server.get(&format!("/pid/{}/metrics", program.pid())).status, 200);
    is_confined(server.pid());
}

/// All threads of a process that reads programs for others have given up what that does not take.
pub(crate) fn is_confined(pid: i32) {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()), "{status}");
        // CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_PERFMON.
        const KEPT: u64 = 1 << 2 | 1 << 19 | 1 << 38;
        for set in ["CapInh:", "CapPrm:", "CapEff:"] {
            let set = u64::from_str_radix(&field(set), 16).unwrap();
            assert_eq!(set & !KEPT, 0, "{status}");
        }
    }
}

/// `doctor` knows before what a server will have.
#[test]
fn doctor_says_what_a_server_would_have() {
    let program = live(&["idle"]);
    let doctor: serde_json::Value = serde_json::from_str(&gospy(&["doctor", "--json"]).ok()).unwrap();
    let of = |name: &str| {
        let checks = doctor["serve"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {doctor}")).clone()
    };
    for name in ["no_new_privs", "seccomp filter"] {
        assert_eq!(of(name)["passed"], true, "{doctor}");
    }
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let set = u64::from_str_radix(set.trim(), 16).unwrap();
    let kept = of("capabilities kept")["value"].as_str().unwrap().to_owned();
    for (name, bit) in [("CAP_SYS_PTRACE", 19), ("CAP_DAC_READ_SEARCH", 2), ("CAP_PERFMON", 38)] {
        assert_eq!(kept.contains(name), set & (1 << bit) != 0, "{name}: {kept}, {status}");
    }
    let sampled = server.get(&format!("/pid/{}/debug/pprof/profile?seconds=1", program.pid()));
    assert_eq!(of("CPU profiles")["passed"], sampled.status == 200, "{doctor} {}", sampled.status);
    let text = gospy(&["doctor"]).ok();
    assert!(text.contains("Server") && text.contains("mode 0600"), "{text}");
    // About a process, it says nothing of servers.
    assert!(!gospy(&["doctor", "--pid", &program.pid().to_string()]).ok().contains("seccomp filter"));
}
