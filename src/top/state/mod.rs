//! What the live view knows, and how events change it.
//!
//! [`State::apply`] is the only way in: keys, sizes, snapshots, the passing of time and the end of
//! the target are events, each with the time at which it happened; what is to be done about them
//! comes back as effects. Nothing here reads, draws, sleeps or asks for the time.

mod acting;
mod carry;
mod cursor;
mod fold;
mod leak_view;
mod page;
mod pages;
mod reading;
mod rows;
#[cfg(test)]
mod tests;
mod wait_pages;

use std::time::Duration;

pub use cursor::Cursor;
pub use leak_view::LeakView;
pub use page::{Line, Page};
pub use reading::Link;
pub use rows::{Identity, Row, Section};

use super::event::{Effect, Event, Leave, Settings};
use super::layout::{Layout, PROMPT_LINES};
use super::order::{GroupSort, Order};
use super::play::Seek;
use super::prompt::Prompt;
use super::tab::Tab;
use super::view::{Memory, View};
use crate::analysis::Index;
use crate::analysis::waits::WaitSort;
use crate::model::ObjectAddr;
use crate::report::resources::limits;
use crate::sampling::Pacer;

/// For how long a notice stays.
const NOTICE: Duration = Duration::from_secs(4);

/// The live view.
#[derive(Clone, Debug)]
pub struct State {
    settings: Settings,
    size: (u16, u16),
    now: Duration,
    tab: Tab,
    cursors: [Cursor; Tab::ALL.len()],
    pages: Vec<(Page, Cursor)>,
    view: Option<View>,
    memory: Memory,
    rows: Vec<Row>,
    lines: Vec<Line>,
    /// Whether there ever was a finding. The view stays then, so that the others stay where they are.
    has_findings: bool,
    leaks: LeakView,
    link: Link,
    paused: bool,
    help: Option<u16>,
    /// Whether stacks of groups are shown with all frames of libraries.
    unfolded: bool,
    prompt: Option<Prompt>,
    notice: Option<(String, Duration)>,
    order_before_mark: Option<Order<GroupSort>>,
    wait_order: Order<WaitSort>,
    refreshes: u64,
    /// How often another program, or another run of it, took the place of the one before.
    restarts: u64,
    /// When the sample that goes on was asked for.
    reading_since: Option<Duration>,
    /// Whether it is to be shown though paused.
    reading_forced: bool,
    /// Where to go in a recording once the sample that goes on is there.
    seek: Option<Seek>,
    /// Whether the sample that goes on is not the one after the last.
    jumps: bool,
    pacer: Pacer,
}

impl State {
    /// At time zero, before anything was read.
    #[must_use]
    pub fn new(settings: Settings, width: u16, height: u16) -> Self {
        Self {
            tab: settings.tab,
            pacer: Pacer::every(settings.interval).with_max_cpu(settings.max_cpu),
            settings,
            size: (width, height),
            now: Duration::ZERO,
            cursors: Default::default(),
            pages: Vec::new(),
            view: None,
            memory: Memory::default(),
            rows: Vec::new(),
            lines: Vec::new(),
            has_findings: false,
            leaks: LeakView::default(),
            link: Link::Live,
            paused: false,
            help: None,
            unfolded: false,
            prompt: None,
            notice: None,
            order_before_mark: None,
            wait_order: Order::by(WaitSort::Waiting),
            refreshes: 0,
            restarts: 0,
            reading_since: None,
            reading_forced: false,
            seek: None,
            jumps: false,
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
            Event::Snapshot(sample) => self.snapshot(sample, &mut effects),
            Event::SourceEnd(end) => self.source_end(end, &mut effects),
            Event::Returned => self.returned(),
            Event::Leaks(run, result) => self.leaks_found(run, result),
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

    pub(super) fn tell(&mut self, text: String) {
        self.notice = Some((text, self.now + NOTICE));
    }

    /// Puts the view into order and makes the rows of what is open.
    pub(super) fn arrange(&mut self) {
        let selection = &self.settings.selection;
        if let Some(view) = &mut self.view {
            match (self.tab, self.pages.is_empty()) {
                (Tab::Groups, true) => view.sort_groups(selection, &self.memory),
                (Tab::Goroutines, true) => view.sort_goroutines(selection),
                // Its pages need it too.
                (Tab::Waits, _) => view.sort_waits(self.wait_order),
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
        let has_heads = self.pages.is_empty() && matches!(self.tab, Tab::Groups | Tab::Goroutines | Tab::Waits);
        Layout::new(self.size.0, self.size.1, has_heads, footer, self.more_header_lines())
    }

    /// Lines of the header that are there only when they say something: findings, and limits.
    fn more_header_lines(&self) -> u16 {
        let Some(view) = &self.view else { return 0 };
        let limits = limits(&view.observed.snapshot().target.resources);
        u16::from(!view.observed.findings().is_empty()) + u16::from(!limits.is_empty())
    }

    /// The goroutine that is shown in detail, by the address of its g.
    #[must_use]
    pub fn looked_at(&self) -> Option<ObjectAddr> {
        let Some(Page::Goroutine(id)) = self.page() else { return None };
        let goroutines = &self.view()?.observed.snapshot().goroutines;
        goroutines.iter().find(|goroutine| goroutine.id == *id).map(|goroutine| goroutine.addr)
    }

    /// The view that is open, below any pages.
    #[must_use]
    pub fn tab(&self) -> Tab {
        self.tab
    }

    /// The views that there are, with their titles.
    #[must_use]
    pub fn tabs(&self) -> &'static [(Tab, &'static str)] {
        match Tab::ALL.split_last() {
            Some((_, without)) if !self.has_findings => without,
            _ => Tab::ALL,
        }
    }

    /// The settings as they are now.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The view, once there is one.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// What is remembered.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The order of what is waited on.
    #[must_use]
    pub fn wait_order(&self) -> Order<WaitSort> {
        self.wait_order
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

    /// Whether the view is held.
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

    pub(super) fn index(&self) -> Option<Index<'_>> {
        self.view.as_ref().map(|view| view.observed.index())
    }
}
