//! Opening a core file or a capture.

use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::error::CoreError;
use super::facts::Facts;
use super::headers::Headers;
use super::memory::Memory;
use super::notes::Notes;
use super::options::CoreOptions;
use super::target::CoreTarget;
use crate::bytes::ByteSource;
use crate::process::Limitation;
use crate::process::capture_file::{CaptureFile, is_capture};
use crate::process::file_bytes::FileBytes;

impl CoreTarget {
    /// Opens the core file or capture at `path`.
    ///
    /// # Errors
    /// When it cannot be opened, is neither a capture nor a core file of a 64-bit little-endian
    /// amd64 or arm64 process, is damaged, or has malformed headers.
    pub fn open(path: &Path, options: &CoreOptions) -> Result<Self, CoreError> {
        let io = |source| CoreError::Io { path: path.to_owned(), source };
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).map_err(io)?;
        let file = FileBytes::open(path).map_err(io)?;
        let mut target = Self::from_source(Arc::new(file), options)?;
        if target.clock.unix_ns == 0 {
            // The file was written when the process died.
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            target.clock.unix_ns = u64::try_from(since.as_nanos()).unwrap_or_default();
        }
        Ok(target)
    }

    /// Opens a core file or capture from its bytes. Its time is unknown (0) unless a note has it.
    ///
    /// # Errors
    /// As [`CoreTarget::open`].
    pub fn from_source(source: Arc<dyn ByteSource>, options: &CoreOptions) -> Result<Self, CoreError> {
        if is_capture(source.as_ref()) {
            return Self::from_core(Arc::new(CaptureFile::open(source)?), options, true);
        }
        Self::from_core(source, options, false)
    }

    fn from_core(source: Arc<dyn ByteSource>, options: &CoreOptions, is_capture: bool) -> Result<Self, CoreError> {
        let headers = Headers::read(source.as_ref())?;
        let notes = Notes::read(&headers.notes, headers.arch);
        let mut limitations = Vec::new();
        if headers.complete_len > source.len() {
            limitations.push(Limitation::Missing(format!(
                "the core file is truncated: it has {} of {} bytes; what was in the rest is missing",
                source.len(),
                headers.complete_len
            )));
        }
        let memory = Memory::new(Arc::clone(&source), headers.loads);
        let (arch, parts) = (headers.arch, headers.parts);
        match &notes.facts {
            Some(facts) => {
                let facts: Facts = serde_json::from_slice(facts)
                    .map_err(|e| CoreError::Note { note: "description", what: e.to_string() })?;
                Self::of_capture(source, arch, memory, facts, notes, parts, limitations)
            }
            // Without it, a recording would be mistaken for a kernel's core file.
            None if is_capture || notes.ranges.is_some() || !notes.attachments.is_empty() => {
                Err(CoreError::Note { note: "description", what: "it is missing".to_owned() })
            }
            None => Ok(Self::of_core(arch, memory, notes, options, limitations)),
        }
    }
}
