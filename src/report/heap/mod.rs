//! `gospy heap`: on one screen, what the heap holds, what it is made of, where it was allocated, and the stacks.

pub mod growth;
pub mod json;
pub(crate) mod objects;
pub mod objects_json;
pub(crate) mod restore;
pub mod since;

use std::io::{self, Write};

use crate::analysis::Index;
use crate::analysis::place::Place;
use crate::analysis::profile::{self, Allocated, PlaceSum};
use crate::heap::HeapError;
use crate::heap::profile::ProfileError;
use crate::model::{AllocationProfile, ProfileReading, SizeClass, SizeClasses, Snapshot, SymbolPool};
use crate::report::clean::clean;
use crate::report::place::PlaceWords;
use crate::report::text::facts::{facts, heading, paragraph, sized};
use crate::report::text::memory::goal;
use crate::report::text::table::write as write_table;
use crate::report::text::{CellText, Column, Role, Shrink, TextStyle};
use crate::report::units::{bytes, count, counted};

/// What is shown.
pub(crate) struct Contents<'a> {
    /// Goroutines, and the heap's figures.
    pub(crate) index: &'a Index<'a>,
    /// The heap by size class, where that was read.
    pub(crate) classes: Option<Result<&'a SizeClasses, &'a HeapError>>,
    /// The heap profile.
    pub(crate) profile: Result<&'a AllocationProfile, &'a ProfileError>,
}

/// How.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Width and colour.
    pub(crate) style: TextStyle,
    /// Most rows of a table.
    pub(crate) limit: usize,
    /// Whether to show every size class, and the Ps.
    pub(crate) verbose: bool,
}

/// Why there is no heap profile; `None` where there is one.
#[must_use]
pub(crate) fn missing(profile: &AllocationProfile) -> Option<String> {
    match profile.rate {
        Some(0) if !profile.linked => Some(
            "the linker left it out, because nothing in this program reads it (runtime.MemProfile, net/http/pprof)"
                .to_owned(),
        ),
        Some(..=0) if profile.sites.is_empty() => {
            Some("the program has switched it off: runtime.MemProfileRate is 0".to_owned())
        }
        _ if profile.sites.is_empty() => Some("no allocation has been sampled yet".to_owned()),
        _ => None,
    }
}

/// What is to be said of how a profile was read.
pub(crate) fn notes(reading: &ProfileReading) -> Vec<String> {
    let mut notes = Vec::new();
    if reading.incomplete {
        notes.push("the list of records is damaged: the profile is not complete".to_owned());
    }
    if reading.moving > 0 {
        let records = counted(reading.moving, "record", "records");
        notes.push(format!("{records} changed at every reading: their counts may be off"));
    }
    notes
}

/// Writes it for people.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut dyn Write, contents: &Contents<'_>, options: Options) -> io::Result<()> {
    let style = options.style;
    let snapshot = contents.index.snapshot();
    let target = &snapshot.target;
    let name = target.exe.rsplit('/').next().unwrap_or(&target.exe);
    writeln!(out, "{} · pid {} · {}", style.paint(Role::Strong, &clean(name)), target.pid, clean(&target.go_version))?;
    heading(out, style, "Heap", "")?;
    figures(out, style, snapshot)?;
    match contents.classes {
        None => {}
        Some(Ok(classes)) => size_classes(out, classes, options)?,
        Some(Err(error)) => {
            heading(out, style, "Size classes", "")?;
            paragraph(out, style, Role::Attention, &clean(&error.to_string()))?;
        }
    }
    match contents.profile {
        Ok(profile) => sites(out, options, snapshot, profile)?,
        Err(error) => {
            heading(out, style, "Allocation sites", "")?;
            paragraph(out, style, Role::Attention, &clean(&error.to_string()))?;
        }
    }
    stacks(out, contents.index, options)
}

/// Bytes of the spans with objects that no object uses.
fn unused(snapshot: &Snapshot) -> Option<u64> {
    snapshot.heap.as_ref().map(|heap| heap.heap_inuse.saturating_sub(heap.heap_alloc))
}

/// Bytes of objects that are dead for the pacer and not swept yet.
fn not_swept(snapshot: &Snapshot) -> Option<u64> {
    let heap = snapshot.heap.as_ref()?;
    Some(heap.heap_alloc.saturating_sub(heap.heap_live?))
}

fn figures(out: &mut dyn Write, style: TextStyle, snapshot: &Snapshot) -> io::Result<()> {
    let Some(heap) = &snapshot.heap else { return facts(out, style, "", &["not found".to_owned()]) };
    let gc = snapshot.gc.as_ref();
    let mut in_use = vec![format!("{} in {}", bytes(heap.heap_alloc), counted(heap.heap_objects, "object", "objects"))];
    in_use.extend(sized("live at the last GC", heap.heap_marked));
    in_use.extend(not_swept(snapshot).filter(|bytes| *bytes > 0).map(|b| format!("not yet swept {}", bytes(b))));
    facts(out, style, "in use", &in_use)?;
    let resources = &snapshot.target.resources;
    let mut limits: Vec<String> = gc.and_then(goal).into_iter().collect();
    limits.extend(gc.and_then(|gc| gc.gc_percent).map(|percent| match percent {
        ..0 => "GOGC off".to_owned(),
        percent => format!("GOGC {percent}"),
    }));
    let limit = gc.and_then(|gc| gc.memory_limit);
    limits.extend(sized("GOMEMLIMIT", limit));
    if let Some(allowed) = resources.memory_limit_bytes {
        let used = resources.memory_used_bytes.map_or_else(String::new, |used| format!("{} of ", bytes(used)));
        limits.push(format!("cgroup {used}{}", bytes(allowed)));
    }
    facts(out, style, "limits", &limits)?;
    let mut spans = vec![format!("in use {}", bytes(heap.heap_inuse))];
    spans.extend(sized("of it unused", unused(snapshot)));
    spans.push(format!("idle {}", bytes(heap.heap_idle)));
    spans.push(format!("of it released {}", bytes(heap.heap_released)));
    facts(out, style, "spans", &spans)?;
    let system = [
        bytes(heap.sys),
        format!("heap {}", bytes(heap.heap_sys)),
        format!("stacks {}", bytes(heap.stack_sys)),
        format!("GC {}", bytes(heap.gc_sys)),
        format!(
            "other {}",
            bytes(heap.sys.saturating_sub(heap.heap_sys).saturating_sub(heap.stack_sys).saturating_sub(heap.gc_sys))
        ),
    ];
    facts(out, style, "from the OS", &system)?;
    match (limit, resources.memory_limit_bytes) {
        (Some(limit), Some(allowed)) if limit > allowed => {
            let text = format!("GOMEMLIMIT ({}) is above the cgroup's limit ({})", bytes(limit), bytes(allowed));
            paragraph(out, style, Role::Attention, &text)
        }
        _ => Ok(()),
    }
}

fn size_classes(out: &mut dyn Write, classes: &SizeClasses, options: Options) -> io::Result<()> {
    let Options { style, limit, verbose } = options;
    let mut shown: Vec<&SizeClass> = classes.classes.iter().collect();
    if !verbose {
        shown.sort_by_key(|class| std::cmp::Reverse(class.span_bytes));
        shown.truncate(limit);
    }
    let rest = classes.classes.len() - shown.len();
    let beside = match rest {
        0 => "",
        _ => "largest first; -v shows all",
    };
    heading(out, style, "Size classes", beside)?;
    let columns = [
        Column::right("SIZE"),
        Column::right("OBJECTS"),
        Column::right("BYTES"),
        Column::right("SPANS"),
        Column::right("SPAN BYTES"),
        Column::right("UNUSED"),
    ];
    write_table(out, style, &columns, shown.len(), &|at| {
        let Some(class) = shown.get(at) else { return Vec::new() };
        let share = if class.span_bytes == 0 { 0.0 } else { class.unused_bytes() as f64 / class.span_bytes as f64 };
        vec![
            CellText::plain(if class.class == 0 { "larger".to_owned() } else { count(class.object_size) }),
            CellText::plain(count(class.objects)),
            CellText::new(Role::Strong, bytes(class.bytes)),
            CellText::plain(count(class.spans)),
            CellText::plain(bytes(class.span_bytes)),
            CellText::plain(format!("{:.1} %", share * 100.0)),
        ]
    })?;
    if classes.odd > 0 {
        let spans = counted(classes.odd, "span", "spans");
        paragraph(out, style, Role::Attention, &format!("left out {spans} whose fields make no sense"))?;
    }
    if !verbose || classes.caches.is_empty() {
        return Ok(());
    }
    heading(out, style, "Held by Ps", "to allocate from")?;
    let columns = [Column::right("P"), Column::right("SPANS"), Column::right("SPAN BYTES"), Column::right("UNUSED")];
    write_table(out, style, &columns, classes.caches.len(), &|at| {
        let Some(cache) = classes.caches.get(at) else { return Vec::new() };
        vec![
            CellText::plain(cache.p.to_string()),
            CellText::plain(count(cache.spans)),
            CellText::plain(bytes(cache.span_bytes)),
            CellText::plain(bytes(cache.unused_bytes)),
        ]
    })
}

fn sites(out: &mut dyn Write, options: Options, snapshot: &Snapshot, profile: &AllocationProfile) -> io::Result<()> {
    let Options { style, limit, .. } = options;
    if let Some(why) = missing(profile) {
        heading(out, style, "Allocation sites", "")?;
        return paragraph(out, style, Role::Attention, &format!("There is no heap profile: {why}."));
    }
    let places = profile::allocations(profile, &snapshot.target);
    let in_use = places.iter().fold(0_u64, |sum, place| sum.saturating_add(place.sum.in_use_bytes));
    let rate = match profile.rate {
        Some(1) => "every object is sampled".to_owned(),
        Some(rate) => format!("one sample per {}", bytes(u64::try_from(rate).unwrap_or(0))),
        None => "sampling rate unknown: not scaled".to_owned(),
    };
    heading(out, style, "Allocation sites", &format!("{} in use; {rate}", bytes(in_use)))?;
    let columns = [
        Column::right("IN USE"),
        Column::right("OBJECTS"),
        Column::right("SHARE"),
        Column::right("ALLOCATED"),
        Column::shrinking("PLACE", Shrink::Place),
    ];
    let shown = places.len().min(limit);
    write_table(out, style, &columns, shown, &|at| {
        let Some(place) = places.get(at) else { return Vec::new() };
        let Allocated { in_use: objects, in_use_bytes, alloc_bytes, .. } = place.sum;
        let share = if in_use == 0 { 0.0 } else { in_use_bytes as f64 / in_use as f64 * 100.0 };
        vec![
            CellText::new(Role::Strong, bytes(in_use_bytes)),
            CellText::plain(count(objects)),
            CellText::plain(format!("{share:.1} %")),
            CellText::plain(bytes(alloc_bytes)),
            CellText::plain(place_text(&profile.symbols, place)),
        ]
    })?;
    more(out, places.len() - shown, PLACES)?;
    for note in notes(&profile.reading) {
        paragraph(out, style, Role::Attention, &note)?;
    }
    Ok(())
}

fn stacks(out: &mut dyn Write, index: &Index<'_>, options: Options) -> io::Result<()> {
    let Options { style, limit, .. } = options;
    let stacks = profile::stacks(index);
    let all = stacks.iter().fold(0_u64, |sum, stack| sum.saturating_add(stack.bytes));
    let goroutines = stacks.iter().map(|stack| stack.goroutines).sum();
    let beside = format!("{} of {}", bytes(all), counted(goroutines, "goroutine", "goroutines"));
    heading(out, style, "Stacks", &beside)?;
    let columns = [Column::right("BYTES"), Column::right("GOROUTINES"), Column::shrinking("PLACE", Shrink::Place)];
    let shown = stacks.len().min(limit);
    write_table(out, style, &columns, shown, &|at| {
        let Some(stack) = stacks.get(at) else { return Vec::new() };
        let words = PlaceWords::of(&index.snapshot().symbols, stack.place);
        vec![
            CellText::new(Role::Strong, bytes(stack.bytes)),
            CellText::plain(count(stack.goroutines)),
            CellText::plain(words.map_or_else(|| "unknown".to_owned(), |words| words.cell())),
        ]
    })?;
    more(out, stacks.len() - shown, PLACES)
}

/// What the rows of a table are, for [`more`]: one and many.
pub(super) type Rows = (&'static str, &'static str);
pub(super) const PLACES: Rows = ("more place", "more places");
const SIZE_CLASSES: Rows = ("more size class", "more size classes");
const SIZES: Rows = ("more size", "more sizes");
const TYPES: Rows = ("more type", "more types");
const ROOTS: Rows = ("more root", "more roots");

/// That a table goes on, by so many rows.
pub(super) fn more(out: &mut dyn Write, hidden: usize, (one, many): Rows) -> io::Result<()> {
    match hidden {
        0 => Ok(()),
        _ => writeln!(out, "  … {}: --limit 0 shows all", counted(hidden as u64, one, many)),
    }
}

/// The place of a row, for a cell that shrinks.
pub(super) fn place_text<T>(symbols: &SymbolPool, place: &PlaceSum<T>) -> String {
    let words = place.spot.and_then(|spot| PlaceWords::of(symbols, Place::At(spot)));
    words.map_or_else(|| "unknown".to_owned(), |words| words.cell())
}

#[cfg(test)]
mod objects_tests;
#[cfg(test)]
mod since_tests;
#[cfg(test)]
mod tests;
