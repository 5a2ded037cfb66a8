//! Records a running Go program into a capture: `record_capture PID FILE`.
//!
//! The benchmarks' own capture was made with it; see `benches/side_by_side --record`.

use std::path::Path;

use anyhow::Context as _;
use gospy::capture::record;
use gospy::process::capture_file::{Description, goal, write};
use gospy::process::live::LiveTarget;

fn main() -> anyhow::Result<()> {
    let usage = "usage: record_capture PID FILE";
    let mut args = std::env::args().skip(1);
    let pid: i32 = args.next().context(usage)?.parse().context(usage)?;
    let path = args.next().context(usage)?;
    let (image, snapshot) = record(Box::new(LiveTarget::open(pid)?), None)?;
    let description = Description {
        gospy_version: env!("CARGO_PKG_VERSION"),
        captured_at: String::new(),
        pid,
        exe: snapshot.target.exe.clone(),
        go_version: snapshot.target.go_version.clone(),
        arch: snapshot.target.arch,
        goroutines: snapshot.goroutines.len() as u64,
    };
    write(&goal(Path::new(&path), false, false)?, &image, Some(&description))?;
    Ok(())
}
