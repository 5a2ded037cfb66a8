//! Finding entries by name.
//!
//! Everything searched for is a child of its unit's root entry, mostly in the unit of package runtime. That
//! unit is searched first, the others only while names are missing.

use std::collections::HashMap;

use gimli::{AttributeValue, DwTag, Expression, Operation, UnitOffset};

use super::types::Types;
use super::units::{self, Data, GimliDwarf, Unit};
use super::{DwarfError, DwarfFindings, Variable};
use crate::addr::LinkAddr;

/// Attributes that are looked at beyond one for each byte of `.debug_info`. Most attributes have a
/// byte at least; those without (constants kept in the abbreviation) must not make a small section
/// an endless one.
pub(super) const SPARE_ATTRIBUTES: u64 = 1 << 20;

/// Most entries of one unit that have a name that is asked for; a name has one or two.
const MAX_SAME: usize = 4096;

/// What an entry is asked for as.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Struct,
    Variable,
    Constant,
}

impl Kind {
    fn of(tag: DwTag) -> Option<Self> {
        match tag {
            gimli::DW_TAG_structure_type => Some(Self::Struct),
            gimli::DW_TAG_variable => Some(Self::Variable),
            gimli::DW_TAG_constant => Some(Self::Constant),
            _ => None,
        }
    }
}

/// The parts of an entry that matter.
#[derive(Default)]
struct Entry<'a> {
    location: Option<Expression<Data<'a>>>,
    kind: Option<AttributeValue<Data<'a>>>,
    constant: Option<i64>,
    declaration: bool,
}

struct Search<'a, 'd> {
    dwarf: &'d GimliDwarf<'a>,
    /// The names that are still missing.
    missing: HashMap<(Kind, &'d [u8]), &'d str>,
    attributes_left: u64,
    findings: DwarfFindings,
    types: Types<'a, 'd>,
}

pub(super) fn find(
    dwarf: &GimliDwarf<'_>,
    structs: &[&str],
    variables: &[&str],
    constants: &[&str],
) -> Result<DwarfFindings, DwarfError> {
    let asked = [(Kind::Struct, structs), (Kind::Variable, variables), (Kind::Constant, constants)];
    let missing =
        asked.iter().flat_map(|(kind, names)| names.iter().map(|name| ((*kind, name.as_bytes()), *name))).collect();
    let headers = units::headers(dwarf)?;
    let info_len = gimli::Section::reader(&dwarf.debug_info).len() as u64;
    let mut search = Search {
        dwarf,
        missing,
        attributes_left: info_len.saturating_add(SPARE_ATTRIBUTES),
        findings: DwarfFindings::default(),
        types: Types::new(dwarf, &headers, info_len.saturating_add(SPARE_ATTRIBUTES)),
    };

    // The order of the search: package runtime, then the rest.
    let mut rest = Vec::new();
    for index in 0..headers.len() {
        match search.types.unit(index)? {
            None => search.findings.damaged_units += 1,
            Some(unit) if unit.language.is_some_and(|language| language != gimli::DW_LANG_Go) => {}
            Some(unit) if unit.name == b"runtime" => search.unit(index)?,
            Some(_) => rest.push(index),
        }
    }
    for index in rest {
        search.unit(index)?;
    }
    Ok(search.findings)
}

impl<'a, 'd> Search<'a, 'd> {
    /// Searches one unit.
    fn unit(&mut self, index: usize) -> Result<(), DwarfError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let Some(unit) = self.types.unit(index)? else { return Ok(()) };
        let mut found = Vec::new();
        if self.scan(&unit, &mut found).is_err() {
            self.findings.damaged_units += 1;
        }
        if self.attributes_left == 0 {
            let limit = gimli::Section::reader(&self.dwarf.debug_info).len() as u64;
            return Err(DwarfError::TooMuch {
                what: "the number of attributes",
                limit: limit.saturating_add(SPARE_ATTRIBUTES),
            });
        }
        for (kind, name, at, entry) in found {
            if self.take(index, &unit, kind, name, at, &entry)? {
                self.missing.remove(&(kind, name.as_bytes()));
            }
        }
        Ok(())
    }

    /// Lists the entries of a unit that are asked for. What was listed before an error counts.
    fn scan(
        &mut self,
        unit: &Unit<'a>,
        found: &mut Vec<(Kind, &'d str, UnitOffset, Entry<'a>)>,
    ) -> Result<(), gimli::Error> {
        let mut entries = unit.header.entries_raw(&unit.abbreviations, None)?;
        let mut root = true;
        while !entries.is_empty() && (root || entries.next_depth() > 0) {
            root = false;
            let (depth, at) = (entries.next_depth(), entries.next_offset());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let specifications = abbreviation.attributes();
            self.attributes_left = self.attributes_left.saturating_sub(specifications.len() as u64);
            if self.attributes_left == 0 {
                return Ok(());
            }
            let Some(kind) = Kind::of(abbreviation.tag()).filter(|_| depth == 1) else {
                entries.skip_attributes(specifications)?;
                continue;
            };
            // Go writes the name first, so an entry with another name is skipped there.
            let mut name = None;
            let mut entry = Entry::default();
            let mut left = specifications.iter();
            for specification in left.by_ref() {
                let attribute = entries.read_attribute(*specification)?;
                match attribute.name() {
                    gimli::DW_AT_name => {
                        let text = units::text(self.dwarf, attribute.value()).unwrap_or_default();
                        name = self.missing.get(&(kind, text)).copied();
                        if name.is_none() {
                            break;
                        }
                    }
                    gimli::DW_AT_location => entry.location = attribute.exprloc_value(),
                    gimli::DW_AT_type => entry.kind = Some(attribute.value()),
                    gimli::DW_AT_const_value => entry.constant = attribute.sdata_value(),
                    gimli::DW_AT_declaration => entry.declaration = true,
                    _ => {}
                }
            }
            entries.skip_attributes(left.as_slice())?;
            if let Some(name) = name.filter(|_| found.len() < MAX_SAME) {
                found.push((kind, name, at, entry));
            }
        }
        Ok(())
    }

    /// Adds an entry to the findings, if it is complete.
    fn take(
        &mut self,
        index: usize,
        unit: &Unit<'a>,
        kind: Kind,
        name: &str,
        at: UnitOffset,
        entry: &Entry<'a>,
    ) -> Result<bool, DwarfError> {
        match kind {
            Kind::Struct => {
                if entry.declaration {
                    return Ok(false);
                }
                let Some(found) = self.types.structure(index, at)? else { return Ok(false) };
                self.findings.structs.entry(name.to_owned()).or_insert(found);
            }
            Kind::Variable => {
                let Some(addr) = entry.location.and_then(|location| address(self.dwarf, unit, location)) else {
                    return Ok(false);
                };
                let Some(kind) = self.types.describe(index, entry.kind)? else { return Ok(false) };
                self.findings.variables.entry(name.to_owned()).or_insert(Variable { addr, kind });
            }
            Kind::Constant => {
                let Some(value) = entry.constant else { return Ok(false) };
                self.findings.constants.entry(name.to_owned()).or_insert(value);
            }
        }
        Ok(true)
    }
}

/// The fixed address that an expression is, in DWARF 4's form (`DW_OP_addr`) or in 5's
/// (`DW_OP_addrx`).
pub(super) fn address(dwarf: &GimliDwarf<'_>, unit: &Unit<'_>, location: Expression<Data<'_>>) -> Option<LinkAddr> {
    let encoding = unit.header.encoding();
    let mut operations = location.operations(encoding);
    let address = match operations.next().ok()?? {
        Operation::Address { address } => address,
        Operation::AddressIndex { index } => {
            dwarf.debug_addr.get_address(encoding.address_size, unit.addr_base, index).ok()?
        }
        _ => return None,
    };
    operations.next().ok()?.is_none().then_some(LinkAddr(address))
}
