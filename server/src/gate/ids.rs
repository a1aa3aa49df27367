//! The ids of a request: in its answer, in the documents of errors, and in the log.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_storage::clock::Entropy;

/// Makes request ids.
#[derive(Debug)]
pub struct RequestIds {
    run: [u8; 16],
    entropy: Arc<dyn Entropy>,
}

/// One request's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    run: [u8; 16],
    request: u64,
}

impl RequestIds {
    /// Ids of this run of the server.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { run: entropy.random_16(), entropy }
    }

    /// The next request's.
    pub fn next(&self) -> RequestId {
        let [a, b, c, d, e, f, g, h, ..] = self.entropy.random_16();
        RequestId { run: self.run, request: u64::from_be_bytes([a, b, c, d, e, f, g, h]) }
    }
}

impl RequestId {
    /// `x-amz-request-id`: 16 digits, as in S3.
    pub fn request_id(&self) -> String {
        format!("{:016X}", self.request)
    }

    /// Whether `text` is this `x-amz-request-id`.
    pub fn is(&self, text: &str) -> bool {
        text.len() == 16 && u64::from_str_radix(text, 16) == Ok(self.request) && self.request_id() == text
    }

    /// `x-amz-id-2`: the run of the server and the request.
    pub fn host_id(&self) -> String {
        let mut bytes = self.run.to_vec();
        bytes.extend_from_slice(&self.request.to_be_bytes());
        BASE64.encode(bytes)
    }
}
