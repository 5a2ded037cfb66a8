//! What takes a while: what the program does on CPUs (`profile`), and what its goroutines do altogether (`fgprof`).
//!
//! Each has a session of its own, so that others are answered meanwhile, and ends early when nobody waits for it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Method, StatusCode};

use super::goroutines::STACKS;
use super::{BINARY, NO_TIME, Profiler, binary};
use crate::analysis::cpu::CpuRecording;
use crate::analysis::recording::Recording;
use crate::capture::SourceError;
use crate::process::ErrorKind;
use crate::report::profile::{cpu, wall};
use crate::sampling::{Pacer, Sampler};
use crate::serve::answer::Answer;
use crate::serve::listen::CONNECTIONS;
use crate::serve::places::Place;
use crate::serve::targets::Missing;

/// Samples for each second of CPU time. The runtime takes 100 of its own program; in step with that, or with whatever
/// else the program does every ten milliseconds, shares would be wrong.
const CPU_HZ: f64 = 99.0;
/// Most readings of all goroutines in a second, as fgprof has it, and the most of a core that they take.
const WALL_HZ: f64 = 99.0;
const WALL_SHARE: f64 = 0.05;
/// How long a recording is unless that is said, and at most, s.
const USUAL: u64 = 30;
const LONGEST: u64 = 300;
/// How soon it is noticed that nobody waits any more.
const LOOK: Duration = Duration::from_millis(50);
/// Recordings at the same time: the other connections are for short answers.
pub(in crate::serve) const RECORDINGS: usize = CONNECTIONS / 4 * 3;

/// How long a difference is taken over.
pub(super) fn seconds(text: &str) -> Result<Duration, Answer> {
    let seconds = text.parse::<i64>().ok().and_then(|seconds| u64::try_from(seconds).ok());
    match seconds {
        Some(seconds @ 1..) => limited(seconds),
        _ => Err(Answer::text(StatusCode::BAD_REQUEST, "seconds: it must be a positive integer")),
    }
}

/// How long a recording is: what makes no sense is the usual time, as `net/http/pprof` has it.
fn length(text: Option<&String>) -> Result<Duration, Answer> {
    let seconds = text.and_then(|text| text.parse::<i64>().ok()).and_then(|seconds| u64::try_from(seconds).ok());
    limited(seconds.filter(|seconds| *seconds > 0).unwrap_or(USUAL))
}

fn limited(seconds: u64) -> Result<Duration, Answer> {
    match seconds {
        ..=LONGEST => Ok(Duration::from_secs(seconds)),
        _ => Err(Answer::text(StatusCode::BAD_REQUEST, NO_TIME)),
    }
}

impl Profiler<'_> {
    /// `profile`
    pub(super) fn cpu(&self, length_given: Option<&String>) -> Result<Answer, Answer> {
        let length = length(length_given)?;
        if let Some(head) = self.only_head() {
            return Ok(head);
        }
        let _turn = self.turn()?;
        let mut session = self.read(|program| program.session())?;
        let mut recording = CpuRecording::default();
        // What comes before the first sample is not a part of the time.
        let mut started: Option<Instant> = None;
        let sampled = session.sample_cpu(CPU_HZ, &mut |samples| {
            let started = *started.get_or_insert_with(Instant::now);
            recording.add(&samples);
            match started.elapsed() >= length || self.call.is_abandoned() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if let Err(error) = sampled {
            // What was recorded of a program that has ended is its profile.
            if recording.stats().samples == 0 || error.kind() != ErrorKind::Gone {
                return Err(self.failed(&error.into()));
            }
        }
        let elapsed = started.map_or(Duration::ZERO, |started| started.elapsed());
        recording.end(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        Ok(binary("profile", |body| cpu::write(body, &recording)))
    }

    /// `fgprof`
    pub(super) fn fgprof(&self, length_given: Option<&String>) -> Result<Answer, Answer> {
        let length = length(length_given)?;
        if let Some(head) = self.only_head() {
            return Ok(head);
        }
        let _turn = self.turn()?;
        let mut session = self.read(|program| program.session())?;
        let program = Arc::clone(self.program);
        let source = move || program.counted(|| session.capture(&STACKS).map_err(SourceError::from));
        let mut sampler = Sampler::new(Box::new(source));
        let mut pacer = Pacer::every(Duration::from_secs_f64(1.0 / WALL_HZ)).with_jitter().with_max_cpu(WALL_SHARE);
        let mut recording = Recording::default();
        let started = Instant::now();
        let pause = |due: Duration| match self.wait(due.min(length.saturating_sub(started.elapsed()))) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        };
        let streamed = sampler.stream_with_pauses(&mut pacer, pause, |sample| {
            recording.add(&sample.observed, |goroutine| !goroutine.system);
            if started.elapsed() >= length { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Err(error) = streamed
            && (recording.stats().samples < 2 || error.kind() != ErrorKind::Gone)
        {
            return Err(self.failed(&error));
        }
        Ok(binary("fgprof", |body| wall::write_fgprof(body, &recording)))
    }

    /// Waits; false when nobody waits for the answer any more.
    pub(super) fn wait(&self, length: Duration) -> bool {
        let end = Instant::now() + length;
        while Instant::now() < end && !self.call.is_abandoned() {
            std::thread::sleep(end.saturating_duration_since(Instant::now()).min(LOOK));
        }
        !self.call.is_abandoned()
    }

    pub(super) fn turn(&self) -> Result<Place, Answer> {
        self.app.recordings.take().ok_or_else(|| {
            let busy = Answer::text(StatusCode::SERVICE_UNAVAILABLE, "too many recordings go on at the same time");
            busy.with(RETRY_AFTER, HeaderValue::from_static("10"))
        })
    }

    /// Nothing is recorded where only the head is wanted.
    pub(super) fn only_head(&self) -> Option<Answer> {
        (self.call.method == Method::HEAD).then(|| Answer::streamed(BINARY, |_| Ok(())))
    }

    /// Why nothing could be recorded.
    pub(super) fn failed(&self, error: &SourceError) -> Answer {
        match error.kind() {
            ErrorKind::Gone => match self.read(|_| Err::<(), _>(Missing::Gone)) {
                Err(answer) => answer,
                Ok(()) => Answer::failed(),
            },
            ErrorKind::Denied => Answer::text(StatusCode::FORBIDDEN, error.to_string()),
            _ => Answer::text(StatusCode::NOT_FOUND, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_have_a_length() {
        let usual = Duration::from_secs(USUAL);
        for (text, want) in [("7", 7), ("300", 300)] {
            assert_eq!(length(Some(&text.to_owned())).ok(), Some(Duration::from_secs(want)));
            assert_eq!(seconds(text).ok(), Some(Duration::from_secs(want)));
        }
        for text in ["", "0", "-3", "x", "1.5", "99999999999999999999"] {
            assert_eq!(length(Some(&text.to_owned())).ok(), Some(usual), "{text}");
            assert_eq!(seconds(text).err().map(|answer| answer.status), Some(StatusCode::BAD_REQUEST), "{text}");
        }
        assert_eq!(length(None).ok(), Some(usual));
        assert_eq!(length(Some(&"301".to_owned())).err().map(|answer| answer.status), Some(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn some_connections_are_left_for_short_answers() {
        assert_eq!((RECORDINGS, CONNECTIONS), (48, 64));
    }
}
