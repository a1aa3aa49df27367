//! Tests of the index on RocksDB beyond what every index must do.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::index::conformance::{Subject, conformance_tests};
use crate::index::family::walk::WalkCounts;
use crate::index::{Family, KeyRange, Revision, View};
use crate::observe::Silent;

fn make() -> Subject {
    let directory = tempfile::tempdir().unwrap();
    Subject { index: Arc::new(open(directory.path())), _keep: Box::new(directory) }
}

conformance_tests!(make);

const HOME: Partition = Partition([7; 16]);

fn options(directory: &Path) -> RocksOptions {
    RocksOptions::new(directory.join("index"), directory.join("watermark"))
}

fn open(directory: &Path) -> RocksIndex {
    open_with(directory, &Health::default())
}

fn open_with(directory: &Path, health: &Health) -> RocksIndex {
    RocksIndex::open(&options(directory), health.clone(), Arc::new(Silent)).unwrap()
}

fn put(family: Family, key: &[u8], value: &[u8]) -> Batch {
    let mut batch = Batch::new();
    batch.put(family, key, value.to_vec());
    batch
}

async fn committed(index: &RocksIndex, batch: Batch) -> Revision {
    match index.commit(HOME, batch).await {
        Outcome::Committed(revision) => revision,
        other => panic!("not committed: {other:?}"),
    }
}

/// Puts rows of 600 bytes, each in a commit of its own.
async fn put_rows(index: &RocksIndex, family: Family, count: u16) {
    for number in 0..count {
        committed(index, put(family, &number.to_be_bytes(), &[number as u8; 600])).await;
    }
}

fn count_rows(view: &dyn View, family: Family) -> Result<usize, IndexError> {
    let mut cursor = view.cursor(family, KeyRange::all())?;
    let mut count = 0;
    while cursor.row().is_some() {
        count += 1;
        cursor.advance()?;
    }
    Ok(count)
}

async fn rows(index: &RocksIndex, family: Family) -> usize {
    let index: &dyn Index = index;
    index.view(HOME, move |view| count_rows(view, family)).await.unwrap()
}

fn flush(index: &RocksIndex, family: Family) {
    index.engine.database().flush_cf(index.engine.family(family).unwrap()).unwrap();
}

/// A page from a closure, run on one tier only.
struct Probe<F>(F);

impl<F: FnMut(&dyn View) -> Result<(), IndexError> + Send> Page for Probe<F> {
    fn run(&mut self, view: &dyn View) -> Result<(), IndexError> {
        (self.0)(view)
    }
}

fn probe(
    index: &RocksIndex,
    tier: Tier,
    page: impl FnMut(&dyn View) -> Result<(), IndexError> + Send,
) -> Result<(), IndexError> {
    view::run_page(&index.engine, HOME, tier, &mut Probe(page))
}

/// What a power cut would leave if the disk kept everything: a copy of the files while they are in use.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("index")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

#[tokio::test]
async fn reopening_keeps_every_row_and_revisions_go_on_growing() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = Revision(0);
    for round in 0..4_u16 {
        let index = open(directory.path());
        assert_eq!(rows(&index, Family::Current).await, usize::from(round) * 10);
        for number in 0..10 {
            let key = (round * 10 + number).to_be_bytes();
            let revision = committed(&index, put(Family::Current, &key, b"v")).await;
            assert!(revision > last);
            last = revision;
        }
        if round % 2 == 0 {
            flush(&index, Family::Current);
        }
        index.close().unwrap();
    }
}

#[tokio::test]
async fn a_cut_off_index_keeps_every_acknowledged_row() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    put_rows(&index, Family::Current, 200).await;
    put_rows(&index, Family::Inline, 200).await;
    let cut_off = tempfile::tempdir().unwrap();
    copy(directory.path(), cut_off.path());
    let health = Health::default();
    let reopened = open_with(cut_off.path(), &health);
    assert_eq!(health.read_only(), None);
    assert_eq!(rows(&reopened, Family::Current).await, 200);
    assert_eq!(rows(&reopened, Family::Inline).await, 200);
}

#[tokio::test]
async fn what_is_in_a_memtable_is_read_on_the_calling_thread() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    for family in [Family::Current, Family::Inline] {
        put_rows(&index, family, 20).await;
        probe(&index, Tier::Caches, |view| {
            assert_eq!(count_rows(view, family)?, 20);
            assert_eq!(view.get(family, &7_u16.to_be_bytes())?.unwrap().value, vec![7; 600]);
            assert_eq!(view.get(family, b"absent")?, None);
            Ok(())
        })
        .unwrap();
    }
}

#[tokio::test]
async fn what_is_only_on_disk_is_uncached_until_the_pool_has_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    for family in [Family::Current, Family::Inline] {
        put_rows(&index, family, 20).await;
        flush(&index, family);
    }
    index.close().unwrap();
    drop(index);
    assert!(!files(directory.path(), "blob").is_empty(), "inline contents lie in blob files");

    let index = open(directory.path());
    for family in [Family::Current, Family::Inline] {
        let get = |view: &dyn View| {
            assert_eq!(view.get(family, &7_u16.to_be_bytes())?.unwrap().value, vec![7; 600]);
            Ok(())
        };
        assert_eq!(probe(&index, Tier::Caches, get), Err(IndexError::Uncached));
        probe(&index, Tier::Disk, get).unwrap();
        probe(&index, Tier::Caches, get).unwrap();

        let scan = |view: &dyn View| count_rows(view, family).map(|count| assert_eq!(count, 20));
        if family == Family::Inline {
            assert_eq!(probe(&index, Tier::Caches, scan), Err(IndexError::Uncached));
        }
        probe(&index, Tier::Disk, scan).unwrap();
        probe(&index, Tier::Caches, scan).unwrap();
    }
}

#[tokio::test]
async fn a_page_that_misses_the_caches_is_answered_from_the_pool() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    put_rows(&index, Family::Inline, 50).await;
    flush(&index, Family::Inline);
    drop(index);
    let index = open(directory.path());
    assert_eq!(rows(&index, Family::Inline).await, 50);
}

#[tokio::test]
async fn a_cursor_passes_many_deleted_rows_only_on_the_pool() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let mut rows_put = Batch::new();
    let mut rows_deleted = Batch::new();
    for number in 0..10_000_u16 {
        rows_put.put(Family::Current, number.to_be_bytes(), &b"v"[..]);
        rows_deleted.delete(Family::Current, number.to_be_bytes());
    }
    rows_put.put(Family::Current, b"z", &b"v"[..]);
    committed(&index, rows_put).await;
    committed(&index, rows_deleted).await;
    let scanned = probe(&index, Tier::Caches, |view| count_rows(view, Family::Current).map(|_| ()));
    assert_eq!(scanned, Err(IndexError::Uncached));
    assert_eq!(rows(&index, Family::Current).await, 1);
}

#[tokio::test]
async fn deleted_rows_that_a_scan_met_are_soon_gone_although_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let mut rows_put = Batch::new();
    let mut rows_deleted = Batch::new();
    for number in 0..10_000_u16 {
        rows_put.put(Family::Current, number.to_be_bytes(), &b"v"[..]);
        rows_deleted.delete(Family::Current, number.to_be_bytes());
    }
    rows_put.put(Family::Current, b"z", &b"v"[..]);
    committed(&index, rows_put).await;
    flush(&index, Family::Current);
    committed(&index, rows_deleted).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        assert_eq!(rows(&index, Family::Current).await, 1);
        if probe(&index, Tier::Caches, |view| count_rows(view, Family::Current).map(|_| ())).is_ok() {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "scans still meet the deleted rows");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn few_deleted_rows_are_not_worth_a_flush() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    let mut batch = Batch::new();
    for number in 0..100_u16 {
        batch.delete(Family::Current, number.to_be_bytes());
    }
    committed(&index, batch).await;
    index.engine.note_tombstones(Family::Current);
    assert_eq!(rows(&index, Family::Current).await, 0);
    index.engine.flush_tombstones().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(files(directory.path(), "sst"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_read_only_store_does_not_flush_deleted_rows() {
    let directory = tempfile::tempdir().unwrap();
    let health = Health::default();
    let index = open_with(directory.path(), &health);
    let mut batch = Batch::new();
    for number in 0..10_000_u16 {
        batch.delete(Family::Current, number.to_be_bytes());
    }
    committed(&index, batch).await;
    health.fail("a sync of a blob failed");
    assert_eq!(rows(&index, Family::Current).await, 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(files(directory.path(), "sst"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn closing_leaves_no_log_to_replay_and_every_row() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..2_u16 {
        let index = open(directory.path());
        for family in Family::ALL {
            assert_eq!(rows(&index, family).await, usize::from(round) * 20);
            put_rows(&index, family, 20).await;
        }
        assert_ne!(log_bytes(directory.path()), 0);
        index.close().unwrap();
        drop(index);
        assert_eq!(log_bytes(directory.path()), 0);
    }
}

fn log_bytes(directory: &Path) -> u64 {
    files(directory, "log").iter().map(|log| fs::metadata(log).unwrap().len()).sum()
}

#[derive(Debug, Default)]
struct Groups {
    groups: AtomicUsize,
    batches: AtomicUsize,
}

impl Observer for Groups {
    fn commit_group(&self, batches: usize, _bytes: usize, _elapsed: Duration) {
        self.groups.fetch_add(1, Ordering::SeqCst);
        self.batches.fetch_add(batches, Ordering::SeqCst);
    }
    fn sync(&self, _kind: &'static str, _elapsed: Duration) {}
    fn compressed(&self, _plain_bytes: u64, _stored_bytes: u64) {}
    fn job(&self, _queue: &'static str, _result: &'static str) {}
    fn walked(&self, _kind: &'static str, _counts: WalkCounts) {}
    fn walks(&self, _kind: &'static str, _state: &'static str, _count: usize) {}
}

#[tokio::test]
async fn concurrent_commits_share_syncs() {
    let directory = tempfile::tempdir().unwrap();
    let observer = Arc::new(Groups::default());
    let index = Arc::new(RocksIndex::open(&options(directory.path()), Health::default(), observer.clone()).unwrap());
    let tasks: Vec<_> = (0..64_u8)
        .map(|task| {
            let index = index.clone();
            tokio::spawn(async move {
                for number in 0..10_u8 {
                    committed(&index, put(Family::Current, &[task, number], b"v")).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(observer.batches.load(Ordering::SeqCst), 640);
    assert!(observer.groups.load(Ordering::SeqCst) <= 320, "{observer:?}");
    assert_eq!(rows(&index, Family::Current).await, 640);
}

#[tokio::test]
async fn a_batch_whose_caller_went_away_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    {
        let commit = index.commit(HOME, put(Family::Current, b"k", b"v"));
        tokio::pin!(commit);
        let _ = futures::poll!(&mut commit);
    }
    index.close().unwrap();
    assert_eq!(rows(&index, Family::Current).await, 1);
}

fn set(index: &RocksIndex, settings: &[(&str, &str)]) {
    index.engine.database().set_options_cf(index.engine.family(Family::Current).unwrap(), settings).unwrap();
}

/// Makes the engine stop writes, with two rows in the index, until [`unstall`].
async fn stall(index: &RocksIndex) {
    set(index, &[("level0_file_num_compaction_trigger", "100"), ("level0_stop_writes_trigger", "2")]);
    for key in [b"a", b"b"] {
        committed(index, put(Family::Current, key, b"v")).await;
        flush(index, Family::Current);
    }
}

fn unstall(index: &RocksIndex) {
    set(index, &[("level0_stop_writes_trigger", "100")]);
}

#[tokio::test]
async fn a_long_stall_refuses_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let health = Health::default();
    let index = open_with(directory.path(), &health);
    stall(&index).await;
    for _ in 0..3 {
        let outcome = index.commit(HOME, put(Family::Current, b"c", b"v")).await;
        assert_eq!(outcome, Outcome::Refused(Refusal::Overloaded));
    }
    assert_eq!(health.read_only(), None);
    assert_eq!(rows(&index, Family::Current).await, 2);
    unstall(&index);
    committed(&index, put(Family::Current, b"c", b"v")).await;
    assert_eq!(rows(&index, Family::Current).await, 3);
}

#[tokio::test]
async fn a_short_stall_is_waited_out() {
    let directory = tempfile::tempdir().unwrap();
    let index = Arc::new(open(directory.path()));
    stall(&index).await;
    let committing = tokio::spawn({
        let index = index.clone();
        async move { index.commit(HOME, put(Family::Current, b"c", b"v")).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!committing.is_finished());
    unstall(&index);
    assert!(matches!(committing.await.unwrap(), Outcome::Committed(_)));
}

#[tokio::test]
async fn a_failed_write_has_an_unknown_outcome_and_ends_all_writing() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let health = Health::default();
    // A database that is open for reading fails every write.
    let engine = Arc::new(Engine::open_read_only(&options(directory.path())).unwrap());
    let keeper = WatermarkKeeper::start(&directory.path().join("watermark"), 0, health.clone()).unwrap();
    let committer = Committer::start(engine, keeper, health.clone(), Arc::new(Silent)).unwrap();
    assert_eq!(committer.commit(HOME, put(Family::Current, b"k", b"v")).await, Outcome::Unknown);
    assert!(health.read_only().unwrap().contains("a write of the index failed"));
    let outcome = committer.commit(HOME, put(Family::Current, b"k", b"v")).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::ReadOnly));
}

#[tokio::test]
async fn a_read_only_store_refuses_commits_and_still_reads() {
    let directory = tempfile::tempdir().unwrap();
    let health = Health::default();
    let index = open_with(directory.path(), &health);
    put_rows(&index, Family::Current, 1).await;
    health.fail("a sync of a blob failed");
    let outcome = index.commit(HOME, put(Family::Current, b"k", b"v")).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::ReadOnly));
    assert_eq!(rows(&index, Family::Current).await, 1);
    assert!(index.close().is_err());
}

#[tokio::test]
async fn a_closed_index_refuses_commits_and_still_reads() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    put_rows(&index, Family::Current, 1).await;
    index.close().unwrap();
    let outcome = index.commit(HOME, put(Family::Current, b"k", b"v")).await;
    assert_eq!(outcome, Outcome::Refused(Refusal::ReadOnly));
    assert_eq!(rows(&index, Family::Current).await, 1);
    index.close().unwrap();
}

#[tokio::test]
async fn closing_brings_the_watermark_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    put_rows(&index, Family::Current, 5).await;
    index.close().unwrap();
    let watermark = Watermark::read(&directory.path().join("watermark")).unwrap();
    assert_eq!(watermark, Watermark::At(index.engine.sequence()));
}

#[tokio::test]
async fn the_watermark_follows_within_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    put_rows(&index, Family::Current, 5).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let expected = Watermark::At(index.engine.sequence());
    while Watermark::read(&directory.path().join("watermark")).unwrap() != expected {
        assert!(std::time::Instant::now() < deadline, "the watermark was not renewed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A directory with 2,000 synced rows, of whose log a bit in the middle was flipped.
async fn directory_with_a_damaged_log() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    for number in 0..2_000_u16 {
        committed(&index, put(Family::Current, &number.to_be_bytes(), &[1; 100])).await;
    }
    // Renews the watermark, but does not flush.
    drop(index);
    let log = files(directory.path(), "log").pop().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&log, bytes).unwrap();
    directory
}

#[tokio::test]
async fn an_index_behind_its_watermark_is_read_only_and_left_as_it_is() {
    let directory = directory_with_a_damaged_log().await;
    let log = files(directory.path(), "log").pop().unwrap();
    let evidence = fs::read(&log).unwrap();
    for _ in 0..2 {
        let health = Health::default();
        let index = open_with(directory.path(), &health);
        assert!(health.read_only().unwrap().contains("lost acknowledged commits"), "{:?}", health.read_only());
        let left = rows(&index, Family::Current).await;
        assert!(0 < left && left < 2_000, "{left} rows");
        let outcome = index.commit(HOME, put(Family::Current, b"k", b"v")).await;
        assert_eq!(outcome, Outcome::Refused(Refusal::ReadOnly));
        assert!(index.close().is_err());
    }
    assert_eq!(fs::read(&log).unwrap(), evidence);
}

#[tokio::test]
async fn without_its_watermark_a_damaged_log_would_go_unnoticed() {
    let directory = directory_with_a_damaged_log().await;
    fs::remove_file(directory.path().join("watermark")).unwrap();
    let health = Health::default();
    let index = open_with(directory.path(), &health);
    assert_eq!(health.read_only(), None);
    assert!(rows(&index, Family::Current).await < 2_000);
    committed(&index, put(Family::Current, b"k", b"v")).await;
}

#[tokio::test]
async fn a_torn_tail_of_the_log_beyond_the_watermark_is_no_fault() {
    let directory = tempfile::tempdir().unwrap();
    let index = open(directory.path());
    put_rows(&index, Family::Current, 5).await;
    drop(index);
    let log = files(directory.path(), "log").pop().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend_from_slice(&[0xAB; 40]);
    fs::write(&log, bytes).unwrap();
    let health = Health::default();
    let index = open_with(directory.path(), &health);
    assert_eq!(health.read_only(), None);
    assert_eq!(rows(&index, Family::Current).await, 5);
    committed(&index, put(Family::Current, b"k", b"v")).await;
}

#[tokio::test]
async fn a_damaged_watermark_makes_the_index_read_only() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    fs::write(directory.path().join("watermark"), b"CAIRNWMK").unwrap();
    let health = Health::default();
    let _index = open_with(directory.path(), &health);
    assert!(health.read_only().unwrap().contains("the watermark cannot vouch"));
}

#[test]
fn a_database_that_is_gone_is_not_replaced_by_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    fs::remove_dir_all(directory.path().join("index")).unwrap();
    let opened = RocksIndex::open(&options(directory.path()), Health::default(), Arc::new(Silent));
    assert!(matches!(opened, Err(IndexError::Corrupt(_))));
    assert!(!directory.path().join("index").exists());
}

#[tokio::test]
async fn families_that_a_first_start_did_not_get_to_are_created() {
    let directory = tempfile::tempdir().unwrap();
    let mut only_some = rocksdb::Options::default();
    only_some.create_if_missing(true);
    only_some.create_missing_column_families(true);
    drop(rocksdb::DB::open_cf(&only_some, directory.path().join("index"), ["directory", "bucket"]).unwrap());
    drop(WatermarkKeeper::start(&directory.path().join("watermark"), 0, Health::default()).unwrap());
    let index = open(directory.path());
    put_rows(&index, Family::Identity, 1).await;
}

#[test]
fn the_database_runs_with_the_settings_that_durability_and_memory_depend_on() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let newest = fs::read_dir(directory.path().join("index"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("OPTIONS-"))
        .max()
        .unwrap();
    let text = fs::read_to_string(newest).unwrap();
    for setting in [
        "paranoid_checks=true",
        "track_and_verify_wals_in_manifest=true",
        "wal_recovery_mode=kPointInTimeRecovery",
        "manual_wal_flush=false",
        "recycle_log_file_num=0",
        "wal_bytes_per_sync=0",
        "unordered_write=false",
        "enable_pipelined_write=false",
        "max_bgerror_resume_count=0",
        "allow_mmap_reads=false",
        "allow_mmap_writes=false",
        "max_total_wal_size=67108864",
        "max_open_files=512",
    ] {
        assert!(text.contains(&format!("  {setting}\n")), "{setting} is not in effect");
    }
    for setting in [
        "memtable_protection_bytes_per_key=8",
        "block_protection_bytes_per_key=8",
        "max_write_buffer_number=3",
        "level0_slowdown_writes_trigger=30",
        "level0_stop_writes_trigger=30",
        "soft_pending_compaction_bytes_limit=274877906944",
        "hard_pending_compaction_bytes_limit=274877906944",
        "compression=kZSTD",
        "checksum=kXXH3",
        "cache_index_and_filter_blocks=true",
        "pin_l0_filter_and_index_blocks_in_cache=true",
        "whole_key_filtering=true",
    ] {
        // The default family, which holds nothing, keeps RocksDB's defaults.
        let found = text.matches(&format!("  {setting}\n")).count();
        assert!(found >= Family::ALL.len(), "{setting} is in effect for {found} families");
    }
    for setting in ["index_type=kTwoLevelIndexSearch", "partition_filters=true", "filter_policy=bloomfilter"] {
        // All but the three whose rows are few.
        assert_eq!(text.matches(&format!("  {setting}\n")).count(), Family::ALL.len() - 3, "{setting}");
    }
    assert_eq!(text.matches("  enable_blob_files=true\n").count(), 1);
}
