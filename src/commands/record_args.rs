//! Options of `gospy record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::ci_args::duration;
use super::target_args::TargetArgs;
use crate::model::Status;
use crate::report::recording::{Format, Root};

pub(super) const RECORD_EXAMPLES: &str = "\
Examples:
  gospy record 4242 -o where.svg -d 1m     # a flame graph, for a browser
  gospy record 4242 --cpu -o cpu.pb.gz     # what uses CPUs, for go tool pprof";

#[derive(Args, Debug)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// How long; Ctrl-C ends it earlier
    #[arg(help_heading = "Recording", long, short, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(super) duration: u64,
    /// Record what uses CPUs, function by function
    ///
    /// Samples come from the kernel (perf_event_open) for each 10 ms of CPU time of a thread; nothing is stopped.
    #[arg(help_heading = "Recording", long, conflicts_with_all = ["cpu_budget", "only", "idle", "system", "freeze"])]
    pub(super) cpu: bool,
    /// Samples per second, whatever they cost
    #[arg(help_heading = "Recording", long, value_name = "HZ", value_parser = rate, conflicts_with = "cpu_budget")]
    pub(super) rate: Option<f64>,
    /// Share of a core for sampling [default: 5%]
    ///
    /// As many samples are taken as that allows, and at most 99 per second.
    #[arg(help_heading = "Recording", long, value_name = "PERCENT", value_parser = share)]
    pub(super) cpu_budget: Option<f64>,
    /// File to write (mode 0600); - for stdout
    #[arg(help_heading = "Output", long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) output: PathBuf,
    /// pprof, folded, speedscope, svg, html; else by ending
    #[arg(help_heading = "Output", long, hide_possible_values = true, value_name = "FORMAT")]
    pub(super) format: Option<Format>,
    /// Put the state, or a label's value, first in each stack: state, label=KEY
    #[arg(help_heading = "Output", long, hide_short_help = true, value_name = "KEY", value_parser = root)]
    pub(super) group_by: Option<Root>,
    /// Record only these goroutines (gospy help filter)
    #[arg(help_heading = "Recording", long, short, value_name = "EXPR")]
    pub(super) filter: Option<String>,
    /// Record only goroutines that are: waiting, running
    #[arg(help_heading = "Recording", long, hide_possible_values = true, hide_short_help = true, value_name = "STATE")]
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

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Pprof, Self::Folded, Self::Speedscope, Self::Svg, Self::Html]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let (name, help) = match self {
            Self::Pprof => ("pprof", "For go tool pprof"),
            Self::Folded => ("folded", "One line per stack with its time, for flame graph tools"),
            Self::Speedscope => ("speedscope", "For speedscope, one profile per state"),
            Self::Svg => ("svg", "A flame graph"),
            Self::Html => ("html", "A page with a flame graph per state"),
        };
        Some(clap::builder::PossibleValue::new(name).help(help))
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
        Some(("label", key)) if !key.is_empty() => Ok(Root::Label(key.to_owned())),
        _ => Err("state, or label=KEY".to_owned()),
    }
}
