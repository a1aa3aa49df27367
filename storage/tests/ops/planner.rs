//! What a change entails joins its very commit: the planner is asked for every version that comes.

use std::sync::Arc;

use bytes::Bytes;
use cairn_storage::index::family::bucket::{BucketRecord, Versioning};
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::family::job::Queue;
use cairn_storage::index::family::version::Version;
use cairn_storage::index::{Batch, Family};
use cairn_storage::jobs::NewTask;
use cairn_storage::ops::VersionSelector;
use cairn_storage::ops::planner::{Change, Plan, Planner};

use crate::rig::{Rig, START};

/// Plans a task that tells the change and the document.
#[derive(Debug)]
struct Telling;

impl Planner for Telling {
    fn kinds(&self, _: &BucketRecord) -> &[DocumentKind] {
        &[DocumentKind::Lifecycle]
    }

    fn plan(&self, change: Change<'_>, _: &BucketRecord, documents: &[Option<Bytes>]) -> Plan {
        let Change::Added { key, version, .. } = change else { return Plan::default() };
        let kind = if matches!(version, Version::Object(_)) { "object" } else { "marker" };
        let document = documents[0].as_ref().map(|document| String::from_utf8_lossy(document));
        let task = format!("added {kind} {} {document:?}", key.as_str());
        let task = NewTask { queue: Queue::ForgetUpload, due: START, task: task.into_bytes(), lane: None };
        Plan { tasks: vec![task], replications: Vec::new() }
    }
}

/// The tasks so far, sorted, and removes them.
async fn told(rig: &Rig, bucket: &cairn_storage::ops::Bucket) -> Vec<String> {
    let mut batch = Batch::new();
    let mut told = Vec::new();
    for (key, record) in rig.tasks(bucket.id.into(), Queue::ForgetUpload).await {
        batch.delete(Family::Job, key);
        told.push(String::from_utf8_lossy(&record.task).into_owned());
    }
    rig.commit(bucket.id.into(), batch).await;
    told.sort();
    told
}

#[tokio::test]
async fn every_version_that_comes_is_planned_for_with_the_bucket_s_documents() {
    let rig = Rig::planning(Arc::new(Telling));
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"x").await;
    assert_eq!(told(&rig, &bucket).await, ["added object key None"]);

    let mut batch = Batch::new();
    batch.put(Family::Document, DocumentKind::Lifecycle.key(), &b"rules"[..]);
    rig.commit(bucket.id.into(), batch).await;
    rig.put(&bucket, "key", b"y").await;
    assert_eq!(told(&rig, &bucket).await, [r#"added object key Some("rules")"#]);

    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    rig.delete(&bucket, "key").await;
    assert_eq!(told(&rig, &bucket).await, [r#"added marker key Some("rules")"#]);
    rig.delete_version(&bucket, "key", VersionSelector::Null).await.unwrap();
    assert!(told(&rig, &bucket).await.is_empty());

    let upload = rig.create_upload(&bucket, "parts").await;
    let part = rig.upload_part(&bucket, "parts", upload, 1, b"x").await.unwrap();
    assert!(told(&rig, &bucket).await.is_empty());
    rig.complete(&bucket, "parts", upload, &[part]).await.unwrap();
    let told = told(&rig, &bucket).await;
    assert!(told.contains(&r#"added object parts Some("rules")"#.to_owned()), "{told:?}");
}
