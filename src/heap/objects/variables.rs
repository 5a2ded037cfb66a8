//! What package variables point to, where DWARF says it: the one source of types for what nothing on the heap names.
//!
//! It is looked for once, before a program is stopped, in the program's own file or in a separate one of the same
//! build. A capture has what was found when it was made.

use serde::{Deserialize, Serialize};

use super::book::Form;
use crate::addr::LinkAddr;
use crate::image::dwarf::{Dwarf, DwarfError, PointsTo};
use crate::image::elf::Elf;
use crate::runtime::GoProcess;

/// The first version whose heap says types.
pub(super) const SINCE: u32 = 22;

/// What a pointer leads to; numbers are addresses of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum To {
    Value(u64),
    Array(u64),
    Channel(u64),
    Map(u64),
    Text,
}

/// Pointers in package variables: where they are and what they lead to, by their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::heap) struct VariableTypes(Vec<(u64, To)>);

impl VariableTypes {
    /// Looks for them; there are none without DWARF, and before Go 1.22.
    ///
    /// # Errors
    /// When DWARF is there and cannot be used.
    pub(in crate::heap) fn find(process: GoProcess<'_>) -> Result<Self, DwarfError> {
        if process.rules().minor() < SINCE {
            return Ok(Self::default());
        }
        let (program, Some(types)) = (process.program, process.types()) else { return Ok(Self::default()) };
        let own = program.elf.unlogged();
        let own: &Elf = own.as_ref().unwrap_or(&program.elf);
        for (elf, shift) in std::iter::once((own, 0)).chain(program.symbols()) {
            if let Some(dwarf) = Dwarf::open(elf)? {
                let found = dwarf.variable_pointers()?.into_iter().filter_map(|pointer| {
                    let ty = |distance: u64| types.start.checked_add(distance).filter(|ty| types.contains(ty));
                    let to = match pointer.to {
                        PointsTo::Value(distance) => To::Value(ty(distance)?),
                        PointsTo::Elements(distance) => To::Array(ty(distance)?),
                        PointsTo::Channel(distance) => To::Channel(ty(distance)?),
                        PointsTo::Map(distance) => To::Map(ty(distance)?),
                        PointsTo::Text => To::Text,
                    };
                    Some((program.bias.load(LinkAddr(pointer.addr.0.wrapping_add(shift))).0, to))
                });
                return Ok(Self::sorted(found.collect()));
            }
        }
        Ok(Self::default())
    }

    fn sorted(mut found: Vec<(u64, To)>) -> Self {
        found.sort_by_key(|(addr, _)| *addr);
        found.dedup_by_key(|(addr, _)| *addr);
        Self(found)
    }

    /// The pointers from `start` up to `end`, in order.
    pub(super) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, Form, u64)> {
        let first = self.0.partition_point(|(addr, _)| *addr < start);
        let found = self.0.get(first..).unwrap_or_default().iter().take_while(move |(addr, _)| *addr < end);
        found.map(|(addr, to)| match *to {
            To::Value(ty) => (*addr, Form::Value, ty),
            To::Array(ty) => (*addr, Form::Array, ty),
            To::Channel(ty) => (*addr, Form::Channel, ty),
            To::Map(ty) => (*addr, Form::Map, ty),
            To::Text => (*addr, Form::Text, 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_found_by_where_they_are() {
        let found = VariableTypes::sorted(vec![(24, To::Text), (8, To::Value(1)), (16, To::Map(2)), (8, To::Array(3))]);
        let within = |start, end| found.within(start, end).collect::<Vec<_>>();
        assert_eq!(within(0, 8), []);
        assert_eq!(within(8, 24), [(8, Form::Value, 1), (16, Form::Map, 2)]);
        assert_eq!(within(17, u64::MAX), [(24, Form::Text, 0)]);
    }
}
