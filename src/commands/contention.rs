//! `gospy contention`

use super::args::Global;
use super::heap::{output, rows, without_freeze};
use super::heap_args::ContentionArgs;
use super::source::{ProfileParts, Sources};
use super::streams::Streams;
use super::{Exit, Failure};
use crate::model::{ContentionKind, ContentionProfile};
use crate::report::profile::contention;
use crate::report::{contention as report, heap};

pub(super) fn run(
    arguments: &ContentionArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    without_freeze(arguments.target.freeze(), "contention")?;
    let wanted = arguments.target.wanted();
    let files =
        [("--block", &arguments.block, ContentionKind::Block), ("--mutex", &arguments.mutex, ContentionKind::Mutex)];
    let mut goals = Vec::new();
    for (option, path, kind) in files {
        if let Some(path) = path {
            goals.push((output(option, path, streams)?, kind));
        }
    }
    let both = [ContentionKind::Block, ContentionKind::Mutex];
    let kinds: Vec<ContentionKind> =
        if goals.is_empty() { both.to_vec() } else { goals.iter().map(|(_, kind)| *kind).collect() };
    let reading = sources.profiles(&wanted, ProfileParts { contention: &kinds, ..ProfileParts::default() })?;
    let snapshot = &reading.snapshot;
    let complete = |profile: &ContentionProfile| !profile.reading.incomplete && profile.reading.moving == 0;
    let exit = if global.strict && !reading.contention.iter().all(complete) { Exit::Incomplete } else { Exit::Done };
    if arguments.json {
        let limit = arguments.limit.map_or(usize::MAX, |limit| rows(Some(limit)));
        streams.finish(|out| report::json::write(out, snapshot, &reading.contention, limit))?;
        return Ok(exit);
    }
    if goals.is_empty() && !arguments.text {
        let (style, limit) = (streams.out_style(), rows(arguments.limit));
        streams.finish(|out| report::write(out, style, snapshot, &reading.contention, limit))?;
        return Ok(exit);
    }
    for profile in &reading.contention {
        if let Some(why) = report::missing(profile) {
            let message = format!("there is no {} profile: {why}", profile.kind.name());
            // Of both, the other one may be there.
            if goals.is_empty() && reading.contention.iter().any(|other| report::missing(other).is_none()) {
                streams.note(&message);
                continue;
            }
            return Err(Failure::new(Exit::Error, message));
        }
        let goal = goals.iter().find(|(_, kind)| *kind == profile.kind).map(|(goal, _)| goal);
        match goal {
            None => streams.finish(|out| contention::list(out, profile, snapshot))?,
            Some(goal) => goal.write(global.quiet, streams, |out| contention::write(out, profile, snapshot))?,
        }
        for note in heap::notes(&profile.reading) {
            streams.note(&format!("warning: {note}"));
        }
    }
    Ok(exit)
}
