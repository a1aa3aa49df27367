//! What each condition key is of one request, and what a client cannot make it.

#![allow(clippy::unwrap_used)]

use cairn_storage::settings::RetentionMode;
use http::HeaderValue;

use super::*;

/// 2026-01-02T03:04:05Z.
const NOW: Timestamp = Timestamp(1_767_323_045_000);

/// A request by a presigned URL of ten minutes ago.
struct Asked {
    operation: Operation,
    headers: HeaderMap,
    query: Query,
    region: &'static str,
    tls_version: Option<&'static str>,
    tags: Vec<Tag>,
    in_document: Option<InDocument>,
}

impl Asked {
    fn new(operation: Operation, query: &str, headers: &[(&'static str, &'static str)]) -> Self {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Self {
            operation,
            headers: headers.collect(),
            query: Query::parse(Some(query)).unwrap(),
            region: "eu-1",
            tls_version: Some("1.3"),
            tags: Vec::new(),
            in_document: None,
        }
    }

    fn values(&self, key: &str) -> Vec<String> {
        let caller = Caller::anonymous();
        let signed_at = Some(Timestamp(NOW.0 - 600_000));
        let facts = Facts {
            operation: Some(self.operation),
            headers: &self.headers,
            query: &self.query,
            connection: Connection {
                remote: "192.0.2.7".parse().unwrap(),
                secure: self.tls_version.is_some(),
                tls_version: self.tls_version,
            },
            signature: Some(Signature { carrier: Carrier::Query, is_version_2: false, signed_at }),
            now: NOW,
            region: self.region,
        };
        let context = RequestContext {
            facts,
            caller: &caller,
            version: None,
            existing_tags: Some(&self.tags),
            in_document: self.in_document.as_ref(),
            passed_to: None,
        };
        match context.values(key) {
            Values::Absent => Vec::new(),
            Values::One(value) => vec![value.into_owned()],
            Values::Many(values) => values.into_iter().map(Cow::into_owned).collect(),
        }
    }

    fn check(&self, expected: &[(&str, &[&str])]) {
        for (key, values) in expected {
            assert_eq!(self.values(key), *values, "{key}");
        }
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: value.to_owned() }
}

#[test]
fn the_keys_of_a_request_are_what_its_connection_and_signature_show() {
    let forged = [
        ("x-forwarded-for", "203.0.113.5"),
        ("x-forwarded-proto", "http"),
        ("user-agent", "test/1"),
        ("referer", "https://example.org/"),
    ];
    let asked = Asked::new(Operation::PutObject, "", &forged);
    asked.check(&[
        ("aws:sourceip", &["192.0.2.7"]),
        ("aws:securetransport", &["true"]),
        ("s3:tlsversion", &["1.3"]),
        ("aws:currenttime", &["2026-01-02T03:04:05.000Z"]),
        ("aws:epochtime", &["1767323045"]),
        ("aws:useragent", &["test/1"]),
        ("aws:referer", &["https://example.org/"]),
        ("aws:requestedregion", &["eu-1"]),
        ("aws:viaawsservice", &["false"]),
        ("s3:authtype", &["REST-QUERY-STRING"]),
        ("s3:signatureversion", &["AWS4-HMAC-SHA256"]),
        ("s3:signatureage", &["600000"]),
    ]);
    let plain = Asked { tls_version: None, ..asked };
    plain.check(&[("aws:securetransport", &["false"]), ("s3:tlsversion", &[])]);
}

#[test]
fn nobody_says_by_a_header_or_a_parameter_what_only_the_server_knows() {
    // The first four are said by services that act for others, of which there is none here.
    let names = [
        "aws:sourcearn",
        "aws:sourceaccount",
        "aws:sourceorgid",
        "aws:sourcevpce",
        "aws:sourceip",
        "aws:principalarn",
        "aws:username",
        "aws:userid",
        "aws:multifactorauthpresent",
        "aws:principaltag/team",
        "s3:existingobjecttag/team",
        "s3:authtype",
        "sts:externalid",
    ];
    let query: Vec<String> = names.iter().map(|name| format!("{name}=forged")).collect();
    let headers = [("x-amz-source-arn", "forged"), ("x-amz-source-account", "forged")];
    let asked = Asked::new(Operation::PutObject, &query.join("&"), &headers);
    for name in names {
        assert!(!asked.values(name).contains(&"forged".to_owned()), "{name}");
    }
    asked.check(&[("aws:sourcearn", &[]), ("aws:sourceaccount", &[])]);
}

#[test]
fn the_keys_of_headers_have_their_values() {
    let headers = [
        ("x-amz-acl", "public-read"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-copy-source", "/b/k"),
        ("x-amz-grant-read", "id=a"),
        ("x-amz-metadata-directive", "REPLACE"),
        ("x-amz-object-ownership", "ObjectWriter"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:eu-1:1:key/k"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-website-redirect-location", "/other"),
        ("if-match", "\"e\""),
        ("if-none-match", "*"),
    ];
    let asked = Asked::new(Operation::CopyObject, "", &headers);
    let without = Asked::new(Operation::PutObject, "", &[]);
    for (name, value) in headers {
        assert_eq!(asked.values(&format!("s3:{name}")), [value], "{name}");
        assert!(without.values(&format!("s3:{name}")).is_empty(), "{name}");
    }
    asked.check(&[("s3:objectcreationoperation", &["true"])]);
    Asked::new(Operation::UploadPart, "", &[]).check(&[("s3:objectcreationoperation", &["false"])]);
}

#[test]
fn the_keys_of_a_listing_are_its_parameters() {
    let query = "prefix=a/&delimiter=/&max-keys=7&versionId=v";
    let keys = [("s3:prefix", "a/"), ("s3:delimiter", "/"), ("s3:max-keys", "7")];
    for operation in [Operation::ListObjects, Operation::ListObjectsV2, Operation::ListObjectVersions] {
        let asked = Asked::new(operation, query, &[]);
        for (key, value) in keys {
            assert_eq!(asked.values(key), [value], "{operation:?} {key}");
        }
    }
    let read = Asked::new(Operation::GetObject, query, &[]);
    for (key, _) in keys {
        assert!(read.values(key).is_empty(), "{key}");
    }
    read.check(&[("s3:versionid", &["v"])]);
    Asked::new(Operation::GetObject, "", &[]).check(&[("s3:versionid", &[])]);
}

#[test]
fn tags_are_those_that_are_there_and_those_that_are_asked_for() {
    let mut asked = Asked::new(Operation::PutObjectTagging, "", &[("x-amz-tagging", "team=red&Stage=test")]);
    asked.tags = vec![tag("Owner", "anna"), tag("owner", "bob")];
    asked.check(&[
        ("s3:existingobjecttag/owner", &["bob"]),
        ("s3:existingobjecttag/team", &[]),
        ("s3:requestobjecttag/team", &["red"]),
        ("s3:requestobjecttag/stage", &["test"]),
        ("s3:requestobjecttagkeys", &["Stage", "team"]),
    ]);
    asked.in_document = Some(InDocument { tags: Some(vec![tag("team", "blue")]), ..InDocument::default() });
    asked.check(&[("s3:requestobjecttag/team", &["blue"]), ("s3:requestobjecttagkeys", &["team"])]);
}

#[test]
fn locks_are_those_that_are_asked_for_in_headers_or_in_the_document() {
    let headers = [
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-retain-until-date", "2026-01-04T03:04:06Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
    ];
    let mut asked = Asked::new(Operation::PutObject, "", &headers);
    asked.check(&[
        ("s3:object-lock-mode", &["GOVERNANCE"]),
        ("s3:object-lock-retain-until-date", &["2026-01-04T03:04:06.000Z"]),
        // Two days and a second: the third has begun.
        ("s3:object-lock-remaining-retention-days", &["3"]),
        ("s3:object-lock-legal-hold", &["ON"]),
    ]);
    let retention = Retention { mode: RetentionMode::Compliance, until: Timestamp(NOW.0 + DAY_MS) };
    asked.in_document =
        Some(InDocument { retention: Some(retention), legal_hold: Some(false), ..InDocument::default() });
    asked.check(&[
        ("s3:object-lock-mode", &["COMPLIANCE"]),
        ("s3:object-lock-remaining-retention-days", &["1"]),
        ("s3:object-lock-legal-hold", &["OFF"]),
    ]);
    Asked::new(Operation::PutObject, "", &[]).check(&[
        ("s3:object-lock-mode", &[]),
        ("s3:object-lock-remaining-retention-days", &[]),
        ("s3:object-lock-legal-hold", &[]),
    ]);
}

#[test]
fn a_location_is_asked_for_where_a_bucket_is_created_elsewhere_than_in_the_first_region() {
    let asked = Asked::new(Operation::CreateBucket, "", &[]);
    asked.check(&[("s3:locationconstraint", &["eu-1"])]);
    Asked { region: "us-east-1", ..asked }.check(&[("s3:locationconstraint", &[])]);
    Asked::new(Operation::PutObject, "", &[]).check(&[("s3:locationconstraint", &[])]);
}
