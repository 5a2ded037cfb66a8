//! Moments of a recording as they are typed: `--at TIME`, `FILE@TIME`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::analysis::quantity::parse_duration;
use crate::archive::{Archive, ArchiveError, Moment, Start};

/// What a time may be.
pub(super) const TIME_HELP: &str = "a time is +90s (from the start), -10s (before the end), 14:03:05 or \
                                    2026-05-04T14:03:05 (local time), or 2026-05-04T12:03:05Z";

/// A moment, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At {
    text: String,
    when: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Counted(Start),
    /// By the local clock, on the day of the recording.
    Clock(Time),
    /// By the local clock.
    Date(DateTime),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let help = || TIME_HELP.to_owned();
        let offset = |text: &str| parse_duration(text).ok_or_else(help);
        let when = if let Some(text) = text.strip_prefix('+') {
            When::Counted(Start::Beginning(offset(text)?))
        } else if let Some(text) = text.strip_prefix('-') {
            When::Counted(Start::End(offset(text)?))
        } else if let Ok(timestamp) = text.parse::<Timestamp>() {
            When::Counted(Start::Unix(u64::try_from(timestamp.as_nanosecond()).map_err(|_| help())?))
        } else if let Ok(date) = text.parse::<DateTime>() {
            When::Date(date)
        } else {
            When::Clock(text.parse().map_err(|_| help())?)
        };
        Ok(Self { text: text.to_owned(), when })
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl At {
    /// What that is in a recording that began at `first`, in a time zone.
    fn start(&self, first: Moment, zone: &TimeZone) -> Option<Start> {
        let unix = |date: DateTime| {
            let timestamp = date.to_zoned(zone.clone()).ok()?.timestamp();
            u64::try_from(timestamp.as_nanosecond()).ok()
        };
        let ns = match self.when {
            When::Counted(start) => return Some(start),
            When::Date(date) => unix(date)?,
            When::Clock(time) => {
                let begun = Timestamp::from_nanosecond(i128::from(first.unix_ns)).ok()?.to_zoned(zone.clone());
                let on = |date: jiff::civil::Date| unix(date.to_datetime(time));
                // To the second, as it is shown.
                let begun_ns = first.unix_ns - first.unix_ns % 1_000_000_000;
                // A recording may go on past midnight.
                match on(begun.date()).filter(|&today| today >= begun_ns) {
                    Some(today) => today,
                    None => on(begun.date().checked_add(1.day()).ok()?)?,
                }
            }
        };
        // What is typed as a second means all of it.
        Some(Start::Unix(if ns.is_multiple_of(1_000_000_000) { ns.saturating_add(999_999_999) } else { ns }))
    }

    /// The number of the sample that is meant: the last one until then.
    ///
    /// # Errors
    /// When samples cannot be read.
    pub(super) fn find(&self, archive: &mut Archive) -> Result<u64, ArchiveError> {
        match self.start(archive.first(), &TimeZone::system()) {
            Some(start) => archive.find(start),
            None => Ok(0),
        }
    }

    /// The file and the moment of `FILE@TIME`; a file that has such a name is meant itself.
    pub(super) fn split(path: &Path) -> Option<(PathBuf, Self)> {
        if path.exists() {
            return None;
        }
        let (file, time) = path.to_str()?.rsplit_once('@')?;
        Some((PathBuf::from(file), time.parse().ok()?)).filter(|(file, _)| file.is_file())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    #[test]
    fn times_are_what_they_say() {
        // 1 January 1970, 22:30 in a zone three hours ahead.
        let zone = TimeZone::fixed(jiff::tz::offset(3));
        let first = Moment { monotonic_ns: 0, unix_ns: 19 * HOUR + HOUR / 2 + 5 };
        let start = |text: &str| text.parse::<At>().unwrap().start(first, &zone).unwrap();
        assert_eq!(start("+90s"), Start::Beginning(90_000_000_000));
        assert_eq!(start("-10m"), Start::End(HOUR / 6));
        let whole = |ns: u64| Start::Unix(ns + 999_999_999);
        assert_eq!(start("22:30:00"), whole(19 * HOUR + HOUR / 2));
        assert_eq!(start("22:30"), whole(19 * HOUR + HOUR / 2));
        assert_eq!(start("01:00"), whole(22 * HOUR));
        assert_eq!(start("1970-01-02T01:00:00"), whole(22 * HOUR));
        assert_eq!(start("1970-01-01T19:30:00Z"), Start::Unix(19 * HOUR + HOUR / 2));
        assert_eq!(start("23:00:00.5"), Start::Unix(20 * HOUR + 500_000_000));
        for wrong in ["", "+", "90s", "-", "yesterday", "25:00", "+-3s", "+3 bananas"] {
            assert_eq!(wrong.parse::<At>(), Err(TIME_HELP.to_owned()), "{wrong:?}");
        }
    }

    #[test]
    fn a_moment_follows_the_name_of_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let (plain, odd) = (directory.path().join("a.gospyrec"), directory.path().join("b@+1s"));
        std::fs::write(&plain, "").unwrap();
        std::fs::write(&odd, "").unwrap();
        let with = |text: &str| PathBuf::from(format!("{}{text}", plain.display()));
        assert_eq!(At::split(&with("@+5s")), Some((plain.clone(), "+5s".parse().unwrap())));
        assert_eq!(
            [At::split(&odd), At::split(&plain), At::split(&with("@x")), At::split(Path::new("c@+1s"))],
            [const { None }; 4]
        );
    }
}
