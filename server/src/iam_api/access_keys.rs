//! Access keys of users. A secret is shown by the call that makes it, and never again.
//!
//! Keys that the configuration gives a user are listed, and cannot be changed here.

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{Fault, FaultKind};
use http::StatusCode;

use crate::query_api::Reply;
use crate::query_api::faults::{fault, validation};
use crate::s3::error::Failure;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] =
    &["CreateAccessKey", "DeleteAccessKey", "GetAccessKeyLastUsed", "ListAccessKeys", "UpdateAccessKey"];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "CreateAccessKey" => create(ask).await,
        "DeleteAccessKey" => delete(ask).await,
        "GetAccessKeyLastUsed" => last_used(ask),
        "ListAccessKeys" => list(ask),
        "UpdateAccessKey" => update(ask).await,
        _ => Err(ask.misrouted()),
    }
}

fn status(is_active: bool) -> &'static str {
    if is_active { "Active" } else { "Inactive" }
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.user()?;
    let (stamp, secret, sealed) = ask.identities().new_access_key(account)?;
    let target = name.clone();
    let made = ask.change(
        account,
        move |directory| Target::user(directory, &target),
        move |directory| Ok(directory.create_access_key(&name, sealed.clone(), stamp.clone())?.clone()),
    );
    let key = made.await?;
    Ok(Reply::result(|document| {
        document.element("AccessKey", |element| {
            element.text("UserName", &key.user);
            element.text("AccessKeyId", &key.id);
            element.text("Status", status(key.is_active));
            element.text("SecretAccessKey", secret.expose());
            write::time(element, "CreateDate", key.created_ms);
        });
    }))
}

fn list(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.user()?;
    let directory = ask.directory_of(account)?;
    ask.allow(directory, &Target::user(directory, &name))?;
    let user = directory.user(&name)?;
    let declared = ask.snapshot().declared_keys(account, &user.id);
    // Nobody knows when a declared key was made; it is as old as its user.
    let declared = declared.map(|id| (id.to_owned(), (id, true, user.created_ms)));
    let kept = directory.keys_of(user).map(|key| (key.id.clone(), (key.id.as_str(), key.is_active, key.created_ms)));
    let mut all: Vec<_> = kept.chain(declared).collect();
    all.sort_unstable();
    let page = Page::of(ask.params(), all.into_iter())?;
    Ok(Reply::result(|document| {
        page.write(document, "AccessKeyMetadata", |member, (id, is_active, created_ms)| {
            member.text("UserName", &user.name);
            member.text("AccessKeyId", id);
            member.text("Status", status(is_active));
            write::time(member, "CreateDate", created_ms);
        });
    }))
}

async fn update(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.user()?;
    let id = ask.params().required("AccessKeyId")?.to_owned();
    let is_active = match ask.params().required("Status")? {
        "Active" => true,
        "Inactive" => false,
        _ => {
            return Err(validation(
                "1 validation error detected: Value at 'status' failed to satisfy constraint: Member must satisfy enum \
                 value set: [Active, Inactive]",
            ));
        }
    };
    refuse_declared(ask, account, &id)?;
    let target = name.clone();
    ask.change(
        account,
        move |directory| Target::user(directory, &target),
        move |directory| directory.update_access_key(&name, &id, is_active),
    )
    .await?;
    Ok(Reply::empty())
}

async fn delete(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = ask.user()?;
    let id = ask.params().required("AccessKeyId")?.to_owned();
    refuse_declared(ask, account, &id)?;
    let target = name.clone();
    ask.change(
        account,
        move |directory| Target::user(directory, &target),
        move |directory| directory.delete_access_key(&name, &id),
    )
    .await?;
    Ok(Reply::empty())
}

/// A key of the configuration lives as long as it stands there. Strangers do not learn that it does.
fn refuse_declared(ask: &Ask, account: AccountNumber, id: &str) -> Result<(), Failure> {
    let key = ask.snapshot().any_key(id).filter(|key| key.is_declared && key.account.number() == account);
    if key.is_none() {
        return Ok(());
    }
    let message = format!("The access key {id} stands in the server's configuration and can only be changed there.");
    Err(Fault::new(FaultKind::UnmodifiableEntity, message).into())
}

/// The key's owner is told to whoever may know it, as AWS has it: the account's principals with the permission.
fn last_used(ask: &Ask) -> Result<Reply, Failure> {
    let id = ask.params().required("AccessKeyId")?;
    let directory = ask.directory()?;
    let account = directory.account();
    let key = ask.snapshot().any_key(id).filter(|key| key.account.number() == account);
    let user = key.and_then(|key| directory.users.by_id(key.user_id.as_deref()?));
    let user = user.map(|user| user.name.as_str());
    let target = user.map_or_else(Target::everything, |user| Target::user(directory, user));
    ask.allow(directory, &target)?;
    let Some(user) = user else {
        let message = format!("The Access Key with id {id} cannot be found");
        return Err(fault("NoSuchEntity", StatusCode::NOT_FOUND, message));
    };
    let used = ask.identities().usage().of(account, id).last();
    Ok(Reply::result(|document| {
        document.text("UserName", user);
        document.element("AccessKeyLastUsed", |element| {
            if let Some(used) = &used {
                write::time(element, "LastUsedDate", used.at_ms);
            }
            element.text("ServiceName", used.as_ref().map_or("N/A", |used| used.service.as_str()));
            element.text("Region", if used.is_some() { ask.region() } else { "N/A" });
        });
    }))
}
