//! What is remembered of a program's symbols, DWARF and code: the little that was found in them, in
//! place of megabytes that were searched.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::layout::LayoutTable;
use super::symbols::{Global, Located, SymbolSource};
use crate::addr::LinkAddr;
use crate::bytes::FieldsExt as _;
use crate::process::remember::Finding;

/// The keys.
pub(super) const DWARF: &str = "dwarf";
pub(super) const SYMTAB: &str = "symtab";
pub(super) const FUNCTIONS: &str = "functions";
/// Between the layout and the variables.
const DIVIDER: &str = "\nvariables\n";

/// Variables by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables(pub(super) Vec<(Global, LinkAddr)>);

/// What DWARF says; `None` when the program has none.
#[derive(Debug)]
pub(super) struct FromDwarf(pub(super) Option<(LayoutTable, Variables)>);

/// Where functions start, and their code, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Functions(pub(super) BTreeMap<String, Code>);

/// Where a function starts, and its code.
type Code = (LinkAddr, Vec<u8>);

/// What a search through the data found, and what speaks for it.
pub(super) struct Searched(pub(super) Vec<(Global, Located)>);

impl Finding for FromDwarf {
    fn encode(&self) -> Vec<u8> {
        let text =
            self.0.as_ref().map(|(table, variables)| format!("{}{DIVIDER}{}", table.to_text(), variables.text()));
        text.unwrap_or_default().into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = text_of(bytes)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let (table, list) = text.split_once(DIVIDER).ok_or("it has no list of variables")?;
        let table = LayoutTable::parse(table).map_err(|error| error.to_string())?;
        Ok(Self(Some((table, Variables::parse(list)?))))
    }
}

impl Finding for Variables {
    fn encode(&self) -> Vec<u8> {
        self.text().into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        Self::parse(text_of(bytes)?)
    }
}

impl Variables {
    fn text(&self) -> String {
        let mut out = String::new();
        for (global, addr) in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{} {:x}", global.name(), addr.0);
        }
        out
    }

    /// Variables of names that are not known are left out: another gospy may look for more of them.
    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(variable).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(lines.into_iter().flatten().collect()))
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

fn variable(line: &str) -> Result<Option<(Global, LinkAddr)>, String> {
    let parse = || {
        let (name, addr) = line.split_once(' ')?;
        Some((name, LinkAddr(u64::from_str_radix(addr, 16).ok()?)))
    };
    let (name, addr) = parse().ok_or_else(|| format!("{:?} names no variable", line.get(..80).unwrap_or(line)))?;
    Ok(Global::ALL.into_iter().find(|global| global.name() == name).map(|global| (global, addr)))
}

impl Finding for Functions {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, (entry, code)) in &self.0 {
            let Ok(len) = u32::try_from(code.len()) else { continue };
            out.extend(name.as_bytes());
            out.push(0);
            out.extend(entry.0.to_le_bytes());
            out.extend(len.to_le_bytes());
            out.extend(code);
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (mut rest, mut out) = (bytes, BTreeMap::new());
        while !rest.is_empty() {
            let next =
                function(rest).ok_or_else(|| format!("it ends in a function, {} bytes too early", rest.len()))?;
            let (name, found, after) = next;
            out.insert(name, found);
            rest = after;
        }
        Ok(Self(out))
    }
}

/// A name and its NUL, an address of eight bytes, a length of four, and the code.
fn function(bytes: &[u8]) -> Option<(String, Code, &[u8])> {
    let (name, rest) = bytes.split_at_checked(memchr::memchr(0, bytes)?)?;
    let len = usize::try_from(rest.u32_at(9)?).ok()?;
    let end = 13_usize.checked_add(len)?;
    let code = rest.get(13..end)?;
    let name = std::str::from_utf8(name).ok()?.to_owned();
    Some((name, (LinkAddr(rest.u64_at(1)?), code.to_vec()), rest.get(end..)?))
}

impl Finding for Searched {
    fn encode(&self) -> Vec<u8> {
        let mut out = String::new();
        for (global, located) in &self.0 {
            if let SymbolSource::Scan { detail } = &located.source {
                // Writing to a String cannot fail.
                let _ = writeln!(out, "{} {:x}\t{detail}", global.name(), located.addr.0);
            }
        }
        out.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut out = Vec::new();
        for line in text_of(bytes)?.lines() {
            let (text, detail) = line.split_once('\t').ok_or("a variable has nothing that speaks for it")?;
            let located = |addr| Located::new(addr, SymbolSource::Scan { detail: detail.to_owned() });
            out.extend(variable(text)?.map(|(global, addr)| (global, located(addr))));
        }
        Ok(Self(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_back() {
        let list = Variables(vec![(Global::Allgs, LinkAddr(0x1234)), (Global::Sched, LinkAddr(u64::MAX))]);
        assert_eq!(Variables::decode(&list.encode()), Ok(list));
        assert_eq!(Variables::decode(b"runtime.of_tomorrow 12\n"), Ok(Variables::default()));
        for bad in [&b"runtime.allgs x\n"[..], b"runtime.allgs\n", b"runtime.allgs 1234\n\xff", b"\n"] {
            assert!(Variables::decode(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn functions_come_back_whole_or_not_at_all() {
        let one = ("runtime.main".to_owned(), (LinkAddr(0x1000), vec![1, 2, 3]));
        let functions = Functions([one, ("runtime.mstart".to_owned(), (LinkAddr(0x2000), vec![4]))].into());
        let bytes = functions.encode();
        assert_eq!(Functions::decode(&bytes), Ok(functions));
        assert_eq!(Functions::decode(&[]), Ok(Functions::default()));
        let first = "runtime.main".len() + 1 + 12 + 3;
        for len in (1..bytes.len()).filter(|len| *len != first) {
            assert!(Functions::decode(&bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn dwarf_that_makes_no_sense_is_not_dwarf_that_is_not_there() {
        assert!(FromDwarf::decode(b"").unwrap().0.is_none());
        assert!(FromDwarf::decode(b"?").is_err());
        assert!(FromDwarf::decode(b"?\nvariables\nruntime.allgs 12\n").is_err());
    }
}
