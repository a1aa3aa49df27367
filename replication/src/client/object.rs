//! Requests about one object: put, head, delete.

use reqwest::Method;

use super::body::Body;
use super::{Answer, Client, ClientError, Request, xml};

/// The most that is read of a set of tags: S3 lets an object have ten.
const TAGS_BYTES_MAX: usize = 64 << 10;

/// An object's place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
}

/// What the server says of an object that it stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its ETag, with quotes.
    pub etag: String,
    /// Its version id, if the bucket is versioned.
    pub version_id: Option<String>,
}

impl Address {
    /// A request about it, or about one of its versions.
    #[must_use]
    pub fn request(&self, method: Method, version_id: Option<&str>) -> Request {
        let request = Request::object(method, &self.bucket, &self.key);
        match version_id {
            Some(version_id) => request.query("versionId", version_id),
            None => request,
        }
    }
}

impl Client {
    /// Puts an object in one request. In a versioned bucket an attempt whose answer was lost may have left a version that nobody is
    /// told of, before the one that is.
    ///
    /// # Errors
    /// Those of [`Client::send`]. If it is not `Refused`, nobody knows whether the object was stored.
    pub async fn put(&self, to: &Address, headers: Vec<(String, String)>, body: Body) -> Result<Stored, ClientError> {
        let request = to.request(Method::PUT, None).headers(headers).body(body);
        let answer = self.send(&request).await?;
        let etag = answer.header("etag").ok_or(ClientError::Foreign("it has no ETag"))?.to_owned();
        let version_id = answer.header("x-amz-version-id").map(str::to_owned);
        Ok(Stored { etag, version_id })
    }

    /// Asks for an object's headers.
    ///
    /// # Errors
    /// Those of [`Client::send`].
    pub async fn head(&self, of: &Address, version_id: Option<&str>) -> Result<Answer, ClientError> {
        let request = of.request(Method::HEAD, version_id).header("x-amz-checksum-mode", "ENABLED");
        self.send(&request).await
    }

    /// The tags of an object, or of one of its versions: keys with values.
    ///
    /// # Errors
    /// Those of [`Client::send`], and `Foreign`.
    pub async fn tags(&self, of: &Address, version_id: Option<&str>) -> Result<Vec<[String; 2]>, ClientError> {
        let request = of.request(Method::GET, version_id).query("tagging", "");
        let text = self.send(&request).await?.bytes(TAGS_BYTES_MAX).await?;
        xml::tags(&text).ok_or(ClientError::Foreign("it is not a set of tags of S3's"))
    }

    /// Deletes an object, or one of its versions. The version id is that of the version that went, or of the delete marker. In a
    /// versioned bucket an attempt whose answer was lost may have left a delete marker below that one, if no version was named.
    ///
    /// # Errors
    /// Those of [`Client::send`].
    pub async fn delete(&self, what: &Address, version_id: Option<&str>) -> Result<Option<String>, ClientError> {
        let answer = self.send(&what.request(Method::DELETE, version_id)).await?;
        Ok(answer.header("x-amz-version-id").map(str::to_owned))
    }
}
