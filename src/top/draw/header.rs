//! The head of the screen: how the program is, in a few lines.

use ratatui::text::Line;

use super::Theme;
use super::lists::state_tone;
use super::text::{Part, line, part, parts, pieces_width};
use crate::analysis::Index;
use crate::analysis::series::GcShare;
use crate::model::{GcStats, PStatus, Snapshot};
use crate::report::clean::clean;
use crate::report::findings::headline;
use crate::report::resources;
use crate::report::units::{bytes, count, counted, duration, percent};
use crate::top::piece::{Piece, Tone, piece};
use crate::top::state::{Link, State};
use crate::top::view::Total;
use crate::top::words::{rate, sparkline};

const BETWEEN: &str = " · ";

/// The lines of the header, the most important first; as many as are asked for are shown.
pub(crate) fn lines(state: &State, theme: Theme, room: usize) -> Vec<Line<'static>> {
    let Some(view) = state.view() else {
        let text = if matches!(state.link(), Link::Live) { "reading …" } else { "nothing was read" };
        return vec![line(&[piece(Tone::Dim, text)], room, theme)];
    };
    let snapshot = view.observed.snapshot();
    let limits = limits(snapshot, room);
    [
        Some(program(state, snapshot, room)),
        Some(goroutines(state, room)),
        Some(heap(snapshot, state.memory().gc_cpu.share(), room)),
        Some(scheduler(snapshot, room)),
        limits,
        Some(reading(state, snapshot, room)),
    ]
    .iter()
    .flatten()
    .map(|pieces| line(pieces, room, theme))
    .collect()
}

/// What is wrong, on one line; `None` when nothing is.
pub(super) fn alarm(state: &State, theme: Theme, room: usize) -> Option<Line<'static>> {
    let observed = &state.view()?.observed;
    let text = headline(observed.findings(), &Index::new(observed.snapshot()))?;
    Some(line(&[piece(Tone::Bad, format!("! {text}"))], room, theme))
}

/// The limits that say something; `None` when none does.
fn limits(snapshot: &Snapshot, room: usize) -> Option<Vec<Piece>> {
    let facts = resources::limits(&snapshot.target.resources);
    // What is alarming is left out last.
    let parts = (1..).zip(facts).map(|(rank, fact)| match fact.alarming {
        true => part(rank, [piece(Tone::Attention, fact.text)]),
        false => part(rank + 10, [piece(Tone::Plain, fact.text)]),
    });
    let parts: Vec<Part> = parts.collect();
    (!parts.is_empty()).then(|| labelled("Limits", parts, room))
}

fn labelled(label: &str, rest: Vec<Part>, room: usize) -> Vec<Piece> {
    // In little room the numbers speak for themselves.
    let label = if room >= 60 { format!("{label:<11}") } else { String::new() };
    let room = room.saturating_sub(label.len());
    let mut pieces = vec![piece(Tone::Head, label)];
    pieces.extend(parts(rest, BETWEEN, room));
    pieces
}

fn program(state: &State, snapshot: &Snapshot, room: usize) -> Vec<Piece> {
    let target = &snapshot.target;
    let name = target.name();
    let interval = if state.settings().recorded {
        let time = crate::report::json::time(snapshot.captured_at_unix_ns);
        format!("recorded {}", to_the_second(&time))
    } else if let Some(extent) = state.settings().playing {
        let time = crate::report::json::time(snapshot.captured_at_unix_ns);
        let at = snapshot.monotonic_ns.saturating_sub(extent.first_ns);
        let all = extent.last_ns.saturating_sub(extent.first_ns);
        format!("{} · +{} of {}", to_the_second(&time), duration(at), duration(all))
    } else {
        interval_text(state)
    };
    let left_room = room.saturating_sub(interval.chars().count() + 2);
    let mut left = parts(
        vec![
            part(0, [piece(Tone::Strong, clean(name))]),
            part(0, [piece(Tone::Plain, format!("pid {}", target.pid))]),
            part(3, [piece(Tone::Plain, clean(&target.go_version))]),
            part(2, target.uptime_ns.map(|ns| piece(Tone::Plain, format!("up {}", duration(ns))))),
            part(4, target.gomaxprocs.map(|procs| piece(Tone::Plain, format!("GOMAXPROCS {procs}")))),
            part(6, target.module.version.as_deref().map(|version| piece(Tone::Dim, clean(version)))),
        ],
        BETWEEN,
        left_room,
    );
    let gap = room.saturating_sub(pieces_width(&left) + interval.chars().count());
    if gap >= 2 {
        left.push(piece(Tone::Plain, " ".repeat(gap)));
        left.push(piece(Tone::Dim, interval));
    }
    left
}

/// A time without what is less than a second.
fn to_the_second(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// `every 1 s`, or what becomes of it below the limit of CPU.
fn interval_text(state: &State) -> String {
    let (wanted, actual) = (state.settings().interval, state.actual_interval());
    // What would be shown alike is alike.
    if actual.as_secs_f64() > wanted.as_secs_f64() * 1.05 {
        let limit = percent_short(state.settings().max_cpu);
        let (slower, asked) = unlike(actual, wanted);
        format!("every {slower}, not {asked}: CPU limit {limit}")
    } else {
        format!("every {}", seconds(wanted))
    }
}

fn seconds(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds >= 10.0 || (seconds - seconds.round()).abs() < 0.005 {
        format!("{seconds:.0} s")
    } else {
        format!("{seconds:.1} s")
    }
}

/// Two durations that differ, in as many digits as it takes to show that.
fn unlike(one: std::time::Duration, other: std::time::Duration) -> (String, String) {
    let exact = |digits: usize| {
        let text = |duration: std::time::Duration| format!("{:.digits$} s", duration.as_secs_f64());
        (text(one), text(other))
    };
    let short = (seconds(one), seconds(other));
    [short, exact(2)].into_iter().find(|(one, other)| one != other).unwrap_or_else(|| exact(3))
}

fn percent_short(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn goroutines(state: &State, room: usize) -> Vec<Piece> {
    let Some(view) = state.view() else { return Vec::new() };
    let counts = view.observed.counts();
    let totals = &state.memory().totals;
    let columns = if room >= 110 { 30 } else { 16 };
    let samples: Vec<u64> = totals.recent(Total::All, columns).collect();
    let name = if room >= 60 { "" } else { " goroutines" };
    let mut all = vec![
        part(0, [piece(Tone::Strong, format!("{}{name}", count(counts.total)))]),
        part(
            1,
            totals.rate(Total::All).map(|per_second| {
                let tone = if per_second >= 0.05 { Tone::Attention } else { Tone::Plain };
                piece(tone, rate(per_second))
            }),
        ),
        part(4, (samples.len() > 1).then(|| piece(Tone::Drawing, sparkline(&samples, columns)))),
    ];
    for (rank, &(status, members)) in (10..).zip(&counts.by_state) {
        let tone = state_tone(status);
        all.push(part(rank, [piece(tone, count(members)), piece(Tone::Plain, format!(" {}", status.name()))]));
    }
    if counts.system > 0 {
        all.push(part(30, [piece(Tone::Dim, format!("{} system", count(counts.system)))]));
    }
    let kept = view.observed.snapshot().reading.stacks.map_or(0, |stacks| stacks.kept);
    if kept > 0 {
        all.push(part(40, [piece(Tone::Dim, format!("{} stacks unchanged", count(kept)))]));
    }
    labelled("Goroutines", all, room)
}

fn scheduler(snapshot: &Snapshot, room: usize) -> Vec<Piece> {
    let in_use = snapshot.processors.iter().filter(|p| !matches!(p.status, PStatus::Idle | PStatus::Dead)).count();
    let all = snapshot.processors.iter().filter(|p| p.status != PStatus::Dead).count();
    let sched = snapshot.sched.as_ref();
    let queue = sched.and_then(|sched| match (sched.global_run_queue, sched.local_run_queues) {
        (None, None) => None,
        (global, local) => Some(global.unwrap_or(0).saturating_add(local.unwrap_or(0))),
    });
    let threads = sched.and_then(|sched| sched.threads).or(snapshot.target.os_threads.map(u64::from));
    let idle = sched.and_then(|sched| sched.idle_threads);
    labelled(
        "Scheduler",
        vec![
            part(
                0,
                (all > 0).then(|| {
                    piece(if in_use == all { Tone::Attention } else { Tone::Plain }, format!("Ps {in_use}/{all}"))
                }),
            ),
            part(
                2,
                queue.map(|length| {
                    let tone = if length > 0 { Tone::Attention } else { Tone::Plain };
                    piece(tone, format!("run queue {}", count(length)))
                }),
            ),
            part(
                4,
                threads.map(|threads| {
                    let idle = idle.map_or_else(String::new, |idle| format!(", {} idle", count(idle)));
                    piece(Tone::Plain, format!("{}{idle}", counted(threads, "thread", "threads")))
                }),
            ),
            part(
                1,
                resources::cpu(&snapshot.target)
                    .map(|fact| piece(if fact.alarming { Tone::Attention } else { Tone::Plain }, fact.text)),
            ),
            part(3, snapshot.target.rss_bytes.map(|rss| piece(Tone::Plain, format!("RSS {}", bytes(rss))))),
        ],
        room,
    )
}

/// The collector's share of the CPU: over the latest cycles where more than one was seen.
fn gc_cpu(gc: &GcStats, lately: Option<GcShare>) -> Piece {
    let text = match lately {
        Some(GcShare { share, interval_ns }) => format!("{} over {}", percent(share), duration(interval_ns)),
        None => format!("{} since start", percent(gc.cpu_fraction)),
    };
    piece(Tone::Plain, format!("GC CPU {text}"))
}

fn heap(snapshot: &Snapshot, lately: Option<GcShare>, room: usize) -> Vec<Piece> {
    let heap = snapshot.heap.as_ref();
    let gc = snapshot.gc.as_ref();
    let live = heap.map(|heap| heap.heap_live.unwrap_or(heap.heap_alloc));
    let goal = gc.and_then(|gc| gc.next_goal);
    let mut amount = Vec::new();
    if let Some(live) = live {
        amount.push(piece(Tone::Strong, bytes(live)));
        if let Some(goal) = goal.filter(|goal| *goal > 0) {
            let columns = if room >= 110 { 24 } else { 12 };
            amount.push(piece(Tone::Plain, " "));
            amount.extend(gauge(live as f64 / goal as f64, columns));
            amount.push(piece(Tone::Plain, format!(" of {}", bytes(goal))));
        }
    }
    let phase = gc.and_then(|gc| gc.phase).filter(|phase| *phase != crate::model::GcPhase::Off);
    let pause = gc.and_then(|gc| gc.recent_pauses.first());
    labelled(
        "Heap",
        vec![
            part(0, amount),
            part(1, gc.map(|gc| piece(Tone::Plain, format!("GC {}", count(u64::from(gc.cycles)))))),
            part(2, phase.map(|phase| piece(Tone::Attention, format!("in {}", phase.name())))),
            part(3, pause.map(|pause| piece(Tone::Plain, format!("pause {}", duration(pause.duration_ns))))),
            part(4, gc.map(|gc| gc_cpu(gc, lately))),
            part(5, gc.and_then(|gc| (gc.enabled == Some(false)).then(|| piece(Tone::Attention, "GC is off")))),
        ],
        room,
    )
}

/// A bar of `columns` characters, filled to `share`.
fn gauge(share: f64, columns: usize) -> [Piece; 2] {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and the columns")]
    let full = (share * columns as f64).round() as usize;
    let full = full.min(columns);
    let tone = if share >= 0.95 { Tone::Attention } else { Tone::Good };
    [piece(tone, "━".repeat(full)), piece(Tone::Dim, "─".repeat(columns - full))]
}

fn reading(state: &State, snapshot: &Snapshot, room: usize) -> Vec<Piece> {
    let reading = &snapshot.reading;
    let warnings = snapshot.warnings.iter().fold(0_u64, |sum, warning| sum.saturating_add(warning.count));
    let odd = reading.consistency.moving.saturating_add(reading.consistency.unreadable);
    let stopped =
        reading.freeze.map(|freeze| piece(Tone::Attention, format!("stopped for {}", duration(freeze.stopped_ns))));
    let warned = (warnings > 0).then(|| piece(Tone::Attention, counted(warnings, "warning", "warnings")));
    labelled(
        "Read",
        vec![
            part(0, [piece(Tone::Plain, format!("in {} by {}", duration(reading.duration_ns), reading.backend))]),
            part(1, stopped),
            part(1, warned),
            part(2, (odd > 0).then(|| piece(Tone::Attention, format!("{} not readable", count(odd))))),
            part(
                3,
                state
                    .own_cpu()
                    .filter(|_| !state.settings().recorded)
                    .map(|share| piece(Tone::Dim, format!("gospy takes {} of a core", percent(share)))),
            ),
            part(4, (warnings == 0).then(|| piece(Tone::Dim, "no warnings"))),
        ],
        room,
    )
}

#[cfg(test)]
mod tests {
    use super::unlike;
    use std::time::Duration;

    #[test]
    fn intervals_that_differ_look_different() {
        let shown = |one: u64, other: u64| unlike(Duration::from_millis(one), Duration::from_millis(other));
        assert_eq!(shown(3_200, 1_000), ("3.2 s".into(), "1 s".into()));
        assert_eq!(shown(140, 100), ("0.14 s".into(), "0.10 s".into()));
        assert_eq!(shown(54, 50), ("0.054 s".into(), "0.050 s".into()));
        for wanted in (50..20_000).step_by(50) {
            let actual = wanted + wanted / 20 + 1;
            let (actual, wanted) = shown(actual, wanted);
            assert_ne!(actual, wanted);
        }
    }
}
