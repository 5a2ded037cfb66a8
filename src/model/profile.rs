//! The profiles that a runtime keeps of its own program: where it allocates, and where it blocks.
//!
//! They are as the runtime has them: samples, not scaled to what they stand for. They are no part of a snapshot.

use super::{FrameId, StackId, SymbolPool};
use crate::addr::Addr;

/// Where a sample was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileStack {
    /// Return addresses as the runtime keeps them, innermost first. To 1.22, and of allocations, there is one for
    /// each call, inlined or not.
    pub pcs: Vec<Addr>,
    /// The frames. The address of each is that of its return, or the one that stands for it where it was inlined.
    pub stack: StackId,
    /// How many of the frames the runtime recorded; the others follow from the last one, in whose function
    /// the stack was cut off.
    pub recorded: usize,
    /// How many frames at its top are the runtime's own, which a heap profile leaves out; 0 where there are no others.
    pub hidden: usize,
}

impl ProfileStack {
    /// The frames, innermost first.
    pub fn frames<'a>(&self, symbols: &'a SymbolPool) -> impl Iterator<Item = FrameId> + use<'a> {
        symbols.stack(self.stack).map_or(&[][..], |stack| &stack.frames).iter().map(|frame| frame.frame)
    }
}

/// Allocations of objects of one size in one place (`runtime.MemProfileRecord`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationSite {
    /// Where.
    pub stack: ProfileStack,
    /// Size of each object, bytes.
    pub size: u64,
    /// Samples of objects that were allocated.
    pub allocs: u64,
    /// Of them, those that were freed.
    pub frees: u64,
    /// Bytes of those allocated.
    pub alloc_bytes: u64,
    /// Bytes of those freed.
    pub free_bytes: u64,
}

impl AllocationSite {
    /// Samples of objects that are in use. A torn count is 0 and not an enormous one.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.allocs.saturating_sub(self.frees)
    }

    /// Their bytes.
    #[must_use]
    pub fn in_use_bytes(&self) -> u64 {
        self.alloc_bytes.saturating_sub(self.free_bytes)
    }
}

/// The heap profile of a program, up to the end of the last cycle of the collector but one.
#[derive(Debug, Default)]
pub struct AllocationProfile {
    /// `runtime.MemProfileRate`: one object is sampled for so many bytes; 0 where the program does not sample,
    /// `None` where it was not found.
    pub rate: Option<i64>,
    /// Whether the program holds what would read the profile. The linker switches the profile off otherwise.
    pub linked: bool,
    /// Cycles of the collector that the profile has counted.
    pub cycle: u32,
    /// Where the program allocates, newest site first.
    pub sites: Vec<AllocationSite>,
    /// Names.
    pub symbols: SymbolPool,
    /// How the reading went.
    pub reading: ProfileReading,
}

/// How a profile was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfileReading {
    /// Sites whose counts differed at every reading; what was read last is shown.
    pub moving: u64,
    /// Whether the list of sites is not complete: it is damaged, or longer than is read.
    pub incomplete: bool,
    /// How long it took to read, without names, ns.
    pub read_ns: u64,
}

/// Which contention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentionKind {
    /// Blocking on locks, channels and conditions (`runtime.SetBlockProfileRate`), where it waits.
    Block,
    /// Locks that others wait for (`runtime.SetMutexProfileFraction`), where they are unlocked.
    Mutex,
}

impl ContentionKind {
    /// As `runtime/pprof` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Mutex => "mutex",
        }
    }
}

/// Contention in one place (`runtime.BlockProfileRecord`).
#[derive(Clone, Debug, PartialEq)]
pub struct ContentionSite {
    /// Where.
    pub stack: ProfileStack,
    /// Events, scaled by the runtime as it samples them (mutexes to 1.20: not scaled).
    pub count: f64,
    /// Ticks of the processor's clock that they lasted, scaled likewise.
    pub cycles: i64,
}

/// The block or the mutex profile of a program.
#[derive(Debug)]
pub struct ContentionProfile {
    /// Which.
    pub kind: ContentionKind,
    /// The rate that was set; 0 where none was, `None` where it was not found. Blocking: one event is sampled for so
    /// many ticks of blocking. Mutexes: one of so many.
    pub rate: Option<u64>,
    /// How often the processor's clock ticks a second; `None` where that is not known, as for a core file.
    pub ticks_per_second: Option<f64>,
    /// By how much counts and times have to be multiplied.
    pub scale: u64,
    /// Where the program blocks, newest site first.
    pub sites: Vec<ContentionSite>,
    /// Names.
    pub symbols: SymbolPool,
    /// How the reading went.
    pub reading: ProfileReading,
}

/// Goroutines, or threads, that were in the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedStack {
    /// Where.
    pub stack: ProfileStack,
    /// Their labels, keys and values.
    pub labels: Vec<(String, String)>,
    /// How many.
    pub count: u64,
}

/// A profile that only counts (`countProfile` in runtime/pprof): of goroutines, or of threads.
#[derive(Debug, Default)]
pub struct CountProfile {
    /// As `runtime/pprof` calls it.
    pub name: &'static str,
    /// Where they are; each stack with the same labels once.
    pub stacks: Vec<CountedStack>,
    /// Names.
    pub symbols: SymbolPool,
}

impl CountProfile {
    /// How many there are altogether.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.stacks.iter().fold(0, |sum, stack| sum.saturating_add(stack.count))
    }
}
