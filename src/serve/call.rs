//! A request that may go on, as routes see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Query;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::answer::Answer;

/// A request that may go on.
pub(super) struct Call {
    /// Its method.
    pub(super) method: Method,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body; only requests by POST have one.
    pub(super) body: Vec<u8>,
    uri: Uri,
    abandoned: Abandoned,
}

/// Whether nobody waits for an answer any more.
#[derive(Debug)]
pub(super) struct Abandoned(Arc<AtomicBool>);

/// Held by the connection while it waits for the answer.
pub(super) struct Waiting(Arc<AtomicBool>);

impl Abandoned {
    /// For an answer that is waited for until the other one is dropped.
    pub(super) fn new() -> (Self, Waiting) {
        let is_set = Arc::<AtomicBool>::default();
        (Self(Arc::clone(&is_set)), Waiting(is_set))
    }

    /// Whether it is so.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Call {
    /// A request, and the flag that is set once its caller no longer waits for the answer.
    pub(super) fn new(parts: Parts, body: Vec<u8>) -> (Self, Waiting) {
        let (abandoned, waiting) = Abandoned::new();
        (Self { method: parts.method, headers: parts.headers, body, uri: parts.uri, abandoned }, waiting)
    }

    /// The path, as it came.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The elements of the path, without what encodes them; one that is not UTF-8 is none that exists.
    pub(super) fn elements(&self) -> Vec<String> {
        let decoded = |element| percent_decode_str(element).decode_utf8_lossy().into_owned();
        self.path().split('/').skip(1).map(decoded).collect()
    }

    /// What follows the path, as it came.
    pub(super) fn raw_query(&self) -> &str {
        self.uri.query().unwrap_or_default()
    }

    /// The parameters in the URL.
    ///
    /// # Errors
    /// 400, when they are not what is expected.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        let query = Query::try_from_uri(&self.uri);
        query.map(|Query(query)| query).map_err(|error| Answer::text(StatusCode::BAD_REQUEST, error.body_text()))
    }

    /// The name and the port by which the caller reached this server.
    pub(super) fn server(&self) -> &str {
        self.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default()
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.is_set()
    }
}
