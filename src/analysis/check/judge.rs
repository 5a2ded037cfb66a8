//! Applying rules to what was seen.

use std::cmp::Reverse;

use regex::Regex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::growth::{self, Sample};
use super::{Allowance, Offender, Rule, Rules, Verdict};
use crate::analysis::census::{Census, Crowd, Key, Member, crowds};
use crate::analysis::diff::Diff;
use crate::analysis::findings::{self, Died, Seen};
use crate::analysis::{GroupBy, PlaceKind};
use crate::model::{FrameId, StackId, SymbolPool};

/// What groups are told apart by, depending on what is known.
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
            Self::Places => GroupBy::Place(PlaceKind::Current),
        }
    }
}

/// Judges one census after the other. Of several, each rule keeps the worst; growth is judged over
/// all of them.
#[derive(Debug)]
pub struct Judge<'a> {
    rules: &'a Rules,
    level: Level,
    exempt: Matches<'a>,
    verdicts: Vec<Option<Verdict>>,
    watched: Watched,
}

impl<'a> Judge<'a> {
    /// A judge who has seen nothing.
    #[must_use]
    pub fn new(rules: &'a Rules, level: Level) -> Self {
        Self {
            rules,
            level,
            exempt: Matches::new(&rules.allow),
            verdicts: vec![None; rules.rules.len()],
            watched: Watched::default(),
        }
    }

    /// Looks at a census; `baseline` is what growth is measured from.
    pub fn look(&mut self, census: &Census, baseline: Option<&Census>, pool: &mut SymbolPool) {
        let counted = self.counted(census, pool);
        let groups = crowds(&counted.members, &self.level.by(), pool);
        self.watched.add(census, &counted, &groups);
        let waits = self.watched.waits(census, &counted);
        for (at, rule) in self.rules.rules.iter().enumerate() {
            let verdict = match rule {
                Rule::MaxGoroutines(most) => Some(max_goroutines(rule, &groups, *most)),
                Rule::MaxGroup(most) => Some(max_group(rule, &groups, *most)),
                Rule::MaxWait(most) => Some(max_wait(rule, &waits, *most, &self.level.by(), pool)),
                Rule::ForbidFunction(pattern) => Some(forbid(rule, &counted, pattern, &self.level.by(), pool)),
                Rule::RequireFunction(pattern) => Some(require(rule, census, pattern, pool)),
                Rule::NoFindings => Some(no_findings(rule, &waits, census.died.as_ref(), &self.level.by(), pool)),
                Rule::MaxGrowth(allowed) => baseline.map(|baseline| {
                    let before = self.counted(baseline, pool);
                    let diff = Diff::of(&before, &counted, &self.level.by(), true, pool);
                    max_growth(rule, &diff, *allowed)
                }),
                // Judged when all has been seen.
                Rule::SteadyGrowth(_) => None,
            };
            if let (Some(verdict), Some(kept)) = (verdict, self.verdicts.get_mut(at)) {
                keep_worse(kept, verdict);
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

    /// What has come of it. Rules that could not be judged (growth without a baseline, or of too few
    /// samples) are not in it.
    #[must_use]
    pub fn verdicts(self) -> Vec<Verdict> {
        let watched = self.watched;
        self.rules
            .rules
            .iter()
            .zip(self.verdicts)
            .filter_map(|(rule, kept)| match rule {
                Rule::SteadyGrowth(allowed) => watched.steady_growth(rule, *allowed),
                _ => kept,
            })
            .collect()
    }
}

/// Keeps the verdict with the higher number: the worst of what must not be, and the best of what is
/// required once.
fn keep_worse(kept: &mut Option<Verdict>, verdict: Verdict) {
    let replace = match kept {
        None => true,
        Some(old) => verdict.measured > old.measured,
    };
    if replace {
        *kept = Some(verdict);
    }
}

/// What has been seen of each group over time.
#[derive(Debug, Default)]
struct Watched {
    total: Vec<Sample>,
    groups: FxHashMap<Key, Series>,
    started_unix_ns: u64,
    /// Goroutines that have not run between two censuses: since when.
    still: FxHashMap<u64, (Member, u64)>,
}

#[derive(Debug)]
struct Series {
    /// Number of the sample and count; samples without the group are left out.
    counts: Vec<(usize, u64)>,
    latest: Crowd,
}

impl Watched {
    fn add(&mut self, census: &Census, counted: &Census, groups: &[Crowd]) {
        let now = census.captured_at_unix_ns;
        if self.total.is_empty() {
            self.started_unix_ns = now;
        }
        let nth = self.total.len();
        let at_s = std::time::Duration::from_nanos(now.saturating_sub(self.started_unix_ns)).as_secs_f64();
        self.total.push(Sample { at_s, count: groups.iter().map(|group| group.count).sum() });
        for group in groups {
            let series =
                self.groups.entry(group.key).or_insert_with(|| Series { counts: Vec::new(), latest: group.clone() });
            series.counts.push((nth, group.count));
            series.latest = group.clone();
        }
        let before = std::mem::take(&mut self.still);
        for member in &counted.members {
            let since = match before.get(&member.id) {
                Some((was, since)) if is_same_wait(was, member) => *since,
                _ => now,
            };
            self.still.insert(member.id, (*member, since));
        }
    }

    /// The goroutines with the longest wait that is known of each: the runtime's stamp, or since
    /// when it has not run.
    fn waits(&self, census: &Census, counted: &Census) -> Vec<Member> {
        let seen = |member: &Member| {
            let (_, since) = self.still.get(&member.id).filter(|_| member.reason.is_some())?;
            Some(census.captured_at_unix_ns.saturating_sub(*since)).filter(|ns| *ns > 0)
        };
        counted.members.iter().map(|member| Member { wait_ns: member.wait_ns.max(seen(member)), ..*member }).collect()
    }

    fn steady_growth(&self, rule: &Rule, allowed: Allowance) -> Option<Verdict> {
        let total = growth::fit(&self.total)?;
        let allowed = allowed.of(total.first);
        let of_all = Offender {
            count: total.last,
            before: Some(total.first),
            wait: None,
            rate: Some(total),
            finding: None,
            detail: None,
            ids: Vec::new(),
            example: None,
        };
        let too_fast = |rate: &growth::Rate| rate.steady && rate.growth() > allowed;
        let mut offenders: Vec<Offender> = self
            .groups
            .values()
            .filter_map(|series| {
                let rate = growth::fit(&self.series(series)).filter(too_fast)?;
                let crowd = &series.latest;
                Some(Offender {
                    count: crowd.count,
                    before: Some(rate.first),
                    wait: crowd.wait,
                    rate: Some(rate),
                    finding: None,
                    detail: None,
                    ids: crowd.ids.clone(),
                    example: Some(crowd.example),
                })
            })
            .collect();
        offenders.sort_by(|a, b| {
            let growth = |offender: &Offender| offender.rate.map_or(0.0, |rate| rate.growth());
            growth(b).total_cmp(&growth(a)).then_with(|| a.ids.cmp(&b.ids))
        });
        if offenders.is_empty() && too_fast(&total) {
            // Many groups grow a little each, or one that has no stack of its own.
            offenders.push(of_all);
        }
        let worst = offenders.first().and_then(|offender| offender.rate).map(|rate| rate.growth());
        Some(Verdict {
            rule: rule.clone(),
            holds: offenders.is_empty(),
            measured: worst.unwrap_or(if total.steady { total.growth() } else { 0.0 }),
            allowed,
            offenders,
        })
    }

    /// With zeros where the group was not there.
    fn series(&self, series: &Series) -> Vec<Sample> {
        let mut samples: Vec<Sample> = self.total.iter().map(|sample| Sample { count: 0, ..*sample }).collect();
        for &(nth, count) in &series.counts {
            if let Some(sample) = samples.get_mut(nth) {
                sample.count = count;
            }
        }
        samples
    }
}

fn is_same_wait(was: &Member, now: &Member) -> bool {
    let has_not_run = was.run_seq.is_some() && was.run_seq == now.run_seq;
    has_not_run && was.state == now.state && was.reason == now.reason && was.stack == now.stack
}

/// Which goroutines have a function on the stack, or were created by one, that matches one of some
/// patterns. Each distinct stack is looked at once.
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
        let places = [member.place, member.start, member.creator];
        let patterns = self.patterns;
        *self.known.entry((member.stack, places)).or_insert_with(|| {
            let frames = member.stack.and_then(|id| pool.stack(id)).map_or(&[][..], |stack| &stack.frames);
            let lines = frames.iter().map(|frame| frame.frame).chain(places.into_iter().flatten());
            lines.into_iter().any(|id| patterns.iter().any(|pattern| pattern.is_match(pool.function(id))))
        })
    }
}

fn offender(crowd: &Crowd) -> Offender {
    Offender {
        count: crowd.count,
        before: None,
        wait: crowd.wait,
        rate: None,
        finding: None,
        detail: None,
        ids: crowd.ids.clone(),
        example: Some(crowd.example),
    }
}

/// The largest first.
fn by_size(crowds: &[Crowd], guilty: impl Fn(&Crowd) -> bool) -> Vec<Offender> {
    let mut offenders: Vec<Offender> = crowds.iter().filter(|crowd| guilty(crowd)).map(offender).collect();
    offenders.sort_by_key(|offender| Reverse(offender.count));
    offenders
}

fn verdict(rule: &Rule, measured: f64, allowed: f64, offenders: Vec<Offender>) -> Verdict {
    Verdict { rule: rule.clone(), holds: measured <= allowed, measured, allowed, offenders }
}

fn max_goroutines(rule: &Rule, groups: &[Crowd], most: u64) -> Verdict {
    let total: u64 = groups.iter().map(|group| group.count).sum();
    let offenders = if total > most { by_size(groups, |_| true) } else { Vec::new() };
    verdict(rule, total as f64, most as f64, offenders)
}

fn max_group(rule: &Rule, groups: &[Crowd], most: u64) -> Verdict {
    let largest = groups.iter().map(|group| group.count).max().unwrap_or(0);
    verdict(rule, largest as f64, most as f64, by_size(groups, |group| group.count > most))
}

fn max_wait(rule: &Rule, waits: &[Member], most: u64, by: &GroupBy, pool: &mut SymbolPool) -> Verdict {
    let longest = waits.iter().filter_map(|member| member.wait_ns).max().unwrap_or(0);
    let late = waits.iter().filter(|member| member.wait_ns.is_some_and(|ns| ns > most));
    let mut late = crowds(late, by, pool);
    late.sort_by_key(|crowd| Reverse(crowd.wait.map(|wait| wait.longest_ns)));
    verdict(rule, longest as f64, most as f64, late.iter().map(offender).collect())
}

fn forbid(rule: &Rule, census: &Census, pattern: &Regex, by: &GroupBy, pool: &mut SymbolPool) -> Verdict {
    let mut matches = Matches::new(std::slice::from_ref(pattern));
    let found: Vec<&Member> = census.members.iter().filter(|member| matches.has(member, pool)).collect();
    let count = found.len() as f64;
    verdict(rule, count, 0.0, by_size(&crowds(found, by, pool), |_| true))
}

fn require(rule: &Rule, census: &Census, pattern: &Regex, pool: &SymbolPool) -> Verdict {
    let mut matches = Matches::new(std::slice::from_ref(pattern));
    let found = census.members.iter().filter(|member| matches.has(member, pool)).count();
    Verdict { rule: rule.clone(), holds: found > 0, measured: found as f64, allowed: 1.0, offenders: Vec::new() }
}

/// One offender for each finding and stack, in the order of findings. A finding of the program has one
/// even where it names no goroutine.
fn no_findings(rule: &Rule, members: &[Member], died: Option<&Died>, by: &GroupBy, pool: &mut SymbolPool) -> Verdict {
    let found = findings::find_in_dead(members.iter().map(|member| Seen::of_member(member, pool)), died);
    let named: FxHashSet<usize> = found.iter().flat_map(|found| &found.positions).copied().collect();
    let mut offenders = Vec::new();
    let mut of_nobody = 0_u32;
    for found in &found {
        let named: Vec<&Member> = found.positions.iter().filter_map(|&at| members.get(at)).collect();
        let groups = by_size(&crowds(named, by, pool), |_| true);
        let (finding, detail) = (Some(found.finding), &found.detail);
        if groups.is_empty() {
            of_nobody = of_nobody.saturating_add(1);
            let ids = died.and_then(|died| died.goroutine).into_iter().collect();
            let none = Offender {
                count: 0,
                before: None,
                wait: None,
                rate: None,
                finding,
                detail: detail.clone(),
                ids,
                example: None,
            };
            offenders.push(none);
        }
        offenders.extend(groups.into_iter().map(|group| Offender { finding, detail: detail.clone(), ..group }));
    }
    verdict(rule, named.len() as f64 + f64::from(of_nobody), 0.0, offenders)
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
            rate: None,
            finding: None,
            detail: None,
            ids: change.ids.clone(),
            example: Some(change.example),
        }));
    }
    verdict(rule, grown, allowed, offenders)
}
