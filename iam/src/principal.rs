//! Who makes a request, as policies see it: an ARN, an account, and the values of `aws:userid`, `aws:username` and
//! `aws:PrincipalType` (IAM user guide, "AWS global condition context keys" and "IAM JSON policy elements: Principal").

use std::fmt;

use crate::acl::AccountNumber;

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Somebody whose request has no signature.
    Anonymous,
    /// An account's root.
    Root(AccountNumber),
    /// A user of an account.
    User {
        /// The account.
        account: AccountNumber,
        /// The folder of the name: `/`, or `/a/b/`.
        path: String,
        /// The name, as it was created.
        name: String,
        /// `AIDA...`, never used again after the user is gone.
        id: String,
    },
    /// A role that somebody has assumed.
    RoleSession {
        /// The role's account.
        account: AccountNumber,
        /// The folder of the role's name.
        path: String,
        /// The role's name.
        role: String,
        /// `AROA...`
        role_id: String,
        /// What who assumed it calls the session.
        session: String,
    },
    /// Somebody for whom a user asked for a federation token.
    FederatedUser {
        /// The account.
        account: AccountNumber,
        /// What the user calls them.
        name: String,
        /// The user. None: the account's root.
        by: Option<FederatingUser>,
    },
    /// Somebody whom an identity provider vouches for; only roles' trust policies know such.
    WebIdentity {
        /// The provider's ARN, or the domain of a well-known one.
        provider: String,
    },
    /// The server itself, acting for one of its services, for example `delivery.logs.amazonaws.com`.
    Service(String),
}

/// The user who asked for a federation token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FederatingUser {
    /// The folder of the name.
    pub path: String,
    /// The name.
    pub name: String,
    /// `AIDA...`
    pub id: String,
}

impl Principal {
    /// The account whose policies decide about the principal. None: it has none.
    #[must_use]
    pub fn account(&self) -> Option<AccountNumber> {
        match self {
            Self::Anonymous | Self::Service(_) | Self::WebIdentity { .. } => None,
            Self::Root(account)
            | Self::User { account, .. }
            | Self::RoleSession { account, .. }
            | Self::FederatedUser { account, .. } => Some(*account),
        }
    }

    /// The value of `aws:PrincipalArn`; for a session of a role that is the role's ARN. None: it has no ARN.
    #[must_use]
    pub fn arn(&self) -> Option<String> {
        match self {
            Self::Anonymous | Self::Service(_) | Self::WebIdentity { .. } => None,
            Self::Root(account) => Some(format!("arn:aws:iam::{account}:root")),
            Self::User { account, path, name, .. } => Some(format!("arn:aws:iam::{account}:user{path}{name}")),
            Self::RoleSession { account, path, role, .. } => Some(format!("arn:aws:iam::{account}:role{path}{role}")),
            Self::FederatedUser { account, name, .. } => Some(format!("arn:aws:sts::{account}:federated-user/{name}")),
        }
    }

    /// The ARN of the caller as GetCallerIdentity shows it, in which a session of a role names the session.
    #[must_use]
    pub fn caller_arn(&self) -> Option<String> {
        match self {
            Self::RoleSession { account, role, session, .. } => {
                Some(format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"))
            }
            other => other.arn(),
        }
    }

    /// The value of `aws:userid`. None: it has none.
    #[must_use]
    pub fn user_id(&self) -> Option<String> {
        match self {
            Self::Anonymous | Self::Service(_) | Self::WebIdentity { .. } => None,
            Self::Root(account) => Some(account.to_string()),
            Self::User { id, .. } => Some(id.clone()),
            Self::RoleSession { role_id, session, .. } => Some(format!("{role_id}:{session}")),
            Self::FederatedUser { account, name, .. } => Some(format!("{account}:{name}")),
        }
    }

    /// The value of `aws:username`, which only users have.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        match self {
            Self::User { name, .. } => Some(name),
            _ => None,
        }
    }

    /// The value of `aws:PrincipalServiceName`, which only services have.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Service(name) => Some(name),
            _ => None,
        }
    }

    /// The value of `aws:PrincipalType`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Anonymous => "Anonymous",
            Self::Root(_) => "Account",
            Self::User { .. } => "User",
            Self::RoleSession { .. } => "AssumedRole",
            Self::FederatedUser { .. } => "FederatedUser",
            Self::Service(_) => "Service",
            Self::WebIdentity { .. } => "FederatedUser",
        }
    }
}

impl fmt::Display for AccountNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ACCOUNT: AccountNumber = AccountNumber(42);

    #[test]
    fn a_session_is_its_role_to_policies_and_itself_to_the_caller() {
        let session = Principal::RoleSession {
            account: ACCOUNT,
            path: "/app/".to_owned(),
            role: "reader".to_owned(),
            role_id: "AROAX".to_owned(),
            session: "job".to_owned(),
        };
        assert_eq!(session.arn().unwrap(), "arn:aws:iam::000000000042:role/app/reader");
        assert_eq!(session.caller_arn().unwrap(), "arn:aws:sts::000000000042:assumed-role/reader/job");
        assert_eq!(session.user_id().unwrap(), "AROAX:job");
        assert_eq!(session.user_name(), None);
    }

    #[test]
    fn a_user_has_path_and_name_in_its_arn() {
        let user =
            Principal::User { account: ACCOUNT, path: "/".to_owned(), name: "anna".to_owned(), id: "AIDAX".to_owned() };
        assert_eq!(user.arn().unwrap(), "arn:aws:iam::000000000042:user/anna");
        assert_eq!((user.user_id().unwrap().as_str(), user.user_name()), ("AIDAX", Some("anna")));
    }

    #[test]
    fn nobody_in_particular_has_neither_account_nor_arn() {
        assert_eq!((Principal::Anonymous.account(), Principal::Anonymous.arn()), (None, None));
        assert_eq!(Principal::Root(ACCOUNT).arn().unwrap(), "arn:aws:iam::000000000042:root");
    }
}
