//! PutBucketVersioning.

use cairn_storage::index::family::bucket::Versioning;
use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::VersioningConfiguration;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::{Answer, Request};
use super::{Edge, xml};

pub(super) async fn put_bucket_versioning(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let versioning = versioning(&request.document().await?)?;
    edge.store.set_versioning(authorized.bucket(), versioning).await?;
    Ok(Answer::empty(StatusCode::OK))
}

/// The state asked for. `MfaDelete` can be enabled by nobody until there are identities with a device of their own.
fn versioning(document: &[u8]) -> Result<Versioning, Failure> {
    let configuration: VersioningConfiguration = xml::parse(document)?;
    match configuration.mfa_delete.as_ref().map(|mfa| mfa.as_str()) {
        None | Some("Disabled") => {}
        Some("Enabled") => {
            return Err(Failure::with_message(
                S3ErrorCode::NotImplemented,
                "MFA delete needs identities with registered devices, which this server does not have.",
            )
            .status(StatusCode::NOT_IMPLEMENTED));
        }
        Some(_) => return Err(S3ErrorCode::MalformedXML.into()),
    }
    match configuration.status.as_ref().map(|status| status.as_str()) {
        Some("Enabled") => Ok(Versioning::Enabled),
        Some("Suspended") => Ok(Versioning::Suspended),
        _ => Err(Failure::with_message(
            S3ErrorCode::IllegalVersioningConfigurationException,
            "The Versioning element must be specified",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(inner: &str) -> Result<Versioning, String> {
        let document = format!("<VersioningConfiguration>{inner}</VersioningConfiguration>");
        versioning(document.as_bytes()).map_err(|failure| failure.code().to_owned())
    }

    #[test]
    fn a_status_is_enabled_or_suspended() {
        assert_eq!(read("<Status>Enabled</Status>"), Ok(Versioning::Enabled));
        assert_eq!(read("<MfaDelete>Disabled</MfaDelete><Status>Suspended</Status>"), Ok(Versioning::Suspended));
        for inner in ["", "<Status>enabled</Status>", "<Status/>", "<MfaDelete>Disabled</MfaDelete>"] {
            assert_eq!(read(inner), Err("IllegalVersioningConfigurationException".to_owned()), "{inner}");
        }
        assert_eq!(versioning(b"<Versioning").unwrap_err().code(), "MalformedXML");
    }

    #[test]
    fn mfa_delete_cannot_be_enabled() {
        let failure = read("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>");
        assert_eq!(failure, Err("NotImplemented".to_owned()));
    }
}
