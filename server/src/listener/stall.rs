//! Noticing a peer that makes no progress.
//!
//! Only waiting counts: a timer starts when an operation cannot go on and is forgotten as soon as it does, so that time
//! which the server itself spends is never held against the client.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The peer made no progress for the whole limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no progress for {} seconds", after.as_secs())]
pub(super) struct Stalled {
    /// The limit.
    pub(super) after: Duration,
}

/// Measures one wait after another.
#[derive(Debug)]
pub(super) struct StallTimer {
    limit: Duration,
    /// Kept from one wait to the next, because a large answer waits often.
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl StallTimer {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, waiting: false }
    }

    /// Passes on what an operation's poll gave, or `Stalled` when it has been pending for the whole limit.
    pub(super) fn guard<T>(&mut self, cx: &mut Context<'_>, polled: Poll<T>) -> Poll<Result<T, Stalled>> {
        if let Poll::Ready(value) = polled {
            self.waiting = false;
            return Poll::Ready(Ok(value));
        }
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            sleep.as_mut().reset(Instant::now() + limit);
        }
        sleep.as_mut().poll(cx).map(|()| Err(Stalled { after: limit }))
    }
}

/// A byte stream whose writes fail when the other end takes nothing for the whole limit.
#[derive(Debug)]
pub(super) struct StallGuard<Io> {
    io: Io,
    timer: StallTimer,
}

impl<Io> StallGuard<Io> {
    pub(super) fn new(io: Io, limit: Duration) -> Self {
        Self { io, timer: StallTimer::new(limit) }
    }

    fn guard<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.timer.guard(cx, polled).map(|guarded| match guarded {
            Ok(result) => result,
            Err(stalled) => Err(io::Error::new(io::ErrorKind::TimedOut, stalled)),
        })
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for StallGuard<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for StallGuard<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.guard(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.guard(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.guard(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.guard(cx, polled)
    }
}
