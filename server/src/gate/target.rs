//! Which bucket and key a request names: in its path, or in its path and host.
//!
//! A host `BUCKET.<domain>` with a configured domain addresses a bucket, and so does a host that is configured to be a bucket's
//! name itself; every other host, also an unknown one, is path style, so that a server behind any name works.

use std::collections::HashSet;

use cairn_storage::object::{KEY_BYTES_MAX, ObjectKey};
use http::HeaderMap;
use http::header::HOST;
use s3s::S3ErrorCode;

use crate::s3::encoding::decode;
use crate::s3::error::Failure;
use crate::s3::request::Target;

/// Which hosts name a bucket. All names are in lower case.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// `BUCKET.<domain>` does.
    pub domains: Vec<String>,
    /// These do, each the bucket of the same name.
    pub buckets: HashSet<String>,
}

impl Hosts {
    /// The bucket that a `Host` header names, if its end is one of the domains. A domain itself names none, though it may be
    /// below another.
    pub fn bucket(&self, host: &str) -> Option<String> {
        let host = host_name(host);
        if self.buckets.contains(&host) {
            return Some(host);
        }
        if self.domains.contains(&host) {
            return None;
        }
        // The longest domain wins, so that one may be below another.
        let domain = self.domains.iter().filter(|domain| is_below(&host, domain)).max_by_key(|domain| domain.len())?;
        Some(host[..host.len() - domain.len() - 1].to_owned())
    }
}

/// That a request has one host at most (RFC 9112, 3.2): of two, a proxy could go by the other.
///
/// # Errors
/// `InvalidRequest`.
pub fn check_host(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get_all(HOST).iter().nth(1) {
        Some(_) => Err(Failure::invalid_request("The Host header is repeated.")),
        None => Ok(()),
    }
}

/// The name in a `Host` header, in lower case.
pub fn host_name(host: &str) -> String {
    without_port(host).trim_end_matches('.').to_ascii_lowercase()
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// What the path names, in the bucket of the host if that names one.
///
/// # Errors
/// `InvalidURI` for a malformed path, `KeyTooLongError`.
pub fn of_path(path: &str, host_bucket: Option<&str>) -> Result<Target, Failure> {
    let path = decode(path).ok_or(S3ErrorCode::InvalidURI)?;
    let path = path.strip_prefix('/').ok_or(S3ErrorCode::InvalidURI)?;
    let (bucket, key) = match host_bucket {
        Some(bucket) => (bucket, path),
        None if path.is_empty() => return Ok(Target::Service),
        None => path.split_once('/').unwrap_or((path, "")),
    };
    if bucket.is_empty() {
        return Err(S3ErrorCode::InvalidURI.into());
    }
    let bucket = bucket.to_owned();
    if key.is_empty() {
        return Ok(Target::Bucket(bucket));
    }
    Ok(Target::Object { bucket, key: object_key(key)? })
}

/// A key that is not empty.
///
/// # Errors
/// `KeyTooLongError`.
pub fn object_key(key: &str) -> Result<ObjectKey, Failure> {
    ObjectKey::new(key).ok_or_else(|| {
        Failure::new(S3ErrorCode::KeyTooLongError)
            .field("Size", key.len().to_string())
            .field("MaxSizeAllowed", KEY_BYTES_MAX.to_string())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn bucket(host: &str) -> Option<String> {
        let domains = vec!["s3.localhost".to_owned(), "eu.s3.localhost".to_owned()];
        Hosts { domains, buckets: ["www.example.org".to_owned(), "own.s3.localhost".to_owned()].into() }.bucket(host)
    }

    #[test]
    fn a_host_below_a_domain_names_a_bucket() {
        assert_eq!(bucket("photos.s3.localhost").as_deref(), Some("photos"));
        assert_eq!(bucket("photos.s3.localhost:9000").as_deref(), Some("photos"));
        assert_eq!(bucket("Photos.S3.LocalHost.").as_deref(), Some("photos"));
        assert_eq!(bucket("my.photos.s3.localhost").as_deref(), Some("my.photos"));
        assert_eq!(bucket("photos.eu.s3.localhost").as_deref(), Some("photos"));
    }

    #[test]
    fn a_host_that_is_configured_to_be_a_buckets_name_names_it() {
        assert_eq!(bucket("WWW.example.org:8080").as_deref(), Some("www.example.org"));
        assert_eq!(bucket("own.s3.localhost").as_deref(), Some("own.s3.localhost"));
        assert_eq!(bucket("other.example.org"), None);
        assert_eq!(bucket("a.www.example.org"), None);
    }

    #[test]
    fn every_other_host_is_path_style() {
        for host in [
            "s3.localhost",
            "s3.localhost:9000",
            "eu.s3.localhost",
            ".s3.localhost",
            "xs3.localhost",
            "localhost:9000",
            "127.0.0.1:9000",
            "[::1]:9000",
            "storage.example.com",
            "",
        ] {
            assert_eq!(bucket(host), None, "{host}");
        }
    }

    fn object(bucket: &str, key: &str) -> Target {
        Target::Object { bucket: bucket.to_owned(), key: ObjectKey::new(key).unwrap() }
    }

    #[test]
    fn a_path_names_bucket_and_key() {
        for (path, target) in [
            ("/", Target::Service),
            ("/b", Target::Bucket("b".into())),
            ("/b/", Target::Bucket("b".into())),
            ("/b/k", object("b", "k")),
            ("/b//k", object("b", "/k")),
            ("/b/a/", object("b", "a/")),
            ("/b/../x", object("b", "../x")),
            ("/b/a%20b%2Fc+d%00", object("b", "a b/c+d\0")),
        ] {
            assert_eq!(of_path(path, None).unwrap(), target, "{path}");
        }
    }

    #[test]
    fn with_a_bucket_in_the_host_the_path_is_the_key() {
        let host = || Some("b");
        assert_eq!(of_path("/", host()).unwrap(), Target::Bucket("b".into()));
        assert_eq!(of_path("/k/l", host()).unwrap(), object("b", "k/l"));
        assert_eq!(of_path("//", host()).unwrap(), object("b", "/"));
    }

    #[test]
    fn malformed_paths_are_refused() {
        for path in ["", "*", "//k", "/b/%ff", "/b/%4"] {
            assert_eq!(of_path(path, None).unwrap_err().code(), "InvalidURI", "{path}");
        }
        let long = format!("/b/{}", "k".repeat(1025));
        assert_eq!(of_path(&long, None).unwrap_err().code(), "KeyTooLongError");
    }
}
