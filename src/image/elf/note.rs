//! Notes: the build ids.

use object::LittleEndian as LE;
use object::elf::{FileHeader64, NoteType};
use object::read::elf::NoteIterator;

use super::Elf;

/// Owner of Go's notes.
pub(super) const GO: &[u8] = b"Go";
/// Type of Go's build id (`ELF_NOTE_GOBUILDID_TAG` of cmd/internal/buildid and cmd/link).
pub(super) const GO_BUILD_ID: NoteType = NoteType(4);
/// Owner of GNU's notes.
pub(super) const GNU: &[u8] = b"GNU";
/// Type of the GNU build id.
pub(super) const GNU_BUILD_ID: NoteType = object::elf::NT_GNU_BUILD_ID;

/// Maximum bytes of notes read per range; real ones have a few hundred.
const MAX_RANGE: u64 = 64 * 1024;
/// Maximum note segments read.
const MAX_RANGES: usize = 16;
/// Maximum bytes of a build id; Go's have 83, GNU's 20.
const MAX_ID: usize = 1024;

/// Where notes are in the file: a `PT_NOTE` segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoteRange {
    /// File offset, bytes.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) size: u64,
    /// `p_align`.
    pub(super) align: u64,
}

impl Elf {
    /// The contents of the first note of that owner and type. Notes are found by segment, which
    /// stripping leaves alone, and then by section: Go's linker puts only its own note into a segment.
    pub(super) fn note(&self, owner: &[u8], kind: NoteType) -> Option<Vec<u8>> {
        let sections = self.sections.iter().filter(|section| section.name.starts_with(".note."));
        let sections = sections.map(|section| NoteRange { offset: section.offset, size: section.size, align: 4 });
        self.notes.iter().copied().chain(sections).take(MAX_RANGES).find_map(|range| {
            let len = usize::try_from(range.size.min(MAX_RANGE)).ok()?;
            let data = self.read_file(range.offset, len)?;
            let mut notes = NoteIterator::<FileHeader64<LE>>::new(LE, range.align, &data).ok()?;
            while let Ok(Some(note)) = notes.next() {
                if note.name() == owner && note.n_type(LE) == kind {
                    return note.desc().get(..note.desc().len().min(MAX_ID)).map(<[u8]>::to_vec);
                }
            }
            None
        })
    }
}
