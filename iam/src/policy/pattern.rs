//! Texts with wildcards and variables (IAM user guide, "IAM policy elements: Variables and tags").
//!
//! `*` stands for any characters, `?` for one. `${key}` stands for the value of a condition key and `${key, 'default'}` for
//! a default if there is none; what they stand for is literal. `${*}`, `${?}` and `${$}` are the characters
//! themselves. A pattern with a variable that has no value, or many, matches nothing.

use std::borrow::Cow;

use super::Facts;

/// A piece of a pattern whose variables have their values.
#[derive(Clone, Debug)]
pub(super) enum Piece<'p> {
    Literal(Cow<'p, str>),
    One,
    Any,
}

/// A piece of a pattern.
#[derive(Clone, Debug)]
enum Part {
    Fixed(Piece<'static>),
    Variable { key: Box<str>, default: Option<Box<str>> },
}

/// Which characters of a pattern's text have a meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    /// `*` and `?` are wildcards.
    pub(super) wildcards: bool,
    /// `${...}` is a variable: documents before 2012-10-17 have none.
    pub(super) variables: bool,
}

/// A variable is not closed, or names no condition key.
#[derive(Debug)]
pub(super) struct BadVariable;

/// A pattern, compiled.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Fixed(Box<[Piece<'static>]>),
    Variable(Box<[Variable]>),
}

/// A piece of a pattern that has variables.
#[derive(Clone, Debug)]
pub(super) struct Variable(Part);

impl Pattern {
    pub(super) fn compile(text: &str, syntax: Syntax) -> Result<Self, BadVariable> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if syntax.variables && rest.starts_with("${") {
                let (variable, after) = parse_variable(&rest[2..])?;
                match variable {
                    Part::Fixed(Piece::Literal(character)) => literal.push_str(&character),
                    variable => {
                        end_literal(&mut literal, &mut parts);
                        parts.push(variable);
                    }
                }
                rest = after;
                continue;
            }
            rest = &rest[character.len_utf8()..];
            let wildcard = match character {
                '*' if syntax.wildcards => Piece::Any,
                '?' if syntax.wildcards => Piece::One,
                _ => {
                    literal.push(character);
                    continue;
                }
            };
            end_literal(&mut literal, &mut parts);
            // Two asterisks say no more than one, and would cost a search each.
            if !matches!((&wildcard, parts.last()), (Piece::Any, Some(Part::Fixed(Piece::Any)))) {
                parts.push(Part::Fixed(wildcard));
            }
        }
        end_literal(&mut literal, &mut parts);
        Ok(Self::of(parts))
    }

    fn of(parts: Vec<Part>) -> Self {
        if parts.iter().any(|part| matches!(part, Part::Variable { .. })) {
            return Self::Variable(parts.into_iter().map(Variable).collect());
        }
        let pieces = parts.into_iter().filter_map(|part| match part {
            Part::Fixed(piece) => Some(piece),
            Part::Variable { .. } => None,
        });
        Self::Fixed(pieces.collect())
    }

    /// Whether the text, in its case, is what the pattern stands for.
    pub(super) fn matches(&self, text: &str, facts: &Facts<'_>) -> bool {
        match self {
            Self::Fixed(pieces) => glob(pieces, text, starts_with),
            Self::Variable(_) => self.resolve(facts).is_some_and(|pieces| glob(&pieces, text, starts_with)),
        }
    }

    /// Whether an ASCII text is what the pattern, which has no variable, stands for, in any case.
    pub(super) fn matches_ascii_ignoring_case(&self, text: &str) -> bool {
        match self {
            Self::Fixed(pieces) => glob(pieces, text, starts_with_ignoring_ascii_case),
            Self::Variable(_) => false,
        }
    }

    /// Whether the text is, in any case, what the pattern, which has no wildcard, stands for.
    pub(super) fn equals_ignoring_case(&self, text: &str, facts: &Facts<'_>) -> bool {
        let equals = |pieces: &[Piece<'_>]| {
            let characters = pieces.iter().flat_map(|piece| match piece {
                Piece::Literal(literal) => literal.chars(),
                Piece::One | Piece::Any => "".chars(),
            });
            characters.flat_map(char::to_lowercase).eq(text.chars().flat_map(char::to_lowercase))
        };
        match self {
            Self::Fixed(pieces) => equals(pieces),
            Self::Variable(_) => self.resolve(facts).is_some_and(|pieces| equals(&pieces)),
        }
    }

    /// The pieces with the values of the variables. None: a variable has no value, or several.
    pub(super) fn resolve<'p>(&'p self, facts: &Facts<'p>) -> Option<Cow<'p, [Piece<'p>]>> {
        let parts = match self {
            Self::Fixed(pieces) => return Some(Cow::Borrowed(&**pieces)),
            Self::Variable(parts) => parts,
        };
        let resolve_one = |Variable(part): &'p Variable| match part {
            Part::Fixed(piece) => Some(piece.clone()),
            Part::Variable { key, default } => facts
                .single(key)
                .map(Piece::Literal)
                .or_else(|| default.as_deref().map(|default| Piece::Literal(Cow::Borrowed(default)))),
        };
        parts.iter().map(resolve_one).collect::<Option<Vec<_>>>().map(Cow::Owned)
    }

    /// The keys of its variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        let parts: &[Variable] = match self {
            Self::Fixed(_) => &[],
            Self::Variable(parts) => parts,
        };
        parts.iter().filter_map(|Variable(part)| match part {
            Part::Variable { key, .. } => Some(&**key),
            Part::Fixed(_) => None,
        })
    }

    /// Stands for all sessions of one role, as values of `aws:userid`: `AROA...:*`.
    pub(super) fn is_any_session_of_a_role(&self) -> bool {
        let Self::Fixed(pieces) = self else { return false };
        matches!(&**pieces, [Piece::Literal(role), Piece::Any] if role.len() > 1 && role.ends_with(':'))
    }

    /// Stands only for ARNs of one account.
    pub(super) fn fixes_account(&self) -> bool {
        let Self::Fixed(pieces) = self else { return false };
        matches!(pieces.first(), Some(Piece::Literal(start)) if start.split(':').count() > 5)
    }

    /// Stands for one text, whoever asks.
    pub(super) fn is_literal(&self) -> bool {
        match self {
            Self::Fixed(pieces) => pieces.iter().all(|piece| matches!(piece, Piece::Literal(_))),
            Self::Variable(_) => false,
        }
    }
}

fn end_literal(literal: &mut String, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        parts.push(Part::Fixed(Piece::Literal(Cow::Owned(std::mem::take(literal)))));
    }
}

/// The variable that a text begins with, after its `${`, and what follows it.
fn parse_variable(text: &str) -> Result<(Part, &str), BadVariable> {
    for special in ["*", "?", "$"] {
        if let Some(rest) = text.strip_prefix(special).and_then(|rest| rest.strip_prefix('}')) {
            return Ok((Part::Fixed(Piece::Literal(Cow::Borrowed(special))), rest));
        }
    }
    let end = text.find([',', '}']).ok_or(BadVariable)?;
    let key = text[..end].trim();
    if !key.contains(':') || key.contains(['$', '{', '*', '?']) {
        return Err(BadVariable);
    }
    let (default, rest) = match text[end..].strip_prefix(',') {
        None => (None, &text[end + 1..]),
        Some(after) => {
            let quoted = after.trim_start().strip_prefix('\'').ok_or(BadVariable)?;
            let (default, rest) = quoted.split_once('\'').ok_or(BadVariable)?;
            (Some(default.into()), rest.trim_start().strip_prefix('}').ok_or(BadVariable)?)
        }
    };
    Ok((Part::Variable { key: key.to_lowercase().into(), default }, rest))
}

fn starts_with(text: &str, literal: &str) -> bool {
    text.as_bytes().starts_with(literal.as_bytes())
}

fn starts_with_ignoring_ascii_case(text: &str, literal: &str) -> bool {
    text.as_bytes().get(..literal.len()).is_some_and(|start| start.eq_ignore_ascii_case(literal.as_bytes()))
}

/// Whether pieces stand for a text. Goes back to the last `*` only, so it takes at most the product of both lengths.
pub(super) fn glob(pieces: &[Piece<'_>], text: &str, starts_with: fn(&str, &str) -> bool) -> bool {
    let (mut piece, mut position) = (0, 0);
    // The piece after the last `*`, and where it is tried next.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let rest = &text[position..];
        let step = match pieces.get(piece) {
            None if rest.is_empty() => return true,
            None => None,
            Some(Piece::Any) if piece + 1 == pieces.len() => return true,
            Some(Piece::Any) => {
                retry = Some((piece + 1, position));
                Some(0)
            }
            Some(Piece::One) => rest.chars().next().map(char::len_utf8),
            Some(Piece::Literal(literal)) => starts_with(rest, literal).then_some(literal.len()),
        };
        if let Some(step) = step {
            piece += 1;
            position += step;
            continue;
        }
        let Some((after_star, tried)) = retry else { return false };
        let Some(skipped) = text[tried..].chars().next() else { return false };
        retry = Some((after_star, tried + skipped.len_utf8()));
        (piece, position) = (after_star, tried + skipped.len_utf8());
    }
}
