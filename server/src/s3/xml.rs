//! XML: what answers are written with, and how documents in request bodies are read.
//!
//! Writing is ours, because S3 answers keys with control characters as numeric references, which a strict writer refuses.
//! Reading is `s3s`'s, into its types.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use http::HeaderValue;
use s3s::S3ErrorCode;
use s3s::xml::{Deserialize, Deserializer};

use super::error::Failure;

/// The namespace of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// The media type of every XML answer.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/xml");

/// A document being written.
#[derive(Debug)]
pub struct Document {
    text: String,
    root: Cow<'static, str>,
}

impl Document {
    /// A document whose root is in S3's namespace.
    pub fn new(root: &'static str) -> Self {
        Self::in_namespace(root, NAMESPACE)
    }

    /// A document whose root is in a namespace.
    pub fn in_namespace(root: impl Into<Cow<'static, str>>, namespace: &str) -> Self {
        let mut document = Self::without_namespace(root);
        document.text.pop();
        document.text.push_str(" xmlns=\"");
        document.text.push_str(namespace);
        document.text.push_str("\">");
        document
    }

    /// A document without a namespace, as errors are.
    pub fn without_namespace(root: impl Into<Cow<'static, str>>) -> Self {
        let root = root.into();
        let mut text = String::with_capacity(512);
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
        text.push_str(&root);
        text.push('>');
        Self { text, root }
    }

    /// Elements that are to be appended to a document. They are none by themselves.
    pub fn fragment() -> Self {
        Self { text: String::new(), root: "".into() }
    }

    /// The elements of a fragment.
    pub fn append(&mut self, fragment: Self) {
        self.text.push_str(&fragment.text);
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(text, &mut self.text);
        self.close(name);
    }

    /// An element with the text of a number, a flag or another value that needs no escape.
    pub fn value(&mut self, name: &str, value: impl std::fmt::Display) {
        self.open(name);
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        self.close(name);
    }

    /// An element with text, if there is one.
    pub fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// An element with elements, which `content` writes.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.open(name);
        content(self);
        self.close(name);
    }

    /// An element with elements, and a type of the XML Schema's, as grantees have.
    pub fn typed_element(&mut self, name: &str, type_name: &'static str, content: impl FnOnce(&mut Self)) {
        self.open(name);
        self.text.pop();
        self.text.push_str(" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"");
        self.text.push_str(type_name);
        self.text.push_str("\">");
        content(self);
        self.close(name);
    }

    /// Text in the root itself.
    pub fn root_text(&mut self, text: &str) {
        escape(text, &mut self.text);
    }

    /// The whole document.
    pub fn finish(mut self) -> String {
        let root = std::mem::take(&mut self.root);
        self.close(&root);
        self.text
    }

    fn open(&mut self, name: &str) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
    }

    fn close(&mut self, name: &str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }
}

/// The bytes that are escaped.
static ESCAPED: [bool; 256] = {
    let mut escaped = [false; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        escaped[byte as usize] = matches!(byte, b'&' | b'<' | b'>' | b'"') || byte.is_ascii_control();
        byte += 1;
    }
    escaped
};

/// Appends `text`, escaped. Control characters become numeric references, as S3 writes them: a carriage return would
/// otherwise reach the client as a line feed, and others not at all.
fn escape(text: &str, into: &mut String) {
    let mut rest = text;
    // By bytes, because a listing is mostly text that needs no escape. What is looked for is ASCII, which is part of no
    // other character, so the text is cut at the ends of characters only.
    while let Some(at) = rest.bytes().position(|byte| ESCAPED[usize::from(byte)]) {
        let (plain, special) = rest.split_at(at);
        into.push_str(plain);
        match special.as_bytes()[0] {
            b'&' => into.push_str("&amp;"),
            b'<' => into.push_str("&lt;"),
            b'>' => into.push_str("&gt;"),
            b'"' => into.push_str("&quot;"),
            control => into.push_str(&format!("&#x{control:x};")),
        }
        rest = &special[1..];
    }
    into.push_str(rest);
}

/// Reads a document.
///
/// # Errors
/// `MalformedXML`.
pub fn parse<T>(bytes: &[u8]) -> Result<T, Failure>
where
    T: for<'xml> Deserialize<'xml>,
{
    // The reader skips CDATA sections: a key would silently be another one. No S3 client sends them.
    if bytes.windows(CDATA.len()).any(|window| window == CDATA) {
        return Err(Failure::new(S3ErrorCode::MalformedXML));
    }
    let bytes = resolve_references(bytes);
    let mut deserializer = Deserializer::new(&bytes);
    T::deserialize(&mut deserializer)
        .and_then(|value| deserializer.expect_eof().map(|()| value))
        .map_err(|_| Failure::new(S3ErrorCode::MalformedXML))
}

const CDATA: &[u8] = b"<![CDATA[";

/// The characters beyond the basic plane that the reader refuses as references, though XML allows them: emoji, mostly.
const REFUSED_REFERENCES: RangeInclusive<u32> = 0x1_0000..=0xF_FFFF;

/// The longest of their references, without its ends: `x`, leading zeros and five digits, with room to spare.
const REFERENCE_BYTES_MAX: usize = 16;

/// The document with those characters themselves in place of their references. None of them is markup.
fn resolve_references(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut resolved = Vec::new();
    let mut rest = bytes;
    let mut copied_bytes = 0;
    while let Some(at) = rest.windows(2).position(|window| window == b"&#") {
        let reference = &rest[at + 2..];
        let length = reference.iter().take(REFERENCE_BYTES_MAX).position(|&byte| byte == b';');
        rest = reference;
        let Some((length, character)) = length.and_then(|length| Some((length, refused(&reference[..length])?))) else {
            continue;
        };
        let start = bytes.len() - reference.len() - 2;
        resolved.extend_from_slice(&bytes[copied_bytes..start]);
        resolved.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &reference[length + 1..];
        copied_bytes = bytes.len() - rest.len();
    }
    if copied_bytes == 0 {
        return bytes.into();
    }
    resolved.extend_from_slice(&bytes[copied_bytes..]);
    resolved.into()
}

/// The character of a reference's number, if the reader refuses it.
fn refused(number: &[u8]) -> Option<char> {
    let number = std::str::from_utf8(number).ok()?;
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |digits| (digits, 16));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = u32::from_str_radix(digits, radix).ok().filter(|code| is_number && REFUSED_REFERENCES.contains(code))?;
    char::from_u32(code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn text_is_escaped_and_control_characters_become_references() {
        let mut document = Document::without_namespace("Root");
        document.text("Key", "a<b>&\"c\"\u{1}\r\n\u{7f}é");
        assert_eq!(
            document.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <Root><Key>a&lt;b&gt;&amp;&quot;c&quot;&#x1;&#xd;&#xa;&#x7f;é</Key></Root>"
        );
    }

    #[test]
    fn the_root_is_in_the_namespace_of_s3() {
        let mut document = Document::new("Root");
        document.element("Owner", |owner| owner.value("Age", 7));
        assert!(
            document.finish().ends_with(
                "<Root xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><Age>7</Age></Owner></Root>"
            )
        );
    }

    #[test]
    fn a_grantee_has_a_type() {
        let mut document = Document::without_namespace("Root");
        document.typed_element("Grantee", "Group", |grantee| grantee.text("URI", "x"));
        let text = document.finish();
        let expected = "<Root><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
                        xsi:type=\"Group\"><URI>x</URI></Grantee></Root>";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_document_with_a_cdata_section_is_refused_rather_than_misread() {
        let text = b"<Delete><Object><Key>a<![CDATA[b]]></Key></Object></Delete>";
        assert_eq!(parse::<s3s::dto::Delete>(text).unwrap_err().code(), "MalformedXML");
    }

    #[test]
    fn characters_beyond_the_basic_plane_may_be_references() {
        let key = |text: &str| {
            let document = format!("<Delete><Object><Key>{text}</Key></Object></Delete>");
            parse::<s3s::dto::Delete>(document.as_bytes()).map(|delete| delete.objects[0].key.clone())
        };
        assert_eq!(key("a&#129704;b&#x1FAA8;&#x0001faa8;&amp;&#65;&#x10FFFF;").unwrap(), "a🪨b🪨🪨&A\u{10ffff}");
        assert_eq!(key("&#65536;&#xFFFFF;").unwrap(), "\u{10000}\u{fffff}");
        for malformed in ["&#x110000;", "&#+129704;", "&#x+1FAA8;", "&#129704", "&#;", "&#x;", "&#xD83E;&#xDEA8;"] {
            assert_eq!(key(malformed).unwrap_err().code(), "MalformedXML", "{malformed}");
        }
    }

    #[test]
    fn blanks_in_a_key_are_kept() {
        let text = b"<Delete><Object><Key> a&#13; </Key></Object></Delete>";
        let delete = parse::<s3s::dto::Delete>(text).unwrap();
        assert_eq!(delete.objects[0].key, " a\r ");
    }

    #[test]
    fn what_follows_the_document_is_refused() {
        let text = b"<Delete><Object><Key>a</Key></Object></Delete><Delete/>";
        assert!(parse::<s3s::dto::Delete>(text).is_err());
    }
}
