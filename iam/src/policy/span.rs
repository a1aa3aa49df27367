//! Where the statements of a document stand in its text, for the simulator's `MatchedStatements`.
//!
//! IAM's reference does not say from where to where. By the examples of its command (`simulate-custom-policy`,
//! `simulate-principal-policy`) the only statement of a document begins behind its brace, the first of a list behind the bracket,
//! and each ends behind its brace. That the next ones begin behind the one before is a guess.

use std::ops::Range;

use super::outline;

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

/// Where the statements of a document stand, in their order.
pub(super) fn of_statements(text: &str) -> Vec<Place> {
    let mut cursor = Cursor { text, at: 0, position: Position { line: 1, column: 1 } };
    let place = |(start, bytes): (usize, Range<usize>)| Place {
        span: Span { start: cursor.go_to(start), end: cursor.go_to(bytes.end) },
        bytes,
    };
    spans(text).unwrap_or_default().into_iter().map(place).collect()
}

/// From which byte each statement reaches, and the bytes of its object.
fn spans(text: &str) -> Option<Vec<(usize, Range<usize>)>> {
    let place = outline::element(text, outline::object(text)?, "Statement")?;
    if text.as_bytes().get(place.start) == Some(&b'{') {
        return Some(vec![(place.start + 1, place)]);
    }
    let mut from = place.start + 1;
    let objects = outline::items(text, place.start)?.into_iter();
    Some(objects.map(|object| (std::mem::replace(&mut from, object.end), object)).collect())
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
