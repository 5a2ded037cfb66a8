//! `gospy record`

mod cpu;
mod outputs;
mod ring;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use self::outputs::cost;
pub(super) use self::outputs::{Outputs, describe};
use self::ring::{Kept, Next};
use super::record_args::RecordArgs;
use super::repeated::Repeated;
use super::source::{Location, SourceFailure, Sources, TargetSpec};
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::process::ErrorKind;
use crate::report::units::{counted, duration};
use crate::sampling::{Pacer, Sampler};

/// Where samples go.
enum Taken<'a> {
    /// To files, all of them.
    Files(Box<Outputs<'a>>),
    /// To memory, until there is cause to write them.
    Ring(Box<Kept>),
}

pub(super) fn run(
    arguments: &RecordArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let wanted = arguments.target.wanted();
    if let Location::File(_) = wanted.location {
        let message = "--from: a recording is made of a running program; `gospy report` reads one";
        return Err(Failure::new(Exit::Usage, message));
    }
    if arguments.cpu {
        return cpu::run(arguments, &wanted, global, sources, streams);
    }
    let outputs = Outputs::new(&arguments.output, streams)?;
    let mut options = arguments.target.options(false);
    // A ring is a recording, and its rules may be about anything.
    if arguments.ring.is_none() && !outputs.shows_waits() {
        (options.waits, options.system_calls) = (false, false);
    }
    let mut taken = match arguments.ring {
        None => Taken::Files(Box::new(outputs)),
        Some(_) if !outputs.records() => {
            let message = "--ring writes a recording: give it a file that ends in .gospyrec";
            return Err(Failure::new(Exit::Usage, message));
        }
        Some(keep_ns) => Taken::Ring(Box::new(Kept::new(arguments, keep_ns)?)),
    };
    let source = Repeated::new(sources.open(&wanted)?, options).in_full_every(IN_FULL);
    let mut sampler = Sampler::new(Box::new(source));
    let (interval, most_cpu) = arguments.pace();
    let mut pacer = Pacer::every(interval).with_jitter();
    if let Some(share) = most_cpu {
        pacer = pacer.with_max_cpu(share);
    }

    let interrupted = interrupts()?;
    let length = arguments.duration();
    let bar = progress(streams, global, length);
    let (started, at) = (Instant::now(), SystemTime::now());
    let until = length.unwrap_or(Duration::MAX);
    let (mut samples, mut cpu) = (0_u64, Duration::ZERO);
    let asked = match &taken {
        Taken::Files(_) => Arc::default(),
        Taken::Ring(kept) => kept.asked(),
    };
    let is_over = || interrupted.load(Ordering::Relaxed) || started.elapsed() >= until;
    let pause = |due: Duration| {
        let end = Instant::now() + due.min(until.saturating_sub(started.elapsed()));
        let wakes = || interrupted.load(Ordering::Relaxed) || asked.load(Ordering::Relaxed);
        while Instant::now() < end && !wakes() {
            std::thread::sleep(end.saturating_duration_since(Instant::now()).min(LOOK));
        }
        if is_over() { ControlFlow::Break(Ok(None)) } else { ControlFlow::Continue(()) }
    };
    let streamed = sampler.stream_with_pauses(&mut pacer, pause, |sample| {
        cpu += sample.cost;
        let observed = &sample.observed;
        samples = samples.saturating_add(1);
        let added = match &mut taken {
            Taken::Files(outputs) => outputs.add(observed).map(|()| Next::Record),
            Taken::Ring(kept) => kept.add(observed),
        };
        match added {
            Err(failure) => return ControlFlow::Break(Err(failure)),
            Ok(Next::Failed(said)) => return ControlFlow::Break(Ok(Some(said))),
            Ok(Next::Wrote(said)) if !global.quiet => bar.suspend(|| streams.note(&said)),
            Ok(Next::Wrote(_) | Next::Record) => {}
        }
        bar.set_position(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!(
            "{}, {}",
            counted(samples, "sample", "samples"),
            counted(observed.counts().total, "goroutine", "goroutines")
        ));
        if is_over() { ControlFlow::Break(Ok(None)) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    // What was recorded before an error is kept.
    let (ended, failure) = match streamed {
        Ok(Ok(Some(failed_rule))) => {
            if !global.quiet {
                streams.note(&failed_rule);
            }
            return Ok(Exit::Failed);
        }
        Ok(Ok(None)) => (None, None),
        Ok(Err(failure)) => (None, Some(failure)),
        Err(error) if error.kind() == ErrorKind::Gone && samples > 0 => {
            (Some(format!("the program ended after {}", duration(elapsed_ns(started)))), None)
        }
        Err(error) => (None, Some(at_target(&wanted, error))),
    };
    let mut notes = Vec::new();
    match taken {
        Taken::Files(outputs) if failure.is_some() && !outputs.is_enough() => {}
        Taken::Files(outputs) => {
            notes.extend(ended);
            notes.extend(outputs.finish(streams)?);
        }
        Taken::Ring(_) if samples == 0 => {}
        Taken::Ring(mut kept) => {
            let reason = match (&ended, &failure) {
                (Some(ended), _) => ended.clone(),
                (None, Some(failure)) => failure.message().lines().next().unwrap_or_default().to_owned(),
                (None, None) => "the recording was ended".to_owned(),
            };
            notes.push(kept.write(&reason)?);
        }
    }
    if !global.quiet {
        notes.iter().for_each(|note| streams.note(note));
        streams.note(&cost(cpu, at));
    }
    failure.map_or(Ok(Exit::Done), Err)
}

fn elapsed_ns(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn at_target(wanted: &TargetSpec, error: crate::capture::SourceError) -> Failure {
    SourceFailure::at(&wanted.location, error).into()
}

/// How often every stack is read, of those too that have not changed.
const IN_FULL: Duration = Duration::from_secs(60);

/// How soon Ctrl-C is noticed.
const LOOK: Duration = Duration::from_millis(50);

/// Set by the first Ctrl-C or SIGTERM; the second one ends gospy as ever.
fn interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let again = signal_hook::flag::register_conditional_default(signal, Arc::clone(&interrupted));
        again
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .map_err(|error| Failure::new(Exit::Error, format!("signals cannot be handled: {error}")))?;
    }
    Ok(interrupted)
}

fn progress(streams: &Streams<'_>, global: &Global, length: Option<Duration>) -> ProgressBar {
    let Some(length) = length.filter(|_| !global.quiet && streams.err_is_terminal) else {
        return ProgressBar::hidden();
    };
    let most = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(most), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{wide_bar} {elapsed}/{duration}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
