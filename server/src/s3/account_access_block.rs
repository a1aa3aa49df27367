//! The public access block of an account: PutPublicAccessBlock, GetPublicAccessBlock and DeletePublicAccessBlock of the S3
//! Control API, which clients send with the account's number in a header and in front of the host's name.

use cairn_iam::identity::PublicAccessBlock as AccountBlock;
use http::StatusCode;
use s3s::S3ErrorCode;

use crate::authorize::{Authorized, OnService, in_account, in_storage};
use crate::identities::{ChangeError, RowsError};

use super::acl::account_number;
use super::error::Failure;
use super::headers::{ACCOUNT_ID, text};
use super::public_access_block::{from_document, into_document, not_found};
use super::request::{Answer, Request};
use super::xml::Document;
use super::{Edge, checksum};

pub(super) fn get_account_access_block(
    edge: &Edge,
    on: &Authorized<OnService>,
    request: &Request,
) -> Result<Answer, Failure> {
    check_account(on, request)?;
    let identities = edge.identities.snapshot();
    let directory = identities.directory(account_number(on.account().id));
    let block = directory.and_then(|directory| directory.public_access_block()).ok_or_else(not_found)?;
    Ok(Answer::document(into_document(in_storage(block), Document::new("PublicAccessBlockConfiguration"))))
}

pub(super) async fn put_account_access_block(
    edge: &Edge,
    on: Authorized<OnService>,
    mut request: Request,
) -> Result<Answer, Failure> {
    check_account(&on, &request)?;
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    set(edge, &on, Some(in_account(from_document(&document)?))).await?;
    Ok(Answer::empty(StatusCode::OK))
}

pub(super) async fn delete_account_access_block(
    edge: &Edge,
    on: Authorized<OnService>,
    request: Request,
) -> Result<Answer, Failure> {
    check_account(&on, &request)?;
    set(edge, &on, None).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

/// An account is for those who belong to it.
fn check_account(on: &Authorized<OnService>, request: &Request) -> Result<(), Failure> {
    let named = text(&request.headers, &ACCOUNT_ID).unwrap_or_default();
    if named == on.account().id.to_string() { Ok(()) } else { Err(S3ErrorCode::AccessDenied.into()) }
}

async fn set(edge: &Edge, on: &Authorized<OnService>, block: Option<AccountBlock>) -> Result<(), Failure> {
    let change = edge.identities.change(account_number(on.account().id), move |directory| {
        let mut settings = directory.settings();
        settings.public_access_block = block;
        directory.set_settings(settings);
        Ok(())
    });
    change.await.map_err(|error| match error {
        ChangeError::Rows(RowsError::Storage(error)) => error.into(),
        error => Failure::internal(error),
    })
}
