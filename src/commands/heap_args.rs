//! What can be typed after `gospy heap` and `gospy contention`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::ci_args::duration;
use super::redacted::RedactArgs;
use super::target_args::TargetArgs;

pub(super) const HEAP_EXAMPLES: &str = "\
Examples:
  gospy heap prometheus
  gospy heap 4242 --profile heap.pb.gz && go tool pprof -top heap.pb.gz
  gospy heap 4242 --watch 5m
  gospy heap 4242 --objects --json > before.json; sleep 600
  gospy heap 4242 --objects --since before.json
  gospy heap 4242 --objects --freeze=all
  gospy heap 4242 --objects --only-from main.worker
  gospy heap --from server.core --objects --path-to main.session

The profile is the one that the program keeps of itself, as /debug/pprof/heap shows it: objects that
are sampled, up to the last garbage collection but one. The program needs no endpoint and is not stopped.
The linker switches the profile off in programs that hold nothing to read it with.";

pub(super) const CONTENTION_EXAMPLES: &str = "\
Examples:
  gospy contention prometheus
  gospy contention 4242 --mutex mutex.pb.gz && go tool pprof -top mutex.pb.gz
  gospy contention 4242 --text | less
  gospy contention 4242 --json | jq '.mutex.places[0]'

A program has these profiles only if it calls runtime.SetBlockProfileRate or
runtime.SetMutexProfileFraction. gospy waits shows what goroutines wait on now, without either.";

#[derive(Args, Debug)]
pub(super) struct HeapArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) objects: ObjectArgs,
    /// Write the heap profile for go tool pprof (- stdout)
    #[arg(help_heading = "Output", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) profile: Option<PathBuf>,
    /// With --profile: all allocations, not what is in use
    ///
    /// The file holds both; this is what go tool pprof shows first.
    #[arg(help_heading = "Output", long, requires = "profile")]
    pub(super) alloc: bool,
    /// Watch for so long, and show what grows
    ///
    /// What is in use rises until the collector runs, and falls. So one sample is taken of each cycle: of the bytes
    /// that it has marked, of what is in use by allocation site, and of what it has left by size class. With --objects
    /// each reading also walks over the objects, for types and what keeps them; walks take at most a quarter of the
    /// time, so readings come less often where the heap is large.
    #[arg(help_heading = "Output", long, value_name = "DURATION", value_parser = duration, conflicts_with_all = ["profile", "text", "verbose", "from", "only_from", "path_to"])]
    pub(super) watch: Option<u64>,
    /// Time between readings [default: watch/30]
    #[arg(help_heading = "Output", long, short, value_name = "DURATION", value_parser = duration, requires = "watch", hide_short_help = true)]
    pub(super) interval: Option<u64>,
    /// Show what grew since FILE was written
    ///
    /// A capture (--heap), a core file, or what `gospy heap --json` or `gospy heap --objects --json` wrote; of a
    /// recording, the figures of the heap. With --from two files are compared. With --objects, types and what keeps
    /// the objects are compared too. Two readings show a difference, not a trend: --watch separates growth from noise.
    #[arg(help_heading = "Output", long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["profile", "text", "verbose", "watch", "only_from", "path_to"])]
    pub(super) since: Option<PathBuf>,
    /// Print every record of the profile, as debug=1 does
    #[arg(help_heading = "Output", long, conflicts_with = "profile")]
    pub(super) text: bool,
    /// Show at most N rows of each table; 0 for all
    #[arg(help_heading = "Output", long, value_name = "N", conflicts_with_all = ["profile", "text"])]
    pub(super) limit: Option<usize>,
    /// Show all size classes, and what each P holds
    #[arg(help_heading = "Output", long, short, conflicts_with_all = ["profile", "text"])]
    pub(super) verbose: bool,
    /// One JSON object instead of text
    #[arg(help_heading = "Output", long, short, conflicts_with_all = ["profile", "text"])]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}

impl HeapArgs {
    /// Whether growth was asked for, and over which time, ns.
    pub(super) fn growth(&self) -> Option<(u64, Option<u64>)> {
        self.watch.map(|watch| (watch, self.interval))
    }
}

#[derive(Args, Debug)]
pub(super) struct ObjectArgs {
    /// Walk the heap: live objects by type and keeper
    #[arg(help_heading = "Output", long, conflicts_with_all = ["profile", "text"])]
    pub(super) objects: bool,
    /// With --objects: kept by FUNCTION or goroutine:ID only
    #[arg(help_heading = "Output", long, hide_short_help = true, value_name = "WHO", requires = "objects")]
    pub(super) only_from: Option<String>,
    /// With --objects: shortest path to TYPE or 0xADDRESS
    #[arg(help_heading = "Output", long, hide_short_help = true, value_name = "WHAT", requires = "objects")]
    pub(super) path_to: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct ContentionArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Write the block profile for go tool pprof
    #[arg(help_heading = "Output", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) block: Option<PathBuf>,
    /// Write the mutex profile for go tool pprof
    #[arg(help_heading = "Output", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) mutex: Option<PathBuf>,
    /// Print every record of both profiles, as debug=1 does
    #[arg(help_heading = "Output", long, conflicts_with_all = ["block", "mutex"])]
    pub(super) text: bool,
    /// Show at most N rows of each table; 0 for all
    #[arg(help_heading = "Output", long, value_name = "N", conflicts_with_all = ["block", "mutex", "text"])]
    pub(super) limit: Option<usize>,
    /// One JSON object instead of text
    #[arg(help_heading = "Output", long, short, conflicts_with_all = ["block", "mutex", "text"])]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}
