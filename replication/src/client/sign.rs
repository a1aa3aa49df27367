//! Signature Version 4 in the `Authorization` header.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4::SigningParams;

use super::body::{Body, BodyError};

/// What a signature is made with.
#[derive(Debug)]
pub struct Signer<'s> {
    /// Whose request it is.
    pub credentials: Credentials,
    /// The region that it is for.
    pub region: &'s str,
    /// The service that it is for.
    pub service: &'s str,
    /// When it is made, in milliseconds since the epoch.
    pub now_ms: i64,
}

impl Signer<'_> {
    /// The headers that sign a request to `url`, which is as it will be sent. Of a stream, only what declares its digest is signed.
    ///
    /// # Errors
    /// If a header or the URL is none.
    pub fn headers(
        &self,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: &Body,
    ) -> Result<Vec<(String, String)>, BodyError> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = self.credentials.clone().into();
        let now: SystemTime = UNIX_EPOCH + Duration::from_millis(u64::try_from(self.now_ms).unwrap_or(0));
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(now)
            .settings(settings)
            .build()?
            .into();
        let body = match body {
            Body::Memory(bytes) => SignableBody::Bytes(bytes),
            Body::Stream(_) => SignableBody::UnsignedPayload,
        };
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let (instructions, _) = sign(SignableRequest::new(method, url, headers, body)?, &params)?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The example "GET Object" of Amazon's "Authenticating Requests: Using the Authorization Header".
    #[test]
    fn the_published_example_is_reproduced() {
        let credentials = Credentials::new(
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            None,
            None,
            "the example",
        );
        let signer = Signer { credentials, region: "us-east-1", service: "s3", now_ms: 1_369_353_600_000 };
        let range = [("range".to_owned(), "bytes=0-9".to_owned())];
        let url = "https://examplebucket.s3.amazonaws.com/test.txt";
        let headers = signer.headers("GET", url, &range, &Body::empty()).unwrap();
        let (_, authorization) = headers.iter().find(|(name, _)| name == "authorization").unwrap();
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(authorization.ends_with(signature), "{authorization}");
    }
}
