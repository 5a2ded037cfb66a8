//! Abbreviation tables, read once each.
//!
//! All units that Go's linker writes share one small table; C compilers write one for each unit.
//! Tables may overlap, so a small section can claim to hold a great many large ones: their length
//! is measured, and limited in total, before any is taken apart.

use std::collections::HashMap;
use std::sync::Arc;

use gimli::{Abbreviations, DebugAbbrevOffset, Reader as _};

use super::DwarfError;
use super::units::{Data, GimliDwarf};

/// Most bytes of abbreviation tables that are taken apart; Go's have a few hundred.
const MAX_BYTES: u64 = 16 << 20;
/// Most attributes of one abbreviation; Go uses up to ten. Attributes can be of no size, so this is
/// what keeps an entry of one byte from being a day's work.
const MAX_ATTRIBUTES: usize = 64;

/// The tables that were needed so far.
#[derive(Default)]
pub(super) struct AbbreviationCache {
    tables: HashMap<usize, Result<Arc<Abbreviations>, gimli::Error>>,
    bytes: u64,
}

impl AbbreviationCache {
    /// The table at `offset`. The inner error is that of a damaged table, the outer one that of
    /// tables without end.
    pub(super) fn get(
        &mut self,
        dwarf: &GimliDwarf<'_>,
        offset: DebugAbbrevOffset,
    ) -> Result<Result<Arc<Abbreviations>, gimli::Error>, DwarfError> {
        if let Some(table) = self.tables.get(&offset.0) {
            return Ok(table.clone());
        }
        let table = match measure(dwarf, offset) {
            Ok(len) => {
                self.bytes = self.bytes.saturating_add(len);
                dwarf.debug_abbrev.abbreviations(offset).map(Arc::new)
            }
            Err(error) => {
                self.bytes = self.bytes.saturating_add(MAX_BYTES / 64);
                Err(error)
            }
        };
        if self.bytes > MAX_BYTES {
            return Err(DwarfError::TooMuch { what: "the size of the abbreviation tables", limit: MAX_BYTES });
        }
        self.tables.insert(offset.0, table.clone());
        Ok(table)
    }
}

/// How long a table is, bytes.
fn measure(dwarf: &GimliDwarf<'_>, offset: DebugAbbrevOffset) -> Result<u64, gimli::Error> {
    let mut input: Data<'_> = *gimli::Section::reader(&dwarf.debug_abbrev);
    input.skip(offset.0)?;
    let limit = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    let mut input = input.split(input.len().min(limit))?;
    let before = input.len();
    while input.read_uleb128()? != 0 {
        input.read_uleb128()?; // tag
        input.read_u8()?; // has children
        let mut attributes = 0;
        loop {
            let (name, form) = (input.read_uleb128()?, input.read_uleb128()?);
            if (name, form) == (0, 0) {
                break;
            }
            if form == u64::from(gimli::DW_FORM_implicit_const.0) {
                input.read_sleb128()?;
            }
            attributes += 1;
            if attributes > MAX_ATTRIBUTES {
                return Err(gimli::Error::BadUnsignedLeb128);
            }
        }
    }
    Ok((before - input.len()) as u64)
}
