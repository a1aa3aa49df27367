//! Listings of many keys, starting with many keys, and listings after all of them were deleted.

use std::time::Instant;

use bytes::Bytes;
use cairn_tests::Cairn;

use crate::load::{Measured, drive};
use crate::requests::Requests;
use crate::table::{Aims, print_cell, print_heading};
use crate::{Options, UNTIL_DONE};

const FULL: &str = "bench-list";
const SPARSE: &str = "bench-list-sparse";
const WRITERS: usize = 64;
const DELETERS: usize = 4;
const PAGE_KEYS: usize = 1_000;
const PREFIXES: usize = 1_000;
const SPARSE_KEYS_PER_PREFIX: usize = 10;

/// Everything that needs many keys.
pub async fn many_keys(options: &Options, cairn: &mut Cairn, aims: &Aims) {
    let keys = options.list_keys.max(PREFIXES);
    let client = cairn.client();
    for bucket in [FULL, SPARSE] {
        client.bucket("PUT", bucket).send().await.expect(200);
    }
    let per_prefix = keys / PREFIXES;
    let keys = per_prefix * PREFIXES;
    println!("\n{keys} keys: {PREFIXES} prefixes of {per_prefix} keys");
    print_heading();
    print_cell("PUT empty", 0, WRITERS, &fill(cairn, FULL, keys, per_prefix).await, None);
    if options.wants("list") {
        list(options, cairn, keys, per_prefix, aims).await;
    }
    if options.wants("start") {
        start(cairn, keys, aims).await;
    }
    if options.wants("list") {
        delete_all(cairn, keys, per_prefix).await;
        let cell = list_flat(options, cairn, 1, keys, per_prefix).await;
        print_cell("LIST emptied", 0, 1, &cell, None);
    }
}

fn key(number: usize, per_prefix: usize) -> String {
    format!("folder-{:04}/key-{number:08}", number / per_prefix)
}

async fn fill(cairn: &Cairn, bucket: &'static str, keys: usize, per_prefix: usize) -> Measured {
    let client = cairn.client();
    let requests = Requests::new(&client);
    drive(client.address, cairn.pid(), WRITERS, UNTIL_DONE, move |writer, count| {
        let number = count as usize * WRITERS + writer;
        let path = format!("/{bucket}/{}", key(number, per_prefix));
        (number < keys).then(|| requests.make("PUT", path, &[], Bytes::new(), true))
    })
    .await
}

async fn list(options: &Options, cairn: &Cairn, keys: usize, per_prefix: usize, aims: &Aims) {
    for connections in [1, 16] {
        let cell = list_flat(options, cairn, connections, keys, per_prefix).await;
        print_cell("LIST page", 0, connections, &cell, None);
    }
    fill(cairn, SPARSE, PREFIXES * SPARSE_KEYS_PER_PREFIX, SPARSE_KEYS_PER_PREFIX).await;
    let sparse = list_prefixes(options, cairn, SPARSE).await;
    print_cell("LIST / sparse", 0, 1, &sparse, None);
    let full = list_prefixes(options, cairn, FULL).await;
    print_cell("LIST / full", 0, 1, &full, None);
    let what = format!("LIST of {PREFIXES} prefixes, CPU of {per_prefix} keys under each to {SPARSE_KEYS_PER_PREFIX}");
    aims.add(what, format!("{:.2}", full.cpu_us() / sparse.cpu_us()), "about 1");
}

/// Pages of keys, each beginning somewhere else.
async fn list_flat(options: &Options, cairn: &Cairn, connections: usize, keys: usize, per_prefix: usize) -> Measured {
    let client = cairn.client();
    let requests = Requests::new(&client);
    drive(client.address, cairn.pid(), connections, options.duration(), move |connection, count| {
        let start = (connection * 7_919 + count as usize * 1_009) % keys.saturating_sub(PAGE_KEYS).max(1);
        let query = [("list-type", "2".to_owned()), ("start-after", key(start, per_prefix))];
        Some(requests.make("GET", format!("/{FULL}"), &query, Bytes::new(), true))
    })
    .await
}

/// The one page of all common prefixes, over and over.
async fn list_prefixes(options: &Options, cairn: &Cairn, bucket: &'static str) -> Measured {
    let client = cairn.client();
    let requests = Requests::new(&client);
    drive(client.address, cairn.pid(), 1, options.duration(), move |_, _| {
        let query = [("delimiter", "/".to_owned()), ("list-type", "2".to_owned())];
        Some(requests.make("GET", format!("/{bucket}"), &query, Bytes::new(), true))
    })
    .await
}

/// How long the server takes until it is ready, after a crash and after a clean stop, with recent writes in its log.
async fn start(cairn: &mut Cairn, keys: usize, aims: &Aims) {
    cairn.kill9();
    time_start(cairn, keys, "kill -9", aims);
    fill(cairn, SPARSE, PREFIXES * SPARSE_KEYS_PER_PREFIX, SPARSE_KEYS_PER_PREFIX).await;
    cairn.stop();
    time_start(cairn, keys, "a clean stop", aims);
}

fn time_start(cairn: &mut Cairn, keys: usize, after: &str, aims: &Aims) {
    let started = Instant::now();
    cairn.start_again();
    let seconds = started.elapsed().as_secs_f64();
    aims.add(format!("start with {keys} objects after {after}, seconds"), format!("{seconds:.2}"), "<= 1 with 1000000");
}

async fn delete_all(cairn: &Cairn, keys: usize, per_prefix: usize) {
    let client = cairn.client();
    let requests = Requests::new(&client);
    let cell = drive(client.address, cairn.pid(), DELETERS, UNTIL_DONE, move |deleter, count| {
        let first = (count as usize * DELETERS + deleter) * PAGE_KEYS;
        let numbers = first..keys.min(first + PAGE_KEYS);
        (first < keys).then(|| requests.delete_objects(FULL, numbers.map(|number| (key(number, per_prefix), None))))
    })
    .await;
    print_cell("DELETE 1000", 0, DELETERS, &cell, None);
}
