//! ACLs in requests and answers: headers and documents to [`Acl`] and back, and what becomes of them when an object is
//! written.
//!
//! Grantees are the accounts that this server knows. Whether ACLs count at all, the bucket's ownership setting says.

use cairn_iam::acl::{AccountNumber, Acl, CannedAcl, Grant, Grantee, Permission, TooManyGrants, Unreadable};
use cairn_storage::StorageError;
use cairn_storage::id::AccountId;
use cairn_storage::index::family::bucket::{BucketRecord, ObjectOwnership, PublicAccessBlock};
use cairn_storage::object::ObjectVersion;
use cairn_storage::ops::Bucket;
use http::{HeaderMap, HeaderName};
use minicbor::bytes::ByteVec;
use s3s::S3ErrorCode;
use s3s::dto::AccessControlPolicy;

use crate::authorize::{Authorized, InBucket};
use crate::identities::Accounts;

use super::Edge;
use super::error::Failure;
use super::headers::{self, ACL, GRANT_FULL_CONTROL, GRANT_READ, GRANT_READ_ACP, GRANT_WRITE, GRANT_WRITE_ACP};
use super::request::Request;
use super::xml::{self, Document};

const GRANT_HEADERS: [(HeaderName, Permission); 5] = [
    (GRANT_READ, Permission::Read),
    (GRANT_WRITE, Permission::Write),
    (GRANT_READ_ACP, Permission::ReadAcp),
    (GRANT_WRITE_ACP, Permission::WriteAcp),
    (GRANT_FULL_CONTROL, Permission::FullControl),
];

/// An account as ACLs know it.
pub fn account_number(id: AccountId) -> AccountNumber {
    AccountNumber(id.number())
}

/// The ACL of a bucket, from its document.
///
/// # Errors
/// `InternalError` if it cannot be read.
pub fn of_bucket(owner: AccountId, document: Option<&[u8]>) -> Result<Acl, Failure> {
    stored(owner, document).map_err(|Unreadable| StorageError::corrupt("a bucket's ACL cannot be read").into())
}

/// The ACL of a version.
///
/// # Errors
/// If it cannot be read.
pub fn of_object(object: &ObjectVersion) -> Result<Acl, Unreadable> {
    stored(object.owner, object.settings.acl.as_ref().map(|bytes| bytes.as_slice()))
}

fn stored(owner: AccountId, bytes: Option<&[u8]>) -> Result<Acl, Unreadable> {
    bytes.map_or_else(|| Ok(Acl::private(account_number(owner))), Acl::decode)
}

/// What is stored of an ACL; nothing if it is the one that goes without saying.
pub(super) fn to_store(acl: &Acl, owner: AccountId) -> Option<Vec<u8>> {
    (!acl.is_private(account_number(owner))).then(|| acl.encode())
}

/// Whose an object is: where ACLs are off, the bucket owner's, whoever wrote it before they were.
pub(super) fn owner_of(bucket: &Bucket, owner: AccountId) -> AccountId {
    if bucket.ownership == ObjectOwnership::BucketOwnerEnforced { bucket.owner } else { owner }
}

/// What a request says that an ACL should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Canned(CannedAcl),
    Explicit(Acl),
}

impl Asked {
    /// The ACL of a bucket of `owner`'s.
    pub(super) fn for_bucket(&self, owner: AccountId) -> Acl {
        self.for_object(owner, owner)
    }

    /// The ACL of an object of `owner`'s in a bucket of `bucket_owner`'s.
    pub(super) fn for_object(&self, owner: AccountId, bucket_owner: AccountId) -> Acl {
        match self {
            Self::Canned(canned) => canned.acl(account_number(owner), account_number(bucket_owner)),
            Self::Explicit(acl) => acl.clone(),
        }
    }

    /// Whether it grants the public anything.
    fn is_public(&self) -> bool {
        match self {
            // Whose it is does not matter to that.
            Self::Canned(canned) => canned.acl(AccountNumber(0), AccountNumber(0)).is_public(),
            Self::Explicit(acl) => acl.is_public(),
        }
    }

    /// Refuses a public ACL where those are blocked.
    ///
    /// # Errors
    /// `AccessDenied`, as S3 answers it (S3 user guide, "Blocking public access to your Amazon S3 storage").
    pub(super) fn check_block(&self, block: PublicAccessBlock) -> Result<(), Failure> {
        if block.refuse_acls && self.is_public() { Err(S3ErrorCode::AccessDenied.into()) } else { Ok(()) }
    }

    /// [`Self::check_block`] of the bucket as the commit finds it, which may have got a block since it was looked up.
    ///
    /// # Errors
    /// `PublicAccessBlocked`.
    pub(super) fn check_bucket(&self, bucket: &BucketRecord) -> Result<(), StorageError> {
        if self.is_public() { bucket.check_public(|block| block.refuse_acls) } else { Ok(()) }
    }

    /// Whether it says what is so where ACLs are off: that the bucket's owner has full control, and nobody else any (S3
    /// user guide, "Controlling ownership of objects"). `private` does not: it is about who writes.
    pub(super) fn is_as_enforced(&self, bucket_owner: AccountId) -> bool {
        match self {
            Self::Canned(canned) => *canned == CannedAcl::BucketOwnerFullControl,
            Self::Explicit(acl) => acl.is_private(account_number(bucket_owner)),
        }
    }
}

/// Whose a new object is, and the ACL to store with it.
#[derive(Debug)]
pub(super) struct OfNewObject {
    pub(super) owner: AccountId,
    pub(super) acl: Option<ByteVec>,
    /// It grants the public something, which the bucket must not refuse when the object is placed.
    pub(super) acl_is_public: bool,
}

/// Decides whose an object is that is being written, and what its ACL says.
///
/// The bucket's setting may change before the object is placed. That is harmless: where ACLs are off, neither the owner nor
/// the ACL that a version has is looked at.
///
/// # Errors
/// What is wrong with the headers; `AccessControlListNotSupported` where ACLs are off; `AccessDenied` for who has no
/// signature: what they write is not theirs to share.
pub(super) fn of_new_object<Resource: InBucket>(
    edge: &Edge,
    authorized: &Authorized<Resource>,
    headers: &HeaderMap,
) -> Result<OfNewObject, Failure> {
    let bucket = authorized.bucket();
    let asked = from_headers(headers, edge.accounts())?;
    if let Some(asked) = &asked {
        asked.check_block(authorized.block())?;
    }
    if bucket.ownership == ObjectOwnership::BucketOwnerEnforced {
        // S3 refuses `private` from everybody. From the bucket's owner it is as good as nothing here: it asks for what is so,
        // and clients send it unasked (rclone 1.60).
        let is_own = authorized.account().is_some_and(|account| account.id == bucket.owner);
        let asks_for_what_is_so = |asked: &Asked| {
            asked.is_as_enforced(bucket.owner) || (is_own && *asked == Asked::Canned(CannedAcl::Private))
        };
        if asked.is_some_and(|asked| !asks_for_what_is_so(&asked)) {
            return Err(S3ErrorCode::AccessControlListNotSupported.into());
        }
        return Ok(OfNewObject { owner: bucket.owner, acl: None, acl_is_public: false });
    }
    if asked.is_some() && authorized.account().is_none() {
        return Err(S3ErrorCode::AccessDenied.into());
    }
    let given_away = bucket.ownership == ObjectOwnership::BucketOwnerPreferred
        && asked == Some(Asked::Canned(CannedAcl::BucketOwnerFullControl));
    let owner = if given_away { bucket.owner } else { authorized.writer() };
    let acl_is_public = asked.as_ref().is_some_and(Asked::is_public);
    let acl = asked.and_then(|asked| to_store(&asked.for_object(owner, bucket.owner), owner));
    Ok(OfNewObject { owner, acl: acl.map(ByteVec::from), acl_is_public })
}

/// The ACL in a request's headers.
///
/// # Errors
/// `InvalidRequest` for a canned ACL beside grants, `InvalidArgument` for an unknown one or an unknown grantee,
/// `UnresolvableGrantByEmailAddress`, `MalformedACLError` for too many grants.
pub(super) fn from_headers(headers: &HeaderMap, accounts: &Accounts) -> Result<Option<Asked>, Failure> {
    // Of two names neither may be taken for the one that was meant.
    let names: Vec<String> = headers.get_all(&ACL).iter().map(headers::text_of).collect();
    let canned = (!names.is_empty()).then(|| names.join(","));
    let grants = grants_in_headers(headers, accounts)?;
    match (canned, grants) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(Failure::invalid_request("Specifying both Canned ACLs and Header Grants is not allowed"))
        }
        (Some(name), None) => match CannedAcl::parse(&name) {
            Some(canned) => Ok(Some(Asked::Canned(canned))),
            None => Err(Failure::invalid_argument(ACL.as_str(), &name, "")),
        },
        (None, Some(grants)) => Ok(Some(Asked::Explicit(acl(grants)?))),
    }
}

fn acl(grants: Vec<Grant>) -> Result<Acl, Failure> {
    Acl::new(grants).map_err(|TooManyGrants| S3ErrorCode::MalformedACLError.into())
}

fn grants_in_headers(headers: &HeaderMap, accounts: &Accounts) -> Result<Option<Vec<Grant>>, Failure> {
    let mut grants = None;
    for (name, permission) in GRANT_HEADERS {
        for value in headers.get_all(&name) {
            let grants = grants.get_or_insert_with(Vec::new);
            for grantee in headers::text_of(value).split(',') {
                grants.push(Grant::new(grantee_in_header(&name, grantee, accounts)?, permission));
            }
        }
    }
    Ok(grants)
}

/// Reads `id="..."`, `emailAddress="..."` or `uri="..."`, with quotes or without.
fn grantee_in_header(header: &HeaderName, text: &str, accounts: &Accounts) -> Result<Grantee, Failure> {
    let malformed = || Failure::invalid_argument(header.as_str(), text, "Argument format not recognized");
    let (kind, value) = text.split_once('=').ok_or_else(malformed)?;
    let value = value.trim().trim_matches('"');
    match kind.trim().to_ascii_lowercase().as_str() {
        "id" => by_canonical_id(value, accounts),
        "emailaddress" => by_email(value, accounts),
        "uri" => by_uri(value),
        _ => Err(malformed()),
    }
}

fn by_canonical_id(id: &str, accounts: &Accounts) -> Result<Grantee, Failure> {
    let account = accounts.by_canonical_id(id);
    let account = account.ok_or_else(|| Failure::invalid_argument("CanonicalUser/ID", id, "Invalid id"))?;
    Ok(Grantee::Account(account_number(account.id)))
}

fn by_email(email: &str, accounts: &Accounts) -> Result<Grantee, Failure> {
    let account = accounts.by_email(email).ok_or(S3ErrorCode::UnresolvableGrantByEmailAddress)?;
    Ok(Grantee::Account(account_number(account.id)))
}

fn by_uri(uri: &str) -> Result<Grantee, Failure> {
    Grantee::group(uri).ok_or_else(|| Failure::invalid_argument("Group/URI", uri, "Invalid group uri"))
}

/// An ACL in a document, and the canonical id of the owner that it names.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) owner: String,
    pub(super) acl: Acl,
}

/// Reads an `AccessControlPolicy`.
///
/// # Errors
/// `MalformedACLError`, and as [`from_headers`] for unknown grantees.
pub(super) fn from_document(document: &[u8], accounts: &Accounts) -> Result<Policy, Failure> {
    let malformed = || Failure::new(S3ErrorCode::MalformedACLError);
    let policy: AccessControlPolicy = xml::parse(document).map_err(|_| malformed())?;
    let owner = policy.owner.and_then(|owner| owner.id).ok_or_else(malformed)?;
    let mut grants = Vec::new();
    for grant in policy.grants.ok_or_else(malformed)? {
        let (Some(grantee), Some(permission)) = (grant.grantee, grant.permission) else { return Err(malformed()) };
        let permission = Permission::parse(permission.as_str()).ok_or_else(malformed)?;
        let grantee = match (grantee.type_.as_str(), &grantee.id, &grantee.email_address, &grantee.uri) {
            ("CanonicalUser", Some(id), _, _) => by_canonical_id(id, accounts)?,
            ("AmazonCustomerByEmail", _, Some(email), _) => by_email(email, accounts)?,
            ("Group", _, _, Some(uri)) => by_uri(uri)?,
            _ => return Err(malformed()),
        };
        grants.push(Grant::new(grantee, permission));
    }
    Ok(Policy { owner, acl: acl(grants)? })
}

/// What a request to replace an ACL asks for, in its headers or in its document.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) asked: Asked,
    /// The canonical id of the owner that the document names.
    named_owner: Option<String>,
}

impl Replacement {
    /// Reads the request to its end.
    ///
    /// # Errors
    /// As [`from_headers`] and [`from_document`]; `UnexpectedContent` if both are there, `MissingSecurityHeader` if neither.
    pub(super) async fn of(request: &mut Request, accounts: &Accounts) -> Result<Self, Failure> {
        let in_headers = from_headers(&request.headers, accounts)?;
        let document = request.document().await?;
        super::checksum::verify(&request.headers, &document)?;
        match (in_headers, document.is_empty()) {
            (Some(asked), true) => Ok(Self { asked, named_owner: None }),
            (Some(_), false) => Err(S3ErrorCode::UnexpectedContent.into()),
            (None, true) => {
                Err(Failure::new(S3ErrorCode::MissingSecurityHeader).field("MissingHeaderName", ACL.as_str()))
            }
            (None, false) => {
                let policy = from_document(&document, accounts)?;
                Ok(Self { asked: Asked::Explicit(policy.acl), named_owner: Some(policy.owner) })
            }
        }
    }

    /// Whether `owner` is the one that the document names, if there is one: an ACL gives nothing away.
    pub(super) fn is_about(&self, owner: AccountId, accounts: &Accounts) -> bool {
        let Some(named) = &self.named_owner else { return true };
        accounts.by_canonical_id(named).is_some_and(|account| account.id == owner)
    }
}

impl Edge {
    /// An ACL as S3 shows it.
    pub(super) fn acl_document(&self, owner: AccountId, acl: &Acl) -> Document {
        let mut document = Document::new("AccessControlPolicy");
        self.account_element("Owner", owner, &mut document);
        document.element("AccessControlList", |list| {
            for Grant { grantee, permission } in acl.grants() {
                list.element("Grant", |grant| {
                    match grantee {
                        Grantee::Account(AccountNumber(number)) => {
                            grant.typed_element("Grantee", "CanonicalUser", |element| {
                                if let Some(id) = AccountId::from_number(*number) {
                                    self.account_texts(id, element);
                                }
                            });
                        }
                        group => grant.typed_element("Grantee", "Group", |element| {
                            element.optional("URI", group.uri());
                        }),
                    }
                    grant.text("Permission", permission.name());
                });
            }
        });
        document
    }
}

#[cfg(test)]
mod tests;
