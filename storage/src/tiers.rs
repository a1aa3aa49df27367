//! Which tiers there are: their names in the configuration, and the places that contents' ids name them by.
//!
//! A tier gets its place and an id of its own when it is first configured; both are kept in the index (document 130 of SYSTEM) for as
//! long as it is configured, and its directory has a marker with the id. A new tier is noted before its directory gets
//! the marker, and counts as made after: so a start that was cut short is finished by the next one, and an empty directory is
//! never taken for a tier that has been used. A tier that is not configured any more is forgotten only when no file is in
//! its place: a start that would lose sight of files is refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::StorageError;
use crate::blob::{
    FIRST_TIER_PLACE, MARKER_BYTES_MAX, Offload, Remote, RemoteError, RemoteTier, TIER_MARKER, Tier, Tiers, read_marker,
};
use crate::clock::Entropy;
use crate::disk::Mount;
use crate::id::{BucketId, Place};
use crate::index::family::directory::DirectoryEntry;
use crate::index::family::document::DocumentKind;
use crate::index::family::usage::{self, PlaceCounter};
use crate::index::{Batch, Family, Index, IndexError, KeyRange, Partition};
use crate::object::StorageClass;
use crate::record::Record;

/// The longest name of a tier, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// A file that says that a directory is a data directory, which is no tier's.
const DATA_DIR_FILE: &str = "format";

/// A tier as it is configured.
#[derive(Clone, Debug)]
pub struct ConfiguredTier {
    /// Its name: 1 to [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Where it is.
    pub home: ConfiguredHome,
    /// The classes whose files lie in it.
    pub classes: Vec<StorageClass>,
}

/// Where a tier is.
#[derive(Clone, Debug)]
pub enum ConfiguredHome {
    /// A directory.
    Directory {
        /// Its path.
        path: PathBuf,
        /// Below so much free space, nothing is written to it.
        floor_bytes: u64,
    },
    /// In another service.
    Remote(Arc<dyn Remote>),
}

/// Why the tiers cannot be used as they are configured.
#[derive(Debug, Error)]
pub enum TierError {
    /// The index failed.
    #[error("the storage tiers cannot be read")]
    Storage(#[from] StorageError),
    /// There would be more than places.
    #[error("there are more storage tiers than a data directory can have")]
    TooMany,
    /// It holds contents, and is not configured.
    #[error(
        "the storage tier {name} is not in the configuration any more, but objects of the bucket {bucket} are in it: put it \
         back, without classes if nothing new is to come, move them away, and take it out then"
    )]
    InUse {
        /// Its name.
        name: String,
        /// A bucket.
        bucket: String,
    },
    /// Its directory cannot be made one of a tier.
    #[error("the directory {} cannot become that of the storage tier {name}", path.display())]
    Directory {
        /// Its name.
        name: String,
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in another service cannot be made a tier.
    #[error("the storage tier {name} cannot be made in the other service")]
    Remote {
        /// Its name.
        name: String,
        /// Why.
        source: RemoteError,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct TiersRecord {
    #[n(0)]
    tiers: Vec<TierRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct TierRecord {
    #[n(0)]
    place: u8,
    #[n(1)]
    name: String,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    id: [u8; 16],
    /// Its directory has had its marker.
    #[n(3)]
    is_made: bool,
}

impl Record for TiersRecord {
    const NAME: &'static str = "tiers";
    const BYTES_MAX: usize = 8 << 10;
}

impl TierRecord {
    fn marker(&self) -> String {
        let text = format!("cairn-tier 1\nname {}\nid {}\n", self.name, hex::encode(self.id));
        debug_assert!(text.len() < MARKER_BYTES_MAX);
        text
    }

    fn open(&self, configured: &ConfiguredTier, tiers: &mut Tiers) -> Result<(), TierError> {
        let (name, marker, classes) = (self.name.clone(), self.marker(), configured.classes.clone());
        let place = Place::new(self.place).ok_or(TierError::TooMany)?;
        match configured.home.clone() {
            ConfiguredHome::Directory { path, floor_bytes } => {
                let mount = Arc::new(path);
                tiers.directories.push(Tier { name, place, classes, mount, marker, floor_bytes });
            }
            ConfiguredHome::Remote(remote) => {
                tiers.remotes.push(RemoteTier { name, place, classes, remote, marker });
            }
        }
        Ok(())
    }
}

/// The configured tiers; those that are new are made. `buckets` are all that there are.
///
/// # Errors
/// [`TierError`]; then nothing is forgotten.
pub async fn open(
    index: &Arc<dyn Index>,
    entropy: &dyn Entropy,
    offload: Offload,
    configured: &[ConfiguredTier],
) -> Result<Tiers, TierError> {
    let mut noted = read(index).await?;
    let before = noted.clone();
    for tier in &before.tiers {
        if configured.iter().all(|one| one.name != tier.name) {
            if let Some(bucket) = bucket_using(index, tier.place).await? {
                return Err(TierError::InUse { name: tier.name.clone(), bucket });
            }
            tracing::info!(tier = tier.name, "a storage tier that holds nothing is not configured any more");
        }
    }
    noted.tiers.retain(|tier| configured.iter().any(|one| one.name == tier.name));
    for ConfiguredTier { name, .. } in configured {
        if noted.tiers.iter().all(|tier| tier.name != *name) {
            let place = (FIRST_TIER_PLACE..64).find(|number| noted.tiers.iter().all(|tier| tier.place != *number));
            let place = place.ok_or(TierError::TooMany)?;
            noted.tiers.push(TierRecord { place, name: name.clone(), id: entropy.random_16(), is_made: false });
        }
    }
    if noted != before {
        write(index, &noted).await?;
    }
    if noted.tiers.iter().any(|tier| !tier.is_made) {
        for tier in noted.tiers.iter_mut().filter(|tier| !tier.is_made) {
            let Some(ConfiguredTier { name, home, .. }) = configured.iter().find(|one| one.name == tier.name) else {
                continue;
            };
            let (name, marker) = (name.clone(), tier.marker());
            match home {
                ConfiguredHome::Directory { path, .. } => {
                    let directory = path.clone();
                    let made = offload.run(move || Ok(make_directory(&directory, &marker))).await?;
                    made.map_err(|source| TierError::Directory { name, path: path.clone(), source })?;
                }
                ConfiguredHome::Remote(remote) => {
                    let made = make_remote(remote.as_ref(), marker).await;
                    made.map_err(|source| TierError::Remote { name, source })?;
                }
            }
            tier.is_made = true;
        }
        write(index, &noted).await?;
    }
    pair(&noted, configured)
}

/// The configured tiers that have been used, for looking only: nothing is written.
///
/// # Errors
/// [`TierError::Storage`].
pub async fn open_for_checking(index: &Arc<dyn Index>, configured: &[ConfiguredTier]) -> Result<Tiers, TierError> {
    pair(&read(index).await?, configured)
}

fn pair(noted: &TiersRecord, configured: &[ConfiguredTier]) -> Result<Tiers, TierError> {
    let mut tiers = Tiers::default();
    for one in configured {
        if let Some(record) = noted.tiers.iter().find(|tier| tier.name == one.name) {
            record.open(one, &mut tiers)?;
        }
    }
    Ok(tiers)
}

/// Puts a new tier's marker where it is to be. It may be there already.
async fn make_remote(remote: &dyn Remote, marker: String) -> Result<(), RemoteError> {
    match remote.get_small(TIER_MARKER, MARKER_BYTES_MAX).await {
        Ok(found) if found == marker.as_bytes() => Ok(()),
        Ok(_) => Err(RemoteError::Wrong("what is there is another storage tier's".to_owned())),
        Err(RemoteError::Missing) => remote.put_small(TIER_MARKER, marker.into_bytes()).await,
        Err(error) => Err(error),
    }
}

/// Gives a new tier's directory its marker, durably. It may have it already.
fn make_directory(path: &PathBuf, marker: &str) -> io::Result<()> {
    let (disk, _) = path.mount()?;
    match read_marker(disk.as_ref()) {
        Ok(found) if found == marker => return Ok(()),
        // A start that was cut short may have left less than all of it.
        Ok(found) if marker.starts_with(&found) => disk.remove(Path::new(TIER_MARKER))?,
        Ok(_) => return Err(io::Error::other("it is another storage tier's")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if disk.open(Path::new(DATA_DIR_FILE)).is_ok() {
        return Err(io::Error::other("it is a data directory"));
    }
    let made = disk.create(Path::new(TIER_MARKER))?;
    made.write_at(0, &[io::IoSlice::new(marker.as_bytes())])?;
    made.sync_data()?;
    disk.sync_dir(Path::new(""))
}

async fn read(index: &Arc<dyn Index>) -> Result<TiersRecord, TierError> {
    let key = DocumentKind::Tiers.key();
    let row = index.view(Partition::SYSTEM, move |view| view.get(Family::Document, &key)).await;
    let row = row.map_err(StorageError::from)?;
    let record = row.map(|row| TiersRecord::from_value(&row.value)).transpose().map_err(StorageError::from)?;
    Ok(record.unwrap_or_default())
}

async fn write(index: &Arc<dyn Index>, record: &TiersRecord) -> Result<(), TierError> {
    let mut batch = Batch::new();
    // No guard: only the one process on the data directory writes it.
    batch.put(Family::Document, DocumentKind::Tiers.key(), record.to_value()?);
    index.commit(Partition::SYSTEM, batch).await.revision()?;
    Ok(())
}

/// A bucket with a file in the place, if there is one. (A composite names a place too, and has no file of its own.)
async fn bucket_using(index: &Arc<dyn Index>, place: u8) -> Result<Option<String>, TierError> {
    let buckets = index.view(Partition::SYSTEM, |view| {
        let mut buckets: Vec<(String, BucketId)> = Vec::new();
        let mut cursor = view.cursor(Family::Directory, KeyRange::all())?;
        while let Some((name, _, value)) = cursor.row() {
            let entry = DirectoryEntry::from_value(value)?;
            buckets.push((String::from_utf8_lossy(name).into_owned(), entry.bucket));
            cursor.advance()?;
        }
        Ok::<_, IndexError>(buckets)
    });
    let place = Place::new(place).ok_or(TierError::TooMany)?;
    for (name, bucket) in buckets.await.map_err(StorageError::from)? {
        let files = index.view(bucket.into(), move |view| usage::read_place(view, place, PlaceCounter::Files));
        if files.await.map_err(StorageError::from)? != 0 {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::clock::SeededEntropy;
    use crate::health::Health;
    use crate::index::memory::MemoryIndex;
    use crate::record::check_round_trip;

    fn index() -> Arc<dyn Index> {
        Arc::new(MemoryIndex::new(Health::default()))
    }

    fn tier(name: &str, path: &Path) -> ConfiguredTier {
        let classes = vec![StorageClass::Glacier];
        let home = ConfiguredHome::Directory { path: path.to_owned(), floor_bytes: 0 };
        ConfiguredTier { name: name.to_owned(), home, classes }
    }

    async fn try_open(
        index: &Arc<dyn Index>,
        seed: u64,
        configured: &[ConfiguredTier],
    ) -> Result<Vec<Tier>, TierError> {
        let tiers = open(index, &SeededEntropy::new(seed), Offload::Inline, configured).await?;
        Ok(tiers.directories)
    }

    fn places(tiers: &[Tier]) -> Vec<u8> {
        tiers.iter().map(|tier| tier.place.number()).collect()
    }

    #[test]
    fn the_record_round_trips() {
        let record = |place, name: String| TierRecord { place, name, id: [7; 16], is_made: true };
        check_round_trip(&TiersRecord { tiers: vec![record(16, "cold".to_owned())] });
        let full = (16..64).map(|place| record(place, "n".repeat(NAME_BYTES_MAX))).collect();
        assert!(TiersRecord { tiers: full }.to_value().is_ok());
    }

    #[tokio::test]
    async fn a_tier_keeps_its_place_and_its_marker_whatever_else_is_configured() {
        let index = index();
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let both = [tier("a", one.path()), tier("b", two.path())];
        let opened = try_open(&index, 1, &both).await.unwrap();
        assert_eq!(places(&opened), [16, 17]);
        assert_eq!(std::fs::read_to_string(two.path().join(TIER_MARKER)).unwrap(), opened[1].marker);
        let again = try_open(&index, 2, &both[1..]).await.unwrap();
        assert_eq!((places(&again), &again[0].marker), (vec![17], &opened[1].marker));
        // It moved; the marker goes with the files, and is not made a second time.
        let moved = tempfile::tempdir().unwrap();
        let again = try_open(&index, 3, &[tier("b", moved.path())]).await.unwrap();
        assert_eq!(again[0].marker, opened[1].marker);
        assert!(!moved.path().join(TIER_MARKER).exists());
    }

    #[tokio::test]
    async fn a_new_tier_does_not_take_a_directory_that_is_another_s() {
        let index_of_one = index();
        let (one, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        try_open(&index_of_one, 1, &[tier("a", one.path())]).await.unwrap();
        std::fs::write(data.path().join(DATA_DIR_FILE), "cairn-format 1\n").unwrap();
        for path in [one.path(), data.path(), Path::new("/nowhere/at/all")] {
            let refused = try_open(&index(), 2, &[tier("b", path)]).await;
            assert!(matches!(refused, Err(TierError::Directory { .. })), "{}", path.display());
        }
    }

    #[tokio::test]
    async fn making_a_tier_that_was_cut_short_is_finished() {
        let index = index();
        let one = tempfile::tempdir().unwrap();
        let gone = one.path().join("not-mounted");
        assert!(try_open(&index, 1, &[tier("a", &gone)]).await.is_err());
        std::fs::create_dir(&gone).unwrap();
        std::fs::write(gone.join(TIER_MARKER), "cairn-ti").unwrap();
        let opened = try_open(&index, 2, &[tier("a", &gone)]).await.unwrap();
        assert_eq!(std::fs::read_to_string(gone.join(TIER_MARKER)).unwrap(), opened[0].marker);
    }
}
