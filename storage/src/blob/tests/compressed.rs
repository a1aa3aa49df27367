//! Files whose chunks are compressed: what is written comes back, nothing that was changed does, and a copy is what was copied.

use proptest::prelude::*;

use super::*;
use crate::blob::compression::Codecs;
use crate::blob::format::{FRAME_HEADER_BYTES, Frame, HEADER_BYTES};
use crate::blob::table::{self, PAGE_CHUNKS};
use crate::id::Place;

const CHUNK: usize = CHUNK_BYTES as usize;

/// What a chunk is made of.
#[derive(Clone, Copy, Debug)]
enum Stuff {
    Zeros,
    Text,
    Random,
}

/// Stretches of stuff, one after the other.
fn mixed(stretches: &[(Stuff, usize)]) -> Vec<u8> {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut all = Vec::new();
    for (stuff, length) in stretches {
        let end = all.len() + length;
        while all.len() < end {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            match stuff {
                Stuff::Zeros => all.resize(end, 0),
                Stuff::Text => all.extend(format!("line {} of a log; ", random % 10_000).into_bytes()),
                Stuff::Random => all.extend(random.to_be_bytes()),
            }
        }
        all.truncate(end);
    }
    all
}

fn bench() -> Bench {
    let disk = SimDisk::new();
    BlobStore::create_folders(&disk).unwrap();
    on(disk)
}

fn on(disk: SimDisk) -> Bench {
    Bench::compressing(disk, Compression::new(vec![StorageClass::Standard], LEVEL_DEFAULT))
}

/// A file of three chunks, of which the one in the middle does not shrink.
fn bench_with_file(key: Option<&DataKey>) -> (Bench, StoredBlob, Vec<u8>, Vec<u8>) {
    let bench = bench();
    let body = mixed(&[(Stuff::Text, CHUNK), (Stuff::Random, CHUNK), (Stuff::Text, 3_000)]);
    let blob = bench.write(content(1), key, &[&body]).unwrap();
    let file = bench.disk.contents(&path(content(1))).unwrap();
    (bench, blob, body, file)
}

/// Where each frame lies, by the table of a file that is whole.
fn frames(bench: &Bench, id: ContentId) -> Vec<std::ops::Range<usize>> {
    let (source, _) = bench.store.inspect_open(id).unwrap();
    let ends = Arc::new(source).frame_ends().now_or_never().unwrap().unwrap().unwrap();
    let starts = [HEADER_BYTES as u64].into_iter().chain(ends.clone());
    starts.zip(ends).map(|(start, end)| start as usize..end as usize).collect()
}

/// Whether reading and verifying notice that the file is not as it was written. Neither may give other bytes.
fn is_noticed(bench: &Bench, blob: &StoredBlob, key: Option<&DataKey>, body: &[u8]) -> bool {
    let read = bench.read(blob, key);
    if let Ok(bytes) = &read {
        assert!(bytes == body, "wrong bytes");
    }
    bench.store.verify_blocking(blob.content, key, &mut |_| Ok(())).is_err()
}

#[test]
fn what_shrinks_is_small_on_the_disk_and_comes_back() {
    for key in keys() {
        let bench = bench();
        let body = mixed(&[(Stuff::Text, 20 * CHUNK + 7)]);
        let blob = bench.write(content(1), key.as_ref(), &[&body]).unwrap();
        assert_eq!((blob.plain_length, blob.seal.is_some()), (body.len() as u64, key.is_some()));
        assert!(blob.stored_length < blob.plain_length / 3, "{} bytes", blob.stored_length);
        assert_eq!(blob.stored_length, bench.disk.contents(&path(content(1))).unwrap().len() as u64);
        assert!(bench.read(&blob, key.as_ref()).unwrap() == body);
        let verified = bench.store.verify_blocking(content(1), key.as_ref(), &mut |_| Ok(())).unwrap();
        assert_eq!((verified.plain_length, verified.stored_length), (blob.plain_length, blob.stored_length));
        assert_eq!(verified, bench.inspect(content(1)).unwrap());
        // Without the key all that can be verified is.
        assert_eq!(bench.store.verify_blocking(content(1), None, &mut |_| Ok(())).unwrap(), verified);
    }
}

#[test]
fn what_does_not_shrink_is_stored_as_it_is() {
    let bench = bench();
    let body = mixed(&[(Stuff::Random, 40 * CHUNK)]);
    let blob = bench.write(content(1), None, &[&body]).unwrap();
    let file = bench.disk.contents(&path(content(1))).unwrap();
    for (chunk, at) in body.chunks(CHUNK).zip(frames(&bench, content(1))) {
        assert!(file[at.start + FRAME_HEADER_BYTES..at.end] == *chunk);
    }
    assert!(bench.read(&blob, None).unwrap() == body);
}

#[test]
fn a_class_without_compression_is_written_as_ever() {
    let compressing = on(Bench::new().disk);
    let (mut plain, plain_bench) = (Vec::new(), Bench::new());
    for bench in [&compressing, &plain_bench] {
        let class = StorageClass::StandardIa;
        let mut writer = bench.store.create_blocking(content(1), description(), class, None, None).unwrap();
        writer.append(&[Bytes::from(vec![0; 3 * CHUNK])]).unwrap();
        writer.finish(trailer()).unwrap();
        plain.push(bench.disk.contents(&path(content(1))).unwrap());
    }
    assert!(plain[0] == plain[1]);
}

#[test]
fn a_store_that_does_not_compress_reads_what_one_that_does_has_written_and_the_other_way_round() {
    let compressing = bench();
    let body = mixed(&[(Stuff::Text, 5 * CHUNK + 1)]);
    let compressed = compressing.write(content(1), None, &[&body]).unwrap();
    let plain = Bench::on(compressing.disk.clone());
    let uncompressed = plain.write(content(2), None, &[&body]).unwrap();
    assert!(plain.read(&compressed, None).unwrap() == body && compressing.read(&uncompressed, None).unwrap() == body);
}

#[test]
fn every_size_around_a_chunk_comes_back() {
    for length in [0, 1, 2, 15, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 40 * CHUNK + 1] {
        for (stuff, key) in [(Stuff::Text, None), (Stuff::Random, Some(key())), (Stuff::Zeros, Some(key()))] {
            let bench = bench();
            let body = mixed(&[(stuff, length)]);
            let blob = bench.write(content(1), key.as_ref(), &[&body]).unwrap();
            assert!(bench.read(&blob, key.as_ref()).unwrap() == body, "{length} bytes of {stuff:?}");
            bench.store.verify_blocking(content(1), key.as_ref(), &mut |_| Ok(())).unwrap();
        }
    }
}

#[test]
fn a_range_of_a_long_file_is_found_through_its_pages() {
    let bench = bench();
    let chunks = 2 * PAGE_CHUNKS as usize + 3;
    let body = mixed(&[(Stuff::Zeros, chunks * CHUNK - 5)]);
    let blob = bench.write(content(1), None, &[&body]).unwrap();
    let page = PAGE_CHUNKS * CHUNK as u64;
    for range in
        [0..1, page - 1..page + 1, page..page + 9, 2 * page - 3..2 * page + 70_000, body.len() as u64 - 1..u64::MAX]
    {
        for cached in [true, false] {
            bench.disk.set_cached(cached);
            let expected = &body[range.start as usize..(range.end as usize).min(body.len())];
            assert!(bench.read_range(&blob, None, range.clone()).unwrap() == expected, "{range:?}");
        }
    }
    bench.store.verify_blocking(content(1), None, &mut |_| Ok(())).unwrap();
}

#[test]
fn every_flipped_byte_is_noticed() {
    for key in keys() {
        let (bench, blob, body, file) = bench_with_file(key.as_ref());
        let stored_as_it_is = frames(&bench, content(1))[1].clone();
        let of_payload = |at: &usize| *at > stored_as_it_is.start + 40 && *at + 40 < stored_as_it_is.end;
        for at in (0..file.len()).filter(|at| !of_payload(at) || at % 101 == 0) {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << (at % 8);
            bench.disk.set_contents(&path(content(1)), flipped);
            assert!(is_noticed(&bench, &blob, key.as_ref(), &body), "byte {at}");
        }
    }
}

/// A file whose chunk 1, which is stored as it is, has another frame. Table and checksums are made right, as who attacks would.
fn forged(file: &[u8], frames: &[std::ops::Range<usize>], chunk: usize, frame: &Frame) -> Vec<u8> {
    let mut forged = file[..frames[chunk].start].to_vec();
    forged.extend(frame.header);
    frame.payload.iter().for_each(|piece| forged.extend(piece));
    let (old_end, new_end) = (frames[chunk].end as u64, forged.len() as u64);
    let last_end = frames.last().unwrap().end;
    forged.extend(&file[frames[chunk].end..last_end]);
    let moved = |end: u64| if end >= old_end { end - old_end + new_end } else { end };
    let ends: Vec<u64> = frames.iter().map(|at| moved(at.end as u64)).collect();
    let table = table::encode(content(1), &ends);
    forged.extend(&table);
    forged.extend(&file[last_end + table.len()..]);
    forged
}

#[test]
fn a_bomb_gives_no_more_than_its_chunk_and_is_refused() {
    let codecs = Codecs::new(Compression::new(Vec::new(), 19));
    for plain_bytes in [CHUNK + 1, 64 << 20] {
        let (bench, blob, body, file) = bench_with_file(None);
        let mut bomb = vec![0; CHUNK - 1];
        let length = codecs.compress(&vec![0; plain_bytes], &mut bomb).unwrap();
        bomb.truncate(length);
        let frame = Frame::new(content(1), 1, false, true, vec![Bytes::from(bomb)]).unwrap();
        bench.disk.set_contents(&path(content(1)), forged(&file, &frames(&bench, content(1)), 1, &frame));
        let error = bench.read(&blob, None).unwrap_err();
        assert!(error.to_string().contains("it cannot be decompressed"), "{error}");
        assert!(is_noticed(&bench, &blob, None, &body));
        // What lies before it can be read.
        assert!(bench.read_range(&blob, None, 0..CHUNK as u64).unwrap() == body[..CHUNK]);
    }
}

#[test]
fn a_chunk_is_not_taken_for_a_compressed_one_nor_a_compressed_one_for_a_plain_one() {
    for key in keys() {
        let (bench, blob, body, file) = bench_with_file(key.as_ref());
        let frames = frames(&bench, content(1));
        for (index, claims_compressed) in [(0, false), (1, true)] {
            let payload = Bytes::copy_from_slice(&file[frames[index].start + FRAME_HEADER_BYTES..frames[index].end]);
            let frame = Frame::new(content(1), index as u64, false, claims_compressed, vec![payload]).unwrap();
            bench.disk.set_contents(&path(content(1)), forged(&file, &frames, index, &frame));
            assert!(is_noticed(&bench, &blob, key.as_ref(), &body) && bench.read(&blob, key.as_ref()).is_err());
        }
    }
}

#[test]
fn a_sealed_chunk_that_was_compressed_from_another_length_is_refused() {
    // Two last chunks of one length when compressed, of which one is put in the other's place.
    let key = key();
    let bench = bench();
    let blob = bench.write(content(1), Some(&key), &[&vec![0; 3_000]]).unwrap();
    bench.read(&blob, Some(&key)).unwrap();
    let lie = StoredBlob { plain_length: 2_999, ..blob };
    let error = bench.read(&lie, Some(&key)).unwrap_err();
    assert!(error.to_string().contains("forged"), "{error}");
}

#[test]
fn a_copy_has_the_chunks_of_its_original_byte_for_byte() {
    for key in keys() {
        let (bench, blob, body, file) = bench_with_file(key.as_ref());
        let mut elsewhere = [2; 16];
        elsewhere[0] = 2 << 2;
        let to = ContentId::from_bytes(elsewhere);
        assert_eq!(to.place(), Place::new(2).unwrap());
        // By a store that compresses nothing.
        let plain = Bench::on(bench.disk.clone());
        let copy = plain.store.transfer(content(1), to).now_or_never().unwrap().unwrap();
        assert_eq!(copy, StoredBlob { content: to, ..blob });
        assert!(plain.read(&copy, key.as_ref()).unwrap() == body);
        let copied = bench.disk.contents(&path(to)).unwrap();
        assert_eq!(copied.len(), file.len());
        for at in frames(&bench, content(1)) {
            let payload = at.start + FRAME_HEADER_BYTES..at.end;
            assert!(copied[payload.clone()] == file[payload]);
        }
        plain.store.verify_blocking(to, key.as_ref(), &mut |_| Ok(())).unwrap();
    }
}

#[test]
fn every_truncation_is_noticed() {
    let (bench, blob, body, file) = bench_with_file(None);
    for length in (0..file.len()).filter(|length| length % 97 == 0 || length + 600 > file.len()) {
        bench.disk.set_contents(&path(content(1)), file[..length].to_vec());
        assert!(is_noticed(&bench, &blob, None, &body), "cut at {length}");
    }
    let longer = [&file[..], &[0; 100]].concat();
    bench.disk.set_contents(&path(content(1)), longer);
    assert!(is_noticed(&bench, &blob, None, &body));
}

/// What happens to a file: bytes changed, cut out, put in twice, exchanged, or from another file.
fn mutated(file: &[u8], other: &[u8], dice: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut mutated = file.to_vec();
    let at = dice(file.len());
    let end = at + 1 + dice((file.len() - at).min(300));
    match dice(6) {
        0 => mutated[at] ^= 1 << dice(8),
        1 => drop(mutated.drain(at..end)),
        2 => drop(mutated.splice(at..at, file[at..end].to_vec())),
        3 => {
            let from = dice(file.len() - (end - at) + 1);
            mutated[at..end].copy_from_slice(&file[from..from + (end - at)]);
        }
        4 => {
            let end = end.min(other.len());
            mutated.truncate(at.min(other.len()));
            mutated.extend(&other[at.min(end)..end]);
            mutated.extend(&file[end.min(file.len())..]);
        }
        _ => mutated.truncate(at),
    }
    mutated
}

#[test]
fn ten_thousand_mutations_are_noticed() {
    for key in [None, Some(key())] {
        let bench = bench();
        let body = mixed(&[(Stuff::Text, 2 * CHUNK), (Stuff::Random, 700), (Stuff::Zeros, CHUNK)]);
        let blob = bench.write(content(1), key.as_ref(), &[&body]).unwrap();
        let file = bench.disk.contents(&path(content(1))).unwrap();
        bench.write(content(2), key.as_ref(), &[&body]).unwrap();
        let other = bench.disk.contents(&path(content(2))).unwrap();
        let mut state = 88_172_645_463_325_252_u64;
        let mut dice = |sides: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % sides.max(1) as u64) as usize
        };
        let mut changed = 0;
        while changed < 10_000 {
            let mutated = mutated(&file, &other, &mut dice);
            if mutated == file {
                continue;
            }
            changed += 1;
            bench.disk.set_contents(&path(content(1)), mutated);
            assert!(is_noticed(&bench, &blob, key.as_ref(), &body), "mutation {changed}");
        }
    }
}

fn stuff() -> impl Strategy<Value = (Stuff, usize)> {
    (prop_oneof![Just(Stuff::Zeros), Just(Stuff::Text), Just(Stuff::Random)], 0..3 * CHUNK)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_mixture_comes_back_whole_and_in_ranges(
        stretches in prop::collection::vec(stuff(), 1..6),
        cuts in prop::collection::vec(1..2 * CHUNK, 0..6),
        ranges in prop::collection::vec((0_u64..600_000, 0_u64..300_000), 1..5),
        layers in 0..3_usize,
        level in 1..=6_u8,
        cached: bool,
    ) {
        let disk = SimDisk::new();
        BlobStore::create_folders(&disk).unwrap();
        let bench = Bench::compressing(disk, Compression::new(vec![StorageClass::Standard], level));
        let key = &keys()[layers];
        let body = mixed(&stretches);
        let mut rest = &body[..];
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let blob = bench.write(content(1), key.as_ref(), &pieces).unwrap();
        bench.disk.set_cached(cached);
        prop_assert!(bench.read(&blob, key.as_ref()).unwrap() == body);
        for (start, length) in ranges {
            let at = |place: u64| place.min(body.len() as u64) as usize;
            let got = bench.read_range(&blob, key.as_ref(), start..start + length).unwrap();
            prop_assert!(got == body[at(start)..at(start + length)]);
        }
        bench.store.verify_blocking(content(1), key.as_ref(), &mut |_| Ok(())).unwrap();
    }
}
