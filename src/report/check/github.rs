//! What a check found as annotations of GitHub Actions.
//!
//! One error for each rule that failed, at the innermost line of the worst group that is in the
//! workspace, and one warning for each that could not be judged. They are read beside the code and
//! cut off by GitHub, so they name the places of the largest groups, and no stacks.

use std::io::{self, Write};
use std::path::Path;

use rustc_hash::FxHashMap;

use super::{Subject, heap, outcome, typed};
use crate::analysis::check::{Outcome, Verdict};
use crate::report::clean::clean;
use crate::report::members::Words;
use crate::report::units::{count, counted};

/// Writes workflow commands. `workspace` is the checkout (`GITHUB_WORKSPACE`): files in it are
/// pointed at.
///
/// # Errors
/// Those of `out`.
pub fn github(out: &mut dyn Write, subject: &Subject<'_>, workspace: Option<&Path>) -> io::Result<()> {
    let words = subject.words(false);
    if let Some(error) = subject.error {
        return writeln!(out, "::error title=gospy check::{}", data(&clean(error).replace("\\n", "\n")));
    }
    for verdict in subject.verdicts {
        let level = match verdict.outcome {
            Outcome::Holds => continue,
            Outcome::Fails => "error",
            Outcome::NotJudged(_) => "warning",
        };
        let mut properties = Vec::new();
        let worst = verdict.offenders.first().and_then(|offender| offender.example.as_ref());
        // The innermost line of the repository's own: what it calls is no fault of a library.
        let own = worst.and_then(|example| {
            words.lines(example).find_map(|(file, line)| Some((in_workspace(file, workspace)?, line)))
        });
        let site = || {
            heap::source(verdict, subject.pool).and_then(|(file, line)| Some((in_workspace(file, workspace)?, line)))
        };
        if let Some((file, line)) = own.or_else(site) {
            properties.push(format!("file={}", property(&clean(file))));
            properties.push(format!("line={line}"));
        }
        let title = format!("gospy check: {}", typed(&verdict.rule));
        properties.push(format!("title={}", property(&clean(&title))));
        let head = if level == "warning" { "not judged: " } else { "" };
        let mut message = format!("{head}{}", outcome(verdict));
        for line in places(verdict, &words, workspace) {
            message.push('\n');
            message.push_str(&line);
        }
        writeln!(out, "::{level} {}::{}", properties.join(","), data(&message))?;
    }
    Ok(())
}

/// Places that an annotation names.
const PLACES: usize = 5;

/// The places of the goroutines that broke a rule, those of most goroutines first, a line each.
fn places(verdict: &Verdict, words: &Words<'_>, workspace: Option<&Path>) -> Vec<String> {
    let mut places: Vec<(String, u64)> = Vec::new();
    let mut at: FxHashMap<String, usize> = FxHashMap::default();
    let heap = verdict.offenders.iter().filter_map(|offender| heap::offender_line(offender, words.pool()));
    let heap: Vec<String> = heap.take(PLACES).collect();
    if !heap.is_empty() {
        return heap;
    }
    for offender in &verdict.offenders {
        let Some(example) = &offender.example else { continue };
        let (name, line) = match example.place.frame() {
            Some(frame) => (words.place(example), Some(frame)),
            None => (words.function(example.creator), example.creator),
        };
        let mut text = format!("[{}] {name}", words.state(example));
        if let Some(source) = words.source(line) {
            text.push_str(&format!(" {}", in_workspace(&source, workspace).unwrap_or(&source)));
        }
        let nth = *at.entry(text.clone()).or_insert(places.len());
        match places.get_mut(nth) {
            Some((_, count)) => *count = count.saturating_add(offender.count),
            None => places.push((text, offender.count)),
        }
    }
    places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more: u64 = places.iter().skip(PLACES).map(|(_, count)| count).sum();
    let others = u64::try_from(places.len().saturating_sub(PLACES)).unwrap_or(u64::MAX);
    let mut lines: Vec<String> =
        places.into_iter().take(PLACES).map(|(text, n)| format!("{} {text}", count(n))).collect();
    if others > 0 {
        lines.push(format!("{} at {}", count(more), counted(others, "other place", "other places")));
    }
    lines
}

/// The file as the repository names it; with `-trimpath` it may be so already, but then it begins
/// with the module's path and cannot be pointed at.
fn in_workspace<'a>(file: &'a str, workspace: Option<&Path>) -> Option<&'a str> {
    let workspace = workspace?.to_str()?.trim_end_matches('/');
    file.strip_prefix(workspace)?.strip_prefix('/').filter(|rest| !rest.is_empty() && !workspace.is_empty())
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
