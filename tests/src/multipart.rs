//! Multipart uploads as a test goes through them.

use bytes::Bytes;

use crate::client::{Call, Client};
use crate::wire::Reply;

/// The smallest part that may be followed by another.
pub const PART_BYTES_MIN: usize = 5 * 1024 * 1024;

/// An upload in progress.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Whose upload it is.
    pub client: Client,
    /// The bucket.
    pub bucket: String,
    /// The key that the object will have.
    pub key: String,
    /// The id that the server gave.
    pub id: String,
}

impl Upload {
    /// Creates an upload.
    pub async fn create(client: &Client, bucket: &str, key: &str) -> Upload {
        Upload::create_with(client, bucket, key, |call| call).await
    }

    /// Creates an upload with more headers.
    pub async fn create_with(client: &Client, bucket: &str, key: &str, more: impl FnOnce(Call) -> Call) -> Upload {
        let call = client.object("POST", bucket, key).query("uploads", "");
        let reply = more(call).send().await.expect(200);
        let id = reply.xml("UploadId");
        assert!(!id.is_empty(), "no upload id: {reply:?}");
        Upload { client: client.clone(), bucket: bucket.into(), key: key.into(), id }
    }

    /// A call on this upload.
    pub fn call(&self, method: &str) -> Call {
        self.client.object(method, &self.bucket, &self.key).query("uploadId", &self.id)
    }

    /// The call that uploads a part.
    pub fn part(&self, number: u32, body: impl Into<Bytes>) -> Call {
        self.client
            .object("PUT", &self.bucket, &self.key)
            .query("partNumber", &number.to_string())
            .query("uploadId", &self.id)
            .body(body)
    }

    /// Uploads a part; returns its ETag.
    pub async fn upload(&self, number: u32, body: impl Into<Bytes>) -> String {
        self.part(number, body).send().await.expect(200).etag()
    }

    /// The call that completes with these parts.
    pub fn complete(&self, parts: &[(u32, String)]) -> Call {
        self.call("POST").body(complete_document(parts))
    }

    /// Aborts.
    pub async fn abort(&self) -> Reply {
        self.call("DELETE").send().await
    }
}

/// The body of CompleteMultipartUpload.
pub fn complete_document(parts: &[(u32, String)]) -> String {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    format!(
        r#"<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>"#
    )
}
