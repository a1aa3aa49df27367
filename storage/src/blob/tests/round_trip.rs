//! What is written comes back, whole and in ranges.

use proptest::prelude::*;

use super::*;

const CHUNK: usize = CHUNK_BYTES as usize;

#[test]
fn every_size_around_a_chunk_comes_back() {
    for length in [0, 1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7, 40 * CHUNK + 1] {
        for key in keys() {
            let bench = Bench::new();
            let body = body(length);
            let blob = bench.write(content(1), key.as_ref(), &[&body]).unwrap();
            assert_eq!(blob.plain_length, length as u64);
            assert_eq!(blob.stored_length, bench.disk.contents(&path(content(1))).unwrap().len() as u64);
            assert_eq!(blob.seal.is_some(), key.is_some());
            assert!(bench.read(&blob, key.as_ref()).unwrap() == body, "{length} bytes");
        }
    }
}

#[test]
fn a_declared_length_that_was_wrong_changes_nothing() {
    let bench = Bench::new();
    for (number, expected_bytes) in [0, 10, 100_000, u64::MAX].into_iter().enumerate() {
        let id = content(number as u8);
        let mut writer =
            bench.store.create_blocking(id, description(), StorageClass::Standard, Some(expected_bytes), None).unwrap();
        writer.append(&[Bytes::from_static(b"ten bytes!")]).unwrap();
        let blob = writer.finish(trailer()).unwrap();
        assert_eq!(bench.read(&blob, None).unwrap(), b"ten bytes!");
    }
}

#[test]
fn unsealed_bytes_reach_the_disk_as_they_came_and_sealed_ones_do_not() {
    for key in keys() {
        let bench = Bench::new();
        bench.write(content(1), key.as_ref(), &[b"a secret of the client"]).unwrap();
        let stored = bench.disk.contents(&path(content(1))).unwrap();
        let found = stored.windows(6).any(|window| window == b"secret");
        assert_eq!(found, key.is_none());
    }
}

#[test]
fn a_sealed_file_opens_only_with_its_key() {
    let bench = Bench::new();
    let blob = bench.write(content(1), Some(&key()), &[b"bytes"]).unwrap();
    assert!(matches!(bench.read(&blob, None), Err(StorageError::Corrupt { .. })));
    assert!(matches!(bench.read(&blob, Some(&DataKey::from_bytes([1; 32]))), Err(StorageError::Corrupt { .. })));
    assert!(matches!(bench.read(&blob, Some(&key().in_layers(Layers::Two))), Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_file_is_not_what_the_record_says() {
    let bench = Bench::new();
    let open = bench.write(content(1), None, &[&body(CHUNK + 5)]).unwrap();
    let sealed = bench.write(content(2), Some(&key()), &[b"bytes"]).unwrap();
    let seal = Some(SealId::from_bytes([3; 16]));
    let lies = [
        StoredBlob { plain_length: 5, ..open },
        StoredBlob { plain_length: open.plain_length - 1, ..open },
        StoredBlob { plain_length: open.plain_length + 1, ..open },
        StoredBlob { plain_length: u64::MAX, ..open },
        StoredBlob { content: content(7), ..open },
    ];
    for lie in lies {
        assert!(matches!(bench.read(&lie, None), Err(StorageError::Corrupt { .. })), "{lie:?}");
    }
    for lie in [StoredBlob { seal, ..open }, StoredBlob { seal, ..sealed }] {
        assert!(matches!(bench.read(&lie, Some(&key())), Err(StorageError::Corrupt { .. })), "{lie:?}");
    }
    let lie = StoredBlob { seal: None, ..sealed };
    assert!(matches!(bench.read(&lie, None), Err(StorageError::Corrupt { .. })));
}

#[test]
fn an_open_reader_outlives_the_file() {
    let bench = Bench::new();
    let blob = bench.write(content(1), None, &[&body(100)]).unwrap();
    let reader = bench.store.open(blob.content, 100, None, None).now_or_never().unwrap().unwrap();
    bench.store.unlink_blocking(content(1)).unwrap();
    let pieces: Vec<_> = reader.stream(0..100).map(Result::unwrap).collect().now_or_never().unwrap();
    assert_eq!(pieces.concat(), body(100));
}

#[test]
fn a_range_reads_only_the_chunks_it_touches() {
    let bench = Bench::new();
    let body = body(10 * CHUNK);
    let blob = bench.write(content(1), None, &[&body]).unwrap();
    let reads = |range: std::ops::Range<u64>| {
        let before = bench.disk.calls(crate::disk::sim::Call::Read);
        bench.read_range(&blob, None, range).unwrap();
        bench.disk.calls(crate::disk::sim::Call::Read) - before - 1 // the header
    };
    assert_eq!(reads(5 * CHUNK as u64..5 * CHUNK as u64 + 1), 1);
    assert_eq!(reads(CHUNK as u64 - 1..CHUNK as u64 + 1), 2);
    assert_eq!(reads(7..7), 0);
}

#[test]
fn an_uncached_file_is_read_ahead_by_a_bounded_number_of_chunks() {
    let bench = Bench::new();
    let body = body(100 * CHUNK);
    let blob = bench.write(content(1), None, &[&body]).unwrap();
    bench.disk.set_cached(false);
    let reader = bench.store.open(blob.content, blob.plain_length, None, None).now_or_never().unwrap().unwrap();
    let before = bench.disk.calls(crate::disk::sim::Call::Read);
    let mut stream = reader.stream(0..blob.plain_length);
    stream.next().now_or_never().unwrap().unwrap().unwrap();
    assert!(bench.disk.calls(crate::disk::sim::Call::Read) - before <= 16);
    assert!(bench.read(&blob, None).unwrap() == body);
}

#[tokio::test]
async fn the_blocking_pool_reads_a_real_file() {
    let root = tempfile::tempdir().unwrap();
    let disk = crate::disk::RealDisk::new(root.path()).unwrap();
    BlobStore::create_folders(&disk).unwrap();
    let store = BlobStore::new(Arc::new(disk), Health::default(), Arc::new(Silent), Offload::Pool);
    for (number, key) in [(1, None), (2, Some(key()))] {
        let body = body(30 * CHUNK + 11);
        let blob = store
            .offload()
            .run({
                let (store, body, key) = (store.clone(), Bytes::from(body.clone()), key.clone());
                move || {
                    let length = Some(body.len() as u64);
                    let mut writer = store.create_blocking(
                        content(number),
                        description(),
                        StorageClass::Standard,
                        length,
                        key.as_ref(),
                    )?;
                    writer.append(&[body])?;
                    writer.finish(trailer())
                }
            })
            .await
            .unwrap();
        assert!(read_range(&store, &blob, key.as_ref(), 0..blob.plain_length).await.unwrap() == body);
        let range = CHUNK as u64 - 3..20 * CHUNK as u64 + 3;
        let part = read_range(&store, &blob, key.as_ref(), range).await.unwrap();
        assert!(part == body[CHUNK - 3..20 * CHUNK + 3]);
    }
}

/// What the edge needs of a body.
#[test]
fn streams_may_cross_threads() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    check::<BlobStream>();
    check::<BlobWriter>();
    fn check_value<T: Send + Sync>(_: &T) {}
    let bench = Bench::new();
    check_value(&bench.store.open(content(1), 1, None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_division_into_pieces_writes_the_same_file(
        length in 0..3 * CHUNK,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        per_call in 1..100_usize,
    ) {
        let body = body(length);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
        cuts.extend([0, length]);
        cuts.sort_unstable();
        let whole = Bytes::from(body.clone());
        let pieces: Vec<Bytes> = cuts.windows(2).map(|cut| whole.slice(cut[0]..cut[1])).collect();
        let bench = Bench::new();
        let mut writer = bench.store.create_blocking(content(1), description(), StorageClass::Standard, None, None).unwrap();
        for call in pieces.chunks(per_call) {
            writer.append(call).unwrap();
        }
        writer.finish(trailer()).unwrap();
        let other = Bench::new();
        other.write(content(1), None, &[&body]).unwrap();
        prop_assert!(bench.disk.contents(&path(content(1))) == other.disk.contents(&path(content(1))));
    }

    #[test]
    fn any_range_is_that_slice(length in 0..4 * CHUNK, start: prop::sample::Index, end: prop::sample::Index,
                               sealed: bool, cached: bool) {
        let key = sealed.then(key);
        let body = body(length);
        let bench = Bench::new();
        let blob = bench.write(content(1), key.as_ref(), &[&body]).unwrap();
        bench.disk.set_cached(cached);
        let (start, end) = (start.index(length + 1), end.index(length + 1));
        let read = bench.read_range(&blob, key.as_ref(), start as u64..end as u64).unwrap();
        prop_assert!(read == body.get(start..end).unwrap_or_default());
    }
}
