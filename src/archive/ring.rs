//! The latest samples, held in memory until something gives cause to write them.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::Moment;
use super::block::{Header, Part};
use super::writer::{Description, WriteBlocks, end};

/// Blocks that are only of use together.
#[derive(Debug, Default)]
struct Blocks {
    bytes: Vec<Vec<u8>>,
    size: usize,
}

impl Blocks {
    fn push(&mut self, bytes: Vec<u8>) {
        self.size = self.size.saturating_add(bytes.len());
        self.bytes.push(bytes);
    }
}

/// A whole sample and those after it.
#[derive(Debug, Default)]
struct Segment {
    blocks: Blocks,
    samples: u64,
    /// When its first block was complete, ns by `nanotime`.
    first_ns: u64,
    last: Moment,
}

/// Names, and the samples that refer to them.
#[derive(Debug, Default)]
struct Epoch {
    names: Blocks,
    segments: VecDeque<Segment>,
}

/// The blocks of the last so many minutes.
#[derive(Debug)]
pub(crate) struct Ring {
    keep_ns: u64,
    most_bytes: usize,
    epochs: VecDeque<Epoch>,
    size: usize,
    /// Whether samples that are not old were dropped, because there was no room.
    is_short: bool,
}

impl Ring {
    /// One for `keep_ns`, or fewer where these take more than `most_bytes`.
    pub(crate) fn new(keep_ns: u64, most_bytes: usize) -> Self {
        Self { keep_ns, most_bytes, epochs: VecDeque::new(), size: 0, is_short: false }
    }

    /// After how long a recorder for it writes a whole sample, ns: what is dropped is dropped from one to the next.
    pub(crate) fn whole_every_ns(keep_ns: u64) -> u64 {
        (keep_ns / 10).clamp(1_000_000_000, 60_000_000_000)
    }

    /// How many samples it holds.
    pub(crate) fn samples(&self) -> u64 {
        self.segments().map(|segment| segment.samples).sum()
    }

    /// Memory that it takes, about, bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether it holds less than it should, for lack of room.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// The time from the oldest sample that it holds to the latest one, as far as is known, ns.
    pub(crate) fn span_ns(&self) -> u64 {
        let times = || self.segments().map(|segment| (segment.first_ns, segment.last.monotonic_ns));
        times().next().zip(times().last()).map_or(0, |((first, _), (_, last))| last.saturating_sub(first))
    }

    fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.epochs.iter().flat_map(|epoch| &epoch.segments)
    }

    /// Writes all that it holds as a file.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write(&self, out: &mut dyn Write, description: &Description) -> io::Result<()> {
        out.write_all(&description.head()?)?;
        for epoch in &self.epochs {
            let samples = epoch.segments.iter().flat_map(|segment| &segment.blocks.bytes);
            for block in epoch.names.bytes.iter().chain(samples) {
                out.write_all(block)?;
            }
        }
        out.write_all(&end(self.samples())?.1)
    }

    /// Drops what is too old, or too much.
    fn drop_old(&mut self, now_ns: u64) {
        loop {
            let is_last = self.segments().nth(1).is_none();
            let Some(oldest) = self.segments().next().filter(|_| !is_last) else { break };
            let is_old = oldest.last.monotonic_ns < now_ns.saturating_sub(self.keep_ns);
            let is_much = self.size > self.most_bytes;
            if !is_old && !is_much {
                break;
            }
            self.is_short |= !is_old;
            // An epoch without samples is the latest one, or is dropped below.
            let Some(epoch) = self.epochs.iter_mut().find(|epoch| !epoch.segments.is_empty()) else { break };
            let dropped = epoch.segments.pop_front();
            self.size = self.size.saturating_sub(dropped.map_or(0, |segment| segment.blocks.size));
            while self.epochs.len() > 1 && self.epochs.front().is_some_and(|epoch| epoch.segments.is_empty()) {
                let dropped = self.epochs.pop_front();
                self.size = self.size.saturating_sub(dropped.map_or(0, |epoch| epoch.names.size));
            }
        }
    }
}

impl WriteBlocks for Ring {
    fn write_block(&mut self, header: &Header, bytes: Vec<u8>) -> io::Result<()> {
        self.size = self.size.saturating_add(bytes.len());
        if header.part == Part::Names || self.epochs.is_empty() {
            self.epochs.push_back(Epoch::default());
        }
        let Some(epoch) = self.epochs.back_mut() else { return Ok(()) };
        match header.part {
            Part::Names | Part::MoreNames | Part::End => epoch.names.push(bytes),
            Part::Whole | Part::Changes => {
                if header.part == Part::Whole || epoch.segments.is_empty() {
                    epoch.segments.push_back(Segment::default());
                }
                if let Some(segment) = epoch.segments.back_mut() {
                    segment.blocks.push(bytes);
                    segment.samples = segment.samples.saturating_add(header.samples.into());
                    if header.samples > 0 {
                        if segment.first_ns == 0 {
                            segment.first_ns = header.last.monotonic_ns;
                        }
                        segment.last = header.last;
                    }
                }
            }
        }
        if header.samples > 0 {
            self.drop_old(header.last.monotonic_ns);
        }
        Ok(())
    }
}
