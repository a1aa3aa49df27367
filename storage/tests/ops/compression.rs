//! Classes whose files are compressed: what operations make of them, and what a move does not.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::blob::{BlobStore, Compression, Offload, Tiers};
use cairn_storage::check;
use cairn_storage::clock::{ManualClock, Timestamp};
use cairn_storage::disk::Disk;
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::id::ContentId;
use cairn_storage::index::Index;
use cairn_storage::index::memory::{Fault, MemoryIndex};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::scan::{self, ScanOptions};
use cairn_storage::object::StorageClass;
use cairn_storage::observe::Silent;
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::ops::{Bucket, GetObject, PutObject, RangeRequest, Select};

use super::copies::{copy, plain_copy};
use super::lifecycle::{act, set_rules};
use super::remote::{Fake, is_whole, put, rig_that_compresses, settle};
use super::rig::{Rig, START, body, object_key};

const LARGE: usize = 400_000;

/// Bytes of the header of a file, and of the header of a frame.
const HEADER_BYTES: usize = 4_096;
const FRAME_HEADER_BYTES: usize = 16;

/// What shrinks to a third, a chunk that does not shrink, and what shrinks again.
fn content(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut all: Vec<u8> =
        (0..7_000).flat_map(|_| format!("line {} of a log; ", next() % 10_000).into_bytes()).collect();
    all.truncate(2 << 16);
    all.extend((0..8_192).flat_map(|_| next().to_be_bytes()));
    while all.len() < LARGE {
        all.extend(format!("line {} of a log; ", next() % 10_000).into_bytes());
    }
    all.truncate(LARGE);
    all
}

fn standard() -> Compression {
    Compression::new(vec![StorageClass::Standard], 3)
}

fn over(index: Arc<MemoryIndex>, disk: &SimDisk, compression: Compression, health: Health, seed: u64) -> Rig {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let tiers = Tiers::default();
    let blobs =
        BlobStore::with_tiers(disk.clone(), tiers, compression, health.clone(), Arc::new(Silent), Offload::Inline);
    Rig::with_blobs(index, blobs, disk, Arc::new(ManualClock::new(START)), health, seed)
}

/// A rig whose STANDARD is compressed, and what it is over.
fn rig() -> (Rig, Arc<MemoryIndex>, SimDisk) {
    let disk = SimDisk::new();
    BlobStore::create_folders(&disk).unwrap();
    let health = Health::default();
    let index = Arc::new(MemoryIndex::new(health.clone()));
    (over(index.clone(), &disk, standard(), health, 1), index, disk)
}

/// The bytes of the only file.
fn only_file(rig: &Rig, disk: &SimDisk) -> Vec<u8> {
    let files = rig.files();
    assert_eq!(files.len(), 1, "{files:?}");
    let name = files[0].to_string();
    let folder = &name[30..];
    let in_classes = format!("classes/GLACIER_IR/{folder}/{name}");
    let paths = [format!("blobs/{folder}/{name}"), in_classes];
    paths.iter().find_map(|path| disk.contents(path.as_ref())).unwrap()
}

/// The payloads of a file's frames, one after the other.
fn payloads(file: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    let mut rest = &file[HEADER_BYTES..];
    loop {
        let (header, after) = rest.split_at(FRAME_HEADER_BYTES);
        let length = u32::from_be_bytes(header[..4].try_into().unwrap()) & !(1 << 31);
        let (payload, after) = after.split_at(length as usize);
        payloads.push(payload);
        if header[4] & 0x80 != 0 {
            return payloads;
        }
        rest = after;
    }
}

async fn ranges_are_right(rig: &Rig, bucket: &Bucket, key: &str, whole: &[u8]) {
    assert!(rig.get(bucket, key).await.unwrap() == whole);
    let last = whole.len() as u64 - 1;
    for (first, last) in [(0, 0), (65_535, 65_536), (70_000, 200_000), (131_072, 131_073), (last, last)] {
        let select = Select::Range(RangeRequest::From { first, last: Some(last) });
        let got = rig.get_with(bucket, key, GetObject { select, ..GetObject::default() }).await.unwrap();
        assert!(got == whole[first as usize..=last as usize], "{first}-{last}");
    }
}

#[tokio::test]
async fn a_transition_carries_chunks_as_they_are() {
    for sealed in [false, true] {
        let (mut rig, index, disk) = rig();
        rig.sealed = sealed;
        let bucket = rig.create_bucket("bucket").await;
        set_rules(&rig, &bucket).await.unwrap();
        let content = content(1);
        let put = rig.put(&bucket, "key", &content).await;
        assert_eq!(put.size_bytes, content.len() as u64);
        let before = only_file(&rig, &disk);
        assert!(before.len() < content.len() * 2 / 3, "{} bytes", before.len());

        // The class that it goes to is not compressed, nor any other from now on.
        let mut rig = over(index, &disk, Compression::default(), Health::default(), 2);
        rig.sealed = sealed;
        act(&rig, &bucket, "key", 0, Act::Transition(StorageClass::GlacierIr)).await.unwrap();
        rig.collect_all().await;
        let after = only_file(&rig, &disk);
        assert_eq!(after.len(), before.len());
        assert!(payloads(&after) == payloads(&before) && after != before);
        ranges_are_right(&rig, &bucket, "key", &content).await;
        is_whole(&rig).await;

        // Back into a class that is compressed: still as it is.
        act(&rig, &bucket, "key", 0, Act::Transition(StorageClass::Standard)).await.unwrap();
        rig.collect_all().await;
        assert!(payloads(&only_file(&rig, &disk)) == payloads(&before));
    }
}

#[tokio::test]
async fn what_is_not_compressed_stays_so_when_it_moves_to_a_class_that_is() {
    let (rig, _, disk) = rig();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let put = PutObject { storage_class: StorageClass::GlacierIr, ..rig.put_of(body(&content(1))) };
    rig.store.put_object(&bucket, &object_key("key"), put).await.unwrap();
    let before = only_file(&rig, &disk);
    assert!(before.len() > LARGE);
    act(&rig, &bucket, "key", 0, Act::Transition(StorageClass::Standard)).await.unwrap();
    rig.collect_all().await;
    assert!(payloads(&only_file(&rig, &disk)) == payloads(&before));
    ranges_are_right(&rig, &bucket, "key", &content(1)).await;
    is_whole(&rig).await;
}

#[tokio::test]
async fn parts_copies_and_inline_contents_come_back() {
    let (rig, _, disk) = rig();
    let (bucket, other) = (rig.create_bucket("bucket").await, rig.create_bucket("other").await);
    let large = content(2).repeat(14);
    let upload = rig.create_upload(&bucket, "parts").await;
    let parts = [
        rig.upload_part(&bucket, "parts", upload, 1, &large).await.unwrap(),
        rig.upload_part(&bucket, "parts", upload, 2, &content(3)).await.unwrap(),
    ];
    rig.complete(&bucket, "parts", upload, &parts).await.unwrap();
    let whole = [large, content(3)].concat();
    ranges_are_right(&rig, &bucket, "parts", &whole).await;
    let stored: usize = rig.files().iter().map(|id| stored(&disk, id).len()).sum();
    assert!(stored < whole.len() * 2 / 3, "{stored} bytes");
    copy(&rig, (&bucket, "parts"), (&other, "copy"), plain_copy()).await.unwrap();
    ranges_are_right(&rig, &other, "copy", &whole).await;
    // Inline contents are left to the database.
    rig.put(&bucket, "small", &[0; 90]).await;
    assert_eq!(rig.get(&bucket, "small").await.unwrap(), [0; 90]);
    is_whole(&rig).await;
}

fn stored(disk: &SimDisk, id: &ContentId) -> Vec<u8> {
    let name = id.to_string();
    disk.contents(format!("blobs/{}/{name}", &name[30..]).as_ref()).unwrap()
}

#[tokio::test]
async fn a_check_finds_a_compressed_file_that_is_damaged() {
    let (rig, _, disk) = rig();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &content(1)).await;
    let name = rig.files()[0].to_string();
    let path = format!("blobs/{}/{name}", &name[30..]);
    let mut file = disk.contents(path.as_ref()).unwrap();
    // In the table, which is before the trailer.
    let at = file.len() - 300;
    file[at] ^= 1;
    disk.set_contents(path.as_ref(), file);
    let report = check::check(&rig.store, true, &mut |_| {}).await.unwrap();
    assert_eq!(report.findings_count, 1, "{:?}", report.findings);
}

#[tokio::test]
async fn compressed_files_go_to_another_service_and_come_back() {
    let (disk, fake) = (SimDisk::new(), Fake::default());
    BlobStore::create_folders(&disk).unwrap();
    let index: Arc<dyn Index> = Arc::new(MemoryIndex::new(Health::default()));
    let (class, compression) = (StorageClass::GlacierIr, Compression::new(vec![StorageClass::GlacierIr], 3));
    let mut rig = rig_that_compresses(index.clone(), &disk, &fake, &[class], compression).await;
    for sealed in [false, true] {
        rig.sealed = sealed;
        let name = if sealed { "sealed" } else { "plain" };
        let bucket = rig.create_bucket(name).await;
        let content = content(5);
        put(&rig, &bucket, "key", &content).await;
        let here = rig.files().len();
        assert_eq!((settle(&rig).await, here), (0, 1));
        rig.collect_all().await;
        assert!(rig.files().is_empty());
        ranges_are_right(&rig, &bucket, "key", &content).await;
        is_whole(&rig).await;
    }
    assert!(fake.files().values().all(|file| file.len() < LARGE * 2 / 3));

    // The tier is retired by a server that compresses nothing.
    let rig = rig_that_compresses(index, &disk, &fake, &[], Compression::default()).await;
    for name in ["plain", "sealed"] {
        let bucket = rig.bucket(name).await.unwrap();
        let head = rig.store.head_object(&bucket, &object_key("key"), GetObject::default()).await.unwrap();
        rig.store.settle_version(bucket.id, &object_key("key"), head.object.version_id).await.unwrap();
        rig.collect_all().await;
        ranges_are_right(&rig, &bucket, "key", &content(5)).await;
    }
    assert_eq!((rig.files().len(), fake.files().len()), (2, 0));
    is_whole(&rig).await;
}

#[tokio::test]
async fn a_compressed_file_that_is_damaged_in_another_service_is_never_served() {
    let (disk, fake) = (SimDisk::new(), Fake::default());
    BlobStore::create_folders(&disk).unwrap();
    let index: Arc<dyn Index> = Arc::new(MemoryIndex::new(Health::default()));
    let (class, compression) = (StorageClass::GlacierIr, Compression::new(vec![StorageClass::GlacierIr], 3));
    let rig = rig_that_compresses(index, &disk, &fake, &[class], compression).await;
    let bucket = rig.create_bucket("bucket").await;
    let content = content(6);
    put(&rig, &bucket, "key", &content).await;
    settle(&rig).await;
    let (name, stored) = fake.files().into_iter().next().unwrap();
    let near_end = (stored.len() - 400..stored.len()).step_by(3);
    for at in (0..stored.len()).step_by(4_999).chain([9, 40, 4_097, 4_105]).chain(near_end) {
        let mut damaged = stored.clone();
        damaged[at] ^= 0x10;
        fake.replace(&name, damaged);
        if let Ok(got) = rig.get(&bucket, "key").await {
            assert!(got == content, "byte {at}");
        }
    }
    for end in [0, 100, 4_096, 100_000, stored.len() - 1] {
        fake.replace(&name, stored[..end].to_vec());
        assert!(matches!(rig.get(&bucket, "key").await, Err(StorageError::Corrupt { .. })), "cut at {end}");
    }
}

/// The first calls that change the disk, or commit, of a transition are followed by a power cut.
#[tokio::test]
async fn a_power_cut_in_a_transition_of_a_compressed_file_loses_nothing() {
    let content = content(7);
    let mut cuts_seen = 0;
    for at_commit in [None, Some(Fault::UnknownLost), Some(Fault::UnknownWritten)] {
        for step in 0.. {
            let (rig, index, disk) = rig();
            let bucket = rig.create_bucket("bucket").await;
            set_rules(&rig, &bucket).await.unwrap();
            rig.put(&bucket, "key", &content).await;
            match at_commit {
                None => disk.crash_after(disk.mutations() + step),
                Some(fault) => index.fail_after(step, fault),
            }
            let done = act(&rig, &bucket, "key", 0, Act::Transition(StorageClass::GlacierIr)).await;
            let was_cut = done.map_or(true, |done| done.done.is_empty());
            let snapshot = index.snapshot();
            for seed in 0..20 {
                let health = Health::default();
                let index = Arc::new(MemoryIndex::from_snapshot(snapshot.clone(), health.clone()));
                let rig = over(index, &disk.crash_state(seed).disk, standard(), health, 2);
                rig.store.recover().await.unwrap();
                assert!(rig.get(&bucket, "key").await.unwrap() == content, "{at_commit:?}, step {step}, seed {seed}");
                scan::quarantine_orphans(&rig.store, Timestamp(0), ScanOptions { pause: std::time::Duration::ZERO })
                    .await
                    .unwrap();
                rig.try_run_due(&Collector).await.unwrap();
                assert!(rig.get(&bucket, "key").await.unwrap() == content);
            }
            cuts_seen += usize::from(was_cut);
            if !was_cut {
                break;
            }
        }
    }
    assert!(cuts_seen >= 6, "only {cuts_seen} cuts");
}
