//! A pprof profile (`profile.proto`, gzipped), as the program would write it of itself
//! (`runtime/pprof.Lookup("goroutine").WriteTo`, proto.go and pprof.go, 1.19 to 1.27): the same sample
//! type, names, files, start lines, addresses and mapping, and goroutines with equal stacks and labels
//! in one sample. So the two can be compared with `go tool pprof -diff_base`.
//!
//! On request there is a sample for each goroutine instead, with what distinguishes it from the others.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustc_hash::FxHashMap;

use super::protobuf::Message;
use crate::addr::Addr;
use crate::analysis::Index;
use crate::go_names::{minor_of, printed};
use crate::model::{FrameId, Goroutine, LabelsId, Language, StackId, StrId};

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
}

/// The only mapping: the executable.
const MAPPING_ID: u64 = 1;

/// What a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// All goroutines with the same stack and labels.
    Summed,
    /// One goroutine, with its id, state, wait and creator as labels beside its own.
    Each,
}

/// Writes the profile of the goroutines at `positions`, and gives how many samples it has.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, index: &Index<'_>, positions: &[usize], samples: Samples) -> io::Result<u64> {
    let snapshot = index.snapshot();
    let mut profile = Profile {
        index,
        minor: minor_of(&snapshot.target.go_version).unwrap_or(u32::MAX),
        out: GzEncoder::new(out, Compression::fast()),
        strings: Strings::default(),
        functions: FxHashMap::default(),
        locations: FxHashMap::default(),
        stacks: FxHashMap::default(),
        lowest_pc: u64::MAX,
        highest_pc: 0,
        record: Message::default(),
    };
    // Index 0 is the empty string, by definition.
    profile.strings.id("");
    profile.header()?;
    let goroutines = positions.iter().filter_map(|&at| snapshot.goroutines.get(at));
    let written = match samples {
        Samples::Summed => profile.summed(goroutines)?,
        Samples::Each => profile.each(goroutines)?,
    };
    profile.mapping()?;
    profile.string_table()?;
    profile.out.finish()?;
    Ok(written)
}

/// Strings of the profile and their indices. The pool's own strings get theirs by id.
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

struct Profile<'a, W: Write> {
    index: &'a Index<'a>,
    minor: u32,
    out: GzEncoder<W>,
    strings: Strings,
    functions: FxHashMap<(StrId, StrId), u64>,
    /// A location is a physical frame with what was inlined into it, innermost first.
    locations: FxHashMap<Vec<FrameId>, u64>,
    stacks: FxHashMap<StackId, Vec<u64>>,
    lowest_pc: u64,
    highest_pc: u64,
    record: Message,
}

impl<'a, W: Write> Profile<'a, W> {
    fn header(&mut self) -> io::Result<()> {
        let snapshot = self.index.snapshot();
        let goroutines = self.strings.id("goroutine");
        let mut value_type = Message::default();
        value_type.uint(1, goroutines);
        value_type.uint(2, self.strings.id("count"));
        self.record.clear();
        self.record.data(field::SAMPLE_TYPE, value_type.bytes());
        self.record.data(field::PERIOD_TYPE, value_type.bytes());
        self.record.uint(field::PERIOD, 1);
        self.record.uint(field::TIME_NANOS, snapshot.captured_at_unix_ns);
        self.record.uint(field::DURATION_NANOS, snapshot.reading.duration_ns);
        let comment = format!("goroutines of pid {} read by gospy", snapshot.target.pid);
        let comment = self.strings.id(&comment);
        self.record.packed(field::COMMENT, &[comment]);
        self.out.write_all(self.record.bytes())
    }

    /// The samples with the most goroutines come first, as the runtime has it.
    fn summed(&mut self, goroutines: impl Iterator<Item = &'a Goroutine>) -> io::Result<u64> {
        let symbols = &self.index.snapshot().symbols;
        let mut places: FxHashMap<(Vec<u64>, Option<LabelsId>), usize> = FxHashMap::default();
        let mut counts: Vec<u64> = Vec::new();
        for goroutine in goroutines {
            let labels = goroutine.labels.filter(|&id| !symbols.labels(id).is_empty());
            let key = (self.stack(goroutine)?, labels);
            let at = *places.entry(key).or_insert(counts.len());
            match counts.get_mut(at) {
                Some(count) => *count += 1,
                None => counts.push(1),
            }
        }
        let count = |at: usize| counts.get(at).copied().unwrap_or(0);
        let mut samples: Vec<_> = places.into_iter().collect();
        samples.sort_unstable_by_key(|&(_, at): &(_, usize)| (std::cmp::Reverse(count(at)), at));
        for ((locations, labels), at) in &samples {
            let mut sample = Message::default();
            sample.packed(1, locations);
            sample.packed(2, &[count(*at)]);
            self.own_labels(&mut sample, *labels);
            self.emit(field::SAMPLE, &sample)?;
        }
        Ok(u64::try_from(samples.len()).unwrap_or(u64::MAX))
    }

    fn each(&mut self, goroutines: impl Iterator<Item = &'a Goroutine>) -> io::Result<u64> {
        let mut written = 0;
        for goroutine in goroutines {
            self.sample(goroutine)?;
            written += 1;
        }
        Ok(written)
    }

    fn sample(&mut self, goroutine: &Goroutine) -> io::Result<()> {
        let locations = self.stack(goroutine)?;
        let mut sample = Message::default();
        sample.packed(1, &locations);
        sample.packed(2, &[1]);
        self.number_label(&mut sample, "id", goroutine.id.0, "id");
        self.text_label(&mut sample, "state", goroutine.status.name());
        if let Some(reason) = self.index.reason(goroutine) {
            self.text_label(&mut sample, "wait_reason", reason);
        }
        if let Some(ns) = self.index.wait_ns(goroutine) {
            self.number_label(&mut sample, "wait_ns", ns, "nanoseconds");
        }
        let creator = self.index.function(goroutine.creator);
        if !creator.is_empty() {
            let printed = printed(creator, self.minor);
            self.text_label(&mut sample, "creator", &printed);
        }
        self.own_labels(&mut sample, goroutine.labels);
        self.emit(field::SAMPLE, &sample)
    }

    /// The program's own labels.
    fn own_labels(&mut self, sample: &mut Message, labels: Option<LabelsId>) {
        let symbols = &self.index.snapshot().symbols;
        for label in labels.map_or(&[][..], |id| symbols.labels(id)) {
            self.text_label(sample, symbols.str(label.key), symbols.str(label.value));
        }
    }

    /// Locations of its stack, leaf first. Without a stack, the function that it started in.
    fn stack(&mut self, goroutine: &Goroutine) -> io::Result<Vec<u64>> {
        use crate::model::StackState;
        let id = match goroutine.stack {
            StackState::Known(id) => id,
            StackState::NotShown(_) => {
                return goroutine.start.map_or(Ok(Vec::new()), |start| Ok(vec![self.location(vec![start])?]));
            }
        };
        if let Some(locations) = self.stacks.get(&id) {
            return Ok(locations.clone());
        }
        let symbols = &self.index.snapshot().symbols;
        let mut locations = Vec::new();
        let mut lines = Vec::new();
        for stack_frame in symbols.stack(id).map_or(&[][..], |stack| &stack.frames) {
            let Some(frame) = symbols.frame(stack_frame.frame) else { continue };
            let function = symbols.str(frame.function);
            // As in the runtime's own profiles: its frames are in, wrappers and goexit are not.
            let wrapper = stack_frame.hidden && function.contains('.') && !function.starts_with("runtime.");
            if !wrapper && function != "runtime.goexit" {
                lines.push(stack_frame.frame);
            }
            if !frame.inlined && !lines.is_empty() {
                locations.push(self.location(std::mem::take(&mut lines))?);
            }
        }
        if !lines.is_empty() {
            locations.push(self.location(lines)?);
        }
        self.stacks.insert(id, locations.clone());
        Ok(locations)
    }

    fn location(&mut self, lines: Vec<FrameId>) -> io::Result<u64> {
        if let Some(&id) = self.locations.get(&lines) {
            return Ok(id);
        }
        let symbols = &self.index.snapshot().symbols;
        let id = next_id(self.locations.len());
        let mut location = Message::default();
        location.uint(1, id);
        if let Some(frame) = lines.last().and_then(|&frame| symbols.frame(frame)) {
            // The call rather than where it returns to, as the runtime's own profiles have it.
            let is_call = frame.language == Language::Go && frame.pc > frame.entry;
            let addr = if is_call { Addr(frame.pc.0 - 1) } else { frame.pc };
            let text = self.index.snapshot().target.text.as_ref();
            if text.is_none_or(|text| (text.start..text.end).contains(&addr)) {
                self.lowest_pc = self.lowest_pc.min(addr.0);
                self.highest_pc = self.highest_pc.max(addr.0);
                location.uint(2, MAPPING_ID);
            }
            location.uint(3, addr.0);
        }
        for frame in lines.iter().filter_map(|&frame| symbols.frame(frame)) {
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
        let symbols = &self.index.snapshot().symbols;
        let id = next_id(self.functions.len());
        let text = self.strings.id(symbols.str(name));
        let mut function = Message::default();
        function.uint(1, id);
        function.uint(2, text);
        function.uint(3, text);
        function.uint(4, self.strings.id(symbols.str(file)));
        function.uint(5, u64::from(start_line));
        self.emit(field::FUNCTION, &function)?;
        self.functions.insert((name, file), id);
        Ok(id)
    }

    /// With `has_*` set, pprof does not go looking for the binary to add names.
    fn mapping(&mut self) -> io::Result<()> {
        let target = &self.index.snapshot().target;
        let mut mapping = Message::default();
        mapping.uint(1, MAPPING_ID);
        match &target.text {
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
                mapping.uint(5, self.strings.id(&target.exe));
            }
        }
        for has in 7..=10 {
            mapping.flag(has, true);
        }
        self.emit(field::MAPPING, &mapping)
    }

    fn string_table(&mut self) -> io::Result<()> {
        for text in std::mem::take(&mut self.strings.texts) {
            self.record.clear();
            self.record.data(field::STRING_TABLE, text.as_bytes());
            self.out.write_all(self.record.bytes())?;
        }
        Ok(())
    }

    fn text_label(&mut self, sample: &mut Message, key: &str, value: &str) {
        let mut label = Message::default();
        label.uint(1, self.strings.id(key));
        label.uint(2, self.strings.id(value));
        sample.data(3, label.bytes());
    }

    fn number_label(&mut self, sample: &mut Message, key: &str, value: u64, unit: &str) {
        let mut label = Message::default();
        label.uint(1, self.strings.id(key));
        label.uint(3, value);
        label.uint(4, self.strings.id(unit));
        sample.data(3, label.bytes());
    }

    fn emit(&mut self, field: u32, message: &Message) -> io::Result<()> {
        self.record.clear();
        self.record.data(field, message.bytes());
        self.out.write_all(self.record.bytes())
    }
}

/// Ids start at 1.
fn next_id(known: usize) -> u64 {
    u64::try_from(known).unwrap_or(u64::MAX - 1) + 1
}
