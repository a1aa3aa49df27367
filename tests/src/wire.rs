//! HTTP/1.1 over a plain socket. Requests are written byte for byte as a test composed them, well formed or not, and an
//! answer that ends before its announced length is an error.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// An exchange that takes longer counts as a hang.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(90);

const REPLY_HEAD_BYTES_MAX: usize = 64 * 1024;

/// A request as it goes on the wire.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The HTTP method.
    pub method: String,
    /// Path and query, encoded.
    pub target: String,
    /// The headers, `Content-Length` excepted.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The value of `Content-Length`; none is sent if this is `None`.
    pub content_length: Option<u64>,
}

impl Wire {
    /// The request line and headers.
    pub fn head_bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = self.content_length {
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Sends the request over a connection of its own.
    pub async fn send(&self, address: SocketAddr) -> io::Result<Reply> {
        let mut connection = Connection::open(address).await?;
        connection.exchange(&self.method, &self.head_bytes(), &self.body).await
    }
}

/// Sends raw bytes and reads one answer.
pub async fn exchange_raw(address: SocketAddr, request: &[u8]) -> io::Result<Reply> {
    Connection::open(address).await?.exchange("RAW", request, b"").await
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers as received.
    pub headers: Vec<(String, String)>,
    /// The body; empty if it was discarded.
    pub body: Bytes,
    /// The length of the body, also if it was discarded.
    pub body_bytes: u64,
}

impl Reply {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The ETag header, or the empty string.
    pub fn etag(&self) -> String {
        self.header("etag").unwrap_or_default().to_owned()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The text of the body's first XML element of that name, or the empty string.
    pub fn xml(&self, name: &str) -> String {
        crate::xml::text(&self.text(), name).unwrap_or_default()
    }

    /// The texts of the body's XML elements of that name.
    pub fn xml_all(&self, name: &str) -> Vec<String> {
        crate::xml::texts(&self.text(), name)
    }

    /// The S3 error code, or the empty string.
    pub fn code(&self) -> String {
        self.xml("Code")
    }

    /// Requires a status; panics with the whole answer otherwise.
    #[track_caller]
    pub fn expect(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "unexpected answer: {self:?}");
        self
    }

    /// Requires an S3 error.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Reply {
        assert_eq!((self.status, self.code().as_str()), (status, code), "unexpected answer: {self:?}");
        self
    }
}

/// One connection, usable for several exchanges while the server keeps it open.
pub struct Connection {
    read: ReadHalf,
    write: Box<dyn AsyncWrite + Send + Unpin>,
    buffer: BytesMut,
}

type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Connection::over(read, write))
    }

    /// Connects from this address of the machine.
    pub async fn open_from(source: IpAddr, address: SocketAddr) -> io::Result<Connection> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(source, 0))?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok(Connection::over(read, write))
    }

    /// A connection over streams that are open already.
    pub fn over(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Connection {
        Connection { read: Box::new(read), write: Box::new(write), buffer: BytesMut::with_capacity(64 * 1024) }
    }

    /// Writes bytes without waiting for an answer.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await
    }

    /// Ends the sending direction.
    pub async fn finish_writing(&mut self) -> io::Result<()> {
        self.write.shutdown().await
    }

    /// One request, one answer. An answer that comes before all of the request was sent is returned; the connection is
    /// of no further use then.
    pub async fn exchange(&mut self, method: &str, head: &[u8], body: &[u8]) -> io::Result<Reply> {
        self.exchange_with(method, head, body, true).await
    }

    /// As [`Connection::exchange`]; the answer's body is counted and not kept unless `keep_body`.
    pub async fn exchange_with(
        &mut self,
        method: &str,
        head: &[u8],
        body: &[u8],
        keep_body: bool,
    ) -> io::Result<Reply> {
        let Connection { read, write, buffer } = self;
        let send = async {
            write.write_all(head).await?;
            write.write_all(body).await?;
            io::Result::Ok(())
        };
        let receive = read_reply(read, buffer, method == "HEAD", keep_body);
        let both = async {
            tokio::pin!(send, receive);
            tokio::select! {
                biased;
                reply = &mut receive => reply,
                sent = &mut send => {
                    let reply = receive.await;
                    // A server may refuse early and close; what counts is its answer, if there is one.
                    reply.map_err(|error| sent.err().unwrap_or(error))
                }
            }
        };
        tokio::time::timeout(EXCHANGE_TIMEOUT, both).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Reads one answer.
    pub async fn read_reply(&mut self) -> io::Result<Reply> {
        let receive = read_reply(&mut self.read, &mut self.buffer, false, true);
        tokio::time::timeout(EXCHANGE_TIMEOUT, receive).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

async fn read_reply(
    read: &mut ReadHalf,
    buffer: &mut BytesMut,
    without_body: bool,
    keep_body: bool,
) -> io::Result<Reply> {
    loop {
        let (status, headers) = read_head(read, buffer).await?;
        if status < 200 {
            continue;
        }
        let mut reply = Reply { status, headers, body: Bytes::new(), body_bytes: 0 };
        if without_body || status == 204 || status == 304 {
            return Ok(reply);
        }
        let mut kept = BytesMut::new();
        let mut body = BodyReader { read, buffer, kept: keep_body.then_some(&mut kept), received: 0 };
        if reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            body.chunked().await?;
        } else if let Some(length) = reply.header("content-length") {
            let length = length.parse().map_err(|_| invalid("content-length"))?;
            body.take(length).await?;
        } else {
            body.until_end().await?;
        }
        reply.body_bytes = body.received;
        reply.body = kept.freeze();
        return Ok(reply);
    }
}

async fn fill(read: &mut ReadHalf, buffer: &mut BytesMut) -> io::Result<()> {
    buffer.reserve(16 * 1024);
    match read.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer's {what} is malformed"))
}

async fn read_head(read: &mut ReadHalf, buffer: &mut BytesMut) -> io::Result<(u16, Vec<(String, String)>)> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if buffer.len() > REPLY_HEAD_BYTES_MAX {
            return Err(invalid("head"));
        }
        fill(read, buffer).await?;
    };
    let head = buffer.split_to(end + 4);
    let head = String::from_utf8_lossy(&head[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Ok((status.ok_or_else(|| invalid("status line"))?, headers))
}

struct BodyReader<'a> {
    read: &'a mut ReadHalf,
    buffer: &'a mut BytesMut,
    kept: Option<&'a mut BytesMut>,
    received: u64,
}

impl BodyReader<'_> {
    fn consume(&mut self, length: usize) {
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(&self.buffer[..length]);
        }
        self.buffer.advance(length);
        self.received += length as u64;
    }

    async fn take(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            if self.buffer.is_empty() {
                fill(self.read, self.buffer).await?;
            }
            let available = usize::try_from(length).unwrap_or(usize::MAX).min(self.buffer.len());
            self.consume(available);
            length -= available as u64;
        }
        Ok(())
    }

    async fn until_end(&mut self) -> io::Result<()> {
        loop {
            let available = self.buffer.len();
            self.consume(available);
            match fill(self.read, self.buffer).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn line(&mut self) -> io::Result<BytesMut> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let mut line = self.buffer.split_to(end + 2);
                line.truncate(end);
                return Ok(line);
            }
            fill(self.read, self.buffer).await?;
        }
    }

    async fn chunked(&mut self) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            let size = std::str::from_utf8(&line).map_err(|_| invalid("chunk size"))?;
            let size = u64::from_str_radix(size.trim(), 16).map_err(|_| invalid("chunk size"))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(());
            }
            self.take(size).await?;
            self.line().await?;
        }
    }
}
