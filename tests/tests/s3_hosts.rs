//! Buckets in the host: several domains, ports, names with dots, and every other host as path style.

#![allow(clippy::unwrap_used)]

use cairn_tests::wire::exchange_raw;
use cairn_tests::{Cairn, Call, Client, Config, Reply};

const DOMAINS: [&str; 3] = ["s3.localhost", "east.s3.localhost", "storage.example.org"];

fn with_domains() -> Cairn {
    Cairn::start(Config { domains: DOMAINS.into(), ..Config::default() })
}

/// A bucket by this name with an object `key` whose content is `in <bucket>`.
async fn bucket_named(client: &Client, bucket: &str) {
    client.bucket("PUT", bucket).send().await.expect(200);
    client.put(bucket, "key", format!("in {bucket}")).await;
}

async fn get(client: &Client, host: &str, path: &str) -> Reply {
    client.call("GET", path).host(host).send().await
}

#[tokio::test]
async fn a_host_below_any_domain_names_a_bucket() {
    let cairn = with_domains();
    let client = cairn.client();
    for bucket in ["photos", "my.dotted.photos", "east"] {
        bucket_named(&client, bucket).await;
    }
    let port = client.address.port();
    for domain in DOMAINS {
        for bucket in ["photos", "my.dotted.photos"] {
            let hosts = [
                format!("{bucket}.{domain}"),
                format!("{bucket}.{domain}:{port}"),
                format!("{bucket}.{domain}:80"),
                format!("{bucket}.{domain}."),
                format!("{bucket}.{domain}").to_ascii_uppercase(),
            ];
            for host in hosts {
                let got = get(&client, &host, "/key").await.expect(200);
                assert_eq!(got.text(), format!("in {bucket}"), "{host}");
                assert_eq!(get(&client, &host, "/").await.expect(200).xml("Name"), bucket, "{host}");
            }
        }
    }
    // One domain lies below another: the longer one decides.
    assert_eq!(get(&client, "east.s3.localhost", "/photos/key").await.expect(200).text(), "in photos");
    assert_eq!(get(&client, "east.storage.example.org", "/key").await.expect(200).text(), "in east");
}

#[tokio::test]
async fn every_other_host_is_path_style() {
    let cairn = with_domains();
    let client = cairn.client();
    bucket_named(&client, "photos").await;
    for host in [
        "s3.localhost",
        "storage.example.org:9000",
        "localhost",
        "127.0.0.1",
        "[::1]:9000",
        "[::1]",
        "photos",
        "photos.s3.example.com",
        "photoss3.localhost",
        "photos.s3.localhost.example.com",
        "s3.localhost.",
        ".s3.localhost",
    ] {
        assert_eq!(get(&client, host, "/photos/key").await.expect(200).text(), "in photos", "{host}");
        assert_eq!(get(&client, host, "/").await.expect(200).xml_all("Name"), ["photos"], "{host}");
    }
}

#[tokio::test]
async fn without_domains_no_host_names_a_bucket() {
    let cairn = Cairn::start(Config { domains: vec![], ..Config::default() });
    let client = cairn.client();
    bucket_named(&client, "photos").await;
    assert_eq!(get(&client, "photos.s3.localhost", "/photos/key").await.expect(200).text(), "in photos");
}

#[tokio::test]
async fn a_bucket_in_the_host_is_made_used_and_deleted() {
    let cairn = with_domains();
    let client = cairn.client();
    let call = |method: &str, path: &str| client.call(method, path).host("my.bucket.east.s3.localhost");
    call("PUT", "/").send().await.expect(200);
    call("HEAD", "/").send().await.expect(200);
    for (path, key) in [("/my.bucket/key", "my.bucket/key"), ("//", "/"), ("/a/../b", "a/../b")] {
        call("PUT", path).body(key).send().await.expect(200);
        assert_eq!(call("GET", path).send().await.expect(200).text(), key);
    }
    assert_eq!(client.keys("my.bucket").await, ["/", "a/../b", "my.bucket/key"]);
    let copy = call("PUT", "/copy").header("x-amz-copy-source", "my.bucket/my.bucket/key");
    copy.send().await.expect(200);
    let created = call("POST", "/upload").query("uploads", "").send().await.expect(200);
    assert_eq!((created.xml("Bucket").as_str(), created.xml("Key").as_str()), ("my.bucket", "upload"));
    call("DELETE", "/upload").query("uploadId", &created.xml("UploadId")).send().await.expect(204);
    for path in ["/my.bucket/key", "//", "/a/../b", "/copy"] {
        call("DELETE", path).send().await.expect(204);
    }
    call("DELETE", "/").send().await.expect(204);
    client.bucket("HEAD", "my.bucket").send().await.expect(404);
}

#[tokio::test]
async fn a_presigned_url_may_have_the_bucket_in_its_host() {
    let cairn = with_domains();
    let client = cairn.client();
    bucket_named(&client, "photos").await;
    bucket_named(&client, "secrets").await;
    let presigned = client.call("GET", "/key").host("photos.east.s3.localhost:9000").presigned(60);
    assert_eq!(presigned.clone().send().await.expect(200).text(), "in photos");
    let mut moved = presigned.build();
    moved.headers[0].1 = "secrets.east.s3.localhost:9000".into();
    moved.send(client.address).await.unwrap().expect_error(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_host_that_names_no_possible_bucket_is_refused() {
    let cairn = with_domains();
    let client = cairn.client();
    for bucket in ["no..dots", "a", "under_score", "-hyphen", "192.168.1.1"] {
        let host = format!("{bucket}.s3.localhost");
        let put: Call = client.call("PUT", "/").host(&host);
        put.send().await.expect_error(400, "InvalidBucketName");
    }
    get(&client, "missing.s3.localhost", "/key").await.expect_error(404, "NoSuchBucket");
}

#[tokio::test]
async fn a_host_is_a_buckets_name_only_if_it_is_configured() {
    let mut cairn = Cairn::prepare(Config::default());
    cairn.set_environment("CAIRN_S3_BUCKET_HOSTS", "www.example.org,files.example.org");
    cairn.start_again();
    let client = cairn.client();
    for bucket in ["www.example.org", "other.example.org"] {
        bucket_named(&client, bucket).await;
    }
    for host in ["www.example.org", "WWW.example.org:9000", "www.example.org."] {
        assert_eq!(get(&client, host, "/key").await.expect(200).text(), "in www.example.org", "{host}");
    }
    get(&client, "files.example.org", "/key").await.expect_error(404, "NoSuchBucket");
    // A bucket's name alone makes no host its own.
    get(&client, "other.example.org", "/key").await.expect_error(404, "NoSuchBucket");
    let path_style = get(&client, "other.example.org", "/other.example.org/key").await;
    assert_eq!(path_style.expect(200).text(), "in other.example.org");
}

#[tokio::test]
async fn the_host_of_a_whole_url_in_the_request_line_counts() {
    let cairn = with_domains();
    let client = cairn.client();
    bucket_named(&client, "photos").await;
    bucket_named(&client, "secrets").await;
    let (photos, secrets) = ("photos.s3.localhost", "secrets.s3.localhost");
    for (line, host, expected) in [
        ("/key".to_owned(), photos, 200),
        (format!("http://{photos}/key"), photos, 200),
        (format!("http://{photos}/key"), secrets, 200),
        (format!("http://{secrets}/key"), photos, 403),
        ("/key".to_owned(), secrets, 403),
    ] {
        let signed = client.call("GET", "/key").host(photos).build().head_bytes();
        let head = String::from_utf8(signed).unwrap().replacen("GET /key", &format!("GET {line}"), 1);
        let head = head.replacen(&format!("host: {photos}"), &format!("host: {host}"), 1);
        let reply = exchange_raw(client.address, head.as_bytes()).await.unwrap().expect(expected);
        assert_eq!(reply.text() == "in photos", expected == 200, "{line} {host}");
    }
}

#[tokio::test]
async fn a_request_has_one_host() {
    let cairn = with_domains();
    let client = cairn.client();
    bucket_named(&client, "photos").await;
    for method in ["GET", "OPTIONS"] {
        let head = format!("{method} /key HTTP/1.1\r\nhost: photos.s3.localhost\r\nhost: s3.localhost\r\n\r\n");
        let reply = exchange_raw(client.address, head.as_bytes()).await.unwrap();
        reply.expect_error(400, "InvalidRequest");
    }
}
