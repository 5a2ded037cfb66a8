//! A capture: gospy's own notes in its core file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::error::CoreError;
use super::facts::{self, AttachmentFacts, Facts};
use super::file_parts::FileParts;
use super::files::Files;
use super::headers::FilePart;
use super::memory::{self, Memory};
use super::notes::Notes;
use super::target::CoreTarget;
use crate::addr::Arch;
use crate::bytes::ByteSource;
use crate::process::capture_file::crc;
use crate::process::{Backend, Limitation, Mapping, Remembered};

impl CoreTarget {
    pub(super) fn of_capture(
        source: Arc<dyn ByteSource>,
        arch: Arch,
        mut memory: Memory,
        facts: Facts,
        notes: Notes,
        parts: Vec<FilePart>,
        limitations: Vec<Limitation>,
    ) -> Result<Self, CoreError> {
        if let Some(what) = notes.malformed {
            return Err(CoreError::Note { note: "notes, with its attachments,", what: format!("damaged: {what}") });
        }
        let remembered = remembered(facts.attachments.as_deref(), notes.attachments)?;
        let damaged = |what: &str| CoreError::Note { note: "list of ranges", what: what.to_owned() };
        let ranges = notes.ranges.as_deref().ok_or_else(|| damaged("it is missing"))?;
        memory.limit_to(&memory::decode_ranges(ranges).ok_or_else(|| damaged("it is damaged"))?);
        let registers = notes
            .threads
            .iter()
            .filter(|thread| facts.threads.iter().any(|known| known.tid() == thread.tid && known.stopped))
            .filter_map(|thread| Some((thread.tid, thread.registers?)))
            .collect();
        let files = facts.files.iter().zip(0_u64..).map(|(file, number)| {
            let parts = parts.iter().filter(|part| part.file == number).copied().collect();
            (file.path.clone(), Arc::new(FileParts { source: Arc::clone(&source), parts, len: file.len }))
        });
        Ok(Self {
            arch,
            backend: Backend::Capture,
            memory,
            threads: facts.threads.iter().map(facts::ThreadFacts::info).collect(),
            registers,
            calls: None,
            // Nothing in a capture could be proven by them: it has no heap.
            general: BTreeMap::new(),
            auxv: notes.auxv,
            ended: facts.ended.map(Into::into),
            files: Files::Inside { files: files.collect() },
            remembered,
            limitations,
            clock: facts.clock.into(),
            mappings: facts.mappings.into_iter().map(Mapping::from).collect(),
            process: facts.process.into(),
            reads: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }
}

/// The attachments of a capture by name. If they are listed, all must be present and match their checksums.
fn remembered(
    listed: Option<&[AttachmentFacts]>,
    found: Vec<(String, Vec<u8>)>,
) -> Result<BTreeMap<String, Remembered>, CoreError> {
    let damaged = |name: &str, what| CoreError::Attachment { name: name.to_owned(), what };
    let mut out = BTreeMap::new();
    for (name, bytes) in found {
        let version = match listed {
            None => 1,
            Some(listed) => {
                let facts = listed.iter().find(|facts| facts.name == name);
                let facts = facts.ok_or_else(|| damaged(&name, "there should be none of that name"))?;
                if facts.crc32 != crc(&[&bytes]) {
                    return Err(damaged(&name, "its checksum does not match"));
                }
                facts.version
            }
        };
        if out.insert(name.clone(), Remembered { version, bytes }).is_some() {
            return Err(damaged(&name, "it is there twice"));
        }
    }
    match listed.into_iter().flatten().find(|facts| !out.contains_key(&facts.name)) {
        Some(lost) => Err(damaged(&lost.name, "it is missing")),
        None => Ok(out),
    }
}
