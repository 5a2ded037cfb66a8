//! When the live view wants a sample, and what becomes of one.

use std::time::Duration;

use super::{LeakView, State};
use crate::analysis::series::has_restarted;
use crate::sampling::{Sample, SourceEnd};
use crate::top::event::{Effect, Leave};
use crate::top::play::Seek;
use crate::top::tab::Tab;
use crate::top::view::{Memory, View};

/// Intervals that the keys go through, ms.
const INTERVALS_MS: &[u64] = &[100, 200, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 30_000, 60_000];
/// Wait after a sample that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How the target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It can be read.
    Live,
    /// It has ended; what is known of it.
    Ended(String),
    /// There is no more of the recording.
    Finished,
    /// The latest sample failed.
    Failing(String),
}

impl State {
    /// When something will have to be done even if nothing happens; `None` while a sample goes on
    /// or none is wanted.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let reading = (self.reading_since.is_none() && !self.paused && self.can_read()).then_some(self.pacer.due());
        let notice = self.notice.as_ref().map(|(_, until)| *until);
        [reading, notice].into_iter().flatten().min()
    }

    pub(super) fn can_read(&self) -> bool {
        matches!(self.link, Link::Live | Link::Failing(_)) && !(self.settings.recorded && self.view.is_some())
    }

    pub(super) fn wants_reading(&self) -> bool {
        self.reading_since.is_none() && !self.paused && self.can_read() && self.now >= self.pacer.due()
    }

    pub(super) fn read(&mut self, forced: bool, effects: &mut Vec<Effect>) {
        self.reading_forced |= forced;
        if self.reading_since.is_none() {
            self.reading_since = Some(self.now);
            self.pacer.begin(self.now);
            effects.push(Effect::Read);
        }
    }

    /// Goes to another moment of a recording, and stays there.
    pub(super) fn seek(&mut self, seek: Seek, effects: &mut Vec<Effect>) {
        self.paused = true;
        // It may have been at its end.
        self.link = Link::Live;
        self.seek = Some(self.seek.map_or(seek, |before| before.and(seek)));
        self.seek_next(effects);
    }

    fn seek_next(&mut self, effects: &mut Vec<Effect>) {
        if self.reading_since.is_none()
            && let Some(seek) = self.seek.take()
        {
            self.jumps |= seek != Seek::Samples(1);
            effects.push(Effect::Seek(seek));
            self.read(true, effects);
        }
    }

    pub(super) fn snapshot(&mut self, sample: Sample, effects: &mut Vec<Effect>) {
        let Sample { observed, cost } = sample;
        if self.reading_since.take().is_none() {
            // It was not asked for.
            self.pacer.begin(self.now);
        }
        self.pacer.end(cost);
        self.link = Link::Live;
        let forced = std::mem::take(&mut self.reading_forced);
        if self.paused && !forced && self.view.is_some() {
            return;
        }
        let previous = self.view.take();
        let restarted = previous.as_ref().is_some_and(|p| has_restarted(p.observed.snapshot(), observed.snapshot()));
        if restarted {
            // In the same process: it has executed itself, or another program.
            self.forget();
        }
        let previous = previous.filter(|_| !restarted);
        let jumped = std::mem::take(&mut self.jumps);
        if jumped {
            // What was added up and compared so far is of other moments.
            self.memory = Memory::default();
            self.leave_mark_order();
        }
        let carried = previous.as_ref().and_then(|previous| self.carry(previous, &observed));
        let compared = previous.as_ref().filter(|_| !jumped);
        let view = View::next(observed, compared, &self.settings.selection, &mut self.memory);
        self.has_findings |= !view.observed.findings().is_empty();
        self.view = Some(view);
        if let Some(carried) = carried {
            self.take_over(&carried);
            if self.memory.mark.is_none() {
                // It was of the other names.
                self.leave_mark_order();
            }
        }
        self.refreshes += 1;
        self.arrange();
        if self.settings.iterations.is_some_and(|most| self.refreshes >= most) {
            effects.push(Effect::Leave(Leave::Done));
        }
        self.seek_next(effects);
    }

    pub(super) fn source_end(&mut self, end: SourceEnd, effects: &mut Vec<Effect>) {
        self.reading_since = None;
        self.reading_forced = false;
        self.jumps = false;
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
                self.pacer.set_due(self.now + self.actual_interval().max(RETRY));
                Link::Failing(text)
            }
        };
        self.seek_next(effects);
    }

    pub(super) fn returned(&mut self) {
        self.link = Link::Live;
        self.forget();
        self.reading_since = None;
        self.pacer.set_due(self.now);
        self.arrange();
    }

    /// Another run of the program: nothing that was counted before compares with it.
    pub(super) fn forget(&mut self) {
        self.view = None;
        self.memory = Memory::default();
        self.pages.clear();
        // What was selected are groups and goroutines of the other run.
        self.cursors = Default::default();
        self.has_findings = false;
        self.leaks = LeakView::default();
        if self.tab == Tab::Findings {
            self.tab = Tab::Groups;
        }
        if let Some(order) = self.order_before_mark.take() {
            self.settings.selection.group_order = order;
        }
        self.restarts += 1;
        self.tell("the program has restarted: all counts start again".to_owned());
    }

    /// The interval that keeps gospy below its share of a core.
    #[must_use]
    pub fn actual_interval(&self) -> Duration {
        self.pacer.actual_interval()
    }

    pub(super) fn step_interval(&mut self, slower: bool) {
        let now = self.settings.interval;
        let mut steps = INTERVALS_MS.iter().map(|&ms| Duration::from_millis(ms));
        let step = if slower { steps.find(|step| *step > now) } else { steps.rfind(|step| *step < now) };
        self.settings.interval = step.unwrap_or(now);
        self.pacer.set_interval(self.settings.interval, self.now);
    }

    /// Share of a core that gospy uses, 0 to 1; `None` before the first refresh.
    #[must_use]
    pub fn own_cpu(&self) -> Option<f64> {
        self.pacer.cpu_share()
    }

    /// For how long the sample that goes on has taken, if it takes longer than it should.
    #[must_use]
    pub fn slow_reading(&self) -> Option<Duration> {
        let taken = self.now.saturating_sub(self.reading_since?);
        (taken > Duration::from_secs(1) && taken > self.actual_interval()).then_some(taken)
    }
}
