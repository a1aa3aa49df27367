//! Moves beside UpdateObjectEncryption, of what an older version wrote: checksums that were sealed are not in the clear again.

use cairn_storage::jobs::collect::Collector;
use cairn_storage::object::StorageClass;
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::ops::settle::Settled;

use crate::lifecycle::{act, set_rules};
use crate::remote::new_rig;

use super::*;

/// Uploads an object of one part, which is a file, and leaves its checksums in the clear.
pub async fn put_in_the_clear(rig: &Rig, bucket: &Bucket, key: &str, storage_class: StorageClass) -> Checksum {
    let (content, name, keys) = (bytes(1, FILE_BYTES), object_key(key), Way::Server.keys());
    let sealing = Some(Way::Server.sealing());
    let create = CreateUpload { sealing, storage_class, ..upload_of(Some((ALGORITHM, ChecksumType::Composite))) };
    let upload = rig.store.create_upload(bucket, &name, create).await.unwrap().id;
    let part = rig.store.upload_part(bucket, &name, upload, 1, body(&content), &keys).await.unwrap();
    rig.store.complete_upload(bucket, &name, upload, complete_of(&[part]), &keys).await.unwrap();
    write_in_the_clear(rig, bucket, key).await;
    Checksum::of(ALGORITHM, &content)
}

/// Copies the key, which shares its content.
pub async fn share(rig: &Rig, bucket: &Bucket, from: &str, to: &str) {
    let storage_class = head(rig, bucket, from).await.storage_class;
    let copy = CopyObject { storage_class: Some(storage_class), ..copy(Way::Server.sealing()) };
    let copied = crate::copies::copy(rig, (bucket, from), (bucket, to), copy).await.unwrap();
    assert_eq!(copied.object.content, copied.source.content);
}

async fn head(rig: &Rig, bucket: &Bucket, key: &str) -> ObjectVersion {
    rig.store.head_object(bucket, &object_key(key), GetObject::default()).await.unwrap().object
}

/// Gives the newest version's data key another envelope, which seals what is in the clear.
pub async fn seal(rig: &Rig, bucket: &Bucket, key: &str) {
    let (keys, sealing, newest) = (Way::Server.keys(), Way::Kms.sealing(), VersionSelector::Newest);
    let (key, any) = (object_key(key), Permit::any());
    rig.store.update_encryption(bucket, &key, newest, &any, &keys, &sealing).await.unwrap();
}

/// The checksum of the newest version's part: as its record has it, and as the key opens it.
async fn part_checksum(rig: &Rig, bucket: &Bucket, key: &str, way: Way) -> (Option<Checksum>, Option<Checksum>) {
    let get = GetObjectParts { max_parts: 10, ..GetObjectParts::default() };
    let mut page = rig.store.object_parts(bucket, &object_key(key), get).await.unwrap();
    let kept = page.parts[0].checksum;
    page.reveal_checksums(Some(&data_key(bucket, key, &page.object, way).await)).unwrap();
    (kept, page.parts[0].checksum)
}

#[tokio::test]
async fn a_move_that_was_overtaken_keeps_checksums_sealed() {
    let (rig, fake, _) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    let expected = put_in_the_clear(&rig, &bucket, "key", StorageClass::GlacierIr).await;
    let (key, id) = (object_key("key"), rig.newest_id(&bucket, "key").await);
    let gate = fake.hold();
    let overtaking = async {
        fake.has_waiting().await;
        seal(&rig, &bucket, "key").await;
        gate.add_permits(1);
    };
    let (settled, ()) = tokio::join!(rig.store.settle_version(bucket.id, &key, id), overtaking);
    assert_eq!(settled.unwrap(), Settled::Moved(FILE_BYTES as u64));
    rig.collect_all().await;
    assert_eq!(part_checksum(&rig, &bucket, "key", Way::Kms).await, (None, Some(expected)));
    check_hidden(&rig, &bucket, &expected).await;
    crate::restore::check_store(&rig).await;
}

/// Of the same content; the other version's head is as it was.
#[tokio::test]
async fn a_move_that_a_version_of_the_same_content_overtook_keeps_checksums_sealed() {
    let (rig, fake, _) = new_rig().await;
    let bucket = rig.create_bucket("bucket").await;
    let expected = put_in_the_clear(&rig, &bucket, "key", StorageClass::GlacierIr).await;
    share(&rig, &bucket, "key", "copy").await;
    let (key, id) = (object_key("key"), rig.newest_id(&bucket, "key").await);
    let gate = fake.hold();
    let overtaking = async {
        fake.has_waiting().await;
        seal(&rig, &bucket, "copy").await;
        gate.add_permits(1);
    };
    let (settled, ()) = tokio::join!(rig.store.settle_version(bucket.id, &key, id), overtaking);
    assert_eq!(settled.unwrap(), Settled::Moved(FILE_BYTES as u64));
    for (key, way) in [("key", Way::Server), ("copy", Way::Kms)] {
        assert_eq!(part_checksum(&rig, &bucket, key, way).await, (None, Some(expected)), "{key}");
    }
}

#[tokio::test]
async fn a_copy_that_moved_before_checksums_were_sealed_is_not_shared_after() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let expected = put_in_the_clear(&rig, &bucket, "first", StorageClass::Standard).await;
    for key in ["sealed", "as-first"] {
        share(&rig, &bucket, "first", key).await;
    }
    let moves = async |key: &str| {
        let done = act(&rig, &bucket, key, 0, Act::Transition(StorageClass::GlacierIr)).await.unwrap();
        assert_eq!(done.done.len(), 1, "{done:?}");
        rig.try_run_due(&Collector).await.unwrap();
        rig.files().len()
    };
    assert_eq!((moves("first").await, moves("as-first").await), (2, 2), "one is left where it was, and one is shared");
    seal(&rig, &bucket, "sealed").await;
    moves("sealed").await;
    assert_eq!(part_checksum(&rig, &bucket, "sealed", Way::Kms).await, (None, Some(expected)));
    rig.collect_all().await;
    assert_eq!(rig.files().len(), 2);
    crate::restore::check_store(&rig).await;
}
