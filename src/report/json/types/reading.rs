//! How a program was read, and what was odd about it.

use schemars::JsonSchema;
use serde::Serialize;

/// How the program was read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Reading<'a> {
    /// How memory was read. Open enumeration.
    pub backend: &'a str,
    /// From the first read to the last, ns.
    pub duration_ns: u64,
    /// System calls that read memory.
    pub syscalls: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Where the offsets came from.
    pub layout: &'a str,
    /// How the target was stopped; null when it was not.
    pub freeze: Option<Freeze>,
    /// How well the parts belong together.
    pub consistency: Consistency,
    /// Which stacks were read now, and which were kept from earlier readings, as repeated ones do; null where that is
    /// not known.
    pub stacks: Option<Stacks>,
    /// Where each symbol came from.
    pub provenance: Vec<Provenance<'a>>,
}

/// A stop that was asked for.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Freeze {
    /// Whether all threads stood still together, or running ones one by one.
    pub whole_program: bool,
    /// For how long the target (or its slowest thread) stood still, ns.
    pub stopped_ns: u64,
    /// How many threads were stopped.
    pub threads: u32,
}

/// How well the parts belong together.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Consistency {
    /// Goroutines read and validated; where a stack was kept from an earlier reading, the header.
    pub validated: u64,
    /// Of them, after more than one try.
    pub retried: u64,
    /// Goroutines that changed on every try.
    pub moving: u64,
    /// Goroutines that could not be read.
    pub unreadable: u64,
}

/// Which stacks were read now, and which were kept from earlier readings of the same program.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stacks {
    /// Stacks that were read and validated now.
    pub read: u64,
    /// Stacks that were read and validated earlier, of goroutines that have not gone on since, as far as their
    /// headers show.
    pub kept: u64,
    /// Of them, those that are proven to be the same.
    pub kept_proven: u64,
    /// How long ago the oldest of the kept ones was read, ms; null where none was kept.
    pub oldest_ms: Option<u64>,
}

/// Where a symbol came from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Provenance<'a> {
    /// The symbol.
    pub name: &'a str,
    /// Its source.
    pub source: &'a str,
    /// What agrees with it.
    pub cross_checks: &'a [String],
}

/// A warning; equal ones are counted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Warning<'a> {
    /// A stable code. Open enumeration.
    pub code: &'static str,
    /// A sentence with the values of the first time.
    pub message: &'a str,
    /// How often.
    pub count: u64,
}
