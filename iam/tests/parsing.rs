//! Whatever the text, parsing answers; and what it took for a policy can be asked anything.

#![allow(clippy::unwrap_used)]

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Policies, Request, Source, SourceKind, evaluate};
use cairn_iam::policy::{BUCKET_POLICY_BYTES_MAX, DOCUMENT_BYTES_MAX, Policy, PolicyKind};
use cairn_iam::principal::Principal;
use cairn_iam::simulate::{ContextEntries, simulate};
use proptest::prelude::*;

const KINDS: [PolicyKind; 4] = [PolicyKind::Identity, PolicyKind::Bucket, PolicyKind::Trust, PolicyKind::Key];

/// Parses a text as each kind, and asks what was parsed.
fn ask(text: &str, action: &str, resource: &str, value: &str) {
    for kind in KINDS {
        let Ok(policy) = Policy::parse(text, kind) else { continue };
        let _ = (policy.is_public(), policy.condition_keys(), policy.check_bucket(resource), policy.asks_for(value));
        let principal =
            Principal::User { account: AccountNumber(1), path: "/".into(), name: value.into(), id: "AIDA".into() };
        let mut entries = ContextEntries::default();
        for key in policy.condition_keys() {
            entries.set(&key, vec![value.to_owned(), String::new()]);
        }
        let request = Request { principal: &principal, action, resource, resource_account: None, context: &entries };
        let source = Source { kind: SourceKind::Resource, holder: "".into(), name: "".into() };
        let attached = Attached { source, policy };
        let policies = Policies { resource: Some(&attached), ..Policies::default() };
        let decision = evaluate(&request, &policies);
        assert_eq!(decision.is_allowed(), simulate(&request, &policies).decision.is_allowed());
    }
}

/// A policy with something of ours in it.
fn nearly_a_policy() -> impl Strategy<Value = String> {
    let operator = prop::sample::select(vec![
        "StringLike",
        "ArnLike",
        "NumericLessThan",
        "DateEquals",
        "IpAddress",
        "Null",
        "Bool",
        "BinaryEquals",
    ]);
    let text = || "[a-zA-Z:/*?${}',\\\\. \u{e9}\u{1f600}0-9-]{0,12}";
    (operator, text(), text(), text(), "(arn:aws:s3:::)?", prop::option::of(0usize..200)).prop_map(
        |(operator, resource, value, key, prefix, cut)| {
            let document = serde_json::json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": format!("{prefix}{resource}"),
                "Condition": {operator: {format!("aws:{key}"): [value]}},
            }]});
            let mut text = document.to_string();
            if let Some(position) = cut.filter(|position| text.is_char_boundary(*position)) {
                text.truncate(position);
            }
            text
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,120}", value in "\\PC{0,8}") {
        ask(&text, "s3:GetObject", "arn:aws:s3:::b/k", &value);
    }

    #[test]
    fn what_is_nearly_a_policy_is_answered(text in nearly_a_policy(), action in "\\PC{0,8}", resource in "\\PC{0,24}", value in "\\PC{0,8}") {
        ask(&text, &action, &resource, &value);
    }
}

#[test]
fn texts_are_bounded() {
    let padded = |length: usize| {
        let start = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}"#;
        format!("{start}{}}}", " ".repeat(length - start.len() - 1))
    };
    assert!(Policy::parse(&padded(BUCKET_POLICY_BYTES_MAX), PolicyKind::Bucket).is_ok());
    assert!(Policy::parse(&padded(BUCKET_POLICY_BYTES_MAX + 1), PolicyKind::Bucket).is_err());
    assert!(Policy::parse(&padded(DOCUMENT_BYTES_MAX + 1), PolicyKind::Identity).is_err());
}

#[test]
fn a_pattern_of_many_asterisks_is_matched_in_time() {
    let pattern = format!("arn:aws:s3:::{}", "*a".repeat(2_000));
    let text =
        format!(r#"{{"Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"{pattern}"}}}}"#);
    ask(&text, "s3:GetObject", &format!("arn:aws:s3:::{}b", "a".repeat(1_024)), "x");
}
