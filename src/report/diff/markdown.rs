//! The difference to paste into a pull request.

use std::io::{self, Write};

use super::{Options, Subject, elapsed, signed};
use crate::analysis::diff::ChangeKind;
use crate::report::clean::clean;
use crate::report::members::{Side, stack_text};
use crate::report::units::{count, counted};

/// Writes the difference: a table, and each changed group's stack folded below it.
///
/// # Errors
/// Those of `out`.
pub fn markdown(out: &mut dyn Write, subject: &Subject<'_>, options: &Options) -> io::Result<()> {
    let Subject { a, b, diff, .. } = *subject;
    let delta = i128::from(diff.after) - i128::from(diff.before);
    writeln!(out, "### Goroutines: {} → {} ({})\n", count(diff.before), count(diff.after), signed(delta))?;
    writeln!(out, "* before: {}", prose(&Side::of(a).words()))?;
    writeln!(out, "* after: {}, {}", prose(&Side::of(b).words()), elapsed(diff.relation.elapsed_ns))?;
    for note in subject.notes() {
        writeln!(out, "* **{}**", prose(&clean(&note)))?;
    }
    let words = subject.words(options.system);
    let changed: Vec<_> = diff.changes.iter().filter(|change| change.fate != ChangeKind::Unchanged).collect();
    if changed.is_empty() {
        return writeln!(out, "\nNo group has changed.");
    }
    writeln!(out, "\n| change | before | after | | state | where |\n|---:|---:|---:|---|---|---|")?;
    for change in changed.iter().take(options.limit) {
        let place = subject.key_text(change, &words).unwrap_or_else(|| words.place(&change.example));
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            signed(change.delta()),
            count(change.before),
            count(change.after),
            change.fate.name(),
            prose(&words.state(&change.example)),
            code(&place),
        )?;
    }
    let more = changed.len().saturating_sub(options.limit);
    if more > 0 {
        let more = counted(u64::try_from(more).unwrap_or(u64::MAX), "group", "groups");
        writeln!(out, "\nand {more} more")?;
    }
    for change in changed.iter().take(options.limit) {
        let bracket = words.bracket(&change.example, change.wait, change.before.max(change.after));
        let title = format!("{} {} {bracket}", signed(change.delta()), words.place(&change.example));
        writeln!(out, "\n<details><summary>{}</summary>\n", html(&title))?;
        let text = stack_text("", &words.stack(&change.example));
        let fence = "`".repeat(longest_run(&text, '`').max(2) + 1);
        writeln!(out, "{fence}text\n{text}{fence}\n\n</details>")?;
    }
    if let Some(stayed) = &diff.stayed {
        let goroutines: u64 = stayed.iter().map(|one| one.group.count).sum();
        let what = counted(goroutines, "goroutine is", "goroutines are");
        writeln!(out, "\n{what} in the same wait in both.")?;
    }
    Ok(())
}

/// Text in which nothing acts as Markdown or HTML.
fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in html(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '@' | '!') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Inline code in a table.
fn code(text: &str) -> String {
    // A backtick cannot be escaped within code, and a bar ends a cell even there.
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn longest_run(text: &str, wanted: char) -> usize {
    text.split(|c| c != wanted).map(str::len).max().unwrap_or(0)
}
