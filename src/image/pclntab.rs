//! The function table that no Go program can live without: from a program counter to the function,
//! the file and line, the calls inlined there and the size of the frame.
//!
//! Formats of Go 1.16 on (runtime/symtab.go, cmd/link/internal/ld/pcln.go). Nothing is loaded up
//! front: each question reads the few bytes that it needs. `textStart` of the header is never
//! believed (it is not relocated in position-independent programs, and unused from 1.26 on); the
//! start of text comes from moduledata.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::elf::Elf;
use crate::addr::LinkAddr;
use crate::bytes::FieldsExt;

/// Formats of the table, by the first Go version that writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// Go 1.16 and 1.17: function entries are absolute and eight bytes wide.
    Go116,
    /// Go 1.18 and 1.19: entries are offsets from the start of text.
    Go118,
    /// Go 1.20 on: functions have a start line, inlined calls lost theirs.
    Go120,
}

impl Format {
    fn from_magic(magic: u32) -> Option<Self> {
        match magic {
            0xffff_fffa => Some(Self::Go116),
            0xffff_fff0 => Some(Self::Go118),
            0xffff_fff1 => Some(Self::Go120),
            _ => None,
        }
    }

    /// Size in bytes of the fixed part of `runtime._func`.
    fn func_size(self) -> u64 {
        match self {
            Self::Go116 | Self::Go120 => 44,
            Self::Go118 => 40,
        }
    }

    /// Size in bytes of `runtime.inlinedCall`.
    fn inlined_call_size(self) -> u64 {
        match self {
            Self::Go116 | Self::Go118 => 20,
            Self::Go120 => 16,
        }
    }

    /// Size in bytes of one entry of the function table.
    fn functab_entry_size(self) -> u64 {
        match self {
            Self::Go116 => 16,
            Self::Go118 | Self::Go120 => 8,
        }
    }

    /// Number of words in the header before `funcnameOffset`.
    fn words_before_offsets(self) -> u64 {
        match self {
            Self::Go116 => 2,
            Self::Go118 | Self::Go120 => 3,
        }
    }
}

/// `runtime.pcHeader`, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where it is.
    pub addr: LinkAddr,
    /// The same as an offset in the file, bytes.
    pub file_offset: u64,
    /// Format.
    pub format: Format,
    /// `sys.PCQuantum`.
    pub quantum: u8,
    /// Number of functions.
    pub function_count: u64,
    /// Offset of the function names from the header, bytes; the others likewise.
    pub names: u64,
    /// Offset of the compilation units' file lists.
    pub cus: u64,
    /// Offset of the file names.
    pub files: u64,
    /// Offset of the pc-value tables.
    pub pctab: u64,
    /// Offset of the function table and the functions.
    pub functions: u64,
}

/// No program has more functions; a larger count is nonsense.
const MAX_FUNCTIONS: u64 = 20_000_000;
/// Longest function or file name that is believed, bytes. Names of generic instances reach a few
/// thousand.
const MAX_NAME: usize = 64 * 1024;
/// Deepest nesting of inlined calls that is believed.
const MAX_INLINE_DEPTH: usize = 1024;
/// Most steps in one pc-value table; the largest functions of real programs have some 100,000.
const MAX_PCVALUE_STEPS: usize = 4 << 20;
/// Size of the pieces in which the program is scanned, bytes.
const SCAN_CHUNK: usize = 1 << 20;

impl Header {
    /// Decodes the header at `addr`, or gives `None` when what is there is not one.
    #[must_use]
    pub fn at(elf: &Elf, addr: LinkAddr) -> Option<Self> {
        let file_offset = elf.offset_of(addr)?;
        let bytes: [u8; 72] = elf.bytes().array(file_offset)?;
        let format = Format::from_magic(bytes.u32_at(0)?)?;
        let quantum = bytes.u8_at(6)?;
        if bytes.u16_at(4)? != 0 || bytes.u8_at(7)? != 8 || u64::from(quantum) != elf.arch().pc_quantum() {
            return None;
        }
        let first = usize::try_from(8 + 8 * format.words_before_offsets()).ok()?;
        let word = |index: usize| bytes.u64_at(first.checked_add(8 * index)?);
        let header = Self {
            addr,
            file_offset,
            format,
            quantum,
            function_count: bytes.u64_at(8)?,
            names: word(0)?,
            cus: word(1)?,
            files: word(2)?,
            pctab: word(3)?,
            functions: word(4)?,
        };
        let ordered = header.names < header.cus
            && header.cus <= header.files
            && header.files <= header.pctab
            && header.pctab <= header.functions;
        let end_of_functab = header
            .function_count
            .checked_mul(format.functab_entry_size())
            .and_then(|size| header.functions.checked_add(size))
            .and_then(|size| file_offset.checked_add(size))?;
        (ordered
            && (64..=128).contains(&header.names)
            && (1..=MAX_FUNCTIONS).contains(&header.function_count)
            && end_of_functab <= elf.bytes().len())
        .then_some(header)
    }

    /// Every header in the program, best evidence first: by the section's name, then by scanning
    /// the segments for the magic number. A stripped program has exactly one.
    #[must_use]
    pub fn find_all(elf: &Elf) -> Vec<Self> {
        let by_section = [".gopclntab", ".data.rel.ro.gopclntab"]
            .iter()
            .filter_map(|name| elf.section(name))
            .find_map(|section| Self::at(elf, section.addr));
        if let Some(header) = by_section {
            return vec![header];
        }
        let mut found = Vec::new();
        for segment in elf.segments() {
            scan_segment(elf, segment.vaddr, segment.offset, segment.file_size, &mut found);
        }
        found
    }
}

fn scan_segment(elf: &Elf, vaddr: LinkAddr, offset: u64, size: u64, found: &mut Vec<Header>) {
    // The magic number and two zeros; chunks overlap so that none is cut in two.
    const OVERLAP: usize = 8;
    let mut buf = vec![0_u8; SCAN_CHUNK];
    let mut at = 0_u64;
    while at < size {
        let want = usize::try_from(size - at).unwrap_or(SCAN_CHUNK).min(SCAN_CHUNK);
        let Some(chunk) = buf.get_mut(..want) else { return };
        let Ok(got) = elf.bytes().source().read_at(offset.saturating_add(at), chunk) else { return };
        let Some(chunk) = buf.get(..got) else { return };
        for hit in memchr::memmem::find_iter(chunk, &[0xff, 0xff, 0xff, 0, 0]) {
            let Some(start) = hit.checked_sub(1) else { continue };
            if !chunk.u8_at(start).is_some_and(|b| matches!(b, 0xf0 | 0xf1 | 0xfa)) {
                continue;
            }
            let addr = LinkAddr(vaddr.0.wrapping_add(at).wrapping_add(start as u64));
            if addr.0.is_multiple_of(8)
                && found.iter().all(|h| h.addr != addr)
                && let Some(header) = Header::at(elf, addr)
            {
                found.push(header);
            }
        }
        if got < SCAN_CHUNK {
            return;
        }
        at += (SCAN_CHUNK - OVERLAP) as u64;
    }
}

/// `funcFlag` of `_func` (internal/abi/symtab.go; same bits in 1.19 to 1.27).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FuncFlags(pub u8);

impl FuncFlags {
    /// The outermost function of a stack: unwinding ends here.
    #[must_use]
    pub fn is_top_frame(self) -> bool {
        self.0 & 1 != 0
    }

    /// It writes SP otherwise than by push, pop and fixed frames: its caller cannot be found.
    #[must_use]
    pub fn writes_sp(self) -> bool {
        self.0 & 2 != 0
    }

    /// Written in assembly.
    #[must_use]
    pub fn is_asm(self) -> bool {
        self.0 & 4 != 0
    }
}

/// `runtime._func`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// First instruction.
    pub entry: LinkAddr,
    /// First address behind it: the next function's entry.
    pub end: LinkAddr,
    /// Number in the table.
    pub index: u32,
    /// `funcID`; its numbers differ between Go versions.
    pub func_id: u8,
    /// Flags.
    pub flags: FuncFlags,
    /// Line of the `func` keyword; 0 before Go 1.20.
    pub start_line: u32,
    name: u32,
    pcsp: u32,
    pcfile: u32,
    pcln: u32,
    npcdata: u32,
    nfuncdata: u8,
    cu: u32,
    /// File offset of the record.
    record: u64,
}

/// A place in the source, as one logical frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFrame {
    /// Function name as the table has it.
    pub function: Arc<str>,
    /// `funcID` of the (possibly inlined) function.
    pub func_id: u8,
    /// File; `"?"` where the table has none, as the runtime prints.
    pub file: Arc<str>,
    /// Line; 0 where the table has none.
    pub line: u32,
    /// Line of the function's `func` keyword; 0 before Go 1.20.
    pub start_line: u32,
    /// Whether this function was inlined into the next one.
    pub inlined: bool,
}

/// The function table of one module.
#[derive(Debug)]
pub struct Pclntab {
    elf: Arc<Elf>,
    header: Header,
    text: LinkAddr,
    gofunc: Option<LinkAddr>,
}

/// Number of the funcdata table with inlined calls (`abi.FUNCDATA_InlTree`, 1.16 to 1.27).
const FUNCDATA_INL_TREE: u32 = 3;
/// Number of the pcdata table with its indices (`abi.PCDATA_InlTreeIndex`).
const PCDATA_INL_TREE_INDEX: u32 = 2;

impl Pclntab {
    /// The table behind `header`, of a module whose text starts at `text` (`moduledata.text`).
    #[must_use]
    pub fn new(elf: Arc<Elf>, header: Header, text: LinkAddr) -> Self {
        Self { elf, header, text, gofunc: None }
    }

    /// Adds `moduledata.gofunc`, without which inlined calls cannot be told from Go 1.18 on.
    #[must_use]
    pub fn with_gofunc(mut self, gofunc: LinkAddr) -> Self {
        self.gofunc = Some(gofunc);
        self
    }

    /// Its header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The program.
    #[must_use]
    pub fn elf(&self) -> &Arc<Elf> {
        &self.elf
    }

    /// File offset of something that is `offset` bytes behind the part that starts at `part`.
    fn at(&self, part: u64, offset: u64) -> Option<u64> {
        self.header.file_offset.checked_add(part)?.checked_add(offset)
    }

    /// Entry `index` of the function table: entry address and offset of the record.
    fn functab(&self, index: u64) -> Option<(LinkAddr, u64)> {
        let size = self.header.format.functab_entry_size();
        let at = self.at(self.header.functions, index.checked_mul(size)?)?;
        let bytes = self.elf.bytes();
        if self.header.format == Format::Go116 {
            let [entry, record] = [bytes.u64(at)?, bytes.u64(at.checked_add(8)?)?];
            return Some((LinkAddr(entry), record));
        }
        let pair: [u8; 8] = bytes.array(at)?;
        Some((LinkAddr(self.text.0.checked_add(pair.u32_at(0)?.into())?), pair.u32_at(4)?.into()))
    }

    fn entry(&self, index: u64) -> Option<LinkAddr> {
        if index < self.header.function_count {
            return self.functab(index).map(|(entry, _)| entry);
        }
        // The last entry is only an address: the end of text.
        let size = self.header.format.functab_entry_size();
        let at = self.at(self.header.functions, index.checked_mul(size)?)?;
        match self.header.format {
            Format::Go116 => self.elf.bytes().u64(at).map(LinkAddr),
            Format::Go118 | Format::Go120 => Some(LinkAddr(self.text.0.checked_add(self.elf.bytes().u32(at)?.into())?)),
        }
    }

    /// Function number `index`.
    #[must_use]
    pub fn function(&self, index: u32) -> Option<Function> {
        let index64 = u64::from(index);
        if index64 >= self.header.function_count {
            return None;
        }
        let (entry, record) = self.functab(index64)?;
        let end = self.entry(index64 + 1)?;
        let record = self.at(self.header.functions, record)?;
        let bytes: [u8; 44] = self.elf.bytes().array(record)?;
        // From 1.18 on the entry is an offset of four bytes, before it was an address of eight.
        let skip = if self.header.format == Format::Go116 { 8 } else { 4 };
        let word = |n: usize| bytes.u32_at(skip + 4 * n);
        let tail = match self.header.format {
            Format::Go116 | Format::Go120 => 40,
            Format::Go118 => 36,
        };
        Some(Function {
            entry,
            end,
            index,
            func_id: bytes.u8_at(tail)?,
            flags: FuncFlags(bytes.u8_at(tail + 1)?),
            start_line: if self.header.format == Format::Go120 { word(8)? } else { 0 },
            name: word(0)?,
            pcsp: word(3)?,
            pcfile: word(4)?,
            pcln: word(5)?,
            npcdata: word(6)?,
            nfuncdata: bytes.u8_at(tail + 3)?,
            cu: word(7)?,
            record,
        })
    }

    /// The function that holds `pc`.
    #[must_use]
    pub fn function_at(&self, pc: LinkAddr) -> Option<Function> {
        let (mut low, mut high) = (0, self.header.function_count);
        if pc < self.entry(0)? || pc >= self.entry(high)? {
            return None;
        }
        // Invariant: entry(low) <= pc < entry(high).
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.entry(middle)? <= pc {
                low = middle;
            } else {
                high = middle;
            }
        }
        let function = self.function(u32::try_from(low).ok()?)?;
        (function.entry <= pc && pc < function.end).then_some(function)
    }

    /// Whether a function starts exactly at `pc`.
    #[must_use]
    pub fn is_entry(&self, pc: LinkAddr) -> bool {
        self.function_at(pc).is_some_and(|function| function.entry == pc)
    }

    fn text_at(&self, part: u64, offset: u64) -> Option<String> {
        let bytes = self.elf.bytes().c_str(self.at(part, offset)?, MAX_NAME)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn name_at(&self, offset: u32) -> Option<String> {
        // A name must lie in the table of names: else a hostile offset would name anything.
        (u64::from(offset) < self.header.cus.checked_sub(self.header.names)?)
            .then(|| self.text_at(self.header.names, offset.into()))
            .flatten()
    }

    /// A function's name.
    #[must_use]
    pub fn name(&self, function: &Function) -> Option<String> {
        self.name_at(function.name)
    }

    /// The value that a pc-value table holds for `pc`; `None` where it holds none or is corrupt.
    fn pc_value(&self, function: &Function, table: u32, pc: LinkAddr) -> Option<i32> {
        if table == 0 {
            return None;
        }
        let mut bytes = Varints::new(&self.elf, self.at(self.header.pctab, table.into())?);
        let mut value = -1_i32;
        let mut end = function.entry.0;
        for step in 0..MAX_PCVALUE_STEPS {
            let delta = bytes.next()?;
            if delta == 0 && step > 0 {
                return None;
            }
            value = value.wrapping_add(zigzag(delta));
            end = end.checked_add(u64::from(bytes.next()?).checked_mul(self.header.quantum.into())?)?;
            if pc.0 < end {
                return Some(value);
            }
        }
        None
    }

    /// Bytes between the stack pointer at `pc` and the caller's return address (amd64) or the
    /// caller's frame (arm64): the `pcsp` table. `None` where the function has none, or nonsense.
    #[must_use]
    pub fn frame_size(&self, function: &Function, pc: LinkAddr) -> Option<u64> {
        self.pc_value(function, function.pcsp, pc).and_then(|size| u64::try_from(size).ok())
    }

    /// Whether the function has a `pcsp` table at all; assembly without frame information does not.
    #[must_use]
    pub fn has_frame_size(&self, function: &Function) -> bool {
        function.pcsp != 0
    }

    fn pcdata(&self, function: &Function, table: u32, pc: LinkAddr) -> Option<i32> {
        if table >= function.npcdata {
            return None;
        }
        let at = function.record.checked_add(self.header.format.func_size())?.checked_add(4 * u64::from(table))?;
        self.pc_value(function, self.elf.bytes().u32(at)?, pc)
    }

    fn funcdata(&self, function: &Function, table: u32) -> Option<LinkAddr> {
        if table >= u32::from(function.nfuncdata) {
            return None;
        }
        let after_pcdata = function
            .record
            .checked_add(self.header.format.func_size())?
            .checked_add(4 * u64::from(function.npcdata))?;
        if self.header.format == Format::Go116 {
            let aligned = after_pcdata.checked_add(function.record.wrapping_sub(after_pcdata) & 7)?;
            let addr = self.elf.bytes().u64(aligned.checked_add(8 * u64::from(table))?)?;
            return (addr != 0).then_some(LinkAddr(addr));
        }
        let offset = self.elf.bytes().u32(after_pcdata.checked_add(4 * u64::from(table))?)?;
        (offset != u32::MAX).then_some(())?;
        Some(LinkAddr(self.gofunc?.0.checked_add(offset.into())?))
    }

    /// File and line of the code at `pc`; `("?", 0)` where the table has none, as the runtime says.
    #[must_use]
    pub fn file_line(&self, function: &Function, pc: LinkAddr) -> (String, u32) {
        let find = || {
            let file = u64::try_from(self.pc_value(function, function.pcfile, pc)?).ok()?;
            let line = u32::try_from(self.pc_value(function, function.pcln, pc)?).ok()?;
            let index = u64::from(function.cu).checked_add(file)?;
            let offset = self.elf.bytes().u32(self.at(self.header.cus, index.checked_mul(4)?)?)?;
            (offset != u32::MAX).then_some(())?;
            Some((self.text_at(self.header.files, offset.into())?, line))
        };
        find().unwrap_or_else(|| ("?".to_owned(), 0))
    }

    /// The logical frames of the code at `pc`, innermost first: the inlined calls, then `function`
    /// itself. For a return address, `pc` is the address minus one.
    #[must_use]
    pub fn source_frames(&self, function: &Function, pc: LinkAddr) -> Vec<SourceFrame> {
        let mut frames = Vec::new();
        let mut pc = pc;
        if let Some(tree) = self.funcdata(function, FUNCDATA_INL_TREE) {
            while frames.len() < MAX_INLINE_DEPTH
                && let Some(call) = self.inlined_call(function, tree, pc)
            {
                let (file, line) = self.file_line(function, pc);
                frames.push(SourceFrame {
                    function: call.name.into(),
                    func_id: call.func_id,
                    file: file.into(),
                    line,
                    start_line: call.start_line,
                    inlined: true,
                });
                pc = call.parent_pc;
            }
        }
        let (file, line) = self.file_line(function, pc);
        frames.push(SourceFrame {
            function: self.name(function).unwrap_or_else(|| "?".to_owned()).into(),
            func_id: function.func_id,
            file: file.into(),
            line,
            start_line: function.start_line,
            inlined: false,
        });
        frames
    }

    fn inlined_call(&self, function: &Function, tree: LinkAddr, pc: LinkAddr) -> Option<InlinedCall> {
        let index = u64::try_from(self.pcdata(function, PCDATA_INL_TREE_INDEX, pc)?).ok()?;
        let size = self.header.format.inlined_call_size();
        let at = self.elf.offset_of(LinkAddr(tree.0.checked_add(index.checked_mul(size)?)?))?;
        let mut bytes = [0_u8; 20];
        self.elf.bytes().read_exact(at, bytes.get_mut(..usize::try_from(size).ok()?)?)?;
        let (func_id, name, parent_pc, start_line) = match self.header.format {
            Format::Go116 | Format::Go118 => (bytes.u8_at(2)?, bytes.u32_at(12)?, bytes.u32_at(16)?, 0),
            Format::Go120 => (bytes.u8_at(0)?, bytes.u32_at(4)?, bytes.u32_at(8)?, bytes.u32_at(12)?),
        };
        let parent_pc = LinkAddr(function.entry.0.checked_add(parent_pc.into())?);
        // A parent outside the function would make the walk go anywhere.
        (parent_pc < function.end).then_some(())?;
        Some(InlinedCall { func_id, name: self.name_at(name)?, parent_pc, start_line })
    }

    /// Finds functions by their exact names. Names that the program does not have are not in the
    /// answer. Where a name stands twice (a wrapper for another calling convention), the longer
    /// function is given.
    ///
    /// Costs a pass over the names and over the functions up to the last one found; those of the
    /// runtime come early in both.
    #[must_use]
    pub fn find_functions<'n>(&self, names: &[&'n str]) -> HashMap<&'n str, Function> {
        let mut wanted: HashMap<u32, &'n str> = HashMap::new();
        let names: HashSet<&'n str> = names.iter().copied().collect();
        self.scan_names(|offset, name| {
            if let Some(&name) = std::str::from_utf8(name).ok().and_then(|name| names.get(name)) {
                wanted.insert(offset, name);
            }
            wanted.len() < names.len()
        });
        let mut found: HashMap<&'n str, Function> = HashMap::new();
        let count = u32::try_from(self.header.function_count).unwrap_or(u32::MAX);
        for index in 0..count {
            if found.len() == wanted.len() {
                break;
            }
            let Some(name) = self.name_offset(index).and_then(|offset| wanted.get(&offset)) else { continue };
            let Some(function) = self.function(index) else { continue };
            let size = |f: &Function| f.end.0.saturating_sub(f.entry.0);
            let longer = found.get(name).is_none_or(|other| size(other) < size(&function));
            if longer {
                found.insert(name, function);
            }
        }
        found
    }

    fn name_offset(&self, index: u32) -> Option<u32> {
        let (_, record) = self.functab(index.into())?;
        let skip = if self.header.format == Format::Go116 { 8 } else { 4 };
        self.elf.bytes().u32(self.at(self.header.functions, record)?.checked_add(skip)?)
    }

    /// Calls `visit` with the offset and bytes of each name until it says `false`.
    fn scan_names(&self, mut visit: impl FnMut(u32, &[u8]) -> bool) {
        let size = self.header.cus.saturating_sub(self.header.names);
        let mut pending: Vec<u8> = Vec::new();
        let mut buf = vec![0_u8; SCAN_CHUNK];
        let mut at = 0_u64;
        while at < size {
            let want = usize::try_from(size - at).unwrap_or(SCAN_CHUNK).min(SCAN_CHUNK);
            let (Some(offset), Some(chunk)) = (self.at(self.header.names, at), buf.get_mut(..want)) else { return };
            let Ok(got) = self.elf.bytes().source().read_at(offset, chunk) else { return };
            let Some(chunk) = buf.get(..got).filter(|chunk| !chunk.is_empty()) else { return };
            // What is left of the chunk before belongs in front of this one.
            let base = at - pending.len() as u64;
            pending.extend_from_slice(chunk);
            let mut start = 0;
            for end in memchr::memchr_iter(0, &pending) {
                let offset = u32::try_from(base + start as u64);
                let (Ok(offset), Some(name)) = (offset, pending.get(start..end)) else { return };
                if !visit(offset, name) {
                    return;
                }
                start = end + 1;
            }
            pending.drain(..start);
            if pending.len() > MAX_NAME {
                return;
            }
            at += got as u64;
        }
    }
}

struct InlinedCall {
    func_id: u8,
    name: String,
    parent_pc: LinkAddr,
    start_line: u32,
}

fn zigzag(value: u32) -> i32 {
    let half = (value >> 1).cast_signed();
    if value & 1 == 0 { half } else { !half }
}

/// Variable-length integers read from the file in small windows.
struct Varints<'e> {
    elf: &'e Elf,
    next_window: u64,
    window: [u8; 64],
    len: usize,
    at: usize,
}

impl<'e> Varints<'e> {
    fn new(elf: &'e Elf, offset: u64) -> Self {
        Self { elf, next_window: offset, window: [0; 64], len: 0, at: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        if self.at == self.len {
            self.len = self.elf.bytes().read_up_to(self.next_window, &mut self.window);
            self.next_window = self.next_window.checked_add(self.len as u64)?;
            self.at = 0;
        }
        let byte = *self.window.get(..self.len)?.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn next(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}
