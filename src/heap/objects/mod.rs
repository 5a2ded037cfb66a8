//! What is on the heap: live objects and garbage, what they are, who keeps them, and by which path.
//!
//! It is the mark of `super::leaks` with all goroutines as roots, as the collector's own, made in steps: what each
//! kind of root reaches that none before it did. What only some goroutines keep is what they reach when they come
//! last. Types are found by `typing` in a second walk over what is marked.
//!
//! The figures are exact where nothing moved: in a program that is stopped, in a core file, and where no Go code ran
//! meanwhile. Otherwise they are an estimate, and how much has changed meanwhile is part of it.

mod book;
mod changes;
mod find;
mod forms;
mod held;
mod numbers;
mod pass;
mod path;
mod typing;
mod variables;
mod walk;

use std::time::Duration;

pub use super::root_log::Root;
pub use find::find;
pub(super) use held::{read_channels, type_data};
pub use path::{Path, Step};
pub(super) use variables::VariableTypes;

/// Objects, and their bytes in the sizes that the allocator uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// Bytes of their slots.
    pub bytes: u64,
}

impl Amount {
    /// Adds so many of this size.
    pub(super) fn add(&mut self, objects: u64, size: u64) {
        self.objects = self.objects.saturating_add(objects);
        self.bytes = self.bytes.saturating_add(objects.saturating_mul(size));
    }

    /// What is more than in another one.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        let (objects, bytes) = (self.objects.saturating_sub(other.objects), self.bytes.saturating_sub(other.bytes));
        Self { objects, bytes }
    }

    /// Both together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let (objects, bytes) = (self.objects.saturating_add(other.objects), self.bytes.saturating_add(other.bytes));
        Self { objects, bytes }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct ObjectOptions {
    /// Whether to stop the program for it.
    pub freeze: bool,
    /// Ids of goroutines, by the group that they are counted in.
    pub groups: Vec<Vec<u64>>,
    /// Ids of goroutines: what only they keep is counted, and they come last.
    pub only: Option<Vec<u64>>,
    /// What to find a path to.
    pub path_to: Option<Wanted>,
}

/// What a path is to lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The object that holds this address.
    Address(u64),
    /// An object of the type with this name.
    Type(String),
}

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Exact: the program was stopped for so long.
    Frozen(Duration),
    /// Exact: it is a core file.
    CoreFile,
    /// Exact: no Go code ran meanwhile.
    Quiet,
    /// An estimate: the program ran meanwhile.
    Running(Changes),
    /// An estimate: it is a capture of a program that ran meanwhile, which does not say what changed.
    RanWhileCaptured,
}

impl Standing {
    /// Whether nothing moved.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        !matches!(self, Self::Running(_) | Self::RanWhileCaptured)
    }
}

/// What has changed in a program while its heap was walked, at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Spans that are others now, or that objects were allocated or freed in.
    pub spans: u64,
    /// Objects by which their counts differ.
    pub objects: u64,
    /// Goroutines that have run.
    pub goroutines: u64,
}

/// A kind of root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keeper {
    /// Package variables.
    Variables,
    /// Finalizers and cleanups, attached to objects or queued.
    Finalizers,
    /// Timers, and what else Ps hold.
    Timers,
    /// Registers, and the stacks that threads schedule on.
    Threads,
    /// A group of goroutines, by its number in [`ObjectOptions::groups`].
    Group(usize),
    /// Goroutines in none of the groups.
    OtherGoroutines,
    /// Those of [`ObjectOptions::only`].
    Only,
}

/// Live objects of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeSum {
    /// Its name as the program has it; an array of several values is `[]T`.
    pub name: String,
    /// How many, and their bytes.
    pub live: Amount,
    /// Of these, what only the goroutines of [`ObjectOptions::only`] keep.
    pub only: Amount,
}

/// Live objects of one size whose types are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untyped {
    /// Size of each; `None` for those that are too large for a size class.
    pub size: Option<u64>,
    /// Whether there are pointers in them.
    pub pointers: bool,
    /// How many, and their bytes.
    pub live: Amount,
}

/// What is on a heap.
#[derive(Clone, Debug)]
pub struct Objects {
    /// What it is worth.
    pub standing: Standing,
    /// What is reachable.
    pub live: Amount,
    /// What is not, and is not swept yet.
    pub garbage: Amount,
    /// What each kind of root reaches that none before it does, in the order in which they are gone through. It sums
    /// up to what is live.
    pub kept: Vec<(Keeper, Amount)>,
    /// Types, largest first; `None` to Go 1.21, whose heap does not say any.
    pub types: Option<Vec<TypeSum>>,
    /// What has no type, largest first.
    pub untyped: Vec<Untyped>,
    /// The path that was asked for; `None` where nothing reachable is of that type or at that address.
    pub path: Option<Path>,
    /// What could not be read, so that something may be missing.
    pub notes: Vec<String>,
    /// What it took, bytes.
    pub memory: usize,
    /// How long the mark took, and the search for types.
    pub took: (Duration, Duration),
}

impl Objects {
    /// What has a type.
    #[must_use]
    pub fn typed(&self) -> Amount {
        let types = self.types.iter().flatten();
        types.fold(Amount::default(), |all, sum| all.with(sum.live))
    }

    /// What only the goroutines of [`ObjectOptions::only`] keep.
    #[must_use]
    pub fn only(&self) -> Option<Amount> {
        self.kept.iter().find(|(by, _)| *by == Keeper::Only).map(|(_, amount)| *amount)
    }
}
