//! Headers that would change what a request means and are not implemented: refused rather than ignored, because a client
//! that asked for encryption or a lock must not believe that it got it. And headers that are repeated though they have one value: of two,
//! policies could be shown the one while the operation does the other.

use http::{HeaderMap, HeaderName, StatusCode};
use s3s::S3ErrorCode;

use crate::s3::error::Failure;
use crate::s3::headers::{
    self, COPY_SOURCE_SSE_CUSTOMER_ALGORITHM, COPY_SOURCE_SSE_CUSTOMER_KEY, COPY_SOURCE_SSE_CUSTOMER_KEY_MD5,
    GRANT_FULL_CONTROL, GRANT_READ, GRANT_READ_ACP, GRANT_WRITE, GRANT_WRITE_ACP, IF_MATCH_LAST_MODIFIED_TIME,
    IF_MATCH_SIZE, OBJECT_ATTRIBUTES, OBJECT_LOCK_LEGAL_HOLD, OBJECT_LOCK_MODE, OBJECT_LOCK_RETAIN_UNTIL_DATE,
    OPTIONAL_OBJECT_ATTRIBUTES, REPLICA_ATTRIBUTES, REPLICA_CHANGED, REPLICA_CREATED, REPLICA_ENVELOPE, REPLICA_ETAG,
    REPLICA_LEFT, REPLICA_OWNER, REPLICA_SEALED, REPLICA_SETTINGS, REPLICA_VERSION_ID, SERVER_SIDE_ENCRYPTION,
    SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED, SERVER_SIDE_ENCRYPTION_CONTEXT, SERVER_SIDE_ENCRYPTION_KMS_KEY_ID,
    SSE_CUSTOMER_ALGORITHM, SSE_CUSTOMER_KEY, SSE_CUSTOMER_KEY_MD5, TRAILER,
};

use super::routes::Operation;

/// Which values of a header are as good as its absence.
#[derive(Clone, Copy, Debug)]
enum Harmless {
    /// None is.
    Nothing,
    /// These are.
    Values(&'static [&'static str]),
}

/// A header's name, or how it begins.
#[derive(Clone, Copy, Debug)]
enum Named {
    Exactly(&'static str),
    Beginning(&'static str),
}

const REFUSED: &[(Named, Harmless)] = &[
    (Named::Beginning("x-amz-server-side-encryption"), Harmless::Nothing),
    (Named::Beginning("x-amz-copy-source-server-side-encryption"), Harmless::Nothing),
    (Named::Beginning("x-amz-cairn-"), Harmless::Nothing),
    (Named::Exactly("x-amz-annotation-directive"), Harmless::Values(&["COPY"])),
    (Named::Beginning("x-amz-object-lock-"), Harmless::Nothing),
    (Named::Exactly("x-amz-bucket-namespace"), Harmless::Values(&["global"])),
    (Named::Exactly("x-amz-write-offset-bytes"), Harmless::Nothing),
    (Named::Beginning("x-amz-if-match-"), Harmless::Nothing),
    (Named::Beginning("x-amz-rename-source"), Harmless::Nothing),
    (Named::Exactly("x-amz-request-route"), Harmless::Nothing),
    (Named::Exactly("x-amz-request-token"), Harmless::Nothing),
];

/// Headers that are lists, which may go over several lines; so may user metadata, whose lines are joined.
static LISTS: [HeaderName; 8] = [
    GRANT_FULL_CONTROL,
    GRANT_READ,
    GRANT_READ_ACP,
    GRANT_WRITE,
    GRANT_WRITE_ACP,
    OBJECT_ATTRIBUTES,
    OPTIONAL_OBJECT_ATTRIBUTES,
    TRAILER,
];

const PREFIX: &str = "x-amz-";
const USER_METADATA_PREFIX: &str = "x-amz-meta-";

/// What a deletion honours and nothing else does.
static OF_DELETE: [HeaderName; 2] = [IF_MATCH_SIZE, IF_MATCH_LAST_MODIFIED_TIME];

/// What the operations that make a version honour and nothing else does.
static OF_NEW_VERSION: [HeaderName; 3] = [OBJECT_LOCK_MODE, OBJECT_LOCK_RETAIN_UNTIL_DATE, OBJECT_LOCK_LEGAL_HOLD];

/// What says how to seal, or opens what is sealed: the operations on objects' bytes honour it, or answer why not.
static OF_SEALED: [HeaderName; 7] = [
    SERVER_SIDE_ENCRYPTION,
    SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED,
    SERVER_SIDE_ENCRYPTION_CONTEXT,
    SERVER_SIDE_ENCRYPTION_KMS_KEY_ID,
    SSE_CUSTOMER_ALGORITHM,
    SSE_CUSTOMER_KEY,
    SSE_CUSTOMER_KEY_MD5,
];

/// What opens the source of a copy.
static OF_COPY: [HeaderName; 3] =
    [COPY_SOURCE_SSE_CUSTOMER_ALGORITHM, COPY_SOURCE_SSE_CUSTOMER_KEY, COPY_SOURCE_SSE_CUSTOMER_KEY_MD5];

/// What comes with a new version that is a replica.
static OF_REPLICA: [HeaderName; 9] = [
    REPLICA_VERSION_ID,
    REPLICA_CREATED,
    REPLICA_ETAG,
    REPLICA_CHANGED,
    REPLICA_SETTINGS,
    REPLICA_LEFT,
    REPLICA_OWNER,
    REPLICA_ATTRIBUTES,
    REPLICA_ENVELOPE,
];

/// What comes with bytes of a replica that stay sealed.
static OF_REPLICAS_BYTES: [HeaderName; 1] = [REPLICA_SEALED];

/// What comes with a delete marker that is a replica, or names the one whose upload goes on, or that is asked about.
static OF_MARKER: [HeaderName; 2] = [REPLICA_VERSION_ID, REPLICA_CREATED];
static OF_SOME_REPLICA: [HeaderName; 1] = [REPLICA_VERSION_ID];

/// What brings a replica's settings.
static OF_REPLICAS_SETTINGS: [HeaderName; 4] = [REPLICA_VERSION_ID, REPLICA_CHANGED, REPLICA_SETTINGS, REPLICA_LEFT];

fn honoured(operation: Operation) -> [&'static [HeaderName]; 4] {
    match operation {
        Operation::DeleteObject => [&OF_DELETE, &OF_MARKER, &[], &[]],
        Operation::PutObject => [&OF_NEW_VERSION, &OF_SEALED, &OF_REPLICA, &OF_REPLICAS_BYTES],
        Operation::CreateMultipartUpload => [&OF_NEW_VERSION, &OF_SEALED, &OF_REPLICA, &[]],
        Operation::PostObject => [&OF_NEW_VERSION, &OF_SEALED, &[], &[]],
        Operation::PutObjectTagging => [&OF_REPLICAS_SETTINGS, &[], &[], &[]],
        Operation::UploadPart => [&OF_SEALED, &OF_SOME_REPLICA, &OF_REPLICAS_BYTES, &[]],
        Operation::CompleteMultipartUpload | Operation::HeadObject => [&OF_SEALED, &OF_SOME_REPLICA, &[], &[]],
        Operation::CopyObject => [&OF_NEW_VERSION, &OF_SEALED, &OF_COPY, &[]],
        Operation::UploadPartCopy => [&OF_SEALED, &OF_COPY, &[], &[]],
        Operation::ListParts | Operation::GetObject | Operation::GetObjectAttributes => [&OF_SEALED, &[], &[], &[]],
        _ => [&[], &[], &[], &[]],
    }
}

/// Refuses a request with a header that cannot be honoured, or that is repeated though it has one value.
///
/// # Errors
/// `NotImplemented`, naming the header; `InvalidRequest`.
pub fn check(operation: Operation, headers: &HeaderMap) -> Result<(), Failure> {
    check_repeated(headers)?;
    for (name, value) in headers {
        if honoured(operation).into_iter().flatten().any(|honoured| honoured == name) {
            continue;
        }
        let name = name.as_str();
        if !name.starts_with(PREFIX) {
            continue;
        }
        let Some((_, harmless)) = REFUSED.iter().find(|(named, _)| named.matches(name)) else { continue };
        let is_harmless = match harmless {
            Harmless::Nothing => false,
            Harmless::Values(values) => values.contains(&headers::text_of(value).as_str()),
        };
        if !is_harmless {
            return Err(refusal(name));
        }
    }
    Ok(())
}

fn check_repeated(headers: &HeaderMap) -> Result<(), Failure> {
    if headers.keys_len() == headers.len() {
        return Ok(());
    }
    let has_one_value = |name: &HeaderName| {
        let text = name.as_str();
        text.starts_with(PREFIX) && !text.starts_with(USER_METADATA_PREFIX) && !LISTS.contains(name)
    };
    let is_repeated = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    match headers.keys().find(|name| has_one_value(name) && is_repeated(name)) {
        Some(name) => Err(Failure::invalid_request(format!("The {name} header is repeated."))),
        None => Ok(()),
    }
}

/// The answer to a header, or to a field of a form, that cannot be honoured.
pub fn refusal(name: &str) -> Failure {
    let message = "A header you provided implies functionality that is not implemented.";
    Failure::with_message(S3ErrorCode::NotImplemented, message)
        .status(StatusCode::NOT_IMPLEMENTED)
        .field("Header", name)
}

impl Named {
    fn matches(self, name: &str) -> bool {
        match self {
            Self::Exactly(exact) => name == exact,
            Self::Beginning(prefix) => name.starts_with(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn check_one(name: &str, value: &'static str) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static(value));
        check(Operation::PutObject, &headers)
    }

    #[test]
    fn every_header_on_the_list_is_refused_with_501() {
        for (named, _) in REFUSED {
            let name = match named {
                Named::Exactly(name) => (*name).to_owned(),
                Named::Beginning(prefix) => format!("{prefix}-x"),
            };
            let failure = check_one(&name, "something").unwrap_err();
            assert_eq!((failure.code(), failure.status_code().as_u16()), ("NotImplemented", 501), "{name}");
        }
    }

    #[test]
    fn values_that_ask_for_what_is_so_anyway_pass() {
        for (name, value) in [
            ("x-amz-annotation-directive", "COPY"),
            ("x-amz-bucket-namespace", "global"),
            ("x-amz-date", "20260101T000000Z"),
            ("x-amz-meta-acl", "public-read"),
            ("x-amz-storage-class", "STANDARD_IA"),
        ] {
            assert!(check_one(name, value).is_ok(), "{name}: {value}");
        }
        assert!(check_one("x-amz-annotation-directive", "REPLACE").is_err());
    }

    #[test]
    fn what_has_one_value_comes_once() {
        let check_two = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(name, HeaderValue::from_static("COPY"));
            headers.append(name, HeaderValue::from_static("REPLACE"));
            check(Operation::PutObject, &headers).map_err(|failure| failure.code().to_owned())
        };
        for name in ["x-amz-annotation-directive", "x-amz-acl", "x-amz-server-side-encryption", "x-amz-unheard-of"] {
            assert_eq!(check_two(name), Err("InvalidRequest".to_owned()), "{name}");
        }
        for name in ["x-amz-grant-read", "x-amz-meta-a", "x-amz-object-attributes", "if-none-match", "cache-control"] {
            assert_eq!(check_two(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn locks_are_for_new_versions() {
        for name in OF_NEW_VERSION.clone() {
            let headers = [(name, HeaderValue::from_static("ON"))].into_iter().collect();
            for operation in [Operation::PutObject, Operation::CopyObject, Operation::CreateMultipartUpload] {
                assert!(check(operation, &headers).is_ok());
            }
            assert!(check(Operation::UploadPart, &headers).is_err());
        }
    }

    #[test]
    fn encryption_is_for_objects_bytes() {
        for name in OF_SEALED.clone() {
            let headers = [(name, HeaderValue::from_static("AES256"))].into_iter().collect();
            for operation in [Operation::PutObject, Operation::GetObject, Operation::UploadPartCopy] {
                assert!(check(operation, &headers).is_ok());
            }
            assert!(check(Operation::PutObjectTagging, &headers).is_err());
        }
        for name in OF_COPY.clone() {
            let headers = [(name, HeaderValue::from_static("AES256"))].into_iter().collect();
            assert!(check(Operation::CopyObject, &headers).is_ok());
            assert!(check(Operation::PutObject, &headers).is_err());
        }
    }

    #[test]
    fn conditions_on_size_and_time_are_for_deletions() {
        for name in OF_DELETE.clone() {
            let headers = [(name, HeaderValue::from_static("1"))].into_iter().collect();
            assert!(check(Operation::DeleteObject, &headers).is_ok());
            assert!(check(Operation::PutObject, &headers).is_err());
        }
    }
}
