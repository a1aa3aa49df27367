//! Conditional reads, writes and deletions.

#![allow(clippy::unwrap_used)]

use cairn_tests::Cairn;

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

#[tokio::test]
async fn racing_conditional_creations_have_one_winner() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("create-race").await;
    for round in 0..10 {
        let key = format!("key-{round}");
        let puts: Vec<_> = (0..8)
            .map(|number| {
                let call =
                    client.object("PUT", &bucket, &key).header("if-none-match", "*").body(format!("by {number}"));
                tokio::spawn(call.send())
            })
            .collect();
        let mut winners = Vec::new();
        for (number, put) in puts.into_iter().enumerate() {
            let reply = put.await.unwrap();
            match reply.status {
                200 => winners.push(format!("by {number}")),
                409 => assert_eq!(reply.code(), "ConditionalRequestConflict"),
                _ => drop(reply.expect_error(412, "PreconditionFailed")),
            }
        }
        assert_eq!(winners, [client.get(&bucket, &key).await.expect(200).text()], "round {round}");
    }
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
