//! What the heap is made of, by size class. It is no part of a snapshot.

use serde::{Deserialize, Serialize};

/// The spans of one size class (`runtime.MemStats.BySize`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeClass {
    /// Its number; 0 for objects that are too large for any, which have a span each.
    pub class: u8,
    /// Size of an object, bytes; 0 for class 0.
    pub object_size: u64,
    /// Objects in use, those included that are dead and not swept yet. Of the smallest objects without pointers,
    /// several share one of 16 bytes.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, of objects without pointers.
    pub noscan_bytes: u64,
    /// Spans.
    pub spans: u64,
    /// Their bytes.
    pub span_bytes: u64,
}

impl SizeClass {
    /// Bytes of its spans that no object uses.
    #[must_use]
    pub fn unused_bytes(&self) -> u64 {
        self.span_bytes.saturating_sub(self.bytes)
    }
}

/// What a P holds to allocate from (`runtime.mcache`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCache {
    /// `p.id`.
    pub p: i32,
    /// Spans that it holds.
    pub spans: u64,
    /// Their bytes.
    pub span_bytes: u64,
    /// Of these, those that no object uses.
    pub unused_bytes: u64,
}

/// The heap by size class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SizeClasses {
    /// Those with spans, in the order of their numbers.
    pub classes: Vec<SizeClass>,
    /// Of each P, in the order of their ids.
    pub caches: Vec<SpanCache>,
    /// Spans that cannot be one, and were left out.
    pub odd: u64,
}

/// Objects of a size class that a sweep has left in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivors {
    /// Number of the class; 0 for objects that are too large for any.
    pub class: u8,
    /// Size of an object, bytes; 0 for class 0.
    pub object_size: u64,
    /// Objects that were in use after the last sweep of their span.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The heap at one moment, to be compared with others of the same run of the program.
#[derive(Debug)]
pub struct HeapReading {
    /// The program, and the heap's figures; without stacks.
    pub snapshot: super::Snapshot,
    /// The heap profile, or why there is none.
    pub allocations: Result<super::AllocationProfile, String>,
    /// What sweeps have left, by size class, or why that could not be read.
    pub survivors: Result<Vec<Survivors>, String>,
}
