//! Conditional reads, writes and deletions.

#![allow(clippy::unwrap_used)]

use cairn_tests::multipart::Upload;
use cairn_tests::{Cairn, Call, Client, Reply, sigv4};

#[tokio::test]
async fn conditional_reads_answer_as_s3_answers() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("conditional").await;
    let quoted = client.put(&bucket, "key", "x").await.etag();
    let (etag, bare) = (quoted.as_str(), quoted.trim_matches('"'));
    let (past, future) = ("Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2094 00:00:00 GMT");
    let other = "\"00000000000000000000000000000000\"";
    let table: [(&[(&str, &str)], u16); 14] = [
        (&[("if-match", etag)], 200),
        (&[("if-match", bare)], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", other)], 412),
        (&[("if-none-match", etag)], 304),
        (&[("if-none-match", bare)], 304),
        (&[("if-none-match", other)], 200),
        (&[("if-none-match", &format!("{other}, {etag}"))], 304),
        (&[("if-modified-since", past)], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-unmodified-since", future)], 200),
        (&[("if-match", etag), ("if-unmodified-since", past)], 200),
        (&[("if-none-match", etag), ("if-modified-since", past)], 304),
        (&[("if-none-match", other), ("if-modified-since", past)], 200),
    ];
    for (headers, status) in table {
        for method in ["GET", "HEAD"] {
            let mut call = client.object(method, &bucket, "key");
            for (name, value) in headers {
                call = call.header(name, value);
            }
            let reply = call.send().await;
            assert_eq!(reply.status, status, "{method} {headers:?}: {reply:?}");
            if status == 304 {
                assert_eq!(reply.header("etag"), Some(etag), "{method} {headers:?}");
            }
            if status == 412 && method == "GET" {
                assert_eq!(reply.code(), "PreconditionFailed");
            }
        }
    }
}

#[tokio::test]
async fn lists_of_etags_and_weak_ones_are_compared_one_by_one() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("etags").await;
    let etag = client.put(&bucket, "key", "x").await.etag();
    let bare = etag.trim_matches('"');
    let other = "\"00000000000000000000000000000000\"";
    for (text, names_it) in [
        (format!("W/{etag}"), true),
        (format!("{other}, W/{etag}"), true),
        (format!("{other},{bare}"), true),
        (format!("  {etag} ,, {other}"), true),
        (format!("{other}, *"), true),
        (format!("{other}, {other}"), false),
        (format!("W/{other}"), false),
        (etag.to_ascii_uppercase(), false),
        (etag.replace('"', "'"), false),
        ("garbage".into(), false),
        ("\"\"".into(), false),
    ] {
        for method in ["GET", "HEAD"] {
            let with = |name: &str| client.object(method, &bucket, "key").header(name, &text).send();
            assert_eq!(with("if-match").await.status, if names_it { 200 } else { 412 }, "{method} if-match {text}");
            assert_eq!(with("if-none-match").await.status, if names_it { 304 } else { 200 }, "{method} none {text}");
        }
    }
    let twice = client.object("GET", &bucket, "key").header("if-none-match", other).header("if-none-match", &etag);
    twice.send().await.expect(304);
}

/// A time in the three formats of HTTP (RFC 9110, 5.6.7).
const YEAR_2001: [&str; 3] =
    ["Mon, 01 Jan 2001 01:02:03 GMT", "Monday, 01-Jan-01 01:02:03 GMT", "Mon Jan  1 01:02:03 2001"];
const YEAR_2037: [&str; 3] =
    ["Thu, 10 Dec 2037 01:02:03 GMT", "Thursday, 10-Dec-37 01:02:03 GMT", "Thu Dec 10 01:02:03 2037"];

#[tokio::test]
async fn dates_come_in_three_formats() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("dates").await;
    client.put(&bucket, "key", "x").await;
    let copy = client.object("PUT", &bucket, "copy").header("x-amz-copy-source", &format!("{bucket}/key"));
    for (dates, is_past) in [(YEAR_2001, true), (YEAR_2037, false)] {
        for date in dates {
            for method in ["GET", "HEAD"] {
                let with = |name: &str| client.object(method, &bucket, "key").header(name, date).send();
                let unmodified = if is_past { 412 } else { 200 };
                assert_eq!(with("if-unmodified-since").await.status, unmodified, "{method} {date}");
                assert_eq!(with("if-modified-since").await.status, if is_past { 200 } else { 304 }, "{method} {date}");
            }
            let copied = copy.clone().header("x-amz-copy-source-if-unmodified-since", date).send().await;
            assert_eq!(copied.status, if is_past { 412 } else { 200 }, "copy {date}");
        }
    }
}

#[tokio::test]
async fn a_date_that_is_none_is_no_condition() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("no-dates").await;
    client.put(&bucket, "key", "x").await;
    for date in ["yesterday", "", "2001-01-01T00:00:00Z", "Mon, 32 Jan 2001 01:02:03 GMT", "0", "-", "Mon Jan 1 2001"] {
        for name in ["if-unmodified-since", "if-modified-since"] {
            client.object("GET", &bucket, "key").header(name, date).send().await.expect(200);
        }
    }
}

#[tokio::test]
async fn if_modified_since_the_objects_own_time_is_304() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("own-time").await;
    client.put(&bucket, "key", "x").await;
    let modified = client.head(&bucket, "key").await.header("last-modified").unwrap().to_owned();
    client.object("GET", &bucket, "key").header("if-modified-since", &modified).send().await.expect(304);
    client.object("GET", &bucket, "key").header("if-unmodified-since", &modified).send().await.expect(200);
}

#[tokio::test]
async fn a_put_if_none_match_star_creates_once() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("create-once").await;
    let put = |content: &'static str| client.object("PUT", &bucket, "key").header("if-none-match", "*").body(content);
    put("first").send().await.expect(200);
    put("second").send().await.expect_error(412, "PreconditionFailed");
    assert_eq!(client.get(&bucket, "key").await.text(), "first");
}

/// Writers of one key at the same time.
const WRITERS: usize = 64;

/// Sends all the calls at once; exactly one must succeed and the others be told why not. Returns the winner's place.
async fn one_winner(calls: Vec<Call>) -> usize {
    let running: Vec<_> = calls.into_iter().map(|call| tokio::spawn(call.send())).collect();
    let mut winners = Vec::new();
    for (place, reply) in running.into_iter().enumerate() {
        let reply: Reply = reply.await.unwrap();
        match reply.status {
            200 => winners.push(place),
            409 => assert_eq!(reply.code(), "ConditionalRequestConflict"),
            _ => drop(reply.expect_error(412, "PreconditionFailed")),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?} succeeded");
    winners[0]
}

#[tokio::test]
async fn of_many_conditional_creations_one_wins() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("create-race").await;
    for round in 0..4 {
        let key = format!("key-{round}");
        let put = |writer: usize| {
            client.object("PUT", &bucket, &key).header("if-none-match", "*").body(format!("by {writer}"))
        };
        let winner = one_winner((0..WRITERS).map(put).collect()).await;
        assert_eq!(client.get(&bucket, &key).await.expect(200).text(), format!("by {winner}"), "round {round}");
    }
}

#[tokio::test]
async fn of_many_conditional_replacements_one_wins() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("replace-race").await;
    let mut etag = client.put(&bucket, "key", "first").await.etag();
    for round in 0..4 {
        // Bodies beyond the inline threshold race as well: their files are written before the commit.
        let body =
            |writer: usize| format!("by {writer} in {round} ").repeat(if writer.is_multiple_of(8) { 5_000 } else { 1 });
        let put = |writer| client.object("PUT", &bucket, "key").header("if-match", &etag).body(body(writer));
        let winner = one_winner((0..WRITERS).map(put).collect()).await;
        let got = client.get(&bucket, "key").await.expect(200);
        assert_eq!(got.text(), body(winner), "round {round}");
        etag = got.etag();
    }
}

#[tokio::test]
async fn of_many_conditional_puts_copies_and_completed_uploads_one_wins() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("mixed-race").await;
    client.put(&bucket, "source", "by a copy").await;
    let mut calls = Vec::new();
    let mut contents = Vec::new();
    for writer in 0..WRITERS {
        let put = client.object("PUT", &bucket, "key");
        let content = format!("by {writer}");
        let (call, content) = match writer % 3 {
            0 => (put.body(content.clone()), content),
            1 => (put.header("x-amz-copy-source", &format!("{bucket}/source")), "by a copy".to_owned()),
            _ => {
                let upload = Upload::create(&client, &bucket, "key").await;
                let etag = upload.upload(1, content.clone()).await;
                (upload.complete(&[(1, etag)]), content)
            }
        };
        calls.push(call.header("if-none-match", "*"));
        contents.push(content);
    }
    let winner = one_winner(calls).await;
    assert_eq!(client.get(&bucket, "key").await.expect(200).text(), contents[winner]);
}

#[tokio::test]
async fn a_put_if_match_replaces_only_that_object() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("put-if-match").await;
    let etag = client.put(&bucket, "key", "first").await.etag();
    let put = |key: &str, etag: &str| client.object("PUT", &bucket, key).header("if-match", etag).body("second");
    put("missing", &etag).send().await.expect_error(404, "NoSuchKey");
    put("key", "\"0\"").send().await.expect_error(412, "PreconditionFailed");
    put("key", etag.trim_matches('"')).send().await.expect(200);
    put("key", &etag).send().await.expect_error(412, "PreconditionFailed");
    assert_eq!(client.get(&bucket, "key").await.text(), "second");
}

#[tokio::test]
async fn a_delete_if_match_deletes_only_that_object() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-if-match").await;
    let etag = client.put(&bucket, "key", "first").await.etag();
    let delete = |etag: &str| client.object("DELETE", &bucket, "key").header("if-match", etag);
    delete("\"0\"").send().await.expect_error(412, "PreconditionFailed");
    client.get(&bucket, "key").await.expect(200);
    delete(&etag).send().await.expect(204);
    client.get(&bucket, "key").await.expect(404);
}

#[tokio::test]
async fn a_delete_by_size_and_time_deletes_only_that_object() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-by-size").await;
    client.put(&bucket, "key", "first").await;
    let modified = client.head(&bucket, "key").await.header("last-modified").unwrap().to_owned();
    let delete = |size: &str, time: &str| {
        let call = client.object("DELETE", &bucket, "key").header("x-amz-if-match-size", size);
        call.header("x-amz-if-match-last-modified-time", time).send()
    };
    delete("4", &modified).await.expect_error(412, "PreconditionFailed");
    delete("5", "Mon, 01 Jan 2001 00:00:00 GMT").await.expect_error(412, "PreconditionFailed");
    delete("five", &modified).await.expect_error(400, "InvalidArgument");
    delete("5", "yesterday").await.expect_error(400, "InvalidArgument");
    client.get(&bucket, "key").await.expect(200);
    delete("5", &modified).await.expect(204);
    client.get(&bucket, "key").await.expect(404);
    delete("5", &modified).await.expect(204);
    let put = client.object("PUT", &bucket, "key").header("x-amz-if-match-size", "5").body("x");
    put.send().await.expect_error(501, "NotImplemented");
}

/// DeleteObjects with one condition for each key, as elements.
async fn delete_all(client: &Client, bucket: &str, conditions: &[(&str, String)]) -> Reply {
    let objects: String =
        conditions.iter().map(|(key, condition)| format!("<Object><Key>{key}</Key>{condition}</Object>")).collect();
    let document = format!("<Delete>{objects}</Delete>");
    let md5 = sigv4::content_md5(document.as_bytes());
    client.bucket("POST", bucket).query("delete", "").header("content-md5", &md5).body(document).send().await
}

#[tokio::test]
async fn each_key_of_many_may_have_conditions_of_its_own() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("delete-many-if").await;
    let etag = client.put(&bucket, "a", "content").await.etag();
    for key in ["b", "c", "d", "e", "f"] {
        client.put(&bucket, key, "content").await;
    }
    let modified = client.head(&bucket, "e").await.header("last-modified").unwrap().to_owned();
    let conditions = [
        ("a", format!("<ETag>{etag}</ETag>")),
        ("b", "<ETag>\"0\"</ETag>".to_owned()),
        ("c", "<Size>7</Size>".to_owned()),
        ("d", "<Size>8</Size>".to_owned()),
        ("e", format!("<LastModifiedTime>{modified}</LastModifiedTime><ETag>*</ETag>")),
        ("f", "<LastModifiedTime>Mon, 01 Jan 2001 00:00:00 GMT</LastModifiedTime>".to_owned()),
        ("missing", format!("<ETag>{etag}</ETag>")),
    ];
    let reply = delete_all(&client, &bucket, &conditions).await.expect(200);
    assert_eq!(reply.xml_all("Key"), ["a", "b", "c", "d", "e", "f", "missing"]);
    assert_eq!(reply.xml_all("Deleted").len(), 4, "{reply:?}");
    assert_eq!(reply.xml_all("Code"), ["PreconditionFailed"; 3], "{reply:?}");
    assert_eq!(client.keys(&bucket).await, ["b", "d", "f"]);
}
