//! GetBucketEncryption, PutBucketEncryption and DeleteBucketEncryption: what a bucket says of how its new objects are sealed.
//!
//! A bucket whose configuration was never set, or was deleted, has the server's default, as on S3 every bucket has SSE-S3.

use cairn_storage::StorageError;
use cairn_storage::encryption::KMS_KEY_BYTES_MAX;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::ops::{Bucket, Store};
use cairn_storage::record::Record;
use http::StatusCode;
use minicbor::{Decode, Encode};
use s3s::S3ErrorCode;
use s3s::dto::{BlockedEncryptionTypes, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration};

use crate::authorize::{Authorized, OnBucket};
use crate::config::DefaultEncryption;

use super::asked_encryption::{KmsMethod, Method, no_bucket_key_for_dsse};
use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum, xml};

/// A bucket's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct BucketEncryption {
    /// How new objects are sealed about which the request says nothing.
    #[n(0)]
    method: StoredMethod,
    /// `BucketKeyEnabled`: kept and shown; it means nothing for keys that are not a KMS's.
    #[n(1)]
    bucket_key: Option<bool>,
    /// Whether customers' keys are refused; None: nothing is said about it.
    #[n(2)]
    blocks_customer_keys: Option<bool>,
    /// The KMS's key, as it was named; None: the one for S3 of whoever writes.
    #[n(3)]
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
enum StoredMethod {
    #[n(0)]
    Aes256,
    #[n(1)]
    Kms,
    #[n(2)]
    KmsDsse,
}

impl Record for BucketEncryption {
    const NAME: &'static str = "bucket encryption";
    const BYTES_MAX: usize = 32 + KMS_KEY_BYTES_MAX;
}

impl BucketEncryption {
    /// The bucket's; None: it has the server's default.
    pub(super) async fn of(store: &Store, bucket: &Bucket) -> Result<Option<Self>, StorageError> {
        let document = store.document(bucket, DocumentKind::Encryption).await?;
        Ok(document.map(|document| Self::from_value(&document)).transpose()?)
    }

    /// Whether customers' keys are refused.
    pub(super) fn blocks_customer_keys(&self) -> bool {
        self.blocks_customer_keys == Some(true)
    }

    /// Whether objects under a KMS's key are under a bucket key if the request does not say.
    pub(super) fn uses_bucket_keys(&self) -> bool {
        self.bucket_key == Some(true)
    }

    /// How new objects are sealed.
    pub(super) fn method(&self) -> Method {
        match self.method {
            StoredMethod::Aes256 => Method::Aes256,
            StoredMethod::Kms => Method::Kms(KmsMethod::Once),
            StoredMethod::KmsDsse => Method::Kms(KmsMethod::Twice),
        }
    }

    /// The KMS's key, as it was named.
    pub(super) fn into_key(self) -> Option<String> {
        self.key
    }

    fn parse(document: &[u8]) -> Result<Self, Failure> {
        let configuration: ServerSideEncryptionConfiguration = xml::parse(document)?;
        let [rule] = &configuration.rules[..] else { return Err(S3ErrorCode::MalformedXML.into()) };
        let by_default = rule.apply_server_side_encryption_by_default.as_ref();
        let blocked = rule.blocked_encryption_types.as_ref();
        if by_default.is_none() && blocked.is_none() {
            return Err(S3ErrorCode::MalformedXML.into());
        }
        let method = by_default.map_or(Ok(StoredMethod::Aes256), method)?;
        if method == StoredMethod::KmsDsse && rule.bucket_key_enabled == Some(true) {
            return Err(no_bucket_key_for_dsse("BucketKeyEnabled"));
        }
        Ok(Self {
            method,
            bucket_key: rule.bucket_key_enabled,
            key: by_default.and_then(|by_default| by_default.kms_master_key_id.clone()),
            blocks_customer_keys: blocked.map(blocks_customer_keys).transpose()?,
        })
    }

    fn document(&self) -> Document {
        let mut document = Document::new("ServerSideEncryptionConfiguration");
        document.element("Rule", |rule| {
            rule.element("ApplyServerSideEncryptionByDefault", |by_default| {
                by_default.text("SSEAlgorithm", self.method().name());
                if let Some(key) = &self.key {
                    by_default.text("KMSMasterKeyID", key);
                }
            });
            rule.value("BucketKeyEnabled", self.bucket_key.unwrap_or(false));
            if let Some(blocks) = self.blocks_customer_keys {
                let name = if blocks { "SSE-C" } else { "NONE" };
                rule.element("BlockedEncryptionTypes", |types| types.text("EncryptionType", name));
            }
        });
        document
    }
}

fn method(by_default: &ServerSideEncryptionByDefault) -> Result<StoredMethod, Failure> {
    let key = by_default.kms_master_key_id.as_deref();
    let refused =
        |message: &'static str| Err(Failure::invalid_argument("KMSMasterKeyID", key.unwrap_or_default(), message));
    match Method::parse(by_default.sse_algorithm.as_str()) {
        Some(Method::Aes256) if key.is_some() => {
            refused("a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse")
        }
        Some(Method::Aes256) => Ok(StoredMethod::Aes256),
        // Whether there is such a key is found out when it is used, as on AWS.
        Some(Method::Kms(_)) if key.is_some_and(|key| key.is_empty() || key.len() > KMS_KEY_BYTES_MAX) => {
            refused("The KMSMasterKeyID is not valid.")
        }
        Some(Method::Kms(KmsMethod::Once)) => Ok(StoredMethod::Kms),
        Some(Method::Kms(KmsMethod::Twice)) => Ok(StoredMethod::KmsDsse),
        None => Err(S3ErrorCode::MalformedXML.into()),
    }
}

/// `NONE` and `SSE-C` are the types there are (S3 API reference, BlockedEncryptionTypes).
fn blocks_customer_keys(blocked: &BlockedEncryptionTypes) -> Result<bool, Failure> {
    match blocked.encryption_type.as_deref() {
        Some([one]) if one.as_str() == "SSE-C" => Ok(true),
        Some([one]) if one.as_str() == "NONE" => Ok(false),
        _ => Err(S3ErrorCode::MalformedXML.into()),
    }
}

pub(super) async fn get_bucket_encryption(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let bucket = authorized.bucket();
    let default = match edge.encryption.default {
        DefaultEncryption::Aes256 => {
            let method = StoredMethod::Aes256;
            Some(BucketEncryption { method, bucket_key: None, blocks_customer_keys: None, key: None })
        }
        DefaultEncryption::Off => None,
    };
    let found = BucketEncryption::of(&edge.store, bucket).await?.or(default);
    let found = found.ok_or_else(|| {
        Failure::new(S3ErrorCode::ServerSideEncryptionConfigurationNotFoundError)
            .status(StatusCode::NOT_FOUND)
            .field("BucketName", bucket.name.as_str())
    })?;
    Ok(Answer::document(found.document()))
}

pub(super) async fn put_bucket_encryption(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let document = BucketEncryption::parse(&document)?.to_value()?.into();
    edge.store.set_document(authorized.bucket(), DocumentKind::Encryption, Some(document), |_| Ok(())).await?;
    Ok(Answer::empty(StatusCode::OK))
}

pub(super) async fn delete_bucket_encryption(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    edge.store.set_document(authorized.bucket(), DocumentKind::Encryption, None, |_| Ok(())).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(rules: &str) -> Result<BucketEncryption, Failure> {
        let document = format!("<ServerSideEncryptionConfiguration>{rules}</ServerSideEncryptionConfiguration>");
        BucketEncryption::parse(document.as_bytes())
    }

    fn by_default(algorithm: &str, more: &str) -> String {
        format!(
            "<ApplyServerSideEncryptionByDefault><SSEAlgorithm>{algorithm}</SSEAlgorithm>{more}\
             </ApplyServerSideEncryptionByDefault>"
        )
    }

    fn blocked(types: &[&str]) -> String {
        let types: String = types.iter().map(|name| format!("<EncryptionType>{name}</EncryptionType>")).collect();
        format!("<BlockedEncryptionTypes>{types}</BlockedEncryptionTypes>")
    }

    #[test]
    fn a_configuration_round_trips_as_document_and_as_record() {
        for rule in [
            by_default("AES256", ""),
            by_default("AES256", "") + "<BucketKeyEnabled>true</BucketKeyEnabled>",
            by_default("AES256", "") + &blocked(&["SSE-C"]),
            blocked(&["NONE"]),
            by_default("aws:kms", ""),
            by_default("aws:kms", "<KMSMasterKeyID>alias/a</KMSMasterKeyID>")
                + "<BucketKeyEnabled>true</BucketKeyEnabled>",
            by_default("aws:kms:dsse", &format!("<KMSMasterKeyID>{}</KMSMasterKeyID>", "k".repeat(KMS_KEY_BYTES_MAX))),
        ] {
            let read = parse(&format!("<Rule>{rule}</Rule>")).unwrap();
            let value = read.to_value().unwrap();
            assert_eq!(BucketEncryption::from_value(&value).unwrap(), read);
            let shown = BucketEncryption::parse(read.document().finish().as_bytes()).unwrap();
            let told = |read: &BucketEncryption| (read.method, read.key.clone(), read.blocks_customer_keys);
            assert_eq!(told(&shown), told(&read));
        }
    }

    #[test]
    fn what_a_bucket_cannot_be_told_is_refused() {
        let rule = |content: String| format!("<Rule>{content}</Rule>");
        for (rules, code) in [
            (String::new(), "MalformedXML"),
            (rule(String::new()), "MalformedXML"),
            (rule(by_default("AES256", "")).repeat(2), "MalformedXML"),
            (rule(by_default("aes256", "")), "MalformedXML"),
            (rule(by_default("", "")), "MalformedXML"),
            (rule(by_default("aws:KMS", "")), "MalformedXML"),
            (rule(by_default("aws:kms:dsse", "") + "<BucketKeyEnabled>true</BucketKeyEnabled>"), "InvalidArgument"),
            (
                rule(by_default("aws:kms", &format!("<KMSMasterKeyID>{}</KMSMasterKeyID>", "k".repeat(2_049)))),
                "InvalidArgument",
            ),
            (rule(by_default("AES256", "<KMSMasterKeyID>key</KMSMasterKeyID>")), "InvalidArgument"),
            (rule(blocked(&["SSE-S3"])), "MalformedXML"),
            (rule(blocked(&["SSE-C", "NONE"])), "MalformedXML"),
            (rule(blocked(&[])), "MalformedXML"),
        ] {
            assert_eq!(parse(&rules).unwrap_err().code(), code, "{rules}");
        }
    }
}
