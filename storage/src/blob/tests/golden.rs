//! Files that format 1 wrote stay readable, and format 1 is still written as it was.

use super::*;

/// The fixtures hold a body of one chunk and 100 bytes.
const LENGTH: usize = CHUNK_BYTES as usize + 100;

fn seal() -> SealId {
    SealId::from_bytes([5; 16])
}

fn write(key: Option<&DataKey>) -> (Bench, StoredBlob) {
    let bench = Bench::new();
    let seal = key.map(|key| (seal(), key));
    let mut writer = bench.store.create_with_seal(content(1), description(), None, seal).unwrap();
    writer.append(&[Bytes::from(body(LENGTH))]).unwrap();
    let blob = writer.finish(trailer()).unwrap();
    (bench, blob)
}

fn check(fixture: &[u8], key: Option<&DataKey>) {
    let (bench, blob) = write(key);
    let written = bench.disk.contents(&path(content(1))).unwrap();
    assert!(written == fixture, "what is written today is not format 1 as it was");
    bench.disk.set_contents(&path(content(1)), fixture.to_vec());
    assert!(bench.read(&blob, key).unwrap() == body(LENGTH));
    assert_eq!(bench.store.inspect_blocking(content(1)).unwrap().trailer, trailer());
}

#[test]
fn a_plain_file_of_format_1() {
    check(include_bytes!("../../../tests/fixtures/blob-1-plain"), None);
}

#[test]
fn a_sealed_file_of_format_1() {
    check(include_bytes!("../../../tests/fixtures/blob-1-sealed"), Some(&key()));
}
