//! Storage classes whose files are compressed, through the real binary: less on the disk, and nothing else that a client sees.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::harness::files_below;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::patience::until_so;
use cairn_tests::random::{self, body};
use cairn_tests::{Cairn, Call, Client, Config, digest};

/// Larger than one page of a file's table covers.
const LONG: usize = 34 << 20;

const KEY: [u8; 32] = [0x6b; 32];

/// Lines of a log, with a stretch in the middle that does not shrink.
fn log(seed: u64, length: usize) -> Vec<u8> {
    let mut text = random::log(seed, length);
    let (middle, noise) = (length / 2, body(seed, length / 10));
    text[middle..middle + noise.len()].copy_from_slice(&noise);
    text
}

fn compressing(classes: &str) -> String {
    format!("\n[compression]\nclasses = {classes}\n")
}

/// What `du` says: bytes on the disk.
fn disk_usage(folder: &Path) -> u64 {
    let output = std::process::Command::new("du").args(["-s", "-B1"]).arg(folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn metric(cairn: &Cairn, name: &str) -> u64 {
    let (_, text) = cairn.ops_get("/metrics").unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

/// What `cairn tier list` says of a class in the data directory: files, their bytes, and what compression saved.
fn in_data_directory(cairn: &Cairn, class: &str) -> Option<[u64; 3]> {
    let output = cairn.calling_command(&["tier", "list"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("data directory  {class}  ")))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!([words[0], words[2], words[4]], ["files", "bytes", "saved"]);
    Some([1, 3, 5].map(|at| words[at].parse().unwrap()))
}

/// The call with the customer's key.
fn with_key(call: Call) -> Call {
    let name = |what: &str| format!("x-amz-server-side-encryption-customer-{what}");
    call.header(&name("algorithm"), "AES256")
        .header(&name("key"), &STANDARD.encode(KEY))
        .header(&name("key-md5"), &STANDARD.encode(digest::md5(&KEY)))
}

/// The ways in which an object is sealed.
#[derive(Clone, Copy, Debug)]
enum Sealed {
    ByDefault,
    UnderKms(&'static str),
    UnderCustomersKey,
}

const WAYS: [Sealed; 4] =
    [Sealed::ByDefault, Sealed::UnderKms("aws:kms"), Sealed::UnderKms("aws:kms:dsse"), Sealed::UnderCustomersKey];

impl Sealed {
    fn put(self, call: Call) -> Call {
        match self {
            Self::ByDefault => call,
            Self::UnderKms(mode) => call.header("x-amz-server-side-encryption", mode),
            Self::UnderCustomersKey => with_key(call),
        }
    }

    fn read(self, call: Call) -> Call {
        if matches!(self, Self::UnderCustomersKey) { with_key(call) } else { call }
    }
}

async fn reads_as(client: &Client, bucket: &str, key: &str, sealed: Sealed, content: &[u8]) {
    let object = |method: &str| sealed.read(client.object(method, bucket, key));
    let head = object("HEAD").send().await.expect(200);
    assert_eq!(head.header("content-length"), Some(content.len().to_string().as_str()), "{key}");
    let got = object("GET").send().await.expect(200);
    assert!(got.body == content, "{key}: other bytes");
    let last = content.len() - 1;
    for (first, last) in [(0, 0), (65_530, 65_541), (last / 2, last / 2 + 200_000), (last, last)] {
        let range = format!("bytes={first}-{last}");
        let got = object("GET").header("range", &range).send().await.expect(206);
        assert!(got.body == content[first..=last], "{key}: {range}");
    }
}

fn start(more: String) -> Cairn {
    Cairn::start(Config { allow_ssec_over_http: true, more, ..Config::default() })
}

#[tokio::test]
async fn what_is_put_is_small_on_the_disk_and_comes_back_however_it_is_sealed() {
    let cairn = start(compressing("[\"STANDARD\"]"));
    let client = cairn.client();
    let bucket = client.fresh_bucket("small").await;
    let content = log(1, 2 << 20);
    let before = disk_usage(&cairn.data_dir().join("blobs"));
    for (number, sealed) in WAYS.into_iter().enumerate() {
        let put = sealed.put(client.object("PUT", &bucket, &format!("key-{number}")));
        let put = put.unsigned_payload().body(content.clone()).send().await.expect(200);
        if matches!(sealed, Sealed::ByDefault) {
            assert_eq!(put.etag(), digest::etag(&content));
        }
    }
    let taken = disk_usage(&cairn.data_dir().join("blobs")) - before;
    let plain = WAYS.len() * content.len();
    assert!(taken < plain as u64 / 2, "{taken} bytes on the disk for {plain}");
    for (number, sealed) in WAYS.into_iter().enumerate() {
        reads_as(&client, &bucket, &format!("key-{number}"), sealed, &content).await;
    }
    assert_eq!(metric(&cairn, "cairn_compression_plain_bytes_total"), plain as u64);
    assert!(metric(&cairn, "cairn_compression_stored_bytes_total") <= taken);
    let [files, bytes, saved] = in_data_directory(&cairn, "STANDARD").unwrap();
    assert!(files == WAYS.len() as u64 && bytes + saved == plain as u64 && bytes <= taken, "{files} {bytes} {saved}");

    // Neither a class that is not compressed nor a small object is.
    let put = client.object("PUT", &bucket, "other").header("x-amz-storage-class", "ONEZONE_IA");
    put.unsigned_payload().body(content.clone()).send().await.expect(200);
    assert!(disk_usage(&cairn.data_dir().join("classes")) > content.len() as u64);
    let [files, bytes, saved] = in_data_directory(&cairn, "ONEZONE_IA").unwrap();
    assert!((files, saved) == (1, 0) && bytes > content.len() as u64, "{files} {bytes} {saved}");
    client.put(&bucket, "inline", vec![0; 1_000]).await.expect(200);
    assert_eq!(client.get(&bucket, "inline").await.expect(200).body, vec![0; 1_000]);
    assert_eq!(in_data_directory(&cairn, "GLACIER"), None);
    for number in 0..WAYS.len() {
        client.object("DELETE", &bucket, &format!("key-{number}")).send().await.expect(204);
    }
    assert_eq!(in_data_directory(&cairn, "STANDARD"), None, "what is deleted is counted no more");
    assert_eq!(metric(&cairn, "cairn_compression_plain_bytes_total"), plain as u64);
}

#[tokio::test]
async fn parts_copies_and_long_objects_come_back() {
    let cairn = start(compressing("[\"STANDARD\"]"));
    let client = cairn.client();
    let bucket = client.fresh_bucket("long").await;
    let long = log(2, LONG);
    client.object("PUT", &bucket, "long").unsigned_payload().body(long.clone()).send().await.expect(200);
    reads_as(&client, &bucket, "long", Sealed::ByDefault, &long).await;
    for sealed in [Sealed::UnderKms("aws:kms"), Sealed::UnderCustomersKey] {
        let upload = Upload::create_with(&client, &bucket, "parts", |call| sealed.put(call)).await;
        let mut parts = Vec::new();
        let bodies = [log(3, PART_BYTES_MIN), log(4, 300_000), body(5, 10)];
        let bodies = [bodies[0].clone(), [&bodies[0][..], &bodies[1]].concat(), bodies[2].clone()];
        for (number, body) in (1..).zip(&bodies) {
            let part = sealed.read(upload.part(number, body.clone())).send().await.expect(200);
            parts.push((number, part.etag().to_owned()));
        }
        upload.complete(&parts).send().await.expect(200);
        reads_as(&client, &bucket, "parts", sealed, &bodies.concat()).await;
    }
    let other = client.fresh_bucket("other").await;
    let copy = client.object("PUT", &other, "copy").header("x-amz-copy-source", &format!("{bucket}/long"));
    copy.send().await.expect(200);
    reads_as(&client, &other, "copy", Sealed::ByDefault, &long).await;
}

#[tokio::test]
async fn the_setting_holds_for_what_is_written_from_then_on() {
    let mut cairn = start(compressing("[]"));
    let client = cairn.client();
    let bucket = client.fresh_bucket("switched").await;
    let content = log(6, 1 << 20);
    let mut lengths = Vec::new();
    for (key, classes) in [("off", "[]"), ("on", "[\"STANDARD\", \"GLACIER\"]"), ("off-again", "[]")] {
        cairn.stop();
        let config = std::fs::read_to_string(cairn.config_file()).unwrap();
        let config = config.split("\n[compression]").next().unwrap().to_owned() + &compressing(classes);
        std::fs::write(cairn.config_file(), config).unwrap();
        cairn.start_again();
        let before = disk_usage(&cairn.data_dir().join("blobs"));
        client.object("PUT", &bucket, key).unsigned_payload().body(content.clone()).send().await.expect(200);
        lengths.push(disk_usage(&cairn.data_dir().join("blobs")) - before);
        for written in ["off", "on", "off-again"].into_iter().take(lengths.len()) {
            reads_as(&client, &bucket, written, Sealed::ByDefault, &content).await;
        }
    }
    let is_small: Vec<bool> = lengths.iter().map(|length| *length < content.len() as u64 * 2 / 3).collect();
    assert_eq!(is_small, [false, true, false], "{lengths:?}");
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn moves_to_another_disk_and_from_there_to_another_server_carry_what_is_compressed() {
    let far = Cairn::start(Config::default());
    far.client().bucket("PUT", "tier").send().await.expect(200);
    let disk = tempfile::tempdir().unwrap();
    let keys = &far.client().credentials;
    let more = format!(
        "\n[lifecycle]\nday_seconds = 1\nsweep_interval_seconds = 1\n\
         \n[[remote]]\nname = \"far\"\nendpoint = \"http://{}\"\naccess_key = {:?}\nsecret_key = {:?}\n\
         \n[[tier]]\nname = \"there\"\nremote = \"far\"\nbucket = \"tier\"\nclasses = []\n\
         \n[[tier]]\nname = \"cold\"\npath = {:?}\nclasses = [\"GLACIER_IR\"]\n{}",
        far.client().address,
        keys.access_key,
        keys.secret_key,
        disk.path(),
        compressing("[\"STANDARD\"]")
    );
    let mut cairn = start(more);
    let client = cairn.client();
    let bucket = client.fresh_bucket("moves").await;
    let content = log(7, 2 << 20);
    client.object("PUT", &bucket, "key").unsigned_payload().body(content.clone()).send().await.expect(200);
    let here = cairn.data_dir().join("blobs");
    let written = disk_usage(&files_below(&here)[0]);
    let rules = "<LifecycleConfiguration><Rule><ID>r</ID><Filter/><Status>Enabled</Status>\
                 <Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule></LifecycleConfiguration>";
    client.bucket("PUT", &bucket).query("lifecycle", "").body(rules).send().await.expect(200);
    let on_disk = || files_below(&disk.path().join("blobs"));
    until_so("the transition", || files_below(&here).is_empty() && on_disk().len() == 1).await;
    assert_eq!(disk_usage(&on_disk()[0]), written);
    reads_as(&client, &bucket, "key", Sealed::ByDefault, &content).await;

    // The other disk is retired, by a server that compresses nothing any more.
    cairn.stop();
    let config = std::fs::read_to_string(cairn.config_file()).unwrap();
    let config = config
        .replace("classes = [\"GLACIER_IR\"]", "classes = 0")
        .replace("classes = []", "classes = [\"GLACIER_IR\"]");
    let config = config.replace("classes = 0", "classes = []").replace("[\"STANDARD\"]", "[]");
    std::fs::write(cairn.config_file(), config).unwrap();
    cairn.start_again();
    assert!(cairn.calling_command(&["tier", "move"]).output().unwrap().status.success());
    until_so("the job", || on_disk().is_empty() && files_below(&here).is_empty()).await;
    let there = far.client().keys("tier").await;
    let there = there.iter().find(|key| *key != "cairn-tier").unwrap();
    let length = far.client().head("tier", there).await.expect(200).header("content-length").unwrap().to_owned();
    assert!(length.parse::<u64>().unwrap() <= written, "{length} bytes, and {written} on the disk");
    reads_as(&client, &bucket, "key", Sealed::ByDefault, &content).await;
    assert_eq!(client.head(&bucket, "key").await.expect(200).header("x-amz-storage-class"), Some("GLACIER_IR"));
}
