//! Whether the heap grows, by what each cycle of the collector keeps of it.

use super::{HeapRate, Offender, Outcome, Reason, Rule, Verdict};
use crate::analysis::series::HeapSeries;
use crate::analysis::series::heap::{Judgement, Part, Trend};

/// What of a heap grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeapOffender {
    /// All that is live.
    Live,
    /// A part of it.
    Part(Part),
}

/// Judges [`Rule::MaxHeapGrowth`]: neither all that is live nor what was allocated in one place may grow steadily
/// by more than is allowed. A size class that grows shows what grows with it, and is no reason of its own.
pub(super) fn max_heap_growth(rule: &Rule, series: &HeapSeries, stopped: bool, allowed: HeapRate) -> Verdict {
    let growth = series.growth(allowed.per_second());
    let offender = |heap, trend: &Trend| Offender {
        count: trend.last,
        before: Some(trend.first),
        rate: trend.rate,
        heap: Some(heap),
        ..Offender::default()
    };
    let verdict = |outcome, measured, noticed, offenders| Verdict {
        rule: rule.clone(),
        outcome,
        measured,
        allowed: allowed.per_second(),
        noticed,
        allocated: match growth.judgement {
            Judgement::Quiet { allocated } if outcome == Outcome::Holds => Some(allocated),
            _ => None,
        },
        grade: None,
        offenders,
    };
    let mut offenders: Vec<Offender> =
        growth.growing.iter().map(|(part, trend)| offender(HeapOffender::Part(*part), trend)).collect();
    let has_site = growth.growing.iter().any(|(part, _)| matches!(part, Part::Site(_)));
    let live = growth.live.filter(|_| growth.judgement == Judgement::Grows);
    if let Some(live) = live {
        offenders.insert(0, offender(HeapOffender::Live, &live));
    }
    if live.is_some() || has_site {
        let fastest = |offenders: &[Offender]| {
            let rates = offenders.iter().filter_map(|offender| offender.rate).map(|rate| rate.per_second);
            rates.fold(0.0, f64::max)
        };
        let measured = fastest(&offenders);
        return verdict(Outcome::Fails, measured, None, offenders);
    }
    let measured = growth.live.and_then(|live| live.steady()).map_or(0.0, |rate| rate.per_second);
    let (outcome, noticed) = match growth.judgement {
        Judgement::Grows | Judgement::Rests { .. } | Judgement::Quiet { .. } if stopped => {
            (Outcome::NotJudged(Reason::Stopped), None)
        }
        Judgement::Grows => (Outcome::Fails, None),
        Judgement::Rests { noticed } => (Outcome::Holds, Some(noticed)),
        Judgement::Quiet { allocated } => (Outcome::Holds, Some(allocated as f64)),
        Judgement::Rises => (Outcome::NotJudged(Reason::Rising), None),
        Judgement::TooNoisy { noticed } => (Outcome::NotJudged(Reason::TooNoisy { noticed }), noticed),
        Judgement::TooFewCycles { seen } => (Outcome::NotJudged(Reason::TooFewCycles { seen }), None),
    };
    verdict(outcome, measured, noticed, Vec::new())
}
