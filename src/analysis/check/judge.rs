//! Applying rules to what was seen.

use std::cmp::Reverse;

use regex::Regex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::heap::max_heap_growth;
use super::leaks::no_leaks;
use super::steady::steady_growth;
use super::{Allowance, Offender, Outcome, Reason, Rule, Rules, Verdict};
use crate::analysis::census::{Census, Group, Member, groups};
use crate::analysis::diff::Diff;
use crate::analysis::findings::{self, Died, Finding, Seen};
use crate::analysis::series::{GroupCounts, HeapSeries};
use crate::analysis::{GroupBy, PlaceKind};
use crate::heap::Leaks;
use crate::model::{FrameId, HeapReading, StackId, Status, SymbolPool};

/// What separates groups, depending on what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// By stack, as a traceback shows it.
    Stacks,
    /// By place only: a census has no stacks.
    Places,
}

impl Level {
    /// The best that these censuses allow.
    #[must_use]
    pub fn of<'a>(censuses: impl IntoIterator<Item = &'a Census>) -> Self {
        if censuses.into_iter().all(|census| census.has_stacks) { Self::Stacks } else { Self::Places }
    }

    fn by(self) -> GroupBy {
        match self {
            Self::Stacks => GroupBy::SimilarStack,
            Self::Places => GroupBy::Place(PlaceKind::User),
        }
    }
}

/// Judges one census after the other. Of several, each rule keeps the worst; growth is judged over
/// all of them. How long goroutines have waited is measured before, by [`crate::analysis::series::Watching`]:
/// ages of members are taken as they are.
#[derive(Debug)]
pub struct Judge<'a> {
    rules: &'a Rules,
    level: Level,
    exempt: Matches<'a>,
    verdicts: Vec<Option<Verdict>>,
    snapshots: usize,
    /// Whether the program was stopped at one of them.
    stopped: bool,
    /// Kept where growth is judged only.
    counts: Option<GroupCounts>,
    /// Readings of the heap, where its growth is judged.
    heap: HeapSeries,
    /// Whether there is one.
    heap_read: bool,
}

impl<'a> Judge<'a> {
    /// A judge that has seen nothing.
    #[must_use]
    pub fn new(rules: &'a Rules, level: Level) -> Self {
        Self {
            rules,
            level,
            exempt: Matches::new(&rules.allow),
            verdicts: vec![None; rules.rules.len()],
            snapshots: 0,
            stopped: false,
            counts: rules.rules.iter().any(|rule| matches!(rule, Rule::SteadyGrowth(_))).then(GroupCounts::default),
            heap: HeapSeries::default(),
            heap_read: false,
        }
    }

    /// Adds a census; `baseline` is what growth is measured from.
    pub fn look(&mut self, census: &Census, baseline: Option<&Census>, pool: &mut SymbolPool) {
        let counted = self.counted(census, pool);
        let groups = groups(&counted.members, &self.level.by(), pool);
        self.snapshots = self.snapshots.saturating_add(1);
        self.stopped |= census.stopped;
        if let Some(counts) = &mut self.counts {
            counts.record(census.captured_at_unix_ns, &groups);
        }
        for (at, rule) in self.rules.rules.iter().enumerate() {
            let verdict = match rule {
                Rule::MaxGoroutines(most) => Some(max_goroutines(rule, &groups, *most)),
                Rule::MaxGroup(most) => Some(max_group(rule, &groups, *most)),
                Rule::MaxWait(most) => Some(max_wait(rule, &counted.members, *most, &self.level.by(), pool)),
                Rule::ForbidFunction(pattern) => Some(forbid(rule, &counted, pattern, &self.level.by(), pool)),
                Rule::RequireFunction(pattern) => Some(require(rule, census, pattern, pool)),
                Rule::NoFindings => {
                    Some(no_findings(rule, &counted.members, census.died.as_ref(), &self.level.by(), pool))
                }
                Rule::MaxGrowth(allowed) => baseline.map(|baseline| {
                    let before = self.counted(baseline, pool);
                    let diff = Diff::of(&before, &counted, &self.level.by(), true, pool);
                    max_growth(rule, &diff, *allowed)
                }),
                // Judged when all has been seen, and by the heap.
                Rule::SteadyGrowth(_) | Rule::NoLeaks | Rule::MaxHeapGrowth(_) => None,
            };
            if let (Some(verdict), Some(kept)) = (verdict, self.verdicts.get_mut(at)) {
                keep_worse(kept, doubted(verdict, census, baseline));
            }
        }
    }

    /// Adds a reading of the heap, for [`Rule::MaxHeapGrowth`].
    pub fn look_at_heap(&mut self, reading: &HeapReading, pool: &mut SymbolPool) {
        self.heap_read = true;
        self.heap.record(reading, pool);
    }

    /// Judges [`Rule::NoLeaks`] by what a mark of the heap has found; `census` is of the same program, taken
    /// afterwards. `None` for leaks says that the heap could not be read. Leaks are for ever: what was found once
    /// stays, and else the latest mark counts.
    pub fn look_for_leaks(&mut self, census: &Census, leaks: Option<&Leaks>, pool: &mut SymbolPool) {
        let counted = self.counted(census, pool);
        for (rule, kept) in self.rules.rules.iter().zip(&mut self.verdicts) {
            if matches!(rule, Rule::NoLeaks) && !kept.as_ref().is_some_and(Verdict::fails) {
                *kept = Some(match leaks {
                    Some(leaks) => no_leaks(rule, (census, &counted), leaks, &self.level.by(), pool),
                    None => Verdict::not_judged(rule, Reason::HeapNotRead),
                });
            }
        }
    }

    /// The census without what does not count: the runtime's own goroutines and those allowed.
    fn counted(&mut self, census: &Census, pool: &SymbolPool) -> Census {
        let members = census.counted(self.rules.system).filter(|member| !self.exempt.has(member, pool)).copied();
        Census {
            members: members.collect(),
            name: census.name.clone(),
            program: census.program.clone(),
            died: census.died.clone(),
            ..*census
        }
    }

    /// The results: one for each rule, in their order.
    #[must_use]
    pub fn verdicts(self) -> Vec<Verdict> {
        let missing = if self.snapshots == 0 { Reason::Unread } else { Reason::ReadOnce };
        let counts = self.counts.unwrap_or_default();
        let verdict = |(rule, kept): (&Rule, Option<Verdict>)| match rule {
            Rule::SteadyGrowth(allowed) => steady_growth(rule, &counts, self.stopped, *allowed),
            Rule::MaxHeapGrowth(allowed) if self.heap_read => max_heap_growth(rule, &self.heap, self.stopped, *allowed),
            Rule::NoLeaks | Rule::MaxHeapGrowth(_) => {
                kept.unwrap_or_else(|| Verdict::not_judged(rule, Reason::HeapNotRead))
            }
            _ => kept.unwrap_or_else(|| Verdict::not_judged(rule, missing)),
        };
        self.rules.rules.iter().zip(self.verdicts).map(verdict).collect()
    }
}

/// Keeps the worst of what is forbidden, and the best of what is required once.
fn keep_worse(kept: &mut Option<Verdict>, verdict: Verdict) {
    let decisive = |verdict: &Verdict| match verdict.rule {
        Rule::RequireFunction(_) => verdict.holds(),
        _ => verdict.fails(),
    };
    let rank = |verdict: &Verdict| match verdict.outcome {
        _ if decisive(verdict) => 2,
        Outcome::NotJudged(_) => 1,
        Outcome::Fails | Outcome::Holds => 0,
    };
    let replace = match kept {
        None => true,
        Some(old) => rank(&verdict).cmp(&rank(old)).then(verdict.measured.total_cmp(&old.measured)).is_gt(),
    };
    if replace {
        *kept = Some(verdict);
    }
}

/// The verdict, unless the snapshot is not good enough for it. What was seen counts; but seeing nothing in a
/// part of the goroutines, or without stacks, proves nothing. Nor does it mean anything that the goroutines
/// of a stopped program wait.
fn doubted(verdict: Verdict, census: &Census, baseline: Option<&Census>) -> Verdict {
    let about_functions = matches!(verdict.rule, Rule::ForbidFunction(_) | Rule::RequireFunction(_) | Rule::NoFindings);
    let found_nothing = match verdict.rule {
        Rule::RequireFunction(_) => verdict.fails(),
        _ => verdict.holds(),
    };
    let growth = matches!(verdict.rule, Rule::MaxGrowth(_));
    let partial = census.is_partial() || (growth && baseline.is_some_and(Census::is_partial));
    let rests_on_waits = match verdict.rule {
        Rule::MaxWait(_) => true,
        Rule::NoFindings => verdict.offenders.iter().all(|o| o.finding.is_some_and(Finding::rests_on_waits)),
        _ => false,
    };
    let reason = if census.stopped && rests_on_waits && verdict.fails() {
        Reason::Stopped
    } else if partial && (found_nothing || growth) {
        Reason::Partial
    } else if !census.has_stacks && about_functions && found_nothing {
        Reason::NoStacks
    } else {
        return verdict;
    };
    Verdict { outcome: Outcome::NotJudged(reason), ..verdict }
}

/// Which goroutines have a function on the stack, or were created by one, that matches one of some patterns.
/// Each distinct stack is checked once.
#[derive(Debug)]
struct Matches<'a> {
    patterns: &'a [Regex],
    known: FxHashMap<(Option<StackId>, [Option<FrameId>; 3]), bool>,
}

impl<'a> Matches<'a> {
    fn new(patterns: &'a [Regex]) -> Self {
        Self { patterns, known: FxHashMap::default() }
    }

    fn has(&mut self, member: &Member, pool: &SymbolPool) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let places = [member.current, member.start, member.creator];
        let patterns = self.patterns;
        *self.known.entry((member.stack, places)).or_insert_with(|| {
            let frames = member.stack.and_then(|id| pool.stack(id)).map_or(&[][..], |stack| &stack.frames);
            let lines = frames.iter().map(|frame| frame.frame).chain(places.into_iter().flatten());
            lines.into_iter().any(|id| patterns.iter().any(|pattern| pattern.is_match(pool.function(id))))
        })
    }
}

/// The largest first.
pub(super) fn by_size(groups: &[Group], guilty: impl Fn(&Group) -> bool) -> Vec<Offender> {
    let mut offenders: Vec<Offender> = groups.iter().filter(|group| guilty(group)).map(Offender::of).collect();
    offenders.sort_by_key(|offender| Reverse(offender.count));
    offenders
}

pub(super) fn verdict(rule: &Rule, measured: f64, allowed: f64, offenders: Vec<Offender>) -> Verdict {
    let outcome = if measured <= allowed { Outcome::Holds } else { Outcome::Fails };
    Verdict { rule: rule.clone(), outcome, measured, allowed, noticed: None, allocated: None, grade: None, offenders }
}

fn max_goroutines(rule: &Rule, groups: &[Group], most: u64) -> Verdict {
    let total: u64 = groups.iter().map(|group| group.count).sum();
    let offenders = if total > most { by_size(groups, |_| true) } else { Vec::new() };
    verdict(rule, total as f64, most as f64, offenders)
}

fn max_group(rule: &Rule, groups: &[Group], most: u64) -> Verdict {
    let largest = groups.iter().map(|group| group.count).max().unwrap_or(0);
    verdict(rule, largest as f64, most as f64, by_size(groups, |group| group.count > most))
}

fn max_wait(rule: &Rule, waits: &[Member], most: u64, by: &GroupBy, pool: &SymbolPool) -> Verdict {
    let longest = waits.iter().filter_map(Member::wait_ns).max().unwrap_or(0);
    let late = waits.iter().filter(|member| member.wait_ns().is_some_and(|ns| ns > most));
    let mut late = groups(late, by, pool);
    late.sort_by_key(|group| Reverse(group.wait.map(|wait| wait.longest_ns)));
    let judged = verdict(rule, longest as f64, most as f64, late.iter().map(Offender::of).collect());
    if judged.fails() {
        return judged;
    }
    // What is known of a wait is how long it is at least: it may be longer than that.
    let is_blocked = |member: &Member| Status::is_blocked_name(pool.str(member.state));
    let may_be_late = |member: &&Member| member.wait_at_most_ns.is_none_or(|ns| ns > most);
    let unknown: Vec<&Member> = waits.iter().filter(|member| is_blocked(member)).filter(may_be_late).collect();
    if unknown.is_empty() {
        return judged;
    }
    let goroutines = u64::try_from(unknown.len()).unwrap_or(u64::MAX);
    let at_most_ns = unknown.iter().map(|member| member.wait_at_most_ns).collect::<Option<Vec<u64>>>();
    let at_most_ns = at_most_ns.and_then(|bounds| bounds.into_iter().max());
    Verdict { outcome: Outcome::NotJudged(Reason::UnknownWaits { goroutines, at_most_ns }), ..judged }
}

fn forbid(rule: &Rule, census: &Census, pattern: &Regex, by: &GroupBy, pool: &SymbolPool) -> Verdict {
    let mut matches = Matches::new(std::slice::from_ref(pattern));
    let found: Vec<&Member> = census.members.iter().filter(|member| matches.has(member, pool)).collect();
    let count = found.len() as f64;
    let judged = verdict(rule, count, 0.0, by_size(&groups(found, by, pool), |_| true));
    if judged.holds() { unless_unknown(judged, census) } else { judged }
}

fn require(rule: &Rule, census: &Census, pattern: &Regex, pool: &SymbolPool) -> Verdict {
    let mut matches = Matches::new(std::slice::from_ref(pattern));
    let found = census.members.iter().filter(|member| matches.has(member, pool)).count();
    let outcome = if found > 0 { Outcome::Holds } else { Outcome::Fails };
    let judged = Verdict {
        rule: rule.clone(),
        outcome,
        measured: found as f64,
        allowed: 1.0,
        noticed: None,
        allocated: None,
        grade: None,
        offenders: Vec::new(),
    };
    if judged.fails() { unless_unknown(judged, census) } else { judged }
}

/// The verdict on a function that was found nowhere, unless it may be on a stack that is not known.
fn unless_unknown(verdict: Verdict, census: &Census) -> Verdict {
    // Without any stacks, that is the reason.
    let unknown = census.counted(false).filter(|member| census.has_stacks && member.stack.is_none()).count();
    if unknown == 0 {
        return verdict;
    }
    let goroutines = u64::try_from(unknown).unwrap_or(u64::MAX);
    Verdict { outcome: Outcome::NotJudged(Reason::UnknownStacks { goroutines }), ..verdict }
}

/// One offender for each finding and stack, in the order of findings. A finding of the program has one
/// even where it names no goroutine.
fn no_findings(rule: &Rule, members: &[Member], died: Option<&Died>, by: &GroupBy, pool: &SymbolPool) -> Verdict {
    let found = findings::find_in_dead(members.iter().map(|member| Seen::of_member(member, pool)), died);
    let named: FxHashSet<usize> = found.iter().flat_map(|found| &found.positions).copied().collect();
    let mut offenders = Vec::new();
    let mut of_program = 0_u32;
    for found in &found {
        let named: Vec<&Member> = found.positions.iter().filter_map(|&at| members.get(at)).collect();
        let groups = by_size(&groups(named, by, pool), |_| true);
        let (finding, detail) = (Some(found.finding), &found.detail);
        if groups.is_empty() {
            of_program = of_program.saturating_add(1);
            let ids = died.and_then(|died| died.goroutine).into_iter().collect();
            offenders.push(Offender { finding, detail: detail.clone(), ids, ..Offender::default() });
        }
        offenders.extend(groups.into_iter().map(|group| Offender { finding, detail: detail.clone(), ..group }));
    }
    verdict(rule, named.len() as f64 + f64::from(of_program), 0.0, offenders)
}

fn max_growth(rule: &Rule, diff: &Diff, allowed: Allowance) -> Verdict {
    let grown = diff.after as f64 - diff.before as f64;
    let allowed = allowed.of(diff.before);
    let mut offenders = Vec::new();
    if grown > allowed {
        let mut changes: Vec<_> = diff.changes.iter().filter(|change| change.delta() > 0).collect();
        changes.sort_by_key(|change| Reverse(change.delta()));
        offenders.extend(changes.into_iter().map(|change| Offender {
            count: change.after,
            before: Some(change.before),
            wait: change.wait,
            ids: change.ids.clone(),
            example: Some(change.example),
            ..Offender::default()
        }));
    }
    verdict(rule, grown, allowed, offenders)
}

#[cfg(test)]
mod tests {
    use super::{Judge, Level};
    use crate::analysis::Census;
    use crate::analysis::check::{Allowance, Rule, Rules};
    use crate::model::SymbolPool;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};

    #[test]
    fn counts_are_kept_for_growth_only() {
        let mut builder = SnapshotBuilder::new();
        builder.add(&GoroutineSpec { id: 1, ..Default::default() });
        let mut pool = SymbolPool::default();
        let census = Census::of_snapshot(&builder.build(), "now", &mut pool);
        for (rule, samples) in [(Rule::MaxGoroutines(7), 0), (Rule::SteadyGrowth(Allowance::Count(0)), 5)] {
            let rules = Rules { rules: vec![rule], ..Rules::default() };
            let mut judge = Judge::new(&rules, Level::Stacks);
            for _ in 0..5 {
                judge.look(&census, None, &mut pool);
            }
            assert_eq!(judge.counts.map_or(0, |counts| counts.total().len()), samples);
        }
    }
}
