//! Power cuts under the blob store: what a commit names is whole afterwards, and what no commit names can be collected.
//!
//! The index here is a list that a power cut cannot touch, and a content joins it only after `finish` has returned, as
//! the real index's commit does. The disk is simulated: after every mutating call of a small workload, the test takes
//! many of the states in which a power cut may leave it. The last two tests plant a missing sync and expect a loss,
//! which shows that the first would notice.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use cairn_crypto::secret::DataKey;
use cairn_storage::StorageError;
use cairn_storage::blob::{BlobDescription, BlobStore, BlobTrailer, Compression, Offload, StoredBlob, Tiers};
use cairn_storage::clock::Timestamp;
use cairn_storage::disk::sim::{Call, SimDisk};
use cairn_storage::health::Health;
use cairn_storage::id::{BucketId, ContentId};
use cairn_storage::object::{Etag, StorageClass};
use cairn_storage::observe::Silent;
use futures::{FutureExt as _, StreamExt as _};

/// Distinct states that the test must have seen.
const STATES_COUNT_MIN: usize = 100_000;

/// States tried at each crash point, and how many in a row may be known before the point counts as explored.
const SEEDS_PER_POINT: u64 = 10_000;
const KNOWN_IN_A_ROW_MAX: usize = 200;

fn store(disk: &SimDisk) -> BlobStore {
    let (disk, compression) = (Arc::new(disk.clone()), Compression::new(vec![StorageClass::OnezoneIa], 3));
    BlobStore::with_tiers(disk, Tiers::default(), compression, Health::default(), Arc::new(Silent), Offload::Inline)
}

fn content(number: u8) -> ContentId {
    // Two folders, so that contents share one.
    let mut bytes = [number; 16];
    bytes[15] = number % 2;
    ContentId::from_bytes(bytes)
}

fn key() -> DataKey {
    DataKey::from_bytes([9; 32])
}

fn body(number: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(number)).collect()
}

/// What survives every power cut: the index's rows and the bodies they stand for.
#[derive(Default)]
struct Index(Vec<(StoredBlob, bool, Vec<u8>)>);

/// A content to write: number, length, sealed, and where its body is cut into two appends.
type Write = (u8, usize, bool, usize);

/// Contents whose writers run at the same time, pair by pair.
const PAIRS: [[Write; 2]; 4] = [
    [(1, 700, false, 0), (2, 66_000, false, 65_700)],
    [(3, 1_300, true, 600), (5, 40, false, 20)],
    [(4, 2_000, false, 2_000), (6, 900, true, 1)],
    [(7, 5_000, false, 1), (8, 300, true, 299)],
];

/// Writes contents, replaces some as the collector would, and drops a writer halfway. Ends at the first error, which
/// is the power cut.
fn work(store: &BlobStore, index: &mut Index) -> Result<(), StorageError> {
    for pair in PAIRS {
        let mut writers = Vec::new();
        for (number, length, sealed, cut) in pair {
            let body = Bytes::from(body(number, length));
            let mut writer = begin(store, number, sealed)?;
            writer.append(&[body.slice(..cut)])?;
            writers.push((writer, body, sealed, cut));
        }
        for (writer, body, _, cut) in &mut writers {
            writer.append(&[body.slice(*cut..)])?;
        }
        for (writer, body, sealed, _) in writers {
            let blob = writer.finish(trailer())?;
            index.0.push((blob, sealed, body.to_vec()));
        }
        if index.0.len() > 3 {
            // Un-indexed first, unlinked afterwards.
            let (gone, ..) = index.0.remove(0);
            store.unlink_blocking(gone.content)?;
        }
    }
    let mut aborted = begin(store, 9, false)?;
    aborted.append(&[Bytes::from(body(9, 500))])?;
    drop(aborted);
    store.quarantine_blocking(index.0.remove(0).0.content)
}

fn begin(store: &BlobStore, number: u8, sealed: bool) -> Result<cairn_storage::blob::BlobWriter, StorageError> {
    let bucket = BucketId::from_bytes([1; 16]);
    let description = BlobDescription { bucket, key: "key".to_owned(), part: None, created: Timestamp(1) };
    // Two of them are compressed.
    let class = if matches!(number, 4 | 7) { StorageClass::OnezoneIa } else { StorageClass::Standard };
    store.create_blocking(content(number), description, class, None, sealed.then(key).as_ref())
}

fn trailer() -> BlobTrailer {
    let etag = Etag { digest: [4; 16], parts_count: 0 };
    BlobTrailer { created: Timestamp(1), attributes: Vec::new(), etag, checksum: None }
}

/// What is wrong with the disk after a power cut, if anything.
fn violation(disk: &SimDisk, index: &Index) -> Option<String> {
    let store = store(disk);
    for (blob, sealed, body) in &index.0 {
        match read(&store, blob, *sealed) {
            Ok(bytes) if bytes == *body => {}
            Ok(_) => return Some(format!("{}: wrong bytes", blob.content)),
            Err(error) => return Some(error.to_string()),
        }
    }
    uncollectable(&store, index)
}

fn read(store: &BlobStore, blob: &StoredBlob, sealed: bool) -> Result<Vec<u8>, StorageError> {
    let reading = async {
        let key = sealed.then(key);
        let reader = store.open(blob.content, blob.plain_length, blob.seal, key.as_ref()).await?;
        let mut stream = reader.stream(0..blob.plain_length);
        let mut bytes = Vec::with_capacity(blob.plain_length as usize);
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    };
    reading.now_or_never().expect("nothing waits on a simulated disk")
}

/// Files that no row names must be found by the scan and be removable, whatever their contents are.
fn uncollectable(store: &BlobStore, index: &Index) -> Option<String> {
    let known: HashSet<ContentId> = index.0.iter().map(|(blob, ..)| blob.content).collect();
    for folder in [0, 1] {
        let listing = store.list_blocking(folder).unwrap();
        if !listing.strangers.is_empty() {
            return Some(format!("strangers: {:?}", listing.strangers));
        }
        for garbage in listing.contents.into_iter().filter(|content| !known.contains(content)) {
            // Looking at it must not panic; whether it is whole does not matter.
            let _ = store.verify_blocking(garbage, None, &mut |_| Ok(()));
            store.unlink_blocking(garbage).unwrap();
        }
        if store.list_blocking(folder).unwrap().contents.iter().any(|content| !known.contains(content)) {
            return Some("garbage stays".to_owned());
        }
    }
    None
}

/// A new disk with its folders in place, that forgets to do what `skipped` names.
fn new_disk(skipped: Option<Call>) -> SimDisk {
    let disk = SimDisk::new();
    BlobStore::create_folders(&disk).unwrap();
    if let Some(call) = skipped {
        disk.skip_sync(call);
    }
    disk
}

/// Runs the workload up to every mutating call and looks at many states of each; returns the number of distinct
/// states, or the first violation.
fn explore(skipped: Option<Call>) -> Result<usize, String> {
    let disk = new_disk(skipped);
    let first = disk.mutations();
    work(&store(&disk), &mut Index::default()).unwrap();
    let last = disk.mutations();
    let mut states = HashSet::new();
    for point in first..=last {
        let disk = new_disk(skipped);
        disk.crash_after(point);
        let mut index = Index::default();
        let _ = work(&store(&disk), &mut index);
        let mut known_in_a_row = 0;
        for seed in 0..SEEDS_PER_POINT {
            let crash = disk.crash_state(seed);
            if !states.insert((point, crash.choices)) {
                known_in_a_row += 1;
                if known_in_a_row > KNOWN_IN_A_ROW_MAX {
                    break;
                }
                continue;
            }
            known_in_a_row = 0;
            if let Some(violation) = violation(&crash.disk, &index) {
                return Err(format!("power cut after call {point}, seed {seed}: {violation}"));
            }
        }
    }
    Ok(states.len())
}

#[test]
fn every_committed_content_survives_every_power_cut() {
    let states_count = explore(None).unwrap();
    println!("{states_count} distinct crash states");
    assert!(states_count >= STATES_COUNT_MIN, "only {states_count} states");
}

#[test]
fn a_missing_sync_of_the_file_is_noticed() {
    let violation = explore(Some(Call::SyncData)).unwrap_err();
    println!("{violation}");
}

#[test]
fn a_missing_sync_of_the_folder_is_noticed() {
    let violation = explore(Some(Call::SyncDir)).unwrap_err();
    println!("{violation}");
}
