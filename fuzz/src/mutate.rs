//! Mutations: what an input becomes.

use crate::bases::NUMBERS;
use crate::targets::Target;

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// One below `n`; 0 where that is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.any() % n.max(1) as u64) as usize
    }
}

/// Changes `input` a few times. `other` is another input, parts of which may come into it.
pub fn mutate(random: &mut Random, target: &Target, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..1 << random.below(5) {
        once(random, target, input, other);
    }
    input.truncate(target.longest);
}

fn once(random: &mut Random, target: &Target, input: &mut Vec<u8>, other: &[u8]) {
    let len = input.len();
    let at = random.below(len);
    match random.below(10) {
        0 if len > 0 => input[at] ^= 1 << random.below(8),
        1 if len > 0 => input[at] = random.any() as u8,
        2 if len > 0 => input[at] = input[at].wrapping_add(random.below(33) as u8).wrapping_sub(16),
        3 => {
            let size = 1 << random.below(4);
            let word = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
            input.iter_mut().skip(at).zip(&word[..size]).for_each(|(to, from)| *to = *from);
        }
        4 => drop(input.drain(at..at + random.below(len - at).min(32))),
        5 => {
            let new: Vec<u8> = (0..1 + random.below(16)).map(|_| random.any() as u8).collect();
            insert(input, at, &new);
        }
        6 if len > 0 => {
            let part = input[at..at + random.below(len - at).min(64)].to_vec();
            let to = random.below(len);
            insert(input, to, &part);
        }
        7 if !other.is_empty() => {
            let from = random.below(other.len());
            let part = &other[from..from + random.below(other.len() - from).min(256)];
            if random.below(2) == 0 {
                insert(input, at, part);
            } else {
                input.iter_mut().skip(at).zip(part).for_each(|(to, from)| *to = *from);
            }
        }
        8 if !target.words.is_empty() => insert(input, at, target.words[random.below(target.words.len())]),
        9 if random.below(8) == 0 => input.truncate(at),
        _ => {
            let word = random.any().to_le_bytes();
            input.iter_mut().skip(at).zip(&word[..1 << random.below(4)]).for_each(|(to, from)| *to = *from);
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    input.splice(at..at, part.iter().copied());
}
