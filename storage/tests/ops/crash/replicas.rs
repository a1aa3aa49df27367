//! Replicas in the workload: each step of placing them, in whatever order they come.

use cairn_storage::StorageError;
use cairn_storage::encryption::NoKeys;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::ops::replica::{Bringing, SettingsBrought};
use cairn_storage::ops::{CreateUpload, Permit, PutObject};
use cairn_storage::replication::ReplicaOf;
use cairn_storage::settings::{ObjectSettings, Tag};

use crate::carried::{Carried, carried};
use crate::replicas::replica;
use crate::rig::{FILE_BYTES, body, bytes, object_key, owner, put_of, upload_of};

use super::see::{Seen, SeenVersion};
use super::{Work, etag_of};

const BUCKET: &str = "copies";
const KEY: &str = "key";

/// The key's versions by the time of their ids, newest first, as `place` leaves them.
#[derive(Clone, Default)]
struct Order(Vec<i64>);

impl Order {
    /// Where the version of this time comes to lie; None: it is there.
    fn place(&mut self, ms: i64) -> Option<usize> {
        if self.0.contains(&ms) {
            return None;
        }
        let at = self.0.iter().position(|other| *other < ms).unwrap_or(self.0.len());
        self.0.insert(at, ms);
        Some(at)
    }
}

fn placed(at: Option<usize>, content: Option<Vec<u8>>) -> impl Fn(&mut Seen) {
    move |seen| {
        let versions = seen.versions.entry((BUCKET.to_owned(), KEY.to_owned())).or_default();
        if let Some(at) = at {
            versions.insert(at, SeenVersion::free(false, content.clone()));
        }
        if versions.is_empty() {
            seen.versions.remove(&(BUCKET.to_owned(), KEY.to_owned()));
        }
    }
}

impl Work {
    async fn place(&mut self, order: &mut Order, ms: i64, content: Vec<u8>) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(BUCKET).await?;
        self.log.begin(placed(order.place(ms), Some(content.clone())));
        let put = PutObject { replica: Some(replica(ms)), ..put_of(body(&content)) };
        self.rig.store.put_object(&bucket, &object_key(KEY), put).await?;
        self.log.end();
        Ok(())
    }

    async fn place_marker(&mut self, order: &mut Order, ms: i64) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(BUCKET).await?;
        self.log.begin(placed(order.place(ms), None));
        self.rig.store.place_replica_marker(&bucket, &object_key(KEY), owner(), &replica(ms)).await?;
        self.log.end();
        Ok(())
    }

    /// What changes about the version is not among what is seen here, but its commit must change nothing else.
    async fn update(&mut self, ms: i64, changed_ms: i64) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(BUCKET).await?;
        self.log.begin(|_| {});
        let tag = Tag { key: "k".to_owned(), value: changed_ms.to_string() };
        let settings = ObjectSettings { tags: vec![tag], ..ObjectSettings::default() };
        let bringing = Bringing { changed: Some(replica(changed_ms).created), ..Bringing::of(&settings) };
        let (key, id) = (object_key(KEY), replica(ms).version_id);
        let brought = self.rig.store.update_replica_settings(&bucket, &key, id, &Permit::any(), &bringing).await?;
        assert!(matches!(brought, SettingsBrought::Applied(_)));
        self.log.end();
        Ok(())
    }

    /// In one part, step by step; a first upload of the same version is left behind, and ends with the second.
    async fn place_in_parts(&mut self, order: &mut Order, ms: i64, content: Vec<u8>) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(BUCKET).await?;
        let (key, at) = (object_key(KEY), order.place(ms));
        let of = || CreateUpload { replica: Some(replica(ms)), ..upload_of(None) };
        let mut upload = None;
        for _ in 0..2 {
            self.log.begin(|seen| drop(seen.uploads.insert(KEY.to_owned(), Default::default())));
            upload = Some(self.rig.store.create_upload(&bucket, &key, of()).await?.id);
            self.log.end();
        }
        let upload = upload.unwrap();
        let etag = etag_of(&content);
        self.log.begin(|seen| drop(seen.uploads.get_mut(KEY).unwrap().insert(1, etag.clone())));
        let part = self.rig.store.upload_part(&bucket, &key, upload, 1, body(&content), &NoKeys).await?;
        self.log.end();
        let place = placed(at, Some(content));
        self.log.begin(move |seen| {
            seen.uploads.remove(KEY);
            place(seen);
        });
        self.rig.complete(&bucket, KEY, upload, &[part]).await?;
        self.log.end();
        Ok(())
    }

    /// One that stays sealed.
    async fn place_sealed(&mut self, order: &mut Order, ms: i64, carried: &Carried) -> Result<(), StorageError> {
        let bucket = self.rig.bucket(BUCKET).await?;
        self.log.begin(placed(order.place(ms), Some(carried.content.clone())));
        let of = ReplicaOf { etag: Some(carried.object.etag), ..replica(ms) };
        let put =
            PutObject { envelope: Some(carried.sealed.envelope.clone()), replica: Some(of), ..put_of(carried.body()) };
        self.rig.store.put_object(&bucket, &object_key(KEY), put).await?;
        self.log.end();
        Ok(())
    }
}

/// Ends at the first error, which is the power cut.
pub(super) async fn work_with_replicas(work: &mut Work) -> Result<(), StorageError> {
    let file = |seed| bytes(seed, FILE_BYTES);
    let mut order = Order::default();
    work.create_bucket(BUCKET).await?;
    work.set_versioning(BUCKET, Versioning::Enabled).await?;
    work.place(&mut order, 10, file(30)).await?;
    work.place(&mut order, -10, file(31)).await?;
    work.place(&mut order, 20, bytes(32, 10)).await?;
    work.place(&mut order, 10, file(30)).await?;
    work.update(10, 5).await?;
    work.update(20, 6).await?;
    work.place_marker(&mut order, 40).await?;
    work.place_marker(&mut order, 15).await?;
    work.place(&mut order, 50, file(33)).await?;
    work.place_in_parts(&mut order, 60, file(34)).await?;
    work.place_in_parts(&mut order, 5, file(35)).await?;
    let carried = carried(FILE_BYTES).await;
    work.place_sealed(&mut order, 70, &carried).await?;
    for _ in 0..2 {
        work.collect().await?;
    }
    Ok(())
}
