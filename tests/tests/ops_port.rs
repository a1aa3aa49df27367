//! The operations port: health and metrics.

#![allow(clippy::unwrap_used)]

use cairn_tests::Cairn;

/// The sum of a metric's samples whose line contains all of `labels`.
fn sample(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(name) && !line.starts_with('#'))
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test]
async fn a_running_server_is_live_and_ready() {
    let cairn = Cairn::shared();
    assert_eq!(cairn.ops_get("/health/live").unwrap().0, 200);
    assert_eq!(cairn.ops_get("/health/ready").unwrap().0, 200);
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let cairn = Cairn::shared();
    for path in ["/", "/metrics/x", "/health", "/../etc/passwd"] {
        assert_eq!(cairn.ops_get(path).unwrap().0, 404, "{path}");
    }
}

#[tokio::test]
async fn every_promised_kind_of_metric_is_there() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("metrics").await;
    client.put(&bucket, "key", vec![0; 100_000]).await;
    client.get(&bucket, "key").await.expect(200);
    let (status, metrics) = cairn.ops_get("/metrics").unwrap();
    assert_eq!(status, 200);
    let promised = [
        "cairn_requests_total{",
        "cairn_request_duration_seconds_bucket{",
        "cairn_received_bytes_total ",
        "cairn_sent_bytes_total ",
        "cairn_requests_in_flight ",
        "cairn_requests_refused_total ",
        "cairn_connections ",
        "cairn_commit_group_batches_bucket{",
        "cairn_sync_duration_seconds_bucket{",
        "cairn_jobs_running{",
        "cairn_disk_available_bytes ",
        "cairn_read_only ",
        "cairn_lock_clock_held ",
    ];
    for beginning in promised {
        assert!(
            metrics.lines().any(|line| line.starts_with(beginning)),
            "no sample begins with {beginning}:\n{metrics}"
        );
    }
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_status() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("counted").await;
    let puts = |metrics: &str| sample(metrics, "cairn_requests_total", &["PutObject", "\"200\""]);
    let before = puts(&cairn.ops_get("/metrics").unwrap().1);
    for number in 0..3 {
        client.put(&bucket, &format!("key-{number}"), "x").await;
    }
    let after = cairn.ops_get("/metrics").unwrap().1;
    assert!(puts(&after) >= before + 3.0, "before: {before}\n{after}");
}

#[tokio::test]
async fn metrics_and_logs_hold_no_secret_and_no_key() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("canary").await;
    let call = client.object("PUT", &bucket, "key").header("x-amz-meta-a", "canary-in-metadata").body("canary-in-body");
    call.send().await.expect(200);
    client.object("GET", &bucket, "key").presigned(60).send().await.expect(200);
    client.get(&bucket, "missing").await.expect(404);
    let metrics = cairn.ops_get("/metrics").unwrap().1;
    let log = cairn.log();
    for secret in [
        client.credentials.secret_key.as_str(),
        "canary-in-metadata",
        "canary-in-body",
        "X-Amz-Signature=",
        "Signature=",
    ] {
        assert!(!metrics.contains(secret), "the metrics show {secret}");
        assert!(!log.contains(secret), "the log shows {secret}");
    }
}

#[tokio::test]
async fn a_request_leaves_one_log_line_with_its_id() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("logged").await;
    let reply = client.put(&bucket, "key", "x").await;
    let id = reply.header("x-amz-request-id").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let log = cairn.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(id)).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("PutObject") && lines[0].contains("200"), "{lines:?}");
}
