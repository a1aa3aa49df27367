//! Examples of identity policies (IAM user guide, "Example IAM identity-based policies"; S3 user guide, "Amazon S3 condition key
//! examples").

use super::Expected::{Allow, Deny, Nothing};
use super::check_identity_policy;

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
