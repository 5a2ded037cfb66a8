//! Where fields are in the runtime's structures.
//!
//! A [`LayoutTable`] holds sizes and offsets by name, and comes from one of the checked-in tables (one per
//! minor version and architecture, made by `fixtures/layouts` from the DWARF of real toolchains) or from a
//! program's own DWARF. A [`Layout`] is the typed form that readers use. Nothing here reads a process:
//! whether a layout fits the program at hand is for `validate.rs` to say.

mod from_dwarf;
mod table;
mod tables;
mod typed;
pub(crate) mod wanted;

pub use table::LayoutTable;
pub(crate) use table::MissingField;
pub(crate) use tables::{SUPPORTED_MINORS, candidates, checked_in};
pub use typed::Layout;
pub(crate) use typed::Placed;

use std::fmt;

use super::version::GoVersion;

/// Where the offsets in use came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutSource {
    /// The checked-in table of the program's minor version.
    Table {
        /// The release that the table was made from (`go1.26.6`).
        release: String,
    },
    /// The checked-in table of another minor version, because there is none for the program's.
    Nearest {
        /// The release that the table was made from.
        release: String,
        /// The program's version; `None` where it is unknown too.
        wanted: Option<GoVersion>,
    },
    /// The program's own DWARF.
    Dwarf,
    /// A checked-in table, with fields moved to where the process has them.
    Inferred {
        /// The release that the table was made from.
        release: String,
        /// The fields that were moved.
        fields: Vec<String>,
    },
}

impl LayoutSource {
    /// Notes that a field of a checked-in table was moved to where the process has it.
    pub(crate) fn note_moved(&mut self, field: String) {
        match self {
            Self::Table { release } | Self::Nearest { release, .. } => {
                *self = Self::Inferred { release: std::mem::take(release), fields: vec![field] };
            }
            Self::Inferred { fields, .. } => fields.push(field),
            Self::Dwarf => {}
        }
    }
}

impl fmt::Display for LayoutSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { release } => write!(f, "table of {release}"),
            Self::Nearest { release, wanted: Some(wanted) } => write!(f, "table of {release}, the nearest to {wanted}"),
            Self::Nearest { release, wanted: None } => write!(f, "table of {release}, which fits"),
            Self::Dwarf => f.write_str("DWARF of the program"),
            Self::Inferred { release, fields } => {
                write!(f, "table of {release} with {} inferred from the process", fields.join(", "))
            }
        }
    }
}
