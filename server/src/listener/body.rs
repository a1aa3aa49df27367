//! A request's body that does not wait for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::stall::{StallTimer, Stalled};

/// Why a body ended before its end. None of it is the server's fault.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client sent nothing for the time that it may pause.
    #[error("the client sent nothing for {} seconds", after.as_secs())]
    Timeout {
        /// That time.
        after: Duration,
    },
    /// The connection broke, or what came over it is not a body.
    #[error("the body could not be read: {0}")]
    Connection(#[from] hyper::Error),
}

/// A body whose reader gets [`BodyError::Timeout`] when the next piece does not come in time. Only time in which somebody
/// waits for that piece counts.
#[derive(Debug)]
pub struct RequestBody<B = Incoming> {
    inner: B,
    timer: StallTimer,
    failed: bool,
}

impl<B> RequestBody<B> {
    /// Wraps a body.
    pub fn new(inner: B, progress_timeout: Duration) -> Self {
        Self { inner, timer: StallTimer::new(progress_timeout), failed: false }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    BodyError: From<B::Error>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let frame = match std::task::ready!(self.timer.guard(cx, polled)) {
            Ok(None) => None,
            Ok(Some(Ok(frame))) => Some(Ok(frame)),
            Ok(Some(Err(error))) => Some(Err(error.into())),
            Err(Stalled { after }) => Some(Err(BodyError::Timeout { after })),
        };
        self.failed = matches!(frame, Some(Err(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        // Not when it failed: a reader that asks this must not take a broken body for a complete one.
        !self.failed && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
