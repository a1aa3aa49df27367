//! Flipped bits in each kind of file: wrong bytes are never served, and `cairn check` says what is damaged.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_tests::harness::files_below;
use cairn_tests::random::body;
use cairn_tests::{Cairn, Client, Config, Random};

const LARGE_BYTES: usize = 300_000;

/// Flips one bit while it lives, and flips it back when it is dropped.
struct FlippedBit {
    path: PathBuf,
    offset: u64,
}

impl FlippedBit {
    fn at(path: &Path, offset: u64) -> FlippedBit {
        flip(path, offset);
        FlippedBit { path: path.into(), offset }
    }
}

impl Drop for FlippedBit {
    fn drop(&mut self) {
        flip(&self.path, self.offset);
    }
}

fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).unwrap();
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn index_files(cairn: &Cairn, extension: &str) -> Vec<PathBuf> {
    let files = files_below(&cairn.data_dir().join("index"));
    files.into_iter().filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

async fn with_one_large_object(purpose: &str) -> (Cairn, Client, String, PathBuf) {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket(purpose).await;
    client.put(&bucket, "key", body(1, LARGE_BYTES)).await;
    let file = cairn.blob_files().pop().unwrap();
    (cairn, client, bucket, file)
}

/// Offsets into a chunk file of three and more chunks, one in each of its structures; see "A chunk file" in
/// ARCHITECTURE.md.
fn blob_offsets(file: &Path) -> Vec<(&'static str, u64)> {
    let end = length(file);
    vec![
        ("magic", 0),
        ("format", 9),
        ("flags", 11),
        ("chunk size", 14),
        ("content id", 20),
        ("description length", 50),
        ("description", 55),
        ("padding of the header", 3_000),
        ("checksum of the header", 4_090),
        ("length of the first frame", 4_098),
        ("index of the first frame", 4_102),
        ("checksum of the first frame", 4_106),
        ("first chunk", 4_096 + 16 + 100),
        ("second frame", 4_096 + 16 + 65_536 + 5),
        ("second chunk", 4_096 + 2 * 16 + 65_536 + 60_000),
        ("magic of the trailer", trailer_start(file)),
        ("trailer", trailer_start(file) + 12),
        ("checksum of the trailer", end - 8),
        ("length of the trailer", end - 1),
    ]
}

fn trailer_start(file: &Path) -> u64 {
    let bytes = fs::read(file).unwrap();
    let magic = b"CAIRNEND";
    bytes.windows(magic.len()).rposition(|window| window == magic).unwrap() as u64
}

#[tokio::test]
async fn a_flipped_bit_in_a_blob_is_never_served() {
    let (_cairn, client, bucket, file) = with_one_large_object("flipped-blob").await;
    let content = body(1, LARGE_BYTES);
    let mut noticed = 0;
    for (structure, offset) in blob_offsets(&file) {
        let _flipped = FlippedBit::at(&file, offset);
        match client.object("GET", &bucket, "key").try_send().await {
            Ok(reply) if reply.status == 200 => assert!(reply.body == content, "{structure}: wrong bytes were served"),
            Ok(reply) => {
                assert!(reply.status >= 500, "{structure}: {reply:?}");
                noticed += 1;
            }
            // The connection was closed before the announced length.
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed >= 10, "only {noticed} damages were noticed");
    assert!(client.get(&bucket, "key").await.expect(200).body == content);
}

#[tokio::test]
async fn ranges_beside_a_damaged_chunk_are_served_and_others_are_not() {
    let (_cairn, client, bucket, file) = with_one_large_object("flipped-range").await;
    let content = body(1, LARGE_BYTES);
    let _flipped = FlippedBit::at(&file, 4_096 + 2 * 16 + 65_536 + 1_000);
    let get = |range: &str| client.object("GET", &bucket, "key").header("range", range).try_send();
    let beside = get("bytes=0-65535").await.unwrap().expect(206);
    assert!(beside.body == content[..65_536]);
    for range in ["bytes=66536-66536", "bytes=131071-131071", "bytes=0-299999"] {
        if let Ok(reply) = get(range).await {
            assert!(reply.status >= 500, "{range}: a damaged chunk was served with status {}", reply.status);
        }
    }
}

#[tokio::test]
async fn a_check_names_the_damaged_blob() {
    let (mut cairn, _, _, file) = with_one_large_object("checked-blob").await;
    cairn.stop();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    for (structure, offset) in blob_offsets(&file) {
        let _flipped = FlippedBit::at(&file, offset);
        let (status, report) = cairn.check();
        assert_eq!(status, Some(1), "{structure}: {report}");
        assert!(report.contains(&name), "{structure}: the report does not name {name}: {report}");
    }
    assert_eq!(cairn.check().0, Some(0));
}

#[tokio::test]
async fn a_shortened_or_lengthened_blob_is_never_served_in_full() {
    let (mut cairn, client, bucket, file) = with_one_large_object("cut-blob").await;
    let bytes = fs::read(&file).unwrap();
    for kept in [0, 100, 4_096, 100_000, bytes.len() - 1] {
        fs::write(&file, &bytes[..kept]).unwrap();
        match client.object("GET", &bucket, "key").try_send().await {
            Ok(reply) if reply.status == 200 => {
                assert!(reply.body == body(1, LARGE_BYTES), "cut to {kept}")
            }
            Ok(reply) => assert!(reply.status >= 500, "cut to {kept}: {reply:?}"),
            Err(_) => {}
        }
    }
    cairn.stop();
    assert_eq!(cairn.check().0, Some(1));
}

#[tokio::test]
async fn two_swapped_blobs_are_not_mistaken_for_each_other() {
    let (mut cairn, client, bucket, first) = with_one_large_object("swapped").await;
    client.put(&bucket, "second", body(2, LARGE_BYTES)).await;
    let second = cairn.blob_files().into_iter().find(|file| *file != first).unwrap();
    cairn.stop();
    let (one, two) = (fs::read(&first).unwrap(), fs::read(&second).unwrap());
    fs::write(&first, two).unwrap();
    fs::write(&second, one).unwrap();
    cairn.start_again();
    for key in ["key", "second"] {
        if let Ok(reply) = client.object("GET", &bucket, key).try_send().await {
            assert!(reply.status >= 500, "{key}: {}", reply.status);
        }
    }
    cairn.stop();
    assert_eq!(cairn.check().0, Some(1));
}

/// Small objects, some of them flushed into table and blob files of the index by two restarts.
async fn with_flushed_index(purpose: &str) -> (Cairn, Client, String, Vec<(String, Vec<u8>)>) {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket(purpose).await;
    let mut objects = Vec::new();
    for number in 0..60 {
        let (key, content) = (format!("key-{number:03}"), body(number, 100 + 200 * number as usize));
        client.put(&bucket, &key, content.clone()).await;
        objects.push((key, content));
    }
    for _ in 0..2 {
        cairn.kill9();
        cairn.start_again();
    }
    cairn.stop();
    (cairn, client, bucket, objects)
}

/// Starts the server over a damaged index and reads everything: exact bytes, or an error, but no silent loss.
async fn read_all(
    cairn: &mut Cairn,
    client: &Client,
    bucket: &str,
    objects: &[(String, Vec<u8>)],
    damage: &str,
) -> usize {
    if cairn.launch().is_err() {
        return objects.len();
    }
    let mut errors = 0;
    for (key, content) in objects {
        match client.object("GET", bucket, key).try_send().await {
            Ok(reply) if reply.status == 200 => {
                assert!(reply.body == content, "{damage}: {key}: wrong bytes were served")
            }
            Ok(reply) => {
                assert!(reply.status >= 500, "{damage}: {key}: {reply:?}");
                errors += 1;
            }
            Err(_) => errors += 1,
        }
    }
    cairn.kill9();
    errors
}

/// Damages copies of one kind of index file at several places.
async fn damaged_index_files_are_noticed(extension: &str) {
    let (mut cairn, client, bucket, objects) = with_flushed_index(&format!("flipped-{extension}")).await;
    let files = index_files(&cairn, extension);
    assert!(
        !files.is_empty(),
        "the index has no .{extension} files: {:?}",
        files_below(&cairn.data_dir().join("index"))
    );
    let data = cairn.data_dir();
    let copy = data.with_extension("copy");
    run_cp(&data, &copy);
    let mut random = Random::new(0xF11);
    let mut noticed = 0;
    for _ in 0..10 {
        let file = random.pick(&files).clone();
        let offset = random.below(length(&file) as usize) as u64;
        flip(&file, offset);
        let damage = format!("{} at {offset}", file.display());
        let (status, report) = cairn.check();
        let errors = read_all(&mut cairn, &client, &bucket, &objects, &damage).await;
        if errors > 0 {
            assert_ne!(status, Some(0), "{damage}: {errors} errors, but the check is clean: {report}");
        }
        noticed += usize::from(status != Some(0));
        fs::remove_dir_all(&data).unwrap();
        run_cp(&copy, &data);
    }
    assert!(noticed > 0, "no damage was noticed");
    assert_eq!(read_all(&mut cairn, &client, &bucket, &objects, "none").await, 0);
}

fn run_cp(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_flipped_bit_in_a_table_of_the_index_is_never_served() {
    damaged_index_files_are_noticed("sst").await;
}

#[tokio::test]
async fn a_flipped_bit_in_inline_contents_is_never_served() {
    damaged_index_files_are_noticed("blob").await;
}

#[tokio::test]
async fn a_flipped_bit_in_the_middle_of_the_log_stops_writing() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("flipped-log").await;
    for number in 0..300 {
        client.put(&bucket, &format!("key-{number:03}"), body(number, 2_000)).await;
        if number == 200 {
            // The watermark is renewed lazily; it bounds what can be lost unseen.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    cairn.kill9();
    let log = index_files(&cairn, "log").into_iter().max_by_key(|path| length(path)).unwrap();
    flip(&log, length(&log) / 2);
    match cairn.launch() {
        Err(error) => assert!(error.log.contains("watermark"), "{error:?}"),
        Ok(()) => {
            let (ready, reason) = cairn.ops_get("/health/ready").unwrap();
            assert_eq!(ready, 503, "a loss in the middle of the log went unseen");
            assert!(reason.contains("watermark"), "{reason}");
            client.object("PUT", &bucket, "new").body("x").send().await.expect(503);
            assert_eq!(client.get(&bucket, "key-000").await.expect(200).body, body(0, 2_000));
        }
    }
    cairn.kill9();
    assert_ne!(cairn.check().0, Some(0));
}

#[tokio::test]
async fn a_damaged_format_file_is_refused() {
    let (mut cairn, ..) = with_one_large_object("flipped-format").await;
    cairn.stop();
    let path = cairn.data_dir().join("format");
    let _flipped = FlippedBit::at(&path, 3);
    let error = cairn.launch().unwrap_err();
    assert!(error.log.contains("format"), "{error:?}");
    assert!(!error.log.contains("panicked"), "{error:?}");
    assert_ne!(cairn.check().0, Some(0));
}

#[tokio::test]
async fn a_damaged_watermark_is_noticed_after_an_unclean_stop() {
    let (mut cairn, ..) = with_one_large_object("flipped-watermark").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    cairn.kill9();
    let path = cairn.data_dir().join("watermark");
    let _flipped = FlippedBit::at(&path, 15);
    match cairn.launch() {
        Err(error) => assert!(error.log.contains("watermark"), "{error:?}"),
        Ok(()) => {
            let (ready, reason) = cairn.ops_get("/health/ready").unwrap();
            assert_eq!(ready, 503, "a damaged watermark was ignored: {}", cairn.log());
            assert!(reason.contains("watermark"), "{reason}");
        }
    }
}
