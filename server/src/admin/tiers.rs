//! The storage tiers: what they hold and how they are, and moving files to where their classes have them now.

use cairn_storage::index::family::walk::{WalkBucket, WalkKind};
use cairn_storage::jobs::walks::NewWalk;
use cairn_storage::ops::BucketName;
use serde::Serialize;

use crate::authorize::{Authorized, OnServer};
use crate::s3::error::Failure;
use crate::s3::request::Answer;
use crate::tiers::{PlaceUsage, usage_of_data_dir, usage_of_tiers};

use super::jobs::{self, JobDocument};
use super::{Admin, json};

#[derive(Serialize)]
struct TiersDocument {
    tiers: Vec<TierDocument>,
    /// What the data directory has.
    data_directory: Vec<ClassDocument>,
}

/// The files of a class that are in the data directory. There are none that an older version wrote.
#[derive(Serialize)]
struct ClassDocument {
    class: &'static str,
    #[serde(flatten)]
    usage: PlaceUsage,
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
    #[serde(flatten)]
    usage: PlaceUsage,
    total_bytes: u64,
    available_bytes: u64,
}

pub(super) async fn list_tiers(admin: &Admin, _: Authorized<OnServer>) -> Result<Answer, Failure> {
    let tiers = usage_of_tiers(&admin.store).await?.map(|(status, usage)| TierDocument {
        name: status.name,
        classes: status.classes.into_iter().map(|class| class.name()).collect(),
        down: status.down,
        read_only: status.read_only,
        usage,
        total_bytes: status.space.total_bytes,
        available_bytes: status.space.available_bytes,
    });
    let of_classes = usage_of_data_dir(&admin.store).await?.filter(|(_, usage)| usage.files != 0);
    let data_directory = of_classes.map(|(class, usage)| ClassDocument { class: class.name(), usage }).collect();
    json(&TiersDocument { tiers: tiers.collect(), data_directory })
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
