//! Managed policies attached to users, groups and roles.

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::name::{check_path_prefix, split_path};
use cairn_iam::identity::{Directory, Holder};

use crate::query_api::Reply;
use crate::s3::error::Failure;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;

pub(super) const ACTIONS: &[&str] = &[
    "AttachGroupPolicy",
    "AttachRolePolicy",
    "AttachUserPolicy",
    "DetachGroupPolicy",
    "DetachRolePolicy",
    "DetachUserPolicy",
    "ListAttachedGroupPolicies",
    "ListAttachedRolePolicies",
    "ListAttachedUserPolicies",
];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    let named = NamedHolder::of(ask)?;
    if ask.action().starts_with("List") { list(ask, &named) } else { change(ask, named).await }
}

async fn change(ask: &Ask, named: NamedHolder) -> Result<Reply, Failure> {
    let arn = ask.params().required("PolicyArn")?.to_owned();
    let attaches = ask.action().starts_with("Attach");
    let (of_target, target_arn) = (named.clone(), arn.clone());
    ask.change(
        named.account,
        move |directory| of_target.target(directory).with_policy(&target_arn),
        move |directory| {
            let holder = named.holder();
            if attaches { directory.attach(holder, &arn) } else { directory.detach(holder, &arn) }
        },
    )
    .await?;
    Ok(Reply::empty())
}

fn list(ask: &Ask, named: &NamedHolder) -> Result<Reply, Failure> {
    let prefix = ask.params().get("PathPrefix").unwrap_or("/");
    check_path_prefix(prefix)?;
    let directory = ask.directory_of(named.account)?;
    ask.allow(directory, &named.target(directory))?;
    let mut attached: Vec<&str> = directory.grants(named.holder())?.attached.iter().map(String::as_str).collect();
    attached.sort_unstable();
    let parts = attached.into_iter().map(|arn| {
        let (path, name) = split_path(arn.split_once(":policy").map_or(arn, |(_, resource)| resource));
        (arn, path, name)
    });
    let below = parts.filter(|(_, path, _)| path.starts_with(prefix));
    let page = Page::of(ask.params(), below.map(|(arn, _, name)| (arn.to_owned(), (arn, name))))?;
    Ok(Reply::result(|document| {
        page.write(document, "AttachedPolicies", |member, (arn, name)| {
            member.text("PolicyName", name);
            member.text("PolicyArn", arn);
        });
    }))
}

/// The name of the policy of an ARN.
pub(super) fn name_of(arn: &str) -> &str {
    split_path(arn).1
}

/// The user, group or role whose policies a call is about. Its kind is in the action's name.
#[derive(Clone, Debug)]
pub(super) struct NamedHolder {
    pub(super) account: AccountNumber,
    kind: HolderKind,
    name: String,
}

#[derive(Clone, Copy, Debug)]
enum HolderKind {
    User,
    Group,
    Role,
}

impl NamedHolder {
    pub(super) fn of(ask: &Ask) -> Result<Self, Failure> {
        let action = ask.action();
        let (kind, account, name) = if action.contains("User") {
            let (account, name) = ask.named_user()?;
            (HolderKind::User, account, name)
        } else if action.contains("Group") {
            (HolderKind::Group, ask.account()?, ask.params().required("GroupName")?.to_owned())
        } else {
            (HolderKind::Role, ask.account()?, ask.params().required("RoleName")?.to_owned())
        };
        Ok(Self { account, kind, name })
    }

    pub(super) fn holder(&self) -> Holder<'_> {
        match self.kind {
            HolderKind::User => Holder::User(&self.name),
            HolderKind::Group => Holder::Group(&self.name),
            HolderKind::Role => Holder::Role(&self.name),
        }
    }

    pub(super) fn target(&self, directory: &Directory) -> Target {
        match self.kind {
            HolderKind::User => Target::user(directory, &self.name),
            HolderKind::Group => Target::group(directory, &self.name),
            HolderKind::Role => Target::role(directory, &self.name),
        }
    }

    /// The parameter that names it: `UserName`.
    pub(super) fn parameter(&self) -> &'static str {
        match self.kind {
            HolderKind::User => "UserName",
            HolderKind::Group => "GroupName",
            HolderKind::Role => "RoleName",
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}
