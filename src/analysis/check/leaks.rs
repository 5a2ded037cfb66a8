//! Whether goroutines are leaked, by what a mark of the heap has found.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::judge::{by_size, verdict};
use super::{Offender, Outcome, Reason, Rule, Verdict};
use crate::analysis::GroupBy;
use crate::analysis::census::{Census, Member, groups};
use crate::analysis::findings::{DEADLOCK, NEVER_WAKES};
use crate::heap::{Grade, Leaks};
use crate::model::SymbolPool;

/// `all` is the program as it was after the mark, `counted` what is left of it without what is allowed.
pub(super) fn no_leaks(
    rule: &Rule,
    (all, counted): (&Census, &Census),
    leaks: &Leaks,
    by: &GroupBy,
    pool: &mut SymbolPool,
) -> Verdict {
    let grade = leaks.proof.grade();
    // In which deadlock each is.
    let mut leaked: FxHashMap<u64, Option<usize>> = leaks.leaked.iter().map(|leaked| (leaked.goid, None)).collect();
    let deadlocks = leaks.deadlocks.as_deref().unwrap_or_default();
    for (at, deadlock) in deadlocks.iter().enumerate() {
        leaked.extend(deadlock.goroutines.iter().map(|id| (*id, Some(at))));
    }
    let mut found: BTreeMap<Option<usize>, Vec<&Member>> = BTreeMap::new();
    for member in &counted.members {
        if let Some(deadlock) = leaked.get(&member.id) {
            found.entry(*deadlock).or_default().push(member);
        }
    }
    let mut count: usize = found.values().map(Vec::len).sum();
    let rest = found.remove(&None);
    let mut offenders = Vec::new();
    for (finding, members) in
        found.into_values().map(|members| (DEADLOCK, members)).chain(rest.map(|r| (NEVER_WAKES, r)))
    {
        let groups = by_size(&groups(members, by, pool), |_| true);
        offenders.extend(groups.into_iter().map(|group| Offender { finding: Some(finding), ..group }));
    }
    if grade == Grade::Certain {
        // What is proven is leaked, though the snapshot lacks it. Otherwise it has ended, and was not.
        let known: FxHashSet<u64> = all.members.iter().map(|member| member.id).collect();
        let unseen: Vec<u64> = leaks.leaked.iter().map(|l| l.goid).filter(|id| !known.contains(id)).collect();
        if !unseen.is_empty() {
            count += unseen.len();
            let unseen_count = u64::try_from(unseen.len()).unwrap_or(u64::MAX);
            let finding = Some(NEVER_WAKES);
            offenders.push(Offender { count: unseen_count, finding, ids: unseen, ..Offender::default() });
        }
    }
    let judged = Verdict { grade: Some(grade), ..verdict(rule, count as f64, 0.0, offenders) };
    // Two marks of a program that is stopped find the same, whatever that is.
    if all.stopped && grade != Grade::Certain && judged.fails() {
        return Verdict { outcome: Outcome::NotJudged(Reason::Stopped), grade: None, ..judged };
    }
    judged
}
