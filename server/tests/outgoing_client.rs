//! The outgoing S3 client against the real binary: what it sends is what the server, and so S3, understands.

#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_crypto::checksum::{Checksum, ChecksumAlgorithm};
use cairn_replication::client::{
    Address, Body, BodyStream, Client, ClientError, CredentialSource, Digest, Endpoint, Method, Options, Part, Range,
    Request, RetryPolicy, Stream, UploadHeaders,
};
use cairn_storage::clock::{SystemClock, SystemEntropy};
use futures::TryStreamExt as _;

const ACCESS_KEY: &str = "CLIENTTESTACCESSKEY0";
const SECRET_KEY: &str = "client-test-secret-key-0123456789";

/// A server on a data directory of its own.
struct Server {
    process: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
    scheme: &'static str,
}

impl Server {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), "http", "")
    }

    /// Over TLS, with `server.pem` of the folder, if that is what the scheme says.
    fn start_in(folder: tempfile::TempDir, scheme: &'static str, more: &str) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, ops) = (free(), free());
        let settings = format!(
            "data_dir = {:?}\nregion = \"us-east-1\"\n[s3]\nlisten = \"{address}\"\n{more}[ops]\nlisten = \"{ops}\"\n\
             [storage]\nfree_space_floor_bytes = {}\nballast_bytes = {}\n",
            folder.path().join("data"),
            64 << 20,
            1 << 20,
        );
        std::fs::write(folder.path().join("cairn.toml"), settings).unwrap();
        let process = Self::spawn(&folder);
        Self { process, address, folder, scheme }
    }

    fn spawn(folder: &tempfile::TempDir) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CAIRN_")) {
            command.env_remove(name);
        }
        command.env("CAIRN_ROOT_ACCESS_KEY", ACCESS_KEY).env("CAIRN_ROOT_SECRET_KEY", SECRET_KEY);
        command.args(["serve", "--config"]).arg(folder.path().join("cairn.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(&format!("{}://{}", self.scheme, self.address), "us-east-1").unwrap()
    }

    fn client_with(&self, secret_key: &str) -> Client {
        client_of(self.endpoint(), secret_key, 100)
    }

    /// A client, and a bucket of its own.
    async fn bucket(&self) -> Client {
        let client = self.client_with(SECRET_KEY);
        client.send(&Request::bucket(Method::PUT, BUCKET)).await.unwrap();
        client
    }
}

fn client_of(endpoint: Endpoint, secret_key: &str, attempts_max: u32) -> Client {
    let credentials = CredentialSource::fixed(ACCESS_KEY.to_owned(), secret_key.to_owned(), None);
    // Waits for a server that is starting.
    let (backoff_min, backoff_max) = (Duration::from_millis(400), Duration::from_millis(400));
    let retry = RetryPolicy { attempts_max, backoff_min, backoff_max };
    let options = Options { retry, ..Options::default() };
    Client::new(endpoint, credentials, options, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const BUCKET: &str = "outgoing";

fn at(key: &str) -> Address {
    Address { bucket: BUCKET.to_owned(), key: key.to_owned() }
}

fn bytes(length: usize, seed: u8) -> Bytes {
    (0..length).map(|n| u8::try_from(n * 7 % 251).unwrap() ^ seed).collect()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::Checksum(Checksum::of(ChecksumAlgorithm::Crc64Nvme, bytes))
}

/// The bytes as a stream of pieces, which claims this digest.
fn stream(bytes: Bytes, digest: Digest) -> Body {
    let length_bytes = bytes.len() as u64;
    let open = move || {
        let pieces: Vec<_> = bytes.chunks(100_000).map(|piece| Ok(bytes.slice_ref(piece))).collect();
        Box::pin(futures::stream::iter(pieces)) as BodyStream
    };
    Body::Stream(Stream { length_bytes, digest, open: Arc::new(open) })
}

async fn read(client: &Client, key: &str, version_id: Option<&str>, range: Option<Range>) -> Vec<u8> {
    let download = client.get(&at(key), version_id, range).await.unwrap();
    download.into_stream().try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test]
async fn what_is_put_comes_back_whatever_its_key() {
    let server = Server::start();
    let client = server.bucket().await;
    for (n, key) in ["plain", "a b+c%2F", "ü/…/", "//", "a?b=c&d#e", "tilde~!*'()"].into_iter().enumerate() {
        let body = bytes(1_000, u8::try_from(n).unwrap());
        let metadata = vec![("x-amz-meta-n".to_owned(), n.to_string())];
        client.put(&at(key), metadata, Body::Memory(body.clone())).await.unwrap();
        assert_eq!(read(&client, key, None, None).await, body, "{key}");
        let head = client.head(&at(key), None).await.unwrap();
        assert_eq!(head.header("x-amz-meta-n"), Some(n.to_string().as_str()), "{key}");
    }
}

#[tokio::test]
async fn a_stream_is_stored_and_ranges_of_it_are_read() {
    let server = Server::start();
    let client = server.bucket().await;
    let body = bytes(3_000_000, 1);
    client.put(&at("k"), Vec::new(), stream(body.clone(), digest(&body))).await.unwrap();
    assert_eq!(read(&client, "k", None, None).await, body);
    let range = Range { start: 1_234_567, end: 2_345_678 };
    assert_eq!(read(&client, "k", None, Some(range)).await, body[1_234_567..=2_345_678]);
}

#[tokio::test]
async fn a_stream_that_is_not_what_it_claims_is_not_stored() {
    let server = Server::start();
    let client = server.bucket().await;
    let error = client.put(&at("k"), Vec::new(), stream(bytes(500_000, 1), digest(b"other"))).await.unwrap_err();
    assert_eq!((error.status(), error.code()), (Some(400), Some("BadDigest")));
    assert_eq!(client.head(&at("k"), None).await.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn parts_keep_their_boundaries() {
    let server = Server::start();
    let client = server.bucket().await;
    let (first, second) = (bytes(5 << 20, 1), bytes(1_000, 2));
    let parts = vec![stream(first.clone(), digest(&first)), stream(second.clone(), digest(&second))];
    let stored = client.upload(&at("k"), UploadHeaders::default(), Part::numbered(parts), 2).await.unwrap();
    assert!(stored.etag.ends_with("-2\""), "{stored:?}");
    assert_eq!(read(&client, "k", None, None).await, [first, second.clone()].concat());
    let last = client.send(&at("k").request(Method::GET, None).query("partNumber", "2")).await.unwrap();
    assert_eq!(last.bytes(10_000).await.unwrap(), second);
}

#[tokio::test]
async fn versions_are_read_and_deleted_by_their_ids() {
    let server = Server::start();
    let client = server.bucket().await;
    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let request = Request::bucket(Method::PUT, BUCKET).query("versioning", "");
    client.send(&request.body(Body::Memory(Bytes::from_static(enable.as_bytes())))).await.unwrap();
    let old = client.put(&at("k"), Vec::new(), Body::Memory(bytes(10, 1))).await.unwrap().version_id.unwrap();
    client.put(&at("k"), Vec::new(), Body::Memory(bytes(10, 2))).await.unwrap();
    assert_eq!(read(&client, "k", Some(&old), None).await, bytes(10, 1));
    let marker = client.delete(&at("k"), None).await.unwrap().unwrap();
    assert_eq!(client.head(&at("k"), None).await.unwrap_err().status(), Some(404));
    client.delete(&at("k"), Some(&marker)).await.unwrap();
    assert_eq!(read(&client, "k", None, None).await, bytes(10, 2));
}

#[tokio::test]
async fn a_wrong_secret_is_refused_at_once() {
    let server = Server::start();
    server.bucket().await;
    let error = server.client_with("wrong").put(&at("k"), Vec::new(), Body::empty()).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { code, .. } if code == "SignatureDoesNotMatch"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_killed_is_waited_for() {
    let mut server = Server::start();
    let client = server.bucket().await;
    server.kill();
    let put = tokio::spawn({
        let client = client.clone();
        async move { client.put(&at("k"), Vec::new(), Body::Memory(bytes(50_000, 1))).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!put.is_finished(), "nobody is there to answer");
    server.process = Server::spawn(&server.folder);
    put.await.unwrap().unwrap();
    assert_eq!(read(&client, "k", None, None).await, bytes(50_000, 1));
}

/// An authority and a certificate for the loopback interface; false if the `openssl` command is not there.
fn certify(folder: &std::path::Path) -> bool {
    let script = "set -e; key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
        openssl req -x509 $key -days 30 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE \
            -keyout ca.key -out ca.pem
        openssl req $key -subj /CN=server -keyout server.key -out server.csr
        echo subjectAltName=IP:127.0.0.1 > server.ext
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
            -extfile server.ext -out server.pem";
    let run = Command::new("sh").args(["-c", script]).current_dir(folder).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_server_is_trusted_by_the_file_of_certificates_alone() {
    let folder = tempfile::tempdir().unwrap();
    if !certify(folder.path()) {
        eprintln!("skipped: the openssl command is not there");
        return;
    }
    let [certificate, key, authority] = ["server.pem", "server.key", "ca.pem"].map(|name| folder.path().join(name));
    let more = format!("tls_cert_file = {certificate:?}\ntls_key_file = {key:?}\n");
    let server = Server::start_in(folder, "https", &more);
    let trusting = server.endpoint().with_ca_file(Some(authority));
    let client = client_of(trusting, SECRET_KEY, 100);
    client.send(&Request::bucket(Method::PUT, BUCKET)).await.unwrap();
    let body = bytes(300_000, 1);
    client.put(&at("k"), Vec::new(), stream(body.clone(), digest(&body))).await.unwrap();
    assert_eq!(read(&client, "k", None, None).await, body);
    let error = client_of(server.endpoint(), SECRET_KEY, 1).head(&at("k"), None).await.unwrap_err();
    assert!(matches!(error, ClientError::Unanswered(_)), "{error}");
}
