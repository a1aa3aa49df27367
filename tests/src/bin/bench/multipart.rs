//! A multipart upload of 256 MiB, and reading it back.

use std::time::Instant;

use bytes::Bytes;
use cairn_tests::Cairn;
use cairn_tests::random::body;

use crate::Options;
use crate::load::drive;
use crate::requests::Requests;
use crate::table::{print_cell, print_heading};

const MIB: usize = 1024 * 1024;
const PART_BYTES: usize = 8 * MIB;
const PARTS_COUNT: usize = 32;
const CONNECTIONS: usize = 4;
const BUCKET: &str = "bench-multipart";
const KEY: &str = "large";

/// Uploads once, its parts over a few connections, and reads the object over and over.
pub async fn multipart(options: &Options, cairn: &Cairn) {
    let client = cairn.client();
    client.bucket("PUT", BUCKET).send().await.expect(200);
    println!("\nmultipart upload of {} MiB in parts of {} MiB", PART_BYTES * PARTS_COUNT / MIB, PART_BYTES / MIB);
    let created = client.object("POST", BUCKET, KEY).query("uploads", "").send().await.expect(200);
    let upload = created.xml("UploadId");
    let content = Bytes::from(body(7, PART_BYTES));
    let requests = Requests::new(&client);
    print_heading();
    let (part, upload_id) = (content.clone(), upload.clone());
    let cell = drive(client.address, cairn.pid(), CONNECTIONS, crate::UNTIL_DONE, move |connection, count| {
        let number = count as usize * CONNECTIONS + connection + 1;
        let query = [("partNumber", number.to_string()), ("uploadId", upload_id.clone())];
        let make = || requests.make("PUT", format!("/{BUCKET}/{KEY}"), &query, part.clone(), false);
        (number <= PARTS_COUNT).then(make)
    })
    .await;
    print_cell("UploadPart", PART_BYTES, CONNECTIONS, &cell, None);
    let listed = client.object("GET", BUCKET, KEY).query("uploadId", &upload).send().await.expect(200);
    let parts: String = listed
        .xml_all("ETag")
        .iter()
        .enumerate()
        .map(|(place, etag)| format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", place + 1))
        .collect();
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let started = Instant::now();
    client.object("POST", BUCKET, KEY).query("uploadId", &upload).body(document).send().await.expect(200);
    println!("CompleteMultipartUpload took {:.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let requests = Requests::new(&client);
    let cell = drive(client.address, cairn.pid(), 1, options.duration(), move |_, _| {
        Some(requests.plain("GET", format!("/{BUCKET}/{KEY}")))
    })
    .await;
    print_cell("GET", PART_BYTES * PARTS_COUNT, 1, &cell, None);
}
