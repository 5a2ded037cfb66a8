//! The function table that every Go program has: from a program counter to the function,
//! the file and line, the calls inlined there and the size of the frame.
//!
//! Formats of Go 1.16 on (runtime/symtab.go, cmd/link/internal/ld/pcln.go). Nothing is loaded up front: each
//! query reads the few bytes it needs. `textStart` of the header is ignored (it is not relocated in
//! position-independent programs, and unused from 1.26 on); the start of text comes from moduledata.

mod arguments;
mod function;
mod header;
mod inline;
mod names;
mod pcvalue;
mod tables;

use std::sync::Arc;

use super::elf::Elf;
use crate::addr::LinkAddr;
use crate::bytes::FieldsExt;

pub use arguments::ArgumentToken;
pub(crate) use function::{FuncFlags, Function};
pub(crate) use header::Format;
pub use header::Header;
pub(crate) use inline::SourceFrame;
pub use tables::{FuncData, PcData};

/// Maximum length of a function or file name, bytes. Names of generic instances reach a few
/// thousand.
const MAX_NAME: usize = 64 * 1024;
/// Chunk size for scanning the program, bytes.
const SCAN_CHUNK: usize = 1 << 20;

/// The function table of one module.
#[derive(Debug)]
pub struct Pclntab {
    elf: Arc<Elf>,
    header: Header,
    text: LinkAddr,
    gofunc: Option<LinkAddr>,
}

impl Pclntab {
    /// The table of `header`, of a module whose text starts at `text` (`moduledata.text`).
    #[must_use]
    pub fn new(elf: Arc<Elf>, header: Header, text: LinkAddr) -> Self {
        Self { elf, header, text, gofunc: None }
    }

    /// Adds `moduledata.gofunc`, which inlined calls need from Go 1.18 on.
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

    /// File offset of something that is `offset` bytes after the start of `part`.
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
        // The last entry has only an address: the end of text.
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
            args: word(1)?.cast_signed(),
            deferreturn: word(2)?,
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

    /// The function that contains `pc`.
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
        // A name must be in the name table: otherwise a bad offset could point anywhere.
        (u64::from(offset) < self.header.cus.checked_sub(self.header.names)?)
            .then(|| self.text_at(self.header.names, offset.into()))
            .flatten()
    }

    /// A function's name.
    #[must_use]
    pub fn name(&self, function: &Function) -> Option<String> {
        self.name_at(function.name)
    }

    /// Bytes between the stack pointer at `pc` and the caller's return address (amd64) or the
    /// caller's frame (arm64): the `pcsp` table. `None` if the function has none, or an invalid one.
    #[must_use]
    pub fn frame_size(&self, function: &Function, pc: LinkAddr) -> Option<u64> {
        self.pc_value(function, function.pcsp, pc).and_then(|size| u64::try_from(size).ok())
    }

    /// Whether the function has a `pcsp` table at all; assembly without frame information does not.
    #[must_use]
    pub fn has_frame_size(&self, function: &Function) -> bool {
        function.pcsp != 0
    }

    /// File and line of the code at `pc`; `("?", 0)` where the table has none, as the runtime prints.
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
}
