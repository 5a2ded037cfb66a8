//! `gospy heap --json`.

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Contents, missing, not_swept, unused};
use crate::analysis::place::Place;
use crate::analysis::profile;
use crate::report::json::{SCHEMA_VERSION, schema_of, time, to_writer};
use crate::report::members::UserPlace;

/// What `gospy heap --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy heap")]
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
    /// Since the runtime started, ns; null where that is not known.
    uptime_ns: Option<u64>,
    /// The heap.
    heap: Heap<'a>,
}

/// The heap. Sizes are in bytes.
#[derive(Debug, Serialize, JsonSchema)]
struct Heap<'a> {
    /// Bytes of live and not yet swept objects; null where unknown.
    alloc_bytes: Option<u64>,
    /// How many objects these are.
    objects: Option<u64>,
    /// Of them, what the pacer counts as live now.
    live_bytes: Option<u64>,
    /// Bytes that the latest cycle of the collector has marked.
    marked_bytes: Option<u64>,
    /// Bytes allocated since the start.
    total_alloc_bytes: Option<u64>,
    /// Cycles of the collector since the start.
    gc_cycles: Option<u32>,
    /// Bytes of objects that are dead and not swept yet.
    not_swept_bytes: Option<u64>,
    /// Heap size at which the next cycle starts.
    goal_bytes: Option<u64>,
    /// GOGC; -1 when off.
    gc_percent: Option<i32>,
    /// GOMEMLIMIT; null when there is none.
    memory_limit_bytes: Option<u64>,
    /// Limit of the cgroup; null when there is none.
    cgroup_limit_bytes: Option<u64>,
    /// What the cgroup uses of it, page cache included.
    cgroup_used_bytes: Option<u64>,
    /// Bytes of spans with objects.
    in_use_bytes: Option<u64>,
    /// Of them, those that no object uses.
    unused_bytes: Option<u64>,
    /// Bytes of spans without objects.
    idle_bytes: Option<u64>,
    /// Of them, those given back to the operating system.
    released_bytes: Option<u64>,
    /// Bytes obtained from the operating system for everything.
    sys_bytes: Option<u64>,
    /// Spans by size class; null where they could not be read.
    size_classes: Option<Vec<Class>>,
    /// Why they could not be read; null where they were.
    size_classes_missing: Option<String>,
    /// What each P holds to allocate from; null where that could not be read.
    caches: Option<Vec<Cache>>,
    /// The heap profile; null where there is none.
    profile: Option<Profile<'a>>,
    /// Why there is none; null where there is one.
    profile_missing: Option<String>,
    /// Stacks of goroutines by place, largest first.
    stacks: Vec<StackPlace<'a>>,
}

/// The spans of a size class.
#[derive(Debug, Serialize, JsonSchema)]
struct Class {
    /// Its number; 0 for objects that are too large for any.
    class: u8,
    /// Size of an object; null for class 0.
    object_bytes: Option<u64>,
    /// Objects in use.
    objects: u64,
    /// Their bytes.
    bytes: u64,
    /// Of them, those of objects without pointers.
    noscan_bytes: u64,
    /// Spans.
    spans: u64,
    /// Their bytes.
    span_bytes: u64,
}

/// What a P holds to allocate from.
#[derive(Debug, Serialize, JsonSchema)]
struct Cache {
    /// Its id.
    p: i32,
    /// Spans.
    spans: u64,
    /// Their bytes.
    span_bytes: u64,
    /// Of them, those that no object uses.
    unused_bytes: u64,
}

/// The heap profile that the program keeps of itself, scaled to what its samples stand for.
#[derive(Debug, Serialize, JsonSchema)]
struct Profile<'a> {
    /// One object is sampled for so many bytes; null where unknown: then nothing is scaled.
    rate: Option<i64>,
    /// Cycles of the collector that are in it.
    cycle: u32,
    /// Records.
    records: u64,
    /// Whether all of them were read.
    complete: bool,
    /// Records whose counts changed at every reading.
    moving: u64,
    /// By place, largest in use first.
    places: Vec<SitePlace<'a>>,
}

/// Allocations in one place.
#[derive(Debug, Serialize, JsonSchema)]
struct SitePlace<'a> {
    /// Where, in the user's code; null where unknown.
    place: Option<UserPlace<'a>>,
    /// Bytes in use.
    in_use_bytes: u64,
    /// Objects in use.
    in_use_objects: u64,
    /// Bytes allocated since the start.
    alloc_bytes: u64,
    /// Objects allocated since the start.
    alloc_objects: u64,
    /// Stacks that lead there.
    stacks: u64,
}

/// Stacks of goroutines in one place.
#[derive(Debug, Serialize, JsonSchema)]
struct StackPlace<'a> {
    /// Where, in the user's code; null where unknown.
    place: Option<UserPlace<'a>>,
    /// Goroutines.
    goroutines: u64,
    /// Bytes of their stacks.
    bytes: u64,
}

/// Writes it as one JSON object on one line, with at most `limit` places of a kind.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut dyn Write, contents: &Contents<'_>, limit: usize) -> io::Result<()> {
    let snapshot = contents.index.snapshot();
    let (heap, gc, resources) = (snapshot.heap.as_ref(), snapshot.gc.as_ref(), &snapshot.target.resources);
    let classes = contents.classes.and_then(Result::ok);
    let places;
    let (profile, profile_missing) = match contents.profile {
        Err(error) => (None, Some(error.to_string())),
        Ok(profile) => match missing(profile) {
            Some(why) => (None, Some(why)),
            None => {
                places = profile::allocations(profile, &snapshot.target);
                let places = places.iter().take(limit).map(|place| SitePlace {
                    place: place.spot.and_then(|spot| UserPlace::of(&profile.symbols, Place::At(spot))),
                    in_use_bytes: place.sum.in_use_bytes,
                    in_use_objects: place.sum.in_use,
                    alloc_bytes: place.sum.alloc_bytes,
                    alloc_objects: place.sum.allocs,
                    stacks: place.stacks,
                });
                let profile = Profile {
                    rate: profile.rate,
                    cycle: profile.cycle,
                    records: profile.sites.len() as u64,
                    complete: !profile.reading.incomplete,
                    moving: profile.reading.moving,
                    places: places.collect(),
                };
                (Some(profile), None)
            }
        },
    };
    let class = |class: &crate::model::SizeClass| Class {
        class: class.class,
        object_bytes: (class.class != 0).then_some(class.object_size),
        objects: class.objects,
        bytes: class.bytes,
        noscan_bytes: class.noscan_bytes,
        spans: class.spans,
        span_bytes: class.span_bytes,
    };
    let cache = |cache: &crate::model::SpanCache| Cache {
        p: cache.p,
        spans: cache.spans,
        span_bytes: cache.span_bytes,
        unused_bytes: cache.unused_bytes,
    };
    let stacks = profile::stacks(contents.index);
    let stacks = stacks.iter().take(limit).map(|stack| StackPlace {
        place: UserPlace::of(&snapshot.symbols, stack.place),
        goroutines: stack.goroutines,
        bytes: stack.bytes,
    });
    to_writer(
        out,
        &Document {
            schema_version: SCHEMA_VERSION,
            gospy_version: env!("CARGO_PKG_VERSION"),
            captured_at: time(snapshot.captured_at_unix_ns),
            pid: snapshot.target.pid,
            exe: &snapshot.target.exe,
            go_version: &snapshot.target.go_version,
            uptime_ns: snapshot.target.uptime_ns,
            heap: Heap {
                alloc_bytes: heap.map(|heap| heap.heap_alloc),
                objects: heap.map(|heap| heap.heap_objects),
                live_bytes: heap.and_then(|heap| heap.heap_live),
                marked_bytes: heap.and_then(|heap| heap.heap_marked),
                total_alloc_bytes: heap.map(|heap| heap.total_alloc),
                gc_cycles: gc.map(|gc| gc.cycles),
                not_swept_bytes: not_swept(snapshot),
                goal_bytes: gc.and_then(|gc| gc.next_goal),
                gc_percent: gc.and_then(|gc| gc.gc_percent),
                memory_limit_bytes: gc.and_then(|gc| gc.memory_limit),
                cgroup_limit_bytes: resources.memory_limit_bytes,
                cgroup_used_bytes: resources.memory_used_bytes,
                in_use_bytes: heap.map(|heap| heap.heap_inuse),
                unused_bytes: unused(snapshot),
                idle_bytes: heap.map(|heap| heap.heap_idle),
                released_bytes: heap.map(|heap| heap.heap_released),
                sys_bytes: heap.map(|heap| heap.sys),
                size_classes: classes.map(|classes| classes.classes.iter().map(class).collect()),
                size_classes_missing: contents.classes.and_then(Result::err).map(ToString::to_string),
                caches: classes.map(|classes| classes.caches.iter().map(cache).collect()),
                profile,
                profile_missing,
                stacks: stacks.collect(),
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
