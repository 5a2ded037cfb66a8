//! Metrics of goroutines, which no client library has: they are asked for, since every goroutine is read for them.
//!
//! Their labels are bounded: states are few, and of wait reasons, which are the runtime's words, there are so many at
//! most.

use std::collections::BTreeMap;

use super::exposition::{Kind, Sample};
use super::{Families, seconds};
use crate::analysis::Index;
use crate::analysis::findings::{self, DEADLOCK, FINDINGS, Finding, Found, NEVER_WAKES};
use crate::model::{NotShown, StackState};
use crate::report::clean::clean;

/// Most pairs of state and reason; the others are together.
const MOST_REASONS: usize = 64;
/// Most characters of a reason.
const LONGEST_REASON: usize = 64;
/// What a reason is called that is beyond these.
const OTHER: &str = "other";
/// Upper bounds of the buckets, s.
const BUCKETS: [(u64, &str); 8] = [
    (1, "1"),
    (10, "10"),
    (60, "60"),
    (600, "600"),
    (3_600, "3600"),
    (21_600, "21600"),
    (86_400, "86400"),
    (604_800, "604800"),
];

/// What is known of the goroutines of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GoroutineMetrics {
    /// By state and wait reason; the latter is empty where there is none.
    by_reason: BTreeMap<(&'static str, String), u64>,
    /// By code of the finding, how many are named.
    findings: BTreeMap<&'static str, u64>,
    /// For how long those have been blocked of which that is known: how many up to each bound, all, and their sum.
    blocked: [u64; BUCKETS.len()],
    blocked_count: u64,
    blocked_ns: u64,
    torn: u64,
    read_ns: u64,
    growing: Option<u64>,
    leaked: Option<(&'static str, u64)>,
}

impl GoroutineMetrics {
    /// Of a snapshot, without the runtime's own goroutines. `growing` is how many places have ever more, where that is
    /// known.
    pub(crate) fn of(index: &Index<'_>, growing: Option<u64>) -> Self {
        let snapshot = index.snapshot();
        let mut out = Self { growing, read_ns: snapshot.reading.duration_ns, ..Self::default() };
        for goroutine in snapshot.goroutines.iter().filter(|goroutine| !goroutine.system && !goroutine.status.is_dead())
        {
            out.count(goroutine.status.name(), index.reason(goroutine).unwrap_or_default());
            if matches!(goroutine.stack, StackState::NotShown(NotShown::Moving | NotShown::Unreadable)) {
                out.torn += 1;
            }
            if let Some(ns) = index.wait_ns(goroutine).filter(|_| goroutine.status.is_blocked()) {
                out.blocked_count += 1;
                out.blocked_ns = out.blocked_ns.saturating_add(ns);
                for ((bound, _), count) in BUCKETS.iter().zip(&mut out.blocked) {
                    *count += u64::from(ns <= bound.saturating_mul(1_000_000_000));
                }
            }
        }
        // All kinds, so that an alert has something to look at before the first of its kind.
        out.findings =
            FINDINGS.iter().filter(|finding| !finding.is_of_program()).map(|kind| (kind.code(), 0)).collect();
        out.add_findings(&findings::of_snapshot(index));
        out
    }

    /// With what a walk through the heap has found: how many goroutines can never wake, what that is worth, and what
    /// follows from it.
    pub(crate) fn with_leaks(mut self, grade: &'static str, leaked: u64, found: &[Found]) -> Self {
        self.leaked = Some((grade, leaked));
        let kinds: [&dyn Finding; 2] = [NEVER_WAKES, DEADLOCK];
        self.findings.extend(kinds.map(|kind| (kind.code(), 0)));
        self.add_findings(found);
        self
    }

    fn add_findings(&mut self, found: &[Found]) {
        for found in found.iter().filter(|found| !found.finding.is_of_program()) {
            let count = u64::try_from(found.positions.len()).unwrap_or(u64::MAX);
            let sum = self.findings.entry(found.finding.code()).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    fn count(&mut self, state: &'static str, reason: &str) {
        let reason = if reason.chars().nth(LONGEST_REASON).is_some() { OTHER.into() } else { clean(reason) };
        let mut key = (state, reason.into_owned());
        if self.by_reason.len() >= MOST_REASONS && !self.by_reason.contains_key(&key) {
            OTHER.clone_into(&mut key.1);
        }
        *self.by_reason.entry(key).or_default() += 1;
    }
}

impl Families {
    pub(super) fn goroutines(&mut self, goroutines: &GoroutineMetrics) {
        let with = |labels, value: u64| Sample { suffix: "", labels, value: value as f64 };
        let samples = goroutines.by_reason.iter().map(|((state, reason), count)| {
            with(vec![("state", (*state).to_owned()), ("reason", reason.clone())], *count)
        });
        let help = "Goroutines by state and wait reason, without the system's.";
        self.add("gospy_goroutines", Kind::Gauge, help, samples.collect());
        let samples = goroutines.findings.iter().map(|(kind, count)| with(vec![("kind", (*kind).to_owned())], *count));
        let help = "Goroutines with a definite problem, by its kind.";
        self.add("gospy_findings", Kind::Gauge, help, samples.collect());
        let mut samples: Vec<Sample> = BUCKETS
            .iter()
            .zip(goroutines.blocked)
            .map(|((_, bound), count)| Sample { suffix: "_bucket", ..with(vec![("le", (*bound).to_owned())], count) })
            .collect();
        let all = goroutines.blocked_count;
        samples.push(Sample { suffix: "_bucket", ..with(vec![("le", "+Inf".to_owned())], all) });
        samples.push(Sample { suffix: "_sum", labels: Vec::new(), value: seconds(goroutines.blocked_ns) });
        samples.push(Sample { suffix: "_count", ..with(Vec::new(), all) });
        let help = "For how long goroutines have been blocked that are blocked now, where that is known.";
        self.add("gospy_goroutine_blocked_seconds", Kind::Histogram, help, samples);
        let help = "Goroutines that changed each time they were read, or could not be read.";
        self.gauge("gospy_goroutines_torn", help, Some(goroutines.torn as f64));
        let help = "How long it took to read the goroutines.";
        self.gauge("gospy_goroutines_read_seconds", help, Some(seconds(goroutines.read_ns)));
        let help = "Places in the program with ever more goroutines, over the readings so far.";
        self.gauge("gospy_goroutine_groups_growing", help, goroutines.growing.map(|count| count as f64));
        if let Some((grade, leaked)) = goroutines.leaked {
            let samples = vec![with(vec![("grade", grade.to_owned())], leaked)];
            let help = "Goroutines that can never wake, by a walk through the heap.";
            self.add("gospy_leaked_goroutines", Kind::Gauge, help, samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition;
    use super::*;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder, frame};

    #[test]
    fn labels_are_bounded() {
        let mut metrics = GoroutineMetrics::default();
        for n in 0..1000 {
            metrics.count("waiting", &format!("reason {n}"));
        }
        metrics.count("waiting", &"long".repeat(100));
        metrics.count("running", "a\nb");
        assert!(metrics.by_reason.len() <= MOST_REASONS + 2, "{}", metrics.by_reason.len());
        assert_eq!(metrics.by_reason.values().sum::<u64>(), 1002);
        assert_eq!(metrics.by_reason[&("waiting", OTHER.to_owned())], 1000 - 64 + 1);
    }

    #[test]
    fn goroutines_are_counted_by_state_and_reason() {
        let mut builder = SnapshotBuilder::new();
        for id in 1..=3 {
            builder.add(&GoroutineSpec { id, frames: vec![frame("main.f", "/m.go", 1)], ..Default::default() });
        }
        builder.add(&GoroutineSpec { id: 4, system: true, ..Default::default() });
        let snapshot = builder.build();
        let metrics = GoroutineMetrics::of(&Index::new(&snapshot), Some(2)).with_leaks("confirmed", 7, &[]);
        let mut families = Families::default();
        families.goroutines(&metrics);
        let mut out = Vec::new();
        exposition::write(&mut out, families.0).unwrap();
        let text = String::from_utf8(out).unwrap();
        let sum: f64 = text
            .lines()
            .filter(|line| line.starts_with("gospy_goroutines{"))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum();
        assert!((sum - 3.0).abs() < f64::EPSILON, "{text}");
        for line in [
            "# TYPE gospy_goroutine_blocked_seconds histogram",
            "gospy_goroutine_groups_growing 2",
            "gospy_leaked_goroutines{grade=\"confirmed\"} 7",
            "gospy_findings{kind=\"deadlock\"} 0",
            "gospy_goroutines_torn 0",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in:\n{text}");
        }
    }
}
