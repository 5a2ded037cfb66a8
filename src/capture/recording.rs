//! What a recording holds of a capture besides memory, so that it gives the same answer later.
//!
//! A recorded goroutine is its header and stack exactly as they were believed. One that never held
//! still is recorded as such, since whatever bytes were left of it would make up a stack that never
//! was. A running one whose thread was stopped is recorded with the place where it was.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::unwind::{Start, StartKind};
use crate::addr::Addr;
use crate::model::{Consistency, FreezeInfo, NotShown};
use crate::target::Target;

/// The name under which it is attached to a recording.
const NAME: &str = "goroutines";

/// What is recorded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Recorded {
    /// Goroutines that were not believed, by the address of the g, and why.
    unsettled: Vec<(u64, Unsettled)>,
    /// Running goroutines whose threads stood still.
    starts: Vec<(u64, StoppedAt)>,
    /// Goroutines that took more than one try.
    retried: u64,
    freeze: Option<Freeze>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unsettled {
    Moving,
    Unreadable,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoppedAt {
    pc: u64,
    sp: u64,
    lr: u64,
    /// Whether `pc` is the next instruction, and not a return address.
    interrupted: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Freeze {
    whole_program: bool,
    stopped_ns: u64,
    threads: u32,
}

impl Recorded {
    /// What was recorded of `target`, if that is a recording.
    pub(super) fn of(target: &dyn Target) -> Option<Self> {
        // Damage is found by checksum; what cannot be understood is of a later version's making.
        serde_json::from_slice(target.attachment(NAME)?).ok()
    }

    /// Notes a goroutine that was not believed.
    pub(super) fn add_unsettled(&mut self, addr: Addr, why: NotShown) {
        let why = if why == NotShown::Unreadable { Unsettled::Unreadable } else { Unsettled::Moving };
        self.unsettled.push((addr.0, why));
    }

    /// Notes where the stack of a running goroutine starts.
    pub(super) fn add_start(&mut self, addr: Addr, start: &Start) {
        let interrupted = start.kind == StartKind::Interrupted;
        let at = StoppedAt { pc: start.pc.0, sp: start.sp.0, lr: start.lr.0, interrupted };
        self.starts.push((addr.0, at));
    }

    /// Attaches it to the recording that is being made of `target`, if one is.
    pub(super) fn attach(mut self, target: &dyn Target, consistency: &Consistency, freeze: Option<&FreezeInfo>) {
        let Some(recorder) = target.recorder() else { return };
        self.retried = consistency.retried;
        self.freeze = freeze.map(|info| Freeze {
            whole_program: info.whole_program,
            stopped_ns: info.stopped_ns,
            threads: info.threads,
        });
        // Numbers and plain names: nothing in it can fail to be written.
        recorder.attach(NAME, serde_json::to_vec(&self).unwrap_or_default());
    }

    pub(super) fn unsettled(&self) -> FxHashMap<u64, NotShown> {
        let why = |why| match why {
            Unsettled::Moving => NotShown::Moving,
            Unsettled::Unreadable => NotShown::Unreadable,
        };
        self.unsettled.iter().map(|&(addr, reason)| (addr, why(reason))).collect()
    }

    pub(super) fn starts(&self) -> FxHashMap<u64, Start> {
        let start = |at: &StoppedAt| {
            let kind = if at.interrupted { StartKind::Interrupted } else { StartKind::Parked };
            Start { pc: Addr(at.pc), sp: Addr(at.sp), lr: Addr(at.lr), kind }
        };
        self.starts.iter().map(|(addr, at)| (*addr, start(at))).collect()
    }

    pub(super) fn retried(&self) -> u64 {
        self.retried
    }

    pub(super) fn freeze(&self) -> Option<FreezeInfo> {
        self.freeze.map(|f| FreezeInfo { whole_program: f.whole_program, stopped_ns: f.stopped_ns, threads: f.threads })
    }
}

/// The target to read from what is compared and may be thrown away: see [`crate::target::Recorder`].
pub(super) fn quiet(target: &dyn Target) -> &dyn Target {
    target.recorder().map_or(target, |recorder| recorder.unrecorded())
}
