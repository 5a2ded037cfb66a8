//! Numbers for people.

/// Nanoseconds in three significant figures or two units: `84 µs`, `3.10 ms`, `5.2 s`, `5m12s`,
/// `3h12m`, `2d4h`. It rounds down: the text is always a lower bound.
#[must_use]
pub(crate) fn duration(ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    match ns {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => scaled(ns, 1_000, "µs"),
        1_000_000..SECOND => scaled(ns, 1_000_000, "ms"),
        _ if ns < 60 * SECOND => scaled(ns, SECOND, "s"),
        _ => long(ns / SECOND),
    }
}

/// Nanoseconds without spaces and to the second, for columns of ages: `350ms`, `42s`, `5m12s`.
#[must_use]
pub(crate) fn age(ns: u64) -> String {
    match ns {
        ..1_000_000 => "0s".to_owned(),
        1_000_000..1_000_000_000 => format!("{}ms", ns / 1_000_000),
        _ => long(ns / 1_000_000_000),
    }
}

fn long(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |first: u64, unit: &str, second: u64, smaller: &str| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{smaller}"),
    };
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3_600 => two(minutes, "m", seconds % 60, "s"),
        3_600..86_400 => two(hours, "h", minutes % 60, "m"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// Bytes in units of 1,024: `512 B`, `15.2 KiB`, `1.25 GiB`. It rounds down.
#[must_use]
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = 1_u64 << 10;
    let mut shown = format!("{count} B");
    for unit in UNITS {
        if count < size {
            break;
        }
        shown = scaled(count, size, unit);
        size = match size.checked_mul(1 << 10) {
            Some(larger) => larger,
            None => break,
        };
    }
    shown
}

/// `value / unit` in three figures at least, rounded down.
fn scaled(value: u64, unit: u64, name: &str) -> String {
    let whole = value / unit;
    let rest = u128::from(value % unit);
    match whole {
        ..10 => format!("{whole}.{:02} {name}", rest * 100 / u128::from(unit)),
        10..100 => format!("{whole}.{} {name}", rest * 10 / u128::from(unit)),
        _ => format!("{whole} {name}"),
    }
}

/// A count with commas: `1,234,567`.
#[must_use]
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 thread`, `2 threads`.
#[must_use]
pub(crate) fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// A share from 0 to 1 as a percentage: `0.42 %`.
#[must_use]
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent.is_finite() && percent >= 10.0 { format!("{percent:.1} %") } else { format!("{percent:.2} %") }
}

#[cfg(test)]
mod tests {
    use super::{age, bytes, count, counted, duration, percent};

    #[test]
    fn durations() {
        for (ns, want) in [
            (0, "0 s"),
            (999, "999 ns"),
            (84_000, "84.0 µs"),
            (3_100_000, "3.10 ms"),
            (999_999_999, "999 ms"),
            (5_250_000_000, "5.25 s"),
            (312_000_000_000, "5m12s"),
            (3_600_000_000_000, "1h"),
            (11_532_000_000_000, "3h12m"),
            (187_200_000_000_000, "2d4h"),
            (u64::MAX, "213503d23h"),
        ] {
            assert_eq!(duration(ns), want);
        }
        assert_eq!((age(0).as_str(), age(350_900_000).as_str(), age(59_999_999_999).as_str()), ("0s", "350ms", "59s"));
    }

    #[test]
    fn sizes_and_counts() {
        for (n, want) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (15_600, "15.2 KiB"),
            (88_408_064, "84.3 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(n), want);
        }
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "thread", "threads"), "1 thread");
        assert_eq!(percent(0.0042), "0.42 %");
        assert_eq!(percent(f64::NAN), "NaN %");
    }
}
