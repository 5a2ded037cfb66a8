//! The hot path as a fixed amount of work, for counting instructions: `hot_path CAPTURES`.
//!
//! Opens the checked-in capture and takes it that often, stacks and all, then groups and writes it.
//! `benches/instructions` counts what one capture more costs. Without a number it takes one.

#![allow(missing_docs, reason = "nothing in a benchmark is public")]

mod parked;

use gospy::analysis::group::group;
use gospy::analysis::{Answer, GroupBy, Index, Request};
use gospy::report::json::{self, JsonOptions};

fn main() -> anyhow::Result<()> {
    // What cargo adds is an option.
    let times = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let times: usize = times.map_or(Ok(1), |times| times.parse())?;
    let mut session = parked::open(&parked::image()?)?;
    for _ in 0..times {
        let snapshot = parked::capture(&mut session)?;
        let index = Index::new(&snapshot);
        let all: Vec<usize> = (0..snapshot.goroutines.len()).collect();
        let groups = group(&index, &GroupBy::Stack, &all, 64);
        anyhow::ensure!(groups.len() >= 200, "{} groups", groups.len());
        let answer = Answer::of(&index, Request::default());
        json::write(&mut std::io::sink(), &answer, JsonOptions { frames: true, ..JsonOptions::default() })?;
    }
    Ok(())
}
