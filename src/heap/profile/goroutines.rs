//! The goroutine profile of a snapshot, with the return addresses that the runtime would record: the snapshot has a
//! program counter for each physical frame, and the runtime one for each call, inlined or not.

use indexmap::IndexMap;
use indexmap::map::Entry;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::stacks::Names;
use crate::addr::Addr;
use crate::model::{
    CountProfile, CountedStack, Goroutine, Label, LabelsId, Language, Snapshot, StackId, StackState, SymbolPool,
};
use crate::runtime::GoProcess;

/// The profile of the goroutines that the program would count, as `runtime/pprof` has it (1.19 to 1.27): those of
/// its own, equal stacks with equal labels once. Of each stack there are at most `most` calls.
///
/// A goroutine whose stack is not known is in the function that it started in.
#[must_use]
pub fn goroutines(process: GoProcess<'_>, snapshot: &Snapshot, most: usize) -> CountProfile {
    let mut names = Names::new(process);
    let symbols = &snapshot.symbols;
    let mut numbers: FxHashMap<Vec<Addr>, u32> = FxHashMap::default();
    let mut stacks: Vec<Vec<Addr>> = Vec::new();
    let mut known: FxHashMap<(Option<StackId>, Option<Addr>), u32> = FxHashMap::default();
    let mut counts: IndexMap<(u32, Option<LabelsId>), u64, FxBuildHasher> = IndexMap::default();
    for goroutine in snapshot.goroutines.iter().filter(|goroutine| is_counted(goroutine)) {
        let stack = match goroutine.stack {
            StackState::Known(id) => Some(id),
            StackState::NotShown(_) => None,
        };
        let start = goroutine.start.filter(|_| stack.is_none()).and_then(|id| symbols.frame(id));
        let start = start.map(|frame| Addr(frame.entry.0.wrapping_add(1)));
        let number = *known.entry((stack, start)).or_insert_with(|| {
            let pcs = match stack {
                Some(id) => names.expanded(return_addresses(symbols, id), most),
                None => start.into_iter().collect(),
            };
            *numbers.entry(pcs).or_insert_with_key(|pcs| {
                stacks.push(pcs.clone());
                u32::try_from(stacks.len() - 1).unwrap_or(u32::MAX)
            })
        });
        let labels = goroutine.labels.filter(|&id| !symbols.labels(id).is_empty());
        match counts.entry((number, labels)) {
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(none) => {
                none.insert(1);
            }
        }
    }
    let text = |label: &Label| (symbols.str(label.key).to_owned(), symbols.str(label.value).to_owned());
    let counted = counts.into_iter().map(|((number, labels), count)| {
        let pcs = stacks.get(number as usize).cloned().unwrap_or_default();
        let labels = labels.map_or(&[][..], |id| symbols.labels(id)).iter().map(text).collect();
        CountedStack { stack: names.stack(pcs), labels, count }
    });
    let stacks = counted.collect();
    CountProfile { name: "goroutine", stacks, symbols: names.pool.view() }
}

/// Whether the program itself counts it.
fn is_counted(goroutine: &Goroutine) -> bool {
    !goroutine.system && !goroutine.status.is_dead()
}

/// Of the physical frames, innermost first. Where a program counter is no return address, the one after it stands
/// for it: that of a function which has not begun, or was interrupted by a signal.
fn return_addresses(symbols: &SymbolPool, id: StackId) -> impl Iterator<Item = Addr> {
    /// Functions that nothing calls (`injectedCall` in runtime/traceback.go).
    const INJECTED: [&str; 3] = ["runtime.sigpanic", "runtime.asyncPreempt", "runtime.debugCallV2"];
    let frames = symbols.stack(id).map_or(&[][..], |stack| &stack.frames);
    let physical = frames.iter().filter_map(|frame| symbols.frame(frame.frame)).filter(|frame| !frame.inlined);
    let mut is_interrupted = false;
    physical.filter(|frame| frame.language == Language::Go).map(move |frame| {
        let is_exact = frame.pc == frame.entry || is_interrupted;
        is_interrupted = INJECTED.contains(&symbols.str(frame.function));
        Addr(frame.pc.0.wrapping_add(is_exact.into()))
    })
}
