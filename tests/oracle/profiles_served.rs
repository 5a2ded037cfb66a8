//! Profiles from the server against those that the program serves of itself, and what `go tool pprof` makes of them.

use nix::sys::signal::Signal;

use crate::cpu;
use crate::profiles::{pprof, top};
use crate::record;
use crate::support::server::{Server, fetch};
use crate::support::{Fixture, Mode, Running, Tally, VERSIONS, each, until};

/// A program with its own endpoint, and a server for it.
struct Both {
    program: Running,
    server: Server,
}

impl Both {
    fn start(version: &str, mode: Mode, arguments: &[&str]) -> Both {
        let program = Fixture::start("endpoint", version, mode, arguments);
        let server = Server::start(&["--pid", &program.pid().to_string()]);
        Both { program, server }
    }

    fn address(&self) -> &str {
        self.program.ready["address"].as_str().unwrap()
    }

    /// What the program says.
    fn own(&self, path: &str) -> String {
        let reply = fetch(self.address(), &format!("/debug/pprof/{path}"));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.text()
    }

    /// Where the server has the same.
    fn path(&self, path: &str) -> String {
        format!("/pid/{}/debug/{path}", self.program.pid())
    }

    fn ours(&self, path: &str) -> String {
        let reply = fetch(&self.server.address, &self.path(&format!("pprof/{path}")));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.text()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{}", self.server.address, self.path(path))
    }

    /// Waits until nothing is left of the connections over which it has answered.
    fn is_alone(&self) {
        until("its connections are gone", || {
            let dump = self.ours("goroutine?debug=2");
            (!dump.contains("net/http.(*conn)") && !dump.contains("net/http.(*connReader)")).then_some(())
        });
    }
}

/// Goroutines that are there only because the program was asked. One that has not begun yet is in a wrapper, which is
/// in no profile.
fn answers(stack: &str) -> bool {
    let has_not_begun = stack.starts_with("1 @ ") && stack.trim_end().lines().count() == 1;
    stack.contains("net/http.(*conn).serve") || stack.contains("net/http.(*connReader)") || has_not_begun
}

/// The list without the goroutines that answer, and how many these are.
fn without_answering(list: &str) -> String {
    let (head, rest) = list.split_once('\n').unwrap();
    let total: u64 = head.rsplit_once(' ').unwrap().1.parse().unwrap();
    let (answering, others): (Vec<&str>, Vec<&str>) = rest.split_inclusive("\n\n").partition(|stack| answers(stack));
    let answering: u64 = answering.iter().map(|stack| stack.split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    format!("goroutine profile: total {}\n{}", total - answering, others.concat())
}

/// The stacks of a dump.
fn stacks(dump: &str) -> Vec<&str> {
    dump.trim_end().split("\n\n").collect()
}

/// Those of the goroutines that do not answer.
fn without_dumped_answers(dump: &str) -> Vec<&str> {
    stacks(dump).into_iter().filter(|stack| !answers(stack)).collect()
}

/// Everything is the same, byte for byte: the order, addresses, names, alignment, labels, words of arguments. The
/// program is stopped after its own answer, so that little can move: what answers is left out, and where a minute of
/// waiting has just been full, or the program had not yet settled, it is compared again.
#[test]
fn lists_and_dumps_are_those_that_the_program_serves() {
    let more = [("1.26.6", Mode::Cgo), ("1.27.3", Mode::PieSw), ("1.22.10", Mode::CgoPieSw)];
    let cases: Vec<(&str, Mode)> = VERSIONS.map(|version| (version, Mode::Sw)).into_iter().chain(more).collect();
    let tally = each(
        &cases,
        |(version, mode)| format!("{version} {}", mode.name()),
        |(version, mode), tally: &mut Tally| {
            let both = Both::start(version, *mode, &["1", "1"]);
            // Once, so that what the first time takes is there.
            both.own("goroutine?debug=1");
            both.own("goroutine?debug=2");
            let mut tries = 5;
            let ([list, dump], [ours, our_dump]) = loop {
                both.is_alone();
                let own = [both.own("goroutine?debug=1"), both.own("goroutine?debug=2")];
                both.is_alone();
                // What was read just before is not given again.
                std::thread::sleep(std::time::Duration::from_millis(1100));
                both.program.signal(Signal::SIGSTOP);
                let ours = [both.ours("goroutine?debug=1"), both.ours("goroutine?debug=2")];
                both.program.signal(Signal::SIGCONT);
                tries -= 1;
                let is_same =
                    without_answering(&own[0]) == ours[0] && without_dumped_answers(&own[1]) == stacks(&ours[1]);
                if is_same || tries == 0 {
                    break (own, ours);
                }
            };
            let own = without_answering(&list);
            tally
                .holds("the list has labels and long stacks", own.contains("# labels: {") && own.lines().count() > 120);
            for (own, ours) in own.split_inclusive("\n\n").zip(ours.split_inclusive("\n\n")) {
                tally.equal("a stack of the list", own, ours);
            }
            tally.equal("the list", own, ours);
            let (own, ours) = (without_dumped_answers(&dump), stacks(&our_dump));
            tally.equal("how many goroutines are in the dump", own.len(), ours.len());
            for (own, ours) in own.iter().zip(&ours) {
                tally.equal("a goroutine of the dump", *own, *ours);
            }
        },
    );
    tally.check(11 * 50);
}

/// Threads may start while the program answers; they do not end.
#[test]
fn threads_are_those_that_the_program_lists() {
    let tally = each(
        &VERSIONS,
        |version| (*version).to_owned(),
        |version, tally: &mut Tally| {
            let both = Both::start(version, Mode::Sw, &[]);
            for _ in 0..20 {
                both.own("threadcreate?debug=1");
            }
            let mut pairs = std::iter::repeat_with(|| {
                let before = both.ours("threadcreate?debug=1");
                let own = both.own("threadcreate?debug=1");
                (before, own, both.ours("threadcreate?debug=1"))
            });
            let (before, own, _) = pairs.by_ref().take(20).find(|(before, _, after)| before == after).unwrap();
            tally.holds("there are threads", own.starts_with("threadcreate profile: total ") && own.contains('@'));
            tally.equal("the list", own, before);
        },
    );
    tally.check(16);
}

/// `go tool pprof` takes each profile by its address, and finds what the program's own has.
#[test]
fn go_tool_pprof_fetches_profiles() {
    for version in ["1.19", "1.22.10", "1.26.6", "1.27.3"] {
        let both = Both::start(version, Mode::Sw, &["1", "1"]);
        both.own("goroutine");
        both.is_alone();
        let own =
            |path: &str| top(&["-top", "-nodefraction=0", &format!("http://{}/debug/pprof/{path}", both.address())]);
        let ours = |path: &str| top(&["-top", "-nodefraction=0", &both.url(path)]);
        let (goroutines, own_goroutines) = (ours("pprof/goroutine"), own("goroutine"));
        for function in ["main.inlines", "main.recurse", "main.dynamic", "main.fault", "main.main"] {
            assert_eq!(goroutines[function], own_goroutines[function], "{version} {function}: {goroutines:#?}");
        }
        for name in ["heap", "allocs"] {
            let line = |url: &str| {
                let top = pprof(&["-top", "-nodefraction=0", url]);
                top.lines().find(|line| line.ends_with(" main.allocate")).map(str::to_owned)
            };
            let bytes = |line: String| line.split_whitespace().next().unwrap().to_owned();
            let (ours, own) = (
                line(&both.url(&format!("pprof/{name}"))),
                line(&format!("http://{}/debug/pprof/{name}", both.address())),
            );
            assert_eq!(ours.map(bytes).expect("it is there"), own.map(bytes).unwrap(), "{version} {name}");
        }
        let heap = pprof(&["-raw", &both.url("pprof/heap")]);
        assert!(heap.contains("PeriodType: space bytes\nPeriod: 524288\n"), "{version}: {heap}");
        for name in ["block", "mutex"] {
            let raw = |url: &str| pprof(&["-raw", "-sample_index=contentions", url]);
            let (raw_ours, raw_own) = (
                raw(&both.url(&format!("pprof/{name}"))),
                raw(&format!("http://{}/debug/pprof/{name}", both.address())),
            );
            for text in ["contentions/count delay/nanoseconds", "PeriodType: contentions count\nPeriod: 1\n"] {
                assert!(raw_ours.contains(text) && raw_own.contains(text), "{version} {name} {text}: {raw_ours}");
            }
            assert!(raw_ours.contains("main.contend"), "{version} {name}: {raw_ours}");
        }
        let threads = pprof(&["-raw", &both.url("pprof/threadcreate")]);
        assert!(threads.contains("threadcreate/count"), "{version}: {threads}");
        let fgprof = pprof(&["-raw", &format!("{}?seconds=1", both.url("fgprof"))]);
        assert!(fgprof.contains("samples/count time/nanoseconds[dflt]"), "{version}: {fgprof}");
        assert!(fgprof.contains("PeriodType: wallclock nanoseconds") && fgprof.contains("main.recurse"), "{version}");
        // pprof shows the reason.
        let symbols = both.own(&format!("symbol?{}", address_of(&both, "main.main")));
        assert_eq!(both.ours(&format!("symbol?{}", address_of(&both, "main.main"))), symbols, "{version}");
        assert!(symbols.contains(" main.main\n"), "{version}: {symbols}");
    }
}

/// An address in a function.
fn address_of(both: &Both, function: &str) -> String {
    let list = both.ours("goroutine?debug=1");
    let line = list.lines().find(|line| line.contains(&format!("\t{function}+"))).unwrap_or_else(|| panic!("{list}"));
    line.split('\t').nth(1).unwrap().to_owned()
}

/// A profile of a program without an endpoint, in a file.
fn saved(server: &Server, path: &str, file: &str) {
    let reply = fetch(&server.address, path);
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    std::fs::write(file, reply.body).unwrap();
}

/// As `gospy record --cpu` is compared: what is outside is recorded again, for longer.
#[test]
fn the_cpu_profile_is_that_of_the_program_in_the_same_seconds() {
    let mut tally = Tally::new("shares");
    for version in ["1.22.10", "1.26.6", "1.27.3"] {
        let mut program = cpu::start(version, Mode::Sw, "2");
        let server = Server::start(&["--pid", &program.pid().to_string()]);
        let pid = program.pid();
        let path = |seconds: u64| format!("/pid/{pid}/debug/pprof/profile?seconds={seconds}");
        if !cpu::allowed(&program) {
            let refused = fetch(&server.address, &path(1));
            assert_eq!((refused.status, refused.header("x-go-pprof")), (403, Some("1")));
            assert!(refused.text().contains("perf_event"), "{}", refused.text());
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        let (own, ours) = (file("own.pb.gz"), file("ours.pb.gz"));
        let mut wrong = Vec::new();
        for seconds in [8, 24, 72] {
            let path = path(seconds);
            assert_eq!(program.ask("start"), serde_json::Value::Null);
            saved(&server, &path, &ours);
            assert_eq!(program.ask(&format!("stop {own}")), serde_json::Value::Null);
            let compared;
            (wrong, compared, _) = cpu::differences(&own, &ours);
            tally.compared += compared;
            if wrong.is_empty() {
                assert!(compared >= 10, "{version}: only {compared} compared");
                break;
            }
        }
        wrong.iter().for_each(|wrong| tally.wrong(format!("{version}: {wrong}")));
        let raw = pprof(&["-raw", &ours]);
        assert!(raw.contains("samples/count cpu/nanoseconds") && raw.contains("Period: 10101010\n"), "{raw}");
    }
    tally.check(30);
}

/// Against where the goroutines themselves say that they were.
#[test]
fn fgprof_is_what_the_program_measures() {
    const NEAR: f64 = 0.02;
    let tally = each(
        &["1.19", "1.23.9", "1.27.3"],
        |version| (*version).to_owned(),
        |version, tally: &mut Tally| {
            let mut program = Fixture::start("schedule", version, Mode::Sw, &["20"]);
            let server = Server::start(&["--pid", &program.pid().to_string()]);
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("fgprof.pb.gz").display().to_string();
            let mut compared = Vec::new();
            for seconds in [6, 12, 24, 48] {
                let before = record::own(&mut program);
                saved(&server, &format!("/pid/{}/debug/fgprof?seconds={seconds}", program.pid()), &file);
                let after = record::own(&mut program);
                let own: Vec<f64> = before.iter().zip(after).map(|(before, after)| after - before).collect();
                let all: f64 = own.iter().sum();
                let table = pprof(&["-top", "-cum", "-nodefraction=0", "-unit=s", &file]);
                let ours = |place: &str| {
                    let line = table.lines().find(|line| line.ends_with(&format!(" main.(*worker).{place}")));
                    let seconds = line.map_or("0", |line| line.split_whitespace().nth(3).unwrap());
                    seconds.trim_end_matches('s').parse::<f64>().unwrap()
                };
                // What runs has no stack.
                let places = record::PLACES.iter().zip(&own).filter(|(place, _)| **place != "compute");
                compared = places.map(|(place, own)| (*place, ours(place) / all, own / all)).collect();
                if compared.iter().all(|(_, ours, own)| (ours - own).abs() <= NEAR) {
                    break;
                }
            }
            for (place, ours, own) in compared {
                tally.between(format!("the share of {place}"), own - NEAR, ours, own + NEAR);
            }
        },
    );
    tally.check(12);
}

/// What was allocated while somebody waited for the difference, and nothing of what was before.
#[test]
fn a_difference_of_the_heap_is_what_was_allocated_meanwhile() {
    let mut program = Fixture::start("sites", "1.26.6", Mode::Sw, &["1"]);
    let server = Server::start(&["--pid", &program.pid().to_string()]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("delta.pb.gz").display().to_string();
    let (address, path) = (server.address.clone(), format!("/pid/{}/debug/pprof/allocs?seconds=4", program.pid()));
    let fetching = std::thread::spawn(move || fetch(&address, &path));
    std::thread::sleep(std::time::Duration::from_secs(1));
    program.ask("more 3");
    program.ask("gc");
    let reply = fetching.join().unwrap();
    assert_eq!(reply.header("content-disposition"), Some("attachment; filename=\"allocs-delta\""));
    std::fs::write(&file, &reply.body).unwrap();
    let raw = pprof(&["-raw", &file]);
    assert!(raw.contains("Duration: 4") && raw.contains("alloc_space/bytes[dflt]"), "{raw}");
    let table = pprof(&["-top", "-nodefraction=0", "-unit=B", "-sample_index=alloc_space", &file]);
    let bytes = |function: &str| {
        let line = table.lines().find(|line| line.ends_with(&format!(" {function}")));
        line.map_or(0, |line| line.split_whitespace().next().unwrap().trim_end_matches('B').parse::<u64>().unwrap())
    };
    // A mebibyte, the hundred bytes of `recurse` in their size class, and two slices as interfaces.
    assert_eq!(bytes("main.sized"), (1 << 20) + 112 + 2 * 24, "{table}");
    assert_eq!(bytes("main.pointers"), 0, "{table}");
}

/// Values by name and labels.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// A leak is a place that grows once there are enough scrapes; a load that goes up and down is none.
#[test]
fn places_that_grow_are_counted_over_scrapes() {
    let started = [("leak", vec!["leak", "-rate", "20"], 1.0), ("healthy", vec!["healthy"], 0.0)];
    let programs: Vec<_> = started
        .iter()
        .map(|(name, arguments, want)| (*name, Fixture::start("fx", "1.26.6", Mode::Sw, arguments), *want))
        .collect();
    let server = Server::start(&["--name", "fx"]);
    for scrape in 0..16 {
        for (name, program, want) in &programs {
            let text = server.body(&format!("/pid/{}/metrics?goroutines=1", program.pid()));
            let growing = value(&text, "gospy_goroutine_groups_growing");
            match scrape {
                0..7 => assert_eq!(growing, None, "{name}: it cannot be known yet"),
                15 => assert_eq!(growing, Some(*want), "{name}"),
                _ => {}
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(1050));
    }
}
