//! Another Cairn: a version keeps its id, creation time, ETag, checksum, parts and settings.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_storage::index::family::version::Version;
use cairn_storage::object::{DeleteMarker, ObjectVersion, StorageClass};
use cairn_storage::settings::{ObjectSettings, Tag};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::{Address, Method, Stored, UploadHeaders, tagging_document};
use crate::target::{Brought, Content, Failure, Need, Outgoing, Seal};

use super::failure::of_client;
use super::{Remote, sending};

pub(super) const VERSION_ID: &str = "x-amz-cairn-replica-version-id";
const CREATED: &str = "x-amz-cairn-replica-created";
const ETAG: &str = "x-amz-cairn-replica-etag";
pub(super) const CHANGED: &str = "x-amz-cairn-replica-changed";
pub(super) const SETTINGS: &str = "x-amz-cairn-replica-settings";
pub(super) const ATTRIBUTES: &str = "x-amz-cairn-replica-attributes";
const LEFT: &str = "x-amz-cairn-replica-left";
pub(super) const OWNER: &str = "x-amz-cairn-replica-owner";
const ENVELOPE: &str = "x-amz-cairn-replica-envelope";
const SEALED: &str = "x-amz-cairn-replica-sealed";
const CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";

/// From this size on it is asked first whether the version is there already.
const ASKED_FIRST_BYTES_MIN: u64 = 8 << 20;

type Headers = Vec<(String, String)>;

impl Remote {
    pub(super) async fn bring_to_cairn(
        &self,
        outgoing: &Outgoing,
        content: Option<Arc<dyn Content>>,
    ) -> Result<Brought, Failure> {
        match (&outgoing.version, content) {
            (Version::Marker(marker), _) => self.bring_marker(outgoing, marker).await,
            (Version::Object(object), Some(content)) if outgoing.need == Need::Version => {
                if object.size_bytes >= ASKED_FIRST_BYTES_MIN {
                    let settled = self.bring_settings(outgoing, object).await?;
                    if settled != Brought::Absent {
                        return Ok(settled);
                    }
                }
                self.bring_object(outgoing, object, &content).await
            }
            (Version::Object(object), _) => self.bring_settings(outgoing, object).await,
        }
    }

    async fn bring_marker(&self, outgoing: &Outgoing, marker: &DeleteMarker) -> Result<Brought, Failure> {
        let id = marker.version_id.to_string();
        let request = self
            .address(outgoing)
            .request(Method::DELETE, None)
            .headers([header(VERSION_ID, id.as_str()), header(CREATED, marker.created.0.max(0))]);
        let answer = self.client.send(&request).await.map_err(of_client)?;
        check_id(&id, answer.header("x-amz-version-id"))
    }

    async fn bring_object(
        &self,
        outgoing: &Outgoing,
        object: &ObjectVersion,
        content: &Arc<dyn Content>,
    ) -> Result<Brought, Failure> {
        let (to, mut headers) = (self.address(outgoing), of_version(outgoing, object)?);
        if let Some(sealed) = content.sealed() {
            headers.push(header(ENVELOPE, encoded(&sealed.envelope)?));
            // For the target's policies, which may ask about it.
            headers.push(header(CUSTOMER_ALGORITHM, "AES256"));
        }
        let of_sealed = |place: usize| -> Result<Option<(String, String)>, Failure> {
            let part = content.sealed().and_then(|sealed| sealed.parts.get(place));
            part.map(|part| Ok(header(SEALED, encoded(&part.content)?))).transpose()
        };
        let id = object.version_id.to_string();
        let stored = if content.parts().is_empty() {
            let (body, checksum) = sending::whole(object, content).await.map_err(of_client)?;
            let headers = headers.into_iter().chain(checksum).chain(of_sealed(0)?).collect();
            self.client.put(&to, headers, body).await
        } else {
            let mut create = headers;
            if let Some(checksum) = &object.checksum {
                create.push(header("x-amz-checksum-algorithm", checksum.value.algorithm().as_str()));
                create.push(header("x-amz-checksum-type", checksum.checksum_type().as_str()));
            }
            let headers = UploadHeaders { create, each: vec![header(VERSION_ID, id.as_str())] };
            let own = (0..content.parts().len()).map(of_sealed).collect::<Result<Vec<_>, Failure>>()?;
            sending::upload(&self.client, &to, headers, content, &own).await
        };
        let Stored { version_id, .. } = stored.map_err(|error| match error.code() {
            // An older Cairn, which refuses headers that it does not know.
            Some("NotImplemented") if content.sealed().is_some() => {
                let reason = "SrcObjectNotEligible: it is sealed under a customer's key, and the server there takes nothing that stays sealed";
                Failure::Refused { reason: reason.to_owned() }
            }
            _ => of_client(error),
        })?;
        check_id(&id, version_id.as_deref())
    }

    async fn bring_settings(&self, outgoing: &Outgoing, object: &ObjectVersion) -> Result<Brought, Failure> {
        let id = object.version_id.to_string();
        let (body, digest) = sending::document(tagging(&object.settings.tags));
        let request = self.address(outgoing).request(Method::PUT, Some(&id)).query("tagging", "");
        let request = request.header(VERSION_ID, &id).headers(of_settings(outgoing, object)?);
        let request = request.headers([digest]).body(body);
        match self.client.send(&request).await {
            Ok(_) => Ok(Brought::There { foreign_version: None }),
            Err(error) if error.code() == Some("NoSuchVersion") => Ok(Brought::Absent),
            Err(error) => Err(of_client(error)),
        }
    }

    pub(super) fn address(&self, outgoing: &Outgoing) -> Address {
        Address { bucket: self.bucket.clone(), key: outgoing.key.as_str().to_owned() }
    }
}

pub(super) fn header(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

/// What the answer names must be the version: a server that is no Cairn any more has stored something else.
fn check_id(expected: &str, answered: Option<&str>) -> Result<Brought, Failure> {
    match answered {
        Some(id) if id == expected => Ok(Brought::There { foreign_version: None }),
        // There it is its bucket's null version.
        Some("null") => Ok(Brought::There { foreign_version: None }),
        _ => Err(Failure::Down { reason: "the server no longer takes replicas as it did".to_owned() }),
    }
}

fn of_version(outgoing: &Outgoing, object: &ObjectVersion) -> Result<Headers, Failure> {
    let mut headers = vec![
        header(VERSION_ID, object.version_id),
        header(CREATED, object.created.0.max(0)),
        header(ATTRIBUTES, encoded(&object.attributes)?),
    ];
    if !object.etag_follows_from_bytes() {
        headers.push(header(ETAG, object.etag));
    }
    if outgoing.class != StorageClass::Standard {
        headers.push(header("x-amz-storage-class", outgoing.class.name()));
    }
    if !object.settings.tags.is_empty() {
        headers.push(header("x-amz-tagging", tags_in_query(&object.settings.tags)));
    }
    if outgoing.new_owner.is_some() {
        headers.push(header(OWNER, "bucket-owner"));
    }
    headers.extend(of_seal(&outgoing.seal));
    headers.extend(of_settings(outgoing, object)?);
    Ok(headers)
}

pub(super) fn of_seal(seal: &Seal) -> Headers {
    match seal {
        Seal::Default => Vec::new(),
        Seal::Server => vec![header("x-amz-server-side-encryption", "AES256")],
        Seal::Kms(key) => vec![
            header("x-amz-server-side-encryption", "aws:kms"),
            header("x-amz-server-side-encryption-aws-kms-key-id", key),
        ],
    }
}

/// Lock and ACL, of when they are, and what has stayed behind. The tags have a place of their own.
fn of_settings(outgoing: &Outgoing, object: &ObjectVersion) -> Result<Headers, Failure> {
    let mut headers = Vec::new();
    if let Some(changed) = object.replication.as_ref().and_then(|replication| replication.changed) {
        headers.push(header(CHANGED, changed.0.max(0)));
    }
    let left = [("tags", outgoing.left.tags), ("acl", outgoing.left.acl)];
    let left: Vec<&str> = left.into_iter().filter(|(_, is_left)| *is_left).map(|(name, _)| name).collect();
    if !left.is_empty() {
        headers.push(header(LEFT, left.join(",")));
    }
    let acl = object.settings.acl.clone().filter(|_| !outgoing.left.acl);
    let settings = ObjectSettings { tags: Vec::new(), acl, ..object.settings.clone() };
    if settings != ObjectSettings::default() {
        headers.push(header(SETTINGS, encoded(&settings)?));
    }
    Ok(headers)
}

fn encoded<T: minicbor::Encode<()>>(value: &T) -> Result<String, Failure> {
    let bytes = minicbor::to_vec(value).map_err(|error| Failure::Refused { reason: error.to_string() })?;
    Ok(BASE64.encode(bytes))
}

pub(super) fn tags_in_query(tags: &[Tag]) -> String {
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs = tags.iter().map(|tag| format!("{}={}", encode(&tag.key), encode(&tag.value)));
    pairs.collect::<Vec<_>>().join("&")
}

pub(super) fn tagging(tags: &[Tag]) -> String {
    tagging_document(tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_escaped_in_both_their_places() {
        let tags = [Tag { key: "a&b".to_owned(), value: "<ü =>".to_owned() }];
        assert_eq!(tags_in_query(&tags), "a%26b=%3C%C3%BC%20%3D%3E");
        let expected = "<Tagging><TagSet><Tag><Key>a&amp;b</Key><Value>&lt;ü =&gt;</Value></Tag></TagSet></Tagging>";
        assert_eq!(tagging(&tags), expected);
    }
}
