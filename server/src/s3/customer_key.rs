//! Keys that customers bring with their requests (SSE-C): read from the headers, used, and kept nowhere.
//!
//! The rules and messages are S3's ("Using server-side encryption with customer-provided keys" in the user guide, and what
//! S3 answers): algorithm, key and the key's MD5 come together, the MD5 must be right, and the connection must be
//! encrypted.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_crypto::customer_key::CustomerKeyWrap;
use cairn_crypto::digest::Digests;
use cairn_crypto::secret::{CustomerKey, KEY_BYTES};
use cairn_crypto::wrap::KeyWrap;
use http::{HeaderName, StatusCode};
use zeroize::Zeroizing;

use super::asked_encryption::AES256;
use super::encryption::EncryptionSettings;
use super::error::Failure;
use super::headers::{
    COPY_SOURCE_SSE_CUSTOMER_ALGORITHM, COPY_SOURCE_SSE_CUSTOMER_KEY, COPY_SOURCE_SSE_CUSTOMER_KEY_MD5,
    SSE_CUSTOMER_ALGORITHM, SSE_CUSTOMER_KEY, SSE_CUSTOMER_KEY_MD5,
};
use super::request::Request;

/// What S3 calls the argument in its errors, whichever header it is.
const ARGUMENT: &str = "x-amz-server-side-encryption";

/// A customer's key.
#[derive(Debug)]
pub(super) struct Customer(Arc<CustomerKeyWrap>);

impl Customer {
    /// Wraps under the key.
    pub(super) fn into_wrap(self) -> Arc<dyn KeyWrap> {
        self.0
    }

    /// Wraps under the key.
    pub(super) fn wrap(&self) -> &dyn KeyWrap {
        self.0.as_ref()
    }
}

/// The three headers of one key.
struct Named {
    algorithm: HeaderName,
    key: HeaderName,
    md5: HeaderName,
}

/// The key for what the request names.
///
/// # Errors
/// `InvalidArgument`, `InvalidRequest`, `InvalidEncryptionAlgorithmError`.
pub(super) fn of_request(settings: &EncryptionSettings, request: &Request) -> Result<Option<Customer>, Failure> {
    let named = Named { algorithm: SSE_CUSTOMER_ALGORITHM, key: SSE_CUSTOMER_KEY, md5: SSE_CUSTOMER_KEY_MD5 };
    read(settings, request, &named)
}

/// The key for the source of a copy.
///
/// # Errors
/// As [`of_request`].
pub(super) fn of_copy_source(settings: &EncryptionSettings, request: &Request) -> Result<Option<Customer>, Failure> {
    let named = Named {
        algorithm: COPY_SOURCE_SSE_CUSTOMER_ALGORITHM,
        key: COPY_SOURCE_SSE_CUSTOMER_KEY,
        md5: COPY_SOURCE_SSE_CUSTOMER_KEY_MD5,
    };
    read(settings, request, &named)
}

fn read(settings: &EncryptionSettings, request: &Request, named: &Named) -> Result<Option<Customer>, Failure> {
    let Named { algorithm, key, md5 } = named;
    let headers = &request.headers;
    if [algorithm, key, md5].into_iter().all(|name| !headers.contains_key(name)) {
        return Ok(None);
    }
    if !request.secure && !settings.allow_ssec_over_http {
        return Err(Failure::invalid_request(
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure \
             connection.",
        ));
    }
    let must_provide = |what: &str| {
        invalid(format!("Requests specifying Server Side Encryption with Customer provided keys must provide {what}."))
    };
    match headers.get(algorithm).map(|value| value.as_bytes()) {
        Some(given) if given == AES256.as_bytes() => {}
        None | Some(b"") => return Err(must_provide("a valid encryption algorithm")),
        Some(_) => {
            return Err(Failure::custom(
                "InvalidEncryptionAlgorithmError",
                StatusCode::BAD_REQUEST,
                "The Encryption request you specified is not valid. Supported value: AES256.",
            ));
        }
    }
    // Never a `String`: what is decoded here is wiped when it is dropped.
    let given = headers.get(key).ok_or_else(|| must_provide("an appropriate secret key"))?;
    let mut decoded = Zeroizing::new([0; KEY_BYTES + 1]);
    let length = STANDARD.decode_slice(given.as_bytes(), decoded.as_mut_slice()).unwrap_or(0);
    let bytes = decoded[..length].first_chunk::<KEY_BYTES>().filter(|_| length == KEY_BYTES);
    let bytes = bytes.ok_or_else(|| invalid("The secret key was invalid for the specified algorithm."))?;
    let declared = headers.get(md5).ok_or_else(|| must_provide("the client calculated MD5 of the secret key"))?;
    if STANDARD.decode(declared.as_bytes()).ok().as_deref() != Some(&md5_of(bytes)) {
        return Err(invalid("The calculated MD5 hash of the key did not match the hash that was provided."));
    }
    Ok(Some(Customer(Arc::new(CustomerKeyWrap::new(CustomerKey::from_bytes(*bytes))))))
}

/// `InvalidArgument` without the argument's value, which may be the key.
fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::with_message(s3s::S3ErrorCode::InvalidArgument, message).field("ArgumentName", ARGUMENT)
}

fn md5_of(bytes: &[u8]) -> [u8; 16] {
    let mut digests = Digests::new(true, []);
    digests.update(bytes);
    digests.finish().md5.unwrap_or_default()
}
