//! Preconditions: `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`, as S3 evaluates them
//! (S3 API reference, GetObject; RFC 9110 section 13.2.2).

use crate::StorageError;
use crate::clock::Timestamp;
use crate::object::{Etag, ObjectVersion};

use super::seen::SeenKey;

/// What an ETag must be, or must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EtagCondition {
    /// `*`: any object at all.
    Any,
    /// One of these, without quotes and weakness marks.
    OneOf(Vec<String>),
}

impl EtagCondition {
    fn holds_for(&self, etag: Etag) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(etags) => {
                let etag = etag.to_string();
                etags.contains(&etag)
            }
        }
    }
}

/// Conditions on what a write replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// The newest version must be an object with such an ETag.
    pub if_match: Option<EtagCondition>,
    /// The newest version must not be an object with such an ETag.
    pub if_none_match: Option<EtagCondition>,
    /// The newest version must be an object of so many bytes.
    pub if_size_bytes: Option<u64>,
    /// The newest version must be an object created then, to the second.
    pub if_modified_at: Option<Timestamp>,
    /// The bucket must not refuse public ACLs: what is written has one.
    pub if_public_acls: bool,
}

impl WriteConditions {
    /// Ok if they hold for the object that is the key's newest version (None: there is none).
    ///
    /// # Errors
    /// `NoSuchKey` for a condition on something that is not there, otherwise `PreconditionFailed`.
    pub fn check(&self, newest: Option<&ObjectVersion>) -> Result<(), StorageError> {
        match newest {
            None if self.need_an_object() => Err(StorageError::NoSuchKey { delete_marker: None }),
            None => Ok(()),
            Some(object) => match self.broken_by(object) {
                Some(header) => Err(StorageError::PreconditionFailed { header }),
                None => Ok(()),
            },
        }
    }

    /// [`Self::check`] of what a mutation has seen, the bucket included.
    pub(super) fn check_seen(&self, seen: &SeenKey) -> Result<(), StorageError> {
        if self.if_public_acls {
            seen.bucket.record.check_public(|block| block.refuse_acls)?;
        }
        self.check(seen.newest_object())
    }

    fn need_an_object(&self) -> bool {
        self.if_match.is_some() || self.if_size_bytes.is_some() || self.if_modified_at.is_some()
    }

    /// The header of the first condition that does not hold for `object`.
    fn broken_by(&self, object: &ObjectVersion) -> Option<&'static str> {
        let created_s = object.created.0.div_euclid(1_000);
        let broken = [
            ("If-Match", self.if_match.as_ref().is_some_and(|condition| !condition.holds_for(object.etag))),
            ("x-amz-if-match-size", self.if_size_bytes.is_some_and(|size| size != object.size_bytes)),
            (
                "x-amz-if-match-last-modified-time",
                self.if_modified_at.is_some_and(|time| time.0.div_euclid(1_000) != created_s),
            ),
            ("If-None-Match", self.if_none_match.as_ref().is_some_and(|condition| condition.holds_for(object.etag))),
        ];
        broken.into_iter().find_map(|(header, is_broken)| is_broken.then_some(header))
    }
}

/// Conditions on what a read returns, or on what a copy reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// Its ETag must be such.
    pub if_match: Option<EtagCondition>,
    /// Its ETag must not be such.
    pub if_none_match: Option<EtagCondition>,
    /// It must be newer than this, to the second.
    pub if_modified_since: Option<Timestamp>,
    /// It must not be newer than this, to the second.
    pub if_unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Ok if they hold. An ETag condition outweighs its date: If-Match true makes If-Unmodified-Since void, and
    /// If-None-Match makes If-Modified-Since void.
    ///
    /// # Errors
    /// `PreconditionFailed`, or `NotModified` (which a copy answers as a failed precondition).
    pub fn check(&self, object: &ObjectVersion) -> Result<(), StorageError> {
        let modified_s = object.created.0.div_euclid(1_000);
        let newer_than = |limit: Timestamp| modified_s > limit.0.div_euclid(1_000);
        match &self.if_match {
            Some(condition) if !condition.holds_for(object.etag) => {
                return Err(StorageError::PreconditionFailed { header: "If-Match" });
            }
            None if self.if_unmodified_since.is_some_and(newer_than) => {
                return Err(StorageError::PreconditionFailed { header: "If-Unmodified-Since" });
            }
            _ => {}
        }
        let unmodified = match &self.if_none_match {
            Some(condition) => condition.holds_for(object.etag),
            None => self.if_modified_since.is_some_and(|limit| !newer_than(limit)),
        };
        if unmodified { Err(StorageError::NotModified { object: Box::new(object.clone()) }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::family::version::tests::sample_object;

    fn one_of(etag: &str) -> Option<EtagCondition> {
        Some(EtagCondition::OneOf(vec!["other".to_owned(), etag.to_owned()]))
    }

    fn outcome(result: &Result<(), StorageError>) -> &'static str {
        match result {
            Ok(()) => "ok",
            Err(StorageError::PreconditionFailed { header }) => header,
            Err(StorageError::NotModified { .. }) => "not modified",
            Err(StorageError::NoSuchKey { .. }) => "no such key",
            Err(_) => "another error",
        }
    }

    #[test]
    fn writes_check_what_they_replace() {
        let object = sample_object();
        let etag = object.etag.to_string();
        let check = |if_match, if_none_match, newest, expected| {
            let conditions = WriteConditions { if_match, if_none_match, ..WriteConditions::default() };
            assert_eq!(outcome(&conditions.check(newest)), expected, "{conditions:?}");
        };
        check(None, None, None, "ok");
        check(one_of(&etag), None, Some(&object), "ok");
        check(one_of("x"), None, Some(&object), "If-Match");
        check(one_of(&etag), None, None, "no such key");
        check(Some(EtagCondition::Any), None, Some(&object), "ok");
        check(None, Some(EtagCondition::Any), Some(&object), "If-None-Match");
        check(None, Some(EtagCondition::Any), None, "ok");
        check(None, one_of("x"), Some(&object), "ok");
    }

    #[test]
    fn writes_check_size_and_time_of_what_they_replace() {
        let object = sample_object();
        let (size, time) = (Some(object.size_bytes), Some(object.created));
        let check = |if_size_bytes, if_modified_at, newest, expected| {
            let conditions = WriteConditions { if_size_bytes, if_modified_at, ..WriteConditions::default() };
            assert_eq!(outcome(&conditions.check(newest)), expected, "{conditions:?}");
        };
        check(size, time, Some(&object), "ok");
        check(Some(0), time, Some(&object), "x-amz-if-match-size");
        check(size, Some(object.created.plus_ms(2_000)), Some(&object), "x-amz-if-match-last-modified-time");
        let whole_second = object.created.plus_ms(-object.created.0.rem_euclid(1_000));
        check(None, Some(whole_second), Some(&object), "ok");
        check(size, None, None, "no such key");
        check(None, time, None, "no such key");
    }

    #[test]
    fn reads_follow_the_order_of_the_standard() {
        let object = sample_object();
        let etag = object.etag.to_string();
        let (earlier, later) = (Some(object.created.plus_ms(-5_000)), Some(object.created.plus_ms(5_000)));
        let check = |if_match, if_none_match, if_modified_since, if_unmodified_since, expected| {
            let conditions = ReadConditions { if_match, if_none_match, if_modified_since, if_unmodified_since };
            assert_eq!(outcome(&conditions.check(&object)), expected, "{conditions:?}");
        };
        check(None, None, None, None, "ok");
        check(one_of(&etag), None, None, earlier, "ok");
        check(one_of("x"), None, None, later, "If-Match");
        check(None, None, None, earlier, "If-Unmodified-Since");
        check(None, one_of(&etag), earlier, None, "not modified");
        check(None, one_of("x"), later, None, "ok");
        check(None, None, later, None, "not modified");
        check(None, None, earlier, None, "ok");
        check(None, None, Some(object.created), None, "not modified");
    }
}
