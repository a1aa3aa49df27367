//! The bytes of a version that moves: its files are copied into another place as they are, and become visible by the
//! commit that swaps them. Of versions that share a content the first one's move makes the copy, which the others share then.

use crate::StorageError;
use crate::blob::inline;
use crate::id::{BucketId, ContentId, Place, VersionId};
use crate::index::family::content;
use crate::index::family::document::DocumentKind;
use crate::index::family::layout::{self, LayoutPage, LayoutPart};
use crate::index::family::version::Version;
use crate::index::{Batch, Family, IndexError, KeyRange, Revision, View};
use crate::object::{Content, ObjectKey, ObjectVersion};
use crate::record::Record;

use super::ingest::StagedFile;
use super::placement::{self, Shared};
use super::seen::SeenKey;
use super::{ATTEMPTS_MAX, Store, VersionSelector};

/// A document of the bucket, and the revision that a decision was made by.
pub(super) type Rules = (DocumentKind, Option<Revision>);

/// What became of a version that was to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// It moved, in the commit of this revision; its plaintext bytes.
    Done(Revision, u64),
    /// It is as it is to be.
    InPlace,
    /// It is gone, or what was decided about it does not hold any more.
    Overtaken,
}

/// The bytes of a version, as one view saw them.
struct Origin {
    content: Content,
    /// The parts of a composite.
    layout: Vec<LayoutPart>,
    /// The copy that another version's move made, if it is there still.
    shared: Option<Shared>,
}

/// A copy of a content's files into a place; an error counts only if the version is still made of that content.
struct Copied {
    from: Content,
    place: Place,
    moved: Result<Moved, StorageError>,
}

/// A content that was copied, but that no commit has made visible. Dropped without one, its files go.
#[derive(Debug)]
struct Moved {
    content: Content,
    files: Vec<StagedFile>,
    /// The rows of the copies of inline parts.
    inline: Vec<(ContentId, bytes::Bytes)>,
    /// The parts of a composite.
    layout: Option<(ContentId, Vec<LayoutPart>)>,
    /// The copy that is there already.
    shared: Option<Shared>,
}

impl Origin {
    fn files(&self) -> impl Iterator<Item = ContentId> {
        let parts = self.layout.iter().map(|part| part.content);
        [self.content].into_iter().chain(parts).filter_map(file_of)
    }
}

impl Moved {
    /// The content `from` as a copy that is there already.
    fn sharing(from: Content, shared: Shared) -> Self {
        let content = match from {
            Content::Composite(_) => Content::Composite(shared.id()),
            Content::Empty | Content::Inline(_) | Content::File(_) => Content::File(shared.id()),
        };
        Self { content, files: Vec::new(), inline: Vec::new(), layout: None, shared: Some(shared) }
    }

    /// Adds the rows that make the content visible.
    fn join(&self, batch: &mut Batch) -> Result<(), StorageError> {
        if let Some(shared) = &self.shared {
            shared.join(batch)?;
        }
        for file in &self.files {
            file.join(batch)?;
        }
        for (id, row) in &self.inline {
            batch.put(Family::Inline, id.as_bytes().as_slice(), row.clone());
        }
        if let Some((composite, parts)) = &self.layout {
            layout::put(batch, *composite, parts)?;
        }
        Ok(())
    }

    /// Whether a commit may have made it visible.
    fn set_visible(&mut self, visible: bool) {
        for file in &mut self.files {
            file.set_visible(visible);
        }
    }
}

impl Store {
    /// Makes of a version what `decide` says, with its files where its class has them then. They are copied first, and the
    /// version is looked at again after: what else changes about it meanwhile costs no second copy. `rules` must be as they are
    /// said to be.
    ///
    /// # Errors
    /// `TierDown`, `DiskFull`, `Corrupt`, `Contention`, `NoSuchBucket`, `BucketBusy`, `ReadOnly`, `Overloaded`, `Io`: it is as it
    /// was. `OutcomeUnknown`.
    pub(super) async fn swap_content<D>(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
        rules: &[Rules],
        decide: D,
    ) -> Result<Swapped, StorageError>
    where
        D: Fn(&SeenKey, &ObjectVersion) -> Option<ObjectVersion>,
    {
        let mut copied: Option<Copied> = None;
        for _ in 0..ATTEMPTS_MAX {
            // Entered before the look, so that what is seen cannot be collected before it is pinned.
            let entered = self.pins().enter();
            let Some((seen, from)) = self.see_origin(bucket, key, id, rules).await? else {
                return Ok(Swapped::Overtaken);
            };
            let Some(before) = object_of(&seen, id) else { return Ok(Swapped::Overtaken) };
            let Some(mut after) = decide(&seen, before) else { return Ok(Swapped::Overtaken) };
            let (content, place) = (from.content, self.blobs().settled_place_of(after.place_class()));
            let is_there = from.files().all(|file| file.place() == place);
            let shared = from.shared.filter(|shared| shared.id().place() == place);
            let mine = copied.take_if(|copied| copied.from == content && copied.place == place);
            let mut moved = match (shared, mine) {
                _ if is_there => None,
                (Some(shared), _) => Some(Moved::sharing(content, shared)),
                (None, Some(copied)) => Some(copied.moved?),
                (None, None) => {
                    self.blobs().check_up(place)?;
                    let pins: Vec<_> = from.files().map(|file| self.pins().pin(file)).collect();
                    drop(entered);
                    let moved = self.copy(bucket, &from, place).await;
                    drop(pins);
                    copied = Some(Copied { from: content, place, moved });
                    continue;
                }
            };
            drop(entered);
            if let Some(moved) = &moved {
                after.content = moved.content;
            }
            if after == *before {
                return Ok(Swapped::InPlace);
            }
            let mut mutation = placement::replace_content(key, &seen, before, &after, self.clock().now())?;
            for (kind, revision) in rules {
                // Stops: a move by rules that their owner has changed or removed meanwhile.
                mutation.batch.guard(Family::Document, kind.key(), *revision);
            }
            if let Some(moved) = &mut moved {
                moved.join(&mut mutation.batch)?;
                // From here on the batch may commit, even if this future is dropped: then the files must stay.
                moved.set_visible(true);
            }
            match self.commit_revision(bucket.into(), mutation.batch, mutation.tasks).await {
                Ok(Some(revision)) => return Ok(Swapped::Done(revision, after.size_bytes)),
                Err(StorageError::OutcomeUnknown) => return Err(StorageError::OutcomeUnknown),
                not_committed => {
                    moved.iter_mut().for_each(|moved| moved.set_visible(false));
                    not_committed?;
                }
            }
            let mine = moved.filter(|moved| moved.shared.is_none());
            copied = mine.map(|moved| Copied { from: content, place, moved: Ok(moved) });
        }
        Err(StorageError::Contention)
    }

    /// A key, and what the bytes of one of its versions are; None: the rules have changed.
    async fn see_origin(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        id: VersionId,
        rules: &[Rules],
    ) -> Result<Option<(SeenKey, Origin)>, StorageError> {
        let (key, rules, planner) = (key.clone(), rules.to_vec(), self.planner().clone());
        let page = move |view: &dyn View| {
            for (kind, revision) in &rules {
                if view.get(Family::Document, &kind.key())?.map(|row| row.revision) != *revision {
                    return Ok(Ok(None));
                }
            }
            let seen = match SeenKey::read(view, &key, VersionSelector::Id(id), planner.as_ref())? {
                Ok(seen) => seen,
                Err(error) => return Ok(Err(error)),
            };
            let content = object_of(&seen, id).map_or(Content::Empty, |object| object.content);
            let layout = match content {
                Content::Composite(id) => read_layout(view, id)?,
                Content::Empty | Content::Inline(_) | Content::File(_) => Vec::new(),
            };
            let copy = match content {
                Content::File(id) | Content::Composite(id) => seen.contents.get(&id).and_then(|(_, row)| row.moved_to),
                Content::Empty | Content::Inline(_) => None,
            };
            let shared = match copy {
                Some(copy) => {
                    content::read(view, copy)?.and_then(|(row, record)| Shared::once_more(copy, row.revision, record))
                }
                None => None,
            };
            Ok(Ok(Some((seen, Origin { content, layout, shared }))))
        };
        self.view(bucket, page).await?
    }

    /// Copies a content into `place`; its files are pinned. The copies are durable when it returns.
    async fn copy(&self, bucket: BucketId, from: &Origin, place: Place) -> Result<Moved, StorageError> {
        match from.content {
            Content::Composite(_) => self.copy_composite(bucket, from.layout.clone(), place).await,
            Content::File(id) => {
                let file = self.copy_file(id, place).await?;
                let content = Content::File(file.content());
                Ok(Moved { content, files: vec![file], inline: Vec::new(), layout: None, shared: None })
            }
            content @ (Content::Empty | Content::Inline(_)) => {
                Ok(Moved { content, files: Vec::new(), inline: Vec::new(), layout: None, shared: None })
            }
        }
    }

    /// All parts are copied, also those that are in the place already: each belongs to one composite.
    async fn copy_composite(
        &self,
        bucket: BucketId,
        mut parts: Vec<LayoutPart>,
        place: Place,
    ) -> Result<Moved, StorageError> {
        let composite = self.new_content(place);
        let (mut files, mut inlines) = (Vec::new(), Vec::new());
        for part in &mut parts {
            match part.content {
                Content::Empty => {}
                Content::Composite(id) => {
                    return Err(StorageError::corrupt(format!("composite {id} inside a composite")));
                }
                Content::Inline(from) => {
                    let row = self.view(bucket, move |view| view.get(Family::Inline, from.as_bytes())).await?;
                    let row = row.ok_or_else(|| StorageError::corrupt(format!("inline content {from} has no row")))?;
                    let to = self.new_content(Place::default());
                    inlines.push((to, inline::copy(from, &row.value, to)?));
                    part.content = Content::Inline(to);
                }
                Content::File(from) => {
                    let file = self.copy_file(from, place).await?;
                    part.content = Content::File(file.content());
                    files.push(file);
                }
            }
        }
        let (content, layout) = (Content::Composite(composite), Some((composite, parts)));
        Ok(Moved { content, files, inline: inlines, layout, shared: None })
    }

    async fn copy_file(&self, from: ContentId, place: Place) -> Result<StagedFile, StorageError> {
        let to = self.new_content(place);
        let pin = self.pins().pin(to);
        let blob = self.blobs().transfer(from, to).await?;
        Ok(StagedFile::new(blob, self.blobs().clone(), pin))
    }
}

fn file_of(content: Content) -> Option<ContentId> {
    match content {
        Content::File(id) => Some(id),
        Content::Empty | Content::Inline(_) | Content::Composite(_) => None,
    }
}

/// The version, if it is among those that were seen and is an object.
fn object_of(seen: &SeenKey, id: VersionId) -> Option<&ObjectVersion> {
    match seen.find(seen.head.head.as_ref()?, VersionSelector::Id(id))? {
        Version::Object(object) => Some(object),
        Version::Marker(_) => None,
    }
}

/// All parts of a composite.
pub(super) fn read_layout(view: &dyn View, id: ContentId) -> Result<Vec<LayoutPart>, IndexError> {
    let mut parts = Vec::new();
    let mut cursor = view.cursor(Family::Layout, KeyRange::prefix(id.as_bytes()))?;
    while let Some((_, _, value)) = cursor.row() {
        parts.extend(LayoutPage::from_value(value)?.parts);
        cursor.advance()?;
    }
    if parts.is_empty() {
        return Err(IndexError::Corrupt(format!("composite {id} has no layout")));
    }
    Ok(parts)
}
