//! `gospy heap --watch`

use std::time::Instant;

use super::check::Watch;
use super::heap::rows;
use super::source::{Sources, TargetSpec};
use super::streams::Streams;
use super::{Exit, Failure, Global};
use crate::analysis::series::HeapSeries;
use crate::model::SymbolPool;
use crate::report::heap::growth::{self as report, Program};
use crate::report::units::{counted, duration};

/// Watches the heap of `wanted`; `shown` is whether as JSON, and how many rows of a table.
pub(super) fn run(
    wanted: &TargetSpec,
    watch: &Watch,
    (json, limit): (bool, Option<usize>),
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let mut source = sources.heap(wanted)?;
    let mut pacer = watch.pacer();
    let (mut series, mut pool) = (HeapSeries::default(), SymbolPool::default());
    let started = Instant::now();
    if !global.quiet && !json {
        let length = watch.interval.saturating_mul(watch.samples.saturating_sub(1));
        let length = duration(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
        streams.note(&format!("watching the heap for {length}: {} readings", watch.samples));
    }
    let mut program = Program::default();
    let mut complete = true;
    for number in 1..=watch.samples {
        std::thread::sleep(pacer.due().saturating_sub(started.elapsed()));
        pacer.begin(started.elapsed());
        let reading = source.read().map_err(|failure| {
            let failure = Failure::from(failure);
            let taken = counted(u64::from(number - 1), "reading was", "readings were");
            let message = format!("{}\n{taken} taken of {}; nothing was judged", failure.message(), watch.samples);
            Failure::new(failure.exit(), message)
        })?;
        program = Program::of(&reading.snapshot);
        complete &= reading.allocations.as_ref().is_ok_and(|profile| !profile.reading.incomplete);
        complete &= reading.survivors.is_ok();
        series.record(&reading, &mut pool);
    }
    let growth = series.growth(0.0);
    if json {
        let limit = limit.map_or(usize::MAX, |limit| rows(Some(limit)));
        streams.finish(|out| report::json(out, &program, (&series, &pool), &growth, limit))?;
    } else {
        let style = streams.out_style();
        streams.finish(|out| report::write(out, style, &program, (&series, &pool), &growth, rows(limit)))?;
    }
    Ok(if global.strict && !complete { Exit::Incomplete } else { Exit::Done })
}
