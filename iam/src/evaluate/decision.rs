//! What was decided, and by what.

use std::fmt;
use std::sync::Arc;

use crate::policy::{Policy, Span};

/// A policy and what it is attached as, for explanations.
#[derive(Clone, Debug)]
pub struct Attached {
    /// What it is attached as.
    pub source: Source,
    /// What it says.
    pub policy: Policy,
}

/// As what a policy decides. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// In which role.
    pub kind: SourceKind,
    /// The ARN of the user, group, role, session or bucket that has it.
    pub holder: Arc<str>,
    /// Its name if it is inline, its ARN if it is managed; empty for what needs no name.
    pub name: Arc<str>,
}

/// In which role a policy decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Inline, of a user.
    User,
    /// Inline, of a group of the user's.
    Group,
    /// Inline, of a role.
    Role,
    /// Managed, of AWS's.
    AwsManaged,
    /// Managed, of the account's.
    UserManaged,
    /// Bounds a user or a role.
    Boundary,
    /// Bounds a session.
    Session,
    /// On the resource.
    Resource,
}

impl SourceKind {
    /// IAM's name (API reference, `Statement`, `SourcePolicyType`); IAM knows none for what bounds.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Role => "role",
            Self::AwsManaged => "aws-managed",
            Self::UserManaged => "user-managed",
            Self::Boundary | Self::Session => "none",
            Self::Resource => "resource",
        }
    }

    /// Which of the policies that decide it is one of.
    #[must_use]
    pub fn part(self) -> Part {
        match self {
            Self::User | Self::Group | Self::Role | Self::AwsManaged | Self::UserManaged => Part::Identity,
            Self::Boundary => Part::Boundary,
            Self::Session => Part::Session,
            Self::Resource => Part::Resource,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, holder, name } = self;
        match kind {
            SourceKind::User | SourceKind::Group | SourceKind::Role => write!(f, "inline policy {name} of {holder}"),
            SourceKind::AwsManaged | SourceKind::UserManaged => write!(f, "policy {name} attached to {holder}"),
            SourceKind::Boundary => write!(f, "permissions boundary {name} of {holder}"),
            SourceKind::Session if name.is_empty() => write!(f, "session policy of {holder}"),
            SourceKind::Session => write!(f, "session policy {name} of {holder}"),
            SourceKind::Resource => write!(f, "policy of {holder}"),
        }
    }
}

/// Whether a request is allowed, and what decided it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What was decided.
    pub outcome: Outcome,
    /// The statements that decided: all that deny it, or else all that allow it. None if the absence of any decided.
    pub deciders: Vec<Decider>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is allowed.
    Allowed(Grant),
    /// A statement denies it.
    ExplicitDeny,
    /// Nothing denies it, but this part does not allow it.
    NotAllowed(Part),
}

/// What allowed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It comes from the account's root.
    Root,
    /// Statements of policies.
    Policies,
    /// An access control list, and, across accounts, statements of identity policies.
    Acl,
    /// A grant of a KMS key, and, across accounts, statements of identity policies.
    KmsGrant,
}

/// The policies that a decision is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The principal's.
    Identity,
    /// The resource's.
    Resource,
    /// The permission boundary.
    Boundary,
    /// The session's.
    Session,
}

impl Part {
    /// What it is called in AWS's messages (IAM user guide, "Troubleshoot access denied error messages").
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Resource => "resource-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
        }
    }
}

/// A statement that decided. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Decider {
    /// As what its policy decides.
    pub source: Source,
    /// Its place in the policy, from 0.
    pub statement: usize,
    policy: Policy,
}

impl Decider {
    pub(super) fn new(attached: &Attached, statement: usize) -> Self {
        Self { source: attached.source.clone(), statement, policy: attached.policy.clone() }
    }

    /// The statement's Sid. None: it has none.
    #[must_use]
    pub fn sid(&self) -> Option<&str> {
        self.policy.sid(self.statement)
    }

    /// The statement as its document writes it. None: that cannot be told.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.policy.text(self.statement)
    }

    /// Where the statement stands in its document. None: that cannot be told.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        self.policy.span(self.statement)
    }
}

impl fmt::Display for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sid() {
            Some(sid) => write!(f, "statement {sid} of {}", self.source),
            None => write!(f, "statement {} of {}", self.statement + 1, self.source),
        }
    }
}

impl Decision {
    pub(super) fn allowed(grant: Grant, deciders: Vec<Decider>) -> Self {
        Self { outcome: Outcome::Allowed(grant), deciders }
    }

    pub(super) fn not_allowed(part: Part) -> Self {
        Self { outcome: Outcome::NotAllowed(part), deciders: Vec::new() }
    }

    /// Whether the request is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self.outcome, Outcome::Allowed(_))
    }

    /// How AWS's message about the refusal of an action goes on. None: it is allowed.
    #[must_use]
    pub fn because(&self, action: &str) -> Option<String> {
        match self.outcome {
            Outcome::Allowed(_) => None,
            Outcome::ExplicitDeny => {
                let part = self.deciders.first().map_or(Part::Identity, |decider| decider.source.kind.part()).name();
                let article = if part.starts_with('i') { "an" } else { "a" };
                Some(format!("with an explicit deny in {article} {part}"))
            }
            Outcome::NotAllowed(part) => Some(format!("because no {} allows the {action} action", part.name())),
        }
    }
}
