//! Sweeps, what is done about what they find, transitions between places, and restores from archive classes.

use bytes::Bytes;
use cairn_storage::StorageError;
use cairn_storage::clock::{Clock as _, Timestamp};
use cairn_storage::id::VersionId;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::{Batch, Family, Outcome};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::object::{Access, AccessTier, ObjectVersion, Restored, RetrievalTier, StorageClass};
use cairn_storage::ops::lifecycle::{Act, ActsDone, Basis};
use cairn_storage::ops::sweep::{Standing, SweepLimits, SweepPosition, SweepScope, SweptKey, SweptVersion};
use cairn_storage::ops::{Bucket, GetObject, Governance, Permit, Powers, PutObject, VersionSelector};
use cairn_storage::settings::{ObjectSettings, Tag};
use futures::StreamExt as _;

use crate::rig::{FILE_BYTES, Rig, START, TestKeys, body, bytes, object_key, put_of};

const SMALL_PAGES: SweepLimits = SweepLimits { versions: 3, found: 2 };

pub async fn set_rules(rig: &Rig, bucket: &Bucket) -> Result<(), StorageError> {
    let rules = Some(Bytes::from_static(b"rules"));
    rig.store.set_document(bucket, DocumentKind::Lifecycle, rules, |_| Ok(())).await
}

fn all_versions() -> SweepScope {
    SweepScope { end: None, older: true }
}

/// Every key about whose versions `due` says something, by pages of this size.
async fn sweep(
    rig: &Rig,
    bucket: &Bucket,
    limits: SweepLimits,
    due: impl Fn(&str, &SweptVersion) -> Option<Act> + Clone + Send + 'static,
) -> Result<Vec<SweptKey<Act>>, StorageError> {
    let (mut found, mut next) = (Vec::new(), Some(SweepPosition::Start));
    while let Some(position) = next {
        let page = rig.store.sweep_page(bucket.id, position, all_versions(), limits, due.clone()).await?;
        found.extend(page.keys);
        next = page.next;
    }
    Ok(found)
}

async fn basis(rig: &Rig, bucket: &Bucket, key: &SweptKey<Act>) -> Result<Basis, StorageError> {
    let (_, rules) = rig.store.document_with_revision(bucket.id, DocumentKind::Lifecycle).await?.unwrap();
    Ok(Basis { head: key.head, rules: Some(rules), tiering: None })
}

/// Does something about the key's `nth` version, from the newest on.
pub async fn act(rig: &Rig, bucket: &Bucket, key: &str, nth: usize, act: Act) -> Result<ActsDone, StorageError> {
    let wanted = key.to_owned();
    let all = SweepLimits { versions: u64::MAX, found: usize::MAX };
    let found = sweep(rig, bucket, all, move |key, _| (key == wanted).then_some(act)).await?;
    let (id, _) = found[0].due[nth];
    let basis = basis(rig, bucket, &found[0]).await?;
    act_on(rig, bucket, key, basis, &[(id, act)]).await
}

async fn act_on(
    rig: &Rig,
    bucket: &Bucket,
    key: &str,
    basis: Basis,
    acts: &[(VersionId, Act)],
) -> Result<ActsDone, StorageError> {
    let mut outcome = ActsDone::default();
    rig.store.act_on_key(bucket, &object_key(key), basis, acts, &mut outcome).await.map(|()| outcome)
}

async fn head(rig: &Rig, bucket: &Bucket, key: &str, version: VersionSelector) -> Result<ObjectVersion, StorageError> {
    let get = GetObject { version, ..GetObject::default() };
    rig.store.head_object(bucket, &object_key(key), get).await.map(|head| head.object)
}

async fn collect(rig: &Rig) {
    for _ in 0..3 {
        rig.try_run_due(&Collector).await.unwrap();
        rig.clock.advance_ms(10_000);
    }
}

#[tokio::test]
async fn a_sweep_sees_every_version_with_its_standing_whatever_the_pages() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "a", b"null").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    for (key, count) in [("a", 4), ("b", 1), ("c", 7)] {
        for _ in 0..count {
            rig.clock.advance_ms(1_000);
            rig.put(&bucket, key, b"x").await;
        }
    }
    rig.clock.advance_ms(1_000);
    rig.delete(&bucket, "b").await;
    let describe = |limits| {
        let (rig, bucket) = (&rig, &bucket);
        async move {
            let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let noted = seen.clone();
            let note = move |key: &str, version: &SweptVersion| {
                let at = (version.created.0 - START.0) / 1_000;
                noted.lock().unwrap().push((key.to_owned(), at, version.standing, version.object.is_some()));
                None
            };
            sweep(rig, bucket, limits, note).await.unwrap();
            std::sync::Arc::into_inner(seen).unwrap().into_inner().unwrap()
        }
    };
    let whole = describe(SweepLimits { versions: u64::MAX, found: usize::MAX }).await;
    assert_eq!(whole.len(), 5 + 2 + 7);
    let since = |seconds: i64| START.plus_ms(seconds * 1_000);
    assert_eq!(whole[0], ("a".to_owned(), 4, Standing::Head { alone: false, for_good: false }, true));
    assert_eq!(whole[4], ("a".to_owned(), 0, Standing::Older { since: since(1), newer: 3 }, true));
    assert_eq!(whole[5], ("b".to_owned(), 13, Standing::Head { alone: false, for_good: false }, false));
    assert_eq!(whole[6], ("b".to_owned(), 5, Standing::Older { since: since(13), newer: 0 }, true));
    for versions in 1..6 {
        assert_eq!(describe(SweepLimits { versions, found: 1 }).await, whole, "{versions} versions a page");
    }
}

#[tokio::test]
async fn heads_alone_are_seen_as_they_stand_if_nobody_asks_about_older_versions() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    for key in ["a", "a", "b", "b", "c", "c/d", "c/d"] {
        rig.put(&bucket, key, b"x").await;
    }
    rig.delete(&bucket, "b").await;
    rig.delete(&bucket, "b/alone").await;
    rig.delete(&bucket, "c").await;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = seen.clone();
    let note = move |key: &str, version: &SweptVersion| {
        noted.lock().unwrap().push((key.to_owned(), version.object.is_none(), version.standing));
        None::<Act>
    };
    let heads = SweepScope { end: None, older: false };
    let page = rig.store.sweep_page(bucket.id, SweepPosition::Start, heads, SMALL_PAGES, note.clone()).await.unwrap();
    let rest = SweepScope { end: Some(b"d".to_vec()), older: false };
    let page = rig.store.sweep_page(bucket.id, page.next.unwrap(), rest, SMALL_PAGES, note).await.unwrap();
    assert_eq!(page.next, None);
    let head = |alone| Standing::Head { alone, for_good: false };
    let expected = [
        ("a", false, head(false)),
        ("b", true, head(false)),
        ("b/alone", true, head(true)),
        ("c", true, head(false)),
        ("c/d", false, head(false)),
    ];
    assert_eq!(*seen.lock().unwrap(), expected.map(|(key, marker, standing)| (key.to_owned(), marker, standing)));
}

#[tokio::test]
async fn a_key_that_is_written_all_the_time_does_not_hold_up_a_sweep() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    for _ in 0..10 {
        rig.put(&bucket, "busy", b"x").await;
    }
    rig.put(&bucket, "next", b"x").await;
    let oldest = |_: &str, version: &SweptVersion| match version.standing {
        Standing::Older { newer, .. } => Some(newer),
        Standing::Head { .. } => None,
    };
    let limits = SweepLimits { versions: 3, found: usize::MAX };
    let (mut counts, mut keys, mut next) = (Vec::new(), Vec::new(), Some(SweepPosition::Start));
    for _ in 0..10 {
        let Some(position) = next.take() else { break };
        let page = rig.store.sweep_page(bucket.id, position, all_versions(), limits, oldest).await.unwrap();
        counts.extend(page.keys.iter().flat_map(|key| key.due.iter().map(|(_, newer)| *newer)));
        keys.extend(page.keys.into_iter().map(|key| key.key));
        next = page.next;
        rig.put(&bucket, "busy", b"x").await;
    }
    assert_eq!(next, None);
    // Each page finds one more version before those that it looks at.
    assert_eq!(counts, [0, 1, 3, 4, 5, 7, 8, 9, 11]);
    assert!(keys.iter().all(|key| key.as_str() == "busy"));
}

#[tokio::test]
async fn a_version_without_a_head_hides_none_of_the_versions_after_it() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    for key in ["a", "b"] {
        rig.put(&bucket, key, b"x").await;
        rig.put(&bucket, key, b"x").await;
    }
    let mut batch = Batch::new();
    batch.delete(Family::Current, b"a".as_slice());
    assert!(matches!(rig.store.index().commit(bucket.id.into(), batch).await, Outcome::Committed(_)));
    let older =
        |_: &str, version: &SweptVersion| matches!(version.standing, Standing::Older { .. }).then_some(Act::Remove);
    let found = sweep(&rig, &bucket, SMALL_PAGES, older).await.unwrap();
    assert_eq!(found.iter().map(|key| (key.key.as_str(), key.due.len())).collect::<Vec<_>>(), [("b", 1)]);
}

#[tokio::test]
async fn older_versions_end_together_and_share_no_content_wrongly() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let bucket = rig.set_versioning(&bucket, Versioning::Enabled).await;
    set_rules(&rig, &bucket).await.unwrap();
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    for _ in 0..2 {
        crate::restore::history::copy(&rig, &bucket, &object_key("key"), &object_key("key")).await;
    }
    rig.put(&bucket, "key", &bytes(2, FILE_BYTES)).await;
    let older =
        |_: &str, version: &SweptVersion| matches!(version.standing, Standing::Older { .. }).then_some(Act::Remove);
    let found = sweep(&rig, &bucket, SMALL_PAGES, older).await.unwrap();
    let due: Vec<(VersionId, Act)> = found.iter().flat_map(|key| key.due.clone()).collect();
    assert_eq!(due.len(), 3);
    let basis = basis(&rig, &bucket, &found[0]).await.unwrap();
    let done = act_on(&rig, &bucket, "key", basis, &due).await.unwrap();
    assert_eq!((done.done.len(), done.overtaken, done.failed.len()), (3, false, 0));
    collect(&rig).await;
    assert_eq!((rig.files().len(), rig.usage(&bucket).await), (1, [1, 1, FILE_BYTES as i64]));
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), bytes(2, FILE_BYTES));
}

#[tokio::test]
async fn nothing_is_done_if_the_key_or_the_rules_changed_since_the_decision() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    rig.put(&bucket, "tagged", b"x").await;
    rig.put(&bucket, "ruled", &bytes(1, FILE_BYTES)).await;
    let found = sweep(&rig, &bucket, SMALL_PAGES, |_, _| Some(Act::Expire)).await.unwrap();
    let (ruled, tagged) = (&found[0], &found[1]);
    let before = basis(&rig, &bucket, tagged).await.unwrap();
    let tag = |_: &_, object: &ObjectVersion| {
        let tags = vec![Tag { key: "keep".to_owned(), value: "yes".to_owned() }];
        Ok(ObjectSettings { tags, ..object.settings.clone() })
    };
    let (key, permit) = (object_key("tagged"), Permit::any());
    rig.store.update_version(&bucket, &key, VersionSelector::Newest, &permit, tag).await.unwrap();
    let done = act_on(&rig, &bucket, "tagged", before, &tagged.due).await.unwrap();
    assert_eq!((done.overtaken, done.done.len()), (true, 0));
    let before = basis(&rig, &bucket, ruled).await.unwrap();
    set_rules(&rig, &bucket).await.unwrap();
    let moves = [(ruled.due[0].0, Act::Transition(StorageClass::Glacier))];
    // A copy that was begun would be told to have failed.
    rig.health.record_space(1_000, 1_000);
    let done = act_on(&rig, &bucket, "ruled", before, &moves).await.unwrap();
    assert_eq!((done.overtaken, done.failed.len()), (true, 0));
    rig.health.record_space(1_000_000, 1_000);
    let done = act_on(&rig, &bucket, "ruled", before, &ruled.due).await.unwrap();
    assert_eq!((done.overtaken, done.done.len()), (true, 0));
    assert!(rig.get(&bucket, "tagged").await.is_ok() && rig.get(&bucket, "ruled").await.is_ok());
}

#[tokio::test]
async fn a_locked_version_never_ends() {
    let rig = Rig::new();
    let bucket = rig.create_lock_bucket("locked").await;
    set_rules(&rig, &bucket).await.unwrap();
    let hold = ObjectSettings { legal_hold: Some(true), ..ObjectSettings::default() };
    rig.put_locked(&bucket, "key", b"held", hold).await.unwrap();
    rig.put(&bucket, "key", b"newer").await;
    let done = act(&rig, &bucket, "key", 1, Act::Remove).await.unwrap();
    assert_eq!((done.done.len(), done.failed.len(), done.overtaken), (0, 1, false));
    assert_eq!(rig.usage(&bucket).await[1], 2);
}

#[tokio::test]
async fn removals_that_fail_are_told_and_do_not_end_the_sweep() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let powers = Powers { governance: Governance::Heeded, mfa: true };
    rig.store.set_versioning(&bucket, Versioning::Enabled, Some(true), powers).await.unwrap();
    rig.put(&bucket, "key", b"older").await;
    rig.put(&bucket, "key", b"newer").await;
    let done = act(&rig, &bucket, "key", 1, Act::Remove).await.unwrap();
    assert_eq!((done.done.len(), done.failed.len(), done.overtaken), (0, 1, false));
}

#[tokio::test]
async fn a_transition_moves_files_as_they_are_and_frees_the_old_ones() {
    for sealed in [false, true] {
        let mut rig = Rig::new();
        rig.sealed = sealed;
        let bucket = rig.create_bucket("bucket").await;
        set_rules(&rig, &bucket).await.unwrap();
        let content = bytes(1, 200_000);
        let put = rig.put(&bucket, "file", &content).await;
        let upload = rig.create_upload(&bucket, "parts").await;
        let large = bytes(2, 5 << 20);
        let parts = [
            rig.upload_part(&bucket, "parts", upload, 1, &large).await.unwrap(),
            rig.upload_part(&bucket, "parts", upload, 2, b"inline").await.unwrap(),
        ];
        rig.complete(&bucket, "parts", upload, &parts).await.unwrap();
        rig.put(&bucket, "inline", b"small").await;
        let before = rig.files();
        for key in ["file", "parts", "inline"] {
            let done = act(&rig, &bucket, key, 0, Act::Transition(StorageClass::GlacierIr)).await.unwrap();
            assert_eq!((done.done.len(), &done.failed), (1, &Vec::new()), "{key}");
        }
        collect(&rig).await;
        let after = rig.files();
        assert_eq!(after.len(), before.len());
        assert!(after.iter().all(|file| file.place().number() == StorageClass::GlacierIr.code()));
        assert_eq!(rig.get(&bucket, "file").await.unwrap(), content);
        assert_eq!(rig.get(&bucket, "parts").await.unwrap(), [large, b"inline".to_vec()].concat());
        assert_eq!(rig.get(&bucket, "inline").await.unwrap(), b"small");
        let moved = head(&rig, &bucket, "file", VersionSelector::Newest).await.unwrap();
        assert_eq!((moved.storage_class, moved.etag, moved.created), (StorageClass::GlacierIr, put.etag, put.created));
        assert!(moved.placed.is_some());
        assert_eq!(rig.usage(&bucket).await, [0, 0, 0]);
        assert_eq!(rig.usage_of(&bucket, StorageClass::GlacierIr).await[..2], [3, 3]);
        let rig = rig.restart(9).await;
        assert_eq!(rig.get(&rig.bucket("bucket").await.unwrap(), "file").await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_transition_leaves_the_floor_free_and_what_frees_space_goes_on() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    rig.put(&bucket, "key", &bytes(1, FILE_BYTES)).await;
    rig.health.record_space(1_000, 1_000);
    let done = act(&rig, &bucket, "key", 0, Act::Transition(StorageClass::StandardIa)).await.unwrap();
    assert_eq!((done.done.len(), done.failed.len(), rig.files().len()), (0, 1, 1));
    rig.health.record_space(1_000_000, 1_000);
    let done = act(&rig, &bucket, "key", 0, Act::Transition(StorageClass::StandardIa)).await.unwrap();
    assert_eq!((done.done.len(), done.failed.len()), (1, 0));
    rig.health.record_space(0, 1_000);
    let done = act(&rig, &bucket, "key", 0, Act::Expire).await.unwrap();
    assert_eq!((done.done.len(), done.failed.len()), (1, 0));
}

#[tokio::test]
async fn a_reader_in_flight_is_not_disturbed_by_a_transition() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let content = bytes(1, 300_000);
    rig.put(&bucket, "key", &content).await;
    let mut reading = rig.open(&bucket, "key", GetObject::default(), &TestKeys::new(None)).await.unwrap();
    let mut read = reading.next().await.unwrap().unwrap().to_vec();
    act(&rig, &bucket, "key", 0, Act::Transition(StorageClass::StandardIa)).await.unwrap();
    rig.try_run_due(&Collector).await.unwrap();
    while let Some(piece) = reading.next().await {
        read.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(read, content);
    drop(reading);
    collect(&rig).await;
    assert_eq!(rig.files().len(), 1);
}

#[tokio::test]
async fn a_copy_that_shares_the_content_keeps_it_when_the_other_moves() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let content = bytes(1, FILE_BYTES);
    rig.put(&bucket, "one", &content).await;
    crate::restore::history::copy(&rig, &bucket, &object_key("one"), &object_key("two")).await;
    act(&rig, &bucket, "one", 0, Act::Transition(StorageClass::OnezoneIa)).await.unwrap();
    collect(&rig).await;
    assert_eq!(rig.files().len(), 2);
    rig.delete(&bucket, "one").await;
    collect(&rig).await;
    assert_eq!((rig.files().len(), rig.get(&bucket, "two").await.unwrap()), (1, content));
}

#[tokio::test]
async fn copies_that_share_a_content_share_it_where_they_move() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let content = bytes(1, FILE_BYTES);
    rig.put(&bucket, "one", &content).await;
    for copy in ["two", "three", "four"] {
        crate::restore::history::copy(&rig, &bucket, &object_key("one"), &object_key(copy)).await;
    }
    let transition = async |key: &str, class| {
        let done = act(&rig, &bucket, key, 0, Act::Transition(class)).await.unwrap();
        assert_eq!(done.done.len(), 1, "{done:?}");
        collect(&rig).await;
        rig.files().len()
    };
    assert_eq!(transition("one", StorageClass::OnezoneIa).await, 2);
    assert_eq!(transition("two", StorageClass::OnezoneIa).await, 2);
    // Another place has a copy of its own.
    assert_eq!(transition("three", StorageClass::GlacierIr).await, 3);
    assert_eq!(transition("four", StorageClass::GlacierIr).await, 2, "the one and the other place's");
    rig.delete(&bucket, "one").await;
    rig.delete(&bucket, "three").await;
    collect(&rig).await;
    for key in ["two", "four"] {
        assert_eq!(rig.get(&bucket, key).await.unwrap(), content, "{key}");
        rig.delete(&bucket, key).await;
        collect(&rig).await;
    }
    assert_eq!(rig.files(), []);
    crate::restore::check_store(&rig).await;
}

#[tokio::test]
async fn a_copy_that_went_is_made_again_for_the_next_that_moves() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let content = bytes(1, FILE_BYTES);
    rig.put(&bucket, "one", &content).await;
    crate::restore::history::copy(&rig, &bucket, &object_key("one"), &object_key("two")).await;
    act(&rig, &bucket, "one", 0, Act::Transition(StorageClass::OnezoneIa)).await.unwrap();
    rig.delete(&bucket, "one").await;
    collect(&rig).await;
    act(&rig, &bucket, "two", 0, Act::Transition(StorageClass::OnezoneIa)).await.unwrap();
    collect(&rig).await;
    assert_eq!((rig.files().len(), rig.get(&bucket, "two").await.unwrap()), (1, content));
    crate::restore::check_store(&rig).await;
}

#[tokio::test]
async fn an_archived_version_is_read_only_while_it_is_restored() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    let put = PutObject { storage_class: StorageClass::Glacier, ..put_of(body(b"archived")) };
    rig.store.put_object(&bucket, &object_key("key"), put).await.unwrap();
    let archived = |result: Result<Vec<u8>, StorageError>| matches!(result, Err(StorageError::Archived { .. }));
    assert!(archived(rig.get(&bucket, "key").await));
    assert!(head(&rig, &bucket, "key", VersionSelector::Newest).await.is_ok());
    let restored = |ready: i64, ends: i64| Restored {
        requested: START,
        ready: START.plus_ms(ready),
        ends: START.plus_ms(ends),
        tier: RetrievalTier::Standard,
    };
    let (key, permit) = (object_key("key"), Permit::any());
    let restore = rig.store.restore_object(&bucket, &key, VersionSelector::Newest, &permit, |_| Ok(restored(10, 20)));
    restore.await.unwrap();
    assert!(archived(rig.get(&bucket, "key").await));
    rig.clock.advance_ms(10);
    assert_eq!(rig.get(&bucket, "key").await.unwrap(), b"archived");
    rig.clock.advance_ms(10);
    assert!(archived(rig.get(&bucket, "key").await));
    rig.put(&bucket, "warm", b"x").await;
    let warm = object_key("warm");
    let refused = rig.store.restore_object(&bucket, &warm, VersionSelector::Newest, &permit, |_| Ok(restored(0, 9)));
    assert!(matches!(refused.await, Err(StorageError::NotArchived { .. })));
}

#[tokio::test]
async fn a_version_moves_between_tiers_and_keeps_its_class_and_last_access() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    set_rules(&rig, &bucket).await.unwrap();
    let bytes = bytes(1, FILE_BYTES);
    let put = PutObject { storage_class: StorageClass::IntelligentTiering, ..put_of(body(&bytes)) };
    rig.store.put_object(&bucket, &object_key("key"), put).await.unwrap();
    let newest = VersionSelector::Newest;
    let id = head(&rig, &bucket, "key", newest).await.unwrap().version_id;
    let hour_ms = 3_600_000_u32;
    let key = object_key("key");
    let note = || rig.store.note_access(bucket.id, &key, id, rig.clock.now(), hour_ms.into());
    rig.clock.advance_ms(hour_ms);
    note().await.unwrap();
    // So soon after it came into the class, it is no news.
    assert_eq!(head(&rig, &bucket, "key", newest).await.unwrap().access, None);
    rig.clock.advance_ms(1);
    let used = rig.clock.now();
    note().await.unwrap();
    for (tier, class) in
        [(AccessTier::Infrequent, StorageClass::StandardIa), (AccessTier::Archive, StorageClass::Glacier)]
    {
        rig.clock.advance_ms(1_000);
        let done = act(&rig, &bucket, "key", 0, Act::Tier(tier)).await.unwrap();
        assert_eq!((done.done.len(), &done.failed), (1, &Vec::new()));
        let object = head(&rig, &bucket, "key", newest).await.unwrap();
        assert_eq!(
            (object.storage_class, object.access),
            (StorageClass::IntelligentTiering, Some(Access { tier, last: used }))
        );
        assert_eq!(object.place_class(), class);
        collect(&rig).await;
        assert_eq!(rig.files().len(), 1);
    }
    let read = rig.store.get_object(&bucket, &key, GetObject::default()).await;
    assert!(matches!(read, Err(StorageError::Archived { tier: Some(AccessTier::Archive), .. })));
    let ready = rig.clock.now().plus_ms(5_000);
    let restored = Restored { ready, ends: Timestamp(i64::MAX), ..Restored::default() };
    rig.store.restore_object(&bucket, &key, newest, &Permit::any(), |_| Ok(restored)).await.unwrap();
    rig.clock.advance_ms(5_000);
    rig.store.get_object(&bucket, &key, GetObject::default()).await.unwrap();
    act(&rig, &bucket, "key", 0, Act::Tier(AccessTier::Frequent)).await.unwrap();
    let object = head(&rig, &bucket, "key", newest).await.unwrap();
    assert_eq!((object.access, object.restored), (Some(Access { tier: AccessTier::Frequent, last: ready }), None));
    let moved = act(&rig, &bucket, "key", 0, Act::Transition(StorageClass::Glacier)).await.unwrap();
    assert_eq!(moved.done.len(), 1);
    assert_eq!(head(&rig, &bucket, "key", newest).await.unwrap().access, None);
}
