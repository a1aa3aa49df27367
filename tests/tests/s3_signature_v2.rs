//! Signature Version 2: what it opens, where it is accepted, and that nothing which it does not cover can change what a
//! signed request does.

#![allow(clippy::unwrap_used)]

use cairn_tests::sigv2::SIGNED_PARAMETERS;
use cairn_tests::{Cairn, Call, Client, Config};
use time::{Duration, OffsetDateTime};

fn with_setting(value: &'static str) -> Cairn {
    Cairn::start(Config { signature_v2: Some(value), ..Config::default() })
}

async fn object(cairn: &Cairn, purpose: &str) -> (Client, String) {
    let client = cairn.client();
    let bucket = client.fresh_bucket(purpose).await;
    client.put(&bucket, "key", "content").await;
    (client, bucket)
}

fn in_seconds(seconds: i64) -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + seconds
}

fn http_date(offset: Duration) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    (OffsetDateTime::now_utc() + offset).format(format).unwrap()
}

/// A call signed in its header, now.
fn in_header(call: Call) -> Call {
    call.header("date", &http_date(Duration::ZERO)).header_v2()
}

#[tokio::test]
async fn presigned_urls_write_read_and_delete() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "v2-url").await;
    let call = |method| client.object(method, &bucket, "new key/ü+").presigned_v2(in_seconds(60));
    call("PUT").header("content-type", "text/x").header("x-amz-meta-a", "b").body("by url").send().await.expect(200);
    let got = call("GET").send().await.expect(200);
    assert_eq!((got.text().as_str(), got.header("x-amz-meta-a")), ("by url", Some("b")));
    let head = call("HEAD").send().await.expect(200);
    assert_eq!(head.header("content-type"), Some("text/x"));
    let part = call("GET").header("range", "bytes=3-").send().await.expect(206);
    assert_eq!(part.text(), "url");
    let disposition = "attachment; filename=\"a b.txt\"";
    let named = call("GET").query("response-content-disposition", disposition).send().await.expect(200);
    assert_eq!(named.header("content-disposition"), Some(disposition));
    call("DELETE").send().await.expect(204);
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn a_bucket_in_the_host_is_part_of_what_is_signed() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "v2-host").await;
    let (_, other) = object(&cairn, "v2-host-other").await;
    let wire = client.call("GET", "/key").host_bucket(&bucket).presigned_v2(in_seconds(60)).build();
    let got = wire.send(client.address).await.unwrap().expect(200);
    assert_eq!(got.text(), "content");
    let mut moved = wire.clone();
    moved.headers[0].1 = wire.headers[0].1.replace(&bucket, &other);
    moved.send(client.address).await.unwrap().expect_error(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn a_url_ends_when_it_says_and_may_live_for_years() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "v2-expiry").await;
    let get = |expires: String| client.object("GET", &bucket, "key").presigned_v2(expires).send();
    get(in_seconds(10 * 365 * 86_400).to_string()).await.expect(200);
    let expired = get(in_seconds(-2).to_string()).await.expect_error(403, "AccessDenied");
    assert_eq!(expired.xml("Message"), "Request has expired");
    for expires in ["", "0", "-1", "soon", "99999999999999999999999"] {
        get(expires.to_owned()).await.expect_error(403, "AccessDenied");
    }
}

#[tokio::test]
async fn a_wrong_secret_an_unknown_key_and_a_stranger_are_refused() {
    let cairn = Cairn::shared();
    let (client, bucket) = object(&cairn, "v2-keys").await;
    let get = |client: &Client| client.object("GET", &bucket, "key").presigned_v2(in_seconds(60)).send();
    let wrong = get(&cairn.client_with(&client.credentials.access_key, "wrong secret")).await;
    let wrong = wrong.expect_error(403, "SignatureDoesNotMatch");
    assert!(wrong.xml("StringToSign").starts_with("GET"), "{wrong:?}");
    get(&cairn.client_with("nobody-knows-me", "whatever")).await.expect_error(403, "InvalidAccessKeyId");
    get(&cairn.other_client()).await.expect_error(403, "AccessDenied");
    client.object("GET", &bucket, "key").anonymous().send().await.expect_error(403, "AccessDenied");
}

#[tokio::test]
async fn the_setting_says_where_version_2_is_accepted() {
    for (setting, url_status, header_status) in [("off", 400, 400), ("query", 200, 400), ("all", 200, 200)] {
        let cairn = with_setting(setting);
        let (client, bucket) = object(&cairn, "v2-setting").await;
        let get = || client.object("GET", &bucket, "key");
        let url = get().presigned_v2(in_seconds(60)).send().await;
        let header = in_header(get()).send().await;
        assert_eq!((url.status, header.status), (url_status, header_status), "{setting}");
        for refused in [url, header].into_iter().filter(|reply| reply.status != 200) {
            refused.expect_error(400, "InvalidRequest");
        }
        get().presigned(60).send().await.expect(200);
    }
}

#[tokio::test]
async fn headers_write_read_list_and_delete_near_our_time() {
    let cairn = with_setting("all");
    let (client, bucket) = object(&cairn, "v2-header").await;
    let put = client.object("PUT", &bucket, "a").header("x-amz-meta-a", "b").body("by header");
    in_header(put).send().await.expect(200);
    let copy = client.object("PUT", &bucket, "b").header("x-amz-copy-source", &format!("/{bucket}/a"));
    in_header(copy).send().await.expect(200);
    let listing = client.bucket("GET", &bucket).query("prefix", "b").query("delimiter", "/");
    assert_eq!(in_header(listing).send().await.expect(200).xml_all("Key"), ["b"]);
    in_header(client.object("DELETE", &bucket, "b")).send().await.expect(204);
    for (name, minutes, status) in
        [("date", 14, 200), ("date", -17, 403), ("x-amz-date", 14, 200), ("x-amz-date", 17, 403)]
    {
        let call = client.object("GET", &bucket, "a").header(name, &http_date(Duration::minutes(minutes)));
        let reply = call.header_v2().send().await.expect(status);
        assert!(status == 200 || reply.code() == "RequestTimeTooSkewed", "{reply:?}");
    }
    client.object("GET", &bucket, "a").header_v2().send().await.expect_error(403, "AccessDenied");
    let malformed = client.call("GET", "/").header("authorization", "AWS HAHAHA").anonymous();
    malformed.send().await.expect_error(400, "InvalidArgument");
}

/// Sub-resources of S3 that version 2 does not sign, and parameters that are none.
const UNSIGNED_PARAMETERS: [&str; 20] = [
    "abac",
    "annotation",
    "attributes",
    "encryption",
    "intelligent-tiering",
    "legal-hold",
    "list-type",
    "metadataConfiguration",
    "metadataTable",
    "ownershipControls",
    "policyStatus",
    "prefix",
    "publicAccessBlock",
    "renameObject",
    "retention",
    "session",
    "x-id",
    "X-Amz-Date",
    "nonsense",
    "Acl",
];

#[tokio::test]
async fn no_parameter_can_be_added_to_a_signed_request() {
    let cairn = with_setting("all");
    let (client, bucket) = object(&cairn, "v2-added").await;
    let mut wires = Vec::new();
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
        for call in [client.object(method, &bucket, "key"), client.bucket(method, &bucket)] {
            wires.push(call.clone().presigned_v2(in_seconds(60)).build());
            wires.push(in_header(call).build());
        }
    }
    for wire in &wires {
        let is_url = wire.target.contains('?');
        for name in SIGNED_PARAMETERS.iter().chain(&UNSIGNED_PARAMETERS) {
            if !is_url && ["list-type", "prefix", "x-id"].contains(name) {
                continue;
            }
            for value in ["", "=1", "=2"] {
                let mut added = wire.clone();
                added.target = format!("{}{}{name}{value}", wire.target, if is_url { '&' } else { '?' });
                let reply = added.send(client.address).await.unwrap();
                let is_no_form = reply.status == 412 && reply.text().contains("multipart/form-data");
                assert!(is_no_form || [400, 403, 405, 501].contains(&reply.status), "{added:?}\n{reply:?}");
            }
        }
    }
    assert_eq!(client.keys(&bucket).await, ["key"]);
    assert_eq!(client.get(&bucket, "key").await.text(), "content");
    assert!(client.upload_ids(&bucket).await.is_empty());
}
