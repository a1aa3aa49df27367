//! HTTP/2 connections (RFC 9113), where a client asks for it: by ALPN below TLS, by its first bytes without.
//!
//! What a connection of HTTP/1 is bounded by, each stream here is: the time of its body, and the time in which a client takes
//! nothing of its answer, which ends the stream alone. Beyond that the connection is bounded: in streams at once, in what it may
//! send before it is read, in the list of a request's headers, in time without a stream, and in streams that are given up
//! before their answer begins. Whoever opens streams and resets them, again and again, is cut off ([`ABANDONED_MAX`]).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{ConnectionInfo, ConnectionLimits, HEAD_BYTES_MAX, RequestBody, log_end};

/// Requests that a client may have under way on one connection. Fewer than 100 should not be (RFC 9113, section 6.5.2): clients
/// begin so many before they know.
const STREAMS_MAX: u32 = 128;

/// What a client may send of one body, and of all bodies of a connection, before it is read.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;

/// What is kept of one answer until the client takes it.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Streams that were reset before they were looked at, and that are still remembered; more end the connection.
const RESETS_PENDING_MAX: usize = 20;

/// Streams that the client got wrong; more end the connection.
const STREAM_ERRORS_MAX: usize = 128;

/// Streams that the client gave up before their answers began: those beyond the answered ones, and so many, end the
/// connection.
const ABANDONED_MAX: u32 = 100;

/// The protocol's name in ALPN.
pub(super) const ALPN: &[u8] = b"h2";

/// How a client begins that knows that the server speaks it. No method of HTTP/1 has this name.
const PREFACE: &[u8] = b"PRI";

/// What a connection beyond the limit is told: settings, with which every connection begins, and that no stream was looked at, so that
/// the client goes away and may come again (`GOAWAY` with `ENHANCE_YOUR_CALM`; RFC 9113, sections 6.8 and 7).
#[rustfmt::skip]
pub(super) const REFUSAL: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0,
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11,
];

/// The pause between two looks at a beginning that may become that.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Whether a connection begins with HTTP/2; nothing is taken from it. None: it does not begin in time, or is not to any more.
pub(super) async fn is_begun(stream: &TcpStream, limit: Duration, stop: &CancellationToken) -> Option<bool> {
    let look = async {
        let mut begin = [0; PREFACE.len()];
        loop {
            let length = stream.peek(&mut begin).await.ok()?;
            if length == begin.len() || begin[..length] != PREFACE[..length] || length == 0 {
                return Some(begin[..length] == *PREFACE);
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::select! {
        begun = tokio::time::timeout(limit, look) => begun.ok()?,
        () = stop.cancelled() => None,
    }
}

/// Serves one connection until it ends; after `stop`, until the requests in flight are answered. Each of its streams, a task of its
/// own, holds `alive` until it ends.
pub(super) async fn serve_connection<Io, S, F, B>(
    io: Io,
    info: ConnectionInfo,
    limits: ConnectionLimits,
    service: S,
    stop: CancellationToken,
    alive: mpsc::Sender<Infallible>,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<RequestBody>, ConnectionInfo) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = service(limits.watched(request), info);
        async move {
            let mut response = answer.await;
            // It has no meaning here.
            response.headers_mut().remove(CONNECTION);
            let progress = PROGRESS.with(Arc::clone);
            Ok::<_, Infallible>(response.map(|body| Watched::new(body, progress)))
        }
    });
    let streams = Streams::new(limits.write_progress_timeout, alive);
    let _end_of_streams = streams.0.ended.clone().drop_guard();
    let io = limits.guarded(io);
    let connection = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(STREAM_ERRORS_MAX)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = streams.0.abandoned.cancelled() => {
            tracing::debug!(remote = %info.remote, "a client gave up too many requests");
            return;
        }
        () = streams.is_idle(limits.header_read_timeout) => {
            connection.as_mut().graceful_shutdown();
            // What it does not take of its last answers it may not hold for ever.
            match tokio::time::timeout(limits.write_progress_timeout, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    log_end(ended, info.remote);
}

tokio::task_local! {
    /// How far the answer of the stream is whose task this is.
    static PROGRESS: Arc<Progress>;
}

/// How far an answer is.
#[derive(Debug, Default)]
struct Progress(Mutex<Answer>);

#[derive(Debug, Default)]
struct Answer {
    /// The client has its head, and some of its body was asked for, or there is none.
    is_begun: bool,
    /// When a piece was given that the client has not made room for yet.
    given: Option<Instant>,
}

impl Progress {
    /// Returns when the client has made no room for so long.
    async fn is_stalled(&self, limit: Duration) {
        loop {
            let waited = self.0.lock().given.map(|given| given.elapsed()).unwrap_or_default();
            if waited >= limit {
                return;
            }
            tokio::time::sleep(limit - waited).await;
        }
    }
}

/// The body of an answer, which notes how far it is.
struct Watched<B> {
    body: Pin<Box<B>>,
    progress: Arc<Progress>,
}

impl<B: Body> Watched<B> {
    fn new(body: B, progress: Arc<Progress>) -> Self {
        progress.0.lock().is_begun |= body.is_end_stream();
        Self { body: Box::pin(body), progress }
    }
}

impl<B: Body> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    /// One piece is asked for before there is room for it, and kept; the next one when the client has made some room for that. So to
    /// be asked means that the client took something, and each stream keeps a piece and [`SEND_BUFFER_BYTES`] at most.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        *self.progress.0.lock() = Answer { is_begun: true, given: None };
        let polled = self.body.as_mut().poll_frame(cx);
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.progress.0.lock().given = Some(Instant::now());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The streams of one connection, each in a task of its own.
#[derive(Clone)]
struct Streams(Arc<Shared>);

struct Shared {
    /// Held as long as a stream runs.
    _alive: mpsc::Sender<Infallible>,
    write_progress_timeout: Duration,
    activity: watch::Sender<Activity>,
    /// Streams that may yet be given up.
    patience: Mutex<u32>,
    /// Too many were.
    abandoned: CancellationToken,
    /// The connection has ended.
    ended: CancellationToken,
}

#[derive(Clone, Copy, Default)]
struct Activity {
    running: usize,
    started: u64,
}

impl Streams {
    fn new(write_progress_timeout: Duration, alive: mpsc::Sender<Infallible>) -> Self {
        Self(Arc::new(Shared {
            _alive: alive,
            write_progress_timeout,
            activity: watch::Sender::default(),
            patience: Mutex::new(ABANDONED_MAX),
            abandoned: CancellationToken::new(),
            ended: CancellationToken::new(),
        }))
    }

    /// Returns when there was no stream for so long.
    async fn is_idle(&self, limit: Duration) {
        let mut activity = self.0.activity.subscribe();
        loop {
            let Ok(seen) = activity.wait_for(|now| now.running == 0).await.map(|now| now.started) else { return };
            let started = activity.wait_for(|now| now.started != seen);
            if tokio::time::timeout(limit, started).await.is_err() {
                return;
            }
        }
    }
}

impl Shared {
    fn count(&self, is_begun: bool) {
        let mut patience = self.patience.lock();
        *patience = if is_begun { (*patience + 1).min(ABANDONED_MAX) } else { patience.saturating_sub(1) };
        if *patience == 0 {
            self.abandoned.cancel();
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let shared = Arc::clone(&self.0);
        shared.activity.send_modify(|now| *now = Activity { running: now.running + 1, started: now.started + 1 });
        tokio::spawn(async move {
            let progress = Arc::new(Progress::default());
            tokio::select! {
                // Dropping a stream resets it.
                () = shared.ended.cancelled() => {}
                () = PROGRESS.scope(Arc::clone(&progress), stream) => {}
                () = progress.is_stalled(shared.write_progress_timeout) => {
                    tracing::debug!("a client takes nothing of an answer");
                }
            }
            let is_begun = progress.0.lock().is_begun;
            shared.count(is_begun);
            shared.activity.send_modify(|now| now.running -= 1);
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn whoever_gives_up_more_than_is_answered_is_cut_off() {
        let streams = Streams::new(Duration::from_secs(1), mpsc::channel(1).0);
        for _ in 0..1_000 {
            streams.0.count(false);
            streams.0.count(true);
        }
        assert!(!streams.0.abandoned.is_cancelled());
        for _ in 0..ABANDONED_MAX {
            streams.0.count(false);
        }
        assert!(streams.0.abandoned.is_cancelled());
    }

    #[tokio::test]
    async fn a_connection_is_idle_only_without_streams() {
        let streams = Streams::new(Duration::from_secs(100), mpsc::channel(1).0);
        let (limit, began) = (Duration::from_millis(300), Instant::now());
        let busy = streams.clone();
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                busy.execute(async {});
            }
            busy.execute(tokio::time::sleep(Duration::from_millis(500)));
        });
        streams.is_idle(limit).await;
        assert!(began.elapsed() >= Duration::from_millis(3 * 150 + 500 + 300), "{:?}", began.elapsed());
    }
}
