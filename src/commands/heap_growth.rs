//! `gospy heap --watch`

use std::time::{Duration, Instant};

use super::args::Global;
use super::check::Watch;
use super::heap::rows;
use super::source::{HeapSource, ObjectsRequest, SourceFailure, Sources, TargetSpec};
use super::streams::Streams;
use super::{Exit, Failure};
use crate::analysis::series::HeapSeries;
use crate::analysis::series::growth::LEAST_SAMPLES;
use crate::analysis::series::heap_parts::Walk;
use crate::model::SymbolPool;
use crate::process::ErrorKind;
use crate::report::heap::growth::{self as report, Program};
use crate::report::units::{counted, duration};

/// Walks over the objects take at most this part of the time: 1 / 4.
const WALK_SHARE: u32 = 4;

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) json: bool,
    pub(super) limit: Option<usize>,
}

/// Watches the heap of `wanted`; with `objects`, each reading walks over them.
pub(super) fn run(
    wanted: &TargetSpec,
    watch: &Watch,
    objects: bool,
    shown: Shown,
    global: &Global,
    sources: &dyn Sources,
    streams: &mut Streams<'_>,
) -> Result<Exit, Failure> {
    let mut source = sources.heap(wanted)?;
    let (mut series, mut pool) = (HeapSeries::default(), SymbolPool::default());
    let quiet = global.quiet || shown.json;
    if !quiet {
        streams.note(&format!("watching the heap for {}: {} readings", length(watch), watch.samples));
    }
    let mut watch = *watch;
    let mut pacer = watch.pacer();
    let mut started = Instant::now();
    let mut program = Program::default();
    let mut complete = true;
    let mut number = 1;
    while number <= watch.samples {
        std::thread::sleep(pacer.due().saturating_sub(started.elapsed()));
        let begun = Instant::now();
        pacer.begin(started.elapsed());
        let reading = source.read().map_err(|failure| ended_early(failure, number, &watch))?;
        program = Program::of(&reading.snapshot);
        complete &= reading.allocations.as_ref().is_ok_and(|profile| !profile.reading.incomplete);
        complete &= reading.survivors.is_ok();
        series.record(&reading, &mut pool);
        if objects {
            complete &= walk(source.as_mut(), &mut series, &mut pool).map_err(|f| ended_early(f, number, &watch))?;
            let slower = with_walks(&watch, begun.elapsed());
            if number == 1 && slower != watch {
                if !quiet {
                    let took = duration(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
                    let length = length(&slower);
                    streams.note(&format!("a walk takes {took}: {} readings in {length}", slower.samples));
                }
                watch = slower;
                started = begun;
                pacer = watch.pacer();
                pacer.begin(Duration::ZERO);
            }
            // A heap that grows takes longer from walk to walk.
            pacer.not_before(started.elapsed().saturating_add(begun.elapsed().saturating_mul(WALK_SHARE - 1)));
        }
        number += 1;
    }
    let growth = series.growth(0.0);
    if shown.json {
        let limit = shown.limit.map_or(usize::MAX, |limit| rows(Some(limit)));
        streams.finish(|out| report::json(out, &program, (&series, &pool), &growth, limit))?;
    } else {
        let (style, limit) = (streams.out_style(), rows(shown.limit));
        streams.finish(|out| report::write(out, style, &program, (&series, &pool), &growth, limit))?;
    }
    Ok(if global.strict && !complete { Exit::Incomplete } else { Exit::Done })
}

/// Adds a walk over the objects; whether it is exact and has all.
fn walk(source: &mut dyn HeapSource, series: &mut HeapSeries, pool: &mut SymbolPool) -> Result<bool, SourceFailure> {
    match source.walk(&ObjectsRequest::default(), &mut |_| {}) {
        Ok(found) => {
            let walk = Walk { snapshot: &found.snapshot, groups: &found.groups, objects: &found.objects };
            series.record_walk(Ok(walk), pool);
            Ok(found.objects.standing.is_exact() && found.objects.notes.is_empty())
        }
        Err(failure) if failure.kind() == Some(ErrorKind::Gone) => Err(failure),
        // The rest of the heap is watched all the same.
        Err(failure) => {
            series.record_walk(Err(failure.to_string()), pool);
            Ok(false)
        }
    }
}

fn length(watch: &Watch) -> String {
    let length = watch.interval.saturating_mul(watch.samples.saturating_sub(1));
    duration(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX))
}

/// The same watch with readings that take so long: fewer of them in the same time; no fewer than growth needs.
fn with_walks(watch: &Watch, takes: Duration) -> Watch {
    let interval = takes.saturating_mul(WALK_SHARE);
    if interval <= watch.interval {
        return *watch;
    }
    let length = watch.interval.saturating_mul(watch.samples.saturating_sub(1));
    let least = u32::try_from(LEAST_SAMPLES).unwrap_or(u32::MAX);
    let fit = u32::try_from(length.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX).saturating_add(1);
    Watch { interval, samples: fit.max(least).min(watch.samples) }
}

fn ended_early(failure: SourceFailure, number: u32, watch: &Watch) -> Failure {
    let failure = Failure::from(failure);
    let taken = counted(u64::from(number.saturating_sub(1)), "reading was", "readings were");
    let message = format!("{}\n{taken} taken of {}; nothing was judged", failure.message(), watch.samples);
    Failure::new(failure.exit(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_take_at_most_a_quarter_of_the_time() {
        let watch = Watch { interval: Duration::from_secs(2), samples: 31 };
        assert_eq!(with_walks(&watch, Duration::from_millis(500)), watch);
        let slower = with_walks(&watch, Duration::from_secs(1));
        assert_eq!(slower, Watch { interval: Duration::from_secs(4), samples: 16 });
        // It takes longer than was asked for where growth could not be judged otherwise.
        let slowest = with_walks(&watch, Duration::from_secs(60));
        assert_eq!(slowest, Watch { interval: Duration::from_secs(240), samples: 8 });
        let never = with_walks(&watch, Duration::MAX);
        assert_eq!(never.samples, 8);
    }
}
