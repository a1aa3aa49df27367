//! The cells of single objects: each an operation, a size and a number of connections, on the server and on the floor.

use bytes::Bytes;
use cairn_tests::Cairn;
use cairn_tests::random::body;

use crate::load::{Measured, Request, drive};
use crate::process::CommitGroups;
use crate::requests::Requests;
use crate::table::{Aims, print_cell, print_heading};
use crate::{Floor, Options, UNTIL_DONE};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const SMALL: usize = 4 * KIB;
const LARGE: usize = 10 * MIB;
const HUGE: usize = 64 * MIB;
const SIZES: [usize; 4] = [SMALL, MIB, LARGE, HUGE];
const CONNECTIONS: [usize; 3] = [1, 16, 64];
const SIGNED_BYTES_MAX: usize = 64 * KIB;
const BUCKET: &str = "bench";

/// A bucket whose objects are encrypted, those of [`BUCKET`] not being so.
struct Sealed {
    bucket: &'static str,
    /// What its cells are called.
    name: &'static str,
    method: &'static str,
    bucket_key: bool,
}

/// Under the server's key.
const BY_SERVER: Sealed = Sealed { bucket: "bench-sealed", name: "sealed", method: "AES256", bucket_key: false };

/// Under a KMS's.
const BY_KMS: [Sealed; 3] = [
    Sealed { bucket: "bench-kms", name: "KMS", method: "aws:kms", bucket_key: false },
    Sealed { bucket: "bench-bucket-key", name: "bucket key", method: "aws:kms", bucket_key: true },
    Sealed { bucket: "bench-dsse", name: "DSSE", method: "aws:kms:dsse", bucket_key: false },
];

impl Sealed {
    /// All that objects of this size are measured in. What a KMS adds shows at two sizes.
    fn of_size(size: usize, options: &Options) -> impl Iterator<Item = &'static Sealed> {
        let all = if options.plain_only { 0 } else { usize::MAX };
        let by_kms = if [SMALL, LARGE].contains(&size) { &BY_KMS[..] } else { &[] };
        [&BY_SERVER].into_iter().chain(by_kms).take(all)
    }

    fn document(&self) -> String {
        let Sealed { method, bucket_key, .. } = self;
        format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
             <SSEAlgorithm>{method}</SSEAlgorithm></ApplyServerSideEncryptionByDefault>\
             <BucketKeyEnabled>{bucket_key}</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>"
        )
    }
}

/// Objects that one cell of DELETE deletes, at most.
const DELETED_COUNT: u64 = 20_000;

/// How many objects GET goes over: not so many that they leave the page cache.
fn objects_to_get(size: usize) -> u64 {
    if size >= HUGE { 4 } else { 16 }
}

/// How many keys each connection of PUT takes turns in: few for large objects, so that the disk does not fill up.
fn keys_to_put(size: usize) -> u64 {
    match size {
        HUGE.. => 1,
        size if size > SIGNED_BYTES_MAX => 2,
        _ => 1_000,
    }
}

/// PUT, GET, HEAD and DELETE at all sizes and numbers of connections.
pub async fn objects(options: &Options, cairn: &Cairn, floor: &Floor, aims: &Aims) {
    let client = cairn.client();
    client.bucket("PUT", BUCKET).send().await.expect(200);
    for sealed in Sealed::of_size(SMALL, options) {
        client.bucket("PUT", sealed.bucket).send().await.expect(200);
        let encryption = client.bucket("PUT", sealed.bucket).query("encryption", "");
        encryption.body(sealed.document()).send().await.expect(200);
    }
    print_heading();
    let sizes: Vec<usize> = options.size.map_or(SIZES.to_vec(), |size| vec![size]);
    for (place, &size) in sizes.iter().enumerate() {
        let content = Bytes::from(body(size as u64, size));
        floor.put_file(&content);
        for number in 0..objects_to_get(size) {
            let key = format!("get-{size}-{number}");
            for bucket in [BUCKET].into_iter().chain(Sealed::of_size(size, options).map(|sealed| sealed.bucket)) {
                client.object("PUT", bucket, &key).body(content.clone()).send().await.expect(200);
            }
        }
        // In between, huge objects tell nothing that large ones do not.
        let fewer = if size >= HUGE { vec![1, 64] } else { CONNECTIONS.to_vec() };
        let connections = options.connections.map_or(fewer, |connections| vec![connections]);
        let cells = Cells { options, cairn, floor, aims, size };
        if options.wants("put") {
            cells.put(&content, &connections).await;
        }
        for &connections in &connections {
            if options.wants("get") {
                cells.get(connections).await;
            }
            // These do not read a byte of the object.
            if place == 0 && options.wants("head") {
                cells.head(connections).await;
            }
            if place == 0 && options.wants("delete") {
                cells.delete(connections).await;
            }
        }
    }
}

/// The cells of one size.
struct Cells<'b> {
    options: &'b Options,
    cairn: &'b Cairn,
    floor: &'b Floor,
    aims: &'b Aims,
    size: usize,
}

impl Cells<'_> {
    async fn put(&self, content: &Bytes, connections: &[usize]) {
        let mut alone = None;
        for &connections in connections {
            let floor_cell = self.put_floor(content, connections).await;
            for &signed in self.signings() {
                let groups_before = CommitGroups::of(self.cairn);
                let cell = self.put_cell(BUCKET, content, connections, signed).await;
                let name = if signed { "PUT signed" } else { "PUT unsigned" };
                print_cell(name, self.size, connections, &cell, Some(&floor_cell));
                let group = CommitGroups::of(self.cairn).mean_since(&groups_before);
                self.add_put_aims(connections, &cell, group, alone.get_or_insert(cell.rate()));
                for sealed in Sealed::of_size(self.size, self.options) {
                    let cell = self.put_cell(sealed.bucket, content, connections, signed).await;
                    print_cell(&format!("{name} {}", sealed.name), self.size, connections, &cell, Some(&floor_cell));
                }
            }
        }
    }

    /// Whether payloads are covered by the signature: small ones are, and large ones of one size both ways.
    fn signings(&self) -> &'static [bool] {
        match self.size {
            LARGE => &[true, false],
            size if size > SIGNED_BYTES_MAX => &[false],
            _ => &[true],
        }
    }

    async fn put_floor(&self, content: &Bytes, connections: usize) -> Measured {
        let (size, content) = (self.size, content.clone());
        drive(self.floor.address, self.floor.pid(), connections, self.options.duration(), move |_, _| {
            let head = format!("PUT / HTTP/1.1\r\nhost: floor\r\ncontent-length: {size}\r\n\r\n").into_bytes();
            Some(Request { method: "PUT", head, body: content.clone() })
        })
        .await
    }

    async fn put_cell(&self, bucket: &'static str, content: &Bytes, connections: usize, signed: bool) -> Measured {
        let client = self.cairn.client();
        let (requests, content, size) = (Requests::new(&client), content.clone(), self.size);
        drive(client.address, self.cairn.pid(), connections, self.options.duration(), move |connection, count| {
            let path = format!("/{bucket}/put-{size}-{connection}-{}", count % keys_to_put(size));
            Some(requests.make("PUT", path, &[], content.clone(), signed))
        })
        .await
    }

    fn add_put_aims(&self, connections: usize, cell: &Measured, group: f64, alone: &f64) {
        if self.size == SMALL && connections == 64 {
            let ratio = format!("{:.1}", cell.rate() / alone);
            self.aims.add(
                "PUT 4 KiB at 64 connections, times the rate of the first cell (1 connection)",
                ratio,
                ">= 4",
            );
            self.aims.add("PUT 4 KiB at 64 connections, mean commit group", format!("{group:.1}"), ">= 8");
            let disk = cell.disk_bytes_per_byte_sent().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            self.aims.add("PUT 4 KiB at 64 connections, bytes written to disk per byte stored", disk, "none set");
        }
        self.add_memory_aim("PUT", connections, cell);
    }

    fn add_memory_aim(&self, operation: &str, connections: usize, cell: &Measured) {
        if self.size == HUGE && connections == 64 {
            let what = format!("{operation} 64 MiB at 64 connections, peak memory in MiB");
            self.aims.add(what, cell.peak_memory_mib.to_string(), "<= 256");
        }
    }

    async fn get(&self, connections: usize) {
        let (client, size) = (self.cairn.client(), self.size);
        let duration = self.options.duration();
        let floor_cell = drive(self.floor.address, self.floor.pid(), connections, duration, move |_, _| {
            let head = format!("GET /{size} HTTP/1.1\r\nhost: floor\r\n\r\n").into_bytes();
            Some(Request { method: "GET", head, body: Bytes::new() })
        })
        .await;
        let get = |bucket: &'static str| {
            let requests = Requests::new(&client);
            drive(client.address, self.cairn.pid(), connections, duration, move |connection, count| {
                let number = (connection as u64 + count) % objects_to_get(size);
                Some(requests.plain("GET", format!("/{bucket}/get-{size}-{number}")))
            })
        };
        let cell = get(BUCKET).await;
        print_cell("GET", size, connections, &cell, Some(&floor_cell));
        let mut sealed_rate = 0.0;
        for sealed in Sealed::of_size(size, self.options) {
            let cell = get(sealed.bucket).await;
            print_cell(&format!("GET {}", sealed.name), size, connections, &cell, Some(&floor_cell));
            if sealed.bucket == BY_SERVER.bucket {
                sealed_rate = cell.rate();
            }
        }
        if size == LARGE {
            let what = format!("GET 10 MiB, {connections} connections, share of the floor's rate");
            self.aims.add(what, format!("{:.2}", cell.rate() / floor_cell.rate()), ">= 0.80");
            if sealed_rate > 0.0 {
                let what = format!("GET 10 MiB encrypted, {connections} connections, share of the plain rate");
                self.aims.add(what, format!("{:.2}", sealed_rate / cell.rate()), ">= 0.64");
            }
        }
        self.add_memory_aim("GET", connections, &cell);
    }

    async fn head(&self, connections: usize) {
        let (client, size) = (self.cairn.client(), self.size);
        let requests = Requests::new(&client);
        let duration = self.options.duration();
        let cell = drive(client.address, self.cairn.pid(), connections, duration, move |connection, count| {
            let number = (connection as u64 + count) % objects_to_get(size);
            Some(requests.plain("HEAD", format!("/{BUCKET}/get-{size}-{number}")))
        })
        .await;
        print_cell("HEAD", size, connections, &cell, None);
    }

    /// Deletes objects that are there, until the time is over or none is left.
    async fn delete(&self, connections: usize) {
        const WRITERS: usize = 64;
        let (client, pid) = (self.cairn.client(), self.cairn.pid());
        let each = DELETED_COUNT / connections as u64;
        let key = |connection: usize, count: u64| format!("/{BUCKET}/delete-{connection}-{count}");
        let content = Bytes::from(body(1, self.size));
        let requests = Requests::new(&client);
        let all = each * connections as u64;
        drive(client.address, pid, WRITERS, UNTIL_DONE, move |writer, count| {
            let number = count * WRITERS as u64 + writer as u64;
            let path = key((number / each) as usize, number % each);
            (number < all).then(|| requests.make("PUT", path, &[], content.clone(), true))
        })
        .await;
        let requests = Requests::new(&client);
        let cell = drive(client.address, pid, connections, self.options.duration(), move |connection, count| {
            (count < each).then(|| requests.plain("DELETE", key(connection, count)))
        })
        .await;
        print_cell("DELETE", self.size, connections, &cell, None);
    }
}
