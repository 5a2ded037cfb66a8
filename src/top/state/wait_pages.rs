//! Lines of pages about what goroutines wait on, and who probably holds that.

use std::iter;

use super::State;
use super::page::Line;
use super::pages::{fact, line};
use crate::analysis::Index;
use crate::analysis::waits::ById;
use crate::model::{Goroutine, LikelyHolder};
use crate::report::units::{age, count, counted};
use crate::report::waits::words;
use crate::top::piece::{Tone, piece, wrapped};
use crate::top::waited::WaitKey;

impl State {
    /// The object, its state, who waits, and who probably holds it.
    pub(super) fn wait_lines(&self, key: WaitKey) -> Option<Vec<Line>> {
        let view = self.view.as_ref()?;
        let index = view.observed.index();
        let waited = view.waited.as_ref()?;
        let row = waited.find(key)?;
        let snapshot = index.snapshot();
        let mut lines = vec![line([piece(Tone::Strong, words::row_object(snapshot, row, usize::MAX))])];
        let state = words::row_state(snapshot, row);
        if !state.is_empty() {
            let text = piece(words::row_role(row).into(), state);
            lines.push(line([piece(Tone::Dim, format!("{:<9}", "State")), text]));
        }
        let waiting = counted(u64::try_from(row.goroutines.len()).unwrap_or(u64::MAX), "goroutine", "goroutines");
        let places = match row.places.len() {
            0 | 1 => String::new(),
            more => format!(" in {} places", count(u64::try_from(more).unwrap_or(u64::MAX))),
        };
        lines.push(fact("Waiting", format!("{waiting}{places}")));
        if let Some(ns) = row.longest_ns() {
            lines.push(fact("Blocked", format!("≥ {} the longest", age(ns))));
        }
        let columns = usize::from(self.size.0).saturating_sub(11);
        lines.extend(holder_lines(&index, waited.by_id(), row.holders(&index), columns));
        Some(lines)
    }
}

/// Holders that are shown.
const MAX_HOLDERS: usize = 4;

/// What a goroutine waits for, the state of that, and who probably holds it.
pub(super) fn waits_lines(index: &Index<'_>, goroutine: &Goroutine, columns: usize) -> Vec<Line> {
    let snapshot = index.snapshot();
    let Some(wait) = snapshot.waiting_on(goroutine) else { return Vec::new() };
    let does = words::waits(snapshot, goroutine).map(|text| wrapped(&text, columns)).unwrap_or_default();
    let mut lines: Vec<Line> = does.into_iter().map(|text| fact("", text)).collect();
    for (_, object) in snapshot.waits.objects_of(wait).take(MAX_HOLDERS) {
        let state = words::state(snapshot, object);
        if !state.is_empty() {
            lines.push(fact("", format!("{}: {state}", words::object(snapshot, object))));
        }
        let holders = object.likely_holders.as_deref().unwrap_or_default();
        if !holders.is_empty() {
            lines.extend(holder_lines(index, &ById::of(snapshot), holders, columns));
        }
    }
    lines
}

/// Goroutines that probably hold something, with what they wait for in turn; each leads to its page.
fn holder_lines(index: &Index<'_>, by_id: &ById, holders: &[LikelyHolder], columns: usize) -> Vec<Line> {
    let of = |(nth, holder): (usize, &LikelyHolder)| {
        let does = by_id.position(holder.goroutine).map(|position| words::does(index, by_id, position));
        let does = does.unwrap_or_else(|| "has ended".to_owned());
        let text = format!("goroutine {}, which {does}", holder.goroutine.0);
        let label = if nth == 0 { "Likely" } else { "or" };
        let held =
            wrapped(&format!("held by {text}"), columns).into_iter().zip(iter::once(label).chain(iter::repeat("")));
        let id = holder.goroutine;
        held.map(move |(text, label)| {
            // The whole sentence leads there.
            let mut held = fact(label, text);
            held.link = Some(id);
            held
        })
    };
    let mut lines: Vec<Line> = holders.iter().take(MAX_HOLDERS).enumerate().flat_map(of).collect();
    if let more @ 1.. = holders.len().saturating_sub(MAX_HOLDERS) {
        lines.push(fact("or", format!("{more} more")));
    }
    lines
}
