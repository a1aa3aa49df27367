//! The chunk files: those that the index names, and those that it does not.

use std::collections::HashSet;

use crate::StorageError;
use crate::id::ContentId;
use crate::ops::Store;

use super::{Progress, Report};

/// How many bytes are verified between two reports of progress.
const PROGRESS_BYTES: u64 = 16 << 20;

/// A file that a `content` row names.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpectedFile {
    pub(super) content: ContentId,
    pub(super) size_bytes: u64,
    pub(super) stored_bytes: u64,
}

/// Reads every expected file in full.
pub(super) async fn check_all(
    store: &Store,
    expected: &[ExpectedFile],
    progress: &mut (dyn FnMut(Progress) + Send),
    report: &mut Report,
) -> Result<(), StorageError> {
    let expected = reachable(store, expected, report);
    let bytes_total = expected.iter().map(|file| file.stored_bytes).sum();
    let mut done = Progress { bytes_done: 0, bytes_total };
    let mut shown_bytes = 0;
    progress(done);
    for file in &expected {
        report.files += 1;
        report.file_bytes += file.stored_bytes;
        if let Some(finding) = check_file(store, *file).await? {
            report.find(finding);
        }
        done.bytes_done += file.stored_bytes;
        if done.bytes_done - shown_bytes >= PROGRESS_BYTES {
            shown_bytes = done.bytes_done;
            progress(done);
        }
    }
    progress(done);
    Ok(())
}

/// Those that are not in a tier that is down, which is a finding.
fn reachable(store: &Store, expected: &[ExpectedFile], report: &mut Report) -> Vec<ExpectedFile> {
    let mut reachable = expected.to_vec();
    for tier in store.blobs().tiers() {
        let Some(reason) = tier.down else { continue };
        let before = reachable.len();
        reachable.retain(|file| file.content.place() != tier.place);
        let missing = before - reachable.len();
        report.find(format!("the storage tier {} is down, {missing} files were not verified: {reason}", tier.name));
    }
    reachable
}

/// What is wrong with the file, if anything is.
async fn check_file(store: &Store, file: ExpectedFile) -> Result<Option<String>, StorageError> {
    let blobs = store.blobs().clone();
    let content = file.content;
    // What is in another service is not fetched: it was verified when it came there, and is when it is read.
    match store.blobs().remote_length(content).await {
        Ok(None) => {}
        Ok(Some(length)) if length == file.stored_bytes => return Ok(None),
        Ok(Some(_)) => return Ok(Some(format!("content {content}: its file has another length than its row says"))),
        Err(StorageError::Corrupt { what }) => return Ok(Some(what)),
        Err(error) => return Ok(Some(format!("content {content}: {error}"))),
    }
    // Chunk checksums are over the stored bytes, so a sealed file needs no key here.
    let verified = store.blobs().offload().run(move || blobs.verify_blocking(content, None, &mut |_| Ok(()))).await;
    match verified {
        Ok(found) if found.plain_length != file.size_bytes || found.stored_length != file.stored_bytes => {
            Ok(Some(format!("content {content}: its file has other lengths than its row")))
        }
        Ok(_) => Ok(None),
        Err(StorageError::Corrupt { what }) => Ok(Some(what)),
        Err(error @ (StorageError::Io { .. } | StorageError::TierDown { .. })) => {
            Ok(Some(format!("content {content}: {error}")))
        }
        Err(error) => Err(error),
    }
}

/// Looks at every file that the index does not name.
pub(super) async fn check_strangers(
    store: &Store,
    named: &HashSet<ContentId>,
    last_stop_was_clean: bool,
    report: &mut Report,
) -> Result<(), StorageError> {
    let mut expected_leftovers = 0;
    for folder in 0..=u8::MAX {
        let listing = store.blobs().list(folder).await?;
        for path in listing.strangers {
            report.find(format!("{path} is not a file of Cairn's"));
        }
        for content in listing.contents.into_iter().filter(|content| !named.contains(content)) {
            if last_stop_was_clean {
                report.find(format!("content {content} has a file, and the index does not name it"));
            } else {
                expected_leftovers += 1;
            }
        }
    }
    report.leftovers += expected_leftovers;
    Ok(())
}
