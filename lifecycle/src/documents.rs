//! What is read of a bucket before anything is decided about its versions.

use std::sync::Arc;

use cairn_storage::StorageError;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::family::usage::{self, Counter};
use cairn_storage::index::{Revision, View};
use cairn_storage::object::StorageClass;
use cairn_storage::ops::{Bucket, Store};
use cairn_storage::record::Record;

use crate::configuration::Configuration;
use crate::tiering::Configurations;

/// The bucket's rules, with the revision that acts by them guard; None: there are none.
///
/// # Errors
/// The index's; `Corrupt`.
pub async fn rules(store: &Store, bucket: &Bucket) -> Result<Option<(Configuration, Revision)>, StorageError> {
    let found = store.document_with_revision(bucket.id, DocumentKind::Lifecycle).await?;
    found.map(|(value, revision)| Ok((Configuration::from_value(&value)?, revision))).transpose()
}

/// The bucket's configurations of INTELLIGENT_TIERING, if it has objects of the class, and their revision, if it has any.
pub(crate) async fn tiering(
    store: &Store,
    bucket: &Bucket,
) -> Result<(Option<Arc<Configurations>>, Option<Revision>), StorageError> {
    let document = store.document_with_revision(bucket.id, DocumentKind::IntelligentTiering).await?;
    let (value, revision) = document.unzip();
    if !holds_tiered(store, bucket).await? {
        return Ok((None, revision));
    }
    let configurations = value.map(|value| Configurations::from_value(&value)).transpose()?.unwrap_or_default();
    Ok((Some(Arc::new(configurations)), revision))
}

/// Whether the bucket has objects in INTELLIGENT_TIERING.
///
/// # Errors
/// The index's.
pub async fn holds_tiered(store: &Store, bucket: &Bucket) -> Result<bool, StorageError> {
    let count = |view: &dyn View| usage::read(view, StorageClass::IntelligentTiering, Counter::Versions);
    Ok(store.index().view(bucket.id.into(), count).await? > 0)
}
