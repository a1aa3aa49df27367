//! GetBucketVersioning.

use cairn_storage::index::family::bucket::Versioning;

use crate::authorize::{Authorized, OnBucket};

use super::request::Answer;
use super::xml::Document;

pub(super) fn get_bucket_versioning(authorized: &Authorized<OnBucket>) -> Answer {
    let mut document = Document::new("VersioningConfiguration");
    match authorized.bucket().versioning {
        Versioning::Unversioned => {}
        Versioning::Enabled => document.text("Status", "Enabled"),
        Versioning::Suspended => document.text("Status", "Suspended"),
    }
    if authorized.bucket().mfa_delete {
        document.text("MfaDelete", "Enabled");
    }
    Answer::document(document)
}
