//! Goroutines in a form that can be compared across processes and files.
//!
//! Ids of a snapshot's pool mean nothing to another snapshot, and addresses differ from process to process. A
//! census identifies its goroutines by text: state, wait reason, and functions with file and line. Censuses
//! that are to be compared share a [`SymbolPool`] in which equal text is an equal id, so that comparing costs
//! no more than comparing numbers. It keeps nothing else of a snapshot: neither addresses nor sizes, and no
//! statistics.

mod groups;
pub(in crate::analysis) mod of_snapshot;

use rustc_hash::FxHashMap;

pub use groups::{Group, groups};

use crate::addr::Addr;
use crate::analysis::findings::Died;
use crate::analysis::place::Place;
use crate::analysis::same_wait::Marks;
use crate::analysis::{Age, AgeSource};
use crate::model::{Frame, FrameId, LabelsId, Language, Snapshot, Stack, StackFrame, StackId, StrId, SymbolPool};

/// One goroutine. All ids are those of the pool that the census was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its state, as the runtime calls it.
    pub state: StrId,
    /// Why it waits.
    pub reason: Option<StrId>,
    /// For how long it has been blocked at least; `None` where that is not known.
    pub age: Option<Age>,
    /// For how long it can have been blocked at most, ns: see [`LongestWaits`]. `None` where that is not
    /// known, and unless it is blocked.
    pub wait_at_most_ns: Option<u64>,
    /// What changes when it runs; empty where that was not recorded.
    pub marks: Marks,
    /// Whether it is the runtime's own.
    pub system: bool,
    /// Who created it.
    pub parent: Option<u64>,
    /// Where it is: the innermost frame that is not the runtime's.
    pub current: Option<FrameId>,
    /// Where it is in the user's code.
    pub place: Place,
    /// The function that it started in.
    pub start: Option<FrameId>,
    /// The `go` statement that created it.
    pub creator: Option<FrameId>,
    /// Its stack.
    pub stack: Option<StackId>,
    /// The program's own labels.
    pub labels: Option<LabelsId>,
    /// The value of the panic that it is in.
    pub panic: Option<StrId>,
}

impl Member {
    /// For how long it has been blocked at least, ns.
    #[must_use]
    pub fn wait_ns(&self) -> Option<u64> {
        self.age.map(|age| age.at_least_ns)
    }

    /// The same goroutine, with a measured age of its wait, ns.
    #[must_use]
    pub fn measured(&self, wait_ns: Option<u64>) -> Self {
        let known = self.age;
        let age = wait_ns.filter(|&ns| known.is_none_or(|known| known.at_least_ns < ns));
        Self { age: age.map(|ns| Age { at_least_ns: ns, source: AgeSource::Watched }).or(known), ..*self }
    }
}

/// Which program it was, as far as recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its pid.
    pub pid: Option<i32>,
    /// Path of its executable.
    pub exe: String,
    /// Go's build id.
    pub build_id: Option<String>,
    /// The toolchain.
    pub go_version: String,
    /// GOARCH.
    pub arch: String,
    /// Path of the main package, or of its module.
    pub module: Option<String>,
    /// Since the runtime started, ns, when the census was taken.
    pub uptime_ns: Option<u64>,
}

impl Identity {
    /// The executable's own name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.exe.rsplit('/').next().unwrap_or_default()
    }
}

/// Whether two censuses are of the same program; `None` where that is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The same run of the same program, so that ids mean the same goroutines.
    pub same_process: Option<bool>,
    /// The same build.
    pub same_build: Option<bool>,
    /// The same program, perhaps in different builds.
    pub same_program: Option<bool>,
    /// From the first to the second, ns; negative when the second is older.
    pub elapsed_ns: i128,
}

/// Two moments of one start may differ by as much: clocks are set, and numbers are rounded.
const SAME_START_NS: i128 = 2_000_000_000;

/// What can be compared of one snapshot of one program.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Its display name: `pid 4242`, or a file's name.
    pub name: String,
    /// Which program.
    pub program: Identity,
    /// When: ns since the Unix epoch.
    pub captured_at_unix_ns: u64,
    /// Whether that is only when a file was written: a core file's, which takes its time, and may have been copied.
    pub time_of_file: bool,
    /// Whether stacks were recorded. A single one may be missing all the same.
    pub has_stacks: bool,
    /// Whether everything requested was there.
    pub complete: bool,
    /// Whether the program was stopped by a signal or a debugger (state T or t).
    pub stopped: bool,
    /// How many goroutines there were, listed or not.
    pub total: u64,
    /// How the program died, if it did.
    pub died: Option<Died>,
    /// Those that are listed, without dead ones.
    pub members: Vec<Member>,
}

impl Census {
    /// Whether goroutines were left out when it was written (by a filter or a limit).
    #[must_use]
    pub fn is_partial(&self) -> bool {
        u64::try_from(self.members.len()).is_ok_and(|listed| listed < self.total)
    }

    /// How `later` is related to this one.
    #[must_use]
    pub fn relation(&self, later: &Self) -> Relation {
        let (a, b) = (&self.program, &later.program);
        let by_clock = i128::from(later.captured_at_unix_ns) - i128::from(self.captured_at_unix_ns);
        let same_build = a.build_id.as_ref().zip(b.build_id.as_ref()).map(|(a, b)| a == b);
        let same_program = match (&a.module, &b.module) {
            (Some(a), Some(b)) => Some(a == b),
            _ => same_build.filter(|same| *same),
        };
        let by_uptime = a.uptime_ns.zip(b.uptime_ns).map(|(a, b)| i128::from(b) - i128::from(a));
        let same_process = match (a.pid.zip(b.pid), by_uptime) {
            _ if same_build == Some(false) => Some(false),
            (Some((a, b)), _) if a != b => Some(false),
            (Some(_), Some(by_uptime)) if (by_clock - by_uptime).abs() <= SAME_START_NS => Some(true),
            (Some(_), Some(_)) if !self.time_of_file && !later.time_of_file => Some(false),
            _ => None,
        };
        let elapsed_ns = by_uptime.filter(|_| same_process == Some(true)).unwrap_or(by_clock);
        Relation { same_process, same_build, same_program, elapsed_ns }
    }

    /// Its goroutines by id.
    #[must_use]
    pub fn by_id(&self) -> FxHashMap<u64, &Member> {
        self.members.iter().map(|member| (member.id, member)).collect()
    }
}

/// What bounds the wait of a goroutine from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitBound {
    /// It has a stamp, as old as that, ns.
    Stamp(u64),
    /// It has none, which the last collection would have set.
    Collection,
    /// The start of the program: it has a stamp of unknown age, or is a coroutine, whose stamps prove
    /// nothing.
    Start,
}

impl WaitBound {
    /// Of a goroutine that waits for `reason`, started in the function `start`, and has no stamp.
    #[must_use]
    pub fn unstamped(reason: Option<&str>, start: &str) -> Self {
        let coroutine = reason == Some("coroutine") || start == "runtime.corostart";
        if coroutine { Self::Start } else { Self::Collection }
    }
}

/// For how long goroutines of a program can have been blocked at most.
///
/// A collection stamps all goroutines that it finds blocked and that have no stamp yet (`waitsince`, set
/// where stacks are scanned in mgcmark.go, 1.18 to 1.27), with the time of the one before; so the first
/// one stamps nothing. The scan comes before the end, by as long as the collection ran on; a second is
/// added for it.
#[derive(Clone, Copy, Debug)]
pub struct LongestWaits {
    since_gc_ns: Option<u64>,
    uptime_ns: Option<u64>,
}

impl LongestWaits {
    const COLLECTION_NS: u64 = 1_000_000_000;

    /// Of a program, given when its last garbage collection ended and the number of cycles, and for how
    /// long it has run.
    #[must_use]
    pub fn new(now_unix_ns: u64, last_gc: Option<(u64, u32)>, uptime_ns: Option<u64>) -> Self {
        let stamped = last_gc.filter(|(at, cycles)| *at > 0 && *cycles >= 2);
        Self { since_gc_ns: stamped.map(|(at, _)| now_unix_ns.saturating_sub(at)), uptime_ns }
    }

    /// Of the program that a snapshot is of.
    #[must_use]
    pub fn of_snapshot(snapshot: &Snapshot) -> Self {
        let last_gc = snapshot.gc.as_ref().and_then(|gc| Some((gc.last_unix_ns?, gc.cycles)));
        Self::new(snapshot.captured_at_unix_ns, last_gc, snapshot.target.uptime_ns)
    }

    /// How old the stamp of a goroutine is at least that can have been blocked for `at_most_ns`, ns.
    #[must_use]
    pub fn stamp_ns(at_most_ns: u64) -> Option<u64> {
        at_most_ns.checked_sub(Self::COLLECTION_NS)
    }

    /// Of one goroutine, ns; `None` where nothing bounds it.
    #[must_use]
    pub fn of(&self, bound: WaitBound) -> Option<u64> {
        let since = match bound {
            WaitBound::Stamp(ns) => Some(ns),
            WaitBound::Collection => self.since_gc_ns,
            WaitBound::Start => None,
        };
        let since = since.map(|ns| ns.saturating_add(Self::COLLECTION_NS));
        [since, self.uptime_ns].into_iter().flatten().min()
    }
}

/// The id of a line of source in a pool of comparable names. An empty file and line 0 are unknown. Addresses
/// and compilation make no difference.
pub fn intern_line(pool: &mut SymbolPool, function: &str, file: &str, line: u32) -> FrameId {
    let (function, file) = (pool.intern_str(function), pool.intern_str(file));
    pool.intern_frame(Frame {
        function,
        file,
        line,
        start_line: 0,
        pc: Addr(0),
        entry: Addr(0),
        inlined: false,
        language: Language::Go,
    })
}

/// The id of a stack of such lines, innermost first, each with whether a normal traceback hides it.
pub fn intern_lines(pool: &mut SymbolPool, lines: impl IntoIterator<Item = (FrameId, bool)>) -> StackId {
    let frame = |(frame, hidden)| StackFrame { frame, sp_offset: 0, fp_offset: 0, hidden };
    let frames = lines.into_iter().map(frame).collect();
    pool.intern_stack(Stack { frames })
}

#[cfg(test)]
mod tests {
    use super::{LongestWaits, WaitBound};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_bounds_a_wait() {
        let now = 1_000 * SECOND;
        let waits = |gc, uptime| {
            let longest = LongestWaits::new(now, gc, uptime);
            [WaitBound::Stamp(20 * SECOND), WaitBound::Collection, WaitBound::Start]
                .map(|bound| longest.of(bound).map(|ns| ns / SECOND))
        };
        let collected = Some((now - 10 * SECOND, 2));
        assert_eq!(waits(collected, Some(300 * SECOND)), [Some(21), Some(11), Some(300)]);
        assert_eq!(waits(collected, Some(5 * SECOND)), [Some(5), Some(5), Some(5)]);
        // The first collection stamps nothing.
        assert_eq!(waits(Some((now - SECOND, 1)), None), [Some(21), None, None]);
        assert_eq!(WaitBound::unstamped(Some("select"), "main.f"), WaitBound::Collection);
        assert_eq!(WaitBound::unstamped(Some("coroutine"), "main.f"), WaitBound::Start);
        assert_eq!(WaitBound::unstamped(Some("select"), "runtime.corostart"), WaitBound::Start);
    }
}
