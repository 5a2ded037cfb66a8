//! The file that a key of the live view writes.

use std::path::Path;
use std::sync::Arc;

use super::capture::description;
use super::live::Live;
use super::source::{Location, Sources, TargetSpec};
use crate::analysis::series::Observed;
use crate::analysis::{Answer, Request};
use crate::capture::FreezeMode;
use crate::model::Snapshot;
use crate::new_file::{Goal, NewFileError, Replace};
use crate::process::capture_file;
use crate::report::json::{self, JsonOptions};
use crate::top::run::Save;

/// Names that are tried: one key may be pressed more than once in a second.
const MAX_NAMES: u32 = 99;

/// Writes a capture of the program as it is now. Where it has ended, or is not to be read now, what was
/// read of it last is written as JSON, which can be shown with --from too. Nothing is ever replaced.
pub(super) fn save(wanted: TargetSpec, freeze: Option<FreezeMode>) -> Save {
    Arc::new(move |observed: &Observed, live: bool| {
        let shown = observed.snapshot();
        let now = match wanted.location {
            // It may be another process by now: one that came back.
            Location::Process(_) => live.then(|| TargetSpec {
                freeze_filtered: wanted.freeze_filtered,
                ..TargetSpec::process(shown.target.pid, None)
            }),
            Location::File(_) => Some(wanted.clone()),
        };
        let written = match now.and_then(|wanted| Live.record(&wanted, freeze).ok()) {
            Some((image, snapshot)) => new_file(&snapshot, "capture").and_then(|goal| {
                let description = description(&snapshot);
                goal.write(|out| capture_file::write_to(out, &image, Some(&description))).map(|_| goal)
            }),
            None => new_file(shown, "json").and_then(|goal| {
                let index = observed.index();
                let answer = Answer::of(&index, Request::default()).observed(observed);
                goal.write(|mut out| {
                    json::write(&mut out, &answer, JsonOptions { frames: true, ..JsonOptions::default() })
                })
                .map(|_| goal)
            }),
        };
        written.map(|goal| goal.path().to_owned()).map_err(|error| error.to_string())
    })
}

/// A name in the current directory that nothing has.
fn new_file(snapshot: &Snapshot, extension: &str) -> Result<Goal, NewFileError> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(snapshot.captured_at_unix_ns)).unwrap_or_default();
    let stem = format!("gospy-{}-{}", snapshot.target.pid, time.strftime("%Y%m%dT%H%M%SZ"));
    let goal = |stem: &str| Goal::new(Path::new(&format!("{stem}.{extension}")), Replace::Nothing);
    let mut found = goal(&stem);
    for attempt in 2..=MAX_NAMES {
        match found {
            Err(NewFileError::Exists { .. } | NewFileError::NotRegular { .. }) => {
                found = goal(&format!("{stem}-{attempt}"));
            }
            found => return found,
        }
    }
    found
}
