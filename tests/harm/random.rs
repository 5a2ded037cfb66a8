//! Random moments, from a seed that can be given.

use std::time::Duration;

/// A generator of the xorshift family: moments need no better one.
pub(crate) struct Random(u64);

impl Random {
    /// `GOSPY_HARM_SEED`.
    pub(crate) fn given_seed() -> Option<u64> {
        std::env::var("GOSPY_HARM_SEED").ok().map(|text| text.parse().expect("GOSPY_HARM_SEED"))
    }

    /// Of the seed that is given (1 if there is none) and a label, so that each test has moments of its own.
    pub(crate) fn new(label: &str) -> Random {
        Random::of(Random::given_seed().unwrap_or(1), label)
    }

    /// Of a seed and a label.
    pub(crate) fn of(seed: u64, label: &str) -> Random {
        let mixed = label.bytes().fold(seed ^ 0x9e37_79b9_7f4a_7c15, |sum: u64, byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Random(mixed | 1)
    }

    /// From 0 to `end`, which is not included.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }

    /// From nothing to `end` microseconds.
    pub(crate) fn micros(&mut self, end: u64) -> Duration {
        Duration::from_micros(self.below(end))
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
