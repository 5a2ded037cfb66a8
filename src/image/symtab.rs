//! The symbol table: addresses of requested names, and names of C functions.
//!
//! Programs linked with `-w` but not `-s` have it but no DWARF: then it gives the addresses of the runtime's
//! variables. It also names the C functions of cgo calls, which pclntab lacks, in the program and its shared
//! libraries. A large Go program has 200,000 symbols, so the table is read in one go and scanned once for the
//! requested names.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use object::elf::{SHN_UNDEF, STB_GLOBAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT, Sym64};
use object::{LittleEndian as LE, pod};

use super::elf::{Elf, ElfError, Section};
use crate::addr::LinkAddr;

/// Maximum bytes read of a symbol table: 5 million symbols.
const MAX_TABLE: usize = 128 << 20;
/// Maximum bytes read of a symbol table's names.
const MAX_NAMES: usize = 512 << 20;
/// Maximum bytes of a name; those of instantiated generic functions reach a few thousand.
const MAX_NAME: usize = 8 * 1024;
/// Assumed maximum size of a function of unknown size (hand-written assembly), bytes.
const MAX_UNSIZED: u64 = 4096;

/// A symbol's address and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its link address.
    pub addr: LinkAddr,
    /// Its size in bytes, 0 when unknown.
    pub size: u64,
}

/// The function that an address lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSymbol {
    /// Its name as the table has it (mangled, where the language mangles).
    pub name: String,
    /// Its first instruction.
    pub start: LinkAddr,
}

/// One function of the look-up table.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: u64,
    size: u64,
    name: u32,
}

/// The symbols of one file. The default has no named symbols; [`Symbols::function_at`] still works.
#[derive(Debug, Default)]
pub struct Symbols {
    named: BTreeMap<Vec<u8>, Symbol>,
    functions: OnceLock<Vec<Function>>,
}

impl Symbols {
    /// Loads the symbols whose names are `wanted`, from `.symtab` or, without it, `.dynsym`. A file without
    /// either has no symbols, which is not an error. Of several symbols of one name the first counts.
    ///
    /// # Errors
    /// When the table is too large or the file ends inside it.
    pub fn load(elf: &Elf, wanted: impl Fn(&[u8]) -> bool) -> Result<Self, ElfError> {
        let mut named = BTreeMap::new();
        if let Some((table, names)) = tables(elf) {
            let table = elf.data_of(table, MAX_TABLE)?.unwrap_or_default();
            let names = elf.data_of(names, MAX_NAMES)?.unwrap_or_default();
            for symbol in entries(&table) {
                let plain = [STT_NOTYPE, STT_OBJECT, STT_FUNC].contains(&symbol.st_type());
                if !plain || symbol.st_shndx.get(LE) == SHN_UNDEF {
                    continue;
                }
                if let Some(name) = name_at(&names, symbol.st_name.get(LE)).filter(|name| wanted(name)) {
                    let symbol = Symbol { addr: LinkAddr(symbol.st_value.get(LE)), size: symbol.st_size.get(LE) };
                    named.entry(name.to_vec()).or_insert(symbol);
                }
            }
        }
        Ok(Self { named, functions: OnceLock::new() })
    }

    /// A loaded symbol, by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Symbol> {
        self.named.get(name.as_bytes()).copied()
    }

    /// The function that contains `addr`. The first call reads the table of `elf`, which must be the
    /// file that these symbols were loaded from; an unreadable table has no functions.
    #[must_use]
    pub fn function_at(&self, elf: &Elf, addr: LinkAddr) -> Option<FunctionSymbol> {
        let functions = self.functions.get_or_init(|| functions(elf).unwrap_or_default());
        let after = functions.partition_point(|function| function.start <= addr.0);
        let function = functions.get(after.checked_sub(1)?)?;
        let into = addr.0.checked_sub(function.start)?;
        let size = match function.size {
            // Up to the next function, within a limit.
            0 => functions.get(after).map_or(MAX_UNSIZED, |next| (next.start - function.start).min(MAX_UNSIZED)),
            size => size,
        };
        if into >= size {
            return None;
        }
        let (_, names) = tables(elf)?;
        if u64::from(function.name) >= names.size {
            return None;
        }
        let name = elf.bytes().c_str(names.offset.checked_add(u64::from(function.name))?, MAX_NAME)?;
        Some(FunctionSymbol { name: String::from_utf8_lossy(&name).into_owned(), start: LinkAddr(function.start) })
    }
}

/// The variable that `addr` lies in, and how far from its beginning that is, bytes; `None` where the file has no
/// symbols, or none for it. The table is read each time.
#[must_use]
pub fn variable_at(elf: &Elf, addr: LinkAddr) -> Option<(String, u64)> {
    let (table, names) = tables(elf)?;
    let table = elf.data_of(table, MAX_TABLE).ok()??;
    let names = elf.data_of(names, MAX_NAMES).ok()??;
    let holds = |symbol: &&Sym64<LE>| {
        let into = addr.0.checked_sub(symbol.st_value.get(LE));
        symbol.st_type() == STT_OBJECT && into.is_some_and(|into| into < symbol.st_size.get(LE))
    };
    let symbol = entries(&table).iter().filter(holds).min_by_key(|symbol| symbol.st_size.get(LE))?;
    let name = name_at(&names, symbol.st_name.get(LE))?;
    Some((String::from_utf8_lossy(name).into_owned(), addr.0 - symbol.st_value.get(LE)))
}

/// The symbol table that a file has, and the section with its names.
fn tables(elf: &Elf) -> Option<(&Section, &Section)> {
    let with_names = |name| {
        let table = elf.section(name).filter(|table| table.in_file && table.size > 0)?;
        let names = elf.sections().get(usize::try_from(table.link).ok()?)?;
        (names.in_file && !table.compressed && !names.compressed).then_some((table, names))
    };
    with_names(".symtab").or_else(|| with_names(".dynsym"))
}

fn entries(table: &[u8]) -> &[Sym64<LE>] {
    let count = table.len() / size_of::<Sym64<LE>>();
    pod::slice_from_bytes(table, count).map_or(&[], |(entries, _)| entries)
}

fn name_at(names: &[u8], at: u32) -> Option<&[u8]> {
    let rest = names.get(usize::try_from(at).ok()?..)?;
    let rest = rest.get(..rest.len().min(MAX_NAME))?;
    rest.get(..memchr::memchr(0, rest)?)
}

/// Every function, by address. Of several names for one address (glibc has many), a global one is preferred,
/// then the one that comes first among the names.
fn functions(elf: &Elf) -> Option<Vec<Function>> {
    let (table, _) = tables(elf)?;
    let table = elf.data_of(table, MAX_TABLE).ok()??;
    let mut functions: Vec<(Function, bool)> = entries(&table)
        .iter()
        .filter(|symbol| [STT_FUNC, STT_GNU_IFUNC].contains(&symbol.st_type()))
        .filter(|symbol| symbol.st_shndx.get(LE) != SHN_UNDEF)
        .map(|symbol| {
            let function =
                Function { start: symbol.st_value.get(LE), size: symbol.st_size.get(LE), name: symbol.st_name.get(LE) };
            (function, symbol.st_bind() == STB_GLOBAL)
        })
        .collect();
    functions.sort_unstable_by_key(|(function, global)| {
        (function.start, Reverse(*global), Reverse(function.size), function.name)
    });
    functions.dedup_by_key(|(function, _)| function.start);
    Some(functions.into_iter().map(|(function, _)| function).collect())
}
