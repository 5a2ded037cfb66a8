//! What happens to the live view, what is to be done about it, and how it is set up.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::KeyEvent;

use super::leaks::LeaksFound;
use super::play::{Extent, Seek};
use super::tab::Tab;
use super::view::Selection;
use crate::analysis::series::Observed;
use crate::sampling::{Report, Sample, SourceEnd};

/// How to look.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Wanted time from one sample to the next.
    pub interval: Duration,
    /// Share of one core that gospy may use, 0 to 1.
    pub max_cpu: f64,
    /// What to show, and in which order.
    pub selection: Selection,
    /// Leave after so many refreshes.
    pub iterations: Option<u64>,
    /// Whether a successor of a target that has ended is looked for.
    pub wait: bool,
    /// Whether it is a file with one snapshot, with which nothing can be compared.
    pub recorded: bool,
    /// How far the recording goes whose samples are played; `None` for anything else.
    pub playing: Option<Extent>,
    /// The tab to start with.
    pub tab: Tab,
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
    /// A sample succeeded.
    Snapshot(Sample),
    /// A sample failed.
    SourceEnd(SourceEnd),
    /// The target is back as another process.
    Returned,
    /// Leaks were looked for in this run of the program, by its number.
    Leaks(u64, Result<Arc<LeaksFound>, String>),
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
    /// Go to another moment of the recording with the next reading.
    Seek(Seek),
    /// Write the program to a file: as it is now where it is live and the view follows it, or else what
    /// is shown.
    Save {
        /// What is shown.
        shown: Arc<Observed>,
        /// Whether the view follows the program.
        live: bool,
    },
    /// Look for leaks in the program.
    FindLeaks {
        /// What is shown of it.
        shown: Arc<Observed>,
        /// Which run of it that is.
        run: u64,
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
    /// It was asked for, or there are enough refreshes.
    Done,
    /// A signal.
    Signal(i32),
}

impl From<Report> for Event {
    fn from(report: Report) -> Self {
        match report {
            Report::Sample(sample) => Self::Snapshot(sample),
            Report::End(end) => Self::SourceEnd(end),
            Report::Returned => Self::Returned,
        }
    }
}
