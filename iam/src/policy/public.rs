//! Whether a policy lets somebody unknown in (S3 user guide, "Blocking public access to your Amazon S3 storage", section
//! "The meaning of "public"").
//!
//! A policy is public unless each statement that allows something is for principals it names, or has a condition that only
//! fixed values of one of some keys fulfil. So a statement that denies does not make a policy less public.

use super::Policy;
use super::condition::{Condition, Test};
use super::pattern::Pattern;
use super::principals::PrincipalEntry;
use super::statement::{Effect, Statement};

/// Keys that make a statement not public, if only fixed values are let in.
const FIXING_KEYS: [&str; 14] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalservicename",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    ACCESS_POINT_ARN,
    "s3:dataaccesspointaccount",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

/// Its access point may be any, if the account is fixed.
const ACCESS_POINT_ARN: &str = "s3:dataaccesspointarn";

/// The account in an ARN.
const ACCOUNT_PART: usize = 4;

/// Ranges of addresses with fewer bits than these are as good as everybody.
const IPV4_PREFIX_BITS_MIN: u32 = 8;
const IPV6_PREFIX_BITS_MIN: u32 = 32;

impl Policy {
    /// Public as S3 understands it: somebody unknown is allowed something.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.0.statements.iter().any(Statement::is_public)
    }
}

impl Statement {
    fn is_public(&self) -> bool {
        let is_open = |entry: &PrincipalEntry| matches!(entry, PrincipalEntry::Anyone | PrincipalEntry::Federated(_));
        let open = self.principals.as_ref().is_some_and(|listed| listed.except || listed.entries.iter().any(is_open));
        self.effect == Effect::Allow && open && !self.conditions.iter().any(Condition::lets_only_fixed_values_in)
    }
}

impl Condition {
    fn lets_only_fixed_values_in(&self) -> bool {
        if self.negated || self.holds_without_value() {
            return false;
        }
        let key = &*self.key.lower;
        match &self.test {
            Test::Address(networks) if key == "aws:sourceip" => networks.iter().all(|network| {
                network.prefix_bits
                    >= if network.address.is_ipv4() { IPV4_PREFIX_BITS_MIN } else { IPV6_PREFIX_BITS_MIN }
            }),
            _ if !FIXING_KEYS.contains(&key) => false,
            Test::Text(patterns) | Test::TextIgnoringCase(patterns) => patterns.iter().all(|pattern| {
                pattern.is_literal()
                    || key == "aws:userid" && pattern.is_any_session_of_a_role()
                    || key == ACCESS_POINT_ARN && pattern.fixes_account()
            }),
            Test::Arn(patterns) => patterns.iter().all(|pattern| {
                let account_is_fixed = || pattern.part(ACCOUNT_PART).is_some_and(Pattern::is_literal);
                pattern.is_literal() || key == ACCESS_POINT_ARN && account_is_fixed()
            }),
            _ => false,
        }
    }
}
