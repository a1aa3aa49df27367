//! HeadBucket.

use http::{HeaderName, HeaderValue, StatusCode};

use crate::authorize::{Authorized, OnBucket};

use super::headers::{self, BUCKET_REGION};
use super::request::Answer;

const ACCESS_POINT_ALIAS: HeaderName = HeaderName::from_static("x-amz-access-point-alias");

pub(super) fn head_bucket(authorized: &Authorized<OnBucket>) -> Answer {
    Answer::empty(StatusCode::OK)
        .header(BUCKET_REGION, headers::value(&authorized.bucket().region))
        .header(ACCESS_POINT_ALIAS, HeaderValue::from_static("false"))
}
