//! What a request says of how a new object is to be sealed under the server's key or a KMS's: the headers, or the fields of a
//! form, `x-amz-server-side-encryption` and those that go with it (S3 user guide, "Specifying server-side encryption with AWS
//! KMS"). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_storage::encryption::{EncryptionMode, KmsContext};
use http::{HeaderMap, HeaderName};

use super::error::Failure;
use super::headers::{
    SERVER_SIDE_ENCRYPTION, SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED, SERVER_SIDE_ENCRYPTION_CONTEXT,
    SERVER_SIDE_ENCRYPTION_KMS_KEY_ID, text,
};

/// S3's name of SSE-S3, and of the only algorithm that SSE-C has.
pub const AES256: &str = "AES256";

/// Everything that says how to seal, but for a customer's key.
pub(super) static ALL: [HeaderName; 4] = [
    SERVER_SIDE_ENCRYPTION,
    SERVER_SIDE_ENCRYPTION_KMS_KEY_ID,
    SERVER_SIDE_ENCRYPTION_CONTEXT,
    SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED,
];

/// The method that S3 seals by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Under the server's key.
    Aes256,
    /// Under a KMS's.
    Kms(KmsMethod),
}

/// Once or twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KmsMethod {
    /// SSE-KMS.
    Once,
    /// DSSE-KMS.
    Twice,
}

impl Method {
    /// The method of this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        [Self::Aes256, Self::Kms(KmsMethod::Once), Self::Kms(KmsMethod::Twice)]
            .into_iter()
            .find(|method| method.name() == name)
    }

    /// S3's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Aes256 => AES256,
            Self::Kms(method) => method.name(),
        }
    }
}

impl KmsMethod {
    /// S3's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Once => "aws:kms",
            Self::Twice => "aws:kms:dsse",
        }
    }

    /// What records say of it.
    pub(super) fn mode(self) -> EncryptionMode {
        match self {
            Self::Once => EncryptionMode::Kms,
            Self::Twice => EncryptionMode::KmsDsse,
        }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The method; None: that of the bucket.
    pub(super) method: Option<Method>,
    /// The KMS's key, as the request names it. Only with a method of a KMS.
    pub(super) key: Option<String>,
    /// The encryption context. Only with a method of a KMS.
    pub(super) context: KmsContext,
    /// Whether it is to be under a bucket key; None: as the bucket says.
    pub(super) bucket_key: Option<bool>,
}

impl Asked {
    /// What these headers ask for.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let named = text(headers, &SERVER_SIDE_ENCRYPTION);
        let method =
            named.as_deref().map(|name| Method::parse(name).ok_or_else(|| no_such_method(name))).transpose()?;
        let asked = Self {
            method,
            key: text(headers, &SERVER_SIDE_ENCRYPTION_KMS_KEY_ID),
            context: text(headers, &SERVER_SIDE_ENCRYPTION_CONTEXT)
                .map_or(Ok(KmsContext::new()), |text| context(&text))?,
            bucket_key: bucket_key(headers)?,
        };
        let of_kms = matches!(asked.method, Some(Method::Kms(_)));
        let needs_kms = asked.key.is_some() || headers.contains_key(SERVER_SIDE_ENCRYPTION_CONTEXT);
        // Of the bucket key alone the bucket may know what it is for.
        let bucket_key_for_nothing = asked.bucket_key == Some(true) && asked.method == Some(Method::Aes256);
        if (needs_kms && !of_kms) || bucket_key_for_nothing {
            return Err(Failure::invalid_argument(
                SERVER_SIDE_ENCRYPTION.as_str(),
                named.as_deref().unwrap_or("null"),
                "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
            ));
        }
        if asked.method == Some(Method::Kms(KmsMethod::Twice)) && asked.bucket_key == Some(true) {
            return Err(no_bucket_key_for_dsse(SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED.as_str()));
        }
        Ok(asked)
    }
}

/// S3 has no bucket keys for what is sealed twice (S3 user guide, "Reducing the cost of SSE-KMS with Amazon S3 Bucket Keys").
pub(super) fn no_bucket_key_for_dsse(argument: &str) -> Failure {
    Failure::invalid_argument(argument, "true", "S3 Bucket Keys are not supported for aws:kms:dsse.")
}

fn no_such_method(name: &str) -> Failure {
    let message = "The encryption method specified is not supported";
    Failure::invalid_argument(SERVER_SIDE_ENCRYPTION.as_str(), name, message)
}

fn bucket_key(headers: &HeaderMap) -> Result<Option<bool>, Failure> {
    let Some(text) = text(headers, &SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED) else { return Ok(None) };
    if text.eq_ignore_ascii_case("true") {
        return Ok(Some(true));
    }
    if text.eq_ignore_ascii_case("false") {
        return Ok(Some(false));
    }
    let name = SERVER_SIDE_ENCRYPTION_BUCKET_KEY_ENABLED;
    Err(Failure::invalid_argument(name.as_str(), &text, "The value must be true or false."))
}

/// Reads Base64 of JSON: an object whose values are texts.
fn context(text: &str) -> Result<KmsContext, Failure> {
    let decoded = STANDARD.decode(text).ok();
    decoded.and_then(|decoded| serde_json::from_slice(&decoded).ok()).ok_or_else(|| {
        Failure::invalid_argument(
            SERVER_SIDE_ENCRYPTION_CONTEXT.as_str(),
            text,
            "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which \
             represents a string-string map",
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    const METHOD: &str = "x-amz-server-side-encryption";
    const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
    const CONTEXT: &str = "x-amz-server-side-encryption-context";
    const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";

    fn asked(pairs: &[(&'static str, &str)]) -> Result<Asked, Failure> {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        Asked::of(&pairs.iter().map(pair).collect())
    }

    #[test]
    fn what_goes_together_is_read() {
        assert_eq!(asked(&[]).unwrap(), Asked::default());
        let context = STANDARD.encode(r#"{"project":"ä","b":""}"#);
        let all = asked(&[(METHOD, "aws:kms"), (KEY, "alias/k"), (CONTEXT, &context), (BUCKET_KEY, "True")]).unwrap();
        let expected = Asked {
            method: Some(Method::Kms(KmsMethod::Once)),
            key: Some("alias/k".to_owned()),
            context: [("project".to_owned(), "ä".to_owned()), ("b".to_owned(), String::new())].into(),
            bucket_key: Some(true),
        };
        assert_eq!(all, expected);
        for pairs in [
            &[(METHOD, "AES256")][..],
            &[(METHOD, "AES256"), (BUCKET_KEY, "false")],
            &[(METHOD, "aws:kms:dsse"), (KEY, "k"), (BUCKET_KEY, "false")],
            &[(BUCKET_KEY, "true")],
        ] {
            assert!(asked(pairs).is_ok(), "{pairs:?}");
        }
    }

    #[test]
    fn what_does_not_is_refused() {
        let context = |text: &str| STANDARD.encode(text);
        let (list, nested, number) = (context("[]"), context(r#"{"a":{}}"#), context(r#"{"a":1}"#));
        let good = context(r#"{"a":"b"}"#);
        for pairs in [
            &[(METHOD, "aes:kms")][..],
            &[(METHOD, "aws:KMS")],
            &[(KEY, "k")],
            &[(METHOD, "AES256"), (KEY, "k")],
            &[(METHOD, "AES256"), (CONTEXT, &good)],
            &[(CONTEXT, &good)],
            &[(METHOD, "aws:kms"), (CONTEXT, "{}")],
            &[(METHOD, "aws:kms"), (CONTEXT, &list)],
            &[(METHOD, "aws:kms"), (CONTEXT, &nested)],
            &[(METHOD, "aws:kms"), (CONTEXT, &number)],
            &[(METHOD, "aws:kms"), (BUCKET_KEY, "yes")],
            &[(METHOD, "AES256"), (BUCKET_KEY, "true")],
            &[(METHOD, "aws:kms:dsse"), (BUCKET_KEY, "true")],
        ] {
            assert_eq!(asked(pairs).unwrap_err().code(), "InvalidArgument", "{pairs:?}");
        }
    }
}
