//! The files that a process had mapped: outside its core file, or inside a capture.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::backing::{BuildIds, Found, Places};
use super::file_parts::FileParts;
use super::memory::Memory;
use super::notes::FileNote;
use crate::bytes::{ByteSource, FieldsExt};
use crate::process::file_bytes::FileBytes;

const PAGE: u64 = 4096;
const PAGE_LEN: usize = 4096;

/// The source of the files' bytes.
pub(super) enum Files {
    /// The files themselves, each located once.
    Outside {
        places: Places,
        executable: OnceLock<Result<Found, String>>,
        others: Mutex<BTreeMap<String, Arc<OnceLock<Resolved>>>>,
    },
    /// The capture: file parts by number, and paths.
    Inside { files: Vec<(Option<String>, Arc<FileParts>)> },
}

pub(super) type Resolved = Result<Arc<FileBytes>, String>;

/// The build ids of the program, whose headers are at `at_phdr`.
pub(super) fn ids_at_headers(memory: &Memory, at_phdr: Option<u64>) -> Option<BuildIds> {
    // In a file loaded with its header, the program headers follow it.
    let start = at_phdr?.checked_sub(64)?;
    BuildIds::read(|at, len| memory.exact(start.checked_add(at)?, len))
}

/// The program's own file.
pub(super) fn find_program(
    places: &Places,
    exe: &str,
    memory: &Memory,
    at_phdr: Option<u64>,
    ids: Option<&BuildIds>,
) -> Result<Found, String> {
    places.find(exe, ids, Some(&|file| same_pages(memory, file, at_phdr)))
}

/// Whether the program's read-only pages in the core file equal those in `file`; `None` when the core file has
/// none.
fn same_pages(memory: &Memory, file: &dyn ByteSource, at_phdr: Option<u64>) -> Option<bool> {
    let mut proven = None;
    for (segment, writable) in segments_of(file, "", at_phdr) {
        let Some(page) = memory.exact(segment.start, PAGE_LEN).filter(|_| !writable) else { continue };
        let mut own = vec![0; PAGE_LEN];
        // After the end of the file the page is zero.
        file.read_at(segment.offset, &mut own).ok()?;
        if own != page {
            return Some(false);
        }
        proven = Some(true);
    }
    proven
}

/// Where the segments of the program in `file` are mapped, if its program headers are at `at_phdr`.
pub(super) fn mapped_by_headers(file: &dyn ByteSource, path: &str, at_phdr: Option<u64>) -> Vec<FileNote> {
    segments_of(file, path, at_phdr).into_iter().map(|(segment, _)| segment).collect()
}

/// The same, and whether they are writable.
fn segments_of(file: &dyn ByteSource, path: &str, at_phdr: Option<u64>) -> Vec<(FileNote, bool)> {
    const MAX_HEADERS: usize = 1024;
    let read = |at: u64, len: usize| {
        let mut buf = vec![0; len];
        (file.read_at(at, &mut buf).ok()? == len).then_some(buf)
    };
    let segments = || {
        let head = read(0, 64)?;
        let (at, count) = (head.u64_at(32)?, usize::from(head.u16_at(56)?).min(MAX_HEADERS));
        let table = read(at, count.checked_mul(56)?)?;
        let loads: Vec<(u64, u64, u64, bool)> = table
            .chunks_exact(56)
            .filter(|header| header.u32_at(0) == Some(1))
            .filter_map(|header| {
                Some((header.u64_at(8)?, header.u64_at(16)?, header.u64_at(32)?, header.u32_at(4)? & 2 != 0))
            })
            .collect();
        let (offset, vaddr, _, _) =
            loads.iter().find(|(offset, _, len, _)| *offset <= at && at < offset.saturating_add(*len))?;
        let bias = at_phdr?.wrapping_sub(vaddr.wrapping_add(at - offset));
        let segment = |&(offset, vaddr, len, writable): &(u64, u64, u64, bool)| {
            let into = vaddr % PAGE;
            let start = (vaddr - into).wrapping_add(bias);
            let end = start.checked_add(into.checked_add(len)?.checked_next_multiple_of(PAGE)?)?;
            let note = FileNote { start, end, offset: offset.saturating_sub(into), path: path.to_owned() };
            (end > start).then_some((note, writable))
        };
        Some(loads.iter().filter_map(segment).collect())
    };
    segments().unwrap_or_default()
}
