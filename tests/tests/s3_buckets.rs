//! Buckets: creating, finding, listing and deleting them, and the rules for their names.

#![allow(clippy::unwrap_used)]

use cairn_tests::Cairn;
use cairn_tests::multipart::Upload;

#[tokio::test]
async fn creating_a_bucket_answers_with_its_location() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let reply = client.bucket("PUT", "location-of-created").send().await.expect(200);
    assert_eq!(reply.header("location"), Some("/location-of-created"));
}

#[tokio::test]
async fn creating_a_bucket_again_succeeds_for_its_owner() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("again").await;
    client.put(&bucket, "kept", "kept").await;
    client.bucket("PUT", &bucket).send().await.expect(200);
    assert_eq!(client.get(&bucket, "kept").await.expect(200).text(), "kept");
}

#[tokio::test]
async fn a_name_that_another_account_uses_is_taken() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("taken").await;
    cairn.other_client().bucket("PUT", &bucket).send().await.expect_error(409, "BucketAlreadyExists");
}

#[tokio::test]
async fn names_that_break_the_rules_are_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let long = "a".repeat(64);
    for name in [
        "ab",
        long.as_str(),
        "Upper",
        "under_score",
        "-starts-with-hyphen",
        "ends-with-hyphen-",
        ".starts-with-dot",
        "ends-with-dot.",
        "two..dots",
        "192.168.5.4",
        "xn--prefix",
        "sthree-prefix",
        "suffix-s3alias",
        "suffix--ol-s3",
        "sp%20ace",
    ] {
        let reply = client.bucket("PUT", name).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidBucketName"), "{name}: {reply:?}");
    }
}

#[tokio::test]
async fn names_at_the_edge_of_the_rules_are_accepted() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let long = "a".repeat(63);
    for name in ["abc", long.as_str(), "a.b.c", "1-2-3", "0aa"] {
        client.bucket("PUT", name).send().await.expect(200);
        client.bucket("DELETE", name).send().await.expect(204);
    }
}

#[tokio::test]
async fn a_foreign_location_constraint_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let body =
        "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>";
    let reply = client.bucket("PUT", "elsewhere").body(body).send().await.expect(400);
    assert!(
        ["IllegalLocationConstraintException", "InvalidLocationConstraint"].contains(&reply.code().as_str()),
        "{reply:?}"
    );
    client.bucket("HEAD", "elsewhere").send().await.expect(404);
}

#[tokio::test]
async fn a_malformed_create_document_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    client.bucket("PUT", "malformed-create").body("<not xml").send().await.expect_error(400, "MalformedXML");
    client.bucket("HEAD", "malformed-create").send().await.expect(404);
}

#[tokio::test]
async fn head_of_a_bucket_names_its_region() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("head").await;
    let reply = client.bucket("HEAD", &bucket).send().await.expect(200);
    assert_eq!(reply.header("x-amz-bucket-region"), Some("us-east-1"));
}

#[tokio::test]
async fn head_of_a_missing_bucket_is_404_without_a_body() {
    let cairn = Cairn::shared();
    let reply = cairn.client().bucket("HEAD", "never-created").send().await.expect(404);
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn the_location_of_us_east_1_is_empty() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("location").await;
    let reply = client.bucket("GET", &bucket).query("location", "").send().await.expect(200);
    assert!(reply.text().contains("LocationConstraint"), "{reply:?}");
    assert_eq!(reply.xml("LocationConstraint"), "");
}

#[tokio::test]
async fn a_deleted_bucket_is_gone() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("deleted").await;
    client.bucket("DELETE", &bucket).send().await.expect(204);
    client.bucket("DELETE", &bucket).send().await.expect_error(404, "NoSuchBucket");
    client.bucket("GET", &bucket).send().await.expect_error(404, "NoSuchBucket");
    client.get(&bucket, "key").await.expect_error(404, "NoSuchBucket");
    client.object("PUT", &bucket, "key").body("x").send().await.expect_error(404, "NoSuchBucket");
}

#[tokio::test]
async fn a_bucket_created_again_after_its_deletion_is_empty() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("reborn").await;
    client.put(&bucket, "old", "old").await;
    client.delete(&bucket, "old").await;
    client.bucket("DELETE", &bucket).send().await.expect(204);
    client.bucket("PUT", &bucket).send().await.expect(200);
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_bucket_with_objects_is_not_deleted() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("nonempty").await;
    client.put(&bucket, "key", "value").await;
    client.bucket("DELETE", &bucket).send().await.expect_error(409, "BucketNotEmpty");
    assert_eq!(client.get(&bucket, "key").await.expect(200).text(), "value");
    client.put(&bucket, "writable", "still").await;
}

#[tokio::test]
async fn a_bucket_is_deleted_with_its_open_uploads() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("open-upload").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    upload.upload(1, "part").await;
    client.bucket("DELETE", &bucket).send().await.expect(204);
    upload.abort().await.expect_error(404, "NoSuchBucket");
}

#[tokio::test]
async fn listing_shows_ones_own_buckets_in_order_with_their_owner() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    for name in ["listed-c", "listed-a", "listed-b"] {
        client.bucket("PUT", name).send().await.expect(200);
    }
    let reply = client.call("GET", "/").send().await.expect(200);
    let names: Vec<String> = reply.xml_all("Name").into_iter().filter(|name| name.starts_with("listed-")).collect();
    assert_eq!(names, ["listed-a", "listed-b", "listed-c"]);
    assert_eq!(reply.xml("ID"), format!("{:064x}", 1));
    assert!(reply.xml("CreationDate").ends_with('Z'), "{reply:?}");
    let others = cairn.other_client().call("GET", "/").send().await.expect(200);
    assert!(!others.xml_all("Name").iter().any(|name| name.starts_with("listed-")), "{others:?}");
}

#[tokio::test]
async fn listing_buckets_pages_within_a_prefix() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let expected: Vec<String> = (0..5).map(|number| format!("paged-{number}")).collect();
    for name in &expected {
        client.bucket("PUT", name).send().await.expect(200);
    }
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let mut call = client.call("GET", "/").query("prefix", "paged-").query("max-buckets", "2");
        if !token.is_empty() {
            call = call.query("continuation-token", &token);
        }
        let page = call.send().await.expect(200);
        let on_page = page.xml_all("Name");
        assert!(on_page.len() <= 2, "{page:?}");
        names.extend(on_page);
        token = page.xml("ContinuationToken");
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names, expected);
}

#[tokio::test]
async fn an_unexpected_owner_is_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("expected-owner").await;
    let with_owner = |owner: &str| client.bucket("GET", &bucket).header("x-amz-expected-bucket-owner", owner);
    with_owner("100000000001").send().await.expect(200);
    with_owner("100000000002").send().await.expect_error(403, "AccessDenied");
    client.put(&bucket, "key", "content").await;
    for method in ["GET", "PUT", "DELETE"] {
        let call = client.object(method, &bucket, "key").header("x-amz-expected-bucket-owner", "100000000002");
        call.send().await.expect_error(403, "AccessDenied");
    }
    let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/key"));
    let of_source = copy.clone().header("x-amz-source-expected-bucket-owner", "100000000002");
    of_source.send().await.expect_error(403, "AccessDenied");
    copy.header("x-amz-source-expected-bucket-owner", "100000000001").send().await.expect(200);
    assert_eq!(client.keys(&bucket).await, ["copy", "key"]);
}

#[tokio::test]
async fn no_acknowledged_put_vanishes_in_a_race_with_delete_bucket() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    for round in 0..20 {
        let bucket = client.fresh_bucket("delete-race").await;
        let puts: Vec<_> = (0..6)
            .map(|number| tokio::spawn(client.object("PUT", &bucket, &format!("k{number}")).body("x").send()))
            .collect();
        let deletion = tokio::spawn(client.bucket("DELETE", &bucket).send());
        let mut acknowledged = 0;
        for put in puts {
            let reply = put.await.unwrap();
            assert!([200, 404, 409, 503].contains(&reply.status), "round {round}: {reply:?}");
            acknowledged += usize::from(reply.status == 200);
        }
        let deletion = deletion.await.unwrap();
        match deletion.status {
            204 => assert_eq!(acknowledged, 0, "round {round}: the bucket went with acknowledged objects"),
            _ => assert_eq!(client.keys(&bucket).await.len(), acknowledged, "round {round}: {deletion:?}"),
        }
    }
}
