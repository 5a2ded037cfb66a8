//! `runtime.moduledata`: addresses of a module's text, data and tables in the process.
//!
//! The fields up to `enoptrbss` are in the same place in Go 1.19 to 1.27 (and 1.16 on, as far as
//! they are used here), so they can be read before the version is known; the others are left to
//! the layout tables. Finding it needs relocated memory of the process, which the caller reads.

use std::ops::Range;

use super::pclntab::Header;
use crate::addr::Addr;
use crate::bytes::FieldsExt;

/// Number of its bytes kept: more than any known version has.
pub(crate) const MODULEDATA_KEPT: usize = 704;

/// The fields that every version has in the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleData {
    /// Its address.
    pub addr: Addr,
    /// `text..etext`.
    pub text: Range<u64>,
    /// `minpc..maxpc`.
    pub pcs: Range<u64>,
    /// `noptrdata..enoptrdata`.
    pub noptrdata: Range<u64>,
    /// `data..edata`.
    pub data: Range<u64>,
    /// `bss..ebss`.
    pub bss: Range<u64>,
    /// `noptrbss..enoptrbss`.
    pub noptrbss: Range<u64>,
    raw: Vec<u8>,
}

impl ModuleData {
    /// Looks through `bytes`, memory of the process at `at`, for the moduledata of the program
    /// whose pclntab is `header`, loaded at `pclntab`.
    #[must_use]
    pub fn search(bytes: &[u8], at: Addr, header: &Header, pclntab: Addr) -> Option<Self> {
        let needle = pclntab.0.to_le_bytes();
        memchr::memmem::find_iter(bytes, &needle).find_map(|offset| {
            let addr = at.checked_add(offset as u64)?;
            Self::decode(bytes.get(offset..)?, addr, header, pclntab)
        })
    }

    fn decode(bytes: &[u8], addr: Addr, header: &Header, pclntab: Addr) -> Option<Self> {
        if !addr.0.is_multiple_of(8) {
            return None;
        }
        let word = |index: usize| bytes.u64_at(8 * index);
        let table = |index: usize, offset: u64| Some(word(index)? == pclntab.0.checked_add(offset)?);
        let tables = word(0)? == pclntab.0
            && table(1, header.names)?
            && table(4, header.cus)?
            && table(7, header.files)?
            && table(10, header.pctab)?
            && table(13, header.functions)?
            && table(16, header.functions)?
            && word(17)? == header.function_count.checked_add(1)?;
        let range = |index: usize| {
            let (start, end) = (word(index)?, word(index + 1)?);
            (start <= end).then_some(start..end)
        };
        let found = Self {
            addr,
            pcs: range(20)?,
            text: range(22)?,
            noptrdata: range(24)?,
            data: range(26)?,
            bss: range(28)?,
            noptrbss: range(30)?,
            raw: bytes.get(..bytes.len().min(MODULEDATA_KEPT))?.to_vec(),
        };
        let pcs_in_text = found.pcs.start == found.text.start && found.pcs.end <= found.text.end;
        (tables && pcs_in_text).then_some(found)
    }

    /// The word at `offset` of the structure, for fields whose offset depends on the version.
    #[must_use]
    pub fn word(&self, offset: u32) -> Option<u64> {
        self.raw.u64_at(usize::try_from(offset).ok()?)
    }

    /// The four ranges in which package-level variables live. They are separate: an external
    /// linker orders them as it likes.
    #[must_use]
    pub fn data_ranges(&self) -> [Range<u64>; 4] {
        [self.noptrdata.clone(), self.data.clone(), self.bss.clone(), self.noptrbss.clone()]
    }

    /// Whether `addr` is in one of them.
    #[must_use]
    pub fn is_data(&self, addr: Addr) -> bool {
        self.data_ranges().iter().any(|range| range.contains(&addr.0))
    }
}
