//! Goroutines: which there are, in which state, where from.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use crate::support::{DumpGoroutine, Tally, parse_traceback};

/// Go 1.19 stops after 100 physical frames and may not say so.
const SILENT_CUT: usize = 95;

/// The goroutines that gospy lists, by id.
pub(crate) fn listed(seen: &Value) -> BTreeMap<u64, &Value> {
    let list = seen["goroutines"]["list"].as_array().unwrap();
    list.iter().map(|goroutine| (goroutine["id"].as_u64().unwrap(), goroutine)).collect()
}

/// The word that the runtime's traceback has for a goroutine's state.
pub(crate) fn state(ours: &Value) -> &str {
    ours["wait_reason"].as_str().or(ours["state"].as_str()).unwrap()
}

/// The program's own goroutines against what it says of them when asked.
pub(crate) fn compare(truth: &Value, seen: &Value, tally: &mut Tally) {
    let dump = parse_traceback(truth["stack_text"].as_str().unwrap());
    let ours = listed(seen);
    let own: BTreeSet<u64> = dump.iter().map(|g| g.id).collect();
    let user: BTreeSet<u64> = ours.iter().filter(|(_, g)| g["system"] == false).map(|(id, _)| *id).collect();
    tally.equal("the program's own goroutines", &own, &user);
    let counts = &seen["goroutines"];
    // A goroutine of the runtime's that is in the program's own code, a finalizer, is in the dump but
    // not in the number.
    let lent = |g: &&&Value| {
        let start = g["start"]["function"].as_str().unwrap_or_default();
        g["system"] == false && matches!(start, "runtime.runfinq" | "runtime.runFinalizers" | "runtime.runCleanups")
    };
    let lent = ours.values().filter(lent).count() as u64;
    tally.equal("NumGoroutine", &truth["num_goroutine"], counts["user"].as_u64().unwrap() - lent);
    tally.equal("total", ours.len(), usize::try_from(counts["total"].as_u64().unwrap()).unwrap());
    tally.equal("system", ours.len() - user.len(), usize::try_from(counts["system"].as_u64().unwrap()).unwrap());
    for own in &dump {
        let Some(ours) = ours.get(&own.id) else { continue };
        let what = |what: &str| format!("{what} of goroutine {}", own.id);
        // The one that answers ran then.
        if own.state != "running" {
            // A note of the traceback on some reasons in a bubble.
            let plain = |state: &str| state.trim_end_matches(" (durable)").to_owned();
            tally.equal(what("state"), plain(&own.state), plain(state(ours)));
        }
        tally.equal(what("locked"), own.locked, ours["locked"].as_bool().unwrap());
        // The creators of the runtime's own goroutines are not shown at this level.
        if own.created_by.is_some() || !is_hidden(&ours["creator"]) {
            creator(own, ours, tally);
        }
        let innermost = own.frames.first().map(|frame| frame.function.as_str());
        if own.state != "running" && ours["current"]["file"].as_str().is_some_and(|file| !is_runtime(file)) {
            // What a person wants to see is what the runtime would print first, unless that is the runtime's.
            let first = own.frames.iter().find(|frame| !is_runtime(&frame.file));
            tally.equal(what("current function"), first.map(|f| f.function.clone()), function(&ours["current"]));
            tally.equal(what("current line"), first.map(|f| f.line), ours["current"]["line"].as_u64());
            tally.equal(what("current file"), first.map(|f| f.file.as_str()), ours["current"]["file"].as_str());
        }
        tally.holds(what("a stack"), innermost.is_some() && ours["stack"]["status"] == "known");
    }
}

/// Whether a traceback of the usual level leaves a creator out: none, or one of the runtime's own.
fn is_hidden(place: &Value) -> bool {
    place["function"].as_str().is_none_or(|name| name.starts_with("runtime."))
}

fn is_runtime(file: &str) -> bool {
    file.starts_with("runtime/") && file.matches('/').count() == 1
        || file.starts_with("internal/runtime/")
        || file.starts_with("runtime/internal/")
}

/// Type parameters are dots in a traceback.
fn function(place: &Value) -> Option<String> {
    let name = place["function"].as_str()?;
    Some(match (name.find('['), name.rfind(']')) {
        (Some(open), Some(close)) => format!("{}...{}", &name[..=open], &name[close..]),
        _ => name.to_owned(),
    })
}

fn creator(own: &DumpGoroutine, ours: &Value, tally: &mut Tally) {
    let what = |what: &str| format!("{what} of goroutine {}", own.id);
    let by = own.created_by.as_ref();
    let place = &ours["creator"];
    tally.equal(what("creator"), by.map(|by| by.function.clone()), function(place));
    tally.equal(what("creator's file"), by.map(|by| by.file.as_str()), place["file"].as_str());
    tally.equal(what("creator's line"), by.map(|by| by.line), place["line"].as_u64());
    tally.equal(what("parent"), by.and_then(|by| by.goroutine), ours["parent_id"].as_u64());
}

/// A value without the times that are left: they pass.
fn timeless(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| *key != "deadline_ns");
            Value::Object(kept.map(|(key, value)| (key.clone(), timeless(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(timeless).collect()),
        other => other.clone(),
    }
}

/// Two readings of a program in which nothing happens are the same, but for the goroutine that
/// answered in between.
pub(crate) fn same(first: &Value, second: &Value, tally: &mut Tally) {
    let (mut first, second) = (listed(first), listed(second));
    tally.equal("goroutines in two readings", first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    first.remove(&1);
    for (id, first) in first {
        let Some(second) = second.get(&id) else { continue };
        for key in first
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| !["wait_ns", "wait_at_most_ns", "wait_source"].contains(&key.as_str()))
        {
            let what = format!("{key} of goroutine {id} in two readings");
            tally.equal(what, timeless(&first[key]), timeless(&second[key]));
        }
    }
}

/// Every goroutine, the runtime's own included, against the dump of a program that ends by SIGQUIT.
pub(crate) fn compare_dump(truth: &Value, dump: &str, seen: &Value, tally: &mut Tally) {
    let dump = parse_traceback(dump);
    // Goroutine 0 is the scheduler of the thread that got the signal.
    let dump: BTreeMap<u64, &DumpGoroutine> = dump.iter().filter(|g| g.id != 0).map(|g| (g.id, g)).collect();
    let ours = listed(seen);
    tally.equal("all goroutines", dump.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    let ms: HashMap<u64, &Value> =
        seen["threads"].as_array().unwrap().iter().map(|m| (m["id"].as_u64().unwrap(), m)).collect();
    for (id, own) in &dump {
        let Some(ours) = ours.get(id) else { continue };
        let what = |what: &str| format!("{what} of goroutine {id} (dump)");
        tally.equal(what("state"), own.state.as_str(), state(ours));
        tally.equal(what("locked"), own.locked, ours["locked"].as_bool().unwrap());
        creator(own, ours, tally);
        start(own, ours, tally);
        innermost(own, ours, tally);
        // `goroutine 1 gp=0xc000002380 m=0 mp=0x5d6ec0 [chan receive]`, from Go 1.22 on.
        let word = |key: &str| own.header.split(' ').find_map(|word| word.strip_prefix(key));
        let Some(gp) = word("gp=") else { continue };
        tally.equal(what("address"), gp, ours["address"].as_str().unwrap());
        let m: Option<u64> = word("m=").unwrap().parse().ok();
        tally.equal(what("M"), m, ours["m_id"].as_u64());
        if let Some(m) = m.and_then(|m| ms.get(&m)) {
            tally.equal(what("M's address"), word("mp=").unwrap(), m["address"].as_str().unwrap());
            tally.equal(what("M's goroutine"), Some(*id), m["goroutine_id"].as_u64());
            tally.equal(what("M's thread"), &m["thread_id"], &ours["thread_id"]);
        }
    }
    counts(dump.values(), seen, tally);
    threads(truth, seen, tally);
}

/// The function that it started in is the outermost, below the one that ends goroutines.
fn start(own: &DumpGoroutine, ours: &Value, tally: &mut Tally) {
    let cut = own.elided.is_some_and(|elided| elided.count.is_none()) || own.frames.len() >= SILENT_CUT;
    let outermost: Vec<&str> = own.frames.iter().rev().map(|f| f.function.as_str()).take(2).collect();
    let started = match outermost[..] {
        _ if cut => return,
        // A thread that C made: its goroutine started nowhere.
        ["runtime.goexit", "runtime.cgocallback" | "runtime.cgocallback.abi0"] => None,
        ["runtime.goexit", function] => Some(function.to_owned()),
        _ => panic!("goroutine {} ends in {outermost:?}", own.id),
    };
    tally.equal(format!("start of goroutine {}", own.id), started, function(&ours["start"]));
}

fn innermost(own: &DumpGoroutine, ours: &Value, tally: &mut Tally) {
    let what = |what: &str| format!("innermost {what} of goroutine {}", own.id);
    let (first, place) = (&own.frames[0], &ours["innermost"]);
    tally.equal(what("function"), Some(first.function.clone()), function(place));
    tally.equal(what("file"), Some(first.file.as_str()), place["file"].as_str());
    tally.equal(what("line"), Some(first.line), place["line"].as_u64());
}

/// Counts by state and by reason are those of the dump.
fn counts<'a>(dump: impl Iterator<Item = &'a &'a DumpGoroutine>, seen: &Value, tally: &mut Tally) {
    const STATES: [&str; 6] = ["idle", "runnable", "running", "syscall", "preempted", "copystack"];
    let (mut states, mut reasons) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    for own in dump {
        let waits = !STATES.contains(&own.state.as_str());
        *states.entry(if waits { "waiting" } else { &own.state }).or_default() += 1;
        if waits {
            *reasons.entry(&own.state).or_default() += 1;
        }
    }
    tally.equal("by_state", &serde_json::json!(states), &seen["goroutines"]["by_state"]);
    tally.equal("by_wait_reason", &serde_json::json!(reasons), &seen["goroutines"]["by_wait_reason"]);
}

/// Threads that goroutines wrote down, those of them that could not move to another since.
fn threads(truth: &Value, seen: &Value, tally: &mut Tally) {
    const STAY: [&str; 5] = ["syscall locked", "locked", "locked sleep", "cgo read locked", "cgo foreign thread"];
    let ours = listed(seen);
    let locked: HashMap<u64, &Value> = seen["threads"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|m| Some((m["locked_goroutine_id"].as_u64()?, &m["thread_id"])))
        .collect();
    for kind in STAY {
        for id in truth["kinds"][kind].as_array().into_iter().flatten() {
            let tid = &truth["tids"][id.to_string()];
            let id = id.as_u64().unwrap();
            if ours[&id]["state"] == "syscall" {
                tally.equal(format!("thread of goroutine {id} ({kind})"), tid, &ours[&id]["thread_id"]);
            }
            let m = locked.get(&id).copied();
            tally.equal(format!("thread that goroutine {id} ({kind}) is locked to"), Some(tid), m);
        }
    }
}

/// Goroutines that are known to be in a system call: the kernel says so of their threads.
pub(crate) fn in_the_kernel(truth: &Value, seen: &Value, tally: &mut Tally) {
    const READ: &str = "0";
    const CLOCK_NANOSLEEP: &str = "230";
    let kinds = [
        ("syscall", READ),
        ("syscall locked", READ),
        ("cgo read", READ),
        ("cgo read locked", READ),
        ("cgo callback in C", READ),
        ("cgo sleep", CLOCK_NANOSLEEP),
    ];
    let ours = listed(seen);
    for (kind, number) in kinds {
        for id in truth["kinds"][kind].as_array().into_iter().flatten() {
            let tid = &ours[&id.as_u64().unwrap()]["thread_id"];
            let said = std::fs::read_to_string(format!("/proc/{}/task/{tid}/syscall", truth["pid"])).unwrap();
            let call = said.split(' ').next().unwrap().trim_end();
            tally.equal(format!("system call of thread {tid} of goroutine {id} ({kind})"), number, call);
        }
    }
}
