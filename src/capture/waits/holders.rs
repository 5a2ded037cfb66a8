//! Who probably holds a lock.
//!
//! Go's locks do not record who holds them. But who has locked one and is to unlock it usually keeps a pointer to
//! it: so a goroutine on whose stack the lock's exact address is, in a frame that is not the runtime's, and that
//! does not wait for it, is a likely holder. Nothing is found for a lock that is a global variable, and for one that its holder never touches
//! again.
//!
//! That takes one more look at the stacks, and only when somebody waits for a lock. Of a program with very many
//! goroutines those that wait for the one most wanted lock are left out; with more than that, nothing is looked
//! for.

use rustc_hash::FxHashMap;

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::go_names::is_runtime;
use crate::model::wait::{HolderEvidence, LikelyHolder, ObjectState};
use crate::model::{Goroutine, StrId, SymbolPool, WaitObject, WaitObjectId, Waits};
use crate::process::{MemRange, ReadError};
use crate::runtime::GoProcess;
use crate::runtime::frontier::{Budget, Frontier};

/// Most stacks that are searched.
const MAX_STACKS: usize = 200_000;
/// Most bytes of each, from its stack pointer on.
const MAX_STACK: u64 = 64 << 10;
/// Most bytes of all together.
const MAX_BYTES: u64 = 1 << 30;

/// Gives locks that are waited for those who probably hold them.
pub(super) fn find(
    process: GoProcess<'_>,
    pool: &SymbolPool,
    goroutines: &[Goroutine],
    waits: &mut Waits,
) -> Result<(), ReadError> {
    let is_lock = |object: &WaitObject| matches!(object.state, ObjectState::Mutex(_) | ObjectState::RwMutex(_));
    let wanted = || waits.objects().filter(|(_, object)| is_lock(object) && object.goroutines > 0);
    let Some((most, _)) = wanted().max_by_key(|(_, object)| object.goroutines) else { return Ok(()) };
    let Some(searched) = searched(goroutines, waits, most) else { return Ok(()) };
    let locks: FxHashMap<u64, WaitObjectId> = wanted().map(|(id, object)| (object.addr.0, id)).collect();
    let mut holders: FxHashMap<WaitObjectId, Vec<LikelyHolder>> = FxHashMap::default();
    let (low, high) = locks.keys().fold((u64::MAX, 0), |(low, high), &at| (low.min(at), high.max(at)));
    let mut stacks: Vec<(MemRange, &Goroutine)> = searched.iter().filter_map(|goroutine| stack(goroutine)).collect();
    stacks.sort_unstable_by_key(|(range, _)| *range);
    let mut rest = stacks.as_slice();
    let mut frontier = Frontier::new(process.target, Budget { objects: MAX_STACKS, bytes: MAX_BYTES, depth: 0 });
    frontier.ranges(stacks.iter().map(|(range, _)| *range), |range, bytes| {
        while let Some(((of, goroutine), after)) = rest.split_first().filter(|((of, _), _)| *of <= range) {
            rest = after;
            if *of != range {
                continue;
            }
            let own = waits.get_lock(goroutine);
            let words = (0_u64..).zip(bytes.chunks_exact(8).filter_map(|word| word.u64_at(0)));
            for (n, word) in words.filter(|(_, word)| (low..=high).contains(word)) {
                let Some(&lock) = locks.get(&word).filter(|&&lock| Some(lock) != own) else { continue };
                let Some(function) = function(pool, goroutine, 8 * n) else { continue };
                let of_lock = holders.entry(lock).or_default();
                let known = of_lock.iter().any(|holder| holder.goroutine == goroutine.id);
                if !known && of_lock.len() < WaitObject::MAX_HOLDERS {
                    let at = Addr(range.start.0.wrapping_add(8 * n));
                    let evidence = HolderEvidence::OnStack { at, function: Some(function) };
                    of_lock.push(LikelyHolder { goroutine: goroutine.id, evidence });
                }
            }
        }
    })?;
    if frontier.is_cut() {
        return Ok(());
    }
    for lock in locks.into_values() {
        let mut of_lock = holders.remove(&lock).unwrap_or_default();
        of_lock.sort_unstable();
        if let Some(object) = waits.object_mut(lock) {
            object.likely_holders = Some(of_lock.into());
        }
    }
    Ok(())
}

/// The function in whose frame the byte at `offset` of a goroutine's stack is. `None` in the runtime's own: its
/// functions hold no locks of package sync, and leave words of earlier calls in their large frames.
fn function(pool: &SymbolPool, goroutine: &Goroutine, offset: u64) -> Option<StrId> {
    let frames = &pool.stack(goroutine.stack.known()?)?.frames;
    // Of those that were inlined into each other the outermost.
    let last = frames.partition_point(|frame| frame.sp_offset <= offset).checked_sub(1)?;
    let frame = pool.frame(frames.get(last).filter(|frame| offset < frame.fp_offset)?.frame)?;
    (!is_runtime(pool.str(frame.function), pool.str(frame.file))).then_some(frame.function)
}

/// The used part of a goroutine's stack, where that is known.
fn stack(goroutine: &Goroutine) -> Option<(MemRange, &Goroutine)> {
    let used = goroutine.stack_used().filter(|_| goroutine.stack.known().is_some())?.min(MAX_STACK);
    Some((MemRange { start: goroutine.sp, len: usize::try_from(used & !7).ok()? }, goroutine))
}

/// The goroutines whose stacks are to be searched, with `most` the lock that most wait for; `None` where they are
/// too many.
fn searched<'g>(goroutines: &'g [Goroutine], waits: &Waits, most: WaitObjectId) -> Option<Vec<&'g Goroutine>> {
    if goroutines.len() <= MAX_STACKS {
        return Some(goroutines.iter().collect());
    }
    let waiting = waits.object(most).map_or(0, |object| object.goroutines);
    let left = goroutines.len().saturating_sub(waiting as usize);
    let others = || goroutines.iter().filter(|goroutine| waits.get_lock(goroutine) != Some(most));
    (left <= MAX_STACKS).then(|| others().collect())
}
