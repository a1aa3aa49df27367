//! Access keys of users, and of the root, who calls about its own without a name. A secret is shown by the call that makes it, and
//! never again.
//!
//! Keys that the configuration gives, and the one that was generated for the server's own account, are listed, and cannot be changed
//! here.

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::{Directory, Fault, FaultKind};
use cairn_iam::principal::Principal;
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

/// Whose keys a call is about: an account, and the user in it. None: its root, who names nobody.
fn owner(ask: &Ask) -> Result<(AccountNumber, Option<String>), Failure> {
    if let (Principal::Root(account), None) = (&ask.caller().principal, ask.params().get("UserName")) {
        return Ok((*account, None));
    }
    ask.user().map(|(account, name)| (account, Some(name)))
}

fn target(directory: &Directory, user: Option<&str>) -> Target {
    user.map_or_else(|| Target::root(directory), |user| Target::user(directory, user))
}

/// Changes keys of whom the call is about.
async fn change<T: Send + 'static>(
    ask: &Ask,
    (account, user): (AccountNumber, Option<String>),
    change: impl Fn(&mut Directory, Option<&str>) -> Result<T, Fault> + Send + Sync + 'static,
) -> Result<T, Failure> {
    let of = user.clone();
    ask.change(
        account,
        move |directory| target(directory, of.as_deref()),
        move |directory| change(directory, user.as_deref()),
    )
    .await
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let owner = owner(ask)?;
    let (stamp, secret, sealed) = ask.identities().new_access_key(owner.0)?;
    let made = change(ask, owner, move |directory, user| {
        Ok(directory.create_access_key(user, sealed.clone(), stamp.clone())?.clone())
    });
    let key = made.await?;
    Ok(Reply::result(|document| {
        document.element("AccessKey", |element| {
            element.optional("UserName", key.user.as_deref());
            element.text("AccessKeyId", &key.id);
            element.text("Status", status(key.is_active));
            element.text("SecretAccessKey", secret.expose());
            write::time(element, "CreateDate", key.created_ms);
        });
    }))
}

fn list(ask: &Ask) -> Result<Reply, Failure> {
    let (account, name) = owner(ask)?;
    let directory = ask.directory_of(account)?;
    ask.allow(directory, &target(directory, name.as_deref()))?;
    let user = name.map(|name| directory.user(&name)).transpose()?;
    let (name, id) = (user.map(|user| user.name.as_str()), user.map(|user| user.id.as_str()));
    let declared = ask.snapshot().declared_keys(account, id);
    // Nobody knows when a declared key was made; it is as old as its user.
    let declared = declared.map(|id| (id.to_owned(), (id, true, user.map_or(0, |user| user.created_ms))));
    let kept = directory.keys_of(name).map(|key| (key.id.clone(), (key.id.as_str(), key.is_active, key.created_ms)));
    let mut all: Vec<_> = kept.chain(declared).collect();
    all.sort_unstable();
    let page = Page::of(ask.params(), all.into_iter())?;
    Ok(Reply::result(|document| {
        page.write(document, "AccessKeyMetadata", |member, (id, is_active, created_ms)| {
            member.optional("UserName", name);
            member.text("AccessKeyId", id);
            member.text("Status", status(is_active));
            write::time(member, "CreateDate", created_ms);
        });
    }))
}

async fn update(ask: &Ask) -> Result<Reply, Failure> {
    let owner = owner(ask)?;
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
    refuse_declared(ask, owner.0, &id)?;
    change(ask, owner, move |directory, user| directory.update_access_key(user, &id, is_active)).await?;
    Ok(Reply::empty())
}

async fn delete(ask: &Ask) -> Result<Reply, Failure> {
    let owner = owner(ask)?;
    let id = ask.params().required("AccessKeyId")?.to_owned();
    refuse_declared(ask, owner.0, &id)?;
    change(ask, owner, move |directory, user| directory.delete_access_key(user, &id)).await?;
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
    let is_roots = key.is_some_and(|key| key.user_id.is_none());
    let everything = key.is_none().then(Target::everything);
    ask.allow(directory, &everything.unwrap_or_else(|| target(directory, user)))?;
    if user.is_none() && !is_roots {
        let message = format!("The Access Key with id {id} cannot be found");
        return Err(fault("NoSuchEntity", StatusCode::NOT_FOUND, message));
    }
    let used = ask.identities().usage().of(account, id).last();
    Ok(Reply::result(|document| {
        document.optional("UserName", user);
        document.element("AccessKeyLastUsed", |element| {
            if let Some(used) = &used {
                write::time(element, "LastUsedDate", used.at_ms);
            }
            element.text("ServiceName", used.as_ref().map_or("N/A", |used| used.service.as_str()));
            element.text("Region", if used.is_some() { ask.region() } else { "N/A" });
        });
    }))
}
