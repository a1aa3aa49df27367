//! Files of every format stay readable, and the newest is written as it was when it was new.

use super::*;
use crate::blob::compression::Compressor;

const CHUNK: usize = CHUNK_BYTES as usize;

fn seal() -> SealId {
    SealId::from_bytes([5; 16])
}

/// What a fixture holds: one chunk and 100 bytes; if it is compressed, a chunk that shrinks, one that does not, and 100 bytes that do.
fn fixture_body(compressed: bool) -> Vec<u8> {
    match compressed {
        false => body(CHUNK + 100),
        true => [vec![0; CHUNK], body(CHUNK), vec![0; 100]].concat(),
    }
}

/// A store with the fixture's content as it is written today.
fn write(key: Option<&DataKey>, compressed: bool) -> (Bench, StoredBlob) {
    let bench = Bench::new();
    let (seal, compressor) = (key.map(|key| (seal(), key)), compressed.then(Compressor::default));
    let mut writer = bench.store.create_with_seal(content(1), description(), compressor, None, seal).unwrap();
    writer.append(&[Bytes::from(fixture_body(compressed))]).unwrap();
    let blob = writer.finish(trailer()).unwrap();
    (bench, blob)
}

/// That the fixture is read and verified, and that no byte of it may change.
fn check_read(fixture: &[u8], key: Option<&DataKey>, compressed: bool) {
    let (bench, blob) = write(key, compressed);
    bench.disk.set_contents(&path(content(1)), fixture.to_vec());
    assert!(bench.read(&blob, key).unwrap() == fixture_body(compressed));
    assert_eq!(bench.inspect(content(1)).unwrap().trailer, trailer());
    bench.store.verify_blocking(content(1), key, &mut |_| Ok(())).unwrap();
    for at in (0..fixture.len()).step_by(37) {
        let mut flipped = fixture.to_vec();
        flipped[at] ^= 1 << (at % 8);
        bench.disk.set_contents(&path(content(1)), flipped);
        assert!(bench.store.verify_blocking(content(1), key, &mut |_| Ok(())).is_err(), "byte {at}");
    }
}

fn check_written(fixture: &[u8], key: Option<&DataKey>, compressed: bool) {
    let (bench, _) = write(key, compressed);
    let written = bench.disk.contents(&path(content(1))).unwrap();
    assert!(written == fixture, "what is written today is not the newest format as it was");
    check_read(fixture, key, compressed);
}

#[test]
fn a_plain_file_of_format_1() {
    check_read(include_bytes!("../../../tests/fixtures/blob-1-plain"), None, false);
}

#[test]
fn a_sealed_file_of_format_1() {
    check_read(include_bytes!("../../../tests/fixtures/blob-1-sealed"), Some(&key()), false);
}

#[test]
fn a_plain_file_of_format_2() {
    check_written(include_bytes!("../../../tests/fixtures/blob-2-plain"), None, false);
}

#[test]
fn a_sealed_file_of_format_2() {
    check_written(include_bytes!("../../../tests/fixtures/blob-2-sealed"), Some(&key()), false);
}

#[test]
fn a_file_of_format_2_that_is_sealed_twice() {
    let key = key().in_layers(Layers::Two);
    check_written(include_bytes!("../../../tests/fixtures/blob-2-sealed-twice"), Some(&key), false);
}

/// A program of its own, which makes the other fixtures of format 2 as they are, has made these two by ARCHITECTURE 4.2, with the zstd that
/// is linked. Should only the compressed bytes differ after that was updated, the format is as it was: then let these be read, and add
/// what is written from then on.
#[test]
fn a_compressed_file_of_format_2() {
    check_written(include_bytes!("../../../tests/fixtures/blob-2-compressed"), None, true);
}

#[test]
fn a_compressed_and_sealed_file_of_format_2() {
    check_written(include_bytes!("../../../tests/fixtures/blob-2-compressed-sealed"), Some(&key()), true);
}
