//! A request's body between the connection and `s3s`.
//!
//! It is shared with the gate, which counts it and, when the answer is ready, reads what nobody has read: a client that is
//! still sending when its connection closes may never see the answer. It also holds a chunked body without trailers to its
//! last chunk, without which `s3s` takes a body that was cut between two chunks for complete. Documents without a length
//! go past `s3s` ([`Unmeasured`]).

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header::EXPECT};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

use crate::s3::headers::CONTENT_SHA256;

/// The most that is read of a body that nobody wants.
const DRAIN_BYTES_MAX: u64 = 1 << 20;

/// The longest that such a body may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Signed chunks without trailers.
const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

/// A chunked body ended before its last chunk.
#[derive(Debug, thiserror::Error)]
#[error("the body ended before its last chunk")]
pub struct UnterminatedChunks;

/// How every payload hash begins that announces a body in signed chunks, or with trailers.
const STREAMING: &[u8] = b"STREAMING-";

/// A document that is sent without its length, in transfer chunks. `s3s` refuses those with 411 although S3 takes them, so
/// the operation gets it past `s3s`, and holds it to its payload hash itself.
#[derive(Clone, Debug)]
pub struct Unmeasured(Arc<Mutex<Option<s3s::Body>>>);

impl Unmeasured {
    /// Whether this is such a body, by what is known of its length and by the request's headers.
    pub fn is(length: &SizeHint, headers: &HeaderMap) -> bool {
        let streaming = headers.get(CONTENT_SHA256).is_some_and(|value| value.as_bytes().starts_with(STREAMING));
        length.exact().is_none() && !streaming
    }

    /// Keeps it for the operation.
    pub fn new(body: s3s::Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// The body, once.
    pub fn take(&self) -> Option<s3s::Body> {
        self.0.lock().take()
    }
}

/// Why a body could not be read on; the operation knows the type.
type BoxError = Box<dyn StdError + Send + Sync>;

/// The body as `s3s` reads it.
#[derive(Debug)]
pub struct SharedBody<B>(Arc<Mutex<State<B>>>);

/// The same body in the gate's hands.
#[derive(Debug)]
pub struct BodyHandle<B>(Arc<Mutex<State<B>>>);

#[derive(Debug)]
struct State<B> {
    body: B,
    received_bytes: u64,
    /// The end, or an error, has come.
    ended: bool,
    waits_for_continue: bool,
    chunks: Option<LastChunk>,
}

/// Shares the body of a request with these headers.
pub fn share<B>(body: B, headers: &HeaderMap) -> (SharedBody<B>, BodyHandle<B>) {
    let chunked = headers.get(CONTENT_SHA256).is_some_and(|value| value == SIGNED_CHUNKS);
    let state = Arc::new(Mutex::new(State {
        body,
        received_bytes: 0,
        ended: false,
        waits_for_continue: headers.contains_key(EXPECT),
        chunks: chunked.then(LastChunk::default),
    }));
    (SharedBody(Arc::clone(&state)), BodyHandle(state))
}

impl<B> Body for SharedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.lock().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.chunks.is_none() && state.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}

impl<B> State<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.received_bytes += data.len() as u64;
                    if let Some(chunks) = &mut self.chunks {
                        chunks.see(data);
                    }
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => Some(Err(error.into())),
            None if self.chunks.as_ref().is_some_and(|chunks| !chunks.has_come()) => {
                Some(Err(Box::new(UnterminatedChunks) as BoxError))
            }
            None => None,
        };
        self.ended = true;
        Poll::Ready(frame)
    }
}

impl<B> BodyHandle<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// How many bytes have come.
    pub fn received_bytes(&self) -> u64 {
        self.0.lock().received_bytes
    }

    /// Reads what is left of the body, within bounds. False if the connection cannot be used again.
    pub async fn finish(&self) -> bool {
        {
            let mut state = self.0.lock();
            state.chunks = None;
            // A client that waited for "100 Continue" and got its answer instead does not expect another one on this
            // connection: botocore would take the next answer's status for this one's. An empty body is never asked for.
            if state.waits_for_continue && state.received_bytes == 0 {
                return false;
            }
            if state.ended || state.body.is_end_stream() {
                return true;
            }
        }
        let limit_bytes = self.received_bytes() + DRAIN_BYTES_MAX;
        let mut rest = SharedBody(Arc::clone(&self.0));
        let drained = tokio::time::timeout(DRAIN_TIMEOUT, async {
            while let Some(frame) = rest.frame().await {
                if frame.is_err() || self.received_bytes() > limit_bytes {
                    return false;
                }
            }
            true
        });
        drained.await.unwrap_or(false)
    }
}

/// The end of a body in signed chunks, in which its last chunk must be:
/// `0;chunk-signature=<64 hex digits> CRLF [CRLF]`.
#[derive(Debug, Default)]
struct LastChunk {
    tail: Vec<u8>,
    /// The tail is the whole body so far.
    whole: bool,
    any: bool,
}

/// A line break, eight zeros, the signature and two line breaks.
const TAIL_BYTES: usize = 2 + 8 + SIGNATURE_FIELD.len() + SIGNATURE_DIGITS + 4;

const SIGNATURE_FIELD: &[u8] = b";chunk-signature=";

const SIGNATURE_DIGITS: usize = 64;

impl LastChunk {
    fn see(&mut self, data: &[u8]) {
        self.whole = (!self.any || self.whole) && self.tail.len() + data.len() <= TAIL_BYTES;
        self.any = true;
        self.tail.extend_from_slice(&data[data.len().saturating_sub(TAIL_BYTES)..]);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
    }

    fn has_come(&self) -> bool {
        let Some(rest) = self.tail.strip_suffix(b"\r\n") else { return false };
        let rest = rest.strip_suffix(b"\r\n").unwrap_or(rest);
        let Some((rest, signature)) = rest.split_at_checked(rest.len().saturating_sub(SIGNATURE_DIGITS)) else {
            return false;
        };
        let Some(rest) = rest.strip_suffix(SIGNATURE_FIELD) else { return false };
        let zeros = rest.iter().rev().take_while(|byte| **byte == b'0').count();
        let before = &rest[..rest.len() - zeros];
        let at_line_start = if before.is_empty() { self.whole } else { before.ends_with(b"\n") };
        zeros > 0 && at_line_start && signature.iter().all(u8::is_ascii_hexdigit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;

    use http::HeaderValue;
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn last(zeros: &str) -> String {
        format!("{zeros};chunk-signature={}\r\n", "a".repeat(64))
    }

    fn ended(pieces: &[&str]) -> bool {
        let mut chunks = LastChunk::default();
        for piece in pieces {
            chunks.see(piece.as_bytes());
        }
        chunks.has_come()
    }

    #[test]
    fn the_last_chunk_is_found_however_the_body_arrives() {
        let body = format!("5;chunk-signature={}\r\nhello\r\n{}\r\n", "b".repeat(64), last("0"));
        assert!(ended(&[&body]));
        let bytes: Vec<String> = body.chars().map(String::from).collect();
        assert!(ended(&bytes.iter().map(String::as_str).collect::<Vec<_>>()));
        assert!(ended(&[&last("0")]));
        assert!(ended(&[&last("00000000"), "\r\n"]));
    }

    #[test]
    fn a_body_without_a_last_chunk_has_not_ended() {
        let chunk = format!("5;chunk-signature={}\r\nhello\r\n", "b".repeat(64));
        assert!(!ended(&[]));
        assert!(!ended(&[&chunk]));
        assert!(!ended(&[&chunk, &last("10")]));
        assert!(!ended(&[&chunk, &last("")]));
        assert!(!ended(&[&chunk, &last("0").replace('a', "z")]));
        assert!(!ended(&[&chunk, "x", &last("0")]));
    }

    #[tokio::test]
    async fn a_chunked_body_that_was_cut_ends_with_an_error() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_SHA256, HeaderValue::from_static(SIGNED_CHUNKS));
        let (mut shared, _) = share(Full::new(Bytes::from_static(b"5;chunk-signature=...")), &headers);
        assert!(shared.frame().await.unwrap().is_ok());
        assert!(shared.frame().await.unwrap().unwrap_err().is::<UnterminatedChunks>());
    }

    #[tokio::test]
    async fn an_unread_body_is_drained_within_bounds() {
        let (shared, handle) = share(Full::new(Bytes::from_static(b"unread")), &HeaderMap::new());
        drop(shared);
        assert!(handle.finish().await);
        assert_eq!(handle.received_bytes(), 6);

        let endless =
            futures::stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 65_536]))));
        let (_, handle) = share(StreamBody::new(endless), &HeaderMap::new());
        assert!(!handle.finish().await);
        assert!(handle.received_bytes() < 2 * DRAIN_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_permission_to_send_is_not_asked_to() {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        let (_, handle) = share(Full::new(Bytes::from_static(b"unsent")), &headers);
        assert!(!handle.finish().await);
        assert_eq!(handle.received_bytes(), 0);
    }

    #[tokio::test]
    async fn a_client_that_waits_with_an_empty_body_gets_no_second_answer_on_the_connection() {
        let mut headers = HeaderMap::new();
        let (_, handle) = share(Full::new(Bytes::new()), &headers);
        assert!(handle.finish().await);

        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        let (mut shared, handle) = share(Full::new(Bytes::new()), &headers);
        assert!(shared.frame().await.is_none());
        assert!(!handle.finish().await);
    }
}
