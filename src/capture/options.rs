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
    /// Whether to stop the target, and how.
    pub freeze: Option<FreezeMode>,
}

/// What to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeMode {
    /// Only threads that run goroutines, one at a time.
    Running,
    /// Every thread, together.
    All,
}
