//! `gospy heap --objects`

use super::args::Global;
use super::heap::rows;
use super::heap_args::ObjectArgs;
use super::leaks::show_progress;
use super::source::{ObjectsRequest, Sources};
use super::streams::Streams;
use super::target_args::TargetArgs;
use super::{Exit, Failure};
use crate::analysis::Index;
use crate::analysis::objects::OnlyFrom;
use crate::capture::FreezeMode;
use crate::heap::objects::Wanted;
use crate::report::heap::objects::{self as report, Contents};
use crate::report::heap::{Options, objects_json as json};

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) limit: Option<usize>,
    pub(super) verbose: bool,
    pub(super) json: bool,
}

pub(super) fn run(
    target: &TargetArgs,
    arguments: &ObjectArgs,
    shown: Shown,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let freeze = match target.freeze() {
        None => false,
        Some(FreezeMode::All) => true,
        Some(FreezeMode::Running) => {
            let why = "only a heap that stands still is counted exactly: --freeze=all stops the program for that";
            return Err(Failure::new(Exit::Usage, why));
        }
    };
    let request = ObjectsRequest {
        freeze,
        only_from: arguments.only_from.as_deref().map(only_from).transpose()?,
        path_to: arguments.path_to.as_deref().map(path_to).transpose()?,
    };
    let reading =
        sources.objects(&target.wanted(), &request, &mut |walking| show_progress(streams, global, walking))?;
    let index = Index::new(&reading.snapshot);
    let contents = Contents {
        index: &index,
        groups: &reading.groups,
        objects: &reading.objects,
        only: arguments.only_from.as_deref().zip(reading.only.as_deref()),
        path_to: arguments.path_to.as_deref(),
    };
    if shown.json {
        let limit = shown.limit.map_or(usize::MAX, |limit| rows(Some(limit)));
        streams.finish(|out| json::write(out, &contents, limit))?;
    } else {
        let limit = if shown.verbose && shown.limit.is_none() { usize::MAX } else { rows(shown.limit) };
        let options = Options { style: streams.out_style(), limit, verbose: shown.verbose };
        streams.finish(|out| report::write(out, &contents, options))?;
    }
    let complete = reading.objects.standing.is_exact() && reading.objects.notes.is_empty();
    Ok(if global.strict && !complete { Exit::Incomplete } else { Exit::Done })
}

/// What `--only-from` says: an id after `goroutine:`, or a function.
fn only_from(typed: &str) -> Result<OnlyFrom, Failure> {
    match typed.strip_prefix("goroutine:") {
        None => Ok(OnlyFrom::Function(typed.to_owned())),
        Some(id) => id.parse().map(OnlyFrom::Goroutine).map_err(|_| {
            Failure::new(
                Exit::Usage,
                format!("--only-from {typed}: expected a number after goroutine:, as in goroutine:17"),
            )
        }),
    }
}

/// What `--path-to` says: an address in hexadecimal, or a type.
fn path_to(typed: &str) -> Result<Wanted, Failure> {
    match typed.strip_prefix("0x") {
        None => Ok(Wanted::Type(typed.to_owned())),
        Some(digits) => u64::from_str_radix(digits, 16).map(Wanted::Address).map_err(|_| {
            Failure::new(Exit::Usage, format!("--path-to {typed}: expected an address, as in 0xc000012345, or a type"))
        }),
    }
}
