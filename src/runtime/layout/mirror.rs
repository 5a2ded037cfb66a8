//! Typed layouts: what a reader of one runtime type needs, resolved once.

use super::LayoutTable;
use crate::runtime::g::{GLayout, GobufLayout};
use crate::runtime::gc_controller::GcControllerLayout;
use crate::runtime::m::MLayout;
use crate::runtime::mcache::{McacheLayout, MspanLayout};
use crate::runtime::mstats::{ConsistentHeapStatsLayout, HeapStatsDeltaLayout, MstatsLayout};
use crate::runtime::p::PLayout;
use crate::runtime::panics::PanicLayout;
use crate::runtime::sched::SchedLayout;
use crate::runtime::values::TypeLayout;

/// A field or structure that every supported version has, and this table lacks.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the layout of {release} has no {structure}.{field}")]
pub struct MissingField {
    /// The release whose table it is.
    pub release: String,
    /// The structure.
    pub structure: &'static str,
    /// The field; empty when the whole structure is missing.
    pub field: &'static str,
}

/// Declares a structure of offsets, and how it is resolved from a [`LayoutTable`]: fields that all
/// versions have, those that only some have, and of those the ones in structures within the structure.
macro_rules! layout {
    (
        $(#[$meta:meta])*
        $name:ident of $structure:literal {
            $($field:ident = $go:literal),* $(,)?
            $(; optional $($optional:ident = $ogo:literal),* $(,)?)?
            $(; optional nested $($nested:ident = $outer:literal . $inner_struct:literal . $inner:literal),* $(,)?)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            /// Size in bytes.
            pub size: u32,
            $(
                #[doc = concat!("Offset of `", $structure, ".", $go, "` in bytes.")]
                pub $field: u32,
            )*
            $($(
                #[doc = concat!("Offset of `", $structure, ".", $ogo, "` in bytes, in versions that have it.")]
                pub $optional: Option<u32>,
            )*)?
            $($(
                #[doc = concat!(
                    "Offset of `", $structure, ".", $outer, ".", $inner, "` in bytes, in versions that have it."
                )]
                pub $nested: Option<u32>,
            )*)?
        }

        impl $name {
            /// Takes the offsets out of `table`.
            ///
            /// # Errors
            /// With the first field that every supported version has and `table` lacks.
            pub fn resolve(
                table: &$crate::runtime::layout::LayoutTable,
            ) -> Result<Self, $crate::runtime::layout::MissingField> {
                let missing = |structure, field| $crate::runtime::layout::MissingField {
                    release: table.release.clone(),
                    structure,
                    field,
                };
                Ok(Self {
                    size: table.size($structure).ok_or_else(|| missing($structure, ""))?,
                    $($field: table.offset($structure, $go).ok_or_else(|| missing($structure, $go))?,)*
                    $($($optional: table.offset($structure, $ogo),)*)?
                    $($($nested: table.nested_offset($structure, $outer, $inner_struct, $inner),)*)?
                })
            }
        }
    };
}
pub(crate) use layout;

/// Every typed layout, and the table behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `runtime.g`.
    pub g: GLayout,
    /// `runtime.gobuf`.
    pub gobuf: GobufLayout,
    /// `runtime.m`.
    pub m: MLayout,
    /// `runtime.p`.
    pub p: PLayout,
    /// `runtime.schedt`.
    pub sched: SchedLayout,
    /// `runtime.mstats`.
    pub mstats: MstatsLayout,
    /// `runtime.consistentHeapStats`.
    pub heap_stats: ConsistentHeapStatsLayout,
    /// `runtime.heapStatsDelta`.
    pub heap_delta: HeapStatsDeltaLayout,
    /// `runtime.gcControllerState`.
    pub gc_controller: GcControllerLayout,
    /// `runtime.mcache`.
    pub mcache: McacheLayout,
    /// `runtime.mspan`.
    pub mspan: MspanLayout,
    /// `runtime._panic`; `None` in what was recorded before it was asked for.
    pub panic: Option<PanicLayout>,
    /// `internal/abi.Type`, likewise.
    pub go_type: Option<TypeLayout>,
    /// Everything by name.
    pub table: LayoutTable,
    /// Structures and fields of them that code of the program contradicts: what is read there is not
    /// to be told.
    pub mistrusted: Vec<(&'static str, &'static str)>,
}

impl Layout {
    /// Takes all offsets out of `table`.
    ///
    /// # Errors
    /// With the first field that every supported version has and `table` lacks.
    pub fn resolve(table: LayoutTable) -> Result<Self, MissingField> {
        Ok(Self {
            g: GLayout::resolve(&table)?,
            gobuf: GobufLayout::resolve(&table)?,
            m: MLayout::resolve(&table)?,
            p: PLayout::resolve(&table)?,
            sched: SchedLayout::resolve(&table)?,
            mstats: MstatsLayout::resolve(&table)?,
            heap_stats: ConsistentHeapStatsLayout::resolve(&table)?,
            heap_delta: HeapStatsDeltaLayout::resolve(&table)?,
            gc_controller: GcControllerLayout::resolve(&table)?,
            mcache: McacheLayout::resolve(&table)?,
            mspan: MspanLayout::resolve(&table)?,
            panic: PanicLayout::resolve(&table).ok(),
            go_type: TypeLayout::resolve(&table),
            table,
            mistrusted: Vec::new(),
        })
    }

    /// Whether nothing contradicts where a field is.
    #[must_use]
    pub fn trusts(&self, structure: &str, field: &str) -> bool {
        !self.mistrusted.iter().any(|(s, f)| *s == structure && *f == field)
    }
}
