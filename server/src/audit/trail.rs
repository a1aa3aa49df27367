//! The decisions about one request, as they are made.

use std::sync::Arc;

use cairn_iam::evaluate::{Decider, Decision, Grant, Outcome};
use cairn_storage::id::AccountId;
use parking_lot::Mutex;

use crate::authorize::Caller;

/// Decisions of one request that are kept; a request that deletes a thousand keys has a thousand.
pub const VERDICTS_MAX: usize = 32;

/// One decision.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was to be done: `s3:GetObject`.
    pub action: String,
    /// To what: an ARN.
    pub resource: String,
    /// Whether it may, and why.
    pub decision: Decision,
}

impl Verdict {
    /// What decided, in words.
    pub fn because(&self) -> String {
        let decision = &self.decision;
        match decision.outcome {
            Outcome::Allowed(Grant::Root) => "it is the root of the account".to_owned(),
            Outcome::Allowed(Grant::Acl) => "an access control list grants it".to_owned(),
            Outcome::Allowed(Grant::KmsGrant) => "a grant of the key gives it".to_owned(),
            Outcome::Allowed(Grant::Policies) => format!("allowed by {}", list(&decision.deciders)),
            Outcome::ExplicitDeny => format!("denied by {}", list(&decision.deciders)),
            Outcome::NotAllowed(part) => format!("no {} allows {}", part.name(), self.action),
        }
    }
}

fn list(deciders: &[Decider]) -> String {
    let texts: Vec<String> = deciders.iter().map(ToString::to_string).collect();
    texts.join(" and ")
}

/// Everything that was decided about a request.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    /// Who asked; None: that was never found out.
    pub caller: Option<Arc<Caller>>,
    /// Whose the buckets are that it was about.
    pub owners: Vec<AccountId>,
    /// The decisions, in their order.
    pub verdicts: Vec<Verdict>,
    /// How many more there were.
    pub further: usize,
}

impl Decided {
    /// Who asked: an ARN, or `anonymous`. None: that was never found out.
    pub fn principal(&self) -> Option<String> {
        let caller = self.caller.as_ref()?;
        Some(caller.principal.caller_arn().unwrap_or_else(|| "anonymous".to_owned()))
    }

    /// `allowed`, `denied`, or `undecided`: refused before there was anything to decide.
    pub fn outcome(&self) -> &'static str {
        match self.deciding() {
            None => "undecided",
            Some(verdict) if verdict.decision.is_allowed() => "allowed",
            Some(_) => "denied",
        }
    }

    /// The decision that the request came to: the newest that refused something, or else the first.
    pub fn deciding(&self) -> Option<&Verdict> {
        let refusal = self.verdicts.iter().rev().find(|verdict| !verdict.decision.is_allowed());
        refusal.or_else(|| self.verdicts.first())
    }
}

/// Where the decisions about a request are noted. Cheap to clone; all clones are one trail.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Decided>>);

impl Trail {
    /// Notes who asks.
    pub fn caller(&self, caller: &Arc<Caller>) {
        self.0.lock().caller = Some(Arc::clone(caller));
    }

    /// Notes whose a bucket is that the request is about.
    pub fn owner(&self, owner: AccountId) {
        let mut decided = self.0.lock();
        if !decided.owners.contains(&owner) {
            decided.owners.push(owner);
        }
    }

    /// Notes a decision. One about the same replaces an earlier one, which was made on less knowledge.
    pub fn decided(&self, action: &str, resource: &str, decision: Decision) {
        let mut decided = self.0.lock();
        let same = |verdict: &&mut Verdict| verdict.action == action && verdict.resource == resource;
        if let Some(verdict) = decided.verdicts.iter_mut().rev().find(same) {
            verdict.decision = decision;
        } else if decided.verdicts.len() < VERDICTS_MAX {
            decided.verdicts.push(Verdict { action: action.to_owned(), resource: resource.to_owned(), decision });
        } else {
            decided.further += 1;
        }
    }

    /// The newest decision that refused something.
    pub fn newest_refusal(&self) -> Option<Verdict> {
        self.0.lock().deciding().filter(|verdict| !verdict.decision.is_allowed()).cloned()
    }

    /// What has been noted; the trail is empty then.
    pub fn take(&self) -> Decided {
        std::mem::take(&mut *self.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use cairn_iam::evaluate::{Context, Policies, Request, Values, evaluate};
    use cairn_iam::principal::Principal;

    use super::*;

    struct Nothing;

    impl Context for Nothing {
        fn values<'c>(&'c self, _: &str) -> Values<'c> {
            Values::Absent
        }
    }

    fn decision(resource_grants: bool) -> Decision {
        let request = Request {
            principal: &Principal::Anonymous,
            action: "s3:GetObject",
            resource: "arn:aws:s3:::b/k",
            resource_account: None,
            context: &Nothing,
        };
        evaluate(&request, &Policies { resource_grants, ..Policies::default() })
    }

    #[test]
    fn what_is_decided_later_replaces_what_was_decided_about_the_same() {
        let trail = Trail::default();
        trail.decided("s3:GetObject", "arn:aws:s3:::b/k", decision(true));
        trail.clone().decided("s3:GetObject", "arn:aws:s3:::b/k", decision(false));
        trail.decided("s3:GetObject", "arn:aws:s3:::b/l", decision(true));
        assert!(trail.newest_refusal().is_some_and(|verdict| verdict.resource == "arn:aws:s3:::b/k"));
        let decided = trail.take();
        assert_eq!(
            decided.verdicts.iter().map(|verdict| verdict.decision.is_allowed()).collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn a_trail_is_bounded() {
        let trail = Trail::default();
        for number in 0..VERDICTS_MAX + 5 {
            trail.decided("s3:DeleteObject", &number.to_string(), decision(true));
        }
        let decided = trail.take();
        assert_eq!((decided.verdicts.len(), decided.further), (VERDICTS_MAX, 5));
    }
}
