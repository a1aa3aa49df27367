//! The accept loop: from a listening socket to one call of a service for each request of HTTP/1, and of HTTP/2 (`http2`) if that is on.
//!
//! It bounds what a client can hold without asking for anything: the number of connections, TLS handshakes ([`tls`]), the size of a request's head,
//! and the time to send a head ([`ConnectionLimits::header_read_timeout`], which also ends idle connections), to go on with a
//! body ([`RequestBody`]) and to go on receiving an answer (`stall`). At a stop it accepts nothing more, lets the requests
//! in flight finish for a grace period and aborts the rest.
//!
//! What a request means is the service's business; so are limits on requests and bodies. Connections are generic over the
//! byte stream, below which there may be TLS.

mod body;
mod http2;
mod stall;
#[cfg(test)]
mod tests;
pub mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use body::{BodyError, RequestBody};
use stall::StallGuard;
use tls::Tls;

/// A request's line and headers. S3 allows 8 KiB of headers and 1 KiB of key, which its escapes may treble in the line.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// User metadata may be 2 KiB of very short headers.
const HEADERS_MAX: usize = 256;

/// What one connection buffers in each direction: two of the pieces that bodies are handled in.
const CONNECTION_BUFFER_BYTES: usize = 128 << 10;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: u32 = 1024;

/// The pause after a failed accept, most often for want of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Connections beyond the limit that are being told so; further ones are closed without a word.
const REFUSALS_MAX: usize = 64;

/// How long a refused client may take to read the refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

const REFUSAL_BODY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
    <Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

/// What a connection may hold, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open connections.
    pub connections_max: usize,
    /// From when a connection is ready for a request until its head has arrived.
    pub header_read_timeout: Duration,
    /// The longest pause in a request's body.
    pub body_progress_timeout: Duration,
    /// The longest time in which a client takes nothing of an answer.
    pub write_progress_timeout: Duration,
}

impl ConnectionLimits {
    /// The request, whose body must go on coming.
    fn watched(&self, request: Request<Incoming>) -> Request<RequestBody> {
        in_origin_form(request).map(|body| RequestBody::new(body, self.body_progress_timeout))
    }

    /// The connection, which must go on taking what is written.
    fn guarded<Io>(&self, io: Io) -> TokioIo<StallGuard<Io>> {
        TokioIo::new(StallGuard::new(io, self.write_progress_timeout))
    }
}

/// The request as most of HTTP/1 has it, which signatures and hosts go by: the path in its line, the authority in `Host`, whatever stood
/// there (RFC 9112, section 3.2.2, of a line with a whole URL; RFC 9113, section 8.3.1, of HTTP/2).
fn in_origin_form<B>(request: Request<B>) -> Request<B> {
    let (mut parts, body) = request.into_parts();
    if let Some(host) = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        parts.headers.insert(HOST, host);
    }
    if let Some(path) = parts.uri.path_and_query().cloned() {
        parts.uri = Uri::from(path);
    }
    Request::from_parts(parts, body)
}

/// What is known of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionInfo {
    /// The client: the other end of the socket, or whom a trusted proxy saw there. The port is 0 if it is not known.
    pub remote: SocketAddr,
    /// The client's connection is encrypted.
    pub secure: bool,
    /// The version of TLS that it is encrypted with, if that is known.
    pub tls_version: Option<&'static str>,
}

/// What the listener counts.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    /// Open connections.
    pub open: Gauge,
    /// Connections refused because of the limit.
    pub refused: Counter,
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every request in flight was answered.
    Drained,
    /// The grace period ended; this many connections were aborted.
    Aborted(usize),
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    limits: ConnectionLimits,
    metrics: ConnectionMetrics,
    tls: Option<Arc<Tls>>,
    http2: bool,
}

impl Listener {
    /// Binds the address; clients can connect from now on, and are answered when [`Self::serve`] runs.
    pub fn bind(address: SocketAddr, limits: ConnectionLimits, metrics: ConnectionMetrics) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the connections of the previous run to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { tcp: socket.listen(BACKLOG)?, limits, metrics, tls: None, http2: false })
    }

    /// With TLS on every connection.
    #[must_use]
    pub fn with_tls(mut self, tls: Arc<Tls>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// With HTTP/2 for clients that ask for it. Below TLS that is negotiated, as [`Tls::load`] was told.
    #[must_use]
    pub fn with_http2(mut self, http2: bool) -> Self {
        self.http2 = http2;
        self
    }

    /// The bound address, with the port that the system chose if none was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers requests with `service` until `stop`, and then for at most `grace` those that are in flight.
    pub async fn serve<S, F, B>(self, service: S, stop: CancellationToken, grace: Duration) -> Stopped
    where
        S: Fn(Request<RequestBody>, ConnectionInfo) -> F + Clone + Send + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut connections = JoinSet::new();
        let (streams, no_stream) = mpsc::channel(1);
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        loop {
            let accepted = tokio::select! {
                // In this order, so that a connection that has ended never counts against the limit.
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    report_panic(ended);
                    continue;
                }
                accepted = self.tcp.accept() => accepted,
            };
            let (stream, remote) = match accepted {
                // A client that speaks IPv4 to an IPv6 socket is known by its IPv4 address.
                Ok((stream, remote)) => (stream, SocketAddr::new(remote.ip().to_canonical(), remote.port())),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            if connections.len() >= self.limits.connections_max {
                self.metrics.refused.inc();
                // Whoever expects TLS could not read the refusal.
                let permit = Arc::clone(&refusals).try_acquire_owned().ok().filter(|_| self.tls.is_none());
                if let Some(permit) = permit {
                    let (http2, stop) = (self.http2, stop.clone());
                    tokio::spawn(async move {
                        refuse(stream, http2, stop).await;
                        drop(permit);
                    });
                }
                continue;
            }
            // Otherwise the last piece of each small answer waits for the client's delayed acknowledgement: 40 ms.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, %remote, "the connection ended before it was served");
                continue;
            }
            let open = OpenConnection::new(&self.metrics.open);
            let (limits, service, stop) = (self.limits, service.clone(), stop.clone());
            let (tls, refused, http2) = (self.tls.clone(), self.metrics.refused.clone(), self.http2);
            let streams = streams.clone();
            connections.spawn(async move {
                let info =
                    |tls_version: Option<_>| ConnectionInfo { remote, secure: tls_version.is_some(), tls_version };
                match tls {
                    None if http2 => match http2::is_begun(&stream, limits.header_read_timeout, &stop).await {
                        Some(true) => {
                            http2::serve_connection(stream, info(None), limits, service, stop, streams).await;
                        }
                        Some(false) => serve_connection(stream, info(None), limits, service, stop).await,
                        None => {}
                    },
                    None => serve_connection(stream, info(None), limits, service, stop).await,
                    Some(tls) => match tls.accept(stream).await {
                        Some(stream) => {
                            let info = info(Some(tls::version(&stream)));
                            if tls::is_for_http2(&stream) {
                                http2::serve_connection(stream, info, limits, service, stop, streams).await;
                            } else {
                                serve_connection(stream, info, limits, service, stop).await;
                            }
                        }
                        None => drop(refused.inc()),
                    },
                }
                drop(open);
            });
        }
        drop(self.tcp);
        drop(streams);
        drain(connections, no_stream, grace).await
    }
}

/// Serves one connection until it ends; after `stop`, until the request in flight is answered.
async fn serve_connection<Io, S, F, B>(
    io: Io,
    info: ConnectionInfo,
    limits: ConnectionLimits,
    service: S,
    stop: CancellationToken,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<RequestBody>, ConnectionInfo) -> F,
    F: Future<Output = Response<B>>,
    B: http_body::Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = service_fn(move |request| {
        let answer = service(limits.watched(request), info);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let io = limits.guarded(io);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .half_close(true)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    log_end(ended, info.remote);
}

fn log_end(ended: hyper::Result<()>, remote: SocketAddr) {
    if let Err(error) = ended {
        tracing::debug!(%error, %remote, "a connection ended early");
    }
}

/// `no_stream` ends with the last of the streams of HTTP/2, which are tasks of their own that end with their connections. When this
/// returns, none runs.
async fn drain(mut connections: JoinSet<()>, mut no_stream: mpsc::Receiver<Infallible>, grace: Duration) -> Stopped {
    let all_ended = async {
        while let Some(ended) = connections.join_next().await {
            report_panic(ended);
        }
        no_stream.recv().await;
    };
    if tokio::time::timeout(grace, all_ended).await.is_ok() {
        return Stopped::Drained;
    }
    let aborted = connections.len();
    connections.shutdown().await;
    no_stream.recv().await;
    Stopped::Aborted(aborted)
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// Tells a client beyond the limit to come back later. `http2`: it may speak that.
async fn refuse(mut stream: TcpStream, http2: bool, stop: CancellationToken) {
    let length = REFUSAL_BODY.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{REFUSAL_BODY}"
    );
    let refusal = async {
        let is_http2 = http2 && http2::is_begun(&stream, REFUSAL_TIMEOUT / 2, &stop).await == Some(true);
        stream.write_all(if is_http2 { http2::REFUSAL } else { answer.as_bytes() }).await?;
        stream.shutdown().await?;
        // Closing a socket with unread bytes resets it, and the client may then never see the answer.
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the client saw it is its own affair.
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refusal).await;
}

/// Counts a connection for as long as its task lives, also when the task is aborted.
struct OpenConnection(Gauge);

impl OpenConnection {
    fn new(open: &Gauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
