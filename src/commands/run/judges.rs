//! Rules, judged of every reading of every Go program that the command is or starts.
//!
//! Each program is judged by itself, but for functions that are required: it is enough that one of
//! the programs has them.

use std::collections::BTreeSet;

use crate::analysis::Census;
use crate::analysis::census::Identity;
use crate::analysis::check::{Judge, Level, Rule, Rules, Verdict};
use crate::commands::check::shortcomings;
use crate::commands::streams::Streams;
use crate::model::{Snapshot, SymbolPool};
use crate::report::check::{Options, Subject, github, text};
use crate::report::text::TextStyle;
use crate::report::units::counted;

/// Programs that are judged; a build starts thousands of compilers.
const MOST_PROGRAMS: usize = 1_000;

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
    first: Census,
    latest: Census,
    samples: usize,
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

    /// Judges a reading. Growth is measured from the first one of the same process.
    pub(super) fn look(&mut self, snapshot: &Snapshot) {
        let name = format!("pid {}", snapshot.target.pid);
        if let Some(program) = self.programs.iter_mut().rfind(|program| is_same(&program.latest, snapshot)) {
            program.latest = Census::of_snapshot(snapshot, name, &mut program.pool);
            program.samples += 1;
            program.judge.look(&program.latest, Some(&program.first), &mut program.pool);
            return;
        }
        if self.programs.len() >= MOST_PROGRAMS {
            self.left_out = true;
            return;
        }
        let mut pool = SymbolPool::default();
        let first = Census::of_snapshot(snapshot, name, &mut pool);
        let mut judge = Judge::new(self.rules, Level::Stacks);
        judge.look(&first, None, &mut pool);
        self.programs.push(Program { judge, pool, latest: first.clone(), first, samples: 1 });
    }

    /// Tells what failed, on standard error: the other stream is the command's.
    pub(super) fn tell(self, streams: &mut Streams<'_>, quiet: bool) -> Outcome {
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
            program.verdicts.retain(|verdict| verdict.holds || pattern(verdict).is_none_or(|p| !required.contains(p)));
        }
        let growth = |verdict: &Verdict| matches!(verdict.rule, Rule::MaxGrowth(_));
        let is_asked = self.rules.rules.iter().any(|rule| matches!(rule, Rule::MaxGrowth(_)));
        let is_judged = judged.iter().any(|program| program.verdicts.iter().any(growth));
        if is_asked && !is_judged && !judged.is_empty() {
            streams.note("--max-growth was not judged: no program was read twice");
            outcome.unjudged = true;
        }
        for program in &judged {
            outcome.failed |= program.tell(streams, quiet);
        }
        outcome
    }
}

/// Patterns of the functions that some program has.
fn required(judged: &[Judged]) -> BTreeSet<String> {
    let verdicts = judged.iter().flat_map(|program| &program.verdicts);
    verdicts.filter(|verdict| verdict.holds).filter_map(pattern).map(str::to_owned).collect()
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
            first_unix_ns: program.first.captured_at_unix_ns,
            latest: program.latest,
            samples: program.samples,
        }
    }
}

impl Judged {
    /// Whether a rule failed.
    fn tell(&self, streams: &mut Streams<'_>, quiet: bool) -> bool {
        let notes = shortcomings(&self.latest);
        let subject = Subject {
            census: &self.latest,
            baseline: None,
            samples: self.samples,
            watched_ns: self.latest.captured_at_unix_ns.saturating_sub(self.first_unix_ns),
            verdicts: &self.verdicts,
            pool: &self.pool,
            notes: &notes,
        };
        if subject.failed() == 0 {
            if !quiet && !self.verdicts.is_empty() {
                let rules = counted(u64::try_from(self.verdicts.len()).unwrap_or(u64::MAX), "rule holds", "rules hold");
                let times = counted(u64::try_from(self.samples).unwrap_or(u64::MAX), "reading", "readings");
                streams.note(&format!("{rules} in {times} of {}", subject.census.name));
            }
            return false;
        }
        let options = Options { style: TextStyle { width: None, colour: streams.err_colour() }, system: false };
        // There is nobody left to tell when stderr is closed.
        let _ = text(&mut *streams.err, &subject, &options);
        if streams.environment.github {
            let _ = github(&mut *streams.err, &subject, streams.environment.workspace.as_deref());
        }
        true
    }
}
