//! Rules, judged of every reading of every Go program that the command is or starts.
//!
//! Each program is judged by itself, but for functions that are required: it is enough that one of
//! the programs has them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::analysis::Census;
use crate::analysis::census::Identity;
use crate::analysis::check::{Judge, Level, Reason, Rule, Rules, Verdict};
use crate::commands::check::shortcomings;
use crate::commands::streams::Streams;
use crate::model::{Snapshot, SymbolPool};
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
    programs: Vec<Program<'a>>,
    left_out: bool,
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
    /// Whether a rule does not hold.
    pub(super) failed: bool,
    /// Whether a rule could not be judged.
    pub(super) unjudged: bool,
}

impl<'a> Judges<'a> {
    pub(super) fn new(rules: &'a Rules) -> Self {
        Self { rules, programs: Vec::new(), left_out: false }
    }

    /// Judges a reading. Growth is measured from the first capture of the same process.
    pub(super) fn look(&mut self, snapshot: &Snapshot, occasion: Occasion) {
        let name = format!("pid {}", snapshot.target.pid);
        let of_capture = |census: &Census| (occasion == Occasion::Capture).then(|| census.clone());
        if let Some(program) = self.programs.iter_mut().rfind(|program| is_same(&program.latest, snapshot)) {
            program.latest = Census::of_snapshot(snapshot, name, &mut program.pool);
            program.samples += 1;
            program.judge.look(&program.latest, program.first.as_ref(), &mut program.pool);
            if program.first.is_none() {
                program.first = of_capture(&program.latest);
            }
            return;
        }
        if self.programs.len() >= MOST_PROGRAMS {
            self.left_out = true;
            return;
        }
        let mut pool = SymbolPool::default();
        let latest = Census::of_snapshot(snapshot, name, &mut pool);
        let mut judge = Judge::new(self.rules, Level::Stacks);
        judge.look(&latest, None, &mut pool);
        let (first, first_unix_ns) = (of_capture(&latest), latest.captured_at_unix_ns);
        self.programs.push(Program { judge, pool, first_unix_ns, first, latest, samples: 1 });
    }

    /// Tells what failed and what was judged, on standard error: the other stream is the command's.
    /// The command ended at `ended`.
    pub(super) fn tell(self, streams: &mut Streams<'_>, quiet: bool, ended: SystemTime) -> Outcome {
        let mut outcome = Outcome { failed: false, unjudged: self.left_out || self.programs.is_empty() };
        if self.programs.is_empty() {
            streams.note("no rule was judged: no Go program was read before the command had ended");
        }
        if self.left_out {
            streams.note(&format!("only the first {MOST_PROGRAMS} Go programs were judged"));
        }
        let mut judged: Vec<Judged> = self.programs.into_iter().map(Judged::from).collect();
        let required = required(&judged);
        for program in &mut judged {
            program
                .verdicts
                .retain(|verdict| verdict.holds() || pattern(verdict).is_none_or(|p| !required.contains(p)));
        }
        let read_once = |verdict: &Verdict| verdict.reason() == Some(Reason::ReadOnce);
        let growth = |verdict: &Verdict| matches!(verdict.rule, Rule::MaxGrowth(_)) && !read_once(verdict);
        let is_asked = self.rules.rules.iter().any(|rule| matches!(rule, Rule::MaxGrowth(_)));
        let is_judged = judged.iter().any(|program| program.verdicts.iter().any(growth));
        if is_asked && !is_judged && !judged.is_empty() {
            streams.note("--max-growth was not judged: no program was captured twice");
            outcome.unjudged = true;
        }
        for program in &mut judged {
            // Short-lived helpers of the command are no reason to doubt the others.
            program.verdicts.retain(|verdict| !read_once(verdict));
        }
        let mut held = Vec::new();
        for program in &judged {
            match program.tell(streams) {
                Told::Failed => outcome.failed = true,
                Told::NotJudged => outcome.unjudged = true,
                Told::Held => held.push(program),
            }
        }
        if !quiet {
            name_judged(&held, streams, ended);
        }
        outcome
    }
}

/// Says of which programs all rules hold, so that one that was never seen is missed.
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
            let readings = counted(readings, "reading", "readings");
            let processes = counted(processes, "process", "processes");
            streams.note(&format!("all rules hold in {readings} of {processes} of {}", clean(name)));
        }
        return;
    }
    let ended = ended.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    for program in held {
        let rules = counted(number(program.verdicts.len()), "rule holds", "rules hold");
        let times = counted(number(program.samples), "reading", "readings");
        let name = clean(program.latest.program.name());
        let left = u64::try_from(ended.as_nanos()).unwrap_or(0).saturating_sub(program.latest.captured_at_unix_ns);
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
}

impl From<Program<'_>> for Judged {
    fn from(program: Program<'_>) -> Self {
        Self {
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
        let notes = shortcomings(&self.latest);
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
        // There is nobody left to tell when stderr is closed.
        let _ = text(&mut *streams.err, &subject, &options);
        if streams.environment.github {
            let _ = github(&mut *streams.err, &subject, streams.environment.workspace.as_deref());
        }
        told
    }
}
