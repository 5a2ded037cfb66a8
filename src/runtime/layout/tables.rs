//! The checked-in tables.

use super::{LayoutSource, LayoutTable};
use crate::addr::Arch;
use crate::runtime::version::GoVersion;

/// Minor versions with a table of their own, ascending.
pub(crate) const SUPPORTED_MINORS: &[u32] = &[19, 21, 22, 23, 24, 25, 26, 27];

macro_rules! tables {
    ($($minor:literal)*) => {
        fn text(minor: u32, arch: Arch) -> Option<&'static str> {
            match (minor, arch) {
                $(
                    ($minor, Arch::Amd64) => Some(include_str!(concat!("../layouts/go1.", $minor, "-amd64.txt"))),
                    ($minor, Arch::Arm64) => Some(include_str!(concat!("../layouts/go1.", $minor, "-arm64.txt"))),
                )*
                _ => None,
            }
        }
    };
}
tables!(19 21 22 23 24 25 26 27);

/// The checked-in table of a minor version, where there is one.
#[must_use]
pub(crate) fn checked_in(minor: u32, arch: Arch) -> Option<LayoutTable> {
    // That every table parses is tested; one that does not is one that is not there.
    LayoutTable::parse(text(minor, arch)?).ok()
}

/// The tables to try for a program of `version`, best first: its own minor version's alone, or the
/// ones around it. For 1.20, which no toolchain is at hand for, that is 1.21 and then 1.19; without
/// a version it is all of them, newest first.
#[must_use]
pub(crate) fn candidates(version: Option<&GoVersion>, arch: Arch) -> Vec<(LayoutTable, LayoutSource)> {
    let order: Vec<u32> = match version {
        None => SUPPORTED_MINORS.iter().rev().copied().collect(),
        Some(v) if SUPPORTED_MINORS.contains(&v.minor) => vec![v.minor],
        Some(v) => {
            let above = SUPPORTED_MINORS.iter().find(|minor| **minor > v.minor);
            let below = SUPPORTED_MINORS.iter().rfind(|minor| **minor < v.minor);
            above.into_iter().chain(below).copied().collect()
        }
    };
    order
        .into_iter()
        .filter_map(|minor| {
            let table = checked_in(minor, arch)?;
            let release = table.release.clone();
            let source = match version {
                Some(v) if v.minor == minor => LayoutSource::Table { release },
                _ => LayoutSource::Nearest { release, wanted: version.cloned() },
            };
            Some((table, source))
        })
        .collect()
}

impl LayoutTable {
    /// The first of [`candidates`].
    #[must_use]
    pub fn for_version(version: &GoVersion, arch: Arch) -> Option<(Self, LayoutSource)> {
        candidates(Some(version), arch).into_iter().next()
    }
}

#[cfg(test)]
#[path = "tables_tests.rs"]
mod tests;
