//! Walk jobs of replication: a backfill brings to the targets what was there before the rules; a resync brings everything once more.
//!
//! A walk only makes versions PENDING, each with its task in one commit; the worker does the rest. So a page that comes again finds
//! nothing to do.

use std::collections::BTreeMap;

use async_trait::async_trait;
use cairn_replication::plan;
use cairn_replication::rules::Configuration;
use cairn_storage::StorageError;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::walk::{WalkBucket, WalkCounts, WalkKind, WalkRecord};
use cairn_storage::jobs::walks::{NewWalk, Step, StepFailure, WalkError, Walker};
use cairn_storage::object::ObjectKey;
use cairn_storage::ops::replication::Bring;
use cairn_storage::ops::{Bucket, Store};
use futures::{StreamExt as _, TryStreamExt as _};
use minicbor::{Decode, Encode};

use super::Rules;
use super::pages::{Page, Place};

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
        let behind: Option<Place> = match place.within.as_slice() {
            [] => None,
            cursor => Some(minicbor::decode(cursor).map_err(malformed)?),
        };
        // Of whole keys, because for a target that gives its own ids, no newer version of a key may become PENDING a page before an older one.
        // Of a key that has more versions than are held, older ones come after newer ones, which such a target then refuses.
        let page = Page::of_bucket(store, &bucket, "", behind.as_ref()).await?;
        let next = next_of(&page).map(|place| minicbor::to_vec(place).unwrap_or_default()); // writing to a Vec cannot fail
        let counts = self.bring(store, &bucket, &rules, &walked, page.keys).await?;
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
        keys: BTreeMap<String, Vec<VersionId>>,
    ) -> Result<WalkCounts, StorageError> {
        let keys = keys.into_iter().filter_map(|(key, versions)| Some((ObjectKey::new(&key)?, versions)));
        let counts: Vec<WalkCounts> = futures::stream::iter(keys)
            .map(|(key, versions)| self.bring_key(store, bucket, rules, walked, key, versions))
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
        key: ObjectKey,
        versions: Vec<VersionId>,
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

/// Where a page ends: where a key does, or within the one key that has more versions than are held.
fn next_of(page: &Page<VersionId>) -> Option<Place> {
    let end = page.end.clone()?;
    let last = page.keys.get(&end.key).filter(|_| page.has_too_many).and_then(|versions| versions.last());
    Some(last.map_or(end.clone(), |last| Place { key: end.key, version: *last }))
}

/// A walk whose record cannot be read fails.
pub(super) fn malformed(error: minicbor::decode::Error) -> StepFailure {
    StepFailure::Refused(format!("the walk's record: {error}"))
}

/// As a walk whose bucket has lost its rules.
pub(super) fn no_rules() -> StepFailure {
    StepFailure::Refused("the bucket has no replication rules".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::pages::KEY_VERSIONS_MAX;
    use super::*;

    #[test]
    fn a_page_ends_where_a_key_does_if_the_key_can_be_held() {
        let id = |byte| VersionId::from_bytes([byte; 16]);
        let next = |keys: &[&str], more| {
            let mut page = Page::default();
            keys.iter().for_each(|key| page.add((*key).to_owned(), id(7)));
            assert!(page.is_enough(more));
            next_of(&page)
        };
        assert_eq!(next(&["a", "b"], false), None);
        assert_eq!(next(&["a", "b"], true), Some(Place::end_of("a")));
        let within = Place { key: "a".to_owned(), version: id(7) };
        assert_eq!(next(&["a"].repeat(KEY_VERSIONS_MAX), true), Some(within));
    }
}
