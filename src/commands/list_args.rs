//! Options of what lists goroutines: `summary` and `stack`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::ci_args::duration;
use super::redacted::RedactArgs;
use super::target_args::TargetArgs;
use crate::analysis::answer::IdRange;
use crate::analysis::filter::HELP as FILTER_HELP;
use crate::analysis::{GroupBy, PlaceKind, SortKey};
use crate::capture::CaptureOptions;
use crate::report::traceback::FrameLimit;

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
    /// One line per place, or per KEY (gospy help keys)
    #[arg(long, value_name = "KEY", num_args = 0..=1, require_equals = true, default_missing_value = "place")]
    group: Option<GroupBy>,
    /// The same
    #[arg(long, value_name = "KEY", hide = true, conflicts_with_all = ["group", "all"])]
    group_by: Option<GroupBy>,
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
    /// Write a page for a browser, in one file
    ///
    /// It shows groups with their stacks, a flame graph, who waits on what, the scheduler and the heap, and needs no
    /// network.
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        hide_short_help = true,
        conflicts_with_all = ["json", "all", "group", "group_by", "pc", "system", "verbose", "sort", "reverse", "limit"]
    )]
    pub(super) html: Option<PathBuf>,
    /// Read for that long, to measure how long each waits
    ///
    /// Without it, ages are estimated from the timestamps of garbage collections, and a program that has not
    /// collected yet has none. Read more than once, a goroutine that has not run in between has waited for
    /// the whole time at least. Ages that were measured are marked as watched.
    #[arg(long, value_name = "DURATION", value_parser = watch, requires = "pid")]
    pub(super) watch: Option<Duration>,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
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
    /// What to group by, where that was asked for. By place, the place is the one that is shown.
    pub(super) fn group(&self) -> Option<GroupBy> {
        self.group.as_ref().or(self.group_by.as_ref()).map(|by| match by {
            GroupBy::Place(_) => GroupBy::Place(self.place()),
            other => other.clone(),
        })
    }

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
    /// One block per stack, or per KEY (gospy help keys)
    #[arg(long, value_name = "KEY", num_args = 0..=1, require_equals = true, default_missing_value = "stack")]
    group: Option<GroupBy>,
    /// The same
    #[arg(long, value_name = "KEY", hide = true, conflicts_with_all = ["group", "similar", "all", "c_frames", "arguments", "values", "folded", "pprof"])]
    group_by: Option<GroupBy>,
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
    /// With --json: the words of each frame's arguments
    ///
    /// As Go's tracebacks print them, in the key arguments of each frame.
    #[arg(long, requires = "json", conflicts_with_all = ["group", "similar"], hide_short_help = true)]
    pub(super) arguments: bool,
    /// Show names, types and values of arguments, from DWARF
    ///
    /// On a line below each frame: what the function was given, unless it has assigned to the parameter
    /// since; ? for what may be stale. A program without DWARF takes --bin with a build that has it.
    #[arg(long, conflicts_with_all = ["json", "folded", "pprof", "group", "similar"], hide_short_help = true)]
    pub(super) values: bool,
    /// With --values: the beginnings of strings too
    ///
    /// They are read after the stacks, from the program's own data: think of secrets.
    #[arg(long, requires = "values", hide_short_help = true)]
    strings: bool,
    /// Leave out the middle of longer stacks; 0 shows all
    ///
    /// By default as much as the runtime's own dumps: from Go 1.21 on, the 50 innermost and the 50
    /// outermost frames are shown.
    #[arg(long, hide_short_help = true, value_name = "N")]
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
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}

impl StackArgs {
    /// What to group by, where that was asked for.
    pub(super) fn group(&self) -> Option<GroupBy> {
        let similar = || self.similar.then_some(GroupBy::SimilarStack);
        self.group.clone().or_else(|| self.group_by.clone()).or_else(similar)
    }

    pub(super) fn options(&self) -> CaptureOptions {
        // Members of a group differ in what only a traceback shows.
        let grouped = self.group().is_some();
        let traceback = self.arguments || !(self.list.json || self.folded || self.pprof.is_some() || grouped);
        let c_frames = self.c_frames || self.list.json;
        let (values, strings) = (self.values, self.strings);
        CaptureOptions { c_frames, traceback, values, strings, ..self.target.options(false) }
    }

    pub(super) fn frames(&self) -> FrameLimit {
        match self.max_frames.map(usize::try_from) {
            None => FrameLimit::Runtime,
            Some(Ok(most @ 1..)) => FrameLimit::Most(most),
            Some(_) => FrameLimit::None,
        }
    }
}

/// Shortest and longest time that `summary --watch` measures.
const WATCH: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

fn watch(text: &str) -> Result<Duration, String> {
    let watch = duration(text).map(Duration::from_nanos)?;
    if WATCH.contains(&watch) { Ok(watch) } else { Err("it has to be from 100ms to 1h".to_owned()) }
}
