//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::ci_args::{CHECK_EXAMPLES, CheckArgs, DIFF_EXAMPLES, DiffArgs, RUN_EXAMPLES, RunArgs, duration};
use super::heap_args::{CONTENTION_EXAMPLES, ContentionArgs, HEAP_EXAMPLES, HeapArgs};
use super::list_args::{StackArgs, SummaryArgs};
#[cfg(feature = "mcp")]
use super::mcp::{MCP_EXAMPLES, McpArgs};
use super::record_args::{RECORD_EXAMPLES, REPORT_EXAMPLES, RecordArgs, ReportArgs};
use super::redacted::RedactArgs;
#[cfg(feature = "serve")]
use super::serve::{SERVE_EXAMPLES, ServeArgs};
use super::streams::ColourChoice;
use super::target::Finder;
use super::target_args::{DoctorArgs, TargetArgs};
use super::topics::RULES;
use super::var::{VAR_EXAMPLES, VarArgs};
use super::waits_args::{WaitsArgs, WhyArgs};
use super::{Failure, completion, exit};
use crate::analysis::GroupBy;
use crate::analysis::filter::HELP as FILTER_HELP;
use crate::analysis::quantity::parse_bytes;
use crate::inspect::processes::ProcessSort;
use crate::top::grouping;
use crate::top::order::SortName;

/// Below the manual page of gospy itself.
fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}\n\ngospy run exits as its command does; see its page.", exit::help("gospy"))
}

const EXAMPLES: &str = "\
Examples:
  gospy prometheus         # by name or pid: all goroutines, scheduler, heap, GC
  gospy top prometheus     # the same, live";

/// See inside any running Go program without touching it.
///
/// gospy reads the memory of a running Go program from outside: no code in the program, no signal,
/// no debugger, no stop. Stripped binaries work.
#[derive(Debug, Parser)]
#[command(name = "gospy", version, after_long_help = after_help(), max_term_width = 100,
          override_usage = "gospy [COMMAND] [TARGET] [OPTIONS]", disable_help_subcommand = true, disable_help_flag = true, disable_version_flag = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    /// Print version
    #[arg(long, short = 'V', hide_short_help = true, action = clap::ArgAction::Version)]
    version: Option<bool>,
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
    /// Show what goroutines wait on: channels, locks, connections
    #[command(after_long_help = WAITS_EXAMPLES)]
    Waits(WaitsArgs),
    /// Explain why a program, or a goroutine, does not go on
    #[command(after_long_help = WHY_EXAMPLES)]
    Why(WhyArgs),
    /// Find goroutines that can never wake again
    #[command(after_long_help = LEAKS_EXAMPLES)]
    Leaks(LeaksArgs),
    /// Show what the heap holds, and where it was allocated
    #[command(after_long_help = HEAP_EXAMPLES)]
    Heap(HeapArgs),
    /// Show where goroutines have blocked, and on which locks
    #[command(after_long_help = CONTENTION_EXAMPLES)]
    Contention(ContentionArgs),
    /// Print package variables by their names
    #[command(after_long_help = VAR_EXAMPLES)]
    Var(VarArgs),
    /// Save a snapshot of a process to a file
    #[command(after_long_help = CAPTURE_EXAMPLES)]
    Capture(CaptureArgs),
    /// Record where goroutines spend their time
    #[command(after_long_help = RECORD_EXAMPLES)]
    Record(RecordArgs),
    /// Render a recording: flame graph, pprof, timeline, …
    #[command(after_long_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Serve metrics of programs to Prometheus
    #[cfg(feature = "serve")]
    #[command(after_long_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Answer an assistant's questions about programs (MCP)
    #[cfg(feature = "mcp")]
    #[command(after_long_help = MCP_EXAMPLES)]
    Mcp(McpArgs),
    /// List the running Go programs
    #[command(
        after_long_help = "Examples:\n  gospy ps\n  gospy ps --sort goroutines\n  gospy ps --json | jq -r '.processes[].pid'"
    )]
    Ps(PsArgs),
    /// Explain what can be read of a program, and what is missing
    #[command(after_long_help = "Examples:\n  gospy doctor\n  gospy doctor 4242\n  \
                                 gospy doctor 4242 --bin ./server-with-symbols")]
    Doctor(DoctorArgs),
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
        /// snapshot (summary, stack), diff, check, capture, doctor, ps, waits, why, leaks, heap, heap-objects, top
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
    /// What leaks prints
    Leaks,
    /// What heap prints
    Heap,
    /// What heap --watch prints
    HeapGrowth,
    /// What heap --since prints
    HeapSince,
    /// What var prints
    Var,
    /// What contention prints
    Contention,
    /// What heap --objects prints
    HeapObjects,
    /// What waits prints
    Waits,
    /// What why prints
    Why,
    /// A line of what top prints
    Top,
}

impl Command {
    /// Whether strings of the program are to be left out.
    pub(super) fn redacts(&self) -> bool {
        match self {
            Self::Summary(arguments) => arguments.redact,
            Self::Stack(arguments) => arguments.redact,
            Self::Leaks(arguments) => arguments.redact,
            Self::Heap(arguments) => arguments.redact,
            Self::Contention(arguments) => arguments.redact,
            Self::Waits(arguments) => arguments.redact,
            Self::Why(arguments) => arguments.redact,
            Self::Capture(arguments) => arguments.redact,
            Self::Record(arguments) => arguments.redact,
            Self::Report(arguments) => arguments.redact,
            Self::Diff(arguments) => arguments.redact,
            Self::Check(arguments) => arguments.redact,
            _ => RedactArgs::default(),
        }
        .redact
    }

    /// Finds the running program that was typed by its name, or not at all.
    pub(super) fn look_up(&mut self, finder: &mut Finder<'_, '_>) -> Result<(), Failure> {
        match self {
            Self::Summary(arguments) => arguments.target.look_up(finder),
            Self::Stack(arguments) => arguments.target.look_up(finder),
            Self::Top(arguments) => arguments.target.look_up(finder),
            Self::Leaks(arguments) => arguments.target.look_up(finder),
            Self::Heap(arguments) => arguments.target.look_up(finder),
            Self::Contention(arguments) => arguments.target.look_up(finder),
            Self::Var(arguments) => arguments.look_up(finder),
            Self::Waits(arguments) => arguments.target.look_up(finder),
            Self::Why(arguments) => arguments.target.look_up(finder),
            Self::Capture(arguments) => arguments.target.look_up(finder),
            Self::Record(arguments) => arguments.target.look_up(finder),
            Self::Doctor(arguments) => arguments.running.look_up(arguments.target.as_ref(), finder),
            Self::Diff(arguments) => arguments.look_up(finder),
            Self::Check(arguments) => arguments.look_up(finder),
            #[cfg(feature = "serve")]
            Self::Serve(_) => Ok(()),
            #[cfg(feature = "mcp")]
            Self::Mcp(_) => Ok(()),
            Self::Help { .. }
            | Self::Ps(_)
            | Self::Report(_)
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
  gospy stack 4242 --pprof now.pb.gz && go tool pprof -top now.pb.gz";

const TOP_EXAMPLES: &str = "\
Examples:
  gospy top prometheus
  gospy top 4242 --interval 500ms --group-by stack
  gospy top 4242 --group-by label=tenant --sort growth
  gospy top --from server.capture
  gospy top 4242 --json -n 60 | jq -c '.groups[] | select(.change > 9)'

Press ? for the keys. When standard output is not a terminal, each refresh is a block of text.";

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
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}

const WAITS_EXAMPLES: &str = "\
Examples:
  gospy waits prometheus
  gospy waits 4242 --filter 'func~Store' --sort age
  gospy waits 4242 --each --limit 0
  gospy waits 4242 --json | jq '.waits[] | select(.kind == \"mutex\")'

A lock's holder is likely, not certain: Go's locks do not record it.";

const WHY_EXAMPLES: &str = "\
Examples:
  gospy why prometheus
  gospy why 4242 --goid 17
  gospy why 4242 --leaks
  gospy why --from server.capture --json | jq '.likely[].code'";

const CAPTURE_EXAMPLES: &str = "\
Examples:
  gospy capture 4242 -o server.capture
  gospy stack --from server.capture --group
  gospy capture 4242 -o to-send.capture --redact    # no labels, arguments, paths
  gospy capture 4242 -o leak.capture --repeat 10 --interval 1m
  ssh host sudo gospy capture 4242 -o - > server.capture
  gospy capture 4242 -o server.capture --heap --freeze=all && gospy leaks --from server.capture
  gospy capture --from server.capture -o server.core --uncompressed

A capture holds what every command shows, and what that takes of the binary. It is small, checked, and
can be read years later on any machine without the binary, without root and without Go. An existing
file is replaced only if it is a capture, and only when the new one is complete; links and devices never.";

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
    /// Put the heap into the file too, for heap, contention and leaks
    ///
    /// Objects without pointers are left out. With --freeze=all the program stands still meanwhile, and `gospy leaks
    /// --from` gives the answer that it would have given; how long that is, and how much is kept, is said before.
    #[arg(help_heading = "Output", long, conflicts_with = "redact")]
    pub(super) heap: bool,
    /// Refuse a heap with more bytes to keep
    #[arg(help_heading = "Output", long, value_name = "SIZE", value_parser = size, default_value = "1GiB", requires = "heap")]
    pub(super) max_heap: u64,
    /// Write a core file for gdb and other debuggers
    #[arg(help_heading = "Output", long, conflicts_with = "redact")]
    pub(super) uncompressed: bool,
    /// Report what was written as one JSON object
    #[arg(help_heading = "Output", long, short)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
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
pub(super) struct TopArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Time between refreshes: 500ms, 2s [default: 1s]
    #[arg(help_heading = "Display", long, short, value_name = "DURATION", default_value = "1", hide_default_value = true, value_parser = interval)]
    pub(super) interval: Duration,
    /// Group by place (default), object, stack, start, …
    #[arg(help_heading = "Display", long, alias = "group", value_name = "KEY", default_value = "place", hide_default_value = true, value_parser = grouping::parse)]
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

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text).map(Duration::from_nanos)?;
    if (SHORTEST..=LONGEST).contains(&interval) {
        Ok(interval)
    } else {
        Err("it has to be from 50ms to 24h".to_owned())
    }
}

/// A size in bytes.
fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).ok_or_else(|| "a size is a number with a unit (64KB, 512MiB, 2GiB)".to_owned())
}
