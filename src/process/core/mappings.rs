//! The mappings, from the segments of a core file and the files it names.

use std::collections::BTreeMap;

use super::memory::Memory;
use super::notes::FileNote;
use crate::addr::Addr;
use crate::process::Mapping;
use crate::process::maps::DELETED;

/// The segments of the core file, cut where mapped files begin and end, plus other file mappings (gdb omits
/// read-only ones). Inodes are made up: they only distinguish files.
pub(super) fn mappings(memory: &Memory, files: &[FileNote]) -> Vec<Mapping> {
    const READ_ONLY: u32 = 4;
    let mut pieces: Vec<(u64, u64, u32, Option<&FileNote>)> = Vec::new();
    // The end of the part of each file's range handled so far.
    let mut upto = 0;
    let mut files = files.iter().peekable();
    for load in memory.loads() {
        let mut at = load.start;
        while let Some(&file) = files.peek().filter(|file| file.start < load.end) {
            let start = file.start.max(upto);
            pieces.push((start, file.end.min(at), READ_ONLY, Some(file)));
            pieces.push((at, start.max(at), load.flags, None));
            let end = file.end.min(load.end);
            pieces.push((start.max(at), end, load.flags, Some(file)));
            at = at.max(end);
            upto = upto.max(end);
            if file.end > load.end {
                break;
            }
            files.next();
        }
        pieces.push((at, load.end, load.flags, None));
        upto = load.end;
    }
    pieces.extend(files.map(|file| (file.start.max(upto), file.end, READ_ONLY, Some(file))));
    pieces.retain(|(start, end, _, _)| start < end);
    let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
    let mapping = |(start, end, flags, file): (u64, u64, u32, Option<&'_ FileNote>)| {
        let path = file.map_or("", |file| file.path.as_str());
        let kept = path.strip_suffix(DELETED);
        Mapping {
            start: Addr(start),
            end: Addr(end),
            read: flags & 4 != 0,
            write: flags & 2 != 0,
            exec: flags & 1 != 0,
            offset: file.map_or(0, |file| file.offset.saturating_add(start.saturating_sub(file.start))),
            inode: 0,
            path: kept.unwrap_or(path).to_owned(),
            deleted: kept.is_some(),
        }
    };
    let mut out: Vec<Mapping> = pieces.iter().copied().map(mapping).collect();
    for (mapping, (_, _, _, file)) in out.iter_mut().zip(&pieces) {
        let fresh = numbers.len() as u64 + 1;
        mapping.inode = file.map_or(0, |file| *numbers.entry(file.path.as_str()).or_insert(fresh));
    }
    out.sort_by_key(|mapping| mapping.start);
    out
}
