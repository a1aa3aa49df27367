//! A store over parts that tests control, and short ways to do to it what clients do.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_crypto::customer_key::CustomerKeyWrap;
use cairn_crypto::issued_key::IssuedKeyWrap;
use cairn_crypto::secret::{CustomerKey, DataKey, StoreKey};
use cairn_crypto::store_key::Keyring;
use cairn_crypto::wrap::{KeyWrap, WrapContext, WrapError};
use cairn_storage::StorageError;
use cairn_storage::blob::{BlobStore, Offload};
use cairn_storage::clock::{Clock as _, ManualClock, SeededEntropy, Timestamp};
use cairn_storage::disk::Disk;
use cairn_storage::disk::sim::SimDisk;
use cairn_storage::encryption::{Encryption, EncryptionMode, Keys, Sealing, UnderKms};
use cairn_storage::health::Health;
use cairn_storage::id::{AccountId, ContentId, UploadId, VersionId};
use cairn_storage::index::family::bucket::{self, BucketRecord, ObjectOwnership, Versioning};
use cairn_storage::index::family::head::SeenHead;
use cairn_storage::index::family::job::{self, JobRecord, Queue};
use cairn_storage::index::family::usage::{self, Counter};
use cairn_storage::index::memory::MemoryIndex;
use cairn_storage::index::{Batch, Family, Index, KeyRange, Outcome, Partition};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::forget_upload::ForgetUpload;
use cairn_storage::jobs::{Handler, Verdict};
use cairn_storage::object::{ObjectAttributes, ObjectKey, ObjectVersion, StorageClass};
use cairn_storage::observe::Silent;
use cairn_storage::ops::planner::{NoPlan, Planner};
use cairn_storage::ops::{
    Body, Bucket, BucketName, CompleteUpload, CreateUpload, DeclaredChecksum, DeleteOutcome, GetObject, Governance,
    Limits, NamedPart, NewBucket, ObjectBody, Part, Permit, Powers, PutObject, Store, StoreParts, VersionSelector,
    WriteConditions,
};
use cairn_storage::record::Record as _;
use cairn_storage::settings::{ObjectSettings, Retention};
use futures::StreamExt as _;

/// Contents up to this size live in the index: small, so that files are cheap to make.
pub const INLINE_BYTES_MAX: usize = 64;

/// A content that becomes a file.
pub const FILE_BYTES: usize = 300;

/// When tests begin.
pub const START: Timestamp = Timestamp(1_700_000_000_000);

/// Rounds of the collector before a test gives up on it; each round lets all retries fall due.
const ROUNDS_MAX: usize = 20;

/// Longer than any task waits for a pin.
const ROUND_MS: u32 = 10_000;

pub struct Rig {
    pub store: Store,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<ManualClock>,
    pub health: Health,
    /// Whether what is put without another word is sealed under the server's key.
    pub sealed: bool,
}

/// The keys of the tests' server, and a customer's.
#[derive(Debug)]
pub struct TestKeys {
    server: Arc<Keyring>,
    customer: Option<CustomerKeyWrap>,
}

impl TestKeys {
    /// What a request brings that has a customer's key, or none.
    pub fn new(customer: Option<u8>) -> Self {
        let server = Arc::new(Keyring::new(vec![StoreKey::from_bytes([7; 32])]).unwrap());
        Self { server, customer: customer.map(customer_wrap) }
    }
}

#[async_trait]
impl Keys for TestKeys {
    async fn open(
        &self,
        encryption: Option<&Encryption>,
        context: WrapContext<'_>,
    ) -> Result<Option<DataKey>, StorageError> {
        let wrap: &dyn KeyWrap = match (encryption.map(|encryption| encryption.mode), &self.customer) {
            (None, None) => return Ok(None),
            (Some(EncryptionMode::S3), None) => self.server.as_ref(),
            (Some(EncryptionMode::Customer), Some(customer)) => customer,
            (Some(EncryptionMode::Customer), None) => return Err(StorageError::KeyMissing),
            (_, Some(_)) => return Err(StorageError::KeyNeedless),
            (Some(EncryptionMode::Kms | EncryptionMode::KmsDsse), None) => {
                &issued_wrap(&encryption.unwrap().kms.as_ref().unwrap().envelope)
            }
        };
        let wrapped = encryption.unwrap().wrapped()?;
        wrap.unwrap(&wrapped, &context).map(Some).map_err(|error| match error {
            WrapError::WrongCustomerKey => StorageError::KeyWrong,
            error => StorageError::KeyUnusable { what: error.to_string() },
        })
    }
}

fn customer_wrap(byte: u8) -> CustomerKeyWrap {
    CustomerKeyWrap::new(CustomerKey::from_bytes([byte; 32]))
}

/// The keys of a request that brings none.
pub fn keys() -> Arc<dyn Keys> {
    Arc::new(TestKeys::new(None))
}

/// A seal under the server's key.
pub fn server_sealing() -> Sealing {
    Sealing::new(EncryptionMode::S3, TestKeys::new(None).server).unwrap()
}

/// A seal under a customer's key.
pub fn customer_sealing(byte: u8) -> Sealing {
    Sealing::new(EncryptionMode::Customer, Arc::new(customer_wrap(byte))).unwrap()
}

/// A seal under a key that a KMS issued. The envelope of this one shows its key.
pub fn kms_sealing(mode: EncryptionMode, number: u8) -> Sealing {
    let envelope = DataKey::generate().unwrap().expose().to_vec();
    let kms = UnderKms {
        key_arn: format!("arn:aws:kms:us-east-1:100000000011:key/{number}"),
        context: Default::default(),
        bucket_key: false,
        envelope: envelope.clone(),
    };
    Sealing::under_kms(mode, Arc::new(issued_wrap(&envelope)), kms).unwrap()
}

fn issued_wrap(envelope: &[u8]) -> IssuedKeyWrap {
    IssuedKeyWrap::new(DataKey::from_bytes(envelope.try_into().unwrap()))
}

impl Rig {
    /// An empty store over an index in memory and a simulated disk.
    pub fn new() -> Self {
        Self::planning(Arc::new(NoPlan))
    }

    /// The same with this planner.
    pub fn planning(planner: Arc<dyn Planner>) -> Self {
        let disk = Arc::new(SimDisk::new());
        BlobStore::create_folders(disk.as_ref()).unwrap();
        let health = Health::default();
        let index = Arc::new(MemoryIndex::new(health.clone()));
        let blobs = BlobStore::new(disk.clone(), health.clone(), Arc::new(Silent), Offload::Inline);
        Self::with_parts(index, blobs, disk, Arc::new(ManualClock::new(START)), (health, 1), planner)
    }

    /// A store over these parts; `seed` must differ from one life of the same data to the next.
    pub fn over(
        index: Arc<dyn Index>,
        disk: Arc<dyn Disk>,
        clock: Arc<ManualClock>,
        health: Health,
        seed: u64,
    ) -> Self {
        let blobs = BlobStore::new(disk.clone(), health.clone(), Arc::new(Silent), Offload::Inline);
        Self::with_blobs(index, blobs, disk, clock, health, seed)
    }

    /// As [`Rig::over`] with a blob store that the caller has made.
    pub fn with_blobs(
        index: Arc<dyn Index>,
        blobs: BlobStore,
        disk: Arc<dyn Disk>,
        clock: Arc<ManualClock>,
        health: Health,
        seed: u64,
    ) -> Self {
        Self::with_parts(index, blobs, disk, clock, (health, seed), Arc::new(NoPlan))
    }

    /// As [`Rig::with_blobs`] with this planner.
    pub fn with_parts(
        index: Arc<dyn Index>,
        blobs: BlobStore,
        disk: Arc<dyn Disk>,
        clock: Arc<ManualClock>,
        (health, seed): (Health, u64),
        planner: Arc<dyn Planner>,
    ) -> Self {
        let parts = StoreParts {
            index,
            blobs,
            health: health.clone(),
            clock: clock.clone(),
            entropy: Arc::new(SeededEntropy::new(seed)),
            planner,
            limits: Limits { inline_threshold_bytes: INLINE_BYTES_MAX },
        };
        Self { store: Store::new(parts), disk, clock, health, sealed: false }
    }

    /// What the next process finds: the same index and disk, and nothing that was in memory.
    pub async fn restart(self, seed: u64) -> Self {
        let Self { store, disk, clock, sealed, .. } = self;
        let mut rig = Self::over(store.index().clone(), disk, clock, Health::default(), seed);
        rig.sealed = sealed;
        rig.store.recover().await.unwrap();
        rig
    }

    pub async fn create_bucket(&self, name: &str) -> Bucket {
        self.try_create_bucket(name).await.unwrap()
    }

    pub async fn try_create_bucket(&self, name: &str) -> Result<Bucket, StorageError> {
        self.store.create_bucket(new_bucket(name, false)).await
    }

    /// A bucket with object lock.
    pub async fn create_lock_bucket(&self, name: &str) -> Bucket {
        self.store.create_bucket(new_bucket(name, true)).await.unwrap()
    }

    pub async fn bucket(&self, name: &str) -> Result<Bucket, StorageError> {
        self.store.bucket(&bucket_name(name)).await
    }

    pub async fn set_versioning(&self, bucket: &Bucket, versioning: Versioning) -> Bucket {
        self.try_set_versioning(bucket, versioning).await.unwrap();
        self.store.bucket(&bucket.name).await.unwrap()
    }

    /// Sets the versioning as the API will: by a guarded change of the bucket's row.
    pub async fn try_set_versioning(&self, bucket: &Bucket, versioning: Versioning) -> Result<(), StorageError> {
        let index = self.store.index();
        loop {
            let row = index.view(bucket.id.into(), |view| view.get(Family::Bucket, bucket::KEY)).await?;
            let row = row.ok_or(StorageError::NoSuchBucket)?;
            let record = BucketRecord { versioning, ..BucketRecord::from_value(&row.value)? };
            let mut batch = Batch::new();
            batch.guard(Family::Bucket, bucket::KEY, Some(row.revision));
            batch.put(Family::Bucket, bucket::KEY, record.to_value()?);
            if let Outcome::Committed(_) = index.commit(bucket.id.into(), batch).await {
                return Ok(());
            }
        }
    }

    /// How what is put without another word is sealed.
    pub fn sealing(&self) -> Option<Sealing> {
        self.sealed.then(server_sealing)
    }

    pub fn put_of(&self, body: Body) -> PutObject {
        PutObject { sealing: self.sealing(), ..put_of(body) }
    }

    pub async fn put(&self, bucket: &Bucket, key: &str, bytes: &[u8]) -> ObjectVersion {
        self.try_put(bucket, key, bytes).await.unwrap()
    }

    pub async fn try_put(&self, bucket: &Bucket, key: &str, bytes: &[u8]) -> Result<ObjectVersion, StorageError> {
        self.store.put_object(bucket, &object_key(key), self.put_of(body(bytes))).await
    }

    pub async fn try_put_body(&self, bucket: &Bucket, key: &str, body: Body) -> Result<ObjectVersion, StorageError> {
        self.store.put_object(bucket, &object_key(key), self.put_of(body)).await
    }

    pub async fn get(&self, bucket: &Bucket, key: &str) -> Result<Vec<u8>, StorageError> {
        self.get_with(bucket, key, GetObject::default()).await
    }

    pub async fn get_version(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionSelector,
    ) -> Result<Vec<u8>, StorageError> {
        self.get_with(bucket, key, GetObject { version, ..GetObject::default() }).await
    }

    pub async fn get_with(&self, bucket: &Bucket, key: &str, get: GetObject) -> Result<Vec<u8>, StorageError> {
        drain(self.open(bucket, key, get, &TestKeys::new(None)).await?).await
    }

    /// An object's bytes, unlocked with what a request brings.
    pub async fn open(
        &self,
        bucket: &Bucket,
        key: &str,
        get: GetObject,
        keys: &TestKeys,
    ) -> Result<ObjectBody, StorageError> {
        let key = object_key(key);
        let read = self.store.get_object(bucket, &key, get).await?;
        let context = read.object.wrap_context(bucket.id, &key);
        let data_key = keys.open(read.object.encryption.as_ref(), context).await?;
        Ok(read.body.unlocked(data_key))
    }

    pub async fn delete(&self, bucket: &Bucket, key: &str) -> DeleteOutcome {
        self.delete_version(bucket, key, VersionSelector::Newest).await.unwrap()
    }

    pub async fn delete_version(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionSelector,
    ) -> Result<DeleteOutcome, StorageError> {
        self.delete_version_as(bucket, key, version, Governance::Heeded).await
    }

    pub async fn delete_version_as(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionSelector,
        powers: impl Into<Powers>,
    ) -> Result<DeleteOutcome, StorageError> {
        let (key, conditions) = (object_key(key), WriteConditions::default());
        self.store.delete_object(bucket, &key, version, &conditions, powers, owner()).await
    }

    /// Puts an object with a lock of its own.
    pub async fn put_locked(
        &self,
        bucket: &Bucket,
        key: &str,
        bytes: &[u8],
        settings: ObjectSettings,
    ) -> Result<ObjectVersion, StorageError> {
        self.store.put_object(bucket, &object_key(key), PutObject { settings, ..self.put_of(body(bytes)) }).await
    }

    pub async fn set_retention(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionSelector,
        retention: Option<Retention>,
        governance: Governance,
    ) -> Result<ObjectVersion, StorageError> {
        let (key, permit) = (object_key(key), Permit::any());
        self.store.set_retention(bucket, &key, version, &permit, retention, governance).await
    }

    pub async fn set_legal_hold(
        &self,
        bucket: &Bucket,
        key: &str,
        version: VersionSelector,
        hold: bool,
    ) -> Result<ObjectVersion, StorageError> {
        self.store.set_legal_hold(bucket, &object_key(key), version, &Permit::any(), hold).await
    }

    pub async fn create_upload(&self, bucket: &Bucket, key: &str) -> UploadId {
        let create = CreateUpload { sealing: self.sealing(), ..upload_of(None) };
        self.store.create_upload(bucket, &object_key(key), create).await.unwrap().id
    }

    pub async fn upload_part(
        &self,
        bucket: &Bucket,
        key: &str,
        upload: UploadId,
        number: u16,
        bytes: &[u8],
    ) -> Result<Part, StorageError> {
        let keys = TestKeys::new(None);
        self.store.upload_part(bucket, &object_key(key), upload, number, body(bytes), &keys).await
    }

    pub async fn complete(
        &self,
        bucket: &Bucket,
        key: &str,
        upload: UploadId,
        parts: &[Part],
    ) -> Result<ObjectVersion, StorageError> {
        self.store.complete_upload(bucket, &object_key(key), upload, complete_of(parts), &TestKeys::new(None)).await
    }

    pub async fn abort(&self, bucket: &Bucket, key: &str, upload: UploadId) -> Result<(), StorageError> {
        self.store.abort_upload(bucket, &object_key(key), upload).await
    }

    /// The id of the key's newest version, also if it is a `null` one.
    pub async fn newest_id(&self, bucket: &Bucket, key: &str) -> VersionId {
        let key = object_key(key);
        let seen = self.store.index().view(bucket.id.into(), move |view| SeenHead::read(view, &key)).await.unwrap();
        seen.head.unwrap().version.id()
    }

    /// The bucket's counters of STANDARD: objects, versions, bytes.
    pub async fn usage(&self, bucket: &Bucket) -> [i64; 3] {
        self.usage_of(bucket, StorageClass::Standard).await
    }

    pub async fn usage_of(&self, bucket: &Bucket, class: StorageClass) -> [i64; 3] {
        let read = move |view: &dyn cairn_storage::index::View| {
            let mut counts = [0; 3];
            for (count, counter) in counts.iter_mut().zip(Counter::ALL) {
                *count = usage::read(view, class, counter)?;
            }
            Ok(counts)
        };
        self.store.index().view(bucket.id.into(), read).await.unwrap()
    }

    /// How many rows of a family a partition has.
    pub async fn rows(&self, partition: impl Into<Partition>, family: Family) -> usize {
        self.keys(partition.into(), family).await.len()
    }

    pub async fn keys(&self, partition: Partition, family: Family) -> Vec<Vec<u8>> {
        let read = move |view: &dyn cairn_storage::index::View| {
            let mut keys = Vec::new();
            let mut cursor = view.cursor(family, KeyRange::all())?;
            while let Some((key, _, _)) = cursor.row() {
                keys.push(key.to_vec());
                cursor.advance()?;
            }
            Ok(keys)
        };
        self.store.index().view(partition, read).await.unwrap()
    }

    /// The rows that hold an object's or a part's bytes, and the rows of versions: all of them zero means that the
    /// bucket holds nothing.
    pub async fn content_rows(&self, bucket: &Bucket) -> usize {
        let mut rows = 0;
        for family in [Family::Inline, Family::Content, Family::Layout, Family::Part] {
            rows += self.rows(bucket.id, family).await;
        }
        rows
    }

    /// The chunk files, sorted.
    pub fn files(&self) -> Vec<ContentId> {
        let folders = (0..=u8::MAX).map(|folder| self.store.blobs().list_blocking(folder).unwrap());
        let mut files: Vec<ContentId> = folders.flat_map(|listing| listing.contents).collect();
        files.sort();
        files
    }

    pub async fn commit(&self, partition: Partition, batch: Batch) {
        let outcome = self.store.index().commit(partition, batch).await;
        assert!(matches!(outcome, Outcome::Committed(_)), "{outcome:?}");
    }

    /// Runs collect tasks until none is left, letting time pass for those that wait.
    pub async fn collect_all(&self) {
        for _ in 0..ROUNDS_MAX {
            if self.run_due(&Collector).await == 0 {
                return;
            }
            self.clock.advance_ms(ROUND_MS);
        }
        panic!("the collector does not come to an end");
    }

    pub async fn forget_uploads(&self) {
        self.clock.advance_ms(25 * 60 * 60 * 1_000);
        assert_eq!(self.run_due(&ForgetUpload).await, 0);
    }

    /// Runs what is due in the handler's queue once, and returns how many tasks the queue then holds.
    pub async fn run_due(&self, handler: &dyn Handler) -> usize {
        self.try_run_due(handler).await.unwrap()
    }

    /// As [`Rig::run_due`]; ends at the first task that fails, or at a commit that does.
    pub async fn try_run_due(&self, handler: &dyn Handler) -> Result<usize, String> {
        let buckets = self.store.all_buckets().await.map_err(|error| error.to_string())?;
        let mut partitions = vec![Partition::SYSTEM];
        partitions.extend(buckets.into_iter().map(|(_, entry)| Partition::from(entry.bucket)));
        for partition in &partitions {
            self.run_partition(handler, *partition).await?;
        }
        let mut left = 0;
        for partition in partitions {
            left += self.tasks(partition, handler.queue()).await.len();
        }
        Ok(left)
    }

    /// Runs what is due in one partition, which the directory may not name any more.
    pub async fn run_partition(&self, handler: &dyn Handler, partition: Partition) -> Result<(), String> {
        for (key, record) in self.tasks(partition, handler.queue()).await {
            self.run_task(handler, partition, key, record).await?;
        }
        Ok(())
    }

    async fn run_task(
        &self,
        handler: &dyn Handler,
        partition: Partition,
        key: Vec<u8>,
        record: JobRecord,
    ) -> Result<(), String> {
        let (due, id) = job::parse_key(&key).unwrap();
        if due > self.clock.now() {
            return Ok(());
        }
        let verdict = handler.run(&self.store, partition, &record.task).await;
        let mut batch = Batch::new();
        batch.delete(Family::Job, key);
        match verdict {
            Verdict::Done => {}
            Verdict::Later(ms) => {
                let again = job::key(handler.queue(), self.clock.now().plus_ms(ms), id);
                batch.put(Family::Job, again, record.to_value().unwrap());
            }
            Verdict::Failed(error) => return Err(error),
        }
        match self.store.index().commit(partition, batch).await {
            Outcome::Committed(_) => Ok(()),
            outcome => Err(format!("{outcome:?}")),
        }
    }

    /// A queue's tasks, due or not.
    pub async fn tasks(&self, partition: Partition, queue: Queue) -> Vec<(Vec<u8>, JobRecord)> {
        let read = move |view: &dyn cairn_storage::index::View| {
            let mut tasks = Vec::new();
            let mut cursor = view.cursor(Family::Job, KeyRange::prefix(&[queue as u8]))?;
            while let Some((key, _, value)) = cursor.row() {
                tasks.push((key.to_vec(), JobRecord::from_value(value)?));
                cursor.advance()?;
            }
            Ok(tasks)
        };
        self.store.index().view(partition, read).await.unwrap()
    }
}

pub fn owner() -> AccountId {
    "000000000001".parse().unwrap()
}

pub fn new_bucket(name: &str, object_lock: bool) -> NewBucket {
    let (name, region) = (bucket_name(name), "us-east-1".to_owned());
    NewBucket {
        name,
        owner: owner(),
        region,
        object_lock,
        ownership: ObjectOwnership::default(),
        acl: None,
        public_access_block: None,
    }
}

pub fn bucket_name(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

pub fn object_key(key: &str) -> ObjectKey {
    ObjectKey::new(key).unwrap()
}

/// Bytes that differ with the seed and do not repeat with the chunk size.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed.wrapping_mul(131)) as u8).collect()
}

/// A body that declares its length and no digest.
pub fn body(bytes: &[u8]) -> Body {
    body_of(vec![Bytes::copy_from_slice(bytes)], Some(bytes.len() as u64))
}

pub fn body_of(pieces: Vec<Bytes>, length: Option<u64>) -> Body {
    let stream = Box::pin(futures::stream::iter(pieces.into_iter().map(Ok)));
    Body { stream, length, content_md5: None, checksum: DeclaredChecksum::None, sealed: None }
}

pub fn put_of(body: Body) -> PutObject {
    PutObject {
        attributes: ObjectAttributes::default(),
        storage_class: StorageClass::Standard,
        settings: ObjectSettings::default(),
        owner: owner(),
        body,
        sealing: None,
        envelope: None,
        conditions: WriteConditions::default(),
        replica: None,
    }
}

pub fn upload_of(
    checksum: Option<(cairn_crypto::checksum::ChecksumAlgorithm, cairn_crypto::checksum::ChecksumType)>,
) -> CreateUpload {
    let attributes = ObjectAttributes { content_type: Some("text/upload".to_owned()), ..ObjectAttributes::default() };
    CreateUpload {
        attributes,
        storage_class: StorageClass::Standard,
        settings: ObjectSettings::default(),
        owner: owner(),
        initiator: owner(),
        created_by: None,
        acl_is_public: false,
        checksum,
        sealing: None,
        envelope: None,
        replica: None,
    }
}

pub fn complete_of(parts: &[Part]) -> CompleteUpload {
    let name = |part: &Part| NamedPart { number: part.number, etag: part.etag.to_string(), checksum: None };
    CompleteUpload { parts: parts.iter().map(name).collect(), ..CompleteUpload::default() }
}

/// Reads a body to its end.
pub async fn drain(mut body: ObjectBody) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}
