//! `gospy record --cpu`

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::files::write_file;
use super::super::record_args::{MOST_HZ, RecordArgs};
use super::super::source::{Sources, TargetSpec};
use super::super::streams::Streams;
use super::super::{Exit, Failure, Global};
use super::outputs::{AddedUp, written_to};
use super::{at_target, interrupts, progress};
use crate::analysis::cpu::CpuRecording;
use crate::process::ErrorKind;
use crate::report::recording::Root;
use crate::report::recording::cpu::{self, CpuRecordingOptions};
use crate::report::units::{counted, duration, percent};
use crate::sampling::cpu::cpu_time;

pub(super) fn run(
    arguments: &RecordArgs,
    wanted: &TargetSpec,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let root = arguments.output.group_by.clone().unwrap_or_default();
    if !matches!(root, Root::Stack | Root::Label(_)) {
        return Err(Failure::new(Exit::Usage, "--group-by: with --cpu everything runs; label=KEY is possible"));
    }
    let AddedUp { format, filter, goal } = AddedUp::of(&arguments.output, streams)?;
    let mut source = sources.open(wanted)?;
    let interrupted = interrupts()?;
    let length = arguments.duration();
    let bar = progress(streams, global, length);
    let until = length.unwrap_or(Duration::MAX);
    let mut recording = CpuRecording::default();
    let mut name = wanted.name();
    // What comes before the first sample is not a part of the time.
    let mut started: Option<(Instant, Duration)> = None;
    let sampled = source.sample_cpu(arguments.rate.unwrap_or(MOST_HZ), &mut |samples| {
        let (started, _) = *started.get_or_insert_with(|| {
            let target = &samples.before.target;
            name = format!("{} (pid {})", target.exe.rsplit('/').next().unwrap_or_default(), target.pid);
            (Instant::now(), cpu_time())
        });
        recording.add(&samples);
        let elapsed = started.elapsed();
        bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        bar.set_message(counted(recording.stats().samples, "sample", "samples"));
        match interrupted.load(Ordering::Relaxed) || elapsed >= until {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    bar.finish_and_clear();
    let (elapsed, cost) = match started {
        Some((started, cpu)) => (started.elapsed(), cpu_time().saturating_sub(cpu)),
        None => (Duration::ZERO, Duration::ZERO),
    };
    let (mut ended, mut failed) = (None, None);
    if let Err(error) = sampled {
        let gone = error.kind() == ErrorKind::Gone;
        let failure = at_target(wanted, error);
        if recording.stats().samples == 0 {
            return Err(failure);
        }
        // What was recorded before is kept either way.
        match gone {
            true => ended = Some(format!("the program ended after {}", duration(nanoseconds(elapsed)))),
            false => failed = Some(failure),
        }
    }
    recording.end(nanoseconds(elapsed));
    let facts = cpu::facts(&recording);
    if let Some(filter) = &filter {
        recording.retain(filter);
    }
    let shown = CpuRecordingOptions { root, name };
    match &goal {
        None => streams.finish(|out| cpu::write(out, &recording, &shown, format))?,
        Some(goal) => write_file(goal, |out| cpu::write(out, &recording, &shown, format))?,
    }
    if !global.quiet {
        if let Some(ended) = ended {
            streams.note(&ended);
        }
        streams.note(&facts);
        let share = cost.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        if let Some(goal) = goal {
            streams.note(&written_to(&[goal.path().display().to_string()]));
        }
        streams.note(&format!("sampling took {} of a core", percent(share)));
    }
    failed.map_or(Ok(Exit::Done), Err)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
