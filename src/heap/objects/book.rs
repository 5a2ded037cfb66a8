//! What the program's type data says of values on the heap: their sizes, where the pointers in them are, and the
//! types of what those point to.
//!
//! Layouts are those of `internal/abi` (type.go, map_swiss.go and map_noswiss.go) and of the runtime's own maps
//! (internal/runtime/maps, runtime/map.go); Go 1.22 to 1.27. Each type is taken apart once. One that makes no sense
//! is unknown, and so is what only it leads to.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::{Addr, LinkAddr};
use crate::bytes::FieldsExt as _;
use crate::heap::types::{TypeMask, Types};
use crate::process::{MemRange, ReadError, Target, TargetExt as _};
use crate::runtime::GoProcess;
use crate::runtime::mirror::Mirror as _;
use crate::runtime::mirror::go_type::{AbiPointers, AbiPointersLayout};
use crate::runtime::values::Values;

/// Kinds of types (`Kind`, internal/abi/type.go; the same since Go 1.0).
pub(super) mod kind {
    pub(crate) const ARRAY: u8 = 17;
    pub(crate) const CHAN: u8 = 18;
    pub(crate) const FUNC: u8 = 19;
    pub(crate) const INTERFACE: u8 = 20;
    pub(crate) const MAP: u8 = 21;
    pub(crate) const POINTER: u8 = 22;
    pub(crate) const SLICE: u8 = 23;
    pub(crate) const STRING: u8 = 24;
    pub(crate) const STRUCT: u8 = 25;
    pub(crate) const UNSAFE_POINTER: u8 = 26;
}

/// Bits of `Kind_` that are the kind.
const KIND: u8 = 0x1f;
/// Most types and forms that are told apart: their numbers have 16 bits, and 0 is none.
const MOST: usize = u16::MAX as usize;
/// Most pointers of one type that are followed.
const MOST_EDGES: usize = 4096;
/// Most pointers of all types.
const MOST_ALL_EDGES: usize = 1 << 22;
/// Most fields of a struct.
const MOST_FIELDS: u64 = 1 << 14;
/// Most elements of an array within another type that are followed.
const MOST_ELEMENTS: u64 = 4096;
/// How deep types may consist of others.
const MOST_DEEP: usize = 100;
/// Bytes of an `abi.StructField`: name, type and offset.
const FIELD: usize = 24;
/// Most interface tables that are remembered.
const MOST_TABLES: usize = 1 << 16;
/// Bytes of one of them that are read.
const TABLE: usize = 24;

/// What an object of the heap is, beside the address of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// One value of the type.
    Value,
    /// Values of the type, one after the other.
    Array,
    /// A channel of such values.
    Channel,
    /// A map of this type: what its variables point to.
    Map,
    /// The array of a map's tables (1.24 on).
    MapDirectory,
    /// A table of a map (1.24 on).
    MapTable,
    /// A closure; the address is that of its function.
    Closure,
    /// The bytes of strings.
    Text,
    /// A part of the runtime, by its number in [`RUNTIME`].
    Runtime,
}

/// Parts of the runtime that are known by where they are.
pub(super) const RUNTIME: [&str; 2] = ["runtime.g", "runtime.sudog"];

/// Where a pointer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To an object of this form and type.
    To(Form, u64),
    /// To the bytes of a string.
    Text,
    /// An interface: the word before says what this one is. Whether it has methods.
    Interface(bool),
    /// A closure.
    Function,
    /// The array of a map's tables, or its only group, by whether the next word is 0. The address is the map type's.
    MapGroups(u64),
}

/// A pointer in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// From the start of the value, bytes; of an interface, its first word.
    pub(super) offset: u32,
    pub(super) leads: Leads,
}

/// What is known of objects of one form.
#[derive(Debug)]
pub(super) struct Known {
    /// Its number; at least 1.
    pub(super) id: u16,
    pub(super) form: Form,
    /// Address of the type, or what [`Form`] says.
    pub(super) addr: u64,
    /// Size of one value, bytes; 0 where objects of any size can be it.
    pub(super) size: u64,
    /// Whether there are pointers in it.
    pub(super) pointers: bool,
    /// Which words are; `None` where that is not compared.
    pub(super) mask: Option<Arc<TypeMask>>,
    pub(super) edges: Box<[Edge]>,
    pub(super) name: String,
}

/// A type's descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub(super) size: u64,
    pub(super) pointer_bytes: u64,
    pub(super) kind: u8,
    /// The three words that follow what all types have.
    pub(super) more: [u64; 3],
}

impl Descriptor {
    /// Whether an interface holds the value itself, and not a pointer to it.
    pub(super) fn is_direct(&self) -> bool {
        use kind::{ARRAY, CHAN, FUNC, MAP, POINTER, STRUCT, UNSAFE_POINTER};
        match self.kind {
            POINTER | CHAN | MAP | FUNC | UNSAFE_POINTER => true,
            ARRAY | STRUCT => self.size == 8 && self.pointer_bytes == 8,
            _ => false,
        }
    }
}

/// All that was learnt of types.
pub(super) struct Book<'a> {
    process: GoProcess<'a>,
    target: &'a dyn Target,
    layout: AbiPointersLayout,
    values: Values<'a>,
    range: Range<u64>,
    minor: u32,
    masks: Types<'a>,
    known: FxHashMap<(Form, u64), Option<Arc<Known>>>,
    by_id: Vec<Arc<Known>>,
    descriptors: FxHashMap<u64, Option<Descriptor>>,
    /// Types of values by the address of an interface's table, or of the type.
    tables: FxHashMap<u64, Option<u64>>,
    edges: usize,
    /// Sizes of `hchan` and of what maps begin with.
    channel: u64,
}

impl<'a> Book<'a> {
    /// `None` where the program's types cannot be found.
    pub(super) fn new(process: GoProcess<'a>, layout: Option<AbiPointersLayout>) -> Option<Self> {
        let minor = process.rules().minor();
        Some(Self {
            process,
            target: process.target,
            layout: layout?,
            values: process.values()?,
            range: process.types()?,
            minor,
            masks: Types::new(process.target, layout, minor),
            known: FxHashMap::default(),
            by_id: Vec::new(),
            descriptors: FxHashMap::default(),
            tables: FxHashMap::default(),
            edges: 0,
            channel: process.runtime.layout.table.size("runtime.hchan").map_or(0, u64::from),
        })
    }

    /// Where the types of the program are.
    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Where all of it was read: the types, and what lies elsewhere of those that were met.
    pub(super) fn sources(&self) -> Vec<MemRange> {
        let types = usize::try_from(self.range.end.saturating_sub(self.range.start)).unwrap_or(0);
        let mut sources = vec![MemRange { start: Addr(self.range.start), len: types }];
        sources.extend(self.masks.sources());
        let tables = self.tables.iter().filter(|(word, found)| found.is_some_and(|value| value != **word));
        sources.extend(tables.map(|(word, _)| MemRange { start: Addr(*word), len: TABLE }));
        sources
    }

    /// What has been given numbers so far, in their order from 1 on.
    pub(super) fn all(&self) -> &[Arc<Known>] {
        &self.by_id
    }

    /// What there is to know of objects of this form.
    pub(super) fn get(&mut self, form: Form, addr: u64) -> Result<Option<Arc<Known>>, ReadError> {
        if let Some(known) = self.known.get(&(form, addr)) {
            return Ok(known.clone());
        }
        let known = if self.by_id.len() < MOST { self.learn(form, addr)? } else { None };
        let known = known.map(|mut known| {
            known.id = u16::try_from(self.by_id.len() + 1).unwrap_or(0);
            Arc::new(known)
        });
        let known = known.filter(|known| known.id != 0);
        self.by_id.extend(known.clone());
        if self.known.len() < 2 * MOST {
            self.known.insert((form, addr), known.clone());
        }
        Ok(known)
    }

    fn learn(&mut self, form: Form, addr: u64) -> Result<Option<Known>, ReadError> {
        let plain = |size, pointers, name: String| Known {
            id: 0,
            form,
            addr,
            size,
            pointers,
            mask: None,
            edges: Box::default(),
            name,
        };
        let edge = |offset, leads| Edge { offset, leads };
        match form {
            Form::Runtime => {
                let name = usize::try_from(addr).ok().and_then(|n| RUNTIME.get(n)).copied().unwrap_or("runtime");
                return Ok(Some(plain(0, true, name.to_owned())));
            }
            Form::Closure => {
                let (program, table) = (self.process.program, &self.process.program.pclntab);
                let entry = program.bias.unload(Addr(addr));
                let name = table.function_at(entry).filter(|function| function.entry == entry);
                let name = name.and_then(|function| table.name(&function));
                return Ok(name.map(|name| Known { pointers: true, ..plain(0, true, format!("func {name}")) }));
            }
            Form::Text => return Ok(Some(plain(0, false, "string data".to_owned()))),
            Form::Value | Form::Array | Form::Channel | Form::Map | Form::MapDirectory | Form::MapTable => {}
        }
        let Some(ty) = self.descriptor(addr)? else { return Ok(None) };
        let Some(name) = self.values.go_type(addr)?.map(|ty| ty.name) else { return Ok(None) };
        let mask = |bits: u64, words| Some(Arc::new(TypeMask { words, mask: Box::new([bits]) }));
        let [_, _, third] = ty.more;
        let known = match form {
            Form::Channel => {
                // `buf` follows `qcount` and `dataqsiz` (runtime/chan.go). One whose values have no pointers has them
                // in the same object, which has none then.
                let pointers = ty.pointer_bytes > 0;
                let edges = if pointers { vec![edge(16, Leads::To(Form::Array, addr))] } else { Vec::new() };
                let size = if pointers { self.channel } else { 0 };
                Known { edges: edges.into(), ..plain(size, pointers, format!("chan {name}")) }
            }
            Form::Map if self.minor >= 24 => {
                // `dirPtr` and `dirLen` follow `used` and `seed` (internal/runtime/maps/map.go).
                let edges = [edge(16, Leads::MapGroups(addr))];
                Known { mask: mask(0b100, 6), edges: Box::new(edges), ..plain(48, true, name) }
            }
            Form::Map => {
                // `buckets` and `oldbuckets` follow `count`, `flags` and `hash0` (runtime/map.go).
                let edges = [16, 24].map(|offset| edge(offset, Leads::To(Form::Array, third)));
                Known { mask: mask(0b10_1100, 6), edges: Box::new(edges), ..plain(48, true, name) }
            }
            Form::MapDirectory => {
                let edges = [edge(0, Leads::To(Form::MapTable, addr))];
                Known { mask: mask(1, 1), edges: Box::new(edges), ..plain(8, true, format!("{name} directory")) }
            }
            Form::MapTable => {
                // `groups.data` (internal/runtime/maps/table.go).
                let edges = [edge(16, Leads::To(Form::Array, third))];
                Known { mask: mask(0b100, 4), edges: Box::new(edges), ..plain(32, true, format!("{name} table")) }
            }
            _ => {
                let mut edges = Vec::new();
                self.flatten(addr, 0, 0, &mut edges)?;
                if self.minor <= 23 && ty.pointer_bytes == ty.size && name.starts_with("map.bucket[") {
                    // The pointer to the next bucket of the same is the last word.
                    let last = u32::try_from(ty.size.saturating_sub(8)).unwrap_or(u32::MAX);
                    edges.push(edge(last, Leads::To(Form::Value, addr)));
                }
                if self.edges + edges.len() > MOST_ALL_EDGES {
                    edges.clear();
                }
                self.edges += edges.len();
                let mask = if ty.pointer_bytes > 0 { self.masks.get(addr)? } else { None };
                let name = if form == Form::Array { format!("[]{name}") } else { name };
                Known { mask, edges: edges.into(), ..plain(ty.size, ty.pointer_bytes > 0, name) }
            }
        };
        if form == Form::Map && ty.kind != kind::MAP || matches!(form, Form::Value | Form::Array) && ty.size == 0 {
            return Ok(None);
        }
        Ok(Some(known))
    }

    /// The descriptor of a type of the program; `None` where it is none.
    pub(super) fn descriptor(&mut self, addr: u64) -> Result<Option<Descriptor>, ReadError> {
        /// Largest value.
        const MOST_SIZE: u64 = 1 << 40;
        if let Some(known) = self.descriptors.get(&addr) {
            return Ok(*known);
        }
        let mut found = None;
        let len = self.layout.size as usize;
        if self.range.contains(&addr)
            && let Some(bytes) = self.target.read_vec(Addr(addr), len + 24)?
            && let Some(ty) = AbiPointers::parse(Addr(addr), &bytes, &self.layout)
            && ty.value_size < MOST_SIZE
            && ty.pointer_bytes <= ty.value_size
            && (1..=kind::UNSAFE_POINTER).contains(&(ty.kind & KIND))
        {
            let more = [0, 8, 16].map(|at| bytes.u64_at(len + at).unwrap_or(0));
            let (size, pointer_bytes) = (ty.value_size, ty.pointer_bytes);
            found = Some(Descriptor { size, pointer_bytes, kind: ty.kind & KIND, more });
        }
        if self.descriptors.len() < MOST {
            self.descriptors.insert(addr, found);
        }
        Ok(found)
    }

    /// The fields of a struct: address of the name, type and offset of each.
    pub(super) fn fields(&mut self, ty: &Descriptor) -> Result<Vec<(u64, u64, u64)>, ReadError> {
        let [_, at, count] = ty.more;
        if ty.kind != kind::STRUCT || count > MOST_FIELDS {
            return Ok(Vec::new());
        }
        let bytes = self.target.read_vec(Addr(at), count as usize * FIELD)?.unwrap_or_default();
        let word = |field: &[u8], n: usize| field.u64_at(8 * n).unwrap_or(0);
        Ok(bytes.chunks_exact(FIELD).map(|field| (word(field, 0), word(field, 1), word(field, 2))).collect())
    }

    /// The name of a field, by its address.
    pub(super) fn field_name(&self, addr: u64) -> Result<Option<String>, ReadError> {
        self.values.name(addr)
    }

    /// The name of a type.
    pub(super) fn name(&self, addr: u64) -> Result<Option<String>, ReadError> {
        Ok(self.values.go_type(addr)?.map(|ty| ty.name))
    }

    fn flatten(&mut self, addr: u64, at: u64, depth: usize, out: &mut Vec<Edge>) -> Result<(), ReadError> {
        let Some(ty) = self.descriptor(addr)? else { return Ok(()) };
        let Ok(offset) = u32::try_from(at) else { return Ok(()) };
        if ty.pointer_bytes == 0 || depth > MOST_DEEP || out.len() >= MOST_EDGES {
            return Ok(());
        }
        let [first, _, third] = ty.more;
        let leads = match ty.kind {
            kind::POINTER => Leads::To(Form::Value, first),
            kind::SLICE => Leads::To(Form::Array, first),
            kind::CHAN => Leads::To(Form::Channel, first),
            kind::MAP => Leads::To(Form::Map, addr),
            kind::STRING => Leads::Text,
            kind::FUNC => Leads::Function,
            // The methods follow the path of the package, as a slice.
            kind::INTERFACE => Leads::Interface(third > 0),
            kind::ARRAY => {
                let Some(element) = self.descriptor(first)?.filter(|element| element.size > 0) else { return Ok(()) };
                for n in 0..third.min(MOST_ELEMENTS) {
                    let Some(next) = n.checked_mul(element.size).and_then(|skip| at.checked_add(skip)) else { break };
                    if out.len() >= MOST_EDGES || next >= at + ty.size {
                        break;
                    }
                    self.flatten(first, next, depth + 1, out)?;
                }
                return Ok(());
            }
            kind::STRUCT => {
                for (_, field, skip) in self.fields(&ty)? {
                    if skip < ty.size {
                        self.flatten(field, at + skip, depth + 1, out)?;
                    }
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        out.push(Edge { offset, leads });
        Ok(())
    }

    /// What the second word of an interface points to, by its first: the address of the type of its value, or of a
    /// table of methods. `None` where that is neither, or its values are not on the heap alone.
    pub(super) fn interface(&mut self, word: u64) -> Result<Option<(Form, u64)>, ReadError> {
        let Some(addr) = self.value_type(word)? else { return Ok(None) };
        let Some(ty) = self.descriptor(addr)? else { return Ok(None) };
        Ok(match ty.kind {
            kind::POINTER => Some((Form::Value, ty.more[0])),
            kind::CHAN => Some((Form::Channel, ty.more[0])),
            kind::MAP => Some((Form::Map, addr)),
            _ if ty.is_direct() => None,
            _ => Some((Form::Value, addr)),
        })
    }

    fn value_type(&mut self, word: u64) -> Result<Option<u64>, ReadError> {
        if let Some(known) = self.tables.get(&word) {
            return Ok(*known);
        }
        if self.tables.len() >= MOST_TABLES {
            return Ok(None);
        }
        let found = match self.table(word)? {
            None if self.descriptor(word)?.is_some() && self.values.go_type(word)?.is_some() => Some(word),
            other => other,
        };
        self.tables.insert(word, found);
        Ok(found)
    }

    /// An `abi.ITab` (internal/abi/iface.go): the interface, the type of the value, and the hash of that.
    fn table(&mut self, addr: u64) -> Result<Option<u64>, ReadError> {
        /// `Hash` in an `abi.Type`, bytes from its start.
        const HASH: u64 = 16;
        if !addr.is_multiple_of(8) {
            return Ok(None);
        }
        let Some(bytes) = self.target.read_array::<TABLE>(Addr(addr))? else { return Ok(None) };
        let (interface, value) = (bytes.u64_at(0).unwrap_or(0), bytes.u64_at(8).unwrap_or(0));
        if !self.range.contains(&interface) || !self.range.contains(&value) {
            return Ok(None);
        }
        let is_interface = self.descriptor(interface)?.is_some_and(|ty| ty.kind == kind::INTERFACE);
        let hash = self.target.read_array::<4>(Addr(value.wrapping_add(HASH)))?;
        let is_same = hash.is_some_and(|hash| Some(u32::from_le_bytes(hash)) == bytes.u32_at(16));
        Ok((is_interface && is_same && self.descriptor(value)?.is_some()).then_some(value))
    }

    /// The only group of a small map, or the directory of another: what the first word after the seed leads to.
    pub(super) fn map_groups(&mut self, map: u64, tables: u64) -> Result<Option<(Form, u64)>, ReadError> {
        let Some(ty) = self.descriptor(map)? else { return Ok(None) };
        let [_, _, group] = ty.more;
        Ok(Some(if tables == 0 { (Form::Array, group) } else { (Form::MapDirectory, map) }))
    }

    /// Whether a function begins at `pc`.
    pub(super) fn is_function(&self, pc: u64) -> bool {
        let program = self.process.program;
        let entry: LinkAddr = program.bias.unload(Addr(pc));
        self.process.is_go_code(pc) && program.pclntab.is_entry(entry)
    }
}
