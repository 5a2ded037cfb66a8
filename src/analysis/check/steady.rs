//! Whether anything grew steadily over a watch.

use super::{Allowance, Offender, Outcome, Reason, Rule, Verdict};
use crate::analysis::census::Group;
use crate::analysis::series::GroupCounts;
use crate::analysis::series::growth::{self, LEAST_GROWTH, LEAST_SPAN_S, Rate, Sample};

/// A watch is insufficient when growth by as many goroutines could not have been noticed in it (or by as many
/// as are allowed, or a tenth of all, where those are more).
const LEAST_MATTERING: f64 = 10.0;

/// Judges [`Rule::SteadyGrowth`]; `stopped` says whether the program was stopped at one of the samples.
pub(super) fn steady_growth(rule: &Rule, counts: &GroupCounts, stopped: bool, allowed: Allowance) -> Verdict {
    let Some(total) = growth::fit(counts.total()) else {
        let samples = counts.total().len();
        return Verdict::not_judged(rule, Reason::TooFewSamples { samples });
    };
    let allowed = allowed.of(total.first);
    let too_fast = |_: &[Sample], rate: &Rate| rate.steady && rate.growth() > allowed;
    let may_be =
        |samples: &[Sample], rate: &Rate| !rate.steady && rate.most_growth() > allowed && growth::rises(samples);
    let verdict = |outcome, offenders: Vec<Offender>, noticed| {
        let worst = offenders.first().and_then(|offender| offender.rate).map(|rate| rate.growth());
        let measured = worst.unwrap_or(if total.steady { total.growth() } else { 0.0 });
        Verdict { rule: rule.clone(), outcome, measured, allowed, noticed, allocated: None, grade: None, offenders }
    };
    let growing = offenders(counts, &total, too_fast);
    if !growing.is_empty() {
        return verdict(Outcome::Fails, growing, None);
    }
    let noticed = growth::least_noticed(counts.total());
    // Growth that is to be found: what is more than allowed, but not a handful more than usual. The count is
    // exact up to 2⁵³ goroutines.
    let matters = allowed.max(LEAST_MATTERING).max(total.first as f64 / 10.0);
    let rising = offenders(counts, &total, may_be);
    let reason = match noticed {
        _ if stopped => Reason::Stopped,
        _ if !rising.is_empty() => Reason::Rising,
        _ if total.span_s < LEAST_SPAN_S && allowed < LEAST_GROWTH => Reason::TooShort { span_s: total.span_s },
        Some(noticed) if noticed <= matters => return verdict(Outcome::Holds, Vec::new(), Some(noticed)),
        noticed => Reason::TooNoisy { noticed },
    };
    let noticed = noticed.filter(|_| rising.is_empty());
    verdict(Outcome::NotJudged(reason), rising, noticed)
}

/// The groups that rise and of which something holds, those that grow most first; all goroutines together where it only
/// holds of those: many groups grow a little each, or one that has no stack of its own.
fn offenders(counts: &GroupCounts, total: &Rate, guilty: impl Fn(&[Sample], &Rate) -> bool) -> Vec<Offender> {
    let offender = |(group, samples): (&Group, Vec<Sample>)| {
        let rate = growth::may_rise(&samples).then(|| growth::fit(&samples)).flatten()?;
        guilty(&samples, &rate).then_some(())?;
        Some(Offender { before: Some(rate.first), rate: Some(rate), ..Offender::of(group) })
    };
    let mut offenders: Vec<Offender> = counts.groups().filter_map(offender).collect();
    offenders.sort_by(|a, b| {
        let growth = |offender: &Offender| offender.rate.map_or(0.0, |rate| rate.growth());
        growth(b).total_cmp(&growth(a)).then_with(|| a.ids.cmp(&b.ids))
    });
    if offenders.is_empty() && guilty(counts.total(), total) {
        offenders.push(Offender {
            count: total.last,
            before: Some(total.first),
            rate: Some(*total),
            ..Offender::default()
        });
    }
    offenders
}
