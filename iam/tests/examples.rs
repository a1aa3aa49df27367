//! AWS's documented examples, and what the guides say of them.
//!
//! Each is written anew after the example that its name tells (S3 user guide, "Bucket policy examples" and "Amazon S3
//! condition key examples"; IAM user guide, "Example IAM identity-based policies"), for a bucket `b` of account 111122223333.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Context, Outcome, Policies, Request, Source, SourceKind, Values, evaluate};
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_iam::principal::Principal;

const OWNER: AccountNumber = AccountNumber(111_122_223_333);
const PARTNER: AccountNumber = AccountNumber(444_455_556_666);

/// What a table expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Allow,
    Deny,
    Nothing,
}
use Expected::{Allow, Deny, Nothing};

struct Keys(BTreeMap<String, Vec<String>>);

impl Context for Keys {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        match self.0.get(key) {
            None => Values::Absent,
            Some(values) => Values::Many(values.iter().map(Into::into).collect()),
        }
    }
}

/// Keys as `key=value` with several of them parted by `&`; a key that is there twice has two values.
fn keys(text: &str) -> Keys {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap();
        keys.entry(key.to_lowercase()).or_default().push(value.to_owned());
    }
    Keys(keys)
}

/// `anna`, `partner/dave` (of another account), `role/reader`, `service/logging.s3.amazonaws.com`,
/// `web/id.example.com`, `nobody` or `root`.
fn principal(name: &str) -> Principal {
    let user =
        |account, name: &str| Principal::User { account, path: "/".into(), name: name.into(), id: "AIDA1".into() };
    match name.split_once('/') {
        Some(("partner", name)) => user(PARTNER, name),
        Some(("service", name)) => Principal::Service(name.into()),
        Some(("web", host)) => {
            Principal::WebIdentity { provider: format!("arn:aws:iam::111122223333:oidc-provider/{host}") }
        }
        Some(("role", role)) => Principal::RoleSession {
            account: OWNER,
            path: "/".into(),
            role: role.into(),
            role_id: "AROA1".into(),
            session: "job".into(),
        },
        _ if name == "nobody" => Principal::Anonymous,
        _ if name == "root" => Principal::Root(OWNER),
        _ => user(OWNER, name),
    }
}

fn attached(kind: SourceKind, document: &str, of: PolicyKind) -> Attached {
    let policy = Policy::parse(document, of).unwrap_or_else(|error| panic!("{error}: {document}"));
    Attached { source: Source { kind, holder: "holder".into(), name: "name".into() }, policy }
}

fn decide(policies: &Policies<'_>, (who, action, resource, context): (&str, &str, &str, &str)) -> Expected {
    let resource = if resource.starts_with("arn:") || resource == "*" {
        resource.into()
    } else {
        format!("arn:aws:s3:::{resource}")
    };
    let request = Request {
        principal: &principal(who),
        action,
        resource: &resource,
        resource_account: Some(OWNER),
        context: &keys(context),
    };
    match evaluate(&request, policies).outcome {
        Outcome::Allowed(_) => Allow,
        Outcome::ExplicitDeny => Deny,
        Outcome::NotAllowed(_) => Nothing,
    }
}

type Row<'r> = (&'r str, &'r str, &'r str, &'r str, Expected);

fn document(statements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#)
}

/// A bucket's policy alone; who is of another account may do everything as far as that account is concerned.
fn check_bucket_policy(name: &str, statements: &str, rows: &[Row<'_>]) {
    let bucket = attached(SourceKind::Resource, &document(statements), PolicyKind::Bucket);
    bucket.policy.check_bucket("b").unwrap_or_else(|error| panic!("{name}: {error}"));
    let everything = [attached(SourceKind::User, EVERYTHING, PolicyKind::Identity)];
    for &(who, action, resource, context, expected) in rows {
        let identity = if who.starts_with("partner/") { &everything[..] } else { &[] };
        let policies = Policies { identity, resource: Some(&bucket), ..Policies::default() };
        assert_eq!(
            decide(&policies, (who, action, resource, context)),
            expected,
            "{name}: {who} {action} {resource} {context}"
        );
    }
}

/// A bucket's policy that only denies, where everything is allowed by identity policies.
fn check_denying_bucket_policy(name: &str, statements: &str, rows: &[Row<'_>]) {
    let bucket = attached(SourceKind::Resource, &document(statements), PolicyKind::Bucket);
    bucket.policy.check_bucket("b").unwrap_or_else(|error| panic!("{name}: {error}"));
    let identity = [attached(SourceKind::User, EVERYTHING, PolicyKind::Identity)];
    for &(who, action, resource, context, expected) in rows {
        let policies = Policies { identity: &identity, resource: Some(&bucket), ..Policies::default() };
        assert_eq!(
            decide(&policies, (who, action, resource, context)),
            expected,
            "{name}: {who} {action} {resource} {context}"
        );
    }
}

/// An identity's policy alone.
fn check_identity_policy(name: &str, statements: &str, rows: &[Row<'_>]) {
    let identity = [attached(SourceKind::User, &document(statements), PolicyKind::Identity)];
    for &(who, action, resource, context, expected) in rows {
        let policies = Policies { identity: &identity, ..Policies::default() };
        assert_eq!(
            decide(&policies, (who, action, resource, context)),
            expected,
            "{name}: {who} {action} {resource} {context}"
        );
    }
}

const EVERYTHING: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;

#[test]
fn bucket_policies_that_require_encryption() {
    check_denying_bucket_policy(
        "Require SSE-KMS for all objects written to a bucket",
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"Null":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"true"}}}"#,
        &[
            ("anna", "s3:PutObject", "b/k", "", Deny),
            ("root", "s3:PutObject", "b/k", "", Deny),
            (
                "anna",
                "s3:PutObject",
                "b/k",
                "s3:x-amz-server-side-encryption-aws-kms-key-id=arn:aws:kms:r:1:key/1",
                Allow,
            ),
            ("anna", "s3:GetObject", "b/k", "", Allow),
        ],
    );
    check_denying_bucket_policy(
        "Require SSE-KMS with a specific AWS KMS key for all objects written to a bucket",
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{"ArnNotEqualsIfExists":{
            "s3:x-amz-server-side-encryption-aws-kms-key-id":"arn:aws:kms:us-east-2:111122223333:key/0123"}}}"#,
        &[
            // What is denied with the key absent: the operator is negated, and so it holds with IfExists as without.
            ("anna", "s3:PutObject", "b/k", "", Deny),
            (
                "anna",
                "s3:PutObject",
                "b/k",
                "s3:x-amz-server-side-encryption-aws-kms-key-id=arn:aws:kms:us-east-2:111122223333:key/0123",
                Allow,
            ),
            (
                "anna",
                "s3:PutObject",
                "b/k",
                "s3:x-amz-server-side-encryption-aws-kms-key-id=arn:aws:kms:us-east-2:111122223333:key/9",
                Deny,
            ),
        ],
    );
}

#[test]
fn bucket_policies_about_canned_acls() {
    check_bucket_policy(
        "Granting permissions to multiple accounts to upload objects or set object ACLs for public access",
        r#"{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::777788889999:root","arn:aws:iam::444455556666:root"]},
            "Action":["s3:PutObject","s3:PutObjectAcl"],"Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"s3:x-amz-acl":["public-read"]}}}"#,
        &[
            ("partner/dave", "s3:PutObject", "b/k", "s3:x-amz-acl=public-read", Allow),
            ("partner/dave", "s3:PutObject", "b/k", "s3:x-amz-acl=private", Nothing),
            ("partner/dave", "s3:PutObject", "b/k", "", Nothing),
            ("anna", "s3:PutObject", "b/k", "s3:x-amz-acl=public-read", Nothing),
        ],
    );
    check_bucket_policy(
        "Example 1: requiring the bucket owner to get full control",
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:user/dave"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringEquals":{"s3:x-amz-grant-full-control":"id=a9"}}},
           {"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::444455556666:user/dave"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringNotEquals":{"s3:x-amz-grant-full-control":"id=a9"}}}"#,
        &[
            ("partner/dave", "s3:PutObject", "b/k", "s3:x-amz-grant-full-control=id=a9", Allow),
            ("partner/dave", "s3:PutObject", "b/k", "", Deny),
            ("partner/erin", "s3:PutObject", "b/k", "s3:x-amz-grant-full-control=id=a9", Nothing),
        ],
    );
}

#[test]
fn bucket_policies_about_tags() {
    check_bucket_policy(
        "Allow a user to read only objects that have a specific tag key and value",
        r#"{"Principal":{"AWS":"arn:aws:iam::111122223333:role/reader"},"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],
            "Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"s3:ExistingObjectTag/environment":"production"}}}"#,
        &[
            ("role/reader", "s3:GetObject", "b/k", "s3:ExistingObjectTag/environment=production", Allow),
            ("role/reader", "s3:GetObject", "b/k", "s3:ExistingObjectTag/environment=test", Nothing),
            ("role/reader", "s3:GetObject", "b/k", "", Nothing),
            ("role/writer", "s3:GetObject", "b/k", "s3:ExistingObjectTag/environment=production", Nothing),
        ],
    );
    check_bucket_policy(
        "Restrict which object tag keys that users can add",
        r#"{"Principal":{"AWS":["arn:aws:iam::111122223333:role/reader"]},"Effect":"Allow","Action":["s3:PutObjectTagging"],
            "Resource":["arn:aws:s3:::b/*"],"Condition":{"ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":["Owner","CreationDate"]}}}"#,
        &[
            (
                "role/reader",
                "s3:PutObjectTagging",
                "b/k",
                "s3:RequestObjectTagKeys=Owner&s3:RequestObjectTagKeys=Other",
                Allow,
            ),
            ("role/reader", "s3:PutObjectTagging", "b/k", "s3:RequestObjectTagKeys=Other", Nothing),
            ("role/reader", "s3:PutObjectTagging", "b/k", "", Nothing),
        ],
    );
    check_bucket_policy(
        "Allow a user to only add objects with a specific object tag key and value",
        r#"{"Principal":{"AWS":["arn:aws:iam::111122223333:user/anna"]},"Effect":"Allow","Action":["s3:PutObject"],
            "Resource":["arn:aws:s3:::b/*"],"Condition":{"StringEquals":{"s3:RequestObjectTag/Department":"Finance"}}}"#,
        &[
            ("anna", "s3:PutObject", "b/k", "s3:RequestObjectTag/Department=Finance", Allow),
            ("anna", "s3:PutObject", "b/k", "s3:RequestObjectTag/Department=finance", Nothing),
        ],
    );
}

#[test]
fn bucket_policies_about_services_and_organisations() {
    check_bucket_policy(
        "Restrict access to only Amazon S3 server access log deliveries",
        r#"{"Principal":{"Service":"logging.s3.amazonaws.com"},"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringEquals":{"aws:SourceAccount":"111122223333"},"ArnLike":{"aws:SourceArn":"arn:aws:s3:::source"}}},
           {"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"ForAllValues:StringNotEquals":{"aws:PrincipalServiceNamesList":"logging.s3.amazonaws.com"}}}"#,
        &[
            (
                "service/logging.s3.amazonaws.com",
                "s3:PutObject",
                "b/k",
                "aws:SourceAccount=111122223333&aws:SourceArn=arn:aws:s3:::source",
                Allow,
            ),
            // The confused deputy.
            (
                "service/logging.s3.amazonaws.com",
                "s3:PutObject",
                "b/k",
                "aws:SourceAccount=444455556666&aws:SourceArn=arn:aws:s3:::source",
                Nothing,
            ),
            ("service/logging.s3.amazonaws.com", "s3:PutObject", "b/k", "", Nothing),
            (
                "service/s3.amazonaws.com",
                "s3:PutObject",
                "b/k",
                "aws:SourceAccount=111122223333&aws:SourceArn=arn:aws:s3:::source",
                Deny,
            ),
            ("root", "s3:PutObject", "b/k", "", Deny),
            ("nobody", "s3:PutObject", "b/k", "", Deny),
        ],
    );
    check_bucket_policy(
        "Allow access to only your organization",
        r#"{"Principal":{"AWS":"*"},"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringEquals":{"aws:PrincipalOrgID":["o-aa111bb222"]}}}"#,
        &[
            ("partner/dave", "s3:GetObject", "b/k", "aws:PrincipalOrgID=o-aa111bb222", Allow),
            ("partner/dave", "s3:GetObject", "b/k", "", Nothing),
            ("nobody", "s3:GetObject", "b/k", "", Nothing),
        ],
    );
}

#[test]
fn bucket_policies_about_addresses_and_transport() {
    check_denying_bucket_policy(
        "Restrict access to specific IP addresses",
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
            "Condition":{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}}"#,
        &[
            ("anna", "s3:GetObject", "b/k", "aws:SourceIp=192.0.2.99", Allow),
            ("anna", "s3:GetObject", "b/k", "aws:SourceIp=192.0.3.1", Deny),
            ("anna", "s3:ListBucket", "b", "aws:SourceIp=2001:db8::1", Deny),
            ("anna", "s3:GetObject", "b/k", "", Deny),
        ],
    );
    check_bucket_policy(
        "Allow both IPv4 and IPv6 addresses",
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
            "Condition":{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","2001:DB8:1234:5678::/64"]},
                         "NotIpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:DB8:1234:5678:ABCD::/80"]}}}"#,
        &[
            ("nobody", "s3:GetObject", "b/k", "aws:SourceIp=192.0.2.1", Allow),
            ("nobody", "s3:GetObject", "b/k", "aws:SourceIp=2001:DB8:1234:5678::1", Allow),
            ("nobody", "s3:GetObject", "b/k", "aws:SourceIp=2001:DB8:1234:5678:ABCD::1", Nothing),
            ("nobody", "s3:GetObject", "b/k", "aws:SourceIp=203.0.113.1", Nothing),
        ],
    );
    check_denying_bucket_policy(
        "Restrict access to only HTTPS requests",
        r#"{"Action":"s3:*","Effect":"Deny","Principal":"*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
            "Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
        &[
            ("anna", "s3:GetObject", "b/k", "aws:SecureTransport=false", Deny),
            ("anna", "s3:GetObject", "b/k", "aws:SecureTransport=true", Allow),
        ],
    );
    check_denying_bucket_policy(
        "Example 8: Requiring a minimum TLS version",
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
            "Condition":{"NumericLessThan":{"s3:TlsVersion":1.2}}}"#,
        &[
            ("anna", "s3:PutObject", "b/k", "s3:TlsVersion=1.1", Deny),
            ("anna", "s3:PutObject", "b/k", "s3:TlsVersion=1.3", Allow),
            ("anna", "s3:PutObject", "b/k", "", Allow),
        ],
    );
    check_bucket_policy(
        "Restrict access to a specific HTTP referer",
        r#"{"Sid":"Allow only GET requests from example.com.","Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:GetObjectVersion"],
            "Resource":"arn:aws:s3:::b/*","Condition":{"StringLike":{"aws:Referer":["http://www.example.com/*","http://example.com/*"]}}}"#,
        &[
            ("nobody", "s3:GetObject", "b/k", "aws:Referer=http://www.example.com/page", Allow),
            ("nobody", "s3:GetObject", "b/k", "aws:Referer=http://evil.example/", Nothing),
            ("nobody", "s3:GetObject", "b/k", "", Nothing),
        ],
    );
}

#[test]
fn bucket_policies_about_folders_versions_and_classes() {
    check_bucket_policy(
        "Grant users access to specific folders",
        r#"{"Principal":{"AWS":["arn:aws:iam::111122223333:user/anna"]},"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"],
            "Condition":{"StringEquals":{"s3:prefix":["","home/","home/anna"],"s3:delimiter":["/"]}}},
           {"Principal":{"AWS":["arn:aws:iam::111122223333:user/anna"]},"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"],
            "Condition":{"StringLike":{"s3:prefix":["home/anna/*"]}}},
           {"Principal":{"AWS":["arn:aws:iam::111122223333:user/anna"]},"Effect":"Allow","Action":["s3:*"],"Resource":["arn:aws:s3:::b/home/anna/*"]}"#,
        &[
            ("anna", "s3:ListBucket", "b", "s3:prefix=&s3:delimiter=/", Allow),
            ("anna", "s3:ListBucket", "b", "s3:prefix=home/&s3:delimiter=/", Allow),
            ("anna", "s3:ListBucket", "b", "s3:prefix=home/", Nothing),
            ("anna", "s3:ListBucket", "b", "s3:prefix=home/anna/x", Allow),
            ("anna", "s3:ListBucket", "b", "s3:prefix=home/bob/&s3:delimiter=/", Nothing),
            ("anna", "s3:DeleteObject", "b/home/anna/a/b", "", Allow),
            ("anna", "s3:GetObject", "b/home/bob/a", "", Nothing),
            ("bob", "s3:GetObject", "b/home/anna/a", "", Nothing),
        ],
    );
    check_bucket_policy(
        "Example 4: Granting access to a specific version of an object",
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/dave"},"Action":"s3:GetObjectVersion","Resource":"arn:aws:s3:::b/k"},
           {"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:user/dave"},"Action":"s3:GetObjectVersion","Resource":"arn:aws:s3:::b/k",
            "Condition":{"StringNotEquals":{"s3:VersionId":"AaaHbAQitwiL"}}}"#,
        &[
            ("dave", "s3:GetObjectVersion", "b/k", "s3:VersionId=AaaHbAQitwiL", Allow),
            ("dave", "s3:GetObjectVersion", "b/k", "s3:VersionId=other", Deny),
        ],
    );
    check_bucket_policy(
        "Example 5: Restricting object uploads to objects with a specific storage class",
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/dave"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringEquals":{"s3:x-amz-storage-class":["STANDARD_IA"]}}}"#,
        &[
            ("dave", "s3:PutObject", "b/k", "s3:x-amz-storage-class=STANDARD_IA", Allow),
            ("dave", "s3:PutObject", "b/k", "s3:x-amz-storage-class=STANDARD", Nothing),
        ],
    );
    check_bucket_policy(
        "Example 3: restriction on the copy source",
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/dave"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"},
           {"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:user/dave"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringNotLike":{"s3:x-amz-copy-source":"b/public/*"}}}"#,
        &[
            ("dave", "s3:PutObject", "b/k", "s3:x-amz-copy-source=b/public/one", Allow),
            ("dave", "s3:PutObject", "b/k", "s3:x-amz-copy-source=b/secret/one", Deny),
            ("dave", "s3:PutObject", "b/k", "", Deny),
        ],
    );
}

#[test]
fn bucket_policies_about_certain_users_and_mfa() {
    check_bucket_policy(
        "Restrict access to an S3 Inventory report",
        r#"{"Action":["s3:ListBucket"],"Effect":"Allow","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],"Principal":{"AWS":["arn:aws:iam::111122223333:user/anna"]}},
           {"Action":["s3:GetObject"],"Effect":"Allow","Resource":"arn:aws:s3:::b/inventory/*","Principal":{"AWS":["arn:aws:iam::111122223333:user/anna"]}},
           {"Action":["s3:GetObject"],"Effect":"Deny","Resource":"arn:aws:s3:::b/inventory/*","Principal":{"AWS":"*"},
            "Condition":{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/anna"}}}"#,
        &[
            ("anna", "s3:ListBucket", "b", "", Allow),
            ("anna", "s3:GetObject", "b/inventory/1", "", Allow),
            ("bob", "s3:GetObject", "b/inventory/1", "", Deny),
            ("root", "s3:GetObject", "b/inventory/1", "", Deny),
            ("nobody", "s3:GetObject", "b/inventory/1", "", Deny),
            ("bob", "s3:GetObject", "b/other", "", Nothing),
        ],
    );
    check_bucket_policy(
        "Requiring MFA",
        r#"{"Sid":"","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/tax/*","Condition":{"Null":{"aws:MultiFactorAuthAge":true}}},
           {"Sid":"","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::b/tax/*","Condition":{"NumericGreaterThan":{"aws:MultiFactorAuthAge":3600}}},
           {"Sid":"","Effect":"Allow","Principal":"*","Action":["s3:GetObject"],"Resource":"arn:aws:s3:::b/*"}"#,
        &[
            ("anna", "s3:GetObject", "b/tax/1", "", Deny),
            ("anna", "s3:GetObject", "b/tax/1", "aws:MultiFactorAuthAge=60", Allow),
            ("anna", "s3:GetObject", "b/tax/1", "aws:MultiFactorAuthAge=3601", Deny),
            ("nobody", "s3:GetObject", "b/other", "", Allow),
        ],
    );
    check_denying_bucket_policy(
        "IAM JSON policy elements: NotPrincipal, with Deny",
        r#"{"Effect":"Deny","NotPrincipal":{"AWS":["arn:aws:iam::444455556666:user/dave","arn:aws:iam::444455556666:root"]},
            "Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]},
           {"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}"#,
        &[
            ("partner/dave", "s3:GetObject", "b/k", "", Allow),
            ("partner/erin", "s3:GetObject", "b/k", "", Deny),
            ("anna", "s3:GetObject", "b/k", "", Deny),
            ("root", "s3:GetObject", "b/k", "", Deny),
        ],
    );
}

#[test]
fn identity_policies_for_s3() {
    let home = r#"{"Effect":"Allow","Action":["s3:ListAllMyBuckets","s3:GetBucketLocation"],"Resource":"*"},
        {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":["","home/","home/${aws:username}/*"]}}},
        {"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::b/home/${aws:username}","arn:aws:s3:::b/home/${aws:username}/*"]}"#;
    check_identity_policy(
        "Amazon S3: Allows IAM users access to their S3 home directory",
        home,
        &[
            ("anna", "s3:ListAllMyBuckets", "*", "", Allow),
            ("anna", "s3:ListBucket", "b", "s3:prefix=home/anna/x", Allow),
            ("anna", "s3:ListBucket", "b", "s3:prefix=home/bob/", Nothing),
            ("anna", "s3:ListBucket", "b", "", Nothing),
            ("anna", "s3:PutObject", "b/home/anna/x", "", Allow),
            ("anna", "s3:PutObject", "b/home/annabel/x", "", Nothing),
            ("anna", "s3:PutObject", "b/home/bob/x", "", Nothing),
            // A name with a wildcard stands for itself.
            ("*", "s3:PutObject", "b/home/bob/x", "", Nothing),
            // A session has no user name.
            ("role/reader", "s3:PutObject", "b/home/reader/x", "", Nothing),
        ],
    );
    check_identity_policy(
        "Amazon S3: Allows federated users access to their S3 home directory",
        &home.replace("aws:username", "aws:userid"),
        &[
            ("role/reader", "s3:PutObject", "b/home/AROA1:job/x", "", Allow),
            ("role/reader", "s3:PutObject", "b/home/AROA1:other/x", "", Nothing),
        ],
    );
    check_identity_policy(
        "Amazon S3: Limits managing to a specific S3 bucket",
        r#"{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]},
           {"Effect":"Deny","NotAction":"s3:*","NotResource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}"#,
        &[
            ("anna", "s3:PutObject", "b/k", "", Allow),
            ("anna", "s3:PutObject", "c/k", "", Nothing),
            ("anna", "iam:GetUser", "arn:aws:iam::111122223333:user/anna", "", Deny),
        ],
    );
    check_identity_policy(
        "Amazon S3: S3 bucket access, but production bucket denied without recent MFA",
        r#"{"Effect":"Allow","Action":["s3:PutObject","s3:GetObject"],"Resource":"arn:aws:s3:::*/*"},
           {"Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::production/*","arn:aws:s3:::production"],
            "Condition":{"NumericGreaterThanIfExists":{"aws:MultiFactorAuthAge":"1800"}}}"#,
        &[
            ("anna", "s3:GetObject", "production/k", "aws:MultiFactorAuthAge=60", Allow),
            ("anna", "s3:GetObject", "production/k", "aws:MultiFactorAuthAge=1801", Deny),
            ("anna", "s3:GetObject", "production/k", "", Deny),
            ("anna", "s3:GetObject", "b/k", "", Allow),
            ("anna", "s3:GetObject", "b", "", Nothing),
        ],
    );
    check_identity_policy(
        "Amazon S3: Allows read and write access to objects in an S3 Bucket",
        r#"{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"]},
           {"Effect":"Allow","Action":"s3:*Object","Resource":["arn:aws:s3:::b/*"]}"#,
        &[
            ("anna", "s3:DeleteObject", "b/k", "", Allow),
            ("anna", "s3:GetObjectAcl", "b/k", "", Nothing),
            ("anna", "s3:ListBucket", "b", "", Allow),
        ],
    );
    check_identity_policy(
        "Example 2: Getting a list of objects in a bucket with a specific prefix",
        r#"{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringEquals":{"s3:prefix":"projects"}}},
           {"Effect":"Deny","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringNotEquals":{"s3:prefix":"projects"}}}"#,
        &[
            ("anna", "s3:ListBucket", "b", "s3:prefix=projects", Allow),
            ("anna", "s3:ListBucket", "b", "s3:prefix=projects/x", Deny),
            ("anna", "s3:ListBucket", "b", "", Deny),
        ],
    );
    check_identity_policy(
        "Example 1: create a bucket only in a specific Region",
        r#"{"Effect":"Allow","Action":"s3:CreateBucket","Resource":"arn:aws:s3:::*","Condition":{"StringLike":{"s3:LocationConstraint":"sa-east-1"}}}"#,
        &[
            ("anna", "s3:CreateBucket", "new", "s3:LocationConstraint=sa-east-1", Allow),
            ("anna", "s3:CreateBucket", "new", "s3:LocationConstraint=eu-west-1", Nothing),
            ("anna", "s3:CreateBucket", "new", "", Nothing),
        ],
    );
}

#[test]
fn identity_policies_for_other_things() {
    check_identity_policy(
        "AWS: Denies access to AWS based on the source IP",
        r#"{"Effect":"Allow","Action":"*","Resource":"*"},
           {"Effect":"Deny","Action":"*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","203.0.113.0/24"]},
            "Bool":{"aws:ViaAWSService":"false"}}}"#,
        &[
            ("anna", "s3:GetObject", "b/k", "aws:SourceIp=192.0.2.7&aws:ViaAWSService=false", Allow),
            ("anna", "s3:GetObject", "b/k", "aws:SourceIp=198.51.100.7&aws:ViaAWSService=false", Deny),
            ("anna", "s3:GetObject", "b/k", "aws:SourceIp=198.51.100.7&aws:ViaAWSService=true", Allow),
        ],
    );
    check_identity_policy(
        "AWS: Allows access based on date and time",
        r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2020-04-01T00:00:00Z"},
            "DateLessThan":{"aws:CurrentTime":"2020-06-30T23:59:59Z"}}}"#,
        &[
            ("anna", "s3:GetObject", "b/k", "aws:CurrentTime=2020-05-01T12:00:00Z", Allow),
            ("anna", "s3:GetObject", "b/k", "aws:CurrentTime=2020-07-01T00:00:00Z", Nothing),
            ("anna", "s3:GetObject", "b/k", "aws:CurrentTime=2020-04-01T00:00:00Z", Nothing),
            ("anna", "s3:GetObject", "b/k", "aws:CurrentTime=1588334400", Allow),
        ],
    );
    check_identity_policy(
        "Using policy variables: each user's own access keys",
        r#"{"Action":["iam:*AccessKey*"],"Effect":"Allow","Resource":["arn:aws:iam::111122223333:user/${aws:username}"]}"#,
        &[
            ("anna", "iam:CreateAccessKey", "arn:aws:iam::111122223333:user/anna", "", Allow),
            ("anna", "iam:CreateAccessKey", "arn:aws:iam::111122223333:user/bob", "", Nothing),
            ("anna", "iam:CreateUser", "arn:aws:iam::111122223333:user/anna", "", Nothing),
        ],
    );
    check_identity_policy(
        "Specifying default values",
        r#"{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::b-${aws:PrincipalTag/team, 'company-wide'}"}"#,
        &[
            ("anna", "s3:ListBucket", "b-yellow", "aws:PrincipalTag/team=yellow", Allow),
            ("anna", "s3:ListBucket", "b-company-wide", "aws:PrincipalTag/team=yellow", Nothing),
            ("anna", "s3:ListBucket", "b-company-wide", "", Allow),
        ],
    );
    check_identity_policy(
        "Policy variables with no value",
        r#"{"Effect":"Allow","Action":"*","Resource":"*"},
           {"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringNotEquals":{"s3:ExistingObjectTag/Team":"${aws:PrincipalTag/Team}"}}}"#,
        &[
            ("anna", "s3:GetObject", "b/k", "s3:ExistingObjectTag/Team=a&aws:PrincipalTag/Team=a", Allow),
            ("anna", "s3:GetObject", "b/k", "s3:ExistingObjectTag/Team=a&aws:PrincipalTag/Team=b", Deny),
            ("anna", "s3:GetObject", "b/k", "s3:ExistingObjectTag/Team=a", Deny),
        ],
    );
}

#[test]
fn the_example_of_cross_account_evaluation() {
    let carlos = [attached(
        SourceKind::User,
        &document(
            r#"{"Sid":"AllowS3ListRead","Effect":"Allow","Action":"s3:ListAllMyBuckets","Resource":"*"},
               {"Sid":"AllowS3ProductionObjectActions","Effect":"Allow","Action":"s3:*Object*","Resource":"arn:aws:s3:::production/*"},
               {"Sid":"DenyS3Logs","Effect":"Deny","Action":"s3:*","Resource":["arn:aws:s3:::*log*","arn:aws:s3:::*log*/*"]}"#,
        ),
        PolicyKind::Identity,
    )];
    let bucket = attached(
        SourceKind::Resource,
        &document(
            r#"{"Effect":"Allow","Action":["s3:GetObject*","s3:PutObject*","s3:ReplicateObject","s3:RestoreObject"],
                "Principal":{"AWS":"arn:aws:iam::444455556666:user/carlos"},"Resource":"arn:aws:s3:::production/*"}"#,
        ),
        PolicyKind::Bucket,
    );
    let both = Policies { identity: &carlos, resource: Some(&bucket), ..Policies::default() };
    assert_eq!(decide(&both, ("partner/carlos", "s3:PutObject", "production/k", "")), Allow);
    assert_eq!(decide(&both, ("partner/carlos", "s3:DeleteObject", "production/k", "")), Nothing);
    assert_eq!(decide(&both, ("partner/carlos", "s3:PutObject", "production/log/k", "")), Deny);
    let alone = Policies { resource: None, ..both };
    assert_eq!(decide(&alone, ("partner/carlos", "s3:PutObject", "production/k", "")), Nothing);
}

/// Who may assume a role of the owner's, by its trust policy alone. Who is of another account may do everything there.
fn check_trust_policy(name: &str, statements: &str, rows: &[(&str, &str, &str, Expected)]) {
    let trust = attached(SourceKind::Resource, &document(statements), PolicyKind::Trust);
    let everything = [attached(SourceKind::User, EVERYTHING, PolicyKind::Identity)];
    for &(who, action, context, expected) in rows {
        let identity =
            if who.starts_with("partner/") || who.ends_with(" with everything") { &everything[..] } else { &[] };
        let who = who.trim_end_matches(" with everything");
        let policies = Policies { identity, resource: Some(&trust), ..Policies::default() };
        let found = decide(&policies, (who, action, "arn:aws:iam::111122223333:role/reader", context));
        assert_eq!(found, expected, "{name}: {who} {action} {context}");
    }
}

#[test]
fn trust_policies() {
    check_trust_policy(
        "The confused deputy problem: an external id",
        r#"{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"12345"}}}"#,
        &[
            ("partner/dave", "sts:AssumeRole", "sts:ExternalId=12345", Allow),
            ("partner/dave", "sts:AssumeRole", "sts:ExternalId=54321", Nothing),
            ("partner/dave", "sts:AssumeRole", "", Nothing),
            ("anna with everything", "sts:AssumeRole", "sts:ExternalId=12345", Nothing),
        ],
    );
    check_trust_policy(
        "Within the account: whoever is named may, whoever is only of the account needs a policy of his own",
        r#"{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:root","arn:aws:iam::111122223333:user/anna"]},"Action":"sts:AssumeRole"}"#,
        &[
            ("anna", "sts:AssumeRole", "", Allow),
            ("bob", "sts:AssumeRole", "", Nothing),
            ("bob with everything", "sts:AssumeRole", "", Allow),
            ("nobody", "sts:AssumeRole", "", Nothing),
        ],
    );
    check_trust_policy(
        "A policy of one's own is not enough, even for the root",
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/anna"},"Action":"sts:AssumeRole"}"#,
        &[("bob with everything", "sts:AssumeRole", "", Nothing), ("root", "sts:AssumeRole", "", Nothing)],
    );
    check_trust_policy(
        "A role for web identity federation",
        r#"{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/id.example.com"},
            "Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"id.example.com:aud":"cairn"},"StringLike":{"id.example.com:sub":"repo:cairn/*"}}}"#,
        &[
            (
                "web/id.example.com",
                "sts:AssumeRoleWithWebIdentity",
                "id.example.com:aud=cairn&id.example.com:sub=repo:cairn/main",
                Allow,
            ),
            (
                "web/id.example.com",
                "sts:AssumeRoleWithWebIdentity",
                "id.example.com:aud=cairn&id.example.com:sub=repo:other/main",
                Nothing,
            ),
            ("web/id.example.com", "sts:AssumeRoleWithWebIdentity", "id.example.com:sub=repo:cairn/main", Nothing),
            (
                "web/evil.example.com",
                "sts:AssumeRoleWithWebIdentity",
                "id.example.com:aud=cairn&id.example.com:sub=repo:cairn/main",
                Nothing,
            ),
            (
                "web/id.example.com",
                "sts:AssumeRole",
                "id.example.com:aud=cairn&id.example.com:sub=repo:cairn/main",
                Nothing,
            ),
        ],
    );
    check_trust_policy(
        "A role that a service assumes, and MFA for people",
        r#"{"Effect":"Allow","Principal":{"Service":["s3.amazonaws.com"]},"Action":"sts:AssumeRole"},
           {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/anna"},"Action":"sts:AssumeRole","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}}"#,
        &[
            ("service/s3.amazonaws.com", "sts:AssumeRole", "", Allow),
            ("service/ec2.amazonaws.com", "sts:AssumeRole", "", Nothing),
            ("anna", "sts:AssumeRole", "aws:MultiFactorAuthPresent=true", Allow),
            ("anna", "sts:AssumeRole", "aws:MultiFactorAuthPresent=false", Nothing),
            ("anna", "sts:AssumeRole", "", Nothing),
        ],
    );
}

#[test]
fn policies_are_public_as_the_guide_says() {
    let public = |statement: &str| Policy::parse(&document(statement), PolicyKind::Bucket).unwrap().is_public();
    let put = |principal: &str, condition: &str| {
        format!(
            r#"{{"Principal":{principal},"Resource":"*","Action":"s3:PutObject","Effect":"Allow","Condition":{{{condition}}}}}"#
        )
    };
    let cases = [
        (r#"{"Federated":"graph.facebook.com"}"#, "", true),
        (r#""*""#, "", true),
        (r#""*""#, r#""StringLike":{"aws:SourceVpc":"vpc-*"}"#, true),
        (r#""*""#, r#""StringEquals":{"aws:SourceVpc":"vpc-91237329"}"#, false),
        (r#""*""#, r#""StringLike":{"aws:SourceVpc":"vpc-91237329"}"#, false),
        (r#""*""#, r#""StringEqualsIfExists":{"aws:SourceVpc":"vpc-91237329"}"#, true),
        (r#""*""#, r#""StringNotEquals":{"aws:SourceVpc":"vpc-91237329"}"#, true),
        (r#""*""#, r#""ForAllValues:StringEquals":{"aws:SourceVpc":"vpc-91237329"}"#, true),
        (r#""*""#, r#""StringEquals":{"aws:SourceVpc":"${aws:username}"}"#, true),
        (r#""*""#, r#""IpAddress":{"aws:SourceIp":"192.0.2.0/24"}"#, false),
        (r#""*""#, r#""IpAddress":{"aws:SourceIp":"0.0.0.0/1"}"#, true),
        (r#""*""#, r#""IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/31"]}"#, true),
        (r#""*""#, r#""StringLike":{"aws:userid":"AROAEXAMPLE:*"}"#, false),
        (r#""*""#, r#""StringLike":{"aws:userid":"*"}"#, true),
        (r#""*""#, r#""ArnLike":{"s3:DataAccessPointArn":"arn:aws:s3:us-west-2:123456789012:accesspoint/*"}"#, false),
        (r#""*""#, r#""ArnLike":{"s3:DataAccessPointArn":"arn:aws:s3:us-west-2:*:accesspoint/*"}"#, true),
        (r#""*""#, r#""StringEquals":{"aws:PrincipalOrgID":"o-1"}"#, false),
        (r#""*""#, r#""StringEquals":{"aws:Referer":"http://example.com/"}"#, true),
        (r#"{"AWS":["111122223333","*"]}"#, "", true),
        (r#"{"AWS":"111122223333"}"#, "", false),
        (r#"{"Service":"logging.s3.amazonaws.com"}"#, "", false),
    ];
    for (principal, condition, expected) in cases {
        assert_eq!(public(&put(principal, condition)), expected, "{principal} {condition}");
    }
    let denies = put(r#""*""#, "").replace("Allow", "Deny");
    assert!(!public(&denies));
    let not_principal = put(r#"{"AWS":"111122223333"}"#, "").replace("\"Principal", "\"NotPrincipal");
    assert!(public(&not_principal));
}
