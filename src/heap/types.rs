//! Which words of a type are pointers (`internal/abi.Type`; 1.22 on, where the types of objects say so).
//!
//! A type is read once. From 1.24 on the runtime makes the masks of large types when the collector first needs
//! them; one that is not there yet is made here, of the masks of what the type consists of. A type that cannot be
//! read is unknown: all words of its objects may be pointers.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{MemRange, ReadError, Target, TargetExt as _};
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::go_type::{AbiPointers, AbiPointersLayout};

/// Largest mask that is read, bytes: a type with 8 GiB in which there are pointers.
const MAX_MASK: u64 = 16 << 20;
/// Most types that are remembered; `reflect` may make any number of them.
const MAX_TYPES: usize = 1 << 20;
/// `TFlagGCMaskOnDemand` (internal/abi/type.go; 1.24 on): `GCData` is the address of the mask's address.
const ON_DEMAND: u8 = 1 << 4;
/// `Array` and `Struct` (`Kind`, internal/abi/type.go): the kinds that have masks on demand.
const ARRAY: u8 = 17;
const STRUCT: u8 = 25;
/// Bits of `Kind_` that are the kind (`KindMask`, internal/abi/type.go).
const KIND: u8 = 0x1f;
/// Bytes of an `internal/abi.StructField`: name, type, and offset in the struct, a word each.
const FIELD: usize = 24;
/// Most fields of a struct.
const MAX_FIELDS: u64 = 1 << 16;
/// How deep types may consist of others. Go's compiler nests no deeper than a program's source does.
const MAX_DEPTH: usize = 100;
/// Most words of all masks that are remembered, 64 bits each.
const MAX_WORDS: usize = 16 << 20;
/// Most fields of all structs whose masks are made.
const MAX_ALL_FIELDS: u64 = 1 << 20;
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
    /// Words of the masks in it.
    words: usize,
    /// Fields of structs whose masks were made.
    fields: u64,
    /// Where masks were read, and the pointers to them.
    sources: Vec<MemRange>,
}

impl<'a> Types<'a> {
    pub(super) fn new(target: &'a dyn Target, layout: Option<AbiPointersLayout>, minor: u32) -> Self {
        Self {
            target,
            layout,
            on_demand: minor >= 24,
            known: FxHashMap::default(),
            words: 0,
            fields: 0,
            sources: Vec::new(),
        }
    }

    /// The mask of the type at `addr`; `None` where it is unknown.
    #[inline]
    pub(super) fn get(&mut self, addr: u64) -> Result<Option<Arc<TypeMask>>, ReadError> {
        match self.known.get(&addr) {
            Some(known) => Ok(known.clone()),
            None => self.find(addr, 0),
        }
    }

    /// Where masks were read, and pointers to them that are no parts of the types.
    pub(super) fn sources(&self) -> impl Iterator<Item = MemRange> {
        self.sources.iter().copied()
    }

    fn find(&mut self, addr: u64, depth: usize) -> Result<Option<Arc<TypeMask>>, ReadError> {
        if let Some(known) = self.known.get(&addr) {
            return Ok(known.clone());
        }
        if depth > MAX_DEPTH || self.known.len() >= MAX_TYPES {
            return Ok(None);
        }
        // One that consists of itself, which no type does, is unknown.
        self.known.insert(addr, None);
        let mask = self.read(addr, depth)?.filter(|mask| self.words + mask.mask.len() <= MAX_WORDS).map(Arc::new);
        self.words += mask.as_ref().map_or(0, |mask| mask.mask.len());
        self.known.insert(addr, mask.clone());
        Ok(mask)
    }

    fn read(&mut self, addr: u64, depth: usize) -> Result<Option<TypeMask>, ReadError> {
        let Some(layout) = self.layout.filter(|_| addr != 0) else { return Ok(None) };
        let Some(bytes) = self.target.read_vec(Addr(addr), layout.size as usize)? else { return Ok(None) };
        let Some(ty) = AbiPointers::parse(Addr(addr), &bytes, &layout) else { return Ok(None) };
        let sane = ty.value_size > 0
            && ty.value_size.is_multiple_of(8)
            && ty.value_size < 1 << 40
            && ty.pointer_bytes <= ty.value_size
            && ty.pointer_bytes.is_multiple_of(8);
        let len = (ty.pointer_bytes / 8).div_ceil(8);
        if !sane || len > MAX_MASK {
            return Ok(None);
        }
        if ty.pointer_bytes == 0 {
            return Ok(Some(TypeMask { words: ty.value_size / 8, mask: Box::new([]) }));
        }
        let mut at = ty.mask;
        if self.on_demand && ty.flags & ON_DEMAND != 0 {
            self.sources.push(MemRange { start: Addr(at), len: 8 });
            at = self.target.read_u64(Addr(at))?.unwrap_or(0);
            if at == 0 {
                let mask = self.made_of(Addr(addr.wrapping_add(layout.size.into())), &ty, depth)?;
                return Ok(mask.map(|mask| TypeMask { words: ty.value_size / 8, mask }));
            }
        } else if !self.on_demand && ty.kind & GC_PROGRAM != 0 {
            at = 0;
        }
        if at == 0 {
            return Ok(None);
        }
        let len = usize::try_from(len).unwrap_or(0);
        let Some(mut bytes) = self.target.read_vec(Addr(at), len)? else { return Ok(None) };
        self.sources.push(MemRange { start: Addr(at), len });
        // Bits after the last word mean nothing.
        if let (Some(last), rest @ 1..) = (bytes.last_mut(), ty.pointer_bytes / 8 % 8) {
            *last &= ((1_u16 << rest) - 1) as u8;
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let mask = (0..bytes.len() / 8).filter_map(|n| bytes.u64_at(8 * n)).collect();
        Ok(Some(TypeMask { words: ty.value_size / 8, mask }))
    }

    /// The mask of an array or a struct, of those of its elements or fields (`buildGCMask`, runtime/type.go; 1.24
    /// to 1.27). What there is of them (`ArrayType`, `StructType`, internal/abi/type.go) begins at `more`.
    fn made_of(&mut self, more: Addr, ty: &AbiPointers, depth: usize) -> Result<Option<Box<[u64]>>, ReadError> {
        let Some(header) = self.target.read_array::<24>(more)? else { return Ok(None) };
        let [first, second, third] = [0, 8, 16].map(|at| header.u64_at(at).unwrap_or(0));
        let words = ty.pointer_bytes / 8;
        let len = usize::try_from(words.div_ceil(64)).unwrap_or(usize::MAX);
        if self.words.saturating_add(len) > MAX_WORDS {
            return Ok(None);
        }
        let mut mask = vec![0_u64; len];
        match ty.kind & KIND {
            // The type of the elements, that of a slice of them, and how many there are.
            ARRAY => {
                let Some(element) = self.find(first, depth + 1)? else { return Ok(None) };
                let fits = element.words.checked_mul(third).is_some_and(|all| all == ty.value_size / 8);
                if !fits {
                    return Ok(None);
                }
                for at in (0..words).step_by(usize::try_from(element.words).unwrap_or(usize::MAX)) {
                    put(&mut mask, at, &element.mask);
                }
            }
            // The path of its package, and a slice of its fields.
            STRUCT => {
                if third > MAX_FIELDS || self.fields + third > MAX_ALL_FIELDS {
                    return Ok(None);
                }
                self.fields += third;
                let fields = self.target.read_vec(Addr(second), third as usize * FIELD)?;
                let Some(fields) = fields else { return Ok(None) };
                for field in fields.chunks_exact(FIELD) {
                    let (field_type, offset) = (field.u64_at(8).unwrap_or(0), field.u64_at(16).unwrap_or(0));
                    if !self.has_pointers(field_type)? {
                        continue;
                    }
                    let Some(part) = self.find(field_type, depth + 1)? else { return Ok(None) };
                    let fits = offset.is_multiple_of(8)
                        && (offset / 8).checked_add(part.words).is_some_and(|end| end <= ty.value_size / 8);
                    if !fits {
                        return Ok(None);
                    }
                    put(&mut mask, offset / 8, &part.mask);
                }
            }
            _ => return Ok(None),
        }
        Ok(Some(mask.into()))
    }

    /// Whether values of a type hold pointers; those that do not may have any size and place.
    fn has_pointers(&self, addr: u64) -> Result<bool, ReadError> {
        let Some(layout) = self.layout else { return Ok(true) };
        let bytes = self.target.read_vec(Addr(addr), layout.size as usize)?;
        let ty = bytes.and_then(|bytes| AbiPointers::parse(Addr(addr), &bytes, &layout));
        Ok(ty.is_none_or(|ty| ty.pointer_bytes != 0))
    }
}

/// Sets the bits of `part` in `mask`, from bit `at` on; what is after its end has no pointers.
fn put(mask: &mut [u64], at: u64, part: &[u64]) {
    let (first, shift) = ((at / 64) as usize, at % 64);
    for (n, bits) in part.iter().enumerate() {
        if let Some(word) = mask.get_mut(first + n) {
            *word |= bits << shift;
        }
        if shift != 0
            && let Some(word) = mask.get_mut(first + n + 1)
        {
            *word |= bits >> (64 - shift);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::process::fake::FakeTarget;
    use crate::runtime::layout::checked_in;

    const AT: u64 = 0x1000;

    /// Memory in which types are put together.
    #[derive(Default)]
    struct Memory(Vec<u8>);

    impl Memory {
        fn words(&mut self, words: &[u64]) -> u64 {
            let at = AT + self.0.len() as u64;
            self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            at
        }

        /// A type with `more` after its descriptor, which begins where the one of 1.24 to 1.27 has it.
        fn ty(&mut self, (size, pointer_bytes): (u64, u64), (kind, flags): (u8, u8), mask: u64, more: &[u64]) -> u64 {
            // Hash, TFlag, Align_, FieldAlign_ and Kind_; then Equal, GCData, Str and PtrToThis.
            let bits = u64::from(flags) << 32 | u64::from(kind) << 56;
            let at = self.words(&[size, pointer_bytes, bits, 0, mask, 0]);
            self.words(more);
            at
        }
    }

    fn mask(memory: Memory, ty: u64) -> Option<Vec<u64>> {
        let target = FakeTarget::new(Arch::Amd64).with_segment(Addr(AT), memory.0);
        let layout = AbiPointersLayout::resolve(&checked_in(27, Arch::Amd64).unwrap()).unwrap();
        assert_eq!(layout.size, 48);
        Types::new(&target, Some(layout), 27).get(ty).unwrap().map(|ty| ty.mask.to_vec())
    }

    #[test]
    fn a_mask_that_is_not_there_yet_is_made_of_the_parts() {
        let memory = &mut Memory::default();
        let (pair, none) = (memory.words(&[0b01]), memory.words(&[0]));
        // A string, three bytes, and 150 of the former.
        let string = memory.ty((16, 8), (24, 0), pair, &[]);
        let bytes = memory.ty((3, 0), (ARRAY, 0), 0, &[]);
        let strings = memory.ty((2400, 2392), (ARRAY, ON_DEMAND), none, &[string, 0, 150]);
        // struct { bytes; string; strings; bytes; string }
        let mut fields = Vec::new();
        for (ty, offset) in [(bytes, 0), (string, 8), (strings, 24), (bytes, 2424), (string, 2432)] {
            fields.extend([0, ty, offset]);
        }
        let fields = memory.words(&fields);
        let whole = memory.ty((2448, 2440), (STRUCT, ON_DEMAND), none, &[0, fields, 5, 5]);
        let found = mask(std::mem::take(memory), whole).unwrap();
        let set = |word: usize| found[word / 64] >> (word % 64) & 1 != 0;
        for word in 0..306 {
            let pointer = word % 2 == 1 && word < 303 || word == 304;
            assert_eq!(set(word), pointer, "word {word}");
        }
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn types_that_cannot_be_are_unknown() {
        let memory = &mut Memory::default();
        let none = memory.words(&[0]);
        // An array of itself; one whose elements do not fit; a struct of many fields; a field beyond its end.
        let itself = AT + memory.0.len() as u64;
        memory.ty((4096, 4096), (ARRAY, ON_DEMAND), none, &[itself, 0, 1]);
        let one = memory.words(&[1]);
        let pointer = memory.ty((8, 8), (22, 0), one, &[]);
        let long = memory.ty((4096, 4096), (ARRAY, ON_DEMAND), none, &[pointer, 0, u64::MAX / 4]);
        let many = memory.ty((4096, 4096), (STRUCT, ON_DEMAND), none, &[0, AT, u64::MAX, 0]);
        let fields = memory.words(&[0, pointer, 4096]);
        let beyond = memory.ty((4096, 4096), (STRUCT, ON_DEMAND), none, &[0, fields, 1, 1]);
        let other = memory.ty((4096, 4096), (22, ON_DEMAND), none, &[0, 0, 0]);
        for ty in [itself, long, many, beyond, other] {
            assert_eq!(mask(Memory(memory.0.clone()), ty), None);
        }
        assert_eq!(mask(Memory(memory.0.clone()), pointer), Some(vec![1]));
    }

    #[test]
    fn masks_are_put_at_any_bit() {
        let mut mask = vec![0_u64; 3];
        put(&mut mask, 0, &[0b101]);
        put(&mut mask, 62, &[0b1111]);
        put(&mut mask, 128, &[1 << 63]);
        // Of what would be after the end nothing is there.
        put(&mut mask, 190, &[0b111]);
        assert_eq!(mask, [0b101 | 0b11 << 62, 0b11, 0b11 << 62]);
    }
}
