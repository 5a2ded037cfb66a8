//! What a recording keeps of a program's symbols, DWARF and code: the little that was found in them, in
//! place of megabytes that were searched.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::layout::LayoutTable;
use super::symbols::{Global, Located, SymbolSource};
use crate::addr::LinkAddr;
use crate::bytes::FieldsExt as _;
use crate::image::elf::Elf;
use crate::process::Target;

/// Names of the attachments.
const DWARF: &str = "dwarf";
const SYMTAB: &str = "symtab";
const FUNCTIONS: &str = "functions";
/// Between the layout and the variables.
const DIVIDER: &str = "\nvariables\n";

/// Where functions start, and their code, by name.
pub(super) type Functions = BTreeMap<String, (LinkAddr, Vec<u8>)>;

type Variables = Vec<(Global, LinkAddr)>;

/// The program's file without a record of what is read of it; `None` when none is made.
pub(super) fn quiet(elf: &Elf) -> Option<Elf> {
    // What was read once was parsed once: it cannot fail now.
    elf.bytes().source().unrecorded().and_then(|source| Elf::parse(source).ok())
}

/// What was found in DWARF, by a recording; the outer `None` when it does not say.
#[expect(clippy::option_option, reason = "that nothing was found is an answer")]
pub(super) fn dwarf(target: &dyn Target) -> Option<Option<(LayoutTable, Variables)>> {
    let text = std::str::from_utf8(target.attachment(DWARF)?).ok()?;
    let parse = || {
        let (table, list) = text.split_once(DIVIDER)?;
        Some((LayoutTable::parse(table).ok()?, variables(list)))
    };
    Some(parse())
}

/// Leaves with the recording what was found in DWARF.
pub(super) fn leave_dwarf(target: &dyn Target, found: Option<(&LayoutTable, &[(Global, Located)])>) {
    let Some(recorder) = target.recorder() else { return };
    let text = found.map(|(table, symbols)| {
        let list: Variables = symbols.iter().map(|(global, located)| (*global, located.addr)).collect();
        format!("{}{DIVIDER}{}", table.to_text(), list_of(&list))
    });
    recorder.attach(DWARF, text.unwrap_or_default().into_bytes());
}

/// What was found in the symbol table, by a recording.
pub(super) fn symtab(target: &dyn Target) -> Option<Variables> {
    Some(variables(std::str::from_utf8(target.attachment(SYMTAB)?).ok()?))
}

/// Leaves with the recording what was found in the symbol table.
pub(super) fn leave_symtab(target: &dyn Target, found: &[(Global, LinkAddr)]) {
    if let Some(recorder) = target.recorder() {
        recorder.attach(SYMTAB, list_of(found).into_bytes());
    }
}

/// The code of functions that was looked at, by a recording.
pub(super) fn functions(target: &dyn Target) -> Option<Functions> {
    let mut rest = target.attachment(FUNCTIONS)?;
    let mut out = Functions::new();
    // A name and its NUL, an address of eight bytes, a length of four, and the code.
    while let Some(end) = memchr::memchr(0, rest) {
        let (name, behind) = rest.split_at_checked(end)?;
        let len = usize::try_from(behind.u32_at(9)?).ok()?;
        let code = behind.get(13..13_usize.checked_add(len)?)?;
        out.insert(String::from_utf8_lossy(name).into_owned(), (LinkAddr(behind.u64_at(1)?), code.to_vec()));
        rest = behind.get(13 + len..)?;
    }
    Some(out)
}

/// Leaves with the recording the code of functions that was looked at.
pub(super) fn leave_functions(target: &dyn Target, functions: &Functions) {
    let Some(recorder) = target.recorder() else { return };
    let mut out = Vec::new();
    for (name, (entry, code)) in functions {
        let Ok(len) = u32::try_from(code.len()) else { continue };
        out.extend(name.as_bytes());
        out.push(0);
        out.extend(entry.0.to_le_bytes());
        out.extend(len.to_le_bytes());
        out.extend(code);
    }
    recorder.attach(FUNCTIONS, out);
}

/// What a search through the data found, by a recording.
pub(super) fn search(target: &dyn Target, key: &str) -> Option<Vec<(Global, Located)>> {
    let text = std::str::from_utf8(target.attachment(key)?).ok()?;
    let line = |line: &str| {
        let (variable, detail) = line.split_once('\t')?;
        let (global, addr) = variables(variable).pop()?;
        Some((global, Located::new(addr, SymbolSource::Scan { detail: detail.to_owned() })))
    };
    Some(text.lines().filter_map(line).collect())
}

/// Leaves with the recording what a search through the data found.
pub(super) fn leave_search(target: &dyn Target, key: &str, found: &[(Global, Located)]) {
    let Some(recorder) = target.recorder() else { return };
    let mut out = String::new();
    for (global, located) in found {
        if let SymbolSource::Scan { detail } = &located.source {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{} {:x}\t{detail}", global.name(), located.addr.0);
        }
    }
    recorder.attach(key, out.into_bytes());
}

fn list_of(variables: &[(Global, LinkAddr)]) -> String {
    let mut out = String::new();
    for (global, addr) in variables {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{} {:x}", global.name(), addr.0);
    }
    out
}

/// Lines that make no sense are left out.
fn variables(text: &str) -> Variables {
    text.lines()
        .filter_map(|line| {
            let (name, addr) = line.split_once(' ')?;
            let global = Global::ALL.into_iter().find(|global| global.name() == name)?;
            Some((global, LinkAddr(u64::from_str_radix(addr, 16).ok()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_back() {
        let list = vec![(Global::Allgs, LinkAddr(0x1234)), (Global::Sched, LinkAddr(u64::MAX))];
        assert_eq!(variables(&list_of(&list)), list);
        assert_eq!(variables("nothing 12\nruntime.allgs x\nruntime.allgs\n"), []);
    }
}
