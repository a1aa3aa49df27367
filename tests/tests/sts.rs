//! STS, and the edge on which it and the API of IAM stand: which requests are calls, and whose signature is good for what.

#![allow(clippy::unwrap_used)]

use cairn_tests::client::{Client, REGION};
use cairn_tests::sigv4::{Chunking, Credentials};
use cairn_tests::{Cairn, Call, Config, Reply, digest, skip};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

const FORM: &str = "application/x-www-form-urlencoded";
const WHO: &str = "Action=GetCallerIdentity&Version=2011-06-15";

fn who(cairn: &Cairn) -> Call {
    cairn.client().action("sts", "GetCallerIdentity", &[])
}

/// Status and code of a refusal, which must be a document of the Query protocol.
fn refusal(reply: &Reply) -> (u16, String) {
    let text = reply.text();
    assert!(text.contains("<ErrorResponse xmlns=\"https://"), "{text}");
    assert!(text.contains("<Type>Sender</Type>"), "{text}");
    assert_eq!(reply.header("x-amzn-requestid"), Some(reply.xml("RequestId").as_str()));
    (reply.status, reply.code())
}

async fn expect_refusal(call: Call, status: u16, code: &str) {
    assert_eq!(refusal(&call.send().await), (status, code.to_owned()));
}

#[tokio::test]
async fn a_root_is_told_who_it_is() {
    let cairn = Cairn::shared();
    let reply = who(&cairn).send().await.expect(200);
    assert_eq!(reply.header("content-type"), Some("text/xml"));
    let text = reply.text();
    assert!(text.contains("<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"), "{text}");
    assert!(text.contains("<GetCallerIdentityResult><Arn>arn:aws:iam::100000000001:root</Arn>"), "{text}");
    assert_eq!((reply.xml("UserId"), reply.xml("Account")), ("100000000001".to_owned(), "100000000001".to_owned()));
    assert_eq!(reply.header("x-amzn-requestid"), Some(reply.xml("RequestId").as_str()));
}

#[tokio::test]
async fn a_payload_hash_may_be_sent_and_must_then_be_true() {
    let cairn = Cairn::shared();
    let call = || cairn.client().call("POST", "/").scope(REGION, "sts").header("content-type", FORM).body(WHO);
    call().send().await.expect(200);
    expect_refusal(call().unsigned_payload(), 403, "SignatureDoesNotMatch").await;
}

#[tokio::test]
async fn what_is_signed_for_one_service_is_good_for_no_other() {
    let cairn = Cairn::shared();
    // For S3 it is no call at all, and S3 knows no POST of the service.
    let reply = who(&cairn).scope(REGION, "s3").send().await;
    assert!(reply.status >= 400 && !reply.text().contains("ErrorResponse"), "{}", reply.text());
    expect_refusal(who(&cairn).scope(REGION, "iam"), 400, "InvalidAction").await;
    expect_refusal(cairn.client().action("iam", "GetCallerIdentity", &[]).scope(REGION, "sts"), 400, "InvalidAction")
        .await;
    for path in ["/bucket", "/bucket/key"] {
        let call = cairn.client().call("GET", path).scope(REGION, "sts");
        call.send().await.expect_error(400, "AuthorizationHeaderMalformed");
    }
    // A scope in the header that is not the one that was signed.
    let mut wire = who(&cairn).build();
    for (name, value) in &mut wire.headers {
        if name == "authorization" {
            *value = value.replace("/sts/", "/iam/");
        }
    }
    let reply = wire.send(cairn.client().address).await.unwrap();
    assert_eq!(refusal(&reply), (403, "SignatureDoesNotMatch".to_owned()));
}

#[tokio::test]
async fn a_changed_form_is_refused() {
    let cairn = Cairn::shared();
    let mut wire = who(&cairn).build();
    wire.body = format!("{WHO}&More=1").into();
    wire.content_length = Some(wire.body.len() as u64);
    let reply = wire.send(cairn.client().address).await.unwrap();
    assert_eq!(refusal(&reply), (403, "SignatureDoesNotMatch".to_owned()));
}

#[tokio::test]
async fn faults_of_the_signature_are_told_as_iam_does() {
    let cairn = Cairn::shared();
    let nobody = cairn.client_with("nobody", "a-secret-that-is-long");
    expect_refusal(nobody.action("sts", "GetCallerIdentity", &[]), 403, "InvalidClientTokenId").await;
    let wrong = cairn.client_with(&cairn.client().credentials.access_key, "a-secret-that-is-long");
    expect_refusal(wrong.action("sts", "GetCallerIdentity", &[]), 403, "SignatureDoesNotMatch").await;
    let late = who(&cairn).at(OffsetDateTime::now_utc() - Duration::hours(1));
    expect_refusal(late, 403, "SignatureDoesNotMatch").await;
    expect_refusal(who(&cairn).scope("eu-west-1", "sts"), 400, "IncompleteSignature").await;
}

#[tokio::test]
async fn a_client_that_is_told_of_no_region_signs_for_none() {
    let cairn = Cairn::shared();
    who(&cairn).scope("", "sts").send().await.expect(200);
}

#[tokio::test]
async fn a_call_without_a_signature_is_told_nothing() {
    let cairn = Cairn::shared();
    expect_refusal(who(&cairn).anonymous(), 403, "MissingAuthenticationToken").await;
    let unknown = cairn.client().action("sts", "NoSuchAction", &[]).anonymous();
    expect_refusal(unknown, 403, "MissingAuthenticationToken").await;
}

#[tokio::test]
async fn an_unknown_action_and_a_form_that_is_none_are_refused() {
    let cairn = Cairn::shared();
    for service in ["iam", "sts"] {
        expect_refusal(cairn.client().action(service, "NoSuchAction", &[]), 400, "InvalidAction").await;
    }
    let twice = cairn.client().action("sts", "GetCallerIdentity", &[("a", "1"), ("a", "2")]);
    expect_refusal(twice, 404, "MalformedQueryString").await;
}

#[tokio::test]
async fn a_form_is_bounded() {
    let cairn = Cairn::shared();
    let large = "x".repeat((1 << 20) + 1);
    let reply = cairn.client().action("sts", "GetCallerIdentity", &[("Policy", &large)]).send().await;
    assert_eq!(reply.status, 400, "{}", reply.text());
}

/// A client with a session of the first account's root.
async fn root_session(cairn: &Cairn) -> Client {
    let reply = cairn.client().action("sts", "GetSessionToken", &[("DurationSeconds", "900")]).send().await.expect(200);
    cairn.client().in_session(&reply)
}

fn with_token(client: &Client, token: Option<&str>) -> Client {
    let credentials = Credentials { token: token.map(str::to_owned), ..client.credentials.clone() };
    Client { credentials, ..client.clone() }
}

fn expires() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + 60
}

/// The same GET of an object, signed in every way that a token can come along with.
fn signed_in_every_way(client: &Client, bucket: &str) -> Vec<(&'static str, Call)> {
    let get = || client.object("GET", bucket, "key");
    vec![
        ("header", get()),
        ("URL", get().presigned(60)),
        ("URL of version 2", get().presigned_v2(expires())),
        ("unsigned payload", get().unsigned_payload()),
    ]
}

#[tokio::test]
async fn a_session_signs_in_every_way() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("sts-ways").await;
    let session = root_session(&cairn).await;
    assert!(session.credentials.access_key.starts_with("ASIA"));
    for chunking in [
        Chunking { chunk_bytes: 8 << 10, signed: true, trailers: vec![] },
        Chunking {
            chunk_bytes: 8 << 10,
            signed: false,
            trailers: vec![("x-amz-checksum-crc32".into(), digest::checksum("CRC32", b"body"))],
        },
    ] {
        let put = session.object("PUT", &bucket, "key").body("body").chunked(chunking);
        put.send().await.expect(200);
    }
    session.put(&bucket, "key", "body").await;
    for (way, call) in signed_in_every_way(&session, &bucket) {
        assert_eq!(call.send().await.expect(200).text(), "body", "{way}");
    }
    let reply = session.action("sts", "GetCallerIdentity", &[]).send().await.expect(200);
    assert_eq!(reply.xml("Arn"), "arn:aws:iam::100000000001:root");
}

#[tokio::test]
async fn a_key_of_a_session_without_its_token_is_nobodys() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("sts-alone").await;
    let session = with_token(&root_session(&cairn).await, None);
    for (_, call) in signed_in_every_way(&session, &bucket) {
        call.send().await.expect_error(403, "InvalidAccessKeyId");
    }
    expect_refusal(session.action("sts", "GetCallerIdentity", &[]), 403, "InvalidClientTokenId").await;
}

#[tokio::test]
async fn a_token_that_is_changed_or_of_another_key_is_invalid() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("sts-changed").await;
    let (session, other) = (root_session(&cairn).await, root_session(&cairn).await);
    let token = session.credentials.token.clone().unwrap();
    let changed = token.char_indices().step_by(97).map(|(at, character)| {
        let other = if character == 'A' { "B" } else { "A" };
        format!("{}{other}{}", &token[..at], &token[at + 1..])
    });
    let long = "A".repeat(100_000);
    let bad: Vec<String> = changed
        .chain([
            other.credentials.token.unwrap(),
            token[..token.len() - 4].to_owned(),
            format!("{token}AAAA"),
            long[..20_000].to_owned(),
        ])
        .collect();
    for token in &bad {
        let client = with_token(&session, Some(token));
        client.get(&bucket, "key").await.expect_error(400, "InvalidToken");
        client.object("GET", &bucket, "key").presigned(60).send().await.expect_error(400, "InvalidToken");
    }
    let client = with_token(&session, Some(&bad[0]));
    client.object("GET", &bucket, "key").presigned_v2(expires()).send().await.expect_error(400, "InvalidToken");
    expect_refusal(client.action("sts", "GetCallerIdentity", &[]), 403, "InvalidClientTokenId").await;
    // A key that lasts has no token.
    let root = with_token(&cairn.client(), Some(&token));
    root.get(&bucket, "key").await.expect_error(400, "InvalidToken");
    // Nor has nobody.
    let nobody = session.object("GET", &bucket, "key").anonymous().header("x-amz-security-token", &token);
    nobody.send().await.expect_error(400, "InvalidToken");
}

#[tokio::test]
async fn a_token_that_the_signature_does_not_cover_is_refused() {
    let cairn = Cairn::shared();
    let bucket = cairn.client().fresh_bucket("sts-uncovered").await;
    let session = root_session(&cairn).await;
    let token = session.credentials.token.clone().unwrap();
    let alone = with_token(&session, None);
    // Added after signing, in the header and in the URLs.
    let mut wire = alone.object("GET", &bucket, "key").build();
    wire.headers.push(("x-amz-security-token".into(), token.clone()));
    wire.send(session.address).await.unwrap().expect_error(403, "AccessDenied");
    for (call, name) in [
        (alone.object("GET", &bucket, "key").presigned(60), "X-Amz-Security-Token"),
        (alone.object("GET", &bucket, "key").presigned_v2(expires()), "x-amz-security-token"),
    ] {
        let mut wire = call.build();
        wire.target = format!("{}&{name}={token}", wire.target);
        wire.send(session.address).await.unwrap().expect_error(403, "SignatureDoesNotMatch");
    }
    // In a header beside a URL.
    let beside = alone.object("GET", &bucket, "key").presigned(60).header("x-amz-security-token", &token);
    beside.send().await.expect_error(400, "InvalidToken");
}

#[tokio::test]
async fn the_secret_of_a_session_is_needed_too() {
    let cairn = Cairn::shared();
    let session = root_session(&cairn).await;
    let credentials = Credentials { secret_key: "wrong".repeat(8), ..session.credentials.clone() };
    let thief = Client { credentials, ..session };
    thief.get("bucket", "key").await.expect_error(403, "SignatureDoesNotMatch");
    expect_refusal(thief.action("sts", "GetCallerIdentity", &[]), 403, "SignatureDoesNotMatch").await;
}

#[tokio::test]
async fn a_token_of_another_server_is_invalid() {
    let cairn = Cairn::shared();
    let other = Cairn::start(Config::default());
    let foreign = Client { address: cairn.client().address, ..root_session(&other).await };
    foreign.get("bucket", "key").await.expect_error(400, "InvalidToken");
}

#[tokio::test]
async fn a_session_outlives_a_restart_and_ends_in_its_time() {
    let mut cairn = Cairn::start(Config::default());
    let bucket = cairn.client().fresh_bucket("sts-restart").await;
    let session = root_session(&cairn).await;
    session.put(&bucket, "key", "before").await;
    cairn.restart();
    assert_eq!(session.get(&bucket, "key").await.expect(200).text(), "before");
    if let Err(reason) = cairn.set_wall_clock(1) {
        skip!("{reason}");
    }
    cairn.restart();
    let tomorrow = OffsetDateTime::now_utc() + Duration::days(1);
    let get = |client: &Client| client.object("GET", &bucket, "key").at(tomorrow);
    get(&session).send().await.expect_error(400, "ExpiredToken");
    get(&session).presigned(60).send().await.expect_error(400, "ExpiredToken");
    expect_refusal(session.action("sts", "GetCallerIdentity", &[]).at(tomorrow), 403, "ExpiredToken").await;
    assert_eq!(get(&cairn.client()).send().await.expect(200).text(), "before");
}

#[tokio::test]
async fn a_session_of_a_root_cannot_make_more_of_them() {
    let cairn = Cairn::shared();
    let session = root_session(&cairn).await;
    for (action, parameters) in [("GetSessionToken", &[][..]), ("GetFederationToken", &[("Name", "guest")])] {
        expect_refusal(session.action("sts", action, parameters), 403, "AccessDenied").await;
    }
}

#[tokio::test]
async fn whose_an_access_key_is_is_told_of_those_that_last() {
    let cairn = Cairn::shared();
    let ask = |key: &str| cairn.client().action("sts", "GetAccessKeyInfo", &[("AccessKeyId", key)]);
    let other = cairn.other_client().credentials.access_key;
    assert_eq!(ask(&other).send().await.expect(200).xml("Account"), "100000000002");
    let session = root_session(&cairn).await.credentials.access_key;
    for key in ["AKIANOBODYHASTHISKEY", session.as_str()] {
        expect_refusal(ask(key), 400, "ValidationError").await;
    }
}

#[tokio::test]
async fn durations_have_their_bounds() {
    let cairn = Cairn::shared();
    let ask = |seconds: &str| cairn.client().action("sts", "GetSessionToken", &[("DurationSeconds", seconds)]);
    for seconds in ["899", "129601", "-1"] {
        let reply = ask(seconds).send().await;
        assert_eq!(reply.status, 400, "{seconds}: {}", reply.text());
    }
    // A root's session lasts for an hour at most, whatever it asks for.
    let reply = ask("129600").send().await.expect(200);
    let expiration = OffsetDateTime::parse(&reply.xml("Expiration"), &Rfc3339).unwrap();
    let left = expiration - OffsetDateTime::now_utc();
    assert!(left <= Duration::hours(1) && left > Duration::minutes(50), "{left}");
}

/// A presigned URL that tells who made it.
fn url(client: &Client) -> Call {
    let call = client.call("GET", "/").scope(REGION, "sts").presigned(60);
    call.query("Action", "GetCallerIdentity").query("Version", "2011-06-15")
}

#[tokio::test]
async fn a_presigned_url_proves_who_made_it() {
    let cairn = Cairn::shared();
    let (root, session) = (cairn.client(), root_session(&cairn).await);
    for client in [&root, &session] {
        let reply = url(client).header("x-k8s-aws-id", "cluster").send().await.expect(200);
        assert_eq!(reply.xml("Arn"), "arn:aws:iam::100000000001:root");
    }
    let reply = url(&root).header("accept", "application/json").send().await.expect(200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let document: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
    let response = &document["GetCallerIdentityResponse"];
    assert_eq!(response["GetCallerIdentityResult"]["Account"], "100000000001");
    assert_eq!(response["ResponseMetadata"]["RequestId"], reply.header("x-amzn-requestid").unwrap());
}

#[tokio::test]
async fn a_presigned_url_that_was_changed_is_old_or_asks_for_more_is_refused() {
    let cairn = Cairn::shared();
    let root = cairn.client();
    let mut wrong = root.clone();
    wrong.credentials.secret_key = "another secret".to_owned();
    expect_refusal(url(&wrong), 403, "SignatureDoesNotMatch").await;
    let old = OffsetDateTime::now_utc() - time::Duration::minutes(16);
    expect_refusal(url(&root).at(old), 403, "SignatureDoesNotMatch").await;
    let mut extended = url(&root).build();
    extended.target.push_str("&x=1");
    assert_eq!(refusal(&extended.send(root.address).await.unwrap()), (403, "SignatureDoesNotMatch".to_owned()));
    // The host is covered.
    let mut moved = url(&root).build();
    moved.headers.iter_mut().filter(|(name, _)| name == "host").for_each(|(_, value)| *value = "elsewhere".to_owned());
    assert_eq!(refusal(&moved.send(root.address).await.unwrap()), (403, "SignatureDoesNotMatch".to_owned()));
    // So is its being for STS, and no other action of it.
    let session = root.call("GET", "/").scope(REGION, "sts").presigned(60);
    let session = session.query("Action", "GetSessionToken").query("Version", "2011-06-15");
    expect_refusal(session, 400, "InvalidAction").await;
    let iam = root.call("GET", "/").scope(REGION, "iam").presigned(60).query("Action", "GetUser");
    let iam = iam.query("Version", "2010-05-08").send().await;
    assert!(iam.status >= 400 && !iam.text().contains("GetUserResponse"), "{}", iam.text());
    // What comes with it is covered by its hash.
    let mut with_body = url(&root).build();
    (with_body.body, with_body.content_length) = ("x=1".into(), Some(3));
    assert_eq!(refusal(&with_body.send(root.address).await.unwrap()), (403, "SignatureDoesNotMatch".to_owned()));
}

#[tokio::test]
async fn there_is_no_encoded_message_to_decode() {
    let cairn = Cairn::shared();
    let decode = |client: &Client| client.action("sts", "DecodeAuthorizationMessage", &[("EncodedMessage", "AAAA")]);
    expect_refusal(decode(&cairn.client()), 400, "InvalidAuthorizationMessageException").await;
    expect_refusal(cairn.client().action("sts", "DecodeAuthorizationMessage", &[]), 400, "ValidationError").await;
    let user = cairn.client().action("iam", "CreateUser", &[("UserName", "decoder")]).send().await;
    user.expect(200);
    let key = cairn.client().action("iam", "CreateAccessKey", &[("UserName", "decoder")]).send().await.expect(200);
    let user = cairn.client_with(&key.xml("AccessKeyId"), &key.xml("SecretAccessKey"));
    expect_refusal(decode(&user), 403, "AccessDenied").await;
}
