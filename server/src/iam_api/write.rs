//! How identities look in answers (IAM API reference, "Data Types").

use cairn_iam::identity::{Directory, Group, ManagedPolicy, PolicyVersion, Role, Tag, User};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::identities::Snapshot;
use crate::s3::xml::Document;

use super::target::iso_time;

/// Documents of policies are in answers encoded as RFC 3986 has it.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A time.
pub(super) fn time(document: &mut Document, name: &str, ms: u64) {
    document.text(name, &iso_time(ms));
}

/// A policy's document.
pub(super) fn policy_document(document: &mut Document, name: &str, text: &str) {
    document.text(name, &utf8_percent_encode(text, ENCODED).to_string());
}

/// Tags, if there are any.
pub(super) fn tags(document: &mut Document, tags: &[Tag]) {
    if !tags.is_empty() {
        document
            .element("Tags", |list| tags.iter().for_each(|tag| list.element("member", |member| one_tag(member, tag))));
    }
}

/// A tag.
pub(super) fn one_tag(member: &mut Document, tag: &Tag) {
    member.text("Key", &tag.key);
    member.text("Value", &tag.value);
}

fn boundary(document: &mut Document, arn: Option<&str>) {
    if let Some(arn) = arn {
        document.element("PermissionsBoundary", |boundary| {
            boundary.text("PermissionsBoundaryType", "PermissionsBoundaryPolicy");
            boundary.text("PermissionsBoundaryArn", arn);
        });
    }
}

/// A user as lists show it.
pub(super) fn user(document: &mut Document, directory: &Directory, user: &User) {
    document.text("Path", &user.path);
    document.text("UserName", &user.name);
    document.text("UserId", &user.id);
    document.text("Arn", &directory.user_arn(user));
    time(document, "CreateDate", user.created_ms);
}

/// A user with everything.
pub(super) fn whole_user(document: &mut Document, directory: &Directory, whole: &User) {
    user(document, directory, whole);
    boundary(document, whole.boundary.as_deref());
    tags(document, &whole.tags);
}

/// A group.
pub(super) fn group(document: &mut Document, directory: &Directory, group: &Group) {
    document.text("Path", &group.path);
    document.text("GroupName", &group.name);
    document.text("GroupId", &group.id);
    document.text("Arn", &directory.group_arn(group));
    time(document, "CreateDate", group.created_ms);
}

/// A role as lists show it. Whom its document names, who may be of any account, the snapshot knows.
pub(super) fn role(document: &mut Document, (snapshot, directory): (&Snapshot, &Directory), role: &Role) {
    document.text("Path", &role.path);
    document.text("RoleName", &role.name);
    document.text("RoleId", &role.id);
    document.text("Arn", &directory.role_arn(role));
    time(document, "CreateDate", role.created_ms);
    policy_document(document, "AssumeRolePolicyDocument", &snapshot.show_principals(&role.trust));
    document.optional("Description", role.description.as_deref());
    document.value("MaxSessionDuration", role.session_seconds_max);
}

/// A role with everything.
pub(super) fn whole_role(document: &mut Document, of: (&Snapshot, &Directory), whole: &Role) {
    role(document, of, whole);
    boundary(document, whole.boundary.as_deref());
    tags(document, &whole.tags);
}

/// A managed policy of the account as lists show it.
pub(super) fn policy(document: &mut Document, directory: &Directory, policy: &ManagedPolicy) {
    let arn = directory.policy_arn(policy);
    document.text("PolicyName", &policy.name);
    document.text("PolicyId", &policy.id);
    document.text("Arn", &arn);
    document.text("Path", &policy.path);
    document.text("DefaultVersionId", &version_id(policy.default_version));
    document.value("AttachmentCount", directory.attachments(&arn));
    document.value("PermissionsBoundaryUsageCount", directory.bounded(&arn));
    document.value("IsAttachable", true);
    time(document, "CreateDate", policy.created_ms);
    time(document, "UpdateDate", policy.updated_ms);
}

/// A version of a policy, with its document or without.
pub(super) fn version(document: &mut Document, version: &PolicyVersion, default_version: u32, with_document: bool) {
    if with_document {
        policy_document(document, "Document", &version.document);
    }
    document.text("VersionId", &version_id(version.number));
    document.value("IsDefaultVersion", version.number == default_version);
    time(document, "CreateDate", version.created_ms);
}

/// `v1` of 1.
pub(super) fn version_id(number: u32) -> String {
    format!("v{number}")
}
