//! Where the values of a JSON text stand in it. The text is known to be JSON; of what is not, there is none.

use std::ops::Range;

/// The elements of the object that begins at a byte: each name, and the bytes of its value.
pub(super) fn elements(text: &str, start: usize) -> Option<Vec<(String, Range<usize>)>> {
    let mut elements = Vec::new();
    let mut at = start + 1;
    loop {
        at = skip(text, at, b',')?;
        if text.as_bytes().get(at) == Some(&b'}') {
            return Some(elements);
        }
        let name_end = end_of_value(text, at)?;
        let name = serde_json::from_str(text.get(at..name_end)?).ok()?;
        let value = skip(text, name_end, b':')?;
        at = end_of_value(text, value)?;
        elements.push((name, value..at));
    }
}

/// The bytes of the values of the list that begins at a byte.
pub(super) fn items(text: &str, start: usize) -> Option<Vec<Range<usize>>> {
    let mut items = Vec::new();
    let mut at = start + 1;
    loop {
        let item = skip(text, at, b',')?;
        if text.as_bytes().get(item) == Some(&b']') {
            return Some(items);
        }
        at = end_of_value(text, item)?;
        items.push(item..at);
    }
}

/// The bytes of an element of the object that begins at a byte.
pub(super) fn element(text: &str, start: usize, name: &str) -> Option<Range<usize>> {
    elements(text, start)?.into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

/// The bytes of the object that a whole text is.
pub(super) fn object(text: &str) -> Option<usize> {
    let start = text.find(|c: char| !c.is_ascii_whitespace())?;
    (text.as_bytes().get(start) == Some(&b'{')).then_some(start)
}

/// The first byte that is neither white space nor this separator.
fn skip(text: &str, at: usize, separator: u8) -> Option<usize> {
    let is_skipped = |byte: &u8| byte.is_ascii_whitespace() || *byte == separator;
    Some(at + text.as_bytes().get(at..)?.iter().position(|byte| !is_skipped(byte))?)
}

/// What follows the value that begins here.
fn end_of_value(text: &str, start: usize) -> Option<usize> {
    let rest = text.as_bytes().get(start..)?;
    if !matches!(rest.first()?, b'"' | b'{' | b'[') {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']');
        return Some(start + rest.iter().position(ends).unwrap_or(rest.len()));
    }
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (offset, byte) in rest.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 && !in_text {
            return Some(start + offset + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values_are_where_they_stand() {
        let text = " {\"a\" : 12 ,\"\\u0062\":[1,\"],\", {}], \"c\":{\"a\":null}}";
        let start = object(text).unwrap();
        let elements = elements(text, start).unwrap();
        let shown: Vec<(&str, &str)> =
            elements.iter().map(|(name, place)| (name.as_str(), &text[place.clone()])).collect();
        assert_eq!(shown, [("a", "12"), ("b", "[1,\"],\", {}]"), ("c", "{\"a\":null}")]);
        let list = element(text, start, "b").unwrap();
        let items: Vec<&str> = items(text, list.start).unwrap().into_iter().map(|place| &text[place]).collect();
        assert_eq!(items, ["1", "\"],\"", "{}"]);
    }

    #[test]
    fn of_what_is_not_json_there_is_nothing() {
        for text in ["", "  ", "[]", "x"] {
            assert_eq!(object(text), None, "{text}");
        }
        for text in ["{", "{\"a\"", "{\"a\":", "{\"a\":{", "{a:1}"] {
            assert_eq!(elements(text, 0), None, "{text}");
        }
    }
}
