//! PutBucketVersioning.

use cairn_iam::principal::Principal;
use cairn_storage::index::family::bucket::Versioning;
use cairn_storage::ops::{Governance, Powers};
use http::StatusCode;
use s3s::S3ErrorCode;
use s3s::dto::VersioningConfiguration;

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::{Answer, Request};
use super::{Edge, mfa, xml};

pub(super) async fn put_bucket_versioning(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let Asked { versioning, mfa_delete } = asked(&request.document().await?)?;
    let bucket = authorized.bucket();
    let changes_mfa_delete = mfa_delete.is_some_and(|asked| asked != bucket.mfa_delete);
    let principal = &authorized.caller().principal;
    let is_owner_root = authorized.is_bucket_owner() && matches!(principal, Principal::Root(_));
    if changes_mfa_delete && !is_owner_root {
        // "Only the bucket owner (root account) can enable MFA delete" (S3 user guide, "Configuring MFA delete").
        return Err(S3ErrorCode::AccessDenied.into());
    }
    let wants_code = bucket.mfa_delete || changes_mfa_delete;
    let mfa = wants_code && mfa::take(edge, principal, &request.headers).await?;
    let powers = Powers { governance: Governance::Heeded, mfa };
    edge.store.set_versioning(bucket, versioning, mfa_delete, powers).await?;
    Ok(Answer::empty(StatusCode::OK))
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    versioning: Versioning,
    /// None: as it is.
    mfa_delete: Option<bool>,
}

fn asked(document: &[u8]) -> Result<Asked, Failure> {
    let configuration: VersioningConfiguration = xml::parse(document)?;
    let mfa_delete = match configuration.mfa_delete.as_ref().map(|mfa| mfa.as_str()) {
        None => None,
        Some("Enabled") => Some(true),
        Some("Disabled") => Some(false),
        Some(_) => return Err(S3ErrorCode::MalformedXML.into()),
    };
    let versioning = match configuration.status.as_ref().map(|status| status.as_str()) {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        _ => {
            return Err(Failure::with_message(
                S3ErrorCode::IllegalVersioningConfigurationException,
                "The Versioning element must be specified",
            ));
        }
    };
    Ok(Asked { versioning, mfa_delete })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(inner: &str) -> Result<(Versioning, Option<bool>), String> {
        let document = format!("<VersioningConfiguration>{inner}</VersioningConfiguration>");
        let asked = asked(document.as_bytes()).map_err(|failure| failure.code().to_owned())?;
        Ok((asked.versioning, asked.mfa_delete))
    }

    #[test]
    fn a_status_is_enabled_or_suspended() {
        assert_eq!(read("<Status>Enabled</Status>"), Ok((Versioning::Enabled, None)));
        for inner in ["", "<Status>enabled</Status>", "<Status/>", "<MfaDelete>Disabled</MfaDelete>"] {
            assert_eq!(read(inner), Err("IllegalVersioningConfigurationException".to_owned()), "{inner}");
        }
        assert_eq!(asked(b"<Versioning").unwrap_err().code(), "MalformedXML");
    }

    #[test]
    fn mfa_delete_is_enabled_disabled_or_left_as_it_is() {
        let disabled = read("<MfaDelete>Disabled</MfaDelete><Status>Suspended</Status>");
        assert_eq!(disabled, Ok((Versioning::Suspended, Some(false))));
        let enabled = read("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>");
        assert_eq!(enabled, Ok((Versioning::Enabled, Some(true))));
        assert_eq!(read("<Status>Enabled</Status><MfaDelete>On</MfaDelete>"), Err("MalformedXML".to_owned()));
    }
}
