//! ListObjectVersions against the model: whole, in pages of several sizes, and folded.

use cairn_storage::ops::{Bucket, ListVersions, ListedVersion, ReturnedVersion, VersionSelector, VersionsPage};

use super::state::{ModelBucket, ModelContent};
use crate::rig::Rig;

/// What a listing shows of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    Version { key: String, version: ReturnedVersion, is_latest: bool, is_marker: bool },
    Prefix(String),
}

pub async fn check(rig: &Rig, handle: &Bucket, model: &ModelBucket) {
    for prefix in ["", "a", "a/", "b/b", "nothing"] {
        for delimiter in [None, Some("/"), Some("b")] {
            let expected = expected(model, prefix, delimiter);
            for page_size in [1, 2, 1_000] {
                let listed = all_pages(rig, handle, prefix, delimiter, page_size).await;
                assert_eq!(listed, expected, "{prefix:?} {delimiter:?} in pages of {page_size}");
            }
        }
    }
}

/// The listing by its definition.
fn expected(model: &ModelBucket, prefix: &str, delimiter: Option<&str>) -> Vec<Shown> {
    let mut entries = Vec::new();
    for (key, versions) in model.keys.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let folded = delimiter.and_then(|delimiter| {
            let at = key[prefix.len()..].find(delimiter)?;
            Some(key[..prefix.len() + at + delimiter.len()].to_owned())
        });
        if let Some(folded) = folded {
            let entry = Shown::Prefix(folded);
            if !versions.is_empty() && entries.last() != Some(&entry) {
                entries.push(entry);
            }
            continue;
        }
        for (age, version) in versions.iter().rev().enumerate() {
            let is_marker = matches!(version.content, ModelContent::Marker);
            entries.push(Shown::Version { key: key.clone(), version: version.shown(), is_latest: age == 0, is_marker });
        }
    }
    entries
}

async fn all_pages(rig: &Rig, handle: &Bucket, prefix: &str, delimiter: Option<&str>, page_size: usize) -> Vec<Shown> {
    let mut entries = Vec::new();
    let mut list = ListVersions {
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        max_keys: page_size,
        ..ListVersions::default()
    };
    loop {
        let VersionsPage { entries: page, next } = rig.store.list_versions(handle, list.clone()).await.unwrap();
        assert!(page.len() <= page_size);
        entries.extend(page.into_iter().map(shown));
        let Some(next) = next else { return entries };
        list.after = Some(next.key);
        list.after_version = next.version.map(|version| match version {
            ReturnedVersion::Null => VersionSelector::Null,
            ReturnedVersion::Id(id) => VersionSelector::Id(id),
        });
    }
}

fn shown(entry: ListedVersion) -> Shown {
    match entry {
        ListedVersion::Prefix(prefix) => Shown::Prefix(prefix),
        ListedVersion::Version { key, is_latest, version } => Shown::Version {
            key: key.as_str().to_owned(),
            version: version.shown(),
            is_latest,
            is_marker: matches!(version, cairn_storage::index::family::version::VersionSummary::Marker(_)),
        },
    }
}
