//! Disks that fail: a sync that returns EIO, and a file system that is full.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_tests::mount::Mount;
use cairn_tests::random::body;
use cairn_tests::strace::Tracer;
use cairn_tests::{Cairn, Config, skip};

/// A sync that fails is never retried: the store turns read-only, says so, and works again after a restart.
async fn a_failed_sync_turns_the_store_read_only(call: &str, size: usize) -> Result<(), String> {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("failed-sync").await;
    let (small, large) = (body(1, 1_000), body(2, 500_000));
    client.put(&bucket, "small", small.clone()).await;
    client.put(&bucket, "large", large.clone()).await;

    let tracer = Tracer::attach(&cairn, &["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error=EIO")])?;
    let failed = client.object("PUT", &bucket, "failed").body(body(3, size)).send().await;
    assert!(failed.status >= 500, "a PUT whose {call} failed was answered: {failed:?}");
    drop(tracer);

    let refused = client.object("PUT", &bucket, "after").body("x").send().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    client.object("DELETE", &bucket, "small").send().await.expect(503);
    let (ready, reason) = cairn.ops_get("/health/ready").unwrap();
    assert_eq!(ready, 503, "{reason}");
    assert!(reason.contains("read-only"), "the reason is not given: {reason}");
    assert!(client.get(&bucket, "small").await.expect(200).body == small);
    assert!(client.get(&bucket, "large").await.expect(200).body == large);

    cairn.stop();
    cairn.start_again();
    assert!(client.get(&bucket, "small").await.expect(200).body == small);
    assert!(client.get(&bucket, "large").await.expect(200).body == large);
    let uncertain = client.get(&bucket, "failed").await;
    assert!(uncertain.status == 404 || uncertain.body == body(3, size), "{}", uncertain.status);
    client.put(&bucket, "after", "x").await;
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_failed_sync_of_the_log_turns_the_store_read_only() {
    if let Err(reason) = a_failed_sync_turns_the_store_read_only("fdatasync", 1_000).await {
        skip!("{reason}");
    }
}

#[tokio::test]
async fn a_failed_sync_of_a_blob_turns_the_store_read_only() {
    if let Err(reason) = a_failed_sync_turns_the_store_read_only("fdatasync", 400_000).await {
        skip!("{reason}");
    }
}

#[tokio::test]
async fn a_failed_sync_of_a_folder_turns_the_store_read_only() {
    if let Err(reason) = a_failed_sync_turns_the_store_read_only("fsync", 400_000).await {
        skip!("{reason}");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers_without_a_restart() {
    const DISK_MIB: u64 = 384;
    const OBJECT_BYTES: usize = 8 * 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let mount = match Mount::tmpfs(&directory.path().join("disk"), DISK_MIB) {
        Ok(mount) => mount,
        Err(reason) => skip!("no tmpfs: {reason}"),
    };
    let cairn = Cairn::start(Config {
        data_dir: Some(directory.path().join("disk/data")),
        free_space_floor_bytes: 32 * 1024 * 1024,
        ballast_bytes: 8 * 1024 * 1024,
        ..Config::default()
    });
    let client = cairn.client();
    let bucket = client.fresh_bucket("full").await;
    let put = |number: usize| {
        client
            .object("PUT", &bucket, &format!("key-{number}"))
            .unsigned_payload()
            .body(body(number as u64, OBJECT_BYTES))
    };
    let mut stored = 0;
    let refusal = loop {
        let reply = put(stored).send().await;
        if reply.status != 200 {
            break reply;
        }
        stored += 1;
        assert!(stored < 64, "the disk never fills up");
    };
    assert!(stored > 4, "the disk was full from the start: {refusal:?}");
    assert!([503, 507].contains(&refusal.status), "{refusal:?}");
    assert!(refusal.xml("Message").contains("disk"), "{refusal:?}");
    for number in 0..stored {
        let got = client.get(&bucket, &format!("key-{number}")).await.expect(200);
        assert!(got.body == body(number as u64, OBJECT_BYTES), "key-{number}: other bytes");
    }
    for number in 0..stored {
        client.delete(&bucket, &format!("key-{number}")).await;
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while put(1_000).send().await.status != 200 {
        assert!(Instant::now() < deadline, "no PUT succeeds although everything was deleted:\n{}", cairn.log());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(cairn.ops_get("/health/ready").unwrap().0, 200);
    drop(cairn);
    drop(mount);
}
