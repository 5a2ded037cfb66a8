//! Changes as they come: Server-Sent Events.
//!
//! A program is read while somebody listens, and not otherwise. Listeners of one program share readings: one reads,
//! and the others take what was read no longer ago than they would wait themselves. The first event (`state`) has the
//! largest groups; each later one (`change`) those that changed, and is not sent where nothing did. The last one
//! (`end`) says why there are no more.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue, StatusCode};
use rustc_hash::FxHashMap;
use serde::Deserialize;

use super::super::answer::Answer;
use super::super::changes::{Event, Sample};
use super::super::places::Places;
use super::super::routes::NO_PID;
use super::super::targets::{Missing, Program};
use super::{Refused, routes};
use crate::capture::CaptureOptions;
use crate::report::json::{schema_of, to_writer};

/// Streams at the same time.
const STREAMS: usize = 16;
/// Bytes of an event, without what goes around it.
const BYTES: usize = 9_500;
/// Groups of an event.
const ROWS: usize = 60;
/// Something is sent at least as often.
const SILENCE: Duration = Duration::from_secs(15);
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

/// Everything that is listened to.
pub(super) struct Feeds {
    streams: Places,
    feeds: Mutex<FxHashMap<(i32, u64), Weak<Feed>>>,
}

/// A program that is listened to.
struct Feed {
    program: Arc<Program>,
    latest: Mutex<Option<(Instant, Arc<Sample>)>>,
}

impl Default for Feeds {
    fn default() -> Self {
        Self { streams: Places::new(STREAMS), feeds: Mutex::default() }
    }
}

impl Feeds {
    /// A stream of changes of a program.
    ///
    /// # Errors
    /// 400 for a rate that there is none of, 503 when there are too many streams, 404 when the program has ended.
    pub(super) fn listen(&self, program: Arc<Program>, Rate { rate }: Rate) -> Result<Answer, Refused> {
        if !RATES.contains(&rate) {
            return Err(routes::bad("rate: expected a number from 0.2 to 2, readings a second").into());
        }
        let place = self.streams.take().ok_or_else(|| {
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("there are {STREAMS} streams of events already"))
        })?;
        let feed = self.feed(program);
        let interval = Duration::from_secs_f64(1.0 / rate);
        // So that a program that cannot be read is not found; what was read is the first event.
        feed.sample(interval.mul_f64(FRESH))
            .map_err(|missing| Refused { answer: Answer::absent(NO_PID), is_gone: missing == Missing::Gone })?;
        let answer = Answer::streamed("text/event-stream", move |out| {
            let _place = place;
            feed.send(interval, out)
        });
        // A proxy that gathers an answer would gather this one for ever.
        Ok(answer.with(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")))
    }

    fn feed(&self, program: Arc<Program>) -> Arc<Feed> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let key = (program.process.pid, program.process.start_ticks);
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Arc::new(Feed { program, latest: Mutex::default() });
        feeds.insert(key, Arc::downgrade(&feed));
        feed
    }
}

impl Feed {
    /// What was read no longer ago than `age`.
    fn sample(&self, age: Duration) -> Result<Arc<Sample>, Missing> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, sample)) = &*latest
            && read.elapsed() < age
        {
            return Ok(Arc::clone(sample));
        }
        let options = CaptureOptions { stacks: true, keep_stacks: true, ..CaptureOptions::default() };
        let snapshot = self.program.read(|session| Ok(session.capture(&options)?))?;
        let sample = Arc::new(Sample::of(&snapshot));
        *latest = Some((Instant::now(), Arc::clone(&sample)));
        Ok(sample)
    }

    /// Sends events until the program ends or the listener goes.
    fn send(&self, interval: Duration, out: &mut dyn Write) -> io::Result<()> {
        let mut before: Option<Arc<Sample>> = None;
        let (mut due, mut sent) = (Instant::now(), Instant::now());
        loop {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // Late readings are not made up for.
            due = Instant::now() + interval;
            let now = match self.sample(interval.mul_f64(FRESH)) {
                Ok(now) => now,
                Err(missing) => return end(missing, out),
            };
            let event = now.event(before.as_deref(), ROWS, BYTES);
            if before.as_deref().is_none_or(|before| !is_quiet(&event, before)) {
                write!(out, "event: {}\ndata: ", if before.is_some() { "change" } else { "state" })?;
                to_writer(out, &event)?;
                out.write_all(b"\n\n")?;
                out.flush()?;
                sent = Instant::now();
                before = Some(now);
            } else if sent.elapsed() >= SILENCE {
                out.write_all(b": nothing has changed\n\n")?;
                out.flush()?;
                sent = Instant::now();
            }
        }
    }
}

/// What was read within this part of a listener's interval is new enough for it.
const FRESH: f64 = 0.8;

/// Whether nothing of it is different.
fn is_quiet(event: &Event, before: &Sample) -> bool {
    event.delta == Some(0)
        && event.groups.iter().all(|row| row.delta == Some(0))
        && event.heap == before.heap()
        && event.gc == before.gc()
}

fn end(missing: Missing, out: &mut dyn Write) -> io::Result<()> {
    let why = match missing {
        Missing::Gone => "the program has ended",
        Missing::Unreadable => "the program cannot be read any more",
    };
    write!(out, "event: end\ndata: {{\"reason\":\"{why}\"}}\n\n")?;
    out.flush()
}
