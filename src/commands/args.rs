//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::ci_args::{CHECK_EXAMPLES, CheckArgs, DIFF_EXAMPLES, DiffArgs, RUN_EXAMPLES, RunArgs, duration};
use super::exit;
use super::selection::IdRange;
use super::source::{Depth, Freeze, Place, TargetSpec};
use super::streams::ColourChoice;
use crate::analysis::filter::HELP as FILTER_HELP;
use crate::analysis::{PlaceKind, SortKey};
use crate::top::grouping::Grouping;
use crate::top::order::SortName;

/// Below the help of gospy itself.
fn after_help() -> String {
    format!("{}\n\ngospy run ends as its command does; its help says more.", exit::help("gospy"))
}

/// See inside any running Go program without touching it.
///
/// gospy reads the memory of a running Go program from outside: no code in the program, no signal,
/// no debugger, no stop. Stripped binaries work.
#[derive(Debug, Parser)]
#[command(name = "gospy", version, propagate_version = true, after_long_help = after_help(), max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags that every command knows, before and after its name.
#[derive(Args, Debug)]
pub(super) struct Global {
    /// When to colour
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        help_heading = "Global options"
    )]
    color: ColourChoice,
    /// Never colour: the same as --color never
    #[arg(long, global = true, conflicts_with = "color", help_heading = "Global options")]
    no_color: bool,
    /// End with status 6 when the answer is incomplete
    #[arg(long, global = true, help_heading = "Global options")]
    pub(super) strict: bool,
    /// Say nothing beside the answer, errors apart
    #[arg(long, short, global = true, help_heading = "Global options")]
    pub(super) quiet: bool,
}

impl Global {
    pub(super) fn colour(&self) -> ColourChoice {
        if self.no_color { ColourChoice::Never } else { self.color }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Scheduler, heap, GC, and what every goroutine does
    #[command(visible_alias = "s", after_long_help = SUMMARY_EXAMPLES)]
    Summary(SummaryArgs),
    /// Every goroutine's stack, as the program itself would print it
    #[command(visible_aliases = ["st", "dump"], after_long_help = STACK_EXAMPLES)]
    Stack(StackArgs),
    /// A live view: what goroutines pile up on, and which pile grows
    #[command(visible_alias = "t", after_long_help = TOP_EXAMPLES)]
    Top(TopArgs),
    /// Save what is there to see of a program in a file, to be looked at later and elsewhere
    #[command(after_long_help = CAPTURE_EXAMPLES)]
    Capture(CaptureArgs),
    /// The Go programs that run on this machine
    #[command(after_long_help = "Examples:\n  gospy ps\n  gospy ps --json | jq -r '.processes[].pid'")]
    Ps(PsArgs),
    /// What was found of a program and how, and what is missing to read it
    #[command(after_long_help = "Examples:\n  gospy doctor\n  gospy doctor --pid 4242\n  \
                                 gospy doctor --pid 4242 --bin ./server-with-symbols")]
    Doctor(DoctorArgs),
    /// What became of the goroutines between two readings
    #[command(after_long_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Check goroutines against rules (for CI)
    #[command(after_long_help = format!("{CHECK_EXAMPLES}\n\n{}", exit::help("check")))]
    Check(CheckArgs),
    /// Run a command that is or starts a Go program, and tell its stacks when it hangs: for CI
    #[command(after_long_help = format!("{RUN_EXAMPLES}\n\n{}", exit::help("run")))]
    Run(RunArgs),
    /// Print a completion script for a shell
    #[command(after_long_help = "Examples:\n  gospy completions bash > /etc/bash_completion.d/gospy\n  \
                                 gospy completions zsh > ~/.zfunc/_gospy")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all of them into a directory
    #[command(after_long_help = "Examples:\n  gospy man | man -l -\n  gospy man /usr/local/share/man/man1")]
    Man {
        /// Where to write gospy.1, gospy-summary.1 and so on; regular files of one's own are replaced
        #[arg(value_hint = ValueHint::DirPath)]
        directory: Option<PathBuf>,
    },
    /// Print the JSON Schema of what --json prints
    #[command(after_long_help = "Examples:\n  gospy schema > snapshot.schema.json\n  \
                                 gospy schema check > check.schema.json")]
    Schema {
        /// Whose: snapshot is that of summary and stack
        #[arg(value_enum, default_value_t = SchemaOf::Snapshot)]
        of: SchemaOf,
    },
}

/// Which schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaOf {
    /// What summary and stack print
    Snapshot,
    /// What diff prints
    Diff,
    /// What check prints
    Check,
    /// What capture prints
    Capture,
    /// What doctor prints
    Doctor,
    /// What ps prints
    Ps,
    /// A line of what top prints
    Top,
}

const SUMMARY_EXAMPLES: &str = "\
Examples:
  gospy summary --pid 4242
  gospy summary -p 4242 --filter 'state=waiting and age>5m and not system' --sort age
  gospy summary -p 4242 --all --pc caller
  gospy summary -p 4242 --json | jq '.goroutines.by_wait_reason'";

const STACK_EXAMPLES: &str = "\
Examples:
  gospy stack --pid 4242
  gospy stack -p 4242 --group | less
  gospy stack -p 4242 --filter 'func~http.*Serve and age>1m'
  gospy stack -p 4242 --goid 8-15,18 --freeze
  gospy stack -p 4242 --filter state=syscall --c-frames
  gospy stack -p 4242 --pprof goroutines.pb.gz && go tool pprof -top goroutines.pb.gz
  go tool pprof -top -diff_base before.pb.gz goroutines.pb.gz
  gospy stack -p 4242 --folded | inferno-flamegraph > goroutines.svg";

const TOP_EXAMPLES: &str = "\
Press ? for the keys. When standard output is not a terminal, each refresh is a block of text.

Examples:
  gospy top --pid 4242
  gospy top -p 4242 --interval 500ms --group-by stack --filter 'not system'
  gospy top -p 4242 --group-by label=tenant --sort growth
  gospy top -p 4242 --wait
  gospy top -p 4242 --once
  gospy top --from server.capture
  gospy top -p 4242 --json --iterations 60 | jq -c '.groups[] | select(.rate_per_second > 1)'";

const CAPTURE_EXAMPLES: &str = "\
A capture holds what every command shows, and what that takes of the binary. It is small, checked, and
can be read years later on any machine without the binary, without root and without Go. A file that
is there is replaced only if it is a capture, and only when the new one is whole; links and devices never.

Examples:
  gospy capture --pid 4242 -o server.capture
  gospy stack --from server.capture --group
  gospy capture -p 4242 -o leak.capture --repeat 10 --interval 1m
  gospy diff leak-01.capture leak-10.capture
  gospy capture --from core.4242 -o crash.capture
  ssh host sudo gospy capture -p 4242 -o - > server.capture
  gospy capture --from server.capture -o server.core --uncompressed && gdb ./server server.core";

/// Which program.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["pid", "from"])))]
pub(super) struct TargetArgs {
    /// Process to read
    #[arg(long, short, value_name = "PID", value_hint = ValueHint::Other, value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// File to read in the place of a process: a capture (see `gospy capture`), a core file, or what
    /// `stack --json` writes; - for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// Binary of the same build with symbols, for a program that has none; of a core file, the
    /// program's own file when it is not where it was
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    bin: Option<PathBuf>,
    /// Directory with all files that a core file names
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, requires = "from")]
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

impl TargetArgs {
    pub(super) fn wanted(&self) -> TargetSpec {
        let wanted = place(self.pid, self.from.as_ref(), self.bin.as_ref(), self.sysroot.as_ref());
        TargetSpec { freeze_filtered: self.freeze_seccomp, ..wanted }
    }

    pub(super) fn freeze(&self) -> Option<Freeze> {
        self.freeze
    }

    pub(super) fn depth(&self, dead: bool) -> Depth {
        Depth { stacks: true, c_frames: false, dead, freeze: self.freeze }
    }
}

/// One of the two is there: the definitions see to that.
fn place(pid: Option<i32>, from: Option<&PathBuf>, bin: Option<&PathBuf>, sysroot: Option<&PathBuf>) -> TargetSpec {
    let place = match (pid, from) {
        (Some(pid), _) => Place::Process(pid),
        (None, from) => Place::File(from.cloned().unwrap_or_default()),
    };
    TargetSpec { place, bin: bin.cloned(), sysroot: sysroot.cloned(), freeze_filtered: false }
}

#[derive(Args, Debug)]
pub(super) struct CaptureArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// File to write, for its owner alone (mode 0600); with --repeat, a number is put before its
    /// extension; - for standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) output: PathBuf,
    /// Write over any regular file, not only over a capture (with --uncompressed a core file)
    #[arg(long)]
    pub(super) force: bool,
    /// Take that many captures, one after the other
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires_all = ["pid", "interval"])]
    pub(super) repeat: Option<u32>,
    /// Time from one capture to the next
    #[arg(long, short, value_name = "DURATION", value_parser = duration, requires = "repeat")]
    pub(super) interval: Option<u64>,
    /// Write the core file that is inside of a capture, for gdb and others
    #[arg(long)]
    pub(super) uncompressed: bool,
    /// Say what was written as one JSON object
    #[arg(long, short)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct PsArgs {
    /// One JSON object instead of text
    #[arg(long, short)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Process to examine; without it, this machine
    #[arg(long, short, value_name = "PID", value_hint = ValueHint::Other, value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// Capture or core file to examine in the place of a process
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "pid")]
    from: Option<PathBuf>,
    /// Binary of the same build with symbols; of a core file, the program's own file
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    bin: Option<PathBuf>,
    /// Directory with all files that a core file names
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, requires = "from")]
    sysroot: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long, short)]
    pub(super) json: bool,
}

impl DoctorArgs {
    pub(super) fn wanted(&self) -> Option<TargetSpec> {
        let given = self.pid.is_some() || self.from.is_some();
        given.then(|| place(self.pid, self.from.as_ref(), self.bin.as_ref(), self.sysroot.as_ref()))
    }
}

/// Which goroutines, and in which order.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only the goroutines with these ids: 7, 18,19 or 8-15
    #[arg(long, short, value_name = "IDS", value_delimiter = ',', value_hint = ValueHint::Other)]
    pub(super) goid: Vec<IdRange>,
    /// Only the goroutines for which this holds
    #[arg(long, value_name = "EXPR", long_help = format!("Only the goroutines for which this holds.\n\n{FILTER_HELP}"))]
    pub(super) filter: Option<String>,
    /// Order of the list; count is that of groups, stack the bytes in use
    #[arg(long, value_name = "KEY", value_parser = sort_keys())]
    pub(super) sort: Option<SortKey>,
    /// Turn the order round
    #[arg(long, short)]
    pub(super) reverse: bool,
    /// Show at most this many goroutines or groups; 0 for no limit
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// One JSON object instead of text
    #[arg(long, short)]
    pub(super) json: bool,
}

fn sort_keys() -> impl clap::builder::TypedValueParser<Value = SortKey> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(SortKey::ALL.iter().map(|(name, _)| *name))
        .try_map(|name| name.parse::<SortKey>())
}

#[derive(Args, Debug)]
pub(super) struct SummaryArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) list: ListArgs,
    /// A line for each goroutine, however many there are
    #[arg(long, conflicts_with = "group")]
    pub(super) all: bool,
    /// A line for each place, however few goroutines there are
    #[arg(long)]
    pub(super) group: bool,
    /// Which place to show: where it is, where it started, or the go statement that created it
    #[arg(long, value_name = "PLACE", default_value = "current")]
    pc: PlaceArg,
    /// Show the runtime's own frames as places
    #[arg(long)]
    system: bool,
    /// Show dead goroutines too
    #[arg(long, short = 'd')]
    pub(super) show_dead: bool,
    /// Show every P and M, though none of them stands out
    #[arg(long, short)]
    pub(super) verbose: bool,
}

/// `--pc`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlaceArg {
    /// Where it is
    Current,
    /// The function that it started in
    Start,
    /// The go statement that created it
    Caller,
}

impl SummaryArgs {
    pub(super) fn place(&self) -> PlaceKind {
        match (self.pc, self.system) {
            (PlaceArg::Current, false) => PlaceKind::Current,
            (PlaceArg::Current, true) => PlaceKind::Innermost,
            (PlaceArg::Start, _) => PlaceKind::Start,
            (PlaceArg::Caller, _) => PlaceKind::Creator,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct StackArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) list: ListArgs,
    /// Every goroutine for itself, even on a terminal and when there are many; with --pprof, a sample
    /// for each, with its id, state, wait and creator
    #[arg(long, conflicts_with_all = ["group", "similar"])]
    pub(super) all: bool,
    /// One block for goroutines with identical stacks
    #[arg(long)]
    pub(super) group: bool,
    /// One block for goroutines whose stacks differ only within the runtime or in the instruction
    #[arg(long)]
    pub(super) similar: bool,
    /// Show the runtime's frames and goroutines, with addresses
    #[arg(long)]
    pub(super) system: bool,
    /// Show the program's own pprof labels
    #[arg(long)]
    pub(super) labels: bool,
    /// Show what goroutines that called C do there, above their Go frames, in lines that begin with `[C]`
    ///
    /// Show what goroutines that called C do there, above their Go frames, in lines that begin with
    /// `[C]`. Known without a stop for threads that wait in the kernel; with --freeze=all for every
    /// thread. Functions have names as far as the files' symbol tables go. JSON always has these
    /// frames, as c_frames.
    #[arg(long, conflicts_with_all = ["group", "similar", "folded", "pprof"])]
    pub(super) c_frames: bool,
    /// Leave out the middle of stacks with more frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_frames: Option<u32>,
    /// One line a stack, root first, with its count: for flame graphs
    #[arg(long, conflicts_with_all = ["json", "pprof", "group", "similar", "all"])]
    pub(super) folded: bool,
    /// Write a pprof profile, as the program would of itself; - for standard output. A regular file of
    /// one's own is replaced, and nothing else
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["json", "group", "similar"])]
    pub(super) pprof: Option<PathBuf>,
}

impl StackArgs {
    pub(super) fn depth(&self) -> Depth {
        Depth { c_frames: self.c_frames || self.list.json, ..self.target.depth(false) }
    }

    pub(super) fn max_frames(&self) -> Option<usize> {
        self.max_frames.and_then(|most| usize::try_from(most).ok())
    }
}

#[derive(Args, Debug)]
pub(super) struct TopArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Time from one refresh to the next: 500ms, 2s; a number alone is seconds
    #[arg(long, short, value_name = "DURATION", default_value = "1", value_parser = interval)]
    pub(super) interval: Duration,
    /// Put goroutines together by place, stack, start, creator or label=KEY
    #[arg(long, value_name = "KEY", default_value = "place", value_parser = |text: &str| text.parse::<Grouping>())]
    pub(super) group_by: Grouping,
    /// Order: count, change, growth, rate, age, function of groups; id, state, reason, stack of goroutines
    #[arg(long, value_name = "KEY", value_parser = |text: &str| text.parse::<SortName>())]
    pub(super) sort: Option<SortName>,
    /// Only the goroutines for which this holds
    #[arg(long, value_name = "EXPR", long_help = format!("Only the goroutines for which this holds.\n\n{FILTER_HELP}"))]
    pub(super) filter: Option<String>,
    /// Show the runtime's own goroutines too
    #[arg(long, conflicts_with = "no_system")]
    pub(super) system: bool,
    /// Leave out the runtime's own goroutines: the default, but for --json
    #[arg(long)]
    pub(super) no_system: bool,
    /// Share of one core that gospy may use, in percent; slower refreshes keep it below
    #[arg(long, value_name = "PERCENT", default_value = "25", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) max_cpu: u16,
    /// End after so many refreshes
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) iterations: Option<u64>,
    /// Print one refresh and end
    #[arg(long, conflicts_with = "iterations")]
    pub(super) once: bool,
    /// When the program ends, wait for it to come back as another process
    #[arg(long, conflicts_with_all = ["once", "from"])]
    pub(super) wait: bool,
    /// One JSON object a refresh, on one line
    #[arg(long, short)]
    pub(super) json: bool,
}

/// Shortest interval: below it the screen cannot be read any more.
const SHORTEST: Duration = Duration::from_millis(50);
/// Longest interval.
const LONGEST: Duration = Duration::from_secs(86_400);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text).map(Duration::from_nanos)?;
    if (SHORTEST..=LONGEST).contains(&interval) {
        Ok(interval)
    } else {
        Err("it has to be from 50ms to 24h".to_owned())
    }
}
