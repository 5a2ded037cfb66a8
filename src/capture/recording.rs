//! What a recording holds of a capture besides memory, so that it gives the same results later.
//!
//! A recorded goroutine is its header and stack exactly as they were validated. One that was moving is
//! recorded as such, since its remaining bytes could form a stack that never existed. Stacks are read one
//! after the other, and one may have moved meanwhile to where another was read before: then the recording's
//! memory has the later one, and the earlier is kept separately. A running one whose thread was stopped is
//! recorded with the place where it was. Of C code, the frames are recorded, not the libraries they were
//! found with.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::unwind::{Start, StartKind};
use crate::addr::Addr;
use crate::model::{Consistency, ForeignFrame, ForeignStack, FreezeInfo, Goroutine, NotShown, SymbolPool};
use crate::process::remember::{Accepted, Attempt, Finding, damaged, recall, remember};
use crate::process::{Backend, ReadError, Target};

/// The key under which it is stored.
const NAME: &str = "goroutines";

/// What is recorded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Recorded {
    /// Goroutines that were not validated, by address of the g, and why.
    unsettled: Vec<(u64, Unsettled)>,
    /// Running goroutines whose threads were stopped.
    starts: Vec<(u64, StoppedAt)>,
    /// Stacks whose place another stack took while the capture was made: address of the g, first
    /// address of the bytes, and the bytes in hexadecimal.
    #[serde(default)]
    displaced: Vec<(u64, u64, String)>,
    /// What goroutines do in C, by the address of the g.
    #[serde(default)]
    c_stacks: Vec<(u64, CStack)>,
    /// Goroutines that were just ending: dead, with fields that were not cleared yet. By address of the g.
    #[serde(default)]
    ending: Vec<u64>,
    /// Pointers to invalid data that their goroutines had dropped when they were read again: address of the
    /// g, and name of the field.
    #[serde(default)]
    let_go: Vec<(u64, String)>,
    /// Where recorded stacks are, by their first address.
    #[serde(skip)]
    stacks: BTreeMap<u64, StackPlace>,
    /// Goroutines that took more than one try.
    retried: u64,
    freeze: Option<Freeze>,
}

#[derive(Clone, Copy, Debug)]
struct StackPlace {
    end: u64,
    g: u64,
    piece: Accepted,
}

/// Bytes of stacks that are not where they were, by the address of the g.
pub(super) type Displaced = FxHashMap<u64, (u64, Vec<u8>)>;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Unsettled {
    Moving,
    Unreadable,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoppedAt {
    pc: u64,
    sp: u64,
    lr: u64,
    /// Whether `pc` is the next instruction, and not a return address.
    interrupted: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CStack {
    frames: Vec<CFrame>,
    complete: bool,
    syscall: Option<u64>,
}

/// A frame in C with its names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CFrame {
    function: Option<String>,
    object: String,
    pc: u64,
    offset: u64,
}

impl CFrame {
    /// To be recorded.
    pub(super) fn of(frame: &ForeignFrame, pool: &SymbolPool) -> Self {
        Self {
            function: frame.function.map(|name| pool.str(name).to_owned()),
            object: pool.str(frame.object).to_owned(),
            pc: frame.pc.0,
            offset: frame.offset,
        }
    }

    /// As it was.
    pub(super) fn frame(&self, pool: &mut SymbolPool) -> ForeignFrame {
        ForeignFrame {
            function: self.function.as_deref().map(|name| pool.intern_str(name)),
            object: pool.intern_str(&self.object),
            pc: Addr(self.pc),
            offset: self.offset,
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Freeze {
    whole_program: bool,
    stopped_ns: u64,
    threads: u32,
}

impl Recorded {
    /// What was recorded of `target`, if that is a recording.
    ///
    /// # Errors
    /// When it is a recording, and this is malformed or missing: without it goroutines would get stacks that
    /// never existed.
    pub(super) fn of(target: &dyn Target) -> Result<Option<Self>, ReadError> {
        match recall(target, NAME)? {
            None if target.backend() == Backend::Capture => Err(damaged(NAME, "it is missing")),
            found => Ok(found),
        }
    }

    /// Notes a goroutine that was not validated.
    pub(super) fn add_unsettled(&mut self, addr: Addr, why: NotShown) {
        let why = if why == NotShown::Unreadable { Unsettled::Unreadable } else { Unsettled::Moving };
        self.unsettled.push((addr.0, why));
    }

    /// Notes that goroutines were validated after all.
    pub(super) fn take_back(&mut self, settled: &FxHashSet<u64>) {
        self.unsettled.retain(|(addr, _)| !settled.contains(addr));
    }

    /// Notes a goroutine that was just ending.
    pub(super) fn add_ending(&mut self, addr: Addr) {
        self.ending.push(addr.0);
    }

    /// Notes that a goroutine has dropped what a field pointed to.
    pub(super) fn add_let_go(&mut self, addr: Addr, field: &str) {
        self.let_go.push((addr.0, field.to_owned()));
    }

    /// Notes where the stack of a running goroutine starts.
    pub(super) fn add_start(&mut self, addr: Addr, start: &Start) {
        let interrupted = start.kind == StartKind::Interrupted;
        let at = StoppedAt { pc: start.pc.0, sp: start.sp.0, lr: start.lr.0, interrupted };
        self.starts.push((addr.0, at));
    }

    /// Records the stack of the goroutine at `g`.
    pub(super) fn add_stack(&mut self, attempt: Attempt<'_>, g: Addr, start: u64, stack: &[u8]) {
        self.displaced.retain(|(other, _, _)| *other != g.0);
        let Some(piece) = attempt.accept(Addr(start), stack) else { return };
        let end = start.saturating_add(stack.len() as u64);
        if start == end {
            return;
        }
        // Those that begin before its end; the nearest of them may end after its start.
        while let Some((&first, &place)) = self.stacks.range(..end).next_back().filter(|(_, place)| place.end > start) {
            self.stacks.remove(&first);
            if place.g != g.0 {
                self.displaced.push((place.g, first, hex(&attempt.accepted(place.piece))));
            }
        }
        self.stacks.insert(start, StackPlace { end, g: g.0, piece });
    }

    pub(super) fn displaced(&self) -> Displaced {
        self.displaced.iter().map(|(g, start, bytes)| (*g, (*start, unhex(bytes).unwrap_or_default()))).collect()
    }

    /// Notes what goroutines do in C.
    pub(super) fn add_c_stacks(&mut self, goroutines: &[Goroutine], pool: &SymbolPool) {
        let stack = |stack: &ForeignStack| CStack {
            frames: stack.frames.iter().map(|frame| CFrame::of(frame, pool)).collect(),
            complete: stack.complete,
            syscall: stack.syscall,
        };
        let found = goroutines.iter().filter_map(|g| Some((g.addr.0, stack(pool.foreign(g.foreign?)?))));
        self.c_stacks.extend(found);
    }

    /// Gives goroutines what they did in C when they were recorded.
    pub(super) fn give_c_stacks(&self, goroutines: &mut [Goroutine], pool: &mut SymbolPool) {
        let by_g: FxHashMap<u64, &CStack> = self.c_stacks.iter().map(|(addr, stack)| (*addr, stack)).collect();
        for goroutine in goroutines {
            let Some(stack) = by_g.get(&goroutine.addr.0) else { continue };
            let frames = stack.frames.iter().map(|frame| frame.frame(pool)).collect();
            let stack = ForeignStack { frames, complete: stack.complete, syscall: stack.syscall };
            goroutine.foreign = Some(pool.intern_foreign(stack));
        }
    }

    /// Stores it in the recording that is being made of `target`, if any.
    pub(super) fn leave(mut self, target: &dyn Target, consistency: &Consistency, freeze: Option<&FreezeInfo>) {
        self.retried = consistency.retried;
        self.freeze = freeze.map(|info| Freeze {
            whole_program: info.whole_program,
            stopped_ns: info.stopped_ns,
            threads: info.threads,
        });
        remember(target, NAME, &self);
    }

    pub(super) fn unsettled(&self) -> FxHashMap<u64, NotShown> {
        let why = |why| match why {
            Unsettled::Moving => NotShown::Moving,
            Unsettled::Unreadable => NotShown::Unreadable,
        };
        self.unsettled.iter().map(|&(addr, reason)| (addr, why(reason))).collect()
    }

    pub(super) fn ending(&self) -> FxHashSet<u64> {
        self.ending.iter().copied().collect()
    }

    pub(super) fn let_go(&self) -> FxHashSet<(u64, String)> {
        self.let_go.iter().cloned().collect()
    }

    pub(super) fn starts(&self) -> FxHashMap<u64, Start> {
        let start = |at: &StoppedAt| {
            let kind = if at.interrupted { StartKind::Interrupted } else { StartKind::Parked };
            Start { pc: Addr(at.pc), sp: Addr(at.sp), lr: Addr(at.lr), kind }
        };
        self.starts.iter().map(|(addr, at)| (*addr, start(at))).collect()
    }

    pub(super) fn retried(&self) -> u64 {
        self.retried
    }

    pub(super) fn freeze(&self) -> Option<FreezeInfo> {
        self.freeze.map(|f| FreezeInfo { whole_program: f.whole_program, stopped_ns: f.stopped_ns, threads: f.threads })
    }
}

impl Finding for Recorded {
    fn encode(&self) -> Vec<u8> {
        // Numbers and plain names: nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let recorded: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match recorded.displaced.iter().find(|(_, _, bytes)| unhex(bytes).is_none()) {
            Some((g, _, _)) => Err(format!("the stack of the g at {} has invalid hexadecimal digits", Addr(*g))),
            None => Ok(recorded),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `None` unless it consists of pairs of hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        &[high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}
