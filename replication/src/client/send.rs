//! Sending: sign, watch, and try again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use parking_lot::Mutex;
use reqwest::{Method, Response, Url};
use tokio::time::Instant;

use super::body::{Body, BodyError, BodyStream};
use super::sign::Signer;
use super::{Answer, Attempts, Client, ClientError, Request};

/// A refusal without a code is put down to the clock if it differs from the server's by so much: S3 allows 15 minutes.
const SKEW_MS_MIN: i64 = 240_000;

impl Client {
    /// Sends a request, and again if that may help. The answer's body is not read yet.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn send(&self, request: &Request) -> Result<Answer, ClientError> {
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            match self.send_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.rest(began, attempt, error).await?,
            }
            attempt += 1;
        }
    }

    /// One attempt; another one only where what was wrong with it could be made good.
    pub(super) async fn send_once(&self, request: &Request) -> Result<Answer, ClientError> {
        let url = self.0.endpoint.url_of(&request.bucket, request.key.as_deref(), &request.query)?;
        let began_ms = self.0.clock.now().0;
        match self.attempt(request, &url).await {
            Err(error) if self.correct(&error, began_ms).await => self.attempt(request, &url).await,
            answered => answered,
        }
    }

    /// Waits until an attempt may be made after the failed one, of which the first began then.
    ///
    /// # Errors
    /// The given error, if none may be made.
    pub(super) async fn rest(&self, began: Instant, attempt: u32, error: ClientError) -> Result<(), ClientError> {
        if !error.may_pass() || self.1 == Attempts::One {
            return Err(error);
        }
        let [a, b, c, d, ..] = self.0.entropy.random_16();
        let random = u32::from_be_bytes([a, b, c, d]);
        let Some(delay) = self.0.options.retry.delay(attempt, random, error.retry_after()) else { return Err(error) };
        if matches!(self.1, Attempts::Within(patience) if began.elapsed() + delay >= patience) {
            return Err(error);
        }
        tracing::debug!(endpoint = ?self.0.endpoint, attempt, ?delay, %error, "a request is made again");
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Sends a request without a document in its answer, a HEAD, to learn from the headers of that, also if it is a refusal; again only if
    /// that may help.
    ///
    /// # Errors
    /// The last attempt's, but for refusals that do not pass.
    pub async fn probe(&self, request: &Request) -> Result<Answer, ClientError> {
        let url = self.0.endpoint.url_of(&request.bucket, request.key.as_deref(), &request.query)?;
        let began = Instant::now();
        let mut attempt = 1;
        let mut corrected = false;
        loop {
            let began_ms = self.0.clock.now().0;
            let answered = self.attempt_any(request, &url).await;
            let (answer, error) = match answered {
                Ok(answer) => match answer.bare_refusal() {
                    None => return Ok(answer),
                    Some(refusal) => (Some(answer), refusal),
                },
                Err(error) => (None, error),
            };
            if !corrected && self.correct(&error, began_ms).await {
                corrected = true;
                continue;
            }
            match answer.filter(|_| !error.may_pass()) {
                Some(answer) => return Ok(answer),
                None => self.rest(began, attempt, error).await?,
            }
            attempt += 1;
        }
    }

    async fn attempt(&self, request: &Request, url: &Url) -> Result<Answer, ClientError> {
        self.attempt_any(request, url).await?.or_refusal().await
    }

    /// One attempt, whatever is answered.
    async fn attempt_any(&self, request: &Request, url: &Url) -> Result<Answer, ClientError> {
        let inner = &self.0;
        let at_once = request.body.in_one_piece();
        // Both before it is signed, because a signature is good for minutes only.
        let _sent = match request.body.length_bytes() {
            0 => None,
            // It is never closed.
            _ => inner.bodies.acquire().await.ok(),
        };
        if let Some(bytes) = at_once {
            inner.throttle.pass(bytes.len()).await;
        }
        let now_ms = inner.clock.now().0;
        let credentials = inner.credentials.get(now_ms).await?;
        let now_ms = now_ms + inner.clock_skew_ms.load(Ordering::Relaxed);
        let mut headers = request.headers.clone();
        if let Body::Stream(stream) = &request.body {
            headers.push(stream.digest.header());
        }
        let signer = Signer { credentials, region: inner.endpoint.region(), service: "s3", now_ms };
        let signature = signer.headers(request.method.as_str(), url.as_str(), &headers, &request.body);
        headers.extend(signature.map_err(ClientError::Unsigned)?);
        let mut builder = inner.http.request(request.method.clone(), url.clone());
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        let sending = Sending::default();
        let builder = match at_once {
            // Without a body no length would be sent, which S3 wants of every PUT.
            Some(bytes) if bytes.is_empty() && request.method == Method::PUT => builder.header("content-length", 0),
            Some(bytes) => builder.body(bytes.clone()),
            None => {
                let pieces = self.metered(&request.body, sending.clone());
                let builder = builder.header("content-length", request.body.length_bytes());
                builder.body(reqwest::Body::wrap_stream(pieces))
            }
        };
        let response = sending.watch(self.idle_timeout(), builder.send()).await?;
        Ok(Answer::of(response, self.idle_timeout()))
    }

    /// The body's bytes at the rate that is allowed, held to their declared number.
    fn metered(&self, body: &Body, sending: Sending) -> BodyStream {
        let client = self.clone();
        let state = (Some(body.open()), body.length_bytes());
        Box::pin(futures::stream::unfold(state, move |(stream, left)| {
            let (client, sending) = (client.clone(), sending.clone());
            async move {
                let mut stream = stream?;
                let (piece, left) = match stream.next().await {
                    Some(Ok(piece)) if piece.len() as u64 <= left => {
                        let left = left - piece.len() as u64;
                        (Ok(piece), left)
                    }
                    None if left == 0 => return None,
                    Some(Err(error)) => (Err(error), left),
                    Some(Ok(_)) => (Err("it has more bytes than it should".into()), left),
                    None => (Err("it ends too early".into()), left),
                };
                Some(match piece {
                    Ok(piece) => {
                        sending.hold();
                        client.0.throttle.pass(piece.len()).await;
                        sending.moved();
                        (Ok::<Bytes, BodyError>(piece), (Some(stream), left))
                    }
                    Err(error) => {
                        sending.failed(error);
                        (Err("the body ends early".into()), (None, left))
                    }
                })
            }
        }))
    }

    /// Makes good what the refusal of an attempt that began at this time was due to; false if nothing is to be made good.
    async fn correct(&self, error: &ClientError, began_ms: i64) -> bool {
        let ClientError::Refused { status, code, server_time_ms, .. } = error else { return false };
        // A HEAD that is refused for it has no document, and so no code.
        if code == "ExpiredToken" || *status == 400 && code.is_empty() {
            return self.0.credentials.renew(began_ms).await;
        }
        let Some(server_time_ms) = server_time_ms else { return false };
        let skew_ms = server_time_ms - self.0.clock.now().0;
        let off_by_ms = (skew_ms - self.0.clock_skew_ms.load(Ordering::Relaxed)).abs();
        // A HEAD is refused without a document, and so without a code.
        let is_skewed = code == "RequestTimeTooSkewed" || *status == 403 && code.is_empty() && off_by_ms > SKEW_MS_MIN;
        if is_skewed {
            tracing::warn!(endpoint = ?self.0.endpoint, skew_ms, "the endpoint's clock differs; requests are signed by it");
            self.0.clock_skew_ms.store(skew_ms, Ordering::Relaxed);
        }
        is_skewed
    }
}

/// A body on its way: when it last moved, and why it ended early.
#[derive(Clone, Default)]
struct Sending(Arc<Mutex<State>>);

struct State {
    moved: Instant,
    /// It waits for its share of the bandwidth, which is no fault of the endpoint's.
    held: bool,
    fault: Option<BodyError>,
}

impl Default for State {
    fn default() -> Self {
        Self { moved: Instant::now(), held: false, fault: None }
    }
}

impl Sending {
    fn moved(&self) {
        let mut state = self.0.lock();
        (state.moved, state.held) = (Instant::now(), false);
    }

    fn hold(&self) {
        self.0.lock().held = true;
    }

    /// When it has stood still for too long.
    fn deadline(&self, idle_timeout: Duration) -> Instant {
        let state = self.0.lock();
        if state.held { Instant::now() + idle_timeout } else { state.moved + idle_timeout }
    }

    fn failed(&self, error: BodyError) {
        self.0.lock().fault = Some(error);
    }

    /// The response, unless nothing moves for too long.
    async fn watch(
        &self,
        idle_timeout: Duration,
        sent: impl Future<Output = Result<Response, reqwest::Error>>,
    ) -> Result<Response, ClientError> {
        let mut sent = std::pin::pin!(sent);
        loop {
            let deadline = self.deadline(idle_timeout);
            tokio::select! {
                response = &mut sent => return response.map_err(|error| match self.0.lock().fault.take() {
                    Some(fault) => ClientError::Source(fault),
                    None => ClientError::Unanswered(error.without_url()),
                }),
                () = tokio::time::sleep_until(deadline) => {
                    if self.deadline(idle_timeout) <= Instant::now() {
                        return Err(ClientError::Stalled(idle_timeout));
                    }
                }
            }
        }
    }
}
