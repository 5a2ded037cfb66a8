//! Rules, applied to every snapshot of every Go program that the command is or starts.
//!
//! Each program is judged by itself, but for functions that are required: it is enough that one of
//! the programs has them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::analysis::Census;
use crate::analysis::census::Identity;
use crate::analysis::check::{Judge, Level, Reason, Rule, Rules, Verdict};
use crate::analysis::series::Watching;
use crate::analysis::series::growth::LEAST_SAMPLES;
use crate::commands::Global;
use crate::commands::check::limitations;
use crate::commands::diff::is_whole;
use crate::commands::streams::Streams;
use crate::heap::Leaks;
use crate::model::{HeapReading, Snapshot, SymbolPool};
use crate::report::check::{Options, Subject, github, text};
use crate::report::clean::clean;
use crate::report::text::TextStyle;
use crate::report::units::{counted, duration};

/// Programs that are judged; a build starts thousands of compilers.
const MOST_PROGRAMS: usize = 1_000;

/// Programs that are named one by one.
const MOST_NAMED: usize = 20;

/// Who judges what.
#[derive(Debug)]
pub(super) struct Judges<'a> {
    rules: &'a Rules,
    /// Between captures, ns; `None` where only signals ask for them.
    interval_ns: Option<u64>,
    programs: Vec<Program<'a>>,
    left_out: bool,
    /// Whether a process that runs could not be read when a capture was due.
    unread: bool,
}

#[derive(Debug)]
struct Program<'a> {
    judge: Judge<'a>,
    pool: SymbolPool,
    first_unix_ns: u64,
    /// What growth is measured from.
    first: Option<Census>,
    latest: Census,
    samples: usize,
    captures: usize,
    /// How often its heap was read, or was to be.
    heaps: usize,
    /// Measures its waits; forgotten when it has ended.
    watching: Watching,
    /// When it was there still.
    alive_unix_ns: u64,
    /// Whether a snapshot was incomplete.
    incomplete: bool,
}

/// Why a program is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// It has only just been started: growth is not measured from there.
    Start,
    /// A capture is due.
    Capture,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether a rule failed.
    pub(super) failed: bool,
    /// Whether a rule could not be judged.
    pub(super) unjudged: bool,
}

impl<'a> Judges<'a> {
    pub(super) fn new(rules: &'a Rules, interval_ns: Option<u64>) -> Self {
        Self { rules, interval_ns, programs: Vec::new(), left_out: false, unread: false }
    }

    /// A process that runs, and may be a Go program, could not be read when a capture was due.
    pub(super) fn miss(&mut self) {
        self.unread = true;
    }

    /// These processes are there at `now`.
    pub(super) fn see(&mut self, pids: impl Iterator<Item = i32>, now: SystemTime) {
        let now = unix_ns(now);
        for pid in pids {
            if let Some(program) = self.programs.iter_mut().rfind(|program| program.latest.program.pid == Some(pid)) {
                program.alive_unix_ns = now;
            }
        }
        // The last snapshot of one that has ended is of no use any more.
        self.programs.iter_mut().filter(|program| program.alive_unix_ns != now).for_each(|p| p.watching.reset());
    }

    /// By what it is judged.
    pub(super) fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// Judges a snapshot. Growth is measured from the first capture of the same process to later ones.
    pub(super) fn look(&mut self, snapshot: Snapshot, occasion: Occasion) {
        let is_capture = occasion == Occasion::Capture;
        if let Some(program) = self.programs.iter_mut().rfind(|program| is_same(&program.latest, &snapshot)) {
            program.judge(snapshot, is_capture);
            return;
        }
        if self.programs.len() >= MOST_PROGRAMS {
            self.left_out = true;
            return;
        }
        let mut program = Program {
            judge: Judge::new(self.rules, Level::Stacks),
            pool: SymbolPool::default(),
            first_unix_ns: snapshot.captured_at_unix_ns,
            first: None,
            latest: Census::default(),
            samples: 0,
            captures: 0,
            heaps: 0,
            watching: Watching::default(),
            alive_unix_ns: 0,
            incomplete: false,
        };
        program.judge(snapshot, is_capture);
        self.programs.push(program);
    }

    /// Whether a rule takes a reading of the heap with each capture.
    pub(super) fn watch_the_heap(&self) -> bool {
        self.rules.watch_the_heap()
    }

    /// Adds a reading of the heap of a program, which was captured before.
    pub(super) fn look_at_heap(&mut self, reading: &HeapReading) {
        if let Some(program) = self.programs.iter_mut().rfind(|program| is_same(&program.latest, &reading.snapshot)) {
            program.judge.look_at_heap(reading, &mut program.pool);
        }
    }

    /// Whether a rule takes the heap.
    pub(super) fn take_the_heap(&self) -> bool {
        self.rules.take_the_heap()
    }

    /// Judges what was found in the heap of a program, whose snapshot was taken afterwards. `None` says that the
    /// heap of the one with that pid could not be read.
    pub(super) fn look_for_leaks(&mut self, pid: i32, found: Option<(&Snapshot, &Leaks)>) {
        let of_pid = |program: &&mut Program<'_>| match found {
            Some((snapshot, _)) => is_same(&program.latest, snapshot),
            None => program.latest.program.pid == Some(pid),
        };
        // One that is not judged at all has no judge for this either.
        let Some(program) = self.programs.iter_mut().rfind(of_pid) else { return };
        program.heaps += 1;
        let (leaks, census) = match found {
            Some((snapshot, leaks)) => {
                (Some(leaks), Census::of_snapshot(snapshot, program.latest.name.clone(), &mut program.pool))
            }
            None => (None, Census::default()),
        };
        program.judge.look_for_leaks(&census, leaks, &mut program.pool);
    }

    /// Tells what failed and what was judged, on standard error: the other stream is the command's.
    /// The command ended at `ended`.
    pub(super) fn tell(self, streams: &mut Streams<'_>, global: &Global, ended: SystemTime) -> Outcome {
        let mut outcome = Outcome { failed: false, unjudged: self.left_out || self.unread || self.programs.is_empty() };
        if self.programs.is_empty() {
            streams.note("no rule was judged: no Go program was read before the command had ended");
        }
        if self.left_out {
            streams.note(&format!("only the first {MOST_PROGRAMS} Go programs were judged"));
        }
        let mut judged: Vec<Judged> = self.programs.into_iter().map(Judged::from).collect();
        let required = required(&judged);
        let mut missed = BTreeSet::new();
        for program in &mut judged {
            program.verdicts.retain(|verdict| match pattern(verdict) {
                // What no program has is missing once, and not in each.
                Some(pattern) if verdict.fails() => !required.contains(pattern) && missed.insert(pattern.to_owned()),
                Some(pattern) => verdict.holds() || !required.contains(pattern),
                None => true,
            });
        }
        if self.rules.rules.iter().any(|rule| matches!(rule, Rule::MaxGrowth(_))) {
            outcome.unjudged |= tell_growth(&judged, self.interval_ns, streams, global.quiet);
        }
        if self.rules.watch_the_heap() {
            outcome.unjudged |= tell_heap_growth(&mut judged, streams, global.quiet);
        }
        if self.rules.take_the_heap() {
            outcome.unjudged |= tell_leaks(&mut judged, self.interval_ns, streams, global.quiet);
        }
        for program in &mut judged {
            // Reported already.
            program.verdicts.retain(|verdict| verdict.reason() != Some(Reason::ReadOnce));
        }
        if global.strict {
            let incomplete: Vec<&Judged> = judged.iter().filter(|program| program.incomplete).collect();
            outcome.unjudged |= !incomplete.is_empty();
            name_some(&incomplete, streams, |program| format!("a snapshot of {program} is incomplete (--strict)"));
        }
        let mut held = Vec::new();
        for program in &judged {
            match program.tell(streams) {
                Told::Failed => outcome.failed = true,
                Told::NotJudged => outcome.unjudged = true,
                Told::Held => held.push(program),
            }
        }
        if !global.quiet {
            name_judged(&held, streams, ended);
        }
        outcome
    }
}

impl Program<'_> {
    /// Judges the next snapshot.
    fn judge(&mut self, snapshot: Snapshot, is_capture: bool) {
        let observed = self.watching.observe(snapshot);
        let name = format!("pid {}", observed.snapshot().target.pid);
        self.latest = Census::of_index(&observed.index(), name, &mut self.pool);
        let latest = &self.latest;
        self.samples += 1;
        self.captures += usize::from(is_capture);
        self.alive_unix_ns = self.alive_unix_ns.max(latest.captured_at_unix_ns);
        self.incomplete |= !is_whole(latest);
        self.judge.look(latest, self.first.as_ref().filter(|_| is_capture), &mut self.pool);
        if is_capture && self.first.is_none() {
            self.first = Some(latest.clone());
        }
    }
}

/// Says of which programs the growth of the heap is not known, where that of another one is: short-lived helpers of the
/// command are no reason to doubt it. True if it is known of none.
fn tell_heap_growth(judged: &mut [Judged], streams: &mut Streams<'_>, quiet: bool) -> bool {
    let of_heap = |verdict: &&Verdict| matches!(verdict.rule, Rule::MaxHeapGrowth(_));
    let too_few = |program: &Judged| {
        program.captures < LEAST_SAMPLES
            && program
                .verdicts
                .iter()
                .filter(of_heap)
                .any(|verdict| matches!(verdict.reason(), Some(Reason::TooFewCycles { .. } | Reason::HeapNotRead)))
    };
    if judged.is_empty() {
        return false;
    }
    if judged.iter().all(too_few) {
        streams.note(&format!(
            "--max-heap-growth was not judged: no program was captured {LEAST_SAMPLES} times in as many cycles of its \
             collector"
        ));
    }
    let (short, long): (Vec<&mut Judged>, Vec<&mut Judged>) = judged.iter_mut().partition(|program| too_few(program));
    let none = long.is_empty();
    for program in short {
        program.verdicts.retain(|verdict| !matches!(verdict.rule, Rule::MaxHeapGrowth(_)));
        if !quiet && !none {
            name_some(&[&*program], streams, |program| {
                format!("{program} was captured less than {LEAST_SAMPLES} times: growth of its heap was not judged")
            });
        }
    }
    none
}

/// Says of which programs the heap was never read, since that is done at captures only. True if one of them lived
/// for longer than an interval, or it was read of none.
fn tell_leaks(judged: &mut [Judged], interval_ns: Option<u64>, streams: &mut Streams<'_>, quiet: bool) -> bool {
    if judged.is_empty() {
        return false;
    }
    for program in judged.iter_mut().filter(|program| program.heaps == 0) {
        program.verdicts.retain(|verdict| !matches!(verdict.rule, Rule::NoLeaks));
    }
    if judged.iter().all(|program| program.heaps == 0) {
        streams.note("--no-leaks was not judged: no program lived until its heap was to be read, at a capture");
        return true;
    }
    let lived_long = |program: &&Judged| interval_ns.is_none_or(|interval| program.lived_ns > interval);
    let (long, short): (Vec<&Judged>, Vec<&Judged>) =
        judged.iter().filter(|program| program.heaps == 0).partition(lived_long);
    name_some(&long, streams, |program| format!("--no-leaks was not judged for {program}: its heap was never read"));
    if !quiet {
        name_some(&short, streams, |program| {
            format!("{program} lived for less than --capture-every: leaks were not looked for")
        });
    }
    !long.is_empty()
}

/// Says which programs were not captured twice, so that their growth is not known. True if one of them lived
/// for longer than an interval, or none was: short-lived helpers of the command are no reason to doubt the
/// others.
fn tell_growth(judged: &[Judged], interval_ns: Option<u64>, streams: &mut Streams<'_>, quiet: bool) -> bool {
    if judged.is_empty() {
        return false;
    }
    if judged.iter().all(|program| program.captures < 2) {
        streams.note("--max-growth was not judged: no program was captured twice");
        return true;
    }
    let lived_long = |program: &&Judged| interval_ns.is_none_or(|interval| program.lived_ns > interval);
    let (long, short): (Vec<&Judged>, Vec<&Judged>) =
        judged.iter().filter(|program| program.captures < 2).partition(lived_long);
    name_some(&long, streams, |program| {
        format!("--max-growth was not judged for {program}: it was not captured twice")
    });
    if !quiet {
        let once: Vec<&Judged> = short.into_iter().filter(|program| program.captures == 1).collect();
        name_some(&once, streams, |program| {
            format!("{program} lived for less than --capture-every: it was captured once")
        });
    }
    !long.is_empty()
}

/// A line for each of the first programs.
fn name_some(programs: &[&Judged], streams: &mut Streams<'_>, line: impl Fn(&str) -> String) {
    for program in programs.iter().take(MOST_NAMED) {
        let name = clean(program.latest.program.name());
        streams.note(&line(&format!("{} ({name})", program.latest.name)));
    }
    if let Some(more) = programs.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        streams.note(&line(&format!("{more} more")));
    }
}

fn unix_ns(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Lists the programs whose rules passed, so that one that was never seen is noticed.
fn name_judged(held: &[&Judged], streams: &mut Streams<'_>, ended: SystemTime) {
    let held: Vec<&&Judged> = held.iter().filter(|program| !program.verdicts.is_empty()).collect();
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    if held.len() > MOST_NAMED {
        let mut programs: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for program in &held {
            let (processes, readings) = programs.entry(program.latest.program.name()).or_default();
            *processes += 1;
            *readings += number(program.samples);
        }
        for (name, (processes, readings)) in programs {
            let readings = counted(readings, "snapshot", "snapshots");
            let processes = counted(processes, "process", "processes");
            streams.note(&format!("all rules passed in {readings} of {processes} of {}", clean(name)));
        }
        return;
    }
    for program in held {
        let rules = counted(number(program.verdicts.len()), "rule passed", "rules passed");
        let times = counted(number(program.samples), "snapshot", "snapshots");
        let name = clean(program.latest.program.name());
        let left = unix_ns(ended).saturating_sub(program.latest.captured_at_unix_ns);
        let last = format!("the last {} before the command ended", duration(left));
        streams.note(&format!("{rules} in {times} of {} ({name}), {last}", program.latest.name));
    }
}

/// Patterns of the functions that some program has.
fn required(judged: &[Judged]) -> BTreeSet<String> {
    let verdicts = judged.iter().flat_map(|program| &program.verdicts);
    verdicts.filter(|verdict| verdict.holds()).filter_map(pattern).map(str::to_owned).collect()
}

fn pattern(verdict: &Verdict) -> Option<&str> {
    match &verdict.rule {
        Rule::RequireFunction(pattern) => Some(pattern.as_str()),
        _ => None,
    }
}

/// Whether a snapshot is of the process that was read before. One that executed another program is
/// another one.
fn is_same(before: &Census, now: &Snapshot) -> bool {
    let target = &now.target;
    let program = Identity {
        pid: Some(target.pid),
        build_id: target.build_id.clone(),
        uptime_ns: target.uptime_ns,
        ..Identity::default()
    };
    let now = Census { program, captured_at_unix_ns: now.captured_at_unix_ns, ..Census::default() };
    before.program.pid == now.program.pid && before.relation(&now).same_process != Some(false)
}

struct Judged {
    verdicts: Vec<Verdict>,
    pool: SymbolPool,
    first_unix_ns: u64,
    latest: Census,
    samples: usize,
    captures: usize,
    heaps: usize,
    /// For how long it lived at least, ns.
    lived_ns: u64,
    incomplete: bool,
}

impl From<Program<'_>> for Judged {
    fn from(program: Program<'_>) -> Self {
        let read_at = program.latest.captured_at_unix_ns;
        let began = program.latest.program.uptime_ns.map_or(program.first_unix_ns, |ns| read_at.saturating_sub(ns));
        Self {
            captures: program.captures,
            heaps: program.heaps,
            lived_ns: program.alive_unix_ns.saturating_sub(began),
            incomplete: program.incomplete,
            verdicts: program.judge.verdicts(),
            pool: program.pool,
            first_unix_ns: program.first_unix_ns,
            latest: program.latest,
            samples: program.samples,
        }
    }
}

/// What came of the rules of one program.
enum Told {
    Failed,
    NotJudged,
    Held,
}

impl Judged {
    /// Writes which rules failed or could not be judged.
    fn tell(&self, streams: &mut Streams<'_>) -> Told {
        let notes = limitations(&self.latest);
        let subject = Subject {
            name: &self.latest.name,
            census: Some(&self.latest),
            baseline: None,
            samples: self.samples,
            watched_ns: self.latest.captured_at_unix_ns.saturating_sub(self.first_unix_ns),
            verdicts: &self.verdicts,
            pool: &self.pool,
            notes: &notes,
            error: None,
        };
        let told = match (subject.failed(), subject.not_judged()) {
            (0, 0) => return Told::Held,
            (0, _) => Told::NotJudged,
            _ => Told::Failed,
        };
        let options = Options { style: TextStyle { width: None, colour: streams.err_colour() }, system: false };
        // Nothing more can be done when stderr is closed.
        let _ = text(&mut *streams.err, &subject, &options);
        if streams.environment.github {
            let _ = github(&mut *streams.err, &subject, streams.environment.workspace.as_deref());
        }
        told
    }
}
