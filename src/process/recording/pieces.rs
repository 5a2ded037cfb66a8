//! Pieces of memory in the order they were read, merged into one recording.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

/// A piece: its address and bytes.
type Piece = (u64, Box<[u8]>);

/// Memory that was read, in chronological order.
#[derive(Default)]
pub(super) struct Pieces {
    read: Vec<Piece>,
    accepted: Vec<Piece>,
}

impl Pieces {
    /// Adds an ordinary read; later reads replace it.
    pub(super) fn read(&mut self, addr: u64, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.read.push((addr, bytes.into()));
        }
    }

    /// Number of ordinary reads so far.
    pub(super) fn count(&self) -> usize {
        self.read.len()
    }

    /// Forgets ordinary reads after the first so many.
    pub(super) fn forget_after(&mut self, count: usize) {
        self.read.truncate(count);
    }

    /// Adds an accepted read; only later accepted reads replace it.
    pub(super) fn accept(&mut self, addr: u64, bytes: &[u8]) -> usize {
        self.accepted.push((addr, bytes.into()));
        self.accepted.len() - 1
    }

    /// The accepted read of that number.
    pub(super) fn accepted(&self, number: usize) -> &[u8] {
        self.accepted.get(number).map_or(&[], |(_, bytes)| bytes)
    }

    /// The resulting bytes, in address order and without overlaps.
    pub(super) fn settle(&self) -> Vec<(u64, &[u8])> {
        let mut settled: BTreeMap<u64, &[u8]> = BTreeMap::new();
        for (start, bytes) in self.accepted.iter().rev().chain(self.read.iter().rev()) {
            fill_gaps(&mut settled, *start, bytes);
        }
        settled.into_iter().collect()
    }
}

/// Adds those of `bytes` that are not settled yet.
fn fill_gaps<'b>(settled: &mut BTreeMap<u64, &'b [u8]>, start: u64, bytes: &'b [u8]) {
    let end_of = |start: u64, bytes: &[u8]| start.saturating_add(bytes.len() as u64);
    let end = end_of(start, bytes);
    let mut at = start;
    if let Some((&before, there)) = settled.range(..=start).next_back() {
        at = at.max(end_of(before, there));
    }
    let mut gaps = Vec::new();
    if at < end {
        for (&next, there) in settled.range((Excluded(start), Included(end))) {
            if at < next.min(end) {
                gaps.push((at, next.min(end)));
            }
            at = at.max(end_of(next, there));
        }
        if at < end {
            gaps.push((at, end));
        }
    }
    for (from, upto) in gaps {
        let range = usize::try_from(from - start).ok().zip(usize::try_from(upto - start).ok());
        if let Some(part) = range.and_then(|(from, upto)| bytes.get(from..upto)) {
            settled.insert(from, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn later_reads_win_and_accepted_reads_win_over_all(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..64, 0_usize..24, any::<u8>()), 0..60)
        ) {
            let mut pieces = Pieces::default();
            let (mut read, mut accepted) = ([None; 100], [None; 100]);
            for (accept, start, len, byte) in steps {
                let bytes = vec![byte; len];
                let model = if accept { &mut accepted } else { &mut read };
                model[usize::try_from(start).unwrap()..][..len].fill(Some(byte));
                if accept {
                    pieces.accept(start, &bytes);
                } else {
                    pieces.read(start, &bytes);
                }
            }
            let mut found = [None; 100];
            for (start, bytes) in pieces.settle() {
                for (i, &byte) in bytes.iter().enumerate() {
                    let slot = &mut found[usize::try_from(start).unwrap() + i];
                    prop_assert!(slot.is_none(), "{start} twice");
                    *slot = Some(byte);
                }
            }
            let expected: Vec<Option<u8>> = accepted.iter().zip(&read).map(|(accepted, read)| accepted.or(*read)).collect();
            prop_assert_eq!(found.to_vec(), expected);
        }
    }
}
