//! The walk that brings files to where their classes have them now: after a tier was added, retired, or given other classes.
//!
//! Through each bucket twice: first its keys' newest versions, then the older ones. A version that is written meanwhile is
//! where it belongs; one that is uncovered meanwhile, because a newer one was deleted, may be left for another walk.

use async_trait::async_trait;

use crate::StorageError;
use crate::id::{BucketId, VersionId};
use crate::index::family::head::Head;
use crate::index::family::version::Version;
use crate::index::family::walk::{WalkCounts, WalkKind, WalkRecord};
use crate::index::key::take_escaped;
use crate::index::{Family, IndexError, KeyRange, View};
use crate::object::{ObjectKey, ObjectVersion, StorageClass};
use crate::ops::Store;
use crate::ops::settle::{Settled, may_lie_elsewhere};
use crate::record::Record;

use super::walks::{Step, StepFailure, Walker};

/// Rows that one step looks at.
const ROWS_MAX: u64 = 2_000;

/// Versions that one step may move.
const FOUND_MAX: usize = 32;

/// Plaintext bytes after which a step ends.
const STEP_BYTES_MAX: u64 = 128 << 20;

/// The families that have objects, in the order in which they are gone through.
const FAMILIES: [Family; 2] = [Family::Current, Family::Version];

/// Does it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mover;

/// What a step is to move, each with the cursor of what follows it.
struct Page {
    found: Vec<(ObjectKey, VersionId, Vec<u8>)>,
    examined: u64,
    /// Where the next page begins.
    next: Option<Vec<u8>>,
}

#[async_trait]
impl Walker for Mover {
    fn kind(&self) -> WalkKind {
        WalkKind::Move
    }

    async fn step(&self, store: &Store, walk: &WalkRecord) -> Result<Step, StepFailure> {
        let Some(place) = store.walk_place(walk).await? else {
            return Ok(Step { cursor: None, counts: WalkCounts::default(), note: None });
        };
        let bucket = place.bucket.id;
        let page = look(store, bucket, place.within.clone()).await?;
        let mut counts = WalkCounts { examined: page.examined, ..WalkCounts::default() };
        let (mut note, mut next, mut reached) = (None, page.next, None);
        for (key, id, after) in page.found {
            match store.settle_version(bucket, &key, id).await {
                Ok(Settled::Moved(bytes)) => {
                    counts.changed += 1;
                    counts.bytes += bytes;
                }
                Ok(Settled::InPlace | Settled::Gone) => counts.skipped += 1,
                // What a bucket holds that was found empty, and is being deleted, was written since.
                Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => {
                    next = None;
                    break;
                }
                Err(error @ (StorageError::Corrupt { .. } | StorageError::Io { .. })) => {
                    counts.failed += 1;
                    note = Some(error.to_string());
                }
                // What was done is noted first; the next step begins with this one, and says what is in the way.
                Err(_) if reached.is_some() => {
                    next = reached;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            reached = Some(after);
            if counts.bytes >= STEP_BYTES_MAX {
                next = reached;
                break;
            }
        }
        Ok(Step { cursor: place.then(next), counts, note })
    }
}

/// Looks through a page of a bucket for what may lie elsewhere than its class has its files.
async fn look(store: &Store, bucket: BucketId, within: Vec<u8>) -> Result<Page, StorageError> {
    let blobs = store.blobs().clone();
    let places = StorageClass::ALL.map(|class| blobs.settled_place_of(class));
    let elsewhere =
        move |object: &ObjectVersion| may_lie_elsewhere(object, places[usize::from(object.place_class().code())]);
    Ok(store.index().view_far(bucket.into(), move |view| read_page(view, &within, &elsewhere)).await?)
}

/// The cursor is the number of a family, and the first key of it to look at.
fn read_page(view: &dyn View, within: &[u8], elsewhere: &dyn Fn(&ObjectVersion) -> bool) -> Result<Page, IndexError> {
    let (number, start) = within.split_first().map_or((0, &[][..]), |(number, start)| (*number, start));
    let family = FAMILIES.get(usize::from(number));
    let family = *family.ok_or_else(|| IndexError::Corrupt("a walk's cursor names no family".to_owned()))?;
    let mut page = Page { found: Vec::new(), examined: 0, next: None };
    let mut cursor = view.cursor(family, KeyRange { start: start.to_vec(), end: None })?;
    while let Some((key, _, value)) = cursor.row() {
        if page.examined == ROWS_MAX || page.found.len() == FOUND_MAX {
            page.next = Some([&[number], key].concat());
            return Ok(page);
        }
        page.examined += 1;
        let version =
            if family == Family::Current { Head::from_value(value)?.version } else { Version::from_value(value)? };
        if let Version::Object(object) = version
            && elsewhere(&object)
        {
            let object_key =
                if family == Family::Current { Some(key.to_vec()) } else { take_escaped(key).map(|(key, _)| key) };
            let object_key =
                object_key.and_then(|key| String::from_utf8(key).ok()).and_then(|key| ObjectKey::new(&key));
            let object_key = object_key.ok_or_else(|| IndexError::Corrupt("a version's key is none".to_owned()))?;
            page.found.push((object_key, object.version_id, [&[number], key, b"\0"].concat()));
        }
        cursor.advance()?;
    }
    page.next = (usize::from(number) + 1 < FAMILIES.len()).then(|| vec![number + 1]);
    Ok(page)
}
