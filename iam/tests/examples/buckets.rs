//! Examples of bucket policies (S3 user guide, "Bucket policy examples" and "Amazon S3 condition key examples").

use cairn_iam::evaluate::{Policies, SourceKind};
use cairn_iam::policy::PolicyKind;

use super::Expected::{Allow, Deny, Nothing};
use super::{attached, check_bucket_policy, check_denying_bucket_policy, decide, document};

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
