//! Put-, Get-, Delete- and ListBucketIntelligentTieringConfiguration(s): the archive tiers of INTELLIGENT_TIERING.

use cairn_lifecycle::configuration::{Filter, FilterForm};
use cairn_lifecycle::tiering::{self, CONFIGURATIONS_MAX, Configuration, Configurations, Tiering};
use cairn_lifecycle::validate::Invalid;
use cairn_storage::StorageError;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::object::AccessTier;
use cairn_storage::record::Record;
use cairn_storage::settings::Tag;
use http::StatusCode;
use s3s::{S3ErrorCode, dto};

use crate::authorize::{Authorized, OnBucket};

use super::error::Failure;
use super::request::{Answer, Query, Request};
use super::xml::Document;
use super::{Edge, checksum, token, xml};

/// Configurations in one page (S3 API reference, ListBucketIntelligentTieringConfigurations).
const PAGE_CONFIGURATIONS_MAX: usize = 100;

pub(super) async fn put_configuration(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    mut request: Request,
) -> Result<Answer, Failure> {
    let document = request.document().await?;
    checksum::verify(&request.headers, &document)?;
    let id = id(&request.query)?.to_owned();
    let (written, configuration) = read(&document)?;
    if written != id {
        return Err(Failure::invalid_argument(
            "id",
            &id,
            "The id of the request and that of the configuration differ.",
        ));
    }
    tiering::check(&id, &configuration, edge.lifecycle.calendar)?;
    let change = |kept: Option<&[u8]>| {
        let mut all = configurations(kept)?;
        all.by_id.insert(id.clone(), configuration.clone());
        if all.by_id.len() > CONFIGURATIONS_MAX {
            return Err(Failure::custom(
                "TooManyConfigurations",
                StatusCode::BAD_REQUEST,
                "You are attempting to create a new configuration but have already reached the 1,000-configuration limit.",
            ));
        }
        Ok(Some(all.to_value()?))
    };
    edge.store.change_document(authorized.bucket(), DocumentKind::IntelligentTiering, change).await?;
    Ok(Answer::empty(StatusCode::OK))
}

pub(super) async fn get_configuration(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    request: Request,
) -> Result<Answer, Failure> {
    let id = id(&request.query)?;
    let all = kept(edge, &authorized).await?;
    let configuration = all.by_id.get(id).ok_or_else(no_such_configuration)?;
    let mut document = Document::new("IntelligentTieringConfiguration");
    write(id, configuration, &mut document);
    Ok(Answer::document(document))
}

pub(super) async fn list_configurations(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    request: Request,
) -> Result<Answer, Failure> {
    let given = request.query.non_empty("continuation-token");
    let after = given.map(token::decode).transpose()?;
    let all = kept(edge, &authorized).await?;
    let mut rest = all.by_id.iter().filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after)).peekable();
    let mut document = Document::new("ListBucketIntelligentTieringConfigurationsOutput");
    document.optional("ContinuationToken", given);
    let mut last = None;
    for (id, configuration) in rest.by_ref().take(PAGE_CONFIGURATIONS_MAX) {
        document.element("IntelligentTieringConfiguration", |element| write(id, configuration, element));
        last = Some(id);
    }
    let truncated = rest.peek().is_some();
    document.value("IsTruncated", truncated);
    if let Some(last) = last.filter(|_| truncated) {
        document.text("NextContinuationToken", &token::encode(last));
    }
    Ok(Answer::document(document))
}

pub(super) async fn delete_configuration(
    edge: &Edge,
    authorized: Authorized<OnBucket>,
    request: Request,
) -> Result<Answer, Failure> {
    let id = id(&request.query)?;
    let change = |kept: Option<&[u8]>| {
        let mut all = configurations(kept)?;
        all.by_id.remove(id).ok_or_else(no_such_configuration)?;
        Ok::<_, Failure>(Some(all.to_value()?))
    };
    edge.store.change_document(authorized.bucket(), DocumentKind::IntelligentTiering, change).await?;
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

fn id(query: &Query) -> Result<&str, Failure> {
    query.non_empty("id").ok_or_else(|| Failure::invalid_argument("id", "", "The configuration's id is missing."))
}

fn configurations(document: Option<&[u8]>) -> Result<Configurations, StorageError> {
    Ok(document.map(Configurations::from_value).transpose()?.unwrap_or_default())
}

async fn kept(edge: &Edge, authorized: &Authorized<OnBucket>) -> Result<Configurations, Failure> {
    let document = edge.store.document(authorized.bucket(), DocumentKind::IntelligentTiering).await?;
    Ok(configurations(document.as_deref())?)
}

fn no_such_configuration() -> Failure {
    Failure::custom("NoSuchConfiguration", StatusCode::NOT_FOUND, "The specified configuration does not exist.")
}

fn malformed() -> Failure {
    S3ErrorCode::MalformedXML.into()
}

fn read(document: &[u8]) -> Result<(String, Configuration), Failure> {
    let written: dto::IntelligentTieringConfiguration = xml::parse(document)?;
    let enabled = match written.status.as_str() {
        "Enabled" => true,
        "Disabled" => false,
        _ => return Err(malformed()),
    };
    let tierings = written.tierings.iter().map(|tiering| {
        let tier = AccessTier::parse(tiering.access_tier.as_str()).ok_or_else(malformed)?;
        let days = u32::try_from(tiering.days);
        let days = days.map_err(|_| Invalid::Argument("'Days' must be a positive integer.".to_owned()))?;
        Ok::<_, Failure>(Tiering { tier, days })
    });
    let tierings = tierings.collect::<Result<_, _>>()?;
    let filter = written.filter.as_ref().map(read_filter).transpose()?;
    Ok((written.id, Configuration { enabled, filter, tierings }))
}

fn read_filter(filter: &dto::IntelligentTieringFilter) -> Result<Filter, Failure> {
    match &filter.and {
        None => Ok(Filter {
            form: FilterForm::Filter,
            prefix: filter.prefix.clone(),
            tags: filter.tag.iter().map(read_tag).collect::<Result<_, _>>()?,
            ..Filter::default()
        }),
        Some(and) if filter.prefix.is_none() && filter.tag.is_none() => Ok(Filter {
            form: FilterForm::And,
            prefix: and.prefix.clone(),
            tags: and.tags.iter().flatten().map(read_tag).collect::<Result<_, _>>()?,
            ..Filter::default()
        }),
        Some(_) => Err(malformed()),
    }
}

fn read_tag(tag: &dto::Tag) -> Result<Tag, Failure> {
    let (Some(key), Some(value)) = (tag.key.clone(), tag.value.clone()) else { return Err(malformed()) };
    Ok(Tag { key, value })
}

fn write(id: &str, configuration: &Configuration, element: &mut Document) {
    element.text("Id", id);
    if let Some(filter) = &configuration.filter {
        element.element("Filter", |element| match filter.form {
            FilterForm::And => element.element("And", |and| write_conditions(filter, and)),
            FilterForm::Filter | FilterForm::RulePrefix => write_conditions(filter, element),
        });
    }
    element.text("Status", if configuration.enabled { "Enabled" } else { "Disabled" });
    for Tiering { tier, days } in &configuration.tierings {
        element.element("Tiering", |element| {
            element.text("AccessTier", tier.name());
            element.value("Days", *days);
        });
    }
}

fn write_conditions(filter: &Filter, element: &mut Document) {
    element.optional("Prefix", filter.prefix.as_deref());
    for Tag { key, value } in &filter.tags {
        element.element("Tag", |tag| {
            tag.text("Key", key);
            tag.text("Value", value);
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn document(content: &str) -> String {
        format!("<IntelligentTieringConfiguration>{content}</IntelligentTieringConfiguration>")
    }

    const TIERING: &str = "<Tiering><AccessTier>ARCHIVE_ACCESS</AccessTier><Days>90</Days></Tiering>";

    #[test]
    fn what_was_put_is_shown() {
        for content in [
            format!("<Id>a</Id><Status>Disabled</Status>{TIERING}"),
            format!("<Id>a</Id><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>{TIERING}"),
            format!(
                "<Id>a</Id><Filter><And><Prefix>p</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>\
                 <Status>Enabled</Status>{TIERING}\
                 <Tiering><AccessTier>DEEP_ARCHIVE_ACCESS</AccessTier><Days>200</Days></Tiering>"
            ),
        ] {
            let (id, configuration) = read(document(&content).as_bytes()).unwrap();
            let mut shown = Document::new("IntelligentTieringConfiguration");
            write(&id, &configuration, &mut shown);
            let shown = shown.finish();
            assert!(shown.contains(&content), "{shown}");
            assert_eq!(read(shown.as_bytes()).unwrap(), (id, configuration));
        }
    }

    #[test]
    fn what_is_no_configuration_is_malformed() {
        for content in [
            format!("<Status>Enabled</Status>{TIERING}"),
            format!("<Id>a</Id>{TIERING}"),
            format!("<Id>a</Id><Status>enabled</Status>{TIERING}"),
            "<Id>a</Id><Status>Enabled</Status><Tiering><AccessTier>COLD</AccessTier><Days>90</Days></Tiering>"
                .to_owned(),
            format!(
                "<Id>a</Id><Filter><Prefix>p</Prefix><And><Prefix>p</Prefix></And></Filter><Status>Enabled</Status>{TIERING}"
            ),
        ] {
            assert_eq!(read(document(&content).as_bytes()).unwrap_err().code(), "MalformedXML", "{content}");
        }
    }
}
