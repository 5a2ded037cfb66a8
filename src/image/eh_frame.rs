//! Call frame information: how to get from a frame of C to its caller.
//!
//! `.eh_frame` is in nearly every ELF file that was not written in Go, stripped or not, since exceptions need
//! it. For a program counter, this module says where the caller's registers are. It evaluates no expressions:
//! anything that needs one (signal frames, PLT stubs) is unknown.

#[cfg(test)]
mod tests;

use gimli::{BaseAddresses, CfaRule, CieOrFde, EhFrameOffset, EndianSlice, LittleEndian, RegisterRule, UnwindSection};

use super::elf::{Elf, ElfError};
use crate::addr::{Arch, LinkAddr};
use crate::bytes::FieldsExt as _;

/// Maximum bytes of `.eh_frame` or its index read; that of a large browser has 20 MB.
const MAX_SECTION: usize = 64 << 20;
/// Maximum bytes of `.eh_frame` searched linearly without an index.
const MAX_SEARCHED: usize = 16 << 20;
/// Size of the head of `.eh_frame_hdr` with the encodings that every linker uses, bytes.
const INDEX_HEAD: usize = 12;

/// Number of a register in DWARF.
pub(crate) type RegisterNumber = u16;

/// The registers that matter by their DWARF numbers (psABI of amd64, figure 3.36; DWARF for the
/// 64-bit Arm architecture, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegisterNumbers {
    /// Stack pointer.
    pub sp: RegisterNumber,
    /// Frame pointer.
    pub fp: RegisterNumber,
    /// Where a return address is at a function's entry, if that is a register.
    pub link: Option<RegisterNumber>,
    /// Those that a function leaves as they were, the frame pointer among them.
    pub preserved: &'static [RegisterNumber],
}

impl RegisterNumbers {
    /// Those of an architecture.
    #[must_use]
    pub(crate) fn of(arch: Arch) -> Self {
        match arch {
            Arch::Amd64 => Self { sp: 7, fp: 6, link: None, preserved: &[3, 6, 12, 13, 14, 15] },
            Arch::Arm64 => Self {
                sp: 31,
                fp: 29,
                link: Some(30),
                // The link register too, for leaf functions.
                preserved: &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30],
            },
        }
    }
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// In the same register.
    Same,
    /// In memory, this many bytes from the canonical frame address.
    At(i64),
    /// It is the canonical frame address plus this.
    Value(i64),
    /// In another register.
    In(RegisterNumber),
    /// Unknown, or given only by an expression. Of the return address: there is no caller.
    Unknown,
}

/// How to get from a frame to its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The canonical frame address, which is the caller's stack pointer: a register and what is
    /// added to it.
    pub cfa: (RegisterNumber, i64),
    /// The number that stands for the return address.
    pub return_address: RegisterNumber,
    /// Whether the caller was interrupted by a signal, rather than called.
    pub signal_frame: bool,
    rules: Vec<(RegisterNumber, Rule)>,
    preserved: &'static [RegisterNumber],
}

impl Row {
    /// Where the caller's value of a register is. Registers without a rule follow the ABI.
    #[must_use]
    pub(crate) fn rule(&self, register: RegisterNumber) -> Rule {
        let found = self.rules.iter().find(|(number, _)| *number == register).map(|(_, rule)| *rule);
        found.unwrap_or(if self.preserved.contains(&register) { Rule::Same } else { Rule::Unknown })
    }
}

#[cfg(test)]
impl Row {
    /// One that no file has to say.
    pub(crate) fn for_test(
        cfa: (RegisterNumber, i64),
        return_address: RegisterNumber,
        rules: Vec<(RegisterNumber, Rule)>,
        preserved: &'static [RegisterNumber],
    ) -> Self {
        Self { cfa, return_address, signal_frame: false, rules, preserved }
    }
}

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The call frame information of one file.
#[derive(Debug)]
pub(crate) struct EhFrame {
    arch: Arch,
    data: Vec<u8>,
    addr: LinkAddr,
    index: Option<Index>,
}

/// `.eh_frame_hdr`: functions' first addresses in order, each with the address of its description.
#[derive(Debug)]
struct Index {
    /// Pairs of four bytes each, relative to `addr`.
    table: Vec<u8>,
    addr: LinkAddr,
}

impl EhFrame {
    /// Reads a file's `.eh_frame`; `None` when it has none.
    ///
    /// # Errors
    /// When it is too large or the file ends inside it.
    pub(crate) fn load(elf: &Elf) -> Result<Option<Self>, ElfError> {
        let Some(section) = elf.section(".eh_frame") else { return Ok(None) };
        let Some(data) = elf.data_of(section, MAX_SECTION)? else { return Ok(None) };
        let index = match elf.section(".eh_frame_hdr") {
            // Without a usable index, lookups are only slower.
            Some(index) => {
                elf.data_of(index, MAX_SECTION).ok().flatten().and_then(|bytes| Index::new(&bytes, index.addr))
            }
            None => None,
        };
        Ok(Some(Self { arch: elf.arch(), data, addr: section.addr, index }))
    }

    /// How to get from a frame at `pc` to its caller; `None` when unknown, or given by an expression. For a
    /// return address, pass `pc` minus one, as it may be past the end of the function.
    #[must_use]
    pub(crate) fn row(&self, pc: LinkAddr) -> Option<Row> {
        let mut section = gimli::EhFrame::from(EndianSlice::new(&self.data, LittleEndian));
        section.set_address_size(8);
        if self.arch == Arch::Arm64 {
            section.set_vendor(gimli::Vendor::AArch64);
        }
        let bases = BaseAddresses::default().set_eh_frame(self.addr.0);
        let description = match &self.index {
            Some(index) => {
                let offset = index.find(pc)?.0.checked_sub(self.addr.0)?;
                let offset = usize::try_from(offset).ok().filter(|offset| *offset < self.data.len())?;
                let found = section.fde_from_offset(&bases, EhFrameOffset(offset), gimli::EhFrame::cie_from_offset);
                found.ok().filter(|found| found.contains(pc.0))?
            }
            None => self.search(&section, &bases, pc)?,
        };
        let mut context = gimli::UnwindContext::new();
        let row = description.unwind_info_for_address(&section, &bases, &mut context, pc.0).ok()?;
        let CfaRule::RegisterAndOffset { register, offset } = *row.cfa() else { return None };
        let rules = row.registers().map(|(register, rule)| (register.0, translate(rule))).collect();
        Some(Row {
            cfa: (register.0, offset),
            return_address: description.cie().return_address_register().0,
            signal_frame: description.is_signal_trampoline(),
            rules,
            preserved: RegisterNumbers::of(self.arch).preserved,
        })
    }

    /// Searches linearly; a damaged entry ends the search.
    fn search<'a>(
        &self,
        section: &gimli::EhFrame<Slice<'a>>,
        bases: &BaseAddresses,
        pc: LinkAddr,
    ) -> Option<gimli::FrameDescriptionEntry<Slice<'a>>> {
        if self.data.len() > MAX_SEARCHED {
            return None;
        }
        let mut entries = section.entries(bases);
        while let Some(entry) = entries.next().ok()? {
            let CieOrFde::Fde(partial) = entry else { continue };
            let found = partial.parse(gimli::EhFrame::cie_from_offset).ok()?;
            if found.contains(pc.0) {
                return Some(found);
            }
        }
        None
    }
}

fn translate(rule: &RegisterRule<usize>) -> Rule {
    match *rule {
        RegisterRule::SameValue => Rule::Same,
        RegisterRule::Offset(offset) => Rule::At(offset),
        RegisterRule::ValOffset(offset) => Rule::Value(offset),
        RegisterRule::Register(register) => Rule::In(register.0),
        _ => Rule::Unknown,
    }
}

impl Index {
    /// Parses the section. `None` unless it has the one form that linkers make: version 1,
    /// a four-byte count, and a table of pairs relative to the section.
    fn new(bytes: &[u8], addr: LinkAddr) -> Option<Self> {
        const UDATA4: u8 = 0x03;
        const SDATA4: u8 = 0x0b;
        const DATAREL: u8 = 0x30;
        const PCREL: u8 = 0x10;
        let [version, section, count, table] = bytes.array_at(0)?;
        let usual = version == 1 && section == PCREL | SDATA4 && count == UDATA4 && table == DATAREL | SDATA4;
        let count = usize::try_from(bytes.u32_at(8)?).ok()?;
        let table = bytes.get(INDEX_HEAD..INDEX_HEAD.checked_add(count.checked_mul(8)?)?)?;
        (usual && !table.is_empty()).then(|| Self { table: table.to_vec(), addr })
    }

    /// Address of the description of the last function that starts at or before `pc`.
    fn find(&self, pc: LinkAddr) -> Option<LinkAddr> {
        let (pairs, _) = self.table.as_chunks::<8>();
        let absolute = |word: Option<i32>| Some(self.addr.0.wrapping_add_signed(i64::from(word?)));
        let behind = pairs.partition_point(|pair| absolute(pair.i32_at(0)).is_some_and(|start| start <= pc.0));
        let pair = pairs.get(behind.checked_sub(1)?)?;
        absolute(pair.i32_at(4)).map(LinkAddr)
    }
}
