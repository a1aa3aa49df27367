//! AWS Signature Version 4 for S3, written from its specification and independent of the server's verifier: the header
//! form, the presigned form, and the `aws-chunked` body encodings.

use base64::Engine as _;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

/// The payload hash of a body that is not covered by the signature.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// An access key with its secret.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The public half.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
    /// The session token, if it is a key of a session.
    pub token: Option<String>,
}

/// What a signature covers: a request before it is put on the wire.
#[derive(Clone, Debug)]
pub struct Head {
    /// The HTTP method.
    pub method: String,
    /// The path, percent-encoded as it will be sent.
    pub path: String,
    /// The query parameters, decoded.
    pub query: Vec<(String, String)>,
    /// The headers; all of them are signed.
    pub headers: Vec<(String, String)>,
}

/// Credentials at one instant in one region.
#[derive(Clone, Debug)]
pub struct Signer {
    credentials: Credentials,
    timestamp: String,
    scope: String,
    key: Vec<u8>,
}

impl Signer {
    /// A signer for service `s3` at `now`.
    pub fn new(credentials: &Credentials, region: &str, now: OffsetDateTime) -> Signer {
        Signer::for_service(credentials, region, "s3", now)
    }

    /// A signer for any service, for requests that must be refused.
    pub fn for_service(credentials: &Credentials, region: &str, service: &str, now: OffsetDateTime) -> Signer {
        let timestamp = now
            .to_offset(time::UtcOffset::UTC)
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .expect("a UTC time has all of these components");
        let date = &timestamp[..8];
        let mut key = hmac(format!("AWS4{}", credentials.secret_key).as_bytes(), date.as_bytes());
        for part in [region, service, "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let scope = format!("{date}/{region}/{service}/aws4_request");
        Signer { credentials: credentials.clone(), timestamp, scope, key }
    }

    /// Adds `x-amz-date`, `x-amz-content-sha256` and `Authorization`; returns the signature, which seeds the chunks'.
    pub fn sign_header(&self, head: &mut Head, payload_hash: &str) -> String {
        head.headers.push(("x-amz-content-sha256".into(), payload_hash.into()));
        self.sign_header_alone(head, payload_hash)
    }

    /// As [`Signer::sign_header`], without sending the payload hash, as clients of services other than S3 do.
    pub fn sign_header_alone(&self, head: &mut Head, payload_hash: &str) -> String {
        if !head.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-amz-date")) {
            head.headers.push(("x-amz-date".into(), self.timestamp.clone()));
        }
        let (canonical, signed_names) = canonical_request(head, payload_hash);
        let signature = self.signature("AWS4-HMAC-SHA256", &sha256_hex(canonical.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={signed_names}, Signature={signature}",
            self.credentials.access_key, self.scope
        );
        head.headers.push(("authorization".into(), authorization));
        signature
    }

    /// Adds the query parameters of a presigned URL, which covers this hash of its body.
    pub fn presign(&self, head: &mut Head, expires_seconds: i64, payload_hash: &str) {
        let mut names: Vec<String> = head.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        names.dedup();
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("X-Amz-Credential", format!("{}/{}", self.credentials.access_key, self.scope)),
            ("X-Amz-Date", self.timestamp.clone()),
            ("X-Amz-Expires", expires_seconds.to_string()),
            ("X-Amz-SignedHeaders", names.join(";")),
        ] {
            head.query.push((name.into(), value));
        }
        let (canonical, _) = canonical_request(head, payload_hash);
        let signature = self.signature("AWS4-HMAC-SHA256", &sha256_hex(canonical.as_bytes()));
        head.query.push(("X-Amz-Signature".into(), signature));
    }

    /// The signature of one chunk, chained to the one before it.
    pub fn chunk_signature(&self, previous: &str, chunk: &[u8]) -> String {
        let rest = format!("{previous}\n{}\n{}", sha256_hex(b""), sha256_hex(chunk));
        self.signature("AWS4-HMAC-SHA256-PAYLOAD", &rest)
    }

    /// The signature of the trailing headers, chained to the last chunk's.
    pub fn trailer_signature(&self, previous: &str, trailers: &[(String, String)]) -> String {
        let lines: String = trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        self.signature("AWS4-HMAC-SHA256-TRAILER", &format!("{previous}\n{}", sha256_hex(lines.as_bytes())))
    }

    /// The signature of any text, as a form's policy is signed.
    pub fn sign_text(&self, text: &str) -> String {
        hex::encode(hmac(&self.key, text.as_bytes()))
    }

    /// The access key with its scope.
    pub fn credential(&self) -> String {
        format!("{}/{}", self.credentials.access_key, self.scope)
    }

    /// The time of the signatures.
    pub fn timestamp(&self) -> &str {
        &self.timestamp
    }

    fn signature(&self, algorithm: &str, rest: &str) -> String {
        let string_to_sign = format!("{algorithm}\n{}\n{}\n{rest}", self.timestamp, self.scope);
        hex::encode(hmac(&self.key, string_to_sign.as_bytes()))
    }
}

/// How an `aws-chunked` body is cut and protected.
#[derive(Clone, Debug)]
pub struct Chunking {
    /// Bytes of every chunk but the last.
    pub chunk_bytes: usize,
    /// Whether each chunk (and the trailer) is signed.
    pub signed: bool,
    /// Headers that follow the body.
    pub trailers: Vec<(String, String)>,
}

impl Chunking {
    /// The value of `x-amz-content-sha256` that announces this encoding.
    pub fn payload_hash(&self) -> &'static str {
        match (self.signed, self.trailers.is_empty()) {
            (true, true) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            (true, false) => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            (false, _) => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        }
    }

    /// The encoded chunks of `body`, the final empty one (without its last line end) and the trailer, one element each,
    /// so that a test can drop or reorder them.
    pub fn encode(&self, signer: &Signer, seed_signature: &str, body: &[u8]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        let mut previous = seed_signature.to_owned();
        for chunk in body.chunks(self.chunk_bytes).chain([&[][..]]) {
            let mut piece = format!("{:x}", chunk.len()).into_bytes();
            if self.signed {
                previous = signer.chunk_signature(&previous, chunk);
                piece.extend_from_slice(format!(";chunk-signature={previous}").as_bytes());
            }
            piece.extend_from_slice(b"\r\n");
            if !chunk.is_empty() {
                piece.extend_from_slice(chunk);
                piece.extend_from_slice(b"\r\n");
            }
            pieces.push(piece);
        }
        let mut end: String = self.trailers.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect();
        if self.signed && !self.trailers.is_empty() {
            let signature = signer.trailer_signature(&previous, &self.trailers);
            end.push_str(&format!("x-amz-trailer-signature:{signature}\r\n"));
        }
        end.push_str("\r\n");
        pieces.push(end.into_bytes());
        pieces
    }
}

fn canonical_request(head: &Head, payload_hash: &str) -> (String, String) {
    let mut query: Vec<(String, String)> =
        head.query.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    query.sort();
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &head.headers {
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let name = name.to_ascii_lowercase();
        match headers.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => *values = format!("{values},{value}"),
            None => headers.push((name, value)),
        }
    }
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let canonical = format!("{}\n{}\n{}\n{lines}\n{names}\n{payload_hash}", head.method, head.path, query.join("&"));
    (canonical, names)
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    encode_bytes(text.as_bytes(), false)
}

/// Percent-encodes an object key for a path: as [`encode`], but `/` stays.
pub fn encode_key(key: &[u8]) -> String {
    encode_bytes(key, true)
}

fn encode_bytes(bytes: &[u8], keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Undoes the form encoding of listings (`encoding-type=url`); malformed text panics.
pub fn form_decode(encoded: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                bytes.extend(hex::decode(&rest[..2]).expect("two hexadecimal digits follow a percent sign"));
                rest = &rest[2..];
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).expect("keys are UTF-8")
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// MD5 in base64, as `Content-MD5` wants it.
pub fn content_md5(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(md5::Md5::digest(bytes))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example "GET Object" of Amazon's "Authenticating Requests: Using the Authorization Header".
    #[test]
    fn the_published_get_object_example_is_reproduced() {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let signer = Signer::new(&credentials, "us-east-1", time::macros::datetime!(2013-05-24 00:00:00 UTC));
        let mut head = Head {
            method: "GET".into(),
            path: "/test.txt".into(),
            query: vec![],
            headers: vec![
                ("host".into(), "examplebucket.s3.amazonaws.com".into()),
                ("range".into(), "bytes=0-9".into()),
            ],
        };
        let signature = signer.sign_header(&mut head, &sha256_hex(b""));
        assert_eq!(signature, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    }

    /// The example of Amazon's "Authenticating Requests: Using Query Parameters".
    #[test]
    fn the_published_presigned_example_is_reproduced() {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let signer = Signer::new(&credentials, "us-east-1", time::macros::datetime!(2013-05-24 00:00:00 UTC));
        let mut head = Head {
            method: "GET".into(),
            path: "/test.txt".into(),
            query: vec![],
            headers: vec![("host".into(), "examplebucket.s3.amazonaws.com".into())],
        };
        signer.presign(&mut head, 86_400, UNSIGNED_PAYLOAD);
        let (_, signature) = &head.query[head.query.len() - 1];
        assert_eq!(signature, "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    }
}
