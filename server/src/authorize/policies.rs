//! Buckets' policies: as they are stored, and parsed once ([`crate::kept`]).

use std::sync::Arc;

use bytes::Bytes;
use cairn_iam::evaluate::{Attached, Source, SourceKind};
use cairn_iam::policy::{Policy, PolicyError, PolicyKind};
use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::DocumentDigest;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::ops::{Bucket, Store};

use crate::identities::Accounts;
use crate::kept::{self, Kept};
use crate::s3::acl::account_number;

use super::arn_of_bucket;

/// The format of the stored document: this byte, then the policy's text.
const FORMAT: u8 = 1;

/// Parsed policies of buckets. Not as which bucket's: one that is about `*` may be several buckets'.
#[derive(Debug, Default)]
pub struct BucketPolicies(Kept<Policy>);

impl BucketPolicies {
    /// The policy of the bucket, if it has one.
    ///
    /// # Errors
    /// The index's; `Corrupt` if what is stored is no policy.
    pub(super) async fn of(
        &self,
        store: &Store,
        accounts: &Accounts,
        bucket: &Bucket,
    ) -> Result<Option<Arc<Attached>>, StorageError> {
        let Some(digest) = bucket.policy else { return Ok(None) };
        let attached = |policy: Policy| Some(Arc::new(Attached { source: source(bucket.name.as_str()), policy }));
        if let Some(policy) = self.0.get(digest) {
            return Ok(attached(Policy::clone(&policy)));
        }
        // What is read may be newer than the bucket that was looked up; then it is what holds.
        let Some(document) = store.document(bucket, DocumentKind::Policy).await? else { return Ok(None) };
        let text = decode(&document)?;
        let policy = Policy::parse(text, PolicyKind::Bucket);
        let policy = policy.map_err(|_| StorageError::corrupt("a bucket's policy cannot be read"))?;
        let by_canonical_id = |id: &str| accounts.by_canonical_id(id).map(|account| account_number(account.id));
        // An account that has left the configuration stands for nobody.
        let policy = policy.clone().with_canonical_users(by_canonical_id).unwrap_or(policy);
        self.0.keep(digest_of(text), text.len(), &Arc::new(policy.clone()));
        Ok(attached(policy))
    }
}

pub(super) fn source(bucket: &str) -> Source {
    Source { kind: SourceKind::Resource, holder: arn_of_bucket(bucket).into(), name: "".into() }
}

/// Names a policy by its text.
pub fn digest_of(text: &str) -> DocumentDigest {
    kept::digest_of(text.as_bytes())
}

/// The document to store for a policy.
pub fn encode(text: &str) -> Bytes {
    [&[FORMAT], text.as_bytes()].concat().into()
}

/// The text of a stored policy.
///
/// # Errors
/// `Corrupt`.
pub fn decode(document: &[u8]) -> Result<&str, StorageError> {
    let text = match document.split_first() {
        Some((&FORMAT, text)) => std::str::from_utf8(text).ok(),
        _ => None,
    };
    text.ok_or_else(|| StorageError::corrupt("a bucket's policy cannot be read"))
}

/// Reads a policy that a bucket is to have.
///
/// # Errors
/// Why it is none.
pub fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text, PolicyKind::Bucket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_stored_is_the_text_and_can_be_read_back() {
        let text = "{\"Statement\": []} ü";
        assert_eq!(decode(&encode(text)).unwrap(), text);
        for document in [&b""[..], b"\x02{}", b"\x01\xff"] {
            assert!(decode(document).is_err(), "{document:?}");
        }
    }
}
