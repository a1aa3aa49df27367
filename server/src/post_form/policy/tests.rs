#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

/// 2026-01-01T00:00:00Z
const NOW: Timestamp = Timestamp(1_767_225_600_000);
const LATER: &str = "2026-01-01T00:00:01.000Z";

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(&BASE64.encode(text)).map_err(|failure| format!("{}: {}", failure.code(), failure.message()))
}

fn fields(pairs: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    pairs.iter().for_each(|(name, value)| fields.add(name, (*value).to_owned()).unwrap());
    fields
}

/// What a form for the bucket `b` is told by a policy with these conditions, and one about the bucket.
fn check(conditions: Value, pairs: &[(&str, &str)]) -> Result<RangeInclusive<u64>, String> {
    let Value::Array(mut conditions) = conditions else { panic!("conditions are a list") };
    conditions.push(json!({ "bucket": "b" }));
    let policy = json!({ "expiration": LATER, "conditions": conditions }).to_string();
    let told = |failure: Failure| failure.message().replace("Invalid according to Policy: ", "");
    parse(&policy).unwrap().check(&fields(pairs), "b", NOW).map_err(told)
}

#[test]
fn malformed_policies_are_refused() {
    let with = |conditions: &str| format!(r#"{{"expiration": "{LATER}", "conditions": [{conditions}]}}"#);
    let simple = "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.";
    for (text, message) in [
        ("".to_owned(), "Invalid JSON."),
        ("[]".to_owned(), "Invalid JSON."),
        ("{".to_owned(), "Invalid JSON."),
        (format!(r#"{{"expiration": "{LATER}"}}"#), "Policy missing conditions."),
        (r#"{"conditions": []}"#.to_owned(), "Policy missing expiration."),
        (format!(r#"{{"EXPIRATION": "{LATER}", "conditions": []}}"#), "Unexpected: 'expiration'"),
        (format!(r#"{{"expiration": "{LATER}", "conditions": {{}}}}"#), "Invalid 'conditions' value: must be a List."),
        (r#"{"expiration": "soon", "conditions": []}"#.to_owned(), "Invalid 'expiration' value: 'soon'"),
        (r#"{"expiration": 7, "conditions": []}"#.to_owned(), "Invalid 'expiration' value: '7'"),
        (
            r#"{"expiration": "2026-01-01T00:00:00+02:00", "conditions": []}"#.to_owned(),
            "Invalid 'expiration' value: '2026-01-01T00:00:00+02:00'",
        ),
        (with("{}"), simple),
        (with(r#"{"acl": "a", "key": "b"}"#), simple),
        (with(r#"{"acl": 7}"#), "Invalid Simple-Condition: value must be a string."),
        (with("7"), "Invalid condition: must be a List or Object."),
        (with("[]"), "Invalid Condition: missing operation identifier."),
        (with("[7, 8, 9]"), "Invalid Condition: missing operation identifier."),
        (with(r#"["eq", "$key"]"#), "Invalid eq: wrong number of arguments."),
        (with(r#"["eq", "$key", "a", "b"]"#), "Invalid eq: wrong number of arguments."),
        (with(r#"["eq", "$key", 7]"#), "Invalid JSON."),
        (with(r#"["like", "$key", "a"]"#), "Invalid Condition: unknown operation 'like'."),
        (with(r#"["content-length-range", 0]"#), "Invalid content-length-range: wrong number of arguments."),
        (with(r#"["content-length-range", -1, 0]"#), "Invalid JSON."),
        (with(r#"["content-length-range", 0, 1.5]"#), "Invalid JSON."),
    ] {
        assert_eq!(parse(&text), Err(format!("InvalidPolicyDocument: Invalid Policy: {message}")), "{text}");
    }
    assert_eq!(Policy::parse("%").unwrap_err().code(), "InvalidPolicyDocument");
}

#[test]
fn a_policy_ends() {
    let at = |expiration: &str| {
        let policy = json!({ "expiration": expiration, "conditions": [{ "bucket": "b" }] }).to_string();
        parse(&policy).unwrap().check(&Fields::default(), "b", NOW).map_err(|failure| failure.message().to_owned())
    };
    assert!(at("2026-01-01T00:00:00Z").is_ok());
    assert_eq!(at("2025-12-31T23:59:59.999Z"), Err("Invalid according to Policy: Policy expired.".to_owned()));
}

#[test]
fn every_condition_must_hold() {
    for (condition, value, holds) in [
        (json!({ "x-amz-meta-a": "v" }), "v", true),
        (json!({ "x-amz-meta-a": "v" }), "V", false),
        (json!({ "X-Amz-Meta-A": "v" }), "v", true),
        (json!(["eq", "$x-amz-meta-a", "v"]), "v", true),
        (json!(["EQ", "$X-AMZ-meta-a", "v"]), "v", true),
        (json!(["eq", "$x-amz-meta-a", ""]), "v", false),
        (json!(["starts-with", "$x-amz-meta-a", "v"]), "value", true),
        (json!(["StArTs-WiTh", "$x-amz-meta-a", ""]), "value", true),
        (json!(["starts-with", "$x-amz-meta-a", "V"]), "value", false),
        (json!(["starts-with", "$x-amz-meta-a", "v,"]), "v,w", true),
        (json!(["starts-with", "$x-amz-meta-a", "v"]), "v,w", true),
        (json!(["eq", "x-amz-meta-a", "v"]), "v", false),
    ] {
        assert_eq!(check(json!([condition]), &[("x-amz-meta-a", value)]).is_ok(), holds, "{condition} {value}");
    }
    let failed = check(json!([["eq", "$X-amz-meta-a", "\"v"]]), &[("x-amz-meta-a", "w")]);
    assert_eq!(failed, Err(r#"Policy Condition failed: ["eq", "$X-amz-meta-a", "\"v"]"#.to_owned()));
    let failed = check(json!([{ "acl": "private" }]), &[]);
    assert_eq!(failed, Err(r#"Policy Condition failed: ["eq", "$acl", "private"]"#.to_owned()));
    let failed = check(json!([["starts-with", "$key", "user/"]]), &[]);
    assert_eq!(failed, Err(r#"Policy Condition failed: ["starts-with", "$key", "user/"]"#.to_owned()));
}

#[test]
fn each_of_several_content_types_must_begin_so() {
    let types = |value: &str| check(json!([["starts-with", "$Content-Type", "image/"]]), &[("content-type", value)]);
    assert!(types("image/png").is_ok());
    assert!(types("image/jpg,image/png, image/gif").is_ok());
    assert!(types("image/jpg,text/html").is_err());
    assert!(types("").is_err());
}

#[test]
fn every_field_must_be_covered() {
    let key = json!([["starts-with", "$key", ""]]);
    assert_eq!(check(key.clone(), &[("key", "k"), ("acl", "public-read")]), Err("Extra input fields: acl".to_owned()));
    let excused = [("policy", "p"), ("signature", "s"), ("AWSAccessKeyId", "a"), ("x-amz-signature", "s")];
    assert!(check(key.clone(), &[&excused[..], &[("key", "k"), ("X-Ignore-Me", "x")]].concat()).is_ok());
    assert!(check(key.clone(), &[("key", "k"), ("x-amz-checksum-crc32", "x")]).is_ok());
    for name in ["x-amz-date", "x-amz-credential", "x-amz-algorithm", "x-amz-security-token", "x-amz-meta-a"] {
        assert_eq!(check(key.clone(), &[("key", "k"), (name, "x")]), Err(format!("Extra input fields: {name}")));
    }
}

#[test]
fn a_policy_is_good_for_the_bucket_that_it_names() {
    let of = |conditions: Value, form: &[(&str, &str)]| {
        let policy = json!({ "expiration": LATER, "conditions": conditions }).to_string();
        parse(&policy).unwrap().check(&fields(form), "b", NOW).map_err(|failure| failure.message().to_owned())
    };
    assert!(of(json!([{ "bucket": "b" }]), &[]).is_ok());
    assert!(of(json!([{ "bucket": "other" }]), &[("bucket", "other")]).is_err());
    assert_eq!(of(json!([]), &[]), Err("Invalid according to Policy: Extra input fields: bucket".to_owned()));
}

#[test]
fn ranges_of_sizes_are_joined() {
    let sizes = |conditions| check(conditions, &[]);
    assert_eq!(sizes(json!([])), Ok(0..=u64::MAX));
    assert_eq!(sizes(json!([["content-length-range", 5, 10]])), Ok(5..=10));
    assert_eq!(sizes(json!([["content-length-range", "5", "10"]])), Ok(5..=10));
    assert_eq!(sizes(json!([["content-length-range", 5, 10], ["content-length-range", 0, 7]])), Ok(5..=7));
    let failed = sizes(json!([["content-length-range", "test", "10"]]));
    assert_eq!(failed, Err(r#"Policy Condition failed: ["content-length-range", "test", "10"]"#.to_owned()));
}

#[test]
fn the_escapes_of_policies_are_more_than_those_of_json() {
    let policy = format!(
        r#"{{"expiration": "{LATER}", "conditions": [{{"bucket": "b"}}, ["eq", "$key", "\$a\v\\$\u00e9\n"]]}}"#
    );
    let form = fields(&[("key", "$a\u{b}\\$é\n")]);
    assert!(parse(&policy).unwrap().check(&form, "b", NOW).is_ok());
}
