//! Profiles of a program that has no endpoint of its own, under the paths and in the form of `net/http/pprof`
//! (Go 1.27), so that `go tool pprof` and the scrapers of profiles need nothing but a prefix.
//!
//! * `index`: what there is
//! * `goroutines`: the goroutine profile, and the dump of `debug=2`
//! * `kept`: what the runtime keeps: heap, allocs, block, mutex, threadcreate
//! * `delta`: the difference between two of them (`seconds=`)
//! * `recorded`: what takes a while: the CPU profile and fgprof's
//! * `leaked`: goroutines that can never wake
//! * `symbols`: names of addresses
//!
//! A program is never stopped for them. What would need that is refused, with the reason: an execution trace, a cycle
//! of the collector, the arguments of a program.

mod delta;
mod goroutines;
mod index;
mod kept;
mod leaked;
mod recorded;
mod symbols;

pub(super) use goroutines::STACKS;
pub(super) use recorded::RECORDINGS;

use std::io;
use std::sync::Arc;

use axum::http::header::{CONTENT_DISPOSITION, LOCATION};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use super::answer::{Answer, TEXT};
use super::call::Call;
use super::routes::App;
use super::targets::{Missing, Program};

/// What profiles are.
const BINARY: &str = "application/octet-stream";
/// `go tool pprof` shows the text of an error that has this header.
const IS_PPROF: HeaderName = HeaderName::from_static("x-go-pprof");

/// One request for a profile.
pub(super) struct Profiler<'a> {
    app: &'a App,
    program: &'a Arc<Program>,
    call: &'a Call,
}

/// The parameters, as they came.
#[derive(Debug, Default, Deserialize)]
struct Parameters {
    debug: Option<String>,
    seconds: Option<String>,
    gc: Option<String>,
}

impl Parameters {
    /// What is no number is 0, as `net/http/pprof` has it.
    fn number(text: Option<&String>) -> i64 {
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn debug(&self) -> i64 {
        Self::number(self.debug.as_ref())
    }
}

/// Why a profile is not served.
const NO_TRACE: &str = "an execution trace can only be taken by the program itself";
const NO_COLLECTION: &str = "gc=1: a cycle of the garbage collector can only be started by the program itself";
const NO_ARGUMENTS: &str = "the arguments of a program may hold secrets, and are in no answer of this server";
const NO_TIME: &str = "seconds: at most 300";
const UNKNOWN: &str = "unknown profile; /debug/pprof/ lists those there are";

impl<'a> Profiler<'a> {
    pub(super) fn new(app: &'a App, program: &'a Arc<Program>, call: &'a Call) -> Self {
        Self { app, program, call }
    }

    /// What is under `debug/`.
    pub(super) fn answer(&self, path: &[&str]) -> Answer {
        let answer = match path {
            ["pprof"] => {
                let moved = Answer::text(StatusCode::MOVED_PERMANENTLY, "it is at pprof/");
                return moved.with(LOCATION, HeaderValue::from_static("pprof/"));
            }
            ["pprof", ""] => self.index(),
            ["pprof", "symbol"] => self.symbols(),
            ["pprof", "cmdline"] => Err(Answer::text(StatusCode::NOT_FOUND, NO_ARGUMENTS)),
            ["pprof", "trace"] => Err(Answer::text(StatusCode::NOT_FOUND, NO_TRACE)),
            ["pprof", name] => self.call.query().and_then(|parameters| self.profile(name, &parameters)),
            ["fgprof"] => self.call.query().and_then(|parameters: Parameters| self.fgprof(parameters.seconds.as_ref())),
            _ => Err(Answer::text(StatusCode::NOT_FOUND, UNKNOWN)),
        };
        answer.unwrap_or_else(|failed| failed.with(IS_PPROF, HeaderValue::from_static("1")))
    }

    fn profile(&self, name: &str, parameters: &Parameters) -> Result<Answer, Answer> {
        let profile = match name {
            "profile" => return self.cpu(parameters.seconds.as_ref()),
            name => Named::of(name).ok_or_else(|| Answer::text(StatusCode::NOT_FOUND, UNKNOWN))?,
        };
        if Parameters::number(parameters.gc.as_ref()) > 0 {
            return Err(Answer::text(StatusCode::BAD_REQUEST, NO_COLLECTION));
        }
        let debug = parameters.debug();
        if let Some(seconds) = &parameters.seconds {
            let seconds = recorded::seconds(seconds)?;
            if debug != 0 {
                return Err(Answer::text(StatusCode::BAD_REQUEST, "seconds and debug are incompatible"));
            }
            return self.delta(profile, seconds);
        }
        match profile {
            Named::Goroutine => self.goroutines(debug),
            Named::Goroutineleak => self.leaked(debug),
            Named::Heap | Named::Allocs => self.allocations(profile, debug),
            Named::Block | Named::Mutex => self.contention(profile, debug),
            Named::Threadcreate => self.threads(debug),
        }
    }

    /// Reads the program; the answer to give where that fails.
    fn read<T>(&self, read: impl FnOnce(&Program) -> Result<T, Missing>) -> Result<T, Answer> {
        self.app.read(self.program, read)
    }
}

/// A profile of `runtime/pprof`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Allocs,
    Block,
    Goroutine,
    Goroutineleak,
    Heap,
    Mutex,
    Threadcreate,
}

impl Named {
    /// In the order of the index.
    const ALL: [Self; 7] =
        [Self::Allocs, Self::Block, Self::Goroutine, Self::Goroutineleak, Self::Heap, Self::Mutex, Self::Threadcreate];

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|named| named.name() == name)
    }

    /// As `runtime/pprof` calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Allocs => "allocs",
            Self::Block => "block",
            Self::Goroutine => "goroutine",
            Self::Goroutineleak => "goroutineleak",
            Self::Heap => "heap",
            Self::Mutex => "mutex",
            Self::Threadcreate => "threadcreate",
        }
    }
}

/// A profile that `write` makes, to be saved under this name.
fn binary(name: &str, write: impl FnOnce(&mut Vec<u8>) -> io::Result<u64>) -> Answer {
    let answer = Answer::written(BINARY, |body| write(body).map(drop));
    match HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        Ok(disposition) if answer.status == StatusCode::OK => answer.with(CONTENT_DISPOSITION, disposition),
        _ => answer,
    }
}

/// A list in text.
fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Answer {
    Answer::written(TEXT, write)
}
