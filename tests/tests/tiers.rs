//! Storage tiers on other disks, through the real binary: a tier that goes away and comes back, one that is full, one that is
//! taken out of the configuration, and the space that they take and give back.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use cairn_tests::harness::files_below;
use cairn_tests::mount::Mount;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::patience::{until, until_so};
use cairn_tests::random::body;
use cairn_tests::strace::Tracer;
use cairn_tests::{Cairn, Call, Client, Config, Reply, skip};
use tempfile::TempDir;

/// Files, which small objects are not.
const LARGE: usize = 200_000;

/// A server with a tier `cold` of GLACIER_IR, in days of a second.
struct Rig {
    cairn: Cairn,
    client: Client,
    bucket: String,
    elsewhere: TempDir,
}

impl Rig {
    async fn new(purpose: &str) -> Rig {
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::create_dir(elsewhere.path().join("disk")).unwrap();
        Rig::with(purpose, elsewhere, "").await
    }

    async fn with(purpose: &str, elsewhere: TempDir, more: &str) -> Rig {
        let config = Config { more: with_tier(&elsewhere.path().join("disk"), more), ..Config::default() };
        let cairn = Cairn::start(config);
        let client = cairn.client();
        let bucket = client.fresh_bucket(purpose).await;
        Rig { cairn, client, bucket, elsewhere }
    }

    fn disk(&self) -> PathBuf {
        self.elsewhere.path().join("disk")
    }

    fn put(&self, key: &str, class: &str, seed: u64, size: usize) -> Call {
        let put = self.client.object("PUT", &self.bucket, key).header("x-amz-storage-class", class);
        put.unsigned_payload().body(body(seed, size))
    }

    fn get(&self, key: &str) -> Call {
        self.client.object("GET", &self.bucket, key)
    }

    async fn is_there(&self, key: &str, seed: u64) {
        assert!(self.get(key).send().await.expect(200).body == body(seed, LARGE), "{key}: other bytes");
    }

    async fn move_what_begins_with(&self, prefix: &str) {
        let rules = format!(
            "<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>{prefix}</Prefix></Filter><Status>Enabled</Status>\
             <Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule></LifecycleConfiguration>"
        );
        self.client.bucket("PUT", &self.bucket).query("lifecycle", "").body(rules).send().await.expect(200);
    }

    fn metric(&self, line: &str) -> String {
        let (_, text) = self.cairn.ops_get("/metrics").unwrap();
        let value = text.lines().find_map(|one| one.strip_prefix(line));
        value.unwrap_or_else(|| panic!("no {line} in\n{text}")).trim().to_owned()
    }

    fn rewrite_config(&self, change: impl Fn(&str) -> String) {
        let config = std::fs::read_to_string(self.cairn.config_file()).unwrap();
        std::fs::write(self.cairn.config_file(), change(&config)).unwrap();
    }
}

fn with_tier(disk: &Path, more: &str) -> String {
    format!(
        "\n[lifecycle]\nday_seconds = 1\nsweep_interval_seconds = 1\n\
         \n[[tier]]\nname = \"cold\"\npath = {disk:?}\nclasses = [\"GLACIER_IR\"]\n{more}"
    )
}

fn is_in_cold(reply: &Reply) -> bool {
    reply.header("x-amz-storage-class") == Some("GLACIER_IR")
}

/// What `du` says: bytes on the disk.
fn disk_usage(folder: &Path) -> u64 {
    let output = std::process::Command::new("du").args(["-s", "-B1"]).arg(folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_tier_that_goes_away_takes_only_its_own_objects_along_and_comes_back_without_a_restart() {
    let rig = Rig::new("away").await;
    rig.put("cold", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    rig.put("warm", "ONEZONE_IA", 2, LARGE).send().await.expect(200);
    rig.put("small", "GLACIER_IR", 3, 100).send().await.expect(200);
    let (disk, away) = (rig.disk(), rig.elsewhere.path().join("away"));
    assert_eq!(files_below(&disk.join("blobs")).len(), 1);

    // First as if the disk were gone, then as if an empty one were mounted in its place.
    for is_empty in [false, true] {
        std::fs::rename(&disk, &away).unwrap();
        if is_empty {
            std::fs::create_dir(&disk).unwrap();
        }
        until("503", || rig.get("cold"), |reply| reply.status == 503).await.expect_error(503, "ServiceUnavailable");
        rig.put("new", "GLACIER_IR", 4, LARGE).send().await.expect_error(503, "ServiceUnavailable");
        rig.client.object("HEAD", &rig.bucket, "cold").send().await.expect(200);
        rig.is_there("warm", 2).await;
        assert_eq!(rig.get("small").send().await.expect(200).body, body(3, 100));
        rig.put("new", "STANDARD", 4, LARGE).send().await.expect(200);
        let (status, text) = rig.cairn.ops_get("/health/ready").unwrap();
        assert!(status == 200 && text.contains("the storage tier cold is down"), "{text}");
        assert_eq!(rig.metric("cairn_tier_up{tier=\"cold\"}"), "0");
        if is_empty {
            assert!(files_below(&disk).is_empty(), "something was written into what is not the tier");
            std::fs::remove_dir(&disk).unwrap();
        }
        std::fs::rename(&away, &disk).unwrap();
        until("200", || rig.get("cold"), |reply| reply.status == 200).await;
        rig.is_there("cold", 1).await;
    }
    rig.put("new", "GLACIER_IR", 5, LARGE).send().await.expect(200);
    rig.is_there("new", 5).await;
    let (_, text) = rig.cairn.ops_get("/health/ready").unwrap();
    assert_eq!(text, "ready\n");
    assert_eq!(rig.metric("cairn_tier_up{tier=\"cold\"}"), "1");
}

#[tokio::test]
async fn what_was_deleted_while_a_tier_was_away_is_freed_when_it_is_back() {
    let mut rig = Rig::new("late").await;
    rig.put("cold", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    rig.put("stays", "GLACIER_IR", 2, LARGE).send().await.expect(200);
    rig.cairn.stop();
    let (disk, away) = (rig.disk(), rig.elsewhere.path().join("away"));
    std::fs::rename(&disk, &away).unwrap();
    rig.cairn.start_again();
    rig.get("cold").send().await.expect_error(503, "ServiceUnavailable");
    rig.client.delete(&rig.bucket, "cold").await.expect(204);
    rig.cairn.stop();
    // The collector waits for the tier, and `cairn check` says that it was not looked at.
    let (status, printed) = rig.cairn.check();
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.contains("the storage tier cold is down, 1 files were not verified"), "{printed}");
    std::fs::rename(&away, &disk).unwrap();
    let (status, printed) = rig.cairn.check();
    assert_eq!(status, Some(0), "{printed}");
    rig.cairn.start_again();
    rig.is_there("stays", 2).await;
}

#[tokio::test]
async fn a_tier_in_use_cannot_be_dropped_and_its_directory_may_move() {
    let mut rig = Rig::new("drop").await;
    rig.put("cold", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    rig.cairn.stop();
    let (status, printed) = rig.cairn.check();
    assert_eq!(status, Some(0), "{printed}");

    let (disk, elsewhere) = (rig.disk(), rig.elsewhere.path().join("elsewhere"));
    rig.rewrite_config(|config| config.replace("[[tier]]\nname = \"cold\"", "[[tier]]\nname = \"other\""));
    let refused = rig.cairn.launch().unwrap_err();
    assert!(refused.log.contains("the storage tier cold is not in the configuration any more"), "{}", refused.log);
    rig.rewrite_config(|config| config.replace("name = \"other\"", "name = \"cold\""));

    std::fs::rename(&disk, &elsewhere).unwrap();
    rig.rewrite_config(|config| config.replace(disk.to_str().unwrap(), elsewhere.to_str().unwrap()));
    rig.cairn.start_again();
    rig.is_there("cold", 1).await;

    // Once it is empty it may go; what was its directory becomes no other server's.
    rig.client.delete(&rig.bucket, "cold").await.expect(204);
    until_so("freeing", || files_below(&elsewhere.join("blobs")).is_empty()).await;
    rig.cairn.stop();
    rig.rewrite_config(|config| config.split("\n[[tier]]").next().unwrap().to_owned());
    rig.cairn.start_again();
    rig.put("cold", "GLACIER_IR", 2, LARGE).send().await.expect(200);
    rig.is_there("cold", 2).await;
    rig.cairn.stop();
    let more = with_tier(&elsewhere, "");
    rig.rewrite_config(|config| config.split("\n[lifecycle]").next().unwrap().to_owned() + &more);
    let refused = rig.cairn.launch().unwrap_err();
    assert!(refused.log.contains("it is another storage tier's"), "{}", refused.log);
}

#[tokio::test]
async fn space_is_freed_where_objects_leave_and_taken_where_they_come() {
    const LARGE: usize = 3 << 20;
    let rig = Rig::new("space").await;
    let (blobs, cold) = (rig.cairn.data_dir().join("blobs"), rig.disk());
    rig.put("moves/one", "STANDARD", 1, LARGE).send().await.expect(200);
    let upload = Upload::create(&rig.client, &rig.bucket, "moves/parts").await;
    let mut parts = Vec::new();
    for (number, part) in [(1, body(2, PART_BYTES_MIN)), (2, body(3, LARGE))] {
        parts.push((number, upload.upload(number, part).await));
    }
    upload.complete(&parts).send().await.expect(200);
    let (of_blobs, of_cold) = (disk_usage(&blobs), disk_usage(&cold));
    let moved = (2 * LARGE + PART_BYTES_MIN) as u64;

    rig.move_what_begins_with("moves/").await;
    for key in ["moves/one", "moves/parts"] {
        until("the move", || rig.client.object("HEAD", &rig.bucket, key), is_in_cold).await;
    }
    until_so("freeing what moved away", || disk_usage(&blobs) + moved <= of_blobs).await;
    assert!(disk_usage(&cold) >= of_cold + moved);
    assert!(rig.get("moves/one").send().await.expect(200).body == body(1, LARGE));
    let parts = rig.get("moves/parts").send().await.expect(200).body;
    assert!(parts == [body(2, PART_BYTES_MIN), body(3, LARGE)].concat());

    for key in ["moves/one", "moves/parts"] {
        rig.client.delete(&rig.bucket, key).await.expect(204);
    }
    until_so("freeing what was deleted", || disk_usage(&cold) < of_cold + moved / 4).await;
}

#[tokio::test]
async fn a_full_tier_refuses_what_comes_and_keeps_what_is_there() {
    const OBJECT_BYTES: usize = 8 << 20;
    let elsewhere = tempfile::tempdir().unwrap();
    let mount = match Mount::tmpfs(&elsewhere.path().join("disk"), 40) {
        Ok(mount) => mount,
        Err(reason) => skip!("no tmpfs: {reason}"),
    };
    let rig = Rig::with("full", elsewhere, "free_space_floor_bytes = 4194304\n").await;
    let put = |key: &str, class: &str| rig.put(key, class, 1, OBJECT_BYTES);
    let mut stored = 0;
    let refusal = loop {
        let reply = put(&format!("cold-{stored}"), "GLACIER_IR").send().await;
        if reply.status != 200 {
            break reply;
        }
        stored += 1;
        assert!(stored < 8, "the tier never fills up");
    };
    assert!(stored >= 2, "the tier was full from the start: {refusal:?}");
    assert!([503, 507].contains(&refusal.status) && refusal.xml("Message").contains("disk"), "{refusal:?}");
    put("moves", "STANDARD").send().await.expect(200);
    rig.move_what_begins_with("moves").await;
    let failed = |text: &str| text.contains("cairn_lifecycle_failed_total{reason=\"disk-full\"}");
    until_so("the failure", || failed(&rig.cairn.ops_get("/metrics").unwrap().1)).await;
    assert!(rig.cairn.log().contains("the disk is full"), "{}", rig.cairn.log());
    let kept = rig.get("moves").send().await.expect(200);
    assert!(kept.header("x-amz-storage-class").is_none() && kept.body == body(1, OBJECT_BYTES));

    for number in 0..stored {
        rig.client.delete(&rig.bucket, &format!("cold-{number}")).await.expect(204);
    }
    until("the move", || rig.client.object("HEAD", &rig.bucket, "moves"), is_in_cold).await;
    assert!(rig.get("moves").send().await.expect(200).body == body(1, OBJECT_BYTES));
    drop(rig);
    drop(mount);
}

#[tokio::test]
async fn a_tier_whose_disk_gives_errors_takes_only_its_own_objects_along_and_loses_none() {
    let elsewhere = tempfile::tempdir().unwrap();
    let mount = match Mount::ext4(&elsewhere.path().join("disk"), &elsewhere.path().join("image"), 128) {
        Ok(mount) => mount,
        Err(reason) => skip!("no loop-mounted ext4: {reason}"),
    };
    let mut rig = Rig::with("errors", elsewhere, "free_space_floor_bytes = 4194304\n").await;
    for (key, class, seed) in [("cold", "GLACIER_IR", 1), ("warm", "STANDARD", 3)] {
        rig.put(key, class, seed, LARGE).send().await.expect(200);
    }
    rig.put("small", "GLACIER_IR", 4, 100).send().await.expect(200);
    // From here on each call to the disk is EIO, also for what the page cache has.
    mount.prepare_cut().unwrap().cut().unwrap();
    rig.get("cold").send().await.expect_error(503, "ServiceUnavailable");
    rig.put("new", "GLACIER_IR", 5, LARGE).send().await.expect_error(503, "ServiceUnavailable");
    rig.client.object("HEAD", &rig.bucket, "cold").send().await.expect(200);
    rig.is_there("warm", 3).await;
    assert_eq!(rig.get("small").send().await.expect(200).body, body(4, 100));
    rig.put("moves", "STANDARD", 6, LARGE).send().await.expect(200);
    rig.move_what_begins_with("moves").await;
    let failed = |text: &str| text.contains("cairn_lifecycle_failed_total{reason=\"tier-down\"}");
    until_so("the failure of the move", || failed(&rig.cairn.ops_get("/metrics").unwrap().1)).await;
    rig.is_there("moves", 6).await;
    let (status, text) = rig.cairn.ops_get("/health/ready").unwrap();
    assert!(status == 200 && text.contains("the storage tier cold is down"), "{text}");
    assert_eq!(rig.metric("cairn_tier_up{tier=\"cold\"}"), "0");
    assert!(rig.cairn.log().contains("Input/output error"), "{}", rig.cairn.log());

    rig.cairn.stop();
    mount.remount().unwrap();
    rig.cairn.start_again();
    rig.is_there("cold", 1).await;
    until("the move", || rig.client.object("HEAD", &rig.bucket, "moves"), is_in_cold).await;
    rig.is_there("moves", 6).await;
    rig.put("new", "GLACIER_IR", 7, LARGE).send().await.expect(200);
    assert_eq!(files_below(&rig.disk().join("blobs")).len(), 3);
    rig.cairn.stop();
    let (status, printed) = rig.cairn.check();
    assert_eq!(status, Some(0), "{printed}");
    drop(rig);
    drop(mount);
}

#[tokio::test]
async fn a_file_of_a_tier_that_cannot_be_read_is_503_and_counted() {
    let rig = Rig::new("unreadable").await;
    rig.put("bad", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    let disk = rig.disk();
    let file = files_below(&disk.join("blobs")).pop().unwrap();
    rig.put("good", "GLACIER_IR", 2, LARGE).send().await.expect(200);
    let errors = || rig.metric("cairn_tier_errors_total{tier=\"cold\"}").parse::<u64>().unwrap();
    let before = errors();
    let calls = "pread64,preadv,preadv2,read";
    let arguments = ["-P", file.to_str().unwrap(), "-e", &format!("inject={calls}:error=EIO")].map(str::to_owned);
    let tracer = match Tracer::attach(&rig.cairn, &arguments.each_ref().map(String::as_str)) {
        Ok(tracer) => tracer,
        Err(reason) => skip!("{reason}"),
    };
    rig.get("bad").send().await.expect_error(503, "ServiceUnavailable");
    rig.is_there("good", 2).await;
    until_so("the count", || errors() > before).await;
    drop(tracer);
    rig.is_there("bad", 1).await;
}

/// Runs `cairn tier` or `cairn jobs`: its exit status and what it printed.
fn run(cairn: &Cairn, arguments: &[&str]) -> (Option<i32>, String) {
    let output = cairn.calling_command(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[tokio::test]
async fn a_tier_is_retired_by_a_job_that_moves_what_is_in_it() {
    let mut rig = Rig::new("retire").await;
    rig.put("one", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    rig.client.bucket("PUT", &rig.bucket).query("versioning", "").body(on).send().await.expect(200);
    let older = rig.put("two", "GLACIER_IR", 2, LARGE).send().await.expect(200);
    let older = older.header("x-amz-version-id").unwrap().to_owned();
    rig.put("two", "GLACIER_IR", 3, LARGE).send().await.expect(200);
    rig.put("warm", "STANDARD", 4, LARGE).send().await.expect(200);
    let disk = rig.disk();
    assert_eq!(files_below(&disk.join("blobs")).len(), 3);
    let (status, printed) = run(&rig.cairn, &["tier", "list"]);
    assert!(status == Some(0) && printed.starts_with("cold  GLACIER_IR  files 3 bytes "), "{printed}");

    rig.cairn.stop();
    rig.rewrite_config(|config| config.replace("classes = [\"GLACIER_IR\"]", "classes = []"));
    rig.cairn.start_again();
    rig.put("new", "GLACIER_IR", 5, LARGE).send().await.expect(200);
    let (status, printed) = run(&rig.cairn, &["tier", "move"]);
    assert!(status == Some(0) && printed.contains("  move (all buckets)  "), "{printed}");
    let done = || run(&rig.cairn, &["jobs", "list"]).1.contains("move (all buckets)  done  ");
    until_so("the end of the job", done).await;
    let (_, printed) = run(&rig.cairn, &["jobs", "list"]);
    assert!(printed.contains(&format!("changed 3 skipped 0 failed 0 bytes {}", 3 * LARGE)), "{printed}");
    until_so("freeing", || files_below(&disk.join("blobs")).is_empty()).await;
    let (_, printed) = run(&rig.cairn, &["tier", "list"]);
    assert!(printed.starts_with("cold  no classes  files 0 bytes 0 saved 0  "), "{printed}");

    rig.cairn.stop();
    std::fs::remove_dir_all(&disk).unwrap();
    rig.rewrite_config(|config| config.split("\n[[tier]]").next().unwrap().to_owned());
    rig.cairn.start_again();
    for (key, seed) in [("one", 1), ("two", 3), ("warm", 4), ("new", 5)] {
        rig.is_there(key, seed).await;
    }
    let got = rig.get("two").query("versionId", &older).send().await.expect(200);
    assert!(got.body == body(2, LARGE) && is_in_cold(&got));
    rig.cairn.stop();
    let (status, printed) = rig.cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn a_tier_that_is_added_gets_what_its_classes_have_by_a_job() {
    let mut rig = Rig::new("added").await;
    rig.rewrite_config(|config| config.replace("classes = [\"GLACIER_IR\"]", "classes = []"));
    rig.cairn.restart();
    rig.put("one", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    rig.put("small", "GLACIER_IR", 2, 100).send().await.expect(200);
    rig.rewrite_config(|config| config.replace("classes = []", "classes = [\"GLACIER_IR\"]"));
    rig.cairn.restart();
    assert!(files_below(&rig.disk().join("blobs")).is_empty());
    let (status, printed) = run(&rig.cairn, &["tier", "move", "--bucket", &rig.bucket]);
    assert_eq!(status, Some(0), "{printed}");
    until_so("the move", || files_below(&rig.disk().join("blobs")).len() == 1).await;
    rig.is_there("one", 1).await;
    let (status, printed) = run(&rig.cairn, &["tier", "move", "--bucket", "no-such-bucket"]);
    assert!(status == Some(2) && printed.contains("NoSuchBucket"), "{printed}");
}
