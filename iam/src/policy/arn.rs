//! Patterns for ARNs: each of the six parts between colons is a pattern of its own, so that a wildcard does not reach
//! past its part (IAM user guide, "IAM JSON policy elements: Resource" and "Amazon Resource Name (ARN) condition operators").
//!
//! A pattern with fewer parts stands for any value of those that it does not have; `*` alone, for anything.

use super::Facts;
use super::pattern::{BadVariable, Pattern, Piece, Syntax, glob};

/// `arn:partition:service:region:account:resource`
const PARTS: usize = 6;

/// The parts of an ARN.
pub(crate) type ArnParts<'a> = [&'a str; PARTS];

/// The parts of a text that is an ARN.
pub(crate) fn arn_parts(text: &str) -> Option<ArnParts<'_>> {
    let mut parts = text.splitn(PARTS, ':');
    Some([parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?])
}

/// A pattern for ARNs, compiled.
#[derive(Clone, Debug)]
pub(super) enum ArnPattern {
    /// `*`
    All,
    /// Each part by itself.
    Parts(Box<[Pattern; PARTS]>),
    /// A variable may stand for several parts: they are told apart when it has its value.
    Whole(Pattern),
}

impl ArnPattern {
    pub(super) fn compile(text: &str, variables: bool) -> Result<Self, BadVariable> {
        let syntax = Syntax { wildcards: true, variables };
        if text == "*" {
            return Ok(Self::All);
        }
        let parts: Vec<&str> = text.splitn(PARTS, ':').collect();
        if variables && parts[..parts.len().min(PARTS - 1)].iter().any(|part| part.contains("${")) {
            return Pattern::compile(text, syntax).map(Self::Whole);
        }
        let part = |index: usize| Pattern::compile(parts.get(index).copied().unwrap_or("*"), syntax);
        Ok(Self::Parts(Box::new([part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, part(5)?])))
    }

    /// Whether an ARN is what the pattern stands for. None: what is asked for is no ARN.
    pub(super) fn matches(&self, arn: Option<&ArnParts<'_>>, facts: &Facts<'_>) -> bool {
        match (self, arn) {
            (Self::All, _) => true,
            (_, None) => false,
            // From the end, where ARNs differ.
            (Self::Parts(parts), Some(arn)) => {
                parts.iter().zip(arn).rev().all(|(part, text)| part.matches(text, facts))
            }
            (Self::Whole(pattern), Some(arn)) => pattern.resolve(facts).is_some_and(|pieces| {
                let parts = split(&pieces);
                parts.iter().zip(arn).all(|(part, text)| glob(part, text, |text, literal| text.starts_with(literal)))
            }),
        }
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        let patterns: &[Pattern] = match self {
            Self::All => &[],
            Self::Parts(parts) => &**parts,
            Self::Whole(pattern) => std::slice::from_ref(pattern),
        };
        patterns.iter().flat_map(Pattern::variables)
    }

    /// The part of this index. None: there may be any, or it is not known yet.
    pub(super) fn part(&self, index: usize) -> Option<&Pattern> {
        match self {
            Self::Parts(parts) => parts.get(index),
            Self::All | Self::Whole(_) => None,
        }
    }

    /// Stands for one ARN, whoever asks.
    pub(super) fn is_literal(&self) -> bool {
        (0..PARTS).all(|index| self.part(index).is_some_and(Pattern::is_literal))
    }
}

/// The pieces between the first five colons of a pattern whose variables have their values.
fn split<'p>(pieces: &'p [Piece<'p>]) -> Vec<Vec<Piece<'p>>> {
    let mut parts: Vec<Vec<Piece<'p>>> = vec![Vec::new()];
    let push = |piece, parts: &mut Vec<Vec<Piece<'p>>>| {
        if let Some(last) = parts.last_mut() {
            last.push(piece);
        }
    };
    for piece in pieces {
        let Piece::Literal(literal) = piece else {
            push(piece.clone(), &mut parts);
            continue;
        };
        let mut rest: &str = literal;
        while parts.len() < PARTS
            && let Some((before, after)) = rest.split_once(':')
        {
            push(Piece::Literal(before.into()), &mut parts);
            parts.push(Vec::new());
            rest = after;
        }
        push(Piece::Literal(rest.into()), &mut parts);
    }
    parts.resize(PARTS, vec![Piece::Any]);
    parts
}
