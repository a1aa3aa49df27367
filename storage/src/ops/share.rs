//! Copies within a bucket share the content: no byte moves, whatever the size. The new version is one more reference in
//! the content's row.
//!
//! A shared copy keeps what belongs to the content: ETag, checksum and parts. (S3 computes the ETag of a copied multipart
//! object anew, which takes reading it all; an ETag is opaque to those who do not know how an object was uploaded.) What
//! cannot be shared is copied byte by byte: inline contents, copies that ask for another checksum, and copies that are
//! sealed under another key than the source. A sealed copy has the source's data key, wrapped for the new version.

use std::sync::Arc;

use crate::StorageError;
use crate::encryption::{self, Sealing};
use crate::id::Place;
use crate::index::family::content;
use crate::index::family::version::Version;
use crate::index::{IndexError, View};
use crate::object::{Content, ObjectKey, ObjectVersion};

use super::copy_object::{Copied, CopyObject, CopySource, failed_precondition};
use super::get_object::find_version;
use super::lock::Governance;
use super::placement::{self, Shared};
use super::planner::Planner;
use super::seen::SeenKey;
use super::{ATTEMPTS_MAX, Bucket, Permit, ReadConditions, Store, VersionSelector};

/// The source and the target as one view saw them.
struct SeenCopy {
    source: ObjectVersion,
    /// None: the source's content cannot be shared.
    shared: Option<Shared>,
    target: SeenKey,
}

/// What of a copy decides what its view reads.
#[derive(Clone)]
struct Reading {
    source: ObjectKey,
    version: VersionSelector,
    permit: Permit,
    conditions: ReadConditions,
    target: ObjectKey,
    planner: Arc<dyn Planner>,
    /// Where the copy's class has its files, and where they end up.
    places: [Place; 2],
}

impl Store {
    /// Copies by sharing. None: the bytes must be copied.
    pub(super) async fn share_content(
        &self,
        source: &CopySource<'_>,
        bucket: &Bucket,
        key: &ObjectKey,
        copy: &CopyObject,
    ) -> Result<Option<Copied>, StorageError> {
        if source.bucket.id != bucket.id {
            return Ok(None);
        }
        self.health().check_writable()?;
        let reading = Reading {
            source: source.key.clone(),
            version: source.version,
            permit: source.permit.clone(),
            conditions: source.conditions.clone(),
            target: key.clone(),
            planner: self.planner().clone(),
            places: {
                let class = copy.storage_class.unwrap_or_default();
                [self.blobs().place_of(class), self.blobs().settled_place_of(class)]
            },
        };
        let now = self.clock().now();
        for _ in 0..ATTEMPTS_MAX {
            let reading = reading.clone();
            let seen = self.view(bucket.id, move |view| read(view, &reading)).await?.map_err(failed_precondition)?;
            if !seen.source.is_readable(now) {
                return Err(StorageError::archived(&seen.source));
            }
            let new = copy.version_of(source, bucket, key, &seen.source)?;
            let checksum = seen.source.checksum_kind().map(|(algorithm, _)| algorithm);
            let Some(shared) = seen.shared.filter(|_| copy.checksum.is_none() || copy.checksum == checksum) else {
                return Ok(None);
            };
            let context = seen.source.wrap_context(bucket.id, source.key);
            let sealed = (seen.source.encryption.as_ref(), context);
            let sealing = match encryption::share(sealed, source.keys.as_ref(), copy.sealing.as_ref()).await? {
                encryption::Shared::Plain => None,
                encryption::Shared::Rewrapped(sealing) => Some(sealing),
                encryption::Shared::Impossible => return Ok(None),
            };
            copy.conditions.check_seen(&seen.target)?;
            let mut object = self.new_version(&seen.target, new);
            object.encryption =
                sealing.as_ref().map(|sealing| sealing.of_version(bucket.id, key, object.version_id)).transpose()?;
            // The data key is the source's: what is sealed by it stays as it is, and what an older record has in the clear is sealed.
            let version = Version::Object(object.clone().with_sealed_checksum(sealing.as_ref().map(Sealing::seal))?);
            let removal = self.removal(Governance::Heeded);
            let mutation =
                placement::add_sharing(key, &seen.target, version, shared, &removal, self.planner().as_ref())?;
            object.replication.clone_from(&mutation.replication);
            if self.commit(bucket.id.into(), mutation.batch, mutation.tasks).await? {
                object.reveal_checksum(sealing.as_ref().map(|sealing| &sealing.seal().key))?;
                return Ok(Some(Copied { object, source: seen.source }));
            }
        }
        Err(StorageError::Contention)
    }
}

fn read(view: &dyn View, reading: &Reading) -> Result<Result<SeenCopy, StorageError>, IndexError> {
    let source = match find_version(view, &reading.source, reading.version)? {
        Ok(source) => source,
        Err(error) => return Ok(Err(error)),
    };
    if let Err(error) = reading.permit.check(&source).and_then(|()| reading.conditions.check(&source)) {
        return Ok(Err(error));
    }
    let shared = match source.content {
        Content::Empty | Content::Inline(_) => None,
        // A copy into a class whose files lie elsewhere is copied by byte.
        Content::File(id) | Content::Composite(id) if !reading.places.contains(&id.place()) => None,
        Content::File(id) | Content::Composite(id) => {
            let (row, record) = content::read(view, id)?
                .ok_or_else(|| IndexError::Corrupt(format!("version's content {id} has no row")))?;
            Shared::once_more(id, row.revision, record)
        }
    };
    let target = SeenKey::read(view, &reading.target, VersionSelector::Newest, reading.planner.as_ref())?;
    Ok(target.map(|target| SeenCopy { source, shared, target }))
}
