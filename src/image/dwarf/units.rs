//! Compilation units: the list of them, and what their root entries say.

use std::sync::Arc;

use gimli::{
    Abbreviations, AttributeValue, DebugAddrBase, DebugInfoOffset, DwLang, EndianSlice, LittleEndian, UnitHeader,
};

use super::DwarfError;
use super::abbreviations::AbbreviationCache;

/// Most compilation units; one for each Go package, and for each C file.
const MAX_UNITS: usize = 1 << 17;
/// Most bytes of a name; those of instantiated generic types reach a few thousand.
const MAX_NAME: usize = 16 * 1024;

/// The bytes of a section.
pub(super) type Data<'a> = EndianSlice<'a, LittleEndian>;
/// All sections.
pub(super) type GimliDwarf<'a> = gimli::Dwarf<Data<'a>>;

/// A unit whose root entry has been read.
pub(super) struct Unit<'a> {
    pub(super) header: UnitHeader<Data<'a>>,
    pub(super) abbreviations: Arc<Abbreviations>,
    /// Path of the package, for Go.
    pub(super) name: &'a [u8],
    pub(super) language: Option<DwLang>,
    /// Where the unit's addresses start in `.debug_addr`.
    pub(super) addr_base: DebugAddrBase,
}

/// The headers of all units, in order of their offsets.
pub(super) fn headers<'a>(dwarf: &GimliDwarf<'a>) -> Result<Vec<UnitHeader<Data<'a>>>, DwarfError> {
    let mut headers = Vec::new();
    let mut units = dwarf.units();
    loop {
        match units.next() {
            Ok(None) => return Ok(headers),
            Ok(Some(_)) if headers.len() == MAX_UNITS => {
                return Err(DwarfError::TooMuch { what: "the number of units", limit: MAX_UNITS as u64 });
            }
            Ok(Some(header)) => headers.push(header),
            Err(error) => return Err(DwarfError::Unit { units: headers.len(), error }),
        }
    }
}

/// The index in `headers` of the unit that `offset` lies in.
pub(super) fn index_of(headers: &[UnitHeader<Data<'_>>], offset: DebugInfoOffset) -> Option<usize> {
    let starts_before =
        |header: &UnitHeader<Data<'_>>| header.debug_info_offset().is_some_and(|start| start.0 <= offset.0);
    headers.partition_point(starts_before).checked_sub(1)
}

impl<'a> Unit<'a> {
    /// Reads the root entry; `None` when the unit is damaged.
    pub(super) fn open(
        dwarf: &GimliDwarf<'a>,
        header: UnitHeader<Data<'a>>,
        cache: &mut AbbreviationCache,
    ) -> Result<Option<Self>, DwarfError> {
        let Some(abbreviations) = cache.get(dwarf, header.debug_abbrev_offset())? else { return Ok(None) };
        let mut unit = Self { header, abbreviations, name: &[], language: None, addr_base: DebugAddrBase(0) };
        Ok(unit.read_root(dwarf).is_ok().then_some(unit))
    }

    fn read_root(&mut self, dwarf: &GimliDwarf<'a>) -> Result<(), gimli::Error> {
        let mut entries = self.header.entries_raw(&self.abbreviations, None)?;
        let Some(root) = entries.read_abbreviation()? else { return Err(gimli::Error::MissingUnitDie) };
        for specification in root.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_name, value) => self.name = text(dwarf, value).unwrap_or_default(),
                (gimli::DW_AT_language, AttributeValue::Language(language)) => self.language = Some(language),
                (gimli::DW_AT_addr_base, AttributeValue::DebugAddrBase(base)) => self.addr_base = base,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The text of a name. Go writes names in place; C compilers put theirs elsewhere.
pub(super) fn text<'a>(dwarf: &GimliDwarf<'a>, value: AttributeValue<Data<'a>>) -> Option<&'a [u8]> {
    let (section, offset) = match value {
        AttributeValue::String(text) => return Some(text.slice()),
        AttributeValue::DebugStrRef(offset) => (gimli::Section::reader(&dwarf.debug_str).slice(), offset.0),
        AttributeValue::DebugLineStrRef(offset) => (gimli::Section::reader(&dwarf.debug_line_str).slice(), offset.0),
        _ => return None,
    };
    // Many names may start in one long string, so its end is not looked for any further.
    let rest = section.get(offset..)?;
    let rest = rest.get(..rest.len().min(MAX_NAME))?;
    rest.get(..memchr::memchr(0, rest)?)
}
