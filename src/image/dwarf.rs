//! DWARF: addresses of the runtime's variables and layouts of its structures.
//!
//! Default builds have it, and then it is exact for any Go version, known or not. Only requested names are
//! looked up: package-level variables, structure types and constants by their full Go names (`runtime.allgs`,
//! `runtime.g`, `runtime._Gwaiting`). It reads no line tables, locals or call frames. On request, names and
//! types of parameters are read, by function. Go writes DWARF 4 up to
//! 1.24 and 5 from 1.25 on.

mod abbreviations;
mod go_entries;
mod parameters;
mod pointers;
mod search;
#[cfg(test)]
mod tests;
mod types;
mod units;
#[cfg(feature = "cli")]
mod variables;

use std::collections::{BTreeMap, BTreeSet};

use gimli::{DwarfSections, LittleEndian, SectionId};

use super::elf::{Elf, ElfError};
use crate::addr::LinkAddr;

pub use parameters::{Parameter, Shape, ValueType};
pub(crate) use pointers::{PointsTo, VariablePointer};
#[cfg(feature = "cli")]
pub(crate) use variables::{Form, GoField, GoType, GoVariables, TypeId};

/// Maximum bytes of DWARF decompressed; the largest programs have a few hundred megabytes.
const MAX_BYTES: usize = 1 << 30;

/// Why existing DWARF cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DwarfError {
    /// A section cannot be read.
    #[error(transparent)]
    Section(#[from] ElfError),
    /// The list of compilation units is damaged.
    #[error("the DWARF compilation unit after unit {units} is damaged: {error}")]
    Unit {
        /// How many units there are before it.
        units: usize,
        /// What is wrong.
        error: gimli::Error,
    },
    /// There is far more to read than plausible for a program of this size.
    #[error("the DWARF is too involved: {what} passes {limit}")]
    TooMuch {
        /// What exceeds the limit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// A structure type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructType {
    /// Its size, bytes.
    pub size: u64,
    /// Its fields, in order.
    pub fields: Vec<Field>,
}

impl StructType {
    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A field of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name; an embedded structure's is the name of its type.
    pub name: String,
    /// Where it starts in the structure, bytes.
    pub offset: u64,
    /// Its type.
    pub kind: TypeInfo,
}

/// The type of a field or variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// Its name as Go writes it: `uint32`, `*runtime.m`, `[256]uint64`, `internal/runtime/atomic.Uint32`.
    pub name: String,
    /// Its size, bytes.
    pub size: u64,
    /// Its elements, where it is an array.
    pub array: Option<Box<Array>>,
}

/// The elements of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// How many.
    pub count: u64,
    /// The type of each.
    pub element: TypeInfo,
}

/// A package-level variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its address.
    pub addr: LinkAddr,
    /// Its type.
    pub kind: TypeInfo,
}

/// The requested items that were found; anything missing is not in the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DwarfFindings {
    /// Structure types by full name.
    pub structs: BTreeMap<String, StructType>,
    /// Variables by full name.
    pub variables: BTreeMap<String, Variable>,
    /// Values of integer constants by full name.
    pub constants: BTreeMap<String, i64>,
    /// Number of damaged compilation units skipped.
    pub damaged_units: usize,
}

/// The DWARF of one file, decompressed.
#[derive(Debug)]
pub struct Dwarf {
    sections: DwarfSections<Vec<u8>>,
}

impl Dwarf {
    /// Reads and decompresses the sections that types and variables need; `None` when the file has
    /// no DWARF. Costs time and memory in proportion to `.debug_info`.
    ///
    /// # Errors
    /// When a section is damaged or all are together larger than a gigabyte.
    pub fn open(elf: &Elf) -> Result<Option<Self>, DwarfError> {
        if elf.section(SectionId::DebugInfo.name()).is_none_or(|section| !section.in_file) {
            return Ok(None);
        }
        let mut left = MAX_BYTES;
        let sections = DwarfSections::load(|id| {
            let needed = matches!(
                id,
                SectionId::DebugInfo
                    | SectionId::DebugAbbrev
                    | SectionId::DebugAddr
                    | SectionId::DebugStr
                    | SectionId::DebugLineStr
            );
            let data = if needed { elf.section_data(id.name(), left)? } else { None };
            let data = data.unwrap_or_default();
            left = left.saturating_sub(data.len());
            Ok::<_, DwarfError>(data)
        })?;
        Ok(Some(Self { sections }))
    }

    /// Finds structure types, variables and constants by their full Go names.
    ///
    /// # Errors
    /// When the list of compilation units is damaged, or a work limit is exceeded. A damaged unit is skipped
    /// and counted.
    pub fn find(&self, structs: &[&str], variables: &[&str], constants: &[&str]) -> Result<DwarfFindings, DwarfError> {
        let dwarf = self.sections.borrow(|section| gimli::EndianSlice::new(section, LittleEndian));
        search::find(&dwarf, structs, variables, constants)
    }

    /// Finds the parameters of the functions that start at `entries`, results left out. Those that are missing
    /// have no entry: assembly, and what the compiler made.
    ///
    /// # Errors
    /// When the list of compilation units is damaged, or a work limit is exceeded. A damaged unit is skipped.
    pub fn parameters(&self, entries: &BTreeSet<LinkAddr>) -> Result<BTreeMap<LinkAddr, Vec<Parameter>>, DwarfError> {
        let dwarf = self.sections.borrow(|section| gimli::EndianSlice::new(section, LittleEndian));
        parameters::find(&dwarf, entries)
    }

    /// Finds the pointers in package variables, and what they lead to.
    ///
    /// # Errors
    /// When the list of compilation units is damaged, or a work limit is exceeded. A damaged unit is skipped.
    pub(crate) fn variable_pointers(&self) -> Result<Vec<VariablePointer>, DwarfError> {
        let dwarf = self.sections.borrow(|section| gimli::EndianSlice::new(section, LittleEndian));
        pointers::find(&dwarf)
    }

    /// Finds package variables by their full Go names, with types as far as their values are made of them. Those that
    /// are missing have none.
    ///
    /// # Errors
    /// When the list of compilation units is damaged, or a work limit is exceeded. A damaged unit is skipped.
    #[cfg(feature = "cli")]
    pub(crate) fn variables(&self, names: &BTreeSet<&str>) -> Result<GoVariables, DwarfError> {
        let dwarf = self.sections.borrow(|section| gimli::EndianSlice::new(section, LittleEndian));
        variables::find(&dwarf, names)
    }
}
