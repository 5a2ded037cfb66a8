//! Sizes and offsets by name, and the text form in which they are checked in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::wanted;
use crate::addr::Arch;

/// Largest structure that is accepted, in bytes; `runtime.heapArena` has 2 MiB in 1.19.
const MAX_SIZE: u64 = 4 << 20;

/// One structure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StructLayout {
    /// Its size in bytes.
    pub size: u32,
    /// Offsets of its fields in bytes, each less than the size.
    pub fields: BTreeMap<String, u32>,
}

/// Sizes and offsets of one build of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutTable {
    /// The release that it was made from (`go1.26.6`); for a program's own DWARF, its version.
    pub release: String,
    /// The architecture.
    pub arch: Arch,
    /// Structures by DWARF's name (`runtime.g`).
    pub structs: BTreeMap<String, StructLayout>,
    /// Sizes in bytes of variables (`runtime.semtable`).
    pub globals: BTreeMap<String, u32>,
    /// Object size by size class, bytes.
    pub size_classes: Vec<u32>,
}

/// A field or structure that every supported version has, and this table lacks.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the layout of {release} has no {structure}.{field}")]
pub struct MissingField {
    /// The release whose table it is.
    pub release: String,
    /// The structure.
    pub structure: &'static str,
    /// The field; empty when the whole structure is missing.
    pub field: &'static str,
}

/// Why a text is no table.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TableError {
    /// A line that is none of the known forms.
    #[error("line {line} of the layout table is malformed: {text:?}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// It lacks what every table begins with.
    #[error("the layout table does not say which release and architecture it is of")]
    NoHeader,
}

impl LayoutTable {
    /// A table without anything in it.
    #[must_use]
    pub fn empty(release: String, arch: Arch) -> Self {
        Self { release, arch, structs: BTreeMap::new(), globals: BTreeMap::new(), size_classes: Vec::new() }
    }

    /// Offset of a field in bytes, where this version has it.
    #[must_use]
    pub fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        self.structs.get(structure)?.fields.get(field).copied()
    }

    /// Size of a structure in bytes, where this version has it.
    #[must_use]
    pub fn size(&self, structure: &str) -> Option<u32> {
        Some(self.structs.get(structure)?.size)
    }

    /// Offset in bytes of a field that every supported version has.
    ///
    /// # Errors
    /// When this table lacks it.
    pub fn required(&self, structure: &'static str, field: &'static str) -> Result<u32, MissingField> {
        let missing = || MissingField { release: self.release.clone(), structure, field };
        self.offset(structure, field).ok_or_else(missing)
    }

    /// Size in bytes of a structure that a mirror is of.
    ///
    /// # Errors
    /// When this table lacks it.
    pub fn required_size(&self, structure: &'static str) -> Result<u32, MissingField> {
        let missing = || MissingField { release: self.release.clone(), structure, field: "" };
        self.size(structure).ok_or_else(missing)
    }

    /// Size of a variable in bytes.
    #[must_use]
    pub fn global_size(&self, name: &str) -> Option<u32> {
        self.globals.get(name).copied()
    }

    /// Adds a structure as DWARF describes it. Fields that are not in the tables are left out, and so is
    /// everything impossible: a field past the end of its structure, a structure of more than 4 MiB.
    pub fn add_struct<'a>(&mut self, name: &str, size: u64, fields: impl IntoIterator<Item = (&'a str, u64)>) {
        let Some(wanted) = wanted::fields(name) else { return };
        let Ok(size32) = u32::try_from(size) else { return };
        if size > MAX_SIZE {
            return;
        }
        let fields = fields
            .into_iter()
            .filter(|(field, offset)| wanted.contains(field) && *offset < size)
            .filter_map(|(field, offset)| Some((field.to_owned(), u32::try_from(offset).ok()?)))
            .collect();
        self.structs.insert(name.to_owned(), StructLayout { size: size32, fields });
    }

    /// Moves every field of `structure` at `from` or after it by `shift` bytes, and its end with them. Does
    /// nothing when that cannot be.
    pub fn shift_fields(&mut self, structure: &str, from: u32, shift: i32) {
        let Some(layout) = self.structs.get_mut(structure) else { return };
        let moved: Option<BTreeMap<String, u32>> = layout
            .fields
            .iter()
            .map(|(field, offset)| {
                let offset = if *offset >= from { offset.checked_add_signed(shift)? } else { *offset };
                Some((field.clone(), offset))
            })
            .collect();
        if let (Some(fields), Some(size)) = (moved, layout.size.checked_add_signed(shift)) {
            *layout = StructLayout { size, fields };
        }
    }

    /// Takes a structure from another table, or takes it out where that one does not have it.
    pub(crate) fn adopt(&mut self, structure: &str, other: &Self) {
        match other.structs.get(structure) {
            Some(layout) => self.structs.insert(structure.to_owned(), layout.clone()),
            None => self.structs.remove(structure),
        };
    }

    /// Puts a field where the process has it. A structure that is not in the table stays out of it.
    pub fn set_offset(&mut self, structure: &str, field: &str, offset: u32) {
        if let Some(layout) = self.structs.get_mut(structure) {
            layout.fields.insert(field.to_owned(), offset);
            layout.size = layout.size.max(offset.saturating_add(8));
        }
    }

    /// Reads the checked-in form; see [`LayoutTable::to_text`].
    ///
    /// # Errors
    /// With the malformed line.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let mut release = None;
        let mut arch = None;
        let mut table = Self::empty(String::new(), Arch::Amd64);
        let mut current: Option<(String, StructLayout)> = None;
        for (index, line) in text.lines().enumerate() {
            let bad = || TableError::Line { line: index + 1, text: line.to_owned() };
            let words: Vec<&str> = line.split_whitespace().collect();
            match (line.starts_with(' '), words.as_slice()) {
                (_, []) => {}
                (false, [comment, ..]) if comment.starts_with('#') => {}
                (false, ["go", value]) => release = Some((*value).to_owned()),
                (false, ["arch", "amd64"]) => arch = Some(Arch::Amd64),
                (false, ["arch", "arm64"]) => arch = Some(Arch::Arm64),
                (false, ["size_classes", sizes @ ..]) => {
                    table.size_classes =
                        sizes.iter().map(|s| s.parse()).collect::<Result<_, _>>().map_err(|_| bad())?;
                }
                (false, ["global", name, size]) => {
                    table.globals.insert((*name).to_owned(), size.parse().map_err(|_| bad())?);
                }
                (false, ["struct", name, size]) => {
                    table.structs.extend(current.take());
                    let size = size.parse().map_err(|_| bad())?;
                    current = Some(((*name).to_owned(), StructLayout { size, fields: BTreeMap::new() }));
                }
                (true, [field, offset]) => {
                    let (_, layout) = current.as_mut().ok_or_else(bad)?;
                    let offset = offset.parse().ok().filter(|offset| *offset < layout.size).ok_or_else(bad)?;
                    layout.fields.insert((*field).to_owned(), offset);
                }
                _ => return Err(bad()),
            }
        }
        table.structs.extend(current);
        table.release = release.ok_or(TableError::NoHeader)?;
        table.arch = arch.ok_or(TableError::NoHeader)?;
        Ok(table)
    }

    /// The checked-in form: one field a line, in the order of [`wanted::STRUCTS`], so that two
    /// versions can be compared by `diff`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::from("# Made by fixtures/layouts from DWARF; do not edit.\n");
        let sizes: Vec<String> = self.size_classes.iter().map(u32::to_string).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "go {}\narch {}\nsize_classes {}", self.release, self.arch.name(), sizes.join(" "));
        for (name, size) in &self.globals {
            let _ = writeln!(out, "global {name} {size}");
        }
        for (name, fields) in wanted::STRUCTS {
            let Some(layout) = self.structs.get(*name) else { continue };
            let _ = writeln!(out, "struct {name} {}", layout.size);
            for field in *fields {
                if let Some(offset) = layout.fields.get(*field) {
                    let _ = writeln!(out, "  {field} {offset}");
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# Made by fixtures/layouts from DWARF; do not edit.
go go1.26.6
arch arm64
size_classes 0 8 16
global runtime.semtable 32128
struct runtime.g 456
  m 48
  goid 152
struct runtime.gobuf 48
  sp 0
";

    #[test]
    fn text_and_table_are_the_same() {
        let table = LayoutTable::parse(TEXT).unwrap();
        assert_eq!(table.offset("runtime.g", "goid"), Some(152));
        assert_eq!(table.offset("runtime.g", "sp"), None);
        assert_eq!(table.size("runtime.gobuf"), Some(48));
        assert_eq!(table.global_size("runtime.semtable"), Some(32128));
        assert_eq!(table.to_text(), TEXT);
    }

    #[test]
    fn senseless_lines_are_named() {
        let bad = |text: &str| match LayoutTable::parse(text) {
            Err(TableError::Line { line, .. }) => line,
            other => panic!("{other:?}"),
        };
        assert_eq!(bad("go go1.1\n  goid 3\n"), 2);
        assert_eq!(bad("struct runtime.g 456\n  goid 456\n"), 2);
        assert_eq!(bad("struct runtime.g\n"), 1);
        assert_eq!(bad("size_classes 8 x\n"), 1);
        assert_eq!(LayoutTable::parse("arch amd64\n"), Err(TableError::NoHeader));
    }

    #[test]
    fn impossible_dwarf_is_left_out() {
        let mut table = LayoutTable::empty("x".into(), Arch::Amd64);
        table.add_struct("runtime.g", 100, [("goid", 92), ("m", 100), ("not in the tables", 0)]);
        table.add_struct("runtime.m", 8 << 20, [("g0", 0)]);
        assert_eq!(table.offset("runtime.g", "goid"), Some(92));
        assert_eq!(table.structs["runtime.g"].fields.len(), 1);
        assert_eq!(table.size("runtime.m"), None);
    }

    #[test]
    fn shifting_moves_what_follows_or_nothing() {
        let mut table = LayoutTable::parse(TEXT).unwrap();
        table.shift_fields("runtime.g", 100, -24);
        assert_eq!((table.offset("runtime.g", "m"), table.offset("runtime.g", "goid")), (Some(48), Some(128)));
        assert_eq!(table.size("runtime.g"), Some(432));
        table.shift_fields("runtime.g", 0, -56);
        assert_eq!((table.offset("runtime.g", "m"), table.offset("runtime.g", "goid")), (Some(48), Some(128)));
    }

    #[test]
    fn a_structure_is_taken_with_all_its_fields_or_taken_out() {
        let mut table = LayoutTable::parse(TEXT).unwrap();
        let mut other = LayoutTable::empty("x".into(), Arch::Arm64);
        other.add_struct("runtime.g", 500, [("goid", 160)]);
        table.adopt("runtime.g", &other);
        table.adopt("runtime.gobuf", &other);
        assert_eq!((table.offset("runtime.g", "goid"), table.offset("runtime.g", "m")), (Some(160), None));
        assert_eq!((table.size("runtime.g"), table.size("runtime.gobuf")), (Some(500), None));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(struct|go|arch|amd64|global|[ \n]|\\PC){0,60}") {
            let _ = LayoutTable::parse(&text);
        }
    }
}
