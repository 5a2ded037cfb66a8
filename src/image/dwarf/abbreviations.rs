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

/// Maximum bytes of abbreviation tables parsed; Go's have a few hundred.
const MAX_BYTES: u64 = 16 << 20;
/// Most attributes of one abbreviation; Go uses up to ten. Attributes may take no bytes, so this limits the
/// work for an entry of one byte.
const MAX_ATTRIBUTES: usize = 64;

/// The tables that were needed so far.
#[derive(Default)]
pub(super) struct AbbreviationCache {
    /// By offset; `None` for a damaged one.
    tables: HashMap<usize, Option<Arc<Abbreviations>>>,
    bytes: u64,
}

impl AbbreviationCache {
    /// The table at `offset`; `None` when it is damaged.
    pub(super) fn get(
        &mut self,
        dwarf: &GimliDwarf<'_>,
        offset: DebugAbbrevOffset,
    ) -> Result<Option<Arc<Abbreviations>>, DwarfError> {
        if let Some(table) = self.tables.get(&offset.0) {
            return Ok(table.clone());
        }
        let (len, sound) = measure(dwarf, offset);
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes > MAX_BYTES {
            return Err(DwarfError::TooMuch { what: "the size of the abbreviation tables", limit: MAX_BYTES });
        }
        let table = if sound { dwarf.debug_abbrev.abbreviations(offset).ok().map(Arc::new) } else { None };
        self.tables.insert(offset.0, table.clone());
        Ok(table)
    }
}

/// How long a table is in bytes, and whether it has an end and no more attributes than it should;
/// the length of one that has not is that of the part that was looked at.
fn measure(dwarf: &GimliDwarf<'_>, offset: DebugAbbrevOffset) -> (u64, bool) {
    let section: Data<'_> = *gimli::Section::reader(&dwarf.debug_abbrev);
    let mut input = section;
    if input.skip(offset.0).is_err() {
        return (1, false);
    }
    let before = input.len();
    let sound = skip_table(&mut input).unwrap_or(false);
    ((before - input.len()) as u64, sound)
}

fn skip_table(input: &mut Data<'_>) -> Result<bool, gimli::Error> {
    let mut left = MAX_BYTES;
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
                return Ok(false);
            }
        }
        // An abbreviation has five bytes at least, so this is more than the limit of bytes allows.
        left = left.saturating_sub(5);
        if left == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
