//! Readers and writers of contents against the collector and the scan.

use std::sync::Arc;
use std::time::Duration;

use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::ContentId;
use cairn_storage::index::family::content::{self, ContentRecord};
use cairn_storage::index::family::layout::LayoutPage;
use cairn_storage::index::{Batch, Family, KeyRange, Outcome};
use cairn_storage::jobs::scan::{self, ScanOptions};
use cairn_storage::object::{Content, StorageClass};
use cairn_storage::ops::lifecycle::Act;
use cairn_storage::ops::{
    Bucket, CopyObject, CopySource, GetObject, Permit, ReadConditions, VersionSelector, WriteConditions,
};
use cairn_storage::record::Record as _;
use cairn_storage::settings::ObjectSettings;

use crate::lifecycle::{act, set_rules};
use crate::restore::history;
use crate::sealed_checksums::moved;

use super::{Racer, all, check_holds, collect, explore, new_rig, racer};
use crate::rig::{FILE_BYTES, Rig, bytes, drain, keys, object_key, owner};

/// Opens the key and reads it to its end, with steps of others in between. It must get all of one version.
fn reader(rig: &Arc<Rig>, bucket: &Bucket, candidates: Vec<Vec<u8>>) -> Racer<()> {
    racer(rig, bucket, |rig, bucket| async move {
        let read = match rig.store.get_object(&bucket, &object_key("key"), GetObject::default()).await {
            Ok(read) => read,
            Err(StorageError::NoSuchKey { .. }) => return,
            Err(error) => panic!("{error}"),
        };
        // The body has not opened its file yet.
        for _ in 0..3 {
            shuttle::future::yield_now().await;
        }
        let got = drain(read.body).await.unwrap();
        assert!(candidates.contains(&got), "bytes that nobody put");
    })
}

fn collector(rig: &Arc<Rig>, bucket: &Bucket, rounds: usize) -> Racer<()> {
    racer(rig, bucket, move |rig, _| async move { collect(&rig, rounds).await })
}

fn put(rig: &Arc<Rig>, bucket: &Bucket, seed: u64) -> Racer<()> {
    racer(rig, bucket, move |rig, bucket| async move {
        rig.put(&bucket, "key", &bytes(seed, FILE_BYTES)).await;
    })
}

#[test]
fn a_reader_gets_every_byte_of_what_is_overwritten_and_collected_meanwhile() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        let candidates = vec![bytes(1, FILE_BYTES), bytes(2, FILE_BYTES)];
        let reader = reader(&rig, &bucket, candidates);
        all(vec![reader, put(&rig, &bucket, 2), collector(&rig, &bucket, 2)]).await;
        check_holds(&rig, &bucket, "key", Some(&bytes(2, FILE_BYTES))).await;
    });
}

#[test]
fn a_reader_of_a_multipart_object_gets_every_byte_of_what_is_deleted_and_collected_meanwhile() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let upload = rig.create_upload(&bucket, "key").await;
        let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
        rig.complete(&bucket, "key", upload, &[part]).await.unwrap();
        let reader = reader(&rig, &bucket, vec![bytes(1, FILE_BYTES)]);
        let delete = racer(&rig, &bucket, |rig, bucket| async move {
            rig.delete(&bucket, "key").await;
        });
        all(vec![reader, delete, collector(&rig, &bucket, 4)]).await;
        check_holds(&rig, &bucket, "key", None).await;
    });
}

#[test]
fn a_reader_gets_every_byte_of_an_object_of_a_bucket_that_is_deleted_meanwhile() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        let reader = racer(&rig, &bucket, |rig, bucket| async move {
            match rig.get(&bucket, "key").await {
                Ok(got) => assert!(got == bytes(1, FILE_BYTES)),
                Err(StorageError::NoSuchKey { .. } | StorageError::NoSuchBucket) => {}
                Err(error) => panic!("{error}"),
            }
        });
        let delete = racer(&rig, &bucket, |rig, bucket| async move {
            rig.delete(&bucket, "key").await;
            rig.store.delete_bucket(&bucket).await.unwrap();
            collect(&rig, 2).await;
        });
        all(vec![reader, delete]).await;
        rig.collect_all().await;
        assert!(rig.files().is_empty());
    });
}

/// The file is complete long before its commit; only the writer's pin tells it from an orphan.
#[test]
fn a_scan_leaves_a_writer_s_file_alone() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let put = put(&rig, &bucket, 1);
        let scan = racer(&rig, &bucket, |rig, _| async move {
            let options = ScanOptions { pause: Duration::ZERO };
            let moved = scan::quarantine_orphans(&rig.store, Timestamp(0), options).await;
            assert_eq!(moved.unwrap(), 0);
        });
        all(vec![put, scan]).await;
        check_holds(&rig, &bucket, "key", Some(&bytes(1, FILE_BYTES))).await;
    });
}

/// Adds a reference to a content, as a copy that shares it will do; false: the content is gone.
async fn share(rig: &Rig, bucket: &Bucket, id: ContentId) -> bool {
    let index = rig.store.index();
    loop {
        let row = index.view(bucket.id.into(), move |view| content::read(view, id)).await.unwrap();
        let Some((row, record)) = row else { return false };
        let mut batch = Batch::new();
        batch.guard(Family::Content, id.as_bytes().as_slice(), Some(row.revision));
        let shared = ContentRecord { references: record.references + 1, ..record };
        batch.put(Family::Content, id.as_bytes().as_slice(), shared.to_value().unwrap());
        if let Outcome::Committed(_) = index.commit(bucket.id.into(), batch).await {
            return true;
        }
    }
}

/// A content that was shared in time has one reference left and its file; otherwise neither is there.
async fn check_shared(rig: &Rig, bucket: &Bucket, id: ContentId, shared: bool) {
    rig.collect_all().await;
    let row = rig.store.index().view(bucket.id.into(), move |view| content::read(view, id)).await.unwrap();
    assert_eq!(row.map(|(_, record)| record.references), shared.then_some(1));
    assert_eq!(rig.files().contains(&id), shared);
}

#[test]
fn a_reference_added_while_its_object_is_deleted_is_not_lost() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let object = rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        let Content::File(id) = object.content else { panic!() };
        let sharer = racer(&rig, &bucket, move |rig, bucket| async move { share(&rig, &bucket, id).await });
        let delete = racer(&rig, &bucket, |rig, bucket| async move {
            rig.delete(&bucket, "key").await;
            false
        });
        let shared = all(vec![sharer, delete, racer(&rig, &bucket, collecting)]).await[0];
        check_shared(&rig, &bucket, id, shared).await;
    });
}

#[test]
fn a_reference_added_while_its_part_is_replaced_is_not_lost() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        let upload = rig.create_upload(&bucket, "key").await;
        rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
        let id = rig.files()[0];
        let sharer = racer(&rig, &bucket, move |rig, bucket| async move { share(&rig, &bucket, id).await });
        let replace = racer(&rig, &bucket, move |rig, bucket| async move {
            rig.upload_part(&bucket, "key", upload, 1, b"x").await.unwrap();
            false
        });
        let shared = all(vec![sharer, replace, racer(&rig, &bucket, collecting)]).await[0];
        check_shared(&rig, &bucket, id, shared).await;
    });
}

async fn collecting(rig: Arc<Rig>, _bucket: Bucket) -> bool {
    collect(&rig, 2).await;
    false
}

/// Copies "key" to `to` within the bucket. False: there was nothing to copy any more.
fn copy(rig: &Arc<Rig>, bucket: &Bucket, to: &'static str) -> Racer<bool> {
    racer(rig, bucket, move |rig, bucket| async move {
        let key = object_key("key");
        let source = CopySource {
            bucket: &bucket,
            key: &key,
            version: VersionSelector::Newest,
            permit: Permit::any(),
            conditions: ReadConditions::default(),
            keys: keys(),
        };
        let copy = CopyObject {
            redirect_location: None,
            attributes: None,
            storage_class: None,
            tags: None,
            settings: ObjectSettings::default(),
            owner: owner(),
            checksum: None,
            sealing: None,
            names_encryption: false,
            conditions: WriteConditions::default(),
        };
        match rig.store.copy_object(source, &bucket, &object_key(to), copy).await {
            Ok(_) => true,
            Err(StorageError::NoSuchKey { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    })
}

fn delete(rig: &Arc<Rig>, bucket: &Bucket) -> Racer<bool> {
    racer(rig, bucket, |rig, bucket| async move {
        rig.delete(&bucket, "key").await;
        true
    })
}

#[test]
fn a_shared_content_lives_as_long_as_one_copy_of_it() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
        let collector = racer(&rig, &bucket, |rig, _| async move {
            collect(&rig, 2).await;
            true
        });
        let racers = vec![copy(&rig, &bucket, "one"), copy(&rig, &bucket, "two"), delete(&rig, &bucket), collector];
        let done = all(racers).await;
        rig.collect_all().await;
        for (copied, to) in [(done[0], "one"), (done[1], "two")] {
            let got = rig.get(&bucket, to).await;
            assert_eq!(got.is_ok_and(|got| got == bytes(1, FILE_BYTES)), copied, "{to}");
        }
        assert_eq!(rig.files().len(), usize::from(done[0] || done[1]));
    });
}

/// Two keys that share a content, the first of which has moved if it is told to.
async fn sharing(first_moves: bool) -> (Arc<Rig>, Bucket) {
    let (rig, bucket) = new_rig().await;
    set_rules(&rig, &bucket).await.unwrap();
    rig.put(&bucket, "one", &bytes(1, FILE_BYTES)).await;
    history::copy(&rig, &bucket, &object_key("one"), &object_key("two")).await;
    if first_moves {
        act(&rig, &bucket, "one", 0, Act::Transition(StorageClass::OnezoneIa)).await.unwrap();
    }
    (rig, bucket)
}

fn moving(rig: &Arc<Rig>, bucket: &Bucket, key: &'static str) -> Racer<bool> {
    racer(rig, bucket, move |rig, bucket| async move {
        let done = act(&rig, &bucket, key, 0, Act::Transition(StorageClass::OnezoneIa)).await.unwrap();
        assert_eq!(done.failed, []);
        !done.overtaken
    })
}

#[test]
fn a_copy_that_a_mover_shares_outlives_who_made_it() {
    explore(|| async {
        let (rig, bucket) = sharing(true).await;
        let delete = racer(&rig, &bucket, |rig, bucket| async move {
            rig.delete(&bucket, "one").await;
            false
        });
        all(vec![moving(&rig, &bucket, "two"), delete, racer(&rig, &bucket, collecting)]).await;
        rig.collect_all().await;
        assert_eq!((rig.files().len(), rig.get(&bucket, "two").await.unwrap()), (1, bytes(1, FILE_BYTES)));
    });
}

#[test]
fn sharers_that_move_at_once_keep_a_file_each_or_share_one() {
    explore(|| async {
        let (rig, bucket) = sharing(false).await;
        let one_and_two = vec![moving(&rig, &bucket, "one"), moving(&rig, &bucket, "two")];
        let moved = all(one_and_two.into_iter().chain([racer(&rig, &bucket, collecting)]).collect()).await;
        rig.collect_all().await;
        let moved = moved.into_iter().filter(|moved| *moved).count();
        assert!(moved >= 1, "somebody's commit comes first");
        // Who has copied before the other's commit may keep the copy.
        assert!((if moved == 2 { 1..=2 } else { 2..=2 }).contains(&rig.files().len()));
        for key in ["one", "two"] {
            assert_eq!(rig.get(&bucket, key).await.unwrap(), bytes(1, FILE_BYTES));
        }
    });
}

/// Neither rewrites the other's head: a version moves while another one of the same content has the checksums of its parts sealed, which
/// an older version of the server left in the clear.
#[test]
fn what_is_sealed_while_a_version_of_the_same_content_moves_is_not_in_the_clear_again() {
    explore(|| async {
        let (rig, bucket) = new_rig().await;
        set_rules(&rig, &bucket).await.unwrap();
        moved::put_in_the_clear(&rig, &bucket, "moved", StorageClass::Standard).await;
        moved::share(&rig, &bucket, "moved", "sealed").await;
        let moves = racer(&rig, &bucket, |rig, bucket| async move {
            let done = act(&rig, &bucket, "moved", 0, Act::Transition(StorageClass::GlacierIr)).await.unwrap();
            assert_eq!(done.done.len(), 1, "{done:?}");
        });
        let seals = racer(&rig, &bucket, |rig, bucket| async move { moved::seal(&rig, &bucket, "sealed").await });
        all(vec![moves, seals]).await;
        let rows = rig.store.index().view(bucket.id.into(), |view| {
            let mut rows = Vec::new();
            let mut cursor = view.cursor(Family::Layout, KeyRange::all())?;
            while let Some((_, revision, value)) = cursor.row() {
                rows.push((revision, LayoutPage::from_value(value)?.parts[0].checksum.is_some()));
                cursor.advance()?;
            }
            Ok(rows)
        });
        let mut rows = rows.await.unwrap();
        rows.sort();
        // If the move was first, its copy is as the content was then; what was written last is sealed.
        assert!(rows.len() == 2 && !rows[1].1, "in the clear: {rows:?}");
        rig.collect_all().await;
        crate::restore::check_store(&rig).await;
    });
}
