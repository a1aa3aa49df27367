//! The storage tiers: what they hold and how they are, and moving files to where their classes have them now.

use cairn_storage::index::family::walk::{WalkBucket, WalkKind};
use cairn_storage::jobs::walks::NewWalk;
use cairn_storage::ops::BucketName;
use serde::Serialize;

use crate::authorize::{Authorized, OnServer};
use crate::s3::error::Failure;
use crate::s3::request::Answer;
use crate::tiers::usage_of;

use super::jobs::{self, JobDocument};
use super::{Admin, json};

#[derive(Serialize)]
struct TiersDocument {
    tiers: Vec<TierDocument>,
}

#[derive(Serialize)]
struct TierDocument {
    name: String,
    /// The classes whose new files lie in it.
    classes: Vec<&'static str>,
    /// Why it cannot be reached, if it cannot.
    down: Option<String>,
    /// Why nothing is written to it until a restart, if that is so.
    read_only: Option<String>,
    /// Files that the index has in it, parts of open uploads included.
    files: i64,
    /// Their bytes.
    bytes: i64,
    total_bytes: u64,
    available_bytes: u64,
}

pub(super) async fn list_tiers(admin: &Admin, _: Authorized<OnServer>) -> Result<Answer, Failure> {
    let mut tiers = Vec::new();
    for status in admin.store.blobs().tiers() {
        let [files, bytes] = usage_of(&admin.store, status.place).await?;
        tiers.push(TierDocument {
            name: status.name,
            classes: status.classes.into_iter().map(|class| class.name()).collect(),
            down: status.down,
            read_only: status.read_only,
            files,
            bytes,
            total_bytes: status.space.total_bytes,
            available_bytes: status.space.available_bytes,
        });
    }
    json(&TiersDocument { tiers })
}

/// Begins the walk; of one bucket, or of all.
pub(super) async fn move_files(
    admin: &Admin,
    authorized: Authorized<OnServer>,
    bucket: Option<&str>,
) -> Result<Answer, Failure> {
    let bucket = match bucket {
        None => None,
        Some(name) => {
            let name = BucketName::new(name).ok_or(cairn_storage::StorageError::NoSuchBucket)?;
            let bucket = admin.store.bucket(&name).await?;
            Some(WalkBucket { id: bucket.id, name: bucket.name.as_str().to_owned() })
        }
    };
    let new = NewWalk { kind: WalkKind::Move, bucket, argument: Vec::new() };
    let walk = admin.store.start_walk(new).await.map_err(jobs::failure)?;
    tracing::info!(account = %authorized.account().id, job = %walk.id, "an operator has files moved between tiers");
    json(&JobDocument::from(walk))
}
