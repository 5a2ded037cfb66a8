//! Types: what a structure consists of, and the size and name of anything.

use std::collections::HashMap;
use std::rc::Rc;

use gimli::{AttributeValue, DebuggingInformationEntry, UnitHeader, UnitOffset};

use super::abbreviations::AbbreviationCache;
use super::units::{self, Data, GimliDwarf, Unit};
use super::{Array, DwarfError, Field, StructType, TypeInfo};

/// Most types that are followed from one to the next (typedef of array of typedef …).
const MAX_DEPTH: u32 = 32;
/// Maximum fields of a structure.
const MAX_FIELDS: usize = 8192;
/// Size of a pointer, bytes; Go does not write it down.
const POINTER: u64 = 8;

pub(super) type Entry<'a> = DebuggingInformationEntry<Data<'a>>;

/// The types of all units.
pub(super) struct Types<'a, 'd> {
    dwarf: &'d GimliDwarf<'a>,
    headers: &'d [UnitHeader<Data<'a>>],
    abbreviations: AbbreviationCache,
    /// Units whose root was read; `None` for a damaged one.
    units: HashMap<usize, Option<Rc<Unit<'a>>>>,
    /// How much more may be read, in bytes and attributes. Types refer to each other as they like, so
    /// a small section could be read forever.
    work_left: u64,
    work_limit: u64,
}

impl<'a, 'd> Types<'a, 'd> {
    pub(super) fn new(dwarf: &'d GimliDwarf<'a>, headers: &'d [UnitHeader<Data<'a>>], work_limit: u64) -> Self {
        let abbreviations = AbbreviationCache::default();
        Self { dwarf, headers, abbreviations, units: HashMap::new(), work_left: work_limit, work_limit }
    }

    /// The unit of that index; `None` for one that is damaged.
    pub(super) fn unit(&mut self, index: usize) -> Result<Option<Rc<Unit<'a>>>, DwarfError> {
        if let Some(unit) = self.units.get(&index) {
            return Ok(unit.clone());
        }
        let Some(header) = self.headers.get(index) else { return Ok(None) };
        let unit = Unit::open(self.dwarf, *header, &mut self.abbreviations)?.map(Rc::new);
        self.units.insert(index, unit.clone());
        Ok(unit)
    }

    /// The structure whose entry is at `at` of unit `index`; `None` when it is malformed.
    pub(super) fn structure(&mut self, index: usize, at: UnitOffset) -> Result<Option<StructType>, DwarfError> {
        let Some(unit) = self.unit(index)? else { return Ok(None) };
        let mut size = None;
        let mut members = Vec::new();
        self.read(&unit, at, |entry| {
            if entry.depth() == 0 {
                size = entry.attr_value(gimli::DW_AT_byte_size).and_then(|value| value.udata_value());
            } else if entry.tag() == gimli::DW_TAG_member {
                members.push(entry.clone());
            }
            members.len() < MAX_FIELDS
        })?;
        let Some(size) = size else { return Ok(None) };
        let mut fields = Vec::new();
        for member in members {
            let name = member.attr_value(gimli::DW_AT_name).and_then(|value| units::text(self.dwarf, value));
            let offset = member.attr_value(gimli::DW_AT_data_member_location).and_then(|value| value.udata_value());
            let kind = self.describe(index, member.attr_value(gimli::DW_AT_type))?;
            if let (Some(name), Some(offset), Some(kind)) = (name, offset, kind) {
                fields.push(Field { name: String::from_utf8_lossy(name).into_owned(), offset, kind });
            }
        }
        Ok(Some(StructType { size, fields }))
    }

    /// The type that an attribute of unit `index` refers to; `None` when it is malformed.
    pub(super) fn describe(
        &mut self,
        index: usize,
        reference: Option<AttributeValue<Data<'a>>>,
    ) -> Result<Option<TypeInfo>, DwarfError> {
        match reference {
            Some(reference) => self.follow(index, reference, MAX_DEPTH),
            None => Ok(None),
        }
    }

    fn follow(
        &mut self,
        index: usize,
        reference: AttributeValue<Data<'a>>,
        depth: u32,
    ) -> Result<Option<TypeInfo>, DwarfError> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
        let Some((index, at, entry)) = self.referred(index, reference)? else { return Ok(None) };
        let Some(unit) = self.unit(index)? else { return Ok(None) };
        let name = entry.attr_value(gimli::DW_AT_name).and_then(|value| units::text(self.dwarf, value));
        let name = name.map(|name| String::from_utf8_lossy(name).into_owned());
        let size = entry.attr_value(gimli::DW_AT_byte_size).and_then(|value| value.udata_value());
        let target = entry.attr_value(gimli::DW_AT_type);
        match entry.tag() {
            gimli::DW_TAG_pointer_type | gimli::DW_TAG_subroutine_type => {
                Ok(Some(TypeInfo { name: name.unwrap_or_default(), size: size.unwrap_or(POINTER), array: None }))
            }
            gimli::DW_TAG_typedef
            | gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_restrict_type => {
                let Some(target) = target else { return Ok(None) };
                let underlying = self.follow(index, target, depth)?;
                Ok(underlying.map(|underlying| TypeInfo { name: name.unwrap_or(underlying.name), ..underlying }))
            }
            gimli::DW_TAG_array_type => {
                let Some(target) = target else { return Ok(None) };
                let Some(element) = self.follow(index, target, depth)? else { return Ok(None) };
                let Some(count) = self.element_count(&unit, at)? else { return Ok(None) };
                let Some(size) = size.or_else(|| count.checked_mul(element.size)) else { return Ok(None) };
                let name = name.unwrap_or_else(|| format!("[{count}]{}", element.name));
                Ok(Some(TypeInfo { name, size, array: Some(Box::new(Array { count, element })) }))
            }
            _ => Ok(size.map(|size| TypeInfo { name: name.unwrap_or_default(), size, array: None })),
        }
    }

    /// The entry that an attribute of unit `index` refers to, with its unit and place.
    pub(super) fn referred(
        &mut self,
        index: usize,
        reference: AttributeValue<Data<'a>>,
    ) -> Result<Option<(usize, UnitOffset, Entry<'a>)>, DwarfError> {
        // Go refers to types by their offset in the section, C compilers by that in the unit.
        let (index, at) = match reference {
            AttributeValue::UnitRef(at) => (index, at),
            AttributeValue::DebugInfoRef(offset) => {
                let place = units::index_of(self.headers, offset)
                    .and_then(|index| Some((index, offset.to_unit_offset(self.headers.get(index)?)?)));
                let Some(place) = place else { return Ok(None) };
                place
            }
            _ => return Ok(None),
        };
        let Some(unit) = self.unit(index)? else { return Ok(None) };
        let mut entry = None;
        self.read(&unit, at, |read| {
            entry = Some(read.clone());
            false
        })?;
        Ok(entry.map(|entry| (index, at, entry)))
    }

    /// How many elements the array at `at` has: a count, or an upper bound that is the last index.
    pub(super) fn element_count(&mut self, unit: &Unit<'a>, at: UnitOffset) -> Result<Option<u64>, DwarfError> {
        let mut count = None;
        self.read(unit, at, |entry| {
            if entry.tag() == gimli::DW_TAG_subrange_type {
                let number = |name| entry.attr_value(name).and_then(|value| value.udata_value());
                let from_bound = || number(gimli::DW_AT_upper_bound).and_then(|last| last.checked_add(1));
                count = number(gimli::DW_AT_count).or_else(from_bound);
            }
            count.is_none()
        })?;
        Ok(count)
    }

    /// Passes the entry at `at` (depth 0) and its children (depth 1) to `see`, until it returns false or an
    /// entry is damaged.
    pub(super) fn read(
        &mut self,
        unit: &Unit<'a>,
        at: UnitOffset,
        mut see: impl FnMut(&Entry<'a>) -> bool,
    ) -> Result<(), DwarfError> {
        let Ok(mut entries) = unit.header.entries_raw(&unit.abbreviations, Some(at)) else { return Ok(()) };
        let mut entry = Entry::null();
        let mut first = true;
        while !entries.is_empty() && (first || entries.next_depth() > 0) {
            first = false;
            let start = entries.next_offset();
            let read = entries.read_entry(&mut entry);
            let bytes = entries.next_offset().0.saturating_sub(start.0);
            let work = (bytes as u64).saturating_add(entry.attrs().len() as u64).saturating_add(1);
            self.work_left = self
                .work_left
                .checked_sub(work)
                .ok_or(DwarfError::TooMuch { what: "the size of the types", limit: self.work_limit })?;
            match read {
                Ok(true) if entry.depth() <= 1 && !see(&entry) => return Ok(()),
                Ok(_) => {}
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}
