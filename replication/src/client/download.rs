//! Downloads: verified by what the server declares, and gone on with if they break.

use std::fmt;

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_crypto::digest::Digests;
use reqwest::Method;
use tokio::time::Instant;

use super::object::Address;
use super::{Answer, Client, ClientError, Request};

/// Bytes `start` to `end` of an object, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub end: u64,
}

impl Range {
    fn length_bytes(self) -> u64 {
        self.end.saturating_sub(self.start).saturating_add(1)
    }
}

/// An object, or a range of one, on its way.
pub struct Download {
    client: Client,
    request: Request,
    /// The first answer's headers.
    headers: Vec<(String, String)>,
    answer: Option<Answer>,
    /// Where the next byte is in the object.
    position: u64,
    /// The byte after the last one.
    end: u64,
    check: Option<Check>,
    /// Failures since something came last.
    failures: u32,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("position", &self.position).field("end", &self.end).finish_non_exhaustive()
    }
}

/// What the bytes are compared with in the end.
struct Check {
    digests: Digests,
    expected: Expected,
}

enum Expected {
    Checksum(Checksum),
    Md5([u8; 16]),
}

impl Client {
    /// Begins to download a version of an object, the newest unless one is named, whole unless a range is given. A whole object
    /// is held to the checksum that the server declares, or else to its ETag where that is its MD5.
    ///
    /// # Errors
    /// Those of [`Client::send`]; `Foreign` if the answer is not of one object.
    pub async fn get(
        &self,
        from: &Address,
        version_id: Option<&str>,
        range: Option<Range>,
    ) -> Result<Download, ClientError> {
        let mut request = from.request(Method::GET, version_id).header("x-amz-checksum-mode", "ENABLED");
        if let Some(Range { start, end }) = range {
            request = request.header("range", &format!("bytes={start}-{end}"));
        }
        let answer = self.send(&request).await?;
        let length_bytes = answer.length_bytes().ok_or(ClientError::Foreign("it has no length"))?;
        let is_expected = range.is_none_or(|range| answer.status() == 206 && length_bytes == range.length_bytes());
        if !is_expected {
            return Err(ClientError::Foreign("it is not the range that was asked for"));
        }
        let check = if range.is_none() { Check::of(&answer) } else { None };
        let position = range.map_or(0, |range| range.start);
        let end = position + length_bytes;
        Ok(self.download(request, answer, position..end, check))
    }

    /// Begins to download the last bytes of an object, so many or all that there are, and tells how long the object is. What comes is held
    /// to no checksum.
    ///
    /// # Errors
    /// As [`Client::get`]; `Refused` if the object is empty and the server has no range of that.
    pub async fn get_end(&self, from: &Address, bytes_max: u64) -> Result<(u64, Download), ClientError> {
        let request = from.request(Method::GET, None).header("range", &format!("bytes=-{bytes_max}"));
        let answer = self.send(&request).await?;
        let (status, got_bytes) = (answer.status(), answer.length_bytes());
        let range = answer.header("content-range").and_then(content_range);
        let is_end = |(first, last, length_bytes): &(u64, u64, u64)| {
            last.checked_add(1) == Some(*length_bytes)
                && *first == length_bytes.saturating_sub(bytes_max)
                && got_bytes == Some(length_bytes - first)
        };
        let (first, length_bytes) = match (status, got_bytes) {
            (206, _) => range.filter(is_end).map(|(first, _, length_bytes)| (first, length_bytes)),
            // What is shorter than the range may come as if none had been asked for (RFC 9110, 14.2).
            (200, Some(whole_bytes)) if whole_bytes <= bytes_max => Some((0, whole_bytes)),
            _ => None,
        }
        .ok_or(ClientError::Foreign("it is not the range that was asked for"))?;
        Ok((length_bytes, self.download(request, answer, first..length_bytes, None)))
    }

    fn download(
        &self,
        request: Request,
        answer: Answer,
        bytes: std::ops::Range<u64>,
        check: Option<Check>,
    ) -> Download {
        let headers = answer.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let (client, answer) = (self.clone(), Some(answer));
        Download { client, request, headers, answer, position: bytes.start, end: bytes.end, check, failures: 0 }
    }
}

/// Where a range is in its object: first byte, last byte, and how long the object is (RFC 9110, 14.4).
fn content_range(value: &str) -> Option<(u64, u64, u64)> {
    let (range, length) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, length.parse().ok()?))
}

impl Download {
    /// A header of the answer.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// How many bytes are still to come.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.end - self.position
    }

    /// The next bytes; None at the end, when all that came is what the server declared.
    ///
    /// # Errors
    /// `Corrupt`, or what kept it from going on after it broke. The download is then over.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let began = Instant::now();
        loop {
            // What this ends with has been tried again by then.
            if self.answer.is_none() && self.left_bytes() > 0 {
                self.answer = Some(self.reopened().await?);
            }
            let error = match self.piece().await {
                Ok(piece) => return Ok(piece),
                Err(error) => error,
            };
            self.answer = None;
            self.failures += 1;
            self.client.rest(began, self.failures, error).await?;
        }
    }

    /// The bytes as a stream.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<Bytes, ClientError>> + Send {
        futures::stream::try_unfold(self, |mut download| async {
            Ok(download.next().await?.map(|piece| (piece, download)))
        })
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        let Some(mut answer) = self.answer.take() else { return self.verified() };
        match answer.chunk().await? {
            Some(piece) if piece.len() as u64 <= self.left_bytes() => {
                self.client.0.throttle.pass(piece.len()).await;
                self.position += piece.len() as u64;
                self.failures = 0;
                if let Some(check) = &mut self.check {
                    check.digests.update(&piece);
                }
                self.answer = Some(answer);
                Ok(Some(piece))
            }
            Some(_) => Err(ClientError::Foreign("it is longer than it says")),
            None if self.left_bytes() == 0 => self.verified(),
            None => Err(ClientError::Broken),
        }
    }

    /// The rest of the same object, which the ETag tells.
    async fn reopened(&self) -> Result<Answer, ClientError> {
        let range = format!("bytes={}-{}", self.position, self.end - 1);
        let mut request = self.request.clone();
        request.headers.retain(|(name, _)| name != "range");
        let etag = self.header("etag").ok_or(ClientError::Foreign("it has no ETag, and broke off"))?;
        let answer = self.client.send(&request.header("range", &range).header("if-match", etag)).await?;
        if answer.status() == 206 && answer.length_bytes() == Some(self.left_bytes()) {
            Ok(answer)
        } else {
            Err(ClientError::Foreign("it is not the range that was asked for"))
        }
    }

    fn verified(&mut self) -> Result<Option<Bytes>, ClientError> {
        let Some(Check { digests, expected }) = self.check.take() else { return Ok(None) };
        let finished = digests.finish();
        let is_same = match expected {
            Expected::Checksum(checksum) => finished.checksums.first() == Some(&checksum),
            Expected::Md5(md5) => finished.md5 == Some(md5),
        };
        if is_same { Ok(None) } else { Err(ClientError::Corrupt("its checksum is another")) }
    }
}

impl Check {
    /// What the answer lets its body be compared with; None: nothing.
    fn of(answer: &Answer) -> Option<Self> {
        let is_whole = answer.header("x-amz-checksum-type").is_none_or(|kind| kind == "FULL_OBJECT");
        let declared = ChecksumAlgorithm::ALL.into_iter().find_map(|algorithm| {
            let name = format!("x-amz-checksum-{}", algorithm.as_str().to_ascii_lowercase());
            Checksum::from_base64(algorithm, answer.header(&name)?).ok()
        });
        if let Some(checksum) = declared.filter(|_| is_whole) {
            let digests = Digests::new(false, [checksum.algorithm()]);
            return Some(Self { digests, expected: Expected::Checksum(checksum) });
        }
        // Under a KMS's or a customer's key the ETag is not the MD5 (S3 API reference, Object).
        let hides_md5 = answer.header("x-amz-server-side-encryption").is_some_and(|name| name.starts_with("aws:"))
            || answer.header("x-amz-server-side-encryption-customer-algorithm").is_some();
        let md5 = md5_of(answer.header("etag")?).filter(|_| !hides_md5)?;
        Some(Self { digests: Digests::new(true, []), expected: Expected::Md5(md5) })
    }
}

/// The MD5 that an ETag is, if it is one.
fn md5_of(etag: &str) -> Option<[u8; 16]> {
    let mut md5 = [0; 16];
    hex::decode_to_slice(etag.trim_matches('"'), &mut md5).ok()?;
    Some(md5)
}
