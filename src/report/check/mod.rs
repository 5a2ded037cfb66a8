//! Which rules passed, which failed, and which could not be judged: as text, JSON, JUnit XML and
//! annotations of GitHub Actions.

mod github;
mod heap;
mod junit;
#[cfg(test)]
mod tests;
mod text;

use std::io::{self, Write};

use schemars::JsonSchema;
use serde::Serialize;

pub use github::github;
#[cfg(feature = "cli")]
pub(crate) use heap::{cannot_have_grown, rate_text, signed, too_few_cycles};
pub use junit::{Origin, junit};
pub use text::text;

use super::findings;
use super::json::{SCHEMA_VERSION, schema_of, to_writer};
use super::members::{Example, Side, Waits, Words};
use super::text::TextStyle;
use super::units::{count, counted, duration};
use crate::analysis::census::Census;
use crate::analysis::check::{Offender, Outcome, Reason, Rule, Verdict};
use crate::analysis::findings::{DEADLOCK, Finding};
use crate::analysis::series::growth::{self, CONFIDENCE, LEAST_SAMPLES};
use crate::heap::Grade;
use crate::model::SymbolPool;

/// Groups of offenders shown in text, JUnit and annotations.
const OFFENDERS: usize = 10;

/// A check and what it was of.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What people call it: `pid 4242`, or a file's name.
    pub name: &'a str,
    /// What was judged; of a watch, the latest. `None` where it could not be read.
    pub census: Option<&'a Census>,
    /// What growth was measured from.
    pub baseline: Option<&'a Census>,
    /// How many snapshots were judged.
    pub samples: usize,
    /// From the first of them to the last, ns.
    pub watched_ns: u64,
    /// What came of it.
    pub verdicts: &'a [Verdict],
    /// The names in all of it.
    pub pool: &'a SymbolPool,
    /// What must be known to judge the rest, as sentences.
    pub notes: &'a [String],
    /// Why it could not be read, or not to the end; then no rule was judged.
    pub error: Option<&'a str>,
}

/// How much to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Width and colour.
    pub style: TextStyle,
    /// Whether stacks show the runtime's own frames.
    pub system: bool,
}

impl<'a> Subject<'a> {
    /// Rules that failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.fails()).count()
    }

    /// Rules that could not be judged.
    #[must_use]
    pub fn not_judged(&self) -> usize {
        self.verdicts.iter().filter(|verdict| verdict.reason().is_some()).count()
    }

    /// What came of all of it, as one word: an open enumeration.
    fn outcome(&self) -> &'static str {
        match (self.error, self.failed(), self.not_judged()) {
            (Some(_), _, _) => "error",
            (None, 1.., _) => "failed",
            (None, 0, 1..) => "not_judged",
            (None, 0, 0) => "passed",
        }
    }

    fn words(&self, system: bool) -> Words<'a> {
        Words::new(self.pool, self.census.map_or("", |census| &census.program.go_version), system)
    }

    /// Whether waits count the time that the program is stopped.
    fn stopped(&self) -> bool {
        self.census.is_some_and(|census| census.stopped)
    }

    /// `3 rules passed`, `1 of 3 rules failed`, `1 rule passed, 2 were not judged`.
    fn headline(&self) -> String {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let rules = number(self.verdicts.len());
        let (failed, unknown) = (number(self.failed()), number(self.not_judged()));
        let were = |count: u64| if count == 1 { "was" } else { "were" };
        match (failed, unknown) {
            (0, 0) => counted(rules, "rule passed", "rules passed"),
            (0, _) if unknown == rules => format!("{} {} not judged", counted(rules, "rule", "rules"), were(rules)),
            (0, _) => {
                let passed = counted(rules - unknown, "rule passed", "rules passed");
                format!("{passed}, {unknown} {} not judged", were(unknown))
            }
            (_, 0) => format!("{failed} of {} failed", counted(rules, "rule", "rules")),
            _ => format!(
                "{failed} of {} failed, {unknown} {} not judged",
                counted(rules, "rule", "rules"),
                were(unknown)
            ),
        }
    }
}

/// A verdict on one line: the rule as it is typed, and what was found.
#[must_use]
pub fn summary(verdict: &Verdict) -> String {
    format!("{}: {}", super::clean::clean(&typed(&verdict.rule)), outcome(verdict))
}

/// The rule as it is typed: `--max-goroutines 500`; steady growth has no option of its own.
fn typed(rule: &Rule) -> String {
    let option = |value: String| format!("--{} {value}", rule.name());
    match rule {
        Rule::MaxGoroutines(most) | Rule::MaxGroup(most) => option(most.to_string()),
        Rule::MaxGrowth(allowed) => option(allowed.to_string()),
        Rule::SteadyGrowth(_) => "steady growth".to_owned(),
        Rule::MaxWait(ns) => option(duration(*ns).replace(' ', "")),
        Rule::ForbidFunction(pattern) | Rule::RequireFunction(pattern) => option(format!("'{pattern}'")),
        Rule::MaxHeapGrowth(allowed) => option(allowed.to_string()),
        Rule::NoFindings | Rule::NoLeaks => format!("--{}", rule.name()),
    }
}

/// Why a rule could not be judged, and what to do.
fn reason_text(reason: Reason, verdict: &Verdict) -> String {
    if let Some(text) = heap::reason_text(reason, verdict) {
        return text;
    }
    match reason {
        Reason::Unread => "the program could not be read until the end of the check".to_owned(),
        Reason::ReadOnce => "there is one snapshot; growth needs two".to_owned(),
        Reason::TooFewSamples { samples } => {
            let taken = counted(u64::try_from(samples).unwrap_or(u64::MAX), "sample was taken", "samples were taken");
            format!("{taken}; growth needs {LEAST_SAMPLES}")
        }
        Reason::TooShort { span_s } => format!(
            "{span_s:.1} s is too short to detect a leak of less than {:.0} goroutines a second; watch for 2s or longer",
            growth::LEAST_GROWTH / span_s.max(0.001)
        ),
        Reason::Rising => {
            let who = if verdict.offenders.iter().all(|offender| offender.example.is_none()) {
                "the total rises".to_owned()
            } else {
                let groups = u64::try_from(verdict.offenders.len()).unwrap_or(u64::MAX);
                counted(groups, "group rises", "groups rise")
            };
            format!("{who}, but too little or too unevenly to call it a leak; watch for longer")
        }
        Reason::TooNoisy { noticed } => {
            let what = noticed.map_or_else(|| "growth".to_owned(), |least| format!("growth by less than {least:.0}"));
            format!(
                "the number of goroutines fluctuates so much that {what} would go unnoticed; take more samples \
                 (--interval), watch for longer, or allow that much (--max-growth)"
            )
        }
        Reason::UnknownWaits { goroutines, at_most_ns } => {
            let who = counted(goroutines, "goroutine", "goroutines");
            let bound = match at_most_ns {
                Some(ns) => format!(" ({} at most)", duration(ns)),
                None => String::new(),
            };
            format!("{who} may have waited longer{bound}: the runtime records waits only at garbage collections")
        }
        Reason::UnknownStacks { goroutines } => {
            let stacks = if goroutines == 1 { "its stack" } else { "their stacks" };
            format!("{} running; --freeze shows {stacks}", counted(goroutines, "goroutine was", "goroutines were"))
        }
        Reason::Partial => "the file does not have all goroutines".to_owned(),
        Reason::NoStacks => "the file has no stacks; `gospy stack --json` writes them".to_owned(),
        Reason::Stopped => "the program is stopped, so all its goroutines wait; continue it (SIGCONT)".to_owned(),
        Reason::HeapNotRead => "its heap was not read".to_owned(),
        Reason::TooFewCycles { seen } => {
            format!("{}; watch for longer, or read more often (--interval)", heap::too_few_cycles(seen))
        }
    }
}

/// A stable code for that.
fn reason_code(reason: Reason) -> &'static str {
    match reason {
        Reason::Unread => "unread",
        Reason::ReadOnce => "read_once",
        Reason::TooFewSamples { .. } => "too_few_samples",
        Reason::TooShort { .. } => "too_short",
        Reason::Rising => "rising",
        Reason::TooNoisy { .. } => "too_noisy",
        Reason::UnknownWaits { .. } => "unknown_waits",
        Reason::UnknownStacks { .. } => "unknown_stacks",
        Reason::Partial => "partial",
        Reason::NoStacks => "no_stacks",
        Reason::Stopped => "stopped",
        Reason::HeapNotRead => "heap_not_read",
        Reason::TooFewCycles { .. } => "too_few_cycles",
    }
}

/// What was measured, and by how much that exceeds the limit; or why it could not be judged.
fn outcome(verdict: &Verdict) -> String {
    if let Some(reason) = verdict.reason() {
        return reason_text(reason, verdict);
    }
    let goroutines = |value: f64| counted(value.max(0.0) as u64, "goroutine", "goroutines");
    let (measured, excess) = (verdict.measured, verdict.excess());
    let too_many =
        |what: String, excess: String| if verdict.holds() { what } else { format!("{what}, {excess} too many") };
    match &verdict.rule {
        Rule::MaxGoroutines(_) => too_many(goroutines(measured), count(excess as u64)),
        Rule::MaxGroup(_) => too_many(format!("the largest group has {}", goroutines(measured)), count(excess as u64)),
        Rule::MaxGrowth(_) => {
            let what = format!(
                "{measured:+.0} {} since the baseline",
                if measured.abs() == 1.0 { "goroutine" } else { "goroutines" }
            );
            let percent = if verdict.allowed.fract() == 0.0 { 0 } else { 1 };
            if verdict.holds() { what } else { format!("{what}; {:.percent$} allowed", verdict.allowed) }
        }
        Rule::SteadyGrowth(_) => match verdict.offenders.len() {
            0 => match verdict.noticed {
                Some(noticed) => {
                    format!(
                        "no steady growth; {noticed:.0} goroutines or more during the watch would have been detected"
                    )
                }
                None => "no steady growth".to_owned(),
            },
            1 => {
                let together = verdict.offenders.iter().all(|offender| offender.example.is_none());
                let who = if together { "the total grows steadily" } else { "one group grows steadily" };
                format!("{who}, by {measured:.0} during the watch; {:.0} allowed", verdict.allowed)
            }
            groups => {
                format!(
                    "{groups} groups grow steadily, one by {measured:.0} during the watch; {:.0} allowed",
                    verdict.allowed
                )
            }
        },
        Rule::MaxWait(_) => {
            let longest = format!("the longest known wait is {}", duration(measured as u64));
            let late: u64 = verdict.offenders.iter().map(|offender| offender.count).sum();
            if verdict.holds() {
                longest
            } else {
                format!("{} longer; {longest}", counted(late, "goroutine has waited", "goroutines have waited"))
            }
        }
        Rule::ForbidFunction(_) if verdict.holds() => "no goroutine".to_owned(),
        Rule::ForbidFunction(_) => format!("in {}", goroutines(measured)),
        Rule::RequireFunction(_) if verdict.holds() => format!("in {}", goroutines(measured)),
        Rule::RequireFunction(_) => "no goroutine".to_owned(),
        Rule::NoFindings if verdict.holds() => "none".to_owned(),
        Rule::NoFindings => sentences(&verdict.offenders),
        Rule::NoLeaks => leaks(verdict),
        Rule::MaxHeapGrowth(_) => heap::outcome(verdict),
    }
}

/// How many goroutines are leaked, and how certain that is.
fn leaks(verdict: &Verdict) -> String {
    if verdict.holds() {
        return "none".to_owned();
    }
    let leaked = counted(verdict.measured.max(0.0) as u64, "goroutine is leaked", "goroutines are leaked");
    let deadlocked = verdict.offenders.iter().filter(|o| o.finding.map(Finding::code) == Some(DEADLOCK.code()));
    let deadlocked = match deadlocked.map(|offender| offender.count).sum() {
        0 => String::new(),
        some => format!(", {} of them deadlocked", count(some)),
    };
    match verdict.grade {
        Some(Grade::Confirmed) => {
            format!("{leaked}{deadlocked} (confirmed: found twice, a second apart; --freeze=all proves it)")
        }
        Some(Grade::Certain) => format!("{leaked}{deadlocked} (certain)"),
        None => format!("{leaked}{deadlocked}"),
    }
}

/// What was found, each once. Offenders are in the order of findings.
fn sentences(offenders: &[Offender]) -> String {
    let same = |a: &Offender, b: &Offender| a.finding.map(Finding::code) == b.finding.map(Finding::code);
    let sentences = offenders.chunk_by(same).filter_map(|groups| {
        let first = groups.first()?;
        let all = groups.iter().map(|group| group.count).sum();
        let (id, detail) = (first.ids.first().copied().unwrap_or(0), first.detail.as_deref());
        Some(findings::message(first.finding?, all, id, detail))
    });
    sentences.collect::<Vec<_>>().join("; ")
}

/// One line about a group that broke a rule; `stopped` says that the program was.
fn offender_line(offender: &Offender, words: &Words<'_>, stopped: bool) -> String {
    if let Some(line) = heap::offender_line(offender, words.pool()) {
        return line;
    }
    let mut line = match offender.before {
        Some(before) => format!("{} → {}", count(before), counted(offender.count, "goroutine", "goroutines")),
        None => counted(offender.count, "goroutine", "goroutines"),
    };
    match &offender.example {
        Some(example) => {
            line.push(' ');
            line.push_str(&words.bracket(example, offender.wait, offender.count));
        }
        None if offender.count == 0 => "no goroutine that is known".clone_into(&mut line),
        None => line.push_str(" in all"),
    }
    if stopped && offender.wait.is_some() {
        line.push_str(" (the program is stopped)");
    }
    if let Some(finding) = offender.finding {
        line.push_str(&format!(": {}", finding.code()));
    }
    if let Some(rate) = &offender.rate {
        line.push_str(&format!(
            ": {} a second ({} to {} with {CONFIDENCE} confidence) for {:.0} s",
            per_second(rate.per_second),
            per_second(rate.least_per_second),
            per_second(rate.most_per_second),
            rate.span_s,
        ));
    }
    line
}

fn per_second(rate: f64) -> String {
    let digits = if rate.abs() < 10.0 { 2 } else { 1 };
    format!("{rate:.digits$}")
}

/// What a check found.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "gospy check")]
struct Document<'a> {
    /// Raised only by a change that breaks readers.
    schema_version: u32,
    /// Version of the gospy that wrote this.
    gospy_version: &'static str,
    /// Whether all rules passed. What could not be judged has not passed.
    passed: bool,
    /// passed, failed, not_judged, or error. Open enumeration.
    outcome: &'static str,
    /// Why the target could not be read, or not to the end of the check; null where it could.
    error: Option<&'a str>,
    /// What was judged; of a watch, the latest snapshot. Null where it could not be read.
    target: Option<Side<'a>>,
    /// What growth was measured from.
    baseline: Option<Side<'a>>,
    /// How many snapshots were judged.
    samples: u64,
    /// From the first of them to the last, ns.
    watched_ns: u64,
    /// Every rule.
    rules: Vec<RuleDocument<'a>>,
    /// What must be known to judge the rest.
    notes: &'a [String],
}

/// A rule and whether it passed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Rule")]
struct RuleDocument<'a> {
    /// max-goroutines, max-growth, steady-growth, max-group, max-wait, forbid-function,
    /// require-function, no-findings, no-leaks, max-heap-growth. Open enumeration.
    name: &'static str,
    /// The rule in words.
    rule: String,
    /// Whether it passed. What could not be judged has not passed.
    passed: bool,
    /// passed, failed or not_judged. Open enumeration.
    outcome: &'static str,
    /// Why it could not be judged: unread, read_once, too_few_samples, too_short, rising, too_noisy,
    /// unknown_waits, unknown_stacks, partial, no_stacks, stopped, heap_not_read, too_few_cycles; null where it was
    /// judged. Open enumeration.
    not_judged: Option<&'static str>,
    /// What was found, in words.
    message: String,
    /// What was measured: goroutines, ns for max-wait, or bytes a second for max-heap-growth.
    measured: f64,
    /// What is allowed, likewise.
    allowed: f64,
    /// By how much it failed; 0 when it did not.
    excess: f64,
    /// Of steady growth: how many goroutines more at the end of the watch would have shown as growth; of
    /// max-heap-growth, how many bytes; null where that is not known, and for other rules.
    detectable: Option<f64>,
    /// Of no-leaks: certain, or confirmed (found twice, a second apart); null where it was not judged, and for
    /// other rules.
    grade: Option<&'static str>,
    /// The groups that are to blame, the worst first; the first hundred.
    offenders: Vec<OffenderDocument<'a>>,
}

/// Goroutines that broke a rule, or what of the heap did.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Offender")]
struct OffenderDocument<'a> {
    /// How many; of the heap, bytes.
    count: u64,
    /// How many there were in the baseline, or when the watch began; of the heap, bytes.
    before: Option<u64>,
    /// Their known waits.
    waits: Option<Waits>,
    /// How fast the group grows.
    rate: Option<RateDocument>,
    /// Code of what is wrong with them; null where the rule is not about that. Open enumeration.
    finding: Option<&'static str>,
    /// The first ids.
    ids: Vec<u64>,
    /// One of them; null for all goroutines together, and for the heap.
    example: Option<Example<'a>>,
    /// What of the heap it is; null for goroutines.
    heap: Option<heap::Document<'a>>,
}

/// How fast a group grows, or the heap.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Rate")]
struct RateDocument {
    /// Goroutines, or bytes, per second: the median of the slopes between all pairs of samples.
    per_second: f64,
    /// Low end of its confidence interval (99.99 %).
    least_per_second: f64,
    /// High end of its confidence interval.
    most_per_second: f64,
    /// From the first sample to the last, seconds.
    span_seconds: f64,
}

impl From<growth::Rate> for RateDocument {
    fn from(rate: growth::Rate) -> Self {
        Self {
            per_second: rate.per_second,
            least_per_second: rate.least_per_second,
            most_per_second: rate.most_per_second,
            span_seconds: rate.span_s,
        }
    }
}

/// Offenders of one rule in JSON.
const JSON_OFFENDERS: usize = 100;

/// Writes what was found as one JSON object on one line.
///
/// # Errors
/// Those of `out`.
pub fn json(out: &mut dyn Write, subject: &Subject<'_>) -> io::Result<()> {
    let words = subject.words(true);
    let offender = |offender: &Offender| OffenderDocument {
        count: offender.count,
        before: offender.before,
        waits: offender.wait.map(Waits::from),
        rate: offender.rate.map(RateDocument::from),
        finding: offender.finding.map(Finding::code),
        ids: offender.ids.clone(),
        example: offender.example.as_ref().map(|member| words.example(member)),
        heap: offender.heap.map(|heap| heap::document(heap, subject.pool)),
    };
    let rules = subject.verdicts.iter().map(|verdict| RuleDocument {
        name: verdict.rule.name(),
        rule: typed(&verdict.rule),
        passed: verdict.holds(),
        outcome: match verdict.outcome {
            Outcome::Holds => "passed",
            Outcome::Fails => "failed",
            Outcome::NotJudged(_) => "not_judged",
        },
        not_judged: verdict.reason().map(reason_code),
        message: outcome(verdict),
        measured: verdict.measured,
        allowed: verdict.allowed,
        excess: verdict.excess(),
        detectable: verdict.noticed,
        grade: verdict.grade.map(Grade::name),
        offenders: verdict.offenders.iter().take(JSON_OFFENDERS).map(offender).collect(),
    });
    let document = Document {
        schema_version: SCHEMA_VERSION,
        gospy_version: env!("CARGO_PKG_VERSION"),
        passed: subject.outcome() == "passed",
        outcome: subject.outcome(),
        error: subject.error,
        target: subject.census.map(Side::of),
        baseline: subject.baseline.map(Side::of),
        samples: u64::try_from(subject.samples).unwrap_or(u64::MAX),
        watched_ns: subject.watched_ns,
        rules: rules.collect(),
        notes: subject.notes,
    };
    to_writer(out, &document)?;
    writeln!(out)
}

/// The JSON Schema of what [`json`] writes.
#[must_use]
pub fn schema() -> schemars::Schema {
    schema_of::<Document<'static>>()
}
