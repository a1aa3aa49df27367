//! Permissions boundaries of users and roles.

use crate::query_api::Reply;
use crate::s3::error::Failure;

use super::ask::Ask;
use super::attachments::NamedHolder;

pub(super) const ACTIONS: &[&str] = &[
    "DeleteRolePermissionsBoundary",
    "DeleteUserPermissionsBoundary",
    "PutRolePermissionsBoundary",
    "PutUserPermissionsBoundary",
];

pub(super) async fn call(ask: &Ask) -> Result<Reply, Failure> {
    let named = NamedHolder::of(ask)?;
    let puts = ask.action().starts_with("Put");
    let boundary = if puts { Some(ask.params().required("PermissionsBoundary")?.to_owned()) } else { None };
    let (of_target, of_call) = (named.clone(), boundary.clone());
    ask.change(
        named.account,
        move |directory| {
            let target = of_target.target(directory);
            // Putting is judged by the boundary that is put, removing by the one that is there.
            if puts { target.with_boundary(of_call.as_deref()) } else { target }
        },
        move |directory| directory.set_boundary(named.holder(), boundary.as_deref()),
    )
    .await?;
    Ok(Reply::empty())
}
