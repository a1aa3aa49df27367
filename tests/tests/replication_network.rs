//! Replication between hosts whose network loses, delays, resets and cuts, and whose clocks differ.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::network::{Conditions, Network};
use cairn_tests::patience::until_said;
use cairn_tests::proxy::Proxy;
use cairn_tests::random::body;
use cairn_tests::replication::{STATUS, converged, history, remote, replicate, until, versioned};
use cairn_tests::{Cairn, Client, Config, Random, Reply, skip};

const BUCKET: &str = "copies";
const THERE: &str = "arn:aws:s3:there::copies";

/// The port that the harness gives a server on a host of its own.
const PORT: u16 = 9_000;

fn config(more: String) -> Config {
    Config { more, ..Config::default() }
}

async fn write(client: &Client, random: &mut Random, count: usize) {
    for _ in 0..count {
        let key = format!("key-{}", random.number() % 6);
        let size = [20, 3_000, 60_000, 400_000][usize::try_from(random.number() % 4).unwrap()];
        match random.number() % 5 {
            0 => client.delete(BUCKET, &key).await.expect(204),
            _ => client.put(BUCKET, &key, body(random.number(), size)).await.expect(200),
        };
    }
}

#[tokio::test]
async fn hosts_with_a_bad_network_between_them_end_the_same_and_both_go_on_meanwhile() {
    let mut network = match Network::new() {
        Ok(network) => network,
        Err(reason) => skip!("{reason}"),
    };
    let [one, other] = network.hosts.clone();
    let to = |address| config(remote("there", &format!("http://{address}:{PORT}")));
    let left = Cairn::start_on(to(other.address), one.clone());
    let right = Cairn::start_on(to(one.address), other);
    let (here, there) = (left.client(), right.client());
    for client in [&here, &there] {
        versioned(client, BUCKET).await;
        replicate(client, BUCKET, &[THERE]).await;
    }
    let mut random = Random::new(5);
    let bad = Conditions { loss_percent: 8, delay_ms: 5, ..Conditions::default() };
    for conditions in [
        bad,
        Conditions { cut: true, ..bad },
        Conditions { loss_percent: 0, delay_ms: 60, ..bad },
        Conditions { resets_permille: 30, ..bad },
        Conditions { cut: true, ..bad },
        Conditions { loss_percent: 25, resets_permille: 10, ..bad },
    ] {
        network.set(conditions);
        // Of the same keys on both sides, and nobody waits for the link.
        write(&here, &mut random, 5).await;
        write(&there, &mut random, 5).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    network.set(Conditions::default());
    assert!(converged(&[&here, &there], BUCKET).await >= 50);
    for client in [&here, &there] {
        assert!(client.upload_ids(BUCKET).await.is_empty());
    }
    for key in here.keys(BUCKET).await {
        let head = || here.object("HEAD", BUCKET, &key);
        until(&key, head, |reply| matches!(reply.header(STATUS), Some("COMPLETED" | "REPLICA"))).await;
        assert!(here.get(BUCKET, &key).await.body == there.get(BUCKET, &key).await.body, "{key}");
    }
    drop((left, right));
}

/// The same however wrong either clock is: the order of versions is by their ids, and requests are signed by the target's clock.
#[tokio::test]
async fn servers_whose_clocks_differ_end_the_same() {
    let proxies = [Proxy::new(), Proxy::new()];
    let to = |proxy: &Proxy| config(remote("there", &proxy.url()));
    let (mut early, mut late) = (Cairn::start(to(&proxies[1])), Cairn::prepare(to(&proxies[0])));
    proxies[0].leads_to(early.client().address);
    proxies[1].leads_to(late.client().address);
    late.start_again();
    for client in [early.client(), late.client()] {
        versioned(&client, BUCKET).await;
        replicate(&client, BUCKET, &[THERE]).await;
    }
    early.client().put(BUCKET, "key", "before").await.expect(200);
    converged(&[&early.client(), &late.client()], BUCKET).await;
    // Clients would be refused by a server whose clock is so wrong, so what is written goes through while it is right.
    proxies.iter().for_each(|proxy| proxy.set_cut(true));
    for (cairn, own, text) in [(&early, "of-early", "from one side"), (&late, "of-late", "from the other")] {
        for key in ["key", own] {
            cairn.client().put(BUCKET, key, text).await.expect(200);
        }
    }
    late.stop();
    if let Err(reason) = late.set_wall_clock_ahead(time::Duration::hours(20)) {
        skip!("{reason}");
    }
    late.start_again();
    proxies.iter().for_each(|proxy| proxy.set_cut(false));
    let head = || early.client().object("HEAD", BUCKET, "of-early");
    until("the replication to the fast clock", head, |reply| reply.header(STATUS) == Some("COMPLETED")).await;
    let keys = |client: Client| async move { history(&client, BUCKET).await.map(|history| history[1].len()) };
    let began = Instant::now();
    while keys(early.client()).await != Some(5) {
        assert!(began.elapsed() < Duration::from_secs(40), "what the fast clock's server has does not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    late.stop();
    late.clear_environment();
    late.start_again();
    assert_eq!(converged(&[&early.client(), &late.client()], BUCKET).await, 5);
    assert_eq!(late.client().get(BUCKET, "key").await.text(), early.client().get(BUCKET, "key").await.text());
    early.stop();
}

#[tokio::test]
async fn removing_the_rules_stops_what_waits_for_a_target_as_well() {
    let proxy = Proxy::new();
    let target = Cairn::start(Config::default());
    proxy.leads_to(target.client().address);
    let mut source = Cairn::start(config(remote("there", &proxy.url())));
    let (here, there) = (source.client(), target.client());
    versioned(&there, BUCKET).await;
    versioned(&here, BUCKET).await;
    replicate(&here, BUCKET, &[THERE]).await;
    here.put(BUCKET, "before", "x").await.expect(200);
    converged(&[&here, &there], BUCKET).await;
    proxy.set_cut(true);
    for number in 0..20 {
        here.put(BUCKET, &format!("waiting-{number}"), body(number, 5_000)).await.expect(200);
    }
    here.bucket("DELETE", BUCKET).query("replication", "").send().await.expect(204);
    // Whoever asks is told that it will not come. While nothing gets through: what was under way then might.
    for number in 0..20 {
        let head = || here.object("HEAD", BUCKET, &format!("waiting-{number}"));
        until("the end of waiting", head, |reply| reply.header(STATUS) == Some("FAILED")).await;
    }
    proxy.set_cut(false);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(there.keys(BUCKET).await, ["before"]);
    // Nor after a restart.
    source.stop();
    source.start_again();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(there.keys(BUCKET).await, ["before"]);
}

#[tokio::test]
async fn removing_the_rules_ends_what_is_on_its_way_and_leaves_nothing_half_made() {
    let target = Cairn::start(Config::default());
    let slow = "bandwidth_limit = 100_000\n";
    let local = "\n[replication]\nbandwidth_limit = 100_000\n";
    let remote = remote("there", &format!("http://{}", target.client().address));
    let source = Cairn::start(config(format!("{local}{remote}{slow}")));
    let (here, there) = (source.client(), target.client());
    versioned(&there, BUCKET).await;
    versioned(&here, "local").await;
    versioned(&here, BUCKET).await;
    replicate(&here, BUCKET, &[THERE, "arn:aws:s3:::local"]).await;
    let upload = Upload::create(&here, BUCKET, "parts").await;
    let mut parts = Vec::new();
    for number in 1..=2 {
        parts.push((number, upload.upload(number, body(number.into(), PART_BYTES_MIN)).await));
    }
    upload.complete(&parts).send().await.expect(200);
    here.put(BUCKET, "whole", body(3, 3_000_000)).await.expect(200);
    let uploads = |client: &Client, bucket: &str| client.bucket("GET", bucket).query("uploads", "");
    let targets = [(&there, BUCKET), (&here, "local")];
    for (client, bucket) in targets {
        let is_on_its_way = |reply: &Reply| !reply.xml_all("UploadId").is_empty();
        until("the upload", || uploads(client, bucket), is_on_its_way).await;
    }
    let began = Instant::now();
    here.bucket("DELETE", BUCKET).query("replication", "").send().await.expect(204);
    let failed = || {
        let failed = source.calling_command(&["replicate", "failed", "--bucket", BUCKET]).output().unwrap();
        String::from_utf8_lossy(&failed.stdout).into_owned()
    };
    let all_have_ended = |said: &str| said.matches("SrcBucketReplicationConfigMissing").count() == 4;
    until_said("the end of all four", failed, all_have_ended).await;
    assert_eq!(here.head(BUCKET, "whole").await.header(STATUS), Some("FAILED"));
    for (client, bucket) in targets {
        until("the upload's end", || uploads(client, bucket), |reply| reply.xml_all("UploadId").is_empty()).await;
        assert_eq!(client.keys(bucket).await, [""; 0]);
    }
    // All of it would have taken two minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn copies_within_a_server_keep_to_their_bandwidth() {
    let cairn = Cairn::start(config("\n[replication]\nbandwidth_limit = 100000\n".to_owned()));
    let client = cairn.client();
    versioned(&client, BUCKET).await;
    versioned(&client, "local").await;
    replicate(&client, BUCKET, &["arn:aws:s3:::local"]).await;
    let began = Instant::now();
    for key in ["one", "two"] {
        client.put(BUCKET, key, body(1, 150_000)).await.expect(200);
    }
    for key in ["one", "two"] {
        until(key, || client.object("HEAD", BUCKET, key), |reply| reply.header(STATUS) == Some("COMPLETED")).await;
    }
    // The first piece goes at once, and none is longer than a chunk.
    assert!(began.elapsed() >= Duration::from_millis(2_000), "{:?}", began.elapsed());
    assert!(client.get("local", "two").await.body == body(1, 150_000));
}
