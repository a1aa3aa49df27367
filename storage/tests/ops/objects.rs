//! Put, get, head and delete in a bucket without versioning.

use cairn_storage::StorageError;
use cairn_storage::index::Family;
use cairn_storage::object::{Content, ObjectAttributes, StorageClass};
use cairn_storage::ops::{GetObject, PutObject, RangeRequest, Select, VersionSelector};

use crate::rig::{FILE_BYTES, INLINE_BYTES_MAX, Rig, body, body_of, bytes, object_key, put_of};

/// Plaintext bytes of a chunk.
const CHUNK: usize = cairn_storage::blob::CHUNK_BYTES as usize;

#[tokio::test]
async fn what_was_put_is_got() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let sizes = [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, FILE_BYTES, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5];
    for (seed, size) in (1..).zip(sizes) {
        let bytes = bytes(seed, size);
        let object = rig.put(&bucket, "key", &bytes).await;
        assert_eq!(object.size_bytes, size as u64);
        assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes, "{size} bytes");
    }
}

#[tokio::test]
async fn size_decides_where_the_bytes_live() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let content = async |size| rig.put(&bucket, "key", &bytes(1, size)).await.content;
    assert_eq!(content(0).await, Content::Empty);
    assert!(matches!(content(1).await, Content::Inline(_)));
    assert!(matches!(content(INLINE_BYTES_MAX).await, Content::Inline(_)));
    assert!(matches!(content(INLINE_BYTES_MAX + 1).await, Content::File(_)));
}

#[tokio::test]
async fn a_body_without_a_length_in_many_pieces_is_stored_whole() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for size in [INLINE_BYTES_MAX, 2 * CHUNK + 7, 1_200_000] {
        let bytes = bytes(1, size);
        let pieces = bytes.chunks(997).map(bytes::Bytes::copy_from_slice).collect();
        rig.try_put_body(&bucket, "key", body_of(pieces, None)).await.unwrap();
        assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn every_range_is_cut_exactly_across_chunk_borders() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bytes = bytes(1, 2 * CHUNK + 10);
    rig.put(&bucket, "key", &bytes).await;
    let borders = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, bytes.len() - 1];
    for first in borders {
        for last in borders.into_iter().filter(|last| first <= *last) {
            let range = RangeRequest::From { first: first as u64, last: Some(last as u64) };
            let get = GetObject { select: Select::Range(range), ..GetObject::default() };
            assert_eq!(rig.get_with(&bucket, "key", get).await.unwrap(), bytes[first..=last], "{first}-{last}");
        }
    }
}

#[tokio::test]
async fn a_range_of_an_inline_object_is_cut() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"0123456789").await;
    let get = |range| GetObject { select: Select::Range(range), ..GetObject::default() };
    assert_eq!(rig.get_with(&bucket, "key", get(RangeRequest::Suffix(3))).await.unwrap(), b"789");
    let past = rig.get_with(&bucket, "key", get(RangeRequest::From { first: 10, last: None })).await;
    assert!(matches!(past, Err(StorageError::RangeNotSatisfiable { size_bytes: 10 })));
}

#[tokio::test]
async fn an_object_that_was_put_whole_has_one_part() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"0123").await;
    rig.put(&bucket, "empty", b"").await;
    let part = |number| GetObject { select: Select::Part(number), ..GetObject::default() };
    assert_eq!(rig.get_with(&bucket, "key", part(1)).await.unwrap(), b"0123");
    assert_eq!(rig.get_with(&bucket, "empty", part(1)).await.unwrap(), b"");
    for number in [0, 2] {
        let missing = rig.get_with(&bucket, "key", part(number)).await;
        assert!(matches!(missing, Err(StorageError::NoSuchPart { parts_count: 1 })), "{number}");
    }
}

#[tokio::test]
async fn head_says_what_get_would_return() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let mut attributes =
        ObjectAttributes { content_type: Some("text/plain".to_owned()), ..ObjectAttributes::default() };
    attributes.user_metadata.insert("colour".to_owned(), "blue".to_owned());
    let put = PutObject { attributes, storage_class: StorageClass::StandardIa, ..put_of(body(&bytes(1, FILE_BYTES))) };
    let put = rig.store.put_object(&bucket, &object_key("key"), put).await.unwrap();
    let select = Select::Range(RangeRequest::Suffix(20));
    let get = GetObject { select, ..GetObject::default() };
    let head = rig.store.head_object(&bucket, &object_key("key"), get.clone()).await.unwrap();
    let read = rig.store.get_object(&bucket, &object_key("key"), get).await.unwrap();
    assert_eq!(head.object, put);
    assert_eq!((&head.object, &head.range, head.parts_count), (&read.object, &read.range, read.parts_count));
    assert_eq!(head.range, FILE_BYTES as u64 - 20..FILE_BYTES as u64);
}

#[tokio::test]
async fn a_missing_key_is_no_such_key() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    assert!(matches!(rig.get(&bucket, "key").await, Err(StorageError::NoSuchKey { delete_marker: None })));
    let null = rig.get_version(&bucket, "key", VersionSelector::Null).await;
    assert!(matches!(null, Err(StorageError::NoSuchVersion)));
}

#[tokio::test]
async fn neighbouring_keys_do_not_mix() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let keys = ["a", "a\0", "a\0\u{1}", "a/", "a/b", "a\u{10FFFF}", "\u{1}", "ä"];
    for (seed, key) in (1..).zip(keys) {
        rig.put(&bucket, key, &bytes(seed, 20)).await;
    }
    rig.delete(&bucket, "a").await;
    for (seed, key) in (1..).zip(keys).skip(1) {
        assert_eq!(rig.get(&bucket, key).await.unwrap(), bytes(seed, 20), "{key:?}");
    }
}

#[tokio::test]
async fn deleting_frees_everything_the_object_held() {
    for size in [0, 10, FILE_BYTES] {
        let rig = Rig::new();
        let bucket = rig.create_bucket("bucket").await;
        rig.put(&bucket, "key", &bytes(1, size)).await;
        rig.delete(&bucket, "key").await;
        assert!(matches!(rig.get(&bucket, "key").await, Err(StorageError::NoSuchKey { delete_marker: None })));
        rig.collect_all().await;
        assert_eq!(rig.content_rows(&bucket).await, 0, "{size} bytes");
        assert_eq!(rig.rows(bucket.id, Family::Current).await, 0);
        assert!(rig.files().is_empty(), "{size} bytes");
    }
}

#[tokio::test]
async fn overwriting_frees_what_was_there_and_nothing_else() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for (old, new) in [(FILE_BYTES, 10), (10, FILE_BYTES), (FILE_BYTES, FILE_BYTES), (FILE_BYTES, 0)] {
        rig.put(&bucket, "key", &bytes(1, old)).await;
        rig.put(&bucket, "key", &bytes(2, new)).await;
        rig.collect_all().await;
        assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(2, new));
        assert_eq!(rig.files().len(), usize::from(new > INLINE_BYTES_MAX));
        assert_eq!(rig.content_rows(&bucket).await, usize::from(new > 0));
    }
}

#[tokio::test]
async fn deleting_what_does_not_exist_succeeds_and_says_nothing() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let outcome = rig.delete(&bucket, "key").await;
    assert_eq!(outcome, Default::default());
    assert_eq!(rig.usage(&bucket).await, [0, 0, 0]);
}

#[tokio::test]
async fn usage_is_exact_after_every_put_overwrite_and_delete() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "a", &bytes(1, 10)).await;
    assert_eq!(rig.usage(&bucket).await, [1, 1, 10]);
    rig.put(&bucket, "b", &bytes(1, FILE_BYTES)).await;
    assert_eq!(rig.usage(&bucket).await, [2, 2, 10 + FILE_BYTES as i64]);
    rig.put(&bucket, "b", &bytes(1, 5)).await;
    assert_eq!(rig.usage(&bucket).await, [2, 2, 15]);
    rig.put(&bucket, "empty", b"").await;
    assert_eq!(rig.usage(&bucket).await, [3, 3, 15]);
    for key in ["a", "b", "empty", "never"] {
        rig.delete(&bucket, key).await;
    }
    assert_eq!(rig.usage(&bucket).await, [0, 0, 0]);
}

#[tokio::test]
async fn usage_is_counted_by_storage_class() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let put = PutObject { storage_class: StorageClass::StandardIa, ..put_of(body(&[1; 7])) };
    rig.store.put_object(&bucket, &object_key("key"), put).await.unwrap();
    assert_eq!(rig.usage_of(&bucket, StorageClass::StandardIa).await, [1, 1, 7]);
    rig.put(&bucket, "key", &[1; 3]).await;
    assert_eq!(rig.usage_of(&bucket, StorageClass::StandardIa).await, [0, 0, 0]);
    assert_eq!(rig.usage(&bucket).await, [1, 1, 3]);
}

#[tokio::test]
async fn a_read_only_store_refuses_writes_and_serves_reads() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    rig.health.fail("as the test wants");
    assert!(matches!(rig.try_put(&bucket, "key", b"new").await, Err(StorageError::ReadOnly { .. })));
    let deleted = rig.delete_version(&bucket, "key", VersionSelector::Newest).await;
    assert!(matches!(deleted, Err(StorageError::ReadOnly { .. })));
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(1, FILE_BYTES));
}

#[tokio::test]
async fn a_full_disk_refuses_puts_and_allows_deletes() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    rig.health.record_space(1_000, 2_000);
    assert!(matches!(rig.try_put(&bucket, "new", b"x").await, Err(StorageError::DiskFull { .. })));
    rig.delete(&bucket, "key").await;
    rig.collect_all().await;
    assert!(rig.files().is_empty());
    rig.health.record_space(9_000, 2_000);
    rig.put(&bucket, "new", b"x").await;
}
