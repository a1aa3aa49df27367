//! `multipart/form-data` (RFC 7578, on RFC 2046) up to the file: boundaries, the heads of parts, and the values of fields.
//!
//! The reader holds what it has not passed on: never more than [`PRE_DATA_BYTES_MAX`] and one piece of the body. What libraries there
//! are read ahead for as long as the client sends, so that a fast one fills the memory.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;
use memchr::memmem;

use crate::s3::error::{Failure, of_body};

use super::file::FileBytes;
use super::{PRE_DATA_BYTES_MAX, malformed, too_much};

/// The longest boundary (RFC 2046, 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

const LINE_BREAK: &[u8] = b"\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The boundary that a `Content-Type` announces. None: it is not a form's.
///
/// # Errors
/// `MalformedPOSTRequest` for a form without a boundary, or with one that cannot be.
pub fn boundary(content_type: &str) -> Option<Result<String, Failure>> {
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !media_type.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = Parameters(parameters).find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let boundary = boundary.map(|(_, value)| value).filter(|value| {
        (1..=BOUNDARY_BYTES_MAX).contains(&value.len())
            && value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
            && !value.ends_with(' ')
    });
    Some(boundary.ok_or_else(malformed))
}

/// The head of a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
}

/// Reads a form up to its file.
#[derive(Debug)]
pub(super) struct Reader<B> {
    body: B,
    buffer: BytesMut,
    /// What may still come before the file.
    left_bytes: usize,
    /// What stands before each part, and after the last one.
    delimiter: Vec<u8>,
    at_start: bool,
}

impl<B> Reader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(body: B, boundary: &str) -> Self {
        // The first boundary needs no line break before it; so it is given one.
        let buffer = BytesMut::from(LINE_BREAK);
        let left_bytes = PRE_DATA_BYTES_MAX + LINE_BREAK.len();
        Self { body, buffer, left_bytes, delimiter: format!("\r\n--{boundary}").into_bytes(), at_start: true }
    }

    /// The next part's head. None: the form has ended.
    pub(super) async fn part(&mut self) -> Result<Option<Part>, Failure> {
        if std::mem::take(&mut self.at_start) {
            self.until(Pattern::Delimiter).await?;
        }
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            return Ok(None);
        }
        let padding = self.until(Pattern::LineBreak).await?;
        if !padding.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(malformed());
        }
        let head = self.until(Pattern::HeadEnd).await?;
        parse_head(&head).map(Some).ok_or_else(malformed)
    }

    /// The value of the field whose head was read.
    pub(super) async fn value(&mut self) -> Result<String, Failure> {
        let value = self.until(Pattern::Delimiter).await?;
        String::from_utf8(value.into()).map_err(|_| malformed())
    }

    /// The bytes of the file whose head was read.
    pub(super) fn into_file(self) -> FileBytes<B> {
        FileBytes::new(self.body, self.buffer.freeze(), self.delimiter)
    }

    async fn until(&mut self, pattern: Pattern) -> Result<Bytes, Failure> {
        let mut seen_bytes = 0;
        loop {
            let pattern = match pattern {
                Pattern::Delimiter => self.delimiter.as_slice(),
                Pattern::LineBreak => LINE_BREAK,
                Pattern::HeadEnd => HEAD_END,
            };
            let length = pattern.len();
            if let Some(at) = memmem::find(&self.buffer[seen_bytes..], pattern) {
                let at = seen_bytes + at;
                self.left_bytes = self.left_bytes.checked_sub(at + length).ok_or_else(too_much)?;
                let found = self.buffer.split_to(at).freeze();
                self.buffer.advance(length);
                return Ok(found);
            }
            if self.buffer.len() > self.left_bytes {
                return Err(too_much());
            }
            seen_bytes = self.buffer.len().saturating_sub(length - 1);
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let frame = self.body.frame().await.ok_or_else(malformed)?;
        let frame = frame.map_err(|error| of_body(error.into().as_ref()))?;
        if let Ok(data) = frame.into_data() {
            self.buffer.extend_from_slice(&data);
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Pattern {
    Delimiter,
    LineBreak,
    HeadEnd,
}

/// The name and the file's name of a part, from its head. None: it has no name, or is no head.
pub(super) fn parse_head(head: &[u8]) -> Option<Part> {
    let text = std::str::from_utf8(head).ok()?;
    let mut found = None;
    for line in text.split("\r\n") {
        let (name, value) = line.split_once(':')?;
        if !name.trim().eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        let (kind, parameters) = value.split_once(';')?;
        if found.is_some() || !kind.trim().eq_ignore_ascii_case("form-data") {
            return None;
        }
        let (mut name, mut file_name) = (None, None);
        for (parameter, value) in Parameters(parameters) {
            match parameter.to_ascii_lowercase().as_str() {
                "name" if name.is_none() => name = Some(value),
                "filename" if file_name.is_none() => file_name = Some(value),
                "name" | "filename" => return None,
                _ => {}
            }
        }
        found = Some(Part { name: name.filter(|name| !name.is_empty())?, file_name });
    }
    found
}

/// The parameters of a header's value: `; name="value"; other=token`. Ends at what is none.
///
/// A quotation mark in a value is `\"` or, as browsers write it (HTML, "Multipart form data"), `%22`. Every other backslash is
/// itself, because it may be part of a path.
struct Parameters<'t>(&'t str);

impl Iterator for Parameters<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.trim_start_matches([';', ' ', '\t']).split_once('=')?;
        let name = name.trim().to_owned();
        let rest = rest.trim_start();
        let Some(mut rest) = rest.strip_prefix('"') else {
            let (value, rest) = rest.split_once(';').unwrap_or((rest, ""));
            self.0 = rest;
            return Some((name, value.trim().to_owned()));
        };
        let mut value = String::new();
        loop {
            let at = rest.find('"')?;
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            rest = after;
            match before.strip_suffix('\\') {
                Some(before) => {
                    value.push_str(before);
                    value.push('"');
                }
                None => {
                    value.push_str(before);
                    break;
                }
            }
        }
        self.0 = rest;
        let value = value.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
        Some((name, value))
    }
}
