//! Changes as they come: Server-Sent Events.
//!
//! The first event (`state`) has the largest groups; each later one (`change`) those that changed, and is not sent where
//! nothing did. The last one (`end`) says why there are no more.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::super::answer::Answer;
use super::super::changes::{Event, Sample};
use super::super::feeds::{Feeds, Listener};
use super::super::places::Places;
use super::super::targets::{Program, Targets};
use super::routes;
use crate::capture::CaptureOptions;
use crate::report::json::{schema_of, to_writer};

/// Bytes of an event, without what goes around it.
const BYTES: usize = 9_500;
/// Groups of an event.
const ROWS: usize = 60;
/// Readings a second.
const RATES: std::ops::RangeInclusive<f64> = 0.2..=2.0;

/// What a listener asks for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rate {
    /// Readings a second.
    #[serde(default = "usual")]
    rate: f64,
}

fn usual() -> f64 {
    1.0
}

/// The JSON Schema of an event's data.
pub(super) fn schema() -> schemars::Schema {
    schema_of::<Event>()
}

/// Changes of programs, for those who listen.
pub(super) struct Events(Feeds<Sample>);

impl Events {
    /// With a share in the streams that there may be.
    pub(super) fn new(streams: Arc<Places>) -> Self {
        Self(Feeds::new(streams))
    }

    /// A stream of changes of a program.
    ///
    /// # Errors
    /// 400 for a rate that there is none of, 503 when there are too many streams, 404 when the program has ended.
    pub(super) fn listen(
        &self,
        targets: &Targets,
        program: Arc<Program>,
        Rate { rate }: Rate,
    ) -> Result<Answer, Answer> {
        if !RATES.contains(&rate) {
            return Err(routes::bad("rate: expected a number from 0.2 to 2, readings a second"));
        }
        let mut before: Option<Arc<Sample>> = None;
        let listener = Listener {
            asked: String::new(),
            pause: Duration::from_secs_f64(1.0 / rate),
            read: |program: &Program| {
                let options = CaptureOptions { stacks: true, keep_stacks: true, ..CaptureOptions::default() };
                program.read(|session| Ok(Sample::of(&session.capture(&options)?)))
            },
            write: move |now: Arc<Sample>, out: &mut dyn Write| {
                let event = now.event(before.as_deref(), ROWS, BYTES);
                if before.as_deref().is_some_and(|before| is_quiet(&event, before)) {
                    return Ok(false);
                }
                write!(out, "event: {}\ndata: ", if before.is_some() { "change" } else { "state" })?;
                to_writer(out, &event)?;
                out.write_all(b"\n\n")?;
                before = Some(now);
                Ok(true)
            },
        };
        self.0.listen(targets, program, listener)
    }
}

/// Whether nothing of it is different.
fn is_quiet(event: &Event, before: &Sample) -> bool {
    event.delta == Some(0)
        && event.groups.iter().all(|row| row.delta == Some(0))
        && event.heap == before.heap()
        && event.gc == before.gc()
}
