//! A client of HTTP/2, on one connection.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::Call;
use crate::tls::Authority;
use crate::wire::{EXCHANGE_TIMEOUT, Reply, Wire};

/// The body of a request.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A connection.
pub struct Http2 {
    sender: SendRequest<Body>,
    scheme: &'static str,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), hyper::Error>>,
}

impl Http2 {
    /// One without TLS, as a client has it that knows that the server speaks HTTP/2.
    pub async fn open(address: SocketAddr) -> io::Result<Http2> {
        Self::over(TcpStream::connect(address).await?, "http", None).await
    }

    /// One without TLS whose streams take so many bytes that nobody reads.
    pub async fn open_with_window(address: SocketAddr, window_bytes: u32) -> io::Result<Http2> {
        Self::over(TcpStream::connect(address).await?, "http", Some(window_bytes)).await
    }

    /// One with TLS.
    pub async fn open_tls(authority: &Authority, address: SocketAddr) -> io::Result<Http2> {
        Self::over(authority.greet_http2(address).await?, "https", None).await
    }

    async fn over<Io>(io: Io, scheme: &'static str, window_bytes: Option<u32>) -> io::Result<Http2>
    where
        Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window_bytes);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        Ok(Http2 { sender, scheme, connection: tokio::spawn(connection) })
    }

    /// Sends a call, and reads all of its answer.
    pub async fn send(&self, call: Call) -> io::Result<Reply> {
        let wire = call.build();
        let body = Full::new(wire.body.clone()).map_err(|never| match never {}).boxed_unsync();
        read(self.begin(&wire, body).await?).await
    }

    /// Sends a call with this body, and reads the head of its answer.
    pub async fn begin(&self, wire: &Wire, body: Body) -> io::Result<Response<Incoming>> {
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(io::Error::other)?;
        let host = wire.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = host.map(|(_, value)| value.as_str()).unwrap_or_default();
        let mut request =
            Request::builder().method(wire.method.as_str()).uri(format!("{}://{host}{}", self.scheme, wire.target));
        for (name, value) in wire.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
            request = request.header(name, value);
        }
        if let Some(length) = wire.content_length {
            request = request.header("content-length", length);
        }
        let request = request.body(body).map_err(io::Error::other)?;
        let answered = tokio::time::timeout(EXCHANGE_TIMEOUT, sender.send_request(request)).await;
        answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)
    }
}

/// Reads all of an answer.
pub async fn read(response: Response<Incoming>) -> io::Result<Reply> {
    let (head, body) = response.into_parts();
    let headers = head.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let (status, headers) = (head.status.as_u16(), headers.collect());
    let body = tokio::time::timeout(EXCHANGE_TIMEOUT, body.collect()).await;
    let body = body.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?.to_bytes();
    Ok(Reply { status, headers, body_bytes: body.len() as u64, body })
}
