//! Which span a page of the heap belongs to.
//!
//! Two levels: 64 MiB of addresses, as the runtime's arenas, and the pages in them. A table for all addresses
//! between the lowest and the highest span would be as large as the gaps.

use crate::runtime::mirror::mspan::SPAN_PAGE;

/// Pages in 64 MiB.
const PAGES: u64 = 8192;
/// Most pages of all spans together: a heap of 1 TiB, whose table takes 512 MiB.
pub(super) const MAX_PAGES: u64 = 1 << 27;

/// Spans by page. Each entry is the number of a span plus one; 0 for none.
#[derive(Debug, Default)]
pub(super) struct PageTable {
    first: u64,
    /// Number of the block of pages of each 64 MiB, plus one.
    blocks: Vec<u32>,
    pages: Vec<u32>,
}

impl PageTable {
    /// An empty table for addresses from `low` to `high`, of which only what is used takes memory.
    pub(super) fn new(low: u64, high: u64) -> Self {
        let first = low / SPAN_PAGE / PAGES;
        let last = high.saturating_sub(1) / SPAN_PAGE / PAGES;
        // Addresses have 48 bits: this is 4 Mi entries at most.
        let len = usize::try_from(last.saturating_sub(first) + 1).unwrap_or(1).min(1 << 22);
        Self { first, blocks: vec![0; len], pages: Vec::new() }
    }

    /// Enters a span; false, with nothing changed, if another one has a page of it.
    pub(super) fn insert(&mut self, base: u64, pages: u64, span: u32) -> bool {
        let range = base / SPAN_PAGE..(base / SPAN_PAGE).saturating_add(pages);
        if range.clone().any(|page| self.span(page) != 0) {
            return false;
        }
        for page in range {
            if let Some(entry) = self.entry(page) {
                *entry = span.saturating_add(1);
            }
        }
        true
    }

    fn entry(&mut self, page: u64) -> Option<&mut u32> {
        let block = usize::try_from((page / PAGES).checked_sub(self.first)?).ok()?;
        let block = self.blocks.get_mut(block)?;
        if *block == 0 {
            self.pages.resize(self.pages.len() + PAGES as usize, 0);
            *block = u32::try_from(self.pages.len() as u64 / PAGES).ok()?;
        }
        self.pages.get_mut((*block as usize - 1) * PAGES as usize + (page % PAGES) as usize)
    }

    #[inline]
    fn span(&self, page: u64) -> u32 {
        let block = (page / PAGES).wrapping_sub(self.first);
        match self.blocks.get(block as usize) {
            None | Some(0) => 0,
            Some(&block) => {
                let at = (block as usize - 1) * PAGES as usize + (page % PAGES) as usize;
                self.pages.get(at).copied().unwrap_or(0)
            }
        }
    }

    /// The number of the span that holds `addr`.
    #[inline]
    pub(super) fn get(&self, addr: u64) -> Option<u32> {
        self.span(addr / SPAN_PAGE).checked_sub(1)
    }

    /// What it takes, bytes.
    pub(super) fn bytes(&self) -> usize {
        4 * (self.blocks.capacity() + self.pages.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_know_their_span() {
        let (low, high) = (0xc0_0000_0000, 0xc0_1000_0000);
        let mut table = PageTable::new(low, high);
        assert!(table.insert(low, 2, 0));
        // Across the border of two blocks.
        let border = low + 64 * 1024 * 1024;
        assert!(table.insert(border - SPAN_PAGE, 2, 7));
        assert_eq!(table.get(low), Some(0));
        assert_eq!(table.get(low + 2 * SPAN_PAGE - 1), Some(0));
        assert_eq!(table.get(low + 2 * SPAN_PAGE), None);
        assert_eq!([table.get(border - 1), table.get(border), table.get(border + SPAN_PAGE)], [Some(7), Some(7), None]);
        assert_eq!([table.get(0), table.get(low - 1), table.get(u64::MAX)], [None, None, None]);
        assert!(!table.insert(low + SPAN_PAGE, 3, 9), "a page of another span");
        assert_eq!(table.get(low + 3 * SPAN_PAGE), None);
    }
}
