//! What the live view knows, and how events change it.
//!
//! [`State::apply`] is the only way in: keys, sizes, snapshots, the passing of time and the end of
//! the target are events, each with the time at which it happened; what is to be done about them
//! comes back as effects. Nothing here reads, draws, sleeps or asks for the time.

mod cursor;
mod fold;
mod pages;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{KeyEvent, KeyModifiers};

pub use cursor::Cursor;
pub use pages::{Line, Page, Piece, Tone};
pub(crate) use pages::{piece, tone_of, wrapped};
pub use rows::{Identity, Row, Section};

use super::grouping::Grouping;
use super::keys::{self, Action, BINDINGS};
use super::layout::{Layout, PROMPT_LINES};
use super::order::{GOROUTINE_SORTS, GROUP_SORTS, GroupSort, Order, neighbour};
use super::picture::{Memory, Picture, Selection};
use super::prompt::{Answer, Prompt};
use super::source::SourceEnd;
use super::watch::{Observed, has_restarted};
use crate::analysis::Index;
use crate::report::resources::limits;

/// A view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Groups of goroutines.
    #[default]
    Groups,
    /// Goroutines, one by one.
    Goroutines,
    /// States and wait reasons over time.
    States,
    /// Ps and Ms.
    Scheduler,
    /// What is wrong for certain; there only once there is something.
    Findings,
}

impl View {
    /// All of them with their titles.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Groups, "Groups"),
        (Self::Goroutines, "Goroutines"),
        (Self::States, "States"),
        (Self::Scheduler, "Ps & Ms"),
        (Self::Findings, "Findings"),
    ];

    fn position(self) -> usize {
        Self::ALL.iter().position(|(view, _)| *view == self).unwrap_or(0)
    }
}

/// How to look.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Wanted time from one reading to the next.
    pub interval: Duration,
    /// Share of one core that gospy may use, 0 to 1.
    pub max_cpu: f64,
    /// What to show, and in which order.
    pub selection: Selection,
    /// Leave after so many refreshes.
    pub iterations: Option<u64>,
    /// Whether somebody looks for a successor of a target that has ended.
    pub wait: bool,
    /// Whether it is a recording: one reading, with which nothing can be compared.
    pub recorded: bool,
    /// The view to start with.
    pub view: View,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A key was pressed.
    Key(KeyEvent),
    /// The terminal has this size now: columns, lines.
    Resize(u16, u16),
    /// Time has passed.
    Tick,
    /// A reading succeeded.
    Snapshot {
        /// What it found.
        observed: Arc<Observed>,
        /// CPU time that gospy used since the reading before.
        cost: Duration,
    },
    /// A reading failed.
    SourceEnd(SourceEnd),
    /// The target is back as another process.
    Returned,
    /// A snapshot was written, or not.
    Saved(Result<String, String>),
    /// A signal asks to leave.
    Terminate(i32),
    /// A signal asks to stop (SIGTSTP).
    Stop,
}

/// Something to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Read the target.
    Read,
    /// Write the program to a file: as it is now where it is live and the view follows it, or else what
    /// is shown.
    Save {
        /// What is shown.
        shown: Arc<Observed>,
        /// Whether the view follows the program.
        live: bool,
    },
    /// Stop, and come back later.
    Suspend,
    /// Clear the terminal before it is drawn.
    Redraw,
    /// Leave.
    Leave(Leave),
}

/// Why to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave {
    /// The target ended before anything was shown; what is known of it.
    Ended(String),
    /// Somebody wants to, or there are enough refreshes.
    Done,
    /// A signal.
    Signal(i32),
}

/// How the target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It can be read.
    Live,
    /// It has ended; what is known of it.
    Ended(String),
    /// There is no more of the recording.
    Finished,
    /// The latest reading failed.
    Failing(String),
}

/// For how long a notice stays.
const NOTICE: Duration = Duration::from_secs(4);
/// Intervals that the keys go through, ms.
const INTERVALS_MS: &[u64] = &[100, 200, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 30_000, 60_000];
/// Wait after a reading that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The live view.
#[derive(Clone, Debug)]
pub struct State {
    settings: Settings,
    size: (u16, u16),
    now: Duration,
    view: View,
    cursors: [Cursor; View::ALL.len()],
    pages: Vec<(Page, Cursor)>,
    picture: Option<Picture>,
    memory: Memory,
    rows: Vec<Row>,
    lines: Vec<Line>,
    /// Whether there ever was a finding. The view stays then, so that the others stay where they are.
    has_findings: bool,
    link: Link,
    paused: bool,
    help: Option<u16>,
    /// Whether stacks of groups are shown with all frames of libraries.
    unfolded: bool,
    prompt: Option<Prompt>,
    notice: Option<(String, Duration)>,
    order_before_mark: Option<Order<GroupSort>>,
    refreshes: u64,
    /// How often another program, or another run of it, took the place of the one before.
    restarts: u64,
    /// When the reading that goes on was asked for.
    reading_since: Option<Duration>,
    /// Whether it is to be shown though paused.
    reading_forced: bool,
    next_reading: Duration,
    cost: Duration,
}

impl State {
    /// At time zero, before anything was read.
    #[must_use]
    pub fn new(settings: Settings, width: u16, height: u16) -> Self {
        Self {
            view: settings.view,
            settings,
            size: (width, height),
            now: Duration::ZERO,
            cursors: Default::default(),
            pages: Vec::new(),
            picture: None,
            memory: Memory::default(),
            rows: Vec::new(),
            lines: Vec::new(),
            has_findings: false,
            link: Link::Live,
            paused: false,
            help: None,
            unfolded: false,
            prompt: None,
            notice: None,
            order_before_mark: None,
            refreshes: 0,
            restarts: 0,
            reading_since: None,
            reading_forced: false,
            next_reading: Duration::ZERO,
            cost: Duration::ZERO,
        }
    }

    /// Takes in what happened at time `at`, and says what to do about it.
    pub fn apply(&mut self, at: Duration, event: Event) -> Vec<Effect> {
        self.now = self.now.max(at);
        if self.notice.as_ref().is_some_and(|(_, until)| *until <= self.now) {
            self.notice = None;
        }
        let mut effects = Vec::new();
        match event {
            Event::Key(key) => self.key(&key, &mut effects),
            Event::Resize(width, height) => {
                self.size = (width, height);
                self.arrange();
            }
            Event::Tick => {}
            Event::Snapshot { observed, cost } => self.snapshot(observed, cost, &mut effects),
            Event::SourceEnd(end) => self.source_end(end, &mut effects),
            Event::Returned => self.returned(),
            Event::Saved(Ok(path)) => self.tell(format!("written to {path}")),
            Event::Saved(Err(error)) => self.tell(format!("not written: {error}")),
            Event::Terminate(signal) => effects.push(Effect::Leave(Leave::Signal(signal))),
            Event::Stop => effects.push(Effect::Suspend),
        }
        if self.wants_reading() {
            self.read(false, &mut effects);
        }
        effects
    }

    /// When something will have to be done even if nothing happens; `None` while a reading goes on
    /// or none is wanted.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let reading = (self.reading_since.is_none() && !self.paused && self.can_read()).then_some(self.next_reading);
        let notice = self.notice.as_ref().map(|(_, until)| *until);
        [reading, notice].into_iter().flatten().min()
    }

    fn can_read(&self) -> bool {
        matches!(self.link, Link::Live | Link::Failing(_)) && !(self.settings.recorded && self.picture.is_some())
    }

    fn wants_reading(&self) -> bool {
        self.reading_since.is_none() && !self.paused && self.can_read() && self.now >= self.next_reading
    }

    fn read(&mut self, forced: bool, effects: &mut Vec<Effect>) {
        self.reading_forced |= forced;
        if self.reading_since.is_none() {
            self.reading_since = Some(self.now);
            effects.push(Effect::Read);
        }
    }

    fn snapshot(&mut self, observed: Arc<Observed>, cost: Duration, effects: &mut Vec<Effect>) {
        let started = self.reading_since.take().unwrap_or(self.now);
        // Half of the old, half of the new: one slow reading does not slow down the next ten.
        self.cost = if self.refreshes == 0 { cost } else { (self.cost + cost) / 2 };
        self.next_reading = started + self.actual_interval();
        self.link = Link::Live;
        let forced = std::mem::take(&mut self.reading_forced);
        if self.paused && !forced && self.picture.is_some() {
            return;
        }
        let previous = self.picture.take();
        let restarted = previous.as_ref().is_some_and(|p| has_restarted(p.observed.snapshot(), observed.snapshot()));
        if restarted {
            // In the same process: it has executed itself, or another program.
            self.forget();
        }
        let previous = previous.filter(|_| !restarted);
        let picture = Picture::next(observed, previous.as_ref(), &self.settings.selection, &mut self.memory);
        self.has_findings |= !picture.observed.findings().is_empty();
        self.picture = Some(picture);
        self.refreshes += 1;
        self.arrange();
        if self.settings.iterations.is_some_and(|most| self.refreshes >= most) {
            effects.push(Effect::Leave(Leave::Done));
        }
    }

    fn source_end(&mut self, end: SourceEnd, effects: &mut Vec<Effect>) {
        self.reading_since = None;
        self.reading_forced = false;
        self.link = match end {
            SourceEnd::Ended(text) => {
                if self.refreshes == 0 && !self.settings.wait {
                    // There is nothing that could still be looked at.
                    effects.push(Effect::Leave(Leave::Ended(text.clone())));
                }
                Link::Ended(text)
            }
            SourceEnd::Finished => Link::Finished,
            SourceEnd::Failed(text) => {
                self.next_reading = self.now + self.actual_interval().max(RETRY);
                Link::Failing(text)
            }
        };
    }

    fn returned(&mut self) {
        self.link = Link::Live;
        self.forget();
        self.reading_since = None;
        self.next_reading = self.now;
        self.arrange();
    }

    /// Another run of the program: nothing that was counted before compares with it.
    fn forget(&mut self) {
        self.picture = None;
        self.memory = Memory::default();
        self.pages.clear();
        self.has_findings = false;
        if self.view == View::Findings {
            self.view = View::Groups;
        }
        if let Some(order) = self.order_before_mark.take() {
            self.settings.selection.group_order = order;
        }
        self.restarts += 1;
        self.tell("the program has restarted: all counts start again".to_owned());
    }

    fn tell(&mut self, text: String) {
        self.notice = Some((text, self.now + NOTICE));
    }

    /// The interval that keeps gospy below its share of a core.
    #[must_use]
    pub fn actual_interval(&self) -> Duration {
        let least = self.cost.as_secs_f64() / self.settings.max_cpu.max(0.001);
        self.settings.interval.max(Duration::try_from_secs_f64(least).unwrap_or(Duration::MAX))
    }

    fn key(&mut self, key: &KeyEvent, effects: &mut Vec<Effect>) {
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

    fn act(&mut self, action: Action, effects: &mut Vec<Effect>) {
        if self.settings.recorded && keys::needs_change(action) {
            self.tell("this is a recording: it does not change".to_owned());
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
                self.next_reading = self.next_reading.max(self.now);
            }
            Action::Refresh => {
                if self.can_read() {
                    self.read(true, effects);
                }
            }
            Action::Up | Action::Down | Action::PageUp | Action::PageDown | Action::First | Action::Last => {
                self.move_cursor(action);
            }
            Action::Open => self.open(),
            Action::NextView => self.show(self.view.position() + 1),
            Action::PreviousView => self.show(self.view.position() + self.views().len() - 1),
            Action::Show(View::Findings) if !self.has_findings => self.tell("there are no findings".to_owned()),
            Action::Show(view) => self.show(view.position()),
            Action::SortLeft => self.sort(false),
            Action::SortRight => self.sort(true),
            Action::Invert => {
                let selection = &mut self.settings.selection;
                match self.view {
                    View::Goroutines => selection.goroutine_order.reverse = !selection.goroutine_order.reverse,
                    _ => selection.group_order.reverse = !selection.group_order.reverse,
                }
                self.arrange();
            }
            Action::Group => {
                let grouping = &mut self.settings.selection.grouping;
                *grouping = match grouping {
                    Grouping::Place => Grouping::Stack,
                    Grouping::Stack => Grouping::Start,
                    Grouping::Start => Grouping::Creator,
                    Grouping::Creator | Grouping::Label(_) => Grouping::Place,
                };
                self.pages.retain(|(page, _)| !matches!(page, Page::Group { .. }));
                if let Some(picture) = &mut self.picture {
                    picture.group_again(&self.settings.selection, &mut self.memory);
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
                if let Some(picture) = &self.picture {
                    let live = self.link == Link::Live && !self.paused;
                    effects.push(Effect::Save { shown: Arc::clone(&picture.observed), live });
                }
            }
        }
    }

    fn back(&mut self) {
        if self.pages.pop().is_none() && self.settings.selection.filter.take().is_some() {
            self.select_again();
        } else {
            self.arrange();
        }
    }

    fn show(&mut self, position: usize) {
        self.pages.clear();
        let views = self.views();
        self.view = views.get(position % views.len().max(1)).map_or(View::Groups, |(view, _)| *view);
        self.arrange();
    }

    fn sort(&mut self, right: bool) {
        let recorded = self.settings.recorded;
        let selection = &mut self.settings.selection;
        match self.view {
            View::Groups => {
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
            View::Goroutines => {
                let order = &mut selection.goroutine_order;
                order.key = neighbour(GOROUTINE_SORTS, order.key, right);
            }
            View::States | View::Scheduler | View::Findings => {}
        }
        self.arrange();
    }

    fn mark(&mut self) {
        let Some(picture) = &self.picture else { return };
        picture.mark(&mut self.memory);
        let order = &mut self.settings.selection.group_order;
        if order.key != GroupSort::Mark {
            self.order_before_mark = Some(*order);
        }
        *order = Order::by(GroupSort::Mark);
        self.arrange();
        self.tell("marked: groups are sorted by what has grown since".to_owned());
    }

    fn unmark(&mut self) {
        self.memory.mark = None;
        let order = &mut self.settings.selection.group_order;
        let before = self.order_before_mark.take();
        if order.key == GroupSort::Mark {
            *order = before.unwrap_or(Order::by(GroupSort::Count));
        }
        self.arrange();
    }

    fn step_interval(&mut self, slower: bool) {
        let now = self.settings.interval;
        let mut steps = INTERVALS_MS.iter().map(|&ms| Duration::from_millis(ms));
        let step = if slower { steps.find(|step| *step > now) } else { steps.rfind(|step| *step < now) };
        self.settings.interval = step.unwrap_or(now);
        self.next_reading = self.next_reading.min(self.now + self.actual_interval());
    }

    fn select_again(&mut self) {
        if let Some(picture) = &mut self.picture {
            picture.select_again(&self.settings.selection, &mut self.memory);
        }
        self.arrange();
    }

    /// Puts the picture into order and makes the rows of what is open.
    fn arrange(&mut self) {
        let selection = &self.settings.selection;
        if let Some(picture) = &mut self.picture {
            match (self.view, self.pages.is_empty()) {
                (View::Groups, true) => picture.sort_groups(selection, &self.memory),
                (View::Goroutines, true) => picture.sort_goroutines(selection),
                _ => {}
            }
        }
        self.make_rows();
        self.find_selected();
        self.settle();
    }

    /// What is open.
    #[must_use]
    pub fn page(&self) -> Option<&Page> {
        self.pages.last().map(|(page, _)| page)
    }

    /// The parts of the screen.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let footer = match &self.prompt {
            Some(prompt) if prompt.error().is_some() => PROMPT_LINES,
            _ => 1,
        };
        let has_heads = self.pages.is_empty() && matches!(self.view, View::Groups | View::Goroutines);
        Layout::new(self.size.0, self.size.1, has_heads, footer, self.more_header_lines())
    }

    /// Lines of the header that are there only when they say something: findings, and limits.
    fn more_header_lines(&self) -> u16 {
        let Some(picture) = &self.picture else { return 0 };
        let limits = limits(&picture.observed.snapshot().target.resources);
        u16::from(!picture.observed.findings().is_empty()) + u16::from(!limits.is_empty())
    }

    /// The view that is open, below any pages.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// The views that there are, with their titles.
    #[must_use]
    pub fn views(&self) -> &'static [(View, &'static str)] {
        match View::ALL.split_last() {
            Some((_, without)) if !self.has_findings => without,
            _ => View::ALL,
        }
    }

    /// The settings as they are now.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The picture, once there is one.
    #[must_use]
    pub fn picture(&self) -> Option<&Picture> {
        self.picture.as_ref()
    }

    /// What is remembered.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The rows of what is open.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The lines that rows of text stand for.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// How the target is.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Whether the picture is held.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// First line of the help that is shown, if it is.
    #[must_use]
    pub fn help(&self) -> Option<u16> {
        self.help
    }

    /// The prompt, while a filter is typed.
    #[must_use]
    pub fn prompt(&self) -> Option<&Prompt> {
        self.prompt.as_ref()
    }

    /// A notice that goes by itself.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_ref().map(|(text, _)| text.as_str())
    }

    /// Refreshes so far.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        self.refreshes
    }

    /// How often the program has restarted.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Share of a core that gospy uses, 0 to 1; `None` before the first refresh.
    #[must_use]
    pub fn own_cpu(&self) -> Option<f64> {
        let share = self.cost.as_secs_f64() / self.actual_interval().as_secs_f64();
        (self.refreshes > 0 && share.is_finite()).then_some(share)
    }

    /// For how long the reading that goes on has taken, if it takes longer than it should.
    #[must_use]
    pub fn slow_reading(&self) -> Option<Duration> {
        let taken = self.now.saturating_sub(self.reading_since?);
        (taken > Duration::from_secs(1) && taken > self.actual_interval()).then_some(taken)
    }

    fn index(&self) -> Option<Index<'_>> {
        self.picture.as_ref().map(|picture| Index::new(picture.observed.snapshot()))
    }
}
