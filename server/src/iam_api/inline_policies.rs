//! Inline policies of users, groups and roles.

use crate::query_api::Reply;
use crate::s3::error::Failure;

use super::ask::Ask;
use super::attachments::NamedHolder;
use super::page::Page;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "DeleteGroupPolicy",
    "DeleteRolePolicy",
    "DeleteUserPolicy",
    "GetGroupPolicy",
    "GetRolePolicy",
    "GetUserPolicy",
    "ListGroupPolicies",
    "ListRolePolicies",
    "ListUserPolicies",
    "PutGroupPolicy",
    "PutRolePolicy",
    "PutUserPolicy",
];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    let named = NamedHolder::of(ask)?;
    match ask.action() {
        action if action.starts_with("Put") => put(ask, named).await,
        action if action.starts_with("Get") => get(ask, &named),
        action if action.starts_with("List") => list(ask, &named),
        action if action.starts_with("Delete") => delete(ask, named).await,
        _ => Err(ask.misrouted()),
    }
}

async fn put(ask: &Ask, named: NamedHolder) -> Result<Reply, Failure> {
    let policy = ask.params().required("PolicyName")?.to_owned();
    let document = ask.params().required("PolicyDocument")?.to_owned();
    let of_target = named.clone();
    ask.change(
        named.account,
        move |directory| of_target.target(directory),
        move |directory| directory.put_inline(named.holder(), &policy, document.clone()),
    )
    .await?;
    Ok(Reply::empty())
}

fn get(ask: &Ask, named: &NamedHolder) -> Result<Reply, Failure> {
    let policy = ask.params().required("PolicyName")?;
    let directory = ask.directory_of(named.account)?;
    ask.allow(directory, &named.target(directory))?;
    let text = directory.inline(named.holder(), policy)?;
    Ok(Reply::result(|document| {
        document.text(named.parameter(), named.name());
        document.text("PolicyName", policy);
        write::policy_document(document, "PolicyDocument", text);
    }))
}

fn list(ask: &Ask, named: &NamedHolder) -> Result<Reply, Failure> {
    let directory = ask.directory_of(named.account)?;
    ask.allow(directory, &named.target(directory))?;
    let names = directory.grants(named.holder())?.inline.keys().map(|name| (name.clone(), name));
    let page = Page::of(ask.params(), names)?;
    Ok(Reply::result(|document| page.write_texts(document, "PolicyNames")))
}

async fn delete(ask: &Ask, named: NamedHolder) -> Result<Reply, Failure> {
    let policy = ask.params().required("PolicyName")?.to_owned();
    let of_target = named.clone();
    ask.change(
        named.account,
        move |directory| of_target.target(directory),
        move |directory| directory.delete_inline(named.holder(), &policy),
    )
    .await?;
    Ok(Reply::empty())
}
