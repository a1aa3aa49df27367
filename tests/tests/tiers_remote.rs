//! Storage tiers in a bucket of another server, through the real binaries: two Cairns, and a wire between them that can be cut.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_tests::harness::files_below;
use cairn_tests::lifecycle::{put_rules, rule};
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::patience::{PATIENCE, until, until_so};
use cairn_tests::random::body;
use cairn_tests::{Cairn, Call, Client, Config, Reply};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const LARGE: usize = 200_000;

/// What a wire does with what is sent on it.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Carry,
    /// It closes connections.
    Cut,
    /// It takes connections, and nothing comes out at the other end.
    Swallow,
}

/// A wire to a server.
struct Wire {
    address: SocketAddr,
    does: Arc<watch::Sender<Does>>,
}

impl Wire {
    async fn to(target: SocketAddr) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let does = Arc::new(watch::Sender::new(Does::Carry));
        let of_task = does.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(carry(from, target, of_task.subscribe()));
            }
        });
        Wire { address, does }
    }

    fn set(&self, does: Does) {
        self.does.send_replace(does);
    }
}

async fn carry(mut from: TcpStream, target: SocketAddr, mut does: watch::Receiver<Does>) {
    if *does.borrow() == Does::Carry {
        let Ok(mut to) = TcpStream::connect(target).await else { return };
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
            _ = does.wait_for(|does| *does != Does::Carry) => {}
        }
    }
    // What was swallowed is lost, and with it the connection.
    let _ = does.wait_for(|does| *does != Does::Swallow).await;
}

/// A server whose GLACIER_IR is in a bucket of another.
struct Rig {
    near: Cairn,
    far: Cairn,
    wire: Wire,
    client: Client,
    bucket: String,
}

impl Rig {
    async fn new(purpose: &str) -> Rig {
        let far = Cairn::start(Config::default());
        let of_far = far.client();
        of_far.bucket("PUT", "tier").send().await.expect(200);
        let wire = Wire::to(of_far.address).await;
        let keys = &of_far.credentials;
        let more = format!(
            "\n[lifecycle]\nday_seconds = 1\nsweep_interval_seconds = 1\n\
             \n[[remote]]\nname = \"far\"\nendpoint = \"http://{}\"\naccess_key = {:?}\nsecret_key = {:?}\n\
             \n[[tier]]\nname = \"cold\"\nremote = \"far\"\nbucket = \"tier\"\nprefix = \"near/\"\nclasses = [\"GLACIER_IR\"]\n",
            wire.address, keys.access_key, keys.secret_key
        );
        let near = Cairn::start(Config { more, ..Config::default() });
        let client = near.client();
        let bucket = client.fresh_bucket(purpose).await;
        Rig { near, far, wire, client, bucket }
    }

    fn put(&self, key: &str, class: &str, seed: u64, size: usize) -> Call {
        let put = self.client.object("PUT", &self.bucket, key).header("x-amz-storage-class", class);
        put.unsigned_payload().body(body(seed, size))
    }

    fn get(&self, key: &str) -> Call {
        self.client.object("GET", &self.bucket, key)
    }

    async fn is_there(&self, key: &str, seed: u64, size: usize) {
        assert!(self.get(key).send().await.expect(200).body == body(seed, size), "{key}: other bytes");
    }

    /// How many objects the other server has.
    async fn there(&self) -> usize {
        let listed = self.far.client().bucket("GET", "tier").query("list-type", "2").query("prefix", "near/").send();
        listed.await.expect(200).xml_all("Key").iter().filter(|key| *key != "near/cairn-tier").count()
    }

    /// How many files are on the disk of the near one.
    fn here(&self) -> usize {
        self.near.blob_files().len()
    }

    async fn until_there(&self, count: usize) {
        let began = Instant::now();
        loop {
            let there = self.there().await;
            if there == count {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{there} objects are there, not {count}:\n{}", self.near.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_class_end_up_in_the_other_server_and_are_read_from_there() {
    const HUGE: usize = 40 << 20;
    let mut rig = Rig::new("far").await;
    rig.put("one", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    // More than goes there in one request.
    rig.put("huge", "GLACIER_IR", 2, HUGE).send().await.expect(200);
    rig.put("near", "STANDARD", 3, LARGE).send().await.expect(200);
    let rules = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>moves</Prefix></Filter><Status>Enabled</Status>\
                 <Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule></LifecycleConfiguration>";
    rig.client.bucket("PUT", &rig.bucket).query("lifecycle", "").body(rules).send().await.expect(200);
    let upload = Upload::create(&rig.client, &rig.bucket, "moves").await;
    let mut parts = Vec::new();
    for (number, part) in [(1, body(4, PART_BYTES_MIN)), (2, body(5, LARGE))] {
        parts.push((number, upload.upload(number, part).await));
    }
    upload.complete(&parts).send().await.expect(200);
    rig.until_there(4).await;
    until_so("freeing what went there", || rig.here() == 1).await;

    rig.is_there("one", 1, LARGE).await;
    rig.is_there("huge", 2, HUGE).await;
    let moved = rig.get("moves").send().await.expect(200);
    assert!(moved.body == [body(4, PART_BYTES_MIN), body(5, LARGE)].concat());
    for (first, last) in [(0, 9), (65_530, 65_545), (HUGE - 100_000, HUGE - 1)] {
        let got = rig.get("huge").header("range", &format!("bytes={first}-{last}")).send().await.expect(206);
        assert!(got.body == body(2, HUGE)[first..=last], "{first}-{last}");
    }
    // They are sealed as they were here.
    let listed = rig.far.client().bucket("GET", "tier").query("list-type", "2").send().await.expect(200);
    let key = listed.xml_all("Key").into_iter().find(|key| key != "near/cairn-tier").unwrap();
    let stored = rig.far.client().get("tier", &key).await.expect(200).body;
    assert!(stored.starts_with(b"CAIRNBLB"), "{key}");

    // A start without the tier is refused; with it all is where it was, and it can be left again.
    rig.near.restart();
    rig.is_there("one", 1, LARGE).await;
    rig.client.delete(&rig.bucket, "huge").await.expect(204);
    rig.client.delete(&rig.bucket, "moves").await.expect(204);
    rig.until_there(1).await;
    rig.near.stop();
    let (status, printed) = rig.near.check();
    assert_eq!(status, Some(0), "{printed}");
    let config = std::fs::read_to_string(rig.near.config_file()).unwrap();
    let without = config.split("\n[[tier]]").next().unwrap();
    std::fs::write(rig.near.config_file(), without).unwrap();
    let refused = rig.near.launch().unwrap_err();
    assert!(refused.log.contains("the storage tier cold is not in the configuration any more"), "{}", refused.log);
    std::fs::write(rig.near.config_file(), config.replace("classes = [\"GLACIER_IR\"]", "classes = []")).unwrap();
    rig.near.start_again();
    let moving = rig.near.calling_command(&["tier", "move"]).output().unwrap();
    assert!(moving.status.success(), "{moving:?}");
    rig.until_there(0).await;
    rig.is_there("one", 1, LARGE).await;
    assert_eq!(files_below(&rig.near.data_dir().join("classes/GLACIER_IR")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_network_is_cut_only_what_is_there_cannot_be_read() {
    let mut rig = Rig::new("cut").await;
    rig.put("there", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    rig.put("goes", "GLACIER_IR", 2, LARGE).send().await.expect(200);
    rig.until_there(2).await;
    rig.wire.set(Does::Cut);
    rig.get("there").send().await.expect_error(503, "ServiceUnavailable");
    rig.put("new", "GLACIER_IR", 3, LARGE).send().await.expect(200);
    rig.put("near", "STANDARD", 4, LARGE).send().await.expect(200);
    rig.is_there("new", 3, LARGE).await;
    rig.is_there("near", 4, LARGE).await;
    rig.client.object("HEAD", &rig.bucket, "there").send().await.expect(200);
    rig.client.delete(&rig.bucket, "goes").await.expect(204);
    let alarm = || rig.near.ops_get("/health/ready").unwrap().1.contains("the storage tier cold is down");
    until_so("the alarm", alarm).await;
    // A start does not need it.
    rig.near.restart();
    rig.get("there").send().await.expect_error(503, "ServiceUnavailable");
    rig.is_there("new", 3, LARGE).await;

    rig.wire.set(Does::Carry);
    until("the tier's return", || rig.get("there"), |reply| reply.status == 200).await;
    rig.is_there("there", 1, LARGE).await;
    rig.until_there(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_what_is_sent_holds_the_first_reads_for_seconds_and_others_not() {
    let rig = Rig::new("swallowed").await;
    rig.put("there", "GLACIER_IR", 1, LARGE).send().await.expect(200);
    rig.put("near", "STANDARD", 2, LARGE).send().await.expect(200);
    rig.until_there(1).await;
    rig.is_there("there", 1, LARGE).await;
    rig.wire.set(Does::Swallow);
    let began = Instant::now();
    rig.get("there").send().await.expect_error(503, "ServiceUnavailable");
    assert!(began.elapsed() < Duration::from_secs(10), "the first read took {:?}", began.elapsed());
    let began = Instant::now();
    for _ in 0..10 {
        rig.get("there").send().await.expect_error(503, "ServiceUnavailable");
        rig.is_there("near", 2, LARGE).await;
    }
    assert!(began.elapsed() < Duration::from_secs(4), "ten more took {:?}", began.elapsed());
    rig.wire.set(Does::Carry);
    until("the tier's return", || rig.get("there"), |reply| reply.status == 200).await;
    rig.is_there("there", 1, LARGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_expires_late_because_a_move_before_it_takes_long() {
    // More than one page of a sweep finds.
    const ENDS: usize = 2_100;
    let rig = Rig::new("late").await;
    rig.put("a-moves", "STANDARD", 1, LARGE).send().await.expect(200);
    for first in (0..ENDS).step_by(50) {
        let puts = (first..first + 50).map(|number| rig.put(&format!("ends/{number:05}"), "STANDARD", 2, 1).send());
        for put in futures::future::join_all(puts).await {
            put.expect(200);
        }
    }
    let cold = "<Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition>";
    let rules = rule("cold", "<Prefix>a-</Prefix>", cold)
        + &rule("ends", "<Prefix>ends/</Prefix>", "<Expiration><Days>1</Days></Expiration>");
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.wire.set(Does::Swallow);
    put_rules(&rig.client, &rig.bucket, &rules).send().await.expect(200);
    let began = Instant::now();
    let last = format!("ends/{:05}", ENDS - 1);
    until("the expiry", || rig.client.object("HEAD", &rig.bucket, &last), |reply| reply.status == 404).await;
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    rig.wire.set(Does::Carry);
    let moved = |reply: &Reply| reply.header("x-amz-storage-class") == Some("GLACIER_IR");
    until("the move", || rig.client.object("HEAD", &rig.bucket, "a-moves"), moved).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_objects_go_there_loses_nothing() {
    const SIZE: usize = 20 << 20;
    let mut rig = Rig::new("crash").await;
    for round in 0..3 {
        for number in 0..2 {
            rig.put(&format!("{round}-{number}"), "GLACIER_IR", round * 2 + number, SIZE).send().await.expect(200);
        }
        tokio::time::sleep(Duration::from_millis(150 * round)).await;
        rig.near.kill9();
        rig.near.start_again();
    }
    for round in 0..3 {
        for number in 0..2 {
            rig.is_there(&format!("{round}-{number}"), round * 2 + number, SIZE).await;
        }
    }
    until_so("the end of the moves", || {
        let (_, text) = rig.near.ops_get("/metrics").unwrap();
        text.contains("cairn_tier_up{tier=\"cold\"} 1") && files_below(&rig.near.data_dir().join("classes")).is_empty()
    })
    .await;
    rig.is_there("0-0", 0, SIZE).await;
    // Uploads that were cut short are ended when the tier is first up.
    let uploads = rig.far.client().bucket("GET", "tier").query("uploads", "").send().await.expect(200);
    assert!(uploads.xml_all("UploadId").is_empty(), "{}", uploads.text());
}
