//! The two recording operations, for code that reads a target that may be recorded.
//!
//! Everything read from a recorded target goes into the recording, in its last read version. Two kinds of reads
//! are different:
//!
//! * A search reads a lot to find a little. [`remembered`] runs the search unrecorded and stores its result
//!   under a key; readers of the recording get that result without a search.
//! * An [`Attempt`] reads changing memory and may be discarded. Only what it accepts is recorded.
//!
//! Stored results have a version and a checksum. One that cannot be decoded is an error
//! ([`ReadError::Damaged`]): searching the recording instead would miss memory it does not hold, and produce
//! wrong stacks.

use std::fmt::Display;

use super::error::ReadError;
use super::target::{Remembered, Target};
use crate::addr::Addr;

/// A search result that can be stored in a recording.
pub(crate) trait Finding: Sized {
    /// Version of its encoding. Raise it for changes that an older reader would misunderstand.
    const VERSION: u32 = 1;

    /// Its encoding in a recording.
    fn encode(&self) -> Vec<u8>;

    /// Decodes it, from version [`Finding::VERSION`] or earlier.
    ///
    /// # Errors
    /// What is wrong with malformed bytes.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

/// Returns what `search` finds in the target, or found when it was recorded. During a recording, `search` reads
/// the target unrecorded and its result is stored.
///
/// # Errors
/// Those of `search`, and [`ReadError::Damaged`] when a stored result cannot be decoded.
pub(crate) fn remembered<F: Finding, E: From<ReadError>>(
    target: &dyn Target,
    key: &str,
    search: impl FnOnce(&dyn Target) -> Result<F, E>,
) -> Result<F, E> {
    if let Some(known) = recall(target, key)? {
        return Ok(known);
    }
    let found = search(unlogged(target))?;
    remember(target, key, &found);
    Ok(found)
}

/// The result stored under `key` when `target` was recorded; `None` when there is none.
///
/// # Errors
/// When it cannot be decoded.
pub(crate) fn recall<F: Finding>(target: &dyn Target, key: &str) -> Result<Option<F>, ReadError> {
    let Some(found) = target.remembered(key) else { return Ok(None) };
    if found.version > F::VERSION {
        let what = format!("it has version {}, and this gospy reads up to {}", found.version, F::VERSION);
        return Err(damaged(key, format_args!("{what}: a newer gospy is needed")));
    }
    F::decode(&found.bytes).map(Some).map_err(|what| damaged(key, what))
}

/// Stores `found` in the recording of `target`, if one is being made.
pub(crate) fn remember<F: Finding>(target: &dyn Target, key: &str, found: &F) {
    if let Some(recorder) = target.recorder() {
        recorder.remember(key, Remembered { version: F::VERSION, bytes: found.encode() });
    }
}

/// The error for an unusable result stored under `key`.
#[must_use]
pub(crate) fn damaged(key: &str, what: impl Display) -> ReadError {
    ReadError::Damaged { attachment: key.to_owned(), what: what.to_string() }
}

/// The target without recording: for reads that only decide something.
#[must_use]
pub fn unlogged(target: &dyn Target) -> &dyn Target {
    target.recorder().map_or(target, |recorder| recorder.unlogged())
}

/// An attempt to read memory that may change meanwhile. Only accepted reads are recorded.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'t> {
    target: &'t dyn Target,
}

/// An accepted read, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted(usize);

impl<'t> Attempt<'t> {
    /// Starts an attempt to read `target`.
    #[must_use]
    pub(crate) fn at(target: &'t dyn Target) -> Self {
        Self { target }
    }

    /// The target to read from.
    #[must_use]
    pub(crate) fn reader(self) -> &'t dyn Target {
        unlogged(self.target)
    }

    /// Whether the target is being recorded; if not, nothing needs to be accepted.
    #[must_use]
    pub(crate) fn is_recorded(self) -> bool {
        self.target.recorder().is_some()
    }

    /// Records what was read; later reads of the same memory do not replace it. `None` when nothing is being
    /// recorded.
    pub(crate) fn accept(self, addr: Addr, bytes: &[u8]) -> Option<Accepted> {
        self.target.recorder().map(|recorder| Accepted(recorder.accept(addr, bytes)))
    }

    /// The accepted bytes, even if others were accepted in the same place since.
    #[must_use]
    pub(crate) fn accepted(self, accepted: Accepted) -> Vec<u8> {
        self.target.recorder().map(|recorder| recorder.accepted(accepted.0)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Arch;
    use crate::process::TargetExt;
    use crate::process::fake::FakeTarget;
    use crate::process::recording::RecordingTarget;

    #[derive(Debug, PartialEq)]
    struct Word(u64);

    impl Finding for Word {
        const VERSION: u32 = 2;

        fn encode(&self) -> Vec<u8> {
            self.0.to_le_bytes().to_vec()
        }

        fn decode(bytes: &[u8]) -> Result<Self, String> {
            bytes.try_into().map(|bytes| Self(u64::from_le_bytes(bytes))).map_err(|_| "it has no 8 bytes".to_owned())
        }
    }

    fn fake() -> FakeTarget {
        FakeTarget::new(Arch::Amd64).with_segment(Addr(0x1000), [7; 64])
    }

    #[test]
    fn a_stored_result_replaces_the_search_and_the_search_is_not_recorded() {
        let target = RecordingTarget::new(Box::new(fake()));
        let search = |target: &dyn Target| Ok::<_, ReadError>(Word(target.read_u64(Addr(0x1000))?.unwrap()));
        assert_eq!(remembered(&target, "word", search).unwrap().0, 0x0707_0707_0707_0707);
        assert!(target.recorded_ranges().is_empty());
        // The recording alone is enough.
        let kept = target.remembered_in_recording("word").unwrap();
        assert_eq!((kept.version, kept.bytes.len()), (2, 8));
        let recording = fake().with_remembered("word", kept);
        let none = |_: &dyn Target| -> Result<Word, ReadError> { panic!("it was searched") };
        assert_eq!(remembered(&recording, "word", none).unwrap(), Word(0x0707_0707_0707_0707));
    }

    #[test]
    fn a_damaged_result_is_an_error_without_a_new_search() {
        let none = |_: &dyn Target| -> Result<Word, ReadError> { panic!("it was searched") };
        let of = |version, bytes: &[u8]| Remembered { version, bytes: bytes.to_vec() };
        for (bad, why) in [(of(2, b"short"), "no 8 bytes"), (of(3, &[0; 8]), "newer gospy")] {
            let error = remembered(&fake().with_remembered("word", bad), "word", none).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, ReadError::Damaged { .. }), "{text}");
            assert!(text.contains("\"word\"") && text.contains(why), "{text}");
        }
        assert_eq!(remembered(&fake().with_remembered("word", of(1, &[0; 8])), "word", none).unwrap(), Word(0));
    }

    #[test]
    fn only_accepted_reads_are_recorded() {
        let target = RecordingTarget::new(Box::new(fake()));
        let attempt = Attempt::at(&target);
        assert!(attempt.is_recorded());
        let word = attempt.reader().read_array::<8>(Addr(0x1008)).unwrap().unwrap();
        assert!(target.recorded_ranges().is_empty());
        let number = attempt.accept(Addr(0x1008), &word).unwrap();
        assert_eq!(target.recorded_ranges(), [(0x1008, 8)]);
        attempt.accept(Addr(0x1008), &[1; 8]).unwrap();
        assert_eq!(attempt.accepted(number), word);
        let unrecorded = fake();
        let attempt = Attempt::at(&unrecorded);
        assert!(!attempt.is_recorded() && attempt.accept(Addr(0), &[1]).is_none());
    }
}
