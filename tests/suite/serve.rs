//! The server from a client's side: what is there, what is refused, and what does not hurt it.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::server::{Server, token_file};
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
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
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
