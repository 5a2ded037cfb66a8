//! Options that say which program is meant, and how to read it.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum, ValueHint};

use super::at::At;
use super::source::TargetSpec;
use super::target::{Finder, RunningArgs, Word};
use super::{Failure, completion};
use crate::capture::{CaptureOptions, FreezeMode};

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
    /// Read a capture, core, recording, JSON; - for stdin
    ///
    /// A capture is what `gospy capture` writes, a recording what `gospy record` writes as .gospyrec, JSON what
    /// `stack --json` writes.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: Option<PathBuf>,
    /// Moment of a recording: +90s, -10s [default: last]
    ///
    /// +90s is from its start, -10s before its end; or a time of day (14:03:05), or 2026-05-04T14:03:05 with or without
    /// Z. `--from FILE@TIME` is the same.
    #[arg(long, value_name = "TIME", requires = "from", allow_hyphen_values = true, hide_short_help = true)]
    at: Option<At>,
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
        let at = self.at.clone().or(wanted.at);
        TargetSpec { at, freeze_filtered: self.freeze_seccomp, ..wanted }
    }

    pub(super) fn look_up(&mut self, finder: &mut Finder<'_, '_>) -> Result<(), Failure> {
        match self.from {
            Some(_) => Ok(()),
            None => self.running.look_up_or_choose(self.target.as_ref(), finder),
        }
    }

    pub(super) fn freeze(&self) -> Option<FreezeMode> {
        self.freeze
    }

    pub(super) fn options(&self, dead: bool) -> CaptureOptions {
        CaptureOptions {
            stacks: true,
            dead,
            waits: true,
            system_calls: true,
            freeze: self.freeze,
            ..CaptureOptions::default()
        }
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
pub(super) fn location(
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
#[command(group(clap::ArgGroup::new("where").args(["target", "pid", "name", "from"])))]
pub(super) struct DoctorArgs {
    /// Pid or name of a running program; this machine if omitted
    #[arg(value_name = "TARGET", help_heading = None::<&str>, value_hint = ValueHint::Other, add = completion::targets())]
    pub(super) target: Option<Word>,
    #[command(flatten)]
    pub(super) running: RunningArgs,
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
