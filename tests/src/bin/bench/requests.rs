//! Signed requests, ready for the wire.

use bytes::Bytes;
use cairn_tests::Client;
use cairn_tests::client::REGION;
use cairn_tests::sigv4::{self, Head, Signer, encode};
use time::OffsetDateTime;

use crate::load::Request;

/// Makes signed requests for one cell.
#[derive(Clone)]
pub struct Requests {
    signer: Signer,
    host: String,
}

impl Requests {
    /// Signed with the time of now, which holds for the fifteen minutes that no cell lasts.
    pub fn new(client: &Client) -> Requests {
        let signer = Signer::new(&client.credentials, REGION, OffsetDateTime::now_utc());
        Requests { signer, host: client.address.to_string() }
    }

    /// A request without a body.
    pub fn plain(&self, method: &'static str, path: String) -> Request {
        self.make(method, path, &[], Bytes::new(), true)
    }

    /// A request whose body is covered by the signature, or is not.
    pub fn make(
        &self,
        method: &'static str,
        path: String,
        query: &[(&str, String)],
        body: Bytes,
        signed: bool,
    ) -> Request {
        let headers = vec![("host".to_owned(), self.host.clone())];
        self.make_with(method, path, query, headers, body, signed)
    }

    /// A PUT into a storage class, whose body is not covered by the signature.
    pub fn put_in_class(&self, path: String, class: &str, body: Bytes) -> Request {
        let class = ("x-amz-storage-class".to_owned(), class.to_owned());
        let headers = vec![("host".to_owned(), self.host.clone()), class];
        self.make_with("PUT", path, &[], headers, body, false)
    }

    /// DeleteObjects of these keys, or of these of their versions.
    pub fn delete_objects(&self, bucket: &str, keys: impl Iterator<Item = (String, Option<String>)>) -> Request {
        let objects: String = keys
            .map(|(key, version)| {
                let version = version.map(|version| format!("<VersionId>{version}</VersionId>")).unwrap_or_default();
                format!("<Object><Key>{key}</Key>{version}</Object>")
            })
            .collect();
        let body = Bytes::from(format!("<Delete><Quiet>true</Quiet>{objects}</Delete>"));
        let digest = ("content-md5".to_owned(), sigv4::content_md5(&body));
        let headers = vec![("host".to_owned(), self.host.clone()), digest];
        self.make_with("POST", format!("/{bucket}"), &[("delete", String::new())], headers, body, true)
    }

    fn make_with(
        &self,
        method: &'static str,
        path: String,
        query: &[(&str, String)],
        headers: Vec<(String, String)>,
        body: Bytes,
        signed: bool,
    ) -> Request {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut head = Head { method: method.into(), path, query, headers };
        let payload_hash = match signed {
            true => sigv4::sha256_hex(&body),
            false => sigv4::UNSIGNED_PAYLOAD.to_owned(),
        };
        self.signer.sign_header(&mut head, &payload_hash);
        Request { method, head: wire_head(&head, body.len()), body }
    }
}

fn wire_head(head: &Head, body_bytes: usize) -> Vec<u8> {
    let query: Vec<String> = head.query.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let separator = if query.is_empty() { "" } else { "?" };
    let mut text = format!("{} {}{separator}{} HTTP/1.1\r\n", head.method, head.path, query.join("&"));
    for (name, value) in &head.headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str(&format!("content-length: {body_bytes}\r\n\r\n"));
    text.into_bytes()
}
