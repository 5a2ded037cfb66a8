//! Profiles from the server: paths, statuses, headers and what is refused. What is in them is looked at by the tests
//! with real toolchains.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::server::{Fetched, Server, fetch, fetch_with};
use crate::support::{Running, live, until};

/// A program and a server for it alone.
struct Served {
    program: Running,
    server: Server,
}

impl Served {
    fn of(arguments: &[&str]) -> Served {
        let program = live(arguments);
        let server = Server::start(&["--pid", &program.pid().to_string()]);
        Served { program, server }
    }

    fn get(&self, path: &str) -> Fetched {
        fetch(&self.server.address, &format!("/pid/{}/debug/{path}", self.program.pid()))
    }

    /// What is said where there is no profile.
    fn refused(&self, path: &str, status: u16) -> String {
        let reply = self.get(path);
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        assert_eq!(reply.header("x-go-pprof"), Some("1"), "{path}: go tool pprof would not show the reason");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{path}");
        assert_eq!(reply.header("content-disposition"), None, "{path}");
        assert!(reply.body.len() > 20, "{path}: {}", reply.text());
        reply.text()
    }
}

/// The rules by which Grafana Alloy (`validate.go`) and Parca take a profile.
fn is_a_profile(reply: &Fetched, name: &str) -> Vec<u8> {
    assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"), "{name}");
    assert!(!reply.body.is_empty(), "{name}");
    assert_eq!(reply.header("content-encoding"), None, "{name}");
    assert_eq!(reply.header("content-disposition"), Some(format!("attachment; filename=\"{name}\"").as_str()));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(&reply.body[..2], [0x1f, 0x8b], "{name} is not gzipped");
    reply.unpacked()
}

fn has(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[test]
fn profiles_have_the_headers_of_net_http_pprof() {
    let served = Served::of(&["states"]);
    let goroutine = is_a_profile(&served.get("pprof/goroutine"), "goroutine");
    assert!(has(&goroutine, "goroutine") && has(&goroutine, "main."));
    assert_eq!(goroutine, is_a_profile(&served.get("pprof/goroutine?debug=0"), "goroutine"), "it is shared");
    for name in ["threadcreate", "block", "mutex"] {
        is_a_profile(&served.get(&format!("pprof/{name}")), name);
    }
    for (path, first) in [
        ("pprof/goroutine?debug=1", "goroutine profile: total "),
        ("pprof/goroutine?debug=2", "goroutine "),
        ("pprof/threadcreate?debug=1", "threadcreate profile: total "),
        ("pprof/block?debug=1", "--- contention:\ncycles/second="),
        ("pprof/mutex?debug=1", "--- mutex:\ncycles/second="),
        ("pprof/symbol", "num_symbols: 1\n"),
    ] {
        let reply = served.get(path);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain; charset=utf-8")), "{path}");
        assert!(reply.text().starts_with(first), "{path}: {}", reply.text());
    }
    let index = served.get("pprof/");
    assert_eq!(index.header("content-type"), Some("text/html; charset=utf-8"));
    let page = index.text();
    assert!(page.contains("<a href=\"goroutine?debug=1\">goroutine</a>") && !page.contains("<script"), "{page}");
    assert!(page.contains("<td>heap</td><td>Not there: "), "{page}");
    let moved = served.get("pprof");
    assert_eq!((moved.status, moved.header("location")), (301, Some("pprof/")));
    let by_name = fetch(&served.server.address, "/name/live/debug/pprof/goroutine");
    is_a_profile(&by_name, "goroutine");
}

/// One sentence why, and never an empty profile for a missing one.
#[test]
fn what_is_not_there_says_why() {
    let served = Served::of(&["idle"]);
    for name in ["heap", "allocs"] {
        let why = served.refused(&format!("pprof/{name}"), 404);
        assert!(why.contains("the linker left it out"), "{why}");
    }
    assert!(served.refused("pprof/heap?gc=1", 400).contains("only be started by the program itself"));
    assert!(served.refused("pprof/trace?seconds=1", 404).contains("only be taken by the program itself"));
    assert!(served.refused("pprof/cmdline", 404).contains("arguments"));
    for path in ["pprof/nothing", "pprof/goroutine/x", "nothing", "fgprof/", "pprof/Goroutine"] {
        served.refused(path, 404);
    }
    for path in [
        "pprof/goroutine?seconds=0",
        "pprof/goroutine?seconds=x",
        "pprof/goroutine?seconds=1&debug=1",
        "pprof/goroutine?seconds=301",
        "pprof/profile?seconds=301",
        "fgprof?seconds=99999",
    ] {
        served.refused(path, 400);
    }
    // As net/http/pprof has it: what is no number is 0.
    assert_eq!(served.get("pprof/goroutine?debug=x").status, 200);
    let nobody = fetch(&served.server.address, "/pid/1/debug/pprof/goroutine");
    assert_eq!(nobody.status, 404);
}

#[test]
fn recordings_last_as_long_as_they_are_asked_to_and_hold_up_nobody() {
    let served = Served::of(&["healthy"]);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let recordings: Vec<_> = ["fgprof?seconds=2", "pprof/goroutine?seconds=2", "pprof/mutex?seconds=2"]
            .into_iter()
            .map(|path| {
                let (address, pid) = (served.server.address.clone(), served.program.pid());
                scope.spawn(move || (path, fetch(&address, &format!("/pid/{pid}/debug/{path}"))))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        let metrics = served.server.get(&format!("/pid/{}/metrics", served.program.pid()));
        assert!(metrics.status == 200 && started.elapsed() < Duration::from_millis(1900), "{:?}", started.elapsed());
        for recording in recordings {
            let (path, reply) = recording.join().unwrap();
            let name = match path {
                "fgprof?seconds=2" => "fgprof".to_owned(),
                path => format!("{}-delta", path.trim_start_matches("pprof/").trim_end_matches("?seconds=2")),
            };
            let profile = is_a_profile(&reply, &name);
            assert_eq!(has(&profile, "wallclock"), name == "fgprof");
        }
    });
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(20), "{took:?}");
    // Nobody waits for it: it ends, and so does its session.
    let threads = || std::fs::read_dir(format!("/proc/{}/fd", served.server.pid())).unwrap().count();
    let before = threads();
    let mut abandoned = served.server.connect();
    let path =
        format!("GET /pid/{}/debug/fgprof?seconds=300 HTTP/1.1\r\nHost: localhost\r\n\r\n", served.program.pid());
    abandoned.write_all(path.as_bytes()).unwrap();
    until("it records", || (threads() > before + 1).then_some(()));
    drop(abandoned);
    until("it has noticed", || (threads() <= before).then_some(()));
    let head = served.server.ask(
        "HEAD",
        &format!("/pid/{}/debug/fgprof?seconds=300", served.program.pid()),
        &[("Host", "localhost")],
    );
    assert_eq!(head.status, 200, "{head:?}");
}

/// Both ways to ask for names, and nothing that is no address.
#[test]
fn addresses_have_names() {
    let served = Served::of(&["idle"]);
    let list = served.get("pprof/goroutine?debug=1").text();
    let line = list.lines().find(|line| line.contains("\tmain.main+")).unwrap_or_else(|| panic!("{list}"));
    let pc = line.split('\t').nth(1).unwrap();
    let got = served.get(&format!("pprof/symbol?{pc}+0x1+junk++{pc}")).text();
    assert_eq!(got, format!("num_symbols: 1\n{pc} main.main\n{pc} main.main\n"));
    let path = format!("/pid/{}/debug/pprof/symbol", served.program.pid());
    let body = format!("{pc}+0x2");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let posted = served.server.send(request.as_bytes());
    assert!(posted.ends_with(&format!("num_symbols: 1\n{pc} main.main\n")), "{posted}");
    let not_there = served.server.ask("POST", &path.replace("symbol", "goroutine"), &[("Host", "localhost")]);
    assert_eq!(not_there.status, 405);
}

/// Values by name and labels.
fn values(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap());
    lines.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

fn sum(values: &BTreeMap<String, f64>, family: &str) -> f64 {
    values.iter().filter(|(name, _)| name.starts_with(&format!("{family}{{"))).map(|(_, value)| value).sum()
}

/// Every goroutine is read for them, so that nobody gets them who has not asked.
#[test]
fn goroutines_are_counted_where_that_is_asked_for() {
    let served = Served::of(&["many", "300"]);
    let path = format!("/pid/{}/metrics", served.program.pid());
    let usual = served.server.body(&path);
    assert!(!usual.contains("gospy_"), "{usual}");
    assert_eq!(served.server.body(&format!("{path}?goroutines=0")).lines().count(), usual.lines().count());
    let text = served.server.body(&format!("{path}?goroutines=1"));
    let found = values(&text);
    assert_eq!(sum(&found, "gospy_goroutines"), found["go_goroutines"], "{text}");
    assert!(found["go_goroutines"] > 300.0, "{text}");
    assert!(found["gospy_goroutines_read_seconds"] > 0.0 && found["gospy_goroutines_torn"] == 0.0, "{text}");
    assert_eq!(
        found["gospy_goroutine_blocked_seconds_bucket{le=\"+Inf\"}"],
        found["gospy_goroutine_blocked_seconds_count"]
    );
    // Some of them wait on a nil channel.
    let nil = found["gospy_goroutines{state=\"waiting\",reason=\"chan receive (nil chan)\"}"];
    assert_eq!((sum(&found, "gospy_findings"), found["gospy_findings{kind=\"nil_channel\"}"]), (nil, nil), "{text}");
    // Not before it can be told, and not as 0.
    assert!(!text.contains("gospy_goroutine_groups_growing") && !text.contains("gospy_leaked_goroutines"), "{text}");
    let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.is_sorted() && families.contains(&"gospy_goroutine_blocked_seconds histogram"), "{families:?}");
    // Packed for the way, where that is taken.
    let packed = fetch_with(&served.server.address, &path, "Accept-Encoding: deflate, gzip;q=0.5\r\n");
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), (Some("gzip"), Some("accept-encoding")));
    assert!(packed.body.len() < usual.len() / 2 && packed.unpacked().starts_with(b"# HELP go_"));
    let plain = fetch_with(&served.server.address, &path, "Accept-Encoding: gzip;q=0, identity\r\n");
    assert_eq!((plain.header("content-encoding"), &plain.body[..2]), (None, &b"# "[..]));
}

/// The heap is walked for them; without a stop that is confirmed at best, unless nothing ran.
#[test]
fn goroutines_that_can_never_wake_are_a_profile_and_a_metric() {
    let served = Served::of(&["deadlock"]);
    let list = served.get("pprof/goroutineleak?debug=1");
    let grade = list.header("x-gospy-grade").unwrap().to_owned();
    assert!(["certain", "confirmed"].contains(&grade.as_str()), "{grade}");
    assert!(list.text().starts_with("goroutineleak profile: total 2\n"), "{}", list.text());
    let profile = is_a_profile(&served.get("pprof/goroutineleak"), "goroutineleak");
    assert!(has(&profile, "goroutineleak") && has(&profile, "sync.(*Mutex)"));
    let dump = served.get("pprof/goroutineleak?debug=2").text();
    assert_eq!(dump.matches("sync.Mutex.Lock").count(), 2, "{dump}");
    let text = served.server.body(&format!("/pid/{}/metrics?leaks=1", served.program.pid()));
    let found = values(&text);
    assert_eq!(sum(&found, "gospy_leaked_goroutines"), 2.0, "{text}");
    assert_eq!(found["gospy_findings{kind=\"deadlock\"}"], 2.0, "{text}");
}

/// What came between two readings, and for how long.
#[test]
fn a_difference_is_what_came_in_between() {
    let served = Served::of(&["leak", "-rate", "50"]);
    let delta = is_a_profile(&served.get("pprof/goroutine?seconds=2"), "goroutine-delta");
    assert!(has(&delta, "main.") && has(&delta, "difference of the goroutine profile"));
    let quiet = Served::of(&["idle"]);
    let nothing = is_a_profile(&quiet.get("pprof/goroutine?seconds=1"), "goroutine-delta");
    assert!(!has(&nothing, "main.") && nothing.len() < delta.len(), "nothing has changed");
}
