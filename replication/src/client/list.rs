//! What is in a bucket: keys, versions, and uploads that were not completed; and whether it keeps versions.

use percent_encoding::percent_decode_str;
use reqwest::Method;

use super::{Client, ClientError, Request, xml};

/// The most that is read of a page: a thousand keys of a kilobyte, escaped, with what is beside them.
pub(super) const PAGE_BYTES_MAX: usize = 8 << 20;

/// A version, or a delete marker, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionThere {
    /// The key.
    pub key: String,
    /// Its id there.
    pub id: String,
    /// It is the key's newest.
    pub is_latest: bool,
    /// It is a delete marker.
    pub is_marker: bool,
    /// Its bytes.
    pub size_bytes: u64,
    /// Its ETag, without quotes.
    pub etag: String,
}

/// A page of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionsThere {
    /// In the order of keys, and the newest of a key first.
    pub versions: Vec<VersionThere>,
    /// There are more behind the last one, which then there is.
    pub more: bool,
}

impl Client {
    /// The next keys of a bucket that begin with `prefix`, in order, after `after`: a page of at most a thousand; none at the end.
    ///
    /// # Errors
    /// Those of [`Client::send`], and `Foreign`.
    pub async fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<String>, ClientError> {
        let mut request = Request::bucket(Method::GET, bucket).query("list-type", "2").query("prefix", prefix);
        if let Some(after) = after {
            request = request.query("start-after", after);
        }
        let page = self.page(&request, "ListBucketResult", "Contents", ["Key"]).await?;
        Ok(page.into_iter().map(|[key]| key).collect())
    }

    /// Keys and ids of the first multipart uploads, at most a thousand, to keys that begin with `prefix` and that are open.
    ///
    /// # Errors
    /// Those of [`Client::send`], and `Foreign`.
    pub async fn list_uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, String)>, ClientError> {
        let request = Request::bucket(Method::GET, bucket).query("uploads", "").query("prefix", prefix);
        let page = self.page(&request, "ListMultipartUploadsResult", "Upload", ["Key", "UploadId"]).await?;
        Ok(page.into_iter().map(|[key, upload_id]| (key, upload_id)).collect())
    }

    /// The next versions of a bucket whose keys begin with `prefix`, at most a thousand. `after`: behind this key, or behind this version of
    /// it.
    ///
    /// # Errors
    /// Those of [`Client::send`], and `Foreign`.
    pub async fn list_versions(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(&str, Option<&str>)>,
    ) -> Result<VersionsThere, ClientError> {
        let request = Request::bucket(Method::GET, bucket).query("versions", "").query("prefix", prefix);
        // XML has no way to say some of the characters that keys may have.
        let mut request = request.query("encoding-type", "url");
        if let Some((key, version)) = after {
            request = request.query("key-marker", key);
            request = version.map_or(request.clone(), |version| request.query("version-id-marker", version));
        }
        let text = self.send(&request).await?.bytes(PAGE_BYTES_MAX).await?;
        let fields = ["Key", "VersionId", "IsLatest", "Size", "ETag"];
        let page = xml::Listing::parse(&text, "ListVersionsResult", ["Version", "DeleteMarker"], fields);
        let page = page.ok_or(ClientError::Foreign("it is not a listing of S3's"))?;
        // Who does not know the parameter does not encode, and does not say that it does.
        let encoded = page.text("EncodingType") == Some("url");
        let version = |(name, [key, id, is_latest, size, etag]): (usize, [String; 5])| {
            let key = if encoded { decoded(&key)? } else { key };
            let (is_latest, is_marker) = (is_latest == "true", name == 1);
            let size_bytes = if is_marker { Some(0) } else { size.parse().ok() }?;
            Some(VersionThere { key, id, is_latest, is_marker, size_bytes, etag: etag.trim_matches('"').to_owned() })
        };
        let more = page.text("IsTruncated") == Some("true");
        let versions: Option<Vec<_>> = page.items.into_iter().map(version).collect();
        match versions {
            Some(versions) if !(more && versions.is_empty()) => Ok(VersionsThere { versions, more }),
            _ => Err(ClientError::Foreign("it is not a listing of S3's")),
        }
    }

    /// The status of a bucket's versioning; None: it has never been enabled.
    ///
    /// # Errors
    /// Those of [`Client::send`], and `Foreign`.
    pub async fn versioning(&self, bucket: &str) -> Result<Option<String>, ClientError> {
        let request = Request::bucket(Method::GET, bucket).query("versioning", "");
        let text = self.send(&request).await?.bytes(PAGE_BYTES_MAX).await?;
        // Some servers give the root element another name than S3.
        let document = xml::Flat::parse(&text).ok_or(ClientError::Foreign("it is not a document of S3's"))?;
        Ok(document.text("Status").map(|status| status.trim().to_owned()))
    }

    async fn page<const N: usize>(
        &self,
        request: &Request,
        root: &str,
        item: &str,
        fields: [&str; N],
    ) -> Result<Vec<[String; N]>, ClientError> {
        let text = self.send(request).await?.bytes(PAGE_BYTES_MAX).await?;
        xml::items(&text, root, item, fields).ok_or(ClientError::Foreign("it is not a listing of S3's"))
    }
}

/// A key as `encoding-type=url` writes it: a space may be a plus.
fn decoded(key: &str) -> Option<String> {
    let key = key.replace('+', "%20");
    percent_decode_str(&key).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
