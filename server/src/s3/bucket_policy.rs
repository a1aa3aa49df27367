//! PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy and GetBucketPolicyStatus.

use cairn_iam::policy::{BUCKET_POLICY_BYTES_MAX, Policy, PolicyError, PolicyKind};
use cairn_storage::StorageError;
use cairn_storage::index::family::bucket::BucketRecord;
use cairn_storage::index::family::document::DocumentKind;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use s3s::S3ErrorCode;

use crate::authorize::{self, Action, Authorized, OnBucket};
use crate::identities::Snapshot;

use super::acl::account_number;
use super::error::Failure;
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum, headers};

const CONFIRM_REMOVE_SELF_ACCESS: HeaderName = HeaderName::from_static("x-amz-confirm-remove-self-bucket-access");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) async fn get_bucket_policy(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let text = edge.identities.snapshot().show_principals(&text(edge, &authorized).await?);
    let mut answer = Answer::empty(StatusCode::OK).header(CONTENT_TYPE, JSON);
    answer.body = s3s::Body::from(text);
    Ok(answer)
}

pub(super) async fn get_bucket_policy_status(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let text = text(edge, &authorized).await?;
    let policy = authorize::parse_policy(&text).map_err(Failure::internal)?;
    let mut document = Document::new("PolicyStatus");
    document.value("IsPublic", policy.is_public());
    Ok(Answer::document(document))
}

pub(super) async fn put_bucket_policy(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let bucket = authorized.bucket();
    let (text, policy) = parse(&document, bucket.name.as_str(), &edge.identities.snapshot())?;
    let is_public = policy.is_public();
    if authorized.block().refuse_policy && is_public {
        return Err(public_policy_refused(&authorized));
    }
    let confirmed = headers::text(&request.headers, &CONFIRM_REMOVE_SELF_ACCESS);
    if !confirmed.is_some_and(|text| text.eq_ignore_ascii_case("true"))
        && authorized.would_lose(Action::PutBucketPolicy, policy)
    {
        return Err(Failure::with_message(
            S3ErrorCode::AccessDenied,
            "The policy would keep you from changing it again. To put it nevertheless, confirm that with \
             x-amz-confirm-remove-self-bucket-access.",
        ));
    }
    let digest = authorize::digest_of(&text);
    let change = |record: &mut BucketRecord| {
        if is_public {
            // The bucket's block may have been set since the bucket was looked up. The account's is in another partition: a
            // policy that meets it counts as put before.
            record.check_public(|block| block.refuse_policy)?;
        }
        record.policy = Some(digest);
        Ok(())
    };
    let document = Some(authorize::encode_policy(&text));
    let put = edge.store.set_document(bucket, DocumentKind::Policy, document, change).await;
    put.map_err(|error| match error {
        StorageError::PublicAccessBlocked => public_policy_refused(&authorized),
        error => error.into(),
    })?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(super) async fn delete_bucket_policy(edge: &Edge, authorized: Authorized<OnBucket>) -> Result<Answer, Failure> {
    let change = |record: &mut BucketRecord| {
        record.policy = None;
        Ok(())
    };
    edge.store.set_document(authorized.bucket(), DocumentKind::Policy, None, change).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// The text of the bucket's policy.
async fn text(edge: &Edge, authorized: &Authorized<OnBucket>) -> Result<String, Failure> {
    let bucket = authorized.bucket();
    let document = edge.store.document(bucket, DocumentKind::Policy).await?;
    let document = document
        .ok_or_else(|| Failure::new(S3ErrorCode::NoSuchBucketPolicy).field("BucketName", bucket.name.as_str()))?;
    Ok(authorize::decode_policy(&document)?.to_owned())
}

/// Reads a policy for this bucket: the text to keep, and what it says.
///
/// # Errors
/// `MalformedPolicy`, in S3's words.
fn parse(document: &[u8], bucket: &str, identities: &Snapshot) -> Result<(String, Policy), Failure> {
    if document.is_empty() {
        return Err(S3ErrorCode::MissingRequestBodyError.into());
    }
    let text = std::str::from_utf8(document)
        .map_err(|_| malformed("Policies must be valid JSON and the first byte must be '{'"))?;
    if text.len() > BUCKET_POLICY_BYTES_MAX {
        return Err(Failure::custom(
            "PolicyTooLarge",
            StatusCode::BAD_REQUEST,
            "Policy exceeds the maximum allowed document size.",
        ));
    }
    let of_error = |error: PolicyError| malformed(error.to_string());
    authorize::parse_policy(text).and_then(|policy| policy.check_bucket(bucket)).map_err(of_error)?;
    let kept = identities.keep_principals(text, PolicyKind::Bucket, None).map_err(of_error)?;
    let by_canonical_id =
        |id: &str| identities.accounts().by_canonical_id(id).map(|account| account_number(account.id));
    let policy = authorize::parse_policy(&kept).and_then(|policy| policy.with_canonical_users(by_canonical_id));
    Ok((kept, policy.map_err(of_error)?))
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::with_message(S3ErrorCode::MalformedPolicy, message)
}

/// As S3 says it of `BlockPublicPolicy`.
fn public_policy_refused(authorized: &Authorized<OnBucket>) -> Failure {
    let message = match authorized.caller().principal.caller_arn() {
        Some(arn) => format!(
            "User: {arn} is not authorized to perform: s3:PutBucketPolicy on resource: \"{}\" because public policies \
             are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
            authorize::arn_of_bucket(authorized.bucket().name.as_str())
        ),
        None => "Access Denied".to_owned(),
    };
    Failure::with_message(S3ErrorCode::AccessDenied, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ACCOUNT: &str = "100000000001";

    fn identities() -> Snapshot {
        Snapshot::of_roots(vec![crate::config::Account {
            id: ACCOUNT.parse().unwrap(),
            canonical_id: "a".repeat(64).try_into().unwrap(),
            display_name: "test".to_owned(),
            email: None,
            root_key: None,
            administers: Vec::new(),
            users: Vec::new(),
        }])
    }

    fn statement(principal: &str, resource: &str) -> String {
        format!(
            "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":{principal},\
             \"Action\":\"s3:GetObject\",\"Resource\":\"{resource}\"}}]}}"
        )
    }

    fn refusal(document: &str) -> String {
        match parse(document.as_bytes(), "bucket", &identities()) {
            Ok(_) => "accepted".to_owned(),
            Err(failure) => format!("{}: {}", failure.code(), failure.message()),
        }
    }

    #[test]
    fn principals_must_be_there() {
        let resource = "arn:aws:s3:::bucket/*";
        let canonical = format!("{{\"CanonicalUser\":\"{}\"}}", "a".repeat(64));
        for principal in [
            "\"*\"",
            "{\"AWS\":\"*\"}",
            "{\"AWS\":\"100000000001\"}",
            "{\"AWS\":\"arn:aws:iam::100000000001:root\"}",
            "{\"AWS\":[\"arn:aws:sts::100000000001:federated-user/anna\"]}",
            "{\"Service\":\"logging.s3.amazonaws.com\"}",
            &canonical,
        ] {
            assert_eq!(refusal(&statement(principal, resource)), "accepted", "{principal}");
        }
        let unknown = format!("{{\"CanonicalUser\":\"{}\"}}", "b".repeat(64));
        for principal in [
            "{\"AWS\":\"100000000009\"}",
            "{\"AWS\":\"arn:aws:iam::100000000009:root\"}",
            "{\"AWS\":\"arn:aws:iam::100000000001:user/nobody\"}",
            "{\"AWS\":\"AIDAABCDEFGHIJKLMNOPQ\"}",
            &unknown,
        ] {
            let expected = "MalformedPolicy: Invalid principal in policy";
            assert_eq!(refusal(&statement(principal, resource)), expected, "{principal}");
        }
    }

    #[test]
    fn what_is_no_policy_for_the_bucket_is_refused_in_s3s_words() {
        let of_another = statement("\"*\"", "arn:aws:s3:::another/*");
        assert_eq!(refusal(&of_another), "MalformedPolicy: Policy has invalid resource");
        assert_eq!(refusal("nonsense"), "MalformedPolicy: Policies must be valid JSON and the first byte must be '{'");
        assert_eq!(parse(b"\xff", "bucket", &identities()).unwrap_err().code(), "MalformedPolicy");
        assert_eq!(parse(b"", "bucket", &identities()).unwrap_err().code(), "MissingRequestBodyError");
        let large = statement("\"*\"", &format!("arn:aws:s3:::bucket/{}", "x".repeat(BUCKET_POLICY_BYTES_MAX)));
        assert!(refusal(&large).starts_with("PolicyTooLarge: "));
    }
}
