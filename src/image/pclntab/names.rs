//! Functions by name.

use std::collections::{HashMap, HashSet};

use super::function::Function;
use super::header::Format;
use super::{MAX_NAME, Pclntab, SCAN_CHUNK};

impl Pclntab {
    /// Finds functions by their exact names. Names that the program lacks are not in the result. If a name
    /// occurs twice (an ABI wrapper), the longer function is returned.
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
            // Prepend the rest of the previous chunk.
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
