//! The bytes of a version that moves: its files are copied into another place as they are, and become visible by the
//! commit that swaps them. Of versions that share a content the first one's move makes the copy, which the others share then.

use crate::StorageError;
use crate::blob::inline;
use crate::id::{BucketId, ContentId, Place};
use crate::index::family::content;
use crate::index::family::layout::{self, LayoutPage, LayoutPart};
use crate::index::{Batch, Family, IndexError, KeyRange, View};
use crate::object::Content;
use crate::record::Record;

use super::Store;
use super::ingest::StagedFile;
use super::placement::Shared;

/// A content that was copied, but that no commit has made visible. Dropped without one, its files go.
#[derive(Debug)]
pub(super) struct Moved {
    content: Content,
    files: Vec<StagedFile>,
    /// The rows of the copies of inline parts.
    inline: Vec<(ContentId, bytes::Bytes)>,
    /// The parts of a composite.
    layout: Option<(ContentId, Vec<LayoutPart>)>,
    /// The copy that is there already.
    shared: Option<Shared>,
}

impl Moved {
    /// What the version's record says of its bytes.
    pub(super) fn content(&self) -> Content {
        self.content
    }

    /// Adds the rows that make the content visible.
    pub(super) fn join(&self, batch: &mut Batch) -> Result<(), StorageError> {
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
    pub(super) fn set_visible(&mut self, visible: bool) {
        for file in &mut self.files {
            file.set_visible(visible);
        }
    }
}

impl Store {
    /// The files that a content is made of.
    pub(super) async fn files_of(&self, bucket: BucketId, content: Content) -> Result<Vec<ContentId>, StorageError> {
        Ok(match content {
            Content::Empty | Content::Inline(_) => Vec::new(),
            Content::File(id) => vec![id],
            Content::Composite(id) => {
                let parts = self.view(bucket, move |view| read_layout(view, id)).await?;
                parts.into_iter().filter_map(|part| file_of(part.content)).collect()
            }
        })
    }

    /// Copies what of a content is not in `place` yet; its files are pinned. The copies are durable when it returns.
    pub(super) async fn copy_content(
        &self,
        bucket: BucketId,
        content: Content,
        place: Place,
    ) -> Result<Moved, StorageError> {
        let unmoved = Moved { content, files: Vec::new(), inline: Vec::new(), layout: None, shared: None };
        if let Content::File(id) | Content::Composite(id) = content
            && let Some(shared) = self.view(bucket, move |view| moved_before(view, id, place)).await?
        {
            let content = match content {
                Content::Composite(_) => Content::Composite(shared.id()),
                _ => Content::File(shared.id()),
            };
            return Ok(Moved { content, shared: Some(shared), ..unmoved });
        }
        match content {
            Content::Empty | Content::Inline(_) => Ok(unmoved),
            Content::File(id) if id.place() == place => Ok(unmoved),
            Content::File(id) => {
                let file = self.copy_file(id, place).await?;
                Ok(Moved { content: Content::File(file.content()), files: vec![file], ..unmoved })
            }
            Content::Composite(id) => {
                let parts = self.view(bucket, move |view| read_layout(view, id)).await?;
                if parts.iter().filter_map(|part| file_of(part.content)).all(|file| file.place() == place) {
                    return Ok(unmoved);
                }
                self.copy_composite(bucket, parts, place).await
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

/// The copy in `place` of a content that others share, or shared, if one was made and is there still.
fn moved_before(view: &dyn View, id: ContentId, place: Place) -> Result<Option<Shared>, IndexError> {
    let copy = content::read(view, id)?.and_then(|(_, record)| record.moved_to);
    let Some(copy) = copy.filter(|copy| copy.place() == place) else { return Ok(None) };
    Ok(content::read(view, copy)?.and_then(|(row, record)| Shared::once_more(copy, row.revision, record)))
}

/// All parts of a composite.
fn read_layout(view: &dyn View, id: ContentId) -> Result<Vec<LayoutPart>, IndexError> {
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
