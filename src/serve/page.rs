//! The page, and what it asks for.
//!
//! A page that is open gets changes as they are seen: see `feeds`.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::answer::{Answer, CSS, HTML, JAVASCRIPT, JSON};
use super::call::Call;
use super::feeds::{Feeds, Listener};
use super::places::Places;
use super::targets::{Missing, Program, Targets};
use crate::analysis::{Filter, Index};
use crate::capture::CaptureOptions;
use crate::model::Snapshot;
use crate::report::page::{self, PageOptions};

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

/// The pause between two readings for a page.
const PAUSE: Duration = Duration::from_secs(1);

/// Changes of programs, for pages that are open.
pub(super) struct Pages(Feeds<Vec<u8>>);

impl Pages {
    /// With a share in the streams that there may be.
    pub(super) fn new(streams: Arc<Places>) -> Self {
        Self(Feeds::new(streams))
    }

    /// Changes of a program as they are seen.
    ///
    /// # Errors
    /// 400 for a filter that is none, 503 when there are too many streams, 404 when the program cannot be read.
    pub(super) fn live(&self, targets: &Targets, program: Arc<Program>, call: &Call) -> Result<Answer, Answer> {
        let options = options(call)?;
        let listener = Listener {
            asked: options.filter.as_ref().map(|(text, _)| text.clone()).unwrap_or_default(),
            pause: PAUSE,
            read: move |program: &Program| {
                let snapshot = program.snapshot(CaptureOptions { keep_stacks: true, ..CAPTURE })?;
                let mut tick = Vec::new();
                page::write_tick(&mut tick, &Index::new(&snapshot), &options).map_err(|_| Missing::Unreadable)?;
                Ok(tick)
            },
            write: |tick: Arc<Vec<u8>>, out: &mut dyn Write| {
                out.write_all(b"event: tick\ndata: ")?;
                out.write_all(&tick)?;
                out.write_all(b"\n\n")?;
                Ok(true)
            },
        };
        self.0.listen(targets, program, listener)
    }
}
