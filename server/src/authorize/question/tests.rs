#![allow(clippy::unwrap_used)]

use cairn_iam::acl::{Acl, CannedAcl};
use cairn_iam::evaluate::Attached;
use cairn_iam::principal::Principal;
use cairn_storage::clock::Timestamp;
use cairn_storage::index::family::bucket::PublicAccessBlock;
use http::HeaderMap;

use crate::authorize::context::Connection;
use crate::authorize::{parse_policy, policies};
use crate::identities::Account;
use crate::s3::request::Query;

use super::*;

const BUCKET: &str = "arn:aws:s3:::bucket";
const OBJECT: &str = "arn:aws:s3:::bucket/key";

fn account(number: u64) -> AccountId {
    AccountId::from_number(number).unwrap()
}

fn root(number: u64) -> Caller {
    let account = Account {
        id: account(number),
        canonical_id: format!("{number:064x}").try_into().unwrap(),
        display_name: "test".to_owned(),
        administers: Vec::new(),
    };
    Caller::root(&Arc::new(account))
}

/// A user to whom its own policies give nothing.
fn user(number: u64) -> Caller {
    let principal = Principal::User {
        account: account_number(account(number)),
        path: "/".to_owned(),
        name: "anna".to_owned(),
        id: "AIDAX".to_owned(),
    };
    let account = root(number).account.clone();
    Caller { principal, account, ..Caller::anonymous() }
}

fn access(acl: Option<Acl>, statements: Option<&str>, block: PublicAccessBlock) -> Access {
    let policy = statements.map(|statements| {
        let text = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statements}]}}");
        Arc::new(Attached { source: policies::source("bucket"), policy: parse_policy(&text).unwrap() })
    });
    Access { owner: account(1), policy, acls_count: acl.is_some(), acl, block }
}

fn may(access: &Access, caller: &Caller, action: Action, resource: &str) -> bool {
    let (headers, query) = (HeaderMap::new(), Query::default());
    let facts = Facts {
        operation: None,
        headers: &headers,
        query: &query,
        connection: Connection { remote: "192.0.2.7".parse().unwrap(), secure: false, tls_version: None },
        signature: None,
        now: Timestamp(0),
        region: "us-east-1",
    };
    let question = Question { facts, caller, access, action, resource, version: None, initiated: false };
    question.answer(Known::default()).is_allowed()
}

fn canned(canned: CannedAcl) -> Option<Acl> {
    let owner = account_number(account(1));
    Some(canned.acl(owner, owner))
}

const OPEN: PublicAccessBlock =
    PublicAccessBlock { refuse_acls: false, ignore_acls: false, refuse_policy: false, restrict: false };

#[test]
fn without_acls_and_policy_a_bucket_is_for_its_owners_root() {
    let access = access(None, None, OPEN);
    for action in [Action::DeleteBucket, Action::PutBucketAcl, Action::ListBucket] {
        assert!(may(&access, &root(1), action, BUCKET));
        for caller in [root(2), user(1), user(2), Caller::anonymous()] {
            assert!(!may(&access, &caller, action, BUCKET), "{action:?} {:?}", caller.principal);
        }
    }
}

#[test]
fn acls_grant_what_the_table_says_and_nothing_else() {
    let public = access(canned(CannedAcl::PublicReadWrite), None, OPEN);
    for caller in [root(2), user(1), Caller::anonymous()] {
        for (action, resource) in
            [(Action::ListBucket, BUCKET), (Action::PutObject, OBJECT), (Action::DeleteObject, OBJECT)]
        {
            assert!(may(&public, &caller, action, resource), "{action:?} {:?}", caller.principal);
        }
        for (action, resource) in [
            (Action::DeleteBucket, BUCKET),
            (Action::DeleteObjectVersion, OBJECT),
            (Action::GetBucketAcl, BUCKET),
            (Action::PutBucketAcl, BUCKET),
            (Action::PutBucketPolicy, BUCKET),
        ] {
            assert!(!may(&public, &caller, action, resource), "{action:?} {:?}", caller.principal);
        }
    }
}

#[test]
fn a_grant_to_another_account_is_for_who_may_use_it_there() {
    let grant = |to: u64| {
        let grantee = cairn_iam::acl::Grantee::Account(account_number(account(to)));
        Acl::new(vec![cairn_iam::acl::Grant::new(grantee, Permission::Read)]).unwrap()
    };
    let access_of_other = access(Some(grant(2)), None, OPEN);
    assert!(may(&access_of_other, &root(2), Action::ListBucket, BUCKET));
    assert!(!may(&access_of_other, &user(2), Action::ListBucket, BUCKET), "its policies give it nothing");
    assert!(!may(&access_of_other, &root(3), Action::ListBucket, BUCKET));
    let own = access(Some(grant(1)), None, OPEN);
    assert!(!may(&own, &user(1), Action::ListBucket, BUCKET), "a grant to one's own account is for its root");
}

#[test]
fn public_acls_that_are_ignored_grant_nothing() {
    let block = PublicAccessBlock { ignore_acls: true, ..OPEN };
    let ignored = access(canned(CannedAcl::PublicReadWrite), None, block);
    assert!(!may(&ignored, &Caller::anonymous(), Action::ListBucket, BUCKET));
    assert!(!may(&ignored, &root(2), Action::PutObject, OBJECT));
    assert!(may(&ignored, &root(1), Action::ListBucket, BUCKET));
}

const EVERYBODY_READS: &str =
    r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}"#;

#[test]
fn a_policy_lets_in_whom_it_names_and_nobody_else() {
    let public = access(None, Some(EVERYBODY_READS), OPEN);
    for caller in [root(2), user(1), Caller::anonymous()] {
        assert!(may(&public, &caller, Action::GetObject, OBJECT), "{:?}", caller.principal);
        assert!(!may(&public, &caller, Action::PutObject, OBJECT), "{:?}", caller.principal);
    }
    assert!(!may(&public, &user(2), Action::GetObject, OBJECT), "across accounts its own policies must let it, too");
}

#[test]
fn a_restricted_public_policy_is_for_the_owners_account() {
    let block = PublicAccessBlock { restrict: true, ..OPEN };
    let restricted = access(None, Some(EVERYBODY_READS), block);
    assert!(may(&restricted, &user(1), Action::GetObject, OBJECT));
    for caller in [root(2), Caller::anonymous()] {
        assert!(!may(&restricted, &caller, Action::GetObject, OBJECT), "{:?}", caller.principal);
    }
    let named = r#"{"Effect":"Allow","Principal":{"AWS":"000000000002"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}"#;
    assert!(may(&access(None, Some(named), block), &root(2), Action::GetObject, OBJECT), "it is not public");
}

#[test]
fn what_a_policy_denies_is_denied_to_the_owner_too_and_restriction_does_not_change_that() {
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"}"#;
    let both = format!("{EVERYBODY_READS},{deny}");
    for block in [OPEN, PublicAccessBlock::ALL] {
        let access = access(canned(CannedAcl::PublicReadWrite), Some(&both), block);
        for caller in [root(1), root(2), user(1), Caller::anonymous()] {
            assert!(!may(&access, &caller, Action::GetObject, OBJECT), "{:?}", caller.principal);
        }
    }
}
