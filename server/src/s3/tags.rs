//! Tags of objects and buckets: the header, the document, and what S3 lets be a tag (S3 user guide, "Categorizing your
//! objects using tags"; API reference, PutBucketTagging).

use std::collections::HashSet;

use cairn_storage::settings::Tag;
use http::{HeaderMap, StatusCode};
use s3s::S3ErrorCode;
use s3s::dto::Tagging;

use super::error::Failure;
use super::headers::{TAGGING, TAGGING_DIRECTIVE, text};
use super::request::Query;
use super::xml::{self, Document};

/// Tags of an object.
pub const OBJECT_TAGS_MAX: usize = 10;

/// Tags of a bucket.
pub const BUCKET_TAGS_MAX: usize = 50;

const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;

/// Keys that begin so are AWS's.
const RESERVED_PREFIX: &str = "aws:";

/// The tags of the `x-amz-tagging` header, which has the form of a query; none without it.
///
/// # Errors
/// `InvalidArgument` if it is no query, `InvalidTag` for what cannot be a tag.
pub fn from_headers(headers: &HeaderMap) -> Result<Vec<Tag>, Failure> {
    let Some(header) = text(headers, &TAGGING) else { return Ok(Vec::new()) };
    let malformed = |_| {
        Failure::invalid_argument(
            TAGGING.as_str(),
            &header,
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag \
             name duplicates.",
        )
    };
    let query = Query::parse(Some(&header)).map_err(malformed)?;
    let tags = query.iter().map(|(key, value)| Tag { key: key.to_owned(), value: value.to_owned() }).collect();
    checked(tags, OBJECT_TAGS_MAX)
}

/// The tags that a copy gets; None: those of its source.
///
/// # Errors
/// `InvalidArgument` for an unknown directive, and as [`from_headers`].
pub fn of_copy(headers: &HeaderMap) -> Result<Option<Vec<Tag>>, Failure> {
    match text(headers, &TAGGING_DIRECTIVE).as_deref() {
        None | Some("COPY") => Ok(None),
        Some("REPLACE") => from_headers(headers).map(Some),
        Some(other) => Err(Failure::invalid_argument(TAGGING_DIRECTIVE.as_str(), other, "Unknown tagging directive.")),
    }
}

/// The tags of a `Tagging` document, at most `count_max`.
///
/// # Errors
/// `MalformedXML`; `InvalidTag` for what cannot be a tag, for a key that is there twice, and for too many.
pub fn from_document(document: &[u8], count_max: usize) -> Result<Vec<Tag>, Failure> {
    let tagging: Tagging = xml::parse(document)?;
    let tag = |tag: s3s::dto::Tag| Some(Tag { key: tag.key?, value: tag.value? });
    let tags: Option<Vec<Tag>> = tagging.tag_set.into_iter().map(tag).collect();
    checked(tags.ok_or(S3ErrorCode::MalformedXML)?, count_max)
}

/// The answer's document.
pub fn into_document(tags: &[Tag]) -> Document {
    let mut document = Document::new("Tagging");
    document.element("TagSet", |set| {
        for tag in tags {
            set.element("Tag", |element| {
                element.text("Key", &tag.key);
                element.text("Value", &tag.value);
            });
        }
    });
    document
}

/// The tags in the order of their keys, as answers show them.
fn checked(mut tags: Vec<Tag>, count_max: usize) -> Result<Vec<Tag>, Failure> {
    if tags.len() > count_max {
        return Err(invalid(format!("There can be no more than {count_max} tags."), None));
    }
    let mut keys = HashSet::new();
    for tag in &tags {
        let key = tag.key.as_str();
        if key.is_empty() || key.chars().count() > KEY_CHARACTERS_MAX || !key.chars().all(is_allowed) {
            return Err(invalid("The TagKey you have provided is invalid".to_owned(), Some(key)));
        }
        if tag.value.chars().count() > VALUE_CHARACTERS_MAX || !tag.value.chars().all(is_allowed) {
            return Err(invalid("The TagValue you have provided is invalid".to_owned(), Some(key)));
        }
        if key.starts_with(RESERVED_PREFIX) {
            return Err(invalid("System tags cannot be added/updated by requester".to_owned(), Some(key)));
        }
        if !keys.insert(key) {
            return Err(invalid("Cannot provide multiple Tags with the same key".to_owned(), Some(key)));
        }
    }
    tags.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(tags)
}

/// Letters, digits and spaces of any script, and some punctuation.
fn is_allowed(character: char) -> bool {
    character.is_alphanumeric() || character == ' ' || "+-=._:/@".contains(character)
}

fn invalid(message: String, key: Option<&str>) -> Failure {
    let failure = Failure::with_message(S3ErrorCode::InvalidTag, message).status(StatusCode::BAD_REQUEST);
    match key {
        Some(key) => failure.field("TagKey", key.chars().take(KEY_CHARACTERS_MAX).collect::<String>()),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn header(text: &str) -> Result<Vec<(String, String)>, String> {
        let headers = [(TAGGING, HeaderValue::from_str(text).unwrap())].into_iter().collect();
        let tags = from_headers(&headers).map_err(|failure| failure.code().to_owned())?;
        Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    fn document(tags: &[(&str, &str)], count_max: usize) -> Result<usize, String> {
        let tags: Vec<Tag> =
            tags.iter().map(|(key, value)| Tag { key: (*key).to_owned(), value: (*value).to_owned() }).collect();
        let text = into_document(&tags).finish();
        from_document(text.as_bytes(), count_max)
            .map(|read| {
                assert_eq!(read, tags);
                read.len()
            })
            .map_err(|failure| failure.code().to_owned())
    }

    #[test]
    fn a_header_is_a_query() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(header("b=&a=1&c").unwrap(), [pair("a", "1"), pair("b", ""), pair("c", "")]);
        assert_eq!(header("k%C3%A4se=a%20b").unwrap(), [pair("käse", "a b")]);
        assert_eq!(header("a=1&a=2"), Err("InvalidTag".to_owned()));
        assert_eq!(header("a=%FF"), Err("InvalidArgument".to_owned()));
        assert_eq!(header("aws:x=1"), Err("InvalidTag".to_owned()));
    }

    #[test]
    fn tags_have_bounds() {
        let long = "x".repeat(129);
        let value = "y".repeat(257);
        assert_eq!(document(&[(&long[..128], &value[..256])], 10), Ok(1));
        let eleven: Vec<String> = (0..11).map(|n| format!("{n:02}")).collect();
        let eleven: Vec<(&str, &str)> = eleven.iter().map(|key| (key.as_str(), "")).collect();
        for tags in [&[(long.as_str(), "")][..], &[("k", value.as_str())], &[("", "v")], &[("a!", "v")], &eleven] {
            assert_eq!(document(tags, 10), Err("InvalidTag".to_owned()), "{tags:?}");
        }
        assert_eq!(document(&eleven, 50), Ok(11));
    }

    #[test]
    fn a_document_without_keys_and_values_is_malformed() {
        for text in ["", "<Tagging/>", "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"] {
            assert_eq!(from_document(text.as_bytes(), 10).unwrap_err().code(), "MalformedXML", "{text}");
        }
    }
}
