//! Rules that the goroutines of a program must keep, and whether they do.
//!
//! A rule that fails says by how much, and names the groups that are to blame. Rules judge what was
//! seen: a census, one to compare with, or a series of them. Nothing here reads a program or decides
//! what a failure means to the caller.

mod heap;
mod judge;
mod leaks;
mod steady;
#[cfg(test)]
mod tests;

use regex::Regex;

pub use heap::HeapOffender;
pub use judge::{Judge, Level};

use super::WaitRange;
use super::census::{Group, Member};
use super::findings::Finding;
use super::quantity::{parse_bytes, parse_duration};
use crate::analysis::series::growth::Rate;
use crate::heap::Grade;

/// How much growth is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowance {
    /// A number of goroutines.
    Count(u64),
    /// A share of the baseline's goroutines, in percent.
    Percent(f64),
}

impl Allowance {
    /// `100` or `25%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(number) => number.trim().parse().ok().filter(|p: &f64| p.is_finite() && *p >= 0.0).map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        }
    }

    /// How many goroutines that is when there were `before`.
    #[must_use]
    pub fn of(self, before: u64) -> f64 {
        match self {
            Self::Count(count) => count as f64,
            Self::Percent(percent) => before as f64 * percent / 100.0,
        }
    }
}

impl std::fmt::Display for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// How fast a heap may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapRate {
    /// So many bytes …
    bytes: u64,
    /// … in this time, ns; not 0.
    every_ns: u64,
}

impl HeapRate {
    /// `1MiB/m`, `100KiB/s`, `2GiB/24h`, `0`. A time without a number is one of it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "0" {
            return Some(Self { bytes: 0, every_ns: 1_000_000_000 });
        }
        let (bytes, time) = text.split_once('/')?;
        let time = time.trim();
        let alone = time.starts_with(|first: char| first.is_ascii_alphabetic());
        let time = if alone { format!("1{}", time.strip_suffix("in").unwrap_or(time)) } else { time.to_owned() };
        let every_ns = parse_duration(&time).filter(|ns| *ns > 0)?;
        Some(Self { bytes: parse_bytes(bytes.trim())?, every_ns })
    }

    /// Bytes a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.bytes as f64 * 1e9 / self.every_ns as f64
    }
}

impl std::fmt::Display for HeapRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SIZES: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        const TIMES: [(&str, u64); 4] =
            [("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000)];
        if self.bytes == 0 {
            return write!(f, "0");
        }
        let whole = |of: u64, unit: u64| of.is_multiple_of(unit).then_some(of / unit);
        let size = SIZES.iter().find_map(|(name, unit)| Some(format!("{}{name}", whole(self.bytes, *unit)?)));
        let time = TIMES.iter().find_map(|(name, unit)| Some((whole(self.every_ns, *unit)?, name)));
        let time = match time {
            Some((1, name)) => (*name).to_owned(),
            Some((count, name)) => format!("{count}{name}"),
            None => format!("{}ns", self.every_ns),
        };
        write!(f, "{}/{time}", size.unwrap_or_else(|| format!("{}B", self.bytes)))
    }
}

/// A rule.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// At most this many goroutines.
    MaxGoroutines(u64),
    /// At most this many more than in the baseline.
    MaxGrowth(Allowance),
    /// Neither a group nor all of them together grow steadily by more than this while watched.
    SteadyGrowth(Allowance),
    /// At most this many goroutines with one stack.
    MaxGroup(u64),
    /// No goroutine is blocked for longer, ns.
    MaxWait(u64),
    /// No goroutine has such a function on its stack.
    ForbidFunction(Regex),
    /// Some goroutine has such a function on its stack.
    RequireFunction(Regex),
    /// No goroutine has a finding.
    NoFindings,
    /// No goroutine is leaked: nothing that can still run can reach what it waits for. It takes the heap.
    NoLeaks,
    /// What the collector keeps of the heap does not grow steadily by more than this. It takes readings of the heap.
    MaxHeapGrowth(HeapRate),
}

impl Rule {
    /// A stable name: that of the option.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MaxGoroutines(_) => "max-goroutines",
            Self::MaxGrowth(_) => "max-growth",
            Self::SteadyGrowth(_) => "steady-growth",
            Self::MaxGroup(_) => "max-group",
            Self::MaxWait(_) => "max-wait",
            Self::ForbidFunction(_) => "forbid-function",
            Self::RequireFunction(_) => "require-function",
            Self::NoFindings => "no-findings",
            Self::NoLeaks => "no-leaks",
            Self::MaxHeapGrowth(_) => "max-heap-growth",
        }
    }
}

/// All rules, and what is exempt from them.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// In the order of the report.
    pub rules: Vec<Rule>,
    /// Goroutines with a matching function on the stack, or created by one, are left out of all
    /// rules but [`Rule::RequireFunction`].
    pub allow: Vec<Regex>,
    /// Whether the runtime's own goroutines count too.
    pub system: bool,
}

impl Rules {
    /// Whether one of them takes the heap; see [`Judge::look_for_leaks`].
    #[must_use]
    pub fn take_the_heap(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::NoLeaks))
    }

    /// Whether one of them takes a reading of the heap with each snapshot; see [`Judge::look_at_heap`].
    #[must_use]
    pub fn watch_the_heap(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::MaxHeapGrowth(_)))
    }
}

/// Goroutines that broke a rule, by stack; or what of the heap did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Offender {
    /// How many; of the heap, bytes.
    pub count: u64,
    /// How many there were, in the baseline or when the watch began; of the heap, bytes.
    pub before: Option<u64>,
    /// Their known waits.
    pub wait: Option<WaitRange>,
    /// How fast the group grows.
    pub rate: Option<Rate>,
    /// What is wrong with them, where that is the rule.
    pub finding: Option<&'static dyn Finding>,
    /// Further detail about one of them, in the target's own words.
    pub detail: Option<String>,
    /// The first ids.
    pub ids: Vec<u64>,
    /// One of them; `None` for all goroutines together.
    pub example: Option<Member>,
    /// What of the heap it is, where it is not goroutines.
    pub heap: Option<HeapOffender>,
}

impl Offender {
    /// All goroutines of a group.
    fn of(group: &Group) -> Self {
        Self {
            count: group.count,
            wait: group.wait,
            ids: group.ids.iter().map(|id| id.0).collect(),
            example: Some(group.example),
            ..Self::default()
        }
    }
}

/// Why a rule could not be judged.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing was read.
    Unread,
    /// The program was read once, and growth takes two snapshots.
    ReadOnce,
    /// A rate takes more samples.
    TooFewSamples {
        /// How many there were.
        samples: usize,
    },
    /// The time was too short for a leak to show.
    TooShort {
        /// From the first sample to the last, s.
        span_s: f64,
    },
    /// The offenders rise, but by too little, too unevenly or for too short a time to be called steady.
    Rising,
    /// More growth than is allowed could have hidden in the ups and downs of the load.
    TooNoisy {
        /// Less growth over the watch than that could not have been noticed, goroutines or bytes; `None` where
        /// none could.
        noticed: Option<f64>,
    },
    /// Some goroutines may have been blocked for longer than the limit: the runtime only says for how long
    /// at least.
    UnknownWaits {
        /// How many.
        goroutines: u64,
        /// They have been blocked for at most as long, ns; `None` where that is not known either.
        at_most_ns: Option<u64>,
    },
    /// Stacks of goroutines are not known: they were running.
    UnknownStacks {
        /// How many, the runtime's own ones left out.
        goroutines: u64,
    },
    /// Goroutines were left out when the snapshot was written.
    Partial,
    /// The snapshot holds no stacks to look for functions in.
    NoStacks,
    /// The program is stopped: that its goroutines wait means nothing.
    Stopped,
    /// The heap was not read, or could not be.
    HeapNotRead,
    /// The collector ran too rarely to say whether the heap grows.
    TooFewCycles {
        /// Cycles that ended meanwhile, and were seen.
        seen: usize,
    },
}

/// The result of a rule.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It does not hold.
    Fails,
    /// Not judged: that is not a pass.
    NotJudged(Reason),
}

/// The result of a rule, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Which.
    pub rule: Rule,
    /// Whether it holds.
    pub outcome: Outcome,
    /// What was measured, in the rule's own unit: goroutines, ns, or bytes a second.
    pub measured: f64,
    /// What is allowed, likewise.
    pub allowed: f64,
    /// How much growth over the watch would have been noticed, goroutines or bytes; `None` for other rules, and
    /// where that is not known.
    pub noticed: Option<f64>,
    /// All that was allocated over the watch, bytes, where that is so little that the heap cannot have grown by more
    /// than is allowed, however few samples there were; `None` otherwise.
    pub allocated: Option<u64>,
    /// How certain it is that goroutines are leaked, or that none is; `None` for other rules, and where it was not
    /// judged.
    pub grade: Option<Grade>,
    /// What was seen that broke it, the worst first.
    pub offenders: Vec<Offender>,
}

impl Verdict {
    /// The verdict on a rule about which nothing is known.
    #[must_use]
    pub fn not_judged(rule: &Rule, reason: Reason) -> Self {
        let outcome = Outcome::NotJudged(reason);
        let allowed = match rule {
            Rule::MaxGoroutines(most) | Rule::MaxGroup(most) | Rule::MaxWait(most) => *most as f64,
            Rule::MaxGrowth(allowed) | Rule::SteadyGrowth(allowed) => allowed.of(0),
            Rule::RequireFunction(_) => 1.0,
            Rule::ForbidFunction(_) | Rule::NoFindings | Rule::NoLeaks => 0.0,
            Rule::MaxHeapGrowth(allowed) => allowed.per_second(),
        };
        let offenders = Vec::new();
        Self {
            rule: rule.clone(),
            outcome,
            measured: 0.0,
            allowed,
            noticed: None,
            allocated: None,
            grade: None,
            offenders,
        }
    }

    /// Whether the rule holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.outcome == Outcome::Holds
    }

    /// Whether the rule does not hold.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.outcome == Outcome::Fails
    }

    /// Why it is not known whether it holds, where that is so.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self.outcome {
            Outcome::NotJudged(reason) => Some(reason),
            Outcome::Holds | Outcome::Fails => None,
        }
    }

    /// By how much it failed; 0 when it did not.
    #[must_use]
    pub fn excess(&self) -> f64 {
        if self.fails() { (self.measured - self.allowed).abs() } else { 0.0 }
    }
}
