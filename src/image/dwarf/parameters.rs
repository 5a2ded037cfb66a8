//! Parameters of functions: their names and types, by the address that a function starts at.
//!
//! Where a parameter is at some instruction (location lists) is not read: what tracebacks print of the arguments
//! says more often which words are valid (golang/go#61703), and where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gimli::{AttributeValue, UnitOffset};

use super::DwarfError;
use super::go_entries::GO_KIND;
use super::search::SPARE_ATTRIBUTES;
use super::types::{Entry, Types};
use super::units::{self, Data, GimliDwarf, Unit};
use crate::addr::LinkAddr;

/// Most parameters of one function.
const MAX_PARAMETERS: usize = 1024;
/// Most parts of the types of one function's parameters that are described; printed are ten words.
const MAX_PARTS: u32 = 1024;
/// Most types that are followed from one to the next.
const MAX_DEPTH: u32 = 32;

/// A parameter that a function is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; `_` or `~p0` for one without.
    pub name: String,
    /// Its type.
    pub kind: Arc<ValueType>,
}

/// A type as far as its values can be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueType {
    /// Its name as Go writes it.
    pub name: String,
    /// What its values are made of.
    pub shape: Shape,
}

/// What values are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// True or false.
    Bool,
    /// A number with a sign, of so many bytes.
    Int(u8),
    /// One without.
    Uint,
    /// A floating-point number of so many bytes.
    Float(u8),
    /// Two of them, each of so many bytes.
    Complex(u8),
    /// An address: pointer, channel, map, function.
    Pointer,
    /// A string: address and length.
    String,
    /// A slice: address, length and capacity.
    Slice,
    /// An interface: type or table of methods, and value.
    Interface,
    /// Fields, by name and type.
    Struct(Vec<(String, Arc<ValueType>)>),
    /// So many elements of one type.
    Array(u64, Arc<ValueType>),
    /// Not known.
    Other,
}

/// The parameters of the functions that start at `wanted`.
pub(super) fn find(
    dwarf: &GimliDwarf<'_>,
    wanted: &BTreeSet<LinkAddr>,
) -> Result<BTreeMap<LinkAddr, Vec<Parameter>>, DwarfError> {
    let headers = units::headers(dwarf)?;
    let limit = (gimli::Section::reader(&dwarf.debug_info).len() as u64).saturating_add(SPARE_ATTRIBUTES);
    let mut search = Search { dwarf, types: Types::new(dwarf, &headers, limit), left: limit, limit };
    let mut found = BTreeMap::new();
    for index in 0..headers.len() {
        let Some(unit) = search.types.unit(index)? else { continue };
        if unit.language != Some(gimli::DW_LANG_Go) {
            continue;
        }
        let mut functions = Vec::new();
        // What was listed before the damage of a unit counts.
        let _ = search.functions(&unit, wanted, &mut functions);
        if search.left == 0 {
            return Err(DwarfError::TooMuch { what: "the number of attributes", limit: search.limit });
        }
        for (entry, at) in functions {
            let parameters = search.of_function(index, &unit, at)?;
            found.insert(entry, parameters);
        }
    }
    Ok(found)
}

struct Search<'a, 'd> {
    dwarf: &'d GimliDwarf<'a>,
    types: Types<'a, 'd>,
    /// Attributes that may still be looked at.
    left: u64,
    limit: u64,
}

impl<'a> Search<'a, '_> {
    /// Lists the functions of a unit that start where it is wanted.
    fn functions(
        &mut self,
        unit: &Unit<'a>,
        wanted: &BTreeSet<LinkAddr>,
        found: &mut Vec<(LinkAddr, UnitOffset)>,
    ) -> Result<(), gimli::Error> {
        let mut entries = unit.header.entries_raw(&unit.abbreviations, None)?;
        let mut root = true;
        while !entries.is_empty() && (root || entries.next_depth() > 0) {
            root = false;
            let (depth, at) = (entries.next_depth(), entries.next_offset());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let specifications = abbreviation.attributes();
            self.left = self.left.saturating_sub(specifications.len() as u64);
            if self.left == 0 {
                return Ok(());
            }
            if depth != 1 || abbreviation.tag() != gimli::DW_TAG_subprogram {
                entries.skip_attributes(specifications)?;
                continue;
            }
            for specification in specifications {
                let attribute = entries.read_attribute(*specification)?;
                if attribute.name() == gimli::DW_AT_low_pc
                    && let Some(entry) = self.address(unit, attribute.value()).filter(|entry| wanted.contains(entry))
                    && found.len() < wanted.len()
                {
                    found.push((entry, at));
                }
            }
        }
        Ok(())
    }

    fn address(&self, unit: &Unit<'a>, value: AttributeValue<Data<'a>>) -> Option<LinkAddr> {
        match value {
            AttributeValue::Addr(addr) => Some(LinkAddr(addr)),
            AttributeValue::DebugAddrIndex(index) => {
                let size = unit.header.encoding().address_size;
                self.dwarf.debug_addr.get_address(size, unit.addr_base, index).ok().map(LinkAddr)
            }
            _ => None,
        }
    }

    /// The parameters of the function whose entry is at `at`, in order.
    fn of_function(&mut self, index: usize, unit: &Unit<'a>, at: UnitOffset) -> Result<Vec<Parameter>, DwarfError> {
        let mut entries = Vec::new();
        self.types.read(unit, at, |entry| {
            if entry.depth() == 1 && entry.tag() == gimli::DW_TAG_formal_parameter {
                entries.push(entry.clone());
            }
            entries.len() < MAX_PARAMETERS
        })?;
        let (mut parameters, mut parts) = (Vec::new(), MAX_PARTS);
        for entry in entries {
            // Of a function that is inlined elsewhere too, names and types are with its abstract instance.
            let (index, entry) = match entry.attr_value(gimli::DW_AT_abstract_origin) {
                Some(origin) => match self.types.referred(index, origin)? {
                    Some((index, _, entry)) => (index, entry),
                    None => continue,
                },
                None => (index, entry),
            };
            if is_result(&entry) {
                continue;
            }
            let name = entry.attr_value(gimli::DW_AT_name).and_then(|value| units::text(self.dwarf, value));
            let name = String::from_utf8_lossy(name.unwrap_or(b"_")).into_owned();
            let kind = match entry.attr_value(gimli::DW_AT_type) {
                Some(reference) => self.value_type(index, reference, MAX_DEPTH, &mut parts)?,
                None => None,
            };
            let other = || Arc::new(ValueType { name: String::new(), shape: Shape::Other });
            parameters.push(Parameter { name, kind: kind.unwrap_or_else(other) });
        }
        Ok(parameters)
    }

    fn value_type(
        &mut self,
        index: usize,
        reference: AttributeValue<Data<'a>>,
        depth: u32,
        parts: &mut u32,
    ) -> Result<Option<Arc<ValueType>>, DwarfError> {
        let (Some(depth), Some(left)) = (depth.checked_sub(1), parts.checked_sub(1)) else { return Ok(None) };
        *parts = left;
        let Some((index, at, entry)) = self.types.referred(index, reference)? else { return Ok(None) };
        let name = entry.attr_value(gimli::DW_AT_name).and_then(|value| units::text(self.dwarf, value));
        let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        let kind = entry.attr_value(GO_KIND).and_then(|value| value.udata_value());
        let shape = match kind.map(|kind| kind & 31) {
            Some(1) => Shape::Bool,
            Some(3) => Shape::Int(1),
            Some(4) => Shape::Int(2),
            Some(5) => Shape::Int(4),
            Some(2 | 6) => Shape::Int(8),
            Some(7..=12) => Shape::Uint,
            Some(13) => Shape::Float(4),
            Some(14) => Shape::Float(8),
            Some(15) => Shape::Complex(4),
            Some(16) => Shape::Complex(8),
            Some(17) => self.array(index, at, &entry, depth, parts)?,
            Some(18 | 19 | 21 | 22 | 26) => Shape::Pointer,
            Some(20) => Shape::Interface,
            Some(23) => Shape::Slice,
            Some(24) => Shape::String,
            Some(25) => self.structure(index, at, depth, parts)?,
            // A named type refers to what it is made of.
            None if entry.tag() == gimli::DW_TAG_typedef => {
                let Some(target) = entry.attr_value(gimli::DW_AT_type) else { return Ok(None) };
                let Some(target) = self.value_type(index, target, depth, parts)? else { return Ok(None) };
                target.shape.clone()
            }
            _ => Shape::Other,
        };
        Ok(Some(Arc::new(ValueType { name, shape })))
    }

    fn array(
        &mut self,
        index: usize,
        at: UnitOffset,
        entry: &Entry<'a>,
        depth: u32,
        parts: &mut u32,
    ) -> Result<Shape, DwarfError> {
        let Some(unit) = self.types.unit(index)? else { return Ok(Shape::Other) };
        let Some(count) = self.types.element_count(&unit, at)? else { return Ok(Shape::Other) };
        let Some(element) = entry.attr_value(gimli::DW_AT_type) else { return Ok(Shape::Other) };
        let element = self.value_type(index, element, depth, parts)?;
        Ok(element.map_or(Shape::Other, |element| Shape::Array(count, element)))
    }

    fn structure(&mut self, index: usize, at: UnitOffset, depth: u32, parts: &mut u32) -> Result<Shape, DwarfError> {
        let Some(unit) = self.types.unit(index)? else { return Ok(Shape::Other) };
        let mut members = Vec::new();
        self.types.read(&unit, at, |entry| {
            if entry.depth() == 1 && entry.tag() == gimli::DW_TAG_member {
                members.push(entry.clone());
            }
            members.len() < MAX_PARAMETERS
        })?;
        let mut fields = Vec::new();
        for member in members {
            let name = member.attr_value(gimli::DW_AT_name).and_then(|value| units::text(self.dwarf, value));
            let name = String::from_utf8_lossy(name.unwrap_or(b"_")).into_owned();
            let Some(reference) = member.attr_value(gimli::DW_AT_type) else { return Ok(Shape::Other) };
            let Some(kind) = self.value_type(index, reference, depth, parts)? else { return Ok(Shape::Other) };
            fields.push((name, kind));
        }
        Ok(Shape::Struct(fields))
    }
}

/// Whether a parameter is a result: `DW_AT_variable_parameter`, as Go uses it.
fn is_result(entry: &Entry<'_>) -> bool {
    matches!(entry.attr_value(gimli::DW_AT_variable_parameter), Some(AttributeValue::Flag(true)))
}
