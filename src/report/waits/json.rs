//! What `gospy waits --json` and `gospy why --json` print.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::words;
use crate::analysis::diagnosis::Likely;
use crate::analysis::waits::{ById, Chain, ChainEnd, WaitRow, WaitTable, WaitedOn};
use crate::analysis::{Diagnosis, HeapProof, Index, PlaceKind};
use crate::heap::Grade;
use crate::model::{Goroutine, LikelyHolder, Snapshot};
use crate::report::findings::{self, FindingDocument};
use crate::report::json::hex::HexAddr;
use crate::report::json::waiting::{WaitHolder, WaitingOn, holder, of_object, waiting_on};
use crate::report::json::{SCHEMA_VERSION, schema_of, time, to_writer};
use crate::report::place::PlaceWords;
use crate::report::resources;

/// Ids of one row or finding.
const MAX_IDS: usize = 1_000;
/// Places of one row.
const MAX_PLACES: usize = 20;

/// What every document begins with.
#[derive(Serialize, JsonSchema)]
struct Head {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of the gospy that wrote this.
    gospy_version: &'static str,
    /// When the snapshot was taken, RFC 3339 in UTC.
    captured_at: String,
    /// Pid of the program.
    pid: i32,
    /// Goroutines of the snapshot that are not dead.
    goroutines: u64,
}

impl Head {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            gospy_version: env!("CARGO_PKG_VERSION"),
            captured_at: time(snapshot.captured_at_unix_ns),
            pid: snapshot.target.pid,
            goroutines: number(snapshot.goroutines.iter().filter(|goroutine| !goroutine.status.is_dead()).count()),
        }
    }
}

/// What `gospy waits --json` prints.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "gospy waits")]
struct WaitsDocument<'a> {
    #[serde(flatten)]
    head: Head,
    /// How many of the goroutines that match wait.
    waiting: u64,
    /// How many rows there are, listed or not.
    row_count: u64,
    /// What is waited on, in the order that was asked for.
    waits: Vec<Row<'a>>,
    /// What is no object, by kind: sleep, system calls, the runtime's own.
    others: Vec<Row<'a>>,
    /// What is not known, by kind: see `waiting_on.unknown` of the goroutines for the reasons.
    unknown: Vec<Row<'a>>,
}

/// What is waited on, and who waits.
#[derive(Serialize, JsonSchema)]
struct Row<'a> {
    /// channel, select, mutex, rwmutex, waitgroup, cond, semaphore, network, file, syscall, c, sleep, coroutine,
    /// runtime. Open enumeration.
    kind: &'static str,
    /// Address of the object; null where this is no object.
    address: Option<HexAddr>,
    /// How many goroutines wait.
    waiting: u64,
    /// Whether no goroutine can ever go on: a nil channel, or a select without cases.
    forever: bool,
    /// For how long the longest of them has been blocked at least, ns; null where that is not known.
    longest_wait_ns: Option<u64>,
    /// What is known of the object.
    object: Option<WaitingOn<'a>>,
    /// Where they wait, most first, at most 20.
    places: Vec<PlaceCount>,
    /// Who probably holds it, and what those wait for in turn.
    holders: Vec<Holder<'a>>,
    /// Ids of the first thousand that wait.
    goroutine_ids: Vec<u64>,
}

/// A place where goroutines wait.
#[derive(Serialize, JsonSchema)]
struct PlaceCount {
    /// How many.
    count: u64,
    /// The user's function, with what it calls.
    place: Option<String>,
    /// File and line.
    source: Option<String>,
}

/// A goroutine that probably holds an object.
#[derive(Serialize, JsonSchema)]
struct Holder<'a> {
    #[serde(flatten)]
    evidence: WaitHolder<'a>,
    /// What it waits for itself, in words; null where it is not blocked, or has ended.
    waits_for: Option<String>,
    /// Ids of the goroutines that it waits for in turn.
    chain: Vec<u64>,
    /// Where that chain ends: see `gospy why --json`.
    chain_end: Option<&'static str>,
}

/// What `gospy why --json` prints of a program.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "gospy why")]
struct WhyDocument<'a> {
    #[serde(flatten)]
    head: Head,
    /// What is wrong for certain; of a goroutine that was asked for, what the heap shows of it.
    certain: Vec<FindingDocument>,
    /// What the heap shows though the program ran while it was read, found twice a second apart; empty unless --leaks
    /// was given.
    confirmed: Vec<FindingDocument>,
    /// How certain it is which goroutines are leaked: certain, confirmed; null without --leaks.
    leaks_grade: Option<&'static str>,
    /// Limits that are near or were met.
    limits: Vec<String>,
    /// What is likely wrong. Null where only a goroutine was asked for.
    likely: Vec<LikelyDocument<'a>>,
    /// The chain of waits of the goroutine that was asked for; null without one.
    chain: Option<ChainDocument<'a>>,
}

/// Something that is likely wrong.
#[derive(Serialize, JsonSchema)]
struct LikelyDocument<'a> {
    /// likely_deadlock, lock_contention, channel_backlog. Open enumeration.
    code: &'static str,
    /// Ids of the first thousand goroutines that it is about.
    goroutine_ids: Vec<u64>,
    /// What they wait on; null of a deadlock.
    on: Option<Row<'a>>,
}

/// A chain of waits.
#[derive(Serialize, JsonSchema)]
struct ChainDocument<'a> {
    /// The goroutines, each of which waits for the next.
    steps: Vec<StepDocument<'a>>,
    /// not_blocked, channel, forever, outside, runtime, no_holder, holder_gone, cycle, unknown, too_long. Open
    /// enumeration.
    end: &'static str,
    /// The id of the goroutine that is the holder again, of a cycle.
    cycle_goroutine_id: Option<u64>,
    /// Whether the first goroutine can never wake; null without --leaks.
    leaked: Option<bool>,
}

/// A goroutine in a chain of waits.
#[derive(Serialize, JsonSchema)]
struct StepDocument<'a> {
    /// Its id.
    goroutine_id: u64,
    /// Its state or wait reason, as the runtime prints it.
    state: &'a str,
    /// For how long it has been blocked at least, ns.
    wait_ns: Option<u64>,
    /// Why it is the next: it probably holds what the one before waits for. Null of the first.
    holds: Option<WaitHolder<'a>>,
    /// How many others may hold that as well.
    other_holders: u64,
    /// What it waits for.
    waiting_on: Option<WaitingOn<'a>>,
}

/// Writes the table of waits as one JSON object on one line, at most `limit` rows of it.
///
/// # Errors
/// Those of `out`.
pub fn waits(out: &mut dyn Write, index: &Index<'_>, table: &WaitTable, limit: usize) -> io::Result<()> {
    let by_id = ById::of(index.snapshot());
    let document = WaitsDocument {
        head: Head::of(index.snapshot()),
        waiting: table.waiting,
        row_count: number(table.rows.len()),
        waits: table.rows.iter().take(limit).map(|of| row(index, &by_id, of)).collect(),
        others: table.others.iter().map(|of| row(index, &by_id, of)).collect(),
        unknown: table.unknown.iter().map(|of| row(index, &by_id, of)).collect(),
    };
    to_writer(out, &document)?;
    writeln!(out)
}

/// Writes a diagnosis as one JSON object on one line.
///
/// # Errors
/// Those of `out`.
pub fn diagnosis(out: &mut dyn Write, index: &Index<'_>, diagnosis: &Diagnosis<'_>) -> io::Result<()> {
    let by_id = ById::of(index.snapshot());
    let limits = resources::limits(&index.snapshot().target.resources);
    let found = |grade: Grade| diagnosis.proof.as_ref().map_or(&[][..], |proof| proof.with_grade(grade));
    let document = WhyDocument {
        head: Head::of(index.snapshot()),
        certain: [diagnosis.certain, found(Grade::Certain)]
            .into_iter()
            .flat_map(|found| findings::documents(found, index))
            .collect(),
        confirmed: findings::documents(found(Grade::Confirmed), index),
        leaks_grade: diagnosis.proof.as_ref().map(|proof| proof.leaks.proof.grade().name()),
        limits: limits.into_iter().filter(|fact| fact.alarming).map(|fact| fact.text).collect(),
        likely: diagnosis.likely.iter().map(|of| likely(index, &by_id, of)).collect(),
        chain: None,
    };
    to_writer(out, &document)?;
    writeln!(out)
}

/// Writes the chain of waits of a goroutine as one JSON object on one line, with what the heap shows of it.
///
/// # Errors
/// Those of `out`.
pub fn chain(out: &mut dyn Write, index: &Index<'_>, chain: &Chain, proof: Option<&HeapProof<'_>>) -> io::Result<()> {
    let snapshot = index.snapshot();
    let steps = chain.steps.iter().filter_map(|step| {
        let goroutine = snapshot.goroutines.get(step.goroutine)?;
        Some(StepDocument {
            goroutine_id: goroutine.id.0,
            state: index.state_text(goroutine),
            wait_ns: index.wait_ns(goroutine),
            holds: step.holds.as_ref().map(|of| holder(snapshot, of)),
            other_holders: number(step.other_holders),
            waiting_on: waiting_on(snapshot, goroutine),
        })
    });
    let again = match chain.end {
        ChainEnd::Cycle(first) => chain.steps.get(first).and_then(|step| snapshot.goroutines.get(step.goroutine)),
        _ => None,
    };
    let chain = ChainDocument {
        steps: steps.collect(),
        end: chain.end.name(),
        cycle_goroutine_id: again.map(|goroutine| goroutine.id.0),
        leaked: proof.map(|proof| !proof.found.is_empty()),
    };
    let found = |grade: Grade| findings::documents(proof.map_or(&[], |proof| proof.with_grade(grade)), index);
    let document = WhyDocument {
        head: Head::of(snapshot),
        certain: found(Grade::Certain),
        confirmed: found(Grade::Confirmed),
        leaks_grade: proof.map(|proof| proof.leaks.proof.grade().name()),
        limits: Vec::new(),
        likely: Vec::new(),
        chain: Some(chain),
    };
    to_writer(out, &document)?;
    writeln!(out)
}

/// The JSON Schema of what `waits --json` prints.
#[must_use]
pub fn waits_schema() -> schemars::Schema {
    schema_of::<WaitsDocument<'_>>()
}

/// The JSON Schema of what `why --json` prints.
#[must_use]
pub fn why_schema() -> schemars::Schema {
    schema_of::<WhyDocument<'_>>()
}

fn row<'a>(index: &Index<'a>, by_id: &ById, row: &WaitRow) -> Row<'a> {
    let snapshot = index.snapshot();
    let object = row.object(index).map(|object| of_object(snapshot, object));
    Row {
        kind: row.kind.name(),
        address: object.as_ref().and_then(|object| object.address),
        waiting: number(row.goroutines.len()),
        forever: matches!(row.on, WaitedOn::NilChannel | WaitedOn::EmptySelect),
        longest_wait_ns: row.longest_ns(),
        object,
        places: row.places.iter().take(MAX_PLACES).map(|of| place(index, of.count, of.example)).collect(),
        holders: row.holders(index).iter().map(|of| holder_of(index, by_id, of)).collect(),
        goroutine_ids: ids(snapshot, &row.goroutines),
    }
}

fn place(index: &Index<'_>, count: u64, example: usize) -> PlaceCount {
    let snapshot = index.snapshot();
    let place = snapshot.goroutines.get(example).map(|goroutine| index.place(goroutine, PlaceKind::User));
    let words = place.and_then(|place| PlaceWords::of(&snapshot.symbols, place));
    let source = words.as_ref().map(|words| words.source.clone()).filter(|source| !source.is_empty());
    PlaceCount { count, place: words.map(|words| words.line()), source }
}

fn holder_of<'a>(index: &Index<'a>, by_id: &ById, of: &LikelyHolder) -> Holder<'a> {
    let snapshot = index.snapshot();
    let position = by_id.position(of.goroutine);
    let goroutine = position.and_then(|position| snapshot.goroutines.get(position));
    let waits_for = |goroutine: &Goroutine| words::waits(snapshot, goroutine);
    let chain = position.map(|position| Chain::from(index, by_id, position));
    let next = |chain: &Chain| -> Vec<usize> { chain.steps.iter().skip(1).map(|step| step.goroutine).collect() };
    Holder {
        evidence: holder(snapshot, of),
        waits_for: goroutine.and_then(waits_for),
        chain: chain.as_ref().map(|chain| ids(snapshot, &next(chain))).unwrap_or_default(),
        chain_end: chain.map(|chain| chain.end.name()),
    }
}

fn likely<'a>(index: &Index<'a>, by_id: &ById, of: &Likely) -> LikelyDocument<'a> {
    let (goroutines, on) = match of {
        Likely::Deadlock(cycle) => (&cycle.goroutines, None),
        Likely::Contended(of) | Likely::Backlog(of) => (&of.goroutines, Some(row(index, by_id, of))),
    };
    LikelyDocument { code: of.code(), goroutine_ids: ids(index.snapshot(), goroutines), on }
}

fn ids(snapshot: &Snapshot, positions: &[usize]) -> Vec<u64> {
    let goroutines = positions.iter().take(MAX_IDS).filter_map(|&at| snapshot.goroutines.get(at));
    goroutines.map(|goroutine| goroutine.id.0).collect()
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
