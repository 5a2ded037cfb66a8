//! `GODEBUG=schedtrace=MS,scheddetail=1`: the scheduler's lists as the runtime itself walks them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::tally::Tally;

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

/// How many timers all Ps had together, by each report.
pub fn timers(stderr: &str) -> Vec<u64> {
    let of = |block: &Block| block.values().filter_map(|values| values.get("timerslen")?.parse::<u64>().ok()).sum();
    blocks(stderr).iter().map(of).collect()
}

/// Compares a summary (`seen`) of a quiet program with what the program wrote to its standard error
/// before and after.
pub fn compare(stderr: &str, seen: &Value, tally: &mut Tally) {
    let blocks = blocks(stderr);
    // Where nothing changed from one to the next, gospy's reading is the same too.
    let steady = blocks.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| &pair[0]);
    let compared = steady.map(|block| {
        let mut one = tally.another();
        compare_block(block, seen, &mut one);
        one
    });
    match compared.min_by_key(|one| one.wrong.len()) {
        Some(best) => tally.add(best),
        None => tally.wrong("the program was never quiet"),
    }
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
            // Where there is no layout of the version, nothing proves where timers are while there are none.
            if ours == "timers" && p[ours].is_null() && is_of_another_version(seen) {
                continue;
            }
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

fn is_of_another_version(seen: &Value) -> bool {
    seen["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == "nearest_layout")
}

fn compare_goroutines(block: &Block, seen: &Value, tally: &mut Tally) {
    const DEAD: [&str; 2] = ["6(", "11("];
    let status = |own: &BTreeMap<String, String>| own["status"].clone();
    let all = block.iter().filter(|(name, _)| name.starts_with('G'));
    let (dead, live): (Vec<_>, Vec<_>) = all.partition(|(_, own)| DEAD.iter().any(|d| status(own).starts_with(d)));
    let list = seen["goroutines"]["list"].as_array().unwrap();
    let goroutines: BTreeMap<u64, &Value> = list.iter().map(|g| (g["id"].as_u64().unwrap(), g)).collect();
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
