//! `gospy heap --since FILE`

use std::path::Path;

use super::args::Global;
use super::heap::rows;
use super::heap_args::HeapArgs;
use super::input::{Contents, InputError, InputFile};
use super::leaks::show_progress;
use super::source::{Location, ObjectsRequest, SourceFailure, Sources, TargetSpec};
use super::streams::Streams;
use super::{Exit, Failure};
use crate::analysis::series::heap_parts::{self, Walk};
use crate::analysis::series::heap_since::{HeapChange, HeapMoment, Walked};
use crate::capture::{CaptureOptions, FreezeMode};
use crate::model::SymbolPool;
use crate::report::heap::restore;
use crate::report::heap::since::{self as report, Subject};

pub(super) fn run(
    arguments: &HeapArgs,
    since: &Path,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let wanted = arguments.target.wanted();
    if since == Path::new("-") && wanted.location == Location::File(since.to_owned()) {
        return Err(Failure::new(Exit::Usage, "standard input can be read only once"));
    }
    let freeze = match (arguments.target.freeze(), arguments.objects.objects) {
        (None, _) => false,
        (Some(FreezeMode::All), true) => true,
        (Some(_), _) => {
            let why = "only a walk over the objects stops the program: --objects with --freeze=all";
            return Err(Failure::new(Exit::Usage, why));
        }
    };
    let walk = |freeze| arguments.objects.objects.then(|| ObjectsRequest { freeze, ..ObjectsRequest::default() });
    let mut pool = SymbolPool::default();
    let first = TargetSpec { bin: wanted.bin.clone(), ..TargetSpec::file(since.to_owned()) };
    let before = moment(&first, walk(false).as_ref(), &mut pool, sources, global, streams)?;
    let after = moment(&wanted, walk(freeze).as_ref(), &mut pool, sources, global, streams)?;
    let change = HeapChange::between(&before, &after, &pool);
    let subject = Subject { before: &before, after: &after, change: &change, pool: &pool };
    if arguments.json {
        let limit = arguments.limit.map_or(usize::MAX, |limit| rows(Some(limit)));
        streams.finish(|out| report::json(out, &subject, limit))?;
    } else {
        let (style, limit) = (streams.out_style(), rows(arguments.limit));
        streams.finish(|out| report::write(out, style, &subject, limit))?;
    }
    let exact = |of: &HeapMoment| of.walked.is_none_or(|walked| walked.exact);
    let complete = change.has_parts() && exact(&before) && exact(&after);
    Ok(if global.strict && !complete { Exit::Incomplete } else { Exit::Done })
}

/// What is known of the heap of a program: from its memory, or what a file says of it.
fn moment(
    wanted: &TargetSpec,
    walk: Option<&ObjectsRequest>,
    pool: &mut SymbolPool,
    sources: &dyn Sources,
    global: &Global,
    streams: &mut Streams<'_>,
) -> Result<HeapMoment, Failure> {
    let name = match wanted.pid() {
        Some(pid) => format!("pid {pid}"),
        None => wanted.name(),
    };
    if let Location::File(path) = &wanted.location {
        let failed = |error: InputError| Failure::from(SourceFailure::at(&wanted.location, error));
        let input = InputFile::open(path).map_err(failed)?;
        match input.contents {
            Contents::Json if sources.redacts() => {
                let message = format!("--redact: {name} is JSON, which is not redacted here: write it with --redact");
                return Err(Failure::new(Exit::Usage, message));
            }
            Contents::Json => {
                let unread = |error| failed(InputError::Json { name: name.clone(), error });
                return restore::moment(name.clone(), input.into_reader(), pool).map_err(unread);
            }
            Contents::Recording => {
                let options = CaptureOptions { stacks: false, ..CaptureOptions::default() };
                let opened = sources.open(wanted).and_then(|mut source| {
                    source.capture(&options).map_err(|error| SourceFailure::at(&wanted.location, error))
                });
                let why = "a recording has the figures of the heap, and no parts: gospy heap --json writes these";
                return Ok(HeapMoment::of_snapshot(name, &opened?, why));
            }
            Contents::Memory => {}
        }
    }
    let mut source = sources.heap(wanted)?;
    let reading = source.read()?;
    let mut moment = HeapMoment::of_snapshot(name, &reading.snapshot, "--objects walks over the objects");
    moment.sites = reading.allocations.map(|profile| heap_parts::sites(&profile, &reading.snapshot.target, pool));
    moment.survivors = reading.survivors.map(|classes| heap_parts::survivors(&classes));
    moment.classes = source.size_classes().map(|classes| heap_parts::in_use(&classes));
    let Some(request) = walk else { return Ok(moment) };
    match source.walk(request, &mut |walking| show_progress(streams, global, walking)) {
        Ok(found) => {
            let objects = &found.objects;
            let walk = Walk { snapshot: &found.snapshot, groups: &found.groups, objects };
            let (live, garbage, exact) = (objects.live, objects.garbage, objects.standing.is_exact());
            moment.walked = Some(Walked { live, garbage, exact });
            moment.types = Ok(heap_parts::types(&walk, pool));
            moment.roots = Ok(heap_parts::roots(&walk, pool));
        }
        // A file may have the rest all the same.
        Err(failure) if wanted.pid().is_none() => {
            let why = failure.to_string();
            (moment.types, moment.roots) = (Err(why.clone()), Err(why));
        }
        Err(failure) => return Err(failure.into()),
    }
    Ok(moment)
}
