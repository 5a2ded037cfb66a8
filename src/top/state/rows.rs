//! The rows of what is open. They hold positions only; their text is made when it is drawn, so that
//! a list of a million goroutines costs no more than its screenful.

use super::State;
use super::page::Page;
use crate::analysis::group::Keys;
use crate::model::{Goid, Status, WaitReasonId};
use crate::top::grouping::Key;
use crate::top::tab::Tab;
use crate::top::view::Total;
use crate::top::waited::WaitKey;

/// A part of a page with columns of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// States.
    States,
    /// Wait reasons.
    Reasons,
    /// Ps.
    Processors,
    /// Ms.
    Threads,
    /// Members of a group, or those that a finding names; how many there are.
    Members(usize),
    /// Leaked goroutines.
    Leaks,
    /// What is known of leaks: how many, and how old that is.
    LeakStatus,
    /// The same in more detail.
    LeakDetail,
    /// A deadlock, by its number.
    Deadlock(usize),
    /// So many more deadlocks.
    MoreDeadlocks(usize),
    /// Findings.
    Findings,
}

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A group, by its position in the view.
    Group(usize),
    /// A goroutine, by its position in the snapshot.
    Goroutine(usize),
    /// A state or reason.
    Total(Total),
    /// A P, by its position in the snapshot.
    Processor(usize),
    /// An M, by its position in the snapshot.
    Thread(usize),
    /// What is waited on, by its number in the view.
    Wait(usize),
    /// A finding, by its position in the view.
    Finding(usize),
    /// A group of leaked goroutines, by its number.
    Leak(usize),
    /// A line of text of a page.
    Line(usize),
    /// The head of a section; it cannot be selected.
    Head(Section),
}

/// What a row stands for, whatever its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A group.
    Group(Key),
    /// A goroutine.
    Goroutine(Goid),
    /// A state.
    State(Status),
    /// A wait reason.
    Reason(WaitReasonId),
    /// A P, by its id.
    Processor(i32),
    /// An M, by its id.
    Thread(i64),
    /// What is waited on.
    Wait(WaitKey),
    /// A finding, by its code.
    Finding(&'static str),
    /// Leaked goroutines, by the lowest id of them.
    Leak(u64),
    /// A line of text, by its number.
    Line(usize),
}

impl State {
    /// What `row` stands for.
    #[must_use]
    pub fn identity(&self, row: &Row) -> Option<Identity> {
        let view = self.view.as_ref()?;
        let snapshot = view.observed.snapshot();
        Some(match *row {
            Row::Group(at) => Identity::Group(view.groups.get(at)?.key),
            Row::Goroutine(at) => Identity::Goroutine(snapshot.goroutines.get(at)?.id),
            Row::Total(Total::State(status)) => Identity::State(status),
            Row::Total(Total::Reason(reason)) => Identity::Reason(reason),
            Row::Processor(at) => Identity::Processor(snapshot.processors.get(at)?.id),
            Row::Thread(at) => Identity::Thread(snapshot.threads.get(at)?.id),
            Row::Finding(at) => Identity::Finding(view.observed.findings().get(at)?.finding.code()),
            Row::Wait(at) => Identity::Wait(view.waited.as_ref()?.key(at)?),
            Row::Leak(at) => Identity::Leak(*self.leaks.found.as_ref()?.0.groups.get(at)?.ids.first()?),
            Row::Line(at) => Identity::Line(at),
            Row::Total(Total::All) | Row::Head(_) => return None,
        })
    }

    pub(super) fn make_rows(&mut self) {
        self.make_lines();
        let rows = match self.page() {
            None => self.tab_rows(),
            Some(page) => {
                let lines = (0..self.lines.len()).map(Row::Line);
                let members = match page {
                    Page::Group { key, .. } => self.members(*key),
                    Page::Wait { key, .. } => self.waiting(*key),
                    Page::Leak(lowest) => self.leaked(*lowest),
                    Page::Finding(code) => self.named(code),
                    Page::Goroutine(_) => Vec::new(),
                };
                let head = (!members.is_empty()).then_some(Row::Head(Section::Members(members.len())));
                lines.chain(head).chain(members.into_iter().map(Row::Goroutine)).collect()
            }
        };
        self.rows = rows;
    }

    fn tab_rows(&self) -> Vec<Row> {
        let Some(view) = &self.view else { return Vec::new() };
        let snapshot = view.observed.snapshot();
        match self.tab {
            Tab::Groups => (0..view.groups.len()).map(Row::Group).collect(),
            Tab::Goroutines => view.positions.iter().map(|&at| Row::Goroutine(at)).collect(),
            Tab::States => {
                let totals = &self.memory.totals;
                let mut states: Vec<Status> = Vec::new();
                let mut reasons: Vec<WaitReasonId> = Vec::new();
                for key in totals.keys() {
                    match key {
                        Total::State(status) => states.push(status),
                        Total::Reason(reason) => reasons.push(reason),
                        Total::All => {}
                    }
                }
                states.sort_by_key(|&status| (std::cmp::Reverse(totals.count(Total::State(status))), status));
                reasons.sort_by_key(|&reason| {
                    let count = totals.count(Total::Reason(reason));
                    (std::cmp::Reverse(count), snapshot.wait_reason(reason), reason)
                });
                let states = states.into_iter().map(|status| Row::Total(Total::State(status)));
                let reasons = reasons.into_iter().map(|reason| Row::Total(Total::Reason(reason)));
                let states = [Row::Head(Section::States)].into_iter().chain(states);
                states.chain([Row::Head(Section::Reasons)]).chain(reasons).collect()
            }
            Tab::Scheduler => {
                let processors = (0..snapshot.processors.len()).map(Row::Processor);
                let processors = [Row::Head(Section::Processors)].into_iter().chain(processors);
                let threads = (0..snapshot.threads.len()).map(Row::Thread);
                processors.chain([Row::Head(Section::Threads)]).chain(threads).collect()
            }
            Tab::Waits => {
                let rows = view.waited.as_ref().map_or(&[][..], |waited| waited.rows());
                rows.iter().map(|&at| Row::Wait(at)).collect()
            }
            Tab::Leaks => self.leak_rows(),
            Tab::Findings => {
                let findings = (0..view.observed.findings().len()).map(Row::Finding);
                let head = (findings.len() > 0).then_some(Row::Head(Section::Findings));
                head.into_iter().chain(findings).collect()
            }
        }
    }

    /// Positions of the goroutines that a finding names, whatever the filter says.
    fn named(&self, code: &str) -> Vec<usize> {
        let findings = self.view.as_ref().map_or(&[][..], |view| view.observed.findings());
        let found = findings.iter().find(|found| found.finding.code() == code);
        found.map_or_else(Vec::new, |found| found.positions.clone())
    }

    /// Positions of the members of a group that match the filter, in the order of the goroutines'
    /// view.
    pub(super) fn members(&self, key: Key) -> Vec<usize> {
        let Some(view) = &self.view else { return Vec::new() };
        let selection = &self.settings.selection;
        let index = view.observed.index();
        let mut keys = Keys::lasting(&index.snapshot().symbols, &selection.grouping);
        let goroutines = &view.observed.snapshot().goroutines;
        let mut members: Vec<usize> = view
            .positions
            .iter()
            .copied()
            .filter(|&at| goroutines.get(at).is_some_and(|goroutine| index.key(&mut keys, goroutine) == key))
            .collect();
        self.sort_members(&mut members);
        members
    }

    /// Positions of the goroutines that wait on something and match the filter, likewise.
    fn waiting(&self, key: WaitKey) -> Vec<usize> {
        let Some(view) = &self.view else { return Vec::new() };
        let row = view.waited.as_ref().and_then(|waited| waited.find(key));
        let mut members = row.map_or_else(Vec::new, |row| row.goroutines.clone());
        self.sort_members(&mut members);
        members
    }

    fn sort_members(&self, members: &mut [usize]) {
        let Some(index) = self.index() else { return };
        let selection = &self.settings.selection;
        let order = selection.goroutine_order;
        let sort = crate::analysis::Sort { key: order.key, reverse: order.reverse };
        sort.goroutines(&index, selection.grouping.place(), members);
    }
}
