//! Where the statements of a document stand in its text, for the simulator's `MatchedStatements`.
//!
//! IAM's reference does not say from where to where. By the examples of its command (`simulate-custom-policy`,
//! `simulate-principal-policy`) the only statement of a document begins behind its brace, the first of a list behind the bracket,
//! and each ends behind its brace. That the next ones begin behind the one before is a guess.

use std::ops::Range;

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// From where to where a statement reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub start: Position,
    /// Where what follows it begins.
    pub end: Position,
}

/// Where a statement stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) span: Span,
    /// The bytes of its object.
    pub(super) bytes: Range<usize>,
}

/// Where the statements of a document stand, in their order. Fewer than there are: the element's name is written with escapes.
pub(super) fn of_statements(text: &str) -> Vec<Place> {
    let mut cursor = Cursor { text, at: 0, position: Position { line: 1, column: 1 } };
    let place = |(start, bytes): (usize, Range<usize>)| Place {
        span: Span { start: cursor.go_to(start), end: cursor.go_to(bytes.end) },
        bytes,
    };
    spans(text.as_bytes()).unwrap_or_default().into_iter().map(place).collect()
}

/// From which byte each statement reaches, and the bytes of its object.
fn spans(bytes: &[u8]) -> Option<Vec<(usize, Range<usize>)>> {
    let mut at = statement_element(bytes)?;
    if bytes.get(at) == Some(&b'{') {
        return Some(vec![(at + 1, at..end_of_value(bytes, at)?)]);
    }
    let mut spans = Vec::new();
    at += 1;
    loop {
        let object = at + bytes.get(at..)?.iter().position(|byte| matches!(byte, b'{' | b']'))?;
        if bytes.get(object) == Some(&b']') {
            return Some(spans);
        }
        let end = end_of_value(bytes, object)?;
        spans.push((at, object..end));
        at = end;
    }
}

/// Where the value of the element `Statement` of a JSON object begins.
fn statement_element(bytes: &[u8]) -> Option<usize> {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b':' | b',' | b'{');
    let skip = |at: usize| Some(at + bytes.get(at..)?.iter().position(|byte| !is_space(byte))?);
    let mut at = skip(0)?;
    loop {
        let name_end = end_of_value(bytes, at)?;
        let name = bytes.get(at..name_end)?;
        let colon = name_end + bytes.get(name_end..)?.iter().position(|byte| *byte == b':')?;
        let value = colon + 1 + bytes.get(colon + 1..)?.iter().position(|byte| !byte.is_ascii_whitespace())?;
        if name == br#""Statement""# {
            return Some(value);
        }
        at = skip(end_of_value(bytes, value)?)?;
    }
}

/// What follows the value that begins here, in valid JSON. A value that is neither text nor list nor object ends at once.
fn end_of_value(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (offset, byte) in bytes.get(start..)?.iter().enumerate() {
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

/// Walks through a text, counting.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
    position: Position,
}

impl Cursor<'_> {
    /// The position of a byte that is not before the one asked for last.
    fn go_to(&mut self, byte: usize) -> Position {
        for character in self.text.get(self.at..byte).unwrap_or_default().chars() {
            let Position { line, column } = self.position;
            self.position = match character {
                '\n' => Position { line: line + 1, column: 1 },
                _ => Position { line, column: column + 1 },
            };
        }
        self.at = byte;
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(text: &str) -> Vec<[(u32, u32); 2]> {
        let pair = |position: Position| (position.line, position.column);
        of_statements(text).into_iter().map(|place| [pair(place.span.start), pair(place.span.end)]).collect()
    }

    #[test]
    fn statements_are_where_the_examples_of_the_command_say() {
        let alone = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"dynamodb:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":"2018-08-16T12:00:00Z"}}}}"#;
        assert_eq!(positions(alone), [[(1, 38), (1, 167)]]);
        let list = "{\n    \"Version\": \"2012-10-17\",\n    \"Statement\": [\n        {\n            \"Effect\": \"Allow\",\n            \"Action\": [\n                \"codecommit:ListRepositories\"\n            ], \"Resource\": \"*\"\n        }\n    ]\n}";
        assert_eq!(positions(list), [[(3, 19), (9, 10)]]);
    }

    #[test]
    fn what_stands_in_texts_does_not_count() {
        let text = r#"{"Id":"\"Statement\":{}]","Statement" : [{"Sid":"}]{\\"},{"Sid":"é"}],"Version":"2012-10-17"}"#;
        assert_eq!(positions(text), [[(1, 42), (1, 57)], [(1, 57), (1, 69)]]);
        let objects = of_statements(text).into_iter().map(|place| &text[place.bytes]);
        assert_eq!(objects.collect::<Vec<_>>(), [r#"{"Sid":"}]{\\"}"#, r#"{"Sid":"é"}"#]);
    }
}
