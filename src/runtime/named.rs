//! What a program's own symbols and DWARF say, or those of a separate file, or what a recording remembers
//! of them.

use super::layout::{Layout, LayoutTable};
use super::program::Program;
use super::recorded::{DWARF, FromDwarf, SYMTAB, Variables};
use super::symbols::{Global, Located, SymbolSource};
use crate::addr::{Arch, LinkAddr};
use crate::image::dwarf::{Dwarf, DwarfFindings};
use crate::image::elf::Elf;
use crate::image::symtab;
use crate::process::remember::remembered;
use crate::process::{ReadError, Target};

/// What DWARF says.
pub(super) struct DwarfFacts {
    pub(super) table: LayoutTable,
    pub(super) symbols: Vec<(Global, Located)>,
}

/// DWARF, read whole: it costs the most of all sources.
///
/// # Errors
/// When what is remembered of it is damaged.
pub(super) fn dwarf_of(target: &dyn Target, program: &Program) -> Result<Option<DwarfFacts>, ReadError> {
    let found: FromDwarf = remembered(target, DWARF, |_| {
        let own = program.elf.unlogged();
        Ok::<_, ReadError>(FromDwarf(dwarf_in(own.as_ref().unwrap_or(&program.elf), program.elf.arch())))
    })?;
    let shift = if found.0.is_some() { 0 } else { program.symbols().map_or(0, |(_, shift)| shift) };
    let found = found.0.or_else(|| program.symbols().and_then(|(elf, _)| dwarf_in(elf, program.elf.arch())));
    Ok(found.map(|(table, Variables(symbols))| DwarfFacts {
        table,
        symbols: located(&symbols, shift, &SymbolSource::Dwarf),
    }))
}

fn dwarf_in(elf: &Elf, arch: Arch) -> Option<(LayoutTable, Variables)> {
    let names: Vec<&str> = Global::ALL.iter().map(|g| g.name()).collect();
    let dwarf = Dwarf::open(elf).ok()??;
    let findings: DwarfFindings = LayoutTable::find_in(&dwarf, &names).ok()?;
    let release = "DWARF".to_owned();
    let mut table = LayoutTable::from_findings(&findings, release, arch);
    table.add_size_classes(elf, &findings);
    Layout::resolve(table.clone()).ok()?;
    let symbols: Vec<(Global, LinkAddr)> = Global::ALL
        .into_iter()
        .filter_map(|global| Some((global, findings.variables.get(global.name())?.addr)))
        .collect();
    Some((table, Variables(symbols)))
}

/// Symbols at their addresses in the program.
fn located(symbols: &[(Global, LinkAddr)], shift: u64, source: &SymbolSource) -> Vec<(Global, Located)> {
    let place = |addr: LinkAddr| Located::new(LinkAddr(addr.0.wrapping_add(shift)), source.clone());
    symbols.iter().map(|(global, addr)| (*global, place(*addr))).collect()
}

/// The variables that a symbol table names.
///
/// # Errors
/// When what is remembered of it is damaged.
pub(super) fn symtab_symbols(target: &dyn Target, program: &Program) -> Result<Vec<(Global, Located)>, ReadError> {
    let Variables(found) = remembered(target, SYMTAB, |_| {
        let own = program.elf.unlogged();
        Ok::<_, ReadError>(Variables(symtab_in(own.as_ref().unwrap_or(&program.elf))))
    })?;
    Ok(match program.symbols() {
        Some((elf, shift)) if found.is_empty() => located(&symtab_in(elf), shift, &SymbolSource::Symtab),
        _ => located(&found, 0, &SymbolSource::Symtab),
    })
}

fn symtab_in(elf: &Elf) -> Vec<(Global, LinkAddr)> {
    let wanted = |name: &[u8]| Global::ALL.iter().any(|g| g.name().as_bytes() == name);
    let Ok(found) = symtab::Symbols::load(elf, wanted) else { return Vec::new() };
    Global::ALL.into_iter().filter_map(|global| Some((global, found.get(global.name())?.addr))).collect()
}
