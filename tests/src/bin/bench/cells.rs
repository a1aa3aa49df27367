//! The cells of the table: each an operation, a size and a number of connections, on the server and on the floor.

use bytes::Bytes;
use cairn_tests::client::REGION;
use cairn_tests::random::body;
use cairn_tests::sigv4::{self, Head, Signer, encode};
use cairn_tests::{Cairn, Client};
use time::OffsetDateTime;

use crate::Options;
use crate::floor::Floor;
use crate::load::{Measured, Request, drive};

const SIZES: [usize; 3] = [4 * 1024, 1024 * 1024, 10 * 1024 * 1024];
const CONNECTIONS: [usize; 3] = [1, 16, 64];
const SIGNED_BYTES_MAX: usize = 64 * 1024;
const OBJECTS_TO_GET: u64 = 16;
const BUCKET: &str = "bench";
const PAGE_KEYS: usize = 1_000;

/// Makes signed requests for one cell.
#[derive(Clone)]
struct Requests {
    signer: Signer,
    host: String,
}

impl Requests {
    /// Signed with the time of now, which holds for the fifteen minutes that no cell lasts.
    fn new(client: &Client) -> Requests {
        let signer = Signer::new(&client.credentials, REGION, OffsetDateTime::now_utc());
        Requests { signer, host: client.address.to_string() }
    }

    fn make(&self, method: &'static str, path: String, query: &[(&str, String)], body: Bytes, signed: bool) -> Request {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let headers = vec![("host".to_owned(), self.host.clone())];
        let mut head = Head { method: method.into(), path, query, headers };
        let payload_hash = match signed {
            true => sigv4::sha256_hex(&body),
            false => sigv4::UNSIGNED_PAYLOAD.to_owned(),
        };
        self.signer.sign_header(&mut head, &payload_hash);
        Request { method, head: wire_head(&head, body.len()), body }
    }
}

fn wire_head(head: &Head, body_bytes: usize) -> Vec<u8> {
    let query: Vec<String> = head.query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let separator = if query.is_empty() { "" } else { "?" };
    let mut text = format!("{} {}{separator}{} HTTP/1.1\r\n", head.method, head.path, query.join("&"));
    for (name, value) in &head.headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str(&format!("content-length: {body_bytes}\r\n\r\n"));
    text.into_bytes()
}

/// PUT and GET at all sizes and numbers of connections.
pub async fn objects(options: &Options, cairn: &Cairn, floor: &Floor) {
    let client = cairn.client();
    client.bucket("PUT", BUCKET).send().await.expect(200);
    print_heading();
    let sizes: Vec<usize> = options.size.map_or(SIZES.to_vec(), |size| vec![size]);
    let connections: Vec<usize> = options.connections.map_or(CONNECTIONS.to_vec(), |connections| vec![connections]);
    for &size in &sizes {
        let content = Bytes::from(body(size as u64, size));
        floor.put_file(&content);
        for number in 0..OBJECTS_TO_GET {
            client
                .object("PUT", BUCKET, &format!("get-{size}-{number}"))
                .body(content.clone())
                .send()
                .await
                .expect(200);
        }
        for &connections in &connections {
            if options.wants("put") {
                put(options, cairn, floor, &content, connections).await;
            }
            if options.wants("get") {
                get(options, cairn, floor, size, connections).await;
            }
        }
    }
}

async fn put(options: &Options, cairn: &Cairn, floor: &Floor, content: &Bytes, connections: usize) {
    let client = cairn.client();
    let size = content.len();
    // Large objects take turns in few keys, so that the disk does not fill up.
    let keys = if size > SIGNED_BYTES_MAX { 2 } else { 1_000 };
    let discarded = content.clone();
    let floor_cell = drive(floor.address, floor.pid(), connections, options.duration(), move |_, _| {
        let head = format!("PUT / HTTP/1.1\r\nhost: floor\r\ncontent-length: {size}\r\n\r\n").into_bytes();
        Request { method: "PUT", head, body: discarded.clone() }
    })
    .await;
    let both = [true, false];
    let largest = size >= SIZES[SIZES.len() - 1];
    let signings: &[bool] = if largest {
        &both
    } else if size > SIGNED_BYTES_MAX {
        &both[1..]
    } else {
        &both[..1]
    };
    for &signed in signings {
        let (requests, content) = (Requests::new(&client), content.clone());
        let cell = drive(client.address, cairn.pid(), connections, options.duration(), move |connection, count| {
            let path = format!("/{BUCKET}/put-{size}-{connection}-{}", count % keys);
            requests.make("PUT", path, &[], content.clone(), signed)
        })
        .await;
        let name = if signed { "PUT signed" } else { "PUT unsigned" };
        print_cell(name, size, connections, &cell, Some(&floor_cell));
    }
}

async fn get(options: &Options, cairn: &Cairn, floor: &Floor, size: usize, connections: usize) {
    let client = cairn.client();
    let floor_cell = drive(floor.address, floor.pid(), connections, options.duration(), move |_, _| {
        let head = format!("GET /{size} HTTP/1.1\r\nhost: floor\r\n\r\n").into_bytes();
        Request { method: "GET", head, body: Bytes::new() }
    })
    .await;
    let requests = Requests::new(&client);
    let cell = drive(client.address, cairn.pid(), connections, options.duration(), move |connection, count| {
        let path = format!("/{BUCKET}/get-{size}-{}", (connection as u64 + count) % OBJECTS_TO_GET);
        requests.make("GET", path, &[], Bytes::new(), true)
    })
    .await;
    print_cell("GET", size, connections, &cell, Some(&floor_cell));
}

/// Pages of a listing, each beginning somewhere else.
pub async fn listing(options: &Options, cairn: &Cairn) {
    const LISTED: &str = "bench-list";
    const WRITERS: usize = 64;
    let client = cairn.client();
    client.bucket("PUT", LISTED).send().await.expect(200);
    let keys = options.list_keys;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = client.clone();
        writers.push(tokio::spawn(async move {
            let requests = Requests::new(&client);
            let opened = cairn_tests::wire::Connection::open(client.address).await;
            let mut connection = opened.expect("the server takes connections");
            for number in (writer..keys).step_by(WRITERS) {
                let request =
                    requests.make("PUT", format!("/{LISTED}/{}", listed_key(number)), &[], Bytes::new(), true);
                let reply = connection.exchange("PUT", &request.head, b"").await.expect("the server answers");
                assert_eq!(reply.status, 200, "{reply:?}");
            }
        }));
    }
    for writer in writers {
        writer.await.expect("a writer does not panic");
    }
    println!("\nListObjectsV2, pages of {PAGE_KEYS} out of {keys} keys");
    print_heading();
    for connections in [1, 16] {
        let requests = Requests::new(&client);
        let cell = drive(client.address, cairn.pid(), connections, options.duration(), move |connection, count| {
            let start = (connection * 7_919 + count as usize * 1_009) % keys.saturating_sub(PAGE_KEYS).max(1);
            let query = [("list-type", "2".to_owned()), ("start-after", listed_key(start))];
            requests.make("GET", format!("/{LISTED}"), &query, Bytes::new(), true)
        })
        .await;
        print_cell("LIST page", 0, connections, &cell, None);
    }
}

fn listed_key(number: usize) -> String {
    format!("folder-{:03}/key-{number:08}", number / 1_000)
}

fn print_heading() {
    println!(
        "{:<13}{:>7}{:>6} |{:>9}{:>10}{:>9}{:>9}{:>11}{:>9} |{:>11}{:>12}{:>9}{:>9}",
        "operation",
        "KiB",
        "conn",
        "MB/s",
        "op/s",
        "p50 ms",
        "p99 ms",
        "CPU us/op",
        "peak MiB",
        "floor op/s",
        "CPU us/op",
        "op/s x",
        "CPU x"
    );
}

/// One line. The last two columns are the share of the floor's rate, and the multiple of its CPU.
fn print_cell(name: &str, size: usize, connections: usize, cell: &Measured, floor: Option<&Measured>) {
    let Measured { peak_memory_mib, .. } = cell;
    print!(
        "{name:<13}{:>7}{connections:>6} |{:>9.1}{:>10.0}{:>9.2}{:>9.2}{:>11.0}{peak_memory_mib:>9} |",
        size / 1024,
        cell.megabytes_per_second(),
        cell.rate(),
        cell.latency_ms(0.5),
        cell.latency_ms(0.99),
        cell.cpu_us(),
    );
    match floor {
        Some(floor) => println!(
            "{:>11.0}{:>12.0}{:>9.2}{:>9.1}",
            floor.rate(),
            floor.cpu_us(),
            cell.rate() / floor.rate(),
            cell.cpu_us() / floor.cpu_us()
        ),
        None => println!(),
    }
}
