//! One visit to a document that [`super::write`] wrote, whatever is made of it.
//!
//! A newer major version of the format is refused, keys that are not known are passed over, and what
//! is missing is unknown. Goroutines are taken one by one, so that memory is used for what differs
//! between them, not for the text. A file is trusted as little as a process: tokens, depth and the
//! size as a whole are limited.

use std::fmt;
use std::io::{self, BufReader, Read};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::SCHEMA_VERSION;

/// Longest string, number or run of blanks, in bytes. Names in Go programs stay far below.
const LONGEST_TOKEN: u32 = 1 << 20;
/// Largest file.
const LARGEST: u64 = 16 << 30;

/// Why a file could not be read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadBackError {
    /// It is no JSON, not that of a snapshot, or cannot be read.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It was written by a later gospy.
    #[error("it has schema_version {found}; this gospy reads up to {SCHEMA_VERSION}: use a newer one")]
    Newer {
        /// Its version.
        found: u64,
    },
    /// It was written with `--group`, which leaves the goroutines out.
    #[error("it has groups in the place of goroutines: write it without --group")]
    Grouped,
}

/// What is made of a document: it is given its parts in their order.
pub(super) trait Contents {
    /// A goroutine as it is needed.
    type Goroutine: DeserializeOwned;

    /// When the snapshot was complete, ns since 1970.
    fn captured_at(&mut self, unix_ns: u64);

    /// Takes the value of another key of the document, or passes over it.
    ///
    /// # Errors
    /// When the value is not what it should be.
    fn value<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// How many goroutines there were.
    fn total(&mut self, total: u64);

    /// How many dead ones.
    fn dead(&mut self, dead: u64) {
        let _ = dead;
    }

    /// The next goroutine.
    ///
    /// # Errors
    /// With what is wrong with it.
    fn goroutine(&mut self, goroutine: Self::Goroutine) -> Result<(), String>;
}

/// Visits one document.
///
/// # Errors
/// With what was expected, and the line and column where it is not; when it is of a newer version, or
/// lists groups in the place of goroutines.
pub(super) fn visit<C: Contents>(input: impl Read, contents: &mut C) -> Result<(), ReadBackError> {
    let mut deserializer = serde_json::Deserializer::from_reader(bounded(input));
    let mut found_version = None;
    let seed = Document { contents, found_version: &mut found_version };
    let result = seed.deserialize(&mut deserializer).and_then(|list| deserializer.end().map(|()| list));
    // A newer document may look different in any way; the version is the reason to give.
    if let Some(found) = found_version.filter(|found| *found > u64::from(SCHEMA_VERSION)) {
        return Err(ReadBackError::Newer { found });
    }
    match result? {
        Listed { grouped: true, goroutines: 0 } => Err(ReadBackError::Grouped),
        Listed { .. } => Ok(()),
    }
}

/// RFC 3339 as ns since 1970; `None` for what is no such time.
pub(crate) fn unix_ns(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok()
}

/// The input within its limits.
pub(crate) fn bounded(input: impl Read) -> impl io::BufRead {
    let bounded = Bounded { inner: BufReader::with_capacity(1 << 16, input), token: 0, quoted: false, escaped: false };
    BufReader::new(bounded.take(LARGEST))
}

/// Passes bytes on, and fails at a token that is too long.
struct Bounded<R> {
    inner: R,
    token: u32,
    quoted: bool,
    escaped: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buf)?;
        for byte in buf.get(..got).unwrap_or_default() {
            self.token = self.token.saturating_add(1);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => {
                    self.quoted = !self.quoted;
                    self.token = 0;
                }
                b',' | b':' | b'[' | b']' | b'{' | b'}' if !self.quoted => self.token = 0,
                _ => {}
            }
            if self.token > LONGEST_TOKEN {
                let message = format!("a string or number is longer than {LONGEST_TOKEN} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(got)
    }
}

/// What a document lists.
#[derive(Default)]
struct Listed {
    grouped: bool,
    goroutines: u64,
}

/// The whole.
struct Document<'a, C> {
    contents: &'a mut C,
    found_version: &'a mut Option<u64>,
}

impl<'de, C: Contents> DeserializeSeed<'de> for Document<'_, C> {
    type Value = Listed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Listed, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, C: Contents> Visitor<'de> for Document<'_, C> {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot as `gospy stack --json` writes it")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
        let mut listed = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "schema_version" => {
                    let found: u64 = map.next_value()?;
                    *self.found_version = Some(found);
                    if found > u64::from(SCHEMA_VERSION) {
                        return Err(A::Error::custom("a newer schema_version"));
                    }
                }
                "captured_at" => {
                    let text: String = map.next_value()?;
                    let time = unix_ns(&text);
                    self.contents.captured_at(
                        time.ok_or_else(|| {
                            A::Error::custom(format!("captured_at is no time as in RFC 3339: {text:?}"))
                        })?,
                    );
                }
                "goroutines" => listed = Some(map.next_value_seed(Goroutines { contents: &mut *self.contents })?),
                key => self.contents.value(key, &mut map)?,
            }
        }
        let missing = match (self.found_version.is_some(), listed) {
            (false, _) => "schema_version",
            (true, None) => "goroutines",
            (true, Some(listed)) => return Ok(listed),
        };
        Err(A::Error::custom(format!("it is not a snapshot: the key {missing} is missing")))
    }
}

/// The object `goroutines`.
struct Goroutines<'a, C> {
    contents: &'a mut C,
}

impl<'de, C: Contents> DeserializeSeed<'de> for Goroutines<'_, C> {
    type Value = Listed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Listed, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, C: Contents> Visitor<'de> for Goroutines<'_, C> {
    type Value = Listed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the goroutines of a snapshot")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
        let (mut grouped, mut goroutines) = (false, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "total" => self.contents.total(map.next_value()?),
                "dead" => self.contents.dead(map.next_value()?),
                "groups" => grouped = map.next_value::<Option<IgnoredAny>>()?.is_some(),
                "list" => goroutines = Some(map.next_value_seed(List { contents: &mut *self.contents })?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let missing = || A::Error::custom("the key goroutines.list is missing");
        Ok(Listed { grouped, goroutines: goroutines.ok_or_else(missing)? })
    }
}

/// The list of goroutines, each forgotten when something has been made of it. Its value is how many there are.
struct List<'a, C> {
    contents: &'a mut C,
}

impl<'de, C: Contents> DeserializeSeed<'de> for List<'_, C> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, C: Contents> Visitor<'de> for List<'_, C> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of goroutines")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        let mut goroutines = 0_u64;
        while let Some(goroutine) = list.next_element()? {
            self.contents.goroutine(goroutine).map_err(A::Error::custom)?;
            goroutines = goroutines.saturating_add(1);
        }
        Ok(goroutines)
    }
}
