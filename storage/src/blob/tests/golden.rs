//! Files of every format stay readable, and the newest is written as it was when it was new.

use super::*;

/// The fixtures hold a body of one chunk and 100 bytes.
const LENGTH: usize = CHUNK_BYTES as usize + 100;

fn seal() -> SealId {
    SealId::from_bytes([5; 16])
}

/// A store with the fixture's content as it is written today.
fn write(key: Option<&DataKey>) -> (Bench, StoredBlob) {
    let bench = Bench::new();
    let seal = key.map(|key| (seal(), key));
    let mut writer = bench.store.create_with_seal(content(1), description(), None, None, seal).unwrap();
    writer.append(&[Bytes::from(body(LENGTH))]).unwrap();
    let blob = writer.finish(trailer()).unwrap();
    (bench, blob)
}

/// That the fixture is read and verified, and that no byte of it may change.
fn check_read(fixture: &[u8], key: Option<&DataKey>) {
    let (bench, blob) = write(key);
    bench.disk.set_contents(&path(content(1)), fixture.to_vec());
    assert!(bench.read(&blob, key).unwrap() == body(LENGTH));
    assert_eq!(bench.inspect(content(1)).unwrap().trailer, trailer());
    bench.store.verify_blocking(content(1), key, &mut |_| Ok(())).unwrap();
    for at in (0..fixture.len()).step_by(37) {
        let mut flipped = fixture.to_vec();
        flipped[at] ^= 1 << (at % 8);
        bench.disk.set_contents(&path(content(1)), flipped);
        assert!(bench.store.verify_blocking(content(1), key, &mut |_| Ok(())).is_err(), "byte {at}");
    }
}

fn check_written(fixture: &[u8], key: Option<&DataKey>) {
    let (bench, _) = write(key);
    let written = bench.disk.contents(&path(content(1))).unwrap();
    assert!(written == fixture, "what is written today is not the newest format as it was");
    check_read(fixture, key);
}

#[test]
fn a_plain_file_of_format_1() {
    check_read(include_bytes!("../../../tests/fixtures/blob-1-plain"), None);
}

#[test]
fn a_sealed_file_of_format_1() {
    check_read(include_bytes!("../../../tests/fixtures/blob-1-sealed"), Some(&key()));
}

#[test]
fn a_plain_file_of_format_2() {
    check_written(include_bytes!("../../../tests/fixtures/blob-2-plain"), None);
}

#[test]
fn a_sealed_file_of_format_2() {
    check_written(include_bytes!("../../../tests/fixtures/blob-2-sealed"), Some(&key()));
}

#[test]
fn a_file_of_format_2_that_is_sealed_twice() {
    let key = key().in_layers(Layers::Two);
    check_written(include_bytes!("../../../tests/fixtures/blob-2-sealed-twice"), Some(&key));
}
