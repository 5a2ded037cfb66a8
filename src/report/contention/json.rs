//! `gospy contention --json`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::missing;
use crate::analysis::place::Place;
use crate::analysis::profile;
use crate::model::{ContentionKind, ContentionProfile, Snapshot};
use crate::report::json::{SCHEMA_VERSION, schema_of, time, to_writer};
use crate::report::members::UserPlace;

/// What `gospy contention --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy contention")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of gospy.
    gospy_version: &'static str,
    /// When it was read; RFC 3339, UTC.
    captured_at: String,
    /// Process id.
    pid: i32,
    /// Path of the executable as the kernel gives it.
    exe: &'a str,
    /// The toolchain, as in go1.26.6.
    go_version: &'a str,
    /// Where goroutines waited (runtime.SetBlockProfileRate); null where there is no such profile.
    block: Option<Profile<'a>>,
    /// Why there is none; null where there is one.
    block_missing: Option<String>,
    /// Where locks were unlocked that others waited for (runtime.SetMutexProfileFraction); null where there is no
    /// such profile.
    mutex: Option<Profile<'a>>,
    /// Why there is none; null where there is one.
    mutex_missing: Option<String>,
}

/// A profile of contention that the program keeps of itself, scaled to what its samples stand for.
#[derive(Debug, Serialize, JsonSchema)]
struct Profile<'a> {
    /// Block: one event is sampled for so many ticks of blocking, and 1 is every event. Mutex: one event of so many.
    /// Null where unknown.
    rate: Option<u64>,
    /// How often the processor's clock ticks a second; null where unknown, as for a core file.
    ticks_per_second: Option<f64>,
    /// Records.
    records: u64,
    /// Whether all of them were read.
    complete: bool,
    /// Records whose counts changed at every reading.
    moving: u64,
    /// By place, longest wait first.
    places: Vec<ContendedPlace<'a>>,
}

/// Contention in one place.
#[derive(Debug, Serialize, JsonSchema)]
struct ContendedPlace<'a> {
    /// Where, in the user's code; null where unknown.
    place: Option<UserPlace<'a>>,
    /// Events.
    events: u64,
    /// How long they lasted together, ns; null where it is not known how fast the processor's clock ticks.
    waited_ns: Option<u64>,
    /// The same in ticks of the processor's clock.
    waited_ticks: u64,
    /// Stacks that lead there.
    stacks: u64,
}

/// Writes it as one JSON object on one line, with at most `limit` places of a kind.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(
    out: &mut dyn Write,
    snapshot: &Snapshot,
    profiles: &[ContentionProfile],
    limit: usize,
) -> io::Result<()> {
    let of = |kind| profiles.iter().find(|profile| profile.kind == kind);
    let (block, block_missing) = part(of(ContentionKind::Block), snapshot, limit);
    let (mutex, mutex_missing) = part(of(ContentionKind::Mutex), snapshot, limit);
    to_writer(
        out,
        &Document {
            schema_version: SCHEMA_VERSION,
            gospy_version: env!("CARGO_PKG_VERSION"),
            captured_at: time(snapshot.captured_at_unix_ns),
            pid: snapshot.target.pid,
            exe: &snapshot.target.exe,
            go_version: &snapshot.target.go_version,
            block,
            block_missing,
            mutex,
            mutex_missing,
        },
    )?;
    writeln!(out)
}

/// A profile, or why there is none.
fn part<'a>(
    profile: Option<&'a ContentionProfile>,
    snapshot: &Snapshot,
    limit: usize,
) -> (Option<Profile<'a>>, Option<String>) {
    let Some(profile) = profile else { return (None, Some("it was not read".to_owned())) };
    if let Some(why) = missing(profile) {
        return (None, Some(why));
    }
    let by_time = profile.ticks_per_second.is_some();
    let places = profile::contention(profile, &snapshot.target);
    let places = places.iter().take(limit).map(|place| ContendedPlace {
        place: place.spot.and_then(|spot| UserPlace::of(&profile.symbols, Place::At(spot))),
        events: place.sum.events,
        waited_ns: by_time.then_some(place.sum.ns),
        waited_ticks: place.sum.ticks,
        stacks: place.stacks,
    });
    let profile = Profile {
        rate: profile.rate,
        ticks_per_second: profile.ticks_per_second,
        records: profile.sites.len() as u64,
        complete: !profile.reading.incomplete,
        moving: profile.reading.moving,
        places: places.collect(),
    };
    (Some(profile), None)
}

/// The JSON Schema of what `--json` prints.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'_>>()
}
