//! Sealed objects: what they show, who opens them, and how copies and parts are sealed.

use cairn_crypto::digest::Digests;
use cairn_storage::StorageError;
use cairn_storage::encryption::{EncryptionMode, Sealing};
use cairn_storage::object::{Content, ObjectVersion};
use cairn_storage::ops::multipart::PART_BYTES_MIN;
use cairn_storage::ops::{
    Bucket, Copied, CopyObject, CopySource, CreateUpload, GetObject, PartCopy, Permit, PutObject, RangeRequest,
    ReadConditions, Select, VersionSelector, WriteConditions,
};

use crate::rig::{
    FILE_BYTES, INLINE_BYTES_MAX, Rig, TestKeys, body, bytes, customer_sealing, drain, object_key, owner, put_of,
    server_sealing, upload_of,
};

const SIZES: [usize; 4] = [0, 1, INLINE_BYTES_MAX, FILE_BYTES];
const CHUNK: usize = cairn_storage::blob::CHUNK_BYTES as usize;

/// A way in which an object is sealed, or not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Server,
    Customer(u8),
}

impl Way {
    const ALL: [Self; 4] = [Self::Plain, Self::Server, Self::Customer(1), Self::Customer(2)];

    fn sealing(self) -> Option<Sealing> {
        match self {
            Self::Plain => None,
            Self::Server => Some(server_sealing()),
            Self::Customer(key) => Some(customer_sealing(key)),
        }
    }

    /// What a request brings to open it.
    fn keys(self) -> TestKeys {
        match self {
            Self::Customer(key) => TestKeys::new(Some(key)),
            _ => TestKeys::new(None),
        }
    }

    fn mode(self) -> Option<EncryptionMode> {
        match self {
            Self::Plain => None,
            Self::Server => Some(EncryptionMode::S3),
            Self::Customer(_) => Some(EncryptionMode::Customer),
        }
    }
}

fn mode_of(object: &ObjectVersion) -> Option<EncryptionMode> {
    object.encryption.as_ref().map(|encryption| encryption.mode)
}

fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut digests = Digests::new(true, []);
    digests.update(bytes);
    digests.finish().md5.unwrap()
}

async fn put(rig: &Rig, bucket: &Bucket, key: &str, bytes: &[u8], way: Way) -> ObjectVersion {
    let put = PutObject { sealing: way.sealing(), ..put_of(body(bytes)) };
    rig.store.put_object(bucket, &object_key(key), put).await.unwrap()
}

async fn read(rig: &Rig, bucket: &Bucket, key: &str, way: Way, select: Select) -> Result<Vec<u8>, StorageError> {
    let get = GetObject { select, ..GetObject::default() };
    drain(rig.open(bucket, key, get, &way.keys()).await?).await
}

async fn copy(rig: &Rig, (from, from_way): (&Bucket, Way), (to, way): (&Bucket, Way)) -> Result<Copied, StorageError> {
    let key = object_key("source");
    let source = CopySource {
        bucket: from,
        key: &key,
        version: VersionSelector::Newest,
        permit: Permit::any(),
        conditions: ReadConditions::default(),
        keys: std::sync::Arc::new(from_way.keys()),
    };
    let copy = CopyObject {
        attributes: None,
        storage_class: None,
        tags: None,
        settings: Default::default(),
        owner: owner(),
        checksum: None,
        sealing: way.sealing(),
        names_encryption: true,
        conditions: WriteConditions::default(),
    };
    rig.store.copy_object(source, to, &object_key("copy"), copy).await
}

#[tokio::test]
async fn every_range_of_every_size_comes_back_in_every_way() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for way in Way::ALL {
        for size in [0, 1, INLINE_BYTES_MAX, FILE_BYTES, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let content = bytes(1, size);
            let object = put(&rig, &bucket, "key", &content, way).await;
            assert_eq!(mode_of(&object), way.mode());
            assert_eq!(read(&rig, &bucket, "key", way, Select::Whole).await.unwrap(), content, "{way:?} {size}");
            for (first, last) in [(0, 0), (size / 2, size / 2 + 10), (size.saturating_sub(1), size), (CHUNK - 1, CHUNK)]
            {
                let range = RangeRequest::From { first: first as u64, last: Some(last as u64) };
                let expected = content.get(first..).filter(|rest| !rest.is_empty());
                let expected = expected.map(|rest| &rest[..rest.len().min(last - first + 1)]);
                let got = read(&rig, &bucket, "key", way, Select::Range(range)).await.ok();
                assert_eq!(got.as_deref(), expected, "{way:?} {size}: {first}-{last}");
            }
        }
    }
}

#[tokio::test]
async fn the_etag_is_the_md5_only_where_the_server_holds_the_key() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for size in SIZES {
        let content = bytes(1, size);
        for way in Way::ALL {
            let object = put(&rig, &bucket, "key", &content, way).await;
            let shows_md5 = !matches!(way, Way::Customer(_));
            assert_eq!(object.etag.digest == md5(&content), shows_md5, "{way:?} {size}");
        }
    }
}

#[tokio::test]
async fn a_customers_object_opens_with_that_key_only() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for size in SIZES {
        put(&rig, &bucket, "key", &bytes(1, size), Way::Customer(1)).await;
        let with = async |way| read(&rig, &bucket, "key", way, Select::Whole).await;
        assert!(matches!(with(Way::Customer(2)).await, Err(StorageError::KeyWrong)), "{size}");
        assert!(matches!(with(Way::Server).await, Err(StorageError::KeyMissing)), "{size}");
        put(&rig, &bucket, "key", &bytes(1, size), Way::Server).await;
        assert!(matches!(with(Way::Customer(1)).await, Err(StorageError::KeyNeedless)), "{size}");
    }
}

#[tokio::test]
async fn a_sealed_body_that_nobody_unlocked_gives_nothing() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for size in [1, INLINE_BYTES_MAX, FILE_BYTES] {
        put(&rig, &bucket, "key", &bytes(1, size), Way::Server).await;
        let read = rig.store.get_object(&bucket, &object_key("key"), GetObject::default()).await.unwrap();
        assert!(matches!(drain(read.body).await, Err(StorageError::Corrupt { .. })), "{size}");
    }
}

#[tokio::test]
async fn copies_go_from_every_way_to_every_other() {
    for size in SIZES {
        let rig = Rig::new();
        let (bucket, other) = (rig.create_bucket("bucket").await, rig.create_bucket("other").await);
        let content = bytes(1, size);
        for from in Way::ALL {
            put(&rig, &bucket, "source", &content, from).await;
            for to in Way::ALL {
                for target in [&bucket, &other] {
                    let copied = copy(&rig, (&bucket, from), (target, to)).await.unwrap();
                    assert_eq!(mode_of(&copied.object), to.mode());
                    let got = read(&rig, target, "copy", to, Select::Whole).await.unwrap();
                    assert_eq!(got, content, "{from:?} to {to:?}, {size} bytes");
                }
            }
        }
        rig.delete(&bucket, "source").await;
        rig.collect_all().await;
        assert_eq!(read(&rig, &bucket, "copy", Way::Customer(2), Select::Whole).await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_copy_shares_the_content_exactly_within_one_bucket_and_key() {
    let rig = Rig::new();
    let (bucket, other) = (rig.create_bucket("bucket").await, rig.create_bucket("other").await);
    for from in Way::ALL {
        put(&rig, &bucket, "source", &bytes(1, FILE_BYTES), from).await;
        for to in Way::ALL {
            for target in [&bucket, &other] {
                let Copied { object, source } = copy(&rig, (&bucket, from), (target, to)).await.unwrap();
                let shared = object.content == source.content;
                assert_eq!(shared, target.id == bucket.id && from == to, "{from:?} to {to:?}");
                // Shared or not, the data key is wrapped for the version that has it.
                assert!(to == Way::Plain || object.encryption != source.encryption);
            }
        }
    }
}

#[tokio::test]
async fn a_wrong_key_for_the_source_of_a_copy_is_refused_and_nothing_is_stored() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for size in SIZES {
        put(&rig, &bucket, "source", &bytes(1, size), Way::Customer(1)).await;
        let with = async |way| copy(&rig, (&bucket, way), (&bucket, Way::Server)).await.map(drop);
        assert!(matches!(with(Way::Customer(2)).await, Err(StorageError::KeyWrong)));
        assert!(matches!(with(Way::Plain).await, Err(StorageError::KeyMissing)));
        put(&rig, &bucket, "source", &bytes(1, size), Way::Plain).await;
        assert!(matches!(with(Way::Customer(1)).await, Err(StorageError::KeyNeedless)));
        assert!(matches!(rig.get(&bucket, "copy").await, Err(StorageError::NoSuchKey { .. })));
    }
}

#[tokio::test]
async fn an_upload_has_one_key_and_each_part_is_sealed_with_it() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let key = object_key("key");
    let source = bytes(9, FILE_BYTES);
    for way in Way::ALL {
        put(&rig, &bucket, "source", &source, way).await;
        let create = CreateUpload { sealing: way.sealing(), ..upload_of(None) };
        let upload = rig.store.create_upload(&bucket, &key, create).await.unwrap().id;
        let first = bytes(1, PART_BYTES_MIN as usize);
        let (keys, key_of_source) = (way.keys(), object_key("source"));
        let parts = [rig.store.upload_part(&bucket, &key, upload, 1, body(&first), &keys).await.unwrap(), {
            let source = CopySource {
                bucket: &bucket,
                key: &key_of_source,
                version: VersionSelector::Newest,
                permit: Permit::any(),
                conditions: ReadConditions::default(),
                keys: std::sync::Arc::new(way.keys()),
            };
            let copy = PartCopy { source, range: None, keys: &keys };
            rig.store.upload_part_copy(copy, &bucket, &key, upload, 2).await.unwrap().0
        }];
        assert_eq!(parts[0].etag.digest == md5(&first), !matches!(way, Way::Customer(_)));
        if let Way::Customer(_) = way {
            let wrong = rig.store.upload_part(&bucket, &key, upload, 3, body(b"x"), &TestKeys::new(Some(99))).await;
            assert!(matches!(wrong, Err(StorageError::KeyWrong)));
            let missing = rig.store.upload_part(&bucket, &key, upload, 3, body(b"x"), &TestKeys::new(None)).await;
            assert!(matches!(missing, Err(StorageError::KeyMissing)));
        }
        let object = rig.complete(&bucket, "key", upload, &parts).await.unwrap();
        assert_eq!(mode_of(&object), way.mode());
        assert!(matches!(object.content, Content::Composite(_)));
        let whole = [first, source.clone()].concat();
        assert!(read(&rig, &bucket, "key", way, Select::Whole).await.unwrap() == whole);
        let across = RangeRequest::From { first: PART_BYTES_MIN - 5, last: Some(PART_BYTES_MIN + 4) };
        let got = read(&rig, &bucket, "key", way, Select::Range(across)).await.unwrap();
        assert_eq!(got, whole[PART_BYTES_MIN as usize - 5..PART_BYTES_MIN as usize + 5]);
    }
}

#[tokio::test]
async fn sealed_objects_survive_a_restart() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    put(&rig, &bucket, "key", &bytes(1, FILE_BYTES), Way::Server).await;
    let rig = rig.restart(2).await;
    let bucket = rig.bucket("bucket").await.unwrap();
    assert_eq!(read(&rig, &bucket, "key", Way::Server, Select::Whole).await.unwrap(), bytes(1, FILE_BYTES));
}
