//! A tier in a bucket of another S3 service: each file is an object, under a prefix of the tier's own.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use cairn_replication::client::{self, Address, Body, Client, ClientError, Method, PARTS_MAX, Part, UploadHeaders};
use cairn_storage::StorageError;
use cairn_storage::blob::{LocalBytes, Remote, RemoteBytes, RemoteError, RemoteFile};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::wiring::chain;

/// What is stored in one request; larger files are uploaded in parts of at least so many bytes.
const PART_BYTES_MIN: u64 = 8 << 20;

/// How many parts of a file are uploaded at once. They are in memory meanwhile, so that a file is read once.
const PARTS_AT_ONCE: usize = 2;

/// How long somebody who reads waits for a service of which nothing comes.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// Where a tier's files are objects.
#[derive(Debug)]
pub struct BucketTier {
    client: Client,
    /// For what somebody waits for.
    reader: Client,
    bucket: String,
    prefix: String,
}

impl BucketTier {
    /// The tier under `prefix` in the bucket.
    pub fn new(client: Client, bucket: &str, prefix: &str) -> Self {
        let reader = client.within(READ_PATIENCE);
        Self { client, reader, bucket: bucket.to_owned(), prefix: prefix.to_owned() }
    }

    fn address(&self, name: &str) -> Address {
        Address { bucket: self.bucket.clone(), key: format!("{}{name}", self.prefix) }
    }
}

#[async_trait]
impl Remote for BucketTier {
    async fn put(&self, name: &str, file: &RemoteFile) -> Result<(), RemoteError> {
        let to = self.address(name);
        // What is in memory is signed by its digest, to which the service holds it.
        if file.length <= PART_BYTES_MIN {
            let bytes = whole((file.read)(0..file.length)).await.map_err(unreadable)?;
            self.client.put(&to, Vec::new(), Body::Memory(bytes)).await.map_err(fault)?;
        } else {
            let part_bytes = PART_BYTES_MIN.max(file.length.div_ceil(PARTS_MAX as u64));
            let parts_count = usize::try_from(file.length.div_ceil(part_bytes)).unwrap_or(usize::MAX);
            let part = |index: usize| {
                let start = index as u64 * part_bytes;
                let pieces = (file.read)(start..file.length.min(start + part_bytes));
                async move {
                    let read = whole(pieces).await;
                    read.map(|read| Part::at(index, Body::Memory(read)))
                        .map_err(|error| ClientError::Source(Box::new(error)))
                }
            };
            let headers = UploadHeaders::default();
            self.client.upload_made(&to, headers, parts_count, part, PARTS_AT_ONCE).await.map_err(fault)?;
        }
        // Each byte was held to a digest; this is that they are all there.
        match length_of(&self.client, &to).await? {
            length if length == file.length => Ok(()),
            length => Err(RemoteError::Wrong(format!("it has {length} bytes there, and should have {}", file.length))),
        }
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<RemoteBytes, RemoteError> {
        let Some(end) = range.end.checked_sub(1).filter(|end| *end >= range.start) else {
            return Ok(Box::pin(futures::stream::empty()));
        };
        let range = client::Range { start: range.start, end };
        let download = self.reader.get(&self.address(name), None, Some(range)).await.map_err(fault)?;
        Ok(Box::pin(download.into_stream().map_err(fault)))
    }

    async fn get_end(&self, name: &str, bytes_max: u64) -> Result<(u64, RemoteBytes), RemoteError> {
        let (length_bytes, download) = self.reader.get_end(&self.address(name), bytes_max).await.map_err(fault)?;
        Ok((length_bytes, Box::pin(download.into_stream().map_err(fault))))
    }

    async fn length(&self, name: &str) -> Result<u64, RemoteError> {
        length_of(&self.reader, &self.address(name)).await
    }

    async fn get_small(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, RemoteError> {
        let mut download = self.reader.get(&self.address(name), None, None).await.map_err(fault)?;
        let mut bytes = Vec::new();
        while let Some(piece) = download.next().await.map_err(fault)? {
            if bytes.len() + piece.len() > bytes_max {
                return Err(RemoteError::Wrong("it is too long".to_owned()));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    async fn put_small(&self, name: &str, bytes: Vec<u8>) -> Result<(), RemoteError> {
        let unless_there = vec![("if-none-match".to_owned(), "*".to_owned())];
        let body = Body::Memory(bytes.into());
        self.client.put(&self.address(name), unless_there, body).await.map(drop).map_err(fault)
    }

    async fn remove(&self, name: &str) -> Result<(), RemoteError> {
        self.reader.delete(&self.address(name), None).await.map(drop).map_err(fault)
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, RemoteError> {
        let full = |name: &str| format!("{}{name}", self.prefix);
        let listed = self.client.list(&self.bucket, &full(prefix), after.map(full).as_deref()).await.map_err(fault)?;
        let name = |key: String| key.strip_prefix(&self.prefix).map(str::to_owned);
        let name =
            |key: String| name(key).ok_or_else(|| RemoteError::Wrong("it lists what was not asked for".to_owned()));
        listed.into_iter().map(name).collect()
    }

    async fn end_uploads(&self) -> Result<(), RemoteError> {
        // A listing has a first page only, which is another one once those in it are aborted.
        let mut before = Vec::new();
        loop {
            let uploads = self.client.list_uploads(&self.bucket, &self.prefix).await.map_err(fault)?;
            if uploads.is_empty() || uploads == before {
                return Ok(());
            }
            for (key, upload_id) in &uploads {
                let address = Address { bucket: self.bucket.clone(), key: key.clone() };
                let abort = address.request(Method::DELETE, None).query("uploadId", upload_id);
                match self.client.send(&abort).await {
                    Ok(_) => tracing::info!(key, "an upload to a storage tier that was cut short is aborted"),
                    Err(error) if error.status() == Some(404) => {}
                    Err(error) => return Err(fault(error)),
                }
            }
            before = uploads;
        }
    }
}

async fn length_of(client: &Client, address: &Address) -> Result<u64, RemoteError> {
    let answer = client.head(address, None).await.map_err(fault)?;
    answer.length_bytes().ok_or_else(|| RemoteError::Wrong("its length is not told".to_owned()))
}

async fn whole(mut pieces: LocalBytes) -> Result<Bytes, StorageError> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.freeze())
}

/// What was to be stored cannot be read.
fn unreadable(error: StorageError) -> RemoteError {
    RemoteError::Source(Arc::new(error))
}

fn fault(error: ClientError) -> RemoteError {
    match error {
        ClientError::Source(error) => match error.downcast::<StorageError>() {
            Ok(ours) => RemoteError::Source(Arc::new(*ours)),
            Err(error) => RemoteError::Down(error.to_string()),
        },
        ClientError::Refused { status: 404, code, .. } if code.is_empty() || code == "NoSuchKey" => {
            RemoteError::Missing
        }
        ClientError::Refused { status: 412 | 416, .. } | ClientError::Foreign(_) | ClientError::Corrupt(_) => {
            RemoteError::Wrong(error.to_string())
        }
        error @ (ClientError::Stalled(_) | ClientError::Unanswered(_)) => RemoteError::Silent(chain(&error)),
        error => RemoteError::Down(chain(&error)),
    }
}
