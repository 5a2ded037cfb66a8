//! What can be typed to the commands for scripts and CI: `diff`, `check`, `run`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use nix::sys::signal::Signal;
use regex::Regex;

use super::at::At;
use super::redacted::RedactArgs;
use super::snapshots::Input;
use super::source::TargetSpec;
use super::target::{Finder, Found, RunningArgs, Word};
use super::{Exit, Failure, completion};
use crate::analysis::GroupBy;
use crate::analysis::check::{Allowance, HeapRate};
use crate::analysis::quantity::{DURATION_HELP, parse_duration};
use crate::capture::{CaptureOptions, FreezeMode};

pub(super) const DIFF_EXAMPLES: &str = "\
Examples:
  gospy stack 4242 --json > before.json
  gospy diff before.json 4242
  gospy diff before.json after.json --by place
  gospy diff night.gospyrec@+1m night.gospyrec@-1m
  gospy diff web-1 web-2
  gospy diff before.json after.json --json | jq '.changes[] | select(.delta > 10)'";

pub(super) const CHECK_EXAMPLES: &str = "\
Examples:
  gospy check 4242 --watch 10m --baseline old.json --max-growth 10% --no-leaks";

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  gospy run --timeout 60s -- go test ./...
  gospy run --timeout 10m --dump stacks.txt -- ./server
  gospy run --capture-every 30s --output captures -- ./server
  gospy run --capture-on USR1 --output captures -- ./server
  gospy run --capture-every 2s --no-findings -- ./service --self-test";

const READ_TWICE: &str = "standard input can be read only once: use a file";

/// A time to wait for, ns.
pub(super) fn duration(text: &str) -> Result<u64, String> {
    match wait(text)? {
        0 => Err("it must be longer than 0".to_owned()),
        ns => Ok(ns),
    }
}

fn wait(text: &str) -> Result<u64, String> {
    parse_duration(text).ok_or_else(|| DURATION_HELP.to_owned())
}

fn allowance(text: &str) -> Result<Allowance, String> {
    Allowance::parse(text).ok_or_else(|| "growth is a number of goroutines (100) or a percentage (25%)".to_owned())
}

fn heap_rate(text: &str) -> Result<HeapRate, String> {
    HeapRate::parse(text).ok_or_else(|| "growth of a heap is a size in a time (1MiB/m, 500KiB/s, 2GiB/24h)".to_owned())
}

/// What a process is read with.
#[derive(Args, Debug)]
#[command(next_help_heading = "Program")]
pub(super) struct ProcessArgs {
    #[command(flatten)]
    running: RunningArgs,
    /// Binary with symbols, for a stripped program
    ///
    /// It has to be of the same build. For a core file: the program's own file, where that has moved.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    bin: Option<PathBuf>,
    /// Directory with the files that a core file names
    #[arg(long, hide_short_help = true, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    sysroot: Option<PathBuf>,
    /// Stop threads briefly for exact stacks: running, all
    ///
    /// `gospy help freeze` describes what it does and what it risks.
    #[arg(long, hide_short_help = true, value_name = "THREADS", num_args = 0..=1, require_equals = true, default_missing_value = "running")]
    freeze: Option<FreezeMode>,
    /// Freeze a program under a seccomp filter, too
    ///
    /// The program is killed if the filter forbids restart_syscall(2), which the profiles of Docker and
    /// Kubernetes allow.
    #[arg(long, requires = "freeze", hide_short_help = true)]
    freeze_seccomp: bool,
}

impl ProcessArgs {
    pub(super) fn wanted(&self) -> Option<TargetSpec> {
        self.running.process().map(|(pid, start_ticks)| self.process(pid, start_ticks))
    }

    fn process(&self, pid: i32, start_ticks: Option<u64>) -> TargetSpec {
        let freeze_filtered = self.freeze_seccomp;
        TargetSpec { freeze_filtered, start_ticks, ..TargetSpec::process(pid, self.bin.clone()) }
    }

    pub(super) fn options(&self) -> CaptureOptions {
        CaptureOptions { stacks: true, waits: true, freeze: self.freeze, ..CaptureOptions::default() }
    }

    fn file(&self, path: &Path) -> Input {
        Input::File { path: path.to_owned(), bin: self.bin.clone(), sysroot: self.sysroot.clone() }
    }

    fn given(&self) -> Option<Input> {
        self.wanted().map(|wanted| Input::Process(wanted, self.options()))
    }
}

#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// Two files, pids or names; - for stdin
    ///
    /// The earlier one first. Files are captures, core files, recordings (of which FILE@TIME is a moment,
    /// as in night.gospyrec@+90s), and what `stack --json` and `summary --json` write. What is not a file is the pid or the name of a running program.
    #[arg(value_name = "FILE|TARGET", help_heading = None::<&str>, required = true, num_args = 1..=2, value_hint = ValueHint::FilePath)]
    operands: Vec<PathBuf>,
    /// The running programs among them, in their places.
    #[arg(skip)]
    running: Vec<Option<Found>>,
    #[command(flatten)]
    process: ProcessArgs,
    /// Group by stack, place, … (gospy help keys)
    #[arg(help_heading = "Display", long, value_name = "KEY", value_parser = diff_key)]
    pub(super) by: Option<GroupBy>,
    /// Include the runtime's own goroutines
    #[arg(help_heading = "Display", long)]
    pub(super) system: bool,
    /// Show at most N groups per section; 0 for all
    #[arg(help_heading = "Display", long, value_name = "N", default_value_t = 40)]
    pub(super) limit: usize,
    /// Markdown, for a pull request
    #[arg(help_heading = "Display", long, conflicts_with = "json")]
    pub(super) markdown: bool,
    /// One JSON object instead of text
    #[arg(help_heading = "Display", long, short)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}

impl DiffArgs {
    /// The two, or what is wrong with what was typed.
    pub(super) fn both(&self) -> Result<[Input; 2], String> {
        let inputs = self.operands.iter().enumerate().map(|(at, path)| match self.running.get(at).copied().flatten() {
            Some(found) => {
                let wanted = self.process.process(found.pid, found.start_ticks);
                Input::Process(wanted, self.process.options())
            }
            None => self.process.file(path),
        });
        let inputs: Vec<Input> = inputs.chain(self.process.given()).collect();
        let frozen = self.process.freeze.is_some() && !inputs.iter().any(|input| matches!(input, Input::Process(..)));
        let from_stdin = |input: &&Input| matches!(input, Input::File { path, .. } if path.as_os_str() == "-");
        if inputs.iter().filter(from_stdin).count() > 1 {
            return Err(READ_TWICE.to_owned());
        }
        match <[Input; 2]>::try_from(inputs) {
            Ok(_) if frozen => Err("--freeze stops a running program, and both of these are files".to_owned()),
            Ok(both) => Ok(both),
            Err(inputs) if inputs.len() < 2 => Err("give a second file or running program to compare with".to_owned()),
            Err(_) => Err("these are three things to compare: leave one out".to_owned()),
        }
    }

    /// Finds the running programs: what is a file is one, and what has a slash can be nothing else.
    pub(super) fn look_up(&mut self, finder: &mut Finder<'_, '_>) -> Result<(), Failure> {
        if self.operands.len() + usize::from(self.process.running.is_given()) != 2 {
            // Said by `both`.
            return Ok(());
        }
        self.process.running.look_up(None, finder)?;
        for path in &self.operands {
            let is_file = path.exists() || At::split(path).is_some();
            let word = path.to_str().filter(|word| *word != "-" && !word.contains('/') && !is_file);
            let usage = |problem: &str| Failure::new(Exit::Usage, format!("{}: {problem}", path.display()));
            let word = word.map(str::parse::<Word>).transpose().map_err(usage)?;
            let found = word.map(|word| finder.by_word(&word)).transpose();
            self.running.push(found.map_err(|failure| match failure.exit() {
                Exit::NoProcess => {
                    let message = format!("{}: there is no such file, and {}", path.display(), failure.message());
                    Failure::new(Exit::Error, message)
                }
                _ => failure,
            })?);
        }
        Ok(())
    }
}

/// The rules of `check`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rules")]
pub(super) struct RuleArgs {
    /// At most N goroutines
    #[arg(long, value_name = "N")]
    pub(super) max_goroutines: Option<u64>,
    /// At most N (or N%) more than baseline
    ///
    /// With `check --watch`, no group may grow steadily by more; `gospy help rules` has the details.
    #[arg(long, value_name = "N|N%", value_parser = allowance)]
    pub(super) max_growth: Option<Allowance>,
    /// At most N with the same stack
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub(super) max_group: Option<u64>,
    /// No goroutine blocked for longer
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    pub(super) max_wait: Option<u64>,
    /// No goroutine in such a function
    #[arg(long, hide_short_help = true, value_name = "REGEX")]
    pub(super) forbid_function: Vec<Regex>,
    /// At least one goroutine in such a function
    #[arg(long, hide_short_help = true, value_name = "REGEX")]
    pub(super) require_function: Vec<Regex>,
    /// No definite problems
    ///
    /// No goroutine is blocked forever, has waited for a lock for a minute, or ends the program.
    #[arg(long)]
    pub(super) no_findings: bool,
    /// No goroutine that can never wake
    ///
    /// Reads the heap, at the end of the check, and at each capture of `run`: about half a second a gigabyte, and
    /// a second more where the program is busy. With --freeze=all the program stands still meanwhile, and the
    /// answer is certain.
    #[arg(long)]
    pub(super) no_leaks: bool,
    /// Live heap grows steadily by at most RATE
    ///
    /// RATE is a size and a time, as 1MiB/m. Reads the heap with each sample of `check --watch` and each capture of `run`,
    /// without a stop, and takes one sample of each cycle of the collector: all that it keeps, and what is in use by
    /// allocation site. What is allocated and collected again is no growth.
    #[arg(long, value_name = "RATE", value_parser = heap_rate)]
    pub(super) max_heap_growth: Option<HeapRate>,
    /// Ignore goroutines in or created by it
    #[arg(long, value_name = "REGEX")]
    pub(super) allow: Vec<Regex>,
    /// The same, one regex per line
    ///
    /// A # begins a comment.
    #[arg(long, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) allow_file: Vec<PathBuf>,
    /// Include the runtime's own goroutines
    #[arg(long, hide_short_help = true)]
    pub(super) system: bool,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["target", "pid", "name", "from"])))]
pub(super) struct CheckArgs {
    /// Pid or name of a running Go program
    #[arg(value_name = "TARGET", help_heading = None::<&str>, value_hint = ValueHint::Other, add = completion::targets())]
    target: Option<Word>,
    #[command(flatten)]
    process: ProcessArgs,
    /// Read a capture, core, recording, JSON; - for stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["freeze", "watch"])]
    from: Option<PathBuf>,
    #[command(flatten)]
    pub(super) rules: RuleArgs,
    /// File to measure growth from
    #[arg(help_heading = "Sampling and output", long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "max_growth")]
    pub(super) baseline: Option<PathBuf>,
    /// Accept a baseline of another program
    #[arg(help_heading = "Sampling and output", long, hide_short_help = true, requires = "baseline")]
    pub(super) force: bool,
    /// Sample for so long; fail on steady growth
    #[arg(help_heading = "Sampling and output", long, value_name = "DURATION", value_parser = duration)]
    pub(super) watch: Option<u64>,
    /// Time between samples [default: watch/30]
    #[arg(help_heading = "Sampling and output", long, hide_short_help = true, short, value_name = "DURATION", value_parser = duration, requires = "watch")]
    pub(super) interval: Option<u64>,
    /// One JSON object instead of text
    #[arg(help_heading = "Sampling and output", long, short)]
    pub(super) json: bool,
    /// Write JUnit XML to a file too
    ///
    /// For its owner alone. A regular file of your own is replaced, and nothing else.
    #[arg(hide_short_help = true, help_heading = "Sampling and output", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) junit: Option<PathBuf>,
    /// Annotate the run on GitHub Actions
    ///
    /// The default where GITHUB_ACTIONS is true.
    #[arg(help_heading = "Sampling and output", long, hide_short_help = true)]
    pub(super) github: bool,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}

impl CheckArgs {
    pub(super) fn look_up(&mut self, finder: &mut Finder<'_, '_>) -> Result<(), Failure> {
        self.process.running.look_up(self.target.as_ref(), finder)
    }

    pub(super) fn given(&self) -> Input {
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
    pub(super) fn baseline(&self) -> Option<Input> {
        self.baseline.as_deref().map(|path| self.process.file(path))
    }
}

fn signal(text: &str) -> Result<Signal, String> {
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    match name.parse::<Signal>() {
        Ok(Signal::SIGKILL | Signal::SIGSTOP) => Err("a process cannot catch this one".to_owned()),
        Ok(Signal::SIGCHLD) => Err("this one reports the end of the command".to_owned()),
        Ok(signal) => Ok(signal),
        Err(_) => Err("signals have names like USR1 or SIGUSR1".to_owned()),
    }
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Print its stacks and end it after this time
    #[arg(long, short, value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Option<u64>,
    /// Time from SIGTERM to SIGKILL
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5s", requires = "timeout")]
    pub(super) grace: u64,
    /// Write these stacks to a file, not stderr
    ///
    /// A regular file of your own is replaced, and nothing else.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "timeout")]
    pub(super) dump: Option<PathBuf>,
    /// Take captures at intervals
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) capture_every: Option<u64>,
    /// Take a capture on this signal
    #[arg(long, value_name = "SIGNAL", value_parser = signal)]
    pub(super) capture_on: Option<Signal>,
    /// Stop threads for captures: running, all
    #[arg(long, value_name = "THREADS", num_args = 0..=1, require_equals = true, default_missing_value = "running", hide_short_help = true)]
    pub(super) freeze: Option<FreezeMode>,
    /// Stop a program with a seccomp filter too
    #[arg(long, requires = "freeze", hide_short_help = true)]
    pub(super) freeze_seccomp: bool,
    /// Directory for captures, created if missing
    #[arg(long, short, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) rules: RuleArgs,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", help_heading = None::<&str>, required = true, num_args = 1.., last = true, value_hint = ValueHint::CommandWithArguments)]
    pub(super) command: Vec<OsString>,
}

/// What `diff` can group by: objects are not compared, since another run has others.
pub(super) fn diff_key(text: &str) -> Result<GroupBy, String> {
    match text.parse() {
        Ok(GroupBy::Object) => {
            Err("snapshots are not compared by object; summary, stack and top group by it".to_owned())
        }
        other => other,
    }
}
