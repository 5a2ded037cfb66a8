//! Heap and collector: `runtime.MemStats` and `runtime/metrics`.

use serde_json::Value;

use super::facts::unix_ns;
use crate::support::{Running, Tally};

/// Fields of `runtime.MemStats`, ours, and whether they never go down.
const MEMSTATS: [(&str, &str, bool); 18] = [
    ("HeapAlloc", "alloc_bytes", false),
    ("TotalAlloc", "total_alloc_bytes", true),
    ("Sys", "sys_bytes", false),
    ("Mallocs", "mallocs", true),
    ("Frees", "frees", true),
    ("HeapObjects", "objects", false),
    ("HeapSys", "heap_sys_bytes", false),
    ("HeapIdle", "heap_idle_bytes", false),
    ("HeapInuse", "heap_inuse_bytes", false),
    ("HeapReleased", "heap_released_bytes", false),
    ("StackInuse", "stack_inuse_bytes", false),
    ("StackSys", "stack_sys_bytes", false),
    ("MSpanSys", "mspan_sys_bytes", true),
    ("MCacheSys", "mcache_sys_bytes", true),
    ("BuckHashSys", "buckhash_sys_bytes", true),
    ("GCSys", "gc_sys_bytes", false),
    ("OtherSys", "other_sys_bytes", false),
    ("Lookups", "", true),
];

/// How often the program is given another chance to be quiet.
const TRIES: usize = 8;

/// Reads the program's figures, gospy's, and the program's again: what never goes down has to be
/// between, and in one of a few tries, when nothing happened in between, all has to be equal.
pub(crate) fn compare(program: &mut Running, version: &str, tally: &mut Tally) -> Value {
    // The first reading allocates what later ones use again.
    program.ask("metrics");
    for attempt in 1.. {
        let before = program.ask("metrics");
        let seen = super::summary(program, tally);
        let after = program.ask("metrics");
        bounds(&before, &seen, &after, tally);
        let mut equal = Tally::new(format!("{version}, try {attempt}"));
        memstats(&after["memstats"], &seen, &mut equal);
        metrics(&after["metrics"], &seen, &mut equal);
        super::scheduler::metrics(&after["metrics"], &seen, &mut equal);
        if equal.wrong.is_empty() || attempt == TRIES {
            tally.add(equal);
            return seen;
        }
    }
    unreachable!()
}

fn bounds(before: &Value, seen: &Value, after: &Value, tally: &mut Tally) {
    let (before, after) = (&before["memstats"], &after["memstats"]);
    for (own, ours, _) in MEMSTATS.iter().filter(|(_, ours, grows)| *grows && !ours.is_empty()) {
        let value = |of: &Value| of.as_u64().unwrap();
        tally.between(*own, value(&before[own]), value(&seen["heap"][ours]), value(&after[own]));
    }
}

fn memstats(own: &Value, seen: &Value, tally: &mut Tally) {
    for (name, ours, _) in MEMSTATS.iter().filter(|(_, ours, _)| !ours.is_empty()) {
        tally.equal(*name, &own[name], &seen["heap"][ours]);
    }
    let gc = &seen["gc"];
    tally.equal("NextGC", &own["NextGC"], &gc["next_goal_bytes"]);
    tally.equal("NumGC", &own["NumGC"], &gc["cycles"]);
    tally.equal("NumForcedGC", &own["NumForcedGC"], &gc["forced_cycles"]);
    tally.equal("PauseTotalNs", &own["PauseTotalNs"], &gc["pause_total_ns"]);
    // The program's is true even when nothing starts a cycle.
    let off = gc["gc_percent"] == -1 && gc["memory_limit_bytes"].is_null();
    tally.equal("EnableGC", own["EnableGC"] == true && !off, gc["enabled"].as_bool().unwrap());
    tally.equal("LastGC", own["LastGC"].as_u64().unwrap(), unix_ns(&gc["last_at"]));
    close("GCCPUFraction", &own["GCCPUFraction"], &gc["cpu_fraction"], tally);
    let pauses = gc["recent_pauses"].as_array().unwrap();
    let cycles = usize::try_from(own["NumGC"].as_u64().unwrap()).unwrap();
    tally.equal("pauses", cycles.min(256), pauses.len());
    for (back, pause) in pauses.iter().enumerate() {
        let at = (cycles + 255 - back) % 256;
        tally.equal("PauseNs", &own["PauseNs"][at], &pause["duration_ns"]);
        tally.equal("PauseEnd", own["PauseEnd"][at].as_u64().unwrap(), unix_ns(&pause["ended_at"]));
    }
}

/// Reading a number as text may cost its last digit.
fn close(what: &str, own: &Value, ours: &Value, tally: &mut Tally) {
    let (own, ours) = (own.as_f64().unwrap(), ours.as_f64().unwrap());
    tally.holds(format!("{what} is {own} and not {ours}"), (own - ours).abs() <= own.abs() * 1e-12);
}

/// `runtime/metrics`; what a version does not have yet is left out.
fn metrics(own: &Value, seen: &Value, tally: &mut Tally) {
    let (heap, gc) = (&seen["heap"], &seen["gc"]);
    let number = |value: &Value| value.as_u64().unwrap();
    let difference = |a: &str, b: &str| number(&heap[a]) - number(&heap[b]);
    let figures = [
        ("/memory/classes/heap/free:bytes", difference("heap_idle_bytes", "heap_released_bytes")),
        ("/memory/classes/heap/objects:bytes", number(&heap["alloc_bytes"])),
        ("/memory/classes/heap/released:bytes", number(&heap["heap_released_bytes"])),
        ("/memory/classes/heap/stacks:bytes", number(&heap["stack_inuse_bytes"])),
        ("/memory/classes/heap/unused:bytes", difference("heap_inuse_bytes", "alloc_bytes")),
        ("/memory/classes/metadata/other:bytes", number(&heap["gc_sys_bytes"])),
        ("/memory/classes/os-stacks:bytes", difference("stack_sys_bytes", "stack_inuse_bytes")),
        ("/memory/classes/other:bytes", number(&heap["other_sys_bytes"])),
        ("/memory/classes/profiling/buckets:bytes", number(&heap["buckhash_sys_bytes"])),
        ("/memory/classes/total:bytes", number(&heap["sys_bytes"])),
        ("/gc/heap/allocs:bytes", number(&heap["total_alloc_bytes"])),
        ("/gc/heap/frees:bytes", difference("total_alloc_bytes", "alloc_bytes")),
        ("/gc/heap/objects:objects", number(&heap["objects"])),
        ("/gc/heap/goal:bytes", number(&gc["next_goal_bytes"])),
        ("/gc/heap/live:bytes", number(&heap["marked_bytes"])),
        ("/gc/cycles/total:gc-cycles", number(&gc["cycles"])),
        ("/gc/cycles/forced:gc-cycles", number(&gc["forced_cycles"])),
        ("/gc/gogc:percent", gc["gc_percent"].as_i64().unwrap().cast_unsigned()),
        ("/gc/gomemlimit:bytes", gc["memory_limit_bytes"].as_u64().unwrap_or(i64::MAX.unsigned_abs())),
        ("/sched/gomaxprocs:threads", number(&seen["target"]["gomaxprocs"])),
    ];
    for (name, ours) in figures {
        if let Some(own) = own[name].as_u64() {
            tally.equal(name, own, ours);
        }
    }
    for (class, ours) in [("mspan", "mspan_sys_bytes"), ("mcache", "mcache_sys_bytes")] {
        let part = |part: &str| own[format!("/memory/classes/metadata/{class}/{part}:bytes")].as_u64().unwrap();
        tally.equal(class, part("inuse") + part("free"), number(&heap[ours]));
    }
}
