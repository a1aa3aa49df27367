//! Multipart uploads: creating, filling, listing, completing, aborting and reading what came of them.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::random::body;
use cairn_tests::{Cairn, Config, digest, xml};

#[tokio::test]
async fn a_completed_upload_is_its_parts_in_order() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("parts").await;
    let parts = [body(1, PART_BYTES_MIN), body(2, PART_BYTES_MIN + 12_345), body(3, 70_001)];
    let upload = Upload::create(&client, &bucket, "key").await;
    let mut etags = Vec::new();
    for (number, part) in [2, 9, 5_000].into_iter().zip(&parts) {
        let etag = upload.upload(number, part.clone()).await;
        assert_eq!(etag, digest::etag(part));
        etags.push((number, etag));
    }
    client.get(&bucket, "key").await.expect(404);
    let reply = upload.complete(&etags).send().await.expect(200);
    let etag = digest::multipart_etag(&[&parts[0], &parts[1], &parts[2]]);
    assert_eq!(
        (reply.xml("ETag"), reply.xml("Key"), reply.xml("Bucket")),
        (etag.clone(), "key".into(), bucket.clone())
    );
    assert!(!reply.xml("Location").is_empty(), "{reply:?}");
    let got = client.get(&bucket, "key").await.expect(200);
    assert!(got.body == parts.concat(), "other bytes came back");
    assert_eq!(got.etag(), etag);
    assert!(client.upload_ids(&bucket).await.is_empty());
}

#[tokio::test]
async fn ranges_cross_part_borders() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("part-ranges").await;
    let parts = [body(1, PART_BYTES_MIN), body(2, PART_BYTES_MIN), body(3, 1_000)];
    let upload = Upload::create(&client, &bucket, "key").await;
    let mut etags = Vec::new();
    for (number, part) in (1..).zip(&parts) {
        etags.push((number, upload.upload(number, part.clone()).await));
    }
    upload.complete(&etags).send().await.expect(200);
    let whole = parts.concat();
    let border = PART_BYTES_MIN;
    for (first, last) in
        [(border - 1, border), (border - 10, 2 * border + 10), (0, whole.len() - 1), (2 * border, whole.len() - 1)]
    {
        let range = format!("bytes={first}-{last}");
        let got = client.object("GET", &bucket, "key").header("range", &range).send().await.expect(206);
        assert!(got.body == whole[first..=last], "{range}: other bytes");
    }
    for (number, part) in (1..).zip(&parts) {
        let got =
            client.object("GET", &bucket, "key").query("partNumber", &format!("{number}")).send().await.expect(206);
        assert!(got.body == part, "part {number}: other bytes");
        assert_eq!(got.header("x-amz-mp-parts-count"), Some("3"));
        let head =
            client.object("HEAD", &bucket, "key").query("partNumber", &format!("{number}")).send().await.expect(206);
        assert_eq!(head.header("content-length"), Some(part.len().to_string().as_str()));
    }
    let beyond = client.object("GET", &bucket, "key").query("partNumber", "4").send().await.expect(416);
    assert_eq!(beyond.code(), "InvalidPartNumber");
}

#[tokio::test]
async fn an_object_in_one_piece_has_one_part() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("one-part").await;
    client.put(&bucket, "key", "content").await;
    let first = client.object("GET", &bucket, "key").query("partNumber", "1").send().await.expect(206);
    assert_eq!(first.text(), "content");
    client.object("GET", &bucket, "key").query("partNumber", "2").send().await.expect_error(416, "InvalidPartNumber");
    client.object("GET", &bucket, "key").query("partNumber", "0").send().await.expect_error(400, "InvalidArgument");
    let both = client.object("GET", &bucket, "key").query("partNumber", "1").header("range", "bytes=0-1");
    both.send().await.expect_error(400, "InvalidRequest");
    let head = |number: &str| client.object("HEAD", &bucket, "key").query("partNumber", number);
    let first = head("1").send().await.expect(206);
    assert_eq!((first.header("content-length"), first.header("content-range")), (Some("7"), Some("bytes 0-6/7")));
    head("2").send().await.expect(416);
    head("0").send().await.expect(400);
    head("1").header("range", "bytes=0-1").send().await.expect(400);
}

#[tokio::test]
async fn a_declared_size_that_is_not_that_of_the_parts_completes_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("declared-size").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let parts = [(1, upload.upload(1, "seventeen  bytes.").await)];
    for size in ["16", "-17", "many"] {
        let complete = upload.complete(&parts).header("x-amz-mp-object-size", size);
        complete.send().await.expect_error(400, "InvalidRequest");
    }
    client.get(&bucket, "key").await.expect(404);
    upload.complete(&parts).header("x-amz-mp-object-size", "17").send().await.expect(200);
}

#[tokio::test]
async fn metadata_is_that_of_the_creation() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("upload-metadata").await;
    let upload = Upload::create_with(&client, &bucket, "key", |call| {
        call.header("x-amz-meta-colour", "blue")
            .header("content-type", "text/x")
            .header("x-amz-storage-class", "STANDARD_IA")
    })
    .await;
    let etag = upload.upload(1, "small last part").await;
    upload.complete(&[(1, etag)]).send().await.expect(200);
    let head = client.head(&bucket, "key").await.expect(200);
    assert_eq!(head.header("x-amz-meta-colour"), Some("blue"));
    assert_eq!(head.header("content-type"), Some("text/x"));
    assert_eq!(head.header("x-amz-storage-class"), Some("STANDARD_IA"));
}

#[tokio::test]
async fn a_small_part_before_the_last_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("too-small").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let etags = vec![(1, upload.upload(1, "small").await), (2, upload.upload(2, "also small").await)];
    upload.complete(&etags).send().await.expect_error(400, "EntityTooSmall");
    client.get(&bucket, "key").await.expect(404);
    upload.complete(&etags[..1]).send().await.expect(200);
}

#[tokio::test]
async fn lists_of_parts_that_do_not_fit_are_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("bad-lists").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let one = upload.upload(1, body(1, PART_BYTES_MIN)).await;
    let two = upload.upload(2, "end").await;
    let table: [(&[(u32, &str)], &str); 6] = [
        (&[(2, &two), (1, &one)], "InvalidPartOrder"),
        (&[(1, &one), (1, &one)], "InvalidPartOrder"),
        (&[(1, &one), (3, &two)], "InvalidPart"),
        (&[(1, &two)], "InvalidPart"),
        (&[(1, "\"00000000000000000000000000000000\"")], "InvalidPart"),
        (&[], "MalformedXML"),
    ];
    for (parts, code) in table {
        let parts: Vec<_> = parts.iter().map(|(number, etag)| (*number, (*etag).to_owned())).collect();
        let reply = upload.complete(&parts).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{parts:?}: {reply:?}");
    }
    upload.call("POST").body("<nonsense").send().await.expect_error(400, "MalformedXML");
    client.get(&bucket, "key").await.expect(404);
    upload.complete(&[(1, one), (2, two.trim_matches('"').to_owned())]).send().await.expect(200);
}

#[tokio::test]
async fn a_repeated_complete_answers_the_same() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("repeat").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let etags = [(1, upload.upload(1, "content").await)];
    let first = upload.complete(&etags).send().await.expect(200);
    let second = upload.complete(&etags).send().await.expect(200);
    assert_eq!(first.xml("ETag"), second.xml("ETag"));
    assert_eq!(client.get(&bucket, "key").await.text(), "content");
}

#[tokio::test]
async fn a_repeated_complete_does_not_bring_a_deleted_object_back() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("repeat-deleted").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let etags = [(1, upload.upload(1, "content").await)];
    upload.complete(&etags).send().await.expect(200);
    client.delete(&bucket, "key").await;
    upload.complete(&etags).send().await;
    client.get(&bucket, "key").await.expect(404);
}

#[tokio::test]
async fn an_uploaded_part_may_be_replaced() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("replaced-part").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let old = upload.upload(1, body(1, 100_000)).await;
    let new = upload.upload(1, "new").await;
    upload.complete(&[(1, old)]).send().await.expect_error(400, "InvalidPart");
    upload.complete(&[(1, new)]).send().await.expect(200);
    assert_eq!(client.get(&bucket, "key").await.text(), "new");
}

#[tokio::test]
async fn an_aborted_upload_is_gone_with_its_files() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("abort").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let etag = upload.upload(1, body(1, 300_000)).await;
    upload.abort().await.expect(204);
    upload.abort().await.expect_error(404, "NoSuchUpload");
    upload.part(1, "x").send().await.expect_error(404, "NoSuchUpload");
    upload.complete(&[(1, etag)]).send().await.expect_error(404, "NoSuchUpload");
    upload.call("GET").send().await.expect_error(404, "NoSuchUpload");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !cairn.blob_files().is_empty() {
        assert!(Instant::now() < deadline, "files are left: {:?}", cairn.blob_files());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_made_up_upload_id_is_unknown() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("made-up").await;
    let mut upload = Upload::create(&client, &bucket, "key").await;
    let real = upload.id.clone();
    for id in ["nonsense", "../../etc/passwd", "00000000-0000-0000-0000-000000000000", &real[1..]] {
        upload.id = id.into();
        upload.part(1, "x").send().await.expect_error(404, "NoSuchUpload");
        upload.abort().await.expect_error(404, "NoSuchUpload");
    }
    upload.id = real;
    upload.key = "another key".into();
    upload.part(1, "x").send().await.expect_error(404, "NoSuchUpload");
}

#[tokio::test]
async fn part_numbers_are_1_to_10000() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("numbers").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    for number in [0, 10_001, u32::MAX] {
        upload.part(number, "x").send().await.expect_error(400, "InvalidArgument");
    }
    let etag = upload.upload(10_000, "x").await;
    upload.complete(&[(10_000, etag)]).send().await.expect(200);
}

#[tokio::test]
async fn parts_are_listed_in_pages() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("list-parts").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    for number in [1, 2, 3, 7, 8] {
        upload.upload(number, format!("part {number}")).await;
    }
    let mut numbers = Vec::new();
    let mut marker = "0".to_owned();
    loop {
        let call = upload.call("GET").query("max-parts", "2").query("part-number-marker", &marker);
        let page = call.send().await.expect(200);
        numbers.extend(page.xml_all("PartNumber"));
        assert_eq!(page.xml_all("ID"), [format!("{:064x}", 1), format!("{:064x}", 1)], "initiator and owner");
        assert_eq!(page.xml("Size"), "6");
        if page.xml("IsTruncated") != "true" {
            break;
        }
        marker = page.xml("NextPartNumberMarker");
    }
    assert_eq!(numbers, ["1", "2", "3", "7", "8"]);
    upload.call("GET").query("max-parts", "blah").send().await.expect_error(400, "InvalidArgument");
}

#[tokio::test]
async fn uploads_are_listed_with_prefix_delimiter_and_pages() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("list-uploads").await;
    let mut expected = Vec::new();
    for key in ["a/1", "a/2", "a/2", "b", "c"] {
        expected.push((key.to_owned(), Upload::create(&client, &bucket, key).await.id));
    }
    let mut listed = Vec::new();
    let (mut key_marker, mut id_marker) = (String::new(), String::new());
    loop {
        let call = client.bucket("GET", &bucket).query("uploads", "").query("max-uploads", "2");
        let page = call.query("key-marker", &key_marker).query("upload-id-marker", &id_marker).send().await.expect(200);
        listed.extend(page.xml_all("Key").into_iter().zip(page.xml_all("UploadId")));
        if page.xml("IsTruncated") != "true" {
            break;
        }
        (key_marker, id_marker) = (page.xml("NextKeyMarker"), page.xml("NextUploadIdMarker"));
    }
    let sorted = |mut uploads: Vec<(String, String)>| {
        uploads.sort();
        uploads
    };
    assert!(listed.is_sorted_by_key(|(key, _)| key.clone()), "{listed:?}");
    assert_eq!(sorted(listed), sorted(expected));
    let folded = client.bucket("GET", &bucket).query("uploads", "").query("delimiter", "/").send().await.expect(200);
    assert_eq!(folded.xml_all("Key"), ["b", "c"]);
    assert_eq!(xml::text(xml::sections(&folded.text(), "CommonPrefixes")[0], "Prefix").as_deref(), Some("a/"));
    let prefixed = client.bucket("GET", &bucket).query("uploads", "").query("prefix", "a/2").send().await.expect(200);
    assert_eq!(prefixed.xml_all("Key"), ["a/2", "a/2"]);
}

#[tokio::test]
async fn a_part_may_be_a_copy_of_a_range() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("part-copy").await;
    let source = body(4, 6_000_000);
    client.put(&bucket, "source", source.clone()).await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let copy = |number: u32, range: Option<&str>| {
        let call = upload.part(number, "").header("x-amz-copy-source", &format!("/{bucket}/source"));
        match range {
            Some(range) => call.header("x-amz-copy-source-range", range),
            None => call,
        }
    };
    let one = copy(1, None).send().await.expect(200).xml("ETag");
    assert_eq!(one, digest::etag(&source));
    let two = copy(2, Some("bytes=100-5000")).send().await.expect(200).xml("ETag");
    for malformed in ["bytes=0-", "bytes=-5", "bytes=9-5", "0-5", "bytes=a-b", "bytes=0-1,3-4"] {
        copy(3, Some(malformed)).send().await.expect_error(400, "InvalidArgument");
    }
    let past = copy(3, Some("bytes=0-6000000")).send().await;
    assert!(
        [400, 416].contains(&past.status) && ["InvalidRange", "InvalidArgument"].contains(&past.code().as_str()),
        "{past:?}"
    );
    upload.complete(&[(1, one), (2, two)]).send().await.expect(200);
    let got = client.get(&bucket, "key").await.expect(200);
    assert!(got.body == [&source[..], &source[100..=5000]].concat(), "other bytes");
}

#[tokio::test]
async fn a_conditional_complete_creates_once() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("conditional-complete").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let etags = [(1, upload.upload(1, "by upload").await)];
    client.put(&bucket, "key", "by put").await;
    upload.complete(&etags).header("if-none-match", "*").send().await.expect_error(412, "PreconditionFailed");
    assert_eq!(client.get(&bucket, "key").await.text(), "by put");
    client.delete(&bucket, "key").await;
    upload.complete(&etags).header("if-none-match", "*").send().await.expect(200);
}

#[tokio::test]
async fn racing_completes_and_aborts_agree_on_one_outcome() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("complete-race").await;
    for round in 0..15 {
        let key = format!("key-{round}");
        let upload = Upload::create(&client, &bucket, &key).await;
        let content = body(round, 200_000);
        let etags = [(1, upload.upload(1, content.clone()).await)];
        let completes = [0, 1].map(|_| tokio::spawn(upload.complete(&etags).send()));
        let abort = tokio::spawn(upload.call("DELETE").send());
        let mut completed = false;
        for complete in completes {
            let reply = complete.await.unwrap();
            assert!([200, 404, 409].contains(&reply.status), "round {round}: {reply:?}");
            completed |= reply.status == 200;
        }
        let aborted = abort.await.unwrap();
        assert!([204, 404].contains(&aborted.status), "round {round}: {aborted:?}");
        let got = client.get(&bucket, &key).await;
        match completed {
            true => assert!(got.expect(200).body == content, "round {round}: other bytes"),
            false => drop(got.expect(404)),
        }
    }
}

#[tokio::test]
async fn overwriting_a_multipart_object_gives_its_files_back() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("overwrite-parts").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let etags = [(1, upload.upload(1, body(1, PART_BYTES_MIN)).await), (2, upload.upload(2, body(2, 100_000)).await)];
    upload.upload(3, body(3, 100_000)).await;
    upload.complete(&etags).send().await.expect(200);
    client.put(&bucket, "key", "small").await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !cairn.blob_files().is_empty() {
        assert!(Instant::now() < deadline, "files are left: {:?}", cairn.blob_files());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
