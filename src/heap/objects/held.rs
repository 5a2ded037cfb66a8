//! What a capture of a heap holds beside it, so that objects have the types in it that they have in the program.
//!
//! Descriptors and names of types lie together in read-only data, and are kept whole. Of what lies elsewhere, masks of
//! pointers and tables of methods, a walk over the heap finds what its objects need. None of it changes, so it is read
//! when the program runs.

use super::pass::waiting_channels;
use super::typing::{Seeds, Typing, channels_at};
use super::variables::VariableTypes;
use crate::capture::allgs;
use crate::heap::goroutines::Goroutines;
use crate::heap::leaks::Heap;
use crate::heap::marker::{Marker, locked};
use crate::heap::queues::Queues;
use crate::heap::roots::{Roots, modules};
use crate::heap::{HeapError, waits};
use crate::model::Warnings;
use crate::process::MemRange;
use crate::runtime::GoProcess;

/// Most bytes of descriptors that are kept; a binary of 100 MB has 10 MB of them.
const MOST_BYTES: u64 = 256 << 20;

/// Where the type data is that objects on a marked heap need; nothing where the version or the program has none.
///
/// # Errors
/// When the target could not be read.
pub(in crate::heap) fn type_data(
    process: GoProcess<'_>,
    heap: &Heap,
    marker: &Marker<'_>,
    variables: &VariableTypes,
    (queues, threads): (Queues, usize),
) -> Result<Vec<MemRange>, HeapError> {
    let Some(typing) = Typing::new(process, marker, None, None) else { return Ok(Vec::new()) };
    let range = locked(&typing.book).range();
    if range.end.saturating_sub(range.start) > MOST_BYTES {
        return Ok(Vec::new());
    }
    let channels = channels(process, heap, marker)?;
    let (layout, unheard) = (&heap.layout, &mut Vec::new());
    let mut roots = Roots { process, layout, marker, queues, unproven: unheard };
    let mut finalized = roots.specials()?;
    finalized.extend(roots.queued()?);
    let seeds = Seeds { gs: &[], sudogs: &[], channels: &channels, variables, finalized: &finalized };
    typing.run(process, &modules(process, &heap.layout)?, seeds, threads)?;
    Ok(locked(&typing.book).sources())
}

/// Reads the channels that goroutines wait for: those whose values have no pointers are in no span that is kept.
///
/// # Errors
/// When the target could not be read.
pub(in crate::heap) fn read_channels(
    process: GoProcess<'_>,
    heap: &Heap,
    marker: &Marker<'_>,
) -> Result<(), HeapError> {
    channels_at(process, &channels(process, heap, marker)?)?;
    Ok(())
}

fn channels(process: GoProcess<'_>, heap: &Heap, marker: &Marker<'_>) -> Result<Vec<u64>, HeapError> {
    let gs = allgs::read(process, &mut Warnings::default())?;
    let list = Goroutines::read(process, &heap.layout, gs)?.list;
    let waited = waits::read(process, &heap.layout, &list, marker, &modules(process, &heap.layout)?)?;
    Ok(waiting_channels(&list, waited.objects))
}
