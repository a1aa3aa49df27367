//! Tags of keys.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::kms::permission::Deed;
use crate::kms::record::{KeyRecord, Pair, TAGS_MAX};
use crate::kms::{KmsError, KmsFault};

use super::ask::{Ask, Tag, bounded_length};
use super::page::{Lengths, Paging};

pub(super) const ACTIONS: &[&str] = &["ListResourceTags", "TagResource", "UntagResource"];

const LENGTHS: Lengths = Lengths { default: 50, max: 50 };

const KEY_CHARS: (usize, usize) = (1, 128);
const VALUE_CHARS: (usize, usize) = (0, 256);

pub(super) async fn call(ask: &Ask) -> Result<Value, KmsError> {
    match ask.action() {
        "ListResourceTags" => list(ask),
        "TagResource" => tag(ask).await,
        "UntagResource" => untag(ask).await,
        _ => Err(ask.misrouted()),
    }
}

fn fault(message: impl Into<std::borrow::Cow<'static, str>>) -> KmsError {
    KmsError::fault(KmsFault::Tag, message)
}

/// Tags as they are kept.
///
/// # Errors
/// `ValidationException` and `TagException`, for what AWS does not take.
pub(super) fn checked(tags: &[Tag]) -> Result<Vec<Pair>, KmsError> {
    if tags.len() > TAGS_MAX {
        return Err(too_many());
    }
    let mut kept: Vec<Pair> = Vec::new();
    for Tag { tag_key, tag_value } in tags {
        bounded_length("tagKey", tag_key.chars().count(), KEY_CHARS)?;
        bounded_length("tagValue", tag_value.chars().count(), VALUE_CHARS)?;
        if tag_key.to_lowercase().starts_with("aws:") {
            return Err(fault("Tags beginning with aws: are reserved"));
        }
        if kept.iter().any(|pair| pair.name == *tag_key) {
            return Err(fault(format!("Duplicate tag keys: {tag_key}")));
        }
        kept.push(Pair { name: tag_key.clone(), value: tag_value.clone() });
    }
    Ok(kept)
}

fn too_many() -> KmsError {
    KmsError::fault(KmsFault::LimitExceeded, format!("A key has at most {TAGS_MAX} tags"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagResource {
    key_id: String,
    tags: Vec<Tag>,
}

async fn tag(ask: &Ask) -> Result<Value, KmsError> {
    let TagResource { key_id, tags } = ask.input()?;
    let new = checked(&tags)?;
    let mut deed = Deed::of("TagResource");
    deed.keys.request_tags(new.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())));
    ask.change_key(&key_id, deed, move |_, draft, key| {
        key.not_pending()?;
        let mut tags = key.record.tags.clone();
        tags.retain(|old| !new.iter().any(|pair| pair.name == old.name));
        tags.extend(new.iter().cloned());
        if tags.len() > TAGS_MAX {
            return Err(too_many());
        }
        draft.put_key(KeyRecord { tags, ..key.record.clone() })?;
        Ok(Value::Null)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UntagResource {
    key_id: String,
    tag_keys: Vec<String>,
}

async fn untag(ask: &Ask) -> Result<Value, KmsError> {
    let UntagResource { key_id, tag_keys } = ask.input()?;
    let mut deed = Deed::of("UntagResource");
    deed.keys.many("aws:tagkeys", tag_keys.clone());
    ask.change_key(&key_id, deed, move |_, draft, key| {
        key.not_pending()?;
        let mut tags = key.record.tags.clone();
        tags.retain(|pair| !tag_keys.contains(&pair.name));
        draft.put_key(KeyRecord { tags, ..key.record.clone() })?;
        Ok(Value::Null)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListResourceTags {
    key_id: String,
    #[serde(flatten)]
    paging: Paging,
}

fn list(ask: &Ask) -> Result<Value, KmsError> {
    let ListResourceTags { key_id, paging } = ask.input()?;
    let key = ask.allowed(&ask.key_ref(&key_id)?, &Deed::of("ListResourceTags"))?.key;
    let mut tags = key.record.tags.clone();
    tags.sort_by(|one, other| one.name.cmp(&other.name));
    let item = |pair: Pair| (pair.name.clone(), json!({ "TagKey": pair.name, "TagValue": pair.value }));
    paging.page("Tags", LENGTHS, tags.into_iter().map(item))
}
