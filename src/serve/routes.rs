//! What is asked, and what is answered.
//!
//! | path | answer |
//! |---|---|
//! | `/` | what there is to ask for |
//! | `/sd` | the programs, for Prometheus' `http_sd_configs` |
//! | `/pid/PID/metrics` | metrics of a program, as its own Go client library would give them |
//! | `/name/NAME/metrics` | the same by name, where only one has it |
//! | `/metrics` | metrics of this server |
//!
//! What is not there, not chosen or not readable is 404: a caller learns nothing of other processes.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Response, StatusCode};

use super::access::{Access, Peer};
use super::discovery;
use super::targets::{Missing, Program, Targets};
use crate::report::clean::clean;
use crate::report::metrics::{self, ServerMetrics};

/// Everything that requests share.
pub(super) struct App {
    access: Access,
    targets: Targets,
    counters: Counters,
    log: Mutex<Box<dyn Write + Send>>,
    host: String,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    refused: AtomicU64,
    readings: AtomicU64,
    failed: AtomicU64,
    reading_ns: AtomicU64,
}

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer before it is one of HTTP.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn text(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self { status, kind: TEXT, body: text.into_bytes() }
    }

    fn absent(what: &str) -> Self {
        Self::text(StatusCode::NOT_FOUND, what)
    }
}

impl App {
    pub(super) fn new(access: Access, targets: Targets, log: Box<dyn Write + Send>) -> Self {
        let host = nix::sys::utsname::uname();
        let host = host.map(|host| host.nodename().to_string_lossy().into_owned()).unwrap_or_default();
        Self { access, targets, counters: Counters::default(), log: Mutex::new(log), host }
    }

    /// Answers one request, and writes a line about it.
    pub(super) async fn answer(self: Arc<Self>, peer: &Peer, request: Request<()>) -> Response<Body> {
        let started = Instant::now();
        let (parts, ()) = request.into_parts();
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let answer = match self.access.check(peer, &parts) {
            Err(refusal) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Answer::text(refusal.status, refusal.why)
            }
            Ok(()) => {
                let (app, path) = (Arc::clone(&self), parts.uri.path().to_owned());
                let server = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
                // Reading a program blocks.
                let found = tokio::task::spawn_blocking(move || app.find(&path, &server)).await;
                found.unwrap_or_else(|_| Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "this request failed"))
            }
        };
        self.log(peer, &parts.method, parts.uri.path(), answer.status, started);
        response(answer, &parts.method)
    }

    fn find(&self, path: &str, server: &str) -> Answer {
        let elements: Vec<&str> = path.split('/').skip(1).collect();
        match elements.as_slice() {
            [""] => Answer::text(StatusCode::OK, INDEX),
            ["sd"] => {
                let programs = self.targets.all();
                let groups = discovery::groups(programs.iter().map(|program| &program.process), server, &self.host);
                let body = serde_json::to_vec(&groups).unwrap_or_default();
                Answer { status: StatusCode::OK, kind: "application/json", body }
            }
            ["metrics"] => self.own_metrics(),
            ["pid", pid, "metrics"] => match pid.parse().ok().and_then(|pid| self.targets.with_pid(pid)) {
                Some(program) => self.metrics(&program),
                None => Answer::absent(NO_PID),
            },
            ["name", name, "metrics"] => match self.targets.called(name).as_slice() {
                [program] => self.metrics(program),
                [] => Answer::absent("no program that is served has this name"),
                _ => Answer::absent("several programs have this name; ask by pid, as /sd lists them"),
            },
            _ => Answer::absent("there is nothing here; / lists what there is"),
        }
    }

    fn metrics(&self, program: &Arc<Program>) -> Answer {
        let started = Instant::now();
        let read = program.metrics();
        let ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counters.readings.fetch_add(1, Ordering::Relaxed);
        self.counters.reading_ns.fetch_add(ns, Ordering::Relaxed);
        let (runtime, accounting) = match read {
            Ok(read) => read,
            Err(missing) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                if missing == Missing::Gone {
                    self.targets.forget(program);
                }
                return Answer::absent(NO_PID);
            }
        };
        let mut body = Vec::new();
        match metrics::write(&mut body, &runtime, accounting.as_ref()) {
            Ok(()) => Answer { status: StatusCode::OK, kind: metrics::CONTENT_TYPE, body },
            Err(_) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "this request failed"),
        }
    }

    fn own_metrics(&self) -> Answer {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let server = ServerMetrics {
            programs: self.targets.count() as u64,
            requests: count(&self.counters.requests),
            refused: count(&self.counters.refused),
            readings: count(&self.counters.readings),
            failed: count(&self.counters.failed),
            reading_ns: count(&self.counters.reading_ns),
        };
        let mut body = Vec::new();
        match metrics::write_server(&mut body, &server) {
            Ok(()) => Answer { status: StatusCode::OK, kind: metrics::CONTENT_TYPE, body },
            Err(_) => Answer::text(StatusCode::INTERNAL_SERVER_ERROR, "this request failed"),
        }
    }

    /// Who asked for what, and what came of it. What was asked for is somebody else's text; a query may hold a
    /// secret, and is left out.
    fn log(&self, peer: &Peer, method: &Method, path: &str, status: StatusCode, started: Instant) {
        let ms = started.elapsed().as_secs_f64() * 1e3;
        let line = format!("{} {method} {} {} {ms:.1} ms\n", peer.name, clean(path), status.as_u16());
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written is no reason not to answer.
        let _ = log.write_all(line.as_bytes()).and_then(|()| log.flush());
    }
}

fn response(answer: Answer, method: &Method) -> Response<Body> {
    let length = answer.body.len();
    let body = if method == Method::HEAD { Body::empty() } else { Body::from(answer.body) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("content-length", HeaderValue::from(length));
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

const NO_PID: &str = "no program that is served has this pid";

const INDEX: &str = "\
gospy serves what it reads of Go programs from outside.

/sd                   the programs, for Prometheus (http_sd_configs)
/pid/PID/metrics      metrics of a program
/name/NAME/metrics    the same by name
/metrics              metrics of this server";
