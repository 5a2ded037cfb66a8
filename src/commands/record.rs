//! `gospy record`

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::files::{is_dash, report_file, write_file};
use super::record_args::RecordArgs;
use super::selection::filter;
use super::source::{Location, SourceFailure, Sources};
use super::streams::Streams;
use super::{Exit, Failure, Global, record_cpu};
use crate::analysis::Filter;
use crate::analysis::recording::Recording;
use crate::new_file::Goal;
use crate::process::ErrorKind;
use crate::report::recording::{self, Format, RecordingOptions};
use crate::report::units::{counted, duration, percent};
use crate::sampling::{Pacer, Sampler};

pub(super) fn run(
    arguments: &RecordArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let wanted = arguments.target.wanted();
    if let Location::File(_) = wanted.location {
        return Err(Failure::new(Exit::Usage, "--from: a recording is made of a running program"));
    }
    let format = format(arguments)?;
    let filter = filter(arguments.filter.as_deref())?.map(|(_, filter)| filter);
    let to_stdout = is_dash(&arguments.output);
    if to_stdout && format == Format::Pprof && streams.out_is_terminal {
        return Err(Failure::new(Exit::Usage, "--output - would write binary data to the terminal: name a file"));
    }
    let goal = if to_stdout { None } else { Some(report_file("--output", &arguments.output)?) };
    let mut source = sources.open(&wanted)?;
    if arguments.cpu {
        let plan = Plan { format, filter, goal, name: wanted.name() };
        return record_cpu::run(arguments, plan, source.as_mut(), &wanted.location, global, streams);
    }
    let options = arguments.target.options(false);
    let mut sampler = Sampler::new(Box::new(move || source.capture(&options)));
    let (interval, most_cpu) = arguments.pace();
    let mut pacer = Pacer::every(interval).with_jitter();
    if let Some(share) = most_cpu {
        pacer = pacer.with_max_cpu(share);
    }

    let interrupted = interrupts()?;
    let bar = progress(streams, global, arguments.duration);
    let started = Instant::now();
    let until = Duration::from_nanos(arguments.duration);
    let mut taken = Recording::default();
    let mut cpu = Duration::ZERO;
    let mut name = wanted.name();
    let is_over = || interrupted.load(Ordering::Relaxed) || started.elapsed() >= until;
    let pause = |due: Duration| {
        let end = Instant::now() + due.min(until.saturating_sub(started.elapsed()));
        while Instant::now() < end && !interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(end.saturating_duration_since(Instant::now()).min(LOOK));
        }
        if is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let streamed = sampler.stream_with_pauses(&mut pacer, pause, |sample| {
        cpu += sample.cost;
        let observed = &sample.observed;
        let index = observed.index();
        let mut matcher = filter.as_ref().map(|filter| filter.matcher(&index));
        let mut selected = |goroutine: &_| matcher.as_mut().is_none_or(|matcher| matcher.matches(goroutine));
        taken.add(observed, |goroutine| {
            arguments.only.is_none_or(|only| only.holds(goroutine.status)) && selected(goroutine)
        });
        if taken.stats().samples == 1 {
            let target = &observed.snapshot().target;
            name = format!("{} (pid {})", target.exe.rsplit('/').next().unwrap_or_default(), target.pid);
        }
        bar.set_position(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!(
            "{}, {}",
            counted(taken.stats().samples, "sample", "samples"),
            counted(observed.counts().total, "goroutine", "goroutines")
        ));
        if is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let (mut ended, mut failed) = (None, None);
    if let Err(error) = streamed {
        let gone = error.kind() == ErrorKind::Gone;
        let failure = Failure::from(SourceFailure::at(&wanted.location, error));
        if taken.stats().samples < LEAST_SAMPLES {
            return Err(failure);
        }
        // What was recorded before is kept either way.
        match gone {
            true => ended = Some(format!("the program ended after {}", duration(taken.stats().duration_ns))),
            false => failed = Some(failure),
        }
    }
    if taken.stats().samples < LEAST_SAMPLES {
        let message = "one sample shows no time: record for longer, or with a higher --rate or --cpu-budget";
        return Err(Failure::new(Exit::Error, message));
    }
    let shown = RecordingOptions {
        idle: arguments.idle,
        system: arguments.system,
        root: arguments.group_by.clone().unwrap_or_default(),
        name,
    };
    match &goal {
        None => streams.finish(|out| recording::write(out, &taken, &shown, format))?,
        Some(goal) => write_file(goal, |out| recording::write(out, &taken, &shown, format))?,
    }
    if !global.quiet {
        if let Some(ended) = ended {
            streams.note(&ended);
        }
        streams.note(&recording::facts(&taken, &shown));
        let share = cpu.as_secs_f64() / started.elapsed().as_secs_f64();
        let to = goal.map_or_else(String::new, |goal| format!("; written to {}", goal.path().display()));
        streams.note(&format!("sampling took {} of a core{to}", percent(share)));
    }
    failed.map_or(Ok(Exit::Done), Err)
}

/// What was worked out before anything is sampled.
pub(super) struct Plan {
    pub(super) format: Format,
    pub(super) filter: Option<Filter>,
    /// `None` for stdout.
    pub(super) goal: Option<Goal>,
    /// How the program was typed.
    pub(super) name: String,
}

/// Time passes between samples.
const LEAST_SAMPLES: u64 = 2;
/// How soon Ctrl-C is noticed.
const LOOK: Duration = Duration::from_millis(50);

fn format(arguments: &RecordArgs) -> Result<Format, Failure> {
    if let Some(format) = arguments.format {
        return Ok(format);
    }
    let name = arguments.output.file_name().unwrap_or_default().to_string_lossy();
    let by_ending = [
        (".pb.gz", Format::Pprof),
        (".pprof", Format::Pprof),
        (".folded", Format::Folded),
        (".speedscope.json", Format::Speedscope),
        (".json", Format::Speedscope),
        (".svg", Format::Svg),
        (".html", Format::Html),
    ];
    by_ending.iter().find(|(ending, _)| name.ends_with(ending)).map(|&(_, format)| format).ok_or_else(|| {
        let name = Path::new(&arguments.output).display();
        let message = format!(
            "--output {name}: its ending says no format; it may be .pb.gz (pprof), .folded, .json \
             (speedscope), .svg or .html, or name one with --format"
        );
        Failure::new(Exit::Usage, message)
    })
}

/// Set by the first Ctrl-C or SIGTERM; the second one ends gospy as ever.
pub(super) fn interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let again = signal_hook::flag::register_conditional_default(signal, Arc::clone(&interrupted));
        again
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .map_err(|error| Failure::new(Exit::Error, format!("signals cannot be handled: {error}")))?;
    }
    Ok(interrupted)
}

pub(super) fn progress(streams: &Streams<'_>, global: &Global, duration_ns: u64) -> ProgressBar {
    if global.quiet || !streams.err_is_terminal {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(duration_ns / 1_000_000), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template("{wide_bar} {elapsed}/{duration}  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
