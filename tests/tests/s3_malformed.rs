//! Malformed requests get the S3 error that a client expects: never a 500, a hang or a stored object.

#![allow(clippy::unwrap_used)]

use cairn_tests::multipart::{Upload, complete_document};
use cairn_tests::sigv4::{self, content_md5};
use cairn_tests::wire::{Wire, exchange_raw};
use cairn_tests::{Cairn, Call, Client, Config};

async fn refuse(call: Call, status: u16, code: &str) {
    let described = format!("{call:?}");
    let reply = call.send().await;
    assert_eq!((reply.status, reply.code().as_str()), (status, code), "{described}\n{reply:?}");
}

#[tokio::test]
async fn malformed_documents_are_malformed_xml() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("documents").await;
    client.put(&bucket, "key", "x").await;
    let deep = format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000));
    let entities = "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><Delete><Object><Key>&b;</Key></Object></Delete>";
    for document in [
        "",
        "<",
        "not xml",
        "<Delete>",
        "<Delete><Object></Delete>",
        "<Other/>",
        "<Delete/>",
        "<Delete><Object><Key>a</Key></Object>",
        "<Delete><Object/></Delete>",
        "<Delete><Quiet>maybe</Quiet><Object><Key>a</Key></Object></Delete>",
        "\u{0}",
        deep.as_str(),
        entities,
    ] {
        let md5 = content_md5(document.as_bytes());
        let call = client.bucket("POST", &bucket).query("delete", "").header("content-md5", &md5);
        let reply = call.body(document.to_owned()).send().await;
        let expected =
            reply.status == 400 && ["MalformedXML", "MissingRequestBodyError"].contains(&reply.code().as_str());
        assert!(expected, "{:?}: {reply:?}", &document[..document.len().min(100)]);
    }
    assert_eq!(client.keys(&bucket).await, ["key"]);
}

#[tokio::test]
async fn a_document_that_is_not_utf8_is_malformed_xml() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("not-utf8").await;
    let document = b"<Delete><Object><Key>\xff\xfe</Key></Object></Delete>".to_vec();
    let call = client.bucket("POST", &bucket).query("delete", "").header("content-md5", &content_md5(&document));
    refuse(call.body(document), 400, "MalformedXML").await;
}

#[tokio::test]
async fn malformed_parameters_are_invalid_arguments() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("parameters").await;
    client.put(&bucket, "key", "x").await;
    let upload = Upload::create(&client, &bucket, "key").await;
    let list = || client.bucket("GET", &bucket).query("list-type", "2");
    refuse(list().query("max-keys", "99999999999999999999"), 400, "InvalidArgument").await;
    refuse(list().query("encoding-type", "utf-16"), 400, "InvalidArgument").await;
    refuse(client.bucket("GET", &bucket).query("list-type", "3"), 400, "InvalidArgument").await;
    refuse(client.bucket("GET", &bucket).query("uploads", "").query("max-uploads", "x"), 400, "InvalidArgument").await;
    refuse(client.object("GET", &bucket, "key").query("partNumber", "x"), 400, "InvalidArgument").await;
    refuse(
        client.object("PUT", &bucket, "key").query("partNumber", "x").query("uploadId", &upload.id),
        400,
        "InvalidArgument",
    )
    .await;
}

#[tokio::test]
async fn malformed_headers_are_refused_with_s3s_codes() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("headers").await;
    let put = |name: &str, value: &str| client.object("PUT", &bucket, "key").header(name, value).body("x");
    refuse(put("content-md5", "====="), 400, "InvalidDigest").await;
    refuse(put("x-amz-storage-class", "NOPE"), 400, "InvalidStorageClass").await;
    refuse(put("x-amz-sdk-checksum-algorithm", "NOPE"), 400, "InvalidRequest").await;
    refuse(put("x-amz-copy-source", "%zz"), 400, "InvalidArgument").await;
    refuse(
        put("x-amz-metadata-directive", "MAYBE").header("x-amz-copy-source", &format!("/{bucket}/b")),
        400,
        "InvalidArgument",
    )
    .await;
    assert!(client.keys(&bucket).await.is_empty());
}

/// Each call differs in one thing from one that succeeds.
fn refused_calls(client: &Client, bucket: &str, upload: &Upload) -> Vec<(Call, u16, &'static str)> {
    let object = |method: &str| client.object(method, bucket, "new");
    let source = format!("{bucket}/key");
    let copy = || object("PUT").header("x-amz-copy-source", &source);
    let part_copy = || upload.call("PUT").query("partNumber", "1").header("x-amz-copy-source", &source);
    let part = |number: &str| upload.call("PUT").query("partNumber", number).body("x");
    let get = || client.object("GET", bucket, "key");
    let list = || client.bucket("GET", bucket);
    let many = (0..101).fold(list(), |call, number| call.query(&format!("p{number}"), "x"));
    vec![
        (copy().header("x-amz-checksum-algorithm", "NONE"), 400, "InvalidRequest"),
        (
            object("PUT").header("x-amz-website-redirect-location", "elsewhere").body("x"),
            400,
            "InvalidRedirectLocation",
        ),
        (object("PUT").header("x-amz-expected-bucket-owner", "me").body("x"), 400, "InvalidBucketOwnerAWSAccountID"),
        (object("PUT").header("x-amz-if-match-size", "1").body("x"), 501, "NotImplemented"),
        (object("PUT").header("if-match", "\"0\"").body("x"), 404, "NoSuchKey"),
        (object("PUT").query("versionId", "null").body("x"), 400, "InvalidArgument"),
        (object("POST"), 405, "MethodNotAllowed"),
        (object("POST").query("uploads", "").header("x-amz-checksum-type", "HALF"), 400, "InvalidRequest"),
        (object("POST").query("uploads", "").header("x-amz-storage-class", "TAPE"), 400, "InvalidStorageClass"),
        (object("POST").query("uploads", "").query("uploadId", "x"), 501, "NotImplemented"),
        (copy().header("x-amz-metadata-directive", "replace"), 400, "InvalidArgument"),
        (copy().header("x-amz-copy-source-if-match", "\"0\""), 412, "PreconditionFailed"),
        (object("PUT").header("x-amz-copy-source", &format!("{source}?versionId=x")), 400, "InvalidArgument"),
        (object("PUT").header("x-amz-copy-source", &format!("{bucket}/%ff")), 400, "InvalidArgument"),
        (object("PUT").header("x-amz-copy-source", "UPPER/key"), 400, "InvalidBucketName"),
        (part_copy().header("x-amz-copy-source-range", "0-1"), 400, "InvalidArgument"),
        (part_copy().header("x-amz-copy-source-range", "bytes=1-0"), 400, "InvalidArgument"),
        (part_copy().header("x-amz-copy-source-range", "bytes=0-99"), 416, "InvalidRange"),
        (part("0"), 400, "InvalidArgument"),
        (part("10001"), 400, "InvalidArgument"),
        (part("-1"), 400, "InvalidArgument"),
        (part("1").header("x-amz-checksum-sha256", "short"), 400, "InvalidRequest"),
        (object("PUT").query("partNumber", "1").query("uploadId", "").body("x"), 404, "NoSuchUpload"),
        (object("PUT").query("partNumber", "1").query("uploadId", "../x").body("x"), 404, "NoSuchUpload"),
        (object("POST").query("uploadId", "none").body("<CompleteMultipartUpload/>"), 404, "NoSuchUpload"),
        (upload.call("POST").body(""), 400, "MalformedXML"),
        (upload.call("POST").body("<CompleteMultipartUpload/>"), 400, "MalformedXML"),
        (upload.call("POST").body(complete_document(&[])), 400, "MalformedXML"),
        (upload.call("POST").body(complete_document(&[(0, "x".into())])), 400, "InvalidArgument"),
        (upload.call("POST").body(complete_document(&[(1, "x".into())])), 400, "InvalidPart"),
        (upload.call("GET").query("max-parts", "-1"), 400, "InvalidArgument"),
        (upload.call("GET").query("part-number-marker", "x"), 400, "InvalidArgument"),
        (get().query("versionId", "x"), 400, "InvalidArgument"),
        (get().query("versionId", ""), 400, "InvalidArgument"),
        (get().query("partNumber", "0"), 400, "InvalidArgument"),
        (get().query("partNumber", "2"), 416, "InvalidPartNumber"),
        (get().query("response-content-type", "a\r\nb"), 400, "InvalidArgument"),
        (get().query("attributes", ""), 400, "InvalidRequest"),
        (client.object("DELETE", bucket, "key").header("x-amz-if-match-size", "x"), 400, "InvalidArgument"),
        (client.object("DELETE", bucket, "key").query("versionId", "x"), 400, "InvalidArgument"),
        (client.object("DELETE", bucket, "key").header("if-match", "\"0\""), 412, "PreconditionFailed"),
        (list().query("max-keys", "-1"), 400, "InvalidArgument"),
        (list().query("max-keys", "1.5"), 400, "InvalidArgument"),
        (list().query("list-type", "2").query("continuation-token", "x"), 400, "InvalidArgument"),
        (list().query("uploads", "").query("max-uploads", "-1"), 400, "InvalidArgument"),
        (list().query("nonsense", ""), 501, "NotImplemented"),
        (many, 400, "InvalidRequest"),
        (client.call("GET", &format!("/{bucket}?prefix=%ff")), 400, "InvalidURI"),
        (client.bucket("GET", "UPPER"), 400, "InvalidBucketName"),
        (client.bucket("PUT", "a"), 400, "InvalidBucketName"),
        (client.bucket("PUT", "xn--bucket"), 400, "InvalidBucketName"),
        (client.bucket("PATCH", bucket), 405, "MethodNotAllowed"),
        (client.call("DELETE", "/"), 405, "MethodNotAllowed"),
        (client.call("GET", "//key"), 400, "InvalidURI"),
    ]
}

#[tokio::test]
async fn what_s3_refuses_is_refused_with_its_code_and_changes_nothing() {
    let cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("refused").await;
    client.put(&bucket, "key", "content").await;
    let upload = Upload::create(&client, &bucket, "upload").await;
    let mut others = Vec::new();
    for (call, status, code) in refused_calls(&client, &bucket, &upload) {
        let wire = call.build();
        let reply = wire.send(client.address).await.unwrap();
        if (reply.status, reply.code().as_str()) != (status, code) {
            others.push(format!(
                "{} {} {:?}: {} {}",
                wire.method,
                wire.target,
                wire.headers,
                reply.status,
                reply.code()
            ));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
    assert_eq!(client.keys(&bucket).await, ["key"]);
    assert_eq!(client.upload_ids(&bucket).await, [upload.id.as_str()]);
    assert!(upload.call("GET").send().await.expect(200).xml_all("PartNumber").is_empty());
    assert_eq!(client.call("GET", "/").send().await.expect(200).xml_all("Name"), [bucket]);
    assert!(cairn.blob_files().is_empty());
}

#[tokio::test]
async fn malformed_dates_hashes_and_lengths_are_refused_with_s3s_codes() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("signed-headers").await;
    let put = || client.object("PUT", &bucket, "key").body("content");
    for hash in ["", "nonsense", "e3b0c442", "STREAMING-NONSENSE", "unsigned-payload"] {
        refuse(put().declared_payload(hash), 400, "InvalidArgument").await;
    }
    let mut without_hash = put().build();
    without_hash.headers.retain(|(name, _)| name != "x-amz-content-sha256");
    without_hash.send(client.address).await.unwrap().expect_error(400, "InvalidRequest");
    for date in ["nonsense", "", "20260101", "2026-01-01T00:00:00Z", "20261301T000000Z"] {
        refuse(put().header("x-amz-date", date), 403, "AccessDenied").await;
    }
    let streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    refuse(put().declared_payload(streaming), 411, "MissingContentLength").await;
    for length in ["x", "-1", "99999999999999999999999"] {
        let call = put().declared_payload(streaming).header("x-amz-decoded-content-length", length);
        refuse(call, 400, "InvalidRequest").await;
    }
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn a_put_without_a_length_is_411() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("length").await;
    let mut wire = client.object("PUT", &bucket, "key").build();
    wire.content_length = None;
    wire.send(client.address).await.unwrap().expect_error(411, "MissingContentLength");
    client.get(&bucket, "key").await.expect(404);
}

#[tokio::test]
async fn an_object_over_5_gib_is_refused_before_its_body() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("too-large").await;
    let mut wire = client.object("PUT", &bucket, "key").unsigned_payload().build();
    wire.content_length = Some(5 * 1024 * 1024 * 1024 + 1);
    wire.send(client.address).await.unwrap().expect_error(400, "EntityTooLarge");
}

#[tokio::test]
async fn paths_that_are_not_utf8_or_escape_nothing_are_refused() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("paths").await;
    for path in
        [format!("/{bucket}/%ff%fe"), format!("/{bucket}/%zz"), format!("/{bucket}/%"), format!("/{bucket}/a%0")]
    {
        let reply = client.call("PUT", &path).body("x").send().await;
        assert!((400..500).contains(&reply.status), "{path}: {reply:?}");
        assert!(
            ["InvalidURI", "InvalidArgument", "SignatureDoesNotMatch"].contains(&reply.code().as_str()),
            "{path}: {reply:?}"
        );
    }
    assert!(client.keys(&bucket).await.is_empty());
}

#[tokio::test]
async fn dots_in_a_path_are_a_key_and_no_way_up() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("dots").await;
    for key in ["../../../../tmp/escaped", "..", ".", "a/../../b", "/etc/passwd"] {
        client.put(&bucket, key, key.to_owned()).await;
        assert_eq!(client.get(&bucket, key).await.expect(200).text(), key);
    }
    assert_eq!(client.keys(&bucket).await.len(), 5);
}

/// Bytes that are no proper HTTP/1.1 request.
fn raw_requests(client: &Client) -> Vec<Vec<u8>> {
    let host = client.address;
    let text = |request: String| request.into_bytes();
    vec![
        b"\r\n\r\n\r\n".to_vec(),
        b"nonsense\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n".to_vec(),
        text("GET / HTTP/1.1\r\n\r\n".into()),
        text(format!("GET /\u{0} HTTP/1.1\r\nhost: {host}\r\n\r\n")),
        text(format!("GET / HTTP/1.1\r\nhost: {host}\r\nbad header\r\n\r\n")),
        text(format!("GET / HTTP/1.1\r\nhost: {host}\r\nhost: other\r\n\r\n")),
        text(format!("PUT /b/k HTTP/1.1\r\nhost: {host}\r\ncontent-length: -1\r\n\r\n")),
        text(format!("PUT /b/k HTTP/1.1\r\nhost: {host}\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef")),
        text(format!(
            "PUT /b/k HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc"
        )),
        text(format!("PUT /b/k HTTP/1.1\r\nhost: {host}\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n")),
        text(format!("BREW /pot HTTP/1.1\r\nhost: {host}\r\n\r\n")),
        text(format!("GET http://other.example/ HTTP/1.1\r\nhost: {host}\r\n\r\n")),
        text(format!("OPTIONS * HTTP/1.1\r\nhost: {host}\r\n\r\n")),
        text(format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n")),
        text(format!("GET /{} HTTP/1.1\r\nhost: {host}\r\n\r\n", "a".repeat(100_000))),
    ]
}

#[tokio::test]
async fn bytes_that_are_no_request_never_hang_or_break_the_server() {
    let limits = vec![("header_read_timeout_seconds", 2), ("body_progress_timeout_seconds", 2)];
    let cairn = Cairn::start(Config { limits, ..Config::default() });
    let client = cairn.client();
    for request in raw_requests(&client) {
        let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
        let answer = tokio::time::timeout(std::time::Duration::from_secs(45), exchange_raw(client.address, &request));
        match answer.await {
            Err(_) => panic!("{shown:?}: the server neither answers nor closes"),
            Ok(Ok(reply)) => assert!((400..500).contains(&reply.status) || reply.status == 501, "{shown:?}: {reply:?}"),
            Ok(Err(error)) => assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{shown:?}"),
        }
    }
    client.call("GET", "/").send().await.expect(200);
}

#[tokio::test]
async fn a_repeated_query_parameter_is_no_server_error() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("repeated").await;
    let reply =
        client.bucket("GET", &bucket).query("list-type", "2").query("prefix", "a").query("prefix", "b").send().await;
    assert!(reply.status < 500, "{reply:?}");
}

#[tokio::test]
async fn errors_keep_the_connection_usable_or_close_it() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("drain").await;
    let wire: Wire =
        client.object("PUT", &bucket, "key").declared_payload(&sigv4::sha256_hex(b"")).body(vec![7; 300_000]).build();
    let mut connection = cairn_tests::wire::Connection::open(client.address).await.unwrap();
    let refused = connection.exchange("PUT", &wire.head_bytes(), &wire.body).await.unwrap();
    assert_eq!(refused.status, 400, "{refused:?}");
    let next = client.call("GET", "/").build();
    match connection.exchange("GET", &next.head_bytes(), b"").await {
        Ok(reply) => assert_eq!(reply.status, 200, "the rest of a refused body was read as a request: {reply:?}"),
        Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::TimedOut),
    }
}
