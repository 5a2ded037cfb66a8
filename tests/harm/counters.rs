//! The counters that a target shares with the test, as fixtures/gostorm/counters.h lays them out. They are
//! read from the file that the target has mapped, so that nothing asks anything of the target itself.

use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// A counter's place, as in counters.h.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    /// Goes up for as long as the target does what it is for.
    Progress = 0,
    /// Real-time signals queued.
    RtSent = 2,
    /// Real-time signals handled.
    RtSeen = 3,
    /// SIGUSR1s handled.
    Usr1Seen = 4,
    /// SIGCONTs handled.
    ContSeen = 5,
    /// Children started.
    Forks = 6,
    /// SIGCHLDs handled.
    ChildSeen = 7,
    /// Children without a SIGCHLD.
    ChildLost = 8,
    /// Expirations of the timer by the clock.
    TicksDue = 10,
    /// How many more, or fewer, were counted.
    TicksDiff = 11,
    /// Set to have the traffic end, or an exec happen.
    Quiesce = 12,
    /// How many parts of the traffic have ended.
    Settled = 13,
    /// Set by a freezer: how often it has frozen.
    Freezes = 14,
    /// Set at an end that was asked for: 1 + the exit status.
    Ended = 15,
}

/// What a target may find not as it has to be, and the word that counts it.
const CHECKED: [(&str, u64); 5] = [
    ("results of computations", 16),
    ("its own code", 17),
    ("what went through channels, pipes and sockets", 18),
    ("expirations of timers", 19),
    ("outputs and statuses of children", 20),
];

/// Where the counts of interruptions begin.
const EINTR_FIRST: u64 = 64;
/// Where the bytes begin that say how often each value was received.
const VALUES: u64 = 512 * 8;

/// A file of counters, gone when this is.
pub(crate) struct Counters(NamedTempFile);

impl Counters {
    /// All zero.
    pub(crate) fn new() -> Counters {
        Counters(NamedTempFile::new().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// 0 for what the target has not made yet.
    fn at(&self, offset: u64) -> [u8; 8] {
        let mut bytes = [0; 8];
        match self.0.as_file().read_exact_at(&mut bytes, offset) {
            Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => panic!("{e}"),
            _ => bytes,
        }
    }

    pub(crate) fn get(&self, word: Word) -> u64 {
        u64::from_le_bytes(self.at(word as u64 * 8))
    }

    pub(crate) fn signed(&self, word: Word) -> i64 {
        i64::from_le_bytes(self.at(word as u64 * 8))
    }

    pub(crate) fn set(&self, word: Word, value: u64) {
        write(self.0.as_file(), word, value);
    }

    /// What the target found wrong so far, and how often.
    pub(crate) fn found_wrong(&self) -> Vec<(&'static str, u64)> {
        let counted = CHECKED.iter().map(|(what, word)| (*what, u64::from_le_bytes(self.at(word * 8))));
        counted.filter(|(_, times)| *times > 0).collect()
    }

    /// How often the call of that kind of sleeper failed with EINTR.
    pub(crate) fn interruptions(&self, kind: usize) -> u64 {
        u64::from_le_bytes(self.at((EINTR_FIRST + kind as u64) * 8))
    }

    /// How often each of the first values was received.
    pub(crate) fn values(&self, count: u64) -> Vec<u8> {
        let mut seen = vec![0; usize::try_from(count).unwrap()];
        self.0.as_file().read_exact_at(&mut seen, VALUES).unwrap();
        seen
    }
}

/// Sets a counter of a file.
pub(crate) fn write(file: &std::fs::File, word: Word, value: u64) {
    file.write_all_at(&value.to_le_bytes(), word as u64 * 8).unwrap();
}
