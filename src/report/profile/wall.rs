//! A recording: the samples of `gospy record`, with the time that they stand for. State, wait reason and the
//! program's own labels are labels, so `go tool pprof` can focus on them (`-tagfocus`, `-tagroot=state`).

use std::io::{self, Write};

use super::builder::{Builder, Header, shown_frames};
use crate::analysis::recording::Recording;
use crate::model::{StackState, SymbolPool, TargetInfo};

/// Writes the profile of a recording, that of idle goroutines only `with_idle`, and gives how many samples it has.
/// Where goroutines were added up by more than their stacks, `part` is the name of the label for that.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, recording: &Recording, with_idle: bool, part: Option<&str>) -> io::Result<u64> {
    write_as(out, recording, with_idle, part, ("wall", "wall"))
}

/// Writes it all under the names that fgprof (0.9) gives to its values and its period.
///
/// # Errors
/// Those of `out`.
pub fn write_fgprof(out: &mut dyn Write, recording: &Recording) -> io::Result<u64> {
    write_as(out, recording, true, None, ("time", "wallclock"))
}

fn write_as(
    out: &mut dyn Write,
    recording: &Recording,
    with_idle: bool,
    part: Option<&str>,
    (time, period): (&str, &str),
) -> io::Result<u64> {
    let stats = recording.stats();
    let nothing = TargetInfo::default();
    let target = recording.target().unwrap_or(&nothing);
    let intervals = stats.samples.saturating_sub(1).max(1);
    let header = Header {
        sample_types: &[("samples", "count"), (time, "nanoseconds")],
        default_sample_type: Some(time),
        period: (period, "nanoseconds", stats.duration_ns / intervals),
        time_ns: stats.started_unix_ns,
        duration_ns: stats.duration_ns,
        comment: &format!(
            "where goroutines of pid {} spent their time, recorded by gospy: {} samples, {} of {} stacks changed \
             while they were read",
            target.pid, stats.samples, stats.torn, stats.seen
        ),
    };
    let empty = SymbolPool::default();
    let first = recording.spent(with_idle).find_map(|(doing, _)| recording.symbols(doing)).unwrap_or(&empty);
    let mut builder = Builder::new(&mut *out, first, target, &header)?;
    for (doing, spent) in recording.spent(with_idle) {
        let Some(symbols) = recording.symbols(doing) else { continue };
        builder.change_pool(symbols);
        let locations = match doing.stack {
            StackState::Known(id) => builder.locations(shown_frames(symbols, id))?,
            StackState::NotShown(_) => builder.locations(doing.start)?,
        };
        let mut sample = Builder::<&mut dyn Write>::sample(&locations, &[spent.samples, spent.ns]);
        builder.text_label(&mut sample, "state", doing.status.name());
        if let Some(reason) = recording.reason(doing) {
            builder.text_label(&mut sample, "wait_reason", reason);
        }
        if let Some((label, part)) = part.zip(recording.part(doing)) {
            match part.strip_prefix("goroutine ").and_then(|id| id.parse().ok()) {
                Some(id) => builder.number_label(&mut sample, label, id, "id"),
                None => builder.text_label(&mut sample, label, part),
            }
        }
        for label in doing.labels.map_or(&[][..], |id| symbols.labels(id)) {
            builder.text_label(&mut sample, symbols.str(label.key), symbols.str(label.value));
        }
        builder.add(&sample)?;
    }
    builder.finish()
}
