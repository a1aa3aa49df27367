//! A damaged file gives an error or the right bytes, never wrong ones.

use super::*;
use crate::blob::format::{FRAME_HEADER_BYTES, HEADER_BYTES};

const CHUNK: usize = CHUNK_BYTES as usize;

/// A file of two chunks, plain or sealed.
fn bench_with_file(key: Option<&DataKey>) -> (Bench, StoredBlob, Vec<u8>, Vec<u8>) {
    let bench = Bench::new();
    let body = body(CHUNK + 300);
    let blob = bench.write(content(1), key, &[&body]).unwrap();
    let file = bench.disk.contents(&path(content(1))).unwrap();
    (bench, blob, body, file)
}

/// Everything that can be asked of the file: whatever answers must answer rightly.
fn assert_never_wrong(bench: &Bench, blob: &StoredBlob, key: Option<&DataKey>, body: &[u8], what: &str) -> bool {
    let read = bench.read(blob, key);
    if let Ok(bytes) = &read {
        assert!(bytes == body, "{what}: wrong bytes");
    }
    let inspection = bench.inspect(blob.content);
    if let Ok(found) = &inspection {
        assert_eq!((&found.description, &found.trailer), (&description(), &trailer()), "{what}");
        assert_eq!((found.plain_length, found.seal), (body.len() as u64, blob.seal), "{what}");
    }
    let verified = bench.store.verify_blocking(blob.content, key, &mut |_| Ok(()));
    assert_eq!(verified.is_ok(), read.is_ok() && inspection.is_ok(), "{what}: verifying finds all that reading finds");
    verified.is_ok()
}

#[test]
fn every_flipped_byte_of_a_file_is_noticed() {
    for key in keys() {
        let (bench, blob, body, file) = bench_with_file(key.as_ref());
        // Every byte of header, frame headers, last chunk and trailer; of the first chunk every 61st.
        let first_chunk = HEADER_BYTES + FRAME_HEADER_BYTES..HEADER_BYTES + FRAME_HEADER_BYTES + CHUNK;
        let chosen = (0..file.len()).filter(|at| !first_chunk.contains(at) || at % 61 == 0);
        for at in chosen {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << (at % 8);
            bench.disk.set_contents(&path(content(1)), flipped);
            assert!(!assert_never_wrong(&bench, &blob, key.as_ref(), &body, &format!("byte {at}")), "byte {at}");
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let (bench, blob, body, file) = bench_with_file(None);
    let near_chunk = |length: &usize| length.is_multiple_of(97) || *length < 100 || *length + 700 > file.len();
    for length in (0..file.len()).filter(near_chunk) {
        bench.disk.set_contents(&path(content(1)), file[..length].to_vec());
        assert!(!assert_never_wrong(&bench, &blob, None, &body, &format!("cut at {length}")));
    }
}

#[test]
fn bytes_after_the_trailer_are_noticed_by_a_scan() {
    let (bench, blob, body, mut file) = bench_with_file(None);
    file.extend([0; 100]);
    bench.disk.set_contents(&path(content(1)), file);
    assert!(!assert_never_wrong(&bench, &blob, None, &body, "longer"));
}

#[test]
fn swapped_frames_are_refused() {
    for key in keys() {
        let bench = Bench::new();
        let body = body(3 * CHUNK);
        let blob = bench.write(content(1), key.as_ref(), &[&body]).unwrap();
        let mut file = bench.disk.contents(&path(content(1))).unwrap();
        let frame_bytes = FRAME_HEADER_BYTES + CHUNK + if key.is_some() { 16 } else { 0 };
        let (first, second) = file[HEADER_BYTES..HEADER_BYTES + 2 * frame_bytes].split_at_mut(frame_bytes);
        first.swap_with_slice(second);
        bench.disk.set_contents(&path(content(1)), file);
        assert!(bench.read(&blob, key.as_ref()).is_err());
    }
}

#[test]
fn a_frame_of_another_content_is_refused() {
    let (bench, blob, _, mut file) = bench_with_file(None);
    bench.write(content(2), None, &[&body(CHUNK + 300)]).unwrap();
    let other = bench.disk.contents(&path(content(2))).unwrap();
    file[HEADER_BYTES..].copy_from_slice(&other[HEADER_BYTES..]);
    bench.disk.set_contents(&path(content(1)), file);
    assert!(matches!(bench.read(&blob, None), Err(StorageError::Corrupt { .. })));
    assert!(bench.inspect(content(1)).is_err());
}

#[test]
fn a_file_under_another_name_is_refused() {
    let (bench, blob, _, file) = bench_with_file(None);
    bench.write(content(2), None, &[b"victim"]).unwrap();
    bench.disk.set_contents(&path(content(2)), file);
    assert!(bench.read(&StoredBlob { content: content(2), ..blob }, None).is_err());
    assert!(bench.inspect(content(2)).is_err());
}

#[test]
fn what_came_before_the_damage_is_sent_and_nothing_after_it() {
    for cached in [true, false] {
        let bench = Bench::new();
        let body = body(5 * CHUNK);
        let blob = bench.write(content(1), None, &[&body]).unwrap();
        let mut file = bench.disk.contents(&path(content(1))).unwrap();
        file[HEADER_BYTES + 3 * (FRAME_HEADER_BYTES + CHUNK) + 100] ^= 1;
        bench.disk.set_contents(&path(content(1)), file);
        bench.disk.set_cached(cached);
        let reader = bench.store.open(blob.content, blob.plain_length, None, None).now_or_never().unwrap().unwrap();
        let pieces: Vec<_> = reader.stream(0..blob.plain_length).collect().now_or_never().unwrap();
        assert_eq!(pieces.len(), 4);
        assert!(pieces[..3].iter().flat_map(|piece| piece.as_ref().unwrap()).eq(&body[..3 * CHUNK]));
        assert!(matches!(pieces[3], Err(StorageError::Corrupt { .. })));
    }
}

#[test]
fn a_missing_file_is_corruption() {
    let (bench, blob, ..) = bench_with_file(None);
    bench.store.unlink_blocking(content(1)).unwrap();
    assert!(matches!(bench.read(&blob, None), Err(StorageError::Corrupt { .. })));
}

#[test]
fn a_file_of_a_newer_format_is_refused_by_name() {
    let (bench, blob, _, mut file) = bench_with_file(None);
    file[9] = 3;
    bench.disk.set_contents(&path(content(1)), file);
    let error = bench.read(&blob, None).unwrap_err();
    assert!(error.to_string().contains("format Some(3)"), "{error}");
}
