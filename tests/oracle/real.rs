//! Programs that others have released, all of them stripped: gospy against what they say of
//! themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::Duration;

use crate::support::compare::{by_id, compare_dumps, differences};
use crate::support::real::{PROGRAMS, Real, prometheus};
use crate::support::{DumpGoroutine, Tally, each, gospy, schedtrace};
use serde_json::Value;

const QUIET: Duration = Duration::from_millis(250);
/// How often a program is given another chance to be quiet.
const TRIES: usize = 5;

fn summary(real: &Real) -> Value {
    gospy(&["summary", "--json", "--pid", &real.running.pid().to_string()]).json()
}

fn stack(real: &Real, more: &[&str]) -> String {
    let pid = real.running.pid().to_string();
    gospy(&[&["stack", "--all", "--pid", &pid], more].concat()).ok()
}

fn listed(seen: &Value) -> BTreeMap<u64, &Value> {
    let list = seen["goroutines"]["list"].as_array().unwrap();
    list.iter().map(|goroutine| (goroutine["id"].as_u64().unwrap(), goroutine)).collect()
}

/// Whether two dumps say the same of a goroutine, the time that it waits for apart.
fn is_same(one: &DumpGoroutine, other: &DumpGoroutine) -> bool {
    one.state == other.state && one.locked == other.locked && one.lines == other.lines
}

#[test]
fn prometheus_is_what_its_own_endpoint_says() {
    let real = prometheus();
    let dump = || by_id(&real.get("/debug/pprof/goroutine?debug=2"));
    let mut tally = Tally::new("prometheus");
    let mut most = 0;
    for _ in 0..TRIES {
        let before = dump();
        let ours = by_id(&stack(&real, &[]));
        let seen = summary(&real);
        let after = dump();
        let goroutines = listed(&seen);
        // What is the same before and after was the same in between.
        let quiet: Vec<_> = before
            .iter()
            .filter(|(id, own)| after.get(id).is_some_and(|later| is_same(own, later)) && own.state != "running")
            .collect();
        most = most.max(quiet.len());
        for (id, own) in quiet {
            tally.compared += own.frames.len();
            let Some(ours) = ours.get(id) else {
                tally.wrong(format!("goroutine {id} is missing"));
                continue;
            };
            for difference in differences(own, ours) {
                tally.wrong(difference);
            }
            let listed = goroutines[id];
            tally.equal("system", false, listed["system"].as_bool().unwrap());
            let state = listed["wait_reason"].as_str().or(listed["state"].as_str());
            tally.equal(format!("state of {id}"), Some(own.state.as_str()), state);
        }
        // Nobody is there that neither of the dumps has, but for those that served the dumps.
        let known: BTreeSet<u64> = before.keys().chain(after.keys()).copied().collect();
        let strangers: Vec<u64> = goroutines
            .iter()
            .filter(|(id, g)| g["system"] == false && !known.contains(id))
            .map(|(id, _)| *id)
            .collect();
        tally.holds(format!("goroutines {strangers:?} are in no dump"), strangers.len() <= 2);
    }
    tally.holds(format!("only {most} goroutines kept still"), most >= 15);
    tally.check(300);
}

/// `runtime.MemStats` as the heap profile tells it; what never goes down is read before and after.
#[test]
fn prometheus_is_what_its_own_figures_say() {
    let real = prometheus();
    let figures = || -> BTreeMap<String, u64> {
        let text = real.get("/debug/pprof/heap?debug=1");
        let lines = text.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = "));
        lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    };
    let mut tally = Tally::new("prometheus");
    for _ in 0..TRIES {
        let before = figures();
        let seen = summary(&real);
        let after = figures();
        let (heap, gc) = (&seen["heap"], &seen["gc"]);
        for (name, ours) in [
            ("TotalAlloc", &heap["total_alloc_bytes"]),
            ("Mallocs", &heap["mallocs"]),
            ("Frees", &heap["frees"]),
            ("BuckHashSys", &heap["buckhash_sys_bytes"]),
            ("NumGC", &gc["cycles"]),
            ("NumForcedGC", &gc["forced_cycles"]),
        ] {
            tally.between(name, before[name], ours.as_u64().unwrap(), after[name]);
        }
        // These stay as they are from one collection to the next.
        if before["NumGC"] == after["NumGC"] {
            tally.equal("NextGC", before["NextGC"], gc["next_goal_bytes"].as_u64().unwrap());
            let last: jiff::Timestamp = gc["last_at"].as_str().unwrap().parse().unwrap();
            tally.equal("LastGC", i128::from(before["LastGC"]), last.as_nanosecond());
        }
    }
    tally.check(35);
}

#[test]
fn released_programs_are_what_their_traces_and_dumps_say() {
    let tally = each(
        &PROGRAMS,
        |(name, _)| (*name).to_owned(),
        |(name, version), tally| {
            for attempt in 1..=TRIES {
                let variables = [("GOTRACEBACK", "system"), ("GODEBUG", "schedtrace=50,scheddetail=1")];
                let real = Real::start_with(name, &variables);
                sleep(QUIET);
                let seen = summary(&real);
                let ours = stack(&real, &["--system"]);
                sleep(QUIET);
                facts(name, version, &real, &seen, tally);
                let stderr = real.running.sigquit_dump();
                let mut this = Tally::new(format!("{name}, try {attempt}"));
                schedtrace::compare(&stderr, &seen, &mut this);
                let own = stderr.split_once("SIGQUIT: quit").map_or("", |(_, dump)| dump);
                let skip = |g: &DumpGoroutine| g.id == 0 || g.state == "running";
                let goroutines = compare_dumps(own, &ours, skip, &mut this);
                this.equal("goroutines in the dump", goroutines, listed(&seen).len());
                if this.wrong.is_empty() || attempt == TRIES {
                    tally.add(this);
                    break;
                }
            }
        },
    );
    tally.check(1_000);
}

/// Versions of Go that nobody has a layout for are told their collections by their own trace.
#[test]
fn collections_are_those_of_the_trace() {
    const CYCLES: u64 = 2;
    let names = ["esbuild", "esbuild-1.20", "esbuild-1.18"];
    let tally = each(
        &names,
        |name| (*name).to_owned(),
        |name, tally| {
            let limits = [("GOGC", "50"), ("GOMEMLIMIT", "1GiB")];
            let real = Real::start_with(name, &[&[("GODEBUG", "gctrace=1")], &limits[..]].concat());
            let seen = (0..20)
                .map(|_| {
                    (0..500).for_each(|_| drop(real.get("/")));
                    sleep(QUIET);
                    summary(&real)
                })
                // Just after a collection the Ps may hold too little to tell whether the layout of spans that
                // a version without a table is read with is right.
                .find(|seen| {
                    let known = !seen["heap"].is_null() || *name == "esbuild-1.18";
                    known && seen["gc"]["cycles"].as_u64().unwrap() >= CYCLES
                })
                .unwrap_or_else(|| panic!("{name} does not collect, or its heap is never known"));
            let stderr = real.running.sigquit_dump();
            // gc 2 @1.307s 0%: 0.29+0.60+0.004 ms clock, ..., 3->3->0 MB, 4 MB goal, ...
            // What else the program writes may stand between its pieces.
            let traced = stderr.matches(" ms clock, ").count();
            tally.equal("cycles", traced as u64, seen["gc"]["cycles"].as_u64().unwrap());
            tally.equal("pauses", traced.min(256), seen["gc"]["recent_pauses"].as_array().unwrap().len());
            let heap = &seen["heap"];
            let figure = |name: &str| heap[name].as_u64().unwrap();
            if heap.is_null() {
                // Where there is no table of the version, the heap may be unknown, never wrong.
                tally.equal("version with an unknown heap", "esbuild-1.18", *name);
                tally.equal("complete", false, seen["complete"].as_bool().unwrap());
                return;
            }
            let last = stderr.rsplit(" ms clock, ").next().unwrap();
            let sizes = last.split(", ").find(|part| part.contains("->")).unwrap();
            let marked: u64 = sizes.trim_end_matches(" MB").rsplit("->").next().unwrap().parse().unwrap();
            tally.equal("MB marked", marked, figure("marked_bytes") >> 20);
            // Right after a collection a program's own HeapAlloc is some hundred bytes below its own
            // /gc/heap/live:bytes (672 in a small server of Go 1.26.6). That HeapAlloc is told to the byte is
            // tested where the program can be asked: truth/heap.rs.
            const MARKED_BEYOND: u64 = 4096;
            let least = figure("marked_bytes") - MARKED_BEYOND;
            tally.between("bytes allocated", least, figure("alloc_bytes"), figure("heap_inuse_bytes"));
            tally.between("heap in use", figure("alloc_bytes"), figure("heap_inuse_bytes"), figure("heap_sys_bytes"));
            tally.equal("objects", figure("mallocs") - figure("frees"), figure("objects"));
            let gc = &seen["gc"];
            tally.equal("GOGC", 50, gc["gc_percent"].as_i64().unwrap());
            tally.equal("GOMEMLIMIT", 1 << 30, gc["memory_limit_bytes"].as_u64().unwrap());
            tally.equal("enabled", true, gc["enabled"].as_bool().unwrap());
            // Of one cycle and the next; with as little as this the goal is the least that there is.
            let goal = |part: &str| part.strip_suffix(" MB goal")?.parse::<u64>().ok();
            let goals: Vec<u64> = stderr.split(", ").filter_map(goal).collect();
            let next = gc["next_goal_bytes"].as_u64().unwrap() >> 20;
            tally.between("MB goal", *goals.iter().min().unwrap(), next, *goals.iter().max().unwrap());
        },
    );
    tally.check(20);
}

/// Timers are behind what differs between versions: a timer that is there has to be found.
#[test]
fn timers_are_those_of_the_trace() {
    let names = ["esbuild", "esbuild-1.20", "esbuild-1.18"];
    let tally = each(
        &names,
        |name| (*name).to_owned(),
        |name, tally| {
            let real = Real::start_watching(name, &[("GODEBUG", "schedtrace=50,scheddetail=1")]);
            sleep(QUIET);
            let mut ours = Vec::new();
            for _ in 0..TRIES {
                let seen = summary(&real);
                let ps = seen["processors"].as_array().unwrap();
                // Between two of them nothing may prove where they are.
                ours.push(ps.iter().map(|p| p["timers"].as_u64()).sum::<Option<u64>>());
                sleep(QUIET);
            }
            let own = schedtrace::timers(&real.running.sigquit_dump());
            let (least, most) = (*own.iter().min().unwrap(), *own.iter().max().unwrap());
            tally.holds(format!("{name} has no timers: {own:?}"), most > 0);
            for ours in ours.iter().flatten() {
                tally.between("timers", least, *ours, most);
            }
            tally.holds(format!("timers found are {ours:?}"), ours.iter().flatten().any(|ours| *ours > 0));
        },
    );
    tally.check(9);
}

fn facts(name: &str, version: &str, real: &Real, seen: &Value, tally: &mut Tally) {
    let target = &seen["target"];
    let said = target["go_version"].as_str().unwrap();
    tally.holds(format!("version {said}"), said.starts_with(&format!("go{version}")));
    tally.equal("stripped", true, target["stripped"].as_bool().unwrap());
    let source = if name == "esbuild" { "runtime.buildVersion" } else { "build info" };
    tally.equal("source of the version", source, target["go_version_source"].as_str().unwrap());
    let tasks = std::fs::read_dir(format!("/proc/{}/task", real.running.pid())).unwrap().count();
    tally.equal("threads", tasks as u64, target["os_threads"].as_u64().unwrap());
    let goroutines = listed(seen);
    for (id, goroutine) in &goroutines {
        tally.equal(format!("stack of goroutine {id}"), "known", goroutine["stack"]["status"].as_str().unwrap());
        let start = goroutine["start"]["function"].as_str().unwrap();
        tally.equal(
            format!("goroutine {id} ({start}) is the runtime's"),
            is_system(start),
            goroutine["system"] == true,
        );
    }
    tally.equal("start of goroutine 1", "runtime.main", goroutines[&1]["start"]["function"].as_str().unwrap());
    let known = !matches!(name, "esbuild-1.18" | "esbuild-1.20");
    let warnings: BTreeSet<&str> =
        seen["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect();
    if known {
        tally.equal("warnings", &BTreeSet::new(), &warnings);
    } else {
        tally.holds("flagged", warnings.contains("nearest_layout"));
    }
}

/// `isSystemGoroutine` of all versions, finalizers and cleanups at rest.
fn is_system(start: &str) -> bool {
    start.starts_with("runtime.") && !matches!(start, "runtime.main" | "runtime.corostart" | "runtime.handleAsyncEvent")
}
