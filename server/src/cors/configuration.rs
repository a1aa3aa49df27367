//! A CORS configuration: how it is read, written and stored, and which of its rules answers a request (S3 user guide,
//! "Using cross-origin resource sharing"; API reference, CORSRule). Pure.
//!
//! Where the references are silent, what S3 was seen to answer decides: origins match with regard to case and as they are
//! written, names of headers without; an `*` may stand for nothing.

use cairn_storage::record::Record;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, VARY,
};
use http::{HeaderMap, HeaderValue};
use minicbor::{Decode, Encode};
use s3s::S3ErrorCode;
use s3s::dto::{CORSConfiguration, CORSRule};

use crate::s3::error::Failure;
use crate::s3::headers;
use crate::s3::xml::{self, Document};

/// Rules of a configuration at most.
const RULES_MAX: usize = 100;

/// A configuration's document at most.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// The id of a rule at most, in characters.
const ID_CHARS_MAX: usize = 255;

/// An answer is another one if any of these is.
const VARIES: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Headers, Access-Control-Request-Method");

/// The methods that a rule can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum AllowedMethod {
    /// `GET`
    #[n(0)]
    Get,
    /// `PUT`
    #[n(1)]
    Put,
    /// `POST`
    #[n(2)]
    Post,
    /// `DELETE`
    #[n(3)]
    Delete,
    /// `HEAD`
    #[n(4)]
    Head,
}

impl AllowedMethod {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Put, Self::Post, Self::Delete, Self::Head];

    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
        }
    }

    /// The method of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Rule {
    /// What its author calls it.
    #[n(0)]
    pub id: Option<String>,
    /// The origins, each with at most one `*`.
    #[n(1)]
    pub origins: Vec<String>,
    /// The methods.
    #[n(2)]
    pub methods: Vec<AllowedMethod>,
    /// The headers that a request may have, each with at most one `*`.
    #[n(3)]
    pub headers: Vec<String>,
    /// The headers of an answer that a page may read.
    #[n(4)]
    pub exposed: Vec<String>,
    /// How long a browser may remember a preflight's answer.
    #[n(5)]
    pub max_age_seconds: Option<u32>,
}

/// The rules, of which the first that matches holds.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Configuration {
    /// The rules.
    #[n(0)]
    pub rules: Vec<Rule>,
}

/// Each value takes less room in a record than with its tags in a document.
impl Record for Configuration {
    const NAME: &'static str = "CORS configuration";
    const BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The origin of the page.
    pub origin: HeaderValue,
    /// The method, if it is one that a rule can allow.
    pub method: Option<AllowedMethod>,
    /// The headers that the request will have, in lower case.
    pub headers: Vec<String>,
}

impl Configuration {
    /// Reads a document.
    ///
    /// # Errors
    /// `MissingRequestBodyError`, `MaxMessageLengthExceeded`, `MalformedXML`, `InvalidRequest`, `InvalidArgument`.
    pub fn parse(document: &[u8]) -> Result<Self, Failure> {
        if document.is_empty() {
            return Err(S3ErrorCode::MissingRequestBodyError.into());
        }
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(S3ErrorCode::MaxMessageLengthExceeded.into());
        }
        let CORSConfiguration { cors_rules } = xml::parse(document)?;
        if cors_rules.is_empty() {
            return Err(S3ErrorCode::MalformedXML.into());
        }
        if cors_rules.len() > RULES_MAX {
            return Err(Failure::invalid_request(format!(
                "The number of CORS rules should not exceed allowed limit of {RULES_MAX} rules."
            )));
        }
        Ok(Self { rules: cors_rules.into_iter().map(rule).collect::<Result<_, _>>()? })
    }

    /// Writes the document.
    pub fn document(&self) -> Document {
        let mut document = Document::new("CORSConfiguration");
        for rule in &self.rules {
            document.element("CORSRule", |element| {
                element.optional("ID", rule.id.as_deref());
                rule.headers.iter().for_each(|header| element.text("AllowedHeader", header));
                rule.methods.iter().for_each(|method| element.text("AllowedMethod", method.name()));
                rule.origins.iter().for_each(|origin| element.text("AllowedOrigin", origin));
                rule.exposed.iter().for_each(|header| element.text("ExposeHeader", header));
                if let Some(seconds) = rule.max_age_seconds {
                    element.value("MaxAgeSeconds", seconds);
                }
            });
        }
        document
    }

    /// What the first rule that allows it adds to the answer; None: no rule does.
    pub fn allow(&self, asked: &Asked) -> Option<HeaderMap> {
        self.rules.iter().find_map(|rule| rule.allow(asked))
    }
}

impl Rule {
    fn allow(&self, asked: &Asked) -> Option<HeaderMap> {
        let origin = std::str::from_utf8(asked.origin.as_bytes()).ok()?;
        let by = self.origins.iter().find(|pattern| matches(pattern, origin, <[u8]>::eq))?;
        if !self.methods.contains(&asked.method?) {
            return None;
        }
        let allowed =
            |name: &String| self.headers.iter().any(|pattern| matches(pattern, name, <[u8]>::eq_ignore_ascii_case));
        asked.headers.iter().all(allowed).then(|| self.answer(by == "*", asked))
    }

    fn answer(&self, to_any_origin: bool, asked: &Asked) -> HeaderMap {
        let mut answer = HeaderMap::new();
        if to_any_origin {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, asked.origin.clone());
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        let methods: Vec<&str> = self.methods.iter().map(|method| method.name()).collect();
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, headers::value(&methods.join(", ")));
        if !asked.headers.is_empty() {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, headers::value(&asked.headers.join(", ")));
        }
        if !self.exposed.is_empty() {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, headers::value(&self.exposed.join(", ")));
        }
        if let Some(seconds) = self.max_age_seconds {
            answer.insert(ACCESS_CONTROL_MAX_AGE, seconds.into());
        }
        answer.insert(VARY, VARIES);
        answer
    }
}

/// Whether `text` is what `pattern` says, whose one `*` stands for anything.
fn matches(pattern: &str, text: &str, is_same: fn(&[u8], &[u8]) -> bool) -> bool {
    let text = text.as_bytes();
    match pattern.split_once('*') {
        None => is_same(pattern.as_bytes(), text),
        Some((start, end)) => {
            text.len() >= start.len() + end.len()
                && is_same(start.as_bytes(), &text[..start.len()])
                && is_same(end.as_bytes(), &text[text.len() - end.len()..])
        }
    }
}

/// Reads a rule, in S3's words of what is wrong with it.
fn rule(rule: CORSRule) -> Result<Rule, Failure> {
    let CORSRule { allowed_headers, allowed_methods, allowed_origins, expose_headers, id, max_age_seconds } = rule;
    let (headers, exposed) = (allowed_headers.unwrap_or_default(), expose_headers.unwrap_or_default());
    let methods = allowed_methods.iter().map(|name| {
        AllowedMethod::named(name.as_str()).ok_or_else(|| {
            let name = name.as_str();
            Failure::invalid_request(format!(
                "Found unsupported HTTP method in CORS config. Unsupported method is {name}"
            ))
        })
    });
    let methods = methods.collect::<Result<Vec<_>, _>>()?;
    if methods.is_empty() || allowed_origins.is_empty() {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    for (element, values) in [("AllowedOrigin", &allowed_origins), ("AllowedHeader", &headers)] {
        if let Some(value) = values.iter().find(|value| value.matches('*').count() > 1) {
            return Err(Failure::invalid_request(format!(
                "{element} \"{value}\" can not have more than one wildcard."
            )));
        }
    }
    for name in &exposed {
        if name.contains('*') {
            return Err(Failure::invalid_request(format!(
                "ExposeHeader \"{name}\" contains wildcard. We currently do not support wildcard for ExposeHeader."
            )));
        }
        // It is to be part of a header.
        if name.chars().any(char::is_control) {
            return Err(S3ErrorCode::MalformedXML.into());
        }
    }
    if id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARS_MAX) {
        return Err(Failure::with_message(
            S3ErrorCode::InvalidArgument,
            format!("ID length should not exceed allowed limit of {ID_CHARS_MAX}"),
        ));
    }
    let max_age_seconds = max_age_seconds.map(u32::try_from).transpose().map_err(|_| S3ErrorCode::MalformedXML)?;
    Ok(Rule { id, origins: allowed_origins, methods, headers, exposed, max_age_seconds })
}

#[cfg(test)]
mod tests;
