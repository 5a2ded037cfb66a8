//! What can be typed to the commands for scripts and CI: `diff`, `check`, `run`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use nix::sys::signal::Signal;
use regex::Regex;

use super::snapshots::Given;
use super::source::{Depth, Freeze, TargetSpec};
use crate::analysis::GroupBy;
use crate::analysis::check::Allowance;
use crate::analysis::quantity::{DURATION_HELP, parse_duration};

pub(super) const DIFF_EXAMPLES: &str = "\
Examples:
  gospy stack --pid 4242 --json > before.json
  gospy diff before.json --pid 4242
  gospy diff before.json after.json --by place
  gospy diff before.json after.json --markdown | gh pr comment --body-file -
  gospy diff monday.json tuesday.json --json | jq '.changes[] | select(.delta > 10)'";

pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  gospy check --pid 4242 --max-goroutines 500 --max-wait 5m --allow '^net/http\\.\\(\\*Server\\)\\.Serve$'
  gospy check --pid 4242 --watch 30s
  gospy check --pid 4242 --baseline before.json --max-growth 10%
  gospy check --from after.json --forbid-function 'main\\.transfer' --junit gospy.xml

Growth:
  --max-growth with --baseline compares the number of goroutines with that of the baseline. With
  --watch, every group with the same stack, and all goroutines together, are sampled and a rate is
  fitted: the median of the slopes between all pairs of samples (Theil-Sen), with its 99.99 %
  confidence interval. Growth is steady when the whole interval is above 0, the lowest sample rises
  from quarter to quarter of the watch, each quarter lies as a whole above the one before the last,
  the highest sample still rises in the last quarter, and the fitted growth is 5 goroutines or more.
  It fails when it exceeds --max-growth (0 unless
  given; a percentage is of all goroutines at the start). A load that goes up and down does not.

  What neither grows steadily nor can be said not to is not judged, and that is no pass (status 8): a
  group that rises by less than 5, or only since a part of the watch, as a pool does that still fills;
  a watch of less than 2 seconds; a load that is so noisy that growth by 10 goroutines (or a tenth of
  all, or what --max-growth allows) would not show. A rule that holds says which growth would have
  shown. Watch for longer than the program takes to warm up.

Waits:
  The runtime only stamps a wait at a garbage collection after it began, so it is only known how long a
  wait is at least and at most; --watch also knows it of goroutines that have not run for three intervals
  and longer. --max-wait fails when the least is too long, and is not judged while the most is: since the
  stamp, the last collection, or the start of the program.
  Nor does it fail for a program that is stopped, which makes everybody wait.";

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  gospy run --timeout 60s -- go test ./...
  gospy run --timeout 10m --dump stacks.txt -- ./server
  gospy run --capture-every 30s --output captures -- ./server
  gospy run --capture-on USR1 --output captures -- ./server
  gospy run --capture-every 2s --no-findings --max-goroutines 500 -- ./service --self-test

Rules:
  Those of `gospy check`, judged of each capture and of each Go program that the command is or starts;
  of several captures, the worst counts. With --capture-every, a program is also judged as soon as it
  runs. --max-growth is measured from the first capture of a program. It is enough that one program has
  a required function. Which programs were judged, and what fails with its stacks, is said on standard
  error when the command has ended. What happens after the last reading of a program is not seen. With
  --strict, an incomplete reading makes the rules not judged (status 8).";

const READ_TWICE: &str = "standard input can be read only once: name a file";

/// A time to wait for, ns.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    match wait(text)? {
        0 => Err("it has to be longer than 0".to_owned()),
        ns => Ok(ns),
    }
}

fn wait(text: &str) -> Result<u64, String> {
    parse_duration(text).ok_or_else(|| DURATION_HELP.to_owned())
}

fn allowance(text: &str) -> Result<Allowance, String> {
    Allowance::parse(text).ok_or_else(|| "growth is a number of goroutines (100) or a percentage (25%)".to_owned())
}

/// What a process is read with.
#[derive(Args, Debug)]
pub(super) struct ProcessArgs {
    /// Process to read
    #[arg(long, short, value_name = "PID", value_hint = ValueHint::Other, value_parser = clap::value_parser!(i32).range(1..))]
    pub(super) pid: Option<i32>,
    /// Binary of the same build with symbols, for a program that has none; of a core file, the
    /// program's own file when it is not where it was
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    bin: Option<PathBuf>,
    /// Directory with all files that a core file names
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    sysroot: Option<PathBuf>,
    /// Stop threads for a moment, to have the stacks of running goroutines too
    ///
    /// `running` stops threads that run goroutines, one at a time, for less than a millisecond each; `all`
    /// stops the whole program at one moment, for some milliseconds. No signal is sent or lost, the kernel
    /// lets everything run on when gospy ends or takes too long, and threads that sleep in a system call
    /// that would fail with EINTR are left asleep. What is left: now and then such a call fails all the
    /// same; a program that starts a set-user-ID program just then, stopped without root, starts it
    /// without its rights (docs/freeze.md).
    #[arg(long, value_name = "THREADS", num_args = 0..=1, require_equals = true, default_missing_value = "running",
          requires = "pid")]
    freeze: Option<Freeze>,
    /// Stop a program that runs under a seccomp filter, too: it is killed if the filter forbids
    /// restart_syscall(2), which the profiles of Docker and Kubernetes allow
    #[arg(long, requires = "freeze")]
    freeze_seccomp: bool,
}

impl ProcessArgs {
    pub(super) fn wanted(&self) -> Option<TargetSpec> {
        let wanted = |pid| TargetSpec::process(pid, self.bin.clone());
        self.pid.map(|pid| TargetSpec { freeze_filtered: self.freeze_seccomp, ..wanted(pid) })
    }

    pub(super) fn depth(&self) -> Depth {
        Depth { stacks: true, dead: false, freeze: self.freeze, c_frames: false }
    }

    fn file(&self, path: &Path) -> Given {
        Given::File { path: path.to_owned(), bin: self.bin.clone(), sysroot: self.sysroot.clone() }
    }

    fn given(&self) -> Option<Given> {
        self.wanted().map(|wanted| Given::Process(wanted, self.depth()))
    }
}

#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// What to compare, the earlier one first: captures, core files, or what `stack --json` and
    /// `summary --json` write; - for standard input. With --pid one file, and the process as it is now
    #[arg(value_name = "FILE", required = true, num_args = 1..=2, value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    process: ProcessArgs,
    /// What groups have in common: stack, similar (stacks that differ only within the runtime),
    /// place, start, creator, state, reason, label=KEY
    #[arg(long, value_name = "KEY")]
    pub(super) by: Option<GroupBy>,
    /// Count and show the runtime's own goroutines and frames too
    #[arg(long)]
    pub(super) system: bool,
    /// Show at most this many groups in a section; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(super) limit: usize,
    /// Markdown, to paste into a pull request
    #[arg(long, conflicts_with = "json")]
    pub(super) markdown: bool,
    /// One JSON object instead of text
    #[arg(long, short)]
    pub(super) json: bool,
}

impl DiffArgs {
    /// The two, or what is wrong with what was typed.
    pub(super) fn both(&self) -> Result<[Given; 2], String> {
        let file = |path: &PathBuf| self.process.file(path);
        match (self.files.as_slice(), self.process.given()) {
            ([a, b], None) if a.as_os_str() == "-" && b.as_os_str() == "-" => Err(READ_TWICE.to_owned()),
            ([a, b], None) => Ok([file(a), file(b)]),
            ([a], Some(now)) => Ok([file(a), now]),
            ([_], None) => Err("a second file, or --pid for the process as it is now, is missing".to_owned()),
            _ => Err("two files and --pid are three things to compare: leave one out".to_owned()),
        }
    }
}

/// The rules of `check`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rules")]
pub(super) struct RuleArgs {
    /// At most N goroutines
    #[arg(long, value_name = "N")]
    pub(super) max_goroutines: Option<u64>,
    /// At most N (or N%) more goroutines than in the baseline; with `check --watch`, no group may grow
    /// steadily by more
    #[arg(long, value_name = "N|N%", value_parser = allowance)]
    pub(super) max_growth: Option<Allowance>,
    /// At most N goroutines with the same stack
    #[arg(long, value_name = "N")]
    pub(super) max_group: Option<u64>,
    /// No goroutine is blocked for longer
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub(super) max_wait: Option<u64>,
    /// No goroutine has such a function on its stack
    #[arg(long, value_name = "REGEX")]
    pub(super) forbid_function: Vec<Regex>,
    /// Some goroutine has such a function on its stack
    #[arg(long, value_name = "REGEX")]
    pub(super) require_function: Vec<Regex>,
    /// Nothing is wrong with any goroutine for certain: none that can never go on, has waited for a
    /// lock for a minute, or ends the program
    #[arg(long)]
    pub(super) no_findings: bool,
    /// Leave out goroutines with such a function on their stack, or created by one
    #[arg(long, value_name = "REGEX")]
    pub(super) allow: Vec<Regex>,
    /// The same from a file: a regular expression a line; # begins a comment
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) allow_file: Vec<PathBuf>,
    /// Count the runtime's own goroutines too
    #[arg(long)]
    pub(super) system: bool,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["pid", "from"])))]
pub(super) struct CheckArgs {
    #[command(flatten)]
    process: ProcessArgs,
    /// File to read in the place of a process: a capture, a core file, or what `stack --json` writes;
    /// - for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["freeze", "watch"])]
    from: Option<PathBuf>,
    #[command(flatten)]
    pub(super) rules: RuleArgs,
    /// File to measure growth from: a capture, a core file, or what `stack --json` writes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "max_growth")]
    pub(super) baseline: Option<PathBuf>,
    /// Go on when the baseline is of another program
    #[arg(long, requires = "baseline")]
    pub(super) force: bool,
    /// Sample the process for that long, and fail when goroutines grow steadily
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) watch: Option<u64>,
    /// Time between samples; a thirtieth of the watch unless given
    #[arg(long, short, value_name = "DURATION", value_parser = duration, requires = "watch")]
    pub(super) interval: Option<u64>,
    /// One JSON object instead of text
    #[arg(long, short)]
    pub(super) json: bool,
    /// Write JUnit XML to a file too, for its owner alone. A regular file of one's own, as an earlier run
    /// left it, is replaced, and nothing else
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) junit: Option<PathBuf>,
    /// Annotate the run on GitHub Actions; done without asking where GITHUB_ACTIONS is true
    #[arg(long)]
    pub(super) github: bool,
}

impl CheckArgs {
    pub(super) fn given(&self) -> Given {
        match (&self.from, self.process.given()) {
            (_, Some(process)) => process,
            (from, None) => self.process.file(from.as_deref().unwrap_or(Path::new(""))),
        }
    }

    /// What cannot be done as it was typed.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let is_stream = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
        let twice = is_stream(&self.from) && is_stream(&self.baseline);
        twice.then_some(READ_TWICE)
    }

    /// What growth is measured from.
    pub(super) fn baseline(&self) -> Option<Given> {
        self.baseline.as_deref().map(|path| self.process.file(path))
    }
}

fn signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    match name.parse::<Signal>() {
        Ok(Signal::SIGKILL | Signal::SIGSTOP) => Err("nobody can receive this one".to_owned()),
        Ok(Signal::SIGCHLD) => Err("this one tells that the command has ended".to_owned()),
        Ok(signal) => Ok(signal),
        Err(_) => Err("signals have names like USR1 or SIGUSR1".to_owned()),
    }
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Give up on the command after this time: print all its stacks, then end it
    #[arg(long, short, value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Option<u64>,
    /// From SIGTERM, when it is given up on, to SIGKILL
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s", requires = "timeout")]
    pub(super) grace: u64,
    /// Where to write the stacks of a command that was given up on; standard error unless given. A regular
    /// file of one's own is replaced, and nothing else
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "timeout")]
    pub(super) dump: Option<PathBuf>,
    /// Take a capture at intervals: it is written into --output, and judged by the rules
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) capture_every: Option<u64>,
    /// Take a capture at this signal, which is then not passed on
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub(super) capture_on: Option<Signal>,
    /// Stop threads for a moment when a capture is taken, to have the stacks of running goroutines too: those
    /// that run goroutines, one at a time (running), or the whole program (all); see `gospy check --help`
    #[arg(long, value_name = "THREADS", num_args = 0..=1, require_equals = true, default_missing_value = "running")]
    pub(super) freeze: Option<Freeze>,
    /// Stop a program that runs under a seccomp filter, too: see `gospy check --help`
    #[arg(long, requires = "freeze")]
    pub(super) freeze_seccomp: bool,
    /// Directory for captures; it is made if need be
    #[arg(long, short, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) rules: RuleArgs,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, num_args = 1.., last = true, value_hint = ValueHint::CommandWithArguments)]
    pub(super) command: Vec<OsString>,
}
