//! How much memory reading a recording may take: what it says is compressed, so that a small file can claim much.
//!
//! Memory is counted as it is when decoded, not as it is encoded. A recording of a program takes at most about 80 bytes
//! of memory for each byte of its file: goroutines have ids and addresses of their own, which do not compress further.

/// Allowed for any file, bytes.
const LEAST: u64 = 256 << 20;
/// Allowed for each byte of a file, bytes.
const FOR_EACH_BYTE: u64 = 256;
/// Never more than this, bytes: four million goroutines.
const MOST: u64 = 4 << 30;

/// Most memory that parts of a recording may take, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// The names that its samples share.
    pub(super) names: usize,
    /// One sample: its encoding, its lists, and the snapshot that is made of them.
    pub(super) sample: usize,
}

impl Room {
    /// That of a file of this length, bytes.
    pub(super) fn of_file(len: u64) -> Self {
        let all = len.saturating_mul(FOR_EACH_BYTE).saturating_add(LEAST).min(MOST);
        let sample = usize::try_from(all).unwrap_or(usize::MAX);
        Self { names: sample / 4, sample }
    }
}

/// Something in a list of a sample, which may own memory.
pub(super) trait Held: Sized {
    /// Most memory that one of `encoded` bytes owns, bytes.
    fn owns_at_most(encoded: usize) -> usize {
        // An empty text takes one byte, and a `String` for it.
        encoded.saturating_mul(size_of::<String>())
    }

    /// Memory that it owns, bytes; it has `encoded` bytes when it is encoded.
    fn owns(&self, encoded: usize) -> usize {
        Self::owns_at_most(encoded)
    }

    /// All that it takes, bytes: in the list before, in the next one, which grows, and in the snapshot.
    fn takes(&self, encoded: usize) -> usize {
        size_of::<(Self, u32)>().saturating_mul(4).saturating_add(self.owns(encoded).saturating_mul(2))
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn small_files_have_enough_and_large_ones_no_more_than_is_sensible() {
        assert_eq!(Room::of_file(0).sample, 256 << 20);
        assert_eq!(Room::of_file(1 << 20).sample, 512 << 20);
        assert_eq!(Room::of_file(u64::MAX), Room { names: 1 << 30, sample: 4 << 30 });
    }
}
