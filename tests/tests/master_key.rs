//! Changing the master key: what was written before is read after, also if the change was killed in its middle.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::time::Instant;

use cairn_tests::random::body;
use cairn_tests::{Cairn, Client, Config};

/// An object of each kind of key, and their content.
async fn fill(client: &Client) -> (String, Vec<u8>) {
    let bucket = client.fresh_bucket("master-key").await;
    let content = body(1, 100_000);
    client.put(&bucket, "AES256", content.clone()).await;
    let put = client.object("PUT", &bucket, "aws:kms").header("x-amz-server-side-encryption", "aws:kms");
    put.body(content.clone()).send().await.expect(200);
    (bucket, content)
}

async fn check(client: &Client, (bucket, content): &(String, Vec<u8>)) {
    for key in ["AES256", "aws:kms"] {
        assert!(client.get(bucket, key).await.expect(200).body == *content, "{key}");
    }
}

fn rotate(cairn: &Cairn, environment: &[(&str, &str)]) -> Output {
    let mut command = cairn.command(&["master-key", "rotate", "--config"]);
    command.arg(cairn.config_file()).envs(environment.iter().copied()).output().unwrap()
}

fn text(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat()
}

#[tokio::test]
async fn everything_is_readable_under_a_key_that_was_made() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let filled = fill(&client).await;
    client.action("iam", "CreateUser", &[("UserName", "anna")]).send().await.expect(200);
    let policy = ("PolicyArn", "arn:aws:iam::aws:policy/AdministratorAccess");
    client.action("iam", "AttachUserPolicy", &[("UserName", "anna"), policy]).send().await.expect(200);
    let made = client.action("iam", "CreateAccessKey", &[("UserName", "anna")]).send().await.expect(200);
    let anna = cairn.client_with(&made.xml("AccessKeyId"), &made.xml("SecretAccessKey"));
    let session = anna.in_session(&anna.action("sts", "GetSessionToken", &[]).send().await.expect(200));
    check(&session, &filled).await;
    let running = rotate(&cairn, &[]);
    assert!(!running.status.success(), "a server uses the data: {}", text(&running));
    cairn.stop();
    let file = cairn.data_dir().join("master.key");
    let old = fs::read_to_string(&file).unwrap();
    let rotated = rotate(&cairn, &[]);
    assert!(rotated.status.success(), "{}", text(&rotated));
    let new = fs::read_to_string(&file).unwrap();
    assert_ne!(new, old);
    assert!(!text(&rotated).contains(new.trim()) && !text(&rotated).contains(old.trim()));
    cairn.start_again();
    check(&anna, &filled).await;
    session.get(&filled.0, "AES256").await.expect_error(400, "InvalidToken");
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
    fs::write(&file, old).unwrap();
    assert!(cairn.launch().unwrap_err().log.contains("but the one given is"));
}

#[tokio::test]
async fn a_change_that_is_killed_loses_nothing() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let filled = fill(&client).await;
    cairn.stop();
    let began = Instant::now();
    let rotated = rotate(&cairn, &[]);
    assert!(rotated.status.success(), "{}", text(&rotated));
    // The kills are spread over as long as it takes here.
    let whole = began.elapsed();
    cairn.start_again();
    for attempt in 1..=8 {
        cairn.stop();
        let mut command = cairn.command(&["master-key", "rotate", "--config"]);
        let mut child = command.arg(cairn.config_file()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * attempt / 9);
        // An error says that it has ended already.
        let _ = child.kill();
        child.wait().unwrap();
        cairn.start_again();
        check(&client, &filled).await;
    }
}

#[test]
fn a_data_directory_that_is_not_there_is_not_made() {
    let cairn = Cairn::prepare(Config::default());
    let missing = cairn.data_dir().with_extension("missing");
    let refused = rotate(&cairn, &[("CAIRN_DATA_DIR", missing.to_str().unwrap())]);
    assert!(!refused.status.success() && !missing.exists(), "{}", text(&refused));
}

#[tokio::test]
async fn a_key_of_the_environment_is_replaced_by_another_of_the_environment() {
    let (old, new) = ("5a".repeat(32), "a5".repeat(32));
    let mut cairn = Cairn::prepare(Config::default());
    cairn.set_environment("CAIRN_MASTER_KEY", &old);
    cairn.start_again();
    let client = cairn.client();
    let filled = fill(&client).await;
    cairn.stop();
    let without = rotate(&cairn, &[("CAIRN_MASTER_KEY", &old)]);
    assert!(!without.status.success() && text(&without).contains("CAIRN_NEW_MASTER_KEY"), "{}", text(&without));
    for (key, expected) in [("not a key", "64 hexadecimal digits"), (&*old, "is the one that is in use")] {
        let refused = rotate(&cairn, &[("CAIRN_MASTER_KEY", &old), ("CAIRN_NEW_MASTER_KEY", key)]);
        assert!(!refused.status.success() && text(&refused).contains(expected), "{}", text(&refused));
    }
    let rotated = rotate(&cairn, &[("CAIRN_MASTER_KEY", &old), ("CAIRN_NEW_MASTER_KEY", &new)]);
    assert!(rotated.status.success() && !text(&rotated).contains(&new), "{}", text(&rotated));
    assert!(cairn.launch().is_err(), "the old key opens nothing any more");
    cairn.clear_environment();
    cairn.set_environment("CAIRN_MASTER_KEY", &new);
    cairn.start_again();
    check(&client, &filled).await;
}

#[tokio::test]
async fn a_credential_of_systemd_is_the_master_key_and_no_file_is_made() {
    let (old, new) = ("5a".repeat(32), "a5".repeat(32));
    let mut cairn = Cairn::prepare(Config::default());
    let folder = cairn.scratch_dir().join("credentials");
    fs::create_dir(&folder).unwrap();
    // As systemd passes it: for its owner to read, and without a line break.
    let pass = |key: &str| {
        let file = folder.join("master.key");
        let _ = fs::remove_file(&file);
        fs::write(&file, key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    };
    pass(&old);
    cairn.set_environment("CREDENTIALS_DIRECTORY", folder.to_str().unwrap());
    cairn.start_again();
    let client = cairn.client();
    let filled = fill(&client).await;
    cairn.restart();
    check(&client, &filled).await;
    cairn.stop();
    assert!(!cairn.data_dir().join("master.key").exists());
    let passed = [("CREDENTIALS_DIRECTORY", folder.to_str().unwrap()), ("CAIRN_NEW_MASTER_KEY", &new)];
    let without = rotate(&cairn, &passed[..1]);
    assert!(!without.status.success() && text(&without).contains("CAIRN_NEW_MASTER_KEY"), "{}", text(&without));
    let rotated = rotate(&cairn, &passed);
    assert!(rotated.status.success() && text(&rotated).contains("Give the new key"), "{}", text(&rotated));
    assert!(cairn.launch().unwrap_err().log.contains("but the one given is"));
    pass(&new);
    cairn.start_again();
    check(&client, &filled).await;
    cairn.stop();
    cairn.clear_environment();
    let failed = cairn.launch().unwrap_err();
    assert!(failed.log.contains("is missing"), "{failed:?}");
    assert!(!cairn.data_dir().join("master.key").exists());
}
