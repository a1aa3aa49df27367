//! GetBucketLocation.

use crate::authorize::{Authorized, OnBucket};

use super::request::Answer;
use super::xml::Document;

pub(super) fn get_bucket_location(authorized: &Authorized<OnBucket>) -> Answer {
    let mut document = Document::new("LocationConstraint");
    // S3 shows its first region as nothing.
    match authorized.bucket().region.as_str() {
        "us-east-1" => {}
        region => document.root_text(region),
    }
    Answer::document(document)
}
