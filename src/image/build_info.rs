//! Go's build information: the version of Go and how the program was built.
//!
//! Every program since Go 1.13 has it, stripped or not (`cmd/link`'s `buildinfo`, read by `debug/buildinfo`): a
//! header of 32 bytes in a section of its own, or 16-aligned in writable data if there are no sections. Since
//! Go 1.18 the two strings follow it; before, it points to them. The contents are not verified.

mod quoted;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use memchr::memmem;

use super::elf::{Elf, Segment};
use crate::addr::LinkAddr;
use crate::bytes::FieldsExt;

/// Magic of the header.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Alignment of the header, bytes.
const ALIGN: u64 = 16;
/// Size of the header, bytes.
const HEADER_SIZE: u64 = 32;
/// Flag: the strings are big-endian (old format).
const FLAG_BIG_ENDIAN: u8 = 1;
/// Flag: the strings follow the header, each with its length as a uvarint first.
const FLAG_INLINE: u8 = 2;
/// Maximum bytes of a version; real ones have less than a hundred.
const MAX_VERSION: u64 = 1024;
/// Maximum bytes of module information; a thousand dependencies take 100 KB.
const MAX_MODINFO: u64 = 8 << 20;
/// Maximum bytes of a file searched for the header.
const MAX_SCAN: u64 = 256 << 20;
/// Maximum headers tried in each segment; a real program has one, or two when it reads those of others.
const MAX_CANDIDATES: usize = 64;
/// Bytes searched at a time; a multiple of [`ALIGN`].
const CHUNK: usize = 1 << 20;
/// Size of the marks before and after the module information.
const MARK: usize = 16;

/// Why existing build information cannot be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BuildInfoError {
    /// The header exists, but the rest is missing or malformed.
    #[error("the build information at {at} is damaged: {what}")]
    Damaged {
        /// Where the header is.
        at: LinkAddr,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// A Go program's build information.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// Version of Go as the toolchain spells it: `go1.26.6`, `go1.24.11 X:synctest`,
    /// `go1.27-devel_…`.
    pub go_version: String,
    /// Import path of the main package (`path` line); `None`, like the next fields, for a program built without
    /// modules.
    pub package_path: Option<String>,
    /// Path of the main module (`mod` line).
    pub main_path: Option<String>,
    /// Its version, `(devel)` for one that was built from a working copy.
    pub main_version: Option<String>,
    /// Number of other modules in it (`dep` lines).
    pub deps_count: usize,
    /// How it was built (`build` lines): `-race`, `-ldflags`, `CGO_ENABLED`, `GOARCH`, `vcs.revision`
    /// and others.
    pub settings: BTreeMap<String, String>,
}

impl BuildInfo {
    /// Finds the build information of a program; `None` when it has none: then it is not a Go program, or was
    /// built before Go 1.13.
    ///
    /// # Errors
    /// When there is a header without a readable version after it.
    pub fn find(elf: &Elf) -> Result<Option<Self>, BuildInfoError> {
        let mut damaged = None;
        let mut try_at = |at| match Self::read(elf, at) {
            Ok(info) => Some(info),
            Err(error) => {
                damaged.get_or_insert(error);
                None
            }
        };
        let section = elf.section(".go.buildinfo").map(|section| section.addr);
        if let Some(info) = section.filter(|at| has_magic(elf, *at)).and_then(&mut try_at) {
            return Ok(Some(info));
        }

        // The header lies in writable data. A program that reads build information itself has the magic in its
        // constants too, so read-only data comes last.
        let (writable, others): (Vec<&Segment>, Vec<&Segment>) = elf.segments().iter().partition(|s| s.writable);
        let mut budget = MAX_SCAN;
        for segment in writable.into_iter().chain(others) {
            if let Some(info) = scan(elf, segment, &mut budget, &mut try_at) {
                return Ok(Some(info));
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    /// The information whose header is at `at`.
    fn read(elf: &Elf, at: LinkAddr) -> Result<Self, BuildInfoError> {
        let damaged = |what| BuildInfoError::Damaged { at, what };
        let header = elf.read(at, HEADER_SIZE as usize).ok_or_else(|| damaged("its header is cut off"))?;
        let flags = header.u8_at(15).unwrap_or_default();
        let (version, modinfo) = if flags & FLAG_INLINE != 0 {
            let mut next = at.0.checked_add(HEADER_SIZE).ok_or_else(|| damaged("it is at the end of memory"))?;
            let version =
                inline_string(elf, &mut next, MAX_VERSION).ok_or_else(|| damaged("its version is cut off"))?;
            (version, inline_string(elf, &mut next, MAX_MODINFO))
        } else {
            if header.u8_at(14) != Some(8) || flags & FLAG_BIG_ENDIAN != 0 {
                return Err(damaged("its pointers are not those of a 64-bit little-endian program"));
            }
            let string = |field, limit| pointed_string(elf, LinkAddr(header.u64_at(field)?), limit);
            let version = string(16, MAX_VERSION).ok_or_else(|| damaged("its pointers lead nowhere in the file"))?;
            (version, string(24, MAX_MODINFO))
        };
        let version = String::from_utf8(version).map_err(|_| damaged("its version is not text"))?;
        if version.is_empty() {
            return Err(damaged("its version is empty"));
        }
        let modinfo = modinfo.unwrap_or_default();
        let info = unmark(&modinfo).map(|text| Self::parse_modinfo(&String::from_utf8_lossy(text)));
        Ok(Self { go_version: version, ..info.unwrap_or_default() })
    }

    /// Parses module information (`runtime/debug.BuildInfo`'s text, without its marks); malformed lines are
    /// skipped. `go_version` stays empty: it is not in there.
    #[must_use]
    pub fn parse_modinfo(text: &str) -> Self {
        let mut info = Self::default();
        for line in text.lines() {
            let (kind, rest) = line.split_once('\t').unwrap_or((line, ""));
            match kind {
                "path" => info.package_path = Some(rest.to_owned()),
                "mod" => {
                    let mut columns = rest.split('\t').map(str::to_owned);
                    info.main_path = columns.next();
                    info.main_version = columns.next();
                }
                "dep" => info.deps_count = info.deps_count.saturating_add(1),
                "build" => info.settings.extend(quoted::setting(rest)),
                _ => {}
            }
        }
        info
    }

    /// One of the settings.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// The revision of the source, as the version control system names it.
    #[must_use]
    pub fn vcs_revision(&self) -> Option<&str> {
        self.setting("vcs.revision")
    }

    /// When that revision was made, RFC 3339.
    #[must_use]
    pub fn vcs_time(&self) -> Option<&str> {
        self.setting("vcs.time")
    }

    /// Whether the source had been changed since; `None` where that is not known.
    #[must_use]
    pub fn vcs_modified(&self) -> Option<bool> {
        self.setting("vcs.modified").map(|value| value == "true")
    }
}

fn has_magic(elf: &Elf, at: LinkAddr) -> bool {
    elf.read(at, MAGIC.len()).is_some_and(|found| found == MAGIC)
}

/// Tries every header in the file-backed part of a segment. The bytes bypass the block cache and count against
/// `budget`.
fn scan<T>(
    elf: &Elf,
    segment: &Segment,
    budget: &mut u64,
    try_at: &mut impl FnMut(LinkAddr) -> Option<T>,
) -> Option<T> {
    let mut candidates = 0;
    let magic = memmem::Finder::new(MAGIC);
    let mut chunk = vec![0; usize::try_from(segment.file_size).map_or(CHUNK, |size| size.min(CHUNK))];
    // Chunks start at aligned addresses, so no header's magic is split.
    let mut into = segment.vaddr.0.wrapping_neg() % ALIGN;
    while let Some(left) = segment.file_size.checked_sub(into).map(|left| left.min(*budget)).filter(|left| *left > 0) {
        let want = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let window = chunk.get_mut(..want)?;
        let got = elf.bytes().source().read_at(segment.offset.checked_add(into)?, window).ok()?;
        let window = window.get(..got).filter(|window| !window.is_empty())?;
        *budget -= got as u64;
        for hit in magic.find_iter(window) {
            let at = LinkAddr(segment.vaddr.0.checked_add(into)?.checked_add(hit as u64)?);
            if !at.0.is_multiple_of(ALIGN) {
                continue;
            }
            if let Some(found) = try_at(at) {
                return Some(found);
            }
            candidates += 1;
            if candidates == MAX_CANDIDATES {
                return None;
            }
        }
        if got < want {
            return None;
        }
        into = into.checked_add(got as u64)?;
    }
    None
}

/// Reads a uvarint length and its string at `*next`, and advances `*next` past it.
fn inline_string(elf: &Elf, next: &mut u64, limit: u64) -> Option<Vec<u8>> {
    let mut len = 0_u64;
    // Nine groups of seven bits are more than any limit needs.
    for shift in (0..63).step_by(7) {
        let byte = elf.read(LinkAddr(*next), 1)?.u8_at(0)?;
        *next = next.checked_add(1)?;
        len |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let text = match usize::try_from(len).ok().filter(|_| len <= limit)? {
                0 => Vec::new(), // even where nothing follows
                len => elf.read(LinkAddr(*next), len)?,
            };
            *next = next.checked_add(len)?;
            return Some(text);
        }
    }
    None
}

/// The string whose Go header (pointer, length) is at `at`.
fn pointed_string(elf: &Elf, at: LinkAddr, limit: u64) -> Option<Vec<u8>> {
    let header = elf.read(at, 16)?;
    let (data, len) = (header.u64_at(0)?, header.u64_at(8)?);
    (len <= limit).then(|| elf.read(LinkAddr(data), usize::try_from(len).ok()?)).flatten()
}

/// The text between the marks. The linker writes none at all, or both marks around a text that ends
/// with a newline.
fn unmark(modinfo: &[u8]) -> Option<&[u8]> {
    let text = modinfo.get(MARK..modinfo.len().checked_sub(MARK)?)?;
    text.ends_with(b"\n").then_some(text)
}
