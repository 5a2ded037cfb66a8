//! The words of an object that are pointers, in all the ways in which versions mark them (runtime/mbitmap.go).
//!
//! Each object is cut at the end of its slot. A map that is missing makes every word a pointer.

use super::spans::{Kind, Span};
use super::types::{TypeMask, Types};
use crate::process::ReadError;

/// A part of a span, and what the arena's bitmaps say of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Piece<'b> {
    /// Where it starts, bytes from the start of the span; a multiple of a page.
    pub(super) offset: u64,
    pub(super) words: &'b [[u8; 8]],
    pub(super) maps: Maps<'b>,
}

/// What an arena says of a piece.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Maps<'b> {
    /// Nothing that could be read.
    #[default]
    None,
    /// A byte for each four words: the low half has their pointers, the high half whether more follow.
    TwoBits(&'b [u8]),
    /// A bit for each word, and one for each 64 words after which an object has no more pointers.
    OneBit(&'b [u8], &'b [u8]),
}

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A pointer for certain.
    Pointer,
    /// It may be one.
    Maybe,
}

#[inline]
fn bits(bytes: &[u8], index: usize) -> u64 {
    bytes.as_chunks::<8>().0.get(index).map_or(0, |word| u64::from_le_bytes(*word))
}

impl Piece<'_> {
    /// A word of the piece; 0 beyond its end.
    #[inline]
    pub(super) fn word(&self, index: u64) -> u64 {
        self.words.get(index as usize).map_or(0, |word| u64::from_le_bytes(*word))
    }

    /// The words of object `index` of `span` that are in this piece.
    ///
    /// Whether there may be more of it in the next piece.
    #[inline]
    pub(super) fn each(
        &self,
        span: &Span,
        index: u32,
        large: Option<u64>,
        types: &mut Types<'_>,
        mut each: impl FnMut(u64, Word),
    ) -> Result<bool, ReadError> {
        // In words from the start of the piece; the object may have begun before it.
        let piece = self.words.len() as u64;
        let before = self.offset / 8;
        let first = span.offset(index) / 8;
        let end = first + span.size() / 8;
        match span.kind {
            Kind::NoScan => Ok(false),
            Kind::InSpan(at) => {
                self.in_span(u64::from(at) / 8, first, end - first, each);
                Ok(false)
            }
            Kind::Header => {
                match types.get(self.word(first))? {
                    Some(mask) => self.by_type(&mask, (first + 1, end), 0, each),
                    None => self.all(first + 1, end, &mut each),
                }
                Ok(false)
            }
            Kind::Large => {
                let end = end.saturating_sub(before);
                match large.map_or(Ok(None), |ty| types.get(ty))? {
                    Some(mask) => self.by_type(&mask, (0, end.min(piece)), before, each),
                    None => self.all(0, end, &mut each),
                }
                Ok(end > piece)
            }
            Kind::Arena => {
                let (from, end) = (first.saturating_sub(before), end.saturating_sub(before));
                match self.maps {
                    Maps::None => {
                        self.all(from, end, &mut each);
                        Ok(end > piece)
                    }
                    Maps::TwoBits(map) => Ok(self.two_bits(map, from, end, each)),
                    Maps::OneBit(map, no_more) => Ok(self.one_bit(map, no_more, from, end, each)),
                }
            }
            Kind::Unknown => {
                self.all(first.saturating_sub(before), end.saturating_sub(before), &mut each);
                Ok(end.saturating_sub(before) > piece)
            }
        }
    }

    fn all(&self, from: u64, end: u64, each: &mut impl FnMut(u64, Word)) {
        let words = self.words.get(from as usize..end.min(self.words.len() as u64) as usize).unwrap_or_default();
        for word in words {
            each(u64::from_le_bytes(*word), Word::Maybe);
        }
    }

    /// Which of at most 64 words from `first` on are pointers, by the bitmap at word `map` of the piece.
    #[inline]
    pub(super) fn mask_in_span(&self, map: u64, first: u64, count: u64) -> u64 {
        let (at, shift) = (map + first / 64, first % 64);
        let mut mask = self.word(at) >> shift;
        if shift + count > 64 {
            mask |= self.word(at + 1) << (64 - shift);
        }
        if count < 64 {
            mask &= (1 << count) - 1;
        }
        mask
    }

    /// At most 64 words, by the bitmap at word `map` of the piece.
    #[inline]
    fn in_span(&self, map: u64, first: u64, count: u64, mut each: impl FnMut(u64, Word)) {
        let mut mask = self.mask_in_span(map, first, count);
        while mask != 0 {
            let word = u64::from(mask.trailing_zeros());
            mask &= mask - 1;
            each(self.word(first + word), Word::Pointer);
        }
    }

    /// The words `from..end` of the piece, filled with values of a type, of which the one `before` words before
    /// the piece's first was the first.
    fn by_type(&self, ty: &TypeMask, (from, end): (u64, u64), before: u64, mut each: impl FnMut(u64, Word)) {
        // Where the current value starts, from the word `from` of the piece on.
        let mut into = before % ty.words;
        let mut at = from;
        while at < end {
            let left = ty.words - into;
            for (n, &bits) in ty.mask.iter().enumerate().skip((into / 64) as usize) {
                let mut bits = bits;
                if (n as u64) == into / 64 {
                    bits &= u64::MAX << (into % 64);
                }
                while bits != 0 {
                    let word = at + 64 * n as u64 + u64::from(bits.trailing_zeros()) - into;
                    bits &= bits - 1;
                    if word >= end {
                        return;
                    }
                    each(self.word(word), Word::Pointer);
                }
            }
            at += left;
            into = 0;
        }
    }

    fn two_bits(&self, map: &[u8], from: u64, end: u64, mut each: impl FnMut(u64, Word)) -> bool {
        let piece = self.words.len() as u64;
        for at in from..end.min(piece) {
            let byte = map.get((at / 4) as usize).copied().unwrap_or(0);
            let bit = at % 4;
            if byte >> (4 + bit) & 1 == 0 {
                return false;
            }
            if byte >> bit & 1 != 0 {
                each(self.word(at), Word::Pointer);
            }
        }
        end > piece
    }

    fn one_bit(&self, map: &[u8], no_more: &[u8], from: u64, end: u64, mut each: impl FnMut(u64, Word)) -> bool {
        let piece = self.words.len() as u64;
        let mut at = from;
        while at < end.min(piece) {
            let (index, shift) = (at / 64, at % 64);
            let mut mask = bits(map, index as usize) >> shift;
            let valid = 64 - shift;
            let mut last = false;
            if end - at <= valid {
                if end - at < 64 {
                    mask &= (1 << (end - at)) - 1;
                }
            } else {
                last = no_more.get((index / 8) as usize).is_some_and(|byte| byte >> (index % 8) & 1 != 0);
            }
            while mask != 0 {
                let word = u64::from(mask.trailing_zeros());
                mask &= mask - 1;
                each(self.word(at + word), Word::Pointer);
            }
            if last {
                return false;
            }
            at += valid;
        }
        end > piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(words: &[[u8; 8]]) -> Piece<'_> {
        Piece { offset: 0, words, maps: Maps::None }
    }

    fn numbered(count: u64) -> Vec<[u8; 8]> {
        (0..count).map(u64::to_le_bytes).collect()
    }

    fn found(walk: impl FnOnce(&mut dyn FnMut(u64, Word))) -> Vec<u64> {
        let mut out = Vec::new();
        walk(&mut |word, _| out.push(word));
        out
    }

    #[test]
    fn a_bitmap_at_the_end_of_a_span_is_read_across_its_words() {
        let mut words = numbered(64);
        // The map is in word 60 on: objects of 40 words, so that the second begins at bit 40.
        words[60] = (1_u64 << 40 | 1 << 63 | 1).to_le_bytes();
        words[61] = (1_u64 | 1 << 15 | 1 << 16).to_le_bytes();
        let piece = piece(&words);
        assert_eq!(found(|f| piece.in_span(60, 0, 40, f)), [0]);
        // Word 16 of the second map word is the third object's, and not there.
        assert_eq!(found(|f| piece.in_span(60, 40, 40, f))[0], 40);
        assert_eq!(found(|f| piece.in_span(60, 40, 40, f)).len(), 4);
    }

    #[test]
    fn values_of_a_type_repeat_to_the_end_and_across_pieces() {
        let words = numbered(32);
        let ty = TypeMask { words: 5, mask: Box::new([0b01001]) };
        let whole = piece(&words);
        assert_eq!(found(|f| whole.by_type(&ty, (1, 14), 0, f)), [1, 4, 6, 9, 11]);
        // The same array from its seventh word on.
        let rest: Vec<[u8; 8]> = words[7..].to_vec();
        assert_eq!(found(|f| piece(&rest).by_type(&ty, (0, 9), 7, f)), [8, 10, 13, 15]);
        let wide = TypeMask { words: 200, mask: Box::new([1 << 63, 1]) };
        let words = numbered(300);
        assert_eq!(found(|f| piece(&words).by_type(&wide, (0, 300), 0, f)), [63, 64, 263, 264]);
        assert_eq!(found(|f| piece(&words).by_type(&wide, (0, 300), 64, f)), [0, 199, 200]);
    }

    #[test]
    fn old_bitmaps_end_where_they_say() {
        let words = numbered(256);
        let piece = piece(&words);
        // 1.19: pointer, scalar, pointer, then "no more"; a pointer bit after that does not count.
        assert_eq!(found(|f| assert!(!piece.two_bits(&[0b0111_1101, 0xff], 0, 8, f))), [0, 2]);
        // From the middle of a byte on.
        assert_eq!(found(|f| assert!(!piece.two_bits(&[0b1100_1100, 0], 2, 8, f))), [2, 3]);
        // 1.21: an object of 150 words from word 60 on; garbage after the bit that ends it does not count.
        let mut map = vec![0_u8; 32];
        map[7] = 0b1001_0000;
        map[8] = 0b10;
        map[16] = 0xff;
        assert_eq!(found(|f| assert!(!piece.one_bit(&map, &[0b10], 60, 210, f))), [60, 63, 65]);
        assert_eq!(found(|f| assert!(!piece.one_bit(&map, &[0], 60, 62, f))), [60]);
        assert_eq!(found(|f| assert!(piece.one_bit(&map, &[0], 60, 300, f))).len(), 11);
    }
}
