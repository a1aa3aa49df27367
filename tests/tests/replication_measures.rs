//! How far behind replication is: what the metrics, and `cairn replicate status`, say of each rule.

#![allow(clippy::unwrap_used)]

use cairn_tests::patience::until_said;
use cairn_tests::proxy::Proxy;
use cairn_tests::random::body;
use cairn_tests::replication::{remote, replicate, versioned};
use cairn_tests::{Cairn, Config};

const BUCKET: &str = "copies";

#[tokio::test]
async fn each_rule_says_what_waits_what_was_brought_and_how_soon() {
    let proxy = Proxy::new();
    proxy.set_cut(true);
    let cairn = Cairn::start(Config { more: remote("away", &proxy.url()), ..Config::default() });
    let client = cairn.client();
    for bucket in [BUCKET, "local"] {
        versioned(&client, bucket).await;
    }
    replicate(&client, BUCKET, &["arn:aws:s3:::local", "arn:aws:s3:away::copies"]).await;
    for number in 0..2 {
        client.put(BUCKET, &format!("key-{number}"), body(number, 100_000)).await.expect(200);
    }
    let status = || {
        let status = cairn.calling_command(&["replicate", "status", "--bucket", BUCKET]).output().unwrap();
        String::from_utf8_lossy(&status.stdout).into_owned()
    };
    let is_told = |said: &str| said.contains("; 2 brought") && said.contains("; down, asked again at");
    let said = until_said("the state of both rules", status, is_told).await;
    let [local, away] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    let begins = "rule-1 to arn:aws:s3:::local: 0 pending (0 bytes), 0 running, 0 failed; 2 brought (half within ";
    assert!(local.starts_with(begins) && local.contains(" s), 0 later than 15 minutes, "), "{said}");
    let begins = "rule-2 to arn:aws:s3:away::copies: 2 pending (200000 bytes), ";
    assert!(away.starts_with(begins) && away.contains(" 0 failed, oldest since "), "{said}");

    let metrics = || cairn.ops_get("/metrics").unwrap().1;
    let of = |name: &str, rule: u8| format!("cairn_replication_{name}{{bucket=\"{BUCKET}\",rule=\"rule-{rule}\"");
    let expected = [
        of("pending_versions", 1) + "} 0\n",
        of("pending_versions", 2) + "} 2\n",
        of("pending_bytes", 2) + "} 200000\n",
        of("target_down", 1) + "} 0\n",
        of("target_down", 2) + "} 1\n",
        of("failed_versions", 2) + "} 0\n",
        of("bytes_total", 1) + "} 200000\n",
        of("latency_seconds_count", 1) + "} 2\n",
        of("latency_seconds_bucket", 1).replace("{bucket", "{le=\"900.0\",bucket") + "} 2\n",
    ];
    // What waits is counted now and then.
    let oldest_begins = of("oldest_pending_seconds", 2) + "} ";
    let has_waited = |said: &str| {
        let oldest = said.lines().find_map(|line| line.strip_prefix(&oldest_begins)).map(str::parse::<u64>);
        oldest.is_some_and(|seconds| seconds.unwrap() > 0)
    };
    let are_told = |said: &str| expected.iter().all(|line| said.contains(line.as_str())) && has_waited(said);
    let said = until_said("the metrics of both rules", metrics, are_told).await;
    assert!(!said.contains(&of("missed_threshold_total", 1)), "{said}");
}
