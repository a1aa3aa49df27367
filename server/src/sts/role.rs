//! A role that somebody wants to assume: finding it, its trust policy, and the session that comes of it.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Attached, Source, SourceKind};
use cairn_iam::identity::Role;
use cairn_iam::policy::{Policy, PolicyKind};
use cairn_iam::principal::Principal;

use crate::identities::Snapshot;
use crate::query_api::faults::validation;
use crate::query_api::permission::{Deed, Keys};
use crate::query_api::{Params, Reply};
use crate::s3::error::Failure;

use super::parameters::{self, Bounds};
use super::session::{Credentials, Session, Whose};
use super::{StsApi, expiry_ms, write_credentials};

/// The longest session of any role, and what it is if nobody says (API reference, AssumeRole).
const SECONDS_MAX: u32 = 43_200;
const SECONDS_DEFAULT: u32 = 3_600;

/// A role, and who may assume it.
pub(super) struct Wanted {
    pub(super) account: AccountNumber,
    pub(super) role: Arc<RoleFacts>,
    pub(super) arn: String,
    trust: Attached,
}

/// What is needed of a role.
pub(super) struct RoleFacts {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) session_seconds_max: u32,
    tags: Vec<(String, String)>,
}

impl From<&Role> for RoleFacts {
    fn from(role: &Role) -> Self {
        Self {
            name: role.name.clone(),
            path: role.path.clone(),
            id: role.id.clone(),
            session_seconds_max: role.session_seconds_max,
            tags: role.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        }
    }
}

/// The role of an ARN. None: there is none.
pub(super) fn find(snapshot: &Snapshot, arn: &str) -> Option<Wanted> {
    let (account, resource) = arn.strip_prefix("arn:aws:iam::")?.split_once(":role/")?;
    let account = AccountNumber(account.parse().ok()?);
    let name = resource.rsplit('/').next()?;
    let directory = snapshot.directory(account)?;
    let role = directory.role(name).ok()?;
    // The path counts, and so does the case, as the ARN is what policies name.
    if directory.role_arn(role) != arn {
        return None;
    }
    let policy = Policy::parse(&role.trust, PolicyKind::Trust).ok()?;
    let source = Source { kind: SourceKind::Resource, holder: arn.into(), name: "".into() };
    Some(Wanted { account, role: Arc::new(role.into()), arn: arn.to_owned(), trust: Attached { source, policy } })
}

impl Wanted {
    /// What is asked of the trust policy.
    pub(super) fn deed<'d>(&'d self, action: &'d str) -> Deed<'d> {
        Deed { action, resource: &self.arn, account: self.account, policy: Some(&self.trust) }
    }
}

/// What a session of a role is asked to be like.
pub(super) struct Asked {
    pub(super) session_name: String,
    pub(super) bounds: Bounds,
    pub(super) source_identity: Option<String>,
    pub(super) seconds: u32,
}

impl Asked {
    /// Reads the parameters that all ways to assume a role have.
    pub(super) fn read(params: &Params) -> Result<Self, Failure> {
        Ok(Self {
            session_name: parameters::name(params, "RoleSessionName", 64)?.to_owned(),
            bounds: Bounds::read(params)?,
            source_identity: parameters::source_identity(params)?.map(str::to_owned),
            seconds: parameters::duration_seconds(params, SECONDS_DEFAULT, SECONDS_MAX)?,
        })
    }

    /// The keys that conditions of trust policies ask for.
    pub(super) fn keys(&self, wanted: &Wanted) -> Keys {
        let pairs = |tags: &'_ [(String, String)]| -> Vec<(String, String)> { tags.to_vec() };
        let mut keys = Keys::default();
        keys.one("sts:rolesessionname", &self.session_name);
        keys.one("sts:durationseconds", self.seconds.to_string());
        if let Some(identity) = &self.source_identity {
            keys.one("sts:sourceidentity", identity);
        }
        keys.many("sts:transitivetagkeys", self.bounds.transitive_tag_keys.clone());
        keys.request_tags(pairs(&self.bounds.tags).iter().map(|(key, value)| (key.as_str(), value.as_str())));
        keys.resource_tags(wanted.role.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        keys
    }

    /// The actions that it takes, besides the one that assumes.
    pub(super) fn further_actions(&self) -> impl Iterator<Item = &'static str> {
        let tagging = (!self.bounds.tags.is_empty()).then_some("sts:TagSession");
        let naming = self.source_identity.is_some().then_some("sts:SetSourceIdentity");
        tagging.into_iter().chain(naming)
    }

    /// That the role lasts so long.
    pub(super) fn check_duration(&self, wanted: &Wanted) -> Result<(), Failure> {
        if self.seconds > wanted.role.session_seconds_max {
            return Err(validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
        }
        Ok(())
    }

    /// The session, and how much of what policies and tags may take they take.
    pub(super) fn session(self, sts: &StsApi, wanted: &Wanted) -> Result<(Session, usize), Failure> {
        let now = sts.clock.now();
        let role = &wanted.role;
        let whose = Whose::Role {
            account: wanted.account.0,
            role_id: role.id.clone(),
            role: role.name.clone(),
            session_name: self.session_name,
        };
        let session = Session {
            policy: self.bounds.policy,
            policy_arns: self.bounds.policy_arns,
            tags: self.bounds.tags,
            transitive_tag_keys: self.bounds.transitive_tag_keys,
            source_identity: self.source_identity,
            ..Session::new(whose, now.0, expiry_ms(now, self.seconds))
        };
        let packed = parameters::packed_per_cent(session.packed_bytes())?;
        Ok((session, packed))
    }
}

/// What all ways to assume a role reply; `more` writes what one of them alone does.
pub(super) fn reply(
    wanted: &Wanted,
    session: &Session,
    packed: usize,
    credentials: &Credentials,
    more: impl FnOnce(&mut crate::s3::xml::Document),
) -> Reply {
    let Whose::Role { session_name, .. } = &session.whose else { return Reply::empty() };
    let role = &wanted.role;
    let principal = Principal::RoleSession {
        account: wanted.account,
        path: role.path.clone(),
        role: role.name.clone(),
        role_id: role.id.clone(),
        session: session_name.clone(),
    };
    Reply::result(|result| {
        write_credentials(result, credentials);
        result.element("AssumedRoleUser", |user| {
            user.optional("AssumedRoleId", principal.user_id().as_deref());
            user.optional("Arn", principal.caller_arn().as_deref());
        });
        result.value("PackedPolicySize", packed);
        result.optional("SourceIdentity", session.source_identity.as_deref());
        more(result);
    })
}
