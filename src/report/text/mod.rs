//! What `gospy summary` prints for people.
//!
//! Everything fits the width that it is given (80 columns and up) and uses it; without a width
//! nothing is shortened. Unknown numbers are left out or said to be unknown, never shown as 0.

pub(super) mod facts;
#[cfg(feature = "cli")]
mod list;
#[cfg(feature = "cli")]
pub(super) mod memory;
#[cfg(feature = "cli")]
mod program;
#[cfg(feature = "cli")]
mod scheduler;
pub(crate) mod shorten;
#[cfg(feature = "cli")]
pub(super) mod table;
#[cfg(test)]
#[cfg(feature = "cli")]
mod tests;
mod theme;

#[cfg(feature = "cli")]
use std::io::{self, Write};

#[cfg(feature = "cli")]
use crate::analysis::{Answer, findings};

#[cfg(feature = "cli")]
pub(super) use table::{CellText, Column, Shrink};
pub(crate) use theme::Role;
pub use theme::TextStyle;

#[cfg(feature = "cli")]
/// How to show an answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct SummaryOptions {
    /// Width and colour.
    pub style: TextStyle,
    /// Whether the ages of waits could be measured by reading more than once, and were not.
    pub can_watch: bool,
    /// Whether to show every P and M, though none of them stands out.
    pub verbose: bool,
}

#[cfg(feature = "cli")]
/// Writes the summary. The list has the rows of `answer`; all totals are of all goroutines.
///
/// # Errors
/// Those of `out`.
pub fn summary(out: &mut dyn Write, answer: &Answer<'_, '_>, options: SummaryOptions) -> io::Result<()> {
    let index = answer.index();
    let snapshot = index.snapshot();
    let style = options.style;
    let findings = answer.findings();
    program::name(out, style, snapshot)?;
    // The cause of death has a section of its own, right below.
    let others = match findings.split_first() {
        Some((first, others)) if first.finding.code() == findings::DIED.code() => others,
        _ => findings,
    };
    if let Some(headline) = super::findings::headline(others, index) {
        facts::paragraph(out, style, Role::Bad, &headline)?;
    }
    program::facts_of(out, style, snapshot)?;
    super::death::section(out, style, index)?;
    let (ps, ms) =
        (options.verbose || scheduler::ps_stand_out(snapshot), options.verbose || scheduler::ms_stand_out(snapshot));
    scheduler::write(out, style, snapshot, ps && ms)?;
    memory::write(out, style, snapshot)?;
    if ps {
        scheduler::write_processors(out, style, &snapshot.processors)?;
    }
    if ms {
        scheduler::write_threads(out, style, &snapshot.threads)?;
    }
    list::write(out, answer, options)?;
    super::findings::section(out, style, findings, index)?;
    write_warnings(out, style, snapshot)
}

#[cfg(feature = "cli")]
fn write_warnings(out: &mut dyn Write, style: TextStyle, snapshot: &crate::model::Snapshot) -> io::Result<()> {
    use crate::report::clean::clean;
    if snapshot.warnings.is_empty() && snapshot.is_complete() {
        return Ok(());
    }
    facts::heading(out, style, "Warnings", "")?;
    for warning in &snapshot.warnings {
        let times = match warning.count {
            1 => String::new(),
            count => format!(" ({} times)", super::units::count(count)),
        };
        let text = format!("{}: {}{times}", warning.code.name(), clean(&warning.message));
        facts::paragraph(out, style, Role::Attention, &text)?;
    }
    if !snapshot.is_complete() {
        facts::paragraph(out, style, Role::Attention, "Something that was asked for is missing from this answer.")?;
    }
    Ok(())
}
