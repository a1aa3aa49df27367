//! Uploads that are not completed, and what becomes of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::fake::{self, Fake, Reply};
use super::{address, client, stream, upload_script};
use crate::client::{Part, UploadHeaders};

#[tokio::test]
async fn an_upload_that_nobody_waits_for_any_more_is_aborted() {
    let is_part = |seen: &fake::Seen| seen.method == "PUT";
    let fake = Fake::start(move |n, seen| if is_part(seen) { Reply::silence() } else { upload_script(n, seen) }).await;
    let (client, parts) = (client(&fake), Part::numbered(vec![stream(5, &["first"]).0]));
    let upload =
        tokio::spawn(async move { client.upload(&address(), UploadHeaders::default(), parts, 1).await.map(drop) });
    while !fake.seen().iter().any(is_part) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    upload.abort();
    let aborts = || fake.seen().into_iter().filter(|seen| seen.method == "DELETE").count();
    while aborts() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((aborts(), upload.await.unwrap_err().is_cancelled()), (1, true));
}

#[tokio::test]
async fn an_upload_that_was_begun_without_an_answer_is_aborted_when_the_next_one_is() {
    let upload = |id: &str, initiator: &str| {
        format!(
            "<Upload><Key>a key</Key><UploadId>{id}</UploadId><Initiator><ID>{initiator}</ID></Initiator>\
             <Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>"
        )
    };
    let uploads = [upload("lost", "us"), upload("u&amp;1", "us"), upload("theirs", "them"), upload("filled", "us")];
    let listing = format!("<ListMultipartUploadsResult>{}</ListMultipartUploadsResult>", uploads.concat());
    let fake = Fake::start(move |n, seen| match seen.target.split_once('?').map_or("", |(_, query)| query) {
        // Its answer is lost, which is all the same to whoever waits for it.
        "uploads=" if n == 0 => Reply::new(200, "<InitiateMultipart").cut(5),
        query if query.contains("prefix=") => Reply::new(200, listing.clone()),
        query if query.contains("max-parts=1") => {
            let parts = if query.contains("filled") { "<Part><PartNumber>1</PartNumber></Part>" } else { "" };
            let id = if query.contains("filled") { "filled" } else { "lost" };
            // The name of the root element is Moto's.
            Reply::new(200, format!("<ListPartsResponse><UploadId>{id}</UploadId>{parts}</ListPartsResponse>"))
        }
        "uploadId=lost" => Reply::new(204, ""),
        _ => upload_script(n, seen),
    })
    .await;
    for _ in 0..2 {
        let parts = Part::numbered(vec![stream(5, &["first"]).0]);
        client(&fake).upload(&address(), UploadHeaders::default(), parts, 1).await.unwrap();
    }
    let seen = fake.seen();
    let aborted: Vec<_> = seen.iter().filter(|seen| seen.method == "DELETE").map(|seen| &seen.target).collect();
    assert_eq!(aborted, ["/bucket/a%20key?uploadId=lost"]);
}

#[tokio::test]
async fn an_upload_that_is_under_way_is_not_taken_for_one_that_was_begun_without_an_answer() {
    let upload = |id: &str| {
        format!(
            "<Upload><Key>a key</Key><UploadId>{id}</UploadId><Initiator><ID>us</ID></Initiator>\
             <Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload>"
        )
    };
    let uploads = [upload("first"), upload("u&amp;1")].concat();
    let listing = format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>");
    let creations = AtomicUsize::new(0);
    let is_first_part = |seen: &fake::Seen| seen.method == "PUT" && seen.target.contains("uploadId=first");
    let fake = Fake::start(move |n, seen| match seen.target.split_once('?').map_or("", |(_, query)| query) {
        "uploads=" => match creations.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let id = "<UploadId>first</UploadId>";
                Reply::new(200, format!("<InitiateMultipartUploadResult>{id}</InitiateMultipartUploadResult>"))
            }
            1 => Reply::new(200, "<InitiateMultipart").cut(5),
            _ => upload_script(n, seen),
        },
        _ if is_first_part(seen) => Reply::silence(),
        query if query.contains("prefix=") => Reply::new(200, listing.clone()),
        query if query.contains("max-parts=1") => {
            Reply::new(200, "<ListPartsResult><UploadId>first</UploadId></ListPartsResult>")
        }
        _ => upload_script(n, seen),
    })
    .await;
    let client = client(&fake);
    let begin = || {
        let (client, parts) = (client.clone(), Part::numbered(vec![stream(5, &["first"]).0]));
        tokio::spawn(async move { client.upload(&address(), UploadHeaders::default(), parts, 1).await.map(drop) })
    };
    let first = begin();
    while !fake.seen().iter().any(is_first_part) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begin().await.unwrap().unwrap();
    let seen = fake.seen();
    assert!(seen.iter().any(|seen| seen.target.contains("prefix=")));
    assert!(!seen.iter().any(|seen| seen.method == "DELETE"));
    first.abort();
}
