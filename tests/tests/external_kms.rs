//! KMS keys, and the master key, whose material another KMS has: while it works, and while it does not.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_tests::harness::files_below;
use cairn_tests::multipart::{PART_BYTES_MIN, Upload};
use cairn_tests::openbao::OpenBao;
use cairn_tests::random::body;
use cairn_tests::tls::Authority;
use cairn_tests::transit::{Behaviour, Transit};
use cairn_tests::{Cairn, Call, Client, Config, Reply, skip};
use serde_json::{Value, json};

const TOKEN: &str = "s.canary-of-the-external-kms";
const SSE: &str = "x-amz-server-side-encryption";
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";

const KEYS: &str =
    "\n[[kms_key]]\nid = \"one\"\ntransit_key = \"first\"\n\n[[kms_key]]\nid = \"two\"\ntransit_key = \"second\"\n";

/// Without the section's time-outs of people.
fn prepare(transit: &Transit, more: &str, keys: &str) -> Cairn {
    prepare_with(transit.section(&format!("timeout_seconds = 1\n{more}")) + keys, TOKEN)
}

fn prepare_with(more: String, token: &str) -> Cairn {
    let mut cairn = Cairn::prepare(Config { more, ..Config::default() });
    cairn.set_environment("CAIRN_EXTERNAL_KMS_TOKEN", token);
    cairn
}

fn start_over(transit: &Transit) -> (Cairn, Client) {
    let mut cairn = prepare(transit, "", KEYS);
    cairn.start_again();
    let client = cairn.client();
    (cairn, client)
}

fn start() -> (Transit, Cairn, Client) {
    let transit = Transit::start(TOKEN, &["first", "second"]);
    let (cairn, client) = start_over(&transit);
    (transit, cairn, client)
}

fn put(client: &Client, bucket: &str, key: &str, content: impl Into<bytes::Bytes>) -> Call {
    client.object("PUT", bucket, key).header(SSE, "aws:kms").header(KEY_ID, "one").body(content)
}

async fn kms(client: &Client, action: &str, input: Value) -> Reply {
    client.kms(action, &input).send().await
}

fn expect_fault(reply: &Reply, status: u16, name: &str) {
    assert_eq!((reply.status, &json_of(reply)["__type"]), (status, &json!(name)), "{reply:?}");
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn metric(cairn: &Cairn, line: &str) -> Option<u64> {
    let (_, metrics) = cairn.ops_get("/metrics").unwrap();
    metrics.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok())
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test]
async fn objects_under_an_external_key_come_back_and_no_secret_lies_anywhere() {
    let (transit, mut cairn, client) = start();
    let bucket = client.fresh_bucket("external").await;
    for size in [0, 1, 40_000, 200_000] {
        let content = body(size as u64, size);
        let stored = put(&client, &bucket, &size.to_string(), content.clone()).send().await.expect(200);
        assert_eq!(stored.header(SSE), Some("aws:kms"));
        assert!(client.get(&bucket, &size.to_string()).await.expect(200).body == content);
    }
    put(&client, &bucket, "by bucket key", "content").header(BUCKET_KEY, "true").send().await.expect(200);
    let under_two = |call: Call| call.header(SSE, "aws:kms").header(KEY_ID, "two");
    let upload = Upload::create_with(&client, &bucket, "parts", under_two).await;
    let part = body(9, PART_BYTES_MIN);
    let etag = upload.upload(1, part.clone()).await;
    upload.complete(&[(1, etag)]).send().await.expect(200);
    assert!(transit.calls("encrypt") >= 6);
    cairn.restart();
    let asked = transit.calls("decrypt");
    assert!(client.get(&bucket, "200000").await.expect(200).body == body(200_000, 200_000));
    assert!(client.get(&bucket, "parts").await.expect(200).body == part);
    assert_eq!(client.get(&bucket, "by bucket key").await.expect(200).body, "content");
    assert_eq!(transit.calls("decrypt"), asked + 3);
    client.get(&bucket, "200000").await.expect(200);
    assert_eq!(transit.calls("decrypt"), asked + 3, "the data key is held");
    assert_eq!(metric(&cairn, "cairn_external_kms_up{kind=\"transit\"}"), Some(1));
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
    for file in files_below(cairn.scratch_dir()) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{}", file.display());
    }
}

#[tokio::test]
async fn the_api_of_kms_encrypts_under_it_with_its_context() {
    let (transit, _cairn, client) = start();
    let context = json!({"project": "cairn"});
    let plaintext = STANDARD.encode("secret");
    let input = json!({"KeyId": "one", "Plaintext": plaintext, "EncryptionContext": context});
    let blob = json_of(&kms(&client, "Encrypt", input).await.expect(200))["CiphertextBlob"].clone();
    let opened = kms(&client, "Decrypt", json!({"CiphertextBlob": blob, "EncryptionContext": context})).await;
    assert_eq!(json_of(&opened.expect(200))["Plaintext"], json!(plaintext));
    let mut swapped = STANDARD.decode(blob.as_str().unwrap()).unwrap();
    let last = swapped.len() - 5;
    swapped[last] = if swapped[last] == b'A' { b'B' } else { b'A' };
    for (blob, context) in [(blob.clone(), json!({})), (json!(STANDARD.encode(swapped)), context.clone())] {
        let refused = kms(&client, "Decrypt", json!({"CiphertextBlob": blob, "EncryptionContext": context})).await;
        expect_fault(&refused, 400, "InvalidCiphertextException");
    }
    let input = json!({"CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": "two"});
    let moved = json_of(&kms(&client, "ReEncrypt", input).await.expect(200))["CiphertextBlob"].clone();
    let opened = kms(&client, "Decrypt", json!({"CiphertextBlob": moved})).await.expect(200);
    assert_eq!(json_of(&opened)["Plaintext"], json!(plaintext));
    transit.behave(Behaviour::WithoutAssociatedData);
    let input = json!({"KeyId": "one", "Plaintext": plaintext, "EncryptionContext": context});
    let blob = json_of(&kms(&client, "Encrypt", input).await.expect(200))["CiphertextBlob"].clone();
    let refused = kms(&client, "Decrypt", json!({"CiphertextBlob": blob})).await;
    expect_fault(&refused, 400, "InvalidCiphertextException");
}

#[tokio::test]
async fn while_it_is_down_reads_under_held_keys_go_on_and_writes_are_told_to_come_back() {
    let (transit, cairn, client) = start();
    let bucket = client.fresh_bucket("external-down").await;
    put(&client, &bucket, "held", "content").send().await.expect(200);
    transit.behave(Behaviour::Down);
    let refused = put(&client, &bucket, "new", "content").send().await.expect_error(503, "ServiceUnavailable");
    assert_eq!(refused.header("retry-after"), Some("1"));
    client.get(&bucket, "new").await.expect_error(404, "NoSuchKey");
    assert_eq!(client.get(&bucket, "held").await.expect(200).body, "content");
    client.put(&bucket, "plain", "content").await;
    assert_eq!(client.get(&bucket, "plain").await.expect(200).body, "content");
    let input = json!({"KeyId": "one", "Plaintext": STANDARD.encode("x")});
    expect_fault(&kms(&client, "Encrypt", input).await, 500, "DependencyTimeoutException");
    kms(&client, "DescribeKey", json!({"KeyId": "one"})).await.expect(200);
    assert_eq!(metric(&cairn, "cairn_external_kms_up{kind=\"transit\"}"), Some(0));
    let (status, ready) = cairn.ops_get("/health/ready").unwrap();
    assert!(status == 200 && ready.contains("the external KMS cannot be reached"), "{status} {ready}");
    transit.behave(Behaviour::Well);
    until("it is noticed that it answers again", || cairn.ops_get("/health/ready").unwrap().1 == "ready\n");
    put(&client, &bucket, "new", "content").send().await.expect(200);
    assert_eq!(metric(&cairn, "cairn_external_kms_up{kind=\"transit\"}"), Some(1));
    assert!(metric(&cairn, "cairn_external_kms_calls_total{operation=\"encrypt\",result=\"unavailable\"}") > Some(0));
}

/// Or anybody who may decrypt could keep it from everybody.
#[tokio::test]
async fn changed_ciphertexts_of_which_an_older_engine_says_that_it_failed_do_not_count_as_failures() {
    let (transit, cairn, client) = start();
    transit.behave(Behaviour::Old);
    let bucket = client.fresh_bucket("external-old").await;
    let input = json!({"KeyId": "one", "Plaintext": STANDARD.encode("secret")});
    let blob = json_of(&kms(&client, "Encrypt", input).await.expect(200))["CiphertextBlob"].clone();
    let mut swapped = STANDARD.decode(blob.as_str().unwrap()).unwrap();
    let last = swapped.len() - 5;
    swapped[last] = if swapped[last] == b'A' { b'B' } else { b'A' };
    for _ in 0..10 {
        let refused = kms(&client, "Decrypt", json!({"CiphertextBlob": STANDARD.encode(&swapped)})).await;
        expect_fault(&refused, 400, "InvalidCiphertextException");
        put(&client, &bucket, "k", "content").send().await.expect(200);
    }
    assert_eq!(metric(&cairn, "cairn_external_kms_up{kind=\"transit\"}"), Some(1));
    kms(&client, "Decrypt", json!({"CiphertextBlob": blob})).await.expect(200);
}

#[tokio::test]
async fn a_slow_one_stalls_no_requests_but_the_first() {
    let (transit, _cairn, client) = start();
    let bucket = client.fresh_bucket("external-slow").await;
    transit.behave(Behaviour::Slow(Duration::from_secs(30)));
    put(&client, &bucket, "first", "x").send().await.expect_error(503, "ServiceUnavailable");
    let began = Instant::now();
    let mut slow = 0;
    for number in 0..30 {
        let sent = Instant::now();
        put(&client, &bucket, &number.to_string(), "x").send().await.expect_error(503, "ServiceUnavailable");
        slow += usize::from(sent.elapsed() > Duration::from_millis(900));
    }
    assert!(slow <= 3, "{slow} requests waited, {:?} in all", began.elapsed());
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_stores_nothing() {
    let (transit, mut cairn, client) = start();
    let bucket = client.fresh_bucket("external-garbage").await;
    put(&client, &bucket, "whole", "content").send().await.expect(200);
    cairn.restart();
    for garbage in ["", "{}", r#"{"data":{"ciphertext":"","plaintext":"!"}}"#, r#"{"data":{"ciphertext":7}}"#] {
        transit.behave(Behaviour::Says(garbage.to_owned()));
        put(&client, &bucket, "k", "x").send().await.expect_error(503, "ServiceUnavailable");
        client.get(&bucket, "whole").await.expect_error(503, "ServiceUnavailable");
        client.head(&bucket, "k").await.expect(404);
    }
    transit.behave(Behaviour::Status(500));
    client.get(&bucket, "whole").await.expect_error(503, "ServiceUnavailable");
    transit.behave(Behaviour::Well);
    until("it is noticed that it answers again", || cairn.ops_get("/health/ready").unwrap().1 == "ready\n");
    assert_eq!(client.get(&bucket, "whole").await.expect(200).body, "content");
}

#[tokio::test]
async fn a_key_that_is_refused_is_in_a_wrong_state_and_a_new_token_is_found_by_itself() {
    let transit = Transit::start(TOKEN, &["first", "second"]);
    let token_file = tempfile::NamedTempFile::new().unwrap();
    fs::write(token_file.path(), TOKEN).unwrap();
    let more = format!("token_file = {:?}", token_file.path());
    let mut cairn = prepare(&transit, &more, KEYS);
    cairn.clear_environment();
    cairn.start_again();
    let client = cairn.client();
    let bucket = client.fresh_bucket("external-refused").await;
    put(&client, &bucket, "k", "content").send().await.expect(200);
    transit.only_token("s.another-one");
    let refused = put(&client, &bucket, "l", "x").send().await;
    refused.expect_error(400, "KMS.KMSInvalidStateException");
    let input = json!({"KeyId": "one", "Plaintext": STANDARD.encode("x")});
    expect_fault(&kms(&client, "Encrypt", input).await, 400, "KMSInvalidStateException");
    fs::write(token_file.path(), "s.another-one\n").unwrap();
    put(&client, &bucket, "l", "x").send().await.expect(200);
    transit.forget_key("first");
    put(&client, &bucket, "m", "x").send().await.expect_error(400, "KMS.KMSInvalidStateException");
    assert_eq!(client.get(&bucket, "k").await.expect(200).body, "content", "its data key is held");
    cairn.restart();
    client.get(&bucket, "k").await.expect_error(400, "KMS.KMSInvalidStateException");
}

#[test]
fn a_token_that_ends_soon_is_renewed() {
    let transit = Transit::start(TOKEN, &[]);
    transit.tokens_end(10, 100);
    let mut cairn = prepare(&transit, "", "");
    cairn.start_again();
    until("the token is renewed", || transit.calls("renew-self") == 1);
    until("the token is looked at again", || transit.calls("lookup-self") >= 2);
    assert_eq!(transit.calls("renew-self"), 1);
}

#[test]
fn a_token_that_ends_for_good_is_told_of_before_it_does() {
    let transit = Transit::start(TOKEN, &[]);
    transit.tokens_end_for_good(40, 100);
    let mut cairn = prepare(&transit, "", "");
    cairn.start_again();
    let ready = || cairn.ops_get("/health/ready").unwrap();
    until("it is told", || ready().1.contains("its token ends soon"));
    assert_eq!(ready().0, 200);
    assert!(cairn.log().contains("its token ends soon"), "{}", cairn.log());
    transit.only_token("s.another-one");
    until("its end is told", || ready().1.contains("its token is refused"));
    assert!(cairn.log().contains("its token is refused"));
    assert!(!cairn.log().contains(TOKEN));
}

#[tokio::test]
async fn it_is_asked_over_https_by_the_authority_that_is_set_and_by_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let authority = match Authority::make(folder.path()) {
        Ok(authority) => authority,
        Err(reason) => skip!("{reason}"),
    };
    let (certificate, key) = authority.issue("kms").unwrap();
    let transit = Transit::start_with_tls(TOKEN, &["first", "second"], (&certificate, &key));
    let ca_file = format!("ca_file = {:?}", authority.certificate());
    for (more, status) in [(ca_file.as_str(), 200), ("", 503)] {
        let mut cairn = prepare(&transit, more, KEYS);
        cairn.start_again();
        let client = cairn.client();
        let bucket = client.fresh_bucket("external-https").await;
        put(&client, &bucket, "k", "x").send().await.expect(status);
    }
}

// The master key.

const SEALED: &str = "master_key = \"first\"";

fn rotate(cairn: &Cairn) -> Output {
    rotate_with(cairn, TOKEN)
}

fn rotate_with(cairn: &Cairn, token: &str) -> Output {
    let mut command = cairn.command(&["master-key", "rotate", "--config"]);
    command.arg(cairn.config_file()).env("CAIRN_EXTERNAL_KMS_TOKEN", token).output().unwrap()
}

fn text(output: &Output) -> String {
    [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat()
}

#[tokio::test]
async fn a_sealed_master_key_is_opened_at_each_start_and_can_be_changed() {
    let transit = Transit::start(TOKEN, &["first", "second"]);
    let mut cairn = prepare(&transit, SEALED, "");
    cairn.start_again();
    let client = cairn.client();
    let bucket = client.fresh_bucket("external-master").await;
    client.put(&bucket, "k", "content").await;
    let sealed = cairn.data_dir().join("master.key.sealed");
    assert!(sealed.exists() && !cairn.data_dir().join("master.key").exists());
    cairn.restart();
    assert_eq!(client.get(&bucket, "k").await.expect(200).body, "content");
    cairn.stop();
    let before = fs::read_to_string(&sealed).unwrap();
    let rotated = rotate(&cairn);
    assert!(rotated.status.success(), "{}", text(&rotated));
    assert_ne!(fs::read_to_string(&sealed).unwrap(), before);
    cairn.start_again();
    assert_eq!(client.get(&bucket, "k").await.expect(200).body, "content");
    cairn.stop();
    fs::write(&sealed, before).unwrap();
    assert!(cairn.launch().unwrap_err().log.contains("but the one given is"), "the key from before opens nothing");
}

#[tokio::test]
async fn without_its_kms_a_server_with_a_sealed_master_key_does_not_start_and_says_why() {
    let transit = Transit::start(TOKEN, &["first", "second"]);
    let mut cairn = prepare(&transit, SEALED, "");
    transit.behave(Behaviour::Down);
    let failed = cairn.launch().unwrap_err();
    assert!(failed.status.is_some_and(|status| !status.success()), "{failed:?}");
    assert!(failed.log.contains("the external KMS cannot be reached"), "{failed:?}");
    transit.behave(Behaviour::Well);
    cairn.start_again();
    let client = cairn.client();
    let bucket = client.fresh_bucket("external-master-down").await;
    client.put(&bucket, "k", "content").await;
    // It is needed at a start, and not after it.
    transit.behave(Behaviour::Down);
    client.put(&bucket, "l", "content").await;
    cairn.stop();
    assert!(cairn.launch().unwrap_err().log.contains("the external KMS cannot be reached"));
    transit.behave(Behaviour::Well);
    let sealed = cairn.data_dir().join("master.key.sealed");
    let whole = fs::read_to_string(&sealed).unwrap();
    let other_key = whole.replace("\"first\"", "\"second\"");
    for (broken, part) in
        [(other_key.as_str(), "damaged, or was made for something else"), ("{}", "does not hold a sealed master key")]
    {
        fs::write(&sealed, broken).unwrap();
        assert!(cairn.launch().unwrap_err().log.contains(part), "{part}");
    }
    fs::remove_file(&sealed).unwrap();
    assert!(cairn.launch().unwrap_err().log.contains("put the file back"));
    fs::write(&sealed, whole).unwrap();
    cairn.start_again();
    assert_eq!(client.get(&bucket, "l").await.expect(200).body, "content");
}

#[tokio::test]
async fn what_the_kms_does_not_open_again_becomes_no_master_key() {
    let transit = Transit::start(TOKEN, &["first"]);
    let mut cairn = prepare(&transit, SEALED, "");
    transit.behave(Behaviour::Forgetful);
    let failed = cairn.launch().unwrap_err();
    assert!(failed.log.contains("cannot be sealed or opened"), "{failed:?}");
    assert!(key_files(&cairn).is_empty());
    transit.behave(Behaviour::Well);
    cairn.start_again();
    let client = cairn.client();
    let bucket = client.fresh_bucket("external-forgetful").await;
    client.put(&bucket, "k", "content").await;
    cairn.stop();
    let before = key_files(&cairn);
    transit.behave(Behaviour::Forgetful);
    let refused = rotate(&cairn);
    assert!(!refused.status.success() && text(&refused).contains("cannot be sealed or opened"), "{}", text(&refused));
    assert_eq!(key_files(&cairn), before);
    transit.behave(Behaviour::Well);
    cairn.start_again();
    assert_eq!(client.get(&bucket, "k").await.expect(200).body, "content");
}

#[tokio::test]
async fn a_master_key_in_a_file_becomes_a_sealed_one_by_a_change() {
    let transit = Transit::start(TOKEN, &["first"]);
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("external-master-before").await;
    client.put(&bucket, "k", "content").await;
    cairn.stop();
    let config = fs::read_to_string(cairn.config_file()).unwrap();
    fs::write(cairn.config_file(), config + &transit.section(SEALED)).unwrap();
    cairn.set_environment("CAIRN_EXTERNAL_KMS_TOKEN", TOKEN);
    assert!(cairn.launch().unwrap_err().log.contains("cairn master-key rotate"));
    let rotated = rotate(&cairn);
    assert!(rotated.status.success() && text(&rotated).contains("master.key:"), "{}", text(&rotated));
    fs::remove_file(cairn.data_dir().join("master.key")).unwrap();
    cairn.start_again();
    assert_eq!(client.get(&bucket, "k").await.expect(200).body, "content");
}

/// What of the data directory has the master key.
fn key_files(cairn: &Cairn) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(cairn.data_dir()).unwrap().map(Result::unwrap);
    let files = files.map(|file| (file.file_name().into_string().unwrap(), file.path()));
    files
        .filter(|(name, _)| name.starts_with("master.key"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}

/// Killed before each rename, and before each sync, in turn.
#[tokio::test]
async fn a_change_of_a_sealed_key_that_is_cut_at_any_step_loses_nothing() {
    let transit = Transit::start(TOKEN, &["first", "second"]);
    let mut cairn = prepare(&transit, SEALED, KEYS);
    cairn.start_again();
    let client = cairn.client();
    let bucket = client.fresh_bucket("external-master-cut").await;
    client.put(&bucket, "server", "content").await;
    client.object("PUT", &bucket, "kms").header(SSE, "aws:kms").body("content").send().await.expect(200);
    cairn.stop();
    let mut before = key_files(&cairn);
    for calls in ["rename,renameat,renameat2", "fsync", "fdatasync"] {
        let mut cuts = 0;
        for step in 1.. {
            assert!(step < 200, "it comes to no end");
            let command = cairn.command(&["master-key", "rotate", "--config"]);
            let mut traced = Command::new("strace");
            traced.current_dir(cairn.scratch_dir()).args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={calls}"),
            ]);
            traced.args(["-e", &format!("inject={calls}:signal=KILL:when={step}")]).arg(command.get_program());
            traced.args(command.get_args()).arg(cairn.config_file()).env("CAIRN_EXTERNAL_KMS_TOKEN", TOKEN);
            traced.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let ended = match traced.output() {
                Ok(ended) => ended,
                Err(error) => skip!("strace does not run: {error}"),
            };
            if ended.status.success() {
                break;
            }
            assert_eq!(ended.status.signal(), Some(9), "{}", text(&ended));
            let now = key_files(&cairn);
            // Of a cut before its first step there is nothing to see.
            if now != before {
                cuts += 1;
                cairn.start_again();
                for key in ["server", "kms"] {
                    assert_eq!(client.get(&bucket, key).await.expect(200).body, "content", "{calls} {step}");
                }
                cairn.stop();
                before = key_files(&cairn);
            }
        }
        assert!(cuts > 0, "{calls}");
        before = key_files(&cairn);
    }
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
}

// A real one, where there is one.

#[tokio::test]
async fn objects_and_the_master_key_are_under_keys_of_a_real_openbao() {
    let openbao = match OpenBao::start(&["first", "second"]) {
        Ok(openbao) => openbao,
        Err(reason) => skip!("{reason}"),
    };
    let token = openbao.token(&["-ttl=1h"]);
    let mut cairn = prepare_with(openbao.section(SEALED) + KEYS, &token);
    cairn.start_again();
    let client = cairn.client();
    let bucket = client.fresh_bucket("openbao").await;
    let content = body(1, 200_000);
    put(&client, &bucket, "k", content.clone()).send().await.expect(200);
    let context = json!({"project": "cairn"});
    let input = json!({"KeyId": "one", "Plaintext": STANDARD.encode("secret"), "EncryptionContext": context});
    let blob = json_of(&kms(&client, "Encrypt", input).await.expect(200))["CiphertextBlob"].clone();
    let mut changed = STANDARD.decode(blob.as_str().unwrap()).unwrap();
    let last = changed.len() - 5;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    for _ in 0..4 {
        for (blob, context) in [(blob.clone(), json!({})), (json!(STANDARD.encode(&changed)), context.clone())] {
            let refused = kms(&client, "Decrypt", json!({"CiphertextBlob": blob, "EncryptionContext": context})).await;
            expect_fault(&refused, 400, "InvalidCiphertextException");
        }
    }
    assert_eq!(metric(&cairn, "cairn_external_kms_up{kind=\"transit\"}"), Some(1));
    openbao.run(&["write", "-f", "transit/keys/first/rotate"]).unwrap();
    cairn.stop();
    let rotated = rotate_with(&cairn, &token);
    assert!(rotated.status.success(), "{}", text(&rotated));
    cairn.start_again();
    assert!(client.get(&bucket, "k").await.expect(200).body == content, "under an older version");
    let opened = kms(&client, "Decrypt", json!({"CiphertextBlob": blob, "EncryptionContext": context})).await;
    assert_eq!(json_of(&opened.expect(200))["Plaintext"], json!(STANDARD.encode("secret")));
    openbao.run(&["token", "revoke", &token]).unwrap();
    put(&client, &bucket, "l", "x").send().await.expect_error(400, "KMS.KMSInvalidStateException");
    drop(openbao);
    put(&client, &bucket, "l", "x").send().await.expect_error(503, "ServiceUnavailable");
    assert!(client.get(&bucket, "k").await.expect(200).body == content, "its data key is held");
}

#[test]
fn a_token_of_a_real_openbao_is_renewed_up_to_its_end_of_which_is_told() {
    let openbao = match OpenBao::start(&[]) {
        Ok(openbao) => openbao,
        Err(reason) => skip!("{reason}"),
    };
    let token = openbao.token(&["-ttl=16s", "-explicit-max-ttl=24s"]);
    let mut cairn = prepare_with(openbao.section(""), &token);
    cairn.start_again();
    let began = Instant::now();
    let ready = || cairn.ops_get("/health/ready").unwrap().1;
    until("it is told", || ready().contains("its token ends soon"));
    assert!(began.elapsed() > Duration::from_secs(10), "it was renewed: {:?}", began.elapsed());
    until("its end is told", || ready().contains("its token is refused"));
}
