//! ListObjects against a naive listing of a sorted map, for random keys, prefixes, delimiters, pages and places to begin.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_storage::disk::sim::SimDisk;
use cairn_storage::health::Health;
use cairn_storage::index::rocks::{RocksIndex, RocksOptions};
use cairn_storage::observe::Silent;
use cairn_storage::ops::{Bucket, ListObjects, ListUploads, Listed, ListedUpload};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::rig::Rig;

/// Random cases on each index.
const MEMORY_CASES: u32 = 400;
const ROCKS_CASES: u32 = 40;

/// One question about one set of keys.
#[derive(Clone, Debug)]
struct Case {
    keys: BTreeSet<String>,
    prefix: String,
    delimiter: Option<String>,
    after: Option<String>,
    page_keys: usize,
}

/// Few letters, so that keys share prefixes, and the ones at which byte order and escaping could go wrong.
fn letter() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => prop_oneof![Just('a'), Just('b'), Just('/')],
        1 => prop_oneof![
            Just('\0'), Just('\u{1}'), Just('\u{7F}'), Just('\u{80}'), Just('ä'), Just('\u{7FF}'), Just('\u{800}'),
            Just('\u{FFFF}'), Just('\u{10000}'), Just('\u{10FFFF}')
        ],
    ]
}

fn text(lengths: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(letter(), lengths).prop_map(String::from_iter)
}

fn case() -> impl Strategy<Value = Case> {
    btree_set(text(1..7), 0..40).prop_flat_map(|keys| {
        let of_keys: Vec<String> = keys.iter().cloned().chain([String::new()]).collect();
        // A part of a key, a key itself, a text just past it, or anything.
        let near = move |of_keys: Vec<String>| {
            let cut = (proptest::sample::select(of_keys.clone()), 0..7_usize)
                .prop_map(|(key, length)| key.chars().take(length).collect::<String>());
            let past = (proptest::sample::select(of_keys), letter()).prop_map(|(key, letter)| format!("{key}{letter}"));
            prop_oneof![3 => cut, 1 => past, 1 => text(0..4)]
        };
        let prefix = prop_oneof![1 => Just(String::new()), 2 => near(of_keys.clone())];
        let delimiter = prop_oneof![
            2 => Just(None), 3 => Just(Some("/".to_owned())), 1 => Just(Some(String::new())), 3 => text(1..4).prop_map(Some)
        ];
        let after = prop_oneof![1 => Just(None), 2 => near(of_keys).prop_map(Some)];
        (Just(keys), prefix, delimiter, after, 1..12_usize).prop_map(|(keys, prefix, delimiter, after, page_keys)| Case {
            keys,
            prefix,
            delimiter,
            after,
            page_keys,
        })
    })
}

/// An entry: its text, and whether it is a common prefix.
type Entry = (String, bool);

/// What S3 says a listing is, one key after the other.
fn naive(case: &Case) -> Vec<Entry> {
    let delimiter = case.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty());
    let fold = |key: &str| {
        let rest = key.strip_prefix(&case.prefix)?;
        let end = rest.find(delimiter?)? + delimiter?.len();
        Some(format!("{}{}", case.prefix, &rest[..end]))
    };
    let mut entries: Vec<Entry> = Vec::new();
    for key in case.keys.iter().filter(|key| key.starts_with(&case.prefix)) {
        if let Some(after) = &case.after {
            let under_listed_prefix = fold(after).as_ref() == Some(after) && key.starts_with(after);
            if key.as_bytes() <= after.as_bytes() || under_listed_prefix {
                continue;
            }
        }
        let entry = fold(key).map_or_else(|| (key.clone(), false), |prefix| (prefix, true));
        if entries.last() != Some(&entry) {
            entries.push(entry);
        }
    }
    entries
}

/// Follows the pages from `after` to the end.
async fn listed(rig: &Rig, bucket: &Bucket, case: &Case) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut after = case.after.clone();
    loop {
        let list = ListObjects {
            prefix: case.prefix.clone(),
            delimiter: case.delimiter.clone(),
            after: after.clone(),
            max_keys: case.page_keys,
        };
        let page = rig.store.list_objects(bucket, list).await.unwrap();
        assert!(page.entries.len() <= case.page_keys);
        entries.extend(page.entries.iter().map(|entry| match entry {
            Listed::Object(key, _) => (key.as_str().to_owned(), false),
            Listed::Prefix(prefix) => (prefix.clone(), true),
        }));
        let Some(next) = page.next else { return entries };
        assert_eq!(page.entries.len(), case.page_keys, "a page before the last is full");
        after = Some(next);
    }
}

async fn listed_uploads(rig: &Rig, bucket: &Bucket, case: &Case) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut after = (case.after.clone(), None);
    loop {
        let list = ListUploads {
            prefix: case.prefix.clone(),
            delimiter: case.delimiter.clone(),
            after_key: after.0.clone(),
            after_upload: after.1,
            max_uploads: case.page_keys,
        };
        let page = rig.store.list_uploads(bucket, list).await.unwrap();
        entries.extend(page.entries.iter().map(|entry| match entry {
            ListedUpload::Upload(upload) => (upload.key.as_str().to_owned(), false),
            ListedUpload::Prefix(prefix) => (prefix.clone(), true),
        }));
        let Some((key, upload)) = page.next else { return entries };
        after = (Some(key), upload);
    }
}

/// Asks many questions; the buckets of one store keep the cases apart.
fn check_listings(rig: &Rig, runtime: &tokio::runtime::Runtime, cases: u32) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let number = std::cell::Cell::new(0);
    let check = |case: Case| {
        number.set(number.get() + 1);
        runtime.block_on(async {
            let bucket = rig.create_bucket(&format!("bucket-{}", number.get())).await;
            for key in &case.keys {
                rig.put(&bucket, key, b"x").await;
                rig.create_upload(&bucket, key).await;
            }
            let expected = naive(&case);
            prop_assert_eq!(listed(rig, &bucket, &case).await, expected.clone());
            prop_assert_eq!(listed_uploads(rig, &bucket, &case).await, expected);
            Ok(())
        })
    };
    if let Err(error) = runner.run(&case(), check) {
        panic!("{error}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn listings_in_memory_are_those_of_a_sorted_map() {
    check_listings(&Rig::new(), &runtime(), MEMORY_CASES);
}

#[test]
fn listings_of_the_database_are_those_of_a_sorted_map() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let directory = tempfile::tempdir().unwrap();
    let options = RocksOptions::new(directory.path().join("index"), directory.path().join("watermark"));
    let health = Health::default();
    let index = Arc::new(RocksIndex::open(&options, health.clone(), Arc::new(Silent)).unwrap());
    let clock = Arc::new(cairn_storage::clock::ManualClock::new(crate::rig::START));
    let rig = Rig::over(index, Arc::new(SimDisk::new()), clock, health, 1);
    check_listings(&rig, &runtime, ROCKS_CASES);
}

#[tokio::test]
async fn a_page_of_no_keys_is_empty_and_the_last() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    rig.put(&bucket, "key", b"x").await;
    let page = rig.store.list_objects(&bucket, ListObjects::default()).await.unwrap();
    assert!(page.entries.is_empty() && page.next.is_none());
}

#[tokio::test]
async fn deleted_and_hidden_keys_are_not_listed() {
    let rig = Rig::new();
    let bucket = rig.create_bucket("bucket").await;
    for key in ["a", "b", "c"] {
        rig.put(&bucket, key, b"x").await;
    }
    rig.delete(&bucket, "a").await;
    rig.set_versioning(&bucket, cairn_storage::index::family::bucket::Versioning::Enabled).await;
    rig.delete(&bucket, "b").await;
    let list = ListObjects { max_keys: 1, ..ListObjects::default() };
    let page = rig.store.list_objects(&bucket, list).await.unwrap();
    assert_eq!(page.entries.iter().map(Listed::name).collect::<Vec<_>>(), ["c"]);
    assert_eq!(page.next, None);
}
