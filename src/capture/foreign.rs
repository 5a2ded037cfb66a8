//! What goroutines do in C: the frames called from Go.
//!
//! C runs on the stack of the scheduler's goroutine (`m.g0`), which `runtime.asmcgocall` switches to
//! (asm_amd64.s and asm_arm64.s, Go 1.19 to 1.27). It is followed from where the thread is, by the call frame
//! information of the mapped files, up to that function, where the goroutine's own stack goes on. Without a
//! stop, only a thread that waits in the kernel shows where it is. It refuses to guess: no scanning for
//! return addresses, no frame pointers that were not saved. Where a caller cannot be determined, the frames
//! so far are kept and marked as incomplete.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::{Addr, Arch, LinkAddr, LoadBias};
use crate::bytes::FieldsExt as _;
use crate::image::eh_frame::{EhFrame, RegisterNumber, RegisterNumbers, Row, Rule};
use crate::image::elf::Elf;
use crate::image::symtab::Symbols;
use crate::model::{ForeignFrame, ForeignStack, Goroutine, StackState, Status, SymbolPool, WarningCode, Warnings};
use crate::process::{BlockedThread, Frozen, Mapping, ReadError, Registers, Target, Tid};
use crate::runtime::mirror::g::G;
use crate::runtime::mirror::m::M;
use crate::runtime::program::Program;
use crate::runtime::{GoProcess, c_call};

/// Most frames of one C stack.
const MAX_FRAMES: usize = 256;
/// Most bytes of one C stack that are read, from its stack pointer up.
const MAX_STACK: u64 = 1 << 20;
/// Bytes that are read of a stack that is not the scheduler's (a signal handler's, or one that the C code
/// made itself).
const OTHER_STACK: usize = 64 << 10;
/// Most bytes of C stacks that are held at once.
const MAX_HELD: usize = 64 << 20;
/// Most files that are cached.
const MAX_OBJECTS: usize = 4096;
/// Most places whose step to the caller is cached.
const MAX_STEPS: usize = 1 << 20;

/// A thread in C, as it was read.
#[derive(Debug)]
pub(super) struct InC {
    /// Its M.
    m: M,
    /// The goroutine on it; its stack pointer shows whether that is the stack that was read.
    curg: G,
    /// `m.g0.sched.sp`: where `asmcgocall` started the C stack.
    g0_sp: u64,
    /// Where it is.
    registers: Known,
    /// The system call that it waits in.
    syscall: Option<u64>,
    /// Memory from its stack pointer up.
    stack: Vec<u8>,
}

/// Registers whose values are known. There are few: a list is enough.
#[derive(Clone, Debug, Default)]
struct Known {
    pc: u64,
    sp: u64,
    others: Vec<(RegisterNumber, u64)>,
}

impl Known {
    /// For a thread that waits in the kernel.
    fn blocked(thread: &BlockedThread) -> Self {
        Self { pc: thread.pc.0, sp: thread.sp.0, others: Vec::new() }
    }

    /// For a stopped thread.
    fn stopped(registers: &Registers, numbers: &RegisterNumbers) -> Self {
        let mut others = vec![(numbers.fp, registers.fp.0)];
        others.extend(numbers.link.map(|link| (link, registers.lr.0)));
        Self { pc: registers.pc.0, sp: registers.sp.0, others }
    }

    fn get(&self, register: RegisterNumber, numbers: &RegisterNumbers) -> Option<u64> {
        if register == numbers.sp {
            return Some(self.sp);
        }
        self.others.iter().find(|(number, _)| *number == register).map(|(_, value)| *value)
    }
}

/// Reads the C stacks of those of `ms` that were in C, and still are, in the same call. With `frozen` their
/// threads are stopped, and show where they are even when they do not wait.
pub(super) fn read(
    process: GoProcess<'_>,
    ms: &[M],
    frozen: Option<&dyn Frozen>,
    warnings: &mut Warnings,
) -> Result<Vec<InC>, ReadError> {
    // What is read again here must not replace what was validated before.
    let process = process.unlogged();
    let mut found = Vec::new();
    let mut held = 0_usize;
    for m in ms.iter().filter(|m| m.incgo && m.curg != 0) {
        if held > MAX_HELD {
            let message = format!("C stacks of more than {MAX_HELD} bytes in all: the rest was not read");
            warnings.add(WarningCode::LimitReached, message);
            break;
        }
        if let Some(one) = read_one(process, m, frozen)? {
            held = held.saturating_add(one.stack.len());
            found.push(one);
        }
    }
    Ok(found)
}

fn read_one(process: GoProcess<'_>, m: &M, frozen: Option<&dyn Frozen>) -> Result<Option<InC>, ReadError> {
    let target = process.target;
    let g = |addr: u64| process.read::<G>(Addr(addr));
    let Some(tid) = m.tid() else { return Ok(None) };
    let Some(place) = Place::of(target, tid, frozen) else { return Ok(None) };
    let (Some(curg), Some(g0)) = (g(m.curg)?, g(m.g0)?) else { return Ok(None) };
    let registers = match place {
        Place::Blocked(thread) => Known::blocked(&thread),
        Place::Stopped(registers) => Known::stopped(&registers, &RegisterNumbers::of(process.arch())),
    };
    // Up to where C began, which is a little below what the scheduler saved, if it is on that stack.
    let len = match g0.sched_sp.checked_sub(registers.sp) {
        Some(len) if len <= MAX_STACK => usize::try_from(len).unwrap_or(OTHER_STACK),
        _ => OTHER_STACK,
    };
    let mut stack = vec![0; len];
    let got = target.read(Addr(registers.sp), &mut stack)?;
    stack.truncate(got);
    // The same call of C, by the same goroutine, before and after; and the thread did not move.
    let Some(now) = process.read::<M>(m.addr)? else { return Ok(None) };
    let same_call = now.incgo && (now.curg, now.g0, now.procid, now.ncgocall) == (m.curg, m.g0, m.procid, m.ncgocall);
    if !same_call || Place::of(target, tid, frozen) != Some(place) || curg.status() != Status::Syscall {
        return Ok(None);
    }
    let syscall = match place {
        Place::Blocked(thread) => thread.syscall,
        Place::Stopped(_) => None,
    };
    Ok(Some(InC { m: now, curg, g0_sp: g0.sched_sp, registers, syscall, stack }))
}

/// Where a thread is, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Stopped(Registers),
    Blocked(BlockedThread),
}

impl Place {
    fn of(target: &dyn Target, tid: Tid, frozen: Option<&dyn Frozen>) -> Option<Self> {
        let stopped = frozen.and_then(|frozen| frozen.registers(tid)).or_else(|| target.registers(tid));
        stopped.map(Self::Stopped).or_else(|| target.blocked_thread(tid).map(Self::Blocked))
    }
}

/// A mapped file with C code in it.
#[derive(Debug)]
struct Object {
    path: String,
    bias: LoadBias,
    /// `None` when the file cannot be read; then only its name is known.
    image: Option<Image>,
}

impl Object {
    fn has_code_at(&self, pc: u64) -> bool {
        let Some(image) = &self.image else { return false };
        let at = self.bias.unload(Addr(pc));
        image.elf.segments().iter().any(|segment| segment.executable && segment.contains(at))
    }
}

#[derive(Debug)]
struct Image {
    elf: Arc<Elf>,
    symbols: Symbols,
    frames: Option<EhFrame>,
    /// A separate file with symbols, and the offset to add to its addresses.
    separate: Option<(Arc<Elf>, Symbols, u64)>,
}

impl Image {
    fn new(elf: Arc<Elf>) -> Self {
        let frames = EhFrame::load(&elf).ok().flatten();
        Self { elf, symbols: Symbols::default(), frames, separate: None }
    }

    /// Name of the function at `at`, and how far into it `at` is.
    fn function(&self, at: LinkAddr) -> Option<(String, u64)> {
        let into = |at: LinkAddr, found: crate::image::symtab::FunctionSymbol| {
            Some((found.name, at.0.checked_sub(found.start.0)?)).filter(|(name, _)| !name.is_empty())
        };
        let own = self.symbols.function_at(&self.elf, at).and_then(|found| into(at, found));
        own.or_else(|| {
            let (elf, symbols, shift) = self.separate.as_ref()?;
            let there = LinkAddr(at.0.wrapping_sub(*shift));
            symbols.function_at(elf, there).and_then(|found| into(there, found))
        })
    }
}

/// Files are identified by path, inode and load address.
type ObjectKey = (String, u64, Addr);

/// Unwinds and names; keeps the files that it opened from one capture to the next.
#[derive(Debug, Default)]
pub(super) struct CStacks {
    objects: Vec<Object>,
    by_key: FxHashMap<ObjectKey, usize>,
    /// By the start of a mapping, within one capture.
    by_mapping: FxHashMap<Addr, usize>,
    steps: FxHashMap<(usize, LinkAddr), Option<Arc<Row>>>,
}

impl CStacks {
    /// Adds the C frames to the goroutines that were found in C. Only a goroutine whose Go stack is of the
    /// same call gets it.
    pub(super) fn attach(
        &mut self,
        process: GoProcess<'_>,
        found: &[InC],
        goroutines: &mut [Goroutine],
        pool: &mut SymbolPool,
    ) {
        if found.is_empty() {
            return;
        }
        // The result is recorded, not the megabytes of libraries that are searched for it.
        let process = process.unlogged();
        let target = process.target;
        let Ok(mappings) = target.mappings() else { return };
        if self.objects.len() > MAX_OBJECTS || self.steps.len() > MAX_STEPS {
            *self = Self::default();
        }
        self.by_mapping.clear();
        let code = Code::new(target, process.program, &mappings);
        let by_g: BTreeMap<u64, &InC> = found.iter().map(|one| (one.m.curg, one)).collect();
        for goroutine in goroutines.iter_mut().filter(|goroutine| goroutine.status == Status::Syscall) {
            let Some(one) = by_g.get(&goroutine.addr.0) else { continue };
            let same = goroutine.id.0 == one.curg.goid
                && goroutine.m == Some(one.m.addr)
                && matches!(goroutine.stack, StackState::Known(_))
                && goroutine.sp.0 == one.curg.syscallsp;
            if same {
                let stack = self.unwind(&code, one, pool);
                goroutine.foreign = (!stack.frames.is_empty()).then(|| pool.intern_foreign(stack));
            }
        }
    }

    /// The function and the file that each of `pcs` is in; `None` where that is in no mapped code, or in Go's.
    pub(super) fn functions(
        &mut self,
        process: GoProcess<'_>,
        pcs: &[Addr],
        pool: &mut SymbolPool,
    ) -> Vec<Option<ForeignFrame>> {
        if pcs.is_empty() {
            return Vec::new();
        }
        let process = process.unlogged();
        let Ok(mappings) = process.target.mappings() else { return vec![None; pcs.len()] };
        self.by_mapping.clear();
        let code = Code::new(process.target, process.program, &mappings);
        let function = |&pc: &Addr| {
            let object = self.object(&code, pc.0).filter(|_| !code.is_go(pc.0))?;
            self.frame(object, pc, pc, pool)
        };
        pcs.iter().map(function).collect()
    }

    fn unwind(&mut self, code: &Code<'_>, one: &InC, pool: &mut SymbolPool) -> ForeignStack {
        let numbers = RegisterNumbers::of(code.arch);
        let word = |addr: u64| one.stack.u64_at(usize::try_from(addr.checked_sub(one.registers.sp)?).ok()?);
        let mut stack = ForeignStack { frames: Vec::new(), complete: false, syscall: one.syscall };
        let mut now = one.registers.clone();
        // Whether `pc` is the next instruction, rather than the one after a call.
        let mut exact = true;
        while stack.frames.len() < MAX_FRAMES {
            if code.is_go(now.pc) {
                stack.complete =
                    code.called_c(now.pc) && c_call::began_at(code.arch, one.g0_sp, one.m.curg, now.sp, word);
                break;
            }
            let Some(object) = self.object(code, now.pc) else { break };
            let looked_up = Addr(if exact { now.pc } else { now.pc.wrapping_sub(1) });
            let Some(frame) = self.frame(object, Addr(now.pc), looked_up, pool) else { break };
            stack.frames.push(frame);
            let Some(row) = self.step(object, looked_up) else { break };
            let innermost = stack.frames.len() == 1;
            let Some(caller) = caller(&row, &now, &numbers, innermost, word) else { break };
            now = caller;
            exact = row.signal_frame;
        }
        stack
    }

    /// The file whose code `pc` is in, opened if need be; `None` where it is in no code.
    fn object(&mut self, code: &Code<'_>, pc: u64) -> Option<usize> {
        let mapping = code.mapping(pc)?;
        let index = self.object_of(code, mapping, pc);
        // A core file by gdb does not record which parts that it left out were executable; the file does.
        (mapping.exec || self.objects.get(index)?.has_code_at(pc)).then_some(index)
    }

    fn object_of(&mut self, code: &Code<'_>, mapping: &Mapping, pc: u64) -> usize {
        if let Some(&known) = self.by_mapping.get(&mapping.start) {
            return known;
        }
        let first = code.first_of(mapping);
        let key = (mapping.path.clone(), mapping.inode, first.start);
        let index = match self.by_key.get(&key) {
            Some(&known) => known,
            None => {
                let made =
                    if code.in_program(pc) { code.program_object(mapping) } else { code.other_object(mapping, first) };
                self.objects.push(made);
                self.by_key.insert(key, self.objects.len() - 1);
                self.objects.len() - 1
            }
        };
        self.by_mapping.insert(mapping.start, index);
        index
    }

    fn frame(&self, object: usize, pc: Addr, looked_up: Addr, pool: &mut SymbolPool) -> Option<ForeignFrame> {
        let object = self.objects.get(object)?;
        let named = object.image.as_ref().and_then(|image| image.function(object.bias.unload(looked_up)));
        let back = pc.0.wrapping_sub(looked_up.0);
        let (function, offset) = match named {
            Some((name, into)) => (Some(pool.intern_str(&name)), into.wrapping_add(back)),
            None => (None, object.bias.unload(pc).0),
        };
        Some(ForeignFrame { function, object: pool.intern_str(&object.path), pc, offset })
    }

    fn step(&mut self, object: usize, looked_up: Addr) -> Option<Arc<Row>> {
        let of = self.objects.get(object)?;
        let at = of.bias.unload(looked_up);
        let look = || of.image.as_ref()?.frames.as_ref()?.row(at).map(Arc::new);
        self.steps.entry((object, at)).or_insert_with(look).clone()
    }
}

/// The caller's registers. `None` where there is none or it cannot be determined.
fn caller(
    row: &Row,
    now: &Known,
    numbers: &RegisterNumbers,
    innermost: bool,
    word: impl Fn(u64) -> Option<u64>,
) -> Option<Known> {
    let cfa = now.get(row.cfa.0, numbers)?.wrapping_add_signed(row.cfa.1);
    // Stacks grow down: a caller's frame is above. Only a function that has not made its frame yet
    // may have none, where the return address is in a register.
    if cfa < now.sp || (cfa == now.sp && !(innermost && numbers.link.is_some())) {
        return None;
    }
    let value = |register: RegisterNumber| match row.rule(register) {
        Rule::Same => now.get(register, numbers),
        Rule::At(offset) => word(cfa.wrapping_add_signed(offset)),
        Rule::Value(offset) => Some(cfa.wrapping_add_signed(offset)),
        Rule::In(other) => now.get(other, numbers),
        Rule::Unknown => None,
    };
    // It can be in a register only until another function is called.
    if row.rule(row.return_address) == Rule::Same && !innermost {
        return None;
    }
    let mut pc = value(row.return_address)?;
    if numbers.link.is_some() {
        pc &= CODE_BITS;
    }
    let others = numbers.preserved.iter().filter(|register| Some(**register) != numbers.link);
    let others = others.filter_map(|&register| Some((register, value(register)?))).collect();
    (pc != 0).then_some(Known { pc, sp: cfa, others })
}

/// The bits of an arm64 return address that are an address; the others may be a signature of it.
const CODE_BITS: u64 = (1 << 48) - 1;

/// The code that is mapped in a target.
struct Code<'a> {
    target: &'a dyn Target,
    program: &'a Program,
    mappings: &'a [Mapping],
    arch: Arch,
}

impl<'a> Code<'a> {
    fn new(target: &'a dyn Target, program: &'a Program, mappings: &'a [Mapping]) -> Self {
        Self { target, program, mappings, arch: program.elf.arch() }
    }

    fn mapping(&self, pc: u64) -> Option<&'a Mapping> {
        let after = self.mappings.partition_point(|mapping| mapping.start.0 <= pc);
        let mapping = self.mappings.get(after.checked_sub(1)?)?;
        let may_be_code = mapping.exec || (mapping.inode != 0 && !mapping.write);
        (pc < mapping.end.0 && may_be_code).then_some(mapping)
    }

    fn is_go(&self, pc: u64) -> bool {
        self.program.module.text.contains(&pc)
    }

    /// Whether the call before `pc` is the one by which Go calls C.
    fn called_c(&self, pc: u64) -> bool {
        let pclntab = &self.program.pclntab;
        let function = pclntab.function_at(self.program.bias.unload(Addr(pc.wrapping_sub(1))));
        function.and_then(|function| pclntab.name(&function)).is_some_and(|name| name == c_call::CALLER)
    }

    fn in_program(&self, pc: u64) -> bool {
        let link = self.program.bias.unload(Addr(pc));
        self.program.elf.segments().iter().any(|segment| segment.executable && segment.contains(link))
    }

    /// The first mapping of the file that `mapping` is of, of the time that it was loaded there if it
    /// was loaded more than once.
    fn first_of<'m>(&'m self, mapping: &'m Mapping) -> &'m Mapping {
        let same = |other: &&Mapping| {
            mapping.inode != 0
                && (other.inode, other.path.as_str()) == (mapping.inode, mapping.path.as_str())
                && other.start <= mapping.start
        };
        let before = self.mappings.iter().filter(same);
        before.min_by_key(|other| (other.offset, Reverse(other.start))).unwrap_or(mapping)
    }

    fn program_object(&self, mapping: &Mapping) -> Object {
        let unlogged = self.program.elf.unlogged();
        let mut image = Image::new(unlogged.map_or_else(|| Arc::clone(&self.program.elf), Arc::new));
        if let Some(file) = &self.program.symbol_file {
            image.separate = Some((Arc::clone(&file.elf), Symbols::default(), file.shift));
        }
        Object { path: mapping.path.clone(), bias: self.program.bias, image: Some(image) }
    }

    fn other_object(&self, mapping: &Mapping, first: &Mapping) -> Object {
        let elf = || {
            let bytes = (mapping.inode != 0).then(|| self.target.mapped_file(mapping).ok()).flatten()?;
            Elf::parse(bytes).ok().filter(|elf| elf.arch() == self.arch).map(Arc::new)
        };
        let loaded = elf().and_then(|elf| Some((elf.load_bias(&[(first.start.0, first.offset)], None)?, elf)));
        let path = mapping.path.clone();
        match loaded {
            Some((bias, elf)) => Object { path, bias, image: Some(Image::new(elf)) },
            None => Object { path, bias: LoadBias(first.start.0.wrapping_sub(first.offset)), image: None },
        }
    }
}
