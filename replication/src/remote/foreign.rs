//! Any other S3 server: it gives versions ids of its own. A version goes as a client would put it, with its source's id in the metadata,
//! so that one whose answer was lost is found again instead of put twice. What is put last is the newest there, so no version goes there after
//! a newer one of its key.
//!
//! ACLs stay behind, because accounts are not the same ones there. So does all of what is sealed under a customer's key.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_storage::index::family::version::Version;
use cairn_storage::object::{ObjectVersion, StorageClass};
use cairn_storage::settings::Retention;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::client::{Address, Answer, ClientError, Method, Request, Stored, UploadHeaders};
use crate::target::{Brought, Content, Failure, Need, Outgoing, Seal};

use super::cairn::{header, of_seal, tagging, tags_in_query};
use super::failure::{is_of_the_moment, of_client};
use super::{Remote, sending};

/// The id of a version that came while a bucket's versioning was not enabled.
const NULL: &str = "null";

/// The user metadata that names the source's version.
pub(super) const OF_VERSION: &str = "x-amz-meta-cairn-version-id";

impl Remote {
    pub(super) async fn bring_to_foreign(
        &self,
        outgoing: &Outgoing,
        content: Option<Arc<dyn Content>>,
    ) -> Result<Brought, Failure> {
        match (&outgoing.version, content) {
            (Version::Marker(_), _) => self.mark(outgoing).await,
            (Version::Object(object), Some(content)) if outgoing.need == Need::Version => {
                self.put(outgoing, object, &content).await
            }
            (Version::Object(object), _) => self.set_known(outgoing, object).await,
        }
    }

    /// A delete marker. One upon another would hide nothing more.
    async fn mark(&self, outgoing: &Outgoing) -> Result<Brought, Failure> {
        let to = self.address(outgoing);
        if let Some(known) = &outgoing.foreign_version
            && self.has(&to, known).await?
        {
            return Ok(Brought::There { foreign_version: Some(known.clone()) });
        }
        let newest = self.asked(&to, None).await?;
        self.check_order(&to, outgoing, &newest).await?;
        if newest.status() == 404 && newest.header("x-amz-delete-marker") == Some("true") {
            return self.is_there(newest.header("x-amz-version-id")).await;
        }
        let is_folder = outgoing.key.as_str().ends_with('/');
        if is_folder && newest.status() == 200 && newest.header("x-amz-version-id").is_none() {
            // A server that keeps files makes a folder of it, of which there is but one.
            let reason = "the server keeps no versions of the key, and would remove the only copy of it";
            return Err(Failure::Refused { reason: reason.to_owned() });
        }
        let marker = self.client.once().delete(&to, None).await.map_err(of_client)?;
        self.is_there(marker.as_deref()).await
    }

    async fn put(
        &self,
        outgoing: &Outgoing,
        object: &ObjectVersion,
        content: &Arc<dyn Content>,
    ) -> Result<Brought, Failure> {
        if content.sealed().is_some() {
            let reason = "SrcObjectNotEligible: it is sealed under a customer's key, and only another Cairn takes what stays sealed";
            return Err(Failure::Refused { reason: reason.to_owned() });
        }
        let to = self.address(outgoing);
        if let Some(known) = &outgoing.foreign_version {
            let asked = self.asked(&to, Some(known)).await?;
            if is_it(&asked, object) {
                return self.set(outgoing, object, known).await;
            }
            if asked.status() == 403 {
                let reason = "whether it is there cannot be told (s3:GetObjectVersion), and put once more it would be there twice";
                return Err(Failure::Refused { reason: reason.to_owned() });
            }
        }
        let newest = self.asked(&to, None).await?;
        if is_it(&newest, object) {
            return self.is_there(newest.header("x-amz-version-id")).await;
        }
        self.check_order(&to, outgoing, &newest).await?;
        match self.store(&to, outgoing, object, content).await? {
            Ok(stored) => self.is_there(stored.version_id.as_deref()).await,
            // The answer that completed it may have been lost.
            Err(error) => {
                let newest = self.asked(&to, None).await?;
                match is_it(&newest, object) {
                    true => self.is_there(newest.header("x-amz-version-id")).await,
                    false => Err(refused(error, outgoing)),
                }
            }
        }
    }

    /// The version is there, under an id of its own. Without one it is the `null` version of its key: it came while versioning was suspended, or
    /// the server keeps no versions of such keys. Unless versioning is enabled now, nothing more may go there.
    async fn is_there(&self, id: Option<&str>) -> Result<Brought, Failure> {
        let own = id.filter(|id| !id.is_empty() && *id != NULL);
        if own.is_none() {
            self.check_versioned().await?;
        }
        Ok(Brought::There { foreign_version: Some(own.unwrap_or(NULL).to_owned()) })
    }

    /// Stores the version. A server without keys of its own refuses to seal under them (as MinIO does, unless it has a KMS): what is sealed
    /// under the server's key here goes there then as the bucket there has things by default.
    async fn store(
        &self,
        to: &Address,
        outgoing: &Outgoing,
        object: &ObjectVersion,
        content: &Arc<dyn Content>,
    ) -> Result<Result<Stored, ClientError>, Failure> {
        let asks = outgoing.seal == Seal::Server && !self.seals_nothing.load(Ordering::Relaxed);
        let seal = if outgoing.seal == Seal::Server && !asks { &Seal::Default } else { &outgoing.seal };
        let refused = match self.store_sealed(to, outgoing, object, content, seal).await? {
            // What another attempt would not be refused for, as a RequestTimeout, says nothing about keys.
            Err(error) if asks && matches!(error.status(), Some(400 | 501)) && !is_of_the_moment(&error) => error,
            stored => return Ok(stored),
        };
        match self.store_sealed(to, outgoing, object, content, &Seal::Default).await? {
            Ok(stored) => {
                tracing::info!(remote = ?self.client.endpoint(), %refused, "the server seals nothing under a key of its own");
                self.seals_nothing.store(true, Ordering::Relaxed);
                Ok(Ok(stored))
            }
            // It was about something else.
            Err(_) => Ok(Err(refused)),
        }
    }

    async fn store_sealed(
        &self,
        to: &Address,
        outgoing: &Outgoing,
        object: &ObjectVersion,
        content: &Arc<dyn Content>,
        seal: &Seal,
    ) -> Result<Result<Stored, ClientError>, Failure> {
        let mut headers = of_version(outgoing, object)?;
        headers.extend(of_seal(seal));
        Ok(if content.parts().is_empty() {
            let (body, checksum) = sending::whole(object, content).await.map_err(of_client)?;
            // Not again before it is known that the first attempt has left nothing.
            self.client.once().put(to, headers.into_iter().chain(checksum).collect(), body).await
        } else {
            let headers = UploadHeaders { create: headers, each: Vec::new() };
            sending::upload(&self.client, to, headers, content, &[]).await
        })
    }

    /// What is said of a version there, or of the newest one.
    async fn asked(&self, to: &Address, version: Option<&str>) -> Result<Answer, Failure> {
        self.client.probe(&to.request(Method::HEAD, version)).await.map_err(of_client)
    }

    /// Brings tags and lock of a version that has been there, unless nobody knows which one it is there.
    async fn set_known(&self, outgoing: &Outgoing, object: &ObjectVersion) -> Result<Brought, Failure> {
        if let Some(known) = &outgoing.foreign_version {
            return self.set(outgoing, object, known).await;
        }
        let newest = self.asked(&self.address(outgoing), None).await?;
        match newest.header("x-amz-version-id").filter(|_| is_it(&newest, object)) {
            Some(id) => self.set(outgoing, object, id).await,
            None => Ok(Brought::Absent),
        }
    }

    /// Brings tags and lock of a version that is there.
    async fn set(&self, outgoing: &Outgoing, object: &ObjectVersion, version: &str) -> Result<Brought, Failure> {
        let to = self.address(outgoing);
        let settings = &object.settings;
        let put = |resource: &str, document: String| -> Request {
            let (body, digest) = sending::document(document);
            to.request(Method::PUT, Some(version)).query(resource, "").headers([digest]).body(body)
        };
        let mut requests = Vec::new();
        if !outgoing.left.tags {
            requests.push(put("tagging", tagging(&settings.tags)));
        }
        if let Some(retention) = settings.retention {
            let document = format!(
                "<Retention><Mode>{}</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>",
                retention.mode.name(),
                until(retention)?
            );
            requests.push(put("retention", document));
        }
        if let Some(held) = settings.legal_hold {
            requests.push(put("legal-hold", format!("<LegalHold><Status>{}</Status></LegalHold>", on_or_off(held))));
        }
        for request in requests {
            match self.client.send(&request).await {
                Ok(_) => {}
                Err(error) if is_absent(&error) => return Ok(Brought::Absent),
                Err(error) => return Err(of_client(error)),
            }
        }
        Ok(Brought::There { foreign_version: Some(version.to_owned()) })
    }
}

/// Whether it is this version that the server speaks of. Its name alone does not say so: it may have been put over there, name and all.
fn is_it(answer: &Answer, object: &ObjectVersion) -> bool {
    let is_named = answer.header(OF_VERSION) == Some(object.version_id.to_string().as_str());
    answer.status() == 200 && is_named && answer.length_bytes().is_none_or(|bytes| bytes == object.size_bytes)
}

/// What became of a version that was not stored. Few servers say that it is the storage class that they do not have.
fn refused(error: ClientError, outgoing: &Outgoing) -> Failure {
    let asks_for_class = error.status() == Some(400) && outgoing.class != StorageClass::Standard;
    match of_client(error) {
        Failure::Refused { reason } if asks_for_class => {
            let class = outgoing.class.name();
            Failure::Refused {
                reason: format!("{reason} (it was to be {class}; the rule can name another StorageClass)"),
            }
        }
        failure => failure,
    }
}

fn is_absent(error: &ClientError) -> bool {
    matches!(error.code(), Some("NoSuchVersion" | "NoSuchKey"))
}

fn of_version(outgoing: &Outgoing, object: &ObjectVersion) -> Result<Vec<(String, String)>, Failure> {
    let attributes = &object.attributes;
    let system = [
        ("content-type", &attributes.content_type),
        ("cache-control", &attributes.cache_control),
        ("content-disposition", &attributes.content_disposition),
        ("content-encoding", &attributes.content_encoding),
        ("content-language", &attributes.content_language),
        ("expires", &attributes.expires),
        ("x-amz-website-redirect-location", &attributes.website_redirect_location),
    ];
    let mut headers = vec![header(OF_VERSION, object.version_id)];
    headers.extend(system.into_iter().filter_map(|(name, value)| Some(header(name, in_ascii(value.as_deref()?)))));
    // A version that has been at such a server itself may have another version's name.
    let metadata = attributes.user_metadata.iter().map(|(name, value)| (format!("x-amz-meta-{name}"), value));
    let metadata = metadata.filter(|(name, _)| name != OF_VERSION);
    headers.extend(metadata.map(|(name, value)| header(&name, in_ascii(value))));
    if outgoing.class != StorageClass::Standard {
        headers.push(header("x-amz-storage-class", outgoing.class.name()));
    }
    if !object.settings.tags.is_empty() {
        headers.push(header("x-amz-tagging", tags_in_query(&object.settings.tags)));
    }
    if let Some(retention) = object.settings.retention {
        headers.push(header("x-amz-object-lock-mode", retention.mode.name()));
        headers.push(header("x-amz-object-lock-retain-until-date", until(retention)?));
    }
    if let Some(held) = object.settings.legal_hold {
        headers.push(header("x-amz-object-lock-legal-hold", on_or_off(held)));
    }
    Ok(headers)
}

/// A header's text: beyond ASCII, an RFC 2047 word, as S3 gives it back itself.
fn in_ascii(text: &str) -> String {
    if text.is_ascii() { text.to_owned() } else { format!("=?UTF-8?B?{}?=", BASE64.encode(text)) }
}

fn on_or_off(held: bool) -> &'static str {
    if held { "ON" } else { "OFF" }
}

fn until(retention: Retention) -> Result<String, Failure> {
    let nanoseconds = i128::from(retention.until.0) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.ok_or_else(|| Failure::Refused { reason: "its retention ends at no time".to_owned() })
}
