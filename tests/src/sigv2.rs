//! AWS Signature Version 2 for S3, written from its specification and independent of the server's verifier: presigned URLs
//! and the header form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::sigv4::{Credentials, Head};

/// The query parameters that a signature covers (S3's "Signing and authenticating REST requests", and what later clients
/// sign besides).
pub const SIGNED_PARAMETERS: [&str; 35] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Adds the query parameters of a URL that lives until `expires`, in seconds since the epoch. `host_bucket` is the bucket
/// that the host names.
pub fn presign(head: &mut Head, credentials: &Credentials, host_bucket: Option<&str>, expires: &str) {
    let signature = signature(head, credentials, host_bucket, expires);
    for (name, value) in
        [("AWSAccessKeyId", credentials.access_key.as_str()), ("Expires", expires), ("Signature", &signature)]
    {
        head.query.push((name.into(), value.into()));
    }
}

/// Adds the `Authorization` header. The request must have a `Date` or an `x-amz-date`.
pub fn sign_header(head: &mut Head, credentials: &Credentials, host_bucket: Option<&str>) {
    let date = match header(head, "x-amz-date") {
        Some(_) => "",
        None => header(head, "date").unwrap_or_default(),
    };
    let signature = signature(head, credentials, host_bucket, date);
    head.headers.push(("authorization".into(), format!("AWS {}:{signature}", credentials.access_key)));
}

fn header<'h>(head: &'h Head, name: &str) -> Option<&'h str> {
    head.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn signature(head: &Head, credentials: &Credentials, host_bucket: Option<&str>, date: &str) -> String {
    let mut amz: Vec<(String, &str)> =
        head.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.trim())).collect();
    amz.retain(|(name, _)| name.starts_with("x-amz-"));
    // Stable, so that the values of one name keep their order.
    amz.sort_by(|left, right| left.0.cmp(&right.0));
    let mut amz_lines = String::new();
    for values in amz.chunk_by(|left, right| left.0 == right.0) {
        let joined: Vec<&str> = values.iter().map(|(_, value)| *value).collect();
        amz_lines.push_str(&format!("{}:{}\n", values[0].0, joined.join(",")));
    }
    let mut sub_resources: Vec<String> = head
        .query
        .iter()
        .filter(|(name, _)| SIGNED_PARAMETERS.contains(&name.as_str()))
        .map(|(name, value)| if value.is_empty() { name.clone() } else { format!("{name}={value}") })
        .collect();
    sub_resources.sort();
    let query = if sub_resources.is_empty() { String::new() } else { format!("?{}", sub_resources.join("&")) };
    let bucket = host_bucket.map(|bucket| format!("/{bucket}")).unwrap_or_default();
    let text = format!(
        "{}\n{}\n{}\n{date}\n{amz_lines}{bucket}{}{query}",
        head.method,
        header(head, "content-md5").unwrap_or_default(),
        header(head, "content-type").unwrap_or_default(),
        head.path,
    );
    sign_text(credentials, &text)
}

/// The signature of any text, as a form's policy is signed.
pub fn sign_text(credentials: &Credentials, text: &str) -> String {
    let mut mac =
        Hmac::<Sha1>::new_from_slice(credentials.secret_key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Head, Credentials) {
        let head = Head { method: "GET".into(), path: "/photos/puppy.jpg".into(), query: vec![], headers: vec![] };
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        (head, credentials)
    }

    /// The example "Query string request authentication" of Amazon's guide.
    #[test]
    fn the_published_presigned_example_is_reproduced() {
        let (mut head, credentials) = example();
        presign(&mut head, &credentials, Some("johnsmith"), "1175139620");
        assert_eq!(head.query[2].1, "NpgCjnDzrM+WFzoENXmpNDUsSn8=");
    }

    /// The example "Object GET" of Amazon's guide.
    #[test]
    fn the_published_header_example_is_reproduced() {
        let (mut head, credentials) = example();
        head.headers.push(("date".into(), "Tue, 27 Mar 2007 19:36:42 +0000".into()));
        sign_header(&mut head, &credentials, Some("awsexamplebucket1"));
        assert_eq!(head.headers[1].1, "AWS AKIAIOSFODNN7EXAMPLE:qgk2+6Sv9/oM7G3qLEjTH1a1l1g=");
    }
}
