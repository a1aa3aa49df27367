//! What decides, in the cases that AWS's guide tells apart.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::*;
use crate::policy::{Policy, PolicyKind};

const OWNER: AccountNumber = AccountNumber(111_122_223_333);
const OTHER: AccountNumber = AccountNumber(444_455_556_666);

/// Keys in lower case, with their values.
#[derive(Default)]
struct Keys(HashMap<&'static str, Vec<&'static str>>);

impl Context for Keys {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        match self.0.get(key).map(Vec::as_slice) {
            None => Values::Absent,
            Some([one]) => Values::One((*one).into()),
            Some(many) => Values::Many(many.iter().map(|value| (*value).into()).collect()),
        }
    }
}

fn user(account: AccountNumber) -> Principal {
    Principal::User { account, path: "/".to_owned(), name: "anna".to_owned(), id: "AIDA".to_owned() }
}

fn session(account: AccountNumber) -> Principal {
    Principal::RoleSession {
        account,
        path: "/".to_owned(),
        role: "reader".to_owned(),
        role_id: "AROA".to_owned(),
        session: "job".to_owned(),
    }
}

fn attached(kind: SourceKind, document: &str) -> Attached {
    let of = if kind == SourceKind::Resource { PolicyKind::Bucket } else { PolicyKind::Identity };
    let source = Source { kind, holder: "holder".into(), name: "name".into() };
    Attached { source, policy: Policy::parse(document, of).unwrap() }
}

const ALLOW: &str = r#"{"Version":"2012-10-17","Statement":{"Sid":"ok","Effect":"Allow","Action":"s3:get*","Resource":"arn:aws:s3:::b/*"}}"#;
const DENY: &str = r#"{"Statement":{"Effect":"Deny","Action":"S3:GetObject","Resource":"*"}}"#;
const NOTHING: &str = r#"{"Statement":{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}}"#;

fn bucket_policy(principal: &str) -> Attached {
    attached(
        SourceKind::Resource,
        &format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":{principal},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}}}"#
        ),
    )
}

fn decide(principal: &Principal, policies: &Policies<'_>) -> Outcome {
    let request = Request {
        principal,
        action: "s3:GetObject",
        resource: "arn:aws:s3:::b/k",
        resource_account: Some(OWNER),
        context: &Keys::default(),
    };
    evaluate(&request, policies).outcome
}

const ALLOWED: Outcome = Outcome::Allowed(Grant::Policies);

#[test]
fn within_an_account_either_policy_is_enough() {
    let allow = [attached(SourceKind::User, ALLOW)];
    let bucket = bucket_policy(r#"{"AWS":"arn:aws:iam::111122223333:user/anna"}"#);
    let none = Policies::default();
    assert_eq!(decide(&user(OWNER), &none), Outcome::NotAllowed(Part::Identity));
    assert_eq!(decide(&user(OWNER), &Policies { identity: &allow, ..none }), ALLOWED);
    assert_eq!(decide(&user(OWNER), &Policies { resource: Some(&bucket), ..none }), ALLOWED);
    assert_eq!(decide(&Principal::Root(OWNER), &none), Outcome::Allowed(Grant::Root));
}

#[test]
fn across_accounts_both_have_to_allow() {
    let allow = [attached(SourceKind::User, ALLOW)];
    let bucket = bucket_policy(r#"{"AWS":"444455556666"}"#);
    let none = Policies::default();
    assert_eq!(decide(&user(OTHER), &Policies { identity: &allow, ..none }), Outcome::NotAllowed(Part::Resource));
    assert_eq!(
        decide(&user(OTHER), &Policies { resource: Some(&bucket), ..none }),
        Outcome::NotAllowed(Part::Identity)
    );
    assert_eq!(decide(&user(OTHER), &Policies { identity: &allow, resource: Some(&bucket), ..none }), ALLOWED);
    assert_eq!(decide(&Principal::Root(OTHER), &Policies { resource: Some(&bucket), ..none }), ALLOWED);
    assert_eq!(decide(&Principal::Root(OTHER), &none), Outcome::NotAllowed(Part::Resource));
}

#[test]
fn an_explicit_deny_wins_over_everything_and_says_where_it_stands() {
    let both = [attached(SourceKind::User, ALLOW), attached(SourceKind::Group, DENY)];
    let bucket = bucket_policy(r#""*""#);
    let policies = Policies { identity: &both, resource: Some(&bucket), ..Policies::default() };
    let request = Request {
        principal: &user(OWNER),
        action: "s3:GetObject",
        resource: "arn:aws:s3:::b/k",
        resource_account: Some(OWNER),
        context: &Keys::default(),
    };
    let decision = evaluate(&request, &policies);
    assert_eq!(decision.outcome, Outcome::ExplicitDeny);
    assert_eq!(
        decision.deciders.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["statement 1 of inline policy name of holder"]
    );
    let statement = r#"{"Effect":"Deny","Action":"S3:GetObject","Resource":"*"}"#;
    assert_eq!(decision.deciders[0].text(), Some(statement));
    assert_eq!(decision.because("s3:GetObject").unwrap(), "with an explicit deny in an identity-based policy");
}

#[test]
fn what_bounds_a_session_does_not_bound_what_the_resource_grants_to_it_by_its_own_arn() {
    let boundary = attached(SourceKind::Boundary, NOTHING);
    let session_policies = [attached(SourceKind::Session, NOTHING)];
    let cases = [
        (r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/reader/job"}"#, ALLOWED),
        (r#""*""#, ALLOWED),
        (r#"{"AWS":"arn:aws:iam::111122223333:role/reader"}"#, Outcome::NotAllowed(Part::Boundary)),
        (r#"{"AWS":"111122223333"}"#, Outcome::NotAllowed(Part::Identity)),
    ];
    for (principal, outcome) in cases {
        let bucket = bucket_policy(principal);
        let resource = Some(&bucket);
        let bounded = Policies { resource, boundary: Some(&boundary), ..Policies::default() };
        assert_eq!(decide(&session(OWNER), &bounded), outcome, "{principal}");
        let in_session = Policies { resource, session: Some(&session_policies), ..Policies::default() };
        let outcome =
            if outcome == Outcome::NotAllowed(Part::Boundary) { Outcome::NotAllowed(Part::Session) } else { outcome };
        assert_eq!(decide(&session(OWNER), &in_session), outcome, "{principal}");
    }
}

#[test]
fn nobody_in_particular_has_what_everybody_is_given() {
    let everybody = bucket_policy(r#"{"AWS":"*"}"#);
    let account = bucket_policy(r#"{"AWS":"111122223333"}"#);
    let none = Policies::default();
    assert_eq!(decide(&Principal::Anonymous, &Policies { resource: Some(&everybody), ..none }), ALLOWED);
    assert_eq!(
        decide(&Principal::Anonymous, &Policies { resource: Some(&account), ..none }),
        Outcome::NotAllowed(Part::Resource)
    );
    assert_eq!(
        decide(&Principal::Anonymous, &Policies { resource_grants: true, ..none }),
        Outcome::Allowed(Grant::Acl)
    );
}

#[test]
fn a_key_is_for_whom_its_policy_or_a_grant_lets() {
    let key_policy = |principal: &str| {
        let document = format!(
            r#"{{"Statement":{{"Sid":"who may","Effect":"Allow","Principal":{principal},"Action":"s3:*","Resource":"*"}}}}"#
        );
        let source = Source { kind: SourceKind::Resource, holder: "key".into(), name: "".into() };
        Attached { source, policy: Policy::parse(&document, PolicyKind::Key).unwrap() }
    };
    let allow = [attached(SourceKind::User, ALLOW)];
    let nothing = [attached(SourceKind::Session, NOTHING)];
    let of_account = key_policy(r#"{"AWS":"arn:aws:iam::111122223333:root"}"#);
    let of_ben = key_policy(r#"{"AWS":"arn:aws:iam::111122223333:user/ben"}"#);
    let by_account = Policies { resource: Some(&of_account), ..Policies::default() };
    let by_ben = Policies { resource: Some(&of_ben), ..Policies::default() };
    let (anna, root) = (user(OWNER), Principal::Root(OWNER));
    assert_eq!(decide(&anna, &by_account), Outcome::NotAllowed(Part::Identity));
    assert_eq!(decide(&anna, &Policies { identity: &allow, ..by_account }), ALLOWED);
    assert_eq!(decide(&root, &by_account), ALLOWED);
    for principal in [&anna, &root] {
        assert_eq!(decide(principal, &Policies { identity: &allow, ..by_ben }), Outcome::NotAllowed(Part::Resource));
    }
    let granted = Policies { resource_grants: true, ..by_ben };
    assert_eq!(decide(&anna, &granted), Outcome::Allowed(Grant::KmsGrant));
    assert_eq!(decide(&anna, &Policies { session: Some(&nothing), ..granted }), Outcome::NotAllowed(Part::Session));
    assert_eq!(decide(&user(OTHER), &granted), Outcome::NotAllowed(Part::Identity));
    assert_eq!(decide(&user(OTHER), &Policies { identity: &allow, ..granted }), Outcome::Allowed(Grant::KmsGrant));
    let deny = [attached(SourceKind::User, DENY)];
    assert_eq!(decide(&anna, &Policies { identity: &deny, ..granted }), Outcome::ExplicitDeny);
}
