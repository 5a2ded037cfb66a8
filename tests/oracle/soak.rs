//! The server for as long as it is left alone: clients of all kinds, among them some that read slowly, ask for half of
//! something or for nothing that there is, while programs come and go. Its memory stays what it is, no descriptor is left
//! behind, and what has ended is not shown as if it ran.
//!
//! `GOSPY_SOAK_SECONDS` sets for how long; the default is 20. `soak_readers` has the other commands that run for long.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::server::Server;
use crate::support::{Fixture, Running, live_program, until};

const SECONDS: &str = "GOSPY_SOAK_SECONDS";
const USUAL_SECONDS: u64 = 20;
/// How long a program that has ended may be on the list.
const STALE: Duration = Duration::from_secs(30);

/// What the clients share.
struct Soak {
    server: Server,
    /// One that runs all the time.
    lasting: i32,
    /// The latest of those that come and go.
    passing: Mutex<i32>,
    is_over: AtomicBool,
    /// Requests by clients that are as clients should be, and of them, those that were answered with 200.
    asked: AtomicU64,
    answered: AtomicU64,
}

impl Soak {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// Of one of the programs, in turn.
    fn path(&self, turn: u64, what: &str) -> String {
        let pid = if turn.is_multiple_of(2) { self.lasting } else { *self.passing.lock().unwrap() };
        what.replace("PID", &pid.to_string())
    }

    /// Asks for these, again and again. What has ended is not found; a busy server says so.
    fn ask_for(&self, paths: &[&str], pause: Duration) {
        for turn in 0.. {
            for path in paths {
                if !self.goes_on() {
                    return;
                }
                let path = self.path(turn, path);
                let reply = self.server.ask("GET", &path, &[("Host", "localhost"), ("Accept-Encoding", "identity")]);
                assert!(matches!(reply.status, 200 | 404 | 503), "{path}: {reply:?}");
                self.asked.fetch_add(1, Ordering::Relaxed);
                self.answered.fetch_add(u64::from(reply.status == 200), Ordering::Relaxed);
                sleep(pause);
            }
        }
    }

    /// Opens a connection, says something, and reads at most so many bytes of what comes, a few at a time.
    fn badly(&self, said: &[&str], most: usize) {
        for turn in 0.. {
            for said in said {
                if !self.goes_on() {
                    return;
                }
                let mut stream = self.server.connect();
                let _ = stream.write_all(self.path(turn, said).as_bytes());
                let mut piece = [0; 512];
                for _ in 0..most / piece.len() {
                    sleep(Duration::from_millis(20));
                    if !self.goes_on() || !matches!(stream.read(&mut piece), Ok(1..)) {
                        break;
                    }
                }
                sleep(Duration::from_millis(100));
            }
        }
    }

    /// Asks as an assistant.
    fn assist(&self) {
        for turn in 0.. {
            for tool in ["overview", "groups", "waits"] {
                if !self.goes_on() {
                    return;
                }
                let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
                let call = format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"program":"PID"}},{meta}}}}}"#
                );
                let body = self.path(turn, &call);
                let head = format!(
                    "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n\
                     Content-Type: application/json\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n\
                     Mcp-Name: {tool}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let answer = self.server.send(format!("{head}{body}").as_bytes());
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                self.asked.fetch_add(1, Ordering::Relaxed);
                self.answered.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(100));
            }
        }
    }

    /// Programs that come and go: each is on the list while it runs, and not long afterwards.
    fn come_and_go(&self, program: &Path) {
        let is_listed = |pid: i32| self.server.body("/sd").contains(&format!("\"/pid/{pid}/metrics\""));
        while self.goes_on() {
            let running = start(program, "50");
            let pid = running.pid();
            until("it is on the list", || is_listed(pid).then_some(()));
            *self.passing.lock().unwrap() = pid;
            sleep(Duration::from_millis(500));
            drop(running);
            let ended = Instant::now();
            until("it is off the list", || (!is_listed(pid)).then_some(()));
            let listed = ended.elapsed();
            assert!(listed < STALE, "it was on the list for {listed:?}");
            assert_eq!(self.server.get(&format!("/pid/{pid}/metrics")).status, 404);
        }
    }

    fn descriptors(&self) -> usize {
        descriptors(self.server.pid())
    }
}

/// How many a process has open; none when it has ended.
pub(crate) fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Sets the flag when dropped, so that the other threads of a test end also when it panics.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Memory and descriptors of a process over time.
#[derive(Default)]
pub(crate) struct Usage {
    /// Resident memory, and its share of what others have too (PSS), KiB.
    resident: Vec<u64>,
    proportional: Vec<u64>,
    open: Vec<u64>,
}

impl Usage {
    /// Unless it has ended by now.
    pub(crate) fn look(&mut self, pid: i32) {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        if rollup.is_empty() {
            return;
        }
        let field = |name: &str| -> u64 {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        self.resident.push(field("Rss:"));
        self.proportional.push(field("Pss:"));
        self.open.push(descriptors(pid) as u64);
    }

    /// The most in each third of the time.
    fn thirds(values: &[u64]) -> [u64; 3] {
        let third = values.len() / 3;
        let most = |part: &[u64]| part.iter().copied().max().unwrap_or_default();
        [most(&values[..third]), most(&values[third..2 * third]), most(&values[2 * third..])]
    }

    pub(crate) fn most_open(&self) -> u64 {
        self.open.iter().copied().max().unwrap_or_default()
    }

    /// Fails if memory or descriptors still grow in the last third.
    pub(crate) fn is_flat(&self, whose: &str) {
        let [resident, proportional, open] = [&self.resident, &self.proportional, &self.open].map(|v| Self::thirds(v));
        println!("{whose}: at most by thirds RSS {resident:?} KiB, PSS {proportional:?} KiB, descriptors {open:?}");
        for memory in [resident, proportional] {
            assert!(memory[2] <= memory[1] + memory[1] / 4 + 16 * 1024, "{whose}: {memory:?}");
        }
        assert!(open[2] <= open[0].max(open[1]) + 8, "{whose}: {open:?}");
    }
}

/// Duration of a soak in seconds: `GOSPY_SOAK_SECONDS`, by default `usual`.
pub(crate) fn seconds(usual: u64) -> u64 {
    std::env::var(SECONDS).ok().map_or(usual, |text| text.parse().expect("a number of seconds"))
}

/// A copy of the program, by a name that no other test has.
pub(crate) fn copy(directory: &Path, name: &str) -> PathBuf {
    let program = directory.join(format!("{name}{}", std::process::id()));
    std::fs::copy(live_program(), &program).unwrap();
    program
}

fn start(program: &Path, many: &str) -> Running {
    Fixture::of(program).run(&["many", many])
}

#[test]
fn a_server_stays_as_it_is() {
    let seconds = seconds(USUAL_SECONDS);
    let directory = tempfile::tempdir().unwrap();
    let program = copy(directory.path(), "soaked");
    let lasting = start(&program, "2000");
    let soak = Soak {
        server: Server::start(&["--name", program.file_name().unwrap().to_str().unwrap()]),
        lasting: lasting.pid(),
        passing: Mutex::new(lasting.pid()),
        is_over: AtomicBool::new(false),
        asked: AtomicU64::new(0),
        answered: AtomicU64::new(0),
    };
    // What is opened once and kept is there then.
    soak.server.body(&soak.path(0, "/pid/PID/debug/pprof/goroutine?debug=2"));
    let idle = soak.descriptors();
    let mut usage = Usage::default();
    std::thread::scope(|scope| {
        let soak = &soak;
        let pause = Duration::from_millis(50);
        let clients: Vec<Box<dyn FnOnce() + Send>> = vec![
            Box::new(move || soak.ask_for(&["/pid/PID/metrics", "/all/metrics", "/metrics"], pause)),
            Box::new(move || soak.ask_for(&["/pid/PID/metrics?goroutines=1"], 4 * pause)),
            Box::new(move || soak.ask_for(&["/pid/PID/debug/pprof/goroutine", "/pid/PID/debug/pprof/heap"], 4 * pause)),
            Box::new(move || {
                soak.ask_for(&["/pid/PID/debug/pprof/goroutine?debug=2", "/pid/PID/page.json"], 6 * pause)
            }),
            Box::new(move || soak.ask_for(&["/api/v1/pid/PID/summary?limit=5", "/api/v1/pid/PID/waits"], 4 * pause)),
            Box::new(move || soak.ask_for(&["/pid/PID/debug/fgprof?seconds=1", "/api/v1/pid/PID/leaks"], 20 * pause)),
            Box::new(move || soak.assist()),
            // Listeners who leave after a while, and readers who are slow and leave before the end.
            Box::new(move || {
                let live = "GET /pid/PID/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
                let events = "GET /api/v1/pid/PID/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
                soak.badly(&[live, events], 12 * 1024);
            }),
            Box::new(move || {
                let stacks = "GET /api/v1/pid/PID/stacks HTTP/1.1\r\nHost: localhost\r\n\r\n";
                let dump = "GET /pid/PID/debug/pprof/goroutine?debug=2 HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n";
                soak.badly(&[stacks, dump], 24 * 1024);
            }),
            // Halves of requests, and none at all.
            Box::new(move || {
                let half = "GET /pid/PID/metrics HTTP/1.1\r\nHost: loc";
                let body = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\"";
                soak.badly(&[half, body, "", "\0\0\0\0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"], 0);
            }),
        ];
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(client)).collect();
        let changing = scope.spawn(|| soak.come_and_go(&program));
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end && threads.iter().all(|thread| !thread.is_finished()) && !changing.is_finished() {
            usage.look(soak.server.pid());
            sleep(Duration::from_millis(200));
        }
        soak.is_over.store(true, Ordering::Relaxed);
    });
    let (asked, answered) = (soak.asked.load(Ordering::Relaxed), soak.answered.load(Ordering::Relaxed));
    println!(
        "{seconds} s: {asked} requests, {answered} answered with 200; {idle} descriptors before, {} at most; {}",
        usage.most_open(),
        soak.server.body("/metrics").lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join(", ")
    );
    assert!(answered > seconds && answered * 10 > asked * 3, "{answered} of {asked}");
    usage.is_flat("serve");
    until("descriptors are given back", || {
        soak.server.body("/sd");
        (soak.descriptors() <= idle + 2).then_some(())
    });
    drop(lasting);
    until("nothing is left on the list", || (soak.server.body("/sd") == "[]").then_some(()));
}
