//! Walk jobs of replication: a backfill brings to the targets what was there before the rules; a resync brings everything once more.
//!
//! A walk only makes versions PENDING, each with its task in one commit; the worker does the rest. So a page that comes again finds
//! nothing to do.

use async_trait::async_trait;
use cairn_replication::plan;
use cairn_replication::rules::Configuration;
use cairn_storage::StorageError;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::walk::{WalkBucket, WalkCounts, WalkKind, WalkRecord};
use cairn_storage::jobs::walks::{NewWalk, Step, StepFailure, WalkError, Walker};
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::replication::Bring;
use cairn_storage::ops::{Bucket, ListVersions, ListedVersion, Store, VersionSelector};
use futures::{StreamExt as _, TryStreamExt as _};
use minicbor::{Decode, Encode};

use super::Rules;

/// How many versions one page looks at.
const PAGE_VERSIONS_MAX: usize = 500;

/// How many versions of one key are held to begin with the oldest of them. Of a key that has more, older ones than these come after newer
/// ones, which a target that gives its own ids then refuses.
const KEY_VERSIONS_MAX: usize = 20_000;

/// How many keys are looked at at once.
const CONCURRENCY: usize = 16;

/// What a walk is about. It is its argument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Walked {
    /// This rule alone, also if it says nothing of existing objects; None: the rules that ask for existing objects.
    #[n(0)]
    pub rule: Option<String>,
    /// A verification also has brought what it finds to be missing or different.
    #[n(1)]
    #[cbor(default)]
    pub mend: bool,
}

/// Where a walk is: behind this version.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Cursor {
    #[n(0)]
    key: String,
    #[n(1)]
    version: VersionId,
}

/// Begins a backfill, a resync or a verification of a bucket.
///
/// # Errors
/// As of [`Store::start_walk`].
pub async fn start(store: &Store, kind: WalkKind, bucket: &Bucket, walked: &Walked) -> Result<WalkRecord, WalkError> {
    let argument = minicbor::to_vec(walked).unwrap_or_default(); // writing to a Vec cannot fail
    let bucket = Some(WalkBucket { id: bucket.id, name: bucket.name.as_str().to_owned() });
    store.start_walk(NewWalk { kind, bucket, argument }).await
}

/// Walks through buckets.
#[derive(Clone, Debug)]
pub struct Existing {
    /// The buckets' rules.
    pub rules: Rules,
    /// `Backfill`, or `Resync`.
    pub kind: WalkKind,
}

/// The versions of one key, the newest first.
#[derive(Debug, PartialEq, Eq)]
struct OfKey {
    key: ObjectKey,
    versions: Vec<VersionId>,
}

#[async_trait]
impl Walker for Existing {
    fn kind(&self) -> WalkKind {
        self.kind
    }

    async fn step(&self, store: &Store, walk: &WalkRecord) -> Result<Step, StepFailure> {
        let over = Step { cursor: None, counts: WalkCounts::default(), note: None };
        let Some(place) = store.walk_place(walk).await? else { return Ok(over) };
        let Some(bucket) = store.bucket_of(place.bucket.id).await? else { return Ok(over) };
        let walked: Walked = minicbor::decode(&walk.argument).map_err(malformed)?;
        let rules = self.rules.of(store, &bucket).await?;
        let rules = rules.ok_or_else(no_rules)?;
        let behind: Option<Cursor> = match place.within.as_slice() {
            [] => None,
            cursor => Some(minicbor::decode(cursor).map_err(malformed)?),
        };
        let (keys, next) = whole_keys(store, &bucket, behind).await?;
        let next = next.map(|cursor| minicbor::to_vec(cursor).unwrap_or_default()); // writing to a Vec cannot fail
        let counts = self.bring(store, &bucket, &rules, &walked, keys).await?;
        Ok(Step { cursor: place.then(next), counts, note: None })
    }
}

impl Existing {
    async fn bring(
        &self,
        store: &Store,
        bucket: &Bucket,
        rules: &Configuration,
        walked: &Walked,
        keys: Vec<OfKey>,
    ) -> Result<WalkCounts, StorageError> {
        let counts: Vec<WalkCounts> = futures::stream::iter(keys)
            .map(|of_key| self.bring_key(store, bucket, rules, walked, of_key))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await?;
        let mut sum = WalkCounts::default();
        for of_key in counts {
            sum.examined += of_key.examined;
            sum.changed += of_key.changed;
            sum.skipped += of_key.skipped;
        }
        Ok(sum)
    }

    async fn bring_key(
        &self,
        store: &Store,
        bucket: &Bucket,
        rules: &Configuration,
        walked: &Walked,
        OfKey { key, versions }: OfKey,
    ) -> Result<WalkCounts, StorageError> {
        let mut counts = WalkCounts::default();
        let bring = if self.kind == WalkKind::Resync { Bring::Again } else { Bring::Missing };
        // For a target that gives its own ids, the older ones have to be PENDING first.
        for id in versions.into_iter().rev() {
            let now = store.clock().now();
            let plan = |version: &_| plan::existing(rules, walked.rule.as_deref(), &key, version, now);
            let pending = store.replicate_existing(bucket.id, &key, id, bring, plan).await?;
            counts.examined += 1;
            counts.changed += u64::from(pending);
            counts.skipped += u64::from(!pending);
        }
        Ok(counts)
    }
}

/// A walk whose record cannot be read fails.
pub(super) fn malformed(error: minicbor::decode::Error) -> StepFailure {
    StepFailure::Refused(format!("the walk's record: {error}"))
}

/// As a walk whose bucket has lost its rules.
pub(super) fn no_rules() -> StepFailure {
    StepFailure::Refused("the bucket has no replication rules".to_owned())
}

/// The next versions, and where there are more. They end where a key does: for a target that gives its own ids, no newer version of a key may
/// become PENDING a page before an older one.
async fn whole_keys(
    store: &Store,
    bucket: &Bucket,
    mut behind: Option<Cursor>,
) -> Result<(Vec<OfKey>, Option<Cursor>), StorageError> {
    let mut keys = Vec::new();
    loop {
        let list = ListVersions {
            after: behind.as_ref().map(|cursor| cursor.key.clone()),
            after_version: behind.map(|cursor| VersionSelector::Id(cursor.version)),
            max_keys: PAGE_VERSIONS_MAX,
            ..ListVersions::default()
        };
        let page = store.list_versions(bucket, list).await?;
        add(&mut keys, page.entries);
        if page.next.is_none() {
            return Ok((keys, None));
        }
        let goes_on = leave_last(&mut keys);
        behind = keys.last().and_then(Cursor::behind);
        if !goes_on || behind.is_none() {
            return Ok((keys, behind));
        }
    }
}

/// Adds a page, by its keys.
fn add(keys: &mut Vec<OfKey>, entries: Vec<ListedVersion>) {
    for entry in entries {
        let ListedVersion::Version { key, version, .. } = entry else { continue };
        match keys.last_mut().filter(|last| last.key == key) {
            Some(last) => last.versions.push(version.id()),
            None => keys.push(OfKey { key, versions: vec![version.id()] }),
        }
    }
}

/// Leaves the last key, which may go on on the next page, to that. True: there is no other one, so that the next page is to be added.
fn leave_last(keys: &mut Vec<OfKey>) -> bool {
    if keys.len() > 1 {
        keys.pop();
        return false;
    }
    keys.first().is_some_and(|only| only.versions.len() < KEY_VERSIONS_MAX)
}

impl Cursor {
    fn behind(OfKey { key, versions }: &OfKey) -> Option<Self> {
        Some(Self { key: key.as_str().to_owned(), version: *versions.last()? })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of_key(key: &str, versions: usize) -> OfKey {
        let id = |version: usize| VersionId::from_bytes([u8::try_from(version % 256).unwrap(); 16]);
        OfKey { key: ObjectKey::new(key).unwrap(), versions: (0..versions).rev().map(id).collect() }
    }

    #[test]
    fn a_page_ends_where_a_key_does() {
        let mut keys = vec![of_key("a", 3), of_key("b", 2)];
        assert!(!leave_last(&mut keys));
        assert_eq!(keys, [of_key("a", 3)]);
        let behind = Cursor::behind(&keys[0]).unwrap();
        assert_eq!((behind.key.as_str(), behind.version), ("a", VersionId::from_bytes([0; 16])));
        // A key that fills a page goes on with the next one, as long as it can be held.
        assert!(leave_last(&mut vec![of_key("a", PAGE_VERSIONS_MAX)]));
        assert!(!leave_last(&mut vec![of_key("a", KEY_VERSIONS_MAX)]));
        assert!(!leave_last(&mut Vec::new()));
    }
}
