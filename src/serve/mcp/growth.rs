//! What changes: since a mark that was set before, or while it is watched.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::call::Abandoned;
use super::super::changes::{Row, Sample, difference};
use super::super::targets::Program;
use super::budget::{Page, quoted};
use super::catalogue::Arguments;
use super::tools::{OFTEN, Tools};
use crate::capture::CaptureOptions;
use crate::report::units::{bytes, count, counted, duration};

/// Marks that are kept; the oldest goes first.
const MARKS: usize = 16;
/// Readings while it is watched.
const READINGS: u32 = 5;
/// How long it may be watched.
const WATCH: std::ops::RangeInclusive<f64> = 1.0..=10.0;
/// Seconds that it is watched unless others are asked for.
const USUAL: f64 = 5.0;

/// What programs were like earlier.
#[derive(Default)]
pub(super) struct Marks(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    next: u64,
    marks: VecDeque<Mark>,
}

struct Mark {
    name: String,
    pid: i32,
    start_ticks: u64,
    sample: Arc<Sample>,
}

impl Marks {
    fn set(&self, program: &Program, sample: Arc<Sample>) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.next = kept.next.saturating_add(1);
        let name = format!("m{}", kept.next);
        let (pid, start_ticks) = (program.process.pid, program.process.start_ticks);
        kept.marks.push_back(Mark { name: name.clone(), pid, start_ticks, sample });
        if kept.marks.len() > MARKS {
            kept.marks.pop_front();
        }
        name
    }

    fn get(&self, program: &Program, name: &str) -> Result<Arc<Sample>, String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = kept.marks.iter().find(|mark| mark.name == name);
        let mark = mark.ok_or_else(|| {
            format!("there is no mark {} (the latest {MARKS} are kept); compare without mark sets one", quoted(name))
        })?;
        if (mark.pid, mark.start_ticks) != (program.process.pid, program.process.start_ticks) {
            return Err(format!("mark {} is another program's, pid {}", mark.name, mark.pid));
        }
        Ok(Arc::clone(&mark.sample))
    }
}

impl Tools {
    /// Sets a mark, or says what changed since one.
    pub(super) fn compare(
        &self,
        program: &Arc<Program>,
        arguments: &Arguments,
        mut page: Page,
    ) -> Result<String, String> {
        let before = arguments.mark.as_deref().map(|mark| self.marks.get(program, mark)).transpose()?;
        let now = self.sample(program)?;
        let Some(before) = before else {
            let goroutines = counted(now.total, "goroutine", "goroutines");
            let mark = self.marks.set(program, now);
            page.line(&format!("{goroutines} now. Call compare with mark={mark} later to see what changed."));
            return Ok(page.done(None));
        };
        page.line(&since(&before, &now));
        let rows: Vec<String> = changed(&before, &now).iter().map(|row| line(row, "")).collect();
        Ok(list(page, &rows, "no group changed"))
    }

    /// Reads it some times, and says what grew.
    pub(super) fn watch(
        &self,
        program: &Arc<Program>,
        arguments: &Arguments,
        mut page: Page,
        stop: &Abandoned,
    ) -> Result<String, String> {
        let seconds = arguments.seconds.unwrap_or(USUAL);
        if !WATCH.contains(&seconds) {
            return Err("seconds: from 1 to 10; for longer, use compare with a mark".to_owned());
        }
        let pause = Duration::from_secs_f64(seconds) / (READINGS - 1);
        let mut samples = vec![self.sample(program)?];
        while samples.len() < READINGS as usize {
            let end = Instant::now() + pause;
            while Instant::now() < end {
                if stop.is_set() {
                    return Err("cancelled".to_owned());
                }
                std::thread::sleep(OFTEN.min(end.saturating_duration_since(Instant::now())));
            }
            samples.push(self.sample(program)?);
        }
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return Err("nothing was read".to_owned());
        };
        page.line(&since(first, last));
        let rows = changed(first, last);
        let grown: Vec<String> = rows
            .iter()
            .filter(|row| row.delta.is_some_and(|delta| delta > 0))
            .map(|row| {
                let counts = samples.iter().map(|sample| sample.count(row));
                let steady = counts.clone().zip(counts.skip(1)).all(|(a, b)| a < b);
                line(row, if steady { ", in every reading" } else { "" })
            })
            .collect();
        Ok(list(page, &grown, "no group grew"))
    }

    /// What is counted of it, read now.
    fn sample(&self, program: &Arc<Program>) -> Result<Arc<Sample>, String> {
        let options = CaptureOptions { stacks: true, ..CaptureOptions::default() };
        let read = program.read(|session| Ok(session.capture(&options)?));
        let snapshot = read.map_err(|missing| self.missing(program, missing))?;
        Ok(Arc::new(Sample::of(&snapshot)))
    }
}

/// Groups that are not what they were, the largest change first.
fn changed(before: &Sample, now: &Sample) -> Vec<Row> {
    let mut rows = now.since(Some(before));
    rows.retain(|row| row.delta.is_some_and(|delta| delta != 0));
    rows
}

/// Totals.
fn since(before: &Sample, now: &Sample) -> String {
    let elapsed = duration(now.at_unix_ns.saturating_sub(before.at_unix_ns));
    let goroutines = format!("{} ({:+})", count(now.total), difference(now.total, before.total));
    let heap = match (before.heap(), now.heap()) {
        (Some(before), Some(now)) => {
            let allocated = bytes(now.total_alloc_bytes.saturating_sub(before.total_alloc_bytes));
            format!("; heap {} → {}, {allocated} allocated", bytes(before.alloc_bytes), bytes(now.alloc_bytes))
        }
        _ => String::new(),
    };
    let gc = match (before.gc(), now.gc()) {
        (Some(before), Some(now)) => {
            let cycles = u64::from(now.cycles.saturating_sub(before.cycles));
            format!("; {}", counted(cycles, "GC cycle", "GC cycles"))
        }
        _ => String::new(),
    };
    format!("In {elapsed}: goroutines {goroutines}{heap}{gc}")
}

fn line(row: &Row, how: &str) -> String {
    let place = match (row.place.function.as_str(), row.place.source.as_str()) {
        ("", _) => String::new(),
        (function, source) => format!(" in {} {source}", quoted(function)),
    };
    format!("{:+} (now {}) {}{place}{how}", row.delta.unwrap_or(0), count(row.count), row.place.state)
}

fn list(mut page: Page, rows: &[String], none: &str) -> String {
    if rows.is_empty() {
        page.line(none);
    }
    for (at, row) in rows.iter().enumerate() {
        if !page.line(row) {
            let left = rows.len().saturating_sub(at);
            return page
                .done(Some(&format!("… and {left} more groups changed less: max_tokens up to 6000 shows more")));
        }
    }
    page.done(None)
}
