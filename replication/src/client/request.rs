//! A request before it is signed.

use std::fmt;

use reqwest::Method;

use super::body::Body;

/// A request to one bucket, or to one object in it.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The bucket.
    pub bucket: String,
    /// The object's key, if it is about one.
    pub key: Option<String>,
    /// The query parameters, decoded.
    pub query: Vec<(String, String)>,
    /// Headers beside those of the signature and the body's length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

impl Request {
    /// A request about a bucket.
    #[must_use]
    pub fn bucket(method: Method, bucket: &str) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, bucket: bucket.to_owned(), key: None, query, headers, body: Body::empty() }
    }

    /// A request about an object.
    #[must_use]
    pub fn object(method: Method, bucket: &str, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..Self::bucket(method, bucket) }
    }

    /// With one more query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With these headers, too.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

/// Without values of headers: a customer's key may be among them.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("bucket", &self.bucket)
            .field("key", &self.key)
            .field("query", &self.query)
            .field("headers", &names)
            .field("body", &self.body)
            .finish()
    }
}
