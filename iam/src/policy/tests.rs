//! What is a policy and what is not, and what is asked of one without a request.

#![allow(clippy::unwrap_used)]

use super::{Policy, PolicyKind};

/// The message of the refusal.
fn refusal(text: &str, kind: PolicyKind) -> String {
    match Policy::parse(text, kind) {
        Ok(_) => panic!("a policy: {text}"),
        Err(error) => error.to_string(),
    }
}

fn statement(elements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{elements}}}]}}"#)
}

#[test]
fn each_kind_refuses_what_cannot_stand_there() {
    let cases = [
        (
            PolicyKind::Identity,
            r#""Principal":"*","Action":"s3:*","Resource":"*""#,
            "Policy document should not specify a principal.",
        ),
        (PolicyKind::Identity, r#""Action":"s3:*""#, "Policy statement must contain resources."),
        (PolicyKind::Identity, r#""Resource":"*""#, "Policy statement must contain actions."),
        (
            PolicyKind::Identity,
            r#""Action":"GetObject","Resource":"*""#,
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        (PolicyKind::Identity, r#""Action":"s3:*","Resource":"b/*""#, "Resource b/* must be in ARN format or \"*\"."),
        (
            PolicyKind::Identity,
            r#""Action":"s3:*","Resource":"*","Condition":{"StringIs":{"a:b":"c"}}"#,
            "Invalid Condition type : StringIs",
        ),
        (PolicyKind::Bucket, r#""Action":"s3:*","Resource":"*""#, "Missing required field Principal"),
        (
            PolicyKind::Bucket,
            r#""Principal":{"AWS":"anna"},"Action":"s3:*","Resource":"*""#,
            "Invalid principal in policy",
        ),
        (PolicyKind::Bucket, r#""Principal":"*","Action":"iam:*","Resource":"*""#, "Policy has invalid action"),
        (PolicyKind::Bucket, r#""Principal":"*","Action":"s3:*","Resource":"*","Colour":1"#, "Unknown field Colour"),
        (
            PolicyKind::Trust,
            r#""Principal":"*","Action":"sts:AssumeRole","Resource":"*""#,
            "Has prohibited field Resource",
        ),
        (
            PolicyKind::Trust,
            r#""Principal":"*","Action":"s3:*""#,
            "AssumeRole policy may only specify STS AssumeRole actions.",
        ),
    ];
    for (kind, elements, message) in cases {
        assert_eq!(refusal(&statement(elements), kind), message, "{elements}");
    }
}

#[test]
fn resources_of_a_bucket_policy_lie_in_the_bucket() {
    let policy = |resource: &str| {
        let elements = format!(r#""Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b/*","{resource}"]"#);
        Policy::parse(&statement(&elements), PolicyKind::Bucket).unwrap()
    };
    for resource in ["arn:aws:s3:::b", "arn:aws:s3:::b/x*", "*"] {
        assert_eq!(policy(resource).check_bucket("b"), Ok(()), "{resource}");
    }
    for resource in ["arn:aws:s3:::b*", "arn:aws:s3:::bb/x", "arn:aws:s3:::*", "arn:aws:iam:::b"] {
        let message = policy(resource).check_bucket("b").unwrap_err().to_string();
        assert_eq!(message, "Policy has invalid resource", "{resource}");
    }
}

#[test]
fn a_bucket_policy_says_what_s3_knows() {
    let cases = [
        (r#""Action":"s3:GetObjekt","Resource":"arn:aws:s3:::b/*""#, "Policy has invalid action"),
        (r#""Action":"s3:Fetch*","Resource":"arn:aws:s3:::b/*""#, "Policy has invalid action"),
        (
            r#""Action":["s3:GetObject","s3:ListBucket"],"Resource":"arn:aws:s3:::b/*""#,
            "Action does not apply to any resource(s) in statement",
        ),
        (
            r#""Action":"s3:GetObject","Resource":"arn:aws:s3:::b""#,
            "Action does not apply to any resource(s) in statement",
        ),
        (
            r#""Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"s3:prefixes":"x"}}"#,
            "Policy has an invalid condition key",
        ),
    ];
    for (elements, message) in cases {
        let text = statement(&format!(r#""Principal":"*",{elements}"#));
        let policy = Policy::parse(&text, PolicyKind::Bucket).unwrap();
        assert_eq!(policy.check_bucket("b").unwrap_err().to_string(), message, "{elements}");
    }
    for elements in [
        r#""Action":["s3:getobject","s3:List*"],"Resource":["arn:aws:s3:::b/*","arn:aws:s3:::b"]"#,
        r#""Action":"*","Resource":"arn:aws:s3:::b/a/*","Condition":{"Bool":{"aws:SecureTransport":true}}"#,
        r#""NotAction":"s3:GetObject","NotResource":"arn:aws:s3:::b/a","Condition":{"Null":{"s3:ExistingObjectTag/x":"true"}}"#,
    ] {
        let text = statement(&format!(r#""Principal":"*",{elements}"#));
        assert_eq!(Policy::parse(&text, PolicyKind::Bucket).unwrap().check_bucket("b"), Ok(()), "{elements}");
    }
}

#[test]
fn a_policy_knows_the_keys_that_it_asks_for() {
    let elements = r#""Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}/*",
        "Condition":{"StringLike":{"s3:ExistingObjectTag/Team":"${aws:PrincipalTag/team, 'none'}"}}"#;
    let policy = Policy::parse(&statement(elements), PolicyKind::Identity).unwrap();
    assert!(policy.asks_for("s3:existingobjecttag/") && policy.asks_for("aws:username"));
    assert!(policy.asks_for("aws:principaltag/team"));
    assert!(!policy.asks_for("s3:requestobjecttag/") && !policy.asks_for("z"));
}
