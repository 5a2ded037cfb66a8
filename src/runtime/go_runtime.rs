//! A Go runtime that was found, and why one was not.

use super::layout::{Layout, LayoutSource, MissingField};
use super::rules::Rules;
use super::symbols::Symbols;
use super::validate::LayoutMismatch;
use super::version::{GoVersion, GoVersionSource};
use crate::model::{Provenance, Warnings};
use crate::process::ReadError;

/// Why a runtime cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The process could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The list of goroutines is empty: `schedinit` has not run yet.
    #[error("the Go runtime of this process has not started yet: it has no goroutines")]
    NotStarted,
    /// `runtime.allgs` was not found by any means.
    #[error(
        "cannot find the list of goroutines ({version}): no symbols, {functions} of the runtime's functions known by \
         name, and nothing in the data that looks like it"
    )]
    NoGoroutines {
        /// What is known of the version.
        version: String,
        /// How many of the functions that refer to it have names.
        functions: usize,
    },
    /// No layout fits.
    #[error("cannot read this runtime ({version}): with the layout of {release}, {mismatch}")]
    Unsupported {
        /// What is known of the version.
        version: String,
        /// The layout that was tried first.
        release: String,
        /// What does not fit.
        mismatch: LayoutMismatch,
    },
    /// A layout lacks what every version has.
    #[error("cannot read this runtime ({version}): {missing}")]
    Incomplete {
        /// What is known of the version.
        version: String,
        /// What is missing.
        missing: MissingField,
    },
    /// The version is older than every table.
    #[error("cannot read this runtime: {version} is too old; the oldest supported version is go1.18")]
    TooOld {
        /// The version.
        version: String,
    },
}

/// A Go runtime that can be read.
#[derive(Clone, Debug)]
pub struct GoRuntime {
    /// Its version.
    pub version: GoVersion,
    /// Where that was found.
    pub version_source: GoVersionSource,
    /// Where its fields are.
    pub layout: Layout,
    /// Where that came from.
    pub layout_source: LayoutSource,
    /// Where its variables are.
    pub symbols: Symbols,
    /// Its wait reasons, by number; empty when they were not found.
    pub wait_reasons: Vec<String>,
    /// Warnings.
    pub warnings: Warnings,
    /// Where everything came from, for people.
    pub provenance: Vec<Provenance>,
}

impl GoRuntime {
    /// What it does, where that depends on its version.
    #[must_use]
    pub const fn rules(&self) -> Rules {
        Rules::of(self.version.minor)
    }

    /// Whether the layout is that of another version, so that what nothing has checked is likely only.
    #[must_use]
    pub fn is_nearest_layout(&self) -> bool {
        matches!(self.layout_source, LayoutSource::Nearest { .. })
    }
}
