//! Which words of a stack are pointers: the maps that the compiler made for each call (runtime/stkframe.go,
//! `getStackMap`, and runtime/mgcstack.go; 1.19 to 1.27).
//!
//! Everything is relative to the innermost stack pointer, so that the plan for a stack is made once for all
//! goroutines that stand on the same frames. A frame whose maps cannot be read makes the whole stack unknown.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::addr::{Addr, Arch, LinkAddr};
use crate::bytes::FieldsExt as _;
use crate::capture::unwind::{PhysicalFrame, StackNode};
use crate::image::pclntab::{FuncData, Function, PcData};
use crate::runtime::program::Program;

/// Most bits of a map: a frame has a gigabyte at most, and far less in practice.
const MAX_BITS: u32 = 1 << 22;
/// Most variables of a frame whose address is taken.
const MAX_OBJECTS: u64 = 1 << 16;
/// Most words of all plans that are remembered.
const MAX_REMEMBERED: usize = 1 << 24;

/// A variable on a stack whose address is taken, which is scanned when something points to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StackObject {
    /// From the innermost stack pointer, bytes.
    pub(super) at: u64,
    pub(super) size: u64,
    /// How far into it there are pointers, bytes; `None` where all of it may be.
    pub(super) pointer_bytes: Option<u64>,
    /// Its mask, from the start of rodata.
    pub(super) mask: u32,
}

/// What to scan of a stack.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Words that are pointers, bytes from the innermost stack pointer.
    pub(super) words: Vec<u64>,
    /// Ranges of words that may be pointers, likewise.
    pub(super) maybe: Vec<(u64, u64)>,
    /// In the order of their addresses.
    pub(super) objects: Vec<StackObject>,
}

/// What is known of a program counter.
#[derive(Clone, Debug)]
struct Frame {
    /// Bits of its locals, the first of the lowest word; `None` without a map that can be read.
    locals: Option<Arc<[bool]>>,
    /// Likewise of its arguments.
    args: Option<Arc<[bool]>>,
    /// Bytes of its arguments; `None` where they differ from call to call.
    args_size: Option<u64>,
    objects: Arc<[StackRecord]>,
    /// Whether it and its caller were interrupted, and did not call.
    injected: bool,
    sigpanic: bool,
}

/// `stackObjectRecord` (runtime/stack.go).
#[derive(Clone, Copy, Debug)]
struct StackRecord {
    offset: i32,
    size: i32,
    pointer_bytes: i32,
    mask: u32,
}

/// Makes plans of stacks.
pub(super) struct StackMaps<'a> {
    program: &'a Program,
    arch: Arch,
    frames: FxHashMap<(u64, bool), Option<Frame>>,
    plans: FxHashMap<StackNode, Option<Arc<Plan>>>,
    remembered: usize,
}

impl<'a> StackMaps<'a> {
    pub(super) fn new(program: &'a Program) -> Self {
        let arch = program.elf.arch();
        Self { program, arch, frames: FxHashMap::default(), plans: FxHashMap::default(), remembered: 0 }
    }

    /// The plan for a stack; `None` where a map cannot be read.
    pub(super) fn plan(&mut self, stack: StackNode, frames: impl FnOnce() -> Vec<PhysicalFrame>) -> Option<Arc<Plan>> {
        if let Some(known) = self.plans.get(&stack) {
            return known.clone();
        }
        let plan = self.make(&frames()).map(Arc::new);
        let size = plan.as_ref().map_or(1, |plan| plan.words.len() + 4 * plan.objects.len() + 8);
        if self.remembered + size <= MAX_REMEMBERED {
            self.remembered += size;
            self.plans.insert(stack, plan.clone());
        }
        plan
    }

    fn make(&mut self, frames: &[PhysicalFrame]) -> Option<Plan> {
        let mut plan = Plan::default();
        // Whether the frame inside was interrupted, so that this one was, too.
        let (mut interrupted, mut after_sigpanic) = (false, false);
        for frame in frames {
            let info = self.frame(frame.pc, after_sigpanic)?;
            after_sigpanic = info.as_ref().is_some_and(|info| info.sigpanic);
            // Nothing of it is live after a panic by signal if it has no deferred calls.
            let Some(info) = info else { continue };
            let (sp, fp) = (frame.sp_offset, frame.fp_offset);
            let (mut varp, argp) = match self.arch {
                // The return address is below the caller's frame.
                Arch::Amd64 => (fp.checked_sub(8)?, fp),
                Arch::Arm64 => (fp, fp.checked_add(8)?),
            };
            if varp > sp {
                // The saved frame pointer.
                varp -= 8;
            }
            if interrupted || info.injected {
                plan.maybe.push((sp, varp));
                if let Some(size) = info.args_size.filter(|size| *size > 0) {
                    plan.maybe.push((argp, argp.checked_add(size)?));
                }
                interrupted = info.injected;
                continue;
            }
            let least = if self.arch == Arch::Arm64 { 16 } else { 0 };
            if varp.saturating_sub(sp) > least {
                let locals = info.locals.as_ref()?;
                let base = varp.checked_sub(8 * locals.len() as u64)?;
                plan.words.extend(set(locals).map(|n| base + 8 * n));
            }
            match (info.args_size, &info.args) {
                (Some(0), _) => {}
                (Some(_), Some(args)) => plan.words.extend(set(args).map(|n| argp + 8 * n)),
                (Some(size), None) => plan.maybe.push((argp, argp.checked_add(size)?)),
                // Stubs of reflect: arguments of any function, which they keep in their own frame too.
                (None, _) => plan.maybe.extend([(argp, argp.checked_add(4096)?), (sp, varp)]),
            }
            for record in info.objects.iter() {
                let base = if record.offset < 0 { varp } else { argp };
                plan.objects.push(StackObject {
                    at: base.checked_add_signed(record.offset.into())?,
                    size: u64::try_from(record.size).ok()?,
                    pointer_bytes: u64::try_from(record.pointer_bytes).ok(),
                    mask: record.mask,
                });
            }
        }
        plan.objects.sort_unstable_by_key(|object| object.at);
        Some(plan)
    }

    /// The outer `None` is a frame that cannot be read, the inner one a frame of which nothing is live.
    fn frame(&mut self, pc: u64, after_sigpanic: bool) -> Option<Option<Frame>> {
        if let Some(known) = self.frames.get(&(pc, after_sigpanic)) {
            return known.clone().map(Some).or_else(|| after_sigpanic.then_some(None));
        }
        let link = self.program.bias.unload(Addr(pc));
        let function = self.program.pclntab.function_at(link)?;
        // After a panic by signal the function goes on, if at all, where it calls its deferred functions.
        let at = match (after_sigpanic, function.deferreturn) {
            (false, _) => link,
            (true, 0) => {
                self.frames.insert((pc, after_sigpanic), None);
                return Some(None);
            }
            (true, offset) => LinkAddr(function.entry.0.checked_add(offset.into())?.checked_add(1)?),
        };
        let frame = self.read(&function, at)?;
        self.frames.insert((pc, after_sigpanic), Some(frame.clone()));
        Some(Some(frame))
    }

    fn read(&self, function: &Function, at: LinkAddr) -> Option<Frame> {
        let table = &self.program.pclntab;
        let index = match at == function.entry {
            true => -1,
            false => table.pcdata(function, PcData::StackMapIndex, LinkAddr(at.0.checked_sub(1)?)).ok()?,
        };
        let index = u32::try_from(index.max(0)).ok()?;
        let name = table.name(function).unwrap_or_default();
        let map = |kind| table.funcdata(function, kind).ok().flatten().and_then(|at| self.map(at, index));
        Some(Frame {
            locals: map(FuncData::LocalsPointerMaps),
            args: map(FuncData::ArgsPointerMaps),
            args_size: if function.args == i32::MIN { None } else { Some(u64::try_from(function.args).unwrap_or(0)) },
            objects: self.objects(table.funcdata(function, FuncData::StackObjects).ok()?)?,
            injected: matches!(name.as_str(), "runtime.asyncPreempt" | "runtime.debugCallV2"),
            sigpanic: name == "runtime.sigpanic",
        })
    }

    /// One map of a table of them (`stackmap` in runtime/symtab.go).
    fn map(&self, table: LinkAddr, index: u32) -> Option<Arc<[bool]>> {
        let elf = self.program.pclntab.elf();
        let header = elf.read(table, 8)?;
        let (count, bits) = (header.i32_at(0)?, u32::try_from(header.i32_at(4)?).ok()?);
        if bits == 0 && count > 0 {
            return Some(Arc::default());
        }
        if bits > MAX_BITS || i64::from(index) >= i64::from(count) {
            return None;
        }
        let len = bits.div_ceil(8);
        let at = table.0.checked_add(8)?.checked_add(u64::from(index) * u64::from(len))?;
        let bytes = elf.read(LinkAddr(at), len as usize)?;
        let bit = |n: u32| bytes.get((n / 8) as usize).is_some_and(|byte| byte >> (n % 8) & 1 != 0);
        Some((0..bits).map(bit).collect())
    }

    fn objects(&self, table: Option<LinkAddr>) -> Option<Arc<[StackRecord]>> {
        let Some(table) = table else { return Some(Arc::default()) };
        let elf = self.program.pclntab.elf();
        let count = elf.read(table, 8)?.u64_at(0)?;
        if count > MAX_OBJECTS {
            return None;
        }
        let bytes = elf.read(LinkAddr(table.0.checked_add(8)?), usize::try_from(count * 16).ok()?)?;
        let record = |bytes: &[u8]| {
            Some(StackRecord {
                offset: bytes.i32_at(0)?,
                size: bytes.i32_at(4)?,
                pointer_bytes: bytes.i32_at(8)?,
                mask: bytes.u32_at(12)?,
            })
        };
        bytes.chunks_exact(16).map(record).collect()
    }
}

fn set(bits: &[bool]) -> impl Iterator<Item = u64> {
    bits.iter().enumerate().filter(|(_, bit)| **bit).map(|(n, _)| n as u64)
}
