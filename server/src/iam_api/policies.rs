//! Managed policies and their versions: the account's own, and AWS's, which cannot be changed.

use std::sync::Arc;

use cairn_iam::identity::name::check_path_prefix;
use cairn_iam::identity::{Directory, Fault, FaultKind, Holder, NewPolicy, Record as _, Tagged};
use cairn_iam::managed::{MANAGED_POLICIES, ManagedPolicy as AwsPolicy};
use http::StatusCode;

use crate::query_api::Reply;
use crate::query_api::faults::{fault, validation};
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::{Page, write_end};
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "CreatePolicy",
    "CreatePolicyVersion",
    "DeletePolicy",
    "DeletePolicyVersion",
    "GetPolicy",
    "GetPolicyVersion",
    "ListEntitiesForPolicy",
    "ListPolicies",
    "ListPolicyVersions",
    "SetDefaultPolicyVersion",
];

/// How the ids of policies begin.
const ID_PREFIX: &str = "ANPA";

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "CreatePolicy" => create(ask).await,
        "CreatePolicyVersion" => create_version(ask).await,
        "DeletePolicy" => delete(ask).await,
        "DeletePolicyVersion" => delete_version(ask).await,
        "GetPolicy" => get(ask),
        "GetPolicyVersion" => get_version(ask),
        "ListEntitiesForPolicy" => list_entities(ask),
        "ListPolicies" => list(ask),
        "ListPolicyVersions" => list_versions(ask),
        "SetDefaultPolicyVersion" => set_default(ask).await,
        _ => Err(ask.misrouted()),
    }
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let params = ask.params();
    let account = ask.account()?;
    let new = NewPolicy {
        name: params.required("PolicyName")?.to_owned(),
        path: params.get("Path").unwrap_or("/").to_owned(),
        document: params.required("PolicyDocument")?.to_owned(),
        description: params.get("Description").map(str::to_owned),
        tags: ask.tags()?,
    };
    let stamp = ask.identities().stamp(ID_PREFIX);
    let target = Target::new(account, "policy", &new.path, &new.name).with_tags(&new.tags);
    let made = ask.change(
        account,
        move |_| target.clone(),
        move |directory| {
            let policy = directory.create_policy(new.clone(), stamp.clone())?.clone();
            Ok((directory.clone(), policy))
        },
    );
    let (directory, policy) = made.await?;
    Ok(Reply::result(|document| {
        document.element("Policy", |element| {
            write::policy(element, &directory, &policy);
            write::tags(element, &policy.tags);
        });
    }))
}

/// What a call reads, after it was allowed: AWS's policy, or else the account's own may be of that ARN.
fn allowed<'a>(ask: &'a Ask, arn: &str) -> Result<(&'a Arc<Directory>, Option<&'static AwsPolicy>), Failure> {
    let directory = ask.directory()?;
    ask.allow(directory, &Target::named(directory, Tagged::Policy(arn)))?;
    Ok((directory, AwsPolicy::by_arn(arn)))
}

fn get(ask: &Ask) -> Result<Reply, Failure> {
    let arn = ask.params().required("PolicyArn")?;
    let (directory, aws) = allowed(ask, arn)?;
    if let Some(aws) = aws {
        return Ok(Reply::result(|document| {
            document.element("Policy", |element| {
                write_aws(element, directory, aws);
                element.text("Description", aws.description);
            });
        }));
    }
    let policy = directory.policy(arn)?;
    Ok(Reply::result(|document| {
        document.element("Policy", |element| {
            write::policy(element, directory, policy);
            element.optional("Description", policy.description.as_deref());
            write::tags(element, &policy.tags);
        });
    }))
}

pub(super) fn write_aws(document: &mut Document, directory: &Directory, aws: &AwsPolicy) {
    let arn = aws.arn();
    document.text("PolicyName", aws.name);
    document.text("PolicyId", aws.id);
    document.text("Arn", &arn);
    document.text("Path", aws.path);
    document.text("DefaultVersionId", aws.version);
    document.value("AttachmentCount", directory.attachments(&arn));
    document.value("PermissionsBoundaryUsageCount", directory.bounded(&arn));
    document.value("IsAttachable", true);
    document.text("CreateDate", aws.created);
    document.text("UpdateDate", aws.created);
}

fn list(ask: &Ask) -> Result<Reply, Failure> {
    let params = ask.params();
    let prefix = params.get("PathPrefix").unwrap_or("/");
    check_path_prefix(prefix)?;
    let (own, aws) = match params.get("Scope").unwrap_or("All") {
        "All" => (true, true),
        "Local" => (true, false),
        "AWS" => (false, true),
        _ => {
            return Err(validation(
                "1 validation error detected: Value at 'scope' failed to satisfy constraint: Member must satisfy enum value \
                 set: [All, AWS, Local]",
            ));
        }
    };
    let only_attached = params.parsed::<bool>("OnlyAttached")?.unwrap_or(false);
    let only_boundaries = match params.get("PolicyUsageFilter") {
        None => None,
        Some("PermissionsPolicy") => Some(false),
        Some("PermissionsBoundary") => Some(true),
        Some(_) => {
            return Err(validation("The value of PolicyUsageFilter is PermissionsPolicy or PermissionsBoundary."));
        }
    };
    let directory = ask.directory()?;
    ask.allow(directory, &Target::all(directory.account(), "policy", prefix))?;
    let is_wanted = |arn: &str| match only_boundaries {
        Some(true) => directory.bounded(arn) > 0,
        Some(false) => directory.attachments(arn) > 0,
        None => !only_attached || directory.attachments(arn) > 0,
    };
    let own = directory.policies.iter().filter(|policy| own && policy.path.starts_with(prefix));
    let own = own.filter(|policy| is_wanted(&directory.policy_arn(policy)));
    // The account's own come first.
    let own = own.map(|policy| (format!("0{}", policy.row_name()), Err(policy)));
    let aws =
        MANAGED_POLICIES.iter().filter(|policy| aws && policy.path.starts_with(prefix) && is_wanted(&policy.arn()));
    let aws = aws.map(|policy| (format!("1{}", policy.name.to_lowercase()), Ok(policy)));
    let page = Page::of(params, own.chain(aws))?;
    Ok(Reply::result(|document| {
        page.write(document, "Policies", |member, policy| match policy {
            Ok(aws) => write_aws(member, directory, aws),
            Err(own) => write::policy(member, directory, own),
        });
    }))
}

async fn delete(ask: &Ask) -> Result<Reply, Failure> {
    change(ask, |directory, arn| directory.delete_policy(arn)).await?;
    Ok(Reply::empty())
}

async fn create_version(ask: &Ask) -> Result<Reply, Failure> {
    let text = ask.params().required("PolicyDocument")?.to_owned();
    let as_default = ask.params().parsed::<bool>("SetAsDefault")?.unwrap_or(false);
    let now_ms = ask.identities().now_ms();
    let made = change(ask, move |directory, arn| {
        let version = directory.create_policy_version(arn, text.clone(), as_default, now_ms)?.clone();
        Ok((version, directory.policy(arn)?.default_version))
    });
    let (version, default_version) = made.await?;
    Ok(Reply::result(|document| {
        document.element("PolicyVersion", |element| write::version(element, &version, default_version, false));
    }))
}

/// The number of the version that a call names.
fn version_number(ask: &Ask) -> Result<u32, Failure> {
    let id = ask.params().required("VersionId")?;
    let number = id.strip_prefix('v').filter(|digits| !digits.starts_with(['0', '+']));
    number.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        validation(
            "1 validation error detected: Value at 'versionId' failed to satisfy constraint: Member must satisfy regular \
             expression pattern: v[1-9][0-9]*(\\.[A-Za-z0-9-]*)?",
        )
    })
}

fn get_version(ask: &Ask) -> Result<Reply, Failure> {
    let arn = ask.params().required("PolicyArn")?;
    let number = version_number(ask)?;
    let (directory, aws) = allowed(ask, arn)?;
    let id = write::version_id(number);
    if let Some(aws) = aws.filter(|aws| aws.version == id) {
        return Ok(Reply::result(|document| {
            document.element("PolicyVersion", |element| write_aws_version(element, aws, true))
        }));
    }
    let policy = directory.policy(arn)?;
    let Some(version) = policy.version(number) else {
        let message = format!("Policy {arn} version {id} does not exist or is not attachable.");
        return Err(fault("NoSuchEntity", StatusCode::NOT_FOUND, message));
    };
    Ok(Reply::result(|document| {
        document.element("PolicyVersion", |element| write::version(element, version, policy.default_version, true));
    }))
}

pub(super) fn write_aws_version(document: &mut Document, aws: &AwsPolicy, with_document: bool) {
    if with_document {
        write::policy_document(document, "Document", aws.document);
    }
    document.text("VersionId", aws.version);
    document.value("IsDefaultVersion", true);
    document.text("CreateDate", aws.created);
}

fn list_versions(ask: &Ask) -> Result<Reply, Failure> {
    let arn = ask.params().required("PolicyArn")?;
    let (directory, aws) = allowed(ask, arn)?;
    if let Some(aws) = aws {
        return Ok(Reply::result(|document| {
            document.element("Versions", |list| list.element("member", |member| write_aws_version(member, aws, false)));
            write_end(document, None);
        }));
    }
    let policy = directory.policy(arn)?;
    // Newest first; a policy has five at most, so their order by number is kept with few digits.
    let newest_first = policy.versions.iter().rev();
    let versions = newest_first.map(|version| (format!("{:010}", u32::MAX - version.number), version));
    let page = Page::of(ask.params(), versions)?;
    Ok(Reply::result(|document| {
        page.write(document, "Versions", |member, version| {
            write::version(member, version, policy.default_version, false)
        });
    }))
}

async fn set_default(ask: &Ask) -> Result<Reply, Failure> {
    let number = version_number(ask)?;
    let now_ms = ask.identities().now_ms();
    change(ask, move |directory, arn| directory.set_default_version(arn, number, now_ms)).await?;
    Ok(Reply::empty())
}

async fn delete_version(ask: &Ask) -> Result<Reply, Failure> {
    let number = version_number(ask)?;
    change(ask, move |directory, arn| directory.delete_policy_version(arn, number)).await?;
    Ok(Reply::empty())
}

/// Changes the policy that is named, which must not be AWS's.
async fn change<T: Send + 'static>(
    ask: &Ask,
    change: impl Fn(&mut Directory, &str) -> Result<T, Fault> + Send + Sync + 'static,
) -> Result<T, Failure> {
    let arn = ask.params().required("PolicyArn")?.to_owned();
    let target = arn.clone();
    let change = move |directory: &mut Directory| {
        if AwsPolicy::by_arn(&arn).is_some() {
            let message = "Cannot perform the operation on the protected policy of AWS's.";
            return Err(Fault::new(FaultKind::UnmodifiableEntity, message));
        }
        change(directory, &arn)
    };
    ask.change(ask.account()?, move |directory| Target::named(directory, Tagged::Policy(&target)), change).await
}

/// Who has a policy, as one list of groups, users and roles.
fn list_entities(ask: &Ask) -> Result<Reply, Failure> {
    let params = ask.params();
    let arn = params.required("PolicyArn")?;
    let (directory, aws) = allowed(ask, arn)?;
    if aws.is_none() {
        directory.policy(arn)?;
    }
    let prefix = params.get("PathPrefix").unwrap_or("/");
    check_path_prefix(prefix)?;
    let filter = params.get("EntityFilter");
    if let Some(other) = filter
        && !["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"].contains(&other)
    {
        return Err(validation(
            "The value of EntityFilter is User, Role, Group, LocalManagedPolicy or AWSManagedPolicy.",
        ));
    }
    let wants = |kind: &str| filter.is_none_or(|filter| filter == kind);
    let as_boundary = params.get("PolicyUsageFilter") == Some("PermissionsBoundary");
    let has = |holder: Holder<'_>, boundary: Option<&str>| {
        if as_boundary {
            return boundary == Some(arn);
        }
        directory.grants(holder).is_ok_and(|grants| grants.attached.iter().any(|attached| attached == arn))
    };
    let groups = directory
        .groups
        .iter()
        .filter(|group| wants("Group") && group.path.starts_with(prefix) && has(Holder::Group(&group.name), None));
    let users = directory.users.iter().filter(|user| {
        wants("User") && user.path.starts_with(prefix) && has(Holder::User(&user.name), user.boundary.as_deref())
    });
    let roles = directory.roles.iter().filter(|role| {
        wants("Role") && role.path.starts_with(prefix) && has(Holder::Role(&role.name), role.boundary.as_deref())
    });
    let groups = groups.map(|group| (format!("0{}", group.row_name()), ("Group", &group.name, &group.id)));
    let users = users.map(|user| (format!("1{}", user.row_name()), ("User", &user.name, &user.id)));
    let roles = roles.map(|role| (format!("2{}", role.row_name()), ("Role", &role.name, &role.id)));
    let (entities, marker) = Page::of(params, groups.chain(users).chain(roles))?.into_parts();
    Ok(Reply::result(|document| {
        for kind in ["Group", "User", "Role"] {
            document.element(&format!("Policy{kind}s"), |list| {
                for (_, name, id) in entities.iter().filter(|(of_kind, ..)| *of_kind == kind) {
                    list.element("member", |member| {
                        member.text(&format!("{kind}Name"), name);
                        member.text(&format!("{kind}Id"), id);
                    });
                }
            });
        }
        write_end(document, marker.as_deref());
    }))
}
