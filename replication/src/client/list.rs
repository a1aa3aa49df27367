//! What is in a bucket: keys, and uploads that were not completed.

use reqwest::Method;

use super::{Client, ClientError, Request, xml};

/// The most that is read of a page: a thousand keys of a kilobyte, escaped, with what is beside them.
const PAGE_BYTES_MAX: usize = 8 << 20;

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
