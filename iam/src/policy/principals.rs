//! Whom a statement is about (IAM user guide, "AWS JSON policy elements: Principal" and "... NotPrincipal").

use super::Effect;
use crate::acl::AccountNumber;
use crate::principal::Principal;

/// The digits of an account number.
const ACCOUNT_DIGITS: usize = 12;

/// The beginning of a unique id, which tells what it is of, and the characters after it (IAM API reference, `User`, `UserId`).
const ID_PREFIX_CHARS: usize = 4;
const ID_CHARS: std::ops::RangeInclusive<usize> = 12..=124;

/// One entry of a Principal element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalEntry {
    /// `*`: everybody, with a signature or without.
    Anyone,
    /// An account: everybody whom the account lets.
    Account(AccountNumber),
    /// A user, by the path and name in its ARN, for example `/anna` or `/team/anna`.
    User(AccountNumber, Box<str>),
    /// A role, by the path and name in its ARN.
    Role(AccountNumber, Box<str>),
    /// One session of a role: the role's name, and the session's.
    RoleSession(AccountNumber, Box<str>, Box<str>),
    /// A user by its unique id, `AIDA...`, as policies are kept.
    UserId(Box<str>),
    /// A role by its unique id, `AROA...`.
    RoleId(Box<str>),
    /// One session of a role by the role's unique id, and the session's name.
    RoleSessionId(Box<str>, Box<str>),
    /// Somebody for whom a user asked for a federation token.
    FederatedUser(AccountNumber, Box<str>),
    /// A service, for example `logging.s3.amazonaws.com`.
    Service(Box<str>),
    /// An identity provider: its ARN, or the domain of a well-known one.
    Federated(Box<str>),
    /// An account by its canonical id; stands for nobody until [`super::Policy::with_canonical_users`] knows the account.
    CanonicalUser(Box<str>),
}

/// As what an entry means a principal. What it allows goes the further, the later it is listed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    /// As somebody of an account, which decides by identity policies who of it.
    AsAccount,
    /// By the role, or the user who federated, and so not beyond what bounds these.
    ByIdentity,
    /// As the one who makes the request.
    Directly,
}

/// A Principal or NotPrincipal element.
#[derive(Clone, Debug)]
pub(super) struct Principals {
    /// It is a NotPrincipal.
    pub(super) except: bool,
    pub(super) entries: Vec<PrincipalEntry>,
}

impl Principals {
    /// As what the element means a principal. None: it does not.
    ///
    /// NotPrincipal excepts from a Deny whoever is listed with all of whom he is one: a user and his account; a session,
    /// its role and their account. Nobody who has a permission boundary is excepted (IAM user guide, "Permissions
    /// boundaries for IAM entities"). An Allow does not reach those who are listed in part.
    pub(super) fn mean(&self, principal: &Principal, effect: Effect, has_boundary: bool) -> Option<Named> {
        let listed = || self.entries.iter().filter_map(|entry| entry.means(principal));
        if !self.except {
            return listed().max();
        }
        let is_excepted = match effect {
            Effect::Deny => !has_boundary && self.lists_all_of(principal),
            Effect::Allow => listed().next().is_some(),
        };
        (!is_excepted).then_some(Named::Directly)
    }

    fn lists_all_of(&self, principal: &Principal) -> bool {
        let lists = |wanted: Named| self.entries.iter().any(|entry| entry.means(principal) == Some(wanted));
        if self.entries.contains(&PrincipalEntry::Anyone) {
            return true;
        }
        match principal {
            Principal::Anonymous => false,
            Principal::Root(_) | Principal::Service(_) | Principal::WebIdentity { .. } => lists(Named::Directly),
            Principal::User { .. } => lists(Named::AsAccount) && lists(Named::Directly),
            Principal::RoleSession { .. } => {
                lists(Named::AsAccount) && lists(Named::ByIdentity) && lists(Named::Directly)
            }
            Principal::FederatedUser { by, .. } => {
                lists(Named::AsAccount) && (by.is_none() || lists(Named::ByIdentity)) && lists(Named::Directly)
            }
        }
    }
}

impl PrincipalEntry {
    /// The entry that a text under `AWS` is. None: it is none.
    #[must_use]
    pub fn parse_aws(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Anyone);
        }
        if let Some(account) = parse_account(text) {
            return Some(Self::Account(account));
        }
        if !text.starts_with("arn:") {
            return Self::parse_id(text);
        }
        let (service, rest) = text.strip_prefix("arn:aws:")?.split_once("::")?;
        let (account, name) = rest.split_once(':')?;
        let account = parse_account(account)?;
        if name.contains(['*', '?']) {
            return None;
        }
        let (kind, name) = name.split_at(name.find('/').unwrap_or(name.len()));
        let named = name.len() > 1;
        match (service, kind) {
            ("iam", "root") if name.is_empty() => Some(Self::Account(account)),
            ("iam", "user") if named => Some(Self::User(account, name.into())),
            ("iam", "role") if named => Some(Self::Role(account, name.into())),
            ("sts", "federated-user") if named => Some(Self::FederatedUser(account, name[1..].into())),
            ("sts", "assumed-role") if named => {
                let (role, session) = name[1..].split_once('/')?;
                let whole = !role.is_empty() && !session.is_empty() && !session.contains('/');
                whole.then(|| Self::RoleSession(account, role.into(), session.into()))
            }
            _ => None,
        }
    }

    /// Whether it is who makes the request, or the role, or the user who federated. An account is its root only.
    #[must_use]
    pub fn names(&self, principal: &Principal) -> bool {
        self.means(principal).is_some_and(|named| named != Named::AsAccount)
    }

    fn parse_id(text: &str) -> Option<Self> {
        let (id, session) = text.split_once(':').map_or((text, None), |(id, session)| (id, Some(session)));
        let (kind, rest) = id.split_at_checked(ID_PREFIX_CHARS)?;
        let is_id = ID_CHARS.contains(&rest.len())
            && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        match (kind, session) {
            _ if !is_id => None,
            ("AIDA", None) => Some(Self::UserId(id.into())),
            ("AROA", None) => Some(Self::RoleId(id.into())),
            ("AROA", Some(name)) if !name.is_empty() && !name.contains(['*', '?', '/']) => {
                Some(Self::RoleSessionId(id.into(), name.into()))
            }
            _ => None,
        }
    }

    /// The account that the entry is in. None: it is in none, or not in one that is known.
    #[must_use]
    pub fn account(&self) -> Option<AccountNumber> {
        match self {
            Self::Account(account)
            | Self::User(account, _)
            | Self::Role(account, _)
            | Self::RoleSession(account, ..)
            | Self::FederatedUser(account, _) => Some(*account),
            Self::Anyone
            | Self::UserId(_)
            | Self::RoleId(_)
            | Self::RoleSessionId(..)
            | Self::Service(_)
            | Self::Federated(_)
            | Self::CanonicalUser(_) => None,
        }
    }

    fn means(&self, principal: &Principal) -> Option<Named> {
        let is = |condition: bool, named: Named| condition.then_some(named);
        match (self, principal) {
            (Self::Anyone, _) => Some(Named::Directly),
            (Self::Account(account), Principal::Root(root)) => is(account == root, Named::Directly),
            (Self::Account(account), principal) => is(principal.account() == Some(*account), Named::AsAccount),
            (Self::User(account, user), Principal::User { account: of, path, name, .. }) => {
                is(account == of && is_path_and_name(user, path, name), Named::Directly)
            }
            (Self::User(account, user), Principal::FederatedUser { account: of, by, .. }) => is(
                account == of && by.as_ref().is_some_and(|by| is_path_and_name(user, &by.path, &by.name)),
                Named::ByIdentity,
            ),
            (Self::Role(account, listed), Principal::RoleSession { account: of, path, role, .. }) => {
                is(account == of && is_path_and_name(listed, path, role), Named::ByIdentity)
            }
            (Self::RoleSession(account, listed, name), Principal::RoleSession { account: of, role, session, .. }) => {
                is(account == of && **listed == *role && **name == *session, Named::Directly)
            }
            (Self::FederatedUser(account, listed), Principal::FederatedUser { account: of, name, .. }) => {
                is(account == of && **listed == *name, Named::Directly)
            }
            (Self::UserId(listed), Principal::User { id, .. }) => is(**listed == *id, Named::Directly),
            (Self::UserId(listed), Principal::FederatedUser { by: Some(by), .. }) => {
                is(**listed == *by.id, Named::ByIdentity)
            }
            (Self::RoleId(listed), Principal::RoleSession { role_id, .. }) => {
                is(**listed == *role_id, Named::ByIdentity)
            }
            (Self::RoleSessionId(listed, name), Principal::RoleSession { role_id, session, .. }) => {
                is(**listed == *role_id && **name == *session, Named::Directly)
            }
            (Self::Service(listed), Principal::Service(service)) => is(**listed == *service, Named::Directly),
            (Self::Federated(listed), Principal::WebIdentity { provider }) => {
                is(**listed == *provider, Named::Directly)
            }
            _ => None,
        }
    }
}

fn is_path_and_name(whole: &str, path: &str, name: &str) -> bool {
    whole.strip_prefix(path) == Some(name)
}

fn parse_account(text: &str) -> Option<AccountNumber> {
    let is_number = text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok().map(AccountNumber)).flatten()
}
