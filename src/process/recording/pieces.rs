//! Pieces of memory in the order they were read, merged into one recording.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};

use crate::process::target::Precedence;

/// A piece: its address and bytes.
type Piece = (u64, Box<[u8]>);

/// Memory that was read, in chronological order.
#[derive(Default)]
pub(super) struct Pieces {
    read: Vec<Piece>,
    accepted: Vec<Piece>,
    /// Reads of a moment at which all of it stood still.
    still: Vec<Piece>,
    /// Reads that replace nothing, the first of them least of all.
    beside: Vec<Piece>,
    precedence: Precedence,
    /// Ranges that are kept whole, by start: end of each. They neither touch nor overlap.
    whole: BTreeMap<u64, u64>,
}

/// How much was there at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    read: usize,
    still: usize,
    beside: usize,
}

impl Pieces {
    /// Adds an ordinary read; later reads replace it, but for what stood still, and what is kept whole.
    pub(super) fn read(&mut self, addr: u64, bytes: &[u8]) {
        if bytes.is_empty() || self.is_kept(addr, bytes.len()) {
            return;
        }
        let list = match self.precedence {
            Precedence::Usual => &mut self.read,
            Precedence::Still => &mut self.still,
            Precedence::Beside => &mut self.beside,
        };
        list.push((addr, bytes.into()));
    }

    /// From now on, reads have this precedence.
    pub(super) fn set_precedence(&mut self, precedence: Precedence) {
        self.precedence = precedence;
    }

    /// Adds a read of a range that is kept whole: reads within it add nothing from now on.
    pub(super) fn keep(&mut self, addr: u64, bytes: &[u8]) {
        self.read(addr, bytes);
        let (mut start, mut end) = (addr, addr.saturating_add(bytes.len() as u64));
        if start == end {
            return;
        }
        while let Some((&before, &upto)) = self.whole.range(..=end).next_back().filter(|(_, upto)| **upto >= start) {
            self.whole.remove(&before);
            (start, end) = (start.min(before), end.max(upto));
        }
        self.whole.insert(start, end);
    }

    fn is_kept(&self, addr: u64, len: usize) -> bool {
        let end = addr.saturating_add(len as u64);
        self.whole.range(..=addr).next_back().is_some_and(|(_, &upto)| end <= upto)
    }

    /// Number of reads so far.
    pub(super) fn counts(&self) -> Counts {
        Counts { read: self.read.len(), still: self.still.len(), beside: self.beside.len() }
    }

    /// Forgets ordinary reads, and those that stood still, after so many.
    pub(super) fn forget_after(&mut self, counts: Counts) {
        self.read.truncate(counts.read);
        self.still.truncate(counts.still);
        self.beside.truncate(counts.beside);
        self.whole.clear();
        self.precedence = Precedence::Usual;
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
        let lists = [&self.still, &self.accepted, &self.read];
        let last_first = lists.into_iter().flat_map(|list| list.iter().rev());
        for (start, bytes) in last_first.chain(&self.beside) {
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

    #[test]
    fn what_stood_still_stays_and_what_is_kept_whole_is_kept_once() {
        let mut pieces = Pieces::default();
        pieces.read(0, &[1; 8]);
        let before = pieces.counts();
        pieces.set_precedence(Precedence::Still);
        pieces.keep(4, &[2; 4]);
        pieces.keep(8, &[2; 4]);
        pieces.read(5, &[9; 6]);
        pieces.read(11, &[3; 3]);
        pieces.set_precedence(Precedence::Usual);
        pieces.read(4, &[9; 8]);
        pieces.read(12, &[9; 4]);
        pieces.accept(6, &[9; 10]);
        let mut bytes = Vec::new();
        pieces.settle().iter().for_each(|(start, part)| {
            assert_eq!(*start as usize, bytes.len());
            bytes.extend_from_slice(part);
        });
        assert_eq!(bytes, [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 9, 9]);
        assert_eq!((pieces.still.len(), pieces.read.len()), (3, 2), "within what is kept whole nothing is added");
        // What is read beside replaces nothing, though it comes later.
        pieces.set_precedence(Precedence::Beside);
        pieces.read(12, &[8; 6]);
        pieces.set_precedence(Precedence::Usual);
        let last = pieces.settle().into_iter().next_back().unwrap();
        assert_eq!(last, (16, &[8, 8][..]));
        pieces.set_precedence(Precedence::Beside);
        pieces.read(17, &[6; 2]);
        pieces.set_precedence(Precedence::Usual);
        let after = |start| pieces.settle().into_iter().find(|(at, _)| *at == start).map(|(_, bytes)| bytes.to_vec());
        assert_eq!((after(16), after(18)), (Some(vec![8, 8]), Some(vec![6])), "nor what was read so before");
        // A stop that did not hold.
        pieces.forget_after(before);
        pieces.read(4, &[7; 4]);
        assert_eq!(pieces.settle()[0], (0, &[1, 1, 1, 1][..]));
        assert_eq!(pieces.settle()[1], (4, &[7, 7][..]), "accepted reads stay");
    }

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
