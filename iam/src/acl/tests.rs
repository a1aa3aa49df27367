#![allow(clippy::unwrap_used)]

use super::*;

const OWNER: AccountNumber = AccountNumber(1);
const BUCKET_OWNER: AccountNumber = AccountNumber(2);
const OTHER: AccountNumber = AccountNumber(3);

fn acl(grants: &[(Grantee, Permission)]) -> Acl {
    Acl::new(grants.iter().map(|&(grantee, permission)| Grant::new(grantee, permission)).collect()).unwrap()
}

/// Which of the permissions R, W, r(ead ACP), w(rite ACP) this principal has.
fn has(acl: &Acl, principal: Principal) -> String {
    let needed = [(Permission::Read, 'R'), (Permission::Write, 'W'), (Permission::ReadAcp, 'r')];
    let needed = needed.into_iter().chain([(Permission::WriteAcp, 'w')]);
    needed.filter(|&(permission, _)| acl.permits(OWNER, principal, permission)).map(|(_, letter)| letter).collect()
}

#[test]
fn canned_acls_grant_what_s3_says() {
    // what the bucket's owner, another account and nobody in particular may do
    for (name, bucket_owner, other, anonymous) in [
        ("private", "", "", ""),
        ("public-read", "R", "R", "R"),
        ("public-read-write", "RW", "RW", "RW"),
        ("authenticated-read", "R", "R", ""),
        ("aws-exec-read", "", "", ""),
        ("bucket-owner-read", "R", "", ""),
        ("bucket-owner-full-control", "RWrw", "", ""),
        ("log-delivery-write", "", "", ""),
    ] {
        let acl = CannedAcl::parse(name).unwrap().acl(OWNER, BUCKET_OWNER);
        assert_eq!(has(&acl, Principal::Account(OWNER)), "RWrw", "{name}");
        assert_eq!(has(&acl, Principal::Account(BUCKET_OWNER)), bucket_owner, "{name}");
        assert_eq!(has(&acl, Principal::Account(OTHER)), other, "{name}");
        assert_eq!(has(&acl, Principal::Anonymous), anonymous, "{name}");
        assert_eq!(Acl::new(acl.grants().to_vec()).unwrap(), acl, "{name}: the order is the normal one");
    }
    assert_eq!(CannedAcl::parse("Private"), None);
}

#[test]
fn canned_acls_for_the_buckets_owner_grant_an_owner_nothing_twice() {
    for canned in [CannedAcl::BucketOwnerRead, CannedAcl::BucketOwnerFullControl] {
        assert!(canned.acl(OWNER, OWNER).is_private(OWNER));
    }
}

#[test]
fn an_account_has_what_is_granted_to_it_and_no_more() {
    for (permission, letters) in [
        (Permission::Read, "R"),
        (Permission::Write, "W"),
        (Permission::ReadAcp, "r"),
        (Permission::WriteAcp, "w"),
        (Permission::FullControl, "RWrw"),
    ] {
        let acl = acl(&[(Grantee::Account(OTHER), permission)]);
        assert_eq!(has(&acl, Principal::Account(OTHER)), letters);
        assert_eq!(has(&acl, Principal::Account(BUCKET_OWNER)), "");
        assert_eq!(has(&acl, Principal::Anonymous), "");
        assert_eq!(Permission::parse(permission.name()), Some(permission));
    }
    assert_eq!(Permission::parse("read"), None);
}

#[test]
fn an_owner_cannot_lose_its_own_access() {
    assert_eq!(has(&acl(&[]), Principal::Account(OWNER)), "RWrw");
    assert_eq!(has(&acl(&[]), Principal::Anonymous), "");
}

#[test]
fn groups_are_known_by_their_uri_and_come_first() {
    for group in Grantee::GROUPS {
        assert_eq!(Grantee::group(group.uri().unwrap()), Some(group));
    }
    assert_eq!(Grantee::group("http://acs.amazonaws.com/groups/global/allusers"), None);
    let mixed = acl(&[(Grantee::Account(OWNER), Permission::Read), (Grantee::AllUsers, Permission::Read)]);
    assert_eq!(mixed.grants()[0].grantee, Grantee::AllUsers);
}

#[test]
fn private_and_granting_others_are_told_apart() {
    assert!(Acl::private(OWNER).is_private(OWNER));
    assert!(!Acl::private(OWNER).grants_others(OWNER));
    assert!(Acl::private(OWNER).grants_others(OTHER));
    let less = acl(&[(Grantee::Account(OWNER), Permission::Read)]);
    assert!(!less.is_private(OWNER) && !less.grants_others(OWNER));
    assert!(CannedAcl::LogDeliveryWrite.acl(OWNER, OWNER).grants_others(OWNER));
}

#[test]
fn stored_acls_round_trip_within_their_bound() {
    let largest = Grantee::Account(AccountNumber(u64::MAX));
    let full = acl(&[(largest, Permission::FullControl); GRANTS_MAX]);
    let groups = acl(&Grantee::GROUPS.map(|group| (group, Permission::WriteAcp)));
    for acl in [full, groups, acl(&[]), Acl::private(OWNER)] {
        let bytes = acl.encode();
        assert!(bytes.len() <= ACL_BYTES_MAX, "{}", bytes.len());
        assert_eq!(Acl::decode(&bytes).unwrap(), acl);
    }
}

/// These bytes are on disks: they must always be read like this.
#[test]
fn the_first_format_stays_readable() {
    let bytes = [1, 0x82, 0x82, 0x82, 1, 0x80, 0, 0x82, 0x82, 0, 0x81, 1, 4];
    let expected = acl(&[(Grantee::AllUsers, Permission::Read), (Grantee::Account(OWNER), Permission::FullControl)]);
    assert_eq!(Acl::decode(&bytes).unwrap(), expected);
    assert_eq!(expected.encode(), bytes);
}

#[test]
fn what_is_no_acl_is_not_read_as_one() {
    let too_many = [&[FORMAT, 0x98, 101][..], &[0x82, 0x82, 1, 0x80, 0].repeat(101)].concat();
    for bytes in [&[][..], &[2, 0x80], &[1], &[1, 0xff], &[1, 0x81, 0x82, 0x82, 9, 0x80, 0], &too_many] {
        assert_eq!(Acl::decode(bytes), Err(Unreadable), "{bytes:?}");
    }
}

#[test]
fn an_acl_has_at_most_100_grants() {
    let grant = Grant::new(Grantee::AllUsers, Permission::Read);
    assert!(Acl::new(vec![grant; GRANTS_MAX]).is_ok());
    assert_eq!(Acl::new(vec![grant; GRANTS_MAX + 1]), Err(TooManyGrants));
}
