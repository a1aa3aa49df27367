//! What the configuration's role may do about a version: read it at its source, and send it to a remote. Who brings versions asks, and who
//! compares them.

use cairn_replication::target::Failure;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::version::Version;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::Bucket;

use crate::authorize::{Action, AsRole};

use super::carrier::{of_failure, refused};

/// Ok if the role may read what is brought of a version. False: but for the tags, which stay behind (S3 user guide, "Setting up permissions
/// for live replication").
pub(super) async fn read(
    acting: AsRole<'_>,
    bucket: &Bucket,
    key: &ObjectKey,
    object: &ObjectVersion,
    with_acl: bool,
) -> Result<bool, Failure> {
    let settings = &object.settings;
    let besides = |asks: bool, action| asks.then_some(action);
    let actions: Vec<Action> = [
        Some(Action::GetObjectVersionForReplication),
        besides(settings.acl.is_some() && with_acl, Action::GetObjectVersionAcl),
        besides(settings.retention.is_some(), Action::GetObjectRetention),
        besides(settings.legal_hold.is_some(), Action::GetObjectLegalHold),
    ]
    .into_iter()
    .flatten()
    .collect();
    let may = acting.may(bucket, key, &actions, Some(object)).await.map_err(of_failure)?;
    may.map_err(|reason| refused("SrcGetObjectNotPermitted", reason))?;
    // Also where it has none: that is not for everybody to bring either.
    let tags = [Action::GetObjectVersionTagging];
    let may = acting.may(bucket, key, &tags, Some(object)).await.map_err(of_failure)?;
    Ok(may.is_ok())
}

/// Ok if a version may go from a bucket of this account to a bucket at a remote, which decides about its own credentials and knows nothing of
/// the role. False: but for the tags, which stay behind.
pub(super) fn send(
    acting: AsRole<'_>,
    owner: AccountId,
    (remote, bucket): (&str, &str),
    key: &ObjectKey,
    version: &Version,
) -> Result<bool, Failure> {
    let checked = acting.edge.remotes.check_target(remote, bucket, owner, acting.edge.identities.accounts());
    checked.map_err(|fault| refused("DstPutObjectNotPermitted", fault))?;
    let (action, code) = match version {
        Version::Object(_) => (Action::ReplicateObject, "DstPutObjectNotPermitted"),
        Version::Marker(_) => (Action::ReplicateDelete, "DstDelObjNotPermitted"),
    };
    acting.may_elsewhere(bucket, key, action).map_err(|reason| refused(code, reason))?;
    Ok(acting.may_elsewhere(bucket, key, Action::ReplicateTags).is_ok())
}
