//! The page, and what it asks for.
//!
//! A page that is open is told of changes as they are seen (Server-Sent Events). All that look at one program share
//! its readings; with nobody looking, nothing is read.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use super::answer::{Answer, Outlet};
use super::call::Call;
use super::places::Places;
use super::targets::{Missing, Program};
use crate::analysis::{Filter, Index};
use crate::capture::CaptureOptions;
use crate::model::Snapshot;
use crate::report::page::{self, PageOptions};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Scripts, styles and data come from this server only, and no other page may show this one in a frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Whether a browser asks, and not a program.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

/// The page itself.
pub(super) fn html() -> Answer {
    asset(HTML, page::HTML).with(CONTENT_SECURITY_POLICY, POLICY)
}

/// Its script.
pub(super) fn script() -> Answer {
    asset(JAVASCRIPT, page::SCRIPT)
}

/// Its style.
pub(super) fn style() -> Answer {
    asset(CSS, page::STYLE)
}

fn asset(kind: &'static str, text: &str) -> Answer {
    Answer::ok(kind, text.into()).with(REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
}

/// What the page needs of a snapshot.
const CAPTURE: CaptureOptions = CaptureOptions {
    stacks: true,
    dead: false,
    waits: true,
    c_frames: false,
    system_calls: true,
    traceback: false,
    values: false,
    strings: false,
    keep_stacks: false,
    freeze: None,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    filter: Option<String>,
}

fn options(call: &Call) -> Result<PageOptions, Answer> {
    let Query { filter } = call.query()?;
    let parsed = filter.filter(|text| !text.trim().is_empty()).map(|text| match Filter::parse(&text) {
        Ok(filter) => Ok((text, filter)),
        Err(error) => Err(Answer::text(StatusCode::BAD_REQUEST, error.to_string())),
    });
    Ok(PageOptions { filter: parsed.transpose()?, ..PageOptions::default() })
}

/// What it shows of a program.
pub(super) fn document(call: &Call, read: impl FnOnce(CaptureOptions) -> Result<Arc<Snapshot>, Answer>) -> Answer {
    let document = || {
        let options = options(call)?;
        let snapshot = read(CAPTURE)?;
        Ok(Answer::written(JSON, |body| page::write_document(body, &Index::new(&snapshot), &options)))
    };
    document().unwrap_or_else(|answer: Answer| answer)
}

/// Pages that are open at the same time.
pub(super) const PAGES: usize = 16;
/// The shortest pause between two readings for a page.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause is that many times as long as reading and writing takes.
const SHARE: u32 = 20;
/// The longest pause; something is written at least so often, so that a page that has gone is noticed.
const LONGEST: Duration = Duration::from_secs(15);
/// How long a page is told of changes before it has to ask again, which browsers do by themselves.
const LIFE: Duration = Duration::from_secs(300);

/// Changes of a program as they are seen.
pub(super) fn live(call: &Call, pages: &Places, program: Arc<Program>) -> Answer {
    let options = match options(call) {
        Ok(options) => options,
        Err(answer) => return answer,
    };
    let Some(place) = pages.take() else {
        return Answer::text(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open");
    };
    let answer = Answer::streamed(EVENTS, move |out| {
        let _place = place;
        watch(out, &program, &options)
    });
    answer.with(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"))
}

fn watch(out: &mut Outlet, program: &Program, options: &PageOptions) -> io::Result<()> {
    let opened = Instant::now();
    while opened.elapsed() < LIFE {
        let started = Instant::now();
        match program.snapshot(CaptureOptions { keep_stacks: true, ..CAPTURE }) {
            Ok(snapshot) => {
                out.write_all(b"event: tick\ndata: ")?;
                page::write_tick(out, &Index::new(&snapshot), options)?;
                out.write_all(b"\n\n")?;
                out.flush()?;
            }
            Err(Missing::Gone) => {
                out.write_all(b"event: end\ndata: {}\n\n")?;
                return out.flush();
            }
            Err(Missing::Unreadable) => {
                out.write_all(b": not readable now\n\n")?;
                out.flush()?;
            }
        }
        sleep((started.elapsed() * SHARE).clamp(PAUSE, LONGEST));
    }
    Ok(())
}
