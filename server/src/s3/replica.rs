//! How a replica arrives from another Cairn: headers with which PutObject, CreateMultipartUpload and DeleteObject place a version under the
//! id that it has at its source, and PutObjectTagging brings a version's settings.
//!
//! ```text
//! x-amz-cairn-replica-version-id   the version's id: 32 hexadecimal digits. On every request about a replica, also on UploadPart and
//!                                  CompleteMultipartUpload, which then go on with an upload of that version and no other
//! x-amz-cairn-replica-created      when it was created, ms since the epoch. With a new version
//! x-amz-cairn-replica-etag         its ETag, if that does not follow from the bytes
//! x-amz-cairn-replica-changed      when its settings were last changed, ms since the epoch; absent: never
//! x-amz-cairn-replica-attributes   its headers and metadata, as the record has them, in base64. With a new object
//! x-amz-cairn-replica-settings     its lock and ACL, as the record has them, in base64; its tags are in `x-amz-tagging`, or in the document
//! x-amz-cairn-replica-left         `tags`, `acl` or `tags,acl`: these have stayed behind, so what is here of them stays
//! x-amz-cairn-replica-owner        `bucket-owner`: it is to belong to the owner of the bucket
//! x-amz-cairn-replica-envelope     how it is sealed under a customer's key (`Envelope`), in base64. With a new object that stays sealed
//! x-amz-cairn-replica-sealed       how its bytes, or those of its part, are sealed (`SealedContent`, which says also what the body then
//!                                  is), in base64. With the bytes of such an object; digests are of the body
//! ```
//!
//! HeadObject of a version has the first, and answers the next five as far as the version has them, its tags among its settings; the last,
//! if the bucket has no ACLs.
//!
//! Invariants: a request with such a header needs `s3:ReplicateObject`, `s3:ReplicateDelete` or `s3:ReplicateTags`, and HeadObject what the
//! source's role needs to read a version with all of that, in place of what it would need without (`authorize/table.rs`); an operation that does not know them refuses them (`gate/refused_headers.rs`); as all of `x-amz-`,
//! they must be signed. Who knows them says so in every answer to HeadBucket, with [`headers::REPLICAS`].

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cairn_iam::acl::{Acl, Grantee};
use cairn_storage::clock::Timestamp;
use cairn_storage::encryption::{Envelope, SealedContent};
use cairn_storage::id::{UploadId, VersionId};
use cairn_storage::index::family::bucket::{ObjectOwnership, PublicAccessBlock};
use cairn_storage::object::{Etag, ObjectAttributes};
use cairn_storage::ops::replica::{Bringing, SettingsBrought};
use cairn_storage::ops::{Bucket, GetObject, VersionSelector};
use cairn_storage::replication::{Left, ReplicaOf};
use cairn_storage::settings::ObjectSettings;
use http::header::{CONTENT_LENGTH, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use minicbor::bytes::ByteVec;
use s3s::S3ErrorCode;

use crate::authorize::{Authorized, InBucket, InDocument, OnObject};

use super::Edge;
use super::acl::{Asked, OfNewObject, to_store};
use super::error::Failure;
use super::headers::{
    self, ACL, DELETE_MARKER, OBJECT_LOCK_LEGAL_HOLD, OBJECT_LOCK_MODE, OBJECT_LOCK_RETAIN_UNTIL_DATE,
    REPLICA_ATTRIBUTES, REPLICA_CHANGED, REPLICA_CREATED, REPLICA_ENVELOPE, REPLICA_ETAG, REPLICA_LEFT, REPLICA_OWNER,
    REPLICA_SEALED, REPLICA_SETTINGS, REPLICA_VERSION_ID, SSE_CUSTOMER_KEY, SSE_CUSTOMER_KEY_MD5, VERSION_ID,
};
use super::request::{Answer, Request};
use super::{checksum, encryption, tags, version_header};

/// The value of [`headers::REPLICAS`]: the first form of the headers above.
pub const REPLICAS_FORM: &str = "1";

/// The only value of [`REPLICA_OWNER`].
const BUCKET_OWNER: &str = "bucket-owner";

/// The longest base64 of settings (an ACL of a hundred grants, and a lock) or of attributes (which came in headers, too).
const RECORD_TEXT_BYTES_MAX: usize = 16 << 10;

/// What a replica's own headers say in S3's are not to say.
const ELSEWHERE: [HeaderName; 4] = [ACL, OBJECT_LOCK_MODE, OBJECT_LOCK_RETAIN_UNTIL_DATE, OBJECT_LOCK_LEGAL_HOLD];

/// What a request says of the version that it brings.
#[derive(Clone, Debug)]
pub(super) struct Arriving {
    pub(super) of: ReplicaOf,
    /// Its lock and ACL, and no tags.
    pub(super) settings: ObjectSettings,
    pub(super) attributes: ObjectAttributes,
    /// It comes sealed under a customer's key, and stays so.
    pub(super) envelope: Option<Envelope>,
    to_bucket_owner: bool,
}

/// Whether a request is about a replica.
pub fn is_asked(headers: &HeaderMap) -> bool {
    headers.contains_key(&REPLICA_VERSION_ID)
}

/// The version that a request brings; None: it is about no replica.
///
/// # Errors
/// `InvalidRequest`, `InvalidArgument`.
pub(super) fn arriving(headers: &HeaderMap) -> Result<Option<Arriving>, Failure> {
    let Some(version_id) = version_id(headers)? else { return Ok(None) };
    if let Some(name) = ELSEWHERE.iter().find(|name| headers.contains_key(*name)) {
        return Err(Failure::invalid_request(format!("A replica has no {name}; it is in {REPLICA_SETTINGS}.")));
    }
    let created = time(headers, &REPLICA_CREATED)?;
    let created = created.ok_or_else(|| Failure::invalid_request(format!("A replica needs {REPLICA_CREATED}.")))?;
    let to_bucket_owner = match once(headers, &REPLICA_OWNER)?.as_deref() {
        None => false,
        Some(BUCKET_OWNER) => true,
        Some(other) => return Err(invalid(&REPLICA_OWNER, other)),
    };
    let changed = time(headers, &REPLICA_CHANGED)?;
    let left = left(headers)?;
    let left = Left { acl: left.acl || to_bucket_owner, ..left };
    let of = ReplicaOf { version_id, created, etag: etag(headers)?, changed, left };
    let attributes = attributes(headers)?;
    let envelope = envelope(headers, &of)?;
    Ok(Some(Arriving { of, settings: settings(headers)?, attributes, envelope, to_bucket_owner }))
}

/// How the object is sealed that a request brings; None: it does not come sealed. What S3's own headers say of sealing is then not asked
/// for, but that it is under a customer's key, which policies may want.
fn envelope(headers: &HeaderMap, of: &ReplicaOf) -> Result<Option<Envelope>, Failure> {
    let Some(text) = once(headers, &REPLICA_ENVELOPE)? else { return Ok(None) };
    let envelope: Envelope = decoded(&REPLICA_ENVELOPE, &text)?;
    envelope.check()?;
    if of.etag.is_none() {
        return Err(Failure::invalid_request(format!("What stays sealed needs {REPLICA_ETAG}.")));
    }
    encryption::refuse_method(headers)?;
    match [SSE_CUSTOMER_KEY, SSE_CUSTOMER_KEY_MD5].iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(Failure::invalid_request(format!("What stays sealed comes without {name}."))),
        None => Ok(Some(envelope)),
    }
}

/// How the bytes are sealed that a request brings; None: they do not come sealed.
///
/// # Errors
/// `InvalidArgument`, and `InvalidRequest` for what cannot be.
pub(super) fn sealed_content(headers: &HeaderMap) -> Result<Option<SealedContent>, Failure> {
    let Some(text) = once(headers, &REPLICA_SEALED)? else { return Ok(None) };
    let content: SealedContent = decoded(&REPLICA_SEALED, &text)?;
    content.check()?;
    Ok(Some(content))
}

/// The id of the version that a request is about; None: it is about no replica.
///
/// # Errors
/// `InvalidRequest` for other headers of a replica without it, `InvalidArgument`.
pub(super) fn version_id(headers: &HeaderMap) -> Result<Option<VersionId>, Failure> {
    match once(headers, &REPLICA_VERSION_ID)? {
        Some(text) => text.parse().map(Some).map_err(|_| invalid(&REPLICA_VERSION_ID, &text)),
        None => match headers.keys().find(|name| name.as_str().starts_with(headers::REPLICA_PREFIX)) {
            None => Ok(None),
            Some(name) => Err(Failure::invalid_request(format!("{name} needs {REPLICA_VERSION_ID}."))),
        },
    }
}

impl Arriving {
    /// What the replica has from its source, in a bucket that may have no ACLs.
    pub(super) fn of_in(&self, bucket: &Bucket) -> ReplicaOf {
        let left = Left { acl: self.of.left.acl || is_without_acls(bucket), ..self.of.left };
        ReplicaOf { left, ..self.of }
    }

    /// Whose the replica is, and its ACL. Grants to accounts that this server does not know are left out.
    ///
    /// # Errors
    /// `InvalidArgument` for an ACL that is none, `AccessDenied` for a public one where those are blocked.
    pub(super) fn of_new_object<Resource: InBucket>(
        &self,
        edge: &Edge,
        authorized: &Authorized<Resource>,
    ) -> Result<OfNewObject, Failure> {
        let bucket = authorized.bucket();
        if is_without_acls(bucket) || self.to_bucket_owner {
            return Ok(OfNewObject { owner: bucket.owner, acl: None, acl_is_public: false });
        }
        let owner = authorized.writer();
        let acl = acl_here(edge, authorized.block(), &self.settings)?;
        let acl_is_public = acl.as_ref().is_some_and(Acl::is_public);
        let stored = acl.and_then(|acl| to_store(&acl, owner)).map(ByteVec::from);
        Ok(OfNewObject { owner, acl: stored, acl_is_public })
    }
}

/// Refuses to go on with an upload that is not one of the version that the request is about, or is one of a replica though the request is
/// about none: who may do the one may not do the other.
///
/// # Errors
/// `NoSuchUpload`.
pub(super) async fn check_upload(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    id: UploadId,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    let version = version_id(headers)?;
    let upload = edge.store.upload(authorized.bucket(), authorized.key(), id).await?;
    if upload.replica == version { Ok(()) } else { Err(S3ErrorCode::NoSuchUpload.into()) }
}

/// DeleteObject that brings a delete marker. None: it is about no replica.
pub(super) async fn place_marker(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    request: &Request,
) -> Result<Option<Answer>, Failure> {
    let Some(arriving) = arriving(&request.headers)? else { return Ok(None) };
    if request.version()? != VersionSelector::Newest {
        return Err(Failure::invalid_request("A delete marker does not name a version to delete."));
    }
    let (bucket, key) = (authorized.bucket(), authorized.key());
    let owner = authorized.writer();
    let marker = edge.store.place_replica_marker(bucket, key, owner, &arriving.of).await?;
    let answer = Answer::empty(StatusCode::NO_CONTENT)
        .header(DELETE_MARKER, HeaderValue::from_static("true"))
        .header(VERSION_ID, version_header(marker.shown()));
    Ok(Some(answer))
}

/// PutObjectTagging that brings all settings of a version, if they are later than those that are there. None: it is about no replica.
pub(super) async fn bring_settings(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    request: &mut Request,
) -> Result<Option<Answer>, Failure> {
    let Some(id) = version_id(&request.headers)? else { return Ok(None) };
    if request.version()? != VersionSelector::Id(id) {
        return Err(Failure::invalid_request(format!("{REPLICA_VERSION_ID} is not the version whose tags are put.")));
    }
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let tags = tags::from_document(&document, tags::OBJECT_TAGS_MAX)?;
    let asked = settings(&request.headers)?;
    let bucket = authorized.bucket();
    let left = left(&request.headers)?;
    let left = Left { acl: left.acl || is_without_acls(bucket), ..left };
    let acl = if left.acl { None } else { acl_here(edge, authorized.block(), &asked)? };
    let if_public_acls = acl.as_ref().is_some_and(Acl::is_public);
    let permit = authorized.permit_with(InDocument { tags: Some(tags.clone()), ..InDocument::default() });
    let settings = ObjectSettings { tags, acl: acl.map(|acl| ByteVec::from(acl.encode())), ..asked };
    let bringing = Bringing {
        settings: &settings,
        left,
        changed: time(&request.headers, &REPLICA_CHANGED)?,
        governance: authorized.governance(),
        may_lift_hold: authorized.may_lift_hold(),
        if_public_acls,
    };
    let brought = edge.store.update_replica_settings(bucket, authorized.key(), id, &permit, &bringing).await;
    match brought.map_err(|error| authorized.failure(error))? {
        SettingsBrought::Applied(object) | SettingsBrought::Older(object) => {
            Ok(Some(Answer::empty(StatusCode::OK).header(VERSION_ID, version_header(object.shown()))))
        }
        SettingsBrought::Absent => Err(S3ErrorCode::NoSuchVersion.into()),
    }
}

/// HeadObject that tells all that a version has, also of one whose bytes only a customer's key opens. None: it is about no replica.
pub(super) async fn look(
    edge: &Edge,
    authorized: &Authorized<OnObject>,
    request: &Request,
) -> Result<Option<Answer>, Failure> {
    let Some(id) = version_id(&request.headers)? else { return Ok(None) };
    if request.version()? != VersionSelector::Id(id) {
        return Err(Failure::invalid_request(format!("{REPLICA_VERSION_ID} is not the version that is asked for.")));
    }
    let get = GetObject { version: VersionSelector::Id(id), permit: authorized.permit(), ..GetObject::default() };
    let bucket = authorized.bucket();
    let head = edge.store.head_object(bucket, authorized.key(), get).await;
    let object = head.map_err(|error| authorized.failure(error))?.object;
    let mut answer = Answer::empty(StatusCode::OK)
        .header(CONTENT_LENGTH, HeaderValue::from(object.size_bytes))
        .header(ETAG, headers::quoted(&object.etag))
        .header(VERSION_ID, version_header(object.shown()))
        .header(REPLICA_CREATED, HeaderValue::from(object.created.0))
        .header(REPLICA_ATTRIBUTES, encoded(&object.attributes)?)
        .header(REPLICA_SETTINGS, encoded(&object.settings)?);
    if let Some(changed) = object.replication.as_ref().and_then(|replication| replication.changed) {
        answer = answer.header(REPLICA_CHANGED, HeaderValue::from(changed.0));
    }
    if is_without_acls(bucket) {
        answer = answer.header(REPLICA_OWNER, HeaderValue::from_static(BUCKET_OWNER));
    }
    if let Some(of_object) = &object.checksum {
        checksum::into_headers(of_object, object.etag.parts_count, &mut answer.headers);
    }
    Ok(Some(answer))
}

/// A part of a record as a header has it.
fn encoded<T: minicbor::Encode<()>>(value: &T) -> Result<HeaderValue, Failure> {
    let bytes = minicbor::to_vec(value).map_err(Failure::internal)?;
    Ok(headers::value(&BASE64_STANDARD.encode(bytes)))
}

fn is_without_acls(bucket: &Bucket) -> bool {
    bucket.ownership == ObjectOwnership::BucketOwnerEnforced
}

/// The ACL that a replica with these settings gets where this is blocked.
///
/// # Errors
/// `AccessDenied` for a public one where those are blocked, `InvalidArgument` for one that is none.
pub fn acl_here(edge: &Edge, block: PublicAccessBlock, settings: &ObjectSettings) -> Result<Option<Acl>, Failure> {
    let Some(acl) = known_acl(edge, settings)? else { return Ok(None) };
    Asked::Explicit(acl.clone()).check_block(block)?;
    Ok(Some(acl))
}

/// The ACL among settings, without what it grants to accounts that are not known here.
fn known_acl(edge: &Edge, settings: &ObjectSettings) -> Result<Option<Acl>, Failure> {
    let Some(bytes) = &settings.acl else { return Ok(None) };
    let malformed = || invalid(&REPLICA_SETTINGS, "");
    let acl = Acl::decode(bytes).map_err(|_| malformed())?;
    let is_known = |grantee: &Grantee| match grantee {
        Grantee::Account(number) => edge.accounts().by_number(*number).is_some(),
        _ => true,
    };
    let grants = acl.grants().iter().filter(|grant| is_known(&grant.grantee)).cloned().collect();
    Acl::new(grants).map(Some).map_err(|_| malformed())
}

fn left(headers: &HeaderMap) -> Result<Left, Failure> {
    let mut left = Left::default();
    let Some(text) = once(headers, &REPLICA_LEFT)? else { return Ok(left) };
    for name in text.split(',') {
        match name {
            "tags" => left.tags = true,
            "acl" => left.acl = true,
            _ => return Err(invalid(&REPLICA_LEFT, &text)),
        }
    }
    Ok(left)
}

fn settings(headers: &HeaderMap) -> Result<ObjectSettings, Failure> {
    let Some(text) = once(headers, &REPLICA_SETTINGS)? else { return Ok(ObjectSettings::default()) };
    let settings: ObjectSettings = decoded(&REPLICA_SETTINGS, &text)?;
    // Tags have a place of their own, with rules that are checked there.
    if settings.tags.is_empty() { Ok(settings) } else { Err(invalid(&REPLICA_SETTINGS, "")) }
}

fn attributes(headers: &HeaderMap) -> Result<ObjectAttributes, Failure> {
    let Some(text) = once(headers, &REPLICA_ATTRIBUTES)? else { return Ok(ObjectAttributes::default()) };
    let attributes = decoded(&REPLICA_ATTRIBUTES, &text)?;
    super::attributes::check(&attributes)?;
    Ok(attributes)
}

/// What a record of the source's has, in base64.
fn decoded<T: for<'b> minicbor::Decode<'b, ()>>(name: &HeaderName, text: &str) -> Result<T, Failure> {
    if text.len() > RECORD_TEXT_BYTES_MAX {
        return Err(invalid(name, ""));
    }
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| invalid(name, ""))?;
    minicbor::decode(&bytes).map_err(|_| invalid(name, ""))
}

fn etag(headers: &HeaderMap) -> Result<Option<Etag>, Failure> {
    let Some(text) = once(headers, &REPLICA_ETAG)? else { return Ok(None) };
    let (digest, count) = text.split_once('-').unwrap_or((&text, "0"));
    let mut etag = Etag { digest: [0; 16], parts_count: 0 };
    let is_digest = hex::decode_to_slice(digest, &mut etag.digest).is_ok();
    etag.parts_count = count.parse().map_err(|_| invalid(&REPLICA_ETAG, &text))?;
    // As it is shown: in lower case, without leading zeros.
    if is_digest && etag.to_string() == text { Ok(Some(etag)) } else { Err(invalid(&REPLICA_ETAG, &text)) }
}

fn time(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = once(headers, name)? else { return Ok(None) };
    let ms = text.parse().ok().filter(|ms| *ms >= 0);
    ms.map(|ms| Some(Timestamp(ms))).ok_or_else(|| invalid(name, &text))
}

/// The value of a header that may be there once.
fn once(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all(name).iter().map(headers::text_of);
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Failure::invalid_request(format!("The header {name} is repeated."))),
    }
}

fn invalid(name: &HeaderName, value: &str) -> Failure {
    Failure::invalid_argument(name.as_str(), value, format!("The value of {name} is not valid."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append((*name).clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const ID: &str = "0006400000000000aaaaaaaaaaaaaaaa";

    #[test]
    fn a_version_is_read_with_all_that_it_has() {
        let locked = ObjectSettings { legal_hold: Some(true), ..ObjectSettings::default() };
        let text = BASE64_STANDARD.encode(minicbor::to_vec(&locked).unwrap());
        let etag = format!("{}-3", "ab".repeat(16));
        let headers = headers(&[
            (&REPLICA_VERSION_ID, ID),
            (&REPLICA_CREATED, "1700000000000"),
            (&REPLICA_CHANGED, "5"),
            (&REPLICA_ETAG, &etag),
            (&REPLICA_SETTINGS, &text),
            (&REPLICA_LEFT, "tags"),
            (&REPLICA_OWNER, "bucket-owner"),
        ]);
        let arriving = arriving(&headers).unwrap().unwrap();
        let of = ReplicaOf {
            version_id: ID.parse().unwrap(),
            created: Timestamp(1_700_000_000_000),
            etag: Some(Etag { digest: [0xAB; 16], parts_count: 3 }),
            changed: Some(Timestamp(5)),
            left: Left { tags: true, acl: true },
        };
        assert_eq!((arriving.of, arriving.settings, arriving.to_bucket_owner), (of, locked, true));
    }

    #[test]
    fn what_is_not_about_a_replica_is_none() {
        assert!(arriving(&headers(&[(&ACL, "private")])).unwrap().is_none());
    }

    #[test]
    fn malformed_replicas_are_refused() {
        let tagged = ObjectSettings {
            tags: vec![cairn_storage::settings::Tag { key: "k".to_owned(), value: String::new() }],
            ..ObjectSettings::default()
        };
        let tagged = BASE64_STANDARD.encode(minicbor::to_vec(&tagged).unwrap());
        let redirecting = ObjectAttributes {
            website_redirect_location: Some("javascript:alert()".to_owned()),
            ..ObjectAttributes::default()
        };
        let redirecting = BASE64_STANDARD.encode(minicbor::to_vec(&redirecting).unwrap());
        let long = "A".repeat(RECORD_TEXT_BYTES_MAX + 4);
        let (id, created) = ((&REPLICA_VERSION_ID, ID), (&REPLICA_CREATED, "1"));
        for (pairs, code) in [
            (&[created][..], "InvalidRequest"),
            (&[id], "InvalidRequest"),
            (&[id, id, created], "InvalidRequest"),
            (&[id, created, (&ACL, "public-read")], "InvalidRequest"),
            (&[id, created, (&OBJECT_LOCK_MODE, "COMPLIANCE")], "InvalidRequest"),
            (&[(&REPLICA_VERSION_ID, "null"), created], "InvalidArgument"),
            (&[id, (&REPLICA_CREATED, "-1")], "InvalidArgument"),
            (&[id, created, (&REPLICA_CHANGED, "soon")], "InvalidArgument"),
            (&[id, created, (&REPLICA_ETAG, "\"ab\"")], "InvalidArgument"),
            (&[id, created, (&REPLICA_OWNER, "me")], "InvalidArgument"),
            (&[id, created, (&REPLICA_LEFT, "")], "InvalidArgument"),
            (&[id, created, (&REPLICA_LEFT, "tags, acl")], "InvalidArgument"),
            (&[id, created, (&REPLICA_SETTINGS, "!")], "InvalidArgument"),
            (&[id, created, (&REPLICA_SETTINGS, &long)], "InvalidArgument"),
            (&[id, created, (&REPLICA_SETTINGS, &tagged)], "InvalidArgument"),
            (&[id, created, (&REPLICA_ATTRIBUTES, &redirecting)], "InvalidRedirectLocation"),
        ] {
            assert_eq!(arriving(&headers(pairs)).unwrap_err().code(), code, "{pairs:?}");
        }
    }
}
