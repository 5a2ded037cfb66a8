//! Files that a process had mapped, for pages that the kernel omits from the core file because they are in a
//! file.
//!
//! A file is used only if it is the one that was mapped: its build id must be that in the core file, which by
//! default has the first page of every ELF file. If either has none, a file that the user names is used, and
//! one that the core file names is not.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::{ByteSource, FieldsExt};
use crate::process::file_bytes::FileBytes;

/// Maximum bytes of program headers or of one note segment read.
const MAX_PART: usize = 64 << 10;
/// Maximum build id length, bytes.
const MAX_ID: usize = 1024;

/// Where to look for files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) bin: Option<PathBuf>,
    pub(super) sysroot: Option<PathBuf>,
}

/// What identifies a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BuildIds {
    go: Option<Vec<u8>>,
    gnu: Option<Vec<u8>>,
}

impl BuildIds {
    /// Of the ELF file that `read` gives (offset and length, `None` where not available).
    pub(super) fn read(read: impl Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Self> {
        let head = read(0, 64)?;
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let (at, size, count) = (head.u64_at(32)?, usize::from(head.u16_at(54)?), usize::from(head.u16_at(56)?));
        let table = read(at, size.checked_mul(count).filter(|&len| size >= 56 && len <= MAX_PART)?)?;
        let mut ids = Self::default();
        for header in table.chunks_exact(size).filter(|header| header.u32_at(0) == Some(4)) {
            let (Some(at), Some(len)) = (header.u64_at(8), header.u64_at(32)) else { continue };
            let Some(notes) = usize::try_from(len).ok().filter(|&len| len <= MAX_PART).and_then(|len| read(at, len))
            else {
                continue;
            };
            ids.add(&notes);
        }
        Some(ids)
    }

    fn add(&mut self, notes: &[u8]) {
        let mut rest = notes;
        while let (Some(name), Some(desc), Some(kind)) = (rest.u32_at(0), rest.u32_at(4), rest.u32_at(8)) {
            let (Ok(name), Ok(desc)) = (usize::try_from(name), usize::try_from(desc)) else { return };
            let desc_at = 12_usize.saturating_add(name).next_multiple_of(4);
            let end = desc_at.saturating_add(desc);
            let (Some(owner), Some(id)) = (rest.get(12..12_usize.saturating_add(name)), rest.get(desc_at..end)) else {
                return;
            };
            let id = (!id.is_empty() && id.len() <= MAX_ID).then(|| id.to_vec());
            match (owner, kind) {
                (b"Go\0\0", 4) => self.go = self.go.take().or(id),
                (b"GNU\0", 3) => self.gnu = self.gnu.take().or(id),
                _ => {}
            }
            rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    /// Whether two files are of the same build; `None` when unknown.
    pub(super) fn same(&self, other: &Self) -> Option<bool> {
        match ((&self.go, &other.go), (&self.gnu, &other.gnu)) {
            ((Some(a), Some(b)), _) | (_, (Some(a), Some(b))) => Some(a == b),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> String {
        match (&self.go, &self.gnu) {
            (Some(go), _) => String::from_utf8_lossy(go).into_owned(),
            (None, Some(gnu)) => gnu.iter().map(|byte| format!("{byte:02x}")).collect(),
            (None, None) => "no build id".to_owned(),
        }
    }
}

/// Whether a file is the right one, if that can be proven.
pub(super) type Proof<'p> = &'p dyn Fn(&FileBytes) -> Option<bool>;

/// A file that was found, and whether it is proven to be the right one.
pub(super) struct Found {
    pub(super) file: Arc<FileBytes>,
    pub(super) path: PathBuf,
    pub(super) certain: bool,
}

impl Places {
    /// The file that was mapped from `path`, with build id `expected` in the core file. For the program itself
    /// there is another proof when build ids prove nothing; a file named by the user needs no proof. The error
    /// lists what was tried.
    pub(super) fn find(
        &self,
        path: &str,
        expected: Option<&BuildIds>,
        program: Option<Proof<'_>>,
    ) -> Result<Found, String> {
        let mut tried = Vec::new();
        for (candidate, named) in self.candidates(path) {
            let opened = open(&candidate, expected)
                .map(|(file, verdict)| (verdict.or_else(|| program?(file.as_ref())), file))
                .map(|(verdict, file)| (file, verdict));
            match opened {
                Ok((file, verdict)) if verdict == Some(true) || (verdict.is_none() && named && program.is_some()) => {
                    return Ok(Found { file, path: candidate, certain: verdict == Some(true) });
                }
                Ok((_, Some(_))) => tried.push(format!("{} is of another build", candidate.display())),
                Ok((_, None)) if named => {}
                Ok((_, None)) => tried.push(format!(
                    "{} is there, but the core file does not contain the build id that would prove it is the same",
                    candidate.display()
                )),
                Err(why) => tried.push(why),
            }
        }
        if tried.is_empty() {
            tried.push("no file is named".to_owned());
        }
        Err(tried.join("; "))
    }

    fn candidates(&self, path: &str) -> Vec<(PathBuf, bool)> {
        let mut out: Vec<(PathBuf, bool)> = self.bin.iter().map(|bin| (bin.clone(), true)).collect();
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        if let Some(inside) = path.strip_prefix('/') {
            match &self.sysroot {
                Some(root) => out.push((root.join(inside), true)),
                None => out.push((PathBuf::from(path), false)),
            }
        }
        out
    }
}

fn open(path: &Path, expected: Option<&BuildIds>) -> Result<(Arc<FileBytes>, Option<bool>), String> {
    let file = FileBytes::open(path).map_err(|e| format!("{} cannot be opened: {e}", path.display()))?;
    let read = |at: u64, len: usize| {
        let mut buf = vec![0; len];
        (file.read_at(at, &mut buf).ok()? == len).then_some(buf)
    };
    let ids = BuildIds::read(read).ok_or_else(|| format!("{} is not an ELF program", path.display()))?;
    let verdict = match expected.map(|expected| (expected, expected.same(&ids))) {
        Some((expected, Some(false))) => {
            return Err(format!(
                "{} has the build id {}, the core file {}",
                path.display(),
                ids.text(),
                expected.text()
            ));
        }
        Some((_, verdict)) => verdict,
        None => None,
    };
    Ok((Arc::new(file), verdict))
}
