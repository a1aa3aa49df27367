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
use cairn_storage::ops::replica::Bringing;
use cairn_storage::ops::{Bucket, BucketName, Governance, ListVersions, ListedVersion, VersionSelector};
use cairn_storage::replication::Left;
use cairn_storage::settings::ObjectSettings;

use crate::authorize::{Action, AsRole};
use crate::replication::carrier::{of_failure, of_store, refused};
use crate::s3::Edge;

use super::{Comparison, Place, of_target};

/// As many as a page of S3's has.
const PAGE_VERSIONS_MAX: usize = 1_000;

/// A target.
pub(super) enum There<'a> {
    Local(Local<'a>),
    Remote(Arc<Remote>),
}

/// A bucket of this server.
pub(super) struct Local<'a> {
    edge: &'a Edge,
    bucket: Bucket,
    /// It is another account's: what it has, the role must be allowed to read.
    is_others: bool,
}

/// What the role may do about a lock at a target.
#[derive(Clone, Copy)]
struct Powers {
    governance: Governance,
    may_lift_hold: bool,
}

impl<'a> There<'a> {
    pub(super) async fn find(comparison: &Comparison<'a>) -> Result<Self, StepFailure> {
        let (target, edge) = (comparison.target, comparison.edge);
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
        let is_others = bucket.owner != comparison.bucket.owner;
        Ok(Self::Local(Local { edge, bucket, is_others }))
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
    pub(super) async fn look(
        &self,
        acting: AsRole<'_>,
        key: &ObjectKey,
        id: VersionId,
    ) -> Result<Option<Found>, Failure> {
        match self {
            Self::Local(local) => local.look(acting, key, id).await,
            Self::Remote(remote) => remote.look(key, id).await,
        }
    }

    /// The settings that an object's replica would have if those of the object were brought there now, with its tags or without.
    pub(super) async fn brought(
        &self,
        acting: AsRole<'_>,
        key: &ObjectKey,
        object: &ObjectVersion,
        there: &Found,
        with_tags: bool,
    ) -> Result<ObjectSettings, Failure> {
        let (with_tags, powers) = match self {
            Self::Local(local) => {
                let with_tags = with_tags && local.is_permitted(acting, key, Action::ReplicateTags).await?;
                (with_tags, local.powers(acting, key).await?)
            }
            Self::Remote(_) => (with_tags, Powers::at_remote(object, there)),
        };
        let Powers { governance, may_lift_hold } = powers;
        let left = Left { tags: !with_tags, acl: false };
        let bringing = Bringing { left, governance, may_lift_hold, ..Bringing::of(&object.settings) };
        Ok(bringing.onto(&there.settings, acting.edge.store.lock_clock().now()))
    }

    /// Whether who asks may know of a key there.
    pub(super) async fn may_know(&self, acting: AsRole<'_>, key: &ObjectKey) -> Result<bool, Failure> {
        match self {
            Self::Local(local) => local.may_read(acting, key, None).await.map(|may| may.is_ok()),
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

    async fn may_read(
        &self,
        acting: AsRole<'_>,
        key: &ObjectKey,
        object: Option<&ObjectVersion>,
    ) -> Result<Result<(), String>, Failure> {
        if !self.is_others {
            return Ok(Ok(()));
        }
        let actions =
            [Action::GetObjectVersionForReplication, Action::GetObjectVersionAcl, Action::GetObjectVersionTagging];
        acting.may(&self.bucket, key, &actions, object).await.map_err(of_failure)
    }

    async fn is_permitted(&self, acting: AsRole<'_>, key: &ObjectKey, action: Action) -> Result<bool, Failure> {
        let may = acting.may(&self.bucket, key, &[action], None).await.map_err(of_failure)?;
        Ok(may.is_ok())
    }

    async fn powers(&self, acting: AsRole<'_>, key: &ObjectKey) -> Result<Powers, Failure> {
        let may_bypass = self.is_permitted(acting, key, Action::BypassGovernanceRetention).await?;
        let governance = if may_bypass { Governance::Bypassed } else { Governance::Heeded };
        let may_lift_hold = self.is_permitted(acting, key, Action::PutObjectLegalHold).await?;
        Ok(Powers { governance, may_lift_hold })
    }

    async fn look(&self, acting: AsRole<'_>, key: &ObjectKey, id: VersionId) -> Result<Option<Found>, Failure> {
        let found = self.edge.store.any_version(self.bucket.id, key, id).await.map_err(of_store)?;
        let Some(Version::Object(object)) = found else { return Ok(None) };
        self.may_read(acting, key, Some(&object)).await?.map_err(|reason| refused("AccessDenied", reason))?;
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

impl Powers {
    /// Those of a remote's credentials, which only that knows: what it has kept of settings that it has already taken, they do not change.
    fn at_remote(object: &ObjectVersion, there: &Found) -> Self {
        let changed = object.replication.as_ref().and_then(|replication| replication.changed);
        if changed.is_some() && changed == there.changed {
            return Self { governance: Governance::Heeded, may_lift_hold: false };
        }
        Self { governance: Governance::Bypassed, may_lift_hold: true }
    }
}

fn shown(key: &ObjectKey, is_latest: bool, version: &VersionSummary) -> VersionThere {
    let (is_marker, size_bytes, etag) = match version {
        VersionSummary::Object(object) => (false, object.size_bytes, object.etag.to_string()),
        VersionSummary::Marker(_) => (true, 0, String::new()),
    };
    VersionThere { key: key.as_str().to_owned(), id: version.id().to_string(), is_latest, is_marker, size_bytes, etag }
}
