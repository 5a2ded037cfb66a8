//! What a check found, for people.

use std::io::{self, Write};

use super::{OFFENDERS, Options, Subject, offender_line, outcome, typed};
use crate::analysis::check::Outcome;
use crate::report::clean::clean;
use crate::report::members::{Side, write_stack};
use crate::report::text::{Role, facts};
use crate::report::units::{count, counted, duration};

/// Writes a line for each rule, and below those that failed the groups to blame with their stacks.
///
/// # Errors
/// Those of `out`.
pub fn text(out: &mut dyn Write, subject: &Subject<'_>, options: &Options) -> io::Result<()> {
    let style = options.style;
    let role = match (subject.failed(), subject.not_judged()) {
        (0, 0) => Role::Good,
        (0, _) => Role::Attention,
        _ => Role::Bad,
    };
    let watched = match subject.samples {
        ..=1 => String::new(),
        samples => format!(", {} in {}", samples_text(samples), duration(subject.watched_ns)),
    };
    writeln!(out, "{}{watched}", style.paint(role, &subject.headline()))?;
    if let Some(census) = subject.census {
        facts::facts(out, style, "target", &[Side::of(census).words()])?;
    }
    if let Some(baseline) = subject.baseline {
        facts::facts(out, style, "baseline", &[Side::of(baseline).words()])?;
    }
    for note in subject.notes {
        facts::paragraph(out, style, Role::Attention, &clean(note))?;
    }
    let words = subject.words(options.system);
    for verdict in subject.verdicts {
        let (word, role) = match verdict.outcome {
            Outcome::Holds => ("PASS", Role::Good),
            Outcome::Fails => ("FAIL", Role::Bad),
            Outcome::NotJudged(_) => ("NOT JUDGED", Role::Attention),
        };
        let rule = clean(&typed(&verdict.rule)).into_owned();
        writeln!(out, "\n{}  {}: {}", style.paint(role, word), style.paint(Role::Strong, &rule), outcome(verdict))?;
        for offender in verdict.offenders.iter().take(OFFENDERS) {
            writeln!(out, "\n  {}", offender_line(offender, &words, subject.stopped()))?;
            if let Some(example) = &offender.example {
                write_stack(out, style, "    ", &words.stack(example))?;
            }
        }
        if verdict.offenders.len() > OFFENDERS && verdict.offenders.iter().any(|offender| offender.heap.is_some()) {
            let parts = u64::try_from(verdict.offenders.len() - OFFENDERS).unwrap_or(u64::MAX);
            writeln!(out, "\n  and {}; --json has them", counted(parts, "part more", "parts more"))?;
            continue;
        }
        let more: u64 = verdict.offenders.iter().skip(OFFENDERS).map(|offender| offender.count).sum();
        if more > 0 {
            let groups = verdict.offenders.len().saturating_sub(OFFENDERS);
            let groups = counted(u64::try_from(groups).unwrap_or(u64::MAX), "smaller group", "smaller groups");
            writeln!(out, "\n  and {} in {groups}; --json has them", count(more))?;
        }
    }
    Ok(())
}

fn samples_text(samples: usize) -> String {
    counted(u64::try_from(samples).unwrap_or(u64::MAX), "sample", "samples")
}
