//! PUT and GET of 10 MiB in a class whose files are compressed, beside the same in one whose files are not: of a log that shrinks to a
//! third, and of bytes that do not shrink.

use bytes::Bytes;
use cairn_tests::Cairn;
use cairn_tests::random::{body, log};

use crate::Options;
use crate::load::drive;
use crate::requests::Requests;
use crate::table::{print_cell, print_heading};

/// What the server is started with. The classes of all other cells are not compressed.
pub const SETTINGS: &str = "\n[compression]\nclasses = [\"ONEZONE_IA\"]\n";

/// What the cells of a class are called, and the class.
const CLASSES: [(&str, &str); 2] = [("plain", "STANDARD"), ("zstd", "ONEZONE_IA")];

const BYTES: usize = 10 << 20;
const CONNECTIONS: [usize; 2] = [1, 16];
const BUCKET: &str = "bench-compression";

/// How many objects GET goes over, and each connection of PUT takes turns in.
const KEYS_TO_GET: u64 = 16;
const KEYS_TO_PUT: u64 = 2;

/// All cells.
pub async fn compression(options: &Options, cairn: &Cairn) {
    let client = cairn.client();
    client.bucket("PUT", BUCKET).send().await.expect(200);
    println!("\nobjects of 10 MiB in a class that is compressed (zstd) and in one that is not");
    print_heading();
    let connections = options.connections.map_or(CONNECTIONS.to_vec(), |connections| vec![connections]);
    for (stuff, content) in [("log", log(1, BYTES)), ("random", body(2, BYTES))] {
        let content = Bytes::from(content);
        for number in 0..KEYS_TO_GET {
            for (name, class) in CLASSES {
                let put = client.object("PUT", BUCKET, &format!("get-{stuff}-{name}-{number}"));
                let put = put.header("x-amz-storage-class", class).unsigned_payload();
                put.body(content.clone()).send().await.expect(200);
            }
        }
        for &connections in &connections {
            for (name, class) in CLASSES {
                put(options, cairn, connections, (stuff, &content), (name, class)).await;
            }
            for (name, _) in CLASSES {
                get(options, cairn, connections, stuff, name).await;
            }
        }
    }
}

async fn put(
    options: &Options,
    cairn: &Cairn,
    connections: usize,
    (stuff, content): (&'static str, &Bytes),
    (name, class): (&'static str, &'static str),
) {
    let client = cairn.client();
    let (requests, content) = (Requests::new(&client), content.clone());
    let cell = drive(client.address, cairn.pid(), connections, options.duration(), move |connection, count| {
        let path = format!("/{BUCKET}/put-{stuff}-{name}-{connection}-{}", count % KEYS_TO_PUT);
        Some(requests.put_in_class(path, class, content.clone()))
    })
    .await;
    print_cell(&format!("PUT {stuff} {name}"), BYTES, connections, &cell, None);
}

async fn get(options: &Options, cairn: &Cairn, connections: usize, stuff: &'static str, name: &'static str) {
    let client = cairn.client();
    let requests = Requests::new(&client);
    let cell = drive(client.address, cairn.pid(), connections, options.duration(), move |connection, count| {
        let number = (connection as u64 + count) % KEYS_TO_GET;
        Some(requests.plain("GET", format!("/{BUCKET}/get-{stuff}-{name}-{number}")))
    })
    .await;
    print_cell(&format!("GET {stuff} {name}"), BYTES, connections, &cell, None);
}
