//! A backfill of many objects between two servers: all of them arrive, each once, and a verification finds nothing wrong.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_tests::patience::until_said_within;
use cairn_tests::replication::{MAY_S3, Rule, put_rules, remote, role, versioned};
use cairn_tests::{Cairn, Config};
use futures::StreamExt as _;

const BUCKET: &str = "copies";
const KEYS: usize = 2_000;
const KEYS_SOAK: usize = 100_000;

/// How many objects are put at once.
const CONCURRENCY: usize = 32;

/// How long the backfill may take for each thousand objects, on a busy machine.
const PATIENCE_OF_1000: Duration = Duration::from_secs(30);

fn command(cairn: &Cairn, arguments: &[&str]) -> String {
    let output = cairn.calling_command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until the command says this.
async fn until_says(cairn: &Cairn, arguments: &[&str], said: &str, patience: Duration) {
    let what = format!("{arguments:?}: {said}");
    until_said_within(patience, &what, || command(cairn, arguments), |output| output.contains(said)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_many_objects_brings_each_of_them_once() {
    let soak = std::env::var("CAIRN_SOAK").is_ok_and(|value| value == "1");
    let count = if soak { KEYS_SOAK } else { KEYS };
    let patience = PATIENCE_OF_1000 * u32::try_from(count / 1_000).unwrap();
    let target = Cairn::start(Config::default());
    let there = target.client();
    let more = remote("there", &format!("http://{}", there.address));
    let source = Cairn::start(Config { more, ..Config::default() });
    let here = source.client();
    versioned(&here, BUCKET).await;
    versioned(&there, BUCKET).await;
    let puts = futures::stream::iter(0..count).map(|key| {
        let here = here.clone();
        async move { here.put(BUCKET, &format!("key-{key:06}"), format!("object {key}")).await.expect(200) }
    });
    puts.buffer_unordered(CONCURRENCY).for_each(|_| std::future::ready(())).await;
    let rule = Rule { target: "arn:aws:s3:there::copies", ..Rule::default() };
    put_rules(&here, BUCKET, &role(&here, MAY_S3).await, &[rule]).send().await.expect(200);
    let began = Instant::now();
    let job = command(&source, &["replicate", "backfill", "--bucket", BUCKET, "--rule", "all"]);
    until_says(&source, &["jobs", "show", &job], &format!("done  examined {count} changed {count} "), patience).await;
    let queued = began.elapsed();
    until_says(&source, &["replicate", "status", "--bucket", BUCKET], ": 0 pending", patience).await;
    let brought = began.elapsed();
    let began = Instant::now();
    let job = command(&source, &["replicate", "verify", "--bucket", BUCKET]);
    until_says(&source, &["jobs", "show", &job], &format!("done  examined {count} "), patience).await;
    let verified = began.elapsed();
    // Nothing is missing, differs, or is there twice.
    command(&source, &["replicate", "verify-report", "--bucket", BUCKET, "--job", &job]);
    assert_eq!(there.keys(BUCKET).await.len(), count);
    #[allow(clippy::cast_precision_loss)] // a rate for people
    let rate = |took: Duration| count as f64 / took.as_secs_f64();
    println!(
        "{count} objects: {:.0}/s queued, {:.0}/s brought, {:.0}/s verified",
        rate(queued),
        rate(brought),
        rate(verified)
    );
}
