//! Users.

use std::sync::Arc;

use cairn_iam::identity::name::check_path_prefix;
use cairn_iam::identity::{Directory, NewUser, Record as _, User};
use cairn_iam::principal::Principal;

use crate::query_api::Reply;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &["CreateUser", "DeleteUser", "GetUser", "ListUsers", "UpdateUser"];

/// How the ids of users begin.
const ID_PREFIX: &str = "AIDA";

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "CreateUser" => create(ask).await,
        "DeleteUser" => delete(ask).await,
        "GetUser" => get(ask),
        "ListUsers" => list(ask),
        "UpdateUser" => update(ask).await,
        _ => Err(ask.misrouted()),
    }
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let params = ask.params();
    let account = ask.account()?;
    let new = NewUser {
        name: params.required("UserName")?.to_owned(),
        path: params.get("Path").unwrap_or("/").to_owned(),
        boundary: params.get("PermissionsBoundary").map(str::to_owned),
        tags: ask.tags()?,
    };
    let stamp = ask.identities().stamp(ID_PREFIX);
    let target =
        Target::new(account, "user", &new.path, &new.name).with_boundary(new.boundary.as_deref()).with_tags(&new.tags);
    let made = ask.change(
        account,
        move |_| target.clone(),
        move |directory| {
            let user = directory.create_user(new.clone(), stamp.clone())?.clone();
            Ok((directory.clone(), user))
        },
    );
    let (directory, user) = made.await?;
    Ok(Reply::result(|document| element(document, &directory, &user)))
}

fn element(document: &mut Document, directory: &Directory, user: &User) {
    document.element("User", |element| write::whole_user(element, directory, user));
}

fn get(ask: &Ask) -> Result<Reply, Failure> {
    if let (Principal::Root(number), None) = (&ask.caller().principal, ask.params().get("UserName")) {
        let arn = ask.caller().principal.arn().unwrap_or_default();
        return Ok(Reply::result(|document| {
            document.element("User", |user| {
                user.value("UserId", number);
                user.text("Arn", &arn);
                // Nothing knows when the account was declared.
                write::time(user, "CreateDate", 0);
            });
        }));
    }
    let (account, name) = ask.user()?;
    let directory = ask.directory_of(account)?;
    ask.allow(directory, &Target::user(directory, &name))?;
    let user = directory.user(&name)?;
    Ok(Reply::result(|document| element(document, directory, user)))
}

fn list(ask: &Ask) -> Result<Reply, Failure> {
    let prefix = ask.params().get("PathPrefix").unwrap_or("/");
    check_path_prefix(prefix)?;
    let directory = Arc::clone(ask.directory()?);
    ask.allow(&directory, &Target::all(directory.account(), "user", prefix))?;
    let users = directory.users.iter().filter(|user| user.path.starts_with(prefix));
    let page = Page::of(ask.params(), users.map(|user| (user.row_name(), user)))?;
    Ok(Reply::result(|document| page.write(document, "Users", |member, user| write::user(member, &directory, user))))
}

async fn update(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.named_user()?;
    let [new_name, new_path] = ["NewUserName", "NewPath"].map(|name| ask.params().get(name).map(str::to_owned));
    // Who renames a user must be allowed to under the new name, too (IAM API reference, UpdateUser).
    let asked = ask.clone();
    let (target_name, renamed, moved) = (name.clone(), new_name.clone(), new_path.clone());
    let change = move |directory: &mut Directory| {
        asked.allow(directory, &Target::user(directory, &target_name))?;
        if renamed.is_some() || moved.is_some() {
            let path = directory.user(&target_name).map(|user| user.path.clone()).unwrap_or_else(|_| "/".to_owned());
            let path = moved.as_deref().unwrap_or(&path);
            let new = Target::new(account, "user", path, renamed.as_deref().unwrap_or(&target_name));
            asked.allow(directory, &new)?;
        }
        Ok::<(), Failure>(directory.update_user(&name, new_name.as_deref(), new_path.as_deref())?)
    };
    ask.identities().change(account, change).await?;
    Ok(Reply::empty())
}

async fn delete(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.named_user()?;
    let target = name.clone();
    ask.change(
        account,
        move |directory| Target::user(directory, &target),
        move |directory| directory.delete_user(&name),
    )
    .await?;
    Ok(Reply::empty())
}
