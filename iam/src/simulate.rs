//! What would be decided, for SimulatePrincipalPolicy and SimulateCustomPolicy (IAM API reference), and which condition keys a
//! simulation has to be given, for GetContextKeysForCustomPolicy and GetContextKeysForPrincipalPolicy.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use crate::evaluate::{Attached, Context, Decision, Outcome, Policies, Request, Values, evaluate};
use crate::policy::Policy;

/// The values of condition keys that whoever simulates gives, by the key in lower case.
#[derive(Clone, Debug, Default)]
pub struct ContextEntries(BTreeMap<String, Vec<String>>);

impl ContextEntries {
    /// Gives a key its values; a key given before gets new ones. No values: the key is absent.
    pub fn set(&mut self, key: &str, values: Vec<String>) {
        self.0.insert(key.to_lowercase(), values);
    }
}

impl Context for ContextEntries {
    fn values<'c>(&'c self, key: &str) -> Values<'c> {
        match self.0.get(key).map(Vec::as_slice) {
            None | Some([]) => Values::Absent,
            Some([value]) => Values::One(Cow::Borrowed(value)),
            Some(values) => Values::Many(values.iter().map(|value| Cow::Borrowed(&**value)).collect()),
        }
    }
}

/// What would be decided.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// The decision, and the statements that would make it.
    pub decision: Decision,
    /// The condition keys that a statement about the action asks for and that have no value, as the documents write them.
    pub missing_keys: Vec<String>,
}

impl Simulated {
    /// IAM's name of the decision (`PolicyEvaluationDecisionType`).
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.decision.outcome {
            Outcome::Allowed(_) => "allowed",
            Outcome::ExplicitDeny => "explicitDeny",
            Outcome::NotAllowed(_) => "implicitDeny",
        }
    }
}

/// What would be decided about a request.
#[must_use]
pub fn simulate(request: &Request<'_>, policies: &Policies<'_>) -> Simulated {
    let mut seen = HashSet::new();
    let mut missing_keys = Vec::new();
    for attached in all(policies) {
        for key in attached.policy.keys_for_action(request.action) {
            let lower = key.to_lowercase();
            if !request.has(&lower) && seen.insert(lower) {
                missing_keys.push(key.to_owned());
            }
        }
    }
    Simulated { decision: evaluate(request, policies), missing_keys }
}

fn all<'p>(policies: &Policies<'p>) -> impl Iterator<Item = &'p Attached> {
    let session = policies.session.unwrap_or_default();
    policies.identity.iter().chain(policies.boundary).chain(session).chain(policies.resource)
}

/// The condition keys that policies ask for, as the documents write them, each once and in their order.
#[must_use]
pub fn context_keys<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Vec<String> {
    let mut seen = HashSet::new();
    let keys = policies.into_iter().flat_map(Policy::condition_keys);
    keys.filter(|key| seen.insert(key.to_lowercase())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::acl::AccountNumber;
    use crate::evaluate::{Source, SourceKind};
    use crate::policy::PolicyKind;
    use crate::principal::Principal;

    fn policy() -> Attached {
        let document = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::b/${aws:username}/*",
             "Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}},
            {"Effect":"Deny","Action":"s3:PutObject","Resource":"*","Condition":{"Null":{"s3:X-Amz-ACL":"false"}}}]}"#;
        let source = Source { kind: SourceKind::User, holder: "anna".into(), name: "own".into() };
        Attached { source, policy: Policy::parse(document, PolicyKind::Identity).unwrap() }
    }

    fn simulate_with(action: &str, entries: &ContextEntries) -> Simulated {
        let account = AccountNumber(1);
        let principal = Principal::User { account, path: "/".into(), name: "anna".into(), id: "AIDA".into() };
        let request = Request {
            principal: &principal,
            action,
            resource: "arn:aws:s3:::b/anna/k",
            resource_account: Some(account),
            context: entries,
        };
        simulate(&request, &Policies { identity: &[policy()], ..Policies::default() })
    }

    #[test]
    fn keys_without_a_value_are_named_if_a_statement_about_the_action_asks_for_them() {
        let mut entries = ContextEntries::default();
        let simulated = simulate_with("s3:GetObject", &entries);
        assert_eq!((simulated.name(), &*simulated.missing_keys), ("implicitDeny", &["aws:SourceIp".to_owned()][..]));
        entries.set("AWS:sourceip", vec!["10.1.2.3".to_owned()]);
        let simulated = simulate_with("s3:getobject", &entries);
        assert_eq!((simulated.name(), &*simulated.missing_keys), ("allowed", &[][..]));
        entries.set("s3:x-amz-acl", vec!["private".to_owned()]);
        assert_eq!(simulate_with("s3:PutObject", &entries).name(), "explicitDeny");
    }

    #[test]
    fn policies_ask_for_the_keys_of_conditions_and_variables() {
        let keys = context_keys([&policy().policy]);
        assert_eq!(keys, ["aws:username", "aws:SourceIp", "s3:X-Amz-ACL"]);
    }
}
