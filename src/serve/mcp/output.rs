//! Standard output, and whether anybody still reads it: a client that closes only that end would otherwise be
//! answered for as long as it asks, or, if it has died and left its other end to a child, for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::sync::Notify;

/// A writer that says when it cannot be written to any more.
pub(super) struct Output<W> {
    inner: W,
    failed: Arc<Notify>,
}

impl<W> Output<W> {
    /// Gives what is notified of the first error, too.
    pub(super) fn new(inner: W) -> (Self, Arc<Notify>) {
        let failed = Arc::new(Notify::new());
        (Self { inner, failed: Arc::clone(&failed) }, failed)
    }

    fn note<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = done {
            self.failed.notify_one();
        }
        done
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Output<W> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_flush(context);
        self.note(done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
