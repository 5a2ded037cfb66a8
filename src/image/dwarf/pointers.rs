//! Where the pointers in package variables are, and what they lead to by the program's own descriptors of types.
//!
//! The linker writes beside each type how far its descriptor is from the beginning of all (`DW_AT_go_runtime_type`,
//! cmd/link/internal/ld/dwarf.go; seen in 1.24 and 1.27), or 0 for one that the program never needs. Interfaces are
//! left out: they say themselves what they hold.

use std::collections::HashMap;
use std::rc::Rc;

use gimli::{AttributeValue, UnitOffset};

use super::DwarfError;
use super::go_entries::{self, GO_ELEM, GO_KIND, GO_RUNTIME_TYPE, Listed};
use super::search::SPARE_ATTRIBUTES;
use super::types::{Entry, Types};
use super::units::{self, Data, GimliDwarf};
use crate::addr::LinkAddr;

/// Most pointers of one variable.
const MOST: usize = 4096;
/// Most pointers of all variables, and of all types together.
const MOST_ALL: usize = 1 << 20;
/// How deep types may consist of others.
const MOST_DEEP: u32 = 64;
/// Most fields of a structure.
const MOST_FIELDS: usize = 4096;

/// What a pointer leads to, with the descriptor of that: bytes from the beginning of the types (`moduledata.types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PointsTo {
    /// A value of this type.
    Value(u64),
    /// Values of it, one after the other.
    Elements(u64),
    /// A channel of such values.
    Channel(u64),
    /// A map of this type.
    Map(u64),
    /// The bytes of a string.
    Text,
}

/// A pointer in a package variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VariablePointer {
    /// Where it is.
    pub(crate) addr: LinkAddr,
    /// What it leads to.
    pub(crate) to: PointsTo,
}

/// The pointers of all variables, as they are listed.
pub(super) fn find(dwarf: &GimliDwarf<'_>) -> Result<Vec<VariablePointer>, DwarfError> {
    let headers = units::headers(dwarf)?;
    let limit = (gimli::Section::reader(&dwarf.debug_info).len() as u64).saturating_add(SPARE_ATTRIBUTES);
    let types = Types::new(dwarf, &headers, limit);
    let mut search = Search { types, left: limit, known: HashMap::new(), all: 0 };
    let mut out = Vec::new();
    for index in 0..headers.len() {
        let Some(unit) = search.types.unit(index)? else { continue };
        if unit.language != Some(gimli::DW_LANG_Go) {
            continue;
        }
        let mut found = Vec::new();
        // What was listed before the damage of a unit counts.
        let _ = go_entries::variables(dwarf, &unit, &mut search.left, |variable| found.push(variable));
        if search.left == 0 {
            return Err(DwarfError::TooMuch { what: "the number of attributes", limit });
        }
        for Listed { addr, kind, .. } in found {
            let (_, pointers) = search.pointers(index, kind, MOST_DEEP)?;
            let room = MOST_ALL.saturating_sub(out.len());
            let at = |offset| LinkAddr(addr.0.wrapping_add(offset));
            out.extend(pointers.iter().take(room).map(|(offset, to)| VariablePointer { addr: at(*offset), to: *to }));
        }
    }
    Ok(out)
}

/// Where the pointers in a value are, bytes from its beginning, and what they lead to.
type Pointers = Rc<[(u64, PointsTo)]>;

struct Search<'a, 'd> {
    types: Types<'a, 'd>,
    /// Attributes that may still be looked at.
    left: u64,
    /// Sizes and pointers of types by the place of their entries.
    known: HashMap<(usize, UnitOffset), (u64, Pointers)>,
    /// Pointers of all of these.
    all: usize,
}

impl<'a> Search<'a, '_> {
    /// Size and pointers of the type that an attribute of unit `index` refers to.
    fn pointers(
        &mut self,
        index: usize,
        reference: AttributeValue<Data<'a>>,
        left: u32,
    ) -> Result<(u64, Pointers), DwarfError> {
        let (Some(left), Some((index, at, entry))) = (left.checked_sub(1), self.types.referred(index, reference)?)
        else {
            return Ok((0, Pointers::default()));
        };
        if let Some(known) = self.known.get(&(index, at)) {
            return Ok(known.clone());
        }
        let (size, pointers) = self.within(index, at, &entry, left)?;
        let found: (u64, Pointers) = (size, pointers.into());
        self.all = self.all.saturating_add(found.1.len()).saturating_add(1);
        if self.all > MOST_ALL {
            return Err(DwarfError::TooMuch { what: "the number of pointers", limit: MOST_ALL as u64 });
        }
        self.known.insert((index, at), found.clone());
        Ok(found)
    }

    fn within(
        &mut self,
        index: usize,
        at: UnitOffset,
        entry: &Entry<'a>,
        left: u32,
    ) -> Result<(u64, Vec<(u64, PointsTo)>), DwarfError> {
        let number = |name| entry.attr_value(name).and_then(|value| value.udata_value());
        let (kind, size) = (number(GO_KIND).map(|kind| kind & 31), number(gimli::DW_AT_byte_size));
        let (target, element) = (entry.attr_value(gimli::DW_AT_type), entry.attr_value(GO_ELEM));
        let one = |to: Option<PointsTo>| to.map(|to| (0, to)).into_iter().collect();
        Ok(match kind {
            Some(17) => {
                let Some(unit) = self.types.unit(index)? else { return Ok((0, Vec::new())) };
                let (Some(target), Some(count)) = (target, self.types.element_count(&unit, at)?) else {
                    return Ok((size.unwrap_or(0), Vec::new()));
                };
                let (each, pointers) = self.pointers(index, target, left)?;
                let mut out = Vec::new();
                for n in 0..count {
                    let Some(start) = n.checked_mul(each) else { break };
                    if pointers.is_empty() || out.len() + pointers.len() > MOST {
                        break;
                    }
                    out.extend(pointers.iter().map(|(offset, to)| (start.saturating_add(*offset), *to)));
                }
                (size.unwrap_or(count.saturating_mul(each)), out)
            }
            Some(18) => (8, one(self.descriptor(index, element)?.map(PointsTo::Channel))),
            Some(19 | 26) => (8, Vec::new()),
            Some(20) => (16, Vec::new()),
            Some(21) => (8, one(descriptor(entry).map(PointsTo::Map))),
            Some(22) => (8, one(self.descriptor(index, target)?.map(PointsTo::Value))),
            Some(23) => (24, one(self.descriptor(index, element)?.map(PointsTo::Elements))),
            Some(24) => (16, vec![(0, PointsTo::Text)]),
            Some(25) => (size.unwrap_or(0), self.structure(index, at, left)?),
            // A named type refers to what it is made of; a pointer of the runtime's own has no kind.
            _ if entry.tag() == gimli::DW_TAG_typedef => match target {
                Some(target) => {
                    let (size, pointers) = self.pointers(index, target, left)?;
                    (size, pointers.to_vec())
                }
                None => (0, Vec::new()),
            },
            _ if entry.tag() == gimli::DW_TAG_pointer_type => (8, Vec::new()),
            _ => (size.unwrap_or(0), Vec::new()),
        })
    }

    fn structure(&mut self, index: usize, at: UnitOffset, left: u32) -> Result<Vec<(u64, PointsTo)>, DwarfError> {
        let Some(unit) = self.types.unit(index)? else { return Ok(Vec::new()) };
        let mut members = Vec::new();
        self.types.read(&unit, at, |entry| {
            if entry.depth() == 1 && entry.tag() == gimli::DW_TAG_member {
                let offset = entry.attr_value(gimli::DW_AT_data_member_location).and_then(|value| value.udata_value());
                members.extend(offset.zip(entry.attr_value(gimli::DW_AT_type)));
            }
            members.len() < MOST_FIELDS
        })?;
        let mut out = Vec::new();
        for (start, reference) in members {
            let (_, pointers) = self.pointers(index, reference, left)?;
            let room = MOST.saturating_sub(out.len());
            out.extend(pointers.iter().take(room).map(|(offset, to)| (start.saturating_add(*offset), *to)));
        }
        Ok(out)
    }

    /// Where the descriptor of the type is that an attribute of unit `index` refers to, if the program has one.
    fn descriptor(
        &mut self,
        index: usize,
        reference: Option<AttributeValue<Data<'a>>>,
    ) -> Result<Option<u64>, DwarfError> {
        let (mut index, mut reference) = (index, reference);
        for _ in 0..MOST_DEEP {
            let Some((next, _, entry)) = reference.map_or(Ok(None), |it| self.types.referred(index, it))? else {
                break;
            };
            if let Some(found) = descriptor(&entry) {
                return Ok(Some(found));
            }
            // What it has beside its name, its definition has.
            if entry.tag() != gimli::DW_TAG_typedef {
                break;
            }
            (index, reference) = (next, entry.attr_value(gimli::DW_AT_type));
        }
        Ok(None)
    }
}

/// Where the descriptor of a type is.
fn descriptor(entry: &Entry<'_>) -> Option<u64> {
    match entry.attr_value(GO_RUNTIME_TYPE)? {
        AttributeValue::Addr(distance) if distance != 0 => Some(distance),
        _ => None,
    }
}
