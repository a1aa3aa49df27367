//! What an endpoint answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{ClientError, retry, xml};

/// How many times as long as an answer may stand still it may take to come whole, if it is a document.
const WHOLE_IDLE_TIMES: u32 = 4;

/// The most that is read of a refusal.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// An answer, whose body is not read yet.
#[derive(Debug)]
pub struct Answer {
    response: Response,
    idle_timeout: Duration,
}

impl Answer {
    pub(super) fn of(response: Response, idle_timeout: Duration) -> Self {
        Self { response, idle_timeout }
    }

    /// The answer, if it is a 2xx one; else what the server refuses with.
    pub(super) async fn or_refusal(self) -> Result<Self, ClientError> {
        if self.response.status().is_success() { Ok(self) } else { Err(self.refusal().await) }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// All headers that are text.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.response.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    /// How long the body is, if the server says.
    #[must_use]
    pub fn length_bytes(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The whole body, which is a document: it may take a bounded time in all, too.
    ///
    /// # Errors
    /// `Foreign` if it has more bytes than `bytes_max`; `Unanswered` or `Stalled` if it does not come to its end.
    pub async fn bytes(mut self, bytes_max: usize) -> Result<Bytes, ClientError> {
        let time_max = self.idle_timeout.saturating_mul(WHOLE_IDLE_TIMES);
        let whole = async move {
            let mut body = BytesMut::new();
            while let Some(piece) = self.chunk().await? {
                if body.len() + piece.len() > bytes_max {
                    return Err(ClientError::Foreign("it is too long"));
                }
                body.extend_from_slice(&piece);
            }
            Ok(body.freeze())
        };
        tokio::time::timeout(time_max, whole).await.unwrap_or(Err(ClientError::Stalled(time_max)))
    }

    /// The next bytes of the body; None at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        match tokio::time::timeout(self.idle_timeout, self.response.chunk()).await {
            Ok(piece) => piece.map_err(|error| ClientError::Unanswered(error.without_url())),
            Err(_) => Err(ClientError::Stalled(self.idle_timeout)),
        }
    }

    async fn refusal(self) -> ClientError {
        let (retry_after, server_time_ms, status) = (self.retry_after(), self.server_time_ms(), self.status());
        // A refusal whose body does not come is one by its status.
        let body = self.bytes(REFUSAL_BYTES_MAX).await.unwrap_or_default();
        let document = xml::Flat::parse(&body).filter(|document| document.root == "Error").unwrap_or_default();
        let text = |name| document.text(name).unwrap_or_default().to_owned();
        ClientError::Refused { status, code: text("Code"), message: text("Message"), retry_after, server_time_ms }
    }

    /// What the server refuses with, as far as its headers say; None: it does not.
    pub(super) fn bare_refusal(&self) -> Option<ClientError> {
        let (code, message) = (String::new(), String::new());
        let (retry_after, server_time_ms, status) = (self.retry_after(), self.server_time_ms(), self.status());
        let refused = !self.response.status().is_success();
        refused.then_some(ClientError::Refused { status, code, message, retry_after, server_time_ms })
    }

    fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after").and_then(retry::parse_retry_after)
    }

    fn server_time_ms(&self) -> Option<i64> {
        let date = self.header("date").and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        date.map(|date| date.unix_timestamp() * 1_000)
    }
}
