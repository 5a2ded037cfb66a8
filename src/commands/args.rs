//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::ci_args::{CHECK_EXAMPLES, CheckArgs, DIFF_EXAMPLES, DiffArgs, RUN_EXAMPLES, RunArgs, duration};
use super::selection::IdRange;
use super::source::TargetSpec;
use super::streams::ColourChoice;
use super::target::{Finder, RunningArgs, Word};
use super::topics::RULES;
use super::{Failure, completion, exit};
use crate::analysis::filter::HELP as FILTER_HELP;
use crate::analysis::{GroupBy, PlaceKind, SortKey};
use crate::capture::{CaptureOptions, FreezeMode};
use crate::inspect::processes::ProcessSort;
use crate::top::grouping;
use crate::top::order::SortName;

/// Below the manual page of gospy itself.
fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}\n\ngospy run exits as its command does; see its page.", exit::help("gospy"))
}

const EXAMPLES: &str = "\
Examples:
  gospy                    # list running Go programs
  gospy prometheus         # by name or pid: all goroutines, scheduler, heap, GC
  gospy top prometheus     # the same, live";

/// See inside any running Go program without touching it.
///
/// gospy reads the memory of a running Go program from outside: no code in the program, no signal,
/// no debugger, no stop. Stripped binaries work.
#[derive(Debug, Parser)]
#[command(name = "gospy", version, after_long_help = after_help(), max_term_width = 100,
          override_usage = "gospy [TARGET] [OPTIONS]\n       gospy <COMMAND> [OPTIONS]", disable_help_subcommand = true, disable_help_flag = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// Flags that every command knows, before and after its name.
#[derive(Args, Debug)]
pub(super) struct Global {
    /// When to colour: auto, always, never
    #[arg(
        long,
        hide_short_help = true,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        help_heading = "General"
    )]
    color: ColourChoice,
    /// The same as --color never
    #[arg(long, hide = true, global = true, conflicts_with = "color", help_heading = "General")]
    no_color: bool,
    /// Exit with status 6 if the result is incomplete
    #[arg(long, hide_short_help = true, global = true, help_heading = "General")]
    pub(super) strict: bool,
    /// Suppress everything but results and errors
    #[arg(long, short, hide_short_help = true, global = true, help_heading = "General")]
    pub(super) quiet: bool,
    /// Print help
    #[arg(long, short, hide_short_help = true, global = true, action = clap::ArgAction::Help, help_heading = "General")]
    help: Option<bool>,
}

impl Global {
    pub(super) fn colour(&self) -> ColourChoice {
        if self.no_color { ColourChoice::Never } else { self.color }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every goroutine, the scheduler, heap and GC (default; s)
    #[command(alias = "s", after_long_help = SUMMARY_EXAMPLES)]
    Summary(SummaryArgs),
    /// Print goroutine stacks in Go's own traceback format (st, dump)
    #[command(aliases = ["st", "dump"], after_long_help = STACK_EXAMPLES)]
    Stack(StackArgs),
    /// Watch goroutine groups live, and which of them grow (t)
    #[command(alias = "t", after_long_help = TOP_EXAMPLES)]
    Top(TopArgs),
    /// Save a snapshot of a process to a file
    #[command(after_long_help = CAPTURE_EXAMPLES)]
    Capture(CaptureArgs),
    /// List the running Go programs
    #[command(
        after_long_help = "Examples:\n  gospy ps\n  gospy ps --sort goroutines\n  gospy ps --json | jq -r '.processes[].pid'"
    )]
    Ps(PsArgs),
    /// Explain what can be read of a program, and what is missing
    #[command(after_long_help = "Examples:\n  gospy doctor\n  gospy doctor 4242\n  \
                                 gospy doctor 4242 --bin ./server-with-symbols")]
    Doctor(DoctorArgs),
    /// Find goroutines that nobody can wake any more
    #[command(after_long_help = LEAKS_EXAMPLES)]
    Leaks(LeaksArgs),
    /// Compare the goroutines of two snapshots
    #[command(after_long_help = DIFF_EXAMPLES)]
    Diff(DiffArgs),
    /// Check goroutines against rules (for CI)
    #[command(after_long_help = format!("{CHECK_EXAMPLES}\n\n{RULES}\n\n{}", exit::help("check")))]
    Check(CheckArgs),
    /// Run a command, and print its stacks if it hangs (for CI)
    #[command(after_long_help = format!("{RUN_EXAMPLES}\n\n{RULES}\n\n{}", exit::help("run")))]
    Run(RunArgs),
    /// Print a completion script for a shell
    #[command(after_long_help = "Examples:\n  source <(gospy completions bash)    # in ~/.bashrc\n  \
                                 source <(gospy completions zsh)     # in ~/.zshrc\n  \
                                 gospy completions fish | source     # in config.fish")]
    Completions {
        /// bash, zsh, fish, elvish, powershell
        shell: clap_complete::Shell,
    },
    /// Print the help of a command or a topic
    #[command(after_long_help = "Examples:\n  gospy help stack\n  gospy help filter")]
    Help {
        /// A command, or: filter, keys, rules, freeze, targets, formats, exit
        #[arg(add = completion::helped())]
        topic: Option<String>,
    },
    /// Print the manual page, or write all pages into a directory
    #[command(after_long_help = "Examples:\n  gospy man | man -l -\n  gospy man /usr/local/share/man/man1")]
    Man {
        /// Directory for gospy.1, gospy-summary.1, …
        ///
        /// Regular files of your own are replaced.
        #[arg(value_hint = ValueHint::DirPath)]
        directory: Option<PathBuf>,
    },
    /// Print the JSON Schema of --json output
    #[command(after_long_help = "Examples:\n  gospy schema > snapshot.schema.json\n  \
                                 gospy schema check > check.schema.json")]
    Schema {
        /// snapshot (summary, stack), diff, check, capture, doctor, ps, top, leaks
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
    /// What leaks prints
    Leaks,
}

impl Command {
    /// Finds the running program that was typed by its name, or not at all.
    pub(super) fn look_up(&mut self, finder: &mut Finder<'_, '_>) -> Result<(), Failure> {
        match self {
            Self::Summary(arguments) => arguments.target.look_up(finder),
            Self::Stack(arguments) => arguments.target.look_up(finder),
            Self::Top(arguments) => arguments.target.look_up(finder),
            Self::Capture(arguments) => arguments.target.look_up(finder),
            Self::Doctor(arguments) => arguments.running.look_up(arguments.target.as_ref(), finder),
            Self::Leaks(arguments) => arguments.target.look_up(finder),
            Self::Diff(arguments) => arguments.look_up(finder),
            Self::Check(arguments) => arguments.look_up(finder),
            Self::Help { .. }
            | Self::Ps(_)
            | Self::Run(_)
            | Self::Completions { .. }
            | Self::Man { .. }
            | Self::Schema { .. } => Ok(()),
        }
    }
}

const SUMMARY_EXAMPLES: &str = "\
Examples:
  gospy summary prometheus
  gospy summary 4242 --filter 'state=waiting and age>5m' --sort age
  gospy summary 4242 --all --pc creator
  gospy summary 4242 --watch 2s
  gospy summary 4242 --json | jq '.goroutines.by_wait_reason'";

const STACK_EXAMPLES: &str = "\
Examples:
  gospy stack prometheus --group | less
  gospy stack 4242 --filter 'func~http.*Serve and age>1m'
  gospy stack 4242 --goid 8-15,18 --freeze
  gospy stack 4242 --pprof now.pb.gz && go tool pprof -top now.pb.gz
  gospy stack 4242 --folded | inferno-flamegraph > goroutines.svg";

const TOP_EXAMPLES: &str = "\
Examples:
  gospy top prometheus
  gospy top 4242 --interval 500ms --group-by stack
  gospy top 4242 --group-by label=tenant --sort growth
  gospy top --from server.capture
  gospy top 4242 --json -n 60 | jq -c '.groups[] | select(.change > 9)'

Press ? for the keys. When standard output is not a terminal, each refresh is a block of text.";

const CAPTURE_EXAMPLES: &str = "\
Examples:
  gospy capture 4242 -o server.capture
  gospy stack --from server.capture --group
  gospy capture 4242 -o leak.capture --repeat 10 --interval 1m
  ssh host sudo gospy capture 4242 -o - > server.capture
  gospy capture --from server.capture -o server.core --uncompressed

A capture holds what every command shows, and what that takes of the binary. It is small, checked, and
can be read years later on any machine without the binary, without root and without Go. An existing
file is replaced only if it is a capture, and only when the new one is complete; links and devices never.";

const LEAKS_EXAMPLES: &str = "\
Examples:
  gospy leaks prometheus
  gospy leaks 4242 --freeze=all
  gospy leaks --from server.core
  gospy leaks 4242 --json | jq '.leaks | {grade, total}'

A goroutine is leaked when nothing that can still run can reach what it waits for. The answer is certain
when nothing moved while the heap was read: the program was stopped (--freeze=all), it is a core file, or
no Go code ran. Otherwise it is confirmed: found twice, a second apart.";

#[derive(Args, Debug)]
pub(super) struct LeaksArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// One JSON object instead of text
    #[arg(long, short)]
    pub(super) json: bool,
}

/// Which program.
#[derive(Args, Debug)]
#[command(next_help_heading = "Program")]
#[command(group(clap::ArgGroup::new("where").args(["target", "pid", "name", "from"])))]
pub(super) struct TargetArgs {
    /// Pid or name of a Go program; optional if only one runs
    ///
    /// `gospy help targets` lists the names by which programs are found.
    #[arg(value_name = "TARGET", help_heading = None::<&str>, value_hint = ValueHint::Other, add = completion::targets())]
    target: Option<Word>,
    #[command(flatten)]
    running: RunningArgs,
    /// Read a capture, core file or JSON; - for stdin
    ///
    /// A capture is what `gospy capture` writes, JSON what `stack --json` writes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// Binary with symbols, for a stripped program
    ///
    /// It has to be of the same build. For a core file: the program's own file, where that has moved.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    bin: Option<PathBuf>,
    /// Directory with the files that a core file names
    #[arg(long, hide_short_help = true, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, requires = "from")]
    sysroot: Option<PathBuf>,
    /// Stop threads briefly for exact stacks: running, all
    ///
    /// `gospy help freeze` describes what it does and what it risks.
    #[arg(long, value_name = "THREADS", num_args = 0..=1, require_equals = true, default_missing_value = "running",
          conflicts_with = "from")]
    freeze: Option<FreezeMode>,
    /// Freeze a program under a seccomp filter, too
    ///
    /// The program is killed if the filter forbids restart_syscall(2), which the profiles of Docker and
    /// Kubernetes allow.
    #[arg(long, requires = "freeze", hide_short_help = true)]
    freeze_seccomp: bool,
}

impl TargetArgs {
    pub(super) fn wanted(&self) -> TargetSpec {
        let wanted = location(&self.running, self.from.as_ref(), self.bin.as_ref(), self.sysroot.as_ref());
        TargetSpec { freeze_filtered: self.freeze_seccomp, ..wanted }
    }

    fn look_up(&mut self, finder: &mut Finder<'_, '_>) -> Result<(), Failure> {
        match self.from {
            Some(_) => Ok(()),
            None => self.running.look_up_or_choose(self.target.as_ref(), finder),
        }
    }

    pub(super) fn freeze(&self) -> Option<FreezeMode> {
        self.freeze
    }

    pub(super) fn options(&self, dead: bool) -> CaptureOptions {
        CaptureOptions { stacks: true, c_frames: false, dead, freeze: self.freeze }
    }
}

impl ValueEnum for ProcessSort {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Pid, Self::Name, Self::User, Self::Container, Self::Goroutines, Self::Threads]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Pid => "pid",
            Self::Name => "name",
            Self::User => "user",
            Self::Container => "container",
            Self::Goroutines => "goroutines",
            Self::Threads => "threads",
        }))
    }
}

impl ValueEnum for FreezeMode {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Running, Self::All]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Running => PossibleValue::new("running").help("Those that run goroutines, one at a time"),
            Self::All => PossibleValue::new("all").help("All of them, together"),
        })
    }
}

/// One of the two is there: the definitions and the look-up of names see to that.
fn location(
    running: &RunningArgs,
    from: Option<&PathBuf>,
    bin: Option<&PathBuf>,
    sysroot: Option<&PathBuf>,
) -> TargetSpec {
    let wanted = match running.process() {
        Some((pid, start_ticks)) => TargetSpec { start_ticks, ..TargetSpec::process(pid, None) },
        None => TargetSpec::file(from.cloned().unwrap_or_default()),
    };
    TargetSpec { bin: bin.cloned(), sysroot: sysroot.cloned(), ..wanted }
}

#[derive(Args, Debug)]
pub(super) struct CaptureArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// File to write (mode 0600); - for stdout
    ///
    /// With --repeat, a number is put before its extension.
    #[arg(help_heading = "Output", long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) output: PathBuf,
    /// Replace any regular file, not only a capture
    ///
    /// With --uncompressed, core files are replaced without it.
    #[arg(help_heading = "Output", long)]
    pub(super) force: bool,
    /// Take N captures, one after the other
    #[arg(help_heading = "Output", long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), requires = "interval", conflicts_with = "from")]
    pub(super) repeat: Option<u32>,
    /// Time between captures
    #[arg(help_heading = "Output", long, short, value_name = "DURATION", value_parser = duration, requires = "repeat")]
    pub(super) interval: Option<u64>,
    /// Write a core file for gdb and other debuggers
    #[arg(help_heading = "Output", long)]
    pub(super) uncompressed: bool,
    /// Report what was written as one JSON object
    #[arg(help_heading = "Output", long, short)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct PsArgs {
    /// Order: pid, name, user, container, goroutines, threads
    #[arg(long, value_name = "KEY", default_value = "pid", hide_default_value = true)]
    pub(super) sort: ProcessSort,
    /// Reverse the order
    #[arg(long, short)]
    pub(super) reverse: bool,
    /// One JSON object instead of text
    #[arg(long, short)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("where").args(["target", "pid", "name", "from"])))]
pub(super) struct DoctorArgs {
    /// Pid or name of a running program; this machine if omitted
    #[arg(value_name = "TARGET", help_heading = None::<&str>, value_hint = ValueHint::Other, add = completion::targets())]
    target: Option<Word>,
    #[command(flatten)]
    running: RunningArgs,
    /// Examine a capture or core file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// Binary of the same build with symbols
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    bin: Option<PathBuf>,
    /// Directory with the files that a core file names
    #[arg(long, hide_short_help = true, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, requires = "from")]
    sysroot: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long, short)]
    pub(super) json: bool,
}

impl DoctorArgs {
    pub(super) fn wanted(&self) -> Option<TargetSpec> {
        let given = self.running.process().is_some() || self.from.is_some();
        given.then(|| location(&self.running, self.from.as_ref(), self.bin.as_ref(), self.sysroot.as_ref()))
    }
}

/// Which goroutines, and in which order.
#[derive(Args, Debug)]
#[command(next_help_heading = "Goroutines")]
pub(super) struct ListArgs {
    /// Only these goroutine ids: 7, 18,19 or 8-15
    #[arg(long, short, value_name = "IDS", value_delimiter = ',', value_hint = ValueHint::Other)]
    pub(super) goid: Vec<IdRange>,
    /// Only matching goroutines (gospy help filter)
    #[arg(long, value_name = "EXPR", long_help = format!("Only matching goroutines.\n\n{FILTER_HELP}"))]
    pub(super) filter: Option<String>,
    /// Order of the list (gospy help keys)
    #[arg(long, value_name = "KEY", value_parser = sort_keys())]
    pub(super) sort: Option<SortKey>,
    /// Reverse the order
    #[arg(long, short)]
    pub(super) reverse: bool,
    /// Show at most N goroutines or groups; 0 for all
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
    /// One line per goroutine, however many
    #[arg(long, conflicts_with = "group")]
    pub(super) all: bool,
    /// One line per place, however few goroutines
    #[arg(long)]
    pub(super) group: bool,
    /// Place to show: user, current, start, creator
    ///
    /// user: where it is in your code; current: where it is in any code but the runtime's; start: the function
    /// that it started in; creator: the go statement that created it.
    #[arg(long, value_name = "PLACE", default_value = "user", hide_default_value = true, hide_short_help = true)]
    pc: PlaceArg,
    /// Show the runtime's own frames as places
    #[arg(long, hide_short_help = true)]
    system: bool,
    /// Show dead goroutines too
    #[arg(long, short = 'd', hide_short_help = true)]
    pub(super) show_dead: bool,
    /// Show every P and M, though none of them stands out
    #[arg(long, short)]
    pub(super) verbose: bool,
    /// Read for that long and a little more, to measure for how long goroutines have been blocked
    ///
    /// Without it, ages are estimated from the timestamps of garbage collections, and a program that has not
    /// collected yet has none. Read more than once, a goroutine that has not run in between has waited for
    /// the whole time at least. Ages that were measured are marked as watched.
    #[arg(long, value_name = "DURATION", value_parser = watch, requires = "pid")]
    pub(super) watch: Option<Duration>,
}

/// `--pc`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PlaceArg {
    /// Where it is in your code: the innermost frame that is not the standard library's, or that of the
    /// main module
    User,
    /// The innermost frame that is not the runtime's
    Current,
    /// The function that it started in
    Start,
    /// The go statement that created it
    #[value(alias = "caller")]
    Creator,
}

impl SummaryArgs {
    pub(super) fn place(&self) -> PlaceKind {
        match (self.pc, self.system) {
            (PlaceArg::User, false) => PlaceKind::User,
            (PlaceArg::Current, false) => PlaceKind::Current,
            (PlaceArg::User | PlaceArg::Current, true) => PlaceKind::Innermost,
            (PlaceArg::Start, _) => PlaceKind::Start,
            (PlaceArg::Creator, _) => PlaceKind::Creator,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct StackArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) list: ListArgs,
    /// Every goroutine by itself, however many
    ///
    /// With --pprof: a sample for each, with its id, state, wait and creator.
    #[arg(long, conflicts_with_all = ["group", "similar"])]
    pub(super) all: bool,
    /// One block per stack
    #[arg(long)]
    pub(super) group: bool,
    /// The same, whatever differs within the runtime
    ///
    /// One block for goroutines whose stacks differ only within the runtime or in the instruction.
    #[arg(long, hide_short_help = true)]
    pub(super) similar: bool,
    /// Show the runtime's goroutines and frames too
    ///
    /// With addresses.
    #[arg(long)]
    pub(super) system: bool,
    /// Show pprof labels
    #[arg(long, hide_short_help = true)]
    pub(super) labels: bool,
    /// Show C frames above the Go frames
    ///
    /// Show what goroutines that called C do there, above their Go frames, in lines that begin with
    /// `[C]`. Known without a stop for threads that wait in the kernel; with --freeze=all for every
    /// thread. Functions have names as far as the files' symbol tables go. JSON always has these
    /// frames, as c_frames.
    #[arg(long, conflicts_with_all = ["group", "similar", "folded", "pprof"], hide_short_help = true)]
    pub(super) c_frames: bool,
    /// Leave out the middle of longer stacks
    #[arg(long, hide_short_help = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_frames: Option<u32>,
    /// One line per stack, for flame graphs
    #[arg(long, conflicts_with_all = ["json", "pprof", "group", "similar", "all"])]
    pub(super) folded: bool,
    /// Write a profile for go tool pprof; - for stdout
    ///
    /// The profile that the program would write of itself. A regular file of your own is replaced, and
    /// nothing else.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["json", "group", "similar"])]
    pub(super) pprof: Option<PathBuf>,
}

impl StackArgs {
    pub(super) fn options(&self) -> CaptureOptions {
        CaptureOptions { c_frames: self.c_frames || self.list.json, ..self.target.options(false) }
    }

    pub(super) fn max_frames(&self) -> Option<usize> {
        self.max_frames.and_then(|most| usize::try_from(most).ok())
    }
}

#[derive(Args, Debug)]
pub(super) struct TopArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Time between refreshes: 500ms, 2s [default: 1s]
    #[arg(help_heading = "Display", long, short, value_name = "DURATION", default_value = "1", hide_default_value = true, value_parser = interval)]
    pub(super) interval: Duration,
    /// Group by place (default), stack, start, creator, …
    #[arg(help_heading = "Display", long, value_name = "KEY", default_value = "place", hide_default_value = true, value_parser = grouping::parse)]
    pub(super) group_by: GroupBy,
    /// Order of groups or goroutines (gospy help keys)
    #[arg(help_heading = "Display", long, value_name = "KEY", value_parser = |text: &str| text.parse::<SortName>())]
    pub(super) sort: Option<SortName>,
    /// Only matching goroutines (gospy help filter)
    #[arg(help_heading = "Display", long, value_name = "EXPR", long_help = format!("Only matching goroutines.\n\n{FILTER_HELP}"))]
    pub(super) filter: Option<String>,
    /// Show the runtime's own goroutines too
    #[arg(help_heading = "Display", long, conflicts_with = "no_system")]
    pub(super) system: bool,
    /// Hide the runtime's own goroutines (default, except with --json)
    #[arg(help_heading = "Display", long)]
    pub(super) no_system: bool,
    /// CPU limit of gospy, % of a core [default: 25]
    #[arg(help_heading = "Display", long, hide_short_help = true, value_name = "PERCENT", default_value = "25", hide_default_value = true, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) max_cpu: u16,
    /// Exit after N refreshes
    #[arg(help_heading = "Display", long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) iterations: Option<u64>,
    /// Print one refresh and exit
    #[arg(help_heading = "Display", long, conflicts_with = "iterations")]
    pub(super) once: bool,
    /// Wait for the program to restart when it ends
    #[arg(help_heading = "Display", long, conflicts_with_all = ["once", "from"])]
    pub(super) wait: bool,
    /// One JSON object per refresh, each on one line
    #[arg(help_heading = "Display", long, short)]
    pub(super) json: bool,
}

/// Shortest interval: below it the screen cannot be read any more.
const SHORTEST: Duration = Duration::from_millis(50);
/// Longest interval.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Shortest and longest time that `summary --watch` measures.
const WATCH: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

fn watch(text: &str) -> Result<Duration, String> {
    let watch = duration(text).map(Duration::from_nanos)?;
    if WATCH.contains(&watch) { Ok(watch) } else { Err("it has to be from 100ms to 1h".to_owned()) }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text).map(Duration::from_nanos)?;
    if (SHORTEST..=LONGEST).contains(&interval) {
        Ok(interval)
    } else {
        Err("it has to be from 50ms to 24h".to_owned())
    }
}
