//! Cross-origin requests: the configuration of a bucket, preflights, and what answers tell browsers. That a real browser makes
//! of it what it should, `tests/clients/browser.py` shows.

#![allow(clippy::unwrap_used)]

use cairn_tests::wire::{Reply, Wire};
use cairn_tests::{Cairn, Client, Config};

const ORIGIN: &str = "https://page.example";
const ALLOWED: &str = "access-control-allow-origin";
const VARY: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

/// A rule for GET and PUT by one origin, which may send two headers and read one.
const RULE: &str = "<CORSRule><ID>one</ID><AllowedHeader>content-type</AllowedHeader><AllowedHeader>X-Amz-*</AllowedHeader>\
                    <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>\
                    <AllowedOrigin>https://page.example</AllowedOrigin><ExposeHeader>ETag</ExposeHeader>\
                    <MaxAgeSeconds>600</MaxAgeSeconds></CORSRule>";

fn configuration(rules: &str) -> String {
    format!("<CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}</CORSConfiguration>")
}

async fn put_rules(client: &Client, bucket: &str, rules: &str) {
    client.bucket("PUT", bucket).query("cors", "").body(configuration(rules)).send().await.expect(200);
}

async fn bucket_with_rule(client: &Client, purpose: &str) -> String {
    let bucket = client.fresh_bucket(purpose).await;
    put_rules(client, &bucket, RULE).await;
    bucket
}

/// An OPTIONS request as a browser sends it.
async fn preflight(client: &Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut headers: Vec<(String, String)> =
        headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    headers.push(("host".to_owned(), client.address.to_string()));
    let target = path.to_owned();
    let wire = Wire { method: "OPTIONS".into(), target, headers, content_length: None, body: Default::default() };
    wire.send(client.address).await.unwrap()
}

fn asking(method: &str) -> [(&str, &str); 2] {
    [("origin", ORIGIN), ("access-control-request-method", method)]
}

#[tokio::test]
async fn a_configuration_is_kept_shown_and_removed() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("cors-kept").await;
    let cors = |method| client.bucket(method, &bucket).query("cors", "");
    let none = cors("GET").send().await.expect_error(404, "NoSuchCORSConfiguration");
    assert_eq!(none.xml("Message"), "The CORS configuration does not exist");
    assert_eq!(none.xml("BucketName"), bucket);
    cors("DELETE").send().await.expect(204);
    put_rules(&client, &bucket, RULE).await;
    let shown = cors("GET").send().await.expect(200);
    assert_eq!(shown.xml_all("AllowedMethod"), ["GET", "PUT"]);
    assert_eq!(shown.xml_all("AllowedHeader"), ["content-type", "X-Amz-*"]);
    assert_eq!((shown.xml("ID").as_str(), shown.xml("MaxAgeSeconds").as_str()), ("one", "600"));
    cors("DELETE").send().await.expect(204);
    cors("GET").send().await.expect_error(404, "NoSuchCORSConfiguration");
    preflight(&client, &format!("/{bucket}/key"), &asking("GET")).await.expect_error(403, "AccessForbidden");
}

#[tokio::test]
async fn a_configuration_outlives_a_restart() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = bucket_with_rule(&client, "cors-restart").await;
    cairn.restart();
    preflight(&client, &format!("/{bucket}/key"), &asking("GET")).await.expect(200);
}

#[tokio::test]
async fn what_is_no_configuration_is_refused_and_changes_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_rule(&client, "cors-refused").await;
    let put = |body: String| client.bucket("PUT", &bucket).query("cors", "").body(body).send();
    let with = |from, to| configuration(&RULE.replace(from, to));
    for (body, code) in [
        (configuration(""), "MalformedXML"),
        (configuration("<CORSRule/>"), "MalformedXML"),
        ("not XML".to_owned(), "MalformedXML"),
        (String::new(), "MissingRequestBodyError"),
        (with("PUT", "PATCH"), "InvalidRequest"),
        (with("https://page", "https://*.*"), "InvalidRequest"),
        (with("ETag", "*"), "InvalidRequest"),
        (with("600", "soon"), "MalformedXML"),
        (configuration(&RULE.repeat(101)), "InvalidRequest"),
        (configuration(&RULE.replace("one", &"x".repeat(256))), "InvalidArgument"),
        (configuration(&" ".repeat(64 << 10)), "MaxMessageLengthExceeded"),
    ] {
        put(body.clone()).await.expect_error(400, code);
        assert_eq!(
            client.bucket("GET", &bucket).query("cors", "").send().await.expect(200).xml("ID"),
            "one",
            "{body:.200}"
        );
    }
    let wrong = client.bucket("PUT", &bucket).query("cors", "").header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
    wrong.body(configuration(RULE)).send().await.expect_error(400, "BadDigest");
}

#[tokio::test]
async fn a_preflight_needs_no_signature_and_is_answered_by_the_rule() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_rule(&client, "cors-preflight").await;
    let asked = [&asking("PUT")[..], &[("access-control-request-headers", "Content-Type,x-amz-date")]].concat();
    let answer = preflight(&client, &format!("/{bucket}/no/such/key?X-Amz-Signature=none"), &asked).await.expect(200);
    for (name, value) in [
        (ALLOWED, ORIGIN),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "content-type, x-amz-date"),
        ("access-control-expose-headers", "ETag"),
        ("access-control-max-age", "600"),
        ("access-control-allow-credentials", "true"),
        ("vary", VARY),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(answer.body.is_empty());
    assert!(answer.header("x-amz-request-id").is_some());
    // The bucket itself, and the bucket in the host.
    preflight(&client, &format!("/{bucket}"), &asking("GET")).await.expect(200);
    let in_host = client.call("OPTIONS", "/key").host(&format!("{bucket}.s3.localhost")).header("origin", ORIGIN);
    in_host.header("access-control-request-method", "GET").anonymous().send().await.expect(200);
}

#[tokio::test]
async fn a_preflight_that_is_refused_says_why_as_s3_does() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_rule(&client, "cors-why").await;
    let plain = client.fresh_bucket("cors-why-plain").await;
    let (key, bare, missing) = (format!("/{bucket}/key"), format!("/{plain}/key"), "/no-such-bucket-here/key");
    let not_allowed = "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request \
                       method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the \
                       resource's CORS spec.";
    let other = [("origin", "https://other.example"), ("access-control-request-method", "PUT")];
    let header = [&asking("PUT")[..], &[("access-control-request-headers", "content-type, authorization")]].concat();
    let not_enabled = "CORSResponse: CORS is not enabled for this bucket.";
    let no_origin = "Insufficient information. Origin request header needed.";
    let only_origin = &asking("")[..1];
    for (path, headers, status, message, method, kind) in [
        (key.as_str(), &[][..], 400, no_origin, "", ""),
        (&bare, &[], 400, no_origin, "", ""),
        (missing, &[], 400, no_origin, "", ""),
        (&key, only_origin, 400, "Invalid Access-Control-Request-Method: null", "", ""),
        (&key, &asking("PATCH"), 400, "Invalid Access-Control-Request-Method: PATCH", "", ""),
        (&key, &asking("DELETE"), 403, not_allowed, "DELETE", "OBJECT"),
        (&format!("/{bucket}"), &asking("DELETE"), 403, not_allowed, "DELETE", "BUCKET"),
        (&key, &other, 403, not_allowed, "PUT", "OBJECT"),
        (&key, &header, 403, not_allowed, "PUT", "OBJECT"),
        (&bare, &asking("PUT"), 403, not_enabled, "PUT", "BUCKET"),
        (&bare, only_origin, 403, not_enabled, "OPTIONS", "BUCKET"),
        (missing, &asking("GET"), 403, "CORSResponse: Bucket not found", "GET", "BUCKET"),
        ("/", &asking("GET"), 403, "CORSResponse: Bucket not found", "GET", "BUCKET"),
    ] {
        let code = if status == 400 { "BadRequest" } else { "AccessForbidden" };
        let got = preflight(&client, path, headers).await.expect_error(status, code);
        assert_eq!(got.xml("Message"), message, "{path} {headers:?}");
        assert_eq!(
            (got.xml("Method").as_str(), got.xml("ResourceType").as_str()),
            (method, kind),
            "{path} {headers:?}"
        );
        assert!(!got.xml("HostId").is_empty() && got.header(ALLOWED).is_none(), "{path} {headers:?}");
    }
}

#[tokio::test]
async fn answers_and_failures_alike_can_be_read_by_the_pages_that_may() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_rule(&client, "cors-answers").await;
    client.put(&bucket, "key", "content").await;
    let get = |key: &str| client.object("GET", &bucket, key).header("origin", ORIGIN);
    let mut wrong_key = client.clone();
    wrong_key.credentials.secret_key = "another-secret-key-0000000000000001".into();
    for (reply, status) in [
        (get("key").send().await, 200),
        (get("missing").send().await, 404),
        (get("key").header("if-none-match", "*").send().await, 304),
        (get("key").anonymous().send().await, 403),
        (wrong_key.object("GET", &bucket, "key").header("origin", ORIGIN).send().await, 403),
        (get("key").query("torrent", "").send().await, 501),
        (get("key").presigned(60).send().await, 200),
        (client.object("PUT", &bucket, "new").header("origin", ORIGIN).body("x").send().await, 200),
        (client.bucket("GET", &bucket).header("origin", ORIGIN).send().await, 200),
    ] {
        let reply = reply.expect(status);
        assert_eq!(reply.header(ALLOWED), Some(ORIGIN), "{reply:?}");
        assert_eq!(reply.header("access-control-expose-headers"), Some("ETag"));
        assert_eq!(reply.header("vary"), Some(VARY));
    }
}

#[tokio::test]
async fn other_pages_are_answered_as_always_and_told_nothing() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = bucket_with_rule(&client, "cors-others").await;
    let plain = client.fresh_bucket("cors-others-plain").await;
    client.put(&bucket, "key", "content").await;
    let get = |bucket: &str, key: &str| client.object("GET", bucket, key);
    let other = "https://other.example";
    for (reply, status) in [
        (get(&bucket, "key").send().await, 200),
        (get(&bucket, "key").header("origin", other).send().await, 200),
        (client.object("DELETE", &bucket, "absent").header("origin", ORIGIN).send().await, 204),
        // What a preflight would ask for decides, as on S3.
        (
            get(&bucket, "key").header("origin", ORIGIN).header("access-control-request-method", "DELETE").send().await,
            200,
        ),
        (client.bucket("GET", &plain).header("origin", ORIGIN).send().await, 200),
        (client.bucket("GET", "no-such-bucket-here").header("origin", ORIGIN).send().await, 404),
    ] {
        let reply = reply.expect(status);
        assert!(reply.header(ALLOWED).is_none() && reply.header("vary").is_none(), "{reply:?}");
    }
}

#[tokio::test]
async fn the_first_rule_that_matches_wins_and_any_origin_has_no_credentials() {
    let cairn = Cairn::shared();
    let client = cairn.client();
    let bucket = client.fresh_bucket("cors-first").await;
    let rule = |origin: &str, age: u32| {
        format!(
            "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>{origin}</AllowedOrigin>\
             <MaxAgeSeconds>{age}</MaxAgeSeconds></CORSRule>"
        )
    };
    put_rules(&client, &bucket, &(rule("https://*.example", 1) + &rule("*", 2) + &rule("https://page.example", 3)))
        .await;
    let from = |origin: &'static str| client.bucket("GET", &bucket).header("origin", origin).send();
    for (origin, allowed, age, credentials) in
        [(ORIGIN, ORIGIN, "1", Some("true")), ("http://elsewhere", "*", "2", None)]
    {
        let reply = from(origin).await.expect(200);
        assert_eq!(reply.header(ALLOWED), Some(allowed));
        assert_eq!(reply.header("access-control-max-age"), Some(age));
        assert_eq!(reply.header("access-control-allow-credentials"), credentials);
    }
    // A change is in force at once, whatever was kept of the one before.
    put_rules(&client, &bucket, &rule("https://nobody.example", 4)).await;
    assert!(from(ORIGIN).await.expect(200).header(ALLOWED).is_none());
}

#[tokio::test]
async fn the_origins_of_the_configuration_may_use_everything_and_no_others() {
    let more = "\n[cors]\norigins = [\"https://console.example:8443\"]\n".to_owned();
    let cairn = Cairn::start(Config { more, ..Config::default() });
    let client = cairn.client();
    let bucket = bucket_with_rule(&client, "cors-console").await;
    let plain = client.fresh_bucket("cors-console-plain").await;
    let console = "https://console.example:8443";
    let from_console = [
        ("origin", console),
        ("access-control-request-method", "DELETE"),
        ("access-control-request-headers", "authorization,x-amz-date"),
    ];
    for path in
        ["/", &format!("/{bucket}/key"), &format!("/{plain}"), "/no-such-bucket-here/key", "/-/admin/v1/lock-clock"]
    {
        let answer = preflight(&client, path, &from_console).await.expect(200);
        assert_eq!(answer.header(ALLOWED), Some(console), "{path}");
        preflight(&client, path, &[("origin", "https://console.example"), from_console[1]]).await.expect(403);
    }
    // A bucket's own rules come first.
    assert_eq!(
        preflight(&client, &format!("/{bucket}/key"), &asking("GET")).await.expect(200).header(ALLOWED),
        Some(ORIGIN)
    );
    let iam = client.action("iam", "ListUsers", &[]).header("origin", console).send().await.expect(200);
    let sts = client.action("sts", "GetCallerIdentity", &[]).header("origin", ORIGIN).send().await.expect(200);
    let list = client.call("GET", "/").header("origin", console).send().await.expect(200);
    let missing = client.bucket("GET", "no-such-bucket-here").header("origin", console).send().await.expect(404);
    assert_eq!([&iam, &sts, &list, &missing].map(|reply| reply.header(ALLOWED).is_some()), [true, false, true, true]);
    assert!(iam.header("access-control-expose-headers").unwrap().contains("x-amz-request-id"));
}
