//! A timeline in Chrome's trace event format, which Perfetto and chrome://tracing open: a process for each group
//! of goroutines, a thread for each goroutine, and one of each for the collector and the Ps.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::clean::clean;
use super::super::json::to_writer;
use crate::analysis::timeline::{Line, Timeline};

/// An event. Times are µs.
#[derive(Serialize)]
struct Event<'a> {
    ph: &'a str,
    name: &'a str,
    pid: u64,
    tid: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Value>,
}

/// Writes events, with commas between.
struct Events<'o> {
    out: &'o mut dyn Write,
    first: bool,
}

impl Events<'_> {
    fn add(&mut self, event: &Event<'_>) -> io::Result<()> {
        let separator = if std::mem::take(&mut self.first) { "\n" } else { ",\n" };
        self.out.write_all(separator.as_bytes())?;
        to_writer(&mut *self.out, event)
    }

    /// What a process (`process`) or thread (`thread`) is called, and where it stands.
    fn name(&mut self, what: &str, pid: u64, tid: u64, name: &str, order: u64) -> io::Result<()> {
        let (named, sorted) = (format!("{what}_name"), format!("{what}_sort_index"));
        let name = Some(json!({ "name": clean(name) }));
        self.add(&Event { ph: "M", name: &named, pid, tid, ts: None, dur: None, args: name })?;
        let order = Some(json!({ "sort_index": order }));
        self.add(&Event { ph: "M", name: &sorted, pid, tid, ts: None, dur: None, args: order })
    }

    fn line(&mut self, timeline: &Timeline, pid: u64, tid: u64, line: &Line) -> io::Result<()> {
        for slice in &line.slices {
            let (text, place) = timeline.texts(slice);
            let args = (!place.is_empty()).then(|| json!({ "in": clean(place) }));
            let (ts, dur) = (Some(us(slice.from_ns)), Some(us(slice.to_ns.saturating_sub(slice.from_ns))));
            self.add(&Event { ph: "X", name: &clean(text), pid, tid, ts, dur, args })?;
        }
        Ok(())
    }
}

/// Process of the collector.
const COLLECTOR: u64 = 1;
/// Process of the Ps.
const PROCESSORS: u64 = 2;
/// Process of the first group.
const GROUPS: u64 = 3;

/// Writes a timeline.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, timeline: &Timeline) -> io::Result<()> {
    write!(out, "{{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
    let mut events = Events { out: &mut *out, first: true };
    events.name("process", COLLECTOR, 0, "GC", 0)?;
    events.name("thread", COLLECTOR, 1, "stops of the world", 0)?;
    for stop in timeline.stops() {
        let (ts, dur) = (Some(us(stop.from_ns)), Some(us(stop.ns)));
        events.add(&Event { ph: "X", name: "world stopped", pid: COLLECTOR, tid: 1, ts, dur, args: None })?;
    }
    if let Some(phases) = timeline.phases() {
        events.name("thread", COLLECTOR, 2, &phases.name, 1)?;
        events.line(timeline, COLLECTOR, 2, phases)?;
    }
    events.name("process", PROCESSORS, 0, "Ps", 1)?;
    for (tid, (_, line)) in (1_u64..).zip(timeline.ps()) {
        events.name("thread", PROCESSORS, tid, &line.name, tid)?;
        events.line(timeline, PROCESSORS, tid, line)?;
    }
    let mut next_tid = 1;
    for (pid, (name, group)) in (GROUPS..).zip(timeline.groups()) {
        events.name("process", pid, 0, &format!("{name} (at most {})", group.most), pid)?;
        let mut known = Vec::new();
        for counted in group.counts() {
            // A state that is left out of a counter keeps its last value.
            let mut states: Map<String, Value> =
                known.iter().map(|state: &String| (state.clone(), Value::from(0_u64))).collect();
            for (state, count) in timeline.states(counted) {
                let state = clean(state).into_owned();
                states.insert(state.clone(), Value::from(count));
                if !known.contains(&state) {
                    known.push(state);
                }
            }
            let (ts, args) = (Some(us(counted.from_ns)), Some(Value::Object(states)));
            events.add(&Event { ph: "C", name: "others, by state", pid, tid: 0, ts, dur: None, args })?;
        }
        for (id, line) in group.lines() {
            events.name("thread", pid, next_tid, &line.name, id.0)?;
            events.line(timeline, pid, next_tid, line)?;
            next_tid += 1;
        }
    }
    let (samples, ns) = timeline.extent();
    let target = timeline.target();
    let other = json!({
        "recorded by": concat!("gospy ", env!("CARGO_PKG_VERSION")),
        "program": target.map(|target| clean(&target.exe).into_owned()),
        "pid": target.map(|target| target.pid),
        "go_version": target.map(|target| target.go_version.clone()),
        "samples": samples,
        "duration_ns": ns,
        "complete": !timeline.is_cut(),
    });
    write!(out, "\n],\"otherData\":")?;
    to_writer(&mut *out, &other)?;
    writeln!(out, "}}")
}

#[expect(clippy::cast_precision_loss, reason = "exact for a hundred days")]
fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}
