//! Sealed objects: what they show, who opens them, and how copies and parts are sealed.

use std::collections::HashSet;

use cairn_crypto::digest::Digests;
use cairn_storage::StorageError;
use cairn_storage::encryption::{EncryptionMode, Sealing};
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::index::family::content::{ContentKind, ContentRecord};
use cairn_storage::index::{Family, KeyRange};
use cairn_storage::object::{Content, ObjectVersion};
use cairn_storage::ops::multipart::PART_BYTES_MIN;
use cairn_storage::ops::{
    Bucket, Copied, CopyObject, CopySource, CreateUpload, GetObject, PartCopy, Permit, PutObject, RangeRequest,
    ReadConditions, Select, VersionSelector, WriteConditions,
};
use cairn_storage::record::Record as _;

use crate::rig::{
    FILE_BYTES, INLINE_BYTES_MAX, Rig, TestKeys, body, bytes, customer_sealing, drain, kms_sealing, object_key, owner,
    put_of, server_sealing, upload_of,
};

const SIZES: [usize; 4] = [0, 1, INLINE_BYTES_MAX, FILE_BYTES];
const CHUNK: usize = cairn_storage::blob::CHUNK_BYTES as usize;

/// A way in which an object is sealed, or not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Server,
    Customer(u8),
    Kms(u8),
    KmsDsse(u8),
}

impl Way {
    const ALL: [Self; 8] = [
        Self::Plain,
        Self::Server,
        Self::Customer(1),
        Self::Customer(2),
        Self::Kms(1),
        Self::Kms(2),
        Self::KmsDsse(1),
        Self::KmsDsse(2),
    ];

    fn sealing(self) -> Option<Sealing> {
        match self {
            Self::Plain => None,
            Self::Server => Some(server_sealing()),
            Self::Customer(key) => Some(customer_sealing(key)),
            Self::Kms(key) => Some(kms_sealing(EncryptionMode::Kms, key)),
            Self::KmsDsse(key) => Some(kms_sealing(EncryptionMode::KmsDsse, key)),
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
            Self::Kms(_) => Some(EncryptionMode::Kms),
            Self::KmsDsse(_) => Some(EncryptionMode::KmsDsse),
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
        redirect_location: None,
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
            let shows_md5 = matches!(way, Way::Plain | Way::Server);
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
        assert_eq!(read(&rig, &bucket, "copy", Way::ALL[7], Select::Whole).await.unwrap(), content);
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
        assert_eq!(parts[0].etag.digest == md5(&first), matches!(way, Way::Plain | Way::Server));
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

#[tokio::test]
async fn each_layer_adds_one_tag_to_each_chunk_on_disk() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let content = bytes(1, 2 * CHUNK + 1);
    let mut stored = Vec::new();
    for way in [Way::Kms(1), Way::KmsDsse(1)] {
        let object = put(&rig, &bucket, "key", &content, way).await;
        let Content::File(id) = object.content else { panic!("a file") };
        // What `cairn check` does, without a key.
        let inspection = rig.store.blobs().verify_blocking(id, None, &mut |_| Ok(())).unwrap();
        stored.push(inspection.stored_length - inspection.plain_length);
    }
    assert_eq!(stored[1] - stored[0], 3 * 16);
}

async fn update(rig: &Rig, bucket: &Bucket, version: VersionSelector, to: Way) -> Result<ObjectVersion, StorageError> {
    let keys = TestKeys::new(None);
    let sealing = to.sealing().unwrap();
    rig.store.update_encryption(bucket, &object_key("key"), version, &Permit::any(), &keys, &sealing).await
}

#[tokio::test]
async fn a_key_is_exchanged_in_place_and_nothing_else_about_the_version_changes() {
    for size in SIZES {
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        let content = bytes(1, size);
        put(&rig, &bucket, "key", &content, Way::Server).await;
        let mut before = rig.store.head_object(&bucket, &object_key("key"), GetObject::default()).await.unwrap().object;
        for to in [Way::Kms(1), Way::Kms(2), Way::Kms(2)] {
            let after = update(&rig, &bucket, VersionSelector::Newest, to).await.unwrap();
            assert_ne!(after.encryption, before.encryption);
            assert_eq!(mode_of(&after), Some(EncryptionMode::Kms));
            assert_eq!(ObjectVersion { encryption: before.encryption.clone(), ..after.clone() }, before);
            assert_eq!(read(&rig, &bucket, "key", to, Select::Whole).await.unwrap(), content);
            before = after;
        }
    }
}

#[tokio::test]
async fn an_older_version_keeps_its_place_when_its_key_is_exchanged() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    let old = put(&rig, &bucket, "key", b"old", Way::Server).await;
    put(&rig, &bucket, "key", b"new", Way::Server).await;
    let new = rig.store.head_object(&bucket, &object_key("key"), GetObject::default()).await.unwrap().object;
    let selector = VersionSelector::Id(old.version_id);
    update(&rig, &bucket, selector, Way::Kms(1)).await.unwrap();
    let get = GetObject { version: selector, ..GetObject::default() };
    let body = rig.open(&bucket, "key", get, &TestKeys::new(None)).await.unwrap();
    assert_eq!(drain(body).await.unwrap(), b"old");
    let newest = rig.store.get_object(&bucket, &object_key("key"), GetObject::default()).await.unwrap();
    assert_eq!(newest.object, new);
}

#[tokio::test]
async fn a_key_is_not_exchanged_where_the_server_has_none_or_two() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for way in [Way::Plain, Way::Customer(1), Way::KmsDsse(1)] {
        put(&rig, &bucket, "key", b"bytes", way).await;
        let head =
            || async { rig.store.head_object(&bucket, &object_key("key"), GetObject::default()).await.unwrap().object };
        let before = head().await;
        let refused = update(&rig, &bucket, VersionSelector::Newest, Way::Kms(1)).await;
        assert!(matches!(refused, Err(StorageError::KeyNotExchangeable { .. })), "{way:?}");
        assert_eq!(head().await, before);
    }
    rig.delete(&bucket, "key").await;
    let gone = update(&rig, &bucket, VersionSelector::Newest, Way::Kms(1)).await;
    assert!(matches!(gone, Err(StorageError::NoSuchKey { .. })));
}

/// The key of a file or an inline content follows from the data key and its seal id, and the nonces in it from the chunks'
/// numbers: so no nonce repeats under a key if no seal id does, whatever wrote the content.
#[tokio::test]
async fn no_two_contents_have_the_same_seal_id() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let mut contents = 0;
    for way in Way::ALL.into_iter().filter(|way| *way != Way::Plain) {
        for (number, size) in [1, INLINE_BYTES_MAX, FILE_BYTES, FILE_BYTES].into_iter().enumerate() {
            put(&rig, &bucket, &format!("{way:?}-{number}"), &bytes(1, size), way).await;
            contents += 1;
        }
        let key = object_key(&format!("{way:?}-parts"));
        let create = CreateUpload { sealing: way.sealing(), ..upload_of(None) };
        let upload = rig.store.create_upload(&bucket, &key, create).await.unwrap().id;
        for (part, size) in [(1, 10), (2, FILE_BYTES), (2, FILE_BYTES), (3, FILE_BYTES)] {
            rig.store.upload_part(&bucket, &key, upload, part, body(&bytes(1, size)), &way.keys()).await.unwrap();
        }
        contents += 3;
    }
    let seals = rig.store.index().view(bucket.id.into(), |view| {
        let mut seals = Vec::new();
        let mut inline = view.cursor(Family::Inline, KeyRange::all())?;
        while let Some((_, _, value)) = inline.row() {
            seals.push(value[2..18].to_vec());
            inline.advance()?;
        }
        let mut files = view.cursor(Family::Content, KeyRange::all())?;
        while let Some((_, _, value)) = files.row() {
            if let ContentKind::File { seal, .. } = ContentRecord::from_value(value)?.kind {
                seals.push(seal.unwrap().to_vec());
            }
            files.advance()?;
        }
        Ok(seals)
    });
    let seals = seals.await.unwrap();
    assert_eq!(seals.len(), contents);
    assert_eq!(seals.into_iter().collect::<HashSet<_>>().len(), contents);
}
