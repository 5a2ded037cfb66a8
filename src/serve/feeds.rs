//! Streams of changes (Server-Sent Events): who listens, and what is read for them.
//!
//! A program is read while somebody listens, and not otherwise. Listeners that ask the same of a program share
//! readings: one of them reads, and the others take what was read no longer ago than they would wait themselves.
//! However many listen, reading takes a small part of a core; where a reading takes long, there are fewer of them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue, StatusCode};
use rustc_hash::FxHashMap;

use super::answer::{Answer, EVENTS};
use super::places::Places;
use super::targets::{Missing, Program, Targets};

/// Streams at the same time.
const STREAMS: usize = 32;
/// The pause between two readings is at least that many times as long as one takes.
const SHARE: u32 = 20;
/// The longest pause that follows from that.
const LONGEST: Duration = Duration::from_secs(15);
/// Something is sent at least so often, so that a listener who has gone is noticed.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a stream is, unless the program ends before: a connection is not kept for ever. Browsers ask again by
/// themselves.
const LIFE: Duration = Duration::from_secs(300);
/// What was read within this part of a listener's pause is new enough for it.
const FRESH: f64 = 0.8;

/// How many streams there may be, of whatever kind.
pub(super) fn streams() -> Arc<Places> {
    Arc::new(Places::new(STREAMS))
}

/// Programs that are listened to, for one kind of event.
pub(super) struct Feeds<T> {
    streams: Arc<Places>,
    feeds: Mutex<FxHashMap<Key, Weak<Feed<T>>>>,
}

/// A program, by pid and start, and what is asked of it.
type Key = (i32, u64, String);

/// What is read of a program for those who listen.
struct Feed<T> {
    program: Arc<Program>,
    read: Read<T>,
    latest: Mutex<Option<Reading<T>>>,
}

type Read<T> = Box<dyn Fn(&Program) -> Result<T, Missing> + Send + Sync>;

type Writing<T> = dyn FnMut(Arc<T>, &mut dyn Write) -> io::Result<bool>;

/// What was read, when that was done, and how long it took.
struct Reading<T> {
    done: Instant,
    took: Duration,
    what: Arc<T>,
}

impl<T> Clone for Reading<T> {
    fn clone(&self) -> Self {
        Self { done: self.done, took: self.took, what: Arc::clone(&self.what) }
    }
}

/// What a listener wants.
pub(super) struct Listener<T, R, W>
where
    R: Fn(&Program) -> Result<T, Missing>,
    W: FnMut(Arc<T>, &mut dyn Write) -> io::Result<bool>,
{
    /// What is asked of the program: those who ask the same share readings.
    pub(super) asked: String,
    /// The pause between two readings, if one does not take long.
    pub(super) pause: Duration,
    /// Reads the program.
    pub(super) read: R,
    /// Writes the event of a reading; `false` when there is none.
    pub(super) write: W,
}

impl<T: Send + Sync + 'static> Feeds<T> {
    /// With a share in these places.
    pub(super) fn new(streams: Arc<Places>) -> Self {
        Self { streams, feeds: Mutex::default() }
    }

    /// A stream of events about a program.
    ///
    /// # Errors
    /// 503 when there are too many streams, 404 when the program cannot be read.
    pub(super) fn listen<R, W>(
        &self,
        targets: &Targets,
        program: Arc<Program>,
        listener: Listener<T, R, W>,
    ) -> Result<Answer, Answer>
    where
        R: Fn(&Program) -> Result<T, Missing> + Send + Sync + 'static,
        W: FnMut(Arc<T>, &mut dyn Write) -> io::Result<bool> + Send + 'static,
    {
        let Listener { asked, pause, read, mut write } = listener;
        let place = self.streams.take().ok_or_else(|| {
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("there are {STREAMS} streams of events already"))
        })?;
        let feed = self.feed(program, asked, Box::new(read));
        // So that a program that cannot be read is not found; what was read is the first event.
        targets.found(&feed.program, feed.reading(pause.mul_f64(FRESH)))?;
        let answer = Answer::streamed(EVENTS, move |out| {
            let _place = place;
            feed.send(pause, &mut write, out)
        });
        // A proxy that gathers an answer would gather this one for ever.
        Ok(answer.with(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")))
    }

    fn feed(&self, program: Arc<Program>, asked: String, read: Read<T>) -> Arc<Feed<T>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|_, feed| feed.strong_count() > 0);
        let key = (program.process.pid, program.process.start_ticks, asked);
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade) {
            return feed;
        }
        let feed = Arc::new(Feed { program, read, latest: Mutex::default() });
        feeds.insert(key, Arc::downgrade(&feed));
        feed
    }
}

impl<T> Feed<T> {
    /// What was read no longer ago than `age`.
    fn reading(&self, age: Duration) -> Result<Reading<T>, Missing> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = latest.as_ref().filter(|reading| reading.done.elapsed() < age) {
            return Ok(reading.clone());
        }
        let started = Instant::now();
        let what = Arc::new((self.read)(&self.program)?);
        let reading = Reading { done: Instant::now(), took: started.elapsed(), what };
        *latest = Some(reading.clone());
        Ok(reading)
    }

    /// Sends events until the program ends, the listener goes or it is time to ask again.
    fn send(&self, pause: Duration, write: &mut Writing<T>, out: &mut dyn Write) -> io::Result<()> {
        let opened = Instant::now();
        let (mut due, mut sent, mut age) = (opened, opened, pause.mul_f64(FRESH));
        while due.saturating_duration_since(opened) < LIFE {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let Reading { what, took, .. } = match self.reading(age) {
                Ok(reading) => reading,
                Err(missing) => return end(missing, out),
            };
            let is_written = write(what, out)?;
            // Readings that come late are not made up for.
            let next = paused(pause, took);
            due = Instant::now() + next;
            // The next one would be too late to say that there was nothing.
            let is_silent = !is_written && due.saturating_duration_since(sent) > SILENCE;
            if is_silent {
                out.write_all(b": nothing has changed\n\n")?;
            }
            if is_written || is_silent {
                out.flush()?;
                sent = Instant::now();
            }
            age = next.mul_f64(FRESH);
        }
        Ok(())
    }
}

fn end(missing: Missing, out: &mut dyn Write) -> io::Result<()> {
    let why = match missing {
        Missing::Gone => "the program has ended",
        Missing::Unreadable => "the program cannot be read any more",
    };
    write!(out, "event: end\ndata: {{\"reason\":\"{why}\"}}\n\n")?;
    out.flush()
}

/// The pause after a reading that took so long, where `wished` is asked for.
fn paused(wished: Duration, took: Duration) -> Duration {
    took.saturating_mul(SHARE).min(LONGEST).max(wished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_that_take_long_are_fewer() {
        let second = Duration::from_secs(1);
        assert_eq!(paused(second, Duration::from_millis(1)), second);
        assert_eq!(paused(second, Duration::from_millis(200)), 4 * second);
        assert_eq!(paused(second, 60 * second), LONGEST);
        assert_eq!(paused(20 * second, 60 * second), 20 * second);
    }
}
