//! Findings in words, and as the part of a JSON document that they are.

use std::io::{self, Write};

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::Serialize;

use super::clean::clean;
use super::text::{Role, TextStyle, facts, shorten};
use super::units::{count, counted};
use crate::analysis::Index;
use crate::analysis::findings::{Finding, Found};
use crate::model::{StackId, StackState};

/// Ids shown of one finding.
const TEXT_IDS: usize = 8;
/// Ids of one finding in JSON.
const JSON_IDS: usize = 1_000;

/// A definite problem.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub struct FindingDocument {
    /// A stable code: died, fatal_error, panicking, leaked, nil_channel, empty_select, long_lock_wait,
    /// blocked_finalizer; by the heap: deadlock, never_wakes. Open enumeration.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// How many goroutines it is about.
    pub count: u64,
    /// Ids of the first thousand of them.
    pub goroutine_ids: Vec<u64>,
}

/// Longest detail that is shown, in characters.
const DETAIL: usize = 400;

/// `goroutine 7 waits …`, or `3 goroutines wait …`; `first` is the id of one of them, 0 where there is
/// none, and `detail` what is known of it besides.
#[must_use]
pub(crate) fn message(finding: &dyn Finding, goroutines: u64, first: u64, detail: Option<&str>) -> String {
    let detail = detail.map(|text| clean(&shortened(text)).into_owned());
    if finding.is_of_program() {
        let blamed = if first == 0 { String::new() } else { format!(" (goroutine {first})") };
        return match detail {
            Some(detail) => format!("{}: {detail}{blamed}", finding.one()),
            None => format!("{}{blamed}", finding.one()),
        };
    }
    let text = match goroutines {
        1 => format!("goroutine {first} {}", finding.one()),
        several => format!("{} goroutines {}", count(several), finding.many()),
    };
    match (detail, goroutines) {
        (None, _) => text,
        (Some(detail), 1) => format!("{text}: {detail}"),
        (Some(detail), _) => format!("{text}; one of them: {detail}"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(DETAIL) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The sentence of what was found in a snapshot.
#[must_use]
pub(crate) fn sentence(found: &Found, index: &Index<'_>) -> String {
    let first = ids(found, index).next().unwrap_or(0);
    message(found.finding, number(found.positions.len()), first, found.detail.as_deref())
}

fn ids(found: &Found, index: &Index<'_>) -> impl Iterator<Item = u64> {
    let goroutines = &index.snapshot().goroutines;
    found.positions.iter().filter_map(|&at| goroutines.get(at)).map(|goroutine| goroutine.id.0)
}

fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// What was found in a snapshot, as JSON has it.
#[must_use]
pub(crate) fn documents(findings: &[Found], index: &Index<'_>) -> Vec<FindingDocument> {
    let document = |found: &Found| FindingDocument {
        code: found.finding.code(),
        message: sentence(found, index),
        count: number(found.positions.len()),
        goroutine_ids: ids(found, index).take(JSON_IDS).collect(),
    };
    findings.iter().map(document).collect()
}

/// `2 findings: ` and the first of them; `None` where there is none.
#[must_use]
pub(crate) fn headline(findings: &[Found], index: &Index<'_>) -> Option<String> {
    let first = findings.first()?;
    Some(format!("{}: {}", counted(number(findings.len()), "finding", "findings"), sentence(first, index)))
}

/// Frames that are shown with a finding.
const FRAMES: usize = 8;

/// The stack that most of the goroutines of a finding have, and how many have it.
fn commonest_stack(found: &Found, index: &Index<'_>) -> Option<(usize, usize)> {
    let goroutines = &index.snapshot().goroutines;
    let mut counts: FxHashMap<StackId, (usize, usize)> = FxHashMap::default();
    for &at in &found.positions {
        if let Some(StackState::Known(id)) = goroutines.get(at).map(|goroutine| goroutine.stack) {
            counts.entry(id).or_insert((0, at)).0 += 1;
        }
    }
    counts.into_values().max_by_key(|&(same, at)| (same, std::cmp::Reverse(at))).map(|(same, at)| (at, same))
}

/// The stack of a finding, below it: a frame a line.
fn stack(out: &mut dyn Write, style: TextStyle, found: &Found, index: &Index<'_>) -> io::Result<()> {
    let Some((at, same)) = commonest_stack(found, index) else { return Ok(()) };
    let Some(goroutine) = index.snapshot().goroutines.get(at) else { return Ok(()) };
    let Some(stack) = index.stack(goroutine) else { return Ok(()) };
    if found.positions.len() > 1 {
        let of = found.positions.len();
        let whose = if same == of { "all of them".to_owned() } else { format!("{} of them", count(number(same))) };
        writeln!(out, "      {}", style.paint(Role::Dim, &format!("{whose}, as goroutine {}:", goroutine.id.0)))?;
    }
    let symbols = &index.snapshot().symbols;
    let all_hidden = stack.frames.iter().all(|frame| frame.hidden);
    let shown: Vec<_> = stack.frames.iter().filter(|frame| all_hidden || !frame.hidden).collect();
    let room = style.width.map_or(usize::MAX, |width| width.saturating_sub(6));
    for frame in shown.iter().take(FRAMES) {
        let function = clean(symbols.function(frame.frame));
        let place = symbols.frame(frame.frame).map_or_else(String::new, |frame| match symbols.str(frame.file) {
            "" => String::new(),
            file => format!("{}:{}", clean(file), frame.line),
        });
        // The place as well as can be beside its function, which gives way first.
        let least = shorten::width(&shorten::path(&place, 0));
        let function = shorten::function_at_any_cost(&function, room.saturating_sub(least + 2));
        let left = room.saturating_sub(shorten::width(&function) + 2);
        write!(out, "      {}", shorten::words(&function, room))?;
        if left > 0 && !place.is_empty() {
            let place = shorten::path(&place, left);
            write!(out, "  {}", style.paint(Role::Dim, &shorten::words(&place, left)))?;
        }
        writeln!(out)?;
    }
    match shown.len().saturating_sub(FRAMES) {
        0 => Ok(()),
        more => {
            let more = counted(number(more), "more frame", "more frames");
            let text = format!("… and {more}: gospy stack --goid {}", goroutine.id.0);
            writeln!(out, "      {}", style.paint(Role::Dim, &text))
        }
    }
}

/// A section of a summary; nothing at all if there are no findings.
pub(super) fn section(out: &mut dyn Write, style: TextStyle, findings: &[Found], index: &Index<'_>) -> io::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    facts::heading(out, style, "Findings", "")?;
    for found in findings {
        let mut text = format!("{}: {}", found.finding.code(), sentence(found, index));
        if found.positions.len() > 1 {
            let shown: Vec<String> = ids(found, index).take(TEXT_IDS).map(|id| id.to_string()).collect();
            text.push_str(&format!(" ({}", shown.join(", ")));
            match found.positions.len().saturating_sub(TEXT_IDS) {
                0 => text.push(')'),
                more => text.push_str(&format!(" and {} more)", count(number(more)))),
            }
        }
        facts::paragraph(out, style, Role::Bad, &text)?;
        // The cause of death has a section of its own, with its stack.
        if !found.finding.is_of_program() {
            stack(out, style, found, index)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{documents, section};
    use crate::analysis::Index;
    use crate::analysis::findings::of_snapshot;
    use crate::model::testing::{GoroutineSpec, SnapshotBuilder};
    use crate::report::text::TextStyle;

    #[test]
    fn one_several_and_many() {
        let mut builder = SnapshotBuilder::new();
        for id in 2..=2_001 {
            builder.add(&GoroutineSpec { id, reason: Some("chan send (nil chan)"), ..Default::default() });
        }
        builder.add(&GoroutineSpec { id: 9_000, reason: Some("select (no cases)"), ..Default::default() });
        let snapshot = builder.build();
        let index = Index::new(&snapshot);
        let findings = of_snapshot(&index);
        let mut out = Vec::new();
        section(&mut out, TextStyle { width: Some(80), colour: false }, &findings, &index).unwrap();
        let want = "
Findings
  ! nil_channel: 2,000 goroutines are blocked forever on nil channels (2, 3, 4,
    5, 6, 7, 8, 9 and 1,992 more)
  ! empty_select: goroutine 9000 is blocked forever in a select without cases
";
        assert_eq!(String::from_utf8(out).unwrap(), want);
        let documents = documents(&findings, &index);
        assert_eq!((documents[0].count, documents[0].goroutine_ids.len()), (2_000, 1_000));
        assert_eq!((documents[1].code, documents[1].goroutine_ids.as_slice()), ("empty_select", &[9_000][..]));
        let mut out = Vec::new();
        section(&mut out, TextStyle::default(), &[], &index).unwrap();
        assert!(out.is_empty());
    }
}
