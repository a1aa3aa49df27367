//! What identity policies grant, whatever the resource and the circumstances: with what was used, it tells what is granted in vain
//! (IAM user guide, "Refining permissions in AWS using last accessed information").

use crate::evaluate::Attached;
use crate::policy::Policy;

/// Whether some request for an action can be allowed by policies of a principal: one of them allows it for something, its boundary
/// does too, and none denies it for everything under all circumstances.
#[must_use]
pub fn is_granted(identity: &[Attached], boundary: Option<&Attached>, action: &str) -> bool {
    let allows = |attached: &Attached| attached.policy.allows_some(action);
    let denies = |attached: &Attached| attached.policy.denies_all(action);
    identity.iter().any(allows) && boundary.is_none_or(allows) && !identity.iter().chain(boundary).any(denies)
}

/// The policies of a principal that grant an action for something (ListPoliciesGrantingServiceAccess asks it of a service's
/// actions).
pub fn granting<'p>(identity: &'p [Attached], action: &str) -> impl Iterator<Item = &'p Attached> {
    identity.iter().filter(move |attached| attached.policy.allows_some(action))
}

impl Policy {
    /// Some statement allows the action for something, under some circumstances.
    #[must_use]
    pub fn allows_some(&self, action: &str) -> bool {
        self.statements_about(action).any(|about| about.allows)
    }

    /// Some statement denies the action for everything, under all circumstances.
    #[must_use]
    pub fn denies_all(&self, action: &str) -> bool {
        self.statements_about(action).any(|about| !about.allows && about.is_of_everything)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::evaluate::{Source, SourceKind};
    use crate::policy::PolicyKind;

    fn attached(statements: &str) -> Attached {
        let source = Source { kind: SourceKind::User, holder: "anna".into(), name: "own".into() };
        let document = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
        Attached { source, policy: Policy::parse(&document, PolicyKind::Identity).unwrap() }
    }

    #[test]
    fn what_some_request_could_be_allowed_is_granted() {
        let own = [attached(
            r#"{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/*","Condition":{"Bool":{"aws:SecureTransport":"true"}}},
               {"Effect":"Deny","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/locked/*"},
               {"Effect":"Deny","Action":"s3:DeleteObject","Resource":"*"}"#,
        )];
        let reader = attached(r#"{"Effect":"Allow","NotAction":"s3:Put*","Resource":"*"}"#);
        assert!(is_granted(&own, None, "s3:PutObject"));
        assert!(!is_granted(&own, None, "s3:DeleteObject"), "denied for everything");
        assert!(!is_granted(&own, None, "iam:GetUser"), "never allowed");
        assert!(!is_granted(&own, Some(&reader), "s3:PutObject"), "beyond the boundary");
        assert!(is_granted(&own, Some(&reader), "s3:GetObject"));
        assert_eq!(granting(&own, "s3:GetObject").count(), 1);
    }
}
