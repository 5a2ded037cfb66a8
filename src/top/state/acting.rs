//! What keys do.

use std::sync::Arc;

use crossterm::event::{KeyEvent, KeyModifiers};

use super::{Link, Page, State};
use crate::top::event::{Effect, Leave};
use crate::top::grouping::GROUPINGS;
use crate::top::keys::{self, Action, BINDINGS};
use crate::top::order::{GOROUTINE_SORTS, GROUP_SORTS, GroupSort, Order, neighbour};
use crate::top::play::Seek;
use crate::top::prompt::{Answer, Prompt};
use crate::top::tab::Tab;
use crate::top::waited::WAIT_SORTS;

/// A minute, ns.
const MINUTE_NS: i64 = 60_000_000_000;

impl State {
    pub(super) fn key(&mut self, key: &KeyEvent, effects: &mut Vec<Effect>) {
        if let Some(prompt) = &mut self.prompt {
            match prompt.press(key) {
                Answer::Open => {}
                Answer::Cancelled => self.prompt = None,
                Answer::Accepted(filter) => {
                    self.prompt = None;
                    self.settings.selection.filter = filter;
                    self.select_again();
                }
            }
            self.settle();
            return;
        }
        let Some(action) = keys::action(BINDINGS, key) else {
            // Any other key closes the help.
            self.help = None;
            return;
        };
        if let Some(scroll) = self.help {
            // Any key closes it, `q` too; Ctrl-C leaves from everywhere.
            let leaves = action == Action::Quit && key.modifiers.contains(KeyModifiers::CONTROL);
            self.help = match action {
                Action::Down => Some(scroll.saturating_add(1)),
                Action::Up => Some(scroll.saturating_sub(1)),
                Action::PageDown => Some(scroll.saturating_add(self.size.1 / 2)),
                Action::PageUp => Some(scroll.saturating_sub(self.size.1 / 2)),
                _ => None,
            };
            if !leaves && !matches!(action, Action::Suspend | Action::Redraw) {
                return;
            }
        }
        self.act(action, effects);
    }

    pub(super) fn act(&mut self, action: Action, effects: &mut Vec<Effect>) {
        if self.settings.recorded && keys::needs_change(action) {
            self.tell("this is a recording: it does not change".to_owned());
            return;
        }
        if self.settings.playing.is_none() && keys::needs_recording(action) {
            self.tell("only a recording has other moments: gospy top --from FILE.gospyrec".to_owned());
            return;
        }
        match action {
            Action::Quit => effects.push(Effect::Leave(match &self.link {
                Link::Ended(text) if self.refreshes == 0 => Leave::Ended(text.clone()),
                _ => Leave::Done,
            })),
            Action::Suspend => effects.push(Effect::Suspend),
            Action::Redraw => effects.push(Effect::Redraw),
            Action::Help => self.help = Some(0),
            Action::Filter => {
                let text = self.settings.selection.filter.as_ref().map_or("", |(text, _)| text);
                self.prompt = Some(Prompt::new(text));
                self.settle();
            }
            Action::Back => self.back(),
            Action::Pause => {
                self.paused = !self.paused;
                self.pacer.not_before(self.now);
            }
            Action::StepBack => self.seek(Seek::Samples(-1), effects),
            Action::StepOn => self.seek(Seek::Samples(1), effects),
            Action::MinuteBack => self.seek(Seek::Time(-MINUTE_NS), effects),
            Action::MinuteOn => self.seek(Seek::Time(MINUTE_NS), effects),
            Action::FirstSample => self.seek(Seek::First, effects),
            Action::LastSample => self.seek(Seek::Last, effects),
            Action::Refresh => {
                if self.can_read() {
                    self.read(true, effects);
                }
            }
            Action::FindLeaks => self.find_leaks(effects),
            Action::Up | Action::Down | Action::PageUp | Action::PageDown | Action::First | Action::Last => {
                self.move_cursor(action);
            }
            Action::Open => self.open(),
            Action::NextTab => self.show(self.tab.position() + 1),
            Action::PreviousTab => self.show(self.tab.position() + self.tabs().len() - 1),
            Action::Show(Tab::Findings) if !self.has_findings => self.tell("there are no findings".to_owned()),
            Action::Show(tab) => self.show(tab.position()),
            Action::SortLeft => self.sort(false),
            Action::SortRight => self.sort(true),
            Action::Invert => {
                let selection = &mut self.settings.selection;
                match self.tab {
                    Tab::Waits => self.wait_order.reverse = !self.wait_order.reverse,
                    Tab::Goroutines => selection.goroutine_order.reverse = !selection.goroutine_order.reverse,
                    _ => selection.group_order.reverse = !selection.group_order.reverse,
                }
                self.arrange();
            }
            Action::Group => {
                let grouping = &mut self.settings.selection.grouping;
                let at = GROUPINGS.iter().position(|by| by == grouping);
                let next = at.and_then(|at| GROUPINGS.get(at + 1)).or(GROUPINGS.first());
                if let Some(next) = next {
                    grouping.clone_from(next);
                }
                self.pages.retain(|(page, _)| !matches!(page, Page::Group { .. }));
                if let Some(view) = &mut self.view {
                    view.group_again(&self.settings.selection, &mut self.memory);
                }
                self.arrange();
            }
            Action::System => {
                self.settings.selection.no_system = !self.settings.selection.no_system;
                self.select_again();
            }
            Action::Fold => {
                self.unfolded = !self.unfolded;
                self.arrange();
            }
            Action::Mark => self.mark(),
            Action::Unmark => self.unmark(),
            Action::Slower => self.step_interval(true),
            Action::Faster => self.step_interval(false),
            Action::Save => {
                if let Some(view) = &self.view {
                    let live = self.link == Link::Live && !self.paused;
                    effects.push(Effect::Save { shown: Arc::clone(&view.observed), live });
                }
            }
        }
    }

    pub(super) fn back(&mut self) {
        if self.pages.pop().is_none() && self.settings.selection.filter.take().is_some() {
            self.select_again();
        } else {
            self.arrange();
        }
    }

    pub(super) fn show(&mut self, position: usize) {
        self.pages.clear();
        let tabs = self.tabs();
        self.tab = tabs.get(position % tabs.len().max(1)).map_or(Tab::Groups, |(tab, _)| *tab);
        self.arrange();
    }

    pub(super) fn sort(&mut self, right: bool) {
        let recorded = self.settings.recorded;
        let selection = &mut self.settings.selection;
        match self.tab {
            Tab::Groups => {
                let marked = self.memory.mark.is_some();
                let order = &mut selection.group_order;
                let before = order.key;
                order.key = neighbour(GROUP_SORTS, order.key, right);
                // Columns that are not there are passed over.
                while (order.key == GroupSort::Mark && !marked) || (recorded && order.key.is_of_change()) {
                    let next = neighbour(GROUP_SORTS, order.key, right);
                    if next == order.key {
                        order.key = before;
                        break;
                    }
                    order.key = next;
                }
            }
            Tab::Goroutines => {
                let order = &mut selection.goroutine_order;
                order.key = neighbour(GOROUTINE_SORTS, order.key, right);
            }
            Tab::Waits => self.wait_order.key = neighbour(WAIT_SORTS, self.wait_order.key, right),
            Tab::States | Tab::Scheduler | Tab::Leaks | Tab::Findings => {}
        }
        self.arrange();
    }

    pub(super) fn mark(&mut self) {
        let Some(view) = &self.view else { return };
        view.mark(&mut self.memory);
        let order = &mut self.settings.selection.group_order;
        if order.key != GroupSort::Mark {
            self.order_before_mark = Some(*order);
        }
        *order = Order::by(GroupSort::Mark);
        self.arrange();
        self.tell("marked: groups are sorted by what has grown since".to_owned());
    }

    pub(super) fn unmark(&mut self) {
        self.memory.mark = None;
        self.leave_mark_order();
        self.arrange();
    }

    /// The order that was there before the mark.
    pub(super) fn leave_mark_order(&mut self) {
        let order = &mut self.settings.selection.group_order;
        let before = self.order_before_mark.take();
        if order.key == GroupSort::Mark {
            *order = before.unwrap_or(Order::by(GroupSort::Count));
        }
    }

    pub(super) fn select_again(&mut self) {
        if let Some(view) = &mut self.view {
            view.select_again(&self.settings.selection, &mut self.memory);
        }
        self.arrange();
    }
}
