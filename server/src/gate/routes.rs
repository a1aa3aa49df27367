//! The allow-list: which operation a method, a target and the query's sub-resources ask for.
//!
//! Invariant: a request with a sub-resource that is not implemented never reaches the plain operation on the same bucket
//! or key. A known sub-resource is refused by name; a parameter without a value that nobody knows is taken for one.

use http::{HeaderMap, Method};
use s3s::S3ErrorCode;

use crate::s3::error::Failure;
use crate::s3::headers::ACCOUNT_ID;
use crate::s3::request::{Query, Target};

macro_rules! operations {
    ($($name:ident)*) => {
        /// The operations that are implemented. The names are S3's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Operation {
            $($name,)*
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// S3's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

operations! {
    AbortMultipartUpload
    CompleteMultipartUpload
    CopyObject
    CreateBucket
    CreateMultipartUpload
    DeleteAccountPublicAccessBlock
    DeleteBucket
    DeleteBucketCors
    DeleteBucketEncryption
    DeleteBucketIntelligentTieringConfiguration
    DeleteBucketLifecycle
    DeleteBucketOwnershipControls
    DeleteBucketPolicy
    DeleteBucketReplication
    DeleteBucketTagging
    DeleteBucketWebsite
    DeleteObject
    DeleteObjectTagging
    DeleteObjects
    DeletePublicAccessBlock
    GetAccountPublicAccessBlock
    GetBucketAccelerateConfiguration
    GetBucketAcl
    GetBucketCors
    GetBucketEncryption
    GetBucketIntelligentTieringConfiguration
    GetBucketLifecycleConfiguration
    GetBucketLocation
    GetBucketOwnershipControls
    GetBucketPolicy
    GetBucketPolicyStatus
    GetBucketReplication
    GetBucketRequestPayment
    GetBucketTagging
    GetBucketVersioning
    GetBucketWebsite
    GetObject
    GetObjectAcl
    GetObjectAttributes
    GetObjectLegalHold
    GetObjectLockConfiguration
    GetObjectRetention
    GetObjectTagging
    GetPublicAccessBlock
    HeadBucket
    HeadObject
    ListBucketIntelligentTieringConfigurations
    ListBuckets
    ListMultipartUploads
    ListObjectVersions
    ListObjects
    ListObjectsV2
    ListParts
    PostObject
    PutAccountPublicAccessBlock
    PutBucketAccelerateConfiguration
    PutBucketAcl
    PutBucketCors
    PutBucketEncryption
    PutBucketIntelligentTieringConfiguration
    PutBucketLifecycleConfiguration
    PutBucketOwnershipControls
    PutBucketPolicy
    PutBucketReplication
    PutBucketRequestPayment
    PutBucketTagging
    PutBucketVersioning
    PutBucketWebsite
    PutObject
    PutObjectAcl
    PutObjectLegalHold
    PutObjectLockConfiguration
    PutObjectRetention
    PutObjectTagging
    PutPublicAccessBlock
    RestoreObject
    UpdateObjectEncryption
    UploadPart
    UploadPartCopy
}

impl Operation {
    /// Whether the body is an object's or a part's bytes, rather than a document or nothing.
    pub fn takes_object(self) -> bool {
        matches!(self, Self::PostObject | Self::PutObject | Self::UploadPart)
    }

    /// Whether it reads an object besides the one that it writes.
    pub fn is_copy(self) -> bool {
        matches!(self, Self::CopyObject | Self::UploadPartCopy)
    }
}

/// Every query parameter that chooses another operation in S3's API, whether it is implemented or not.
const SUB_RESOURCES: &[&str] = &[
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "select-type",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// Parameters that choose nothing, with a value or without: SDKs and tools send some of them empty.
const PLAIN_PARAMETERS: &[&str] = &[
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "id",
    "key-marker",
    "list-type",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
    "x-id",
];

/// The path of an account's public access block (S3 Control API reference).
const ACCOUNT_ACCESS_BLOCK: &str = "/v20180820/configuration/publicAccessBlock";

/// The operation of the S3 Control API that a request asks for. Its requests are told from those for a key of that name, in a
/// bucket called `v20180820`, by the header with the account's number, which they all have.
///
/// # Errors
/// `MethodNotAllowed`.
pub fn of_account(method: &Method, path: &str, headers: &HeaderMap) -> Result<Option<Operation>, Failure> {
    if path != ACCOUNT_ACCESS_BLOCK || !headers.contains_key(ACCOUNT_ID) {
        return Ok(None);
    }
    match method.as_str() {
        "GET" => Ok(Some(Operation::GetAccountPublicAccessBlock)),
        "PUT" => Ok(Some(Operation::PutAccountPublicAccessBlock)),
        "DELETE" => Ok(Some(Operation::DeleteAccountPublicAccessBlock)),
        _ => Err(refusal(method, &Target::Service, &[])),
    }
}

/// The operation that a request asks for.
///
/// # Errors
/// `NotImplemented` for what S3 knows and this server does not, `MethodNotAllowed` for what nobody knows.
pub fn route(method: &Method, target: &Target, query: &Query, is_copy: bool) -> Result<Operation, Failure> {
    let sub_resources = sub_resources(query);
    let names: Vec<&str> = sub_resources.iter().map(String::as_str).collect();
    let operation = match target {
        Target::Service => of_service(method, &names),
        Target::Bucket(_) => of_bucket(method, &names, query)?,
        Target::Object { .. } => of_object(method, &names, is_copy)?,
    };
    operation.ok_or_else(|| refusal(method, target, &names))
}

fn of_service(method: &Method, names: &[&str]) -> Option<Operation> {
    match (method.as_str(), names) {
        ("GET", []) => Some(Operation::ListBuckets),
        _ => None,
    }
}

fn of_bucket(method: &Method, names: &[&str], query: &Query) -> Result<Option<Operation>, Failure> {
    Ok(Some(match (method.as_str(), names) {
        ("GET", []) => match query.non_empty("list-type") {
            None | Some("1") => Operation::ListObjects,
            Some("2") => Operation::ListObjectsV2,
            Some(other) => {
                return Err(Failure::invalid_argument("list-type", other, "Invalid List Type specified in Request"));
            }
        },
        ("GET", ["object-lock"]) => Operation::GetObjectLockConfiguration,
        ("PUT", ["object-lock"]) => Operation::PutObjectLockConfiguration,
        ("GET", ["acl"]) => Operation::GetBucketAcl,
        ("DELETE", ["intelligent-tiering"]) => Operation::DeleteBucketIntelligentTieringConfiguration,
        ("GET", ["intelligent-tiering"]) if query.get("id").is_some() => {
            Operation::GetBucketIntelligentTieringConfiguration
        }
        ("GET", ["intelligent-tiering"]) => Operation::ListBucketIntelligentTieringConfigurations,
        ("PUT", ["intelligent-tiering"]) => Operation::PutBucketIntelligentTieringConfiguration,
        ("DELETE", ["lifecycle"]) => Operation::DeleteBucketLifecycle,
        ("GET", ["lifecycle"]) => Operation::GetBucketLifecycleConfiguration,
        ("PUT", ["lifecycle"]) => Operation::PutBucketLifecycleConfiguration,
        ("GET", ["location"]) => Operation::GetBucketLocation,
        ("GET", ["ownershipControls"]) => Operation::GetBucketOwnershipControls,
        ("GET", ["requestPayment"]) => Operation::GetBucketRequestPayment,
        ("GET", ["uploads"]) => Operation::ListMultipartUploads,
        ("GET", ["versioning"]) => Operation::GetBucketVersioning,
        ("HEAD", []) => Operation::HeadBucket,
        ("PUT", []) => Operation::CreateBucket,
        ("DELETE", ["cors"]) => Operation::DeleteBucketCors,
        ("GET", ["cors"]) => Operation::GetBucketCors,
        ("PUT", ["cors"]) => Operation::PutBucketCors,
        ("DELETE", ["encryption"]) => Operation::DeleteBucketEncryption,
        ("GET", ["encryption"]) => Operation::GetBucketEncryption,
        ("PUT", ["encryption"]) => Operation::PutBucketEncryption,
        ("DELETE", ["replication"]) => Operation::DeleteBucketReplication,
        ("GET", ["replication"]) => Operation::GetBucketReplication,
        ("PUT", ["replication"]) => Operation::PutBucketReplication,
        ("DELETE", ["tagging"]) => Operation::DeleteBucketTagging,
        ("DELETE", ["website"]) => Operation::DeleteBucketWebsite,
        ("GET", ["website"]) => Operation::GetBucketWebsite,
        ("PUT", ["website"]) => Operation::PutBucketWebsite,
        ("GET", ["accelerate"]) => Operation::GetBucketAccelerateConfiguration,
        ("GET", ["tagging"]) => Operation::GetBucketTagging,
        ("GET", ["versions"]) => Operation::ListObjectVersions,
        ("PUT", ["accelerate"]) => Operation::PutBucketAccelerateConfiguration,
        ("PUT", ["tagging"]) => Operation::PutBucketTagging,
        ("PUT", ["acl"]) => Operation::PutBucketAcl,
        ("GET", ["policy"]) => Operation::GetBucketPolicy,
        ("PUT", ["policy"]) => Operation::PutBucketPolicy,
        ("DELETE", ["policy"]) => Operation::DeleteBucketPolicy,
        ("GET", ["policyStatus"]) => Operation::GetBucketPolicyStatus,
        ("GET", ["publicAccessBlock"]) => Operation::GetPublicAccessBlock,
        ("PUT", ["publicAccessBlock"]) => Operation::PutPublicAccessBlock,
        ("DELETE", ["publicAccessBlock"]) => Operation::DeletePublicAccessBlock,
        ("PUT", ["ownershipControls"]) => Operation::PutBucketOwnershipControls,
        ("PUT", ["requestPayment"]) => Operation::PutBucketRequestPayment,
        ("PUT", ["versioning"]) => Operation::PutBucketVersioning,
        ("DELETE", []) => Operation::DeleteBucket,
        ("DELETE", ["ownershipControls"]) => Operation::DeleteBucketOwnershipControls,
        ("POST", ["delete"]) => Operation::DeleteObjects,
        ("POST", []) => Operation::PostObject,
        _ => return Ok(None),
    }))
}

fn of_object(method: &Method, names: &[&str], is_copy: bool) -> Result<Option<Operation>, Failure> {
    Ok(Some(match (method.as_str(), names) {
        ("GET", [] | ["partNumber"] | ["versionId"] | ["partNumber", "versionId"]) => Operation::GetObject,
        ("HEAD", [] | ["partNumber"] | ["versionId"] | ["partNumber", "versionId"]) => Operation::HeadObject,
        ("DELETE", ["tagging"] | ["tagging", "versionId"]) => Operation::DeleteObjectTagging,
        ("GET", ["tagging"] | ["tagging", "versionId"]) => Operation::GetObjectTagging,
        ("PUT", ["tagging"] | ["tagging", "versionId"]) => Operation::PutObjectTagging,
        ("GET", ["acl"] | ["acl", "versionId"]) => Operation::GetObjectAcl,
        ("PUT", ["acl"] | ["acl", "versionId"]) => Operation::PutObjectAcl,
        ("GET", ["attributes"] | ["attributes", "versionId"]) => Operation::GetObjectAttributes,
        ("GET", ["legal-hold"] | ["legal-hold", "versionId"]) => Operation::GetObjectLegalHold,
        ("PUT", ["legal-hold"] | ["legal-hold", "versionId"]) => Operation::PutObjectLegalHold,
        ("GET", ["retention"] | ["retention", "versionId"]) => Operation::GetObjectRetention,
        ("PUT", ["retention"] | ["retention", "versionId"]) => Operation::PutObjectRetention,
        ("PUT", ["encryption"] | ["encryption", "versionId"]) => Operation::UpdateObjectEncryption,
        ("GET", ["uploadId"]) => Operation::ListParts,
        ("PUT", []) if is_copy => Operation::CopyObject,
        ("PUT", []) => Operation::PutObject,
        ("PUT", ["partNumber", "uploadId"]) if is_copy => Operation::UploadPartCopy,
        ("PUT", ["partNumber", "uploadId"]) => Operation::UploadPart,
        ("PUT", ["partNumber"] | ["uploadId"]) => {
            return Err(Failure::invalid_request("A part is uploaded with both partNumber and uploadId."));
        }
        ("PUT" | "POST", ["versionId"]) => {
            return Err(Failure::invalid_argument("versionId", "", "This operation does not accept a version-id."));
        }
        ("POST", ["restore"] | ["restore", "versionId"]) => Operation::RestoreObject,
        ("POST", ["uploads"]) => Operation::CreateMultipartUpload,
        ("POST", ["uploadId"]) => Operation::CompleteMultipartUpload,
        ("DELETE", [] | ["versionId"]) => Operation::DeleteObject,
        ("DELETE", ["uploadId"]) => Operation::AbortMultipartUpload,
        _ => return Ok(None),
    }))
}

/// The names in the query that choose an operation, sorted and without repetition.
fn sub_resources(query: &Query) -> Vec<String> {
    let mut names: Vec<String> =
        query.iter().filter(|(name, value)| chooses(name, value)).map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a parameter is one of those that say what a listing shows, and choose no operation.
pub fn chooses_nothing(name: &str) -> bool {
    PLAIN_PARAMETERS.contains(&name)
}

fn chooses(name: &str, value: &str) -> bool {
    if SUB_RESOURCES.contains(&name) {
        return true;
    }
    let known_plain = chooses_nothing(name) || name.starts_with("response-") || is_of_signature(name);
    value.is_empty() && !known_plain
}

fn is_of_signature(name: &str) -> bool {
    name.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-amz-"))
        || ["AWSAccessKeyId", "Expires", "Signature"].contains(&name)
}

fn refusal(method: &Method, target: &Target, names: &[&str]) -> Failure {
    if let Some(name) = names.first() {
        return Failure::with_message(
            S3ErrorCode::NotImplemented,
            format!("The sub-resource {} is not implemented for this method.", printable(name)),
        )
        .field("Resource-Name", printable(name));
    }
    let resource_type = match target {
        Target::Service => "SERVICE",
        Target::Bucket(_) => "BUCKET",
        Target::Object { .. } => "OBJECT",
    };
    Failure::new(S3ErrorCode::MethodNotAllowed).field("Method", method.as_str()).field("ResourceType", resource_type)
}

/// A name from the client, short enough to repeat in a message.
fn printable(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashMap;

    use cairn_storage::object::ObjectKey;

    use super::*;

    fn targets() -> [Target; 3] {
        let key = ObjectKey::new("k").unwrap();
        [Target::Service, Target::Bucket("b".into()), Target::Object { bucket: "b".into(), key }]
    }

    fn level(target: &Target) -> &'static str {
        match target {
            Target::Service => "service",
            Target::Bucket(_) => "bucket",
            Target::Object { .. } => "object",
        }
    }

    fn routed(method: &str, target: &Target, query: &str) -> Result<Operation, Failure> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        route(&method, target, &Query::parse(Some(query)).unwrap(), false)
    }

    #[test]
    fn every_method_with_every_sub_resource_is_an_operation_on_the_list_or_refused() {
        let allowed: HashMap<(&str, &str, &str), Operation> = [
            (("GET", "service", ""), Operation::ListBuckets),
            (("GET", "bucket", ""), Operation::ListObjects),
            (("GET", "bucket", "acl"), Operation::GetBucketAcl),
            (("PUT", "bucket", "acl"), Operation::PutBucketAcl),
            (("GET", "object", "acl"), Operation::GetObjectAcl),
            (("PUT", "object", "acl"), Operation::PutObjectAcl),
            (("GET", "bucket", "ownershipControls"), Operation::GetBucketOwnershipControls),
            (("PUT", "bucket", "ownershipControls"), Operation::PutBucketOwnershipControls),
            (("DELETE", "bucket", "ownershipControls"), Operation::DeleteBucketOwnershipControls),
            (("GET", "bucket", "requestPayment"), Operation::GetBucketRequestPayment),
            (("PUT", "bucket", "requestPayment"), Operation::PutBucketRequestPayment),
            (("DELETE", "bucket", "cors"), Operation::DeleteBucketCors),
            (("GET", "bucket", "cors"), Operation::GetBucketCors),
            (("PUT", "bucket", "cors"), Operation::PutBucketCors),
            (("GET", "bucket", "encryption"), Operation::GetBucketEncryption),
            (("PUT", "bucket", "encryption"), Operation::PutBucketEncryption),
            (("DELETE", "bucket", "encryption"), Operation::DeleteBucketEncryption),
            (("DELETE", "bucket", "lifecycle"), Operation::DeleteBucketLifecycle),
            (("GET", "bucket", "lifecycle"), Operation::GetBucketLifecycleConfiguration),
            (("PUT", "bucket", "lifecycle"), Operation::PutBucketLifecycleConfiguration),
            (("DELETE", "bucket", "intelligent-tiering"), Operation::DeleteBucketIntelligentTieringConfiguration),
            (("GET", "bucket", "intelligent-tiering"), Operation::ListBucketIntelligentTieringConfigurations),
            (("PUT", "bucket", "intelligent-tiering"), Operation::PutBucketIntelligentTieringConfiguration),
            (("POST", "object", "restore"), Operation::RestoreObject),
            (("DELETE", "bucket", "replication"), Operation::DeleteBucketReplication),
            (("GET", "bucket", "replication"), Operation::GetBucketReplication),
            (("PUT", "bucket", "replication"), Operation::PutBucketReplication),
            (("GET", "bucket", "location"), Operation::GetBucketLocation),
            (("GET", "bucket", "policy"), Operation::GetBucketPolicy),
            (("PUT", "bucket", "policy"), Operation::PutBucketPolicy),
            (("DELETE", "bucket", "policy"), Operation::DeleteBucketPolicy),
            (("GET", "bucket", "policyStatus"), Operation::GetBucketPolicyStatus),
            (("GET", "bucket", "publicAccessBlock"), Operation::GetPublicAccessBlock),
            (("PUT", "bucket", "publicAccessBlock"), Operation::PutPublicAccessBlock),
            (("DELETE", "bucket", "publicAccessBlock"), Operation::DeletePublicAccessBlock),
            (("GET", "bucket", "uploads"), Operation::ListMultipartUploads),
            (("GET", "bucket", "versioning"), Operation::GetBucketVersioning),
            (("GET", "bucket", "object-lock"), Operation::GetObjectLockConfiguration),
            (("PUT", "bucket", "object-lock"), Operation::PutObjectLockConfiguration),
            (("PUT", "object", "encryption"), Operation::UpdateObjectEncryption),
            (("GET", "object", "legal-hold"), Operation::GetObjectLegalHold),
            (("PUT", "object", "legal-hold"), Operation::PutObjectLegalHold),
            (("GET", "object", "retention"), Operation::GetObjectRetention),
            (("PUT", "object", "retention"), Operation::PutObjectRetention),
            (("HEAD", "bucket", ""), Operation::HeadBucket),
            (("PUT", "bucket", ""), Operation::CreateBucket),
            (("DELETE", "bucket", "tagging"), Operation::DeleteBucketTagging),
            (("GET", "bucket", "accelerate"), Operation::GetBucketAccelerateConfiguration),
            (("GET", "bucket", "tagging"), Operation::GetBucketTagging),
            (("GET", "bucket", "versions"), Operation::ListObjectVersions),
            (("PUT", "bucket", "accelerate"), Operation::PutBucketAccelerateConfiguration),
            (("PUT", "bucket", "tagging"), Operation::PutBucketTagging),
            (("PUT", "bucket", "versioning"), Operation::PutBucketVersioning),
            (("DELETE", "bucket", ""), Operation::DeleteBucket),
            (("GET", "bucket", "website"), Operation::GetBucketWebsite),
            (("PUT", "bucket", "website"), Operation::PutBucketWebsite),
            (("DELETE", "bucket", "website"), Operation::DeleteBucketWebsite),
            (("POST", "bucket", "delete"), Operation::DeleteObjects),
            (("POST", "bucket", ""), Operation::PostObject),
            (("GET", "object", ""), Operation::GetObject),
            (("GET", "object", "partNumber"), Operation::GetObject),
            (("GET", "object", "versionId"), Operation::GetObject),
            (("DELETE", "object", "tagging"), Operation::DeleteObjectTagging),
            (("GET", "object", "tagging"), Operation::GetObjectTagging),
            (("PUT", "object", "tagging"), Operation::PutObjectTagging),
            (("GET", "object", "attributes"), Operation::GetObjectAttributes),
            (("GET", "object", "uploadId"), Operation::ListParts),
            (("HEAD", "object", ""), Operation::HeadObject),
            (("HEAD", "object", "partNumber"), Operation::HeadObject),
            (("HEAD", "object", "versionId"), Operation::HeadObject),
            (("PUT", "object", ""), Operation::PutObject),
            (("POST", "object", "uploads"), Operation::CreateMultipartUpload),
            (("POST", "object", "uploadId"), Operation::CompleteMultipartUpload),
            (("DELETE", "object", ""), Operation::DeleteObject),
            (("DELETE", "object", "versionId"), Operation::DeleteObject),
            (("DELETE", "object", "uploadId"), Operation::AbortMultipartUpload),
        ]
        .into();
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "TRACE", "OPTIONS", "QUERY"] {
            for target in targets() {
                for name in ["", "unheard-of"].iter().chain(SUB_RESOURCES) {
                    let expected = allowed.get(&(method, level(&target), *name));
                    for query in [(*name).to_owned(), format!("{name}=x"), format!("x-id=PutObject&{name}")] {
                        // A parameter that nobody knows is ignored when it has a value, as S3 does.
                        if query == "unheard-of=x" || query == "=x" {
                            continue;
                        }
                        let routed = routed(method, &target, &query);
                        assert_eq!(routed.as_ref().ok(), expected, "{method} {} ?{query}", level(&target));
                        if let Err(failure) = routed {
                            assert!((400..600).contains(&failure.status_code().as_u16()));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn two_sub_resources_are_no_operation_unless_they_belong_together() {
        let [_, bucket, object] = targets();
        assert!(routed("GET", &bucket, "location&uploads").is_err());
        assert!(routed("DELETE", &object, "uploadId=1&tagging").is_err());
        assert_eq!(routed("DELETE", &object, "tagging&versionId=x").unwrap(), Operation::DeleteObjectTagging);
        assert_eq!(routed("GET", &object, "versionId=x&partNumber=1").unwrap(), Operation::GetObject);
        assert_eq!(routed("GET", &object, "attributes&versionId=x").unwrap(), Operation::GetObjectAttributes);
        assert!(routed("GET", &object, "attributes&partNumber=1").is_err());
        assert_eq!(routed("PUT", &object, "uploadId=x&partNumber=1").unwrap(), Operation::UploadPart);
    }

    #[test]
    fn a_part_needs_both_its_number_and_its_upload() {
        let [_, _, object] = targets();
        for query in ["partNumber=1", "uploadId=x"] {
            assert_eq!(routed("PUT", &object, query).unwrap_err().code(), "InvalidRequest");
        }
    }

    #[test]
    fn parameters_that_choose_nothing_are_ignored() {
        let [service, bucket, object] = targets();
        assert_eq!(routed("GET", &service, "x-id=ListBuckets&prefix=").unwrap(), Operation::ListBuckets);
        assert_eq!(routed("GET", &bucket, "list-type=2&delimiter=&x=y").unwrap(), Operation::ListObjectsV2);
        assert_eq!(routed("GET", &object, "X-Amz-Signature=s&response-content-type=").unwrap(), Operation::GetObject);
        assert_eq!(routed("DELETE", &bucket, "unknown").unwrap_err().code(), "NotImplemented");
    }

    #[test]
    fn a_copy_is_told_by_its_header() {
        let [_, _, object] = targets();
        let copy = |query| route(&Method::PUT, &object, &Query::parse(Some(query)).unwrap(), true).unwrap();
        assert_eq!(copy(""), Operation::CopyObject);
        assert_eq!(copy("partNumber=1&uploadId=x"), Operation::UploadPartCopy);
    }
}
