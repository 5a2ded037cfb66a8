//! The version of Go that a program was built with.
//!
//! Everything that moves between versions is chosen by the minor version, so this reads it from whatever the
//! toolchain wrote: a release, a release with `GOEXPERIMENT`s, a development build. It refuses nothing but
//! text without a version in it, and it does not judge whether a version is supported.

use std::cmp::Ordering;
use std::fmt;

/// Longest version text that is kept, in bytes; the linker writes a few dozen.
const MAX_TEXT: usize = 256;

/// A version of the Go toolchain, as `runtime.Version` returns it.
///
/// Ordered by minor version, then development builds, then patch releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoVersion {
    /// 26 in `go1.26.6`.
    pub minor: u32,
    /// 6 in `go1.26.6`; `None` in `go1.20` (the first release), in release candidates and in
    /// development builds.
    pub patch: Option<u32>,
    /// Whether it is a development build, whose runtime may be anything between two releases.
    pub devel: bool,
    /// `GOEXPERIMENT`s that differ from the toolchain's own, in the linker's order.
    pub experiments: Vec<String>,
    /// The text that was read, cut at 256 bytes.
    pub text: String,
}

/// Where a [`GoVersion`] was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoVersionSource {
    /// The build information that the linker wrote into the file.
    BuildInfo,
    /// The string `runtime.buildVersion` in the process.
    BuildVersion,
    /// The structures themselves: no text was found.
    Inferred,
}

impl GoVersionSource {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::BuildInfo, Self::BuildVersion, Self::Inferred];

    /// A few words for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildInfo => "build info",
            Self::BuildVersion => "runtime.buildVersion",
            Self::Inferred => "inferred from the runtime's structures",
        }
    }
}

impl GoVersion {
    /// Reads a version out of `text`, wherever it stands in it: `go1.26.6`,
    /// `go1.24.11 X:synctest` (to 1.25), `go1.26.6-X:boringcrypto` (1.26 on),
    /// `devel go1.24-abcdef Tue …` (to 1.24), `go1.27-devel_abcdef …` (1.25 on). `None` when there
    /// is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        loop {
            let (_, tail) = rest.split_once("go1.")?;
            if let Some((minor, after)) = number(tail) {
                return Some(Self {
                    minor,
                    patch: after.strip_prefix('.').and_then(number).map(|(patch, _)| patch),
                    devel: text.contains("devel"),
                    experiments: experiments(after),
                    text: cut(text),
                });
            }
            rest = tail;
        }
    }

    /// A version that no text states: the structures look like those of `1.minor`.
    #[must_use]
    pub fn inferred(minor: u32) -> Self {
        Self { minor, patch: None, devel: false, experiments: Vec::new(), text: format!("unknown, like go1.{minor}") }
    }

    /// Whether this is a release, of this very patch level where `patch` is given, without
    /// experiments: its structures are those of every such toolchain.
    #[must_use]
    pub fn is_release(&self, minor: u32, patch: Option<u32>) -> bool {
        self.minor == minor && self.patch == patch && !self.devel && self.experiments.is_empty()
    }

    fn key(&self) -> (u32, bool, Option<u32>, &str) {
        (self.minor, !self.devel, self.patch, &self.text)
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for GoVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for GoVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The decimal number at the start of `text`, and the rest of `text`.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

/// The list after `X:`, up to the next blank.
fn experiments(text: &str) -> Vec<String> {
    let Some((before, list)) = text.split_once("X:") else { return Vec::new() };
    if !before.ends_with([' ', '-']) {
        return Vec::new();
    }
    let list = list.split(char::is_whitespace).next().unwrap_or_default();
    cut(list).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (u32, Option<u32>, bool, Vec<String>) {
        let v = GoVersion::parse(text).unwrap();
        assert_eq!(v.to_string(), text);
        (v.minor, v.patch, v.devel, v.experiments)
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&s| s.to_owned()).collect()
    }

    #[test]
    fn every_form_that_toolchains_write() {
        assert_eq!(parsed("go1.26.6"), (26, Some(6), false, vec![]));
        assert_eq!(parsed("go1.20"), (20, None, false, vec![]));
        assert_eq!(parsed("go1.27rc1"), (27, None, false, vec![]));
        assert_eq!(parsed("go1.24.11 X:synctest"), (24, Some(11), false, names(&["synctest"])));
        assert_eq!(parsed("go1.21.13 X:arenas,pagetrace"), (21, Some(13), false, names(&["arenas", "pagetrace"])));
        assert_eq!(parsed("go1.26.6-X:boringcrypto"), (26, Some(6), false, names(&["boringcrypto"])));
        assert_eq!(
            parsed("go1.27.3-X:nojsonv2,nosizespecializedmalloc"),
            (27, Some(3), false, names(&["nojsonv2", "nosizespecializedmalloc"]))
        );
        assert_eq!(parsed("devel go1.24-1d45a7ef56 Tue Jan 7 10:00:00 2025 +0000"), (24, None, true, vec![]));
        assert_eq!(parsed("go1.27-devel_1d45a7ef56 Tue Jan 7 10:00:00 2025"), (27, None, true, vec![]));
        assert_eq!(
            parsed("go1.26-devel_1d45a7ef56 Tue Jan 7 10:00:00 2025 X:greenteagc"),
            (26, None, true, names(&["greenteagc"]))
        );
        assert_eq!(parsed("go1.19.8 (Debian go1.19.8-2)"), (19, Some(8), false, vec![]));
    }

    #[test]
    fn text_without_a_version_is_refused() {
        for text in ["", "unknown", "go1", "go1.", "go1.x", "go2.1", "go1.99999999999999999999"] {
            assert_eq!(GoVersion::parse(text), None, "{text:?}");
        }
        assert_eq!(GoVersion::parse("go1.x go1.22.1").unwrap().minor, 22);
    }

    #[test]
    fn ordered_by_age() {
        let sorted = ["go1.9.7", "go1.26-devel_ab", "go1.26.0", "go1.26.5", "go1.26.10", "go1.27rc1", "go1.27.0"];
        let versions: Vec<_> = sorted.iter().map(|s| GoVersion::parse(s).unwrap()).collect();
        assert!(versions.is_sorted());
        assert!(versions[3].is_release(26, Some(5)) && !versions[1].is_release(26, None));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(go1\\.|devel|X:|[0-9.,-]|\\PC){0,40}") {
            if let Some(v) = GoVersion::parse(&text) {
                prop_assert!(v.text.len() <= MAX_TEXT);
                prop_assert_eq!(GoVersion::parse(&v.text).map(|w| w.minor), Some(v.minor));
            }
        }
    }
}
