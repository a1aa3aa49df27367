//! ListBuckets.

use cairn_storage::ops::ListBuckets;

use crate::authorize::{Authorized, OnService};

use super::error::Failure;
use super::headers::document_time;
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, token};

/// Buckets in one page (API reference, ListBuckets).
const MAX_BUCKETS: usize = 10_000;

pub(super) async fn list_buckets(
    edge: &Edge,
    authorized: Authorized<OnService>,
    request: Request,
) -> Result<Answer, Failure> {
    let query = &request.query;
    let max_buckets = query.count("max-buckets", MAX_BUCKETS)?;
    if max_buckets == 0 {
        return Err(Failure::invalid_argument(
            "max-buckets",
            "0",
            "Argument max-buckets must be an integer between 1 and 10000",
        ));
    }
    let prefix = query.get("prefix").unwrap_or_default();
    let list = ListBuckets {
        prefix: prefix.to_owned(),
        after: query.non_empty("continuation-token").map(token::decode).transpose()?,
        max_buckets,
    };
    let account = authorized.account().id;
    let page = edge.store.list_buckets(account, list).await?;
    let region = query.non_empty("bucket-region");
    let mut document = Document::new("ListAllMyBucketsResult");
    edge.account_element("Owner", account, &mut document);
    document.element("Buckets", |buckets| {
        for bucket in page.buckets.iter().filter(|bucket| region.is_none_or(|region| region == bucket.region)) {
            buckets.element("Bucket", |element| {
                element.text("Name", &bucket.name);
                element.text("CreationDate", &document_time(bucket.created));
                element.text("BucketRegion", &bucket.region);
            });
        }
    });
    if !prefix.is_empty() {
        document.text("Prefix", prefix);
    }
    document.optional("ContinuationToken", page.next.as_deref().map(token::encode).as_deref());
    Ok(Answer::document(document))
}
