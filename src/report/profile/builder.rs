//! Puts a profile together: strings, functions and locations once each, as they are met, and samples.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustc_hash::FxHashMap;

use super::protobuf::Message;
use crate::addr::Addr;
use crate::model::{FrameId, Language, StackId, StrId, SymbolPool, TargetInfo};

/// Field numbers of profile.proto.
mod field {
    pub(super) const SAMPLE_TYPE: u32 = 1;
    pub(super) const SAMPLE: u32 = 2;
    pub(super) const MAPPING: u32 = 3;
    pub(super) const LOCATION: u32 = 4;
    pub(super) const FUNCTION: u32 = 5;
    pub(super) const STRING_TABLE: u32 = 6;
    pub(super) const TIME_NANOS: u32 = 9;
    pub(super) const DURATION_NANOS: u32 = 10;
    pub(super) const PERIOD_TYPE: u32 = 11;
    pub(super) const PERIOD: u32 = 12;
    pub(super) const COMMENT: u32 = 13;
    pub(super) const DEFAULT_SAMPLE_TYPE: u32 = 14;
}

/// The only mapping: the executable.
const MAPPING_ID: u64 = 1;

/// What the samples are: names and units.
#[derive(Clone, Debug, Default)]
pub(super) struct Header<'a> {
    /// Of each value of a sample.
    pub(super) sample_types: &'a [(&'a str, &'a str)],
    /// The one that is shown unless another one is asked for.
    pub(super) default_sample_type: Option<&'a str>,
    /// What is between two samples, and how much of it.
    pub(super) period: (&'a str, &'a str, u64),
    /// When it was taken, ns since the Unix epoch.
    pub(super) time_ns: u64,
    /// For how long, ns.
    pub(super) duration_ns: u64,
    pub(super) comment: &'a str,
}

/// Strings of the profile and their indices.
#[derive(Default)]
struct Strings {
    ids: FxHashMap<String, u64>,
    texts: Vec<String>,
}

impl Strings {
    fn id(&mut self, text: &str) -> u64 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = u64::try_from(self.texts.len()).unwrap_or(u64::MAX);
        self.ids.insert(text.to_owned(), id);
        self.texts.push(text.to_owned());
        id
    }
}

/// A sample that is being put together.
#[derive(Debug, Default)]
pub(super) struct Sample(Message);

/// A profile that is being written.
pub(super) struct Builder<'a, W: Write> {
    symbols: &'a SymbolPool,
    target: &'a TargetInfo,
    out: GzEncoder<W>,
    strings: Strings,
    functions: FxHashMap<(StrId, StrId), u64>,
    /// A location is a physical frame with what was inlined into it, innermost first.
    locations: FxHashMap<Vec<FrameId>, u64>,
    /// Ids given so far.
    last_function: u64,
    last_location: u64,
    lowest_pc: u64,
    highest_pc: u64,
    record: Message,
    samples: u64,
}

impl<'a, W: Write> Builder<'a, W> {
    /// A profile of `target`, whose frames are in `symbols`.
    pub(super) fn new(
        out: W,
        symbols: &'a SymbolPool,
        target: &'a TargetInfo,
        header: &Header<'_>,
    ) -> io::Result<Self> {
        let mut builder = Self {
            symbols,
            target,
            out: GzEncoder::new(out, Compression::fast()),
            strings: Strings::default(),
            functions: FxHashMap::default(),
            locations: FxHashMap::default(),
            last_function: 0,
            last_location: 0,
            lowest_pc: u64::MAX,
            highest_pc: 0,
            record: Message::default(),
            samples: 0,
        };
        // Index 0 is the empty string, by definition.
        builder.strings.id("");
        builder.header(header)?;
        Ok(builder)
    }

    fn header(&mut self, header: &Header<'_>) -> io::Result<()> {
        self.record.clear();
        for (name, unit) in header.sample_types {
            let value_type = self.value_type(name, unit);
            self.record.data(field::SAMPLE_TYPE, value_type.bytes());
        }
        let (name, unit, period) = header.period;
        let value_type = self.value_type(name, unit);
        self.record.data(field::PERIOD_TYPE, value_type.bytes());
        self.record.uint(field::PERIOD, period);
        self.record.uint(field::TIME_NANOS, header.time_ns);
        self.record.uint(field::DURATION_NANOS, header.duration_ns);
        let comment = self.strings.id(header.comment);
        self.record.packed(field::COMMENT, &[comment]);
        if let Some(name) = header.default_sample_type {
            let id = self.strings.id(name);
            self.record.uint(field::DEFAULT_SAMPLE_TYPE, id);
        }
        self.out.write_all(self.record.bytes())
    }

    fn value_type(&mut self, name: &str, unit: &str) -> Message {
        let mut value_type = Message::default();
        value_type.uint(1, self.strings.id(name));
        value_type.uint(2, self.strings.id(unit));
        value_type
    }

    /// Frames that come after this are in `symbols`. What both pools have is written once more.
    pub(super) fn change_pool(&mut self, symbols: &'a SymbolPool) {
        if symbols.id() != self.symbols.id() {
            self.symbols = symbols;
            self.functions.clear();
            self.locations.clear();
        }
    }

    /// The locations of a stack, leaf first.
    pub(super) fn locations(&mut self, frames: impl IntoIterator<Item = FrameId>) -> io::Result<Vec<u64>> {
        let mut locations = Vec::new();
        let mut lines: Vec<FrameId> = Vec::new();
        let mut last = None;
        for id in frames {
            let Some(frame) = self.symbols.frame(id) else { continue };
            // What follows an inlined call is what it was inlined into, unless that was left out.
            let (entry, inlined) = (frame.entry, frame.inlined);
            if last.is_some_and(|last| last != entry) && !lines.is_empty() {
                locations.push(self.location(std::mem::take(&mut lines))?);
            }
            last = Some(entry);
            lines.push(id);
            if !inlined {
                locations.push(self.location(std::mem::take(&mut lines))?);
            }
        }
        if !lines.is_empty() {
            locations.push(self.location(lines)?);
        }
        Ok(locations)
    }

    fn location(&mut self, lines: Vec<FrameId>) -> io::Result<u64> {
        if let Some(&id) = self.locations.get(&lines) {
            return Ok(id);
        }
        self.last_location += 1;
        let id = self.last_location;
        let mut location = Message::default();
        location.uint(1, id);
        if let Some(frame) = lines.first().and_then(|&frame| self.symbols.frame(frame)) {
            // The call rather than where it returns to, as the runtime's own profiles have it.
            let is_call = frame.language == Language::Go && frame.pc > frame.entry;
            let addr = if is_call { Addr(frame.pc.0 - 1) } else { frame.pc };
            let text = self.target.text.as_ref();
            if text.is_none_or(|text| (text.start..text.end).contains(&addr)) {
                self.lowest_pc = self.lowest_pc.min(addr.0);
                self.highest_pc = self.highest_pc.max(addr.0);
                location.uint(2, MAPPING_ID);
            }
            location.uint(3, addr.0);
        }
        for frame in lines.iter().filter_map(|&frame| self.symbols.frame(frame)) {
            let function = self.function(frame.function, frame.file, frame.start_line)?;
            let mut line = Message::default();
            line.uint(1, function);
            line.uint(2, u64::from(frame.line));
            location.data(4, line.bytes());
        }
        self.emit(field::LOCATION, &location)?;
        self.locations.insert(lines, id);
        Ok(id)
    }

    /// Names are those of the symbol table, with all type arguments where that has them (1.21 on).
    fn function(&mut self, name: StrId, file: StrId, start_line: u32) -> io::Result<u64> {
        if let Some(&id) = self.functions.get(&(name, file)) {
            return Ok(id);
        }
        self.last_function += 1;
        let id = self.last_function;
        let text = self.strings.id(self.symbols.str(name));
        let mut function = Message::default();
        function.uint(1, id);
        function.uint(2, text);
        function.uint(3, text);
        function.uint(4, self.strings.id(self.symbols.str(file)));
        function.uint(5, u64::from(start_line));
        self.emit(field::FUNCTION, &function)?;
        self.functions.insert((name, file), id);
        Ok(id)
    }

    /// A sample of these values at these locations, leaf first.
    pub(super) fn sample(locations: &[u64], values: &[u64]) -> Sample {
        let mut sample = Message::default();
        sample.packed(1, locations);
        sample.packed(2, values);
        Sample(sample)
    }

    pub(super) fn text_label(&mut self, sample: &mut Sample, key: &str, value: &str) {
        let mut label = Message::default();
        label.uint(1, self.strings.id(key));
        label.uint(2, self.strings.id(value));
        sample.0.data(3, label.bytes());
    }

    /// A number; `unit` may be empty.
    pub(super) fn number_label(&mut self, sample: &mut Sample, key: &str, value: u64, unit: &str) {
        let mut label = Message::default();
        label.uint(1, self.strings.id(key));
        label.uint(3, value);
        label.uint(4, self.strings.id(unit));
        sample.0.data(3, label.bytes());
    }

    pub(super) fn add(&mut self, sample: &Sample) -> io::Result<()> {
        self.samples += 1;
        self.emit(field::SAMPLE, &sample.0)
    }

    /// Writes what only the end knows, and gives how many samples there are.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.mapping()?;
        for text in std::mem::take(&mut self.strings.texts) {
            self.record.clear();
            self.record.data(field::STRING_TABLE, text.as_bytes());
            self.out.write_all(self.record.bytes())?;
        }
        self.out.finish()?;
        Ok(self.samples)
    }

    /// With `has_*` set, pprof does not go looking for the binary to add names.
    fn mapping(&mut self) -> io::Result<()> {
        let mut mapping = Message::default();
        mapping.uint(1, MAPPING_ID);
        match &self.target.text {
            Some(text) => {
                mapping.uint(2, text.start.0);
                mapping.uint(3, text.end.0);
                mapping.uint(4, text.offset);
                mapping.uint(5, self.strings.id(&text.file));
                mapping.uint(6, self.strings.id(text.gnu_build_id.as_deref().unwrap_or("")));
            }
            None => {
                if self.lowest_pc <= self.highest_pc {
                    mapping.uint(2, self.lowest_pc);
                    mapping.uint(3, self.highest_pc.saturating_add(1));
                }
                mapping.uint(5, self.strings.id(&self.target.exe));
            }
        }
        for has in 7..=10 {
            mapping.flag(has, true);
        }
        self.emit(field::MAPPING, &mapping)
    }

    fn emit(&mut self, field: u32, message: &Message) -> io::Result<()> {
        self.record.clear();
        self.record.data(field, message.bytes());
        self.out.write_all(self.record.bytes())
    }
}

/// The frames of a stack that are in the runtime's own profiles: its own are, wrappers and goexit are not.
pub(crate) fn shown_frames(symbols: &SymbolPool, id: StackId) -> impl Iterator<Item = FrameId> {
    let frames = symbols.stack(id).map_or(&[][..], |stack| &stack.frames);
    let shown = frames.iter().filter(|stack_frame| {
        let function = symbols.frame(stack_frame.frame).map_or("", |frame| symbols.str(frame.function));
        let wrapper = stack_frame.hidden && function.contains('.') && !function.starts_with("runtime.");
        !wrapper && function != "runtime.goexit"
    });
    shown.map(|stack_frame| stack_frame.frame)
}
