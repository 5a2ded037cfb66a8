//! Options of `gospy record` and `gospy report`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, Parser, ValueEnum, ValueHint};

use super::at::At;
use super::ci_args::{RuleArgs, duration};
use super::redacted::RedactArgs;
use super::target_args::TargetArgs;
use crate::model::Status;
use crate::report::recording::{Format, Root};

pub(super) const RECORD_EXAMPLES: &str = "\
Examples:
  gospy record 4242 -o where.svg -d 1m     # a flame graph, for a browser
  gospy record 4242 --cpu -o cpu.pb.gz     # what uses CPUs, for go tool pprof
  gospy record 4242 -o night.gospyrec -d 8h --rate 1
  gospy record 4242 -o hang.gospyrec --ring 10m --when max-wait=1m";

pub(super) const REPORT_EXAMPLES: &str = "\
Examples:
  gospy report night.gospyrec -o night.svg
  gospy report night.gospyrec -o wall.pb.gz --since 02:10 --until 02:15
  gospy report night.gospyrec --timeline night.json   # for ui.perfetto.dev
  gospy top --from night.gospyrec                     # look at it, back and forth";

#[derive(Args, Debug)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// How long [default: 30s; with --ring: until Ctrl-C]
    #[arg(help_heading = "Recording", long, short, value_name = "DURATION", value_parser = duration)]
    pub(super) duration: Option<u64>,
    /// Record what uses CPUs, function by function
    ///
    /// Samples come from the kernel (perf_event_open) for each 10 ms of CPU time of a thread; nothing is stopped.
    #[arg(help_heading = "Recording", long, conflicts_with_all = ["cpu_budget", "only", "idle", "system", "freeze", "timeline", "ring"])]
    pub(super) cpu: bool,
    /// Samples per second, whatever they cost
    #[arg(help_heading = "Recording", long, value_name = "HZ", value_parser = rate, conflicts_with = "cpu_budget")]
    pub(super) rate: Option<f64>,
    /// Share of a core for sampling [default: 5%]
    ///
    /// As many samples are taken as that allows, and at most 99 per second.
    #[arg(help_heading = "Recording", long, value_name = "PERCENT", value_parser = share)]
    pub(super) cpu_budget: Option<f64>,
    /// Keep only so much; write it when something happens
    ///
    /// Causes are a rule of --when that fails, the end of the program, Ctrl-C, and SIGUSR1, after which recording goes
    /// on. Needs -o FILE.gospyrec.
    #[arg(help_heading = "Recording", long, value_name = "DURATION", value_parser = duration, requires = "output", conflicts_with = "timeline")]
    pub(super) ring: Option<u64>,
    /// Rule of `check` that ends --ring: max-wait=1m, …
    ///
    /// max-goroutines=N, max-group=N, max-wait=DURATION, forbid-function=REGEX, require-function=REGEX, no-findings,
    /// and allow=REGEX, which is no rule but exempts goroutines from all.
    #[arg(help_heading = "Recording", long, value_name = "RULE", value_parser = rule, requires = "ring", hide_short_help = true)]
    pub(super) when: Vec<String>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}

/// What is made of samples.
#[derive(Args, Debug)]
pub(super) struct OutputArgs {
    /// File to write (mode 0600); - for stdout
    #[arg(help_heading = "Output", long, short, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "timeline")]
    pub(super) output: Option<PathBuf>,
    /// Format, where the ending does not say it
    ///
    /// pprof (.pb.gz), folded (.folded), speedscope (.json), svg (.svg), html (.html), gospyrec (.gospyrec, a recording
    /// that every command reads).
    #[arg(
        help_heading = "Output",
        long,
        hide_possible_values = true,
        hide_short_help = true,
        value_name = "FORMAT",
        requires = "output"
    )]
    pub(super) format: Option<FileFormat>,
    /// Write each goroutine's states over time, for Perfetto
    #[arg(help_heading = "Output", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) timeline: Option<PathBuf>,
    /// First in each stack: state, object, label=KEY, …
    ///
    /// There is goroutine, too. In pprof, object and goroutine are labels.
    #[arg(help_heading = "Output", long, hide_short_help = true, value_name = "KEY", value_parser = root)]
    pub(super) group_by: Option<Root>,
    /// Only these goroutines (gospy help filter)
    #[arg(help_heading = "Output", long, short, value_name = "EXPR")]
    pub(super) filter: Option<String>,
    /// Only goroutines that are: waiting, running
    #[arg(help_heading = "Output", long, hide_possible_values = true, hide_short_help = true, value_name = "STATE")]
    pub(super) only: Option<Only>,
    /// Include idle goroutines
    ///
    /// Those that never left one and the same wait for something to do (a message, a connection, a point in time, a
    /// signal), and the runtime's own.
    #[arg(help_heading = "Output", long)]
    pub(super) idle: bool,
    /// Include frames that tracebacks hide
    #[arg(help_heading = "Output", long, hide_short_help = true)]
    pub(super) system: bool,
}

#[derive(Args, Debug)]
pub(super) struct ReportArgs {
    /// Recording (.gospyrec); - for stdin
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) file: PathBuf,
    /// Only from then on: +90s, -10s, 14:03:05
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) since: Option<At>,
    /// Only until then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) until: Option<At>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// Samples added up.
    Report(Format),
    /// The samples themselves.
    Archive,
}

/// A part of the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Only {
    /// Blocked: in a wait or a system call
    Waiting,
    /// On a processor, or ready for one
    Running,
}

impl Only {
    pub(super) fn holds(self, status: Status) -> bool {
        status.is_blocked() == (self == Self::Waiting)
    }
}

impl ValueEnum for FileFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Report(Format::Pprof),
            Self::Report(Format::Folded),
            Self::Report(Format::Speedscope),
            Self::Report(Format::Svg),
            Self::Report(Format::Html),
            Self::Archive,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Report(Format::Pprof) => ("pprof", "For go tool pprof"),
            Self::Report(Format::Folded) => ("folded", "One line per stack with its time, for flame graph tools"),
            Self::Report(Format::Speedscope) => ("speedscope", "For speedscope, one profile per state"),
            Self::Report(Format::Svg) => ("svg", "A flame graph"),
            Self::Report(Format::Html) => ("html", "A page with a flame graph per state"),
            Self::Archive => ("gospyrec", "A recording, for every command of gospy"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// The most samples in a second that are taken of one's own accord: not a divisor of the usual timers.
pub(super) const MOST_HZ: f64 = 99.0;

impl RecordArgs {
    /// The shortest time between two samples, and the most of a core that they take.
    pub(super) fn pace(&self) -> (Duration, Option<f64>) {
        const USUAL_SHARE: f64 = 0.05;
        let interval = Duration::from_secs_f64(1.0 / self.rate.unwrap_or(MOST_HZ));
        let share = self.cpu_budget.unwrap_or(USUAL_SHARE);
        (interval, self.rate.is_none().then_some(share))
    }

    /// How long; `None` for as long as the program runs.
    pub(super) fn duration(&self) -> Option<Duration> {
        const USUAL: u64 = 30_000_000_000;
        let usual = self.ring.is_none().then_some(USUAL);
        self.duration.or(usual).map(Duration::from_nanos)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let hz: f64 = text.parse().map_err(|_| "a number of samples per second".to_owned())?;
    if (0.001..=1_000.0).contains(&hz) { Ok(hz) } else { Err("0.001 to 1000 samples per second".to_owned()) }
}

fn share(text: &str) -> Result<f64, String> {
    const HELP: &str = "a percentage of one core, as 5%";
    let percent: f64 = text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| HELP.to_owned())?;
    if percent > 0.0 && percent <= 100.0 { Ok(percent / 100.0) } else { Err(HELP.to_owned()) }
}

fn root(text: &str) -> Result<Root, String> {
    match text.split_once('=') {
        None if text == "state" => Ok(Root::State),
        None if text == "stack" => Ok(Root::Stack),
        None if text == "object" => Ok(Root::Object),
        None if text == "goroutine" => Ok(Root::Goroutine),
        Some(("label", key)) if !key.is_empty() => Ok(Root::Label(key.to_owned())),
        _ => Err("state, object, goroutine, or label=KEY".to_owned()),
    }
}

/// The options of `check` as they are written after `--when`.
#[derive(Parser, Debug)]
#[command(name = "--when", no_binary_name = true, disable_help_flag = true)]
struct When {
    #[command(flatten)]
    rules: RuleArgs,
}

/// Rules for one sample alone, without reading the heap.
const WHEN: [&str; 7] =
    ["max-goroutines", "max-group", "max-wait", "forbid-function", "require-function", "no-findings", "allow"];

fn rule(text: &str) -> Result<String, String> {
    let name = text.split_once('=').map_or(text, |(name, _)| name);
    if !WHEN.contains(&name) {
        return Err(format!("a rule is {}, with = and its value", WHEN.join(", ")));
    }
    when(&[text.to_owned()]).map(|_| text.to_owned())
}

/// Rules as they were typed, each as the option of `check` without its dashes.
pub(super) fn when(typed: &[String]) -> Result<RuleArgs, String> {
    let options = typed.iter().map(|rule| format!("--{rule}"));
    When::try_parse_from(options).map(|when| when.rules).map_err(|error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().trim_start_matches("error: ").replace("--", "")
    })
}
