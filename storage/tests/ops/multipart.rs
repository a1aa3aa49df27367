//! Multipart uploads.

use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm, ChecksumType};
use cairn_crypto::combine;
use cairn_storage::StorageError;
use cairn_storage::encryption::NoKeys;
use cairn_storage::id::UploadId;
use cairn_storage::index::family::content::{ContentKind, ContentRecord};
use cairn_storage::index::family::part::{self, PartRecord};
use cairn_storage::index::family::upload::{self, UploadRecord};
use cairn_storage::index::{Batch, Family};
use cairn_storage::object::Content;
use cairn_storage::ops::multipart::{PART_BYTES_MIN, PARTS_MAX};
use cairn_storage::ops::{
    Bucket, CompleteUpload, EtagCondition, GetObject, GetObjectParts, NamedPart, ObjectPart, Part, RangeRequest,
    Select, WriteConditions,
};
use cairn_storage::record::Record as _;

use crate::rig::{FILE_BYTES, INLINE_BYTES_MAX, Rig, bytes, complete_of, object_key, upload_of};

/// The size of a part that is not the last.
const FULL: usize = PART_BYTES_MIN as usize;

async fn rig_with_upload() -> (Rig, Bucket, UploadId) {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let upload = rig.create_upload(&bucket, "key").await;
    (rig, bucket, upload)
}

/// Uploads one small part and names it.
async fn with_one_part() -> (Rig, Bucket, UploadId, Part) {
    let (rig, bucket, upload) = rig_with_upload().await;
    let part = rig.upload_part(&bucket, "key", upload, 3, &bytes(1, FILE_BYTES)).await.unwrap();
    (rig, bucket, upload, part)
}

#[tokio::test]
async fn a_page_of_parts_numbers_them_by_their_place() {
    let (rig, bucket, upload) = rig_with_upload().await;
    let first = rig.upload_part(&bucket, "key", upload, 2, &bytes(1, FULL)).await.unwrap();
    let second = rig.upload_part(&bucket, "key", upload, 9, &bytes(2, 10)).await.unwrap();
    rig.complete(&bucket, "key", upload, &[first, second]).await.unwrap();
    let page = async |after, max_parts| {
        let get = GetObjectParts { after, max_parts, ..GetObjectParts::default() };
        let page = rig.store.object_parts(&bucket, &object_key("key"), get).await.unwrap();
        assert_eq!(page.parts_count, Some(2));
        let parts: Vec<(u16, u64)> = page.parts.iter().map(|part| (part.number, part.size_bytes)).collect();
        (parts, page.next)
    };
    assert_eq!(page(0, 1).await, (vec![(1, PART_BYTES_MIN)], Some(1)));
    assert_eq!(page(1, 1).await, (vec![(2, 10)], None));
    assert_eq!(page(0, 1_000).await, (vec![(1, PART_BYTES_MIN), (2, 10)], None));
    for (after, max_parts) in [(2, 1_000), (u16::MAX, 1_000), (0, 0)] {
        assert_eq!(page(after, max_parts).await, (vec![], None), "after {after}, {max_parts}");
    }
    rig.put(&bucket, "whole", b"x").await;
    let get = GetObjectParts { max_parts: 1_000, ..GetObjectParts::default() };
    let whole = rig.store.object_parts(&bucket, &object_key("whole"), get).await.unwrap();
    assert_eq!((whole.parts_count, whole.parts, whole.next), (None, vec![], None));
}

#[tokio::test]
async fn parts_uploaded_out_of_order_become_one_object() {
    let (rig, bucket, upload) = rig_with_upload().await;
    let (one, two, three) = (bytes(1, FULL), bytes(2, FULL + 3), bytes(3, INLINE_BYTES_MAX));
    let third = rig.upload_part(&bucket, "key", upload, 9, &three).await.unwrap();
    let first = rig.upload_part(&bucket, "key", upload, 2, &one).await.unwrap();
    let second = rig.upload_part(&bucket, "key", upload, 5, &two).await.unwrap();
    let parts = [first, second, third];
    let object = rig.complete(&bucket, "key", upload, &parts).await.unwrap();
    let whole = [&one[..], &two, &three].concat();
    assert_eq!(object.size_bytes, whole.len() as u64);
    assert_eq!(object.attributes.content_type.as_deref(), Some("text/upload"));
    let etag = combine::multipart_etag(parts.iter().map(|part| part.etag.digest));
    assert_eq!(object.etag.to_string(), format!("{}-3", hex::encode(etag)));
    assert!(rig.get(&bucket, "key").await.unwrap() == whole);
    assert_eq!(rig.usage(&bucket).await, [1, 1, whole.len() as i64]);

    // Ranges across the parts' borders, and each part by its place in the object.
    let borders = [0, 1, FULL - 1, FULL, FULL + 1, 2 * FULL + 2, 2 * FULL + 3, whole.len() - 1];
    for first in borders {
        for last in borders.into_iter().filter(|last| first <= *last) {
            let range = RangeRequest::From { first: first as u64, last: Some(last as u64) };
            let get = GetObject { select: Select::Range(range), ..GetObject::default() };
            assert!(rig.get_with(&bucket, "key", get).await.unwrap() == whole[first..=last], "{first}-{last}");
        }
    }
    for (number, bytes) in (1..).zip([one, two, three]) {
        let get = GetObject { select: Select::Part(number), ..GetObject::default() };
        let head = rig.store.head_object(&bucket, &object_key("key"), get.clone()).await.unwrap();
        assert_eq!(head.parts_count, Some(3));
        assert_eq!(head.part_checksum.open(None).unwrap(), Some(Checksum::of(ChecksumAlgorithm::Crc64Nvme, &bytes)));
        assert!(rig.get_with(&bucket, "key", get).await.unwrap() == bytes, "part {number}");
    }
    let get = GetObject { select: Select::Part(4), ..GetObject::default() };
    assert!(matches!(rig.get_with(&bucket, "key", get).await, Err(StorageError::NoSuchPart { parts_count: 3 })));

    // What the upload held is what the object holds, also after the collector; and it goes with the object.
    rig.collect_all().await;
    assert_eq!(rig.files().len(), 2);
    assert_eq!(rig.rows(bucket.id, Family::Part).await, 0);
    rig.delete(&bucket, "key").await;
    rig.collect_all().await;
    assert!(rig.files().is_empty());
    assert_eq!(rig.content_rows(&bucket).await, 0);
    assert_eq!(rig.usage(&bucket).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_replaced_part_leaves_nothing_behind() {
    for (old, new) in [(FILE_BYTES, 10), (10, FILE_BYTES), (FILE_BYTES, FILE_BYTES), (0, 10), (10, 0)] {
        let (rig, bucket, upload) = rig_with_upload().await;
        rig.upload_part(&bucket, "key", upload, 1, &bytes(1, old)).await.unwrap();
        let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(2, new)).await.unwrap();
        rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
        rig.collect_all().await;
        assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(2, new));
        assert_eq!(rig.files().len(), usize::from(new > INLINE_BYTES_MAX));
        assert_eq!(rig.rows(bucket.id, Family::Inline).await, usize::from(new == 10));
    }
}

#[tokio::test]
async fn parts_that_complete_does_not_name_are_freed() {
    let (rig, bucket, upload) = rig_with_upload().await;
    let mut parts = Vec::new();
    for (number, size) in [(1, FILE_BYTES), (2, 10), (3, FILE_BYTES), (4, FILE_BYTES)] {
        let bytes = bytes(u64::from(number), size);
        parts.push(rig.upload_part(&bucket, "key", upload, number, &bytes).await.unwrap());
    }
    rig.complete(&bucket, "key", upload, &parts[2..3]).await.unwrap();
    rig.collect_all().await;
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(3, FILE_BYTES));
    assert_eq!(rig.files().len(), 1);
    assert_eq!(rig.rows(bucket.id, Family::Inline).await, 0);
}

#[tokio::test]
async fn an_object_deleted_before_its_upload_was_tidied_up_is_freed_whole() {
    let (rig, bucket, upload, part) = with_one_part().await;
    rig.upload_part(&bucket, "key", upload, 8, &bytes(2, FILE_BYTES)).await.unwrap();
    rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    rig.delete(&bucket, "key").await;
    rig.collect_all().await;
    assert!(rig.files().is_empty());
    assert_eq!(rig.content_rows(&bucket).await, 0);
}

#[tokio::test]
async fn complete_refuses_what_was_not_uploaded() {
    let (rig, bucket, upload, part) = with_one_part().await;
    let other = Part { number: 4, ..part.clone() };
    let complete = async |parts: &[Part]| rig.complete(&bucket, "key", upload, parts).await;
    assert!(matches!(complete(&[]).await, Err(StorageError::InvalidPart { .. })));
    let unknown = complete(&[part.clone(), other.clone()]).await;
    assert!(matches!(unknown, Err(StorageError::InvalidPart { part_number: 4 } | StorageError::PartTooSmall { .. })));
    assert!(matches!(complete(&[other]).await, Err(StorageError::InvalidPart { part_number: 4 })));
    let mut wrong = part.clone();
    wrong.etag.digest[0] ^= 1;
    assert!(matches!(complete(&[wrong]).await, Err(StorageError::InvalidPart { part_number: 3 })));
    assert!(rig.get(&bucket, "key").await.is_err());
    complete(&[part]).await.unwrap();
}

#[tokio::test]
async fn complete_refuses_parts_that_are_not_in_ascending_order() {
    let (rig, bucket, upload, part) = with_one_part().await;
    let next = rig.upload_part(&bucket, "key", upload, 4, b"x").await.unwrap();
    for parts in [[next, part.clone()], [part.clone(), part]] {
        let refused = rig.complete(&bucket, "key", upload, &parts).await;
        assert!(matches!(refused, Err(StorageError::InvalidPartOrder)));
    }
}

#[tokio::test]
async fn every_part_but_the_last_must_have_five_mebibytes() {
    let (rig, bucket, upload) = rig_with_upload().await;
    let small = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FULL - 1)).await.unwrap();
    let last = rig.upload_part(&bucket, "key", upload, 2, b"x").await.unwrap();
    let refused = rig.complete(&bucket, "key", upload, &[small, last]).await;
    let Err(StorageError::PartTooSmall { part_number: 1, size_bytes }) = refused else { panic!("{refused:?}") };
    assert_eq!(size_bytes, PART_BYTES_MIN - 1);
}

#[tokio::test]
async fn a_declared_size_or_checksum_of_the_object_is_verified() {
    let (rig, bucket, upload, part) = with_one_part().await;
    let key = object_key("key");
    let named = complete_of(&[part]);
    let wrong_size = CompleteUpload { size_bytes: Some(1), ..named.clone() };
    let refused = rig.store.complete_upload(&bucket, &key, upload, wrong_size, &NoKeys).await;
    assert!(matches!(refused, Err(StorageError::SizeMismatchesUpload { declared_bytes: 1, .. })));
    let wrong = Checksum::of(ChecksumAlgorithm::Crc64Nvme, b"other");
    let wrong_checksum = CompleteUpload { checksum: Some(wrong), ..named.clone() };
    let refused = rig.store.complete_upload(&bucket, &key, upload, wrong_checksum, &NoKeys).await;
    assert!(matches!(refused, Err(StorageError::BadDigest { .. })));
    let right = Checksum::of(ChecksumAlgorithm::Crc64Nvme, &bytes(1, FILE_BYTES));
    let complete = CompleteUpload { checksum: Some(right), size_bytes: Some(FILE_BYTES as u64), ..named };
    let object = rig.store.complete_upload(&bucket, &key, upload, complete, &NoKeys).await.unwrap();
    assert_eq!(object.checksum.unwrap().value, right);
}

#[tokio::test]
async fn complete_obeys_its_conditions() {
    let (rig, bucket, upload, part) = with_one_part().await;
    rig.put(&bucket, "key", b"there").await;
    let if_none_match = Some(EtagCondition::Any);
    let conditions = WriteConditions { if_none_match, ..WriteConditions::default() };
    let complete = CompleteUpload { conditions, ..complete_of(&[part]) };
    let refused = rig.store.complete_upload(&bucket, &object_key("key"), upload, complete.clone(), &NoKeys).await;
    assert!(matches!(refused, Err(StorageError::PreconditionFailed { .. })));
    rig.delete(&bucket, "key").await;
    rig.store.complete_upload(&bucket, &object_key("key"), upload, complete, &NoKeys).await.unwrap();
}

#[tokio::test]
async fn a_repeated_complete_gives_the_same_answer_for_a_day() {
    let (rig, bucket, upload, part) = with_one_part().await;
    let parts = [part];
    let first = rig.complete(&bucket, "key", upload, &parts).await.unwrap();
    rig.collect_all().await;
    rig.put(&bucket, "key", b"newer").await;
    let again = rig.complete(&bucket, "key", upload, &parts).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"newer");
    let mut other = parts.clone();
    other[0].number = 4;
    assert!(matches!(rig.complete(&bucket, "key", upload, &other).await, Err(StorageError::NoSuchUpload)));
    rig.forget_uploads().await;
    assert!(matches!(rig.complete(&bucket, "key", upload, &parts).await, Err(StorageError::NoSuchUpload)));
    assert_eq!(rig.rows(bucket.id, Family::Upload).await, 0);
}

#[tokio::test]
async fn a_completed_upload_takes_no_part_and_no_abort() {
    let (rig, bucket, upload, part) = with_one_part().await;
    rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    let late = rig.upload_part(&bucket, "key", upload, 5, b"late").await;
    assert!(matches!(late, Err(StorageError::NoSuchUpload)));
    assert!(matches!(rig.abort(&bucket, "key", upload).await, Err(StorageError::NoSuchUpload)));
    let parts = rig.store.list_parts(&bucket, &object_key("key"), upload, 0, 10).await;
    assert!(matches!(parts, Err(StorageError::NoSuchUpload)));
}

#[tokio::test]
async fn abort_frees_everything() {
    let (rig, bucket, upload) = rig_with_upload().await;
    for (number, size) in [(1, FILE_BYTES), (2, 10), (3, 0), (1, FILE_BYTES + 1)] {
        rig.upload_part(&bucket, "key", upload, number, &bytes(1, size)).await.unwrap();
    }
    rig.abort(&bucket, "key", upload).await.unwrap();
    rig.collect_all().await;
    assert!(rig.files().is_empty());
    assert_eq!(rig.content_rows(&bucket).await, 0);
    assert_eq!(rig.rows(bucket.id, Family::Upload).await, 0);
    assert_eq!(rig.usage(&bucket).await, [0, 0, 0]);
    let part = rig.upload_part(&bucket, "key", upload, 1, b"late").await;
    assert!(matches!(part, Err(StorageError::NoSuchUpload)));
    assert!(matches!(rig.abort(&bucket, "key", upload).await, Err(StorageError::NoSuchUpload)));
}

#[tokio::test]
async fn an_upload_belongs_to_its_key() {
    let (rig, bucket, upload, part) = with_one_part().await;
    let elsewhere = rig.complete(&bucket, "other", upload, &[part]).await;
    assert!(matches!(elsewhere, Err(StorageError::NoSuchUpload)));
    let late = rig.upload_part(&bucket, "other", upload, 1, b"x").await;
    assert!(matches!(late, Err(StorageError::NoSuchUpload)));
}

#[tokio::test]
async fn the_object_s_checksum_is_combined_as_the_client_chose() {
    let cases = [
        (ChecksumAlgorithm::Crc32, ChecksumType::FullObject),
        (ChecksumAlgorithm::Crc32c, ChecksumType::Composite),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject),
        (ChecksumAlgorithm::Sha256, ChecksumType::Composite),
    ];
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let key = object_key("key");
    let (one, two) = (bytes(1, FULL), bytes(2, FILE_BYTES));
    for (algorithm, kind) in cases {
        let upload = rig.store.create_upload(&bucket, &key, upload_of(Some((algorithm, kind)))).await.unwrap().id;
        let parts = [
            rig.upload_part(&bucket, "key", upload, 1, &one).await.unwrap(),
            rig.upload_part(&bucket, "key", upload, 2, &two).await.unwrap(),
        ];
        let checksums = [Checksum::of(algorithm, &one), Checksum::of(algorithm, &two)];
        assert_eq!(parts.clone().map(|part| part.checksum), checksums.map(Some));
        let object = rig.complete(&bucket, "key", upload, &parts).await.unwrap().checksum.unwrap();
        let expected = match kind {
            ChecksumType::FullObject => Checksum::of(algorithm, &[&one[..], &two].concat()),
            ChecksumType::Composite => Checksum::of(algorithm, &checksums.map(|sum| sum.as_bytes().to_vec()).concat()),
        };
        assert_eq!((object.value, object.checksum_type()), (expected, kind), "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_part_may_not_declare_another_algorithm_than_its_upload() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let key = object_key("key");
    let chosen = Some((ChecksumAlgorithm::Crc32, ChecksumType::FullObject));
    let upload = rig.store.create_upload(&bucket, &key, upload_of(chosen)).await.unwrap().id;
    let other = Checksum::of(ChecksumAlgorithm::Sha1, b"x");
    let body = cairn_storage::ops::Body {
        checksum: cairn_storage::ops::DeclaredChecksum::Header(other),
        ..crate::rig::body(b"x")
    };
    let refused = rig.store.upload_part(&bucket, &key, upload, 1, body, &NoKeys).await;
    assert!(matches!(refused, Err(StorageError::ChecksumMismatchesUpload { .. })));
}

#[tokio::test]
async fn a_part_with_another_declared_checksum_keeps_the_object_s_default_one() {
    let (rig, bucket, upload) = rig_with_upload().await;
    let declared = Checksum::of(ChecksumAlgorithm::Sha1, b"part");
    let body = cairn_storage::ops::Body {
        checksum: cairn_storage::ops::DeclaredChecksum::Header(declared),
        ..crate::rig::body(b"part")
    };
    let part = rig.store.upload_part(&bucket, &object_key("key"), upload, 1, body, &NoKeys).await.unwrap();
    let object = rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
    assert_eq!(object.checksum.unwrap().value, Checksum::of(ChecksumAlgorithm::Crc64Nvme, b"part"));
}

#[tokio::test]
async fn parts_are_listed_in_pages() {
    let (rig, bucket, upload) = rig_with_upload().await;
    for number in [5, 1, 10_000, 3] {
        rig.upload_part(&bucket, "key", upload, number, b"x").await.unwrap();
    }
    let key = object_key("key");
    let page = async |after, max| {
        let page = rig.store.list_parts(&bucket, &key, upload, after, max).await.unwrap();
        (page.parts.iter().map(|part| part.number).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page(0, 2).await, (vec![1, 3], Some(3)));
    assert_eq!(page(3, 2).await, (vec![5, 10_000], None));
    assert_eq!(page(4, 1_000).await, (vec![5, 10_000], None));
    assert_eq!(page(10_000, 10).await, (vec![], None));
    assert_eq!(page(u16::MAX, 10).await, (vec![], None));
}

/// Uploading 10,000 parts of 5 MiB would take 50 GB, so their rows are planted.
#[tokio::test]
async fn ten_thousand_parts_become_an_object_and_are_freed() {
    let (rig, bucket, upload) = rig_with_upload().await;
    let key = object_key("key");
    let row = upload::key(&key, upload);
    let row = rig.store.index().view(bucket.id.into(), move |view| view.get(Family::Upload, &row)).await.unwrap();
    let content = UploadRecord::from_value(&row.unwrap().value).unwrap().content;
    let mut named = Vec::new();
    for number in 1..=PARTS_MAX {
        let mut id = [7; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let id = cairn_storage::id::ContentId::from_bytes(id);
        let checksum = Some(Checksum::of(ChecksumAlgorithm::Crc64Nvme, &number.to_be_bytes()));
        let record = PartRecord {
            size_bytes: PART_BYTES_MIN,
            etag: [3; 16],
            content: Content::File(id),
            modified: crate::rig::START,
            checksum,
            sealed_checksum: None,
        };
        let kind = ContentKind::File { size_bytes: PART_BYTES_MIN, stored_bytes: PART_BYTES_MIN, seal: None };
        let mut batch = Batch::new();
        batch.put(Family::Part, part::key(content, number), record.to_value().unwrap());
        let row = ContentRecord { counted: false, ..ContentRecord::new(kind) };
        batch.put(Family::Content, id.as_bytes().as_slice(), row.to_value().unwrap());
        rig.commit(bucket.id.into(), batch).await;
        named.push(NamedPart { number, etag: hex::encode([3; 16]), checksum: None });
    }
    let complete = CompleteUpload { parts: named, ..CompleteUpload::default() };
    let object = rig.store.complete_upload(&bucket, &key, upload, complete, &NoKeys).await.unwrap();
    assert_eq!(object.size_bytes, u64::from(PARTS_MAX) * PART_BYTES_MIN);
    let get = GetObject { select: Select::Part(PARTS_MAX), ..GetObject::default() };
    let head = rig.store.head_object(&bucket, &key, get).await.unwrap();
    assert_eq!(head.range, object.size_bytes - PART_BYTES_MIN..object.size_bytes);
    let mut parts = Vec::new();
    let mut next = Some(0);
    while let Some(after) = next {
        let get = GetObjectParts { after, max_parts: 700, ..GetObjectParts::default() };
        let page = rig.store.object_parts(&bucket, &key, get).await.unwrap();
        parts.extend(page.parts);
        next = page.next;
    }
    assert!(parts.into_iter().eq((1..=PARTS_MAX).map(|number| ObjectPart {
        number,
        size_bytes: PART_BYTES_MIN,
        checksum: Some(Checksum::of(ChecksumAlgorithm::Crc64Nvme, &number.to_be_bytes())),
        sealed_checksum: None,
    })));
    rig.collect_all().await;
    assert_eq!(rig.rows(bucket.id, Family::Part).await, 0);
    assert_eq!(rig.rows(bucket.id, Family::Content).await, usize::from(PARTS_MAX) + 1);
    rig.delete(&bucket, "key").await;
    rig.collect_all().await;
    assert_eq!(rig.content_rows(&bucket).await, 0);
}
