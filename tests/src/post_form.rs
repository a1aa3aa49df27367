//! Forms as browsers post them, signed by policies of either version, or by nothing; and the ones that no browser would send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::{Call, Client, REGION};
use crate::sigv2;
use crate::sigv4::Signer;
use crate::wire::Reply;

const BOUNDARY: &str = "----cairn-form-boundary";

/// How a form is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signed {
    Version4,
    Version2,
    Not,
}

/// A form being filled in.
#[derive(Clone, Debug)]
#[must_use]
pub struct PostForm {
    client: Client,
    bucket: String,
    fields: Vec<(String, String)>,
    conditions: Vec<Value>,
    file: Option<(String, Bytes)>,
    signed: Signed,
    expires: OffsetDateTime,
    in_host: bool,
}

impl PostForm {
    /// A form for a key of a bucket, signed with version 4, whose file is `content`.
    pub fn new(client: &Client, bucket: &str, key: &str, content: impl Into<Bytes>) -> PostForm {
        let form = PostForm {
            client: client.clone(),
            bucket: bucket.into(),
            fields: vec![],
            conditions: vec![json!({ "bucket": bucket }), json!(["starts-with", "$key", ""])],
            file: Some(("file.txt".into(), content.into())),
            signed: Signed::Version4,
            expires: OffsetDateTime::now_utc() + time::Duration::hours(1),
            in_host: false,
        };
        form.bare_field("key", key)
    }

    /// With a field, and a condition that it is this.
    pub fn field(self, name: &str, value: &str) -> PostForm {
        self.condition(json!(["eq", format!("${name}"), value])).bare_field(name, value)
    }

    /// With a field that no condition is about.
    pub fn bare_field(mut self, name: &str, value: &str) -> PostForm {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// With a condition.
    pub fn condition(mut self, condition: Value) -> PostForm {
        self.conditions.push(condition);
        self
    }

    /// With another name of the file.
    pub fn file_name(mut self, name: &str) -> PostForm {
        if let Some(file) = &mut self.file {
            file.0 = name.into();
        }
        self
    }

    /// Without a file.
    pub fn without_file(mut self) -> PostForm {
        self.file = None;
        self
    }

    /// Signed with version 2.
    pub fn version_2(mut self) -> PostForm {
        self.signed = Signed::Version2;
        self
    }

    /// Signed by nobody.
    pub fn anonymous(mut self) -> PostForm {
        self.signed = Signed::Not;
        self
    }

    /// With a policy that ends then.
    pub fn expires(mut self, at: OffsetDateTime) -> PostForm {
        self.expires = at;
        self
    }

    /// For the bucket that the host names.
    pub fn in_host(mut self) -> PostForm {
        self.in_host = true;
        self
    }

    /// Every field, with those of the signature.
    pub fn signed_fields(&self) -> Vec<(String, String)> {
        let mut fields = self.fields.clone();
        let mut conditions = self.conditions.clone();
        let signer = Signer::new(&self.client.credentials, REGION, OffsetDateTime::now_utc());
        let mut own: Vec<(String, String)> = vec![];
        if self.signed == Signed::Version4 {
            own.push(("x-amz-algorithm".into(), "AWS4-HMAC-SHA256".into()));
            own.push(("x-amz-credential".into(), signer.credential()));
            own.push(("x-amz-date".into(), signer.timestamp().into()));
        }
        if self.signed != Signed::Not {
            own.extend(self.client.credentials.token.clone().map(|token| ("x-amz-security-token".into(), token)));
        }
        conditions.extend(own.iter().map(|(name, value)| json!({ name: value })));
        let expires = self.expires.replace_nanosecond(0).expect("zero is a fraction of a second");
        let expiration = expires.format(&Rfc3339).expect("a time of these years");
        let policy = STANDARD.encode(json!({ "expiration": expiration, "conditions": conditions }).to_string());
        match self.signed {
            Signed::Not => return fields,
            Signed::Version4 => own.push(("x-amz-signature".into(), signer.sign_text(&policy))),
            Signed::Version2 => {
                own.push(("AWSAccessKeyId".into(), self.client.credentials.access_key.clone()));
                own.push(("signature".into(), sigv2::sign_text(&self.client.credentials, &policy)));
            }
        }
        fields.extend(own);
        fields.push(("policy".into(), policy));
        fields
    }

    /// The form as it is sent.
    pub fn body(&self) -> Vec<u8> {
        let file = self.file.as_ref().map(|(name, content)| (name.as_str(), &content[..]));
        encode(&self.signed_fields(), file)
    }

    /// The request with the form.
    pub fn call(&self) -> Call {
        raw_call(&self.client, &self.bucket, self.in_host, self.body())
    }

    /// Posts it.
    pub async fn send(&self) -> Reply {
        self.call().send().await
    }
}

/// A request with this body as a form.
pub fn raw_call(client: &Client, bucket: &str, in_host: bool, body: impl Into<Bytes>) -> Call {
    let call = match in_host {
        true => client.call("POST", "/").host_bucket(bucket),
        false => client.bucket("POST", bucket),
    };
    call.anonymous().header("content-type", &format!("multipart/form-data; boundary={BOUNDARY}")).body(body)
}

/// A form with these fields and this file.
pub fn encode(fields: &[(String, String)], file: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut body = before_file(fields, file.map(|(name, _)| name));
    if let Some((_, content)) = file {
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

/// What of a form comes before the bytes of its file.
pub fn before_file(fields: &[(String, String)], file_name: Option<&str>) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in fields {
        text.push_str(&format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    if let Some(file_name) = file_name {
        text.push_str(&format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
             Content-Type: text/plain\r\n\r\n"
        ));
    }
    text.into_bytes()
}

/// What of a form comes after the bytes of its file.
pub fn after_file() -> Vec<u8> {
    format!("\r\n--{BOUNDARY}--\r\n").into_bytes()
}
