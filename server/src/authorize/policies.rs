//! Buckets' policies, parsed once and kept by their digests, which the buckets' rows name: so a request that finds its
//! bucket's policy here reads nothing more from the index.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_iam::evaluate::{Attached, Source, SourceKind};
use cairn_iam::policy::{Policy, PolicyError, PolicyKind};
use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::PolicyDigest;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::ops::{Bucket, Store};
use parking_lot::RwLock;

use crate::identities::Accounts;
use crate::s3::acl::account_number;

use super::arn_of_bucket;

/// The texts of the policies that are kept, together at most. A thousand buckets with policies of the greatest length fit.
const KEPT_BYTES_MAX: usize = 20 << 20;

/// The format of the stored document: this byte, then the policy's text.
const FORMAT: u8 = 1;

/// Parsed policies of buckets.
#[derive(Debug, Default)]
pub struct BucketPolicies(RwLock<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_digest: HashMap<PolicyDigest, Arc<Attached>>,
    bytes: usize,
}

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
        if let Some(policy) = self.0.read().by_digest.get(&digest) {
            return Ok(Some(Arc::clone(policy)));
        }
        // What is read may be newer than the bucket that was looked up; then it is what holds.
        let Some(document) = store.document(bucket, DocumentKind::Policy).await? else { return Ok(None) };
        let text = decode(&document)?;
        let policy = Policy::parse(text, PolicyKind::Bucket);
        let policy = policy.map_err(|_| StorageError::corrupt("a bucket's policy cannot be read"))?;
        let by_canonical_id = |id: &str| accounts.by_canonical_id(id).map(|account| account_number(account.id));
        // An account that has left the configuration stands for nobody.
        let policy = policy.clone().with_canonical_users(by_canonical_id).unwrap_or(policy);
        let policy = Arc::new(Attached { source: source(bucket.name.as_str()), policy });
        self.keep(digest_of(text), text.len(), &policy);
        Ok(Some(policy))
    }

    fn keep(&self, digest: PolicyDigest, bytes: usize, policy: &Arc<Attached>) {
        let mut kept = self.0.write();
        if kept.bytes + bytes > KEPT_BYTES_MAX {
            // Rare enough: whoever is asked for next is parsed again.
            *kept = Kept::default();
        }
        if kept.by_digest.insert(digest, Arc::clone(policy)).is_none() {
            kept.bytes += bytes;
        }
    }
}

pub(super) fn source(bucket: &str) -> Source {
    Source { kind: SourceKind::Resource, holder: arn_of_bucket(bucket).into(), name: "".into() }
}

/// Names a policy by its text.
pub fn digest_of(text: &str) -> PolicyDigest {
    let digest = Checksum::of(ChecksumAlgorithm::Sha256, text.as_bytes());
    let mut name = [0; 16];
    name.copy_from_slice(&digest.as_bytes()[..16]);
    PolicyDigest(name)
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

    #[test]
    fn the_memory_for_parsed_policies_is_bounded() {
        let text = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Deny\",\"Principal\":\"*\",\
                    \"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b/*\"}]}";
        let policy = Arc::new(Attached { source: source("b"), policy: parse(text).unwrap() });
        let policies = BucketPolicies::default();
        for number in 0..2_500_u32 {
            let mut digest = [0; 16];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            policies.keep(PolicyDigest(digest), 20 << 10, &policy);
            assert!(policies.0.read().bytes <= KEPT_BYTES_MAX);
        }
        assert!(!policies.0.read().by_digest.is_empty());
    }
}
