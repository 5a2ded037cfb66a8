//! Options of a session and of a capture.

use std::path::PathBuf;

/// Options for opening a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// A separate file with the program's symbols.
    pub bin: Option<PathBuf>,
    /// Whether to compare every source of every fact, at any cost.
    pub thorough: bool,
}

/// What a capture is to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Stacks too.
    pub stacks: bool,
    /// Dead (free) gs too.
    pub dead: bool,
    /// What goroutines wait for too; that takes their stacks.
    pub waits: bool,
    /// What goroutines do in C too.
    pub c_frames: bool,
    /// What goroutines in system calls and in C do, and the descriptors that they use.
    pub system_calls: bool,
    /// What only tracebacks show too: words of arguments, and what headers depend on. Needs stacks.
    pub traceback: bool,
    /// With `traceback`: names and types of parameters too, from DWARF.
    pub values: bool,
    /// With `values`: the beginnings of strings among the arguments too. They are the program's data, and read
    /// when its goroutines may have moved on.
    pub strings: bool,
    /// Whether stacks that an earlier capture of the session read are kept where the headers of their goroutines do not
    /// show that they have run since; see `docs/consistency.md`. They are always read where the target is stopped or is
    /// not a process, and where more of them is wanted than their frames.
    pub keep_stacks: bool,
    /// Whether to stop the target, and how.
    pub freeze: Option<FreezeMode>,
}

impl CaptureOptions {
    /// Whether a capture with these options holds all that one with `other` does, read in the same way.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let Self { stacks, dead, waits, c_frames, system_calls, traceback, values, strings, keep_stacks, freeze } =
            *self;
        freeze == other.freeze
            // These are listed, and not only described better.
            && dead == other.dead
            // What may be kept is not as good as what was read.
            && keep_stacks <= other.keep_stacks
            && stacks >= other.stacks
            && waits >= other.waits
            && c_frames >= other.c_frames
            && system_calls >= other.system_calls
            && traceback >= other.traceback
            && values >= other.values
            && strings >= other.strings
    }
}

/// What to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeMode {
    /// Only threads that run goroutines, one at a time.
    Running,
    /// Every thread, together.
    All,
}
