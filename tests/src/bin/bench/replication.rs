//! Replication of a backlog: to another server, beside what that one takes directly, and to a bucket of the same server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_tests::client::REGION;
use cairn_tests::random::body;
use cairn_tests::replication::{MAY_S3, Rule, put_rules, remote_as, role, versioned};
use cairn_tests::sigv4::Credentials;
use cairn_tests::{Cairn, Client, Config};
use serde_json::Value;

use crate::load::drive;
use crate::process::cpu_time;
use crate::requests::Requests;
use crate::table::Aims;
use crate::{Options, UNTIL_DONE};

/// Replicated to the bucket of the same name at the other server.
const FAR: &str = "bench-far";
/// What the other server takes directly.
const DIRECT: &str = "bench-direct";
/// Replicated to [`COPIES`], at the same server.
const NEAR: &str = "bench-near";
const COPIES: &str = "bench-copies";

const SMALL: usize = 4 * 1024;
const LARGE: usize = 10 * 1024 * 1024;

/// As many as a lane of the replicator has tasks under way.
const CONNECTIONS: usize = 16;

/// For a backlog, as fast as can be.
const WRITERS: usize = 64;

/// How many large objects make a backlog.
const LARGE_COUNT: usize = 60;

/// The machine changes from one second to the next, so what is compared takes turns.
const ROUNDS: usize = 3;

const POLL: Duration = Duration::from_millis(50);

/// What one row measured.
struct Row {
    objects: u64,
    rate: f64,
    source_us: f64,
    target_us: f64,
}

/// Replicates large and small objects between two servers, and small ones within one.
pub async fn replication(options: &Options, aims: &Aims) {
    let mut pair = Pair::start(options).await;
    println!("\nreplication, {CONNECTIONS} at once; the rows of one size took turns with each other");
    println!(
        "{:<28}{:>7}{:>9}{:>11}{:>10}{:>18}{:>18}",
        "what", "KiB", "objects", "objects/s", "MB/s", "source CPU us/obj", "target CPU us/obj"
    );
    if options.wants_size(LARGE) {
        let share = pair.compare("large", LARGE, LARGE_COUNT).await;
        let what = "replication of 10 MiB objects, share of the rate that the target takes directly";
        aims.add(what, format!("{share:.2}"), ">= 0.80");
    }
    if options.wants_size(SMALL) {
        pair.compare("small", SMALL, options.replicated_keys).await;
        let what = "replication of 4 KiB objects between two servers, objects a second";
        aims.add(what, format!("{:.0}", pair.best_small), ">= 2000");
        let rate = pair.within(options.replicated_keys).await;
        let what = "replication of 4 KiB objects within a server, objects a second";
        aims.add(what, format!("{rate:.0}"), "none set");
    }
}

struct Pair {
    source: Cairn,
    target: Cairn,
    best_small: f64,
}

impl Pair {
    async fn start(options: &Options) -> Pair {
        let config = |name: &str, more: String| Config {
            data_dir: options.data_dir.as_ref().map(|directory| directory.with_file_name(name)),
            encryption: Some("off"),
            more,
            ..Config::default()
        };
        let target = Cairn::start(config("replication-target", String::new()));
        let Client { address, credentials: Credentials { access_key, secret_key, .. }, .. } = target.client();
        let remote = remote_as("there", &format!("http://{address}"), &access_key, &secret_key);
        let source = Cairn::start(config("replication-source", remote));
        for (client, buckets) in [(target.client(), [FAR, DIRECT].as_slice()), (source.client(), &[FAR, NEAR, COPIES])]
        {
            for bucket in buckets {
                versioned(&client, bucket).await;
            }
        }
        let role_arn = role(&source.client(), MAY_S3).await;
        put_rule(&source.client(), &role_arn, FAR, &format!("arn:aws:s3:there::{FAR}")).await;
        put_rule(&source.client(), &role_arn, NEAR, &format!("arn:aws:s3:::{COPIES}")).await;
        Pair { source, target, best_small: 0.0 }
    }

    /// What the target takes directly, and what replication brings it, by turns. The share that the second is of the first, all in all.
    async fn compare(&mut self, name: &str, size: usize, count: usize) -> f64 {
        let content = Bytes::from(body(size as u64, size));
        let (mut directly, mut replicated) = (0.0, 0.0);
        for round in 0..ROUNDS {
            let key = format!("{name}-{round}");
            let row = self.direct(&key, &content, count).await;
            print_row("PUT at the target", size, &row);
            directly += 1.0 / row.rate;
            let row = self.replicate(&key, &content, count).await;
            print_row("replication to it", size, &row);
            replicated += 1.0 / row.rate;
            if size == SMALL {
                self.best_small = self.best_small.max(row.rate);
            }
        }
        directly / replicated
    }

    async fn direct(&self, key: &str, content: &Bytes, count: usize) -> Row {
        let (client, pid) = (self.target.client(), self.target.pid());
        let measured = put_all(&client, pid, DIRECT, key, content, count, CONNECTIONS).await;
        Row { objects: measured.operations, rate: measured.rate(), source_us: 0.0, target_us: measured.cpu_us() }
    }

    /// Gathers a backlog while the target is down, and measures from the first of it that arrives to its end.
    async fn replicate(&mut self, key: &str, content: &Bytes, count: usize) -> Row {
        self.target.stop();
        let client = self.source.client();
        put_all(&client, self.source.pid(), FAR, key, content, count, WRITERS).await;
        let all = pending(&client, FAR).await;
        assert_eq!(all, count as u64, "all of the backlog waits");
        self.target.start_again();
        while pending(&client, FAR).await == all {
            tokio::time::sleep(POLL).await;
        }
        let row = self.drain(&client, FAR).await;
        check(&client, FAR, &format!("{key}-{}", count / 2)).await;
        row
    }

    /// Replication of what waits, until nothing does.
    async fn drain(&self, client: &Client, bucket: &str) -> Row {
        let cpu = || (cpu_time(self.source.pid()), cpu_time(self.target.pid()));
        let (objects, began, before) = (pending(client, bucket).await, Instant::now(), cpu());
        while pending(client, bucket).await > 0 {
            tokio::time::sleep(POLL).await;
        }
        let (elapsed, after) = (began.elapsed(), cpu());
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / objects.max(1) as f64;
        Row {
            objects,
            rate: objects as f64 / elapsed.as_secs_f64(),
            source_us: each(after.0 - before.0),
            target_us: each(after.1 - before.1),
        }
    }

    /// Replication within the source, of what it is behind after it was written to as fast as can be; objects a second.
    async fn within(&self, count: usize) -> f64 {
        let client = self.source.client();
        let content = Bytes::from(body(7, SMALL));
        put_all(&client, self.source.pid(), NEAR, "small", &content, count, WRITERS).await;
        let row = self.drain(&client, NEAR).await;
        check(&client, NEAR, "small-0").await;
        print_row("replication within a server", SMALL, &row);
        row.rate
    }
}

async fn put_all(
    client: &Client,
    pid: u32,
    bucket: &'static str,
    key: &str,
    content: &Bytes,
    count: usize,
    connections: usize,
) -> crate::load::Measured {
    let (requests, key, content) = (Requests::new(client), key.to_owned(), content.clone());
    drive(client.address, pid, connections, UNTIL_DONE, move |connection, turn| {
        let number = turn as usize * connections + connection;
        let path = format!("/{bucket}/{key}-{number}");
        (number < count).then(|| requests.make("PUT", path, &[], content.clone(), content.len() <= SMALL))
    })
    .await
}

fn print_row(what: &str, size: usize, row: &Row) {
    println!(
        "{what:<28}{:>7}{:>9}{:>11.1}{:>10.1}{:>18.0}{:>18.0}",
        size / 1024,
        row.objects,
        row.rate,
        row.rate * size as f64 / 1e6,
        row.source_us,
        row.target_us
    );
}

/// How many versions wait.
async fn pending(client: &Client, bucket: &str) -> u64 {
    let path = format!("/-/admin/v1/replication/{bucket}");
    let answer = client.call("GET", &path).scope(REGION, "cairn").send().await.expect(200);
    let status: Value = serde_json::from_slice(&answer.body).expect("the admin API answers in JSON");
    let rule = &status["rules"][0];
    assert_eq!(rule["failed"], 0, "nothing is given up: {status}");
    rule["pending_versions"].as_u64().expect("it says how many wait")
}

async fn check(client: &Client, bucket: &str, key: &str) {
    let head = client.head(bucket, key).await.expect(200);
    assert_eq!(head.header("x-amz-replication-status"), Some("COMPLETED"), "{key}");
}

async fn put_rule(client: &Client, role_arn: &str, bucket: &str, target: &str) {
    let rule = Rule { target, markers: false, ..Rule::default() };
    put_rules(client, bucket, role_arn, &[rule]).send().await.expect(200);
}
