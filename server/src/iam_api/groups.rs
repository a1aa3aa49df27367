//! Groups and their members.

use std::sync::Arc;

use cairn_iam::identity::name::check_path_prefix;
use cairn_iam::identity::{Directory, Record as _};

use crate::query_api::Reply;
use crate::s3::error::Failure;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "AddUserToGroup",
    "CreateGroup",
    "DeleteGroup",
    "GetGroup",
    "ListGroups",
    "ListGroupsForUser",
    "RemoveUserFromGroup",
    "UpdateGroup",
];

/// How the ids of groups begin.
const ID_PREFIX: &str = "AGPA";

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "AddUserToGroup" | "RemoveUserFromGroup" => change_members(ask).await,
        "CreateGroup" => create(ask).await,
        "DeleteGroup" => delete(ask).await,
        "GetGroup" => get(ask),
        "ListGroups" => list(ask),
        "ListGroupsForUser" => list_of_user(ask),
        "UpdateGroup" => update(ask).await,
        _ => Err(ask.misrouted()),
    }
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let account = ask.account()?;
    let name = ask.params().required("GroupName")?.to_owned();
    let path = ask.params().get("Path").unwrap_or("/").to_owned();
    let stamp = ask.identities().stamp(ID_PREFIX);
    let target = Target::new(account, "group", &path, &name);
    let made = ask.change(
        account,
        move |_| target.clone(),
        move |directory| {
            let group = directory.create_group(&name, &path, stamp.clone())?.clone();
            Ok((directory.clone(), group))
        },
    );
    let (directory, group) = made.await?;
    Ok(Reply::result(|document| document.element("Group", |element| write::group(element, &directory, &group))))
}

fn get(ask: &Ask) -> Result<Reply, Failure> {
    let name = ask.params().required("GroupName")?;
    let directory = ask.directory()?;
    ask.allow(directory, &Target::group(directory, name))?;
    let group = directory.group(name)?;
    let users = directory.members_of(group).map(|user| (user.row_name(), user));
    let page = Page::of(ask.params(), users)?;
    Ok(Reply::result(|document| {
        document.element("Group", |element| write::group(element, directory, group));
        page.write(document, "Users", |member, user| write::user(member, directory, user));
    }))
}

fn list(ask: &Ask) -> Result<Reply, Failure> {
    let prefix = ask.params().get("PathPrefix").unwrap_or("/");
    check_path_prefix(prefix)?;
    let directory = Arc::clone(ask.directory()?);
    ask.allow(&directory, &Target::all(directory.account(), "group", prefix))?;
    let groups = directory.groups.iter().filter(|group| group.path.starts_with(prefix));
    let page = Page::of(ask.params(), groups.map(|group| (group.row_name(), group)))?;
    Ok(Reply::result(|document| {
        page.write(document, "Groups", |member, group| write::group(member, &directory, group))
    }))
}

fn list_of_user(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.named_user()?;
    let directory = ask.directory_of(account)?;
    ask.allow(directory, &Target::user(directory, &name))?;
    let groups = directory.groups_of(directory.user(&name)?).map(|group| (group.row_name(), group));
    let page = Page::of(ask.params(), groups)?;
    Ok(Reply::result(|document| page.write(document, "Groups", |member, group| write::group(member, directory, group))))
}

async fn update(ask: &Ask) -> Result<Reply, Failure> {
    let account = ask.account()?;
    let name = ask.params().required("GroupName")?.to_owned();
    let [new_name, new_path] = ["NewGroupName", "NewPath"].map(|name| ask.params().get(name).map(str::to_owned));
    let asked = ask.clone();
    // As with users, under the new name as well (IAM API reference, UpdateGroup).
    let change = move |directory: &mut Directory| {
        asked.allow(directory, &Target::group(directory, &name))?;
        let path = directory.group(&name)?.path.clone();
        let path = new_path.as_deref().unwrap_or(&path);
        asked.allow(directory, &Target::new(account, "group", path, new_name.as_deref().unwrap_or(&name)))?;
        Ok::<(), Failure>(directory.update_group(&name, new_name.as_deref(), new_path.as_deref())?)
    };
    ask.identities().change(account, change).await?;
    Ok(Reply::empty())
}

async fn delete(ask: &Ask) -> Result<Reply, Failure> {
    let name = ask.params().required("GroupName")?.to_owned();
    let target = name.clone();
    let account = ask.account()?;
    ask.change(
        account,
        move |directory| Target::group(directory, &target),
        move |directory| directory.delete_group(&name),
    )
    .await?;
    Ok(Reply::empty())
}

async fn change_members(ask: &Ask) -> Result<Reply, Failure> {
    let group = ask.params().required("GroupName")?.to_owned();
    let user = ask.params().required("UserName")?.to_owned();
    let adds = ask.action() == "AddUserToGroup";
    let target = group.clone();
    let change = move |directory: &mut Directory| {
        if adds { directory.add_to_group(&group, &user) } else { directory.remove_from_group(&group, &user) }
    };
    ask.change(ask.account()?, move |directory| Target::group(directory, &target), change).await?;
    Ok(Reply::empty())
}
