//! `kill -9` while lifecycle rules are carried out and archives are restored.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_tests::lifecycle::{class_of, put_rules, restore, rule, short_days, versioned};
use cairn_tests::patience::{PATIENCE, until, until_so};
use cairn_tests::random::{body, log};
use cairn_tests::strace::Tracer;
use cairn_tests::{Cairn, Client, Config, skip};

/// Files, of a size that rules move.
const LARGE: usize = 200_000;
const KEYS: u64 = 40;

/// How many versions and delete markers there are with a prefix.
async fn count(client: &Client, bucket: &str, prefix: &str) -> (usize, usize) {
    let listed = client.bucket("GET", bucket).query("versions", "").query("prefix", prefix).send().await.expect(200);
    let text = listed.text();
    (text.matches("<Version>").count(), text.matches("<DeleteMarker>").count())
}

#[tokio::test]
async fn a_kill_at_any_time_ends_what_is_due_and_nothing_else() {
    let mut cairn = Cairn::start(short_days());
    let bucket = versioned(&cairn.client(), "ends").await;
    for key in 0..KEYS {
        for (prefix, rounds) in [("old", 3), ("gone", 1), ("kept", 2)] {
            for round in 0..rounds {
                let content = body(key * 10 + round, if key % 2 == 0 { LARGE } else { 500 });
                cairn.client().put(&bucket, &format!("{prefix}/{key:02}"), content).await.expect(200);
            }
        }
    }
    let old = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    let rules = rule("old", "<Prefix>old/</Prefix>", old)
        + &rule("gone", "<Prefix>gone/</Prefix>", "<Expiration><Days>1</Days></Expiration>");
    put_rules(&cairn.client(), &bucket, &rules).send().await.expect(200);
    for milliseconds in [1_020, 1_080, 1_200, 1_500] {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        cairn.kill9();
        cairn.start_again();
        assert_eq!(count(&cairn.client(), &bucket, "kept/").await, (2 * KEYS as usize, 0));
    }
    let began = Instant::now();
    let wished = ((KEYS as usize, 0), (KEYS as usize, KEYS as usize));
    loop {
        let client = cairn.client();
        let found = (count(&client, &bucket, "old/").await, count(&client, &bucket, "gone/").await);
        if found == wished {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{found:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for key in 0..KEYS {
        let got = cairn.client().get(&bucket, &format!("old/{key:02}")).await.expect(200);
        assert_eq!(got.body, body(key * 10 + 2, if key % 2 == 0 { LARGE } else { 500 }), "{key}");
        cairn.client().get(&bucket, &format!("gone/{key:02}")).await.expect(404);
    }
    // Of each even key one file of `old`, one of `gone` below its delete marker, two of `kept`.
    let files = KEYS as usize / 2 * 4;
    while cairn.blob_files().len() != files {
        assert!(began.elapsed() < PATIENCE, "{} files, not {files}", cairn.blob_files().len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

/// System calls at which the process dies, and how often a thread has made them by then: syncing a copy, its folder, and the
/// commits of moves and expiries; removing what moved or ended; and what comes between.
const STEPS: [(&str, u32); 8] = [
    ("pwritev,pwritev2,pwrite64", 1),
    ("fdatasync", 1),
    ("fsync", 1),
    ("fdatasync", 2),
    ("fdatasync", 3),
    ("fdatasync", 4),
    ("unlink,unlinkat", 1),
    ("unlink,unlinkat", 2),
];

fn sweeps(cairn: &Cairn, does: &str) -> bool {
    cairn.calling_command(&["lifecycle", does, "--all"]).output().unwrap().status.success()
}

/// Has the process die at a system call once its sweeps, which are paused, are resumed, and starts it again. Tells whether it died; an
/// error says why it cannot be made to.
async fn kill_at(cairn: &mut Cairn, (call, when): (&str, u32)) -> Result<bool, String> {
    let inject = format!("inject={call}:signal=KILL:when={when}");
    let tracer = Tracer::attach(cairn, &["-e", &format!("trace={call}"), "-e", &inject])?;
    // It may die before it answers.
    sweeps(cairn, "resume");
    let began = Instant::now();
    while cairn.exited().is_none() && began.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let died = cairn.exited().is_some();
    drop(tracer);
    cairn.kill9();
    cairn.start_again();
    Ok(died)
}

#[tokio::test]
async fn a_kill_at_each_step_of_a_move_and_an_expiry_loses_nothing() {
    let mut cairn = Cairn::start(short_days());
    let (moves, ends) = (cairn.client().fresh_bucket("moves").await, versioned(&cairn.client(), "ends").await);
    let cold = "<Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition>";
    let rules = rule("cold", "<Prefix>moves/</Prefix>", cold)
        + &rule("gone", "<Prefix>gone/</Prefix>", "<Expiration><Days>1</Days></Expiration>");
    put_rules(&cairn.client(), &moves, &rules).send().await.expect(200);
    let old = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>";
    put_rules(&cairn.client(), &ends, &rule("old", "", old)).send().await.expect(200);
    let mut died = 0;
    for (step, (call, when)) in STEPS.into_iter().enumerate() {
        let (client, seed) = (cairn.client(), step as u64);
        assert!(sweeps(&cairn, "pause"));
        for key in ["moves", "gone"] {
            client.put(&moves, &format!("{key}/{step}"), body(seed, LARGE)).await.expect(200);
        }
        for round in 0..2 {
            client.put(&ends, &step.to_string(), body(seed + 100 * round, LARGE)).await.expect(200);
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        match kill_at(&mut cairn, (call, when)).await {
            Ok(has_died) => died += usize::from(has_died),
            Err(reason) => skip!("{reason}"),
        }
        let client = cairn.client();
        for before in 0..=step {
            let seed = before as u64;
            let got = client.get(&moves, &format!("moves/{before}")).await.expect(200);
            assert!(got.body == body(seed, LARGE), "{before} after a kill at {call} {when}");
            let got = client.get(&ends, &before.to_string()).await.expect(200);
            assert!(got.body == body(seed + 100, LARGE), "{before} after a kill at {call} {when}");
        }
    }
    assert!(died >= STEPS.len() - 2, "only {died} of the steps were come to");
    let client = cairn.client();
    sweeps(&cairn, "resume");
    for step in 0..STEPS.len() {
        let head = |key: &str| client.object("HEAD", &moves, &format!("{key}/{step}"));
        until("the move", || head("moves"), |reply| class_of(reply) == "GLACIER_IR").await;
        until("the expiry", || head("gone"), |reply| reply.status == 404).await;
    }
    let versions = || client.bucket("GET", &ends).query("versions", "");
    until("the end of older versions", versions, |reply| reply.xml_all("VersionId").len() == STEPS.len()).await;
    // What a copy that was cut short left is for the scan for orphans, which takes its time.
    until_so("freeing", || cairn.blob_files().len() <= 2 * STEPS.len() + died).await;
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

/// The same of a move alone: writing the frames that are carried, syncing them with their table, syncing their folder, the commit, and
/// removing the file that moved.
const STEPS_COMPRESSED: [(&str, u32); 5] =
    [("pwritev,pwritev2,pwrite64", 2), ("fdatasync", 1), ("fsync", 1), ("fdatasync", 2), ("unlink,unlinkat", 1)];

#[tokio::test]
async fn a_kill_at_each_step_of_a_move_of_a_compressed_file_loses_nothing() {
    let config = short_days();
    let more = config.more.clone() + "\n[compression]\nclasses = [\"STANDARD\"]\n";
    let mut cairn = Cairn::start(Config { more, ..config });
    let bucket = cairn.client().fresh_bucket("moves").await;
    let cold = "<Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition>";
    put_rules(&cairn.client(), &bucket, &rule("cold", "", cold)).send().await.expect(200);
    let mut died = 0;
    for (step, at) in STEPS_COMPRESSED.into_iter().enumerate() {
        assert!(sweeps(&cairn, "pause"));
        cairn.client().put(&bucket, &step.to_string(), log(step as u64, LARGE)).await.expect(200);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        match kill_at(&mut cairn, at).await {
            Ok(has_died) => died += usize::from(has_died),
            Err(reason) => skip!("{reason}"),
        }
        for before in 0..=step {
            let got = cairn.client().get(&bucket, &before.to_string()).await.expect(200);
            assert!(got.body == log(before as u64, LARGE), "{before} after a kill at {at:?}");
        }
    }
    assert!(died >= STEPS_COMPRESSED.len() - 1, "only {died} of the steps were come to");
    sweeps(&cairn, "resume");
    let client = cairn.client();
    for step in 0..STEPS_COMPRESSED.len() {
        let head = || client.object("HEAD", &bucket, &step.to_string());
        until("the move", head, |reply| class_of(reply) == "GLACIER_IR").await;
        let got = client.object("GET", &bucket, &step.to_string()).header("range", "bytes=65530-65541").send().await;
        assert_eq!(got.expect(206).body, log(step as u64, LARGE)[65_530..=65_541]);
    }
    // What a copy that was cut short left is for the scan for orphans, which takes its time.
    until_so("freeing", || cairn.blob_files().len() <= STEPS_COMPRESSED.len() + died).await;
    assert!(cairn.blob_files().iter().all(|file| file.metadata().unwrap().len() < LARGE as u64 / 2));
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn a_kill_at_the_commit_of_a_restore_leaves_an_archive_that_is_restored_or_not() {
    let mut cairn = Cairn::start(short_days());
    let bucket = cairn.client().fresh_bucket("restored").await;
    let put = cairn.client().object("PUT", &bucket, "key").header("x-amz-storage-class", "GLACIER");
    put.body(body(1, LARGE)).send().await.expect(200);
    let expedited = "<Days>600</Days><GlacierJobParameters><Tier>Expedited</Tier></GlacierJobParameters>";
    // Before the commit's log is written, and before it is synced.
    for call in ["write", "fdatasync"] {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let tracer =
            Tracer::attach(&cairn, &["-e", &format!("trace={call}"), "-e", &format!("inject={call}:signal=KILL")]);
        let tracer = match tracer {
            Ok(tracer) => tracer,
            Err(reason) => skip!("{reason}"),
        };
        let asked = restore(&cairn.client(), &bucket, "key", expedited);
        let asked = tokio::spawn(async move { asked.send().await });
        let began = Instant::now();
        while cairn.exited().is_none() {
            assert!(began.elapsed() < PATIENCE, "it did not come to {call}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Nobody answers.
        asked.abort();
        drop(tracer);
        cairn.kill9();
        cairn.start_again();
        let got = cairn.client().get(&bucket, "key").await;
        assert!(got.status == 403 || got.body == body(1, LARGE), "{}", got.status);
    }
    let asked = restore(&cairn.client(), &bucket, "key", expedited).send().await;
    assert!([200, 202].contains(&asked.status), "{}", asked.text());
    let client = cairn.client();
    let got = until("the restore", || client.object("GET", &bucket, "key"), |reply| reply.status == 200).await;
    assert!(got.body == body(1, LARGE));
    cairn.stop();
    let (status, printed) = cairn.check();
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn a_restore_that_was_acknowledged_outlives_a_kill() {
    let mut cairn = Cairn::start(short_days());
    let bucket = cairn.client().fresh_bucket("restored").await;
    let put = cairn.client().object("PUT", &bucket, "key").header("x-amz-storage-class", "GLACIER");
    put.body(body(1, LARGE)).send().await.expect(200);
    let standard = "<Days>60</Days><GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters>";
    restore(&cairn.client(), &bucket, "key", standard).send().await.expect(202);
    cairn.kill9();
    cairn.start_again();
    let client = cairn.client();
    restore(&client, &bucket, "key", standard).send().await.expect_error(409, "RestoreAlreadyInProgress");
    let got = until("the restore", || client.object("GET", &bucket, "key"), |reply| reply.status == 200).await;
    assert_eq!(got.body, body(1, LARGE));
    cairn.kill9();
    cairn.start_again();
    assert_eq!(cairn.client().get(&bucket, "key").await.expect(200).body, body(1, LARGE));
    let head = cairn.client().head(&bucket, "key").await.expect(200);
    assert!(head.header("x-amz-restore").unwrap().starts_with("ongoing-request=\"false\""));
}

#[tokio::test]
async fn a_suspended_bucket_expires_into_a_null_marker_and_keeps_named_versions_as_long_as_they_may_stay() {
    let cairn = Cairn::start(short_days());
    let client = cairn.client();
    let bucket = versioned(&client, "suspended").await;
    let named = client.put(&bucket, "key", body(1, LARGE)).await.expect(200);
    let named = named.header("x-amz-version-id").unwrap().to_owned();
    let suspended = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    client.bucket("PUT", &bucket).query("versioning", "").body(suspended).send().await.expect(200);
    client.put(&bucket, "key", body(2, LARGE)).await.expect(200);
    put_rules(&client, &bucket, &rule("ends", "", "<Expiration><Days>1</Days></Expiration>")).send().await.expect(200);
    until("the expiry", || client.object("HEAD", &bucket, "key"), |reply| reply.status == 404).await;
    // The marker has taken the place of the null version; what has a name is below it.
    assert_eq!(count(&client, &bucket, "key").await, (1, 1));
    let listed = client.bucket("GET", &bucket).query("versions", "").send().await.expect(200);
    assert_eq!(listed.xml_all("VersionId").len(), 2);
    assert!(listed.text().contains("<VersionId>null</VersionId>") && listed.text().contains(&named));
    let got = client.object("GET", &bucket, "key").query("versionId", &named).send().await.expect(200);
    assert_eq!(got.body, body(1, LARGE));
    let old = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>\
               <Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
    put_rules(&client, &bucket, &rule("old", "", old)).send().await.expect(200);
    let versions = || client.bucket("GET", &bucket).query("versions", "");
    until("the end of all", versions, |reply| reply.xml_all("VersionId").is_empty()).await;
}
