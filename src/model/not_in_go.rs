//! What goroutines do that are in a system call or in C, as far as the kernel says it.
//!
//! The runtime's metrics call them "not in Go". The numbers of system calls are those of the program's
//! architecture ([`crate::process::syscall_names`]); descriptors are in [`super::Snapshot::descriptors`].

use serde::{Deserialize, Serialize};

use crate::addr::{Addr, Arch};
use crate::process::SystemCall;

use super::ForeignFrame;

/// What the thread of such a goroutine did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// It was blocked in this system call; in a program that was stopped, it may have just finished it.
    In(SystemCall),
    /// It was blocked in the kernel, outside of a system call, as in a page fault.
    Blocked,
    /// It ran, in user mode or in the kernel.
    Running,
    /// It went on while it was looked at.
    Moved,
    /// Unknown; [`NotInGo::why_unknown`] may say why.
    Unknown,
}

impl Activity {
    /// The word that scripts see.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::In(_) => "in_call",
            Self::Blocked => "blocked",
            Self::Running => "running",
            Self::Moved => "moved",
            Self::Unknown => "unknown",
        }
    }

    /// By that word, with the call that it is about.
    #[must_use]
    pub fn of_name(name: &str, call: Option<SystemCall>) -> Self {
        match (name, call) {
            ("in_call", Some(call)) => Self::In(call),
            ("blocked", _) => Self::Blocked,
            ("running", _) => Self::Running,
            ("moved", _) => Self::Moved,
            _ => Self::Unknown,
        }
    }
}

/// A goroutine in a system call or in C.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outside {
    /// Address of its `runtime.g`.
    pub goroutine: Addr,
    /// Whether it called into C.
    pub in_c: bool,
    /// What its thread did.
    pub activity: Activity,
    /// The innermost C function and the file that it is in, where its thread showed where it was.
    pub c_function: Option<ForeignFrame>,
    /// Descriptors that its call waits for besides its arguments: those of `poll` and `ppoll`.
    pub polled: Vec<i32>,
}

impl Outside {
    /// The descriptors that its system call is about: first those among its arguments.
    pub fn descriptors(&self, arch: Arch) -> impl Iterator<Item = i32> {
        let call = match self.activity {
            Activity::In(call) => Some(call),
            _ => None,
        };
        call.into_iter().flat_map(move |call| call.descriptors(arch)).chain(self.polled.iter().copied())
    }
}

/// All goroutines of a snapshot that were in a system call or in C.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotInGo {
    /// By address of the g.
    all: Vec<Outside>,
    why_unknown: Option<String>,
}

impl NotInGo {
    /// Of these; `why_unknown` is why some are unknown, as a clause.
    #[must_use]
    pub fn new(mut all: Vec<Outside>, why_unknown: Option<String>) -> Self {
        all.sort_unstable_by_key(|outside| outside.goroutine);
        Self { all, why_unknown }
    }

    /// What the goroutine at `addr` did; `None` when it was neither in a system call nor in C, or that was not
    /// asked for.
    #[must_use]
    pub fn get(&self, addr: Addr) -> Option<&Outside> {
        let at = self.all.binary_search_by_key(&addr, |outside| outside.goroutine).ok()?;
        self.all.get(at)
    }

    /// All of them, by address of the g.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Outside> {
        self.all.iter()
    }

    /// Why [`Activity::Unknown`] is unknown, as a clause.
    #[must_use]
    pub fn why_unknown(&self) -> Option<&str> {
        self.why_unknown.as_deref()
    }
}
