//! Stacks of samples: those of Go code, of C, and of the kernel's own code in a program (the vDSO).

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::capture::decode::Decoder;
use crate::capture::foreign::CStacks;
use crate::capture::unwind::{Chain, Start, StartKind};
use crate::model::{Frame, FrameId, Language, Stack, StackFrame, StackId, SymbolPool};
use crate::process::{RawCpuSample, TargetExt as _};
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::m::M;
use crate::runtime::{GoProcess, c_call};

/// Most stacks that are kept to be found again, each with what led to it.
const MAX_KEPT: usize = 1 << 16;
/// Most places in C whose function is kept.
const MAX_PLACES: usize = 1 << 18;
/// Most memory for names and stacks, bytes; beyond it, stacks that were not met before are not told apart.
const MAX_POOL: usize = 512 << 20;
/// How often the caller of C is looked for: a goroutine may be between two calls.
const TRIES: usize = 8;
/// Bytes of a stack that are read from where a goroutine called C.
const CALLER_STACK: u64 = 16 << 10;

/// Stands for callers that are unknown.
const UNKNOWN_CALLERS: &str = "[callers unknown]";
/// Stands for code that is in no file.
const UNKNOWN_CODE: &str = "[unknown code]";
/// Stands for a thread that has no registers any more.
const EXITING: &str = "[exiting thread]";
/// Stands for stacks beyond the limit.
const TOO_MANY: &str = "[too many stacks]";
/// What `/proc/PID/maps` calls the kernel's own code in a program.
const VDSO: &str = "[vdso]";

/// What is at a place outside of the Go program.
#[derive(Clone, Copy, Debug)]
enum Outside {
    /// The kernel's own code, which is called to ask for the time.
    Vdso,
    /// A function of C, or what stands for one.
    C(FrameId),
}

/// What a stack was made of: its innermost function, if that is not Go's, the program counters of its frames with
/// whether each is exact, and whether it is complete.
type Parts = (Option<FrameId>, Vec<(u64, bool)>, bool);

/// Makes stacks of samples, and keeps those that it has made.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    kept: FxHashMap<Parts, StackId>,
    outside: FxHashMap<u64, Outside>,
}

impl Stacks {
    /// Finds out what is at the places of these samples that are not in Go code.
    pub(super) fn prepare(
        &mut self,
        process: GoProcess<'_>,
        c_stacks: &mut CStacks,
        pool: &mut SymbolPool,
        samples: &[RawCpuSample],
    ) {
        if self.outside.len() > MAX_PLACES {
            self.outside.clear();
        }
        let pcs = samples.iter().filter_map(|sample| Some(sample.registers?.pc));
        let new: Vec<Addr> = pcs.filter(|pc| !process.is_go_code(pc.0) && !self.outside.contains_key(&pc.0)).collect();
        let functions = c_stacks.functions(process, &new, pool);
        for (pc, function) in new.into_iter().zip(functions) {
            let outside = match function {
                Some(function) if function.function.is_none() && pool.str(function.object) == VDSO => Outside::Vdso,
                Some(function) => {
                    let object = pool.str(function.object).to_owned();
                    let file = format!("[{}]", object.rsplit('/').next().unwrap_or_default().trim_matches(['[', ']']));
                    let name = function.function.map_or(file, |name| pool.str(name).to_owned());
                    let start = match function.function {
                        Some(_) => Addr(function.pc.0.wrapping_sub(function.offset)),
                        None => Addr(0),
                    };
                    Outside::C(frame(pool, &name, &object, start))
                }
                None => Outside::C(frame(pool, UNKNOWN_CODE, "", Addr(0))),
            };
            self.outside.insert(pc.0, outside);
        }
    }

    /// The stack of a sample that was given to [`Stacks::prepare`], and whether it is complete. `g` is what it ran,
    /// where that is known, and `m` reads its M.
    pub(super) fn of(
        &mut self,
        process: GoProcess<'_>,
        decoder: &mut Decoder,
        pool: &mut SymbolPool,
        sample: &RawCpuSample,
        g: Option<u64>,
        m: &mut dyn FnMut() -> Option<M>,
    ) -> (StackId, bool) {
        let Some(registers) = sample.registers else {
            let leaf = frame(pool, EXITING, "", Addr(0));
            return (self.stack(decoder, pool, Some(leaf), Chain { frames: Vec::new(), complete: true }), true);
        };
        let word = |addr: u64| {
            let at = addr.checked_sub(registers.sp.0)?;
            sample.stack.u64_at(usize::try_from(at).ok()?)
        };
        let unwinder = decoder.unwinder();
        if process.is_go_code(registers.pc.0) || registers.pc.0 == 0 {
            let chain = unwinder.interrupted(&registers, &sample.callers, word);
            let complete = chain.complete;
            return (self.stack(decoder, pool, None, chain), complete);
        }
        let mut chain = unwinder.callers(&sample.callers);
        let mut leaf = None;
        match self.outside.get(&registers.pc.0) {
            Some(Outside::Vdso) => {
                // Its time counts for what wanted to know the time, as in the runtime's own profiles.
                let asks = |pc: u64| name(process, pc).is_some_and(|name| process.rules().asks_vdso(&name));
                let callers = chain.frames.iter().take_while(|frame| asks(frame.pc.wrapping_sub(1))).count();
                chain.frames.drain(..callers);
            }
            Some(Outside::C(frame)) => leaf = Some(*frame),
            None => {}
        }
        if leaf.is_some() {
            if !chain.complete
                && let Some(caller) = (0..TRIES).find_map(|_| caller_of_c(process, decoder, g, m()?))
            {
                chain = caller;
            }
            // So that it is the same stack whichever way it was found.
            if chain
                .frames
                .first()
                .is_some_and(|frame| name(process, frame.pc.wrapping_sub(1)).is_some_and(|name| name == c_call::CALLER))
            {
                chain.frames.remove(0);
            }
        }
        let complete = chain.complete;
        (self.stack(decoder, pool, leaf, chain), complete)
    }

    fn stack(&mut self, decoder: &mut Decoder, pool: &mut SymbolPool, leaf: Option<FrameId>, chain: Chain) -> StackId {
        let pcs = chain.frames.iter().map(|frame| (frame.pc, frame.exact)).collect();
        let key = (leaf, pcs, chain.complete);
        if let Some(&known) = self.kept.get(&key) {
            return known;
        }
        if pool.bytes() > MAX_POOL {
            let frames = vec![plain(frame(pool, TOO_MANY, "", Addr(0)))];
            return pool.intern_stack(Stack { frames });
        }
        let mut frames: Vec<StackFrame> = leaf.map(plain).into_iter().collect();
        frames.extend(decoder.symbolizer().stack_frames(pool, &chain.frames));
        if !chain.complete {
            frames.push(plain(frame(pool, UNKNOWN_CALLERS, "", Addr(0))));
        }
        let stack = pool.intern_stack(Stack { frames });
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        self.kept.insert(key, stack);
        stack
    }
}

/// The stack of the goroutine that called C on `m`, from where the runtime noted that, if it has not gone elsewhere
/// while it was read. `called_by` is the address of the g that did, where that is known.
fn caller_of_c(process: GoProcess<'_>, decoder: &mut Decoder, called_by: Option<u64>, m: M) -> Option<Chain> {
    if !m.incgo || m.curg == 0 || called_by.is_some_and(|addr| addr != m.curg) {
        return None;
    }
    let read = || process.read::<G>(Addr(m.curg)).ok().flatten();
    let g = read()?;
    let len = g.stack_hi.checked_sub(g.syscallsp).filter(|_| (g.stack_lo..g.stack_hi).contains(&g.syscallsp))?;
    let len = usize::try_from(len.min(CALLER_STACK)).ok()?;
    let stack = process.target.read_vec(Addr(g.syscallsp), len).ok().flatten()?;
    let now = read()?;
    if (now.goid, now.syscallpc, now.syscallsp) != (g.goid, g.syscallpc, g.syscallsp) {
        return None;
    }
    let start = Start { pc: Addr(g.syscallpc), sp: Addr(g.syscallsp), lr: Addr(0), kind: StartKind::Syscall };
    let word = |addr: u64| stack.u64_at(usize::try_from(addr.checked_sub(g.syscallsp)?).ok()?);
    let unwinder = decoder.unwinder();
    let unwound = unwinder.unwind(start, word);
    Some(unwinder.saved(&unwound)).filter(|chain| !chain.frames.is_empty())
}

/// The name of the Go function at an address.
fn name(process: GoProcess<'_>, pc: u64) -> Option<String> {
    let pclntab = &process.program.pclntab;
    pclntab.name(&pclntab.function_at(process.program.bias.unload(Addr(pc)))?)
}

/// A frame that Go's tables do not know.
fn frame(pool: &mut SymbolPool, name: &str, file: &str, start: Addr) -> FrameId {
    let (function, file) = (pool.intern_str(name), pool.intern_str(file));
    pool.intern_frame(Frame {
        function,
        file,
        line: 0,
        start_line: 0,
        pc: start,
        entry: start,
        inlined: false,
        language: Language::Foreign,
    })
}

fn plain(frame: FrameId) -> StackFrame {
    StackFrame { frame, sp_offset: 0, fp_offset: 0, hidden: false }
}
