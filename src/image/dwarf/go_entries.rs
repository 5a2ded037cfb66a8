//! What Go's compiler and linker write into DWARF beside what the standard has, and the package variables of a unit.

use gimli::{AttributeValue, DwAt};

use super::search::address;
use super::units::{self, Data, GimliDwarf, Unit};
use crate::addr::LinkAddr;

/// `DW_AT_go_kind`: a `reflect.Kind` (cmd/internal/dwarf; 1.19 to 1.27).
pub(super) const GO_KIND: DwAt = DwAt(0x2900);
/// `DW_AT_go_elem`: the type of the elements of a slice, a map or a channel.
pub(super) const GO_ELEM: DwAt = DwAt(0x2902);
/// `DW_AT_go_embedded_field`.
pub(super) const GO_EMBEDDED: DwAt = DwAt(0x2903);
/// `DW_AT_go_runtime_type`: how far the descriptor is from the beginning of the types, bytes.
pub(super) const GO_RUNTIME_TYPE: DwAt = DwAt(0x2904);

/// A package variable.
pub(super) struct Listed<'a> {
    /// Its full name.
    pub(super) name: Option<&'a [u8]>,
    /// Where it is.
    pub(super) addr: LinkAddr,
    /// Its type, as an attribute of its unit.
    pub(super) kind: AttributeValue<Data<'a>>,
}

/// Gives every package variable of a unit to `each`, until `left` attributes were looked at: `left` is 0 then.
///
/// # Errors
/// At the first damage; what lies before it was given.
pub(super) fn variables<'a>(
    dwarf: &GimliDwarf<'a>,
    unit: &Unit<'a>,
    left: &mut u64,
    mut each: impl FnMut(Listed<'a>),
) -> Result<(), gimli::Error> {
    let mut entries = unit.header.entries_raw(&unit.abbreviations, None)?;
    let mut root = true;
    while !entries.is_empty() && (root || entries.next_depth() > 0) {
        root = false;
        let depth = entries.next_depth();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        let specifications = abbreviation.attributes();
        *left = left.saturating_sub(specifications.len() as u64);
        if *left == 0 {
            return Ok(());
        }
        if depth != 1 || abbreviation.tag() != gimli::DW_TAG_variable {
            entries.skip_attributes(specifications)?;
            continue;
        }
        let (mut name, mut location, mut kind) = (None, None, None);
        for specification in specifications {
            let attribute = entries.read_attribute(*specification)?;
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_name, value) => name = units::text(dwarf, value),
                (gimli::DW_AT_location, AttributeValue::Exprloc(expression)) => location = Some(expression),
                (gimli::DW_AT_type, value) => kind = Some(value),
                _ => {}
            }
        }
        let addr = location.and_then(|location| address(dwarf, unit, location));
        if let Some((addr, kind)) = addr.zip(kind) {
            each(Listed { name, addr, kind });
        }
    }
    Ok(())
}
