//! `gospy check`

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::ci_args::CheckArgs;
use super::diff::{complete, is_whole};
use super::files::{report_file, write_file};
use super::repeated::Repeated;
use super::rules::{self, Measured, NO_RULE};
use super::snapshots::{Input, name_of};
use super::source::{Sources, Walking};
use super::streams::Streams;
use super::{Exit, Failure, Global, leaks};
use crate::analysis::Census;
use crate::analysis::check::{Judge, Level, Reason, Rule, Rules, Verdict};
use crate::analysis::redact::REDACTED;
use crate::analysis::series::Observed;
use crate::analysis::series::growth::LEAST_SAMPLES;
use crate::model::SymbolPool;
use crate::new_file::Goal;
use crate::process::ErrorKind;
use crate::report::check::{self, Options, Origin, Subject};
use crate::report::units::{count, duration};
use crate::sampling::{Pacer, Sampler};

pub(super) fn run(
    arguments: &CheckArgs,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    if let Some(message) = arguments.contradiction() {
        return Err(Failure::new(Exit::Usage, message));
    }
    let watch = arguments.watch.map(|ns| Watch::new(ns, arguments.interval)).transpose()?;
    let measured = Measured { baseline: arguments.baseline.is_some(), watched: watch.is_some(), repeated: false };
    let rules = rules::rules(&arguments.rules, measured)?;
    if rules.rules.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("{NO_RULE} or --watch")));
    }
    let junit = arguments.junit.as_deref().map(|path| report_file("--junit", path)).transpose()?;
    let mut pool = SymbolPool::default();
    // Read first: that it is missing should not be found out after the watch.
    let baseline = arguments.baseline().map(|given| given.census(sources, &mut pool)).transpose();
    let judged = baseline.and_then(|baseline| {
        let mut seen = judge(arguments, watch.as_ref(), &rules, baseline.as_ref(), sources, &mut pool)?;
        let mut on_progress = |walking| leaks::show_progress(streams, global, walking);
        let heap_problem =
            look_for_leaks(&mut seen.judge, &arguments.given(), &rules, sources, &mut pool, &mut on_progress)?;
        Ok((seen.done(heap_problem), baseline))
    });
    let (judged, baseline) = match judged {
        Ok(judged) => judged,
        Err(failure) => return Err(not_read(arguments, junit.as_ref(), &rules, failure, streams)),
    };
    let notes = notes(&judged, baseline.as_ref());
    let subject = Subject {
        name: &judged.latest.name,
        census: Some(&judged.latest),
        baseline: baseline.as_ref(),
        samples: judged.samples,
        watched_ns: judged.watched_ns,
        verdicts: &judged.verdicts,
        pool: &pool,
        notes: &notes,
        error: None,
    };
    let written = write(arguments, &subject, streams);
    write_junit(arguments, junit.as_ref(), &subject)?;
    written?;
    match (subject.failed(), subject.not_judged()) {
        (0, 0) => complete(baseline.iter().chain(&judged.incomplete).chain([&judged.latest]), global.strict),
        (0, _) => Ok(Exit::NotJudged),
        _ => Ok(Exit::Failed),
    }
}

/// The answer, and annotations where they are wanted.
fn write(arguments: &CheckArgs, subject: &Subject<'_>, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let options = Options { style: streams.out_style(), system: arguments.rules.system };
    let annotate = arguments.github || streams.environment.github;
    let workspace = streams.environment.workspace.clone();
    if arguments.json {
        streams.finish(|out| check::json(out, subject))?;
    } else if subject.error.is_none() {
        streams.finish(|out| check::text(out, subject, &options))?;
    }
    if annotate && arguments.json {
        // Standard output is the JSON's.
        let _ = check::github(&mut *streams.err, subject, workspace.as_deref());
    } else if annotate {
        streams.finish(|out| check::github(out, subject, workspace.as_deref()))?;
    }
    Ok(())
}

fn write_junit(arguments: &CheckArgs, goal: Option<&Goal>, subject: &Subject<'_>) -> Result<(), Failure> {
    let Some(goal) = goal else { return Ok(()) };
    let system = nix::sys::utsname::uname().ok();
    let host = match arguments.redact.redact {
        true => REDACTED.into(),
        false => system.as_ref().map(|system| system.nodename().to_string_lossy()).unwrap_or_default(),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let origin = Origin { host: &host, now_unix_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) };
    write_file(goal, |out| check::junit(out, subject, origin))
}

/// Says in every form that was asked for that the target could not be read, or not to the end: who
/// waits for a file or a document is to find the reason in it. The message itself is the caller's to
/// print.
fn not_read(
    arguments: &CheckArgs,
    junit: Option<&Goal>,
    rules: &Rules,
    failure: Failure,
    streams: &mut Streams<'_>,
) -> Failure {
    let verdicts: Vec<Verdict> = rules.rules.iter().map(|rule| Verdict::not_judged(rule, Reason::Unread)).collect();
    let subject = Subject {
        name: &arguments.given().name(),
        census: None,
        baseline: None,
        samples: 0,
        watched_ns: 0,
        verdicts: &verdicts,
        pool: &SymbolPool::default(),
        notes: &[],
        // It may name files.
        error: Some(if arguments.redact.redact { "the program could not be read" } else { failure.message() }),
    };
    let results = [write(arguments, &subject, streams), write_junit(arguments, junit, &subject)];
    let more: Vec<String> =
        results.into_iter().filter_map(Result::err).map(|error| error.message().to_owned()).collect();
    match more.as_slice() {
        [] => failure,
        more => Failure::new(failure.exit(), format!("{}\n{}", failure.message(), more.join("\n"))),
    }
}

/// When to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) interval: Duration,
    pub(super) samples: u32,
}

/// Without an interval, a watch has about that many samples.
const USUAL_SAMPLES: u64 = 30;

impl Watch {
    pub(super) fn new(watch_ns: u64, interval_ns: Option<u64>) -> Result<Self, Failure> {
        let interval = interval_ns.unwrap_or((watch_ns / USUAL_SAMPLES).clamp(100_000_000, 10_000_000_000)).max(1);
        let samples = (watch_ns / interval).saturating_add(1);
        let least = u64::try_from(LEAST_SAMPLES).unwrap_or(u64::MAX);
        if samples < least {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "--watch {} at an --interval of {} gives {samples} samples; growth needs at least \
                     {least}: watch for longer, or give a shorter interval",
                    duration(watch_ns),
                    duration(interval)
                ),
            ));
        }
        // More than the growth of the largest groups needs.
        const MOST: u64 = 1_000_000;
        if samples > MOST {
            let message =
                format!("--watch and --interval give {} samples; the limit is {}", count(samples), count(MOST));
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(Self { interval: Duration::from_nanos(interval), samples: u32::try_from(samples).unwrap_or(u32::MAX) })
    }

    pub(super) fn pacer(&self) -> Pacer {
        Pacer::times(self.samples, self.interval).with_jitter()
    }

    /// Whether `seen` samples are all, the latest of them taken `elapsed_ns` after the first. Where samples take longer
    /// than the interval, the time that was asked for counts, and not their number.
    fn is_over(&self, seen: u32, elapsed_ns: u64) -> bool {
        let length = self.interval.saturating_mul(self.samples.saturating_sub(1));
        let is_enough = usize::try_from(seen).is_ok_and(|seen| seen >= LEAST_SAMPLES);
        seen >= self.samples || (is_enough && Duration::from_nanos(elapsed_ns) >= length)
    }
}

/// What was seen, but for the heap.
struct Seen<'a> {
    judge: Judge<'a>,
    judged: Judged,
}

impl Seen<'_> {
    fn done(self, heap_problem: Option<String>) -> Judged {
        Judged { verdicts: self.judge.verdicts(), heap_problem, ..self.judged }
    }
}

/// Reads the heap for the rule that takes it, once, after all else. Gives why it could not be read, where what
/// else was seen can be judged all the same.
fn look_for_leaks(
    judge: &mut Judge<'_>,
    given: &Input,
    rules: &Rules,
    sources: &dyn Sources,
    pool: &mut SymbolPool,
    on_progress: &mut dyn FnMut(Walking),
) -> Result<Option<String>, Failure> {
    if !rules.take_the_heap() {
        return Ok(None);
    }
    let Some((wanted, freeze)) = given.heap() else {
        return Ok(Some("--no-leaks reads the heap: give a file, not standard input".to_owned()));
    };
    match sources.leaks(&wanted, freeze, on_progress) {
        Ok((snapshot, leaks)) => {
            let census = Census::of_snapshot(&snapshot, given.name(), pool);
            judge.look_for_leaks(&census, Some(&leaks), pool);
            Ok(None)
        }
        // As if it had ended earlier.
        Err(failure) if failure.kind() == Some(ErrorKind::Gone) => Err(failure.into()),
        Err(failure) => Ok(Some(format!("--no-leaks: {}", Failure::from(failure).message()))),
    }
}

/// What was seen.
struct Judged {
    latest: Census,
    /// The first sample of a watch that lacks something.
    incomplete: Option<Census>,
    /// For how long the program had run at the first snapshot, ns.
    first_uptime_ns: Option<u64>,
    samples: usize,
    /// Samples that could not be taken in time.
    missed: u32,
    watched_ns: u64,
    verdicts: Vec<Verdict>,
    /// Why the heap could not be read.
    heap_problem: Option<String>,
}

impl Judged {
    /// One snapshot, not judged yet.
    fn of(latest: Census) -> Self {
        Self {
            latest,
            incomplete: None,
            first_uptime_ns: None,
            samples: 1,
            missed: 0,
            watched_ns: 0,
            verdicts: Vec::new(),
            heap_problem: None,
        }
    }
}

fn judge<'a>(
    arguments: &CheckArgs,
    watch: Option<&Watch>,
    rules: &'a Rules,
    baseline: Option<&Census>,
    sources: &dyn Sources,
    pool: &mut SymbolPool,
) -> Result<Seen<'a>, Failure> {
    let given = arguments.given();
    let (Some(watch), Input::Process(wanted, options)) = (watch, &given) else {
        let latest = given.census(sources, pool)?;
        check_baseline(&latest, baseline, arguments.force)?;
        let mut judge = Judge::new(rules, Level::of(baseline.into_iter().chain([&latest])));
        judge.look(&latest, baseline, pool);
        let first_uptime_ns = latest.program.uptime_ns;
        return Ok(Seen { judge, judged: Judged { first_uptime_ns, ..Judged::of(latest) } });
    };
    let source = Repeated::new(sources.open(wanted)?, *options);
    let mut heap = rules.watch_the_heap().then(|| sources.heap(wanted)).transpose()?;
    let mut judge = Judge::new(rules, Level::of(baseline));
    let (mut first_at, mut began_ns, mut first_uptime_ns, mut incomplete, mut seen) = (None, None, None, None, 0);
    // What fails must not rest on stacks of an earlier sample.
    let (names, level) = (Mutex::new(pool), Level::of(baseline));
    let fails = |observed: &Observed| {
        let mut pool = names.lock().unwrap_or_else(PoisonError::into_inner);
        let census = Census::of_index(&observed.index(), name_of(wanted), &mut pool);
        let mut alone = Judge::new(rules, level);
        alone.look(&census, baseline, &mut pool);
        alone.verdicts().iter().any(Verdict::fails)
    };
    let mut sampler = Sampler::new(Box::new(source)).with_doubts(fails);
    let streamed = sampler.stream(&mut watch.pacer(), |sample| {
        let mut pool = names.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = &mut **pool;
        let census = Census::of_index(&sample.observed.index(), name_of(wanted), pool);
        if first_at.is_none() {
            if let Err(failure) = check_baseline(&census, baseline, arguments.force) {
                return ControlFlow::Break(Err(failure));
            }
            first_uptime_ns = census.program.uptime_ns;
        }
        first_at.get_or_insert(census.captured_at_unix_ns);
        judge.look(&census, baseline, pool);
        match heap.as_mut().map(|heap| heap.read()).transpose() {
            Ok(reading) => reading.iter().for_each(|reading| judge.look_at_heap(reading, pool)),
            Err(failure) => return ControlFlow::Break(Err(failure.into())),
        }
        if incomplete.is_none() && !is_whole(&census) {
            incomplete = Some(census.clone());
        }
        seen += 1;
        let now_ns = sample.observed.snapshot().monotonic_ns;
        let elapsed_ns = now_ns.saturating_sub(*began_ns.get_or_insert(now_ns));
        if watch.is_over(seen, elapsed_ns) { ControlFlow::Break(Ok(census)) } else { ControlFlow::Continue(()) }
    });
    let latest = streamed.map_err(|error| ended_early(&error.into(), seen, watch.samples))??;
    let watched_ns = latest.captured_at_unix_ns.saturating_sub(first_at.unwrap_or_default());
    let samples = usize::try_from(seen).unwrap_or(usize::MAX);
    let missed = watch.samples.saturating_sub(seen);
    let judged = Judged { incomplete, first_uptime_ns, samples, missed, watched_ns, ..Judged::of(latest) };
    Ok(Seen { judge, judged })
}

fn ended_early(failure: &Failure, samples: u32, of: u32) -> Failure {
    let message = format!("{}\n{samples} of {of} samples were taken; nothing was judged", failure.message());
    Failure::new(failure.exit(), message)
}

fn check_baseline(census: &Census, baseline: Option<&Census>, force: bool) -> Result<(), Failure> {
    let Some(baseline) = baseline else { return Ok(()) };
    if baseline.relation(census).same_program != Some(false) || force {
        return Ok(());
    }
    let name = |census: &Census| {
        let program = &census.program;
        let name = program.module.as_deref().unwrap_or(program.name());
        format!("{} of {name}", census.name)
    };
    let message = format!(
        "the baseline is another program's: {}, and what is checked is {}\n--force compares them all the same",
        name(baseline),
        name(census)
    );
    Err(Failure::new(Exit::Error, message))
}

/// What a snapshot lacks.
pub(super) fn limitations(census: &Census) -> Vec<String> {
    let mut notes = Vec::new();
    if census.is_partial() {
        let listed = u64::try_from(census.members.len()).unwrap_or(u64::MAX);
        notes.push(format!("{} lists {} of {} goroutines", census.name, count(listed), count(census.total)));
    }
    if !census.complete {
        notes.push(format!("{} is incomplete: some of it could not be read", census.name));
    }
    if !census.has_stacks {
        notes.push(format!("{} has no stacks: goroutines are grouped, and functions searched, by place", census.name));
    }
    notes
}

/// A program that has run for less than so many watches when one begins may still warm up.
const WARM_UP_WATCHES: u64 = 10;

/// What must be known to judge the verdicts.
fn notes(judged: &Judged, baseline: Option<&Census>) -> Vec<String> {
    let mut notes = Vec::new();
    let latest = &judged.latest;
    if latest.stopped {
        notes.push(
            "the program is stopped: every goroutine waits until it is continued (SIGCONT, or its debugger)".to_owned(),
        );
    }
    if let Some(baseline) = baseline {
        let relation = baseline.relation(latest);
        match (relation.same_program, relation.same_build) {
            (Some(false), _) => notes.push("the baseline is another program's".to_owned()),
            (_, Some(false)) => notes.push("the baseline is another build's".to_owned()),
            (None, None) => notes.push("whether the baseline is of the same program is not known".to_owned()),
            _ => {}
        }
    }
    notes.extend(baseline.into_iter().chain([latest]).flat_map(limitations));
    notes.extend(judged.heap_problem.clone());
    if judged.missed > 0 {
        let (missed, of) = (u64::from(judged.missed), judged.samples as u64 + u64::from(judged.missed));
        notes.push(format!(
            "{} of {} samples were left out, since taking them took longer than the interval",
            count(missed),
            count(of)
        ));
    }
    let grows = |verdict: &Verdict| {
        let doubt = verdict.fails() || verdict.reason() == Some(Reason::Rising);
        doubt && matches!(verdict.rule, Rule::SteadyGrowth(_))
    };
    if let Some(uptime) = judged.first_uptime_ns
        && uptime < judged.watched_ns.saturating_mul(WARM_UP_WATCHES)
        && judged.verdicts.iter().any(grows)
    {
        notes.push(format!(
            "the program had run for {} when the watch began: pools and caches that still fill look like a leak; if in \
             doubt, watch later, or for longer than that takes",
            duration(uptime)
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::Watch;
    use std::time::Duration;

    #[test]
    fn samples_are_spread_and_end_on_time() {
        let watch = Watch::new(30_000_000_000, None).expect("it is long enough");
        assert_eq!((watch.samples, watch.interval), (31, Duration::from_secs(1)));
        let mut pacer = watch.pacer();
        let mut due = || {
            let due = pacer.due();
            pacer.begin(due);
            due
        };
        let due: Vec<Duration> = (0..31).map(|_| due()).collect();
        assert!(due.is_sorted() && due[0].is_zero() && due[30] == Duration::from_secs(30), "{due:?}");
        let late = |at: u32| due[at as usize].saturating_sub(Duration::from_secs(at.into()));
        assert!((1..30).any(|at| late(at) > Duration::from_millis(400)), "{due:?}");
    }

    /// Which matters to a script that waits for it.
    #[test]
    fn a_watch_ends_on_time_where_samples_are_slow() {
        let watch = Watch::new(30_000_000_000, None).expect("it is long enough");
        assert!(!watch.is_over(30, 29_900_000_000) && watch.is_over(31, 29_900_000_000));
        assert!(!watch.is_over(12, 29_900_000_000) && watch.is_over(12, 30_000_000_000));
        assert!(!watch.is_over(7, 60_000_000_000) && watch.is_over(8, 60_000_000_000));
    }

    #[test]
    fn a_watch_must_be_long_enough() {
        let error = Watch::new(5_000_000_000, Some(1_000_000_000)).expect_err("6 samples");
        assert!(error.message().contains("gives 6 samples; growth needs at least 8"), "{error:?}");
        assert_eq!(Watch::new(1_000_000_000, None).expect("100 ms apart").samples, 11);
        assert!(Watch::new(u64::MAX, Some(1)).is_err());
    }
}
