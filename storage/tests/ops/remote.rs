//! A tier in another service: what goes there, comes back, is damaged there, or is left there.

mod settling;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_storage::StorageError;
use cairn_storage::blob::{BlobStore, Compression, Offload, Remote, RemoteBytes, RemoteError, RemoteFile, Tiers};
use cairn_storage::check;
use cairn_storage::clock::{ManualClock, SeededEntropy};
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::index::Index;
use cairn_storage::index::family::job::Queue;
use cairn_storage::index::family::usage::{self, PlaceCounter};
use cairn_storage::index::memory::MemoryIndex;
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::scan::{self, ScanOptions};
use cairn_storage::jobs::settle::{SettlePlanner, Settler};
use cairn_storage::object::StorageClass;
use cairn_storage::observe::Silent;
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::ops::planner::NoPlan;
use cairn_storage::ops::settle::Settled;
use cairn_storage::ops::{Bucket, CreateUpload, GetObject, PutObject, RangeRequest, Select};
use cairn_storage::tiers::{self, ConfiguredHome, ConfiguredTier, TierError};
use futures::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::lifecycle::{act, set_rules};
use super::rig::{Rig, START, TestKeys, body, bytes, drain, object_key, upload_of};

const LARGE: usize = 300_000;

/// A service in memory.
#[derive(Clone, Debug, Default)]
pub struct Fake(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    down: bool,
    /// It does not answer, which takes long to find out.
    silent: bool,
    asked: u32,
    /// What is put is stored, but the answer is lost.
    loses_answers: bool,
    /// How many files were put.
    puts: usize,
    /// How often bytes were asked for.
    gets: usize,
    /// What is to be stored is read, and then waits until it may be.
    gate: Option<Arc<Semaphore>>,
    waiting: usize,
}

impl Fake {
    fn up(&self) -> Result<parking_lot::MutexGuard<'_, State>, RemoteError> {
        let mut state = self.0.lock();
        state.asked += 1;
        if state.silent {
            return Err(RemoteError::Silent("nothing moves".to_owned()));
        }
        if state.down { Err(RemoteError::Down("the network is cut".to_owned())) } else { Ok(state) }
    }

    /// From now on as many files are stored as the gate lets pass.
    pub fn hold(&self) -> Arc<Semaphore> {
        self.0.lock().gate.insert(Arc::new(Semaphore::new(0))).clone()
    }

    /// Waits until something waits to be stored.
    pub async fn has_waiting(&self) {
        while self.0.lock().waiting == 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn pass(&self) {
        let Some(gate) = self.0.lock().gate.clone() else { return };
        self.0.lock().waiting += 1;
        gate.acquire().await.unwrap().forget();
        self.0.lock().waiting -= 1;
    }

    /// Something else is there now.
    pub fn replace(&self, name: &str, file: Vec<u8>) {
        self.0.lock().files.insert(name.to_owned(), file);
    }

    /// The files but for the marker.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.0.lock().files.clone();
        files.remove("cairn-tier").unwrap();
        files
    }
}

#[async_trait]
impl Remote for Fake {
    async fn put(&self, name: &str, file: &RemoteFile) -> Result<(), RemoteError> {
        drop(self.up()?);
        // In parts that begin and end anywhere.
        let mut stored = Vec::new();
        let mut start = 0;
        while start < file.length {
            let range = start..file.length.min(start + 70_001);
            start = range.end;
            let read: Result<Vec<Bytes>, StorageError> = (file.read)(range.clone()).try_collect().await;
            let read = read.map_err(|error| RemoteError::Source(Arc::new(error)))?.concat();
            assert_eq!(read.len() as u64, range.end - range.start);
            stored.extend(read);
        }
        self.pass().await;
        let mut state = self.up()?;
        state.puts += 1;
        state.files.insert(name.to_owned(), stored);
        if state.loses_answers { Err(RemoteError::Down("the answer was lost".to_owned())) } else { Ok(()) }
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<RemoteBytes, RemoteError> {
        self.0.lock().gets += 1;
        let file = self.up()?.files.get(name).cloned().ok_or(RemoteError::Missing)?;
        let found = file.get(range.start as usize..range.end as usize);
        let found = found.ok_or_else(|| RemoteError::Wrong("it is too short".to_owned()))?.to_vec();
        let pieces: Vec<_> = found.chunks(10_007).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Ok(Box::pin(futures::stream::iter(pieces)))
    }

    async fn get_end(&self, name: &str, bytes_max: u64) -> Result<(u64, RemoteBytes), RemoteError> {
        let length = self.0.lock().files.get(name).map_or(0, |file| file.len() as u64);
        Ok((length, self.get(name, length.saturating_sub(bytes_max)..length).await?))
    }

    async fn length(&self, name: &str) -> Result<u64, RemoteError> {
        self.up()?.files.get(name).map(|file| file.len() as u64).ok_or(RemoteError::Missing)
    }

    async fn get_small(&self, name: &str, _: usize) -> Result<Vec<u8>, RemoteError> {
        self.up()?.files.get(name).cloned().ok_or(RemoteError::Missing)
    }

    async fn put_small(&self, name: &str, bytes: Vec<u8>) -> Result<(), RemoteError> {
        self.up()?.files.insert(name.to_owned(), bytes);
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), RemoteError> {
        self.up()?.files.remove(name);
        Ok(())
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, RemoteError> {
        let state = self.up()?;
        let names = state.files.keys().filter(|name| name.starts_with(prefix) && Some(name.as_str()) > after);
        Ok(names.take(2).cloned().collect())
    }

    async fn end_uploads(&self) -> Result<(), RemoteError> {
        self.up().map(drop)
    }
}

/// A store whose GLACIER_IR is in the fake, or, with no classes, may still have files there.
async fn rig_with(index: Arc<dyn Index>, disk: &SimDisk, fake: &Fake, classes: &[StorageClass]) -> Rig {
    rig_that_compresses(index, disk, fake, classes, Compression::default()).await
}

/// As [`rig_with`].
pub async fn rig_that_compresses(
    index: Arc<dyn Index>,
    disk: &SimDisk,
    fake: &Fake,
    classes: &[StorageClass],
    compression: Compression,
) -> Rig {
    rig_of(index, disk, tier(ConfiguredHome::Remote(Arc::new(fake.clone())), classes), compression).await
}

fn tier(home: ConfiguredHome, classes: &[StorageClass]) -> ConfiguredTier {
    ConfiguredTier { name: "far".to_owned(), home, classes: classes.to_vec() }
}

async fn rig_of(index: Arc<dyn Index>, disk: &SimDisk, configured: ConfiguredTier, compression: Compression) -> Rig {
    let seed = configured.classes.len() as u64;
    let entropy = SeededEntropy::new(seed + 100);
    let tiers: Tiers = tiers::open(&index, &entropy, Offload::Inline, &[configured]).await.unwrap();
    let (health, clock) = (Health::default(), Arc::new(ManualClock::new(START)));
    let disk_of_store = Arc::new(disk.clone());
    let blobs = BlobStore::with_tiers(
        disk_of_store.clone(),
        tiers,
        compression,
        health.clone(),
        Arc::new(Silent),
        Offload::Inline,
    );
    let planner = Arc::new(SettlePlanner::new(blobs.clone(), Arc::new(NoPlan)));
    let rig = Rig::with_parts(index, blobs, disk_of_store, clock, (health, seed), planner);
    look(&rig).await;
    rig
}

pub async fn new_rig() -> (Rig, Fake, SimDisk) {
    let (disk, fake) = (SimDisk::new(), Fake::default());
    BlobStore::create_folders(&disk).unwrap();
    let index: Arc<dyn Index> = Arc::new(MemoryIndex::new(Health::default()));
    (rig_with(index, &disk, &fake, &[StorageClass::GlacierIr]).await, fake, disk)
}

async fn look(rig: &Rig) {
    for tier in rig.store.blobs().tiers() {
        rig.store.blobs().probe_remote(tier.place).await;
        rig.store.blobs().probe_tier(tier.place);
    }
}

pub async fn put(rig: &Rig, bucket: &Bucket, key: &str, content: &[u8]) {
    let put = PutObject { storage_class: StorageClass::GlacierIr, ..rig.put_of(body(content)) };
    rig.store.put_object(bucket, &object_key(key), put).await.unwrap();
}

pub async fn settle(rig: &Rig) -> usize {
    rig.clock.advance_ms(60_000);
    rig.run_due(&Settler).await
}

/// `collect_all`, whatever a tier that is down keeps from it.
async fn collect(rig: &Rig) -> usize {
    rig.clock.advance_ms(70_000);
    rig.run_due(&Collector).await
}

pub async fn is_whole(rig: &Rig) {
    let report = check::check(&rig.store, true, &mut |_| {}).await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_put_ends_up_in_the_other_service_and_is_read_from_there() {
    for sealed in [false, true] {
        let (mut rig, fake, _) = new_rig().await;
        rig.sealed = sealed;
        let bucket = rig.create_bucket("bucket").await;
        let content = bytes(1, LARGE);
        put(&rig, &bucket, "key", &content).await;
        put(&rig, &bucket, "small", b"in the index").await;
        assert_eq!((rig.files().len(), fake.files().len()), (1, 0), "what is acknowledged is on the disk");
        assert_eq!(settle(&rig).await, 0);
        rig.collect_all().await;
        assert_eq!((rig.files().len(), fake.files().len()), (0, 1));
        let stored = fake.files().into_values().next().unwrap();
        assert_eq!(stored.windows(100).any(|window| window == &content[1_000..1_100]), !sealed);
        assert_eq!(rig.get(&bucket, "key").await.unwrap(), content);
        for (first, last) in [(0, 0), (65_535, 65_536), (70_000, 200_000), (299_999, 299_999)] {
            let select = Select::Range(RangeRequest::From { first, last: Some(last) });
            let got = rig.get_with(&bucket, "key", GetObject { select, ..GetObject::default() }).await.unwrap();
            assert_eq!(got, content[first as usize..=last as usize], "{first}-{last}");
        }
        let place = rig.store.blobs().settled_place_of(StorageClass::GlacierIr);
        let counted = rig.store.index().view(bucket.id.into(), move |view| {
            Ok([
                usage::read_place(view, place, PlaceCounter::Files)?,
                usage::read_place(view, place, PlaceCounter::Bytes)?,
            ])
        });
        assert_eq!(counted.await.unwrap(), [1, stored.len() as i64]);
        is_whole(&rig).await;
        rig.delete(&bucket, "key").await;
        collect(&rig).await;
        assert!(fake.files().is_empty());
        is_whole(&rig).await;
    }
}

#[tokio::test]
async fn multipart_objects_go_there_and_back_again() {
    let (rig, fake, disk) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let upload = rig.create_upload(&bucket, "parts").await;
    let large = bytes(2, 5 << 20);
    let parts = [
        rig.upload_part(&bucket, "parts", upload, 1, &large).await.unwrap(),
        rig.upload_part(&bucket, "parts", upload, 2, &bytes(3, LARGE)).await.unwrap(),
    ];
    rig.complete(&bucket, "parts", upload, &parts).await.unwrap();
    let done = act(&rig, &bucket, "parts", 0, Act::Transition(StorageClass::GlacierIr)).await.unwrap();
    assert_eq!((done.done.len(), done.failed.len()), (1, 0));
    rig.collect_all().await;
    assert_eq!((rig.files().len(), fake.files().len()), (0, 2));
    let whole = [large, bytes(3, LARGE)].concat();
    assert_eq!(rig.get(&bucket, "parts").await.unwrap(), whole);
    is_whole(&rig).await;

    // The tier is retired.
    let rig = rig_with(rig.store.index().clone(), &disk, &fake, &[]).await;
    let bucket = rig.bucket("bucket").await.unwrap();
    let head = rig.store.head_object(&bucket, &object_key("parts"), GetObject::default()).await.unwrap();
    let settled = rig.store.settle_version(bucket.id, &object_key("parts"), head.object.version_id).await.unwrap();
    assert_eq!(settled, Settled::Moved(whole.len() as u64));
    rig.collect_all().await;
    assert_eq!((rig.files().len(), fake.files().len()), (2, 0));
    assert_eq!(rig.get(&bucket, "parts").await.unwrap(), whole);
    is_whole(&rig).await;
}

#[tokio::test]
async fn a_service_that_is_down_takes_only_its_own_objects_along() {
    let (rig, fake, _) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    put(&rig, &bucket, "there", &bytes(1, LARGE)).await;
    put(&rig, &bucket, "gone", &bytes(2, LARGE)).await;
    settle(&rig).await;
    rig.collect_all().await;
    fake.0.lock().down = true;
    // Before anybody has noticed, and after.
    for _ in 0..2 {
        let body = rig.open(&bucket, "there", GetObject::default(), &TestKeys::new(None)).await.unwrap();
        assert!(matches!(body.begun().await, Err(StorageError::TierDown { .. })));
        look(&rig).await;
    }
    put(&rig, &bucket, "new", &bytes(3, LARGE)).await;
    assert_eq!(rig.get(&bucket, "new").await.unwrap(), bytes(3, LARGE));
    rig.delete(&bucket, "gone").await;
    assert_eq!((settle(&rig).await, collect(&rig).await), (1, 1), "both wait");
    assert_eq!(rig.tasks(bucket.id.into(), Queue::Dead).await.len(), 0);

    fake.0.lock().down = false;
    look(&rig).await;
    assert_eq!((settle(&rig).await, collect(&rig).await), (0, 0));
    collect(&rig).await;
    assert_eq!((rig.files().len(), fake.files().len()), (0, 2));
    for (key, seed) in [("there", 1), ("new", 3)] {
        assert_eq!(rig.get(&bucket, key).await.unwrap(), bytes(seed, LARGE));
    }
    is_whole(&rig).await;
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_asked_by_the_next_reader() {
    let (rig, fake, _) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    put(&rig, &bucket, "there", &bytes(1, LARGE)).await;
    settle(&rig).await;
    rig.collect_all().await;
    fake.0.lock().silent = true;
    let read = async || {
        let before = fake.0.lock().asked;
        let body = rig.open(&bucket, "there", GetObject::default(), &TestKeys::new(None)).await.unwrap();
        assert!(matches!(body.begun().await, Err(StorageError::TierDown { .. })));
        fake.0.lock().asked - before
    };
    assert_eq!((read().await, read().await), (1, 0));
    fake.0.lock().silent = false;
    look(&rig).await;
    assert_eq!(rig.get(&bucket, "there").await.unwrap(), bytes(1, LARGE));
}

#[tokio::test]
async fn what_is_damaged_there_is_never_served() {
    for sealed in [false, true] {
        let (mut rig, fake, _) = new_rig().await;
        rig.sealed = sealed;
        let bucket = rig.create_bucket("bucket").await;
        let content = bytes(1, 150_000);
        put(&rig, &bucket, "key", &content).await;
        settle(&rig).await;
        let (name, stored) = fake.files().into_iter().next().unwrap();
        for at in (0..stored.len()).step_by(4_999).chain([9, 40, 4_097, 4_105]) {
            let mut damaged = stored.clone();
            damaged[at] ^= 0x10;
            fake.0.lock().files.insert(name.clone(), damaged);
            // The trailer is for rebuilding the index, and is not read.
            if let Ok(got) = rig.get(&bucket, "key").await {
                assert!(got == content, "byte {at}");
            }
        }
        for end in [0, 100, 4_096, 100_000] {
            fake.0.lock().files.insert(name.clone(), stored[..end].to_vec());
            assert!(matches!(rig.get(&bucket, "key").await, Err(StorageError::Corrupt { .. })), "cut at {end}");
        }
        let report = check::check(&rig.store, true, &mut |_| {}).await.unwrap();
        assert_eq!(report.findings_count, 1, "{:?}", report.findings);
        fake.0.lock().files.remove(&name);
        assert!(matches!(rig.get(&bucket, "key").await, Err(StorageError::Corrupt { .. })));
    }
}

#[tokio::test]
async fn what_a_lost_answer_leaves_there_is_found_and_goes() {
    let (rig, fake, _) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    put(&rig, &bucket, "key", &bytes(1, LARGE)).await;
    fake.0.lock().loses_answers = true;
    assert_eq!(settle(&rig).await, 1);
    fake.0.lock().loses_answers = false;
    // What is left is taken away at once, if that can be done.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(fake.files().is_empty());

    // As a crash leaves it: named as a content that no row names.
    assert_eq!(settle(&rig).await, 0);
    rig.collect_all().await;
    let (name, stored) = fake.files().into_iter().next().unwrap();
    let mut orphan = name.clone().into_bytes();
    orphan[20] = if orphan[20] == b'0' { b'1' } else { b'0' };
    let orphan = String::from_utf8(orphan).unwrap();
    fake.0.lock().files.insert(orphan.clone(), stored);
    fake.0.lock().files.insert("00/not-ours".to_owned(), Vec::new());
    let floor = scan::floor(&rig.store).await.unwrap();
    let options = ScanOptions { pause: Duration::ZERO };
    assert_eq!(scan::quarantine_orphans(&rig.store, floor, options).await.unwrap(), 1);
    assert!(fake.files().contains_key(&orphan), "it waits for a day");
    rig.clock.advance_ms(25 * 60 * 60 * 1_000);
    collect(&rig).await;
    let left: Vec<_> = fake.files().into_keys().collect();
    assert_eq!(left, ["00/not-ours".to_owned(), name]);
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(1, LARGE));
}

#[tokio::test]
async fn a_reader_in_flight_goes_on_while_its_object_moves_there() {
    let (rig, _, _) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    put(&rig, &bucket, "key", &bytes(1, LARGE)).await;
    let mut reading = rig.open(&bucket, "key", GetObject::default(), &TestKeys::new(None)).await.unwrap();
    let first = reading.next().await.unwrap().unwrap();
    settle(&rig).await;
    collect(&rig).await;
    let rest = drain(reading).await.unwrap();
    assert!([first.to_vec(), rest].concat() == bytes(1, LARGE));
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(1, LARGE));
}

/// A composite names the place of its class, but has no file of its own there.
#[tokio::test]
async fn a_tier_is_kept_by_files_and_not_by_parts_in_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let home = ConfiguredHome::Directory { path: directory.path().to_owned(), floor_bytes: 0 };
    let (disk, index) = (SimDisk::new(), Arc::new(MemoryIndex::new(Health::default())) as Arc<dyn Index>);
    BlobStore::create_folders(&disk).unwrap();
    let rig = rig_of(index.clone(), &disk, tier(home, &[StorageClass::GlacierIr]), Compression::default()).await;
    let bucket = rig.create_bucket("bucket").await;
    let open_without = async || tiers::open(&index, &SeededEntropy::new(9), Offload::Inline, &[]).await;
    put(&rig, &bucket, "file", &bytes(1, LARGE)).await;
    assert!(matches!(open_without().await, Err(TierError::InUse { bucket, .. }) if bucket == "bucket"));
    rig.delete(&bucket, "file").await;
    let create = CreateUpload { storage_class: StorageClass::GlacierIr, ..upload_of(None) };
    let upload = rig.store.create_upload(&bucket, &object_key("parts"), create).await.unwrap().id;
    let part = rig.upload_part(&bucket, "parts", upload, 1, b"small").await.unwrap();
    rig.complete(&bucket, "parts", upload, &[part]).await.unwrap();
    assert!(open_without().await.unwrap().directories.is_empty());
}
