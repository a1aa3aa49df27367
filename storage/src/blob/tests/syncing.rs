//! What happens when the disk fails, and what the writer leaves behind.

use super::*;
use crate::disk::sim::Call;

const FAILED: io::ErrorKind = io::ErrorKind::Other;

#[test]
fn finishing_syncs_the_file_and_then_its_folder_once() {
    let bench = Bench::new();
    let before = (bench.disk.calls(Call::SyncData), bench.disk.calls(Call::SyncDir));
    bench.write(content(1), None, &[&body(300_000)]).unwrap();
    assert_eq!((bench.disk.calls(Call::SyncData), bench.disk.calls(Call::SyncDir)), (before.0 + 1, before.1 + 1));
}

#[test]
fn a_failed_sync_turns_the_store_read_only_and_is_not_retried() {
    for call in [Call::SyncData, Call::SyncDir] {
        let bench = Bench::new();
        let before = bench.disk.calls(call);
        bench.disk.fail_call(call, 1, FAILED);
        assert!(matches!(bench.write(content(1), None, &[b"lost"]), Err(StorageError::Io { .. })));
        assert_eq!(bench.disk.calls(call), before + 1);
        assert!(bench.health.read_only().is_some());
        assert!(matches!(bench.write(content(2), None, &[b"refused"]), Err(StorageError::ReadOnly { .. })));
    }
}

#[test]
fn a_failed_sync_of_a_new_folder_is_not_retried_either() {
    let elsewhere = content(1 << 2);
    for nth in 1..=3 {
        let bench = Bench::new();
        bench.disk.fail_call(Call::SyncDir, nth, FAILED);
        assert!(matches!(bench.write(elsewhere, None, &[b"lost"]), Err(StorageError::Io { .. })), "sync {nth}");
        assert!(matches!(bench.write(elsewhere, None, &[b"x"]), Err(StorageError::ReadOnly { .. })), "sync {nth}");
    }
}

#[test]
fn a_writer_that_comes_after_a_failed_folder_sync_fails_too() {
    let bench = Bench::new();
    let mut writer =
        bench.store.create_blocking(content(1), description(), StorageClass::Standard, None, None).unwrap();
    writer.append(&[Bytes::from_static(b"its entry may be lost as well")]).unwrap();
    bench.disk.fail_call(Call::SyncDir, 1, FAILED);
    let mut same_folder = [2; 16];
    same_folder[15] = 1;
    assert!(bench.write(ContentId::from_bytes(same_folder), None, &[b"x"]).is_err());
    assert!(matches!(writer.finish(trailer()), Err(StorageError::ReadOnly { .. })));
}

#[test]
fn a_full_disk_is_reported_as_such_and_leaves_no_file() {
    for (call, nth) in [(Call::Create, 1), (Call::Write, 1), (Call::Write, 2), (Call::Write, 3), (Call::Allocate, 1)] {
        let bench = Bench::new();
        bench.disk.fail_call(call, nth, io::ErrorKind::StorageFull);
        let write = || {
            let mut writer =
                bench.store.create_blocking(content(1), description(), StorageClass::Standard, Some(100_000), None)?;
            writer.append(&[Bytes::from(body(100_000))])?;
            writer.finish(trailer())
        };
        assert!(matches!(write(), Err(StorageError::DiskFull { .. })), "{call:?} {nth}");
        assert_eq!(bench.store.list_blocking(1).unwrap(), Listing::default());
        assert!(bench.health.read_only().is_none());
        write().unwrap();
    }
}

#[test]
fn a_writer_that_is_dropped_removes_its_file() {
    let bench = Bench::new();
    let mut writer =
        bench.store.create_blocking(content(1), description(), StorageClass::Standard, None, None).unwrap();
    writer.append(&[Bytes::from(body(100_000))]).unwrap();
    assert_eq!(bench.store.list_blocking(1).unwrap().contents, [content(1)]);
    drop(writer);
    assert_eq!(bench.store.list_blocking(1).unwrap(), Listing::default());
}

#[test]
fn an_existing_file_is_never_overwritten_nor_removed() {
    let bench = Bench::new();
    let blob = bench.write(content(1), None, &[b"first"]).unwrap();
    assert!(bench.write(content(1), None, &[b"second"]).is_err());
    assert_eq!(bench.read(&blob, None).unwrap(), b"first");
}

#[test]
fn metadata_that_does_not_fit_is_refused_and_leaves_no_file() {
    let bench = Bench::new();
    let long = BlobDescription { key: "k".repeat(5_000), ..description() };
    let refused = bench.store.create_blocking(content(1), long, StorageClass::Standard, None, None);
    assert!(matches!(refused, Err(StorageError::MetadataTooLarge)));
    let writer = bench.store.create_blocking(content(1), description(), StorageClass::Standard, None, None).unwrap();
    let refused = writer.finish(BlobTrailer { attributes: vec![0; 70_000], ..trailer() });
    assert!(matches!(refused, Err(StorageError::MetadataTooLarge)));
    assert_eq!(bench.store.list_blocking(1).unwrap(), Listing::default());
}

#[test]
fn the_longest_key_fits_the_header() {
    let bench = Bench::new();
    let long = BlobDescription { key: "k".repeat(crate::object::KEY_BYTES_MAX), ..description() };
    bench
        .store
        .create_blocking(content(1), long.clone(), StorageClass::Standard, None, None)
        .unwrap()
        .finish(trailer())
        .unwrap();
    assert_eq!(bench.inspect(content(1)).unwrap().description, long);
}

#[test]
fn a_read_that_fails_is_no_corruption() {
    for nth in [1, 2] {
        let bench = Bench::new();
        let blob = bench.write(content(1), None, &[b"bytes"]).unwrap();
        bench.disk.fail_call(Call::Read, nth, FAILED);
        assert!(matches!(bench.read(&blob, None), Err(StorageError::Io { .. })), "read {nth}");
    }
}
