//! Policy documents: parsed, validated for where they stand, compiled for [`crate::evaluate`].
//!
//! The language is IAM's (IAM user guide, "IAM JSON policy reference"), in its versions 2012-10-17 and 2008-10-17. A policy keeps the
//! text that it was parsed from, so that a decision can show the statements that made it.

mod arn;
mod condition;
mod error;
mod json;
mod outline;
mod parse;
mod pattern;
mod principals;
mod public;
mod rewrite;
mod s3;
mod span;
mod statement;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

pub use error::PolicyError;
pub(crate) use principals::Named;
pub use principals::PrincipalEntry;
pub use rewrite::with_principals;
pub use span::{Position, Span};
pub use statement::Effect;

use self::arn::{ArnParts, arn_parts};
use self::error::Fault;
use self::span::Place;
use self::statement::Statement;
use crate::acl::AccountNumber;
use crate::evaluate::{Request, Values};

/// The most bytes of a bucket's policy (S3 user guide, "Bucket policies").
pub const BUCKET_POLICY_BYTES_MAX: usize = 20 * 1024;

/// The most bytes of a KMS key's policy (KMS API reference, PutKeyPolicy).
pub const KEY_POLICY_BYTES_MAX: usize = 32 * 1024;

/// The most bytes of any other document (IAM API reference, CreatePolicy); the quotas for what stands where are smaller.
pub const DOCUMENT_BYTES_MAX: usize = 131_072;

/// Where a policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// Attached to a user, a group, a role or a session, or as a boundary: says no principal.
    Identity,
    /// On a bucket.
    Bucket,
    /// On a role: who may assume it. Says no resource.
    Trust,
    /// On a KMS key.
    Key,
}

impl PolicyKind {
    /// Nothing is allowed unless the policy itself allows it, even in its own account (IAM user guide, "Policy evaluation
    /// logic"; KMS developer guide, "Key policies in AWS KMS").
    pub(crate) fn must_allow(self) -> bool {
        matches!(self, Self::Trust | Self::Key)
    }
}

/// A policy document, parsed and validated for where it is to stand. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy(Arc<Document>);

#[derive(Clone, Debug)]
struct Document {
    kind: PolicyKind,
    id: Option<String>,
    statements: Vec<Statement>,
    /// Where the statements stand in the text.
    places: Vec<Place>,
    /// The text, for explanations.
    text: Box<str>,
    /// The condition keys that statements ask for, in lower case, sorted.
    keys: Vec<Box<str>>,
}

impl Policy {
    /// The policy that a text is.
    ///
    /// # Errors
    /// If the text is not a policy that may stand there; the error displays as AWS's message.
    pub fn parse(text: &str, kind: PolicyKind) -> Result<Self, PolicyError> {
        let parsed = parse::parse(text, kind).map_err(|fault| PolicyError { kind, fault })?;
        let mut keys: Vec<Box<str>> =
            parsed.statements.iter().flat_map(Statement::keys).map(|key| key.to_lowercase().into_boxed_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        let places = span::of_statements(text);
        let (id, statements, text) = (parsed.id, parsed.statements, text.into());
        Ok(Self(Arc::new(Document { kind, id, statements, places, text, keys })))
    }

    /// Where it stands.
    #[must_use]
    pub fn kind(&self) -> PolicyKind {
        self.0.kind
    }

    /// Its Id element.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.0.id.as_deref()
    }

    /// How many statements it has.
    #[must_use]
    pub fn statement_count(&self) -> usize {
        self.0.statements.len()
    }

    /// The Sid of a statement. None: it has none.
    #[must_use]
    pub fn sid(&self, statement: usize) -> Option<&str> {
        self.0.statements.get(statement)?.sid.as_deref()
    }

    /// Where a statement stands in the text. None: that cannot be told, or there is no such statement.
    #[must_use]
    pub fn span(&self, statement: usize) -> Option<Span> {
        self.0.places.get(statement).map(|place| place.span)
    }

    /// A statement as the document writes it. None: that cannot be told, or there is no such statement.
    #[must_use]
    pub fn text(&self, statement: usize) -> Option<&str> {
        self.0.text.get(self.0.places.get(statement)?.bytes.clone())
    }

    /// Some statement asks for a condition key that begins so (lower case), for example `s3:existingobjecttag/`, in a
    /// condition or as a variable.
    #[must_use]
    pub fn asks_for(&self, key_prefix: &str) -> bool {
        let first = self.0.keys.partition_point(|key| **key < *key_prefix);
        self.0.keys.get(first).is_some_and(|key| key.starts_with(key_prefix))
    }

    /// The condition keys that statements ask for, as the document writes them, each once.
    #[must_use]
    pub fn condition_keys(&self) -> Vec<String> {
        let mut seen = std::collections::HashSet::new();
        let keys = self.0.statements.iter().flat_map(Statement::keys);
        keys.filter(|key| seen.insert(key.to_lowercase())).map(str::to_owned).collect()
    }

    /// The condition keys that its statements about an action ask for, as the document writes them.
    pub(crate) fn keys_for_action(&self, action: &str) -> impl Iterator<Item = &str> {
        let about_it = self.0.statements.iter().filter(move |statement| statement.actions.cover(action));
        about_it.flat_map(Statement::keys)
    }

    /// What its statements about an action do.
    pub(crate) fn statements_about(&self, action: &str) -> impl Iterator<Item = About> {
        let about_it = self.0.statements.iter().filter(move |statement| statement.actions.cover(action));
        about_it.map(|statement| About {
            allows: statement.effect == Effect::Allow,
            is_of_everything: statement.is_of_everything(),
        })
    }

    /// Whom it is about, those that NotPrincipal elements except included.
    pub fn principals(&self) -> impl Iterator<Item = &PrincipalEntry> {
        let principals = self.0.statements.iter().filter_map(|statement| statement.principals.as_ref());
        principals.flat_map(|principals| &principals.entries)
    }

    /// The policy with the accounts that its canonical ids stand for, as S3 stores it.
    ///
    /// # Errors
    /// If an account is not known: "Invalid principal in policy".
    pub fn with_canonical_users(
        mut self,
        account: impl Fn(&str) -> Option<AccountNumber>,
    ) -> Result<Self, PolicyError> {
        let is_canonical = |entry: &PrincipalEntry| matches!(entry, PrincipalEntry::CanonicalUser(_));
        if !self.principals().any(is_canonical) {
            return Ok(self);
        }
        let kind = self.0.kind;
        let statements = &mut Arc::make_mut(&mut self.0).statements;
        for entry in
            statements.iter_mut().filter_map(|statement| statement.principals.as_mut()).flat_map(|p| &mut p.entries)
        {
            if let PrincipalEntry::CanonicalUser(id) = entry {
                let unknown = || PolicyError { kind, fault: Fault::Principal(format!("\"CanonicalUser\":\"{id}\"")) };
                *entry = PrincipalEntry::Account(account(id).ok_or_else(unknown)?);
            }
        }
        Ok(self)
    }

    /// The statements that are about a request, by their index, and as what they are about who makes it.
    pub(crate) fn covering<'p>(
        &'p self,
        facts: &'p Facts<'_>,
        has_boundary: bool,
    ) -> impl Iterator<Item = (usize, Effect, Named)> + 'p {
        let statements = self.0.statements.iter().enumerate();
        statements.filter_map(move |(index, statement)| {
            statement.covers(facts, has_boundary).map(|named| (index, statement.effect, named))
        })
    }
}

/// What a statement about an action does.
pub(crate) struct About {
    /// It allows the action; or else it denies it.
    pub(crate) allows: bool,
    /// For all resources, under all circumstances.
    pub(crate) is_of_everything: bool,
}

/// What a request says to the keys that statements ask for.
pub(crate) struct Facts<'r> {
    request: &'r Request<'r>,
    /// The parts of the resource's ARN.
    resource: Option<ArnParts<'r>>,
}

impl<'r> Facts<'r> {
    pub(crate) fn new(request: &'r Request<'r>) -> Self {
        Self { request, resource: arn_parts(request.resource) }
    }

    /// The values of a key: the context's, or what is known from who makes the request and of whom.
    pub(crate) fn values(&self, key: &str) -> Values<'r> {
        match self.request.context.values(key) {
            Values::Absent => self.derived(key).map_or(Values::Absent, Values::One),
            values => values,
        }
    }

    fn derived(&self, key: &str) -> Option<Cow<'r, str>> {
        let principal = self.request.principal;
        match key {
            "aws:principalarn" => principal.arn().map(Cow::Owned),
            "aws:principalaccount" => principal.account().map(|account| account.to_string().into()),
            "aws:principaltype" => Some(principal.kind().into()),
            "aws:userid" => principal.user_id().map(Cow::Owned),
            "aws:username" => principal.user_name().map(Cow::Borrowed),
            "aws:principalisawsservice" => Some(principal.service().is_some().to_string().into()),
            "aws:principalservicename" | "aws:principalservicenameslist" => principal.service().map(Cow::Borrowed),
            "aws:resourceaccount" | "s3:resourceaccount" => {
                self.request.resource_account.map(|account| account.to_string().into())
            }
            _ => None,
        }
    }

    /// The value of a key that has one.
    fn single(&self, key: &str) -> Option<Cow<'r, str>> {
        match self.values(key) {
            Values::One(value) => Some(value),
            Values::Many(mut values) if values.len() == 1 => values.pop(),
            Values::Absent | Values::Many(_) => None,
        }
    }
}
