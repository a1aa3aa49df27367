//! GetObjectAttributes: what HeadObject and ListParts tell, of a finished object and as far as asked for.

use cairn_storage::ops::{GetObjectParts, ObjectPartsPage};
use http::header::LAST_MODIFIED;
use http::{HeaderMap, HeaderName};

use crate::authorize::{Authorized, OnObject};

use super::error::Failure;
use super::headers::{self, MAX_PARTS, OBJECT_ATTRIBUTES, PART_NUMBER_MARKER, http_date};
use super::request::{Answer, Request, count};
use super::request_keys::RequestKeys;
use super::xml::Document;
use super::{Edge, checksum, conditions, encryption, version_into_headers};

/// Parts in one page.
const PAGE_PARTS_MAX: usize = 1_000;

/// Which attributes an answer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wanted {
    etag: bool,
    checksum: bool,
    parts: bool,
    storage_class: bool,
    size: bool,
}

pub(super) async fn get_object_attributes(
    edge: &Edge,
    authorized: Authorized<OnObject>,
    request: Request,
) -> Result<Answer, Failure> {
    let headers = &request.headers;
    let wanted = wanted(headers)?;
    encryption::refuse_method(headers)?;
    let keys = RequestKeys::of_request(edge, &authorized, &request)?;
    let max_parts = header_count(headers, &MAX_PARTS, PAGE_PARTS_MAX)?.unwrap_or(PAGE_PARTS_MAX);
    let marker = header_count(headers, &PART_NUMBER_MARKER, usize::from(u16::MAX))?.unwrap_or(0);
    let get = GetObjectParts {
        version: request.version()?,
        permit: authorized.permit(),
        conditions: conditions::of_read(headers),
        after: u16::try_from(marker).unwrap_or(u16::MAX),
        max_parts: if wanted.parts { max_parts } else { 0 },
    };
    let after = get.after;
    let page = edge.store.object_parts(authorized.bucket(), authorized.key(), get).await;
    let mut page = page.map_err(|error| authorized.failure(error))?;
    let secrets = wanted.checksum || wanted.parts;
    let data_key = keys.check(authorized.bucket(), authorized.key(), &page.object, secrets).await?;
    page.reveal_checksums(data_key.as_ref().filter(|_| secrets))?;
    let object = &page.object;
    let mut document = Document::new("GetObjectAttributesResponse");
    if wanted.etag {
        document.value("ETag", object.etag);
    }
    if let Some(checksum) = object.checksum.as_ref().filter(|_| wanted.checksum) {
        document.element("Checksum", |element| {
            checksum::into_document(checksum, object.etag.parts_count, element);
        });
    }
    if let Some(parts_count) = page.parts_count.filter(|_| wanted.parts) {
        document.element("ObjectParts", |element| {
            element.value("PartsCount", parts_count);
            element.value("PartNumberMarker", after);
            write_parts(&page, after, element);
            element.value("MaxParts", max_parts);
        });
    }
    if wanted.storage_class {
        document.text("StorageClass", object.storage_class.name());
    }
    if wanted.size {
        document.value("ObjectSize", object.size_bytes);
    }
    let mut answer = Answer::document(document).header(LAST_MODIFIED, http_date(object.created));
    version_into_headers(authorized.bucket(), object, &mut answer.headers);
    Ok(answer)
}

/// What `x-amz-object-attributes` lists.
fn wanted(headers: &HeaderMap) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    for value in headers.get_all(&OBJECT_ATTRIBUTES) {
        for name in headers::text_of(value).split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "ETag" => wanted.etag = true,
                "Checksum" => wanted.checksum = true,
                "ObjectParts" => wanted.parts = true,
                "StorageClass" => wanted.storage_class = true,
                "ObjectSize" => wanted.size = true,
                _ => {
                    let message = "Invalid attribute name specified.";
                    return Err(Failure::invalid_argument(OBJECT_ATTRIBUTES.as_str(), name, message));
                }
            }
        }
    }
    if wanted == Wanted::default() {
        return Err(Failure::invalid_request(
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        ));
    }
    Ok(wanted)
}

/// The count in a header. None if it is absent or empty.
fn header_count(headers: &HeaderMap, name: &HeaderName, max: usize) -> Result<Option<usize>, Failure> {
    headers::text(headers, name).map(|text| count(name.as_str(), &text, max)).transpose()
}

fn write_parts(page: &ObjectPartsPage, after: u16, element: &mut Document) {
    element.value("NextPartNumberMarker", page.parts.last().map_or(after, |part| part.number));
    element.value("IsTruncated", page.next.is_some());
    for part in &page.parts {
        element.element("Part", |element| {
            element.value("PartNumber", part.number);
            element.value("Size", part.size_bytes);
            if let Some(checksum) = &part.checksum {
                element.text(checksum::element(checksum.algorithm()), &checksum.to_base64());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    fn listed(values: &[&'static str]) -> Result<Wanted, Failure> {
        wanted(&values.iter().map(|value| (OBJECT_ATTRIBUTES, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn attributes_are_listed_in_one_header_or_several() {
        let expected = Wanted { etag: true, size: true, ..Wanted::default() };
        assert_eq!(listed(&["ETag,ObjectSize"]).unwrap(), expected);
        assert_eq!(listed(&["ETag", " ObjectSize ,ETag"]).unwrap(), expected);
        let all = Wanted { etag: true, checksum: true, parts: true, storage_class: true, size: true };
        assert_eq!(listed(&["ETag,Checksum,ObjectParts,StorageClass,ObjectSize"]).unwrap(), all);
    }

    #[test]
    fn a_request_for_nothing_and_for_what_there_is_not_are_told_apart() {
        for values in [&[][..], &[""], &[" , "]] {
            assert_eq!(listed(values).unwrap_err().code(), "InvalidRequest", "{values:?}");
        }
        for values in [&["etag"][..], &["ETag,Owner"], &["ETag", "Parts"]] {
            assert_eq!(listed(values).unwrap_err().code(), "InvalidArgument", "{values:?}");
        }
    }

    #[test]
    fn counts_in_headers_are_cut_and_nonsense_is_refused() {
        let read = |text: &'static str| {
            let headers = [(MAX_PARTS, HeaderValue::from_static(text))].into_iter().collect();
            header_count(&headers, &MAX_PARTS, 1_000)
        };
        assert_eq!(header_count(&HeaderMap::new(), &MAX_PARTS, 1_000).unwrap(), None);
        assert_eq!(read("7").unwrap(), Some(7));
        assert_eq!(read("1001").unwrap(), Some(1_000));
        for text in ["-1", "x", "1.5"] {
            assert_eq!(read(text).unwrap_err().code(), "InvalidArgument", "{text}");
        }
    }
}
