#![allow(clippy::unwrap_used)]

use http::HeaderValue;

use crate::config::CanonicalId;

use super::*;

fn id(number: u64) -> AccountId {
    AccountId::from_number(number).unwrap()
}

fn accounts() -> Accounts {
    let account = |number: u64| crate::identities::Account {
        id: id(number),
        canonical_id: CanonicalId::try_from(format!("canonical{number}")).unwrap(),
        display_name: format!("name {number}"),
        administers: Vec::new(),
    };
    let mut accounts = Accounts::default();
    accounts.insert(account(1), Some("one@cairn.example"));
    accounts.insert(account(2), Some("Two@cairn.example"));
    accounts
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair =
        |(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    let mut headers = HeaderMap::new();
    pairs.iter().map(pair).for_each(|(name, value)| {
        headers.append(name, value);
    });
    headers
}

fn read(pairs: &[(&'static str, &str)]) -> Result<Option<Asked>, String> {
    from_headers(&headers(pairs), &accounts()).map_err(|failure| failure.code().to_owned())
}

fn explicit(grants: &[(Grantee, Permission)]) -> Asked {
    let grants = grants.iter().map(|&(grantee, permission)| Grant::new(grantee, permission));
    Asked::Explicit(Acl::new(grants.collect()).unwrap())
}

const ONE: Grantee = Grantee::Account(AccountNumber(1));
const TWO: Grantee = Grantee::Account(AccountNumber(2));

#[test]
fn headers_name_grantees_by_id_email_or_group() {
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[("x-amz-acl", "public-read")]), Ok(Some(Asked::Canned(CannedAcl::PublicRead))));
    let group = "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"";
    assert_eq!(
        read(&[
            ("x-amz-grant-full-control", "id=canonical1"),
            ("x-amz-grant-read", &format!("{group}, emailAddress=\"two@CAIRN.example\"")),
            ("x-amz-grant-read", "id=\"canonical1\""),
        ]),
        Ok(Some(explicit(&[
            (Grantee::AllUsers, Permission::Read),
            (TWO, Permission::Read),
            (ONE, Permission::Read),
            (ONE, Permission::FullControl),
        ])))
    );
}

#[test]
fn headers_that_name_nobody_or_too_much_are_refused() {
    for (pairs, code) in [
        (&[("x-amz-acl", "Private")][..], "InvalidArgument"),
        (&[("x-amz-acl", "private"), ("x-amz-acl", "public-read")], "InvalidArgument"),
        (&[("x-amz-acl", "")], "InvalidArgument"),
        (&[("x-amz-acl", "private"), ("x-amz-grant-read", "id=canonical1")], "InvalidRequest"),
        (&[("x-amz-grant-read", "id=canonical3")], "InvalidArgument"),
        (&[("x-amz-grant-read", "canonical1")], "InvalidArgument"),
        (&[("x-amz-grant-read", "")], "InvalidArgument"),
        (&[("x-amz-grant-read", "name=one")], "InvalidArgument"),
        (&[("x-amz-grant-read", "uri=http://example.com/everybody")], "InvalidArgument"),
        (&[("x-amz-grant-read", "emailAddress=nobody@cairn.example")], "UnresolvableGrantByEmailAddress"),
    ] {
        assert_eq!(read(pairs), Err(code.to_owned()), "{pairs:?}");
    }
    let many = ["id=canonical1"; 101].join(",");
    assert_eq!(read(&[("x-amz-grant-read", &many)]), Err("MalformedACLError".to_owned()));
}

const XSI: &str = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
const OWNER: &str = "<Owner><ID>canonical1</ID><DisplayName>anything</DisplayName></Owner>";

fn grant(kind: &str, inner: &str, permission: &str) -> String {
    format!("<Grant><Grantee {XSI} xsi:type=\"{kind}\">{inner}</Grantee><Permission>{permission}</Permission></Grant>")
}

fn parsed(owner: &str, list: &str) -> Result<Policy, String> {
    let document = format!("<AccessControlPolicy>{owner}{list}</AccessControlPolicy>");
    from_document(document.as_bytes(), &accounts()).map_err(|failure| failure.code().to_owned())
}

#[test]
fn documents_name_an_owner_and_grants() {
    let grants = [
        grant("CanonicalUser", "<ID>canonical2</ID><DisplayName>x</DisplayName>", "READ_ACP"),
        grant("AmazonCustomerByEmail", "<EmailAddress>one@cairn.example</EmailAddress>", "WRITE"),
        grant("Group", "<URI>http://acs.amazonaws.com/groups/s3/LogDelivery</URI>", "WRITE"),
    ];
    let list = format!("<AccessControlList>{}</AccessControlList>", grants.concat());
    let policy = parsed(OWNER, &list).unwrap();
    assert_eq!(policy.owner, "canonical1");
    let expected = [(Grantee::LogDelivery, Permission::Write), (TWO, Permission::ReadAcp), (ONE, Permission::Write)];
    assert_eq!(Asked::Explicit(policy.acl), explicit(&expected));
    assert_eq!(parsed(OWNER, "<AccessControlList/>").unwrap().acl.grants(), []);
}

#[test]
fn documents_that_are_none_are_malformed() {
    let malformed = "MalformedACLError";
    let list = |grant: &str| format!("<AccessControlList>{grant}</AccessControlList>");
    let id = "<ID>canonical2</ID>";
    for (owner, list, code) in [
        ("", list(&grant("CanonicalUser", id, "READ")), malformed),
        (OWNER, String::new(), malformed),
        (OWNER, list(&grant("CanonicalUser", id, "LISTEN")), malformed),
        (OWNER, list(&grant("CanonicalUser", "", "READ")), malformed),
        (OWNER, list(&grant("Group", id, "READ")), malformed),
        (OWNER, list(&grant("Robot", id, "READ")), malformed),
        (OWNER, list("<Grant><Permission>READ</Permission></Grant>"), malformed),
        (OWNER, list(&format!("<Grant><Grantee>{id}</Grantee><Permission>READ</Permission></Grant>")), malformed),
        (OWNER, list(&grant("CanonicalUser", id, "READ").repeat(101)), malformed),
        (OWNER, list(&grant("CanonicalUser", "<ID>_foo</ID>", "READ")), "InvalidArgument"),
        (OWNER, list(&grant("Group", "<URI>x</URI>", "READ")), "InvalidArgument"),
        (
            OWNER,
            list(&grant("AmazonCustomerByEmail", "<EmailAddress>x</EmailAddress>", "READ")),
            "UnresolvableGrantByEmailAddress",
        ),
    ] {
        assert_eq!(parsed(owner, &list).unwrap_err(), code, "{owner} {list}");
    }
}

#[test]
fn only_the_bucket_owners_full_control_is_as_enforced() {
    let owner = id(1);
    assert!(Asked::Canned(CannedAcl::BucketOwnerFullControl).is_as_enforced(owner));
    assert!(explicit(&[(ONE, Permission::FullControl)]).is_as_enforced(owner));
    for asked in [
        Asked::Canned(CannedAcl::Private),
        Asked::Canned(CannedAcl::PublicRead),
        explicit(&[]),
        explicit(&[(ONE, Permission::Read)]),
        explicit(&[(TWO, Permission::FullControl)]),
        explicit(&[(ONE, Permission::FullControl), (TWO, Permission::Read)]),
    ] {
        assert!(!asked.is_as_enforced(owner), "{asked:?}");
    }
}

#[test]
fn an_acl_that_goes_without_saying_is_not_stored() {
    let private = Asked::Canned(CannedAcl::Private).for_bucket(id(1));
    assert_eq!(to_store(&private, id(1)), None);
    let public = Asked::Canned(CannedAcl::PublicRead).for_bucket(id(1));
    let bytes = to_store(&public, id(1)).unwrap();
    assert_eq!(of_bucket(id(1), Some(&bytes)).unwrap(), public);
    assert_eq!(of_bucket(id(1), None).unwrap(), private);
    assert_eq!(of_bucket(id(1), Some(b"\xff")).unwrap_err().code(), "InternalError");
}
