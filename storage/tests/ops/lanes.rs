//! What waits in a lane of replication, how a version stands there, and what settling leaves.

use std::sync::Arc;

use bytes::Bytes;
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::{JobId, VersionId};
use cairn_storage::index::family::bucket::{BucketRecord, BucketState, Versioning};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::family::job::{self, Queue};
use cairn_storage::index::family::version::Version;
use cairn_storage::index::{Batch, Family};
use cairn_storage::jobs::replicate::{Lane, ReplicateTask};
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::planner::{Change, Plan, PlannedReplication, Planner};
use cairn_storage::ops::replication::{Arrived, Bring, Noted, Position, QueuedTask, Settled};
use cairn_storage::ops::{Bucket, VersionSelector};
use cairn_storage::record::Record as _;
use cairn_storage::replication::TargetId;
use cairn_storage::settings::ObjectSettings;

use crate::buckets::set_bucket_state;
use crate::rig::{Rig, START, object_key};

const TARGET: &str = "arn:aws:s3:there::copies";

/// How far ahead the changes are dated.
const AHEAD_MS: i64 = 60_000;

/// Replicates every version that comes.
#[derive(Debug)]
struct Replicating;

impl Planner for Replicating {
    fn kinds(&self, _: &BucketRecord) -> &[DocumentKind] {
        &[]
    }

    fn plan(&self, change: Change<'_>, _: &BucketRecord, _: &[Option<Bytes>]) -> Plan {
        let Change::Added { key, version, .. } = change else { return Plan::default() };
        Plan { tasks: Vec::new(), replications: planned(key, version) }
    }
}

fn planned(key: &ObjectKey, version: &Version) -> Vec<PlannedReplication> {
    let since = START.plus_ms(AHEAD_MS);
    let (key, target) = (key.as_str().to_owned(), TARGET.to_owned());
    let task = ReplicateTask { key, version: version.id(), target, rule: "all".to_owned(), size_bytes: 1, since };
    vec![PlannedReplication { target: task.target_id(), task: task.due_at(since) }]
}

async fn replicating() -> (Rig, Bucket, Lane) {
    let rig = Rig::planning(Arc::new(Replicating));
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    let lane = Lane { partition: bucket.id.into(), target: TargetId::of(TARGET) };
    (rig, bucket, lane)
}

async fn queued(rig: &Rig, lane: Lane) -> Vec<QueuedTask> {
    rig.store.queued(lane, Position::at(Timestamp(0)), START).await.unwrap().tasks
}

async fn task_of(rig: &Rig, lane: Lane, version: VersionId) -> QueuedTask {
    queued(rig, lane).await.into_iter().find(|queued| queued.task.version == version).unwrap()
}

/// The version has come to the target, where it has this id.
async fn arrive(rig: &Rig, lane: Lane, version: VersionId, id: &str) {
    let settings = Some(ObjectSettings::default());
    let completed = Settled::Completed { settings, foreign_version: Some(id.to_owned()) };
    rig.store.settle(lane, &[(task_of(rig, lane, version).await, completed)]).await.pop().unwrap().unwrap();
}

#[tokio::test]
async fn a_change_that_is_dated_ahead_is_due_at_once() {
    let (rig, bucket, lane) = replicating().await;
    rig.put(&bucket, "key", b"x").await;
    let due: Vec<_> = queued(&rig, lane).await.iter().map(|queued| queued.due).collect();
    assert_eq!(due, [START]);
}

#[tokio::test]
async fn what_is_still_pending_is_not_dropped() {
    let (rig, bucket, lane) = replicating().await;
    let id = rig.put(&bucket, "key", b"x").await.version_id;
    let task = task_of(&rig, lane, id).await;
    let noted = rig.store.settle(lane, &[(task.clone(), Settled::Dropped)]).await;
    assert!(matches!(noted[..], [Ok(Noted::Changed)]), "{noted:?}");
    assert_eq!(queued(&rig, lane).await, std::slice::from_ref(&task));
    let failed = Settled::Failed { reason: "refused".to_owned() };
    assert!(matches!(rig.store.settle(lane, &[(task, failed)]).await[..], [Ok(Noted::Done)]));
    assert!(queued(&rig, lane).await.is_empty());
}

#[tokio::test]
async fn what_was_given_up_is_kept_once_and_only_as_long_as_it_is() {
    let (rig, bucket, lane) = replicating().await;
    let id = rig.put(&bucket, "key", b"x").await.version_id;
    let settle = async |settled| {
        let task = task_of(&rig, lane, id).await;
        rig.store.settle(lane, &[(task, settled)]).await.pop().unwrap().unwrap();
    };
    let failed = || Settled::Failed { reason: "refused".to_owned() };
    let kept = async || rig.store.unreplicated(bucket.id, None, 10).await.unwrap();
    let again = async |bring| {
        let key = object_key("key");
        let plan = |version: &Version| planned(&key, version);
        assert!(rig.store.replicate_existing(bucket.id, &key, id, bring, plan).await.unwrap());
    };
    settle(failed()).await;
    let given_up = kept().await;
    assert_eq!((given_up.len(), given_up[0].given_up), (1, Some(START)));
    // What waits once more is not given up, whoever has it wait, and fails in the place of what it was.
    for bring in [Bring::Missing, Bring::Again] {
        again(bring).await;
        assert_eq!(kept().await, []);
        settle(failed()).await;
        assert_eq!(kept().await.len(), 1);
    }
    assert!(rig.store.retry_unreplicated(&given_up[0]).await.unwrap());
    settle(Settled::Completed { settings: Some(ObjectSettings::default()), foreign_version: None }).await;
    assert_eq!(kept().await, []);
    // Nor is what has gone.
    again(Bring::Again).await;
    settle(failed()).await;
    rig.delete_version(&bucket, "key", VersionSelector::Id(id)).await.unwrap();
    assert_eq!(kept().await, []);
}

#[tokio::test]
async fn what_was_given_up_in_the_older_form_is_read_and_goes_when_it_is_retried() {
    let (rig, bucket, lane) = replicating().await;
    let id = rig.put(&bucket, "key", b"x").await.version_id;
    let key = job::lane_key(Queue::Unreplicated, lane.target, START.plus_ms(7), JobId::from_bytes([9; 16]));
    let (_, record) = rig.tasks(bucket.id.into(), Queue::Replicate).await.remove(0);
    let mut batch = Batch::new();
    batch.put(Family::Job, key, record.to_value().unwrap());
    rig.store.index().commit(lane.partition, batch).await.revision().unwrap();
    let given_up = rig.store.unreplicated(bucket.id, Some(lane.target), 10).await.unwrap();
    assert_eq!((given_up[0].task.version, given_up[0].given_up), (id, Some(START.plus_ms(7))));
    assert!(!rig.store.retry_unreplicated(&given_up[0]).await.unwrap(), "it waits already");
    assert_eq!(rig.store.unreplicated(bucket.id, None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn the_tasks_of_a_bucket_whose_deletion_may_be_taken_back_stay() {
    let (rig, bucket, lane) = replicating().await;
    let id = rig.put(&bucket, "key", b"x").await.version_id;
    let task = task_of(&rig, lane, id).await;
    set_bucket_state(&rig, &bucket, BucketState::Deleting).await;
    for settled in [Settled::Dropped, Settled::Again { due: START, reason: None }] {
        let noted = rig.store.settle(lane, &[(task.clone(), settled)]).await;
        assert!(matches!(noted[..], [Err(StorageError::BucketBusy)]), "{noted:?}");
    }
    assert_eq!(queued(&rig, lane).await, [task]);
}

#[tokio::test]
async fn a_version_stands_behind_older_ones_that_wait_and_knows_the_newer_ones_that_are_there() {
    let (rig, bucket, lane) = replicating().await;
    let mut ids = Vec::new();
    for content in [b"1", b"2", b"3", b"4"] {
        ids.push(rig.put(&bucket, "key", content).await.version_id);
        rig.put(&bucket, "key/below", content).await;
    }
    arrive(&rig, lane, ids[2], "an-id-of-its-own").await;
    let key = object_key("key");
    let standing = |id| rig.store.standing(bucket.id, &key, id, lane.target);
    let there = [Arrived { foreign_version: Some("an-id-of-its-own".to_owned()) }];
    let second = standing(ids[1]).await.unwrap();
    assert!(second.older_waits);
    assert_eq!((second.newest, second.arrived.as_slice()), (Some(ids[3]), &there[..]));
    let first = standing(ids[0]).await.unwrap();
    assert!(!first.older_waits);
    assert_eq!((first.newest, first.arrived.as_slice()), (Some(ids[3]), &there[..]));
    let last = standing(ids[3]).await.unwrap();
    assert_eq!((last.newest, last.arrived), (None, Vec::new()));
}

#[tokio::test]
async fn a_newer_version_that_is_there_is_known_below_more_than_a_thousand_that_are_not() {
    let (rig, bucket, lane) = replicating().await;
    let oldest = rig.put(&bucket, "key", b"0").await.version_id;
    let there = rig.put(&bucket, "key", b"1").await.version_id;
    arrive(&rig, lane, there, "there").await;
    for _ in 0..1_200 {
        rig.put(&bucket, "key", b"2").await;
    }
    let standing = rig.store.standing(bucket.id, &object_key("key"), oldest, lane.target).await.unwrap();
    assert_eq!(standing.arrived, [Arrived { foreign_version: Some("there".to_owned()) }]);
}
