//! Paths and their answers.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page, for browsers; what there is to ask for, for others |
//! | `/page.js`, `/page.css` | parts of the page |
//! | `/link` | a link by which a browser gets in |
//! | `/enter` | what it leads to |
//! | `/sd` | the programs, for Prometheus' `http_sd_configs` |
//! | `/pid/PID/metrics` | metrics of a program, as its own Go client library would give them |
//! | `/pid/PID/debug/pprof/` | profiles of a program, as its own `net/http/pprof` would give them |
//! | `/name/NAME/metrics` | the same by name, where only one has it |
//! | `/pid/PID/page.json`, `/pid/PID/live` | what the page shows of a program, and its changes |
//! | `/all/metrics` | metrics of all programs, in one answer |
//! | `/metrics` | metrics of this server |
//! | `/mcp` | what assistants ask: see `mcp` |
//! | `/api/v1/…` | what the commands answer, as JSON: see `api` |
//!
//! What is not there, not chosen or not readable is 404: a caller learns nothing of other processes.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;

use super::access::{Access, ENTER, Peer};
use super::all_metrics;
use super::answer::{Answer, JSON};
use super::api::Api;
use super::call::{Call, Waiting};
use super::commands::RunCommand;
use super::discovery;
use super::feeds;
#[cfg(feature = "mcp")]
use super::mcp::Http as Mcp;
use super::page::{self, Pages};
use super::places::Places;
use super::profiles;
use super::program_metrics;
use super::targets::{Missing, Program, Targets};
use crate::inspect::processes::Process;
use crate::process::Target as _;
use crate::process::live::LiveTarget;
use crate::report::clean::clean;
use crate::report::metrics::{self, ServerMetrics};

/// Everything that requests share.
pub(super) struct App {
    access: Access,
    targets: Arc<Targets>,
    counters: Counters,
    pages: Pages,
    pub(super) recordings: Places,
    log: Mutex<Box<dyn Write + Send>>,
    host: String,
    api: Api,
    #[cfg(feature = "mcp")]
    mcp: Option<Mcp>,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    refused: AtomicU64,
}

impl App {
    pub(super) fn new(
        access: Access,
        targets: Targets,
        commands: Option<RunCommand>,
        log: Box<dyn Write + Send>,
    ) -> Self {
        let host = nix::sys::utsname::uname();
        let host = host.map(|host| host.nodename().to_string_lossy().into_owned()).unwrap_or_default();
        let (targets, streams) = (Arc::new(targets), feeds::streams());
        Self {
            #[cfg(feature = "mcp")]
            mcp: commands.map(|commands| Mcp::new(&targets, commands)),
            access,
            targets,
            counters: Counters::default(),
            pages: Pages::new(Arc::clone(&streams)),
            recordings: Places::new(profiles::RECORDINGS),
            log: Mutex::new(log),
            host,
            api: Api::new(commands, streams),
        }
    }

    /// Answers one request, and writes a line about it.
    pub(super) async fn answer(self: Arc<Self>, peer: &Peer, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let asked = Arc::new(Asked::new(peer, &parts));
        let method = parts.method.clone();
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let answer = match self.access.check(peer, &parts) {
            Err(refusal) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Answer::text(refusal.status, refusal.why)
            }
            Ok(()) => match text_of(body, &method).await {
                #[cfg(feature = "mcp")]
                Ok(body) if let Some(mcp) = self.mcp.as_ref().filter(|_| parts.uri.path() == MCP) => {
                    let response = mcp.answer(Request::from_parts(parts, Body::from(body))).await;
                    self.log(asked, response.status()).await;
                    return response;
                }
                Ok(body) => return self.found(asked, Call::new(parts, body)).await.into_response(&method),
                Err(refused) => refused,
            },
        };
        self.log(asked, answer.status).await;
        answer.into_response(&method)
    }

    /// Finds the answer and logs it, on another thread: reading a program blocks.
    async fn found(self: &Arc<Self>, asked: Arc<Asked>, (call, waiting): (Call, Waiting)) -> Answer {
        let (app, of) = (Arc::clone(self), Arc::clone(&asked));
        let found = tokio::task::spawn_blocking(move || {
            let answer = app.find(&call).packed_for(&call.headers);
            app.write_log(&of, answer.status);
            answer
        });
        let found = found.await;
        drop(waiting);
        match found {
            Ok(answer) => answer,
            Err(_) => {
                let failed = Answer::failed();
                self.log(asked, failed.status).await;
                failed
            }
        }
    }

    fn find(&self, call: &Call) -> Answer {
        let elements = call.elements();
        let elements: Vec<&str> = elements.iter().map(String::as_str).collect();
        match elements.as_slice() {
            [""] if page::wants_page(&call.headers) => page::html(),
            [""] => Answer::text(StatusCode::OK, INDEX),
            ["enter"] => self.enter(call),
            ["link"] => match self.access.browsers().link() {
                Some(code) => Answer::text(StatusCode::OK, format!("http://{}{ENTER}?code={code}", call.server())),
                None => Answer::failed(),
            },
            ["page.js"] => page::script(),
            ["page.css"] => page::style(),
            ["sd"] => {
                let programs = self.targets.all();
                let processes: Vec<&Process> = programs.iter().map(|program| &program.process).collect();
                let groups = discovery::groups(&processes, call.server(), &self.host);
                Answer::ok(JSON, serde_json::to_vec(&groups).unwrap_or_default())
            }
            ["metrics"] => self.own_metrics(),
            ["all", "metrics"] => all_metrics::answer(&self.targets, call, &self.host),
            ["api", "v1", path @ ..] => self.api.answer(&self.targets, call, path).unwrap_or_else(|answer| answer),
            [by @ ("pid" | "name"), which, path @ ..] => match self.targets.one(by, which) {
                Ok(program) => self.of_program(&program, call, path),
                Err(answer) => answer,
            },
            _ => Answer::absent(NOTHING),
        }
    }

    /// Exchanges a link for a cookie, and goes on to the page.
    fn enter(&self, call: &Call) -> Answer {
        #[derive(Deserialize)]
        struct Code {
            code: String,
        }
        match call.query().ok().and_then(|Code { code }| self.access.browsers().enter(&code)) {
            Some(cookie) => Answer::text(StatusCode::SEE_OTHER, "/")
                .with(LOCATION, HeaderValue::from_static("/"))
                .with(SET_COOKIE, cookie),
            None => Answer::text(StatusCode::UNAUTHORIZED, "this link is not good any more; /link gives another"),
        }
    }

    fn of_program(&self, program: &Arc<Program>, call: &Call, path: &[&str]) -> Answer {
        match path {
            ["metrics"] => program_metrics::answer(self, program, call),
            ["debug", path @ ..] => profiles::Profiler::new(self, program, call).answer(path),
            ["page.json"] => page::document(call, |options| self.read(program, |program| program.snapshot(options))),
            ["live"] => self.pages.live(&self.targets, Arc::clone(program), call).unwrap_or_else(|answer| answer),
            _ => Answer::absent(NOTHING),
        }
    }

    /// Reads a program; the answer to give where that fails.
    pub(super) fn read<T>(
        &self,
        program: &Arc<Program>,
        read: impl FnOnce(&Program) -> Result<T, Missing>,
    ) -> Result<T, Answer> {
        self.targets.found(program, read(program))
    }

    fn own_metrics(&self) -> Answer {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let readings = self.targets.readings();
        let server = ServerMetrics {
            programs: self.targets.count() as u64,
            requests: count(&self.counters.requests),
            refused: count(&self.counters.refused),
            readings: readings.all,
            failed: readings.failed,
            reading_ns: readings.ns,
        };
        let own = i32::try_from(std::process::id()).ok().and_then(|pid| LiveTarget::open(pid).ok());
        let accounting = own.and_then(|own| own.accounting().ok().flatten());
        Answer::written(metrics::CONTENT_TYPE, |body| metrics::write_server(body, &server, accounting.as_ref()))
    }

    /// Gives up what is kept for a moment only.
    pub(super) fn tidy(&self) {
        self.targets.tidy();
    }

    /// Writes to the log on another thread. A write to a full pipe blocks, and this thread has to see signals.
    async fn log(self: &Arc<Self>, asked: Arc<Asked>, status: StatusCode) {
        let app = Arc::clone(self);
        let _ = tokio::task::spawn_blocking(move || app.write_log(&asked, status)).await;
    }

    fn write_log(&self, asked: &Asked, status: StatusCode) {
        let line = asked.line(status);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written is no reason not to answer.
        let _ = log.write_all(line.as_bytes()).and_then(|()| log.flush());
    }
}

/// A request as the access log has it. The path is untrusted text. The query is left out, since it may hold a secret.
struct Asked {
    who: String,
    method: Method,
    path: String,
    started: Instant,
}

impl Asked {
    fn new(peer: &Peer, parts: &Parts) -> Self {
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        Self { who: peer.name.clone(), method, path, started: Instant::now() }
    }

    /// A line for the log, with what came of it.
    fn line(&self, status: StatusCode) -> String {
        let ms = self.started.elapsed().as_secs_f64() * 1e3;
        format!("{} {} {} {} {ms:.1} ms\n", self.who, self.method, clean(&self.path), status.as_u16())
    }
}

impl Targets {
    /// What was read of a program; the answer to give where that failed. A program that has ended is forgotten.
    ///
    /// # Errors
    /// 404.
    pub(super) fn found<T>(&self, program: &Arc<Program>, read: Result<T, Missing>) -> Result<T, Answer> {
        read.map_err(|missing| {
            if missing == Missing::Gone {
                self.forget(program);
            }
            Answer::absent(NO_PID)
        })
    }

    /// The program with that pid, or the only one with that name.
    ///
    /// # Errors
    /// 404, where there is none or several have the name.
    pub(super) fn one(&self, by: &str, which: &str) -> Result<Arc<Program>, Answer> {
        if by == "pid" {
            return which.parse().ok().and_then(|pid| self.with_pid(pid)).ok_or_else(|| Answer::absent(NO_PID));
        }
        match self.called(which).as_slice() {
            [program] => Ok(Arc::clone(program)),
            [] => Err(Answer::absent("no program that is served has this name")),
            _ => Err(Answer::absent("several programs have this name; ask by pid, as /sd lists them")),
        }
    }
}

/// Where assistants ask.
const MCP: &str = "/mcp";

/// Paths that are asked for by POST.
pub(super) fn takes_post(path: &str) -> bool {
    // `go tool pprof` asks for names so.
    path.ends_with("/debug/pprof/symbol") || (cfg!(feature = "mcp") && path == MCP)
}

/// Most bytes of a request's body.
const BODY: usize = 64 * 1024;
/// How long it may take.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The body of a request by POST; others have none that is looked at.
async fn text_of(body: Body, method: &Method) -> Result<Vec<u8>, Answer> {
    if method != Method::POST {
        return Ok(Vec::new());
    }
    match tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, BODY)).await {
        Ok(Ok(bytes)) => Ok(bytes.to_vec()),
        Ok(Err(_)) => Err(Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "a body has at most 64 KiB")),
        Err(_) => Err(Answer::text(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
    }
}

pub(super) const NOTHING: &str = "there is nothing here; / lists what there is";
pub(super) const NO_PID: &str = "no program that is served has this pid";

const INDEX: &str = "\
gospy serves what it reads of Go programs from outside.

/                     the page, in a browser
/sd                   the programs, for Prometheus (http_sd_configs)
/pid/PID/metrics      metrics of a program
/pid/PID/debug/pprof/ its profiles, for go tool pprof
/name/NAME/...        the same by name
/all/metrics          metrics of all programs, with their names as labels
/api/v1/openapi.json  what the commands answer, as JSON
/link                 a link for a browser, good for a minute
/metrics              metrics of this server";
