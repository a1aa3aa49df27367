//! Checksums of what is sealed: nowhere in the index, and told to who has the key.

pub mod moved;

use std::sync::Arc;

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
use cairn_crypto::combine;
use cairn_crypto::secret::DataKey;
use cairn_storage::StorageError;
use cairn_storage::encryption::{EncryptionMode, Keys as _, Sealing};
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::index::family::head::SeenHead;
use cairn_storage::index::family::layout::LayoutPage;
use cairn_storage::index::family::version::Version;
use cairn_storage::index::{Batch, Family, KeyRange};
use cairn_storage::object::{Content, ObjectAttributes, ObjectVersion};
use cairn_storage::ops::multipart::PART_BYTES_MIN;
use cairn_storage::ops::restore::RestoreLimits;
use cairn_storage::ops::{
    Body, Bucket, CompleteUpload, CopyObject, CopySource, CreateUpload, DeclaredChecksum, GetObject, GetObjectParts,
    ListObjects, Listed, Permit, PutObject, ReadConditions, Select, VersionSelector, WriteConditions,
};
use cairn_storage::record::Record as _;
use cairn_storage::settings::ObjectSettings;

use crate::rig::{
    FILE_BYTES, Rig, TestKeys, body, bytes, complete_of, customer_sealing, kms_sealing, object_key, owner, put_of,
    server_sealing, upload_of,
};

/// SHA-256, so that nothing else of an object has the same bytes by chance.
const ALGORITHM: ChecksumAlgorithm = ChecksumAlgorithm::Sha256;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Server,
    Customer,
    Kms,
    KmsDsse,
}

impl Way {
    const ALL: [Self; 4] = [Self::Server, Self::Customer, Self::Kms, Self::KmsDsse];

    fn sealing(self) -> Sealing {
        match self {
            Self::Server => server_sealing(),
            Self::Customer => customer_sealing(1),
            Self::Kms => kms_sealing(EncryptionMode::Kms, 1),
            Self::KmsDsse => kms_sealing(EncryptionMode::KmsDsse, 1),
        }
    }

    fn keys(self) -> TestKeys {
        TestKeys::new((self == Self::Customer).then_some(1))
    }
}

fn declared(bytes: &[u8]) -> Body {
    Body { checksum: DeclaredChecksum::Header(Checksum::of(ALGORITHM, bytes)), ..body(bytes) }
}

async fn data_key(bucket: &Bucket, key: &str, object: &ObjectVersion, way: Way) -> DataKey {
    let key = object_key(key);
    let context = object.wrap_context(bucket.id, &key);
    way.keys().open(object.encryption.as_ref(), context).await.unwrap().unwrap()
}

/// That no row of the bucket has this checksum.
async fn check_hidden(rig: &Rig, bucket: &Bucket, checksum: &Checksum) {
    let needle = checksum.as_bytes().to_vec();
    for family in [Family::Current, Family::Hidden, Family::Version, Family::Upload, Family::Part, Family::Layout] {
        let needle = needle.clone();
        let found = rig.store.index().view(bucket.id.into(), move |view| {
            let mut cursor = view.cursor(family, KeyRange::all())?;
            while let Some((_, _, value)) = cursor.row() {
                if value.windows(needle.len()).any(|window| window == needle) {
                    return Ok(true);
                }
                cursor.advance()?;
            }
            Ok(false)
        });
        assert!(!found.await.unwrap(), "{family:?}");
    }
}

/// That the newest version shows no checksum without the key, this one with it, and its kind in any case.
async fn check_revealed(rig: &Rig, bucket: &Bucket, key: &str, way: Way, expected: Checksum) {
    let mut object = rig.store.head_object(bucket, &object_key(key), GetObject::default()).await.unwrap().object;
    assert_eq!(object.checksum, None);
    assert_eq!(object.checksum_kind().unwrap().0, expected.algorithm());
    let list = ListObjects { max_keys: 100, ..ListObjects::default() };
    let listed = rig.store.list_objects(bucket, list).await.unwrap().entries;
    let kind = listed.iter().find_map(|entry| match entry {
        Listed::Object(listed, summary) if listed.as_str() == key => summary.checksum_kind(),
        _ => None,
    });
    assert_eq!(kind, object.checksum_kind());
    let opened = data_key(bucket, key, &object, way).await;
    object.reveal_checksum(Some(&opened)).unwrap();
    assert_eq!(object.checksum.unwrap().value, expected);
    let wrong = object.reveal_checksum(Some(&DataKey::from_bytes([0; 32])));
    assert!(matches!(wrong, Err(StorageError::Corrupt { .. })));
}

#[tokio::test]
async fn a_puts_checksum_is_sealed_and_so_is_that_of_its_copies() {
    for way in Way::ALL {
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        let other = rig.create_bucket("other").await;
        for size in [0, 10, FILE_BYTES] {
            let content = bytes(1, size);
            let expected = Checksum::of(ALGORITHM, &content);
            let put = PutObject { sealing: Some(way.sealing()), ..put_of(declared(&content)) };
            let object = rig.store.put_object(&bucket, &object_key("key"), put).await.unwrap();
            assert_eq!(object.checksum.unwrap().value, expected, "the answer repeats it");
            check_revealed(&rig, &bucket, "key", way, expected).await;
            let (key, target) = (object_key("key"), object_key("copy"));
            for to in [&bucket, &other] {
                let source = CopySource {
                    bucket: &bucket,
                    key: &key,
                    version: VersionSelector::Newest,
                    permit: Permit::any(),
                    conditions: ReadConditions::default(),
                    keys: Arc::new(way.keys()),
                };
                let copied = rig.store.copy_object(source, to, &target, copy(way.sealing())).await.unwrap();
                assert_eq!(copied.object.checksum.unwrap().value, expected, "{way:?} {size}");
                check_revealed(&rig, to, "copy", way, expected).await;
                check_hidden(&rig, to, &expected).await;
            }
            check_hidden(&rig, &bucket, &expected).await;
        }
        crate::restore::check_store(&rig).await;
    }
}

fn copy(sealing: Sealing) -> CopyObject {
    CopyObject {
        attributes: Some(ObjectAttributes::default()),
        redirect_location: None,
        storage_class: None,
        tags: None,
        settings: ObjectSettings::default(),
        owner: owner(),
        checksum: None,
        sealing: Some(sealing),
        names_encryption: false,
        conditions: WriteConditions::default(),
    }
}

#[tokio::test]
async fn parts_checksums_are_sealed_and_the_objects_is_combined_from_them_with_the_key() {
    let (first, last) = (bytes(1, PART_BYTES_MIN as usize), bytes(2, 100));
    for (way, kind) in [
        (Way::Server, ChecksumType::Composite),
        (Way::Customer, ChecksumType::Composite),
        (Way::Kms, ChecksumType::FullObject),
    ] {
        let algorithm = if kind == ChecksumType::Composite { ALGORITHM } else { ChecksumAlgorithm::Crc64Nvme };
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        let key = object_key("key");
        let create = CreateUpload { sealing: Some(way.sealing()), ..upload_of(Some((algorithm, kind))) };
        let upload = rig.store.create_upload(&bucket, &key, create).await.unwrap().id;
        let mut parts = Vec::new();
        for (number, content) in [(3, &first), (7, &last)] {
            let part = rig.store.upload_part(&bucket, &key, upload, number, body(content), &way.keys()).await.unwrap();
            assert_eq!(part.checksum, Some(Checksum::of(algorithm, content)), "the answer tells it");
            parts.push(part);
        }
        let mut page = rig.store.list_parts(&bucket, &key, upload, 0, 10).await.unwrap();
        assert!(page.parts.iter().all(|part| part.checksum.is_none()));
        let context = page.upload.wrap_context(bucket.id);
        let opened = way.keys().open(page.upload.encryption.as_ref(), context).await.unwrap().unwrap();
        for part in &mut page.parts {
            part.reveal_checksum(Some(&opened)).unwrap();
        }
        assert!(page.parts.iter().map(|part| part.checksum).eq(parts.iter().map(|part| part.checksum)));
        let complete = || CompleteUpload { ..complete_of(&parts) };
        if way == Way::Customer {
            let refused = rig.store.complete_upload(&bucket, &key, upload, complete(), &TestKeys::new(None)).await;
            assert!(
                matches!(refused, Err(StorageError::KeyMissing)),
                "a chosen checksum cannot be told without the key"
            );
        }
        let sums: Vec<(Checksum, u64)> =
            [&first, &last].map(|content| (Checksum::of(algorithm, content), content.len() as u64)).into();
        let expected = match kind {
            ChecksumType::FullObject => combine::full_object(algorithm, sums.clone()).unwrap(),
            ChecksumType::Composite => combine::composite(algorithm, sums.iter().map(|(sum, _)| *sum)).unwrap(),
        };
        let wrong = CompleteUpload { checksum: Some(sums[0].0), ..complete() };
        let refused = rig.store.complete_upload(&bucket, &key, upload, wrong, &way.keys()).await;
        assert!(matches!(refused, Err(StorageError::BadDigest { .. })), "{refused:?}");
        for _ in 0..2 {
            let object = rig.store.complete_upload(&bucket, &key, upload, complete(), &way.keys()).await.unwrap();
            assert_eq!(object.checksum.unwrap().value, expected, "also when it is asked again");
        }
        check_revealed(&rig, &bucket, "key", way, expected).await;
        let get = GetObjectParts { max_parts: 10, ..GetObjectParts::default() };
        let mut page = rig.store.object_parts(&bucket, &key, get).await.unwrap();
        assert!(page.object.checksum.is_none() && page.parts.iter().all(|part| part.checksum.is_none()));
        page.reveal_checksums(Some(&opened)).unwrap();
        assert!(page.parts.iter().map(|part| part.checksum.unwrap()).eq(sums.iter().map(|(sum, _)| *sum)));
        let select = Select::Part(2);
        let head = rig.store.head_object(&bucket, &key, GetObject { select, ..GetObject::default() }).await.unwrap();
        assert_eq!(head.part_checksum.open(None).unwrap(), None);
        assert_eq!(head.part_checksum.open(Some(&opened)).unwrap(), Some(sums[1].0));
        for checksum in [expected, sums[0].0, sums[1].0] {
            check_hidden(&rig, &bucket, &checksum).await;
        }
        crate::restore::check_store(&rig).await;
    }
}

#[tokio::test]
async fn an_upload_without_a_chosen_checksum_is_completed_without_the_customers_key() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let key = object_key("key");
    let create = CreateUpload { sealing: Some(customer_sealing(1)), ..upload_of(None) };
    let upload = rig.store.create_upload(&bucket, &key, create).await.unwrap().id;
    let part = rig.store.upload_part(&bucket, &key, upload, 1, body(b"part"), &TestKeys::new(Some(1))).await.unwrap();
    let object = rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    assert_eq!((object.checksum, object.sealed_checksum), (None, None));
}

#[tokio::test]
async fn a_restored_version_has_its_checksum() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    let expected = Checksum::of(ALGORITHM, b"then");
    for (key, way) in [("kms", Way::Kms), ("server", Way::Server)] {
        let put = PutObject { sealing: Some(way.sealing()), ..put_of(declared(b"then")) };
        rig.store.put_object(&bucket, &object_key(key), put).await.unwrap();
    }
    let time = cairn_storage::clock::Clock::now(rig.clock.as_ref());
    rig.clock.advance_ms(1_000);
    rig.delete(&bucket, "kms").await;
    rig.delete(&bucket, "server").await;
    crate::restore::restore(&rig, &bucket, crate::restore::to(time), RestoreLimits::default()).await;
    for (key, way) in [("kms", Way::Kms), ("server", Way::Server)] {
        check_revealed(&rig, &bucket, key, way, expected).await;
    }
}

/// Opens all checksums of the newest version and its parts in their records: so versions before this one left what is under the
/// server's key.
async fn write_in_the_clear(rig: &Rig, bucket: &Bucket, key: &str) {
    let object = rig.store.head_object(bucket, &object_key(key), GetObject::default()).await.unwrap().object;
    let opened = data_key(bucket, key, &object, Way::Server).await;
    let (key, content) = (object_key(key), object.content);
    let (read, layouts) = rig
        .store
        .index()
        .view(bucket.id.into(), move |view| {
            let mut layouts = Vec::new();
            if let Content::Composite(id) = content {
                let mut cursor = view.cursor(Family::Layout, KeyRange::prefix(id.as_bytes()))?;
                while let Some((row_key, _, value)) = cursor.row() {
                    layouts.push((row_key.to_vec(), LayoutPage::from_value(value)?));
                    cursor.advance()?;
                }
            }
            let head = SeenHead::read(view, &key)?.head;
            Ok(((key.clone(), head), layouts))
        })
        .await
        .unwrap();
    let (key, Some(mut head)) = read else { panic!("the key has a head") };
    let Version::Object(object) = &mut head.version else { panic!("an object") };
    object.reveal_checksum(Some(&opened)).unwrap();
    object.sealed_checksum = None;
    let mut batch = Batch::new();
    batch.put(Family::Current, key.as_bytes(), head.to_value().unwrap());
    for (row_key, mut page) in layouts {
        for part in &mut page.parts {
            let sealed = part.sealed_checksum.take().unwrap();
            part.checksum = Some(sealed.open_of_part(&opened, part.number).unwrap());
        }
        batch.put(Family::Layout, row_key, page.to_value().unwrap());
    }
    rig.commit(bucket.id.into(), batch).await;
}

#[tokio::test]
async fn a_checksum_that_an_older_record_has_in_the_clear_is_told_and_sealed_with_the_next_envelope() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let content = bytes(1, FILE_BYTES);
    let expected = Checksum::of(ALGORITHM, &content);
    let put = PutObject { sealing: Some(Way::Server.sealing()), ..put_of(declared(&content)) };
    rig.store.put_object(&bucket, &object_key("whole"), put).await.unwrap();
    let create =
        CreateUpload { sealing: Some(Way::Server.sealing()), ..upload_of(Some((ALGORITHM, ChecksumType::Composite))) };
    let upload = rig.store.create_upload(&bucket, &object_key("parts"), create).await.unwrap().id;
    let keys = Way::Server.keys();
    let part = rig.store.upload_part(&bucket, &object_key("parts"), upload, 7, body(&content), &keys).await.unwrap();
    rig.store.complete_upload(&bucket, &object_key("parts"), upload, complete_of(&[part]), &keys).await.unwrap();
    let of_parts = combine::composite(ALGORITHM, [expected]).unwrap();
    for key in ["whole", "parts"] {
        write_in_the_clear(&rig, &bucket, key).await;
    }
    let shown = async |key| rig.store.head_object(&bucket, &object_key(key), GetObject::default()).await.unwrap();
    assert_eq!(shown("whole").await.object.checksum.unwrap().value, expected);
    assert_eq!(shown("parts").await.object.checksum.unwrap().value, of_parts);

    let (whole, copied) = (object_key("whole"), object_key("copy"));
    let source = CopySource {
        bucket: &bucket,
        key: &whole,
        version: VersionSelector::Newest,
        permit: Permit::any(),
        conditions: ReadConditions::default(),
        keys: Arc::new(Way::Server.keys()),
    };
    let copied = rig.store.copy_object(source, &bucket, &copied, copy(Way::Server.sealing())).await.unwrap();
    assert_eq!(copied.object.content, copied.source.content, "it is shared");
    check_revealed(&rig, &bucket, "copy", Way::Server, expected).await;

    for (key, expected) in [("whole", expected), ("parts", of_parts)] {
        let (any, sealing, newest) = (Permit::any(), Way::Kms.sealing(), VersionSelector::Newest);
        rig.store.update_encryption(&bucket, &object_key(key), newest, &any, &keys, &sealing).await.unwrap();
        check_revealed(&rig, &bucket, key, Way::Kms, expected).await;
    }
    let object = shown("parts").await.object;
    let opened = data_key(&bucket, "parts", &object, Way::Kms).await;
    let get = GetObjectParts { max_parts: 10, ..GetObjectParts::default() };
    let mut page = rig.store.object_parts(&bucket, &object_key("parts"), get).await.unwrap();
    assert_eq!(page.parts[0].checksum, None);
    page.reveal_checksums(Some(&opened)).unwrap();
    assert_eq!(page.parts[0].checksum, Some(expected));
    for checksum in [expected, of_parts] {
        check_hidden(&rig, &bucket, &checksum).await;
    }
    crate::restore::check_store(&rig).await;
}
