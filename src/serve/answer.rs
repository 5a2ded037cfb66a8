//! An answer before it is one of HTTP: whole, or written while it is sent.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Frame;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::report::metrics;

/// Plain text.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A document.
pub(super) const JSON: &str = "application/json";
/// The page and its parts.
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// Likewise.
pub(super) const CSS: &str = "text/css; charset=utf-8";
/// Likewise.
pub(super) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// Changes as they come.
pub(super) const EVENTS: &str = "text/event-stream";
/// What is gzipped for the way.
const PACKED: [&str; 6] = [TEXT, JSON, HTML, CSS, JAVASCRIPT, metrics::CONTENT_TYPE];

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    kind: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    content: Content,
}

enum Content {
    Whole(Vec<u8>),
    Streamed(Writing),
}

/// What writes a body.
type Writing = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

impl Answer {
    /// 200, with a body of a media type.
    pub(super) fn ok(kind: &'static str, body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, kind, headers: Vec::new(), content: Content::Whole(body) }
    }

    /// 200, with a body that `write` makes; or 500, should that fail, which memory does not.
    pub(super) fn written(kind: &'static str, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Self {
        let mut body = Vec::new();
        match write(&mut body) {
            Ok(()) => Self::ok(kind, body),
            Err(_) => Self::failed(),
        }
    }

    /// 200, with a body that `write` makes while it is sent. An error cuts the connection, so that the caller sees
    /// that something is missing.
    pub(super) fn streamed(
        kind: &'static str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Self {
        Self { content: Content::Streamed(Box::new(write)), ..Self::ok(kind, Vec::new()) }
    }

    /// A line of text.
    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self { status, ..Self::ok(TEXT, text.into_bytes()) }
    }

    /// 404, and why.
    pub(super) fn absent(why: &str) -> Self {
        Self::text(StatusCode::NOT_FOUND, why)
    }

    /// 500, for what is this server's own fault.
    pub(super) fn failed() -> Self {
        Self::text(StatusCode::INTERNAL_SERVER_ERROR, "this request failed")
    }

    /// With another header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Gzipped for the way, where the caller takes that and it is worth it: profiles are gzipped already, and events are
    /// short, and wanted at once.
    pub(super) fn packed_for(mut self, headers: &HeaderMap) -> Self {
        /// Less is sent as it is, bytes.
        const LEAST: usize = 1024;
        if !PACKED.contains(&self.kind) || !takes_gzip(headers) {
            return self;
        }
        self.content = match self.content {
            Content::Whole(body) if body.len() < LEAST => return Self { content: Content::Whole(body), ..self },
            Content::Whole(body) => {
                let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
                match packer.write_all(&body).and_then(|()| packer.finish()) {
                    Ok(packed) => Content::Whole(packed),
                    // Memory does not fail.
                    Err(_) => return Self { content: Content::Whole(body), ..self },
                }
            }
            Content::Streamed(write) => Content::Streamed(Box::new(move |out| {
                let mut packer = GzEncoder::new(out, Compression::fast());
                // Without its end, if that fails: it is cut off.
                write(&mut packer)?;
                packer.finish().map(drop)
            })),
        };
        self.with(CONTENT_ENCODING, HeaderValue::from_static("gzip"))
            .with(VARY, HeaderValue::from_static("accept-encoding"))
    }

    /// The text of one that is not streamed.
    pub(super) fn whole_text(&self) -> String {
        match &self.content {
            Content::Whole(body) => String::from_utf8_lossy(body).into_owned(),
            Content::Streamed(_) => String::new(),
        }
    }

    /// As HTTP. What is streamed is written on a thread of its own, and not at all where only the head is asked for.
    pub(super) fn into_response(self, method: &Method) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        headers.extend(self.headers);
        let is_head = method == Method::HEAD;
        match self.content {
            Content::Whole(body) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                if !is_head {
                    *response.body_mut() = Body::from(body);
                }
            }
            Content::Streamed(write) if !is_head => {
                let (sender, receiver) = mpsc::channel(PIECES);
                tokio::task::spawn_blocking(move || {
                    let mut outlet = Outlet { sender, piece: Vec::new() };
                    // A failure cuts the connection, and needs no other report.
                    let _ = write(&mut outlet).and_then(|()| outlet.flush()).and_then(|()| outlet.send(Piece::End));
                });
                *response.body_mut() = Body::new(Piped { receiver, is_over: false });
            }
            Content::Streamed(_) => {}
        }
        response
    }
}

/// Whether a caller takes gzip (RFC 9110, 12.5.3).
fn takes_gzip(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refuses = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse().ok()).is_some_and(|q: f32| q <= 0.0);
        is_gzip && !parts.any(refuses)
    })
}

/// Bytes that are sent together.
const PIECE: usize = 64 * 1024;
/// Pieces that wait to be sent.
const PIECES: usize = 4;
/// How long a caller may take to read a piece.
const PATIENCE: Duration = Duration::from_secs(30);

/// A part of a streamed answer.
enum Piece {
    Bytes(Bytes),
    End,
}

/// Where a streamed answer is written. It blocks while the caller does not read, and fails once that takes too long
/// or the caller has gone.
struct Outlet {
    sender: mpsc::Sender<Piece>,
    piece: Vec<u8>,
}

impl Outlet {
    fn send(&self, piece: Piece) -> io::Result<()> {
        let sent = Handle::current().block_on(async { tokio::time::timeout(PATIENCE, self.sender.send(piece)).await });
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.piece);
        self.send(Piece::Bytes(piece.into()))
    }
}

/// The other end of an outlet. One that is dropped before the end, by an error or a panic, is an error here.
struct Piped {
    receiver: mpsc::Receiver<Piece>,
    is_over: bool,
}

impl hyper::body::Body for Piped {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.receiver.poll_recv(context));
        Poll::Ready(match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => {
                self.is_over = true;
                None
            }
            None => {
                self.is_over = true;
                Some(Err(io::ErrorKind::UnexpectedEof.into()))
            }
        })
    }
}
