//! Roles.

use std::sync::Arc;

use cairn_iam::identity::name::check_path_prefix;
use cairn_iam::identity::{Directory, Fault, FaultKind, NewRole, Record as _, Role};
use cairn_iam::policy::PolicyKind;

use crate::query_api::Reply;
use crate::s3::error::Failure;
use crate::s3::xml::Document;

use super::ask::Ask;
use super::page::Page;
use super::target::Target;
use super::write;

pub(super) const ACTIONS: &[&str] = &[
    "CreateRole",
    "DeleteRole",
    "GetRole",
    "ListRoles",
    "UpdateAssumeRolePolicy",
    "UpdateRole",
    "UpdateRoleDescription",
];

/// How the ids of roles begin.
const ID_PREFIX: &str = "AROA";

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    match ask.action() {
        "CreateRole" => create(ask).await,
        "DeleteRole" => {
            change(ask, |directory, name| directory.delete_role(name)).await?;
            Ok(Reply::empty())
        }
        "GetRole" => get(ask),
        "ListRoles" => list(ask),
        "UpdateAssumeRolePolicy" => update_trust(ask).await,
        "UpdateRole" => update(ask).await,
        "UpdateRoleDescription" => update_description(ask).await,
        _ => Err(ask.misrouted()),
    }
}

async fn create(ask: &Ask) -> Result<Reply, Failure> {
    let params = ask.params();
    let account = ask.account()?;
    let new = NewRole {
        name: params.required("RoleName")?.to_owned(),
        path: params.get("Path").unwrap_or("/").to_owned(),
        trust: params.required("AssumeRolePolicyDocument")?.to_owned(),
        description: params.get("Description").map(str::to_owned),
        session_seconds_max: params.parsed("MaxSessionDuration")?,
        boundary: params.get("PermissionsBoundary").map(str::to_owned),
        tags: ask.tags()?,
    };
    let stamp = ask.identities().stamp(ID_PREFIX);
    let target =
        Target::new(account, "role", &new.path, &new.name).with_boundary(new.boundary.as_deref()).with_tags(&new.tags);
    let asked = ask.clone();
    let made = ask.change(
        account,
        move |_| target.clone(),
        move |directory| {
            let trust = keep_trust(&asked, directory, &new.trust)?;
            let role = directory.create_role(NewRole { trust, ..new.clone() }, stamp.clone())?.clone();
            Ok((directory.clone(), role))
        },
    );
    let (directory, role) = made.await?;
    Ok(Reply::result(|document| element(document, ask, &directory, &role)))
}

/// The document that says who may assume a role, as it is kept.
fn keep_trust(ask: &Ask, directory: &Directory, trust: &str) -> Result<String, Fault> {
    let kept = ask.snapshot().keep_principals(trust, PolicyKind::Trust, Some(directory));
    kept.map_err(|error| Fault::new(FaultKind::MalformedPolicyDocument, error.to_string()))
}

fn element(document: &mut Document, ask: &Ask, directory: &Directory, role: &Role) {
    document.element("Role", |element| write::whole_role(element, (ask.snapshot(), directory), role));
}

fn get(ask: &Ask) -> Result<Reply, Failure> {
    let name = ask.params().required("RoleName")?;
    let directory = ask.directory()?;
    ask.allow(directory, &Target::role(directory, name))?;
    let role = directory.role(name)?;
    let used = ask.identities().usage().of(directory.account(), &role.id).last();
    Ok(Reply::result(|document| {
        document.element("Role", |element| {
            write::whole_role(element, (ask.snapshot(), directory), role);
            element.element("RoleLastUsed", |last| {
                if let Some(used) = &used {
                    write::time(last, "LastUsedDate", used.at_ms);
                    last.text("Region", ask.region());
                }
            });
        });
    }))
}

fn list(ask: &Ask) -> Result<Reply, Failure> {
    let prefix = ask.params().get("PathPrefix").unwrap_or("/");
    check_path_prefix(prefix)?;
    let directory = Arc::clone(ask.directory()?);
    ask.allow(&directory, &Target::all(directory.account(), "role", prefix))?;
    let roles = directory.roles.iter().filter(|role| role.path.starts_with(prefix));
    let page = Page::of(ask.params(), roles.map(|role| (role.row_name(), role)))?;
    let of = (&**ask.snapshot(), &*directory);
    Ok(Reply::result(|document| page.write(document, "Roles", |member, role| write::role(member, of, role))))
}

async fn update_trust(ask: &Ask) -> Result<Reply, Failure> {
    let trust = ask.params().required("PolicyDocument")?.to_owned();
    let asked = ask.clone();
    let update = move |directory: &mut Directory, name: &str| {
        directory.role(name)?;
        let kept = keep_trust(&asked, directory, &trust)?;
        directory.update_trust(name, kept)
    };
    change(ask, update).await?;
    Ok(Reply::empty())
}

async fn update(ask: &Ask) -> Result<Reply, Failure> {
    let description = ask.params().get("Description").map(str::to_owned);
    let session = ask.params().parsed("MaxSessionDuration")?;
    change(ask, move |directory, name| directory.update_role(name, description.as_deref(), session)).await?;
    Ok(Reply::result(|_| {}))
}

async fn update_description(ask: &Ask) -> Result<Reply, Failure> {
    let description = ask.params().required("Description")?.to_owned();
    let made = change(ask, move |directory, name| {
        directory.update_role(name, Some(&description), None)?;
        Ok((directory.clone(), directory.role(name)?.clone()))
    });
    let (directory, role) = made.await?;
    Ok(Reply::result(|document| element(document, ask, &directory, &role)))
}

/// Changes the role that is named.
async fn change<T: Send + 'static>(
    ask: &Ask,
    change: impl Fn(&mut Directory, &str) -> Result<T, Fault> + Send + Sync + 'static,
) -> Result<T, Failure> {
    let name = ask.params().required("RoleName")?.to_owned();
    let target = name.clone();
    let account = ask.account()?;
    ask.change(account, move |directory| Target::role(directory, &target), move |directory| change(directory, &name))
        .await
}
