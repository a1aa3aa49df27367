//! What differs between an object and its replica. Pure.

use std::collections::BTreeSet;

use cairn_iam::acl::{Acl, Grant, Grantee};
use cairn_replication::client::Digest;
use cairn_replication::remote::Found;
use cairn_storage::object::{ObjectAttributes, ObjectVersion};
use cairn_storage::settings::{ObjectSettings, Retention, Tag};

use crate::s3::headers::document_time;

/// How ACLs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acls {
    /// Not: the replica has none, or is another account's.
    None,
    /// But for what they grant to accounts, which may be left out.
    OfKnownAccounts,
    /// All of them.
    All,
}

/// What becomes of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing can be done about it: it is in what never changes about a version.
    None,
    /// It is in what may change about a version, so it can be brought.
    Bring,
    /// It would stay if that was brought: it is there by right.
    ByRight,
}

/// What differs, for people: names, but no values of clients'.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Differences {
    pub(super) text: String,
    pub(super) remedy: Remedy,
}

/// Compares an object with its replica, whose settings would be `brought` if the object's came there now; None: they are the same.
pub(super) fn compare(
    here: &ObjectVersion,
    there: &Found,
    brought: &ObjectSettings,
    acls: Acls,
) -> Option<Differences> {
    let mut content = Vec::new();
    if here.size_bytes != there.size_bytes {
        content.push(format!("{} bytes here and {} there", here.size_bytes, there.size_bytes));
    }
    if here.etag.to_string() != there.etag {
        content.push("its ETag".to_owned());
    }
    if let Some(checksum) = here.checksum.filter(|checksum| !checksum.composite) {
        let (name, value) = Digest::Checksum(checksum.value).header();
        content.extend(there.checksums.iter().any(|(other, of)| *other == name && *of != value).then_some(name));
    }
    content.extend(attributes(&here.attributes, &there.attributes));
    let settings = settings(&here.settings, &there.settings, brought, acls);
    let remedy = if !content.is_empty() {
        Remedy::None
    } else if settings.iter().any(|(_, stays)| !stays) {
        Remedy::Bring
    } else {
        Remedy::ByRight
    };
    let differences: Vec<String> = content.into_iter().chain(settings.into_iter().map(|(what, _)| what)).collect();
    (!differences.is_empty()).then(|| Differences { text: differences.join(", "), remedy })
}

fn attributes(here: &ObjectAttributes, there: &ObjectAttributes) -> Vec<String> {
    let header = |of: &ObjectAttributes| {
        [
            ("Content-Type", of.content_type.clone()),
            ("Cache-Control", of.cache_control.clone()),
            ("Content-Disposition", of.content_disposition.clone()),
            ("Content-Encoding", of.content_encoding.clone()),
            ("Content-Language", of.content_language.clone()),
            ("Expires", of.expires.clone()),
            ("x-amz-website-redirect-location", of.website_redirect_location.clone()),
        ]
    };
    let headers = header(here).into_iter().zip(header(there)).filter(|(here, there)| here != there);
    let headers = headers.map(|((name, _), _)| name.to_owned());
    let names: BTreeSet<&String> = here.user_metadata.keys().chain(there.user_metadata.keys()).collect();
    let metadata = names.into_iter().filter(|name| here.user_metadata.get(*name) != there.user_metadata.get(*name));
    headers.chain(metadata.map(|name| format!("x-amz-meta-{name}"))).collect()
}

/// What differs of the settings, each with whether it stays so.
fn settings(
    here: &ObjectSettings,
    there: &ObjectSettings,
    brought: &ObjectSettings,
    acls: Acls,
) -> Vec<(String, bool)> {
    let mut differences = Vec::new();
    if !same_tags(&here.tags, &there.tags) {
        differences.push(("its tags".to_owned(), same_tags(&brought.tags, &there.tags)));
    }
    if here.retention != there.retention {
        let text = format!("its retention ({} here, {} there)", retention(here.retention), retention(there.retention));
        differences.push((text, brought.retention == there.retention));
    }
    let held = |settings: &ObjectSettings| settings.legal_hold.unwrap_or_default();
    if held(here) != held(there) {
        let text = format!("its legal hold ({} there)", if held(there) { "ON" } else { "OFF" });
        differences.push((text, held(brought) == held(there)));
    }
    if acls != Acls::None && !same_grants(&grants(here), &grants(there), acls) {
        differences.push(("its ACL".to_owned(), false));
    }
    differences
}

/// Whether they are the same tags, in whatever order.
pub(super) fn same_tags(one: &[Tag], other: &[Tag]) -> bool {
    sorted(one) == sorted(other)
}

fn sorted(tags: &[Tag]) -> Vec<(&str, &str)> {
    let mut tags: Vec<_> = tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())).collect();
    tags.sort_unstable();
    tags
}

fn retention(retention: Option<Retention>) -> String {
    retention.map_or("none".to_owned(), |Retention { mode, until }| {
        format!("{} until {}", mode.name(), document_time(until))
    })
}

/// What is granted; nothing by an ACL that cannot be read.
fn grants(settings: &ObjectSettings) -> Vec<Grant> {
    let acl = settings.acl.as_ref().and_then(|acl| Acl::decode(acl).ok());
    acl.map(|acl| acl.grants().to_vec()).unwrap_or_default()
}

fn same_grants(here: &[Grant], there: &[Grant], acls: Acls) -> bool {
    let is_left_out = |grant: &Grant| acls == Acls::OfKnownAccounts && matches!(grant.grantee, Grantee::Account(_));
    here.iter().all(|grant| there.contains(grant) || is_left_out(grant))
        && there.iter().all(|grant| here.contains(grant))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_iam::acl::{AccountNumber, Permission};
    use cairn_storage::clock::Timestamp;
    use cairn_storage::id::{AccountId, VersionId};
    use cairn_storage::object::{Content, Etag, StorageClass};
    use cairn_storage::settings::RetentionMode;

    use super::*;

    fn object() -> ObjectVersion {
        let mut attributes = ObjectAttributes { content_type: Some("text/plain".to_owned()), ..Default::default() };
        attributes.user_metadata.insert("color".to_owned(), "red".to_owned());
        ObjectVersion {
            version_id: VersionId::from_bytes([1; 16]),
            is_null: false,
            created: Timestamp(1),
            owner: AccountId::from_number(2).unwrap(),
            size_bytes: 3,
            etag: Etag { digest: [4; 16], parts_count: 0 },
            content: Content::Empty,
            checksum: None,
            storage_class: StorageClass::Standard,
            attributes,
            settings: ObjectSettings::default(),
            encryption: None,
            sealed_checksum: None,
            placed: None,
            restored: None,
            access: None,
            replication: None,
        }
    }

    fn replica(object: &ObjectVersion) -> Found {
        Found {
            size_bytes: object.size_bytes,
            etag: object.etag.to_string(),
            checksums: Vec::new(),
            attributes: object.attributes.clone(),
            settings: object.settings.clone(),
            changed: None,
            without_acls: false,
        }
    }

    /// The comparison if all that was brought would come to be there.
    fn compared(here: &ObjectVersion, there: &Found, acls: Acls) -> Option<Differences> {
        compare(here, there, &here.settings, acls)
    }

    fn acl(grantees: &[Grantee]) -> ObjectSettings {
        let grant = |grantee: &Grantee| Grant { grantee: *grantee, permission: Permission::Read };
        let acl = Acl::new(grantees.iter().map(grant).collect()).unwrap();
        ObjectSettings { acl: Some(acl.encode().into()), ..ObjectSettings::default() }
    }

    #[test]
    fn a_replica_is_the_same() {
        let mut here = object();
        let mut there = replica(&here);
        assert_eq!(compared(&here, &there, Acls::All), None);
        let tag = |key: &str| Tag { key: key.to_owned(), value: String::new() };
        here.settings.tags = vec![tag("a"), tag("b")];
        there.settings.tags = vec![tag("b"), tag("a")];
        there.settings.legal_hold = Some(false);
        assert_eq!(compared(&here, &there, Acls::All), None, "neither order nor a hold that is off tells anything");
    }

    #[test]
    fn what_the_bytes_and_their_headers_are_cannot_be_mended() {
        let here = object();
        let mut there = replica(&here);
        there.size_bytes = 4;
        there.attributes.content_type = None;
        there.attributes.user_metadata.insert("shape".to_owned(), String::new());
        let differences = compared(&here, &there, Acls::All).unwrap();
        assert_eq!(differences.text, "3 bytes here and 4 there, Content-Type, x-amz-meta-shape");
        assert_eq!(differences.remedy, Remedy::None);
    }

    #[test]
    fn what_may_change_can_be_mended_and_is_named() {
        let mut here = object();
        let there = replica(&here);
        let until = Timestamp(1_900_000_000_000);
        here.settings.retention = Some(Retention { mode: RetentionMode::Governance, until });
        here.settings.legal_hold = Some(true);
        let differences = compared(&here, &there, Acls::All).unwrap();
        let text =
            "its retention (GOVERNANCE until 2030-03-17T17:46:40.000Z here, none there), its legal hold (OFF there)";
        assert_eq!(differences, Differences { text: text.to_owned(), remedy: Remedy::Bring });
    }

    #[test]
    fn what_would_stay_though_it_was_brought_is_there_by_right() {
        let mut here = object();
        let mut there = replica(&here);
        there.settings.legal_hold = Some(true);
        here.settings.tags = vec![Tag { key: "a".to_owned(), value: String::new() }];
        let brought = |tags: &[Tag]| ObjectSettings { tags: tags.to_vec(), ..there.settings.clone() };
        let remedy = |brought: &ObjectSettings| compare(&here, &there, brought, Acls::All).unwrap().remedy;
        assert_eq!(remedy(&brought(&[])), Remedy::ByRight);
        assert_eq!(remedy(&brought(&here.settings.tags)), Remedy::Bring);
        let larger = ObjectVersion { size_bytes: 9, ..here.clone() };
        assert_eq!(compare(&larger, &there, &there.settings, Acls::All).unwrap().remedy, Remedy::None);
    }

    #[test]
    fn acls_are_compared_as_far_as_the_target_can_have_them() {
        let account = Grantee::Account(AccountNumber(7));
        let mut here = object();
        here.settings = acl(&[account, Grantee::AllUsers]);
        let mut there = replica(&here);
        there.settings = acl(&[Grantee::AllUsers]);
        assert_eq!(compared(&here, &there, Acls::OfKnownAccounts), None);
        assert_eq!(compared(&here, &there, Acls::All).unwrap().text, "its ACL");
        there.settings = acl(&[Grantee::AuthenticatedUsers]);
        assert_eq!(compared(&here, &there, Acls::OfKnownAccounts).unwrap().text, "its ACL");
        assert_eq!(compared(&here, &there, Acls::None), None);
    }
}
