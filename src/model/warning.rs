//! Warnings about a snapshot, with stable codes that scripts can rely on.

use serde::{Deserialize, Serialize};

/// A stable code. Codes are added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum WarningCode {
    /// `process_vm_readv` was refused and `/proc/PID/mem` is used.
    FallbackBackend,
    /// Two sources disagree on where a symbol is.
    SymbolsDisagree,
    /// A symbol was not found; what depends on it is unknown.
    SymbolMissing,
    /// Layouts of the nearest known Go version were used.
    NearestLayout,
    /// A field of a structure failed a check and is not used.
    FieldRejected,
    /// Some goroutines could not be read.
    GoroutineUnreadable,
    /// Some goroutines changed on every attempt to read them.
    GoroutineMoving,
    /// A goroutine has impossible field values, or fields that contradict each other.
    GoroutineInconsistent,
    /// A stack did not end at an outermost function.
    StackMalformed,
    /// The list of goroutines or another list was cut at a limit.
    LimitReached,
    /// A P or an M could not be read.
    SchedulerPartUnreadable,
    /// Statistics could not be read.
    StatsUnreadable,
    /// Numbers that should agree do not (threads, goroutines).
    CountsDisagree,
    /// The target's executable or module data is malformed.
    ImageMalformed,
    /// A freeze was requested and failed.
    NotFrozen,
    /// A core file or capture is truncated.
    Truncated,
    /// When the snapshot was taken is unknown; ages and uptime are lower bounds.
    ClockUnknown,
}

impl WarningCode {
    /// All codes.
    pub const ALL: [Self; 17] = [
        Self::FallbackBackend,
        Self::SymbolsDisagree,
        Self::SymbolMissing,
        Self::NearestLayout,
        Self::FieldRejected,
        Self::GoroutineUnreadable,
        Self::GoroutineMoving,
        Self::GoroutineInconsistent,
        Self::StackMalformed,
        Self::LimitReached,
        Self::SchedulerPartUnreadable,
        Self::StatsUnreadable,
        Self::CountsDisagree,
        Self::ImageMalformed,
        Self::NotFrozen,
        Self::Truncated,
        Self::ClockUnknown,
    ];

    /// The code as scripts see it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FallbackBackend => "fallback_backend",
            Self::SymbolsDisagree => "symbols_disagree",
            Self::SymbolMissing => "symbol_missing",
            Self::NearestLayout => "nearest_layout",
            Self::FieldRejected => "field_rejected",
            Self::GoroutineUnreadable => "goroutine_unreadable",
            Self::GoroutineMoving => "goroutine_moving",
            Self::GoroutineInconsistent => "goroutine_inconsistent",
            Self::StackMalformed => "stack_malformed",
            Self::LimitReached => "limit_reached",
            Self::SchedulerPartUnreadable => "scheduler_part_unreadable",
            Self::StatsUnreadable => "stats_unreadable",
            Self::CountsDisagree => "counts_disagree",
            Self::ImageMalformed => "image_malformed",
            Self::NotFrozen => "not_frozen",
            Self::Truncated => "truncated",
            Self::ClockUnknown => "clock_unknown",
        }
    }

    /// Whether a snapshot with this warning lacks something that was asked for.
    #[must_use]
    pub fn means_incomplete(self) -> bool {
        matches!(
            self,
            Self::GoroutineUnreadable
                | Self::GoroutineMoving
                | Self::GoroutineInconsistent
                | Self::StackMalformed
                | Self::LimitReached
                | Self::SchedulerPartUnreadable
                | Self::StatsUnreadable
                | Self::NotFrozen
                | Self::Truncated
        )
    }
}

/// A warning; equal ones are counted, not repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Its code.
    pub code: WarningCode,
    /// What happened, with the values of the first occurrence.
    pub message: String,
    /// Number of occurrences.
    pub count: u64,
}

/// Warnings, in the order of their first occurrence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warnings(Vec<Warning>);

/// Number of distinct messages kept per code.
const DISTINCT_MESSAGES: usize = 8;

impl Warnings {
    /// Adds a warning. A repeated one is counted; after eight distinct messages of one code, further
    /// ones of that code are counted only.
    pub fn add(&mut self, code: WarningCode, message: impl Into<String>) {
        self.add_many(code, message, 1);
    }

    /// Adds a warning that occurred `count` times.
    pub fn add_many(&mut self, code: WarningCode, message: impl Into<String>, count: u64) {
        let message = message.into();
        let of_code = self.0.iter().filter(|w| w.code == code).count();
        let same =
            self.0.iter_mut().rfind(|w| w.code == code && (w.message == message || of_code >= DISTINCT_MESSAGES));
        match same {
            Some(warning) => warning.count = warning.count.saturating_add(count),
            None => self.0.push(Warning { code, message, count }),
        }
    }

    /// All warnings.
    pub fn iter(&self) -> std::slice::Iter<'_, Warning> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Warnings {
    type Item = &'a Warning;
    type IntoIter = std::slice::Iter<'a, Warning>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
