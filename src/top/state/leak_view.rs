//! The view of leaked goroutines: asked for, looked for, found or not.

use std::sync::Arc;
use std::time::Duration;

use super::State;
use super::page::Line;
use super::pages::{commonest_stack, fact, line, stack_lines, stack_title};
use super::rows::{Row, Section};
use crate::report::text::shorten::width;
use crate::report::units::{age, bytes, count, counted};
use crate::top::event::Effect;
use crate::top::leaks::LeaksFound;
use crate::top::piece::{Tone, piece};
use crate::top::tab::Tab;

/// What is known of leaks. They are looked for when that is asked for, and at no other time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeakView {
    /// What was found last, and when.
    pub found: Option<(Arc<LeaksFound>, Duration)>,
    /// Since when they are looked for.
    pub looking: Option<Duration>,
    /// Why they were not found the last time.
    pub problem: Option<String>,
}

impl State {
    /// What is known of leaks.
    #[must_use]
    pub fn leaks(&self) -> &LeakView {
        &self.leaks
    }

    /// For how long they have been looked for, and how long ago they were found.
    #[must_use]
    pub fn leak_times(&self) -> (Option<Duration>, Option<Duration>) {
        let since = |at: Duration| self.now.saturating_sub(at);
        (self.leaks.looking.map(since), self.leaks.found.as_ref().map(|(_, at)| since(*at)))
    }

    pub(super) fn find_leaks(&mut self, effects: &mut Vec<Effect>) {
        if self.tab != Tab::Leaks || !self.pages.is_empty() {
            self.show(Tab::Leaks.position());
        }
        let Some(view) = &self.view else { return };
        if self.leaks.looking.is_some() {
            return;
        }
        let is_there = self.can_read() || self.settings.recorded;
        if !is_there {
            self.tell("the program has ended: there is no heap to read".to_owned());
            return;
        }
        self.leaks.looking = Some(self.now);
        effects.push(Effect::FindLeaks { shown: Arc::clone(&view.observed), run: self.restarts });
        self.arrange();
    }

    /// What came of it in a run of the program.
    pub(super) fn leaks_found(&mut self, run: u64, result: Result<Arc<LeaksFound>, String>) {
        if run != self.restarts {
            // Of another run of the program.
            return;
        }
        self.leaks.looking = None;
        match result {
            Ok(found) => {
                self.leaks.problem = None;
                self.leaks.found = Some((found, self.now));
            }
            Err(problem) => self.leaks.problem = Some(problem),
        }
        self.arrange();
    }

    pub(super) fn leak_rows(&self) -> Vec<Row> {
        /// Deadlocks that have a line.
        const MOST: usize = 5;
        let mut rows = vec![Row::Head(Section::LeakStatus), Row::Head(Section::LeakDetail)];
        let Some((found, _)) = &self.leaks.found else { return rows };
        let deadlocks = found.deadlocks.len();
        rows.extend((0..deadlocks.min(MOST)).map(|at| Row::Head(Section::Deadlock(at))));
        if deadlocks > MOST {
            rows.push(Row::Head(Section::MoreDeadlocks(deadlocks - MOST)));
        }
        if !found.groups.is_empty() {
            rows.push(Row::Head(Section::Leaks));
        }
        rows.extend((0..found.groups.len()).map(Row::Leak));
        rows
    }

    /// Positions of the goroutines of a group that are still there.
    pub(super) fn leaked(&self, lowest: u64) -> Vec<usize> {
        let found = self.leaks.found.as_ref().and_then(|(found, _)| found.group(lowest));
        let (Some(group), Some(view)) = (found, &self.view) else { return Vec::new() };
        let goroutines = view.observed.snapshot().goroutines.iter().enumerate();
        let members = goroutines
            .filter(|(_, goroutine)| !goroutine.status.is_dead() && group.ids.binary_search(&goroutine.id.0).is_ok());
        members.map(|(at, _)| at).collect()
    }

    pub(super) fn leak_lines(&self, lowest: u64) -> Option<Vec<Line>> {
        let (found, at) = self.leaks.found.as_ref()?;
        let group = found.group(lowest)?;
        let columns = usize::from(self.size.0).saturating_sub(2);
        let place = group.place.as_ref().map(|words| (words.line(), words.source.clone()));
        let (function, source) = place.unwrap_or_else(|| ("an unknown place".to_owned(), String::new()));
        let mut lines = match width(&function) + 2 + width(&source) <= columns {
            true => vec![line([piece(Tone::Strong, function), piece(Tone::Dim, format!("  {source}"))])],
            false => vec![line([piece(Tone::Strong, function)]), line([piece(Tone::Dim, format!("  {source}"))])],
        };
        let leaked = counted(group.count, "goroutine", "goroutines");
        let ago = age(nanoseconds(self.now.saturating_sub(*at)));
        lines.push(fact("Leaked", format!("{leaked}, {}, found {ago} ago", found.grade.name())));
        if group.deadlocked > 0 {
            lines.push(fact("", format!("{} of them in a deadlock", count(group.deadlocked))));
        }
        lines.push(fact("Wait for", group.reason.clone()));
        if let Some(ns) = group.longest_ns {
            lines.push(fact("Blocked", format!("≥ {} the longest, when they were found", age(ns))));
        }
        let heap = group.heap_bytes.map_or_else(String::new, |heap| format!(" and {} of the heap", bytes(heap)));
        lines.push(fact("Keep", format!("{} of stacks{heap}", bytes(group.stack_bytes))));
        if let Some(creator) = &group.creator {
            lines.push(fact("Creator", format!("{}  {}", creator.line(), creator.source).trim_end()));
        }
        let members = self.leaked(lowest);
        let snapshot = self.view.as_ref()?.observed.snapshot();
        if let Some((stack, holder, same)) = commonest_stack(snapshot, &members) {
            lines.push(stack_title(holder, same, members.len(), ""));
            lines.extend(stack_lines(snapshot, stack, holder, columns, !self.unfolded));
        }
        Some(lines)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
