//! What is the account's as a whole: its alias, what it has, and everything in it at once.

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::limits::{
    ACCESS_KEYS_OF_USER_MAX, ATTACHED_MAX, GROUP_INLINE_CHARS_MAX, GROUPS_MAX, GROUPS_OF_USER_MAX,
    MANAGED_POLICY_CHARS_MAX, POLICIES_MAX, POLICY_VERSIONS_MAX, ROLE_INLINE_CHARS_MAX, ROLES_MAX,
    TRUST_POLICY_CHARS_MAX, USER_INLINE_CHARS_MAX, USERS_MAX,
};
use cairn_iam::identity::{Directory, Fault, FaultKind, Grants, ManagedPolicy, Record as _, Settings};
use cairn_iam::managed::{MANAGED_POLICIES, ManagedPolicy as AwsPolicy};

use crate::identities::Snapshot;
use crate::query_api::Reply;
use crate::query_api::faults::validation;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::{Page, write_end};
use super::target::Target;
use super::{attachments, write};

pub(super) const ACTIONS: &[&str] = &[
    "CreateAccountAlias",
    "DeleteAccountAlias",
    "GetAccountAuthorizationDetails",
    "GetAccountSummary",
    "ListAccountAliases",
];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "CreateAccountAlias" => create_alias(ask).await,
        "DeleteAccountAlias" => delete_alias(ask).await,
        "GetAccountAuthorizationDetails" => details(ask),
        "GetAccountSummary" => summary(ask),
        "ListAccountAliases" => list_aliases(ask),
        _ => Err(ask.misrouted()),
    }
}

/// IAM's alias: 3 to 63 lower-case letters, digits and single hyphens, none of them at an end.
fn check_alias(alias: &str) -> Result<(), Failure> {
    let is_alias = (3..=63).contains(&alias.len())
        && alias.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !alias.starts_with('-')
        && !alias.ends_with('-')
        && !alias.contains("--");
    if is_alias {
        return Ok(());
    }
    Err(validation(
        "1 validation error detected: Value at 'accountAlias' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: ^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$",
    ))
}

async fn create_alias(ask: &Ask) -> Result<Reply, Failure> {
    let alias = ask.params().required("AccountAlias")?.to_owned();
    check_alias(&alias)?;
    let account = ask.account()?;
    let exists = Fault::new(FaultKind::EntityAlreadyExists, format!("The account alias {alias} already exists."));
    let is_anothers = |other: AccountNumber| {
        let directory = ask.snapshot().directory(other);
        other != account && directory.is_some_and(|directory| directory.settings().alias.as_deref() == Some(&*alias))
    };
    // Accounts change apart from one another, so two that take a name in the same moment may both get it; nothing but
    // people goes by it.
    if ask.snapshot().accounts().iter().any(|other| is_anothers(other.number())) {
        return Err(exists.into());
    }
    let change = move |directory: &mut Directory| {
        directory.set_settings(Settings { alias: Some(alias.clone()), ..directory.settings() });
        Ok(())
    };
    ask.change(account, |_| Target::everything(), change).await?;
    Ok(Reply::empty())
}

async fn delete_alias(ask: &Ask) -> Result<Reply, Failure> {
    let alias = ask.params().required("AccountAlias")?.to_owned();
    let change = move |directory: &mut Directory| {
        if directory.settings().alias.as_deref() != Some(&*alias) {
            let message = format!("The account alias {alias} cannot be found.");
            return Err(Fault::new(FaultKind::NoSuchEntity, message));
        }
        directory.set_settings(Settings { alias: None, ..directory.settings() });
        Ok(())
    };
    ask.change(ask.account()?, |_| Target::everything(), change).await?;
    Ok(Reply::empty())
}

fn list_aliases(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    let alias = directory.settings().alias;
    let page = Page::of(ask.params(), alias.into_iter().map(|alias| (alias.clone(), alias)))?;
    Ok(Reply::result(|document| page.write_texts(document, "AccountAliases")))
}

fn summary(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    let versions: usize = directory.policies.iter().map(|policy| policy.versions.len()).sum();
    let enabled = directory.devices.iter().filter(|device| device.owner.is_some());
    let (mut in_use, mut root_has_mfa) = (0, false);
    for device in enabled {
        in_use += 1;
        root_has_mfa |= device.owner.as_ref().is_some_and(|owner| owner.user.is_none());
    }
    let account = directory.account();
    let root_has_keys = ask.snapshot().root_has_keys(account);
    let entries = [
        ("Users", directory.users.len()),
        ("UsersQuota", USERS_MAX),
        ("Groups", directory.groups.len()),
        ("GroupsQuota", GROUPS_MAX),
        ("Roles", directory.roles.len()),
        ("RolesQuota", ROLES_MAX),
        ("Policies", directory.policies.len()),
        ("PoliciesQuota", POLICIES_MAX),
        ("PolicyVersionsInUse", versions),
        ("VersionsPerPolicyQuota", POLICY_VERSIONS_MAX),
        ("PolicySizeQuota", MANAGED_POLICY_CHARS_MAX),
        ("UserPolicySizeQuota", USER_INLINE_CHARS_MAX),
        ("GroupPolicySizeQuota", GROUP_INLINE_CHARS_MAX),
        ("RolePolicySizeQuota", ROLE_INLINE_CHARS_MAX),
        ("AssumeRolePolicySizeQuota", TRUST_POLICY_CHARS_MAX),
        ("AttachedPoliciesPerUserQuota", ATTACHED_MAX),
        ("AttachedPoliciesPerGroupQuota", ATTACHED_MAX),
        ("AttachedPoliciesPerRoleQuota", ATTACHED_MAX),
        ("GroupsPerUserQuota", GROUPS_OF_USER_MAX),
        ("AccessKeysPerUserQuota", ACCESS_KEYS_OF_USER_MAX),
        ("AccountAccessKeysPresent", usize::from(root_has_keys)),
        ("AccountMFAEnabled", usize::from(root_has_mfa)),
        ("MFADevices", directory.devices.len()),
        ("MFADevicesInUse", in_use),
        ("Providers", directory.providers.len()),
        ("ServerCertificates", 0),
        ("AccountSigningCertificatesPresent", 0),
    ];
    Ok(Reply::result(|document| {
        document.element("SummaryMap", |map| {
            for (key, value) in entries {
                map.element("entry", |entry| {
                    entry.text("key", key);
                    entry.value("value", value);
                });
            }
        });
    }))
}

/// One item of the details: each kind has its place in the order of pages.
enum Detail<'d> {
    User(&'d cairn_iam::identity::User),
    Group(&'d cairn_iam::identity::Group),
    Role(&'d cairn_iam::identity::Role),
    Policy(&'d ManagedPolicy),
    AwsPolicy(&'static AwsPolicy),
}

fn details(ask: &Ask) -> Result<Reply, Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::everything())?;
    let filter = ask.params().list("Filter");
    let known = ["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"];
    if let Some(other) = filter.iter().find(|kind| !known.contains(kind)) {
        return Err(validation(format!("{other} is none of {}", known.join(", "))));
    }
    let wants = |kind: &str| filter.is_empty() || filter.contains(&kind);
    let users = directory.users.iter().filter(|_| wants("User"));
    let users = users.map(|user| (format!("0{}", user.row_name()), Detail::User(user)));
    let groups = directory.groups.iter().filter(|_| wants("Group"));
    let groups = groups.map(|group| (format!("1{}", group.row_name()), Detail::Group(group)));
    let roles = directory.roles.iter().filter(|_| wants("Role"));
    let roles = roles.map(|role| (format!("2{}", role.row_name()), Detail::Role(role)));
    let policies = directory.policies.iter().filter(|_| wants("LocalManagedPolicy"));
    let policies = policies.map(|policy| (format!("3{}", policy.row_name()), Detail::Policy(policy)));
    // Of AWS's only those in use, as AWS has it.
    let aws =
        MANAGED_POLICIES.iter().filter(|policy| wants("AWSManagedPolicy") && directory.attachments(&policy.arn()) > 0);
    let aws = aws.map(|policy| (format!("4{}", policy.name.to_lowercase()), Detail::AwsPolicy(policy)));
    let all = users.chain(groups).chain(roles).chain(policies).chain(aws);
    let (items, marker) = Page::of(ask.params(), all)?.into_parts();
    Ok(Reply::result(|document| {
        write_details(document, ask.snapshot(), directory, &items);
        write_end(document, marker.as_deref());
    }))
}

fn write_details(document: &mut Document, snapshot: &Snapshot, directory: &Directory, items: &[Detail<'_>]) {
    document.element("UserDetailList", |list| {
        for item in items {
            if let Detail::User(user) = item {
                list.element("member", |member| {
                    write::whole_user(member, directory, user);
                    write_grants(member, "UserPolicyList", &user.grants);
                    member.element("GroupList", |groups| {
                        directory.groups_of(user).for_each(|group| groups.text("member", &group.name));
                    });
                });
            }
        }
    });
    document.element("GroupDetailList", |list| {
        for item in items {
            if let Detail::Group(group) = item {
                list.element("member", |member| {
                    write::group(member, directory, group);
                    write_grants(member, "GroupPolicyList", &group.grants);
                });
            }
        }
    });
    document.element("RoleDetailList", |list| {
        for item in items {
            if let Detail::Role(role) = item {
                list.element("member", |member| {
                    write::whole_role(member, (snapshot, directory), role);
                    write_grants(member, "RolePolicyList", &role.grants);
                    member.element("InstanceProfileList", |_| {});
                });
            }
        }
    });
    document.element("Policies", |list| {
        for item in items {
            match item {
                Detail::Policy(policy) => list.element("member", |member| write_policy(member, directory, policy)),
                Detail::AwsPolicy(aws) => list.element("member", |member| write_aws_policy(member, directory, aws)),
                _ => {}
            }
        }
    });
}

fn write_grants(member: &mut Document, name: &str, grants: &Grants) {
    member.element(name, |list| {
        for (policy, text) in &grants.inline {
            list.element("member", |inline| {
                inline.text("PolicyName", policy);
                write::policy_document(inline, "PolicyDocument", text);
            });
        }
    });
    member.element("AttachedManagedPolicies", |list| {
        for arn in &grants.attached {
            list.element("member", |attached| {
                attached.text("PolicyName", attachments::name_of(arn));
                attached.text("PolicyArn", arn);
            });
        }
    });
}

fn write_policy(member: &mut Document, directory: &Directory, policy: &ManagedPolicy) {
    write::policy(member, directory, policy);
    member.optional("Description", policy.description.as_deref());
    member.element("PolicyVersionList", |list| {
        for version in policy.versions.iter().rev() {
            list.element("member", |member| write::version(member, version, policy.default_version, true));
        }
    });
}

fn write_aws_policy(member: &mut Document, directory: &Directory, aws: &AwsPolicy) {
    super::policies::write_aws(member, directory, aws);
    member.element("PolicyVersionList", |list| {
        list.element("member", |member| super::policies::write_aws_version(member, aws, true));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_a_name_of_letters_digits_and_single_hyphens() {
        for alias in ["abc", "a-b-c", "123"] {
            assert!(check_alias(alias).is_ok(), "{alias}");
        }
        for alias in ["ab", "Abc", "-abc", "abc-", "a--b", "a_b", &"a".repeat(64)] {
            assert!(check_alias(alias).is_err(), "{alias}");
        }
    }
}
