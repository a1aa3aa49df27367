//! What a target has: a bucket of this server, or one at a remote.

use std::sync::Arc;

use cairn_replication::client::{Digest, VersionThere, VersionsThere};
use cairn_replication::remote::{Found, Remote};
use cairn_replication::target::Failure;
use cairn_storage::StorageError;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::bucket::ObjectOwnership;
use cairn_storage::index::family::version::{Version, VersionSummary};
use cairn_storage::jobs::walks::StepFailure;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::{Bucket, BucketName, ListVersions, ListedVersion, VersionSelector};

use crate::audit::Trail;
use crate::authorize::{Action, AsRole};
use crate::identities::{Caller, Snapshot};
use crate::replication::carrier::{of_failure, of_store, refused};
use crate::replication::role;
use crate::s3::Edge;

use super::{Comparison, Place, of_target};

/// As many as a page of S3's has.
const PAGE_VERSIONS_MAX: usize = 1_000;

/// A target.
pub(super) enum There<'a> {
    Local(Local<'a>),
    Remote(Arc<Remote>),
}

/// A bucket of this server. What another account's has, the role must be allowed to read.
pub(super) struct Local<'a> {
    edge: &'a Edge,
    bucket: Bucket,
    identities: &'a Snapshot,
    trail: &'a Trail,
    asked: Option<Arc<Caller>>,
}

impl<'a> There<'a> {
    pub(super) async fn find(
        comparison: &Comparison<'_>,
        edge: &'a Edge,
        identities: &'a Snapshot,
        trail: &'a Trail,
    ) -> Result<Self, StepFailure> {
        let target = comparison.target;
        if let Some(remote) = &target.remote {
            // What is there is read by the remote's credentials, as what goes there goes by them.
            let (owner, accounts) = (comparison.bucket.owner, edge.identities.accounts());
            let checked = edge.remotes.check_target(remote, &target.bucket, owner, accounts);
            checked.map_err(|fault| StepFailure::Refused(fault.to_string()))?;
            return edge.remotes.target(remote, &target.bucket).await.map(Self::Remote).map_err(of_target);
        }
        let missing = || StepFailure::Refused(format!("there is no bucket {}", target.bucket));
        let name = BucketName::new(&target.bucket).ok_or_else(missing)?;
        let bucket = match edge.store.bucket(&name).await {
            Err(StorageError::NoSuchBucket) => return Err(missing()),
            bucket => bucket?,
        };
        let asked = if bucket.owner == comparison.bucket.owner {
            None
        } else {
            let caller = role::caller(identities, &comparison.rules.role, comparison.bucket, edge.store.clock().now());
            Some(caller.map_err(|fault| StepFailure::Refused(fault.to_string()))?)
        };
        Ok(Self::Local(Local { edge, bucket, identities, trail, asked }))
    }

    /// The next versions behind a place.
    pub(super) async fn list(&self, prefix: &str, behind: Option<&Place>) -> Result<VersionsThere, StepFailure> {
        match self {
            Self::Local(local) => Ok(local.list(prefix, behind).await?),
            Self::Remote(remote) => {
                let version = behind.map(|place| place.version.to_string());
                let after = behind.map(|place| (place.key.as_str(), version.as_deref()));
                remote.list(prefix, after).await.map_err(of_target)
            }
        }
    }

    /// All that a version has. None: there is no object of this id.
    pub(super) async fn look(&self, key: &ObjectKey, id: VersionId) -> Result<Option<Found>, Failure> {
        match self {
            Self::Local(local) => local.look(key, id).await,
            Self::Remote(remote) => remote.look(key, id).await,
        }
    }

    /// Whether who asks may know of a key there.
    pub(super) async fn may_know(&self, key: &ObjectKey) -> Result<bool, Failure> {
        match self {
            Self::Local(local) => local.may(key, None).await.map(|may| may.is_ok()),
            Self::Remote(_) => Ok(true),
        }
    }

    /// Whether accounts that the source's ACLs name may be unknown there, and so left out.
    pub(super) fn forgets_accounts(&self) -> bool {
        matches!(self, Self::Remote(_))
    }
}

impl Local<'_> {
    async fn list(&self, prefix: &str, behind: Option<&Place>) -> Result<VersionsThere, StorageError> {
        let list = ListVersions {
            prefix: prefix.to_owned(),
            after: behind.map(|place| place.key.clone()),
            after_version: behind.map(|place| VersionSelector::Id(place.version)),
            max_keys: PAGE_VERSIONS_MAX,
            ..ListVersions::default()
        };
        let page = self.edge.store.list_versions(&self.bucket, list).await?;
        let versions = page.entries.into_iter().filter_map(|entry| match entry {
            ListedVersion::Version { key, is_latest, version } => Some(shown(&key, is_latest, &version)),
            ListedVersion::Prefix(_) => None,
        });
        Ok(VersionsThere { versions: versions.collect(), more: page.next.is_some() })
    }

    async fn may(&self, key: &ObjectKey, object: Option<&ObjectVersion>) -> Result<Result<(), String>, Failure> {
        let Some(caller) = &self.asked else { return Ok(Ok(())) };
        let acting = AsRole { edge: self.edge, identities: self.identities, caller, trail: self.trail };
        let actions =
            [Action::GetObjectVersionForReplication, Action::GetObjectVersionAcl, Action::GetObjectVersionTagging];
        acting.may(&self.bucket, key, &actions, object).await.map_err(of_failure)
    }

    async fn look(&self, key: &ObjectKey, id: VersionId) -> Result<Option<Found>, Failure> {
        let found = self.edge.store.any_version(self.bucket.id, key, id).await.map_err(of_store)?;
        let Some(Version::Object(object)) = found else { return Ok(None) };
        self.may(key, Some(&object)).await?.map_err(|reason| refused("AccessDenied", reason))?;
        let checksum = object.checksum.filter(|checksum| !checksum.composite);
        Ok(Some(Found {
            size_bytes: object.size_bytes,
            etag: object.etag.to_string(),
            checksums: checksum.map(|checksum| Digest::Checksum(checksum.value).header()).into_iter().collect(),
            changed: object.replication.as_ref().and_then(|replication| replication.changed),
            attributes: object.attributes,
            settings: object.settings,
            without_acls: self.bucket.ownership == ObjectOwnership::BucketOwnerEnforced,
        }))
    }
}

fn shown(key: &ObjectKey, is_latest: bool, version: &VersionSummary) -> VersionThere {
    let (is_marker, size_bytes, etag) = match version {
        VersionSummary::Object(object) => (false, object.size_bytes, object.etag.to_string()),
        VersionSummary::Marker(_) => (true, 0, String::new()),
    };
    VersionThere { key: key.as_str().to_owned(), id: version.id().to_string(), is_latest, is_marker, size_bytes, etag }
}
