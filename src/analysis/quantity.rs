//! Durations and sizes as people type them.

const NS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const BYTES: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1 << 10),
    ("kb", 1 << 10),
    ("kib", 1 << 10),
    ("m", 1 << 20),
    ("mb", 1 << 20),
    ("mib", 1 << 20),
    ("g", 1 << 30),
    ("gb", 1 << 30),
    ("gib", 1 << 30),
];

/// The error text for a malformed duration.
pub(crate) const DURATION_HELP: &str =
    "a duration is a number with a unit (500ms, 30s, 5m, 1h30m, 2d); a number alone is seconds";

/// A duration in ns: `90s`, `5m`, `1h30m`, `1.5h`, `250ms`, `2d`. A number alone is seconds, as for
/// sleep(1) and timeout(1). `None` for anything else, and past 2⁶⁴ ns. Every option and filter that
/// takes a duration takes this one.
#[must_use]
pub(crate) fn parse_duration(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return scaled(text, "s", NS);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        total = total.checked_add(scaled(number, unit, NS)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// A size in bytes: `4096`, `64KB`, `1.5MiB`; all units are powers of 1,024, as everywhere in Go's
/// runtime.
#[must_use]
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    scaled(number, &unit.to_ascii_lowercase(), BYTES)
}

fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    if end == 0 { None } else { text.split_at_checked(end) }
}

/// `number` (digits with at most one point) times the unit, without going through a float.
fn scaled(number: &str, unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    let &(_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = match (whole, fraction) {
        ("", "") => return None,
        ("", _) => 0,
        _ => whole.parse::<u64>().ok()?.checked_mul(factor)?,
    };
    // Digits after the twelfth are less than a nanosecond of a day.
    let (fraction, _) = fraction.split_at_checked(12).unwrap_or((fraction, ""));
    let part = match fraction {
        "" => 0,
        digits => {
            let scale = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
            u64::try_from(u128::from(digits.parse::<u64>().ok()?) * u128::from(factor) / scale).ok()?
        }
    };
    whole.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::{parse_bytes, parse_duration};

    #[test]
    fn durations() {
        for (text, want) in [
            ("5m", Some(300_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("250ms", Some(250_000_000)),
            ("7µs", Some(7_000)),
            ("2d", Some(172_800_000_000_000)),
            (".5s", Some(500_000_000)),
            ("0", Some(0)),
            ("", None),
            ("5", Some(5_000_000_000)),
            ("0.5", Some(500_000_000)),
            (".", None),
            ("1.2.3", None),
            ("-1", None),
            ("99999999999", None),
            ("m", None),
            ("5 m", None),
            ("1.2.3s", None),
            (".s", None),
            ("99999999999d", None),
        ] {
            assert_eq!(parse_duration(text), want, "{text:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("4096", Some(4096)),
            ("64KB", Some(65_536)),
            ("1.5MiB", Some(1_572_864)),
            ("2g", Some(1 << 31)),
            ("", None),
            ("KB", None),
            ("1xb", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse_bytes(text), want, "{text:?}");
        }
    }
}
