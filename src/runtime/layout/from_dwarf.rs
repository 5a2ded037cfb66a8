//! A layout out of a program's own DWARF: the exact truth for any version of Go.

use super::{Layout, LayoutTable, MissingField, wanted};
use crate::addr::Arch;
use crate::bytes::FieldsExt as _;
use crate::image::build_info::{BuildInfo, BuildInfoError};
use crate::image::dwarf::{Dwarf, DwarfError, DwarfFindings};
use crate::image::elf::Elf;
use crate::image::symtab;
use crate::runtime::version::GoVersion;

/// Most size classes that are accepted; there are 68.
const MAX_CLASSES: u64 = 256;

/// Why no table can be made from a program.
#[derive(Debug, thiserror::Error)]
pub enum NoLayout {
    /// Its build info is damaged.
    #[error(transparent)]
    BuildInfo(#[from] BuildInfoError),
    /// It does not say which Go it was built with.
    #[error("the program does not say which version of Go it was built with")]
    NoVersion,
    /// Its DWARF is damaged.
    #[error(transparent)]
    Dwarf(#[from] DwarfError),
    /// It was built without DWARF.
    #[error("the program has no DWARF")]
    NoDwarf,
    /// Its DWARF is not that of a Go program, or of one that is not known.
    #[error(transparent)]
    Missing(#[from] MissingField),
}

impl LayoutTable {
    /// The table of the runtime in a program with DWARF.
    ///
    /// # Errors
    /// When the program lacks something that a table has in every version.
    pub fn of_program(elf: &Elf) -> Result<Self, NoLayout> {
        let info = BuildInfo::find(elf)?.ok_or(NoLayout::NoVersion)?;
        let version = GoVersion::parse(&info.go_version).ok_or(NoLayout::NoVersion)?;
        let dwarf = Dwarf::open(elf)?.ok_or(NoLayout::NoDwarf)?;
        let findings = Self::find_in(&dwarf, &[])?;
        let mut table = Self::from_findings(&findings, version.to_string(), elf.arch());
        table.add_size_classes(elf, &findings);
        Layout::resolve(table.clone())?;
        Ok(table)
    }

    /// Takes the wanted structures and variables' sizes from DWARF; see [`Self::find_in`].
    #[must_use]
    pub fn from_findings(findings: &DwarfFindings, release: String, arch: Arch) -> Self {
        let mut table = Self::empty(release, arch);
        for (name, layout) in &findings.structs {
            table.add_struct(name, layout.size, layout.fields.iter().map(|field| (field.name.as_str(), field.offset)));
        }
        for (name, variable) in &findings.variables {
            if wanted::GLOBALS.contains(&name.as_str())
                && let Ok(size) = u32::try_from(variable.kind.size)
            {
                table.globals.insert(name.clone(), size);
            }
        }
        table
    }

    /// Looks for everything that a table holds, and for `variables`, in one pass.
    ///
    /// # Errors
    /// When the DWARF cannot be read.
    pub fn find_in(dwarf: &Dwarf, variables: &[&str]) -> Result<DwarfFindings, DwarfError> {
        let structs: Vec<&str> = wanted::STRUCTS.iter().map(|(name, _)| *name).collect();
        let variables: Vec<&str> =
            variables.iter().chain(wanted::GLOBALS).chain(wanted::SIZE_CLASSES).copied().collect();
        dwarf.find(&structs, &variables, &[])
    }

    /// Reads the sizes of the size classes out of the program's initialised data, by whichever of
    /// DWARF and the symbol table knows where they are. Leaves them as they are when neither does.
    pub fn add_size_classes(&mut self, elf: &Elf, findings: &DwarfFindings) {
        let in_dwarf = wanted::SIZE_CLASSES.iter().find_map(|name| {
            let variable = findings.variables.get(*name)?;
            Some((variable.addr, variable.kind.size))
        });
        let in_symtab = || {
            let symbols =
                symtab::Symbols::load(elf, |name| wanted::SIZE_CLASSES.iter().any(|w| w.as_bytes() == name)).ok()?;
            let symbol = wanted::SIZE_CLASSES.iter().find_map(|name| symbols.get(name))?;
            Some((symbol.addr, symbol.size))
        };
        let Some((addr, size)) = in_dwarf.or_else(in_symtab) else { return };
        let Ok(len) = usize::try_from(size.min(2 * MAX_CLASSES)) else { return };
        if let Some(bytes) = elf.read(addr, len) {
            self.size_classes = (0..len / 2).filter_map(|class| bytes.u16_at(2 * class)).map(u32::from).collect();
        }
    }
}
