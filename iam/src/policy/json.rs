//! JSON as policies want it: an object that names an element twice is refused, because two readers could understand it
//! in two ways.
//!
//! How deep a document nests is bounded by `serde_json` (128); how long it is, by the caller.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// A number, as `serde_json` prints it.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    /// In the order of the document.
    Object(Vec<(String, Json)>),
}

/// What the error of `serde_json` says if an object names an element twice, before the name.
const DUPLICATE: &str = "element named twice: ";

/// Why a text is not JSON as policies want it.
pub(super) enum JsonFault {
    /// It is not JSON.
    Syntax,
    /// An object names this element twice.
    Duplicate(String),
}

impl Json {
    /// The value that the whole text is.
    pub(super) fn parse(text: &str) -> Result<Self, JsonFault> {
        serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            // `serde_json` appends " at line 1 column 2".
            match (message.strip_prefix(DUPLICATE), message.rfind(" at line ")) {
                (Some(_), Some(end)) => JsonFault::Duplicate(message[DUPLICATE.len()..end].to_owned()),
                _ => JsonFault::Syntax,
            }
        })
    }

    /// The text of a string, a number or a boolean, all of which policies may write where a value is wanted.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Null | Self::Array(_) | Self::Object(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = array.next_element()? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let mut elements: Vec<(String, Json)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        while let Some((name, value)) = object.next_entry::<String, Json>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format!("{DUPLICATE}{name}")));
            }
            elements.push((name, value));
        }
        Ok(Json::Object(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_named_twice_is_refused_at_any_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"c":2,"a":3}}]"#] {
            assert!(matches!(Json::parse(text), Err(JsonFault::Duplicate(name)) if name == "a"), "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "{}x", "{'a':1}", &"[".repeat(10_000)] {
            assert!(matches!(Json::parse(text), Err(JsonFault::Syntax)), "{text}");
        }
    }
}
