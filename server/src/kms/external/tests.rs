use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_storage::clock::SeededEntropy;

use super::*;

/// A KMS that answers what it was told to, one answer for each request, the last one again and again.
struct Scripted {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Scripted {
    fn saying(answers: Vec<(u16, String)>) -> Self {
        Self::saying_after(Duration::ZERO, answers)
    }

    /// One that takes so long for each answer.
    fn saying_after(delay: Duration, answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, counted, answers) = (stream.expect("a connection"), counted.clone(), answers.clone());
                thread::spawn(move || answer(stream, &counted, &answers, delay));
            }
        });
        Self { address, asked }
    }

    fn settings(&self, timeout: Duration, token: TokenSource) -> ExternalKmsSettings {
        ExternalKmsSettings {
            address: format!("http://{}", self.address),
            mount: "transit".to_owned(),
            namespace: None,
            token: Some(token),
            ca_file: None,
            timeout,
            held_for: Duration::from_secs(60),
        }
    }

    fn client(&self) -> ExternalKms {
        client(self.settings(Duration::from_secs(5), TokenSource::Given("s.token".to_owned().into())))
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: TcpStream, asked: &AtomicUsize, answers: &Mutex<VecDeque<(u16, String)>>, delay: Duration) {
    let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    asked.fetch_add(1, Ordering::Relaxed);
    thread::sleep(delay);
    let mut answers = answers.lock();
    let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
    let (status, body) = next.expect("an answer");
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
    let _ = stream.write_all(format!("{head}location: http://127.0.0.1:1/\r\n\r\n{body}").as_bytes());
}

fn client(settings: ExternalKmsSettings) -> ExternalKms {
    ExternalKms::new(settings, Arc::new(SeededEntropy::new(1)), ExternalKmsMetrics::default()).expect("a client")
}

fn encrypted(ciphertext: &str) -> (u16, String) {
    (200, format!(r#"{{"data":{{"ciphertext":"{ciphertext}"}}}}"#))
}

/// What an engine answers that decrypts to this.
fn decrypted(associated_data: &[u8], plaintext: &[u8]) -> (u16, String) {
    let bound = [Checksum::of(ChecksumAlgorithm::Sha256, associated_data).as_bytes(), plaintext].concat();
    (200, format!(r#"{{"data":{{"plaintext":"{}"}}}}"#, STANDARD.encode(bound)))
}

fn errors(status: u16, error: &str) -> (u16, String) {
    (status, format!(r#"{{"errors":["{error}"]}}"#))
}

/// What became of a decryption: its plaintext or the kind of error; and how often it was asked for.
async fn decrypting(answers: Vec<(u16, String)>) -> (String, usize) {
    let scripted = Scripted::saying(answers);
    let result = scripted.client().decrypt("key", b"vault:v1:x", b"data").await;
    let shown = match result {
        Ok(plaintext) => String::from_utf8_lossy(&plaintext).into_owned(),
        Err(ExternalError::Unavailable(_)) => "unavailable".to_owned(),
        Err(ExternalError::Refused(_)) => "refused".to_owned(),
        Err(ExternalError::NotAuthentic) => "not authentic".to_owned(),
    };
    (shown, scripted.asked())
}

#[tokio::test]
async fn each_answer_means_what_the_api_says() {
    let long = format!(r#"{{"data":{{"plaintext":"{}"}}}}"#, "A".repeat(1 << 17));
    let three = |answer: (u16, String)| (answer, 3);
    let one = |answer: (u16, String)| (answer, 1);
    for ((answer, asked), expected) in [
        (one(decrypted(b"data", b"plain")), "plain"),
        (one(decrypted(b"other data", b"plain")), "not authentic"),
        (one(errors(400, "cipher: message authentication failed")), "not authentic"),
        (one(errors(400, "invalid ciphertext: no prefix")), "not authentic"),
        (one(errors(500, "cipher: message authentication failed")), "not authentic"),
        (one(errors(400, "encryption key not found")), "refused"),
        (one(errors(400, "ciphertext or signature version is disallowed by policy (too old)")), "refused"),
        (one(errors(403, "permission denied")), "refused"),
        (one(errors(404, "no handler for route")), "refused"),
        (one((307, String::new())), "refused"),
        (one((200, r#"{"data":{"plaintext":"AAAA"}}"#.to_owned())), "not authentic"),
        (three(errors(500, "internal error")), "unavailable"),
        (three(errors(503, "Vault is sealed")), "unavailable"),
        (three(errors(429, "too many requests")), "unavailable"),
        (three((502, "<html>".to_owned())), "unavailable"),
        (three((200, "<html>".to_owned())), "unavailable"),
        (three((200, r#"{"data":null}"#.to_owned())), "unavailable"),
        (three((200, long)), "unavailable"),
        // Its plaintext is no base64: nothing that another attempt would mend, and nothing that is the ciphertext's fault.
        (three((200, r#"{"data":{"plaintext":"?"}}"#.to_owned())), "unavailable"),
    ] {
        assert_eq!(decrypting(vec![answer.clone()]).await, (expected.to_owned(), asked), "{answer:?}");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let passing = vec![errors(503, "sealed"), errors(500, "standby"), decrypted(b"data", b"plain")];
    assert_eq!(decrypting(passing).await, ("plain".to_owned(), 3));
}

#[tokio::test]
async fn a_ciphertext_that_is_none_is_not_kept() {
    for wrong in ["", "plain", "vault:v1:\u{e4}", "vault:v1: ", &format!("vault:v1:{}", "A".repeat(7 << 10))] {
        let made = Scripted::saying(vec![encrypted(wrong)]).client().encrypt("key", b"plain", b"data").await;
        assert!(matches!(made, Err(ExternalError::Unavailable(_))), "{wrong:?}: {made:?}");
    }
    let made = Scripted::saying(vec![encrypted("vault:v1:AAAA")]).client().encrypt("key", b"plain", b"data").await;
    assert_eq!(made, Ok(b"vault:v1:AAAA".to_vec()));
}

#[tokio::test]
async fn a_kms_that_does_not_answer_is_soon_not_asked_and_says_so() {
    let scripted = Scripted::saying(vec![errors(500, "down")]);
    let client = scripted.client();
    assert_eq!(client.alarm(), None);
    for _ in 0..20 {
        let failed = client.encrypt("key", b"plain", b"data").await;
        assert!(matches!(failed, Err(ExternalError::Unavailable(fault)) if fault.contains("500")));
    }
    // Those of one call, and perhaps a probe.
    assert!((3..=4).contains(&scripted.asked()), "{}", scripted.asked());
    assert!(client.alarm().is_some_and(|alarm| alarm.contains("500")));
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let scripted = Scripted::saying(vec![errors(403, "permission denied")]);
    let client = scripted.client();
    for _ in 0..10 {
        assert!(matches!(client.encrypt("key", b"plain", b"data").await, Err(ExternalError::Refused(_))));
    }
    assert_eq!((scripted.asked(), client.alarm()), (10, None));
}

#[tokio::test]
async fn a_data_key_that_was_made_is_opened_without_asking() {
    let scripted = Scripted::saying(vec![encrypted("vault:v1:AAAA"), errors(500, "down")]);
    let client = scripted.client();
    let made = client.encrypt("key", &[7; 32], b"data").await.expect("it answers");
    let opened = client.decrypt("key", &made, b"data").await;
    assert_eq!(opened.as_deref(), Ok(&vec![7; 32]));
    assert_eq!(scripted.asked(), 1);
    assert!(client.decrypt("key", &made, b"other data").await.is_err());
}

#[tokio::test]
async fn a_token_is_renewed_when_half_of_its_time_is_over() {
    let token = |ttl: u64, renewable: bool| {
        (200, format!(r#"{{"data":{{"ttl":{ttl},"creation_ttl":100,"renewable":{renewable}}}}}"#))
    };
    let renewed = |ttl: u64| (200, format!(r#"{{"auth":{{"lease_duration":{ttl}}}}}"#));
    let without_end = || (200, r#"{"data":{"ttl":0,"creation_ttl":0}}"#.to_owned());
    let refused = || errors(403, "permission denied");
    for (looked, renewing, asked, fault) in [
        (token(60, true), renewed(100), 1, None),
        (token(40, true), renewed(100), 2, None),
        // Its end is near, and a renewal does not move it.
        (token(40, true), renewed(40), 2, Some(TOKEN_ENDS)),
        (token(40, true), refused(), 2, Some(TOKEN_NOT_RENEWED)),
        (token(60, false), renewed(100), 1, None),
        (token(20, false), renewed(100), 1, Some(TOKEN_ENDS)),
        (without_end(), renewed(100), 1, None),
        (refused(), renewed(100), 1, Some(TOKEN_REFUSED)),
    ] {
        let scripted = Scripted::saying(vec![looked.clone(), renewing]);
        let client = scripted.client();
        client.keep_once().await;
        let alarm = client.alarm().unwrap_or_default();
        assert_eq!((scripted.asked(), alarm.is_empty()), (asked, fault.is_none()), "{looked:?}");
        assert!(alarm.contains(fault.unwrap_or_default()), "{alarm}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_so_until_a_look_says_otherwise() {
    let without_end = (200, r#"{"data":{"ttl":0,"creation_ttl":0}}"#.to_owned());
    let scripted = Scripted::saying(vec![errors(403, "permission denied"), errors(500, "down"), without_end]);
    let client = scripted.client();
    client.keep_once().await;
    assert!(client.alarm().is_some_and(|alarm| alarm.contains(TOKEN_REFUSED)));
    *client.token_fault.lock() = Some(TOKEN_ENDS);
    assert_eq!(client.alarm(), Some(format!("the external KMS: {TOKEN_ENDS}")));
    // Tried again after the failure.
    client.keep_once().await;
    assert_eq!(client.alarm(), None);
}

#[tokio::test]
async fn an_open_circuit_is_told_at_once_however_many_calls_are_running() {
    let client = Scripted::saying(vec![encrypted("vault:v1:AAAA")]).client();
    let running = client.calls.acquire_many(CALLS_MAX as u32).await.expect("it is open");
    for _ in 0..3 {
        client.failed(Pass::Closed, "down");
    }
    let began = Instant::now();
    let refused = client.encrypt("key", b"plain", b"data").await;
    assert_eq!(refused, Err(ExternalError::Unavailable("down".to_owned())));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    drop(running);
}

#[tokio::test]
async fn an_attempt_takes_no_longer_than_its_time_though_it_may_ask_twice() {
    let slow = Scripted::saying_after(Duration::from_secs(2), vec![errors(403, "denied")]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "s.first").expect("it is written");
    let client = client(slow.settings(Duration::from_secs(3), TokenSource::File(file.path().to_owned())));
    std::fs::write(file.path(), "s.second").expect("it is written");
    // Refused with the first token, it asks with the second one, for which its time is too short; the next attempt asks once.
    let refused = client.decrypt("key", b"vault:v1:x", b"data").await;
    assert!(matches!(refused, Err(ExternalError::Refused(_))), "{refused:?}");
    assert_eq!(slow.asked(), 3);
}

#[test]
fn no_secret_is_shown() {
    let shown = format!("{:?}", Scripted::saying(vec![encrypted("x")]).client());
    assert!(shown.contains("127.0.0.1") && !shown.contains("s.token"), "{shown}");
    let given = TokenSource::Given("s.token".to_owned().into());
    assert!(!format!("{given:?}").contains("s.token"));
}
