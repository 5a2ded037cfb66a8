//! Numbers and states in the words of the live view.

use crate::analysis::Index;
use crate::model::{Status, WaitReasonId};
use crate::report::units::count;

use super::grouping::Group;

/// A count within `room` columns: with commas where they fit, else in thousands, millions and so on,
/// rounded down.
#[must_use]
pub(crate) fn compact(value: u64, room: usize) -> String {
    let full = count(value);
    if full.len() <= room {
        return full;
    }
    let units = [(1_000_u64, 'k'), (1_000_000, 'M'), (1_000_000_000, 'G'), (1_000_000_000_000, 'T')];
    let shortened = units.iter().rev().flat_map(|&(unit, letter)| {
        let (whole, tenth) = (value / unit, value % unit / (unit / 10));
        [format!("{whole}.{tenth}{letter}"), format!("{whole}{letter}")]
    });
    shortened.into_iter().find(|text| text.len() <= room && !text.starts_with('0')).unwrap_or(full)
}

/// A change within `room` columns.
#[must_use]
pub(crate) fn compact_signed(change: i64, room: usize) -> String {
    match change {
        0 => "0".to_owned(),
        _ => {
            let sign = if change > 0 { '+' } else { '−' };
            format!("{sign}{}", compact(change.unsigned_abs(), room.saturating_sub(1)))
        }
    }
}

/// A change: `+12`, `−3`, `0`.
#[must_use]
pub(crate) fn signed(change: i64) -> String {
    match change {
        0 => "0".to_owned(),
        1.. => format!("+{}", count(change.unsigned_abs())),
        _ => format!("−{}", count(change.unsigned_abs())),
    }
}

/// A change a second: `+20.1/s`. What would be shown as zero is `0/s`, without a sign.
#[must_use]
pub(crate) fn rate(per_second: f64) -> String {
    let size = per_second.abs();
    if !size.is_finite() {
        return "?/s".to_owned();
    }
    let text = match size {
        ..0.005 => return "0/s".to_owned(),
        ..0.995 => format!("{size:.2}"),
        ..99.5 => format!("{size:.1}"),
        _ => {
            // Larger than any count can change.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is finite and not negative"
            )]
            let whole = size.round() as u64;
            count(whole)
        }
    };
    format!("{}{text}/s", if per_second < 0.0 { '−' } else { '+' })
}

/// A curve of counts in `columns` characters at most, the newest to the right. It goes from the
/// least to the most of what is shown; where nothing changes it is flat.
#[must_use]
pub(crate) fn sparkline(samples: &[u64], columns: usize) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = samples.get(samples.len().saturating_sub(columns)..).unwrap_or(samples);
    let least = shown.iter().min().copied().unwrap_or(0);
    let span = shown.iter().max().copied().unwrap_or(0) - least;
    // A small change of a large number is not made to look like a cliff.
    let scale = u128::from(span.max(shown.iter().max().copied().unwrap_or(0) / 20).max(1));
    let level = |sample: u64| usize::try_from(u128::from(sample - least) * 7 / scale).unwrap_or(0);
    shown.iter().filter_map(|&sample| LEVELS.get(level(sample).min(7))).collect()
}

/// The word for a state: the wait reason where there is one.
#[must_use]
pub(crate) fn state_word<'a>(index: &Index<'a>, status: Status, reason: Option<WaitReasonId>) -> &'a str {
    match status {
        Status::Waiting | Status::Leaked => {
            reason.and_then(|reason| index.snapshot().wait_reason(reason)).unwrap_or(status.name())
        }
        other => other.name(),
    }
}

/// The states of a group's members: `12 select, 3 runnable`, or the word alone where all are alike.
#[must_use]
pub(crate) fn states(index: &Index<'_>, group: &Group) -> String {
    match group.details.states.as_slice() {
        [(status, reason, _)] => state_word(index, *status, *reason).to_owned(),
        states => {
            let word = |&(status, reason, members)| format!("{} {}", count(members), state_word(index, status, reason));
            states.iter().map(word).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{compact, compact_signed, rate, signed, sparkline};

    #[test]
    fn large_numbers_fit() {
        for (value, room, want) in [
            (99_999, 6, "99,999"),
            (123_456, 6, "123.4k"),
            (1_234_567, 5, "1.2M"),
            (1_234_567, 3, "1M"),
            (12_345_678_901, 7, "12.3G"),
            (u64::MAX, 3, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(compact(value, room), want, "{value} in {room}");
        }
        assert_eq!(compact_signed(-100_000, 7), "−100.0k");
        assert_eq!(compact_signed(0, 7), "0");
    }

    #[test]
    fn changes_have_signs() {
        assert_eq!([signed(0), signed(1_234), signed(-5)], ["0", "+1,234", "−5"]);
        assert_eq!(signed(i64::MIN), "−9,223,372,036,854,775,808");
        assert_eq!([rate(20.04), rate(-0.25), rate(0.001), rate(1_234.5)], ["+20.0/s", "−0.25/s", "0/s", "+1,235/s"]);
        assert_eq!(rate(f64::NAN), "?/s");
    }

    #[test]
    fn curves() {
        assert_eq!(sparkline(&[0, 1, 2, 3, 4, 5, 6, 7], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[5, 0, 7], 2), "▁█");
        assert_eq!(sparkline(&[1_000, 1_001, 1_000], 3), "▁▁▁");
        assert_eq!(sparkline(&[3, 3, 3], 9), "▁▁▁");
        assert_eq!(sparkline(&[u64::MAX, 0], 9), "█▁");
        assert_eq!(sparkline(&[], 9), "");
    }
}
