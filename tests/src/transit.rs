//! A small transit engine, as HashiCorp Vault and OpenBao have it: keys that encrypt and decrypt over HTTP, and tokens. It can
//! be told to misbehave.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

/// How it behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    Well,
    /// It ends connections without an answer.
    Down,
    /// It answers that late.
    Slow(Duration),
    /// It answers this status to everything.
    Status(u16),
    /// It answers 200 and this to everything.
    Says(String),
    /// Like an engine from before there was associated data.
    WithoutAssociatedData,
    /// Like an older engine, which answers 500 of a ciphertext that does not open.
    Old,
    /// It does not open what it encrypts.
    Forgetful,
}

struct State {
    keys: HashMap<String, LessSafeKey>,
    tokens: HashSet<String>,
    behaviour: Behaviour,
    calls: HashMap<String, usize>,
    /// How long its tokens are still good, and were when they were made.
    ttl: (u64, u64),
    /// That no renewal makes it longer.
    ends_for_good: bool,
}

/// A running engine, for as long as the process lives.
#[derive(Clone)]
pub struct Transit {
    /// Where it is.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    scheme: &'static str,
}

impl Transit {
    /// One that knows this token, and keys of these names.
    pub fn start(token: &str, keys: &[&str]) -> Transit {
        Self::start_with(token, keys, None)
    }

    /// One that is asked over HTTPS.
    pub fn start_with_tls(token: &str, keys: &[&str], (certificate, key): (&Path, &Path)) -> Transit {
        let chain = CertificateDer::pem_file_iter(certificate).expect("a certificate").map(|one| one.expect("a one"));
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(chain.collect(), key)
            .expect("a certificate with its key");
        Self::start_with(token, keys, Some(Arc::new(config)))
    }

    fn start_with(token: &str, keys: &[&str], tls: Option<Arc<ServerConfig>>) -> Transit {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let state = State {
            keys: keys.iter().enumerate().map(|(number, name)| ((*name).to_owned(), key(number as u8))).collect(),
            tokens: [token.to_owned()].into(),
            behaviour: Behaviour::Well,
            calls: HashMap::new(),
            ttl: (0, 0),
            ends_for_good: false,
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = listener.local_addr().expect("it has an address");
        let transit = Transit { address, state: Arc::new(Mutex::new(state)), scheme };
        let served = transit.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, tls) = (served.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => served.serve(stream),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).expect("a session");
                        served.serve(StreamOwned::new(connection, stream));
                    }
                });
            }
        });
        transit
    }

    /// The section of the server's configuration that names it.
    pub fn section(&self, more: &str) -> String {
        format!("\n[external_kms]\naddress = \"{}://{}\"\n{more}\n", self.scheme, self.address)
    }

    /// Makes it behave so from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
    }

    /// Makes this token the only one that is good.
    pub fn only_token(&self, token: &str) {
        self.state().tokens = [token.to_owned()].into();
    }

    /// Says of its tokens that they end so soon, of the time that they once had.
    pub fn tokens_end(&self, ttl: u64, creation_ttl: u64) {
        self.state().ttl = (ttl, creation_ttl);
    }

    /// The same of tokens whose end no renewal moves.
    pub fn tokens_end_for_good(&self, ttl: u64, creation_ttl: u64) {
        self.tokens_end(ttl, creation_ttl);
        self.state().ends_for_good = true;
    }

    /// Takes a key away.
    pub fn forget_key(&self, name: &str) {
        self.state().keys.remove(name);
    }

    /// How often it was asked for `encrypt`, `decrypt`, `lookup-self` or `renew-self`.
    pub fn calls(&self, what: &str) -> usize {
        self.state().calls.get(what).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        let (mut head, mut line) = (String::new(), String::new());
        while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
            head.push_str(&line);
            line.clear();
        }
        let header = |name: &str| {
            let prefix = format!("{name}: ");
            head.lines().find(|line| line.to_lowercase().starts_with(&prefix)).map(|line| &line[prefix.len()..])
        };
        let length = header("content-length").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let token = header("x-vault-token").unwrap_or_default().to_owned();
        let behaviour = self.state().behaviour.clone();
        let (status, answer) = match behaviour {
            Behaviour::Down => return,
            Behaviour::Status(status) => (status, json!({"errors": ["told so"]}).to_string()),
            Behaviour::Says(text) => (200, text),
            Behaviour::Slow(delay) => {
                thread::sleep(delay);
                self.answer(&path, &token, &body)
            }
            Behaviour::Well | Behaviour::WithoutAssociatedData | Behaviour::Old | Behaviour::Forgetful => {
                self.answer(&path, &token, &body)
            }
        };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        let stream = stream.get_mut();
        let _ = stream.write_all(format!("{head}{answer}").as_bytes());
        let _ = stream.flush();
    }

    fn answer(&self, path: &str, token: &str, body: &[u8]) -> (u16, String) {
        let fault = |status, text: &str| (status, json!({"errors": [text]}).to_string());
        let mut state = self.state();
        let what = path.trim_start_matches("/v1/").split('/').nth(if path.contains("/auth/") { 2 } else { 1 });
        *state.calls.entry(what.unwrap_or_default().to_owned()).or_default() += 1;
        if !state.tokens.contains(token) {
            return fault(403, "permission denied");
        }
        let input: Value = serde_json::from_slice(body).unwrap_or_default();
        let field = |name: &str| STANDARD.decode(input[name].as_str().unwrap_or_default()).unwrap_or_default();
        let has_data = state.behaviour != Behaviour::WithoutAssociatedData;
        let data = if has_data { field("associated_data") } else { Vec::new() };
        match path.trim_start_matches("/v1/").split('/').collect::<Vec<_>>()[..] {
            ["auth", "token", "lookup-self"] => {
                let (ttl, creation_ttl) = state.ttl;
                let data = json!({"ttl": ttl, "creation_ttl": creation_ttl, "renewable": creation_ttl > 0});
                (200, json!({ "data": data }).to_string())
            }
            ["auth", "token", "renew-self"] => {
                if !state.ends_for_good {
                    state.ttl.0 = state.ttl.1;
                }
                (200, json!({"auth": {"lease_duration": state.ttl.0}}).to_string())
            }
            ["transit", action, name] => match (action, state.keys.get(name)) {
                (_, None) => fault(400, "encryption key not found"),
                ("encrypt", Some(_)) if state.behaviour == Behaviour::Forgetful => {
                    let other = key(u8::MAX);
                    (200, json!({"data": {"ciphertext": encrypt(&other, field("plaintext"), &data)}}).to_string())
                }
                ("encrypt", Some(key)) => {
                    (200, json!({"data": {"ciphertext": encrypt(key, field("plaintext"), &data)}}).to_string())
                }
                ("decrypt", Some(key)) => match decrypt(key, input["ciphertext"].as_str().unwrap_or_default(), &data) {
                    Some(plaintext) => (200, json!({"data": {"plaintext": STANDARD.encode(plaintext)}}).to_string()),
                    None if state.behaviour == Behaviour::Old => fault(500, "cipher: message authentication failed"),
                    None => fault(400, "cipher: message authentication failed"),
                },
                _ => fault(404, "no handler for route"),
            },
            _ => fault(404, "no handler for route"),
        }
    }
}

fn key(number: u8) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[number; 32]).expect("a key's length"))
}

fn encrypt(key: &LessSafeKey, mut text: Vec<u8>, data: &[u8]) -> String {
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).expect("randomness");
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(data), &mut text).expect("it seals");
    format!("vault:v1:{}", STANDARD.encode([nonce.as_slice(), &text].concat()))
}

fn decrypt(key: &LessSafeKey, text: &str, data: &[u8]) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text.strip_prefix("vault:v1:")?).ok()?;
    let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    Some(key.open_in_place(nonce, Aad::from(data), &mut sealed).ok()?.to_vec())
}
