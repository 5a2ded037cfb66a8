//! `--redact`: the programs of other sources, without their strings. What is left out is decided in
//! [`crate::analysis::redact`].
//!
//! What has no redacted form is refused: memory, and variables.

use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;

use super::source::{
    FailureCause, HeapCosts, HeapSource, ObjectsReading, ObjectsRequest, ProfileParts, ProfileReading, Source,
    SourceFailure, Sources, TargetSpec, Walking,
};
use crate::analysis::redact::{LabelValues, Redactor};
use crate::capture::{CaptureOptions, FreezeMode, SourceError};
use crate::heap::Leaks;
use crate::inspect::doctor::Doctor;
use crate::inspect::processes::{Inventory, Processes};
use crate::model::{CpuSamples, HeapReading, ObjectAddr, SizeClasses, Snapshot};
use crate::process::TargetError;
use crate::process::recording::ElfImage;
use crate::runtime::package_variables::{FoundVariables, VariableLimits};

/// Whether to leave out strings of the program.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct RedactArgs {
    /// Leave out strings of the program and its machine
    ///
    /// Label values, arguments of functions, values of panics, the command line, paths, and addresses of peers. Names
    /// of functions, types and label keys stay. docs/captures.md lists what stays and what goes.
    #[arg(long, hide_short_help = true, help_heading = "General")]
    pub(super) redact: bool,
}

/// Sources whose strings are left out.
pub(super) struct Redacted<'a> {
    inner: &'a dyn Sources,
    /// Of all of them, as they may be compared.
    values: LabelValues,
}

impl<'a> Redacted<'a> {
    pub(super) fn new(inner: &'a dyn Sources) -> Self {
        Self { inner, values: LabelValues::default() }
    }
}

impl Sources for Redacted<'_> {
    fn redactor(&self) -> Option<Redactor> {
        Some(Redactor::sharing(&self.values))
    }

    fn open(&self, wanted: &TargetSpec) -> Result<Box<dyn Source>, SourceFailure> {
        Ok(source(self.inner.open(wanted)?, Redactor::sharing(&self.values)))
    }

    fn record(&self, wanted: &TargetSpec, _: Option<FreezeMode>) -> Result<(ElfImage, Snapshot), SourceFailure> {
        Err(refused(wanted, "memory"))
    }

    fn record_heap(
        &self,
        wanted: &TargetSpec,
        _: Option<FreezeMode>,
        _: u64,
        _: &mut dyn FnMut(HeapCosts),
    ) -> Result<(ElfImage, Snapshot), SourceFailure> {
        Err(refused(wanted, "memory"))
    }

    fn objects(
        &self,
        wanted: &TargetSpec,
        request: &ObjectsRequest,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        let mut reading = self.inner.objects(wanted, request, on_progress)?;
        Redactor::sharing(&self.values).snapshot(&mut reading.snapshot);
        Ok(reading)
    }

    fn leaks(
        &self,
        wanted: &TargetSpec,
        freeze: bool,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<(Snapshot, Leaks), SourceFailure> {
        let (mut snapshot, leaks) = self.inner.leaks(wanted, freeze, on_progress)?;
        Redactor::sharing(&self.values).snapshot(&mut snapshot);
        Ok((snapshot, leaks))
    }

    fn profiles(&self, wanted: &TargetSpec, parts: ProfileParts<'_>) -> Result<ProfileReading, SourceFailure> {
        let mut reading = self.inner.profiles(wanted, parts)?;
        let mut redactor = Redactor::sharing(&self.values);
        redactor.snapshot(&mut reading.snapshot);
        let target = &reading.snapshot.target;
        if let Some(Ok(profile)) = &mut reading.allocations {
            redactor.allocations(profile, target);
        }
        for profile in &mut reading.contention {
            redactor.contention(profile, target);
        }
        Ok(reading)
    }

    fn heap(&self, wanted: &TargetSpec) -> Result<Box<dyn HeapSource>, SourceFailure> {
        Ok(Box::new(RedactedHeap { inner: self.inner.heap(wanted)?, redactor: Redactor::sharing(&self.values) }))
    }

    fn variables(
        &self,
        wanted: &TargetSpec,
        _: &[String],
        _: VariableLimits,
    ) -> Result<(Snapshot, FoundVariables), SourceFailure> {
        Err(refused(wanted, "variables"))
    }

    fn examine(&self, wanted: Option<&TargetSpec>) -> Result<(Doctor, Option<SourceFailure>), TargetError> {
        self.inner.examine(wanted)
    }

    fn programs(&self) -> Result<Inventory, TargetError> {
        self.inner.programs()
    }

    fn processes(&self) -> Result<Processes, TargetError> {
        self.inner.processes()
    }
}

fn refused(wanted: &TargetSpec, what: &str) -> SourceFailure {
    SourceFailure::at(&wanted.location, FailureCause::Absent(format!("--redact: there is no redacted form of {what}")))
}

/// An opened program, without its strings.
pub(super) fn source(inner: Box<dyn Source>, redactor: Redactor) -> Box<dyn Source> {
    Box::new(RedactedSource { inner, redactor })
}

struct RedactedSource {
    inner: Box<dyn Source>,
    redactor: Redactor,
}

impl Source for RedactedSource {
    fn measure_cpu(&mut self, least: Duration) {
        self.inner.measure_cpu(least);
    }

    fn capture(&mut self, options: &CaptureOptions) -> Result<Snapshot, SourceError> {
        let mut snapshot = self.inner.capture(options)?;
        self.redactor.snapshot(&mut snapshot);
        Ok(snapshot)
    }

    fn attend(&mut self, goroutines: &[ObjectAddr]) {
        self.inner.attend(goroutines);
    }

    fn renew(&mut self) {
        self.inner.renew();
    }

    fn sample_cpu(
        &mut self,
        hz: f64,
        each: &mut dyn FnMut(CpuSamples<'_>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let redactor = &mut self.redactor;
        let mut before = None;
        self.inner.sample_cpu(hz, &mut |samples| {
            let before = before.get_or_insert_with(|| {
                let mut before = samples.before.clone();
                Redactor::default().snapshot(&mut before);
                before
            });
            let symbols = redactor.pool(samples.symbols, &samples.before.target);
            each(CpuSamples { symbols: &symbols, before, ..samples })
        })
    }
}

struct RedactedHeap {
    inner: Box<dyn HeapSource>,
    redactor: Redactor,
}

impl HeapSource for RedactedHeap {
    fn read(&mut self) -> Result<HeapReading, SourceFailure> {
        let mut reading = self.inner.read()?;
        self.redactor.snapshot(&mut reading.snapshot);
        if let Ok(profile) = &mut reading.allocations {
            Redactor::default().allocations(profile, &reading.snapshot.target);
        }
        Ok(reading)
    }

    fn size_classes(&mut self) -> Result<SizeClasses, String> {
        self.inner.size_classes()
    }

    fn walk(
        &mut self,
        request: &ObjectsRequest,
        on_progress: &mut dyn FnMut(Walking),
    ) -> Result<ObjectsReading, SourceFailure> {
        let mut reading = self.inner.walk(request, on_progress)?;
        self.redactor.snapshot(&mut reading.snapshot);
        Ok(reading)
    }
}
