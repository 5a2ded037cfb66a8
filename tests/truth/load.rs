//! A program at work: more goroutines that compute than processors; and the scheduler's own trace.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::goroutines::{listed, state};
use crate::support::compare::{by_id, differences, physical_text};
use crate::support::{Fixture, Mode, Tally, matrix};
use crate::{gospy_stack, scheduler, summary};

const BUSY: usize = 6;
const MODES: [Mode; 3] = [Mode::Default, Mode::Sw, Mode::CgoPieSw];

/// A thread can be stopped between taking a goroutine from a queue and running it. That is rare, and
/// a reader that is wrong is wrong each time.
const TRIES: usize = 5;

#[test]
fn running_and_runnable_goroutines_are_told() {
    let tally = matrix(&MODES, |version, mode, tally| {
        let mut program = Fixture::start("fx", version, mode, &["idle", "-busy", &BUSY.to_string()]);
        let truth = program.ask("truth");
        for attempt in 1..=TRIES {
            program.stop();
            let mut this = Tally::new(format!("{version} {}, try {attempt}", mode.name()));
            let seen = summary(&program, tally);
            queues(&truth, &seen, &mut this);
            scheduler::fits_together(&seen, &mut this);
            program.cont();
            if this.wrong.is_empty() || attempt == TRIES {
                tally.add(this);
                break;
            }
            sleep(Duration::from_millis(30));
        }
    });
    tally.check(1_000);
}

/// Those that compute run or are on a queue, and nobody else is.
fn queues(truth: &Value, seen: &Value, tally: &mut Tally) {
    let goroutines = listed(seen);
    let is_busy = |g: &&Value| g["start"]["function"].as_str().is_some_and(|name| name.starts_with("main."));
    let busy: Vec<&Value> =
        goroutines.values().copied().filter(is_busy).filter(|g| g["creator"]["function"] == "main.main").collect();
    tally.equal("goroutines that compute", BUSY, busy.len());
    let count = |state: &str| goroutines.values().filter(|g| g["state"] == state).count() as u64;
    let at_work = busy.iter().filter(|g| matches!(g["state"].as_str().unwrap(), "running" | "runnable")).count();
    tally.equal("of them at work", BUSY, at_work);
    let number = |value: &Value| value.as_u64().unwrap();
    let sched = &seen["sched"];
    tally.equal("runnable", count("runnable"), number(&sched["global_run_queue"]) + number(&sched["local_run_queues"]));
    tally.equal("running", number(&truth["gomaxprocs"]), count("running"));
    tally.equal("idle Ps", 0, number(&sched["idle_processors"]));
    for (id, goroutine) in &goroutines {
        let (what, known) = (state(goroutine), goroutine["stack"]["status"].as_str().unwrap());
        tally.equal(format!("stack of {id} ({what})"), if what == "running" { "running" } else { "known" }, known);
    }
}

/// With one P, only one goroutine runs: all others keep still between the stop and the signal.
#[test]
fn preempted_goroutines_are_those_of_sigquit() {
    let tally = matrix(&MODES, |version, mode, tally| {
        for attempt in 1..=TRIES {
            let fixture = Fixture::new("fx", version, mode).env("GOTRACEBACK", "system").env("GOMAXPROCS", "1");
            let program = fixture.run(&["idle", "-busy", &BUSY.to_string()]);
            sleep(Duration::from_millis(150));
            program.stop();
            let ours = by_id(&gospy_stack(&program, &["--system"]));
            let own = by_id(&program.sigquit_dump());
            let mut this = Tally::new(format!("{version} {}, try {attempt}", mode.name()));
            let mut runnable = 0;
            for (id, own) in own.iter().filter(|(_, own)| own.state == "runnable") {
                let Some(ours) = ours.get(id).filter(|ours| ours.state == "runnable") else { continue };
                runnable += 1;
                this.compared += own.frames.len();
                for difference in differences(own, ours, physical_text) {
                    this.wrong(format!("goroutine {id} {difference}"));
                }
            }
            this.holds(format!("{runnable} runnable goroutines"), runnable >= BUSY - 2);
            if this.wrong.is_empty() || attempt == TRIES {
                tally.add(this);
                break;
            }
        }
    });
    tally.check(500);
}

/// `GODEBUG=schedtrace,scheddetail`: the scheduler's lists as the runtime itself walks them.
#[test]
fn the_scheduler_is_what_its_own_trace_says() {
    let tally = matrix(&[Mode::Default, Mode::Sw, Mode::CgoSw], |version, mode, tally| {
        for attempt in 1..=TRIES {
            let fixture = Fixture::new("fx", version, mode).env("GODEBUG", "schedtrace=60,scheddetail=1");
            let program = fixture.run(&["states"]);
            sleep(Duration::from_millis(200));
            let seen = summary(&program, tally);
            sleep(Duration::from_millis(200));
            let (_, stderr) = program.quit();
            let blocks = blocks(&stderr);
            let mut this = Tally::new(format!("{version} {}, try {attempt}", mode.name()));
            // Where nothing changed from one to the next, gospy's reading is the same too.
            let steady: Vec<_> = blocks.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]).collect();
            let mut best: Option<Tally> = None;
            for block in steady {
                let mut one = Tally::new(format!("{version} {}, try {attempt}", mode.name()));
                compare_block(block, &seen, &mut one);
                if best.as_ref().is_none_or(|best| one.wrong.len() <= best.wrong.len()) {
                    best = Some(one);
                }
            }
            match best {
                Some(best) => this.add(best),
                None => this.wrong("the program was never quiet"),
            }
            if this.wrong.is_empty() || attempt == TRIES {
                tally.add(this);
                break;
            }
        }
    });
    tally.check(5_000);
}

/// Lines of one report by what they are of (`P0`, `M3`, `G18`, `SCHED`), each with its `key=value`s.
type Block = BTreeMap<String, BTreeMap<String, String>>;

fn blocks(stderr: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in stderr.lines() {
        let Some((name, rest)) = line.trim_start().split_once(' ') else { continue };
        if name == "SCHED" {
            blocks.push(Block::new());
        }
        let Some(block) = blocks.last_mut() else { continue };
        let mut values = BTreeMap::new();
        // A wait reason in parentheses has blanks.
        for word in rest.split('=').collect::<Vec<_>>().windows(2) {
            let key = word[0].rsplit(' ').next().unwrap();
            let value = word[1].rsplit_once(' ').map_or(word[1], |(value, _)| value);
            let none = matches!(value, "-1" | "nil");
            values.insert(key.to_owned(), if none { String::new() } else { value.to_owned() });
        }
        // The time of the report.
        block.insert(name.trim_end_matches(':').to_owned(), values);
    }
    // The last one may be cut off by the program's end.
    blocks.pop();
    blocks
}

fn compare_block(block: &Block, seen: &Value, tally: &mut Tally) {
    let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string().replace('"', "") };
    let (sched, own) = (&seen["sched"], &block["SCHED"]);
    for (key, ours) in [
        ("idleprocs", "idle_processors"),
        ("threads", "threads"),
        ("spinningthreads", "spinning_threads"),
        ("idlethreads", "idle_threads"),
        ("runqueue", "global_run_queue"),
        ("gcwaiting", "stopping_the_world"),
    ] {
        // A flag was a number before Go 1.21.
        let own = own[key].replace("true", "1").replace("false", "0");
        tally.equal(key, own, text(&sched[ours]).replace("true", "1").replace("false", "0"));
    }
    tally.equal("gomaxprocs", own["gomaxprocs"].clone(), text(&seen["target"]["gomaxprocs"]));
    let of = |kind: char| block.iter().filter(move |(name, _)| name.starts_with(kind) && *name != "SCHED");
    let ps = seen["processors"].as_array().unwrap();
    tally.equal("Ps", of('P').count(), ps.len());
    for (id, p) in ps.iter().enumerate() {
        let own = &block[&format!("P{id}")];
        let status = ["idle", "running", "syscall", "gcstop", "dead"];
        let number = status.iter().position(|name| p["status"] == *name).unwrap();
        tally.equal(format!("status of P {id}"), own["status"].clone(), number.to_string());
        for (key, ours) in [
            ("schedtick", "schedtick"),
            ("syscalltick", "syscalltick"),
            ("m", "m_id"),
            ("runqsize", "run_queue"),
            ("timerslen", "timers"),
        ] {
            tally.equal(format!("{key} of P {id}"), own[key].clone(), text(&p[ours]));
        }
    }
    let ms = seen["threads"].as_array().unwrap();
    tally.equal("Ms", of('M').count(), ms.len());
    for m in ms {
        let name = format!("M{}", m["id"]);
        let Some(own) = block.get(&name) else { continue };
        for (key, ours) in [
            ("p", "p_id"),
            ("curg", "goroutine_id"),
            ("spinning", "spinning"),
            ("blocked", "blocked"),
            ("lockedg", "locked_goroutine_id"),
        ] {
            tally.equal(format!("{key} of {name}"), own[key].clone(), text(&m[ours]));
        }
    }
    compare_goroutines(block, seen, tally);
}

fn compare_goroutines(block: &Block, seen: &Value, tally: &mut Tally) {
    const DEAD: [&str; 2] = ["6(", "11("];
    let status = |own: &BTreeMap<String, String>| own["status"].clone();
    let all = block.iter().filter(|(name, _)| name.starts_with('G'));
    let (dead, live): (Vec<_>, Vec<_>) = all.partition(|(_, own)| DEAD.iter().any(|d| status(own).starts_with(d)));
    let goroutines = listed(seen);
    tally.equal("goroutines", live.len(), goroutines.len());
    tally.holds("dead goroutines", dead.len() as u64 <= seen["goroutines"]["dead"].as_u64().unwrap());
    for (name, own) in live {
        let Some(ours) = name[1..].parse().ok().and_then(|id| goroutines.get(&id)) else {
            tally.wrong(format!("{name} is missing"));
            continue;
        };
        let states = ["idle", "runnable", "running", "syscall", "waiting"];
        let number = states.iter().position(|name| ours["state"] == *name).unwrap();
        // The reason is that of the last wait where it does not wait now.
        let (number_own, reason) = own["status"].strip_suffix(')').unwrap().split_once('(').unwrap();
        tally.equal(format!("status of {name}"), number_own.to_owned(), number.to_string());
        if ours["state"] == "waiting" {
            tally.equal(format!("reason of {name}"), reason, ours["wait_reason"].as_str().unwrap());
        }
        let m = ours["m_id"].as_u64().map(|m| m.to_string()).unwrap_or_default();
        tally.equal(format!("M of {name}"), own["m"].clone(), m);
        tally.equal(format!("{name} is locked"), !own["lockedm"].is_empty(), ours["locked"].as_bool().unwrap());
    }
}
