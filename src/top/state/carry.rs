//! What is selected and open, when names are numbered anew.
//!
//! Keys of groups hold ids of names, which mean something in one pool only. A program with more names
//! than a session keeps gets a new pool now and then; groups are found again in it by what they are
//! called.

use std::sync::Arc;

use super::State;
use super::page::Page;
use super::pages::group_name;
use super::rows::Identity;
use crate::analysis::series::Observed;
use crate::top::grouping::{Key, What};
use crate::top::view::View;

/// The key of no group: stacks are grouped by state alone nowhere in the live view.
const NONE: Key = Key { state: None, reason: None, what: What::State, creator: None };

/// Groups by key, each with its name.
#[derive(Debug)]
pub(super) struct Carried(Vec<(Key, String)>);

impl State {
    /// The names of the groups that are selected or open, where `now` is of another pool than `before`.
    pub(super) fn carry(&self, before: &View, now: &Arc<Observed>) -> Option<Carried> {
        if before.observed.snapshot().symbols.id() == now.snapshot().symbols.id() {
            return None;
        }
        let (index, by) = (before.observed.index(), &self.settings.selection.grouping);
        let cursors = self.cursors.iter().chain(self.pages.iter().map(|(_, cursor)| cursor));
        let selected = cursors.filter_map(|cursor| match cursor.selected {
            Some(Identity::Group(key)) => Some(key),
            _ => None,
        });
        let selected = selected.filter_map(|key| {
            let group = before.groups.iter().find(|group| group.key == key)?;
            Some((key, group_name(&index, by, group)))
        });
        let open = self.pages.iter().filter_map(|(page, _)| match page {
            Page::Group { key, name } => Some((*key, name.clone())),
            _ => None,
        });
        Some(Carried(selected.chain(open).collect()))
    }

    /// Gives what is selected and open the keys that the groups have now. What is not there any more
    /// is selected no longer; its page stays, and says so.
    pub(super) fn take_over(&mut self, carried: &Carried) {
        let Some(view) = &self.view else { return };
        let (index, by) = (view.observed.index(), &self.settings.selection.grouping);
        let now = |key: Key| {
            let (_, name) = carried.0.iter().find(|(then, _)| *then == key)?;
            view.groups.iter().find(|group| group_name(&index, by, group) == *name).map(|group| group.key)
        };
        for cursor in self.cursors.iter_mut().chain(self.pages.iter_mut().map(|(_, cursor)| cursor)) {
            if let Some(Identity::Group(key)) = cursor.selected {
                cursor.selected = now(key).map(Identity::Group);
            }
        }
        for (page, _) in &mut self.pages {
            if let Page::Group { key, .. } = page {
                // No group of this pool has that.
                *key = now(*key).unwrap_or(NONE);
            }
        }
    }
}
