//! What is sealed under a customer's key becomes a replica elsewhere as it is, and opens there with the same key.

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_storage::StorageError;
use cairn_storage::encryption::{NoKeys, SealedContent};
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::{
    Body, Bucket, CompleteUpload, CreateUpload, DeclaredChecksum, GetObject, GetObjectParts, NamedPart, PutObject,
    RangeRequest, SealedObject, Select, VersionSelector,
};
use cairn_storage::replication::{Left, ReplicaOf};
use futures::TryStreamExt as _;

use crate::rig::{FILE_BYTES, Rig, TestKeys, body, bytes, customer_sealing, drain, object_key, put_of, upload_of};

const KEY: &str = "key";

/// A source and a target.
async fn two_buckets() -> (Rig, Bucket, Bucket) {
    let rig = Rig::new();
    let mut buckets = Vec::new();
    for name in ["source", "target"] {
        let bucket = rig.create_bucket(name).await;
        buckets.push(rig.set_versioning(&bucket, Versioning::Enabled).await);
    }
    let target = buckets.pop().unwrap();
    (rig, buckets.pop().unwrap(), target)
}

async fn put(rig: &Rig, bucket: &Bucket, content: &[u8]) -> ObjectVersion {
    let put = PutObject { sealing: Some(customer_sealing(1)), ..put_of(body(content)) };
    rig.store.put_object(bucket, &object_key(KEY), put).await.unwrap()
}

async fn travelling(rig: &Rig, bucket: &Bucket, object: &ObjectVersion, place: usize) -> Vec<u8> {
    let pieces = rig.store.sealed_bytes(bucket, &object_key(KEY), object.version_id, place);
    pieces.try_collect::<Vec<Bytes>>().await.unwrap().concat()
}

async fn sealed(rig: &Rig, bucket: &Bucket, object: &ObjectVersion) -> SealedObject {
    rig.store.sealed_object(bucket, &object_key(KEY), object.version_id).await.unwrap().unwrap()
}

fn of(object: &ObjectVersion) -> ReplicaOf {
    let ObjectVersion { version_id, created, etag, .. } = object;
    ReplicaOf { version_id: *version_id, created: *created, etag: Some(*etag), changed: None, left: Left::default() }
}

/// A body that stays sealed, and declares its digest.
fn sealed_body(content: &SealedContent, bytes: &[u8]) -> Body {
    let checksum = DeclaredChecksum::Header(Checksum::of(ChecksumAlgorithm::Crc64Nvme, bytes));
    Body { checksum, sealed: Some(content.clone()), ..body(bytes) }
}

async fn bring(
    rig: &Rig,
    target: &Bucket,
    object: &ObjectVersion,
    sealed: &SealedObject,
    body: Body,
) -> Result<ObjectVersion, StorageError> {
    let put = PutObject { envelope: Some(sealed.envelope.clone()), replica: Some(of(object)), ..put_of(body) };
    rig.store.put_object(target, &object_key(KEY), put).await
}

/// An object on its way.
pub struct Carried {
    pub object: ObjectVersion,
    pub sealed: SealedObject,
    pub content: Vec<u8>,
    travelling: Vec<u8>,
}

impl Carried {
    pub fn body(&self) -> Body {
        sealed_body(&self.sealed.parts[0].content, &self.travelling)
    }
}

/// An object of so many bytes under the customer's first key, from a store of its own.
pub async fn carried(size: usize) -> Carried {
    let (rig, source, _) = two_buckets().await;
    let content = bytes(9, size);
    let object = put(&rig, &source, &content).await;
    let (sealed, travelling) = (sealed(&rig, &source, &object).await, travelling(&rig, &source, &object, 0).await);
    Carried { object, sealed, content, travelling }
}

/// Carries a version that was put whole.
async fn carry(rig: &Rig, source: &Bucket, target: &Bucket, object: &ObjectVersion) -> ObjectVersion {
    let sealed = sealed(rig, source, object).await;
    let body = sealed_body(&sealed.parts[0].content, &travelling(rig, source, object, 0).await);
    bring(rig, target, object, &sealed, body).await.unwrap()
}

async fn read(rig: &Rig, bucket: &Bucket, key: u8, select: Select) -> Result<Vec<u8>, StorageError> {
    let get = GetObject { select, ..GetObject::default() };
    drain(rig.open(bucket, KEY, get, &TestKeys::new(Some(key))).await?).await
}

#[tokio::test]
async fn objects_of_every_form_open_at_the_target_with_their_key_and_no_other() {
    for size in [0, 1, 100, FILE_BYTES, 65_536, 65_537, 200_000] {
        let (rig, source, target) = two_buckets().await;
        let content = bytes(size as u64, size);
        let object = put(&rig, &source, &content).await;
        let mut replica = carry(&rig, &source, &target, &object).await;
        assert_eq!(replica.etag, object.etag);
        assert_eq!(read(&rig, &target, 1, Select::Whole).await.unwrap(), content);
        let range = RangeRequest::From { first: 10, last: Some(70_000) };
        if size > 70_000 {
            assert_eq!(read(&rig, &target, 1, Select::Range(range)).await.unwrap(), content[10..70_001]);
        }
        assert!(matches!(read(&rig, &target, 2, Select::Whole).await, Err(StorageError::KeyWrong)));
        assert!(matches!(rig.get(&target, KEY).await, Err(StorageError::KeyMissing)));
        // Its checksum is there, for who has the key.
        assert_eq!(replica.checksum, None);
        let key = object_key(KEY);
        let context = replica.wrap_context(target.id, &key);
        use cairn_storage::encryption::Keys as _;
        let data_key = TestKeys::new(Some(1)).open(replica.encryption.as_ref(), context).await.unwrap();
        replica.reveal_checksum(data_key.as_ref()).unwrap();
        assert_eq!(replica.checksum.unwrap().value, Checksum::of(ChecksumAlgorithm::Crc64Nvme, &content));
        // And it goes on from there.
        let third = rig.set_versioning(&rig.create_bucket("third").await, Versioning::Enabled).await;
        carry(&rig, &target, &third, &replica).await;
        assert_eq!(read(&rig, &third, 1, Select::Whole).await.unwrap(), content);
    }
}

#[tokio::test]
async fn parts_keep_their_boundaries_numbers_and_checksums() {
    let (rig, source, target) = two_buckets().await;
    let key = object_key(KEY);
    let sizes = [5 << 20, 5 << 20, 100];
    let create = CreateUpload { sealing: Some(customer_sealing(1)), ..upload_of(None) };
    let upload = rig.store.create_upload(&source, &key, create).await.unwrap().id;
    let (mut named, keys) = (Vec::new(), TestKeys::new(Some(1)));
    for (number, size) in [3, 4, 9].into_iter().zip(sizes) {
        let content = body(&bytes(number.into(), size));
        let part = rig.store.upload_part(&source, &key, upload, number, content, &keys).await.unwrap();
        named.push(NamedPart { number, etag: part.etag.to_string(), checksum: None });
    }
    let complete = CompleteUpload { parts: named, ..CompleteUpload::default() };
    let object = rig.store.complete_upload(&source, &key, upload, complete, &keys).await.unwrap();
    let sealed = sealed(&rig, &source, &object).await;
    assert!(sealed.in_parts);
    assert_eq!(sealed.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [3, 4, 9]);
    let (envelope, replica) = (Some(sealed.envelope.clone()), Some(of(&object)));
    let create = CreateUpload { envelope, replica, ..upload_of(None) };
    let mut parts = Vec::new();
    for (place, part) in sealed.parts.iter().enumerate() {
        let bytes = travelling(&rig, &source, &object, place).await;
        assert_eq!(bytes.len() as u64, part.content.travelling_bytes());
        parts.push((part.number, sealed_body(&part.content, &bytes)));
    }
    let replica = rig.store.put_replica_in_parts(&target, &key, create, parts.into_iter()).await.unwrap();
    assert_eq!((replica.etag, replica.size_bytes), (object.etag, object.size_bytes));
    for (part, number, size) in [(1, 3, sizes[0]), (2, 4, sizes[1]), (3, 9, sizes[2])] {
        assert!(read(&rig, &target, 1, Select::Part(part)).await.unwrap() == bytes(number, size));
    }
    let pages = |bucket: &Bucket| {
        let (bucket, key, store) = (bucket.clone(), key.clone(), rig.store.clone());
        async move {
            let get = GetObjectParts { max_parts: 10, ..GetObjectParts::default() };
            store.object_parts(&bucket, &key, get).await.unwrap().parts
        }
    };
    let parts = pages(&target).await;
    assert!(parts.iter().all(|part| part.sealed_checksum.is_some()));
    assert_eq!(parts, pages(&source).await);
}

#[tokio::test]
async fn bytes_that_are_not_what_was_said_of_them_are_refused_and_leave_nothing() {
    let (rig, source, target) = two_buckets().await;
    let object = put(&rig, &source, &bytes(1, 200_000)).await;
    let sealed = sealed(&rig, &source, &object).await;
    let (content, good) = (sealed.parts[0].content.clone(), travelling(&rig, &source, &object, 0).await);
    let files = rig.files().len();
    let changed = |at: usize| {
        let mut changed = good.clone();
        changed[at] ^= 1;
        changed
    };
    let cases = [
        ("the first chunk's length", sealed_body(&content, &changed(3))),
        ("the second chunk's length", sealed_body(&content, &changed(4 + 65_552 + 2))),
        ("cut short", sealed_body(&content, &good[..good.len() - 1])),
        ("too long", sealed_body(&content, &[good.as_slice(), &[0]].concat())),
        (
            "a digest of other bytes",
            Body { checksum: sealed_body(&content, &good).checksum, ..sealed_body(&content, &changed(9)) },
        ),
        ("unsealed", body(&good)),
    ];
    for (what, body) in cases {
        let refused = bring(&rig, &target, &object, &sealed, body).await;
        let as_expected = matches!(
            refused,
            Err(StorageError::SealedMalformed { .. }
                | StorageError::BodyLength { .. }
                | StorageError::BadDigest { .. })
        );
        assert!(as_expected, "{what}: {refused:?}");
    }
    let unwrapped = PutObject { replica: Some(of(&object)), ..put_of(sealed_body(&content, &good)) };
    let refused = rig.store.put_object(&target, &object_key(KEY), unwrapped).await;
    assert!(matches!(refused, Err(StorageError::SealedMalformed { .. })));
    assert_eq!(rig.files().len(), files);
    let version = VersionSelector::Id(object.version_id);
    assert!(matches!(
        rig.get_version(&target, KEY, version).await,
        Err(StorageError::NoSuchKey { .. } | StorageError::NoSuchVersion)
    ));
    // Bytes of the right form that nobody sealed are taken, and open with no key.
    let forged = changed(5);
    bring(&rig, &target, &object, &sealed, sealed_body(&content, &forged)).await.unwrap();
    assert!(matches!(read(&rig, &target, 1, Select::Whole).await, Err(StorageError::Corrupt { .. })));
}

#[tokio::test]
async fn an_upload_of_what_stays_sealed_takes_only_that() {
    let (rig, source, target) = two_buckets().await;
    let key = object_key(KEY);
    let object = put(&rig, &source, &bytes(1, 100)).await;
    let sealed = sealed(&rig, &source, &object).await;
    let envelope = Some(sealed.envelope.clone());
    let create = CreateUpload { envelope, replica: Some(of(&object)), ..upload_of(None) };
    let carrying = rig.store.create_upload(&target, &key, create).await.unwrap().id;
    let plain = rig.store.create_upload(&target, &key, upload_of(None)).await.unwrap().id;
    let comes_sealed = sealed_body(&sealed.parts[0].content, &travelling(&rig, &source, &object, 0).await);
    for (upload, body) in [(carrying, body(b"x")), (plain, comes_sealed)] {
        let refused = rig.store.upload_part(&target, &key, upload, 1, body, &NoKeys).await;
        assert!(matches!(refused, Err(StorageError::SealedMalformed { .. })), "{refused:?}");
    }
    let plain = rig.put(&source, KEY, b"plain").await.version_id;
    assert!(rig.store.sealed_object(&source, &key, plain).await.unwrap().is_none());
}
