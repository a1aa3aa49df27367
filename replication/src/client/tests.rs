#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_storage::clock::{ManualClock, SeededEntropy, SystemClock, Timestamp};
use futures::TryStreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::*;

pub(crate) mod fake;
mod unfinished;

use fake::{Fake, Reply};

fn options() -> Options {
    let backoff = Duration::from_millis(1);
    Options {
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        retry: RetryPolicy { attempts_max: 4, backoff_min: backoff, backoff_max: backoff },
        bandwidth_limit_bytes: None,
    }
}

fn client_with(fake: &Fake, options: Options, clock: Arc<dyn Clock>) -> Client {
    client_at(&fake.url(), options, clock)
}

fn client_at(url: &str, options: Options, clock: Arc<dyn Clock>) -> Client {
    let endpoint = Endpoint::new(url, "us-east-1").unwrap();
    let credentials = CredentialSource::fixed("AK".to_owned(), "secret".to_owned(), Some("token".to_owned()));
    Client::new(endpoint, credentials, options, clock, Arc::new(SeededEntropy::new(1))).unwrap()
}

pub(crate) fn client(fake: &Fake) -> Client {
    client_with(fake, options(), Arc::new(SystemClock))
}

fn address() -> Address {
    Address { bucket: "bucket".to_owned(), key: "a key".to_owned() }
}

fn checksum(bytes: &[u8]) -> Checksum {
    Checksum::of(ChecksumAlgorithm::Crc64Nvme, bytes)
}

/// A stream that yields `pieces` each time, and how often it was opened.
fn stream(length_bytes: u64, pieces: &'static [&'static str]) -> (Body, Arc<AtomicUsize>) {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = opened.clone();
    let digest = Digest::Checksum(checksum(pieces.concat().as_bytes()));
    let open = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let pieces = pieces.iter().map(|piece| match *piece {
            "!" => Err(BodyError::from("unreadable")),
            piece => Ok(Bytes::from_static(piece.as_bytes())),
        });
        Box::pin(futures::stream::iter(pieces)) as BodyStream
    });
    (Body::Stream(Stream { length_bytes, digest, open }), opened)
}

fn stored() -> Reply {
    Reply::new(200, "").header("etag", "\"e\"").header("x-amz-version-id", "v")
}

#[tokio::test]
async fn bytes_in_memory_are_signed_and_the_answer_is_read() {
    let fake = Fake::start(|_, _| stored()).await;
    let headers = vec![("x-amz-meta-colour".to_owned(), "green".to_owned())];
    let put = client(&fake).put(&address(), headers, Body::Memory(Bytes::from_static(b"hello"))).await.unwrap();
    assert_eq!(put, Stored { etag: "\"e\"".to_owned(), version_id: Some("v".to_owned()) });
    let [seen] = &fake.seen()[..] else { panic!("one request") };
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("PUT", "/bucket/a%20key"));
    assert_eq!(seen.body, b"hello");
    let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!(seen.header("x-amz-content-sha256"), Some(sha256));
    assert_eq!(seen.header("x-amz-security-token"), Some("token"));
    let authorization = seen.header("authorization").unwrap();
    assert!(authorization.contains("/us-east-1/s3/aws4_request"), "{authorization}");
    for name in ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-meta-colour", "x-amz-security-token"] {
        assert!(authorization.contains(name), "{name} is not signed: {authorization}");
    }
}

#[tokio::test]
async fn a_stream_is_opened_anew_for_each_attempt_and_held_to_a_signed_digest() {
    let fake = Fake::start(|n, _| if n < 2 { Reply::error(503, "SlowDown") } else { stored() }).await;
    let (body, opened) = stream(10, &["hello", "world"]);
    client(&fake).put(&address(), Vec::new(), body).await.unwrap();
    assert_eq!(opened.load(Ordering::Relaxed), 3);
    let seen = fake.seen().pop().unwrap();
    assert_eq!(seen.body, b"helloworld");
    assert_eq!(seen.header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    let declared = seen.header("x-amz-checksum-crc64nvme").unwrap();
    assert_eq!(declared, checksum(b"helloworld").to_base64());
    assert!(seen.header("authorization").unwrap().contains("x-amz-checksum-crc64nvme"));
}

#[tokio::test]
async fn attempts_end_with_what_the_server_said() {
    let fake = Fake::start(|_, _| Reply::error(500, "InternalError")).await;
    let error = client(&fake).put(&address(), Vec::new(), Body::empty()).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(500), Some("InternalError")));
    assert_eq!(fake.seen().len(), 4);
    client(&fake).once().put(&address(), Vec::new(), Body::empty()).await.unwrap_err();
    assert_eq!(fake.seen().len(), 5, "once is once");
    // S3 wants the length of every PUT, also of one without a body.
    assert!(fake.seen().iter().all(|seen| seen.header("content-length") == Some("0")));
}

#[tokio::test]
async fn what_will_not_pass_is_not_tried_again() {
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchBucket"), (400, "BadDigest"), (501, "NotImplemented")] {
        let fake = Fake::start(move |_, _| Reply::error(status, code)).await;
        let error = client(&fake).put(&address(), Vec::new(), Body::empty()).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (Some(status), Some(code)));
        assert!(error.to_string().contains("because"), "{error}");
        assert_eq!(fake.seen().len(), 1, "{code}");
    }
}

#[tokio::test]
async fn one_request_tells_what_a_refusal_says_and_what_may_pass_is_asked_again() {
    let head = || address().request(Method::HEAD, None);
    for status in [403, 404, 501] {
        let fake = Fake::start(move |_, _| Reply::new(status, "").header("x-amz-delete-marker", "true")).await;
        let answer = client(&fake).probe(&head()).await.unwrap();
        assert_eq!((answer.status(), answer.header("x-amz-delete-marker")), (status, Some("true")));
        assert_eq!(fake.seen().len(), 1, "{status}");
    }
    let fake = Fake::start(|n, _| Reply::new(if n == 0 { 429 } else { 404 }, "")).await;
    assert_eq!(client(&fake).probe(&head()).await.unwrap().status(), 404);
    let fake = Fake::start(|_, _| Reply::new(503, "")).await;
    assert_eq!(client(&fake).probe(&head()).await.unwrap_err().status(), Some(503));
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn a_server_that_asks_for_time_is_given_it() {
    let busy = || Reply::error(503, "SlowDown").header("retry-after", "1");
    let fake = Fake::start(move |n, _| if n == 0 { busy() } else { stored() }).await;
    let start = std::time::Instant::now();
    client(&fake).put(&address(), Vec::new(), Body::empty()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let fake = Fake::start(|_, _| Reply::error(307, "TemporaryRedirect").header("location", "http://elsewhere/")).await;
    let error = client(&fake).head(&address(), None).await.unwrap_err();
    assert_eq!((error.status(), fake.seen().len()), (Some(307), 1));
}

#[tokio::test]
async fn a_refusal_without_a_document_or_with_an_endless_one_is_one_by_its_status() {
    for body in ["not XML".to_owned(), "x".repeat(1 << 20)] {
        let fake = Fake::start(move |_, _| Reply::new(403, body.clone())).await;
        let error = client(&fake).put(&address(), Vec::new(), Body::empty()).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (Some(403), Some("")));
    }
}

#[tokio::test]
async fn a_source_that_fails_or_has_another_length_is_told_from_a_bad_network() {
    let cases: [(u64, &[&str], &str); 3] =
        [(10, &["hello", "!"], "unreadable"), (10, &["hello"], "too early"), (3, &["hello"], "more bytes")];
    for (length, pieces, why) in cases {
        let fake = Fake::start(|_, _| stored()).await;
        let (body, opened) = stream(length, pieces);
        let error = client(&fake).put(&address(), Vec::new(), body).await.unwrap_err();
        let ClientError::Source(source) = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains(why), "{source}");
        assert_eq!(opened.load(Ordering::Relaxed), 1, "{why}");
        assert!(fake.seen().is_empty(), "an incomplete body came to its end: {why}");
    }
}

#[tokio::test]
async fn an_endpoint_that_says_nothing_is_given_up() {
    let fake = Fake::start(|_, _| Reply::silence()).await;
    let idle_timeout = Duration::from_millis(300);
    let client = client_with(&fake, Options { idle_timeout, ..options() }, Arc::new(SystemClock));
    let error = client.head(&address(), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Stalled(_)), "{error:?}");
    assert_eq!(fake.seen().len(), 4);
}

#[tokio::test]
async fn who_waits_is_told_soon_that_nothing_comes_and_not_kept_by_a_server_that_wants_to_be_left_alone() {
    let fake = Fake::start(|_, _| Reply::silence()).await;
    let error = client(&fake).within(Duration::from_millis(300)).head(&address(), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Stalled(_)), "{error:?}");
    assert_eq!(fake.seen().len(), 1);
    let fake = Fake::start(|_, _| Reply::error(503, "SlowDown").header("retry-after", "30")).await;
    let error = client(&fake).within(Duration::from_secs(5)).head(&address(), None).await.unwrap_err();
    assert_eq!((error.status(), fake.seen().len()), (Some(503), 1));
    // What passes soon is tried again.
    let fake = Fake::start(|n, _| if n == 0 { Reply::error(503, "SlowDown") } else { stored() }).await;
    client(&fake).within(Duration::from_secs(5)).head(&address(), None).await.unwrap();
}

#[tokio::test]
async fn parts_are_made_when_their_turn_comes() {
    let fake = Fake::start(upload_script).await;
    let part = async |index: usize| {
        // Of the requests so far the first one created the upload.
        assert_eq!(fake.seen().len(), index + 1);
        Ok(Part::at(index, Body::Memory(Bytes::from(format!("part {index}")))))
    };
    client(&fake).upload_made(&address(), UploadHeaders::default(), 3, part, 1).await.unwrap();
    let sent: Vec<_> = fake.seen().into_iter().filter(|seen| seen.method == "PUT").map(|seen| seen.body).collect();
    assert_eq!(sent, [b"part 0", b"part 1", b"part 2"]);
}

#[tokio::test]
async fn nobody_there_is_an_error_that_names_no_secret() {
    let endpoint = Endpoint::new("http://127.0.0.1:1", "us-east-1").unwrap();
    let credentials = CredentialSource::fixed("AK".to_owned(), "hush".to_owned(), None);
    let entropy = Arc::new(SeededEntropy::new(1));
    let client = Client::new(endpoint, credentials, options(), Arc::new(SystemClock), entropy).unwrap();
    let error = client.head(&address(), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Unanswered(_)) && error.may_pass(), "{error:?}");
    assert!(!format!("{client:?} {error:?}").contains("hush"));
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_by_the_servers() {
    let time = time::macros::datetime!(2026-05-01 12:00:00 UTC);
    let date = "Fri, 01 May 2026 12:00:00 GMT";
    for has_document in [true, false] {
        let fake = Fake::start(move |_, seen| match seen.header("x-amz-date") {
            Some(date) if date.starts_with("20260501T1200") => stored(),
            _ if has_document => Reply::error(403, "RequestTimeTooSkewed").header("date", date),
            _ => Reply::new(403, "").header("date", date),
        })
        .await;
        let clock = Arc::new(ManualClock::new(Timestamp(time.unix_timestamp() * 1_000 - 7_200_000)));
        let client = client_with(&fake, options(), clock);
        client.put(&address(), Vec::new(), Body::empty()).await.unwrap();
        client.put(&address(), Vec::new(), Body::empty()).await.unwrap();
        assert_eq!(fake.seen().len(), 3, "the second put needs no correction");
    }
}

#[tokio::test]
async fn a_download_is_held_to_the_declared_checksum_or_else_to_the_md5() {
    let sha = checksum(b"hello").to_base64();
    let md5 = "\"5d41402abc4b2a76b9719d911017c592\"";
    for (body, checksum_header, etag, is_whole) in [
        ("hello", Some(sha.clone()), "\"other\"", true),
        ("hellO", Some(sha), md5, false),
        ("hello", None, md5, true),
        ("hellO", None, md5, false),
        ("hellO", None, "\"5d41402abc4b2a76b9719d911017c592-2\"", true),
    ] {
        let fake = Fake::start(move |_, _| {
            let reply = Reply::new(200, body).header("etag", etag);
            match &checksum_header {
                Some(checksum) => reply.header("x-amz-checksum-crc64nvme", checksum),
                None => reply,
            }
        })
        .await;
        let download = client(&fake).get(&address(), Some("v 1"), None).await.unwrap();
        assert_eq!(download.left_bytes(), 5);
        let got = download.into_stream().try_collect::<Vec<_>>().await;
        assert_eq!(got.is_ok(), is_whole, "{body} {etag}");
        if let Err(error) = got {
            assert!(matches!(error, ClientError::Corrupt(_)), "{error:?}");
        }
        assert_eq!(fake.seen()[0].target, "/bucket/a%20key?versionId=v%201");
    }
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_was() {
    let fake = Fake::start(|n, seen| {
        let md5 = "\"fc5e038d38a57032085441e7fe7010b0\"";
        match n {
            0 => Reply::new(200, "helloworld").header("etag", md5).cut(4),
            1 => Reply::error(503, "SlowDown"),
            _ => {
                assert_eq!((seen.header("range"), seen.header("if-match")), (Some("bytes=4-9"), Some(md5)));
                Reply::new(206, "oworld").header("etag", md5)
            }
        }
    })
    .await;
    let download = client(&fake).get(&address(), None, None).await.unwrap();
    let got: Vec<Bytes> = download.into_stream().try_collect().await.unwrap();
    assert_eq!(got.concat(), b"helloworld");
}

#[tokio::test]
async fn what_fails_for_good_has_no_more_attempts_in_a_download_or_an_upload() {
    let fake = Fake::start(|n, _| match n {
        0 => Reply::new(200, "helloworld").header("etag", "\"e\"").cut(4),
        _ => Reply::error(503, "SlowDown"),
    })
    .await;
    let download = client(&fake).get(&address(), None, None).await.unwrap();
    let error = download.into_stream().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!((error.code(), fake.seen().len()), (Some("SlowDown"), 1 + 4));

    let completes = |seen: &fake::Seen| seen.method == "POST" && seen.target.ends_with("uploadId=u%261");
    let fake = Fake::start(
        move |n, seen| {
            if completes(seen) { Reply::error(503, "SlowDown") } else { upload_script(n, seen) }
        },
    )
    .await;
    let error = client(&fake)
        .upload(&address(), UploadHeaders::default(), Part::numbered(vec![stream(5, &["first"]).0]), 1)
        .await
        .unwrap_err();
    let asked = fake.seen().into_iter().filter(|seen| completes(seen)).count();
    assert_eq!((error.code(), asked), (Some("SlowDown"), 4));
}

#[tokio::test]
async fn a_range_is_asked_for_and_nothing_else_taken() {
    for (status, body, is_taken) in [(206, "ell", true), (200, "hello", false), (206, "el", false)] {
        let fake = Fake::start(move |_, _| Reply::new(status, body).header("etag", "\"e\"")).await;
        let got = client(&fake).get(&address(), None, Some(Range { start: 1, end: 3 })).await;
        assert_eq!(got.is_ok(), is_taken, "{status} {body}");
        assert_eq!(fake.seen()[0].header("range"), Some("bytes=1-3"));
    }
}

#[tokio::test]
async fn the_end_of_an_object_tells_how_long_it_is() {
    for (status, range, body, expected) in [
        (206, "bytes 6-9/10", "orld", Some(10)),
        (206, "bytes 0-2/3", "all", Some(3)),
        (206, "bytes 5-8/10", "worl", None),
        (206, "bytes 6-9/*", "orld", None),
        (206, "bytes 6-9/10", "rld", None),
        (206, "bytes 6-18446744073709551615/0", "orld", None),
        (200, "", "helloworld", None),
        (200, "", "all", Some(3)),
    ] {
        let fake = Fake::start(move |_, _| Reply::new(status, body).header("content-range", range)).await;
        match client(&fake).get_end(&address(), 4).await {
            Ok((length_bytes, download)) => {
                assert_eq!(Some(length_bytes), expected, "{range}");
                let got: Vec<Bytes> = download.into_stream().try_collect().await.unwrap();
                assert_eq!(got.concat(), body.as_bytes());
            }
            Err(error) => assert!(expected.is_none(), "{range}: {error:?}"),
        }
        assert_eq!(fake.seen()[0].header("range"), Some("bytes=-4"));
    }
}

fn upload_script(_: usize, seen: &fake::Seen) -> Reply {
    match (seen.method.as_str(), seen.target.split_once('?').map_or("", |(_, query)| query)) {
        ("POST", "uploads=") => Reply::new(
            200,
            "<InitiateMultipartUploadResult><UploadId>u&amp;1</UploadId></InitiateMultipartUploadResult>",
        ),
        ("PUT", query) if query.starts_with("partNumber=") => {
            Reply::new(200, "").header("etag", &format!("\"{}\"", String::from_utf8_lossy(&seen.body)))
        }
        ("POST", "uploadId=u%261") => {
            let body =
                "<CompleteMultipartUploadResult><ETag>&quot;whole-2&quot;</ETag></CompleteMultipartUploadResult>";
            Reply::new(200, body).header("x-amz-version-id", "v")
        }
        ("DELETE", "uploadId=u%261") => Reply::new(204, ""),
        _ => Reply::error(400, "Unexpected"),
    }
}

#[tokio::test]
async fn parts_keep_their_boundaries_and_their_checksums() {
    let fake = Fake::start(upload_script).await;
    let parts = vec![stream(5, &["first"]).0, stream(6, &["second"]).0];
    let uploaded = client(&fake).upload(&address(), UploadHeaders::default(), Part::numbered(parts), 2).await.unwrap();
    assert_eq!(uploaded, Stored { etag: "\"whole-2\"".to_owned(), version_id: Some("v".to_owned()) });
    let seen = fake.seen();
    assert_eq!(seen[0].header("x-amz-checksum-algorithm"), Some("CRC64NVME"));
    let complete = String::from_utf8(seen.last().unwrap().body.clone()).unwrap();
    let part = |number, body: &str| {
        format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{body}&quot;</ETag><ChecksumCRC64NVME>{}</ChecksumCRC64NVME></Part>",
            checksum(body.as_bytes()).to_base64()
        )
    };
    assert!(complete.contains(&(part(1, "first") + &part(2, "second"))), "{complete}");
}

#[tokio::test]
async fn an_upload_that_fails_is_aborted() {
    let fake =
        Fake::start(
            |n, seen| {
                if seen.body == b"second" { Reply::error(403, "AccessDenied") } else { upload_script(n, seen) }
            },
        )
        .await;
    let parts = vec![stream(5, &["first"]).0, stream(6, &["second"]).0];
    let error = client(&fake).upload(&address(), UploadHeaders::default(), Part::numbered(parts), 1).await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDenied"));
    assert_eq!(fake.seen().last().unwrap().method, "DELETE");
}

#[tokio::test]
async fn an_error_after_the_answer_began_is_one() {
    for (code, is_passing) in [("InternalError", true), ("InvalidPart", false)] {
        let failed = Arc::new(AtomicUsize::new(0));
        let fake = Fake::start(move |n, seen| {
            let completes = seen.method == "POST" && seen.target.ends_with("uploadId=u%261");
            if completes && failed.fetch_add(1, Ordering::Relaxed) == 0 {
                return Reply::error(200, code);
            }
            upload_script(n, seen)
        })
        .await;
        let uploaded = client(&fake)
            .upload(&address(), UploadHeaders::default(), Part::numbered(vec![stream(5, &["first"]).0]), 1)
            .await;
        assert_eq!(uploaded.is_ok(), is_passing, "{code}");
    }
}

#[tokio::test]
async fn the_bandwidth_limit_holds_for_uploads() {
    let fake = Fake::start(|_, _| stored()).await;
    let options = Options { bandwidth_limit_bytes: Some(20), ..options() };
    let client = client_with(&fake, options, Arc::new(SystemClock));
    let start = std::time::Instant::now();
    client.put(&address(), Vec::new(), stream(10, &["hello", "world"]).0).await.unwrap();
    client.put(&address(), Vec::new(), Body::empty()).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn waiting_for_bandwidth_is_not_taken_for_an_endpoint_that_stands_still() {
    let fake = Fake::start(|_, _| stored()).await;
    let idle_timeout = Duration::from_millis(500);
    let options = Options { bandwidth_limit_bytes: Some(5), idle_timeout, ..options() };
    let client = client_with(&fake, options, Arc::new(SystemClock));
    client.put(&address(), Vec::new(), stream(10, &["hello", "world"]).0).await.unwrap();
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn a_request_that_waited_for_bandwidth_is_signed_when_it_goes() {
    let fake = Fake::start(|_, _| stored()).await;
    let options = Options { bandwidth_limit_bytes: Some(3), ..options() };
    let client = client_with(&fake, options, Arc::new(SystemClock));
    for _ in 0..2 {
        client.put(&address(), Vec::new(), Body::Memory(Bytes::from_static(b"hello"))).await.unwrap();
    }
    let signed: Vec<_> = fake.seen().iter().map(|seen| seen.header("x-amz-date").unwrap().to_owned()).collect();
    assert_ne!(signed[0], signed[1], "more than a second passed in between");
}

#[tokio::test]
async fn a_document_that_comes_byte_by_byte_does_not_hold_up_who_waits_for_it() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 4_096];
        assert_ne!(stream.read(&mut head).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let client =
        client_at(&url, Options { idle_timeout: Duration::from_millis(100), ..options() }, Arc::new(SystemClock));
    let answer = client.send(&Request::bucket(Method::GET, "b")).await.unwrap();
    let error = answer.bytes(1_000).await.unwrap_err();
    assert!(matches!(error, ClientError::Stalled(_)), "{error:?}");
}

/// An endpoint that takes a body of this size in steps, and then answers.
async fn slow_endpoint(step: Duration, steps: usize, step_bytes: usize) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut taken = vec![0; step_bytes];
        for _ in 0..steps {
            stream.read_exact(&mut taken).await.unwrap();
            tokio::time::sleep(step).await;
        }
        // What is left is as long as the request's head.
        assert_ne!(stream.read(&mut taken).await.unwrap(), 0);
        let answer = b"HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        std::future::pending::<()>().await;
    });
    format!("http://{address}")
}

#[tokio::test]
async fn bytes_in_memory_that_move_slowly_are_not_taken_for_an_endpoint_that_stands_still() {
    const STEPS: usize = 64;
    const STEP_BYTES: usize = 256 << 10;
    let idle_timeout = Duration::from_secs(2);
    let url = slow_endpoint(Duration::from_millis(40), STEPS, STEP_BYTES).await;
    let client = client_at(&url, Options { idle_timeout, ..options() }, Arc::new(SystemClock));
    let start = std::time::Instant::now();
    let body = Body::Memory(Bytes::from(vec![7; STEPS * STEP_BYTES]));
    client.put(&address(), Vec::new(), body).await.unwrap();
    assert!(start.elapsed() > idle_timeout, "it was not slow");
}
