//! The bytes of a version that moves: its files are copied into another place as they are, and become visible by the
//! commit that swaps them. Of versions that share a content the first one's move makes the copy, which the others share then; those
//! that move at the same time wait for it. What is known of the parts beside their bytes is what was seen last.

use crate::StorageError;
use crate::blob::inline;
use crate::id::{BucketId, ContentId, Place, VersionId};
use crate::index::family::content::{self, ContentKind};
use crate::index::family::document::DocumentKind;
use crate::index::family::layout::{self, LayoutPage, LayoutPart};
use crate::index::family::version::Version;
use crate::index::{Batch, Family, IndexError, KeyRange, Revision, View};
use crate::object::{Content, ObjectKey, ObjectVersion};
use crate::record::Record;

use super::ingest::StagedFile;
use super::placement::{self, Mutation, Shared};
use super::seen::SeenKey;
use super::turns::Turn;
use super::{ATTEMPTS_MAX, Store, VersionSelector};

/// A document of the bucket, and the revision that a decision was made by.
pub(super) type Rules = (DocumentKind, Option<Revision>);

/// What became of a version that was to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Swapped {
    /// It moved, in the commit of this revision; the version as it was before.
    Done(Revision, Box<ObjectVersion>),
    /// It is as it is to be.
    InPlace,
    /// It is gone, or what was decided about it does not hold any more.
    Overtaken,
}

/// The bytes of a version, as one view saw them.
struct Origin {
    content: Content,
    /// The parts of a composite.
    layout: Layout,
    /// The copy that another version's move made, if it is there still, and says the same of its parts.
    shared: Option<Shared>,
}

/// The parts of a composite.
#[derive(Default)]
pub(super) struct Layout {
    pub(super) parts: Vec<LayoutPart>,
    /// Of the pages that they are in.
    revisions: Vec<Revision>,
}

/// What a move commits.
enum Swap {
    /// The files are where they are to be.
    InPlace,
    /// They have a copy, which is to be made visible or shared.
    Moved(Moved),
    /// There is no copy.
    Missing,
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
        let parts = self.layout.parts.iter().map(|part| part.content);
        [self.content].into_iter().chain(parts).filter_map(file_of)
    }

    /// What there is of it in a place: the files themselves, another version's copy, or `mine`.
    fn in_place(&self, place: Place, mine: Option<Copied>) -> Result<Swap, StorageError> {
        if self.files().all(|file| file.place() == place) {
            return Ok(Swap::InPlace);
        }
        match (self.shared.filter(|shared| shared.id().place() == place), mine) {
            (Some(shared), _) => Ok(Swap::Moved(Moved::sharing(self.content, shared))),
            (None, Some(copied)) => copied.moved.map(Swap::Moved),
            (None, None) => Ok(Swap::Missing),
        }
    }
}

impl Layout {
    /// Whether the same is known of the checksums of its parts: what one has sealed the other has not in the clear.
    fn has_checksums_of(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&LayoutPart, &LayoutPart)| {
            (one.checksum, &one.sealed_checksum) == (other.checksum, &other.sealed_checksum)
        };
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(is_same)
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

    /// Adds the rows that make the content visible, a copy of what was seen as `from`.
    fn join(&mut self, from: &Origin, batch: &mut Batch) -> Result<(), StorageError> {
        if let Some(shared) = &self.shared {
            shared.join(batch)?;
        }
        for file in &self.files {
            file.join(batch)?;
        }
        for (id, row) in &self.inline {
            batch.put(Family::Inline, id.as_bytes().as_slice(), row.clone());
        }
        if let Some((composite, parts)) = &mut self.layout {
            for (part, seen) in parts.iter_mut().zip(&from.layout.parts) {
                part.checksum = seen.checksum;
                part.sealed_checksum.clone_from(&seen.sealed_checksum);
            }
            layout::put(batch, *composite, parts)?;
        }
        if let Content::Composite(id) = from.content {
            for (page, revision) in (0..).zip(&from.layout.revisions) {
                // Stops: a move x UpdateObjectEncryption of another version that shares the content, which seals the checksums of its
                // parts: the move would bring back what the records had in the clear.
                batch.guard(Family::Layout, layout::key(id, page), Some(*revision));
            }
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
        let mut turn: Option<Turn> = None;
        for _ in 0..ATTEMPTS_MAX {
            // Entered before the look, so that what is seen cannot be collected before it is pinned.
            let entered = self.pins().enter();
            let Some((seen, from)) = self.see_origin(bucket, key, id, rules).await? else {
                return Ok(Swapped::Overtaken);
            };
            let Some(before) = object_of(&seen, id) else { return Ok(Swapped::Overtaken) };
            let Some(mut after) = decide(&seen, before) else { return Ok(Swapped::Overtaken) };
            let (content, place) = (from.content, self.blobs().settled_place_of(after.place_class()));
            let mine = copied.take_if(|copied| copied.from == content && copied.place == place);
            let mut moved = match from.in_place(place, mine)? {
                Swap::InPlace => None,
                Swap::Moved(moved) => Some(moved),
                Swap::Missing => {
                    self.blobs().check_up(place)?;
                    let pins: Vec<_> = from.files().map(|file| self.pins().pin(file)).collect();
                    drop(entered);
                    if self.must_look_again(content, &mut turn).await {
                        continue;
                    }
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
            if let Some(revision) = self.commit_swap(bucket, mutation, &from, moved.as_mut()).await? {
                return Ok(Swapped::Done(revision, Box::new(before.clone())));
            }
            let mine = moved.filter(|moved| moved.shared.is_none());
            copied = mine.map(|moved| Copied { from: content, place, moved: Ok(moved) });
        }
        Err(StorageError::Contention)
    }

    /// Makes it this move's turn to copy the content. True: others may have done so meanwhile.
    async fn must_look_again(&self, content: Content, turn: &mut Option<Turn>) -> bool {
        let (Content::File(id) | Content::Composite(id)) = content else { return false };
        if turn.as_ref().is_some_and(|turn| turn.content == id) {
            return false;
        }
        // Never two at once: another move might have the one and wait for the other.
        *turn = None;
        let (taken, waited) = self.turns().take(id).await;
        *turn = Some(taken);
        waited
    }

    /// Commits a swap. None: a guard did not hold, and nothing was made visible.
    async fn commit_swap(
        &self,
        bucket: BucketId,
        mut mutation: Mutation,
        from: &Origin,
        mut moved: Option<&mut Moved>,
    ) -> Result<Option<Revision>, StorageError> {
        if let Some(moved) = &mut moved {
            moved.join(from, &mut mutation.batch)?;
            // From here on the batch may commit, even if this future is dropped: then the files must stay.
            moved.set_visible(true);
        }
        let committed = self.commit_revision(bucket.into(), mutation.batch, mutation.tasks).await;
        if let Some(moved) = moved
            && !matches!(committed, Ok(Some(_)) | Err(StorageError::OutcomeUnknown))
        {
            moved.set_visible(false);
        }
        committed
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
                Content::Empty | Content::Inline(_) | Content::File(_) => Layout::default(),
            };
            let copy = match content {
                Content::File(id) | Content::Composite(id) => seen.contents.get(&id).and_then(|(_, row)| row.moved_to),
                Content::Empty | Content::Inline(_) => None,
            };
            let shared = match copy {
                Some(copy) => read_copy(view, copy, &layout)?,
                None => None,
            };
            Ok(Ok(Some((seen, Origin { content, layout, shared }))))
        };
        self.view(bucket, page).await?
    }

    /// Copies a content into `place`; its files are pinned. The copies are durable when it returns.
    async fn copy(&self, bucket: BucketId, from: &Origin, place: Place) -> Result<Moved, StorageError> {
        match from.content {
            Content::Composite(_) => self.copy_composite(bucket, from.layout.parts.clone(), place).await,
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

/// The copy of a content of this layout, if it is there and can be shared.
fn read_copy(view: &dyn View, copy: ContentId, layout: &Layout) -> Result<Option<Shared>, IndexError> {
    let Some((row, record)) = content::read(view, copy)? else { return Ok(None) };
    if let ContentKind::Composite { .. } = record.kind
        && !read_layout(view, copy)?.has_checksums_of(layout)
    {
        return Ok(None);
    }
    Ok(Shared::once_more(copy, row.revision, record))
}

/// All parts of a composite.
pub(super) fn read_layout(view: &dyn View, id: ContentId) -> Result<Layout, IndexError> {
    let mut layout = Layout::default();
    let mut cursor = view.cursor(Family::Layout, KeyRange::prefix(id.as_bytes()))?;
    while let Some((_, revision, value)) = cursor.row() {
        layout.parts.extend(LayoutPage::from_value(value)?.parts);
        layout.revisions.push(revision);
        cursor.advance()?;
    }
    if layout.parts.is_empty() {
        return Err(IndexError::Corrupt(format!("composite {id} has no layout")));
    }
    Ok(layout)
}
