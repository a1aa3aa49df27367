//! Targets whose versions have the source's ids: both listings have one order.

use std::collections::HashMap;
use std::time::Instant;

use cairn_replication::client::{VersionThere, VersionsThere};
use cairn_replication::rules::Rule;
use cairn_replication::target::Failure;
use cairn_storage::id::VersionId;
use cairn_storage::index::family::version::Version;
use cairn_storage::index::family::walk::FindingKind;
use cairn_storage::jobs::walks::StepFailure;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::replication::Bring;
use cairn_storage::ops::{ListVersions, ListedVersion, VersionSelector};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::audit::Trail;
use crate::authorize::AsRole;

use super::compare::{Acls, Differences, Remedy, compare};
use super::there::There;
use super::{Compared, Comparison, Fault, Place, Verdict, Wrong, earlier, of_target};

/// How many of the source's versions one page looks at.
const PAGE_VERSIONS_MAX: usize = 500;

/// How many of them are compared at once.
const CONCURRENCY: usize = 16;

/// A listed version with its id; that of a `null` version is not told, and here it is its neighbour's.
struct Listed {
    id: VersionId,
    is_null: bool,
    version: VersionThere,
}

impl Comparison<'_> {
    pub(super) async fn page_by_id(&self, there: &There<'_>, behind: Option<Place>) -> Result<Compared, StepFailure> {
        let list = ListVersions {
            prefix: self.prefix(),
            after: behind.as_ref().map(|place| place.key.clone()),
            after_version: behind.as_ref().map(|place| VersionSelector::Id(place.version)),
            max_keys: PAGE_VERSIONS_MAX,
            ..ListVersions::default()
        };
        // The source first: what it has brought by now is in the target's listing, which comes after.
        let page = self.store.list_versions(self.bucket, list).await?;
        let mut here: Vec<(ObjectKey, VersionId)> = Vec::with_capacity(page.entries.len());
        here.extend(page.entries.into_iter().filter_map(|entry| match entry {
            ListedVersion::Version { key, version, .. } => Some((key, version.id())),
            ListedVersion::Prefix(_) => None,
        }));
        let VersionsThere { versions, more } = there.list(&self.prefix(), behind.as_ref()).await?;
        let listed = with_ids(versions);
        let end_here = here.last().filter(|_| page.next.is_some());
        let end_here = end_here.map(|(key, version)| Place { key: key.as_str().to_owned(), version: *version });
        let end = earlier(end_here, if more { end_of(&listed) } else { None });
        let is_within = |key: &str, id| end.as_ref().is_none_or(|end| end.has_passed(key, id));
        here.retain(|(key, id)| is_within(key.as_str(), *id));
        let mut compared = Compared { examined: here.len() as u64, ..Compared::default() };
        let mut beside: HashMap<(String, VersionId), VersionThere> = HashMap::new();
        let mut extra = Vec::new();
        for Listed { id, is_null, version } in
            listed.into_iter().filter(|listed| is_within(&listed.version.key, listed.id))
        {
            if is_null {
                extra.push((None, version));
            } else {
                beside.insert((version.key.clone(), id), version);
            }
        }
        let pairs: Vec<_> = here
            .into_iter()
            .map(|(key, id)| {
                let there = beside.remove(&(key.as_str().to_owned(), id));
                (key, id, there)
            })
            .collect();
        let verdicts: Vec<Verdict> = futures::stream::iter(pairs)
            .map(|(key, id, found)| self.one(there, key, id, found))
            .buffered(CONCURRENCY)
            .try_collect()
            .await?;
        for verdict in verdicts {
            match verdict {
                Verdict::Same => {}
                Verdict::Skipped => compared.skipped += 1,
                Verdict::Wrong(wrong) => compared.wrong.push(wrong),
            }
        }
        extra.extend(beside.into_iter().map(|((_, id), version)| (Some(id), version)));
        extra.sort_by(|(_, one), (_, other)| (&one.key, &one.id).cmp(&(&other.key, &other.id)));
        for (id, version) in extra {
            compared.wrong.extend(self.extra(there, id, version).await?);
        }
        compared.next = end;
        Ok(compared)
    }

    async fn one(
        &self,
        there: &There<'_>,
        key: ObjectKey,
        id: VersionId,
        found: Option<VersionThere>,
    ) -> Result<Verdict, StepFailure> {
        let Some(version) = self.version(&key, id).await? else { return Ok(Verdict::Skipped) };
        let Some(rule) = self.carrying(&key, &version) else { return Ok(Verdict::Skipped) };
        let (trail, began) = (Trail::default(), Instant::now());
        let fault = self.wrong(there, self.acting(&trail), &key, &version, found, rule).await;
        self.note(&trail, began, fault.as_ref().ok().and_then(Option::as_ref));
        let Some((kind, detail, mend)) = fault? else { return Ok(Verdict::Same) };
        // It may have changed, and be on its way, since it was read.
        if self.version(&key, id).await?.as_ref() != Some(&version) {
            return Ok(Verdict::Skipped);
        }
        let mend = mend.map(|bring| (id, bring));
        Ok(Verdict::Wrong(Wrong { kind, key, version: id.to_string(), detail, mend }))
    }

    async fn wrong(
        &self,
        there: &There<'_>,
        acting: AsRole<'_>,
        key: &ObjectKey,
        version: &Version,
        found: Option<VersionThere>,
        rule: &Rule,
    ) -> Result<Option<Fault>, StepFailure> {
        let missing = || (FindingKind::Missing, self.why_missing(version).to_owned(), Some(Bring::Again));
        let another = |what: &str| (FindingKind::Differs, format!("it is {what} there"), None);
        let object = match (version, found) {
            (_, None) => return Ok(Some(missing())),
            (Version::Marker(_), Some(found)) => return Ok((!found.is_marker).then(|| another("an object"))),
            (Version::Object(_), Some(found)) if found.is_marker => return Ok(Some(another("a delete marker"))),
            (Version::Object(object), Some(_)) => object,
        };
        match self.differences(there, acting, key, (version, object), rule).await {
            Ok(Some(differences)) => Ok(differences),
            Ok(None) => Ok(Some(missing())),
            Err(Failure::Refused { reason }) => Ok(Some((FindingKind::Unreadable, reason, None))),
            Err(failure) => Err(of_target(failure)),
        }
    }

    /// What differs about an object that is on both sides. None: it is not at the target, after all.
    async fn differences(
        &self,
        there: &There<'_>,
        acting: AsRole<'_>,
        key: &ObjectKey,
        (version, object): (&Version, &ObjectVersion),
        rule: &Rule,
    ) -> Result<Option<Option<Fault>>, Failure> {
        let may_tags = self.may_read(acting, key, (version, object), rule).await?;
        let Some(found) = there.look(acting, key, object.version_id).await? else { return Ok(None) };
        let acls = match !rule.destination.owner_override && !found.without_acls {
            false => Acls::None,
            true if there.forgets_accounts() => Acls::OfKnownAccounts,
            true => Acls::All,
        };
        let brought = match found.settings == object.settings {
            true => found.settings.clone(),
            false => there.brought(acting, key, object, &found, may_tags).await?,
        };
        let differences = compare(object, &found, &brought, acls);
        Ok(Some(differences.map(|Differences { text, remedy }| match remedy {
            Remedy::None => (FindingKind::Differs, text, None),
            Remedy::Bring => (FindingKind::Differs, text, Some(Bring::Settings { there: found.changed })),
            Remedy::ByRight => (FindingKind::ByRight, text, None),
        })))
    }

    /// What is at the target, and was not listed at the source.
    async fn extra(
        &self,
        there: &There<'_>,
        id: Option<VersionId>,
        version: VersionThere,
    ) -> Result<Option<Wrong>, StepFailure> {
        let Some(key) = ObjectKey::new(&version.key).filter(|key| self.is_about(key.as_str())) else { return Ok(None) };
        // It came here after this side was listed, and went there.
        let is_here = match id {
            Some(id) => self.version(&key, id).await?.is_some(),
            None => false,
        };
        let (trail, began) = (Trail::default(), Instant::now());
        let may_know = !is_here && there.may_know(self.acting(&trail), &key).await.map_err(of_target)?;
        self.note(&trail, began, None);
        if !may_know {
            return Ok(None);
        }
        let detail = match (version.is_marker, version.is_latest) {
            (false, false) => "an object",
            (false, true) => "an object, the newest of its key there",
            (true, false) => "a delete marker",
            (true, true) => "a delete marker, the newest of its key there",
        };
        let (kind, detail) = (FindingKind::Extra, detail.to_owned());
        Ok(Some(Wrong { kind, key, version: version.id, detail, mend: None }))
    }
}

fn with_ids(versions: Vec<VersionThere>) -> Vec<Listed> {
    let mut listed: Vec<Listed> = Vec::with_capacity(versions.len());
    for version in versions {
        let own = version.id.parse().ok();
        let before = listed.last().filter(|last| last.version.key == version.key).map(|last| last.id);
        // Not before it is it listed: its own id is the neighbour's, or less.
        let id = own.or(before).unwrap_or(VersionId::from_bytes([0xFF; 16]));
        listed.push(Listed { id, is_null: own.is_none(), version });
    }
    listed
}

/// The end of a page behind which there are more: the last version whose place is known, or all of the key before.
fn end_of(listed: &[Listed]) -> Option<Place> {
    let last = listed.last()?;
    let (key, known) =
        (&last.version.key, listed.iter().rev().take_while(|listed| listed.version.key == last.version.key));
    if let Some(known) = known.into_iter().find(|listed| !listed.is_null) {
        return Some(Place { key: key.clone(), version: known.id });
    }
    let before = listed.iter().rev().find(|listed| listed.version.key != *key);
    Some(Place::end_of(before.map_or(key, |before| &before.version.key)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn listed(entries: &[(&str, &str)]) -> Vec<Listed> {
        let version = |(key, id): &(&str, &str)| VersionThere {
            key: (*key).to_owned(),
            id: (*id).to_owned(),
            is_latest: false,
            is_marker: false,
            size_bytes: 0,
            etag: String::new(),
        };
        with_ids(entries.iter().map(version).collect())
    }

    const TWO: &str = "02020202020202020202020202020202";
    const ONE: &str = "01010101010101010101010101010101";

    #[test]
    fn a_page_ends_at_the_last_version_whose_place_is_known() {
        let place = |key: &str, id: &str| Some(Place { key: key.to_owned(), version: id.parse().unwrap() });
        assert_eq!(end_of(&listed(&[("a", TWO), ("a", ONE)])), place("a", ONE));
        assert_eq!(end_of(&listed(&[("a", TWO), ("a", "null")])), place("a", TWO));
        assert_eq!(end_of(&listed(&[("a", TWO), ("b", "null")])), Some(Place::end_of("a")));
        assert_eq!(end_of(&listed(&[("a", "null")])), Some(Place::end_of("a")));
        assert_eq!(end_of(&[]), None);
    }
}
