//! The little XML that S3 says about objects: flat documents, read whole.

use cairn_crypto::checksum::Checksum;
use quick_xml::Reader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::Event;

/// The most elements that are read of a document.
const ELEMENTS_MAX: usize = 1_000;

/// A document's root element, and the texts of the elements directly below it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flat {
    pub(super) root: String,
    children: Vec<(String, String)>,
}

impl Flat {
    /// Reads a document; None if it is not XML, or not a small document.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(text).ok()?);
        let mut flat = Self::default();
        let mut open: Vec<String> = Vec::new();
        for _ in 0..ELEMENTS_MAX * 4 {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    open.push(start.local_name().as_ref().to_owned());
                    match &open[..] {
                        [root] => flat.root.clone_from(root),
                        [_, child] => flat.children.push((child.clone(), String::new())),
                        _ => {}
                    }
                }
                Event::Empty(empty) => {
                    let name = empty.local_name().as_ref().to_owned();
                    match open.len() {
                        0 => flat.root = name,
                        1 => flat.children.push((name, String::new())),
                        _ => {}
                    }
                }
                Event::End(_) => {
                    open.pop()?;
                }
                Event::Text(text) if open.len() == 2 => {
                    let (_, value) = flat.children.last_mut()?;
                    value.push_str(&text);
                }
                Event::GeneralRef(reference) if open.len() == 2 => {
                    let (_, value) = flat.children.last_mut()?;
                    value.push_str(&unescape(&format!("&{};", &*reference)).ok()?);
                }
                Event::DocType(_) => return None,
                Event::Eof => return (open.is_empty() && !flat.root.is_empty()).then_some(flat),
                _ => {}
            }
        }
        None
    }

    /// The text of a child.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|(child, _)| child == name).map(|(_, text)| text.as_str())
    }
}

/// The keys and values of a set of tags. None if it is none.
pub(super) fn tags(text: &[u8]) -> Option<Vec<[String; 2]>> {
    let mut reader = Reader::from_str(std::str::from_utf8(text).ok()?);
    let mut tags: Vec<[String; 2]> = Vec::new();
    let mut open: Vec<String> = Vec::new();
    let mut is_tags = false;
    let names = |open: &[String]| open.iter().map(String::as_str).collect::<Vec<_>>().join("/");
    loop {
        let piece = match reader.read_event().ok()? {
            Event::Start(start) => {
                open.push(start.local_name().as_ref().to_owned());
                match names(&open).as_str() {
                    "Tagging" => is_tags = true,
                    "Tagging/TagSet/Tag" => tags.push(Default::default()),
                    _ => {}
                }
                continue;
            }
            Event::End(_) => {
                open.pop()?;
                continue;
            }
            Event::Text(text) => text.to_string(),
            Event::GeneralRef(reference) => unescape(&format!("&{};", &*reference)).ok()?.into_owned(),
            Event::DocType(_) => return None,
            Event::Eof => return (is_tags && open.is_empty()).then_some(tags),
            _ => continue,
        };
        match names(&open).as_str() {
            "Tagging/TagSet/Tag/Key" => tags.last_mut()?[0].push_str(&piece),
            "Tagging/TagSet/Tag/Value" => tags.last_mut()?[1].push_str(&piece),
            _ => {}
        }
    }
}

/// The texts of `fields` in each element `item` directly below the root element `root`; an absent one is empty, and one of an element in
/// an element is named by both, with a slash. None if it is no such document.
pub(super) fn items<const N: usize>(
    text: &[u8],
    root: &str,
    item: &str,
    fields: [&str; N],
) -> Option<Vec<[String; N]>> {
    let listing = Listing::parse(text, root, [item], fields)?;
    Some(listing.items.into_iter().map(|(_, texts)| texts).collect())
}

/// What a listing has directly below its root element.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing<const N: usize> {
    /// The elements of the names that were asked for, each with its place among the names and the texts of its fields.
    pub(super) items: Vec<(usize, [String; N])>,
    /// The other elements' texts.
    others: Vec<(String, String)>,
}

impl<const N: usize> Listing<N> {
    /// Reads a listing of elements of several names. None if it is no such document.
    pub(super) fn parse<const M: usize>(text: &[u8], root: &str, names: [&str; M], fields: [&str; N]) -> Option<Self> {
        let mut reader = Reader::from_str(std::str::from_utf8(text).ok()?);
        let mut listing = Self { items: Vec::new(), others: Vec::new() };
        let mut open: Vec<String> = Vec::new();
        let mut is_root = false;
        let place = |found: &String| names.iter().position(|name| name == found);
        loop {
            let piece = match reader.read_event().ok()? {
                Event::Start(start) => {
                    open.push(start.local_name().as_ref().to_owned());
                    match &open[..] {
                        [found] => is_root = found == root,
                        [_, found] => match place(found) {
                            Some(name) => listing.items.push((name, std::array::from_fn(|_| String::new()))),
                            None => listing.others.push((found.clone(), String::new())),
                        },
                        _ => {}
                    }
                    continue;
                }
                Event::End(_) => {
                    open.pop()?;
                    continue;
                }
                Event::Text(text) => text.to_string(),
                Event::GeneralRef(reference) => unescape(&format!("&{};", &*reference)).ok()?.into_owned(),
                Event::DocType(_) => return None,
                Event::Eof => return (is_root && open.is_empty()).then_some(listing),
                _ => continue,
            };
            match &open[..] {
                [_, parent, path @ ..] if place(parent).is_some() && !path.is_empty() => {
                    if let Some(field) = fields.iter().position(|name| name.split('/').eq(path)) {
                        listing.items.last_mut()?.1[field].push_str(&piece);
                    }
                }
                [_, other] if place(other).is_none() => listing.others.last_mut()?.1.push_str(&piece),
                _ => {}
            }
        }
    }

    /// The text of an element directly below the root.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.others.iter().find(|(other, _)| other == name).map(|(_, text)| text.as_str())
    }
}

/// A part as the server has it.
#[derive(Debug)]
pub(super) struct UploadedPart {
    pub(super) number: usize,
    pub(super) etag: String,
    /// What it was declared to be.
    pub(super) checksum: Option<Checksum>,
}

/// The document that completes an upload of these parts.
pub(super) fn complete_upload(parts: &[UploadedPart]) -> String {
    let mut document = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for part in parts {
        let etag = escape(part.etag.as_str());
        document.push_str(&format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag>", part.number));
        if let Some(checksum) = &part.checksum {
            let (name, value) = (checksum.algorithm().as_str(), checksum.to_base64());
            document.push_str(&format!("<Checksum{name}>{value}</Checksum{name}>"));
        }
        document.push_str("</Part>");
    }
    document.push_str("</CompleteMultipartUpload>");
    document
}

/// The document that sets an object's tags to these.
#[must_use]
pub fn tagging_document<'t>(tags: impl Iterator<Item = (&'t str, &'t str)>) -> String {
    let tag = |(key, value): (&'t str, &'t str)| {
        format!("<Tag><Key>{}</Key><Value>{}</Value></Tag>", escape(key), escape(value))
    };
    format!("<Tagging><TagSet>{}</TagSet></Tagging>", tags.map(tag).collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_crypto::checksum::ChecksumAlgorithm;

    use super::*;

    #[test]
    fn texts_are_read_and_references_resolved() {
        let document = "<?xml version=\"1.0\"?>\n<Error xmlns=\"x\"><Code>NoSuchKey</Code><Message>a &amp; &#98;</Message>\
                        <Nested><Code>other</Code></Nested></Error>";
        let flat = Flat::parse(document.as_bytes()).unwrap();
        assert_eq!((flat.root.as_str(), flat.text("Code")), ("Error", Some("NoSuchKey")));
        assert_eq!((flat.text("Message"), flat.text("Absent")), (Some("a & b"), None));
    }

    #[test]
    fn elements_may_be_empty() {
        let flat = Flat::parse(b"<VersioningConfiguration xmlns=\"x\"/>").unwrap();
        assert_eq!((flat.root.as_str(), flat.text("Status")), ("VersioningConfiguration", None));
        assert_eq!(Flat::parse(b"<a><b/><c><d/></c></a>").unwrap().text("b"), Some(""));
    }

    #[test]
    fn what_is_no_document_is_none() {
        for text in ["", "no", "<Error><Code>", "<!DOCTYPE a><a></a>", "{\"code\":1}", "<a>&undeclared;</a><b>"] {
            assert_eq!(Flat::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn items_of_a_listing_are_read_by_their_fields() {
        let text =
            b"<R><Prefix>a</Prefix><I><K>a&amp;b</K><O><K>no</K></O><U>1</U></I><J><K>no</K></J><I><K>c</K></I></R>";
        let read = items(text, "R", "I", ["K", "U"]).unwrap();
        assert_eq!(read, [["a&b", "1"], ["c", ""]].map(|item| item.map(str::to_owned)));
        let nested = items(text, "R", "I", ["O/K", "O"]).unwrap();
        assert_eq!(nested, [["no", ""], ["", ""]].map(|item| item.map(str::to_owned)));
        assert_eq!(items(b"<R/>", "R", "I", ["K"]), None, "a root that is empty is none of S3's");
        assert_eq!(items(b"<R></R>", "R", "I", ["K"]), Some(vec![]));
        assert_eq!(items(b"<Error></Error>", "R", "I", ["K"]), None);
        assert_eq!(items(b"<R><I>", "R", "I", ["K"]), None);
    }

    #[test]
    fn a_set_of_tags_is_read_with_empty_values_and_references() {
        let text = b"<?xml version=\"1.0\"?><Tagging xmlns=\"x\"><TagSet><Tag><Key>a&amp;b</Key><Value>1</Value></Tag>\
                     <Tag><Value/><Key>c</Key></Tag></TagSet></Tagging>";
        assert_eq!(tags(text).unwrap(), [["a&b", "1"], ["c", ""]].map(|tag| tag.map(str::to_owned)));
        assert_eq!(tags(b"<Tagging><TagSet/></Tagging>"), Some(Vec::new()));
        for text in [&b""[..], b"<Error></Error>", b"<Tagging><TagSet>", b"<!DOCTYPE a><Tagging></Tagging>"] {
            assert_eq!(tags(text), None);
        }
    }

    #[test]
    fn elements_of_several_names_keep_their_order() {
        let text = b"<R><E>url</E><V><K>a</K></V><D><K>b</K></D><C><P>x</P></C><V><K>c</K></V></R>";
        let listing = Listing::parse(text, "R", ["V", "D"], ["K"]).unwrap();
        let items = [(0, ["a".to_owned()]), (1, ["b".to_owned()]), (0, ["c".to_owned()])];
        assert_eq!((listing.items.as_slice(), listing.text("E"), listing.text("K")), (&items[..], Some("url"), None));
    }

    #[test]
    fn parts_are_numbered_from_one_and_etags_escaped() {
        let checksum = Checksum::from_bytes(ChecksumAlgorithm::Crc32, &[0; 4]).ok();
        let part = |number, etag: &str, checksum| UploadedPart { number, etag: etag.to_owned(), checksum };
        let document = complete_upload(&[part(1, "\"a\"", None), part(2, "\"b\"", checksum)]);
        let second =
            "<Part><PartNumber>2</PartNumber><ETag>&quot;b&quot;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>";
        assert!(document.contains(second), "{document}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "(<[ab/]{1,2}>|&[a#x0-9]{1,3};|x){0,12}") {
            let _ = Flat::parse(&bytes);
            let _ = items(text.as_bytes(), "a", "b", ["a"]);
            let _ = tags(&bytes);
            let _ = Flat::parse(text.as_bytes());
        }
    }
}
