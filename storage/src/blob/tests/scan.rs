//! Files as files.

use super::*;

#[test]
fn a_folder_lists_its_contents_and_strangers_apart() {
    let bench = Bench::new();
    bench.write(content(1), None, &[b"one"]).unwrap();
    for stranger in ["blobs/01/readme", "blobs/01/02020202020202020202020202020202"] {
        bench.disk.create(Path::new(stranger)).unwrap();
    }
    let listing = bench.store.list_blocking(1).unwrap();
    assert_eq!(listing.contents, [content(1)]);
    assert_eq!(listing.strangers.len(), 2);
    assert_eq!(bench.store.list_blocking(2).unwrap(), Listing::default());
}

#[test]
fn a_file_tells_what_it_is() {
    let bench = Bench::new();
    let blob = bench.write(content(1), Some(&key()), &[&body(70_000)]).unwrap();
    let inspection = bench.inspect(content(1)).unwrap();
    let expected = Inspection {
        description: description(),
        trailer: trailer(),
        plain_length: 70_000,
        stored_length: blob.stored_length,
        seal: blob.seal,
    };
    assert_eq!(inspection, expected);
}

#[test]
fn an_unfinished_file_is_told_from_a_whole_one() {
    let bench = Bench::new();
    let mut writer =
        bench.store.create_blocking(content(1), description(), StorageClass::Standard, None, None).unwrap();
    writer.append(&[Bytes::from(body(200_000))]).unwrap();
    assert!(matches!(bench.inspect(content(1)), Err(StorageError::Corrupt { .. })));
    assert_eq!(bench.store.open_blocking(content(1)).unwrap().1.description, description());
}

#[test]
fn a_discarded_file_is_gone() {
    let bench = Bench::new();
    bench.write(content(1), None, &[b"one"]).unwrap();
    bench.store.discard(content(1));
    assert_eq!(bench.store.list_blocking(1).unwrap(), Listing::default());
}

#[test]
fn verifying_needs_no_key_and_hears_of_every_chunk() {
    let bench = Bench::new();
    bench.write(content(1), Some(&key()), &[&body(200_000)]).unwrap();
    let mut bytes = 0;
    let mut count = |read| {
        bytes += read;
        Ok(())
    };
    bench.store.verify_blocking(content(1), None, &mut count).unwrap();
    assert_eq!(bytes, 200_000 + 4 * 32);
    bench.store.verify_blocking(content(1), Some(&key()), &mut |_| Ok(())).unwrap();
    let wrong = DataKey::from_bytes([1; 32]);
    assert!(bench.store.verify_blocking(content(1), Some(&wrong), &mut |_| Ok(())).is_err());
}

#[test]
fn verifying_stops_when_it_is_told() {
    let bench = Bench::new();
    bench.write(content(1), None, &[&body(200_000)]).unwrap();
    let mut chunks = 0;
    let mut stop = |_| {
        chunks += 1;
        Err(StorageError::Overloaded)
    };
    assert!(matches!(bench.store.verify_blocking(content(1), None, &mut stop), Err(StorageError::Overloaded)));
    assert_eq!(chunks, 1);
}

#[test]
fn unlinking_twice_is_no_error() {
    let bench = Bench::new();
    bench.write(content(1), None, &[b"one"]).unwrap();
    bench.store.unlink_blocking(content(1)).unwrap();
    bench.store.unlink_blocking(content(1)).unwrap();
    assert_eq!(bench.store.list_blocking(1).unwrap(), Listing::default());
}

#[test]
fn a_tier_that_is_down_is_not_taken_for_an_empty_one() {
    let (disk, without_marker) = (Arc::new(SimDisk::new()), Arc::new(SimDisk::new()));
    BlobStore::create_folders(&*disk).unwrap();
    let in_tier = content(FIRST_TIER_PLACE << 2);
    let store = with_tier(disk, without_marker, in_tier.place());
    store.probe_tier(in_tier.place());
    assert!(store.tiers()[0].down.as_ref().unwrap().contains("is its disk mounted?"));
    assert!(matches!(store.unlink_blocking(in_tier), Err(StorageError::TierDown { .. })));
    assert!(store.list_blocking(0).unwrap().is_partial);
    assert!(store.list_quarantine_blocking().unwrap().is_partial);
    store.unlink_blocking(content(1)).unwrap();
}

fn with_tier(disk: Arc<SimDisk>, of_tier: Arc<SimDisk>, place: crate::id::Place) -> BlobStore {
    let tier = Tier {
        name: "cold".to_owned(),
        place,
        classes: Vec::new(),
        mount: of_tier,
        marker: "marker".to_owned(),
        floor_bytes: 1_000,
    };
    BlobStore::with_tiers(
        disk,
        Tiers { directories: vec![tier], ..Tiers::default() },
        Compression::default(),
        Health::default(),
        Arc::new(Silent),
        Offload::Inline,
    )
}

fn mark(disk: &SimDisk) {
    let marker = disk.create(Path::new(TIER_MARKER)).unwrap();
    marker.write_at(0, &[io::IoSlice::new(b"marker")]).unwrap();
}

#[test]
fn a_tier_has_folders_and_a_quarantine_of_its_own() {
    let (disk, of_tier) = (Arc::new(SimDisk::new()), Arc::new(SimDisk::new()));
    BlobStore::create_folders(&*disk).unwrap();
    mark(&of_tier);
    let in_tier = content(FIRST_TIER_PLACE << 2);
    let store = with_tier(disk.clone(), of_tier.clone(), in_tier.place());
    let write = || store.create_blocking(in_tier, description(), StorageClass::Standard, None, None)?.finish(trailer());
    assert!(matches!(write(), Err(StorageError::TierDown { .. })), "it was not looked at");
    of_tier.set_space(crate::disk::Space { total_bytes: 9_000, available_bytes: 5_000 });
    store.probe_tier(in_tier.place());
    write().unwrap();
    assert_eq!(store.list_blocking(folder_of(in_tier)).unwrap().contents, [in_tier]);
    assert!(store.check_space_for(in_tier.place(), 4_000).is_ok());
    assert!(matches!(store.check_space_for(in_tier.place(), 4_001), Err(StorageError::DiskFull { .. })));
    store.quarantine_blocking(in_tier).unwrap();
    assert_eq!(store.list_quarantine_blocking().unwrap().contents, [in_tier]);
    assert!(of_tier.open(&quarantine_path(in_tier)).is_ok());
    store.unlink_quarantined_blocking(in_tier).unwrap();
    assert_eq!(store.list_quarantine_blocking().unwrap(), Listing::default());
}

#[test]
fn a_failed_sync_of_a_tier_stops_writing_to_it_and_to_nothing_else() {
    let (disk, of_tier) = (Arc::new(SimDisk::new()), Arc::new(SimDisk::new()));
    BlobStore::create_folders(&*disk).unwrap();
    mark(&of_tier);
    let in_tier = content(FIRST_TIER_PLACE << 2);
    let store = with_tier(disk, of_tier.clone(), in_tier.place());
    store.probe_tier(in_tier.place());
    let write = |id| store.create_blocking(id, description(), StorageClass::Standard, None, None)?.finish(trailer());
    write(in_tier).unwrap();
    let call = crate::disk::sim::Call::SyncData;
    of_tier.fail_call(call, 1, io::ErrorKind::Other);
    let mut other = *in_tier.as_bytes();
    other[1] = 1;
    assert!(matches!(write(ContentId::from_bytes(other)), Err(StorageError::TierDown { .. })));
    assert!(store.tiers()[0].read_only.is_some());
    other[1] = 2;
    assert!(matches!(write(ContentId::from_bytes(other)), Err(StorageError::TierDown { .. })));
    assert_eq!(store.inspect_open(in_tier).unwrap().1.trailer, trailer());
    write(content(1)).unwrap();
}

#[test]
fn what_is_in_a_place_that_nobody_has_is_not_looked_for_elsewhere() {
    let bench = Bench::new();
    let nowhere = content(FIRST_TIER_PLACE << 2);
    assert!(matches!(bench.inspect(nowhere), Err(StorageError::Corrupt { .. })));
    bench.store.unlink_blocking(nowhere).unwrap();
    let name = nowhere.to_string();
    bench.disk.create(&folder_path(folder_of(nowhere)).join(&name)).unwrap();
    let listing = bench.store.list_blocking(folder_of(nowhere)).unwrap();
    assert_eq!((listing.contents, listing.strangers), (vec![], vec![format!("blobs/40/{name}")]));
}

#[test]
fn a_quarantined_file_is_moved_durably_and_can_be_unlinked() {
    let bench = Bench::new();
    bench.write(content(1), None, &[b"one"]).unwrap();
    bench.store.quarantine_blocking(content(1)).unwrap();
    for seed in 0..100 {
        let after = Bench::on(bench.disk.crash_state(seed).disk);
        assert_eq!(after.store.list_blocking(1).unwrap(), Listing::default());
        assert_eq!(after.store.list_quarantine_blocking().unwrap().contents, [content(1)]);
    }
    bench.store.unlink_quarantined_blocking(content(1)).unwrap();
    assert_eq!(bench.store.list_quarantine_blocking().unwrap(), Listing::default());
}

#[test]
fn a_crash_while_quarantining_never_loses_the_file() {
    let bench = Bench::new();
    bench.write(content(1), None, &[b"one"]).unwrap();
    let moved = crate::blob::quarantine_path(content(1));
    bench.disk.rename(&path(content(1)), &moved).unwrap();
    for seed in 0..100 {
        let after = bench.disk.crash_state(seed).disk;
        assert!(after.contents(&path(content(1))).or(after.contents(&moved)).is_some());
    }
}
