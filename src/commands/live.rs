//! Running processes as sources.

use super::source::{Depth, Freeze, Source, Sources, Wanted};
use super::{Exit, Failure, examine};
use crate::capture::{CaptureError, CaptureOptions, FreezeMode, OpenError, OpenOptions, ProgramError, Session};
use crate::model::Snapshot;
use crate::report::doctor::Doctor;
use crate::report::processes::Processes;
use crate::runtime::RuntimeError;
use crate::target::TargetError;
use crate::target::live::LiveTarget;

/// The processes of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live;

impl Sources for Live {
    fn open(&self, wanted: &Wanted) -> Result<Box<dyn Source>, Failure> {
        let target = LiveTarget::open(wanted.pid)?;
        let options = OpenOptions { bin: wanted.bin.clone(), thorough: false };
        let session = Session::open(Box::new(target), &options).map_err(|error| not_opened(error, wanted.pid))?;
        Ok(Box::new(session))
    }

    fn examine(&self, wanted: Option<&Wanted>) -> Result<(Doctor, Exit), Failure> {
        examine::doctor(wanted)
    }

    fn processes(&self) -> Result<Processes, Failure> {
        examine::processes()
    }
}

impl Source for Session {
    fn capture(&mut self, depth: &Depth) -> Result<Snapshot, Failure> {
        let options = CaptureOptions {
            stacks: depth.stacks,
            dead: depth.dead,
            c_frames: depth.c_frames,
            freeze: depth.freeze.map(|freeze| match freeze {
                Freeze::Running => FreezeMode::Running,
                Freeze::All => FreezeMode::All,
            }),
        };
        Self::capture(self, &options).map_err(|error| match error {
            CaptureError::Read(error) => TargetError::Read(error).into(),
            CaptureError::Target(error) => error.into(),
            CaptureError::NoGoroutines { .. } => Failure::new(Exit::NotGo, error.to_string()),
        })
    }
}

pub(super) fn not_opened(error: OpenError, pid: i32) -> Failure {
    let not_go = |text: String, next: &str| Failure::new(Exit::NotGo, format!("process {pid}: {text}\n{next}"));
    let other = "`gospy ps` lists the Go programs that run here";
    let doctor = format!("`gospy doctor --pid {pid}` shows what was found; please send it with a bug report");
    match error {
        OpenError::Program(error) => match error {
            ProgramError::Target(error) => error.into(),
            ProgramError::Read(error) => TargetError::Read(error).into(),
            ProgramError::Elf { .. } | ProgramError::NotGo { .. } => not_go(error.to_string(), other),
            ProgramError::NoModuleData { .. } | ProgramError::NotMapped { .. } => not_go(error.to_string(), &doctor),
            ProgramError::SymbolFile { .. } | ProgramError::SymbolFileElf { .. } => {
                Failure::new(Exit::Error, format!("--bin: {error}"))
            }
            ProgramError::OtherProgram { .. } => {
                let advice = "give the binary that the process was started from, or leave --bin out";
                Failure::new(Exit::Error, format!("--bin: {error}\n{advice}"))
            }
        },
        OpenError::Runtime(RuntimeError::Read(error)) => TargetError::Read(error).into(),
        OpenError::Runtime(error @ RuntimeError::NotStarted) => not_go(error.to_string(), "try again in a moment"),
        OpenError::Runtime(error) => not_go(error.to_string(), &doctor),
    }
}
