//! The runtime's types, as far as they are read: one file for each, and one list of fields in it.
//!
//! `mirror!` makes three things of such a list: the offsets of the fields, resolved from a layout table;
//! the structure of their values; and the parser from the one to the other. Each name in a list is compared
//! with what the tables hold (`layout/wanted.rs`) when gospy itself is compiled, so that a misspelt one cannot
//! become a field that is silently unknown.
//!
//! A mirror knows its own bytes and nothing else: it reads no memory and follows no pointer.

pub(crate) mod ancestors;
pub(crate) mod bubble;
pub(crate) mod coro;
pub(crate) mod g;
pub(crate) mod gc_controller;
pub(crate) mod go_type;
pub(crate) mod hchan;
pub(crate) mod labels;
pub(crate) mod m;
pub(crate) mod mcache;
pub(crate) mod mheap;
pub(crate) mod moduledata;
pub(crate) mod mprof;
pub(crate) mod mspan;
pub(crate) mod mstats;
pub(crate) mod notify_list;
pub(crate) mod p;
pub(crate) mod panic;
pub(crate) mod poll_desc;
pub(crate) mod sched;
pub(crate) mod sema_root;
pub(crate) mod special;
pub(crate) mod sudog;
pub(crate) mod sync_types;
pub(crate) mod timer;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;

/// A type of the runtime.
pub trait Mirror: Sized {
    /// Where its fields are.
    type Layout: Copy;

    /// Its size in bytes.
    fn size(layout: &Self::Layout) -> u32;

    /// Takes the bytes at `addr` apart. `None` when there are too few.
    fn parse(addr: Addr, bytes: &[u8], layout: &Self::Layout) -> Option<Self>;
}

/// What a field of a mirror can hold.
pub(crate) trait FromMemory: Sized {
    /// The value at an offset in bytes; `None` when there are too few bytes.
    fn from_memory(bytes: &[u8], at: u32) -> Option<Self>;
}

macro_rules! from_memory {
    ($($kind:ty = $read:ident),*) => {
        $(impl FromMemory for $kind {
            #[inline]
            fn from_memory(bytes: &[u8], at: u32) -> Option<Self> {
                bytes.$read(at as usize)
            }
        })*
    };
}
from_memory!(u8 = u8_at, u16 = u16_at, u32 = u32_at, u64 = u64_at, i32 = i32_at, i64 = i64_at);

impl FromMemory for bool {
    #[inline]
    fn from_memory(bytes: &[u8], at: u32) -> Option<Self> {
        Some(bytes.u8_at(at as usize)? != 0)
    }
}

impl FromMemory for f64 {
    fn from_memory(bytes: &[u8], at: u32) -> Option<Self> {
        bytes.u64_at(at as usize).map(Self::from_bits)
    }
}

/// The header of a Go string, or of a slice without its capacity: the same in every version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    /// Address of the first byte.
    pub data: u64,
    /// How many bytes of a string, or elements of a slice.
    pub len: u64,
}

impl Span {
    /// Size in bytes of a slice's header.
    pub(crate) const SLICE: u32 = 24;
}

impl FromMemory for Span {
    fn from_memory(bytes: &[u8], at: u32) -> Option<Self> {
        Some(Self { data: bytes.u64_at(at as usize)?, len: bytes.u64_at(at.checked_add(8)? as usize)? })
    }
}

/// Declares a mirror: its structure, its layout, and the parser between them.
///
/// A field is `name: type = "goName"`; `+ 8` after it is that many bytes further in, and
/// `. "inner.Struct" . "field"` a field of the structure that the field is. With `at addr` the mirror
/// knows its own address. Fields that only some versions have are in `optional`; `offsets` and
/// `optional offsets` are in the layout only.
macro_rules! mirror {
    (
        $(#[$meta:meta])*
        pub struct $name:ident, $layout:ident of $structure:literal $(at $addr:ident)? {
            $(
                $(#[$doc:meta])*
                $field:ident: $kind:ty = $go:literal $(+ $more:literal)? $(. $inner_struct:literal . $inner:literal)?
            ),* $(,)?
        }
        $(optional {
            $(
                $(#[$odoc:meta])*
                $optional:ident: $okind:ty = $ogo:literal $(. $oinner_struct:literal . $oinner:literal)?
            ),* $(,)?
        })?
        $(offsets { $($offset:ident = $xgo:literal),* $(,)? })?
        $(optional offsets { $($ooffset:ident = $oxgo:literal $(. $xinner_struct:literal . $xinner:literal)?),* $(,)? })?
    ) => {
        $(#[$meta])*
        #[allow(dead_code, unreachable_pub, reason = "of some types only the offsets are used, and not all by tests")]
        pub struct $name {
            $(
                /// Where it is.
                pub $addr: $crate::addr::Addr,
            )?
            $($(#[$doc])* pub $field: $kind,)*
            $($($(#[$odoc])* pub $optional: Option<$okind>,)*)?
        }

        #[doc = concat!("Offsets in `", $structure, "`.")]
        #[allow(unreachable_pub, reason = "not all are used by tests")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $layout {
            /// Size in bytes.
            pub size: u32,
            $(
                #[doc = concat!("Offset of `", $structure, ".", $go, $(".", $inner,)? "` in bytes" $(, ", and ", $more)? , ".")]
                pub $field: u32,
            )*
            $($(
                #[doc = concat!("Offset of `", $structure, ".", $ogo, $(".", $oinner,)? "` in bytes, in versions that have it.")]
                pub $optional: Option<u32>,
            )*)?
            $($(
                #[doc = concat!("Offset of `", $structure, ".", $xgo, "` in bytes.")]
                pub $offset: u32,
            )*)?
            $($(
                #[doc = concat!("Offset of `", $structure, ".", $oxgo, $(".", $xinner,)? "` in bytes, in versions that have it.")]
                pub $ooffset: Option<u32>,
            )*)?
        }

        const _: () = {
            use $crate::runtime::layout::wanted::check;
            $(check($structure, $go); $(check($inner_struct, $inner);)?)*
            $($(check($structure, $ogo); $(check($oinner_struct, $oinner);)?)*)?
            $($(check($structure, $xgo);)*)?
            $($(check($structure, $oxgo); $(check($xinner_struct, $xinner);)?)*)?
        };

        impl $layout {
            /// Takes the offsets out of `table`.
            ///
            /// # Errors
            /// With the first field that every supported version has and `table` lacks.
            pub(crate) fn resolve(
                table: &$crate::runtime::layout::LayoutTable,
            ) -> Result<Self, $crate::runtime::layout::MissingField> {
                Ok(Self {
                    size: table.required_size($structure)?,
                    $($field: table.required($structure, $go)?
                        $(.saturating_add($more))?
                        $(.saturating_add(table.required($inner_struct, $inner)?))?,)*
                    $($($optional: table.offset($structure, $ogo)
                        $(.and_then(|at| at.checked_add(table.offset($oinner_struct, $oinner)?)))?,)*)?
                    $($($offset: table.required($structure, $xgo)?,)*)?
                    $($($ooffset: table.offset($structure, $oxgo)
                        $(.and_then(|at| at.checked_add(table.offset($xinner_struct, $xinner)?)))?,)*)?
                })
            }
        }

        impl $crate::runtime::mirror::Mirror for $name {
            type Layout = $layout;

            fn size(layout: &$layout) -> u32 {
                layout.size
            }

            // What is not used of it is not loaded either.
            #[inline(always)]
            fn parse(addr: $crate::addr::Addr, bytes: &[u8], layout: &$layout) -> Option<Self> {
                let _ = (addr, bytes, layout);
                Some(Self {
                    $($addr: addr,)?
                    $($field: $crate::runtime::mirror::FromMemory::from_memory(bytes, layout.$field)?,)*
                    $($($optional: layout.$optional.and_then(|at| $crate::runtime::mirror::FromMemory::from_memory(bytes, at)),)*)?
                })
            }
        }
    };
}
pub(crate) use mirror;
