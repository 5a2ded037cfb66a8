//! What a program's own symbols and DWARF say, or those of a separate file, or what a recording kept of
//! them.

use super::layout::{Layout, LayoutTable};
use super::program::Program;
use super::recorded;
use super::symbols::{Global, Located, SymbolSource};
use crate::addr::{Arch, LinkAddr};
use crate::image::dwarf::{Dwarf, DwarfFindings};
use crate::image::elf::Elf;
use crate::image::symtab;
use crate::process::Target;

/// What DWARF says.
pub(super) struct DwarfFacts {
    pub(super) table: LayoutTable,
    pub(super) symbols: Vec<(Global, Located)>,
}

/// DWARF, read whole: it costs the most of all sources.
pub(super) fn dwarf_of(target: &dyn Target, program: &Program) -> Option<DwarfFacts> {
    if let Some(recorded) = recorded::dwarf(target) {
        if let Some((table, symbols)) = recorded {
            let symbols = located(&symbols, 0, &SymbolSource::Dwarf);
            return Some(DwarfFacts { table, symbols });
        }
        return program.symbols().and_then(|(elf, shift)| dwarf_in(elf, shift, program.elf.arch()));
    }
    let own = recorded::quiet(&program.elf);
    let found = dwarf_in(own.as_ref().unwrap_or(&program.elf), 0, program.elf.arch());
    recorded::leave_dwarf(target, found.as_ref().map(|found| (&found.table, found.symbols.as_slice())));
    found.or_else(|| program.symbols().and_then(|(elf, shift)| dwarf_in(elf, shift, program.elf.arch())))
}

fn dwarf_in(elf: &Elf, shift: u64, arch: Arch) -> Option<DwarfFacts> {
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
    Some(DwarfFacts { table, symbols: located(&symbols, shift, &SymbolSource::Dwarf) })
}

/// Symbols at their addresses in the program.
fn located(symbols: &[(Global, LinkAddr)], shift: u64, source: &SymbolSource) -> Vec<(Global, Located)> {
    let place = |addr: LinkAddr| Located::new(LinkAddr(addr.0.wrapping_add(shift)), source.clone());
    symbols.iter().map(|(global, addr)| (*global, place(*addr))).collect()
}

/// The variables that a symbol table names.
pub(super) fn symtab_symbols(target: &dyn Target, program: &Program) -> Vec<(Global, Located)> {
    let found = match recorded::symtab(target) {
        Some(symbols) => symbols,
        None => {
            let own = recorded::quiet(&program.elf);
            let symbols = symtab_in(own.as_ref().unwrap_or(&program.elf));
            recorded::leave_symtab(target, &symbols);
            symbols
        }
    };
    match program.symbols() {
        Some((elf, shift)) if found.is_empty() => located(&symtab_in(elf), shift, &SymbolSource::Symtab),
        _ => located(&found, 0, &SymbolSource::Symtab),
    }
}

fn symtab_in(elf: &Elf) -> Vec<(Global, LinkAddr)> {
    let wanted = |name: &[u8]| Global::ALL.iter().any(|g| g.name().as_bytes() == name);
    let Ok(found) = symtab::Symbols::load(elf, wanted) else { return Vec::new() };
    Global::ALL.into_iter().filter_map(|global| Some((global, found.get(global.name())?.addr))).collect()
}
