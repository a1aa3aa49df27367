//! Where requests go: the endpoint's URL, and how it names buckets.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

use super::ClientError;

/// What stands as it is in a signed path or query (S3 API reference, "Create a signed AWS API request").
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// [`ENCODED`] for object keys, whose slashes stand as they are in a path.
const ENCODED_IN_KEYS: &AsciiSet = &ENCODED.remove(b'/');

/// Where a request's bucket is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the path.
    #[default]
    Path,
    /// In the host's name.
    VirtualHost,
}

/// An S3 endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    url: Url,
    region: String,
    addressing: Addressing,
    ca_file: Option<PathBuf>,
}

/// The text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an endpoint is http://HOST or https://HOST, without a path")]
pub struct EndpointError;

impl Endpoint {
    /// The endpoint at `url`, in `region`, with buckets in the path.
    ///
    /// # Errors
    /// If the URL is more, or less, than scheme, host and port.
    pub fn new(url: &str, region: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(url).map_err(|_| EndpointError)?;
        let is_bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_bare {
            return Err(EndpointError);
        }
        Ok(Self { url, region: region.to_owned(), addressing: Addressing::Path, ca_file: None })
    }

    /// The same, naming buckets so.
    #[must_use]
    pub fn with_addressing(self, addressing: Addressing) -> Self {
        Self { addressing, ..self }
    }

    /// The same, trusting the certificates in this file (PEM) and no others.
    #[must_use]
    pub fn with_ca_file(self, ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, ..self }
    }

    /// Its region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(super) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The URL of a bucket, or of an object in it. `Unsendable` if no URL can name the key.
    pub(super) fn url_of(
        &self,
        bucket: &str,
        key: Option<&str>,
        query: &[(String, String)],
    ) -> Result<Url, ClientError> {
        let mut url = self.url.clone();
        let key = key.unwrap_or_default();
        // URLs resolve these segments, also percent-encoded, so another object would be meant.
        if key.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(ClientError::Unsendable);
        }
        let key = utf8_percent_encode(key, ENCODED_IN_KEYS);
        match (self.addressing, self.url.domain()) {
            // An address has no hosts below it.
            (Addressing::VirtualHost, Some(host)) => {
                url.set_host(Some(&format!("{bucket}.{host}"))).map_err(|_| ClientError::Unsendable)?;
                url.set_path(&format!("/{key}"));
            }
            _ => url.set_path(&format!("/{}/{key}", utf8_percent_encode(bucket, ENCODED))),
        }
        if !query.is_empty() {
            let encode = |text| utf8_percent_encode(text, ENCODED);
            let pairs = query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
            url.set_query(Some(&pairs.collect::<Vec<_>>().join("&")));
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_endpoint_is_scheme_host_and_port() {
        for url in ["http://127.0.0.1:9000", "https://s3.example.com/", "http://[::1]:9000"] {
            assert!(Endpoint::new(url, "us-east-1").is_ok(), "{url}");
        }
        for url in ["", "s3.example.com", "ftp://host", "http://host/path", "http://host?query", "http://a:b@host"] {
            assert_eq!(Endpoint::new(url, "us-east-1").err(), Some(EndpointError), "{url}");
        }
    }

    #[test]
    fn keys_are_encoded_once_and_buckets_are_where_they_belong() {
        let endpoint = Endpoint::new("https://s3.example.com:8443", "us-east-1").unwrap();
        let query = [("versionId".to_owned(), "a b+c".to_owned())];
        for (key, path) in [
            ("a/b c", "/bucket/a/b%20c"),
            ("100%/+ü?#", "/bucket/100%25/%2B%C3%BC%3F%23"),
            ("a//b/", "/bucket/a//b/"),
            ("...", "/bucket/..."),
        ] {
            let url = endpoint.url_of("bucket", Some(key), &query).unwrap();
            assert_eq!(url.as_str(), format!("https://s3.example.com:8443{path}?versionId=a%20b%2Bc"));
        }
        let virtual_host = endpoint.with_addressing(Addressing::VirtualHost);
        let url = virtual_host.url_of("bucket", Some("k"), &[]).unwrap();
        assert_eq!(url.as_str(), "https://bucket.s3.example.com:8443/k");
        let address = Endpoint::new("http://127.0.0.1:9000", "us-east-1").unwrap();
        let address = address.with_addressing(Addressing::VirtualHost);
        assert_eq!(address.url_of("bucket", Some("k"), &[]).unwrap().as_str(), "http://127.0.0.1:9000/bucket/k");
    }

    #[test]
    fn a_key_that_a_url_would_change_is_not_sent() {
        let endpoint = Endpoint::new("http://host", "us-east-1").unwrap();
        for key in ["..", "a/../b", "./a", "a/."] {
            assert!(matches!(endpoint.url_of("bucket", Some(key), &[]), Err(ClientError::Unsendable)), "{key}");
        }
    }
}
