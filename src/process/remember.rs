//! The two verbs of recording, for those who read a target and may be recorded.
//!
//! Whatever is read of a target that is recorded enters the recording, as it was when it was read last.
//! Two things are not read so:
//!
//! * A search looks at much to find little. [`remembered`] searches what is not recorded, and keeps what was
//!   found under a key; who reads the recording is given that and searches nothing.
//! * An [`Attempt`] reads what moves, and may be thrown away. Only what is accepted counts.
//!
//! What is remembered has a version and a checksum, and is an error when it cannot be understood
//! ([`ReadError::Damaged`]): without it a recording would be searched for what it does not hold, and
//! its goroutines would get stacks that never were.

use std::fmt::Display;

use super::error::ReadError;
use super::target::{Remembered, Target};
use crate::addr::Addr;

/// Something that can be remembered.
pub trait Finding: Sized {
    /// Version of its form. It is raised by a change that an older reader would misunderstand.
    const VERSION: u32 = 1;

    /// Its form in a recording.
    fn encode(&self) -> Vec<u8>;

    /// Reads that form, of version [`Finding::VERSION`] or of those before it.
    ///
    /// # Errors
    /// When it makes no sense: what is wrong with it.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

/// What `search` finds in the target, or found when it was recorded. While it is being recorded, `search`
/// reads what is not, and what it finds is remembered.
///
/// # Errors
/// Those of `search`, and [`ReadError::Damaged`] when what was remembered cannot be understood.
pub fn remembered<F: Finding, E: From<ReadError>>(
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

/// What was remembered under `key` when `target` was recorded; `None` when nothing was.
///
/// # Errors
/// When it cannot be understood.
pub fn recall<F: Finding>(target: &dyn Target, key: &str) -> Result<Option<F>, ReadError> {
    let Some(found) = target.remembered(key) else { return Ok(None) };
    if found.version > F::VERSION {
        let what = format!("it has version {}, and this gospy reads up to {}", found.version, F::VERSION);
        return Err(damaged(key, format_args!("{what}: a newer gospy is needed")));
    }
    F::decode(&found.bytes).map(Some).map_err(|what| damaged(key, what))
}

/// Keeps `found` in the recording that is being made of `target`, if one is.
pub fn remember<F: Finding>(target: &dyn Target, key: &str, found: &F) {
    if let Some(recorder) = target.recorder() {
        recorder.remember(key, Remembered { version: F::VERSION, bytes: found.encode() });
    }
}

/// The error for what was remembered under `key` and cannot be used.
#[must_use]
pub fn damaged(key: &str, what: impl Display) -> ReadError {
    ReadError::Damaged { attachment: key.to_owned(), what: what.to_string() }
}

/// The target, without a record of what is read of it: for a look that decides something and shows nothing.
#[must_use]
pub fn unlogged(target: &dyn Target) -> &dyn Target {
    target.recorder().map_or(target, |recorder| recorder.unlogged())
}

/// An attempt to read what may change meanwhile. What it reads is not recorded, but for what is accepted.
#[derive(Clone, Copy)]
pub struct Attempt<'t> {
    target: &'t dyn Target,
}

/// Something that was accepted, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted(usize);

impl<'t> Attempt<'t> {
    /// An attempt to read something of `target`.
    #[must_use]
    pub fn at(target: &'t dyn Target) -> Self {
        Self { target }
    }

    /// What to read from.
    #[must_use]
    pub fn reader(self) -> &'t dyn Target {
        unlogged(self.target)
    }

    /// Whether anything is recorded: if not, nothing need be accepted.
    #[must_use]
    pub fn is_recorded(self) -> bool {
        self.target.recorder().is_some()
    }

    /// Records what was read: it counts, whatever is read there later. `None` when nothing is recorded.
    pub fn accept(self, addr: Addr, bytes: &[u8]) -> Option<Accepted> {
        self.target.recorder().map(|recorder| Accepted(recorder.accept(addr, bytes)))
    }

    /// What was accepted, though something else may have been accepted in its place since.
    #[must_use]
    pub fn accepted(self, accepted: Accepted) -> Vec<u8> {
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
    fn what_was_found_is_not_searched_for_again_and_the_search_leaves_no_trace() {
        let target = RecordingTarget::new(Box::new(fake()));
        let search = |target: &dyn Target| Ok::<_, ReadError>(Word(target.read_u64(Addr(0x1000))?.unwrap()));
        assert_eq!(remembered(&target, "word", search).unwrap().0, 0x0707_0707_0707_0707);
        assert!(target.recorded_ranges().is_empty());
        // Of the recording nobody asks.
        let kept = target.remembered_in_recording("word").unwrap();
        assert_eq!((kept.version, kept.bytes.len()), (2, 8));
        let recording = fake().with_remembered("word", kept);
        let none = |_: &dyn Target| -> Result<Word, ReadError> { panic!("it was searched") };
        assert_eq!(remembered(&recording, "word", none).unwrap(), Word(0x0707_0707_0707_0707));
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_and_never_searched_for() {
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
    fn an_attempt_counts_where_it_is_accepted() {
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
