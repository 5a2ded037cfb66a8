//! `gospy var`

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::source::{Sources, TargetSpec};
use super::streams::Streams;
use super::target::{Finder, RunningArgs};
use super::target_args::location;
use super::{Exit, Failure};
use crate::report::variables::{self as report, Asked};
use crate::runtime::package_variables::VariableLimits;

pub(super) const VAR_EXAMPLES: &str = "\
Examples:
  gospy var main.requests --pid 4242
  gospy var main.config main.version --name payments --json
  gospy var net/http.DefaultClient --pid 4242 --depth 6
  gospy var main.requests --pid 4242 --bin ./server-with-symbols
  gospy var main.requests --from server.core

It takes DWARF, of the program itself or of a binary of the same build (--bin): a stripped program has
neither names nor types of its variables. The program is not stopped: what changes meanwhile may be torn.
Captures take --bin always, and have the variables with pointers if they were taken with --heap.
Types of sync/atomic and expvar are shown as what they hold, maps and channels as how much they hold.";

#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("where").args(["pid", "name", "from"])))]
pub(super) struct VarArgs {
    /// Full names of package variables; main is assumed
    #[arg(value_name = "NAME", help_heading = None::<&str>, required = true, num_args = 1.., value_hint = ValueHint::Other)]
    names: Vec<String>,
    #[command(flatten, next_help_heading = "Program")]
    running: RunningArgs,
    /// Read a core file, or a capture
    #[arg(help_heading = "Program", long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// Binary with DWARF, of the same build
    #[arg(help_heading = "Program", long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    bin: Option<PathBuf>,
    /// Directory with the files that a core file names
    #[arg(help_heading = "Program", long, hide_short_help = true, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, requires = "from")]
    sysroot: Option<PathBuf>,
    /// Follow pointers, structures and lists so deep
    #[arg(help_heading = "Output", long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=16))]
    depth: u32,
    /// Show at most N elements of a list
    #[arg(help_heading = "Output", long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    limit: u64,
    /// One JSON object instead of text
    #[arg(help_heading = "Output", long, short)]
    json: bool,
}

impl VarArgs {
    pub(super) fn look_up(&mut self, finder: &mut Finder<'_, '_>) -> Result<(), Failure> {
        match self.from {
            Some(_) => Ok(()),
            None => self.running.look_up_or_choose(None, finder),
        }
    }

    fn wanted(&self) -> TargetSpec {
        location(&self.running, self.from.as_ref(), self.bin.as_ref(), self.sysroot.as_ref())
    }
}

pub(super) fn run(arguments: &VarArgs, sources: &dyn Sources, streams: &mut Streams<'_>) -> Result<Exit, Failure> {
    let full = |name: &String| if name.contains('.') { name.clone() } else { format!("main.{name}") };
    let names: Vec<String> = arguments.names.iter().map(full).collect();
    let limits = VariableLimits { depth: arguments.depth, elements: arguments.limit, ..VariableLimits::default() };
    let (snapshot, found) = sources.variables(&arguments.wanted(), &names, limits)?;
    let asked: Vec<Asked<'_>> =
        names.iter().map(String::as_str).zip(found.variables.iter().map(Option::as_ref)).collect();
    if arguments.json {
        streams.finish(|out| report::json(out, &snapshot, &asked))?;
    } else {
        let style = streams.out_style();
        streams.finish(|out| report::write(out, style, &asked))?;
    }
    let missing: Vec<&str> = asked.iter().filter(|(_, found)| found.is_none()).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return Ok(Exit::Done);
    }
    let mut message = format!(
        "the program has no package variable {}: names are full (import/path.name), and one that nothing uses was left out \
         by the linker",
        missing.join(", ")
    );
    if !found.similar.is_empty() {
        message += &format!("\ndid you mean {}?", found.similar.join(", "));
    }
    Err(Failure::new(Exit::Error, message))
}
