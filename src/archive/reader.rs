//! Reading a recording: any sample of it, in any order. Going on is cheap; going back means decoding from the last
//! whole sample before.

use std::io;
use std::sync::Arc;

use super::block::{self, HEADER, Header, Part};
use super::decoder::Decoder;
use super::names::Names;
use super::writer::Description;
use super::{MAGIC, MAX_DESCRIPTION, MAX_SAMPLE, Malformed, Moment, Room, VERSION, take_entry};
use crate::bytes::{ByteSource, FieldsExt};
use crate::model::{Snapshot, SymbolPool, WarningCode};
use crate::process::ErrorKind;
use crate::process::capture_file::crc;

/// Why a recording, or a sample of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Reading failed.
    #[error("reading the recording failed: {0}")]
    Io(#[from] io::Error),
    /// It has another version.
    #[error("the recording has format version {found}; this gospy reads version {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// There is no whole sample in it.
    #[error("the recording has no sample: {why}")]
    NoSample {
        /// Why not.
        why: String,
    },
    /// What a checksum says is right is malformed.
    #[error("the recording is damaged in the block at byte {offset}: {what}")]
    Damaged {
        /// Where the block starts, bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// Where a moment is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The first sample, ns.
    Beginning(u64),
    /// The last sample, ns before it.
    End(u64),
    /// The Unix epoch, ns.
    Unix(u64),
}

/// A block of samples.
#[derive(Clone, Copy, Debug)]
struct Block {
    offset: u64,
    header: Header,
    /// How many samples end before it.
    before: u64,
}

/// Blocks from a whole sample to the next one.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Index of its first block.
    block: usize,
    /// Number of its first sample.
    first: u64,
    /// Index of the names that it refers to.
    epoch: usize,
}

/// A recording, open.
pub(crate) struct Archive {
    source: Arc<dyn ByteSource>,
    room: Room,
    description: Description,
    blocks: Vec<Block>,
    segments: Vec<Segment>,
    /// Blocks of names, by epoch.
    names: Vec<Vec<(u64, Header)>>,
    samples: u64,
    first: Moment,
    last: Moment,
    cut: Option<String>,
    cursor: Option<Cursor>,
    /// The names of an epoch.
    symbols: Option<(usize, Arc<SymbolPool>)>,
}

impl ArchiveError {
    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io(_) => ErrorKind::Read,
            Self::Version { .. } => ErrorKind::Unsupported,
            Self::NoSample { .. } | Self::Damaged { .. } => ErrorKind::Damaged,
        }
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("samples", &self.samples).field("cut", &self.cut).finish_non_exhaustive()
    }
}

/// Where reading is.
#[derive(Debug)]
struct Cursor {
    decoder: Decoder,
    /// Number of the sample that was decoded last.
    at: u64,
    segment: usize,
    /// Index of the next block.
    block: usize,
    /// What is not decoded yet.
    rest: Vec<u8>,
    /// How much of it is done with.
    done: usize,
}

impl Archive {
    /// Whether a file begins like one.
    pub(crate) fn is_one(head: &[u8]) -> bool {
        head.starts_with(&MAGIC)
    }

    /// Opens a recording, and looks at all of its blocks.
    ///
    /// # Errors
    /// When it is of another version, or has no sample that can be read.
    pub(crate) fn open(source: Arc<dyn ByteSource>) -> Result<Self, ArchiveError> {
        let (description, start) = description(source.as_ref())?;
        let mut archive = Self {
            room: Room::of_file(source.len()),
            source,
            description,
            blocks: Vec::new(),
            segments: Vec::new(),
            names: Vec::new(),
            samples: 0,
            first: Moment::default(),
            last: Moment::default(),
            cut: None,
            cursor: None,
            symbols: None,
        };
        archive.cut = archive.scan(start)?;
        if archive.samples == 0 {
            let why = archive.cut.unwrap_or_else(|| "nothing was recorded".to_owned());
            return Err(ArchiveError::NoSample { why });
        }
        archive.first = archive.decode(0)?;
        Ok(archive)
    }

    /// Makes the index; gives why it ends before the recording does, if so.
    fn scan(&mut self, mut at: u64) -> Result<Option<String>, ArchiveError> {
        let mut data = Vec::new();
        loop {
            let cut = |what: &str| Ok(Some(format!("it is {what} at byte {at}")));
            let mut head = [0; HEADER];
            if self.source.read_at(at, &mut head)? != HEADER {
                return cut("cut off");
            }
            let Some(header) = block::header(&head) else { return cut("damaged") };
            data.resize(usize::try_from(header.length).unwrap_or_default(), 0);
            if self.source.read_at(at.saturating_add(HEADER as u64), &mut data)? != data.len() {
                return cut("cut off");
            }
            if !block::is_intact(&head, &data) {
                return cut("damaged");
            }
            match header.part {
                Part::End => return Ok(None),
                Part::Names => self.names.push(vec![(at, header)]),
                Part::MoreNames => match self.names.last_mut() {
                    Some(names) => names.push((at, header)),
                    None => return cut("damaged"),
                },
                Part::Whole | Part::Changes => {
                    let Some(epoch) = self.names.len().checked_sub(1) else { return cut("damaged") };
                    if header.part == Part::Whole {
                        self.segments.push(Segment { block: self.blocks.len(), first: self.samples, epoch });
                    } else if self.segments.last().is_none_or(|segment| segment.epoch != epoch) {
                        return cut("damaged");
                    }
                    self.blocks.push(Block { offset: at, header, before: self.samples });
                    self.samples = self.samples.saturating_add(header.samples.into());
                    if header.samples > 0 {
                        self.last = header.last;
                    }
                }
            }
            at = at.saturating_add((HEADER + data.len()) as u64);
        }
    }

    /// What the file says of itself.
    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    /// How many samples there are; at least one.
    pub(crate) fn samples(&self) -> u64 {
        self.samples
    }

    /// When the first sample was taken.
    pub(crate) fn first(&self) -> Moment {
        self.first
    }

    /// When the last one was.
    pub(crate) fn last(&self) -> Moment {
        self.last
    }

    /// Why the file ends before the recording does; `None` if it does not.
    pub(crate) fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// The number of the last sample that was taken until then, or of the first one.
    ///
    /// # Errors
    /// When samples on the way there cannot be read.
    pub(crate) fn find(&mut self, start: Start) -> Result<u64, ArchiveError> {
        let (first, last) = (self.first.monotonic_ns, self.last.monotonic_ns);
        let is_later = |moment: Moment| match start {
            Start::Beginning(ns) => moment.monotonic_ns > first.saturating_add(ns),
            Start::End(ns) => moment.monotonic_ns > last.saturating_sub(ns),
            Start::Unix(ns) => moment.unix_ns > ns,
        };
        let block = self.blocks.iter().find(|block| block.header.samples > 0 && is_later(block.header.last));
        let Some(block) = block else { return Ok(self.samples.saturating_sub(1)) };
        let end = block.before.saturating_add(block.header.samples.into());
        for number in block.before..end {
            if is_later(self.decode(number)?) {
                return Ok(number.saturating_sub(1));
            }
        }
        Ok(end.saturating_sub(1))
    }

    /// The sample of this number, from 0.
    ///
    /// # Errors
    /// When there is none, or it is malformed.
    pub(crate) fn read(&mut self, number: u64) -> Result<Snapshot, ArchiveError> {
        self.decode(number)?;
        let no_sample = || ArchiveError::NoSample { why: format!("there is no sample {number}") };
        let cursor = self.cursor.as_ref().ok_or_else(no_sample)?;
        let epoch = self.segments.get(cursor.segment).ok_or_else(no_sample)?.epoch;
        let symbols = match &self.symbols {
            Some((known, symbols)) if *known == epoch => Arc::clone(symbols),
            _ => {
                let symbols = Arc::new(self.names_of(epoch)?);
                self.symbols = Some((epoch, Arc::clone(&symbols)));
                symbols
            }
        };
        let mut snapshot = cursor.decoder.snapshot(symbols);
        if let Some(cut) = self.cut.as_ref().filter(|_| number.saturating_add(1) == self.samples) {
            snapshot.warnings.add(WarningCode::Truncated, format!("the recording ends with this sample: {cut}"));
        }
        Ok(snapshot)
    }

    /// Numbers of at most `most` samples that lead to this one, which is the last of them: one in each of the whole
    /// samples long before, and closer ones since the last whole sample but one.
    pub(crate) fn leading_to(&self, number: u64, most: u64) -> Vec<u64> {
        let segments = self.segments.partition_point(|segment| segment.first <= number);
        let far: Vec<u64> =
            self.segments.iter().take(segments.saturating_sub(2)).map(|segment| segment.first).collect();
        let near = self.segments.get(segments.saturating_sub(2)).map_or(0, |segment| segment.first);
        let half = (most / 2).max(1);
        let far = evenly(far.len() as u64, half).filter_map(|at| far.get(usize::try_from(at).ok()?).copied());
        let near = evenly(number.saturating_sub(near).saturating_add(1), half).map(|at| near.saturating_add(at));
        far.chain(near).collect()
    }

    fn names_of(&self, epoch: usize) -> Result<SymbolPool, ArchiveError> {
        let mut names = Names::default();
        for (offset, header) in self.names.get(epoch).into_iter().flatten() {
            let mut bytes = Vec::new();
            let damaged = |Malformed(what)| ArchiveError::Damaged { offset: *offset, what };
            self.load(*offset, header, &mut bytes)?;
            names.add(&bytes, self.room.names).map_err(damaged)?;
        }
        Ok(names.pool().view())
    }

    /// Decodes as far as to this sample, and gives when it was taken.
    fn decode(&mut self, number: u64) -> Result<Moment, ArchiveError> {
        let none = || ArchiveError::NoSample { why: format!("there is no sample {number}") };
        if number >= self.samples {
            return Err(none());
        }
        let segment = self.segments.partition_point(|segment| segment.first <= number).checked_sub(1);
        let segment = segment.ok_or_else(none)?;
        let here = self.cursor.take().filter(|cursor| cursor.segment == segment && cursor.at <= number);
        let mut cursor = match here {
            Some(cursor) => cursor,
            None => {
                let first = self.segments.get(segment).ok_or_else(none)?;
                let (rest, decoder) = (Vec::new(), Decoder::default());
                let mut cursor = Cursor { decoder, at: first.first, segment, block: first.block, rest, done: 0 };
                self.next(&mut cursor)?;
                cursor
            }
        };
        while cursor.at < number {
            self.next(&mut cursor)?;
            cursor.at = cursor.at.saturating_add(1);
        }
        let moment = cursor.decoder.moment();
        self.cursor = Some(cursor);
        Ok(moment)
    }

    /// Decodes the next sample of a segment.
    fn next(&self, cursor: &mut Cursor) -> Result<(), ArchiveError> {
        loop {
            let block = cursor.block.checked_sub(1).and_then(|before| self.blocks.get(before));
            let offset = block.map_or(0, |block| block.offset);
            let damaged = |Malformed(what)| ArchiveError::Damaged { offset, what };
            let mut stream = cursor.rest.get(cursor.done..).unwrap_or_default();
            let all = stream.len();
            if let Some(sample) = take_entry(&mut stream, MAX_SAMPLE.min(self.room.sample)).map_err(damaged)? {
                cursor.done = cursor.done.saturating_add(all - stream.len());
                let room = self.room.sample.saturating_sub(sample.len());
                return cursor.decoder.apply(sample, room).map_err(damaged);
            }
            cursor.rest.drain(..cursor.done);
            cursor.done = 0;
            let ends_at = self.segments.get(cursor.segment + 1).map_or(self.blocks.len(), |segment| segment.block);
            let next = self.blocks.get(cursor.block).filter(|_| cursor.block < ends_at);
            let next = next.ok_or(damaged(Malformed("there are fewer samples than it says")))?;
            self.load(next.offset, &next.header, &mut cursor.rest)?;
            cursor.block += 1;
        }
    }

    /// Adds the data of a block to `out`.
    fn load(&self, offset: u64, header: &Header, out: &mut Vec<u8>) -> Result<(), ArchiveError> {
        let mut data = vec![0; usize::try_from(header.length).unwrap_or_default()];
        if self.source.read_at(offset.saturating_add(HEADER as u64), &mut data)? != data.len() {
            return Err(ArchiveError::Damaged { offset, what: "it is not there any more" });
        }
        block::decode(header, &data, out).map_err(|Malformed(what)| ArchiveError::Damaged { offset, what })
    }
}

/// At most `most` numbers below `all`, as far from each other as possible; the highest one is always there.
fn evenly(all: u64, most: u64) -> impl Iterator<Item = u64> {
    let (some, last) = (all.min(most), all.saturating_sub(1));
    let at =
        move |n: u64| u64::try_from(u128::from(last) * u128::from(n) / u128::from((some - 1).max(1))).unwrap_or(last);
    (0..some).map(move |n| if n + 1 == some { last } else { at(n) })
}

/// What the file says of itself, and where its blocks start.
fn description(source: &dyn ByteSource) -> Result<(Description, u64), ArchiveError> {
    let none = |why: &str| ArchiveError::NoSample { why: why.to_owned() };
    let mut head = [0; 16];
    let read = source.read_at(0, &mut head)?;
    if !head.starts_with(&MAGIC) {
        return Err(none("it does not begin like a recording"));
    }
    let version = head.u32_at(8).filter(|_| read == head.len()).ok_or_else(|| none("it is cut off in its head"))?;
    if version != VERSION {
        return Err(ArchiveError::Version { found: version });
    }
    let len = head.u32_at(12).and_then(|len| usize::try_from(len).ok()).filter(|&len| len <= MAX_DESCRIPTION);
    let mut rest = vec![0; len.ok_or_else(|| none("its head is damaged"))?.saturating_add(4)];
    if source.read_at(16, &mut rest)? != rest.len() {
        return Err(none("it is cut off in its head"));
    }
    let (json, sum) = rest.split_at_checked(rest.len() - 4).unwrap_or_default();
    if sum.u32_at(0) != Some(crc(&[&head, json])) {
        return Err(none("its head is damaged"));
    }
    let description = serde_json::from_slice(json).map_err(|_| none("its head is damaged"))?;
    Ok((description, (head.len() + rest.len()) as u64))
}
