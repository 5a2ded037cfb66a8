//! `gospy report`: a recording, in any format of `record`.

use super::input::{Contents, InputError, InputFile};
use super::record::Outputs;
use super::record_args::ReportArgs;
use super::source::{Location, SourceFailure};
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::analysis::redact::Redactor;
use crate::analysis::series::Watching;

pub(super) fn run(arguments: &ReportArgs, global: &Global, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let mut outputs = Outputs::new(&arguments.output, streams)?;
    let failed = |cause: InputError| SourceFailure::at(&Location::File(arguments.file.clone()), cause);
    let input = InputFile::open(&arguments.file).map_err(failed)?;
    let name = input.name.clone();
    if input.contents != Contents::Recording {
        let message = format!("{name} is not a recording: `gospy record -o FILE.gospyrec` makes one");
        return Err(Failure::new(Exit::Error, message));
    }
    let mut archive = input.into_archive().map_err(failed)?;
    let unreadable = |error| failed(InputError::Archive { name: name.clone(), error });
    let last = archive.samples().saturating_sub(1);
    let since = arguments.since.as_ref().map_or(Ok(0), |at| at.find(&mut archive)).map_err(unreadable)?;
    let until = arguments.until.as_ref().map_or(Ok(last), |at| at.find(&mut archive)).map_err(unreadable)?;
    if since > until {
        return Err(Failure::new(Exit::Usage, "--since is after --until"));
    }
    if !global.quiet {
        if let Some(reason) = &archive.description().reason {
            streams.note(&format!("it was written because: {reason}"));
        }
        if let Some(cut) = archive.cut() {
            streams.note(&format!("{name} ends before the recording did: {cut}"));
        }
    }
    let mut watching = Watching::default();
    let mut redactor = arguments.redact.redact.then(Redactor::default);
    for number in since..=until {
        let mut snapshot = archive.read(number).map_err(unreadable)?;
        if let Some(redactor) = &mut redactor {
            redactor.snapshot(&mut snapshot);
        }
        outputs.add(&watching.observe(snapshot))?;
    }
    for note in outputs.finish(streams)? {
        if !global.quiet {
            streams.note(&note);
        }
    }
    Ok(Exit::Done)
}
