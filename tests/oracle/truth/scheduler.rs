//! Scheduler, Ps and Ms.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::goroutines::{listed, state};
use crate::support::{Mode, Running, Tally};

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What `runtime/metrics` tells of goroutines and threads.
pub(crate) fn metrics(own: &Value, seen: &Value, tally: &mut Tally) {
    let counts = &seen["goroutines"];
    let sched = &seen["sched"];
    let total = &own["/sched/goroutines:goroutines"];
    let highest = *listed(seen).keys().last().unwrap();
    let created = number(&sched["goroutines_created"]);
    let Some(exact) = own["/sched/goroutines-created:goroutines"].as_u64() else {
        tally.equal("/sched/goroutines:goroutines", total, &counts["user"]);
        tally.equal("goroutines created, exactly", false, sched["goroutines_created_exact"].as_bool().unwrap());
        tally.between(
            "goroutines created",
            number(&counts["total"]),
            created,
            highest + 16 * number(&seen["target"]["gomaxprocs"]),
        );
        return;
    };
    // From Go 1.26 on the runtime counts its own goroutines too, and those that wait for callbacks
    // from C; and the goroutine that asks runs, which it did not for gospy.
    let system = number(&sched["system_goroutines"]);
    let extra = system - number(&counts["system"]);
    let of_state = |state: &str| counts["by_state"][state].as_u64().unwrap_or(0);
    let figures = [
        ("/sched/goroutines:goroutines", number(&counts["user"]) + system),
        ("/sched/goroutines/not-in-go:goroutines", of_state("syscall") - 1),
        ("/sched/goroutines/runnable:goroutines", of_state("runnable")),
        ("/sched/goroutines/running:goroutines", of_state("running") + 1),
        ("/sched/goroutines/waiting:goroutines", of_state("waiting") + extra),
    ];
    for (name, ours) in figures {
        tally.equal(name, &own[name], ours);
    }
    tally.equal("goroutines created", exact, created);
    tally.equal("goroutines created, exactly", true, sched["goroutines_created_exact"].as_bool().unwrap());
    // Ms that wait for threads of C's, or are used by them, are not counted there.
    let go_threads = seen["threads"].as_array().unwrap().iter().filter(|m| m["thread_id"].is_number()).count();
    let in_c = listed(seen).values().filter(|g| g["start"].is_null()).count();
    tally.equal("threads", &own["/sched/threads/total:threads"], go_threads - in_c);
}

/// Ms, Ps and goroutines of a stopped program refer to each other.
pub(crate) fn fits_together(seen: &Value, tally: &mut Tally) {
    let goroutines = listed(seen);
    let sched = &seen["sched"];
    let (ps, ms) = (seen["processors"].as_array().unwrap(), seen["threads"].as_array().unwrap());
    tally.equal("Ps", number(&seen["target"]["gomaxprocs"]), ps.len() as u64);
    tally.equal("Ms", number(&sched["threads"]), ms.len() as u64);
    let m_of: BTreeMap<u64, &Value> = ms.iter().map(|m| (number(&m["id"]), m)).collect();
    tally.equal("ids of Ms", ms.len(), m_of.len());
    for (index, p) in ps.iter().enumerate() {
        tally.equal("a P's id", index as u64, number(&p["id"]));
        let owner = p["m_id"].as_u64();
        tally.equal(format!("P {index} is owned and not idle"), p["status"] == "running", owner.is_some());
        if let Some(owner) = owner {
            tally.equal(format!("the P of M {owner}"), &p["id"], &m_of[&owner]["p_id"]);
            tally.equal(format!("the goroutine of P {index}"), &p["goroutine_id"], &m_of[&owner]["goroutine_id"]);
        }
    }
    let idle = ps.iter().filter(|p| p["status"] == "idle").count() as u64;
    tally.equal("idle Ps", idle, number(&sched["idle_processors"]));
    let spinning = ms.iter().filter(|m| m["spinning"] == true).count() as u64;
    tally.equal("spinning Ms", spinning, number(&sched["spinning_threads"]));
    let queued: u64 = ps.iter().map(|p| number(&p["run_queue"]) + u64::from(p["runnext_id"].is_number())).sum();
    tally.equal("local run queues", queued, number(&sched["local_run_queues"]));
    for (id, m) in &m_of {
        if let Some(goroutine) = m["goroutine_id"].as_u64().and_then(|goid| goroutines.get(&goid)) {
            tally.equal(format!("the M of the goroutine on M {id}"), *id, number(&goroutine["m_id"]));
            tally.equal(format!("the thread of the goroutine on M {id}"), &m["thread_id"], &goroutine["thread_id"]);
        }
        if let Some(locked) = m["locked_goroutine_id"].as_u64().and_then(|goid| goroutines.get(&goid)) {
            tally.equal(format!("the goroutine locked to M {id}"), true, locked["locked"].as_bool().unwrap());
        }
    }
    for (id, goroutine) in &goroutines {
        let on = matches!(goroutine["state"].as_str().unwrap(), "running" | "syscall");
        tally.equal(format!("goroutine {id} ({}) has an M", state(goroutine)), on, goroutine["m_id"].is_number());
    }
}

/// How many Ms of a program at rest have no thread: with C there is one, for a thread that C makes.
pub(crate) fn extra_ms(mode: Mode) -> usize {
    usize::from(mode.has_c())
}

/// How many Ms of a summary have no thread.
pub(crate) fn without_thread(seen: &Value) -> usize {
    seen["threads"].as_array().unwrap().iter().filter(|m| m["thread_id"].is_null()).count()
}

/// The kernel's account of the threads.
pub(crate) fn compare_threads(program: &Running, truth: &Value, seen: &Value, mode: Mode, tally: &mut Tally) {
    let tasks: BTreeSet<u64> = std::fs::read_dir(format!("/proc/{}/task", program.pid()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    let ms = seen["threads"].as_array().unwrap();
    let ours: BTreeSet<u64> = ms.iter().filter_map(|m| m["thread_id"].as_u64()).collect();
    tally.equal("threads", &tasks, &ours);
    tally.equal("os_threads", tasks.len() as u64, number(&seen["target"]["os_threads"]));
    for m in ms.iter().filter(|m| m["thread_id"].is_number()) {
        tally.equal("a thread's state", "T", m["state"].as_str().unwrap());
    }
    tally.equal("Ms without a thread", extra_ms(mode), without_thread(seen));
    let calls: u64 = ms.iter().map(|m| number(&m["cgo_calls"])).sum();
    tally.equal("calls of C", number(&truth["num_cgo_call"]), calls);
    for m in ms {
        let goroutine = m["goroutine_id"].as_u64();
        let kind = |name: &str| {
            let ids = truth["kinds"][name].as_array();
            ids.is_some_and(|ids| ids.iter().any(|id| id.as_u64() == goroutine))
        };
        if ["cgo sleep", "cgo read", "cgo read locked", "cgo callback in C"].into_iter().any(kind) {
            tally.equal("in C", true, m["in_cgo"].as_bool().unwrap());
        } else if !mode.has_c() {
            tally.equal("in C", false, m["in_cgo"].as_bool().unwrap());
        }
    }
}
