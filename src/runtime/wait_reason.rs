//! `runtime.waitReasonStrings`: why goroutines wait, in the words of the very runtime that is read.
//!
//! The numbers mean different things from version to version, so nothing here knows any of them but one:
//! entry 1 has been the same since 1.19, and shows whether this is the table at all. Of the texts, it knows
//! those that say how far a goroutine's own count can be relied on.

use crate::addr::Addr;
use crate::bytes::FieldsExt as _;
use crate::process::{MemRange, ReadError, Target};

/// Text of entry 1 in every version from 1.19 to 1.27.
const ENTRY_1: &str = "GC assist marking";

/// A goroutine that has switched to another as a coroutine (`iter.Pull`; 1.22 on).
pub(crate) const COROUTINE: &str = "coroutine";

/// A goroutine that the collector has suspended.
const PREEMPTED: &str = "preempted";

/// Waits whose stacks may be kept from one reading to the next: the goroutine has parked itself, its departure was
/// counted, and nothing but being woken through the scheduler makes it go on. In a synctest bubble, a suffix is added.
/// Every other reason is rare, new, or lasts no time (`waitReasonStrings` in runtime/runtime2.go; 1.19 to 1.27).
const KEPT: [&str; 26] = [
    "IO wait",
    "chan receive (nil chan)",
    "chan send (nil chan)",
    "select",
    "select (no cases)",
    "chan receive",
    "chan send",
    "semacquire",
    "sleep",
    "sync.Cond.Wait",
    "sync.Mutex.Lock",
    "sync.RWMutex.RLock",
    "sync.RWMutex.Lock",
    "sync.WaitGroup.Wait",
    "synctest.Run",
    "synctest.Wait",
    "finalizer wait",
    "cleanup wait",
    "force gc (idle)",
    "timer goroutine (idle)",
    "trace reader (blocked)",
    "GOMAXPROCS updater (idle)",
    "GC worker (idle)",
    "GC sweep wait",
    "GC scavenge wait",
    "wait for GC cycle",
];

/// Without what says that a wait is in a synctest bubble (1.24 on).
pub(crate) fn outside_of_bubble(reason: &str) -> &str {
    reason.strip_suffix(" (durable)").or_else(|| reason.strip_suffix(" (synctest)")).unwrap_or(reason)
}

/// Some of the wait reasons, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReasonSet([u64; 4]);

impl ReasonSet {
    /// Of the texts of the table, those that a goroutine set itself when it stopped running: then `g.trackingSeq` was
    /// raised, and is again before it can wait another time. Neither is so for coroutines and for those that the
    /// collector suspended; for a reason that the table does not have, nothing is known.
    #[must_use]
    pub(crate) fn counted(reasons: &[String]) -> Self {
        Self::of(reasons, |reason| !reason.is_empty() && reason != COROUTINE && reason != PREEMPTED)
    }

    /// Those in which a goroutine's stack may be kept from one reading to the next ([`KEPT`]).
    #[must_use]
    pub(crate) fn kept(reasons: &[String]) -> Self {
        Self::of(reasons, |reason| KEPT.contains(&outside_of_bubble(reason)))
    }

    fn of(reasons: &[String], is_in: impl Fn(&str) -> bool) -> Self {
        let mut set = Self::default();
        for (number, reason) in reasons.iter().enumerate().take(MAX_ENTRIES) {
            if is_in(reason)
                && let Some(word) = set.0.get_mut(number / 64)
            {
                *word |= 1 << (number % 64);
            }
        }
        set
    }

    /// Whether reason number `reason` is one of them.
    #[must_use]
    #[inline]
    pub(crate) fn contains(&self, reason: u8) -> bool {
        self.0.get(usize::from(reason / 64)).is_some_and(|word| word >> (reason % 64) & 1 != 0)
    }
}

/// Longest text that is accepted, bytes; the longest known has 43.
const MAX_TEXT: u64 = 128;

/// Most entries; `g.waitreason` has 8 bits.
const MAX_ENTRIES: usize = 256;

/// Reads `count` strings at `addr`. A malformed entry is empty: the table's length differs between releases
/// of one minor version, and other data follow its end. `None` when this is not the table.
///
/// # Errors
/// When the target could not be read.
pub(crate) fn read_wait_reasons(
    target: &dyn Target,
    addr: Addr,
    count: usize,
) -> Result<Option<Vec<String>>, ReadError> {
    let count = count.min(MAX_ENTRIES);
    let mut headers = vec![0; count * 16];
    let there = target.read(addr, &mut headers)? / 16;
    let header = |index: usize| {
        let (at, len) = (headers.u64_at(index * 16)?, headers.u64_at(index * 16 + 8)?);
        let len = usize::try_from(Some(len).filter(|len| *len <= MAX_TEXT)?).ok()?;
        Some(MemRange { start: Addr(at), len })
    };
    let ranges: Vec<MemRange> =
        (0..there).map(|index| header(index).unwrap_or(MemRange { start: Addr(0), len: 0 })).collect();
    let mut buf = vec![0; ranges.iter().map(|range| range.len).sum()];
    let mut got = Vec::new();
    target.read_ranges(&ranges, &mut buf, &mut got)?;
    let mut rest = buf.as_slice();
    let mut out = Vec::with_capacity(there);
    for (range, got) in ranges.iter().zip(&got) {
        let Some((text, tail)) = rest.split_at_checked(range.len) else { break };
        rest = tail;
        let text = (*got == range.len).then(|| std::str::from_utf8(text).ok()).flatten().unwrap_or_default();
        out.push(text.to_owned());
    }
    Ok((out.get(1).map(String::as_str) == Some(ENTRY_1)).then_some(out))
}

#[cfg(test)]
mod tests {
    use super::ReasonSet;

    #[test]
    fn reasons_that_are_not_counted() {
        let reasons = ["", "GC assist marking", "coroutine", "select", "preempted"].map(str::to_owned);
        let mut many = reasons.to_vec();
        many.resize(200, "sleep".to_owned());
        let counted = ReasonSet::counted(&many);
        let of = |numbers: &[u8]| numbers.iter().map(|&n| counted.contains(n)).collect::<Vec<_>>();
        assert_eq!(of(&[0, 1, 2, 3, 4, 5, 63, 64, 199]), [false, true, false, true, false, true, true, true, true]);
        assert_eq!(of(&[200, 255]), [false, false]);
        assert!(!ReasonSet::counted(&[]).contains(1));
    }
    /// The texts of Go 1.19, 1.24 and 1.27 that are not on the list, as well as some that are.
    #[test]
    fn stacks_are_kept_for_reasons_on_a_list() {
        let kept = |texts: &[&str]| -> Vec<String> {
            let reasons: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            let set = ReasonSet::kept(&reasons);
            (0..).zip(reasons).filter(|(number, _)| set.contains(*number)).map(|(_, text)| text).collect()
        };
        let never = [
            "",
            "GC assist marking",
            "dumping heap",
            "garbage collection",
            "panicwait",
            "GC assist wait",
            "GC worker (active)",
            "preempted",
            "debug call",
            "GC mark termination",
            "stopping the world",
            "flushing proc caches",
            "trace goroutine status",
            "coroutine",
            "GC weak to strong wait",
            "a reason of Go 1.40",
        ];
        assert_eq!(kept(&never), [""; 0]);
        let bubbles = ["select (synctest)", "chan receive (durable)", "sync.WaitGroup.Wait (durable)", "select"];
        assert_eq!(kept(&bubbles), bubbles);
    }
}
