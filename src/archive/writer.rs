//! Recording snapshots: as they come, in blocks that are written every few seconds. What is held is one encoded
//! snapshot and the blocks that are not written yet.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::block::{self, Header, Part};
use super::encoder::Encoder;
use super::names::Written;
use super::{MAGIC, Moment, VERSION, push_varint};
use crate::model::Snapshot;
use crate::process::capture_file::crc;

/// How much is held back, bytes.
const PENDING: usize = 256 << 10;
/// For how long samples are held back at most, ns.
const FLUSH_NS: u64 = 2_000_000_000;
/// Data of a block, bytes.
const BLOCK: usize = 512 << 10;
/// A whole sample comes once changes are so many times as large as the last whole one ...
const TIMES_WHOLE: usize = 4;
/// ... and at least so large, bytes.
const LEAST_CHANGES: usize = 4 << 20;

/// What a file says of itself, for people who find it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Description {
    /// The kind of file.
    pub(crate) format: String,
    /// The version of gospy.
    pub(crate) gospy_version: String,
    /// When the recording began, RFC 3339.
    pub(crate) recorded_at: String,
    /// The process.
    pub(crate) pid: i32,
    /// Path of its executable.
    pub(crate) exe: String,
    /// Version of Go.
    pub(crate) go_version: String,
    /// `GOARCH`.
    pub(crate) arch: String,
    /// Why it was written, where something gave cause.
    pub(crate) reason: Option<String>,
}

impl Description {
    /// Of a recording whose first sample this is.
    pub(crate) fn of(snapshot: &Snapshot, recorded_at: String) -> Self {
        Self {
            format: "gospy recording".to_owned(),
            gospy_version: env!("CARGO_PKG_VERSION").to_owned(),
            recorded_at,
            pid: snapshot.target.pid,
            exe: snapshot.target.exe.clone(),
            go_version: snapshot.target.go_version.clone(),
            arch: snapshot.target.arch.to_owned(),
            reason: None,
        }
    }

    /// The beginning of a file.
    ///
    /// # Errors
    /// When it is too long.
    pub(crate) fn head(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let len = u32::try_from(json.len()).ok().filter(|_| json.len() <= super::MAX_DESCRIPTION);
        let len = len.ok_or_else(|| io::Error::other("the description of the recording is too long"))?;
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend(len.to_le_bytes());
        head.extend(json);
        let sum = crc(&[&head]);
        head.extend(sum.to_le_bytes());
        Ok(head)
    }
}

/// Takes the blocks of a recording, in order.
pub(crate) trait WriteBlocks {
    /// Takes one.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write_block(&mut self, header: &Header, bytes: Vec<u8>) -> io::Result<()>;
}

impl<W: Write> WriteBlocks for W {
    fn write_block(&mut self, _: &Header, bytes: Vec<u8>) -> io::Result<()> {
        self.write_all(&bytes)
    }
}

/// Why a sample was not recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// It has no encoding.
    #[error(transparent)]
    Encode(#[from] super::encoder::EncodeError),
    /// It could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<postcard::Error> for RecordError {
    fn from(error: postcard::Error) -> Self {
        Self::Encode(error.into())
    }
}

/// Writes samples.
#[derive(Debug)]
pub(crate) struct Recorder<W> {
    out: W,
    /// After how long a whole sample comes again, ns.
    whole_every_ns: u64,
    encoder: Encoder,
    written: Written,
    /// Names that are not written yet, and whether they are the first ones.
    names: (Vec<u8>, Part),
    /// Samples that are not written yet.
    samples: Vec<u8>,
    part: Part,
    pending: u32,
    last: Moment,
    flushed_ns: u64,
    whole_ns: Option<u64>,
    whole_size: usize,
    changes_size: usize,
    /// How many samples there were.
    count: u64,
}

impl<W: WriteBlocks> Recorder<W> {
    /// After how long a whole sample comes again at the latest in a file, ns: what is between is decoded to see a
    /// moment in it.
    pub(crate) const WHOLE_EVERY_NS: u64 = 300_000_000_000;

    /// One that writes to `out`, with a whole sample after each `whole_every_ns` at the latest.
    pub(crate) fn new(out: W, whole_every_ns: u64) -> Self {
        Self {
            out,
            whole_every_ns,
            encoder: Encoder::default(),
            written: Written::default(),
            names: (Vec::new(), Part::Names),
            samples: Vec::new(),
            part: Part::Whole,
            pending: 0,
            last: Moment::default(),
            flushed_ns: 0,
            whole_ns: None,
            whole_size: 0,
            changes_size: 0,
            count: 0,
        }
    }

    /// Records a snapshot.
    ///
    /// # Errors
    /// When it is too large, or cannot be written; the recording ends before it.
    pub(crate) fn add(&mut self, snapshot: &Snapshot) -> Result<(), RecordError> {
        let now = snapshot.monotonic_ns;
        let mut names = Vec::new();
        let is_other_pool = self.written.write_new(&snapshot.symbols, &mut names)?;
        if is_other_pool {
            self.flush()?;
            self.names.1 = Part::Names;
        }
        self.names.0.append(&mut names);
        let is_due = self.whole_ns.is_none_or(|then| now.saturating_sub(then) >= self.whole_every_ns || now < then);
        let is_long = self.changes_size > (TIMES_WHOLE.saturating_mul(self.whole_size)).max(LEAST_CHANGES);
        let is_whole = is_other_pool || is_due || is_long;
        if is_whole {
            self.flush_samples()?;
            self.encoder.reset();
            self.part = Part::Whole;
            (self.whole_ns, self.changes_size) = (Some(now), 0);
        }
        let mut sample = Vec::new();
        self.encoder.encode(snapshot, &mut sample)?;
        match is_whole {
            true => self.whole_size = sample.len(),
            false => self.changes_size = self.changes_size.saturating_add(sample.len()),
        }
        // What is longer than a block has blocks of its own.
        if sample.len() > PENDING {
            self.flush()?;
        }
        push_varint(&mut self.samples, sample.len() as u64);
        self.samples.append(&mut sample);
        self.pending = self.pending.saturating_add(1);
        self.count = self.count.saturating_add(1);
        self.last = Moment { monotonic_ns: now, unix_ns: snapshot.captured_at_unix_ns };
        if self.samples.len() > PENDING || now.saturating_sub(self.flushed_ns) >= FLUSH_NS {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is held back.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn flush(&mut self) -> Result<(), RecordError> {
        self.flush_samples()?;
        self.flushed_ns = self.last.monotonic_ns;
        Ok(())
    }

    fn flush_samples(&mut self) -> Result<(), RecordError> {
        // Samples refer to names, so these come first.
        if !self.names.0.is_empty() || self.names.1 == Part::Names {
            let names = std::mem::take(&mut self.names.0);
            let part = std::mem::replace(&mut self.names.1, Part::MoreNames);
            self.write(part, Part::MoreNames, 0, Moment::default(), &names)?;
        }
        if self.pending > 0 {
            let samples = std::mem::take(&mut self.samples);
            let part = std::mem::replace(&mut self.part, Part::Changes);
            let pending = std::mem::take(&mut self.pending);
            self.write(part, Part::Changes, pending, self.last, &samples)?;
        }
        Ok(())
    }

    /// Writes data in as many blocks as it takes.
    fn write(&mut self, first: Part, then: Part, samples: u32, last: Moment, data: &[u8]) -> Result<(), RecordError> {
        let mut part = first;
        let mut chunks = data.chunks(BLOCK).peekable();
        if data.is_empty() {
            let (header, bytes) = block::encode(part, 0, Moment::default(), &[])?;
            self.out.write_block(&header, bytes)?;
        }
        while let Some(chunk) = chunks.next() {
            let ends = if chunks.peek().is_none() { (samples, last) } else { (0, Moment::default()) };
            let (header, bytes) = block::encode(part, ends.0, ends.1, chunk)?;
            self.out.write_block(&header, bytes)?;
            part = then;
        }
        Ok(())
    }

    /// What blocks go to.
    pub(crate) fn out(&mut self) -> &mut W {
        &mut self.out
    }

    /// Writes what is held back and the end.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn finish(mut self) -> Result<W, RecordError> {
        self.flush()?;
        let (header, bytes) = end(self.count)?;
        self.out.write_block(&header, bytes)?;
        Ok(self.out)
    }
}

/// The block at the end of a recording with so many samples.
pub(super) fn end(samples: u64) -> io::Result<(Header, Vec<u8>)> {
    block::encode(Part::End, u32::try_from(samples).unwrap_or(u32::MAX), Moment::default(), &[])
}
