//! What can be typed after `gospy waits` and `gospy why`.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum, ValueHint};

use super::redacted::RedactArgs;
use super::target_args::TargetArgs;
use crate::analysis::filter::HELP as FILTER_HELP;
use crate::analysis::waits::WaitSort;

#[derive(Args, Debug)]
pub(super) struct WaitsArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Only goroutines that match (gospy help filter)
    #[arg(help_heading = "Goroutines", long, value_name = "EXPR", long_help = format!("Only goroutines that match.\n\n{FILTER_HELP}"))]
    pub(super) filter: Option<String>,
    /// Order: waiting, age, kind, address
    #[arg(help_heading = "Goroutines", long, value_name = "KEY", default_value = "waiting", hide_default_value = true)]
    pub(super) sort: WaitSort,
    /// Reverse the order
    #[arg(help_heading = "Goroutines", long, short)]
    pub(super) reverse: bool,
    /// Show at most N rows; 0 for all
    #[arg(help_heading = "Goroutines", long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Write a graph: .dot, .svg, .mmd (Mermaid) or .json
    ///
    /// Goroutines of one place are one node, and so are objects on which one goroutine each waits. Likely
    /// deadlocks are red.
    #[arg(help_heading = "Goroutines", long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["json", "each"])]
    pub(super) graph: Option<PathBuf>,
    /// A row for each object, even where one goroutine waits
    ///
    /// Otherwise objects on which one goroutine each waits in the same place are one row, in text.
    #[arg(help_heading = "Goroutines", long)]
    pub(super) each: bool,
    /// One JSON object instead of text
    #[arg(help_heading = "Goroutines", long, short)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}

impl ValueEnum for WaitSort {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Waiting, Self::Age, Self::Kind, Self::Address]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Waiting => "waiting",
            Self::Age => "age",
            Self::Kind => "kind",
            Self::Address => "address",
        }))
    }
}

#[derive(Args, Debug)]
pub(super) struct WhyArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// The goroutine to explain; the whole program if omitted
    #[arg(help_heading = "Goroutines", long, short, value_name = "ID", value_hint = ValueHint::Other)]
    pub(super) goid: Option<u64>,
    /// Read the heap too: proves leaks and deadlocks
    ///
    /// As `gospy leaks` does; --freeze=all stops the program for it.
    #[arg(help_heading = "Goroutines", long)]
    pub(super) leaks: bool,
    /// One JSON object instead of text
    #[arg(help_heading = "Goroutines", long, short)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) redact: RedactArgs,
}
