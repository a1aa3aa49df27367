//! Which bucket policies are public (S3 user guide, "The meaning of "public"").

use cairn_iam::policy::{Policy, PolicyKind};

use super::document;

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
