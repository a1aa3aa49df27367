//! A body that is not what was declared leaves nothing behind: no row, no file.

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_crypto::digest::Digests;
use cairn_storage::StorageError;
use cairn_storage::encryption::NoKeys;
use cairn_storage::index::Family;
use cairn_storage::ops::{Body, BodyError, DeclaredChecksum};

use crate::rig::{FILE_BYTES, Rig, body, body_of, bytes};

const SIZES: [usize; 3] = [0, 10, FILE_BYTES];

fn md5_of(bytes: &[u8]) -> [u8; 16] {
    let mut digests = Digests::new(true, []);
    digests.update(bytes);
    digests.finish().md5.unwrap()
}

/// Puts over an existing object, as a part too, and verifies that each is refused without a trace.
async fn check_refused(make: impl Fn() -> Body, expected: impl Fn(&StorageError) -> bool) {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"before").await;
    let upload = rig.create_upload(&bucket, "key").await;
    let rows = rig.content_rows(&bucket).await;
    let error = rig.try_put_body(&bucket, "key", make()).await.unwrap_err();
    assert!(expected(&error), "{error:?}");
    let key = crate::rig::object_key("key");
    let error = rig.store.upload_part(&bucket, &key, upload, 1, make(), &NoKeys).await.unwrap_err();
    assert!(expected(&error), "{error:?}");
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"before");
    assert_eq!(rig.content_rows(&bucket).await, rows);
    assert_eq!(rig.rows(bucket.id, Family::Job).await, 0);
    assert_eq!(rig.usage(&bucket).await, [1, 1, 6]);
    assert!(rig.files().is_empty());
}

#[tokio::test]
async fn a_wrong_content_md5_is_refused() {
    for size in SIZES {
        let make = || Body { content_md5: Some([1; 16]), ..body(&bytes(1, size)) };
        check_refused(make, |error| matches!(error, StorageError::BadDigest { what: "Content-MD5" })).await;
    }
}

#[tokio::test]
async fn a_wrong_checksum_in_a_header_is_refused() {
    for size in SIZES {
        for algorithm in ChecksumAlgorithm::ALL {
            let wrong = Checksum::of(algorithm, b"something else");
            let make = || Body { checksum: DeclaredChecksum::Header(wrong), ..body(&bytes(1, size)) };
            check_refused(make, |error| matches!(error, StorageError::BadDigest { .. })).await;
        }
    }
}

#[tokio::test]
async fn a_wrong_or_missing_trailing_checksum_is_refused() {
    for size in SIZES {
        let algorithm = ChecksumAlgorithm::Crc32c;
        let wrong = Checksum::of(algorithm, b"something else");
        let trailer = |sent: Option<Checksum>| {
            let checksum = DeclaredChecksum::Trailer(algorithm, Box::new(move || sent));
            Body { checksum, ..body(&bytes(1, size)) }
        };
        let is_bad_digest = |error: &StorageError| matches!(error, StorageError::BadDigest { what: "CRC32C" });
        check_refused(|| trailer(Some(wrong)), is_bad_digest).await;
        let other = Checksum::of(ChecksumAlgorithm::Crc32, &bytes(1, size));
        check_refused(|| trailer(Some(other)), is_bad_digest).await;
        check_refused(|| trailer(None), |error| matches!(error, StorageError::BadTrailer { what: "CRC32C" })).await;
    }
}

#[tokio::test]
async fn a_body_of_another_length_than_declared_is_refused() {
    for size in SIZES {
        for declared in [size as u64 + 1, (size as u64).wrapping_sub(1), size as u64 + 100_000] {
            let make = || body_of(bytes(1, size).chunks(7).map(Bytes::copy_from_slice).collect(), Some(declared));
            if declared < u64::MAX {
                check_refused(make, |error| matches!(error, StorageError::BodyLength { .. })).await;
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    for good_bytes in [0, 10, FILE_BYTES, 700_000] {
        let make = || {
            let broken: BodyError = "the client went away".into();
            let items = vec![Ok(Bytes::from(bytes(1, good_bytes))), Err(broken)];
            Body { stream: Box::pin(futures::stream::iter(items)), ..body_of(Vec::new(), None) }
        };
        check_refused(make, |error| matches!(error, StorageError::Body(_))).await;
    }
}

#[tokio::test]
async fn a_declared_length_above_five_gib_is_refused_before_the_body() {
    let make = || body_of(vec![Bytes::from_static(b"x")], Some((5 << 30) + 1));
    check_refused(make, |error| matches!(error, StorageError::TooLarge { .. })).await;
}

#[tokio::test]
async fn the_declared_checksum_is_verified_and_kept() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for size in SIZES {
        let bytes = bytes(1, size);
        for algorithm in ChecksumAlgorithm::ALL {
            let right = Checksum::of(algorithm, &bytes);
            let trailer = DeclaredChecksum::Trailer(algorithm, Box::new(move || Some(right)));
            for checksum in [DeclaredChecksum::Header(right), DeclaredChecksum::Compute(algorithm), trailer] {
                let body = Body { checksum, content_md5: Some(md5_of(&bytes)), ..body(&bytes) };
                let object = rig.try_put_body(&bucket, "key", body).await.unwrap();
                let kept = object.checksum.unwrap();
                assert_eq!((kept.value, kept.composite), (right, false));
                assert_eq!(object.etag.to_string(), hex::encode(md5_of(&bytes)));
            }
        }
    }
}

#[tokio::test]
async fn without_a_declared_checksum_a_crc64nvme_is_kept() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let object = rig.put(&bucket, "key", b"bytes").await;
    assert_eq!(object.checksum.unwrap().value, Checksum::of(ChecksumAlgorithm::Crc64Nvme, b"bytes"));
}
