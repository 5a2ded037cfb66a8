//! Which words of a type are pointers (`internal/abi.Type`; 1.22 on, where the types of objects say so).
//!
//! A type is read once. One that cannot be read, or whose mask is not there yet (1.24 on makes large ones when the
//! collector first needs them), is unknown: all words of its objects may be pointers.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{ReadError, Target, TargetExt as _};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::go_type::{AbiPointers, AbiPointersLayout};

/// Largest mask that is read, bytes: a type with 8 GiB in which there are pointers.
const MAX_MASK: u64 = 16 << 20;
/// Most types that are remembered; `reflect` may make any number of them.
const MAX_TYPES: usize = 1 << 20;
/// `TFlagGCMaskOnDemand` (internal/abi/type.go; 1.24 on): `GCData` is the address of the mask's address.
const ON_DEMAND: u8 = 1 << 4;
/// `KindGCProg` (internal/abi/type.go; to 1.23): `GCData` is a program that makes the mask.
const GC_PROGRAM: u8 = 1 << 6;

/// The words of a value that are pointers.
#[derive(Debug)]
pub(super) struct TypeMask {
    /// Size of a value, words; at least 1.
    pub(super) words: u64,
    /// A bit for each word from the first on.
    pub(super) mask: Box<[u64]>,
}

/// Types by their addresses.
pub(super) struct Types<'a> {
    target: &'a dyn Target,
    layout: Option<AbiPointersLayout>,
    /// Whether the version makes masks on demand, and not programs.
    on_demand: bool,
    known: FxHashMap<u64, Option<Arc<TypeMask>>>,
}

impl<'a> Types<'a> {
    pub(super) fn new(target: &'a dyn Target, layout: Option<AbiPointersLayout>, minor: u32) -> Self {
        Self { target, layout, on_demand: minor >= 24, known: FxHashMap::default() }
    }

    /// The mask of the type at `addr`; `None` where it is unknown.
    pub(super) fn get(&mut self, addr: u64) -> Result<Option<Arc<TypeMask>>, ReadError> {
        if let Some(known) = self.known.get(&addr) {
            return Ok(known.clone());
        }
        let mask = self.read(addr)?.map(Arc::new);
        if self.known.len() < MAX_TYPES {
            self.known.insert(addr, mask.clone());
        }
        Ok(mask)
    }

    fn read(&self, addr: u64) -> Result<Option<TypeMask>, ReadError> {
        let Some(layout) = self.layout.filter(|_| addr != 0) else { return Ok(None) };
        let Some(bytes) = self.target.read_vec(Addr(addr), layout.size as usize)? else { return Ok(None) };
        let Some(ty) = AbiPointers::parse(Addr(addr), &bytes, &layout) else { return Ok(None) };
        let sane = ty.value_size > 0
            && ty.value_size.is_multiple_of(8)
            && ty.value_size < 1 << 40
            && ty.pointer_bytes <= ty.value_size
            && ty.pointer_bytes.is_multiple_of(8);
        let mut at = ty.mask;
        if self.on_demand && ty.flags & ON_DEMAND != 0 {
            at = self.target.read_u64(Addr(at))?.unwrap_or(0);
        } else if !self.on_demand && ty.kind & GC_PROGRAM != 0 {
            at = 0;
        }
        let len = (ty.pointer_bytes / 8).div_ceil(8);
        if !sane || at == 0 || len > MAX_MASK {
            return Ok(None);
        }
        let Some(mut bytes) = self.target.read_vec(Addr(at), usize::try_from(len).unwrap_or(0))? else {
            return Ok(None);
        };
        // Bits after the last word are nobody's.
        if let (Some(last), rest @ 1..) = (bytes.last_mut(), ty.pointer_bytes / 8 % 8) {
            *last &= ((1_u16 << rest) - 1) as u8;
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let mask = (0..bytes.len() / 8).filter_map(|n| bytes.u64_at(8 * n)).collect();
        Ok(Some(TypeMask { words: ty.value_size / 8, mask }))
    }
}
