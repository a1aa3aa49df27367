//! Tests over real sockets.

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use http_body_util::{BodyExt, Full, StreamBody};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(20);

const LIMITS: ConnectionLimits = ConnectionLimits {
    connections_max: 4,
    header_read_timeout: LONG,
    body_progress_timeout: LONG,
    write_progress_timeout: LONG,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";

type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>>;

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    metrics: ConnectionMetrics,
    running: JoinHandle<Stopped>,
}

fn start<F>(
    limits: ConnectionLimits,
    grace: Duration,
    service: impl Fn(Request<RequestBody>) -> F + Clone + Send + 'static,
) -> Server
where
    F: Future<Output = Answer> + Send + 'static,
{
    let metrics = ConnectionMetrics::default();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), limits, metrics.clone()).unwrap();
    let listener = listener.with_http2(true);
    let address = listener.address().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(listener.serve(move |request, _| service(request), stop.clone(), grace));
    Server { address, stop, metrics, running }
}

fn answer(text: &'static str) -> Answer {
    Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync())
}

async fn hello(_: Request<RequestBody>) -> Answer {
    answer("hello")
}

/// Answers with what became of the body.
async fn read_body(request: Request<RequestBody>) -> Answer {
    match request.into_body().collect().await {
        Ok(_) => answer("complete"),
        Err(BodyError::Timeout { .. }) => answer("timeout"),
        Err(BodyError::Connection(_)) => answer("broken"),
    }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Sends bytes and reads until the server closes.
async fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = connect(server).await;
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    tokio::time::timeout(LONG, stream.read_to_end(&mut read)).await.expect("the server does not close").unwrap();
    String::from_utf8(read).unwrap()
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let mut byte = [0];
        let count = tokio::time::timeout(LONG, stream.read(&mut byte)).await.unwrap().unwrap();
        assert_eq!(count, 1, "closed after {:?}", String::from_utf8_lossy(&read));
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap()
}

/// Asserts that the server closes the stream without another byte, no earlier than the short time-out.
async fn closes_silently_after_short(stream: &mut TcpStream, since: Instant) {
    assert_eq!(read_to_end(stream).await, "");
    assert!(since.elapsed() >= SHORT && since.elapsed() < LONG / 2, "{:?}", since.elapsed());
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let server = start(LIMITS, LONG, hello);
    let mut stream = connect(&server).await;
    for _ in 0..3 {
        stream.write_all(GET).await.unwrap();
        assert!(read_until(&mut stream, "hello").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn an_old_client_is_answered_and_closed() {
    let server = start(LIMITS, LONG, hello);
    let text = exchange(&server, b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.0 200") && text.ends_with("hello"), "{text}");
}

#[tokio::test]
async fn a_client_that_has_finished_sending_is_answered() {
    let server = start(LIMITS, LONG, |request| async move {
        tokio::time::sleep(SHORT).await;
        hello(request).await
    });
    let mut stream = connect(&server).await;
    stream.write_all(GET).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(read_to_end(&mut stream).await.ends_with("hello"));
}

#[tokio::test]
async fn a_head_that_does_not_end_is_closed() {
    let server = start(ConnectionLimits { header_read_timeout: SHORT, ..LIMITS }, LONG, hello);
    let since = Instant::now();
    let mut stream = connect(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    closes_silently_after_short(&mut stream, since).await;
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let server = start(ConnectionLimits { header_read_timeout: SHORT, ..LIMITS }, LONG, hello);
    let since = Instant::now();
    closes_silently_after_short(&mut connect(&server).await, since).await;
}

#[tokio::test]
async fn a_connection_that_is_idle_after_a_request_is_closed() {
    let server = start(ConnectionLimits { header_read_timeout: SHORT, ..LIMITS }, LONG, hello);
    let mut stream = connect(&server).await;
    let since = Instant::now();
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "hello").await;
    closes_silently_after_short(&mut stream, since).await;
}

#[tokio::test]
async fn a_request_that_takes_longer_than_the_head_may_is_answered() {
    let server = start(ConnectionLimits { header_read_timeout: SHORT, ..LIMITS }, LONG, |request| async move {
        tokio::time::sleep(2 * SHORT).await;
        hello(request).await
    });
    let mut stream = connect(&server).await;
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "hello").await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = start(LIMITS, LONG, hello);
    let head = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert!(exchange(&server, head.as_bytes()).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_head_with_too_many_headers_is_refused() {
    let server = start(LIMITS, LONG, hello);
    let with_headers = |count: usize| {
        let headers: String = (0..count).map(|number| format!("x{number}: 1\r\n")).collect();
        format!("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}\r\n")
    };
    assert!(exchange(&server, with_headers(HEADERS_MAX - 2).as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert!(exchange(&server, with_headers(HEADERS_MAX - 1).as_bytes()).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn a_body_that_pauses_too_long_is_a_timeout_and_the_connection_ends() {
    let server = start(ConnectionLimits { body_progress_timeout: SHORT, ..LIMITS }, LONG, read_body);
    let text = exchange(&server, b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc").await;
    assert!(text.ends_with("timeout"), "{text}");
}

#[tokio::test]
async fn a_body_with_short_pauses_is_read_to_its_end() {
    let server = start(ConnectionLimits { body_progress_timeout: SHORT, ..LIMITS }, LONG, read_body);
    let mut stream = connect(&server).await;
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 6\r\n\r\n").await.unwrap();
    for _ in 0..6 {
        tokio::time::sleep(SHORT / 3).await;
        stream.write_all(b"x").await.unwrap();
    }
    read_until(&mut stream, "complete").await;
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_not_complete() {
    let server = start(LIMITS, LONG, read_body);
    let mut stream = connect(&server).await;
    stream.write_all(b"PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(!read_to_end(&mut stream).await.contains("complete"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed() {
    let server = start(ConnectionLimits { write_progress_timeout: SHORT, ..LIMITS }, LONG, |_| async {
        let endless = futures::stream::repeat_with(|| Ok(http_body::Frame::data(Bytes::from(vec![0; 64 << 10]))));
        Response::new(StreamBody::new(endless).boxed_unsync())
    });
    let mut stream = connect(&server).await;
    stream.write_all(GET).await.unwrap();
    while server.metrics.open.get() == 0 {
        tokio::time::sleep(SHORT / 20).await;
    }
    tokio::time::timeout(LONG, async {
        while server.metrics.open.get() > 0 {
            tokio::time::sleep(SHORT / 20).await;
        }
    })
    .await
    .expect("the connection stays open");
}

#[tokio::test]
async fn small_answers_do_not_wait_for_acknowledgements() {
    // Without TCP_NODELAY the second of two small writes waits some 40 ms for the client's delayed acknowledgement.
    let server = start(LIMITS, LONG, |_| async {
        let pieces = futures::stream::unfold(0, |number| async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            (number < 2).then(|| (Ok(http_body::Frame::data(Bytes::from_static(b"piece"))), number + 1))
        });
        Response::new(StreamBody::new(pieces).boxed_unsync())
    });
    let mut fastest = LONG;
    let mut stream = connect(&server).await;
    for _ in 0..10 {
        let since = Instant::now();
        stream.write_all(GET).await.unwrap();
        read_until(&mut stream, "0\r\n\r\n").await;
        fastest = fastest.min(since.elapsed());
    }
    assert!(fastest < Duration::from_millis(35), "{fastest:?}");
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_told_to_slow_down() {
    let server = start(ConnectionLimits { connections_max: 1, ..LIMITS }, LONG, hello);
    let mut first = connect(&server).await;
    first.write_all(GET).await.unwrap();
    read_until(&mut first, "hello").await;
    let refusal = exchange(&server, GET).await;
    assert!(refusal.starts_with("HTTP/1.1 503") && refusal.contains("<Code>SlowDown</Code>"), "{refusal}");
    assert_eq!(server.metrics.refused.get(), 1);
    drop(first);
    tokio::time::timeout(LONG, async {
        while !exchange(&server, b"GET / HTTP/1.0\r\n\r\n").await.ends_with("hello") {
            tokio::time::sleep(SHORT / 20).await;
        }
    })
    .await
    .expect("the place of a closed connection is not given to another");
}

#[tokio::test]
async fn a_stop_lets_the_request_in_flight_finish() {
    let server = start(LIMITS, LONG, |request| async move {
        tokio::time::sleep(2 * SHORT).await;
        hello(request).await
    });
    let mut stream = connect(&server).await;
    stream.write_all(GET).await.unwrap();
    tokio::time::sleep(SHORT).await;
    server.stop.cancel();
    let text = read_to_end(&mut stream).await;
    assert!(text.ends_with("hello"), "{text}");
    assert_eq!(server.running.await.unwrap(), Stopped::Drained);
}

#[tokio::test]
async fn a_stop_closes_idle_and_silent_connections_at_once() {
    let server = start(LIMITS, LONG, hello);
    let mut silent = connect(&server).await;
    let mut idle = connect(&server).await;
    idle.write_all(GET).await.unwrap();
    read_until(&mut idle, "hello").await;
    server.stop.cancel();
    assert_eq!(read_to_end(&mut silent).await, "");
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(server.running.await.unwrap(), Stopped::Drained);
}

#[tokio::test]
async fn a_stop_accepts_no_more_connections() {
    let server = start(LIMITS, LONG, hello);
    server.stop.cancel();
    assert_eq!(server.running.await.unwrap(), Stopped::Drained);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_period_is_aborted() {
    let server = start(LIMITS, SHORT, |_| std::future::pending());
    let mut stream = connect(&server).await;
    stream.write_all(GET).await.unwrap();
    tokio::time::sleep(SHORT).await;
    server.stop.cancel();
    assert_eq!(server.running.await.unwrap(), Stopped::Aborted(1));
    assert_eq!(read_to_end(&mut stream).await, "");
    assert_eq!(server.metrics.open.get(), 0);
}

/// A beginning of HTTP/2 with settings and `GET /` in one frame of headers.
const GET_BY_HTTP2: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01h";

#[tokio::test]
async fn no_stream_of_an_aborted_connection_runs_when_the_listener_has_ended() {
    for _ in 0..20 {
        let (running, begun) = (Arc::new(()), Arc::new(Notify::new()));
        let (held, begins) = (running.clone(), begun.clone());
        let server = start(LIMITS, Duration::ZERO, move |_| {
            let (held, begins) = (held.clone(), begins.clone());
            async move {
                let _held = held;
                // One permit is kept for who waits later.
                begins.notify_one();
                std::future::pending().await
            }
        });
        let mut stream = connect(&server).await;
        stream.write_all(GET_BY_HTTP2).await.unwrap();
        tokio::time::timeout(LONG, begun.notified()).await.expect("the stream's request is being answered");
        server.stop.cancel();
        assert_eq!(server.running.await.unwrap(), Stopped::Aborted(1));
        assert_eq!(Arc::strong_count(&running), 1, "the service and its answers are gone");
    }
}

#[tokio::test]
async fn a_client_of_http_2_beyond_the_limit_is_told_to_go_away() {
    let server = start(ConnectionLimits { connections_max: 1, ..LIMITS }, LONG, hello);
    let held = connect(&server).await;
    while server.metrics.open.get() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut stream = connect(&server).await;
    stream.write_all(GET_BY_HTTP2).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, http2::REFUSAL);
    drop(held);
}

#[test]
fn authority_and_path_become_what_http_1_has() {
    let request = |uri: &str| Request::builder().uri(uri).header(HOST, "other.example").body(()).unwrap();
    let made = in_origin_form(request("https://bucket.s3.localhost:9000/a/b?c=d"));
    assert_eq!(made.headers()[HOST], "bucket.s3.localhost:9000");
    assert_eq!(made.uri().to_string(), "/a/b?c=d");
    let made = in_origin_form(request("/a"));
    assert_eq!((made.headers()[HOST].to_str().unwrap(), made.uri().path()), ("other.example", "/a"));
}
