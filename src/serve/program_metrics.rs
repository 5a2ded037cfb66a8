//! Metrics of a program: those that its own client library would have, and those of its goroutines where these are
//! asked for.
//!
//! `goroutines=1` has every goroutine read, and `leaks=1` the heap walked, too: Prometheus passes them on from `params`
//! of a scrape configuration.

use std::sync::Arc;

use serde::Deserialize;

use super::answer::Answer;
use super::call::Call;
use super::profiles::{Profiler, STACKS};
use super::routes::App;
use super::targets::Program;
use crate::analysis::Index;
use crate::analysis::leaks::findings;
use crate::analysis::waits::ById;
use crate::report::metrics::{self, GoroutineMetrics};

/// What is asked for beside the usual.
#[derive(Debug, Default, Deserialize)]
struct Wanted {
    goroutines: Option<String>,
    leaks: Option<String>,
}

fn is_set(parameter: Option<&String>) -> bool {
    parameter.is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// The metrics that are asked for.
pub(super) fn answer(app: &App, program: &Arc<Program>, call: &Call) -> Answer {
    written(app, program, call).unwrap_or_else(|failed| failed)
}

fn written(app: &App, program: &Arc<Program>, call: &Call) -> Result<Answer, Answer> {
    let wanted: Wanted = call.query()?;
    let leaks = is_set(wanted.leaks.as_ref());
    let goroutines = match leaks || is_set(wanted.goroutines.as_ref()) {
        true => Some(of_goroutines(app, program, call, leaks)?),
        false => None,
    };
    // Last, so that they are not older than they have to be.
    let (runtime, accounting) = app.read(program, Program::metrics)?;
    Ok(Answer::written(metrics::CONTENT_TYPE, |body| {
        metrics::write(body, &runtime, accounting.as_ref(), goroutines.as_ref())
    }))
}

fn of_goroutines(app: &App, program: &Arc<Program>, call: &Call, with_leaks: bool) -> Result<GoroutineMetrics, Answer> {
    let snapshot = app.read(program, |program| program.snapshot(STACKS))?;
    let index = Index::new(&snapshot);
    let counted = GoroutineMetrics::of(&index, program.growing(&index));
    if !with_leaks {
        return Ok(counted);
    }
    // Where the heap cannot be walked, how many are leaked is not known, and not 0.
    let Ok((leaks, snapshot)) = Profiler::new(app, program, call).find_leaks() else { return Ok(counted) };
    let found = findings(&ById::of(&snapshot), &leaks);
    let leaked = u64::try_from(leaks.leaked.len()).unwrap_or(u64::MAX);
    Ok(counted.with_leaks(leaks.proof.grade().name(), leaked, &found))
}
