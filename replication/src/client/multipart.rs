//! Uploads in parts, whose boundaries the caller gives.

use std::collections::hash_map::Entry;

use cairn_crypto::checksum::Checksum;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::body::{Body, Digest};
use super::object::{Address, Stored};
use super::xml::{self, Flat, UploadedPart};
use super::{Answer, Client, ClientError, Request};

/// The most parts that an upload has (S3 user guide, "Amazon S3 multipart upload limits").
pub const PARTS_MAX: usize = 10_000;

const CHECKSUM_ALGORITHM: &str = "x-amz-checksum-algorithm";

/// The most that is read of a document.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// Headers of an upload's requests.
#[derive(Clone, Debug, Default)]
pub struct UploadHeaders {
    /// Of the one that creates it: what belongs to the object.
    pub create: Vec<(String, String)>,
    /// Of each one that comes after.
    pub each: Vec<(String, String)>,
}

/// A part to upload.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its number, from 1 on.
    pub number: usize,
    /// Headers of its request alone.
    pub headers: Vec<(String, String)>,
    /// Its bytes.
    pub body: Body,
}

impl Part {
    /// The one at this place, from 0 on, of parts that are numbered one after the other.
    #[must_use]
    pub fn at(index: usize, body: Body) -> Self {
        Self { number: index + 1, headers: Vec::new(), body }
    }

    /// These bodies as parts, one after the other.
    #[must_use]
    pub fn numbered(bodies: Vec<Body>) -> Vec<Self> {
        bodies.into_iter().enumerate().map(|(index, body)| Self::at(index, body)).collect()
    }
}

/// An upload under way, since before it was begun. If nobody waits for it any more, it is aborted.
struct UnderWay {
    client: Client,
    to: Address,
    /// While it is neither completed nor aborted.
    upload_id: Option<String>,
}

impl UnderWay {
    fn new(client: &Client, to: &Address) -> Self {
        *client.0.under_way.lock().entry(to.clone()).or_default() += 1;
        Self { client: client.clone(), to: to.clone(), upload_id: None }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.client.0.under_way.lock().entry(self.to.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if let (Some(upload_id), Ok(runtime)) = (self.upload_id.take(), Handle::try_current()) {
            let (client, to) = (self.client.clone(), self.to.clone());
            runtime.spawn(async move { client.abort_upload(&to, &upload_id).await });
        }
    }
}

impl Client {
    /// Uploads an object in these parts, at most [`PARTS_MAX`] and in the order of their numbers, `concurrency` at once. An upload that fails is aborted, if the
    /// endpoint can still be reached; so is one whose future is dropped, if the process runs on, and one whose creation was not answered, when
    /// the key is uploaded again. Parts that declare checksums all declare the
    /// same algorithm's.
    ///
    /// # Errors
    /// Those of [`Client::send`], `TooManyParts`, and `Foreign`. If it is not a refusal of a part, nobody knows whether the object was stored: also
    /// `NoSuchUpload` may say that an attempt whose answer was lost has completed it.
    pub async fn upload(
        &self,
        to: &Address,
        headers: UploadHeaders,
        parts: Vec<Part>,
        concurrency: usize,
    ) -> Result<Stored, ClientError> {
        let UploadHeaders { mut create, each } = headers;
        let names_one = create.iter().any(|(name, _)| name == CHECKSUM_ALGORITHM);
        if let Some(checksum) = parts.first().and_then(|part| checksum_of(&part.body)).filter(|_| !names_one) {
            create.push((CHECKSUM_ALGORITHM.to_owned(), checksum.algorithm().as_str().to_owned()));
        }
        let part = |index: usize| std::future::ready(Ok(parts[index].clone()));
        self.upload_made(to, UploadHeaders { create, each }, parts.len(), part, concurrency).await
    }

    /// The same with so many parts, each of which is made when its turn comes, by its place from 0: of parts in memory there are
    /// no more at once than are sent.
    ///
    /// # Errors
    /// As [`Client::upload`], and those of `part`.
    pub async fn upload_made<F>(
        &self,
        to: &Address,
        headers: UploadHeaders,
        parts_count: usize,
        part: impl Fn(usize) -> F + Sync,
        concurrency: usize,
    ) -> Result<Stored, ClientError>
    where
        F: Future<Output = Result<Part, ClientError>> + Send,
    {
        if parts_count > PARTS_MAX {
            return Err(ClientError::TooManyParts(parts_count));
        }
        let UploadHeaders { create, each } = headers;
        let mut under_way = UnderWay::new(self, to);
        let upload_id = self.create_upload(to, create).await?;
        under_way.upload_id = Some(upload_id.clone());
        self.abort_unanswered(to, &upload_id).await;
        let uploaded = self.upload_parts(to, &upload_id, &each, parts_count, part, concurrency).await;
        if uploaded.is_err() {
            self.abort_upload(to, &upload_id).await;
        }
        under_way.upload_id = None;
        uploaded
    }

    pub(super) async fn abort_upload(&self, to: &Address, upload_id: &str) {
        let abort = to.request(Method::DELETE, None).query("uploadId", upload_id);
        if let Err(error) = self.send(&abort).await {
            tracing::warn!(endpoint = ?self.endpoint(), %error, "an upload that failed cannot be aborted");
        }
    }

    async fn create_upload(&self, to: &Address, headers: Vec<(String, String)>) -> Result<String, ClientError> {
        let request = to.request(Method::POST, None).query("uploads", "").headers(headers);
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            let asked = Instant::now();
            let error = match self.try_create_upload(&request).await {
                Ok(upload_id) => return Ok(upload_id),
                Err(error) => error,
            };
            if error.may_be_done() {
                self.note_unanswered(to, asked);
            }
            self.rest(began, attempt, error).await?;
            attempt += 1;
        }
    }

    async fn try_create_upload(&self, request: &Request) -> Result<String, ClientError> {
        let document = document(self.send_once(request).await?).await?;
        let upload_id = document.text("UploadId").ok_or(ClientError::Foreign("it names no upload"))?;
        Ok(upload_id.to_owned())
    }

    async fn upload_parts<F>(
        &self,
        to: &Address,
        upload_id: &str,
        each: &[(String, String)],
        parts_count: usize,
        part: impl Fn(usize) -> F + Sync,
        concurrency: usize,
    ) -> Result<Stored, ClientError>
    where
        F: Future<Output = Result<Part, ClientError>> + Send,
    {
        let part = &part;
        let uploaded: Vec<UploadedPart> = futures::stream::iter(0..parts_count)
            .map(|index| async move {
                let part = part(index).await?;
                self.upload_part(to, upload_id, each, part).await
            })
            .buffered(concurrency.max(1))
            .try_collect()
            .await?;
        let body = Body::Memory(xml::complete_upload(&uploaded).into());
        let request = to.request(Method::POST, None).query("uploadId", upload_id).headers(each.to_vec()).body(body);
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            // A refusal by status has been tried again by then; one in the document has not.
            match completed(self.send(&request).await?).await {
                Ok(stored) => return Ok(stored),
                Err(error) => self.rest(began, attempt, error).await?,
            }
            attempt += 1;
        }
    }

    async fn upload_part(
        &self,
        to: &Address,
        upload_id: &str,
        each: &[(String, String)],
        part: Part,
    ) -> Result<UploadedPart, ClientError> {
        let Part { number, headers, body } = part;
        let checksum = checksum_of(&body);
        let request = to.request(Method::PUT, None).query("partNumber", &number.to_string());
        let request = request.query("uploadId", upload_id).headers(each.to_vec()).headers(headers).body(body);
        let answer = self.send(&request).await?;
        let etag = answer.header("etag").ok_or(ClientError::Foreign("a part has no ETag"))?.to_owned();
        Ok(UploadedPart { number, etag, checksum })
    }
}

/// Completing is refused either with a status or, once the server has begun to answer, with an error as its document (S3
/// API reference, CompleteMultipartUpload).
async fn completed(answer: Answer) -> Result<Stored, ClientError> {
    let version_id = answer.header("x-amz-version-id").map(str::to_owned);
    let document = document(answer).await?;
    let text = |name| document.text(name).unwrap_or_default().to_owned();
    match document.root.as_str() {
        "CompleteMultipartUploadResult" => Ok(Stored { etag: text("ETag"), version_id }),
        "Error" => {
            let code = text("Code");
            let status = if matches!(code.as_str(), "InternalError" | "SlowDown") { 503 } else { 400 };
            let message = text("Message");
            Err(ClientError::Refused { status, code, message, retry_after: None, server_time_ms: None })
        }
        _ => Err(ClientError::Foreign("it is not a document of S3's")),
    }
}

async fn document(answer: Answer) -> Result<Flat, ClientError> {
    let body = answer.bytes(DOCUMENT_BYTES_MAX).await?;
    Flat::parse(&body).ok_or(ClientError::Foreign("it is not a document of S3's"))
}

fn checksum_of(body: &Body) -> Option<Checksum> {
    match body {
        Body::Stream(stream) => match stream.digest {
            Digest::Checksum(checksum) => Some(checksum),
            Digest::Md5(_) => None,
        },
        Body::Memory(_) => None,
    }
}
