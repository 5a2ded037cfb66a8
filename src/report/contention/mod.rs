//! `gospy contention`: where goroutines have blocked, and on whose locks they have waited.

pub mod json;

use std::io::{self, Write};

use super::heap::{PLACES, more, notes, place_text};
use crate::analysis::profile::{self, Contended};
use crate::model::{ContentionKind, ContentionProfile, Snapshot};
use crate::report::text::facts::{heading, paragraph};
use crate::report::text::table::write as write_table;
use crate::report::text::{CellText, Column, Role, Shrink, TextStyle};
use crate::report::units::{count, duration};

/// Why there is no such profile; `None` where there is one.
#[must_use]
pub(crate) fn missing(profile: &ContentionProfile) -> Option<String> {
    let setter = match profile.kind {
        ContentionKind::Block => "runtime.SetBlockProfileRate",
        ContentionKind::Mutex => "runtime.SetMutexProfileFraction",
    };
    match profile.rate {
        _ if !profile.sites.is_empty() => None,
        Some(0) => Some(format!("the program has not called {setter}")),
        Some(_) => Some("nothing has been sampled yet".to_owned()),
        None => Some(format!("nothing has been sampled; the program may not have called {setter}")),
    }
}

/// Writes both.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(
    out: &mut dyn Write,
    style: TextStyle,
    snapshot: &Snapshot,
    profiles: &[ContentionProfile],
    limit: usize,
) -> io::Result<()> {
    for profile in profiles {
        section(out, style, snapshot, profile, limit)?;
    }
    Ok(())
}

fn section(
    out: &mut dyn Write,
    style: TextStyle,
    snapshot: &Snapshot,
    profile: &ContentionProfile,
    limit: usize,
) -> io::Result<()> {
    let name = match profile.kind {
        ContentionKind::Block => "Blocking",
        ContentionKind::Mutex => "Lock contention",
    };
    if let Some(why) = missing(profile) {
        heading(out, style, name, "")?;
        let name = profile.kind.name();
        return paragraph(out, style, Role::Attention, &format!("There is no {name} profile: {why}."));
    }
    let beside = match (profile.kind, profile.rate) {
        (ContentionKind::Block, Some(1)) => "where goroutines waited; every event".to_owned(),
        (ContentionKind::Block, _) => "where goroutines waited; sampled".to_owned(),
        (ContentionKind::Mutex, Some(1)) => "where locks were unlocked that others waited for; every event".to_owned(),
        (ContentionKind::Mutex, Some(rate @ 2..)) => {
            format!("where locks were unlocked that others waited for; 1 in {} events", count(rate))
        }
        (ContentionKind::Mutex, _) => "where locks were unlocked that others waited for".to_owned(),
    };
    heading(out, style, name, &beside)?;
    let places = profile::contention(profile, &snapshot.target);
    let by_time = profile.ticks_per_second.is_some();
    let columns = [
        Column::right(if by_time { "WAITED" } else { "TICKS" }),
        Column::right("EVENTS"),
        Column::right("MEAN"),
        Column::shrinking("PLACE", Shrink::Place),
    ];
    let shown = places.len().min(limit);
    write_table(out, style, &columns, shown, &|at| {
        let Some(place) = places.get(at) else { return Vec::new() };
        let Contended { events, ns, ticks } = place.sum;
        let time = |ns: u64, ticks: u64| if by_time { duration(ns) } else { count(ticks) };
        vec![
            CellText::new(Role::Strong, time(ns, ticks)),
            CellText::plain(count(events)),
            CellText::plain(time(ns / events.max(1), ticks / events.max(1))),
            CellText::plain(place_text(&profile.symbols, place)),
        ]
    })?;
    more(out, places.len() - shown, PLACES)?;
    for note in notes(&profile.reading) {
        paragraph(out, style, Role::Attention, &note)?;
    }
    Ok(())
}
