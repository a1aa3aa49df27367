//! Why a text is not a policy for where it is to stand, in the words that IAM and S3 have for it.

use std::fmt;

use super::PolicyKind;

/// Why a text is not a policy for where it is to stand. Displays as AWS's message: S3's for a bucket's policy (an error
/// `MalformedPolicy`), IAM's for the others (`MalformedPolicyDocument`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    pub(super) kind: PolicyKind,
    pub(super) fault: Fault,
}

impl PolicyError {
    /// A principal under `AWS` is none, or there is none such.
    #[must_use]
    pub fn of_principal(kind: PolicyKind, written: &str) -> Self {
        Self { kind, fault: Fault::Principal(format!("\"AWS\":\"{written}\"")) }
    }
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is longer than this.
    TooLong(usize),
    /// It is not a JSON object.
    NotJson,
    /// An object names an element twice.
    Duplicate(String),
    /// There is no such element.
    Unknown(String),
    /// An element has a value of the wrong type.
    Type(&'static str),
    Missing(&'static str),
    /// An element must not be there, or not beside another.
    Prohibited(&'static str),
    /// An element is an empty list.
    Empty(&'static str),
    TooManyStatements,
    Version(String),
    Effect(String),
    SidCharacters,
    SidTwice,
    Principal(String),
    Action(String),
    /// An action without the service it belongs to.
    ActionVendor(String),
    /// An action that is not STS's, in a trust policy.
    ActionNotSts,
    Resource(String),
    /// An action of a statement can be done to none of its resources.
    ActionWithoutResource,
    Operator(String),
    ConditionKey(String),
    ConditionValue(String),
    Variable(String),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PolicyKind::Bucket => self.fmt_s3(f),
            PolicyKind::Identity | PolicyKind::Trust | PolicyKind::Key => self.fmt_iam(f),
        }
    }
}

impl PolicyError {
    fn fmt_s3(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::TooLong(limit) => write!(f, "Policies must not be longer than {limit} bytes"),
            Fault::NotJson => f.write_str("Policies must be valid JSON and the first byte must be '{'"),
            Fault::Duplicate(element) => write!(f, "Duplicate field {element}"),
            Fault::Unknown(element) => write!(f, "Unknown field {element}"),
            Fault::Type(element) => write!(f, "Invalid value for field {element}"),
            Fault::Missing(element) => write!(f, "Missing required field {element}"),
            Fault::Prohibited(element) => write!(f, "Field {element} is not allowed here"),
            Fault::Empty(element) => write!(f, "Missing required field {element} cannot be empty!"),
            Fault::TooManyStatements => f.write_str("Policy has too many statements"),
            Fault::Version(_) => f.write_str("The policy must contain a valid version string"),
            Fault::Effect(effect) => write!(f, "Invalid effect: {effect}"),
            Fault::SidCharacters => f.write_str("Invalid Sid in policy"),
            Fault::SidTwice => f.write_str("Statement IDs (SID) in a single policy must be unique."),
            Fault::Principal(_) => f.write_str("Invalid principal in policy"),
            Fault::Action(_) | Fault::ActionVendor(_) | Fault::ActionNotSts => f.write_str("Policy has invalid action"),
            Fault::Resource(_) => f.write_str("Policy has invalid resource"),
            Fault::ActionWithoutResource => f.write_str("Action does not apply to any resource(s) in statement"),
            Fault::Operator(operator) => write!(f, "Invalid Condition type : {operator}"),
            Fault::ConditionKey(_) => f.write_str("Policy has an invalid condition key"),
            Fault::ConditionValue(value) => write!(f, "Invalid condition value: {value}"),
            Fault::Variable(text) => write!(f, "Invalid policy variable in {text}"),
        }
    }

    fn fmt_iam(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::TooLong(limit) => write!(f, "Policy document must not be longer than {limit} bytes."),
            Fault::NotJson => f.write_str("This policy contains invalid Json"),
            Fault::Duplicate(_) | Fault::Unknown(_) | Fault::Type(_) | Fault::Version(_) | Fault::Effect(_) => {
                f.write_str("Syntax errors in policy.")
            }
            Fault::Missing("Action") | Fault::Empty("Action") => f.write_str("Policy statement must contain actions."),
            Fault::Missing("Resource") | Fault::Empty("Resource") => {
                f.write_str("Policy statement must contain resources.")
            }
            Fault::Missing(element) => write!(f, "Missing required field {element}"),
            Fault::Prohibited("Principal") if self.kind == PolicyKind::Identity => {
                f.write_str("Policy document should not specify a principal.")
            }
            Fault::Prohibited(element) => write!(f, "Has prohibited field {element}"),
            Fault::Empty(_) | Fault::TooManyStatements => f.write_str("Syntax errors in policy."),
            Fault::SidCharacters => f.write_str(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
            ),
            Fault::SidTwice => f.write_str("Statement IDs (SID) in a single policy must be unique."),
            Fault::Principal(principal) => write!(f, "Invalid principal in policy: {principal}"),
            Fault::Action(_) => f.write_str("The policy failed legacy parsing"),
            Fault::ActionVendor(_) => {
                f.write_str("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
            }
            Fault::ActionNotSts => f.write_str("AssumeRole policy may only specify STS AssumeRole actions."),
            Fault::Resource(resource) => write!(f, "Resource {resource} must be in ARN format or \"*\"."),
            Fault::ActionWithoutResource => f.write_str("Action does not apply to any resource(s) in statement"),
            Fault::Operator(operator) => write!(f, "Invalid Condition type : {operator}"),
            Fault::ConditionKey(_) => f.write_str("Condition keys must be prefaced by a vendor, e.g., aws, s3, iam, etc."),
            Fault::ConditionValue(value) => write!(f, "Invalid condition value: {value}"),
            Fault::Variable(text) => write!(f, "Invalid policy variable in {text}"),
        }
    }
}
