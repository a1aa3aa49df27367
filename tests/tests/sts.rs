//! STS, and the edge on which it and the API of IAM stand: which requests are calls, and whose signature is good for what.

#![allow(clippy::unwrap_used)]

use cairn_tests::client::REGION;
use cairn_tests::{Cairn, Call, Reply};
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
