//! Which row is selected, and which rows can be seen.

use super::State;
use super::rows::{Identity, Row};
use crate::top::keys::Action;

/// A place in a list. The selection is a thing, not a number of a row: it stays with the thing
/// wherever that moves. As long as nothing was selected, it is the first row, whatever that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The thing; `None` for whatever comes first.
    pub selected: Option<Identity>,
    /// Where it is, among the rows.
    pub at: usize,
    /// The first row that can be seen.
    pub scroll: usize,
}

impl State {
    /// The cursor of what is open.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        match self.pages.last() {
            Some((_, cursor)) => *cursor,
            None => self.cursors.get(self.tab.position()).copied().unwrap_or_default(),
        }
    }

    pub(super) fn set_cursor(&mut self, cursor: Cursor) {
        match self.pages.last_mut() {
            Some((_, place)) => *place = cursor,
            None => {
                if let Some(place) = self.cursors.get_mut(self.tab.position()) {
                    *place = cursor;
                }
            }
        }
    }

    pub(super) fn move_cursor(&mut self, action: Action) {
        let cursor = self.cursor();
        let page = usize::from(self.layout().body.height).max(2) - 1;
        let last = self.rows.len().saturating_sub(1);
        let (at, down) = match action {
            Action::Up => (cursor.at.saturating_sub(1), false),
            Action::Down => (cursor.at + 1, true),
            Action::PageUp => (cursor.at.saturating_sub(page), false),
            Action::PageDown => (cursor.at + page, true),
            Action::Last => (last, false),
            _ => (0, true),
        };
        let at = self.selectable_near(at.min(last), down).unwrap_or(cursor.at);
        let selected =
            if action == Action::First { None } else { self.rows.get(at).and_then(|row| self.identity(row)) };
        self.set_cursor(Cursor { selected, at, ..cursor });
        self.settle();
    }

    /// The nearest row that can be selected, looking first in one direction and then in the other.
    fn selectable_near(&self, at: usize, down: bool) -> Option<usize> {
        let can = |at: &usize| self.rows.get(*at).is_some_and(|row| !matches!(row, Row::Head(_)));
        let mut below = at..self.rows.len();
        let mut above = (0..=at.min(self.rows.len().saturating_sub(1))).rev();
        if down { below.find(can).or_else(|| above.find(can)) } else { above.find(can).or_else(|| below.find(can)) }
    }

    /// Finds the selected thing among new rows. If it is gone, its place stays selected.
    pub(super) fn find_selected(&mut self) {
        let mut cursor = self.cursor();
        let found =
            cursor.selected.and_then(|selected| self.rows.iter().position(|row| self.identity(row) == Some(selected)));
        let at = match (cursor.selected, found) {
            (_, Some(found)) => found,
            (None, None) => 0,
            (Some(_), None) => cursor.at,
        };
        let moved = found.map(|found| (found, cursor.at));
        cursor.at = self.selectable_near(at.min(self.rows.len().saturating_sub(1)), true).unwrap_or(0);
        if cursor.selected.is_some() && found.is_none() {
            cursor.selected = self.rows.get(cursor.at).and_then(|row| self.identity(row));
        }
        // The view moves with the selected row, so that it stays where it is on the screen.
        if let Some((found, before)) = moved
            && cursor.scroll > 0
        {
            cursor.scroll = (cursor.scroll + found).saturating_sub(before);
        }
        self.set_cursor(cursor);
    }

    /// Scrolls so that the selected row can be seen, and no room is wasted.
    pub(super) fn settle(&mut self) {
        let mut cursor = self.cursor();
        let height = usize::from(self.layout().body.height).max(1);
        let first = self.selectable_near(0, true).unwrap_or(0);
        // The heads above the first row belong to it.
        let wanted = if cursor.at <= first { 0 } else { cursor.at };
        cursor.scroll = cursor.scroll.min(wanted).max((cursor.at + 1).saturating_sub(height));
        cursor.scroll = cursor.scroll.min(self.rows.len().saturating_sub(height));
        self.set_cursor(cursor);
    }

    /// Whether this tab's cursor stays with a thing.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.cursor().selected.is_some()
    }
}
