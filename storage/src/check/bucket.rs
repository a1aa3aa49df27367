//! One bucket's rows against each other.

use std::collections::HashMap;

use crate::StorageError;
use crate::blob::inline;
use crate::id::{BucketId, ContentId, Place, VersionId};
use crate::index::family::content::{ContentKind, ContentRecord};
use crate::index::family::document::DocumentKind;
use crate::index::family::head::Head;
use crate::index::family::layout::LayoutPage;
use crate::index::family::part::PartRecord;
use crate::index::family::removed;
use crate::index::family::restore::RestoreRecord;
use crate::index::family::upload::UploadRecord;
use crate::index::family::usage::{self, Counter, PlaceCounter};
use crate::index::family::version::Version;
use crate::index::key::take_escaped;
use crate::index::{Family, IndexError};
use crate::object::{Content, ObjectVersion, StorageClass};
use crate::ops::Store;
use crate::record::Record;

use super::files::ExpectedFile;
use super::{Report, Rows};

/// What rows say about a content.
#[derive(Clone, Copy, Debug, Default)]
struct Named {
    /// How many versions name it.
    versions: u32,
    /// Whether a part row or a layout names it.
    as_part: bool,
    /// The size they give.
    size_bytes: u64,
}

#[derive(Default)]
struct Seen {
    named: HashMap<ContentId, Named>,
    counters: HashMap<[u8; 2], i64>,
    /// The size that the layout of a composite adds up to.
    layout_bytes: HashMap<ContentId, u64>,
    /// `null` versions that heads say are below them, by escaped key.
    older_nulls: Vec<(String, VersionId)>,
}

/// Checks the bucket; returns the files that its rows name.
pub(super) async fn check(
    store: &Store,
    name: &str,
    id: BucketId,
    report: &mut Report,
) -> Result<Vec<ExpectedFile>, StorageError> {
    let mut checker = Checker { store, name, id, report, seen: Seen::default() };
    if checker.row(Family::Bucket, b"").await?.is_none() {
        checker.find("its row is missing");
    }
    checker.heads(Family::Current).await?;
    checker.heads(Family::Hidden).await?;
    checker.versions().await?;
    checker.older_nulls().await?;
    checker.uploads().await?;
    checker.parts().await?;
    checker.layouts().await?;
    checker.inline().await?;
    let files = checker.contents().await?;
    checker.counters().await?;
    checker.place_counters().await?;
    checker.restores().await?;
    Ok(files)
}

struct Checker<'a> {
    store: &'a Store,
    name: &'a str,
    id: BucketId,
    report: &'a mut Report,
    seen: Seen,
}

impl Checker<'_> {
    fn find(&mut self, what: impl std::fmt::Display) {
        self.report.find(format!("bucket {}: {what}", self.name));
    }

    /// The decoded record; a finding if it does not decode.
    fn decode<R: Record>(&mut self, key: &[u8], value: &[u8]) -> Option<R> {
        match R::from_value(value) {
            Ok(record) => Some(record),
            Err(error) => {
                self.find(format!("row {:?}: {error}", String::from_utf8_lossy(key)));
                None
            }
        }
    }

    async fn row(&self, family: Family, key: &[u8]) -> Result<Option<bytes::Bytes>, StorageError> {
        let key = key.to_vec();
        let row = self.store.index().view(self.id.into(), move |view| view.get(family, &key)).await?;
        Ok(row.map(|row| row.value))
    }

    fn rows(&self, family: Family) -> Rows {
        Rows::new(self.id.into(), family)
    }

    async fn heads(&mut self, family: Family) -> Result<(), StorageError> {
        let mut rows = self.rows(family);
        while let Some(page) = rows.next(self.store).await? {
            for (key, value) in page {
                let Some(head) = self.decode::<Head>(&key, &value) else { continue };
                let key_text = String::from_utf8_lossy(&key).into_owned();
                if head.family() != family {
                    self.find(format!("key {key_text:?}: its head is in the wrong family"));
                }
                if family == Family::Hidden && self.row(Family::Current, &key).await?.is_some() {
                    self.find(format!("key {key_text:?} has two heads"));
                }
                if let Some(null) = head.older_null {
                    self.seen.older_nulls.push((key_text, null));
                }
                if let Version::Object(object) = &head.version {
                    self.count(object.storage_class, Counter::Objects, 1);
                }
                self.version(&head.version);
            }
        }
        Ok(())
    }

    async fn versions(&mut self) -> Result<(), StorageError> {
        let mut rows = self.rows(Family::Version);
        while let Some(page) = rows.next(self.store).await? {
            for (key, value) in page {
                let Some(version) = self.decode::<Version>(&key, &value) else { continue };
                let Some((object_key, order)) = take_escaped(&key) else {
                    self.find("a version row's key is malformed");
                    continue;
                };
                if order != version.id().newest_first() {
                    self.find(format!("version {} is not where its id says", version.id()));
                }
                if self.row(Family::Current, &object_key).await?.is_none()
                    && self.row(Family::Hidden, &object_key).await?.is_none()
                {
                    self.find(format!("key {:?} has versions and no head", String::from_utf8_lossy(&object_key)));
                }
                self.version(&version);
            }
        }
        Ok(())
    }

    fn version(&mut self, version: &Version) {
        match version {
            Version::Marker(_) => self.report.delete_markers += 1,
            Version::Object(object) => {
                self.report.versions += 1;
                self.count(object.storage_class, Counter::Versions, 1);
                self.count(object.storage_class, Counter::Bytes, i64::try_from(object.size_bytes).unwrap_or(i64::MAX));
                self.names(object);
                if object.checksum.is_some() && object.sealed_checksum.is_some() {
                    self.find(format!("version {} has its checksum sealed and in the clear", object.version_id));
                }
            }
        }
    }

    fn names(&mut self, object: &ObjectVersion) {
        match content_id(object.content) {
            Some(id) => {
                let named = self.seen.named.entry(id).or_default();
                named.versions += 1;
                named.size_bytes = object.size_bytes;
            }
            None if object.size_bytes > 0 => {
                self.find(format!("version {} has a size and no content", object.version_id))
            }
            None => {}
        }
    }

    fn names_part(&mut self, content: Content, size_bytes: u64) {
        if let Some(id) = content_id(content) {
            let named = self.seen.named.entry(id).or_default();
            named.as_part = true;
            named.size_bytes = size_bytes;
        }
    }

    fn count(&mut self, class: StorageClass, counter: Counter, by: i64) {
        *self.seen.counters.entry(usage::key(class, counter)).or_default() += by;
    }

    async fn older_nulls(&mut self) -> Result<(), StorageError> {
        for (key, id) in std::mem::take(&mut self.seen.older_nulls) {
            let mut row_key = Vec::new();
            crate::index::key::push_escaped(&mut row_key, key.as_bytes());
            row_key.extend_from_slice(&id.newest_first());
            if self.row(Family::Version, &row_key).await?.is_none() {
                self.find(format!("key {key:?}: its head names a null version that does not exist"));
            }
        }
        Ok(())
    }

    async fn uploads(&mut self) -> Result<(), StorageError> {
        let mut rows = self.rows(Family::Upload);
        while let Some(page) = rows.next(self.store).await? {
            for (key, value) in page {
                self.decode::<UploadRecord>(&key, &value);
            }
        }
        Ok(())
    }

    async fn parts(&mut self) -> Result<(), StorageError> {
        let mut rows = self.rows(Family::Part);
        while let Some(page) = rows.next(self.store).await? {
            for (key, value) in page {
                let Some(part) = self.decode::<PartRecord>(&key, &value) else { continue };
                self.report.parts += 1;
                // The rows of an upload that ended wait for the collector, which may have freed their contents.
                if self.is_indexed(part.content).await? {
                    self.names_part(part.content, part.size_bytes);
                }
            }
        }
        Ok(())
    }

    async fn is_indexed(&self, content: Content) -> Result<bool, StorageError> {
        Ok(match content {
            Content::Empty => true,
            Content::Inline(id) => self.row(Family::Inline, id.as_bytes()).await?.is_some(),
            Content::File(id) | Content::Composite(id) => self.row(Family::Content, id.as_bytes()).await?.is_some(),
        })
    }

    async fn layouts(&mut self) -> Result<(), StorageError> {
        let mut rows = self.rows(Family::Layout);
        while let Some(page) = rows.next(self.store).await? {
            for (key, value) in page {
                let Some(layout) = self.decode::<LayoutPage>(&key, &value) else { continue };
                let Some(id) = key.get(..16).and_then(ContentId::from_slice) else {
                    self.find("a layout row's key is malformed");
                    continue;
                };
                for part in layout.parts {
                    let bytes = self.seen.layout_bytes.entry(id).or_default();
                    let gap = *bytes != part.offset_bytes;
                    *bytes += part.size_bytes;
                    if gap {
                        self.find(format!("composite {id}: part {} does not follow the one before", part.number));
                    }
                    self.names_part(part.content, part.size_bytes);
                }
            }
        }
        Ok(())
    }

    async fn inline(&mut self) -> Result<(), StorageError> {
        let mut rows = self.rows(Family::Inline);
        while let Some(page) = rows.next(self.store).await? {
            for (key, value) in page {
                let Some(id) = ContentId::from_slice(&key) else {
                    self.find("an inline row's key is malformed");
                    continue;
                };
                self.report.inline_contents += 1;
                match (self.seen.named.remove(&id), inline::verify(id, &value)) {
                    (None, _) => self.find(format!("inline content {id} is named by nothing")),
                    (Some(_), Err(error)) => self.find(error),
                    (Some(named), Ok(bytes)) if bytes as u64 != named.size_bytes => {
                        self.find(format!("inline content {id} has another size than its version"));
                    }
                    (Some(_), Ok(_)) => {}
                }
            }
        }
        Ok(())
    }

    /// The `content` rows against what names them; what stays named afterwards is missing.
    async fn contents(&mut self) -> Result<Vec<ExpectedFile>, StorageError> {
        let mut files = Vec::new();
        let mut rows = self.rows(Family::Content);
        while let Some(page) = rows.next(self.store).await? {
            for (key, value) in page {
                let Some(record) = self.decode::<ContentRecord>(&key, &value) else { continue };
                let Some(id) = ContentId::from_slice(&key) else {
                    self.find("a content row's key is malformed");
                    continue;
                };
                let named = self.seen.named.remove(&id);
                self.content(id, record, named);
                for (key, delta) in usage::of_place(id, &record) {
                    *self.seen.counters.entry(key).or_default() += delta;
                }
                if let ContentKind::File { size_bytes, stored_bytes, .. } = record.kind {
                    files.push(ExpectedFile { content: id, size_bytes, stored_bytes });
                }
            }
        }
        for id in std::mem::take(&mut self.seen.named).into_keys() {
            self.find(format!("content {id} is named by a version or part, and has no row"));
        }
        Ok(files)
    }

    fn content(&mut self, id: ContentId, record: ContentRecord, named: Option<Named>) {
        let Some(named) = named else {
            self.find(format!("content {id} is named by nothing"));
            return;
        };
        let references = if named.versions > 0 { named.versions } else { u32::from(named.as_part) };
        if references != record.references {
            self.find(format!("content {id} has {references} references, its row says {}", record.references));
        }
        let size_bytes = match record.kind {
            ContentKind::File { size_bytes, .. } => size_bytes,
            ContentKind::Composite { .. } => self.seen.layout_bytes.get(&id).copied().unwrap_or(0),
        };
        if size_bytes != named.size_bytes {
            self.find(format!("content {id} has {size_bytes} bytes, its version {}", named.size_bytes));
        }
    }

    async fn counters(&mut self) -> Result<(), StorageError> {
        for class in StorageClass::ALL {
            for counter in Counter::ALL {
                let read = move |view: &dyn crate::index::View| -> Result<i64, IndexError> {
                    usage::read(view, class, counter)
                };
                let stored = self.store.index().view(self.id.into(), read).await?;
                let counted = self.seen.counters.get(&usage::key(class, counter)).copied().unwrap_or(0);
                if stored != counted {
                    self.find(format!("{} {counter:?}: the counter says {stored}, a recount {counted}", class.name()));
                }
            }
        }
        Ok(())
    }

    async fn place_counters(&mut self) -> Result<(), StorageError> {
        let classes = StorageClass::ALL.map(|class| (Place::in_data_dir(class), format!("the class {}", class.name())));
        let tiers = self.store.blobs().tiers().into_iter().map(|tier| (tier.place, format!("the tier {}", tier.name)));
        for (place, name) in classes.into_iter().chain(tiers) {
            for counter in PlaceCounter::ALL {
                let read = move |view: &dyn crate::index::View| usage::read_place(view, place, counter);
                let stored = self.store.index().view(self.id.into(), read).await?;
                let counted = self.seen.counters.get(&usage::place_key(place, counter)).copied().unwrap_or(0);
                if stored != counted {
                    self.find(format!("{counter:?} in {name}: the counter says {stored}, a recount {counted}"));
                }
            }
        }
        Ok(())
    }

    /// What restores to a point in time go by, and the newest of them.
    async fn restores(&mut self) -> Result<(), StorageError> {
        let mut rows = self.rows(Family::Usage);
        while let Some(page) = rows.next(self.store).await? {
            for (key, value) in page {
                if let Err(error) = removed::check(&key, &value) {
                    self.find(error);
                }
            }
        }
        let key = DocumentKind::Restore.key();
        if let Some(value) = self.row(Family::Document, &key).await? {
            self.decode::<RestoreRecord>(&key, &value);
        }
        Ok(())
    }
}

fn content_id(content: Content) -> Option<ContentId> {
    match content {
        Content::Empty => None,
        Content::Inline(id) | Content::File(id) | Content::Composite(id) => Some(id),
    }
}
