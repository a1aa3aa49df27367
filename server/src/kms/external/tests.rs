use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let mut answers = VecDeque::from(answers);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
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
                counted.fetch_add(1, Ordering::Relaxed);
                let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
                let (status, body) = next.expect("an answer");
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n", body.len());
                let _ = stream.write_all(format!("{head}location: http://127.0.0.1:1/\r\n\r\n{body}").as_bytes());
            }
        });
        Self { address, asked }
    }

    fn client(&self) -> ExternalKms {
        let settings = ExternalKmsSettings {
            address: format!("http://{}", self.address),
            mount: "transit".to_owned(),
            namespace: None,
            token: Some(TokenSource::Given("s.token".to_owned().into())),
            ca_file: None,
            timeout: Duration::from_secs(5),
            held_for: Duration::from_secs(60),
        };
        ExternalKms::new(settings, Arc::new(SeededEntropy::new(1)), ExternalKmsMetrics::default()).expect("a client")
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
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
    let renewed = || (200, r#"{"auth":{"lease_duration":100}}"#.to_owned());
    let without_end = || (200, r#"{"data":{"ttl":0,"creation_ttl":0}}"#.to_owned());
    for (answer, asked, warns) in [
        (token(60, true), 1, false),
        (token(40, true), 2, false),
        (token(60, false), 1, false),
        (token(20, false), 1, true),
        (without_end(), 1, false),
        (errors(403, "permission denied"), 1, true),
    ] {
        let scripted = Scripted::saying(vec![answer.clone(), renewed()]);
        let mut said = None;
        scripted.client().keep_once(&mut said).await;
        assert_eq!((scripted.asked(), said.is_some()), (asked, warns), "{answer:?}");
    }
}

#[test]
fn no_secret_is_shown() {
    let shown = format!("{:?}", Scripted::saying(vec![encrypted("x")]).client());
    assert!(shown.contains("127.0.0.1") && !shown.contains("s.token"), "{shown}");
    let given = TokenSource::Given("s.token".to_owned().into());
    assert!(!format!("{given:?}").contains("s.token"));
}
