//! The collector: frees contents that no version and no part uses any more.
//!
//! A content is un-indexed by the commit that dropped its last reference; that commit carries the task. The collector
//! then waits until every reader that might have seen the content in an older snapshot has pinned it or gone
//! (ARCHITECTURE 4.5), leaves pinned contents for later, looks once more that no `content` row exists, and unlinks.

use std::collections::HashSet;

use async_trait::async_trait;
use minicbor::{Decode, Encode};

use crate::StorageError;
use crate::clock::Timestamp;
use crate::id::ContentId;
use crate::index::family::content::{self, ContentRecord};
use crate::index::family::job::Queue;
use crate::index::family::layout::LayoutPage;
use crate::index::family::part::PartRecord;
use crate::index::family::usage;
use crate::index::{Batch, Family, IndexError, KeyRange, Partition, View};
use crate::object::Content;
use crate::ops::Store;
use crate::record::Record;

use super::{Handler, NewTask, Verdict};

/// How long a pinned content is left alone before the next look, in milliseconds.
const PINNED_RETRY_MS: i64 = 5_000;

/// How long a file is left alone whose tier is down, in milliseconds.
const TIER_DOWN_RETRY_MS: i64 = 60_000;

/// How many parts one commit frees.
const PARTS_PER_COMMIT: usize = 1_000;

/// What to free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum CollectTask {
    /// A chunk file whose `content` row is gone.
    #[n(0)]
    File(#[n(0)] ContentId),
    /// A finished multipart object whose `content` row is gone: its parts and its layout.
    #[n(1)]
    Composite(#[n(0)] ContentId),
    /// The part rows of an upload that ended, and those parts that its layout (if it has one) does not name.
    #[n(2)]
    Parts(#[n(0)] ContentId),
    /// A file in quarantine.
    #[n(3)]
    Quarantined(#[n(0)] ContentId),
}

impl CollectTask {
    /// The task that frees `content`, if it needs one.
    #[must_use]
    pub fn of(content: Content) -> Option<Self> {
        match content {
            Content::Empty | Content::Inline(_) => None,
            Content::File(id) => Some(Self::File(id)),
            Content::Composite(id) => Some(Self::Composite(id)),
        }
    }

    /// The task, due at `due`.
    #[must_use]
    pub fn due_at(self, due: Timestamp) -> NewTask {
        let task = minicbor::to_vec(self).unwrap_or_default(); // writing to a Vec cannot fail
        NewTask { queue: Queue::Collect, due, task, lane: None }
    }
}

/// Runs the tasks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Collector;

#[async_trait]
impl Handler for Collector {
    fn queue(&self) -> Queue {
        Queue::Collect
    }

    async fn run(&self, store: &Store, partition: Partition, task: &[u8]) -> Verdict {
        let result = match minicbor::decode(task) {
            Ok(task) => run(store, partition, task).await,
            Err(error) => Err(StorageError::corrupt(format!("collect task: {error}"))),
        };
        result.unwrap_or_else(|error| match error {
            // However long its disk is away, the file is to go.
            StorageError::TierDown { .. } => Verdict::Later(TIER_DOWN_RETRY_MS),
            error => Verdict::Failed(error.to_string()),
        })
    }
}

/// Runs one task.
pub(crate) async fn run(store: &Store, partition: Partition, task: CollectTask) -> Result<Verdict, StorageError> {
    match task {
        CollectTask::File(id) => collect_file(store, partition, id).await,
        CollectTask::Composite(id) => collect_composite(store, partition, id).await,
        CollectTask::Parts(id) => collect_parts(store, partition, id).await,
        CollectTask::Quarantined(id) => super::scan::purge(store, id).await,
    }
}

async fn collect_file(store: &Store, partition: Partition, id: ContentId) -> Result<Verdict, StorageError> {
    // Readers that looked before this point have pinned the content, or will never see it.
    store.pins().quiesce().await;
    if store.pins().is_pinned(id) {
        return Ok(Verdict::Later(PINNED_RETRY_MS));
    }
    let row = store.index().view(partition, move |view| view.get(Family::Content, id.as_bytes())).await?;
    if row.is_none() {
        store.blobs().unlink(id).await?;
    }
    Ok(Verdict::Done)
}

/// Turns the composite, page by page, into tasks for its files. Nobody is waited for: a reader has pinned the files.
async fn collect_composite(store: &Store, partition: Partition, id: ContentId) -> Result<Verdict, StorageError> {
    loop {
        let page = store.index().view(partition, move |view| {
            if view.get(Family::Content, id.as_bytes())?.is_some() {
                return Ok(None);
            }
            let cursor = view.cursor(Family::Layout, KeyRange::prefix(id.as_bytes()))?;
            let Some((key, _, value)) = cursor.row() else { return Ok(None) };
            let contents = LayoutPage::from_value(value)?.parts.into_iter().map(|part| part.content).collect();
            Ok(Some((key.to_vec(), indexed(view, contents)?)))
        });
        let Some((key, contents)) = page.await? else { return Ok(Verdict::Done) };
        let (mut batch, tasks) = free_all(&contents, store.clock().now());
        batch.delete(Family::Layout, key);
        // No guards: nothing else changes the rows of a composite that no version names.
        store.commit(partition, batch, tasks).await?;
    }
}

/// Removes an ended upload's part rows, and turns the parts that are in no layout into tasks.
async fn collect_parts(store: &Store, partition: Partition, id: ContentId) -> Result<Verdict, StorageError> {
    loop {
        let page = store.index().view(partition, move |view| unused_parts(view, id));
        let (keys, unused) = page.await?;
        if keys.is_empty() {
            return Ok(Verdict::Done);
        }
        let (mut batch, tasks) = free_all(&unused, store.clock().now());
        for key in keys {
            batch.delete(Family::Part, key);
        }
        // No guards: the upload has ended, so no part row comes or changes any more.
        store.commit(partition, batch, tasks).await?;
    }
}

/// The first part rows of an ended upload, and the contents among them that its layout does not name.
fn unused_parts(view: &dyn View, id: ContentId) -> Result<(Vec<Vec<u8>>, Vec<Indexed>), IndexError> {
    let mut used = HashSet::new();
    let mut pages = view.cursor(Family::Layout, KeyRange::prefix(id.as_bytes()))?;
    while let Some((_, _, value)) = pages.row() {
        used.extend(LayoutPage::from_value(value)?.parts.into_iter().filter_map(|part| id_of(part.content)));
        pages.advance()?;
    }
    let (mut keys, mut unused) = (Vec::new(), Vec::new());
    let mut parts = view.cursor(Family::Part, KeyRange::prefix(id.as_bytes()))?;
    while let Some((key, _, value)) = parts.row().filter(|_| keys.len() < PARTS_PER_COMMIT) {
        keys.push(key.to_vec());
        let content = PartRecord::from_value(value)?.content;
        if id_of(content).is_some_and(|content| !used.contains(&content)) {
            unused.push(content);
        }
        parts.advance()?;
    }
    // A composite that was deleted before this ran has freed its parts, and its layout is gone.
    let unused = indexed(view, unused)?;
    Ok((keys, unused))
}

fn id_of(content: Content) -> Option<ContentId> {
    match content {
        Content::Empty => None,
        Content::Inline(id) | Content::File(id) | Content::Composite(id) => Some(id),
    }
}

/// A content that still has a row to free; that row, if it is in `content`.
type Indexed = (Content, Option<ContentRecord>);

/// Those contents that still have a row to free.
fn indexed(view: &dyn View, contents: Vec<Content>) -> Result<Vec<Indexed>, IndexError> {
    let mut indexed = Vec::with_capacity(contents.len());
    for content in contents {
        match content {
            Content::Empty => {}
            Content::Inline(id) if view.get(Family::Inline, id.as_bytes())?.is_none() => {}
            Content::Inline(_) => indexed.push((content, None)),
            Content::File(id) | Content::Composite(id) => {
                indexed.extend(content::read(view, id)?.map(|(_, record)| (content, Some(record))));
            }
        }
    }
    Ok(indexed)
}

/// The batch and the tasks that free the contents of parts, which nobody shares.
fn free_all(contents: &[Indexed], now: Timestamp) -> (Batch, Vec<NewTask>) {
    let mut batch = Batch::new();
    let mut tasks = Vec::new();
    for (content, record) in contents {
        match content {
            Content::Empty => {}
            Content::Inline(id) => batch.delete(Family::Inline, id.as_bytes().as_slice()),
            Content::File(id) | Content::Composite(id) => {
                batch.delete(Family::Content, id.as_bytes().as_slice());
                if let Some(record) = record {
                    usage::count_content(&mut batch, *id, record, -1);
                }
                tasks.extend(CollectTask::of(*content).map(|task| task.due_at(now)));
            }
        }
    }
    (batch, tasks)
}
