//! Complete, Abort, UploadPart and the collector of one upload.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::encryption::NoKeys;
use cairn_storage::id::UploadId;
use cairn_storage::index::Family;
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::{Bucket, CompleteUpload, EtagCondition, Part, WriteConditions};

use super::{Racer, all, check_holds, collect, explore, new_rig, racer};
use crate::rig::{FILE_BYTES, Rig, bytes, complete_of, object_key};

/// What a racer came to: a Complete's answer, or nothing to say.
type Answer = Result<Option<ObjectVersion>, StorageError>;

struct Scene {
    rig: Arc<Rig>,
    bucket: Bucket,
    upload: UploadId,
    /// Of seed 1; another part, of seed 2, is never named.
    part: Part,
}

impl Scene {
    async fn new() -> Self {
        let (rig, bucket) = new_rig().await;
        let upload = rig.create_upload(&bucket, "key").await;
        let part = rig.upload_part(&bucket, "key", upload, 1, &bytes(1, FILE_BYTES)).await.unwrap();
        rig.upload_part(&bucket, "key", upload, 2, &bytes(2, FILE_BYTES)).await.unwrap();
        Self { rig, bucket, upload, part }
    }

    fn complete(&self) -> Racer<Answer> {
        let (upload, part) = (self.upload, self.part.clone());
        racer(&self.rig, &self.bucket, move |rig, bucket| async move {
            rig.complete(&bucket, "key", upload, &[part]).await.map(Some)
        })
    }

    fn abort(&self) -> Racer<Answer> {
        let upload = self.upload;
        racer(&self.rig, &self.bucket, move |rig, bucket| async move {
            rig.abort(&bucket, "key", upload).await.map(|()| None)
        })
    }

    fn collector(&self) -> Racer<Answer> {
        racer(&self.rig, &self.bucket, |rig, _| async move {
            collect(&rig, 3).await;
            Ok(None)
        })
    }

    fn upload_part(&self, number: u16, seed: u64) -> Racer<Answer> {
        let upload = self.upload;
        racer(&self.rig, &self.bucket, move |rig, bucket| async move {
            rig.upload_part(&bucket, "key", upload, number, &bytes(seed, FILE_BYTES)).await.map(|_| None)
        })
    }

    async fn check_holds(&self, expected: Option<&[u8]>) {
        check_holds(&self.rig, &self.bucket, "key", expected).await;
    }
}

fn is_no_such_upload(answer: &Answer) -> bool {
    matches!(answer, Err(StorageError::NoSuchUpload))
}

#[test]
fn completes_and_an_abort_beside_the_collector_agree_on_one_outcome() {
    explore(|| async {
        let scene = Scene::new().await;
        let racers = vec![scene.complete(), scene.complete(), scene.abort(), scene.collector()];
        let answers = all(racers).await;
        if answers[2].is_ok() {
            assert!(is_no_such_upload(&answers[0]) && is_no_such_upload(&answers[1]), "{answers:?}");
            scene.check_holds(None).await;
        } else {
            assert!(is_no_such_upload(&answers[2]), "{answers:?}");
            assert_eq!(answers[0].as_ref().unwrap(), answers[1].as_ref().unwrap());
            scene.check_holds(Some(&bytes(1, FILE_BYTES))).await;
        }
    });
}

#[test]
fn conditional_completes_at_once_give_the_same_answer() {
    explore(|| async {
        let scene = Scene::new().await;
        let complete = || {
            let (upload, part) = (scene.upload, scene.part.clone());
            racer(&scene.rig, &scene.bucket, move |rig, bucket| async move {
                let if_none_match = Some(EtagCondition::Any);
                let conditions = WriteConditions { if_none_match, ..WriteConditions::default() };
                let complete = CompleteUpload { conditions, ..complete_of(&[part]) };
                rig.store.complete_upload(&bucket, &object_key("key"), upload, complete, &NoKeys).await
            })
        };
        let answers = all(vec![complete(), complete()]).await;
        assert_eq!(answers[0].as_ref().unwrap(), answers[1].as_ref().unwrap());
    });
}

#[test]
fn a_part_replaced_during_complete_is_the_old_one_or_complete_refuses() {
    explore(|| async {
        let scene = Scene::new().await;
        let answers = all(vec![scene.complete(), scene.upload_part(1, 3), scene.collector()]).await;
        match (&answers[0], &answers[1]) {
            // Complete came first, so the replacement found no upload.
            (Ok(_), replaced) if is_no_such_upload(replaced) => scene.check_holds(Some(&bytes(1, FILE_BYTES))).await,
            (Err(StorageError::InvalidPart { .. }), Ok(_)) => {
                scene.rig.abort(&scene.bucket, "key", scene.upload).await.unwrap();
                scene.check_holds(None).await;
            }
            answers => panic!("{answers:?}"),
        }
    });
}

#[test]
fn a_new_part_uploaded_during_complete_or_abort_is_freed_or_refused() {
    for aborted in [false, true] {
        explore(move || async move {
            let scene = Scene::new().await;
            let end = if aborted { scene.abort() } else { scene.complete() };
            let answers = all(vec![end, scene.upload_part(3, 3), scene.collector()]).await;
            assert!(answers[0].is_ok(), "{answers:?}");
            assert!(answers[1].is_ok() || is_no_such_upload(&answers[1]), "{answers:?}");
            let expected = bytes(1, FILE_BYTES);
            scene.check_holds((!aborted).then_some(&expected[..])).await;
        });
    }
}

#[test]
fn of_two_replacements_of_one_part_one_stays_and_the_others_are_freed() {
    explore(|| async {
        let scene = Scene::new().await;
        let answers = all(vec![scene.upload_part(1, 3), scene.upload_part(1, 4), scene.collector()]).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        scene.rig.collect_all().await;
        // This part and the one that nobody replaced.
        assert_eq!(scene.rig.files().len(), 2);
        assert_eq!(scene.rig.rows(scene.bucket.id, Family::Content).await, 2);
    });
}

#[test]
fn of_two_first_uploads_of_one_part_one_stays() {
    explore(|| async {
        let scene = Scene::new().await;
        let answers = all(vec![scene.upload_part(9, 3), scene.upload_part(9, 4)]).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        scene.rig.collect_all().await;
        assert_eq!(scene.rig.files().len(), 3);
        assert_eq!(scene.rig.rows(scene.bucket.id, Family::Content).await, 3);
    });
}

#[test]
fn an_object_deleted_while_its_upload_is_tidied_up_is_freed_whole() {
    explore(|| async {
        let scene = Scene::new().await;
        scene.rig.complete(&scene.bucket, "key", scene.upload, std::slice::from_ref(&scene.part)).await.unwrap();
        let delete = racer(&scene.rig, &scene.bucket, |rig, bucket| async move {
            rig.delete(&bucket, "key").await;
            Ok(None)
        });
        all(vec![delete, scene.collector(), scene.collector()]).await;
        scene.check_holds(None).await;
        assert_eq!(scene.rig.content_rows(&scene.bucket).await, 0);
    });
}
