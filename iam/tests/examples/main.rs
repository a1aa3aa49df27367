//! AWS's documented examples, and what the guides say of them.
//!
//! Each is written anew after the example that its name tells (S3 user guide, "Bucket policy examples" and "Amazon S3
//! condition key examples"; IAM user guide, "Example IAM identity-based policies"), for a bucket `b` of account 111122223333.

#![allow(clippy::unwrap_used)]

mod buckets;
mod identities;
mod public;
mod trust;

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
