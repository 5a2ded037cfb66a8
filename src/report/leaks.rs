//! Leaked goroutines, for people and as JSON.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::clean::clean;
use super::deadlock;
use super::json::{SCHEMA_VERSION, schema_of, to_writer};
use super::members::UserPlace;
use super::place::PlaceWords;
use super::units::{bytes, count, counted, duration};
use crate::addr::Addr;
use crate::analysis::leaks::LeakGroup;
use crate::analysis::waits::ById;
use crate::analysis::{Index, PlaceKind};
use crate::heap::{Deadlock, Grade, Leaks, Proof};

/// Ids of a group that are shown in text.
const TEXT_IDS: usize = 12;
/// Deadlocks that are shown in text.
const TEXT_DEADLOCKS: usize = 10;

/// What `gospy leaks --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy leaks")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of gospy.
    gospy_version: &'static str,
    /// When the goroutines were read; RFC 3339, UTC.
    captured_at: String,
    /// Process id.
    pid: i32,
    /// Path of the executable as the kernel gives it.
    exe: &'a str,
    /// The toolchain, as in go1.26.6.
    go_version: &'a str,
    /// What was found.
    leaks: Found<'a>,
}

/// Leaked goroutines.
#[derive(Debug, Serialize, JsonSchema)]
struct Found<'a> {
    /// What this is worth: certain, or confirmed.
    grade: &'static str,
    /// Why: frozen, core_file, quiet (no Go code ran), two_passes. Open enumeration.
    proof: &'static str,
    /// For how long the program was stopped, ns; null where it was not.
    stopped_ns: Option<u64>,
    /// How many goroutines are leaked.
    total: u64,
    /// How many goroutines there are.
    goroutines: u64,
    /// Bytes of the heap that only leaked goroutines keep.
    heap_bytes: u64,
    /// Bytes of these that several groups keep; null where that is not known.
    shared_heap_bytes: Option<u64>,
    /// Bytes of their stacks.
    stack_bytes: u64,
    /// How often the heap was walked.
    passes: u32,
    /// By place, creator and wait reason, largest first.
    groups: Vec<LeakGroupDocument<'a>>,
    /// Leaked goroutines that only each other could wake; null where that is not known. At most 1,024 are examined.
    deadlocks: Option<Vec<DeadlockDocument<'a>>>,
}

/// Leaked goroutines that only each other could wake.
#[derive(Debug, Serialize, JsonSchema)]
struct DeadlockDocument<'a> {
    /// Their ids: two or more.
    goroutines: &'a [u64],
}

/// Leaked goroutines that wait in the same place and were created by the same statement.
#[derive(Debug, Serialize, JsonSchema)]
struct LeakGroupDocument<'a> {
    /// How many.
    count: u64,
    /// Where they wait, in the user's code; null where unknown.
    place: Option<UserPlace<'a>>,
    /// The go statement that created them; null where unknown.
    creator: Option<UserPlace<'a>>,
    /// What they wait for.
    waiting_on: WaitingOn<'a>,
    /// The shortest known wait, ns; null where none is known.
    wait_shortest_ns: Option<u64>,
    /// The longest known wait, ns; null where none is known.
    wait_longest_ns: Option<u64>,
    /// Bytes of their stacks.
    stack_bytes: u64,
    /// Bytes of the heap that nothing else keeps, other groups included; null where that is not known.
    heap_bytes: Option<u64>,
    /// Their ids.
    goroutines: &'a [u64],
}

/// What leaked goroutines wait for.
#[derive(Debug, Serialize, JsonSchema)]
struct WaitingOn<'a> {
    /// Why they wait, in the target's own words.
    wait_reason: Option<&'a str>,
    /// Addresses of channels, semaphores, or lists of a `sync.Cond`; the first hundred. Empty where nothing could
    /// ever wake them.
    addresses: Vec<String>,
}

/// Writes it as one JSON object on one line.
///
/// # Errors
/// Those of `out`.
pub fn json(out: &mut dyn Write, index: &Index<'_>, leaks: &Leaks, groups: &[LeakGroup]) -> io::Result<()> {
    let snapshot = index.snapshot();
    let symbols = &snapshot.symbols;
    let document = |group: &'_ LeakGroup| {
        let example = snapshot.goroutines.get(group.example);
        let place = |kind| example.and_then(|example| UserPlace::of(symbols, index.place(example, kind)));
        ((place(PlaceKind::User), place(PlaceKind::Creator)), example.and_then(|example| index.reason(example)))
    };
    let groups = groups.iter().map(|group| {
        let ((place, creator), wait_reason) = document(group);
        LeakGroupDocument {
            count: group.ids.len() as u64,
            place,
            creator,
            waiting_on: WaitingOn {
                wait_reason,
                addresses: group.objects.iter().map(|addr| Addr(*addr).to_string()).collect(),
            },
            wait_shortest_ns: group.wait.map(|wait| wait.shortest_ns),
            wait_longest_ns: group.wait.map(|wait| wait.longest_ns),
            stack_bytes: group.stack_bytes,
            heap_bytes: group.heap_bytes,
            goroutines: &group.ids,
        }
    });
    let (proof, stopped) = match leaks.proof {
        Proof::Frozen(stopped) => ("frozen", Some(stopped)),
        Proof::CoreFile => ("core_file", None),
        Proof::Quiet => ("quiet", None),
        Proof::TwoPasses => ("two_passes", None),
    };
    to_writer(
        out,
        &Document {
            schema_version: SCHEMA_VERSION,
            gospy_version: env!("CARGO_PKG_VERSION"),
            captured_at: super::json::time(snapshot.captured_at_unix_ns),
            pid: snapshot.target.pid,
            exe: &snapshot.target.exe,
            go_version: &snapshot.target.go_version,
            leaks: Found {
                grade: leaks.proof.grade().name(),
                proof,
                stopped_ns: stopped.map(|stopped| u64::try_from(stopped.as_nanos()).unwrap_or(u64::MAX)),
                total: leaks.leaked.len() as u64,
                goroutines: leaks.stats.goroutines,
                heap_bytes: leaks.stats.leaked_bytes,
                shared_heap_bytes: leaks.bytes.as_ref().map(|bytes| bytes.shared),
                stack_bytes: leaks.leaked.iter().map(|leaked| leaked.stack_bytes).sum(),
                passes: leaks.passes,
                groups: groups.collect(),
                deadlocks: leaks.deadlocks.as_ref().map(|all| {
                    all.iter().map(|deadlock| DeadlockDocument { goroutines: &deadlock.goroutines }).collect()
                }),
            },
        },
    )?;
    writeln!(out)
}

/// The JSON Schema of what `--json` prints.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'_>>()
}

/// Writes it for people.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, index: &Index<'_>, leaks: &Leaks, groups: &[LeakGroup]) -> io::Result<()> {
    let total = leaks.leaked.len() as u64;
    let of = count(leaks.stats.goroutines);
    let grade = worth(leaks);
    if total == 0 {
        return writeln!(out, "No leaked goroutines among {of} ({grade})");
    }
    writeln!(out, "{} of {of} leaked ({grade})", counted(total, "goroutine", "goroutines"))?;
    let stacks: u64 = leaks.leaked.iter().map(|leaked| leaked.stack_bytes).sum();
    let shared = leaks.bytes.as_ref().map(|kept| kept.shared).filter(|shared| *shared > 0);
    let shared = shared.map(|shared| format!(", {} of it shared by several groups", bytes(shared))).unwrap_or_default();
    writeln!(out, "They keep {} of stacks and {} of the heap{shared}", bytes(stacks), bytes(leaks.stats.leaked_bytes))?;
    deadlocks(out, index, leaks.deadlocks.as_deref().unwrap_or_default())?;
    for group in groups {
        let Some(example) = index.snapshot().goroutines.get(group.example) else { continue };
        let symbols = &index.snapshot().symbols;
        let line = |kind| {
            let words = PlaceWords::of(symbols, index.place(example, kind))?;
            Some(format!("{} {}", words.line(), words.source).trim_end().to_owned())
        };
        let reason = index.reason(example).unwrap_or("waiting");
        let wait = group.wait.map(|wait| format!(", up to {}", duration(wait.longest_ns))).unwrap_or_default();
        writeln!(out)?;
        writeln!(out, "{} × {}{wait}", count(group.ids.len() as u64), clean(reason))?;
        writeln!(out, "    at {}", line(PlaceKind::User).unwrap_or_else(|| "an unknown place".to_owned()))?;
        if let Some(creator) = line(PlaceKind::Creator) {
            writeln!(out, "    created by {creator}")?;
        }
        if let Some(object) = group.objects.first() {
            let more = group.objects.len() - 1;
            let more = if more > 0 { format!(" and {} more", count(more as u64)) } else { String::new() };
            writeln!(out, "    waiting on {}{more}", Addr(*object))?;
        }
        let heap = group.heap_bytes.map(|heap| format!(" and {} of the heap", bytes(heap))).unwrap_or_default();
        writeln!(out, "    keeping {} of stacks{heap}", bytes(group.stack_bytes))?;
        let ids: Vec<String> = group.ids.iter().take(TEXT_IDS).map(u64::to_string).collect();
        let more = if group.ids.len() > TEXT_IDS { ", …" } else { "" };
        let goroutines = if ids.len() == 1 { "goroutine" } else { "goroutines" };
        writeln!(out, "    {goroutines} {}{more}", ids.join(", "))?;
    }
    Ok(())
}

/// How certain it is, and why.
pub(crate) fn worth(leaks: &Leaks) -> String {
    let total = leaks.leaked.len();
    match (leaks.proof.grade(), leaks.proof) {
        (_, Proof::Frozen(stopped)) => {
            format!("certain: the program was stopped for {}", duration(u64::try_from(stopped.as_nanos()).unwrap_or(0)))
        }
        (_, Proof::CoreFile) => "certain: it is a core file".to_owned(),
        (_, Proof::Quiet) => "certain: no Go code ran meanwhile".to_owned(),
        (Grade::Certain | Grade::Confirmed, Proof::TwoPasses) if total == 0 => "the program ran meanwhile".to_owned(),
        (Grade::Certain | Grade::Confirmed, Proof::TwoPasses) => {
            "confirmed: found twice, a second apart; --freeze=all proves it".to_owned()
        }
    }
}

/// Who waits for whom.
fn deadlocks(out: &mut dyn Write, index: &Index<'_>, all: &[Deadlock]) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let by_id = ById::of(index.snapshot());
    for one in all.iter().take(TEXT_DEADLOCKS) {
        writeln!(out, "\nDeadlock: {}", deadlock::sentence(&one.goroutines))?;
        for line in deadlock::members(index, &by_id, &one.goroutines) {
            writeln!(out, "    {line}")?;
        }
    }
    match all.len().saturating_sub(TEXT_DEADLOCKS) {
        0 => Ok(()),
        more => writeln!(out, "\nand {}; --json has them", counted(more as u64, "more deadlock", "more deadlocks")),
    }
}
