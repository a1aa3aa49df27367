//! Other S3 services that a call adds to a running server.

#![allow(clippy::unwrap_used)]

use std::process::Output;

use cairn_tests::replication::{MAY_S3, Rule, put_rules, remote_as, role, until, versioned};
use cairn_tests::{Cairn, Call, Client, Config};

const BUCKET: &str = "copies";
const ACCESS_KEY: &str = "cairn-test-access";
const SECRET_KEY: &str = "cairn-test-secret-key-0000000000000001";

fn remote(cairn: &Cairn, secret_key: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = cairn.calling_command(&[&["remote"], arguments].concat());
    let Output { status, stdout, stderr } = command.env("CAIRN_REMOTE_SECRET_KEY", secret_key).output().unwrap();
    (status.code(), [String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)].concat())
}

fn rules(client: &Client, role_arn: &str) -> Call {
    put_rules(client, BUCKET, role_arn, &[Rule { target: "arn:aws:s3:paris::copies", ..Rule::default() }])
}

async fn arrives(client: &Client, key: &str) {
    until(&format!("the arrival of {key}"), || client.object("HEAD", BUCKET, key), |reply| reply.status == 200).await;
}

#[tokio::test]
async fn a_remote_that_is_added_is_replicated_to_at_once_and_after_a_crash() {
    let target = Cairn::start(Config::default());
    let mut source = Cairn::start(Config::default());
    let (here, there) = (source.client(), target.client());
    versioned(&here, BUCKET).await;
    versioned(&there, BUCKET).await;
    let role_arn = role(&here, MAY_S3).await;
    rules(&here, &role_arn).send().await.expect_error(400, "InvalidRequest");
    let url = format!("http://{}", there.address);
    let add = ["add", "paris", &url, "--remote-region", "us-east-1", "--remote-access-key", ACCESS_KEY];
    let (code, said) = remote(&source, "another-secret-key-00000000000000000001", &add);
    assert_eq!(code, Some(0), "{said}");
    // What is wrong about it shows when it is tried.
    let (code, said) = remote(&source, "", &["test", "paris", "--bucket", BUCKET]);
    assert!(code == Some(1) && said.contains("SignatureDoesNotMatch"), "{said}");
    let (code, said) = remote(&source, SECRET_KEY, &add);
    assert!(code == Some(2) && said.contains("RemoteExists"), "{said}");
    let (code, said) = remote(&source, SECRET_KEY, &[&add[..], &["--replace"]].concat());
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = remote(&source, "", &["test", "paris", "--bucket", BUCKET]);
    assert!(code == Some(0) && said.contains("a Cairn"), "{said}");
    let (code, said) = remote(&source, "", &["test", "paris", "--bucket", "nowhere"]);
    assert!(code == Some(1) && said.contains("there is no bucket"), "{said}");
    rules(&here, &role_arn).send().await.expect(200);
    here.put(BUCKET, "one", "x").await.expect(200);
    arrives(&there, "one").await;
    source.kill9();
    source.start_again();
    let here = source.client();
    here.put(BUCKET, "two", "x").await.expect(200);
    arrives(&there, "two").await;
    let (code, said) = remote(&source, "", &["list"]);
    assert!(code == Some(0) && said.contains("from call") && said.contains("replicated to by copies"), "{said}");
    assert!(!said.contains(SECRET_KEY) && !source.log().contains(SECRET_KEY));
    let (code, said) = remote(&source, "", &["remove", "paris"]);
    assert!(code == Some(2) && said.contains("RemoteInUse"), "{said}");
    here.bucket("DELETE", BUCKET).query("replication", "").send().await.expect(204);
    let (code, said) = remote(&source, "", &["remove", "paris"]);
    assert_eq!(code, Some(0), "{said}");
    rules(&here, &role_arn).send().await.expect_error(400, "InvalidRequest");
    source.stop();
    assert_eq!(source.check().0, Some(0));
}

#[tokio::test]
async fn a_remote_that_makes_no_sense_or_is_the_settings_is_refused() {
    let more = remote_as("paris", "http://127.0.0.1:1", "key", "secret-secret");
    let cairn = Cairn::start(Config { more, ..Config::default() });
    let with_key = ["--remote-region", "us-east-1", "--remote-access-key", ACCESS_KEY];
    for (arguments, secret_key, expected) in [
        (["add", "paris", "http://127.0.0.1:2"], SECRET_KEY, "RemoteExists"),
        (["add", "lyon", "127.0.0.1:2"], SECRET_KEY, "an endpoint is"),
        (["add", "Lyon", "http://127.0.0.1:2"], SECRET_KEY, "a remote's name is"),
        (["add", "lyon", "http://127.0.0.1:2"], "short", "a secret key is"),
    ] {
        let (code, said) = remote(&cairn, secret_key, &[&arguments[..], &with_key].concat());
        assert!(code == Some(2) && said.contains(expected), "{arguments:?}: {said}");
    }
    let (code, said) = remote(&cairn, "", &["remove", "paris"]);
    assert!(code == Some(2) && said.contains("RemoteExists"), "{said}");
    let (code, said) = remote(&cairn, "", &["remove", "lyon"]);
    assert!(code == Some(2) && said.contains("NoSuchRemote"), "{said}");
    let (code, said) = remote(&cairn, "", &["list"]);
    assert!(code == Some(0) && said.lines().count() == 1 && said.contains("from config"), "{said}");
}
