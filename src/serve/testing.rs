//! A server of one program that does not exist, over connections that are bytes in memory: for fuzzing.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::access::{Access, Peer};
use super::listen::converse;
use super::routes::App;
use super::targets::{OpenTarget, Targets};
use crate::inspect::processes::Process;

/// Most bytes of an answer that are asked for.
const MOST: usize = 16 << 20;

/// The server.
pub struct MadeUpServer(Arc<App>);

impl MadeUpServer {
    /// A server of a program that has the pid `pid`, and is read from what `open` gives.
    #[must_use]
    pub fn new(pid: i32, open: OpenTarget) -> Self {
        let process = Process { pid, start_ticks: 1, name: "made-up".to_owned(), ..Process::default() };
        let commands = Some(crate::commands::served::run as super::RunCommand);
        let targets = Targets::made_up(process, open);
        Self(Arc::new(App::new(Access::local(), targets, commands, Box::new(io::sink()))))
    }

    /// Answers what `bytes` ask over one connection; how many requests were answered, and with how many bytes. Of an
    /// answer without an end, the beginning counts.
    pub async fn answer(&self, bytes: &[u8]) -> (usize, usize) {
        let state = Arc::new(State::default());
        let stream = Stream { rest: bytes.to_vec(), state: Arc::clone(&state) };
        let peer = &Peer::unix(Some(nix::unistd::geteuid().as_raw()));
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (app, state) = (Arc::clone(&self.0), Arc::clone(&state));
            async move {
                state.running.fetch_add(1, Ordering::Relaxed);
                let request = request.map(|body| Body::new(UntilTheEnd { body, state: Arc::clone(&state) }));
                let answer = beginning(app.answer(peer, request).await).await;
                state.bytes.fetch_add(answer.body().size_hint().lower().try_into().unwrap_or(0), Ordering::Relaxed);
                state.answered.fetch_add(1, Ordering::Relaxed);
                state.running.fetch_sub(1, Ordering::Relaxed);
                Ok::<_, Infallible>(answer)
            }
        });
        let mut connection = pin!(converse(stream, service, Duration::from_secs(3600)));
        poll_fn(|context| match connection.as_mut().poll(context) {
            Poll::Pending if state.is_over() => Poll::Ready(()),
            polled => polled,
        })
        .await;
        (state.answered.load(Ordering::Relaxed), state.bytes.load(Ordering::Relaxed))
    }
}

/// The answer with a body that is whole, or the first part of one that goes on for ever.
async fn beginning(answer: Response<Body>) -> Response<Body> {
    let (parts, mut body) = answer.into_parts();
    let is_stream = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event"));
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        bytes.extend(frame.into_data().unwrap_or_default());
        if is_stream || bytes.len() > MOST {
            break;
        }
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// How far a connection is.
#[derive(Default)]
struct State {
    /// Whether all bytes have been taken.
    taken: AtomicBool,
    /// Requests that are being answered.
    running: AtomicUsize,
    answered: AtomicUsize,
    bytes: AtomicUsize,
}

impl State {
    fn is_over(&self) -> bool {
        self.taken.load(Ordering::Relaxed) && self.running.load(Ordering::Relaxed) == 0
    }
}

/// The caller's end: says what it has to say, waits for ever, and takes every answer.
struct Stream {
    rest: Vec<u8>,
    state: Arc<State>,
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            self.state.taken.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        let n = buf.remaining().min(self.rest.len());
        let rest = self.rest.split_off(n);
        buf.put_slice(&self.rest);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A body that breaks off when the caller has nothing more to say, so that nobody waits for the rest of it.
struct UntilTheEnd {
    body: Incoming,
    state: Arc<State>,
}

impl HttpBody for UntilTheEnd {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.state.taken.load(Ordering::Relaxed) => {
                Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())))
            }
            polled => polled.map_err(io::Error::other),
        }
    }
}
