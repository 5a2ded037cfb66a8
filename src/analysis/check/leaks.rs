//! Whether goroutines are leaked, by what a mark of the heap has found.

use rustc_hash::FxHashSet;

use super::judge::{by_size, verdict};
use super::{Offender, Outcome, Reason, Rule, Verdict};
use crate::analysis::GroupBy;
use crate::analysis::census::{Census, Member, groups};
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
    let leaked: FxHashSet<u64> = leaks.leaked.iter().map(|leaked| leaked.goid).collect();
    let found: Vec<&Member> = counted.members.iter().filter(|member| leaked.contains(&member.id)).collect();
    let mut count = found.len();
    let mut offenders = by_size(&groups(found, by, pool), |_| true);
    if grade == Grade::Certain {
        // What is proven is leaked, though the snapshot lacks it. Otherwise it has ended, and was not.
        let known: FxHashSet<u64> = all.members.iter().map(|member| member.id).collect();
        let unseen: Vec<u64> = leaks.leaked.iter().map(|l| l.goid).filter(|id| !known.contains(id)).collect();
        if !unseen.is_empty() {
            count += unseen.len();
            let unseen_count = u64::try_from(unseen.len()).unwrap_or(u64::MAX);
            offenders.push(Offender { count: unseen_count, ids: unseen, ..Offender::default() });
        }
    }
    let judged = Verdict { grade: Some(grade), ..verdict(rule, count as f64, 0.0, offenders) };
    // Two marks of a program that is stopped find the same, whatever that is.
    if all.stopped && grade != Grade::Certain && judged.fails() {
        return Verdict { outcome: Outcome::NotJudged(Reason::Stopped), grade: None, ..judged };
    }
    judged
}
