//! `fixtures/live/live.gz` is what its sources give.

use std::process::Command;

use crate::support::fixture::fixtures;
use crate::support::live::{LIVE_VERSION, live_bytes};

#[test]
fn the_program_that_is_checked_in_is_what_its_sources_give() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("live");
    let output = Command::new(fixtures().join("live/make")).arg(&made).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made = std::fs::read(made).unwrap();
    let at = made.windows(LIVE_VERSION.len()).position(|bytes| bytes == LIVE_VERSION.as_bytes());
    assert!(at.is_some(), "it is built with Go {LIVE_VERSION}");
    // Not in one comparison, whose message would be megabytes.
    let same = made == live_bytes();
    assert!(same, "fixtures/live/live.gz is old: run fixtures/live/make");
    let packed = std::fs::metadata(fixtures().join("live/live.gz")).unwrap().len();
    assert!(packed < 1 << 20, "{packed} bytes");
}
