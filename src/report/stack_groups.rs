//! Identical stacks, shown once.
//!
//! A block says how many goroutines share a stack, which, and for how long they have waited, and
//! then shows it as [`super::traceback`] would. For people; what reads tracebacks wants every
//! goroutine.

use std::cmp::Reverse;
use std::io::{self, Write};

use rustc_hash::FxHashMap;

use super::clean::clean;
use super::labels;
use super::text::{Role, TextStyle};
use super::traceback::{Traceback, TracebackOptions};
use super::units::{age, count, counted};
use super::waits::brief;
use crate::analysis::group::What;
use crate::analysis::{Answer, Group, Index, WaitRange};
use crate::model::{Goroutine, StackId, Status, WaitReasonId};

/// Most ids of a group that are shown.
const MAX_IDS: usize = 64;

/// Writes one block for each group of `answer`, with an empty line between, and how many its limit hides.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut dyn Write, answer: &Answer<'_, '_>, options: TracebackOptions) -> io::Result<()> {
    let index = answer.index();
    let mut traceback = Traceback::new(index, options);
    let mut first = true;
    for group in answer.groups().unwrap_or_default() {
        let Some(example) = index.snapshot().goroutines.get(group.example) else { continue };
        if !first {
            writeln!(out)?;
        }
        first = false;
        if group.count == 1 {
            traceback.write(out, example)?;
            continue;
        }
        let wait = waits(group.wait, group.count);
        let bracket = match group.details.states.as_slice() {
            [_, _, ..] => bracket_of_states(index, group, wait),
            _ => traceback.bracket_of_group(example, wait),
        };
        let head = format!("{} goroutines {bracket}{}:", count(group.count), key(index, group, example));
        writeln!(out, "{}", options.style.paint(Role::Strong, &head))?;
        write_ids(out, options.style, group)?;
        // By what is no stack, members have several.
        let (example, same) = commonest_stack(index, group).unwrap_or((example, group.count));
        if same < group.count {
            let whose = format!("stack of goroutine {}, one of {same} with it", example.id.0);
            writeln!(out, "{}", options.style.paint(Role::Dim, &whose))?;
        }
        if options.labels {
            for line in labels::lines(&group.details.labels, &index.snapshot().symbols, group.count) {
                writeln!(out, "{}", options.style.paint(Role::Dim, &format!("label {line}")))?;
            }
        }
        traceback.write_body(out, example)?;
        let parent = group.details.parent.map(|id| id.0);
        out.write_all(traceback.created_by(example, parent).as_bytes())?;
    }
    let hidden = answer.hidden();
    if hidden.rows > 0 {
        let text = format!(
            "… and {} with {} (--limit 0 shows all)",
            counted(hidden.rows, "more group", "more groups"),
            counted(hidden.goroutines, "goroutine", "goroutines")
        );
        writeln!(out, "\n{}", options.style.paint(Role::Dim, &text))?;
    }
    Ok(())
}

/// `[12 select, 3 runnable, ≥ 1m2s]`, of members that are in several states.
fn bracket_of_states(index: &Index<'_>, group: &Group, wait: Option<String>) -> String {
    let word = |&(status, reason, members): &(Status, Option<WaitReasonId>, u64)| {
        let reason = reason.filter(|_| status == Status::Waiting).and_then(|id| index.snapshot().wait_reason(id));
        format!("{} {}", count(members), clean(reason.unwrap_or(status.name())))
    };
    let words: Vec<String> = group.details.states.iter().map(word).chain(wait).collect();
    format!("[{}]", words.join(", "))
}

/// What the members have in common that is neither state nor stack.
fn key(index: &Index<'_>, group: &Group, example: &Goroutine) -> String {
    match group.key.what {
        What::On(on) => format!(" on {}", brief::on(index.snapshot(), on, example, group.count, usize::MAX).join(", ")),
        What::Label(value) => format!(" label {}", clean(index.snapshot().symbols.str(value))),
        _ => String::new(),
    }
}

/// One of those that have the stack that most of the members have, and how many these are.
fn commonest_stack<'a>(index: &Index<'a>, group: &Group) -> Option<(&'a Goroutine, u64)> {
    if matches!(group.key.what, What::Stack(_) | What::Lines(_)) {
        return None;
    }
    let mut counts: FxHashMap<StackId, (u64, &Goroutine)> = FxHashMap::default();
    for goroutine in group.details.members().iter().filter_map(|&at| index.snapshot().goroutines.get(at)) {
        if let Some(stack) = goroutine.stack.known() {
            counts.entry(stack).or_insert((0, goroutine)).0 += 1;
        }
    }
    let (_, (same, goroutine)) = counts.into_iter().max_by_key(|&(_, (same, first))| (same, Reverse(first.id)))?;
    Some((goroutine, same))
}

/// `≥ 1m2s`, or `≥ 5s to 1m2s` where they differ, of how many of `members` that is known, and of how
/// many it was measured: `≥ 2s, watched`.
pub(super) fn waits(wait: Option<WaitRange>, members: u64) -> Option<String> {
    let wait = wait?;
    let (least, most) = (age(wait.shortest_ns), age(wait.longest_ns));
    let range = if least == most { most } else { format!("{least} to {most}") };
    let all_watched = wait.watched == wait.known;
    let known = (wait.known < members).then(|| format!("{} known", count(wait.known)));
    let watched = (wait.watched > 0 && !all_watched).then(|| format!("{} watched", count(wait.watched)));
    let beside: Vec<String> = known.into_iter().chain(watched).collect();
    let beside = if beside.is_empty() { String::new() } else { format!(" ({})", beside.join(", ")) };
    let how = if all_watched { ", watched" } else { "" };
    Some(format!("≥ {range}{how}{beside}"))
}

/// The ids that are known, runs of them as `18-21`, as many as fit a line.
fn write_ids(out: &mut dyn Write, style: TextStyle, group: &Group) -> io::Result<()> {
    let mut ids: Vec<u64> = group.ids.iter().take(MAX_IDS).map(|id| id.0).collect();
    ids.sort_unstable();
    let room = style.width.unwrap_or(100).saturating_sub(10);
    let mut text = String::from("ids");
    let mut shown = 0_u64;
    let mut rest = ids.as_slice();
    while let Some(&from) = rest.first() {
        let run = rest.iter().zip(from..).take_while(|(id, wanted)| **id == *wanted).count().max(1);
        let to = rest.get(run - 1).copied().unwrap_or(from);
        let part = if from == to { format!(" {from}") } else { format!(" {from}-{to}") };
        if text.len() + part.len() > room {
            break;
        }
        text.push_str(&part);
        shown += u64::try_from(run).unwrap_or(0);
        rest = rest.get(run..).unwrap_or(&[]);
    }
    if shown < group.count {
        text.push_str(&format!(" +{}", count(group.count - shown)));
    }
    writeln!(out, "{}", style.paint(Role::Dim, &text))
}
