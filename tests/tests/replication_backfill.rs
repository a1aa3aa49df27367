//! A backfill of many objects between two servers: all of them arrive, each once, and a verification finds nothing wrong.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_tests::{Cairn, Client, Config};
use futures::StreamExt as _;

const ACCOUNT: &str = "100000000001";
const BUCKET: &str = "copies";
const KEYS: usize = 2_000;
const KEYS_SOAK: usize = 100_000;

/// How many objects are put at once.
const CONCURRENCY: usize = 32;

/// How long the backfill may take for each thousand objects, on a busy machine.
const PATIENCE_OF_1000: Duration = Duration::from_secs(30);

async fn versioned(client: &Client) {
    client.bucket("PUT", BUCKET).send().await.expect(200);
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.bucket("PUT", BUCKET).query("versioning", "").body(on).send().await.expect(200);
}

async fn replicate(client: &Client) {
    let policy = |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    let trust = policy(r#"{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"sts:AssumeRole"}"#);
    let may = policy(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#);
    let name = [("RoleName", "replicator"), ("AssumeRolePolicyDocument", trust.as_str())];
    client.action("iam", "CreateRole", &name).send().await.expect(200);
    let may = [("RoleName", "replicator"), ("PolicyName", "own"), ("PolicyDocument", may.as_str())];
    client.action("iam", "PutRolePolicy", &may).send().await.expect(200);
    let document = format!(
        "<ReplicationConfiguration><Role>arn:aws:iam::{ACCOUNT}:role/replicator</Role><Rule><ID>all</ID>\
         <Priority>1</Priority><Filter></Filter><Status>Enabled</Status>\
         <Destination><Bucket>arn:aws:s3:there::{BUCKET}</Bucket></Destination>\
         <DeleteMarkerReplication><Status>Enabled</Status></DeleteMarkerReplication></Rule></ReplicationConfiguration>"
    );
    client.bucket("PUT", BUCKET).query("replication", "").body(document).send().await.expect(200);
}

fn command(cairn: &Cairn, arguments: &[&str]) -> String {
    let output = cairn.calling_command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Waits until the command says this.
async fn until_said(cairn: &Cairn, arguments: &[&str], said: &str, patience: Duration) {
    let began = Instant::now();
    loop {
        let output = command(cairn, arguments);
        if output.contains(said) {
            return;
        }
        assert!(began.elapsed() < patience, "{arguments:?} does not say {said}: {output}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_of_many_objects_brings_each_of_them_once() {
    let soak = std::env::var("CAIRN_SOAK").is_ok_and(|value| value == "1");
    let count = if soak { KEYS_SOAK } else { KEYS };
    let patience = PATIENCE_OF_1000 * u32::try_from(count / 1_000).unwrap();
    let target = Cairn::start(Config::default());
    let there = target.client();
    let more = format!(
        "\n[[remote]]\nname = \"there\"\nendpoint = \"http://{}\"\nregion = \"us-east-1\"\n\
         access_key = \"cairn-test-access\"\nsecret_key = \"cairn-test-secret-key-0000000000000001\"\n",
        there.address
    );
    let source = Cairn::start(Config { more, ..Config::default() });
    let here = source.client();
    versioned(&here).await;
    versioned(&there).await;
    let puts = futures::stream::iter(0..count).map(|key| {
        let here = here.clone();
        async move { here.put(BUCKET, &format!("key-{key:06}"), format!("object {key}")).await.expect(200) }
    });
    puts.buffer_unordered(CONCURRENCY).for_each(|_| std::future::ready(())).await;
    replicate(&here).await;
    let began = Instant::now();
    let job = command(&source, &["replicate", "backfill", "--bucket", BUCKET, "--rule", "all"]);
    until_said(&source, &["jobs", "show", &job], &format!("done  examined {count} changed {count} "), patience).await;
    let queued = began.elapsed();
    until_said(&source, &["replicate", "status", "--bucket", BUCKET], ": 0 pending", patience).await;
    let brought = began.elapsed();
    let began = Instant::now();
    let job = command(&source, &["replicate", "verify", "--bucket", BUCKET]);
    until_said(&source, &["jobs", "show", &job], &format!("done  examined {count} "), patience).await;
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
