//! Package variables by name, with their types as far as values are made of them.
//!
//! What Go's compiler writes beside the DWARF of other languages says what a type is: `DW_AT_go_kind`, and the types of
//! keys and elements (cmd/internal/dwarf; 1.19 to 1.27). Types refer to each other in circles, so they are numbered.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gimli::{AttributeValue, UnitOffset};

use super::DwarfError;
use super::go_entries::{self, GO_ELEM, GO_EMBEDDED, GO_KIND};
use super::search::SPARE_ATTRIBUTES;
use super::types::{Entry, Types};
use super::units::{self, Data, GimliDwarf};
use crate::addr::LinkAddr;

/// Most types of all variables together.
const MAX_TYPES: usize = 1 << 14;
/// Most fields of a structure.
const MAX_FIELDS: usize = 4096;
/// Most types that are followed from one to the next before something has a number of its own.
const MAX_NAMED: u32 = 32;
/// Number of a type, for as long as its DWARF is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TypeId(u32);

#[cfg(test)]
impl TypeId {
    /// That of a type that a test makes up.
    pub(crate) const fn numbered(number: u32) -> Self {
        Self(number)
    }
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoType {
    /// Its name as Go writes it.
    pub name: String,
    /// Size of its values, bytes.
    pub size: u64,
    /// What they are made of.
    pub form: Form,
}

/// What values are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// True or false.
    Bool,
    /// A number with a sign.
    Int,
    /// One without.
    Uint,
    /// A floating-point number.
    Float,
    /// Two of them.
    Complex,
    /// A pointer, to a type that may not be known.
    Pointer(Option<TypeId>),
    /// A channel.
    Channel,
    /// A function.
    Function,
    /// An interface; of one with methods, the first word is an itab.
    Interface {
        /// Whether it has methods.
        methods: bool,
    },
    /// A map.
    Map,
    /// A slice of such elements.
    Slice(TypeId),
    /// A string.
    String,
    /// Fields, in order.
    Struct(Vec<GoField>),
    /// So many elements of one type.
    Array(u64, TypeId),
    /// Not known.
    Other,
}

/// A field of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoField {
    /// Its name.
    pub name: String,
    /// Where it starts in the structure, bytes.
    pub offset: u64,
    /// Its type.
    pub kind: TypeId,
    /// Whether it is embedded.
    pub embedded: bool,
}

/// Variables, and the types that they are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GoVariables {
    /// By full name: address and type.
    pub variables: BTreeMap<String, (LinkAddr, TypeId)>,
    /// Names that the program has instead of those that it has not, the most similar first.
    pub similar: Vec<String>,
    /// All types.
    types: Vec<GoType>,
}

impl GoVariables {
    /// Types that a test makes up.
    #[cfg(test)]
    pub(crate) fn of_types(types: Vec<GoType>) -> Self {
        Self { types, ..Self::default() }
    }

    /// A type.
    #[must_use]
    pub(crate) fn kind(&self, id: TypeId) -> Option<&GoType> {
        self.types.get(id.0 as usize)
    }
}

/// The variables of these full names; those that are missing have none.
pub(super) fn find(dwarf: &GimliDwarf<'_>, wanted: &BTreeSet<&str>) -> Result<GoVariables, DwarfError> {
    let headers = units::headers(dwarf)?;
    let limit = (gimli::Section::reader(&dwarf.debug_info).len() as u64).saturating_add(SPARE_ATTRIBUTES);
    let mut search = Search {
        dwarf,
        types: Types::new(dwarf, &headers, limit),
        left: limit,
        known: HashMap::new(),
        out: GoVariables::default(),
    };
    let mut similar = Similar::default();
    for index in 0..headers.len() {
        if search.out.variables.len() == wanted.len() {
            break;
        }
        let Some(unit) = search.types.unit(index)? else { continue };
        if unit.language != Some(gimli::DW_LANG_Go) {
            continue;
        }
        let mut found = Vec::new();
        // What was listed before the damage of a unit counts.
        let _ = go_entries::variables(dwarf, &unit, &mut search.left, |variable| {
            let Some(name) = variable.name.and_then(|name| std::str::from_utf8(name).ok()) else { return };
            if !wanted.contains(name) {
                wanted.iter().for_each(|wanted| similar.add(wanted, name));
            } else if found.len() < wanted.len() {
                found.push((name.to_owned(), variable.addr, variable.kind));
            }
        });
        if search.left == 0 {
            return Err(DwarfError::TooMuch { what: "the number of attributes", limit });
        }
        for (name, addr, reference) in found {
            let kind = search.kind(index, reference)?;
            search.out.variables.entry(name).or_insert((addr, kind));
        }
    }
    search.out.similar = similar.of_missing(|name| !search.out.variables.contains_key(name));
    Ok(search.out)
}

/// Names similar to one that was not found.
#[derive(Default)]
struct Similar<'w> {
    /// By the name that was wanted: how far they are from it, and they.
    found: BTreeMap<&'w str, BTreeSet<(usize, String)>>,
}

impl<'w> Similar<'w> {
    /// Most edits between a name and one that was meant.
    const EDITS: usize = 2;
    /// Most names for one that is missing.
    const MOST: usize = 3;

    fn add(&mut self, wanted: &'w str, name: &str) {
        let own = |name: &'w str| name.rsplit('.').next().unwrap_or(name);
        let same_but_for_package = name.rsplit('.').next().is_some_and(|end| end.eq_ignore_ascii_case(own(wanted)));
        let far = if same_but_for_package {
            0
        } else if wanted.len().abs_diff(name.len()) <= Self::EDITS {
            strsim::damerau_levenshtein(wanted, name)
        } else {
            return;
        };
        if far <= Self::EDITS {
            let all = self.found.entry(wanted).or_default();
            all.insert((far, name.to_owned()));
            if all.len() > Self::MOST {
                all.pop_last();
            }
        }
    }

    fn of_missing(self, is_missing: impl Fn(&str) -> bool) -> Vec<String> {
        let nearest = |names: BTreeSet<(usize, String)>| {
            let least = names.first().map(|(far, _)| *far);
            names.into_iter().filter(move |(far, _)| Some(*far) == least).map(|(_, name)| name)
        };
        let missing = self.found.into_iter().filter(|(wanted, _)| is_missing(wanted));
        missing.flat_map(|(_, names)| nearest(names)).collect()
    }
}

struct Search<'a, 'd> {
    dwarf: &'d GimliDwarf<'a>,
    types: Types<'a, 'd>,
    /// Attributes that may still be looked at.
    left: u64,
    /// Types by the place of their entries.
    known: HashMap<(usize, UnitOffset), TypeId>,
    out: GoVariables,
}

impl<'a> Search<'a, '_> {
    fn add(&mut self, kind: GoType) -> TypeId {
        let id = TypeId(u32::try_from(self.out.types.len()).unwrap_or(u32::MAX));
        self.out.types.push(kind);
        id
    }

    /// The type that an attribute of unit `index` refers to.
    fn kind(&mut self, index: usize, reference: AttributeValue<Data<'a>>) -> Result<TypeId, DwarfError> {
        let unknown = || GoType { name: String::new(), size: 0, form: Form::Other };
        let Some((index, at, entry)) = self.types.referred(index, reference)? else { return Ok(self.add(unknown())) };
        if let Some(&known) = self.known.get(&(index, at)) {
            return Ok(known);
        }
        if self.out.types.len() >= MAX_TYPES {
            return Err(DwarfError::TooMuch { what: "the number of types", limit: MAX_TYPES as u64 });
        }
        let name = self.text(&entry).unwrap_or_default();
        // It may refer to itself: it has its number first.
        let id = self.add(GoType { name, ..unknown() });
        self.known.insert((index, at), id);
        let (size, form) = self.form(index, at, &entry, MAX_NAMED)?;
        if let Some(kind) = self.out.types.get_mut(id.0 as usize) {
            (kind.size, kind.form) = (size, form);
        }
        Ok(id)
    }

    fn text(&self, entry: &Entry<'a>) -> Option<String> {
        let name = entry.attr_value(gimli::DW_AT_name).and_then(|value| units::text(self.dwarf, value))?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Size of the values of a type, and what they are made of.
    fn form(&mut self, index: usize, at: UnitOffset, entry: &Entry<'a>, left: u32) -> Result<(u64, Form), DwarfError> {
        let number = |name| entry.attr_value(name).and_then(|value| value.udata_value());
        let (kind, size) = (number(GO_KIND).map(|kind| kind & 31), number(gimli::DW_AT_byte_size));
        let target = entry.attr_value(gimli::DW_AT_type);
        let element = entry.attr_value(GO_ELEM);
        let word = |form| Ok((8, form));
        match kind {
            Some(1) => Ok((1, Form::Bool)),
            Some(2..=6) => Ok((size.unwrap_or(8), Form::Int)),
            Some(7..=12) => Ok((size.unwrap_or(8), Form::Uint)),
            Some(13 | 14) => Ok((size.unwrap_or(8), Form::Float)),
            Some(15 | 16) => Ok((size.unwrap_or(16), Form::Complex)),
            Some(17) => {
                let Some(unit) = self.types.unit(index)? else { return Ok((0, Form::Other)) };
                let (Some(target), Some(count)) = (target, self.types.element_count(&unit, at)?) else {
                    return Ok((size.unwrap_or(0), Form::Other));
                };
                let element = self.kind(index, target)?;
                let each = self.out.kind(element).map_or(0, |element| element.size);
                Ok((size.unwrap_or(count.saturating_mul(each)), Form::Array(count, element)))
            }
            Some(18) => word(Form::Channel),
            Some(19) => word(Form::Function),
            Some(20) => Ok((16, Form::Interface { methods: !self.is_empty_interface(index, entry)? })),
            Some(21) => word(Form::Map),
            Some(22) => {
                let target = target.map(|target| self.kind(index, target)).transpose()?;
                word(Form::Pointer(target))
            }
            Some(23) => match element {
                Some(element) => Ok((24, Form::Slice(self.kind(index, element)?))),
                None => Ok((24, Form::Other)),
            },
            Some(24) => Ok((16, Form::String)),
            Some(25) => self.structure(index, at, size.unwrap_or(0)),
            Some(26) => word(Form::Pointer(None)),
            // A named type refers to what it is made of; a pointer of the runtime's own has no kind.
            _ if entry.tag() == gimli::DW_TAG_typedef => match (target, left.checked_sub(1)) {
                (Some(target), Some(left)) => match self.types.referred(index, target)? {
                    Some((index, at, entry)) => self.form(index, at, &entry, left),
                    None => Ok((0, Form::Other)),
                },
                _ => Ok((0, Form::Other)),
            },
            _ if entry.tag() == gimli::DW_TAG_pointer_type => word(Form::Pointer(None)),
            _ => Ok((size.unwrap_or(0), Form::Other)),
        }
    }

    /// Whether the first word of an interface is its type: it is made of `runtime.eface`, and not of `runtime.iface`.
    fn is_empty_interface(&mut self, index: usize, entry: &Entry<'a>) -> Result<bool, DwarfError> {
        let (mut index, mut entry) = (index, entry.clone());
        for _ in 0..MAX_NAMED {
            match self.text(&entry).as_deref() {
                Some("runtime.eface") => return Ok(true),
                Some("runtime.iface") => return Ok(false),
                _ => {}
            }
            let Some(target) = entry.attr_value(gimli::DW_AT_type) else { break };
            let Some((next, _, found)) = self.types.referred(index, target)? else { break };
            (index, entry) = (next, found);
        }
        Ok(false)
    }

    fn structure(&mut self, index: usize, at: UnitOffset, size: u64) -> Result<(u64, Form), DwarfError> {
        let Some(unit) = self.types.unit(index)? else { return Ok((size, Form::Other)) };
        let mut members = Vec::new();
        self.types.read(&unit, at, |entry| {
            if entry.depth() == 1 && entry.tag() == gimli::DW_TAG_member {
                members.push(entry.clone());
            }
            members.len() < MAX_FIELDS
        })?;
        let mut fields = Vec::new();
        for member in members {
            let offset = member.attr_value(gimli::DW_AT_data_member_location).and_then(|value| value.udata_value());
            let (Some(offset), Some(reference)) = (offset, member.attr_value(gimli::DW_AT_type)) else { continue };
            let name = self.text(&member).unwrap_or_else(|| "_".to_owned());
            let embedded = matches!(member.attr_value(GO_EMBEDDED), Some(AttributeValue::Flag(true)));
            fields.push(GoField { name, offset, kind: self.kind(index, reference)?, embedded });
        }
        Ok((size, Form::Struct(fields)))
    }
}
