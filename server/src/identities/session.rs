//! Who makes a request by a session, and what bounds it.
//!
//! A session lives as long as whose it is: a role's as long as the role, any other as long as the access key that asked for it
//! is active. What it may do is what its role, or its user, may do at the time of the request, within its session policies.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Source, SourceKind, Values};
use cairn_iam::identity::{PrincipalPolicies, Tag};
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_iam::principal::{FederatingUser, Principal};
use cairn_storage::clock::Timestamp;
use http::StatusCode;

use crate::auth::Signer;
use crate::query_api::faults;
use crate::s3::error::Failure;
use crate::sts::session::{Session, Whose};
use crate::sts::session_keys::{self, PRINCIPAL_TAG};

use super::{Caller, Identities, Snapshot};

/// What a root may do, for those who have its rights without being it.
const ALLOWS_ALL: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

impl Snapshot {
    /// Who has signed. None: nobody who may sign any more.
    pub fn signed_by(&self, signer: &Signer) -> Option<Arc<Caller>> {
        if let Some(caller) = self.callers.find(signer) {
            return Some(caller);
        }
        let caller = match &signer.session {
            None => self.caller(&signer.access_key),
            Some(session) => self.in_session(session),
        };
        let caller = Arc::new(Caller { access_key: Some(signer.access_key.clone()), ..caller? });
        self.callers.keep(&signer.access_key, &caller);
        Some(caller)
    }

    fn in_session(&self, session: &Arc<Session>) -> Option<Caller> {
        let mut caller = match &session.whose {
            Whose::Role { role_id, session_name, .. } => self.in_role(session, role_id, session_name)?,
            Whose::User { user_id, .. } => self.parent(session, Some(user_id))?,
            Whose::Root { .. } => self.parent(session, None)?,
            Whose::Federated { user_id, name, .. } => federated(self.parent(session, user_id.as_deref())?, name),
        };
        let is_federated = matches!(session.whose, Whose::Federated { .. });
        // Nobody has a federated user's rights but as far as session policies go.
        if session.has_policies() || is_federated {
            caller.session_policies = Some(self.session_policies(session, &caller)?);
        }
        caller.session = Some(Arc::clone(session));
        Some(caller)
    }

    fn in_role(&self, session: &Session, role_id: &str, session_name: &str) -> Option<Caller> {
        self.in_role_of(AccountNumber(session.account()), role_id, session_name)
    }

    /// A session of a role, without any bounds of its own. None: there is no such role.
    pub fn in_role_of(&self, account: AccountNumber, role_id: &str, session_name: &str) -> Option<Caller> {
        let account = self.accounts().by_number(account)?;
        let directory = self.directory(account.number())?;
        let role = directory.roles.by_id(role_id)?;
        Some(Caller {
            principal: Principal::RoleSession {
                account: account.number(),
                path: role.path.clone(),
                role: role.name.clone(),
                role_id: role.id.clone(),
                session: session_name.to_owned(),
            },
            policies: Arc::clone(directory.policies_of_role(&role.name)?),
            tags: role.tags.clone(),
            account: Some(Arc::clone(account)),
            uses: vec![self.usage.of(account.number(), &role.id)],
            ..Caller::anonymous()
        })
    }

    /// The user of this id, or the root, if the access key is still active that the session was made with, and theirs.
    fn parent(&self, session: &Session, user_id: Option<&str>) -> Option<Caller> {
        let caller = self.caller(session.parent_access_key.as_deref()?)?;
        let is_same = match (&caller.principal, user_id) {
            (Principal::Root(_), None) => true,
            (Principal::User { id, .. }, Some(user_id)) => id == user_id,
            _ => false,
        };
        (is_same && caller.principal.account() == Some(AccountNumber(session.account()))).then_some(caller)
    }

    /// What the session is granted at most. None: a policy is damaged, and so nothing can be said.
    fn session_policies(&self, session: &Session, caller: &Caller) -> Option<Vec<Attached>> {
        let holder: Arc<str> = caller.principal.caller_arn()?.into();
        let attached = |name: &str, policy| {
            let source = Source { kind: SourceKind::Session, holder: Arc::clone(&holder), name: name.into() };
            Attached { source, policy }
        };
        let directory = self.directory(AccountNumber(session.account()))?;
        let mut policies = Vec::new();
        if let Some(text) = &session.policy {
            policies.push(attached("", Policy::parse(text, PolicyKind::Identity).ok()?));
        }
        // One that is gone grants nothing, and bounds nevertheless.
        policies.extend(
            session.policy_arns.iter().filter_map(|arn| Some(attached(arn, directory.find_managed_policy(arn)?))),
        );
        Some(policies)
    }
}

impl Identities {
    /// Uses a code of a device that the principal has. It is good once.
    ///
    /// # Errors
    /// `InvalidAuthenticationCode`.
    pub async fn use_code(self: &Arc<Self>, principal: &Principal, serial: &str, code: &str) -> Result<(), Failure> {
        let (account, user) = match principal {
            Principal::User { account, name, .. } => (*account, Some(name.as_str())),
            Principal::Root(account) => (*account, None),
            // Sessions of roles, and whoever is federated, have no devices.
            _ => return Err(invalid_code()),
        };
        self.use_mfa_code(account, user, serial, code).await
    }
}

fn invalid_code() -> Failure {
    faults::fault("InvalidAuthenticationCode", StatusCode::FORBIDDEN, "Authentication code for device is not valid.")
}

/// Somebody for whom a user, or a root, asked a token: with their rights and without their tags.
fn federated(by: Caller, name: &str) -> Caller {
    let Some(account) = by.principal.account() else { return by };
    let (user, policies) = match &by.principal {
        Principal::User { path, name, id, .. } => {
            (Some(FederatingUser { path: path.clone(), name: name.clone(), id: id.clone() }), by.policies)
        }
        _ => (None, Arc::new(rights_of_root(account))),
    };
    let principal = Principal::FederatedUser { account, name: name.to_owned(), by: user };
    Caller { principal, policies, tags: Vec::new(), ..by }
}

fn rights_of_root(account: AccountNumber) -> PrincipalPolicies {
    let holder = Principal::Root(account).arn().unwrap_or_default();
    let source = Source { kind: SourceKind::User, holder: holder.into(), name: "root".into() };
    let policy = Policy::parse(ALLOWS_ALL, PolicyKind::Identity).expect("the document is a policy");
    PrincipalPolicies { identity: vec![Attached { source, policy }], boundary: None }
}

impl Caller {
    /// The values of a condition key, in lower case, that tells of the caller and its session. What follows from its
    /// principal alone, `evaluate` answers.
    pub fn condition(&self, key: &str, now: Timestamp) -> Values<'_> {
        if let Some(session) = &self.session {
            let values = session_keys::values(session, key, now);
            if values != Values::Absent {
                return values;
            }
        }
        match key.strip_prefix(PRINCIPAL_TAG) {
            Some(tag) => tag_value(&self.tags, tag).map_or(Values::Absent, |value| Values::One(value.into())),
            None => Values::Absent,
        }
    }
}

/// The value of the tag whose key is this in lower case.
fn tag_value<'t>(tags: &'t [Tag], key: &str) -> Option<&'t str> {
    tags.iter().find(|tag| tag.key.to_lowercase() == key).map(|tag| tag.value.as_str())
}
