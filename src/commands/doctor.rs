//! `gospy doctor`

use super::source::Sources;
use super::streams::Streams;
use super::target_args::DoctorArgs;
use super::{Exit, Failure};
use crate::report::doctor;

pub(super) fn run(arguments: &DoctorArgs, sources: &dyn Sources, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let (mut report, failure) = sources.examine(arguments.wanted().as_ref())?;
    let mut exit = Exit::Done;
    if let Some(failure) = failure.map(Failure::from) {
        exit = failure.exit();
        report.problem = Some(failure.message().to_owned());
    }
    if arguments.json {
        streams.finish(|out| doctor::json(out, &report))?;
    } else {
        let style = streams.out_style();
        streams.finish(|out| doctor::write(out, style, &report))?;
    }
    // The answer itself says why; the status is for scripts.
    Ok(exit)
}
