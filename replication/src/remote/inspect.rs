//! What a bucket at another server has, for who compares it with the source.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::VersionId;
use cairn_storage::object::{ObjectAttributes, ObjectKey};
use cairn_storage::settings::{ObjectSettings, Tag};

use crate::client::{Address, Answer, Method, VersionsThere};
use crate::target::Failure;

use super::cairn::{ATTRIBUTES, CHANGED, OWNER, SETTINGS, VERSION_ID};
use super::failure::of_client;
use super::{Kind, Remote};

/// A version as a target has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes.
    pub size_bytes: u64,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its checksums that can be told, by the headers that declare them.
    pub checksums: Vec<(String, String)>,
    /// Its headers and metadata.
    pub attributes: ObjectAttributes,
    /// What may change about it.
    pub settings: ObjectSettings,
    /// When that was last changed.
    pub changed: Option<Timestamp>,
    /// The bucket has no ACLs.
    pub without_acls: bool,
}

impl Remote {
    /// Whether its versions have the source's ids.
    #[must_use]
    pub fn is_cairn(&self) -> bool {
        self.kind == Kind::Cairn
    }

    /// The next versions whose keys begin with `prefix`: at most a thousand.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn list(&self, prefix: &str, after: Option<(&str, Option<&str>)>) -> Result<VersionsThere, Failure> {
        self.client.list_versions(&self.bucket, prefix, after).await.map_err(of_client)
    }

    /// What another Cairn has of a version. None: it has no object of this id.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn look(&self, key: &ObjectKey, version: VersionId) -> Result<Option<Found>, Failure> {
        let id = version.to_string();
        let request = self.at(key).request(Method::HEAD, Some(&id)).header(VERSION_ID, &id);
        let request = request.header("x-amz-checksum-mode", "ENABLED");
        let answer = self.client.probe(&request).await.map_err(of_client)?;
        match answer.status() {
            200 => found(&answer).map(Some),
            404 | 405 => Ok(None),
            status => Err(refused(status)),
        }
    }

    /// Whether the ETag that a foreign server has given a version follows from the bytes: not where it says that it has sealed them
    /// under another key than its own.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn shows_md5(&self, key: &ObjectKey, version: &str) -> Result<bool, Failure> {
        let answer = self.client.probe(&self.at(key).request(Method::HEAD, Some(version))).await.map_err(of_client)?;
        let sealed = answer.header("x-amz-server-side-encryption").is_some_and(|mode| mode.starts_with("aws:"));
        let by_customer = answer.header("x-amz-server-side-encryption-customer-algorithm").is_some();
        Ok(!sealed && !by_customer)
    }

    /// The tags that a version has.
    ///
    /// # Errors
    /// See [`Failure`]; `Refused`, too, where the server knows no tags.
    pub async fn tags(&self, key: &ObjectKey, version: &str) -> Result<Vec<Tag>, Failure> {
        match self.client.tags(&self.at(key), Some(version)).await {
            Ok(tags) => Ok(tags.into_iter().map(|[key, value]| Tag { key, value }).collect()),
            // So some servers say that there are none.
            Err(error) if error.code() == Some("NoSuchTagSet") => Ok(Vec::new()),
            Err(error) if error.code() == Some("NotImplemented") => {
                Err(Failure::Refused { reason: "the target knows no tags of objects".to_owned() })
            }
            Err(error) => Err(of_client(error)),
        }
    }

    fn at(&self, key: &ObjectKey) -> Address {
        Address { bucket: self.bucket.clone(), key: key.as_str().to_owned() }
    }
}

fn found(answer: &Answer) -> Result<Found, Failure> {
    let malformed = || Failure::Refused { reason: "what the target says of it cannot be read".to_owned() };
    let record = |name| match answer.header(name) {
        None => Ok(None),
        Some(text) => BASE64.decode(text).map(Some).map_err(|_| malformed()),
    };
    let attributes = record(ATTRIBUTES)?.ok_or_else(malformed)?;
    let attributes: ObjectAttributes = minicbor::decode(&attributes).map_err(|_| malformed())?;
    let settings = match record(SETTINGS)? {
        None => ObjectSettings::default(),
        Some(settings) => minicbor::decode(&settings).map_err(|_| malformed())?,
    };
    let is_checksum = |name: &str| name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-type";
    let checksums = answer.headers().filter(|(name, _)| is_checksum(name));
    let changed = answer.header(CHANGED).map(|text| text.parse().map(Timestamp).map_err(|_| malformed()));
    Ok(Found {
        size_bytes: answer.length_bytes().ok_or_else(malformed)?,
        etag: answer.header("etag").ok_or_else(malformed)?.trim_matches('"').to_owned(),
        checksums: checksums.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        attributes,
        settings,
        changed: changed.transpose()?,
        without_acls: answer.header(OWNER).is_some(),
    })
}

fn refused(status: u16) -> Failure {
    let reason = match status {
        403 => "the target does not permit to read it (s3:GetObjectVersionForReplication)".to_owned(),
        501 => "the target's version of Cairn cannot be asked about it".to_owned(),
        status => format!("the target answers {status}"),
    };
    if status >= 500 && status != 501 { Failure::Later { reason, after: None } } else { Failure::Refused { reason } }
}
