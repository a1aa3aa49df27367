//! Targets that give ids of their own: which of them a version has got is in its record. A key is compared as a whole, because what has
//! another order there, or another newest version, shows only so.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use cairn_replication::client::VersionThere;
use cairn_replication::remote::Remote;
use cairn_replication::rules::Rule;
use cairn_replication::target::Failure;
use cairn_storage::StorageError;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::version::Version;
use cairn_storage::index::family::walk::FindingKind;
use cairn_storage::jobs::walks::StepFailure;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::replication::Bring;
use cairn_storage::ops::{ListVersions, ListedVersion};
use cairn_storage::replication::Progress;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::audit::Trail;
use crate::replication::pages::{KEY_VERSIONS_MAX, Page};

use super::compare::same_tags;
use super::{Compared, Comparison, Fault, Place, Wrong, earlier, of_target};

/// Of how many versions of a key, the newest ones, tags are compared. Each costs a request, and almost always only the newest are changed.
const KEY_TAGS_MAX: usize = 100;

/// How many keys are compared at once.
const CONCURRENCY: usize = 16;

impl Comparison<'_> {
    pub(super) async fn page_of_foreign(
        &self,
        remote: &Remote,
        behind: Option<Place>,
    ) -> Result<Compared, StepFailure> {
        // The source first: what it has brought by now is in the target's listing, which comes after.
        let mut here = Page::of_bucket(self.store, self.bucket, &self.prefix(), behind.as_ref()).await?;
        let mut there = self.keys_there(remote, behind.as_ref()).await?;
        let too_many = here.has_too_many || there.has_too_many;
        let end = earlier(here.end.take(), there.end.take());
        let keys: BTreeSet<String> = here.keys.keys().chain(there.keys.keys()).cloned().collect();
        let is_within = |key: &String| end.as_ref().is_none_or(|end| key.as_bytes() <= end.key.as_bytes());
        let pairs: Vec<_> = keys
            .into_iter()
            .filter(is_within)
            .filter_map(|key| ObjectKey::new(&key).filter(|key| self.is_about(key.as_str())))
            .map(|key| {
                let ids = here.keys.remove(key.as_str()).unwrap_or_default();
                let found = there.keys.remove(key.as_str()).unwrap_or_default();
                (key, ids, found)
            })
            .collect();
        let parts: Vec<Compared> = futures::stream::iter(pairs)
            .map(|(key, ids, found)| async move {
                if ids.len().max(found.len()) >= KEY_VERSIONS_MAX && too_many {
                    return Ok(uncounted(key, ids.first()));
                }
                self.key(remote, key, &ids, &found).await
            })
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        let mut compared = Compared { next: end, ..Compared::default() };
        for part in parts {
            compared.examined += part.examined;
            compared.skipped += part.skipped;
            compared.wrong.extend(part.wrong);
        }
        Ok(compared)
    }

    async fn keys_there(&self, remote: &Remote, behind: Option<&Place>) -> Result<Page<VersionThere>, StepFailure> {
        let mut keys = Page::default();
        let mut behind = behind.map(|place| (place.key.clone(), None));
        loop {
            let after =
                behind.as_ref().map(|(key, version): &(String, Option<String>)| (key.as_str(), version.as_deref()));
            let page = remote.list(&self.prefix(), after).await.map_err(of_target)?;
            behind = page.versions.last().map(|last| (last.key.clone(), Some(last.id.clone())));
            for version in page.versions {
                keys.add(version.key.clone(), version);
            }
            if keys.is_enough(page.more) {
                return Ok(keys);
            }
        }
    }

    /// Compares the versions of a key.
    async fn key(
        &self,
        remote: &Remote,
        key: ObjectKey,
        ids: &[VersionId],
        there: &[VersionThere],
    ) -> Result<Compared, StepFailure> {
        let versions = self.versions(&key, ids).await?;
        let mut compared = Compared { examined: ids.len() as u64, ..Compared::default() };
        let mut is_newest = true;
        let mut newer_is_there = false;
        let mut tags_left = KEY_TAGS_MAX;
        for version in &versions {
            let Some(rule) = self.carrying(&key, version) else {
                compared.skipped += 1;
                continue;
            };
            let found = self.found(version, there, is_newest);
            let mut fault = match found {
                Some(found) => self.differs(remote, &key, version, found, is_newest.then_some(there)).await?,
                None if is_newest || self.is_mapped(version) || self.status_is_none(version) => {
                    Some((FindingKind::Missing, self.why_missing(version).to_owned(), Some(Bring::Anew)))
                }
                // It got no id there, where only the newest is kept.
                None => None,
            };
            if let (None, Some(found), Version::Object(object)) = (&fault, found, version) {
                let tagged = may_have_tags(object) && tags_left > 0;
                tags_left -= usize::from(tagged);
                fault = self.settings_differ(remote, &key, (version, object), tagged.then_some(found), rule).await?;
            }
            if let Some((kind, detail, mend)) = fault {
                // What comes is the newest there, so nothing comes that a newer one is there of.
                let mend =
                    mend.filter(|mend| !(newer_is_there && *mend == Bring::Anew)).map(|mend| (version.id(), mend));
                compared.wrong.push(Wrong { kind, key: key.clone(), version: version.id().to_string(), detail, mend });
            }
            newer_is_there |= found.is_some();
            is_newest = false;
        }
        // So that they are PENDING in the order in which they are to come.
        compared.wrong.reverse();
        compared.wrong.extend(self.extra_of(&key, &versions, there));
        // They may have changed, and be on their way, since they were read.
        if !compared.wrong.is_empty() && !self.is_as_it_was(&key, ids, &versions).await? {
            compared.skipped += compared.wrong.len() as u64;
            compared.wrong.clear();
        }
        Ok(compared)
    }

    async fn versions(&self, key: &ObjectKey, ids: &[VersionId]) -> Result<Vec<Version>, StorageError> {
        let mut versions = Vec::with_capacity(ids.len());
        for id in ids {
            versions.extend(self.version(key, *id).await?);
        }
        Ok(versions)
    }

    async fn is_as_it_was(
        &self,
        key: &ObjectKey,
        ids: &[VersionId],
        versions: &[Version],
    ) -> Result<bool, StorageError> {
        let list = ListVersions { prefix: key.as_str().to_owned(), max_keys: 1, ..ListVersions::default() };
        let first = self.store.list_versions(self.bucket, list).await?.entries.into_iter().next();
        let newest = match first {
            Some(ListedVersion::Version { key: first, version, .. }) if first == *key => Some(version.id()),
            _ => None,
        };
        Ok(newest.as_ref() == ids.first() && self.versions(key, ids).await? == versions)
    }

    fn id_there<'v>(&self, version: &'v Version) -> Option<&'v str> {
        version.replication()?.at(self.target_id)?.foreign_version.as_deref()
    }

    fn is_mapped(&self, version: &Version) -> bool {
        self.id_there(version).is_some()
    }

    fn status_is_none(&self, version: &Version) -> bool {
        version.replication().and_then(|replication| replication.at(self.target_id)).is_none()
    }

    /// What the target lists under a version's id there; of one that got none, if it is the newest, the newest.
    fn found<'t>(&self, version: &Version, there: &'t [VersionThere], is_newest: bool) -> Option<&'t VersionThere> {
        match self.id_there(version) {
            Some(id) => there.iter().find(|found| found.id == id),
            None if is_newest && !self.status_is_none(version) => there.iter().find(|found| found.is_latest),
            None => None,
        }
    }

    /// What is wrong with what was found of a version. `all`: it is the newest that is carried, so it is to be the newest of all there.
    async fn differs(
        &self,
        remote: &Remote,
        key: &ObjectKey,
        version: &Version,
        found: &VersionThere,
        all: Option<&[VersionThere]>,
    ) -> Result<Option<Fault>, StepFailure> {
        let differs = |text: String| Some((FindingKind::Differs, text, Some(Bring::Anew)));
        let object = match version {
            Version::Marker(_) if !found.is_marker => return Ok(differs("it is an object there".to_owned())),
            Version::Object(_) if found.is_marker => return Ok(differs("it is a delete marker there".to_owned())),
            Version::Marker(_) => None,
            Version::Object(object) => Some(object),
        };
        if let Some(object) = object {
            if object.size_bytes != found.size_bytes {
                return Ok(differs(format!("{} bytes here and {} there", object.size_bytes, found.size_bytes)));
            }
            let comparable = object.etag_follows_from_bytes() && object.etag.to_string() != found.etag;
            if comparable && remote.shows_md5(key, &found.id).await.map_err(of_target)? {
                return Ok(differs("its ETag".to_owned()));
            }
        }
        let newest = all.and_then(|all| all.iter().find(|found| found.is_latest));
        // One delete marker hides as much as another.
        let is_it = newest.is_none_or(|newest| newest.id == found.id || (newest.is_marker && found.is_marker));
        Ok(if is_it { None } else { differs("it is not the newest of its key there".to_owned()) })
    }

    /// What differs of an object whose bytes are there: its tags, which only a request of their own tells. `found`: the request is worth it.
    async fn settings_differ(
        &self,
        remote: &Remote,
        key: &ObjectKey,
        (version, object): (&Version, &ObjectVersion),
        found: Option<&VersionThere>,
        rule: &Rule,
    ) -> Result<Option<Fault>, StepFailure> {
        let (trail, began) = (Trail::default(), Instant::now());
        let compared = async {
            let may_tags = self.may_read(self.acting(&trail), key, (version, object), rule).await?;
            let Some(found) = found else { return Ok(None) };
            let tags = remote.tags(key, &found.id).await?;
            let (kind, mend) = match may_tags {
                true => (FindingKind::Differs, Some(Bring::Settings { there: None })),
                false => (FindingKind::ByRight, None),
            };
            let is_same = same_tags(&object.settings.tags, &tags);
            Ok((!is_same).then(|| (kind, "its tags".to_owned(), mend)))
        };
        let fault = match compared.await {
            Ok(fault) => fault,
            Err(Failure::Refused { reason }) => Some((FindingKind::Unreadable, reason, None)),
            Err(failure) => return Err(of_target(failure)),
        };
        self.note(&trail, began, fault.as_ref());
        Ok(fault)
    }

    /// What the target has, and no version's record knows of.
    fn extra_of(&self, key: &ObjectKey, versions: &[Version], there: &[VersionThere]) -> Vec<Wrong> {
        let at =
            |version: &Version| version.replication().and_then(|replication| replication.at(self.target_id)).cloned();
        let statuses: Vec<_> = versions.iter().filter_map(at).collect();
        // What has just come there may be one of these.
        if statuses.iter().any(|status| status.progress == Progress::Pending) {
            return Vec::new();
        }
        let known: HashSet<&str> = statuses.iter().filter_map(|status| status.foreign_version.as_deref()).collect();
        let unnamed = statuses.iter().any(|status| status.foreign_version.is_none());
        let is_known = |found: &VersionThere| known.contains(found.id.as_str()) || (unnamed && found.is_latest);
        let wrong = |found: &VersionThere| Wrong {
            kind: FindingKind::Extra,
            key: key.clone(),
            version: found.id.clone(),
            detail: if found.is_marker { "a delete marker".to_owned() } else { "an object".to_owned() },
            mend: None,
        };
        there.iter().filter(|found| !is_known(found)).map(wrong).collect()
    }
}

/// Whether tags were ever brought with it, as far as is known: of others the source says nothing.
fn may_have_tags(object: &ObjectVersion) -> bool {
    let changed = object.replication.as_ref().and_then(|replication| replication.changed);
    !object.settings.tags.is_empty() || changed.is_some()
}

fn uncounted(key: ObjectKey, newest: Option<&VersionId>) -> Compared {
    let wrong = Wrong {
        kind: FindingKind::Unreadable,
        key,
        version: newest.map(VersionId::to_string).unwrap_or_default(),
        detail: format!("the key has more than {KEY_VERSIONS_MAX} versions, which is the most that are compared"),
        mend: None,
    };
    Compared { wrong: vec![wrong], ..Compared::default() }
}
