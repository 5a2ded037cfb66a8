//! gospy as a library: `library PID|FILE` prints how many goroutines of a Go program are where.
//!
//! It needs neither the command line nor the live view: `default-features = false`.

use std::io::{Write as _, stdout};
use std::path::Path;

use gospy::analysis::group::group;
use gospy::analysis::{GroupBy, Index};
use gospy::capture::{CaptureOptions, OpenOptions, Session, SourceError};
use gospy::model::Snapshot;
use gospy::process::core::{CoreOptions, CoreTarget};
use gospy::process::live::LiveTarget;
use gospy::process::{ErrorKind, Target};

fn snapshot(what: &str) -> Result<Snapshot, SourceError> {
    let target: Box<dyn Target> = match what.parse() {
        Ok(pid) => Box::new(LiveTarget::open(pid)?),
        Err(_) => Box::new(CoreTarget::open(Path::new(what), &CoreOptions::default())?),
    };
    let mut session = Session::open(target, &OpenOptions::default())?;
    Ok(session.capture(&CaptureOptions { stacks: true, ..CaptureOptions::default() })?)
}

fn main() -> anyhow::Result<()> {
    let Some(what) = std::env::args().nth(1) else { anyhow::bail!("usage: library PID|FILE") };
    let snapshot = match snapshot(&what) {
        Ok(snapshot) => snapshot,
        Err(error) if error.kind() == ErrorKind::Gone => anyhow::bail!("{error}: is it the right pid?"),
        Err(error) => return Err(error.into()),
    };
    let index = Index::new(&snapshot);
    let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
    let mut out = stdout().lock();
    for group in group(&index, &GroupBy::Stack, &all, 3) {
        let example = snapshot.goroutines.get(group.example).and_then(|goroutine| goroutine.current);
        writeln!(out, "{:>8} {}", group.count, index.function(example))?;
    }
    Ok(())
}
