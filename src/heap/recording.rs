//! What a capture holds of the heap, so that the heap of the capture gives the same answers as the process did:
//! `gospy heap`, with `--objects` too, `contention` and `leaks`.
//!
//! Spans with pointers are kept whole, in the stop of the capture where there is one. Everything else that a mark
//! reads (variables, stacks, masks of pointers, what is attached to objects) gets into the recording by making one, and
//! the types of objects are read when the program runs again. Spans without pointers are not kept: no mark reads them.
//! What registers held, and where the variables are that the profiles and the queues of finalizers are in, is stored
//! beside it.
//!
//! It refuses to take a heap of more than it is allowed.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::layout::HeapLayout;
use super::leaks::{Heap, PassOptions};
use super::marker::Progress;
use super::objects::{VariableTypes, read_channels, type_data};
use super::profile::{FoundProfiles, Profiles};
use super::proof::{Leaks, Proof, unproven};
use super::queues::Queues;
use super::roots::{Variables, modules};
use super::threads::Running;
use super::{HeapError, size_classes, survivors};
use crate::addr::{Addr, LinkAddr};
use crate::capture::{Alongside, CaptureError};
use crate::image::symtab;
use crate::model::{ContentionKind, FreezeInfo, Survivors, Warnings};
use crate::process::remember::{Finding, recall, remember};
use crate::process::{Backend, Frozen, GeneralRegisters, MemRange, Precedence, ReadError, Recorder, Target};
use crate::runtime::GoProcess;
use crate::runtime::mirror::m::M;
use crate::runtime::readers::processors::Ticks;
use crate::runtime::readers::threads::read_ms;
use crate::runtime::symbols::Global;

/// The key under which it is stored.
const KEY: &str = "heap";

/// Why what is found in the heap of a capture is certain, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stood {
    /// The program was stopped for so long, ns.
    Frozen(u64),
    /// It was read from a core file.
    CoreFile,
    /// No Go code ran.
    Quiet,
    /// It ran.
    No,
}

/// What is known of the heap in a capture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    stood: Stood,
    words: Vec<(u64, u64)>,
    stacks: Vec<(u64, u64)>,
    unknown: u64,
    finalizers: Option<u64>,
    cleanups: Option<u64>,
    profiles: Option<FoundProfiles>,
    /// How often the processor's clock ticks a second.
    ticks_per_second: Option<f64>,
    /// Whether the types of objects are there.
    #[serde(default)]
    types: bool,
    /// What DWARF says of variables; it is not there itself.
    #[serde(default)]
    variables: VariableTypes,
    /// What sweeps have left, where it could be counted: bits of a heap that moves need not be there any more when
    /// their span has been read.
    #[serde(default)]
    survivors: Option<Vec<Survivors>>,
}

impl Held {
    /// What is known of the heap in `target`, if that is a capture with one.
    ///
    /// # Errors
    /// When it is damaged.
    pub(super) fn of(target: &dyn Target) -> Result<Option<Self>, ReadError> {
        if target.backend() != Backend::Capture {
            return Ok(None);
        }
        recall(target, KEY)
    }

    pub(super) fn queues(&self) -> Queues {
        Queues { finalizers: self.finalizers.map(Addr), cleanups: self.cleanups.map(Addr) }
    }

    pub(super) fn running(&self) -> Running {
        Running { words: self.words.clone(), stacks: self.stacks.clone(), unknown: self.unknown }
    }

    /// Why a mark of it proves something; `None` where it does not.
    pub(super) fn proof(&self) -> Option<Proof> {
        match self.stood {
            Stood::Frozen(ns) => Some(Proof::Frozen(Duration::from_nanos(ns))),
            Stood::CoreFile => Some(Proof::CoreFile),
            Stood::Quiet => Some(Proof::Quiet),
            Stood::No => None,
        }
    }

    /// Whether the types of objects are there.
    pub(super) fn has_types(&self) -> bool {
        self.types
    }

    /// What package variables point to.
    pub(super) fn variables(&self) -> &VariableTypes {
        &self.variables
    }

    pub(super) fn profiles(&self) -> Option<FoundProfiles> {
        self.profiles
    }

    /// What sweeps had left, by size class.
    pub(super) fn survivors(&self) -> Option<&[Survivors]> {
        self.survivors.as_deref()
    }
}

impl Finding for Held {
    fn encode(&self) -> Vec<u8> {
        // Numbers only: nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// How often the processor's clock ticked a second where a capture with a heap was taken; `None` for other targets.
///
/// # Errors
/// When what the capture says of its heap is damaged.
pub fn recorded_ticks(target: &dyn Target) -> Result<Option<f64>, ReadError> {
    Ok(Held::of(target)?.and_then(|held| held.ticks_per_second))
}

/// Reads the heap for a capture.
pub struct HeapRecorder {
    queues: Queues,
    profiles: Option<FoundProfiles>,
    ticks_per_second: Option<f64>,
    max_bytes: u64,
    bytes: u64,
    takes: Duration,
    before: Option<Ticks>,
    running: Running,
    /// Where the types of objects are.
    types: Vec<MemRange>,
    /// What package variables point to.
    variables: VariableTypes,
    /// What sweeps have left.
    survivors: Option<Vec<Survivors>>,
    /// Why a mark of what was read last proves nothing, though it stood still.
    unproven: Option<String>,
}

impl HeapRecorder {
    /// Looks at the heap of a program that is not being recorded: what it will take, and where things are. `ticks` is
    /// how often the processor's clock ticks a second, where that is known.
    ///
    /// # Errors
    /// When it has no heap that can be walked, or one with more than `max_bytes` in spans with pointers.
    pub fn prepare(process: GoProcess<'_>, max_bytes: u64, ticks: Option<f64>) -> Result<Self, HeapError> {
        let held = match Held::of(process.target)? {
            None if process.target.backend() == Backend::Capture => {
                return Err(HeapError::NoHeap(NO_HEAP.to_owned()));
            }
            held => held,
        };
        let heap = Heap::read(process)?;
        let bytes = heap.spans.bytes().1;
        too_large(bytes, max_bytes)?;
        let queues = held.as_ref().map_or_else(|| Queues::find(process, &heap.layout), Held::queues);
        // Once before a stop: it shows how long that will be, and brings everything into memory.
        let started = Instant::now();
        let progress = Progress::default();
        let options = PassOptions { queues, ..PassOptions::default() };
        let marker = heap.marker(process, &progress);
        heap.pass(process, &marker, &Running::default(), &options)?;
        let took = started.elapsed();
        let variables = match &held {
            Some(held) => held.variables.clone(),
            None => VariableTypes::find(process).unwrap_or_default(),
        };
        let types = type_data(process, &heap, &marker, &variables, (queues, options.threads))?;
        drop(marker);
        Ok(Self {
            queues,
            profiles: Profiles::find(process).ok().map(|profiles| profiles.found()),
            ticks_per_second: held.map_or(ticks, |held| held.ticks_per_second),
            max_bytes,
            bytes,
            // Copying takes about as long as marking.
            takes: took.saturating_mul(2),
            types,
            variables,
            before: None,
            running: Running::default(),
            survivors: None,
            unproven: None,
        })
    }

    /// Begins to look whether Go code runs; the sooner before the capture, the less of it can.
    pub fn begin(&mut self, process: GoProcess<'_>) {
        self.before = Ticks::read_idle(process).ok().flatten();
    }

    /// Why what was captured last proves no leak, though the program stood still: a thread that waits for a CPU has no
    /// registers to read. Another try may do better.
    #[must_use]
    pub fn unproven(&self) -> Option<&str> {
        self.unproven.as_deref()
    }

    /// Bytes of the heap that are kept, before they are compressed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.types.iter().fold(self.bytes, |all, range| all.saturating_add(range.len as u64))
    }

    /// How long a program is stopped for it, about.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.takes
    }

    fn read_heap(
        &mut self,
        process: GoProcess<'_>,
        recorder: &dyn Recorder,
        frozen: Option<&dyn Frozen>,
    ) -> Result<(), HeapError> {
        // First, so that the file has what they point to; see `Variables`.
        Variables::read(process, &modules(process, &HeapLayout::resolve(&process.runtime.layout.table)?)?)?;
        let heap = Heap::read(process)?;
        self.bytes = heap.spans.bytes().1;
        too_large(self.bytes, self.max_bytes)?;
        let ranges: Vec<MemRange> = heap.spans.with_pointers().collect();
        recorder.keep(&ranges)?;
        self.running = running(process, frozen)?;
        let progress = Progress::default();
        let marker = heap.marker(process, &progress);
        let options = PassOptions { queues: self.queues, ..PassOptions::default() };
        let pass = heap.pass(process, &marker, &self.running, &options)?;
        read_channels(process, &heap, &marker)?;
        drop(marker);
        self.unproven = unproven(&pass, &self.running);
        // What leaked goroutines keep reads more of their stacks.
        let mut leaks = Leaks::new(Proof::CoreFile, (pass, heap), 1);
        let all: Vec<u64> = leaks.leaked.iter().map(|leaked| leaked.goid).collect();
        leaks.examine_as_it_is(process, &[all])?;
        // For the record.
        size_classes(process)?;
        self.survivors = survivors(process).ok();
        Ok(())
    }
}

/// What is said of a capture without a heap.
pub(super) const NO_HEAP: &str =
    "a capture holds goroutines and not the heap: `gospy capture --heap` puts it in; a core file has both";

fn too_large(bytes: u64, max_bytes: u64) -> Result<(), HeapError> {
    if bytes <= max_bytes {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Err(HeapError::TooLarge { mib: mib(bytes), max_mib: mib(max_bytes) })
}

/// Reads the names of variables, for paths from them.
fn keep_symbols(process: GoProcess<'_>) {
    /// Largest symbol table that is kept, bytes: a million symbols.
    const MOST_BYTES: u64 = 24 << 20;
    let elf = &process.program.elf;
    if elf.section(".symtab").is_some_and(|table| table.size <= MOST_BYTES) {
        let _ = symtab::variable_at(elf, LinkAddr(0));
    }
}

/// What the threads hold, where they stand still.
fn running(process: GoProcess<'_>, frozen: Option<&dyn Frozen>) -> Result<Running, HeapError> {
    let target = process.target;
    if let (None, Some(held)) = (frozen, Held::of(target)?) {
        return Ok(held.running());
    }
    if frozen.is_none() && target.backend() != Backend::Core {
        return Ok(Running::default());
    }
    let allm = process.addr(Global::Allm).ok_or(HeapError::NotFound(Global::Allm))?;
    let ms: Vec<M> = read_ms(target, allm, &[], &process.runtime.layout.m, &mut Warnings::default())?;
    let registers = |tid| match frozen {
        // One that was left asleep is in a system call: what it needs is on its stack.
        Some(frozen) => frozen
            .general_registers(tid)
            .or_else(|| frozen.asleep(tid).map(|registers| GeneralRegisters { sp: registers.sp, words: Vec::new() })),
        None => target.general_registers(tid),
    };
    let pc = |tid| match frozen {
        Some(frozen) => frozen.registers(tid).map(|registers| registers.pc),
        None => target.registers(tid).map(|registers| registers.pc),
    };
    Running::of(process, &ms, registers, pc)
}

fn failed(error: HeapError) -> CaptureError {
    match error {
        HeapError::Capture(error) => error,
        HeapError::Read(error) => error.into(),
        HeapError::Target(error) => error.into(),
        error => CaptureError::Alongside { kind: error.kind(), message: error.to_string() },
    }
}

impl Alongside for HeapRecorder {
    fn takes(&self) -> Duration {
        self.takes
    }

    fn read(&mut self, process: GoProcess<'_>, frozen: Option<&dyn Frozen>) -> Result<(), CaptureError> {
        let Some(recorder) = process.target.recorder() else { return Ok(()) };
        let stands = frozen.is_some() || matches!(process.target.backend(), Backend::Core | Backend::Capture);
        recorder.set_precedence(if stands { Precedence::Still } else { Precedence::Beside });
        let read = self.read_heap(process, recorder, frozen);
        recorder.set_precedence(Precedence::Usual);
        read.map_err(failed)
    }

    fn finish(&mut self, process: GoProcess<'_>, freeze: Option<&FreezeInfo>) -> Result<(), CaptureError> {
        if let Some(profiles) = self.profiles.and_then(|found| Profiles::known(process, found).ok()) {
            for kind in [ContentionKind::Block, ContentionKind::Mutex] {
                // One that cannot be read is missing in the capture, too.
                let _ = profiles.contention(process, kind);
            }
            let _ = profiles.allocations(process);
        }
        if let Some(recorder) = process.target.recorder() {
            recorder.keep(&self.types)?;
        }
        keep_symbols(process);
        let held = Held::of(process.target)?;
        // Last of all: what is read after the heap replaces bytes that the walk of the capture reads, too.
        let quiet = self.before.is_some() && self.before == Ticks::read_idle(process.unlogged())?;
        let stood = match (freeze.filter(|freeze| freeze.whole_program), process.target.backend()) {
            (_, Backend::Capture) => held.map_or(Stood::No, |held| held.stood),
            (_, Backend::Core) => Stood::CoreFile,
            (Some(freeze), _) => Stood::Frozen(freeze.stopped_ns),
            (None, _) if quiet => Stood::Quiet,
            (None, _) => Stood::No,
        };
        let running = std::mem::take(&mut self.running);
        let held = Held {
            stood,
            words: running.words,
            stacks: running.stacks,
            unknown: running.unknown,
            finalizers: self.queues.finalizers.map(|addr| addr.0),
            cleanups: self.queues.cleanups.map(|addr| addr.0),
            profiles: self.profiles,
            ticks_per_second: self.ticks_per_second,
            types: !self.types.is_empty(),
            variables: self.variables.clone(),
            survivors: self.survivors.take(),
        };
        remember(process.target, KEY, &held);
        Ok(())
    }
}
