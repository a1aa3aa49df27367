//! A thin S3 client. A [`Call`] is composed step by step; [`Call::build`] signs it and gives the bytes for the wire,
//! which a test may change before it sends them.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use time::OffsetDateTime;

use crate::harness::DOMAIN;
use crate::sigv2;
use crate::sigv4::{self, Chunking, Credentials, Head, Signer};
use crate::wire::{Reply, Wire};

/// The region that the harness configures.
pub const REGION: &str = "us-east-1";

const TOKEN: &str = "x-amz-security-token";

/// An endpoint with credentials.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where the S3 listener is.
    pub address: SocketAddr,
    /// Whose requests these are.
    pub credentials: Credentials,
}

/// How a call proves who sent it.
#[derive(Clone, Debug)]
enum Auth {
    Header,
    Presigned { expires_seconds: i64 },
    PresignedV2 { expires: String },
    HeaderV2,
    Anonymous,
}

#[derive(Clone, Debug)]
enum Payload {
    Hashed,
    HashedSilently,
    Unsigned,
    Declared(String),
    Chunked { chunking: Chunking, declared_length: Option<usize> },
}

/// A request being composed.
#[derive(Clone, Debug)]
#[must_use]
pub struct Call {
    client: Client,
    head: Head,
    body: Bytes,
    auth: Auth,
    payload: Payload,
    time: Option<OffsetDateTime>,
    region: String,
    service: String,
    host_bucket: Option<String>,
    host: Option<String>,
}

impl Client {
    /// A call of `method` on a path that is already percent-encoded.
    pub fn call(&self, method: &str, path: &str) -> Call {
        Call {
            client: self.clone(),
            head: Head { method: method.into(), path: path.into(), query: vec![], headers: vec![] },
            body: Bytes::new(),
            auth: Auth::Header,
            payload: Payload::Hashed,
            time: None,
            region: REGION.into(),
            service: "s3".into(),
            host_bucket: None,
            host: None,
        }
    }

    /// A call on a bucket.
    pub fn bucket(&self, method: &str, bucket: &str) -> Call {
        self.call(method, &format!("/{bucket}"))
    }

    /// A call on an object, whose key is encoded here.
    pub fn object(&self, method: &str, bucket: &str, key: &str) -> Call {
        self.call(method, &format!("/{bucket}/{}", sigv4::encode_key(key.as_bytes())))
    }

    /// A call of an action of the API of IAM or STS, which `service` names.
    pub fn action(&self, service: &str, action: &str, parameters: &[(&str, &str)]) -> Call {
        let version = if service == "iam" { "2010-05-08" } else { "2011-06-15" };
        let all = [("Action", action), ("Version", version)].into_iter().chain(parameters.iter().copied());
        let form: Vec<String> = all.map(|(name, value)| format!("{name}={}", sigv4::encode(value))).collect();
        let mut call = self.call("POST", "/").scope(REGION, service).body(form.join("&"));
        call.payload = Payload::HashedSilently;
        call.header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
    }

    /// A call of an action of the API of KMS.
    pub fn kms(&self, action: &str, input: &serde_json::Value) -> Call {
        let mut call = self.call("POST", "/").scope(REGION, "kms").body(input.to_string());
        call.payload = Payload::HashedSilently;
        call.header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", &format!("TrentService.{action}"))
    }

    /// Who holds the temporary credentials that an action of STS has replied.
    pub fn in_session(&self, reply: &Reply) -> Client {
        let credentials = Credentials {
            access_key: reply.xml("AccessKeyId"),
            secret_key: reply.xml("SecretAccessKey"),
            token: Some(reply.xml("SessionToken")),
        };
        Client { address: self.address, credentials }
    }

    /// Creates a bucket of a name that no other test uses.
    pub async fn fresh_bucket(&self, purpose: &str) -> String {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let bucket = format!("{purpose}-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        self.bucket("PUT", &bucket).send().await.expect(200);
        bucket
    }

    /// PutObject, which must succeed.
    pub async fn put(&self, bucket: &str, key: &str, body: impl Into<Bytes>) -> Reply {
        self.object("PUT", bucket, key).body(body).send().await.expect(200)
    }

    /// GetObject, whatever it answers.
    pub async fn get(&self, bucket: &str, key: &str) -> Reply {
        self.object("GET", bucket, key).send().await
    }

    /// HeadObject, whatever it answers.
    pub async fn head(&self, bucket: &str, key: &str) -> Reply {
        self.object("HEAD", bucket, key).send().await
    }

    /// DeleteObject, which must succeed.
    pub async fn delete(&self, bucket: &str, key: &str) -> Reply {
        self.object("DELETE", bucket, key).send().await.expect(204)
    }

    /// The keys of a bucket, in listing order, over all pages.
    pub async fn keys(&self, bucket: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut token = String::new();
        loop {
            let mut call = self.bucket("GET", bucket).query("list-type", "2");
            if !token.is_empty() {
                call = call.query("continuation-token", &token);
            }
            let page = call.send().await.expect(200);
            keys.extend(page.xml_all("Key"));
            if page.xml("IsTruncated") != "true" {
                return keys;
            }
            token = page.xml("NextContinuationToken");
        }
    }

    /// The open multipart uploads of a bucket.
    pub async fn upload_ids(&self, bucket: &str) -> Vec<String> {
        self.bucket("GET", bucket).query("uploads", "").send().await.expect(200).xml_all("UploadId")
    }
}

impl Call {
    /// Adds a query parameter, decoded.
    pub fn query(mut self, name: &str, value: &str) -> Call {
        self.head.query.push((name.into(), value.into()));
        self
    }

    /// Adds a header, which is signed.
    pub fn header(mut self, name: &str, value: &str) -> Call {
        self.head.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Call {
        self.body = body.into();
        self
    }

    /// Sends no credentials.
    pub fn anonymous(mut self) -> Call {
        self.auth = Auth::Anonymous;
        self
    }

    /// Signs in the query string.
    pub fn presigned(mut self, expires_seconds: i64) -> Call {
        self.auth = Auth::Presigned { expires_seconds };
        self
    }

    /// Signs in the query string with version 2; `expires` is in seconds since the epoch.
    pub fn presigned_v2(mut self, expires: impl ToString) -> Call {
        self.auth = Auth::PresignedV2 { expires: expires.to_string() };
        self
    }

    /// Signs in the header with version 2. The call must have a `Date` or an `x-amz-date`.
    pub fn header_v2(mut self) -> Call {
        self.auth = Auth::HeaderV2;
        self
    }

    /// Addresses a bucket by its host; the path is then the key's alone.
    pub fn host_bucket(mut self, bucket: &str) -> Call {
        self.host_bucket = Some(bucket.into());
        self
    }

    /// Sends and signs this `Host`.
    pub fn host(mut self, host: &str) -> Call {
        self.host = Some(host.into());
        self
    }

    /// Leaves the body out of the signature.
    pub fn unsigned_payload(mut self) -> Call {
        self.payload = Payload::Unsigned;
        self
    }

    /// Signs this value of `x-amz-content-sha256`, true or not.
    pub fn declared_payload(mut self, payload_hash: &str) -> Call {
        self.payload = Payload::Declared(payload_hash.into());
        self
    }

    /// Encodes the body as `aws-chunked`.
    pub fn chunked(mut self, chunking: Chunking) -> Call {
        self.payload = Payload::Chunked { chunking, declared_length: None };
        self
    }

    /// As [`Call::chunked`], with a `x-amz-decoded-content-length` that need not be true.
    pub fn chunked_with_length(mut self, chunking: Chunking, declared_length: usize) -> Call {
        self.payload = Payload::Chunked { chunking, declared_length: Some(declared_length) };
        self
    }

    /// Signs as if it were `time`.
    pub fn at(mut self, time: OffsetDateTime) -> Call {
        self.time = Some(time);
        self
    }

    /// Signs for another scope.
    pub fn scope(mut self, region: &str, service: &str) -> Call {
        self.region = region.into();
        self.service = service.into();
        self
    }

    /// Signs the request.
    pub fn build(self) -> Wire {
        let (mut wire, pieces) = self.build_pieces();
        if !pieces.is_empty() {
            wire.body = pieces.concat().into();
            wire.content_length = Some(wire.body.len() as u64);
        }
        wire
    }

    /// As [`Call::build`], with the pieces of an `aws-chunked` body apart (see [`Chunking::encode`]).
    pub fn build_pieces(mut self) -> (Wire, Vec<Vec<u8>>) {
        let now = self.time.unwrap_or_else(OffsetDateTime::now_utc);
        let signer = Signer::for_service(&self.client.credentials, &self.region, &self.service, now);
        let host = match (self.host.take(), &self.host_bucket) {
            (Some(host), _) => host,
            (None, Some(bucket)) => format!("{bucket}.{DOMAIN}:{}", self.client.address.port()),
            (None, None) => self.client.address.to_string(),
        };
        self.head.headers.insert(0, ("host".into(), host));
        self.add_token();
        let (credentials, host_bucket) = (&self.client.credentials, self.host_bucket.as_deref());
        let mut pieces = Vec::new();
        match self.auth {
            Auth::Anonymous => {}
            Auth::Presigned { expires_seconds } => {
                // Only S3's leave the body open.
                let open = self.service == "s3";
                let hash = if open { sigv4::UNSIGNED_PAYLOAD.to_owned() } else { sigv4::sha256_hex(&self.body) };
                signer.presign(&mut self.head, expires_seconds, &hash);
            }
            Auth::PresignedV2 { expires } => {
                sigv2::presign(&mut self.head, credentials, host_bucket, &expires);
                // Signed as a header, and sent in the URL.
                let is_token = |(name, _): &mut (String, String)| name == TOKEN;
                self.head.query.extend(self.head.headers.extract_if(.., is_token));
            }
            Auth::HeaderV2 => sigv2::sign_header(&mut self.head, credentials, host_bucket),
            Auth::Header => match &self.payload {
                Payload::Hashed => {
                    signer.sign_header(&mut self.head, &sigv4::sha256_hex(&self.body));
                }
                Payload::HashedSilently => {
                    signer.sign_header_alone(&mut self.head, &sigv4::sha256_hex(&self.body));
                }
                Payload::Unsigned => {
                    signer.sign_header(&mut self.head, sigv4::UNSIGNED_PAYLOAD);
                }
                Payload::Declared(payload_hash) => {
                    signer.sign_header(&mut self.head, payload_hash);
                }
                Payload::Chunked { chunking, declared_length } => {
                    let decoded_length = declared_length.unwrap_or(self.body.len());
                    let headers = &mut self.head.headers;
                    headers.push(("content-encoding".into(), "aws-chunked".into()));
                    headers.push(("x-amz-decoded-content-length".into(), decoded_length.to_string()));
                    for (name, _) in &chunking.trailers {
                        headers.push(("x-amz-trailer".into(), name.clone()));
                    }
                    let seed = signer.sign_header(&mut self.head, chunking.payload_hash());
                    pieces = chunking.encode(&signer, &seed, &self.body);
                }
            },
        }
        let carries_body = !self.body.is_empty() || matches!(self.head.method.as_str(), "PUT" | "POST");
        let wire = Wire {
            target: target(&self.head),
            method: self.head.method,
            headers: self.head.headers,
            content_length: carries_body.then_some(self.body.len() as u64),
            body: self.body,
        };
        (wire, pieces)
    }

    /// The session token, where a signature of this kind covers it.
    fn add_token(&mut self) {
        let Some(token) = self.client.credentials.token.clone() else { return };
        match self.auth {
            Auth::Anonymous => {}
            Auth::Presigned { .. } => self.head.query.push(("X-Amz-Security-Token".into(), token)),
            Auth::Header | Auth::HeaderV2 | Auth::PresignedV2 { .. } => self.head.headers.push((TOKEN.into(), token)),
        }
    }

    /// Sends the request; a transport error panics.
    pub async fn send(self) -> Reply {
        let (method, path) = (self.head.method.clone(), self.head.path.clone());
        match self.try_send().await {
            Ok(reply) => reply,
            Err(error) => panic!("{method} {path}: no answer: {error}"),
        }
    }

    /// Sends the request.
    pub async fn try_send(self) -> io::Result<Reply> {
        let address = self.client.address;
        self.build().send(address).await
    }
}

fn target(head: &Head) -> String {
    let query: Vec<String> = head
        .query
        .iter()
        .map(|(name, value)| match value.is_empty() {
            true => sigv4::encode(name),
            false => format!("{}={}", sigv4::encode(name), sigv4::encode(value)),
        })
        .collect();
    match query.is_empty() {
        true => head.path.clone(),
        false => format!("{}?{}", head.path, query.join("&")),
    }
}
