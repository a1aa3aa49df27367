//! The records of an account's identities.
//!
//! What refers to something that can be renamed names its id, or is rewritten with it. Secrets are sealed before they get
//! here; this crate never sees them.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use super::limits::{
    ATTACHED_MAX, CLIENT_IDS_MAX, DOCUMENT_CHARS_MAX, GROUPS_OF_USER_MAX, INLINE_BYTES_MAX, POLICY_VERSIONS_MAX,
    TAGS_MAX, THUMBPRINTS_MAX,
};
use super::record::{Kind, Record, folded};

/// A key and a value, of which IAM makes nothing but conditions.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tag {
    /// Unique in a set, without regard to case.
    #[n(0)]
    pub key: String,
    /// May be empty.
    #[n(1)]
    pub value: String,
}

/// What a user, a group or a role is granted (or denied).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Grants {
    /// The ARNs of managed policies, in the order of their attaching.
    #[n(0)]
    #[cbor(default)]
    pub attached: Vec<String>,
    /// The documents of inline policies by name.
    #[n(1)]
    #[cbor(default)]
    pub inline: BTreeMap<String, String>,
}

/// How a user signs in with a password.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Login {
    /// The password's hash (argon2id) in the PHC string format.
    #[n(0)]
    pub hash: String,
    /// When the profile was made, ms since the epoch.
    #[n(1)]
    pub created_ms: u64,
    /// When the password was last set.
    #[n(2)]
    pub changed_ms: u64,
    /// The user must choose another password first.
    #[n(3)]
    #[cbor(default)]
    pub reset_required: bool,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("created_ms", &self.created_ms).finish_non_exhaustive()
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct User {
    /// The name as it was given.
    #[n(0)]
    pub name: String,
    /// The folder of the name: `/`, or `/a/b/`.
    #[n(1)]
    pub path: String,
    /// `AIDA...`, never used again.
    #[n(2)]
    pub id: String,
    /// When it was made, ms since the epoch.
    #[n(3)]
    pub created_ms: u64,
    /// Its own policies.
    #[n(4)]
    #[cbor(default)]
    pub grants: Grants,
    /// The ids of its groups.
    #[n(5)]
    #[cbor(default)]
    pub groups: Vec<String>,
    /// The ARN of the policy that bounds what its policies grant.
    #[n(6)]
    pub boundary: Option<String>,
    /// Its tags.
    #[n(7)]
    #[cbor(default)]
    pub tags: Vec<Tag>,
    /// Its password.
    #[n(8)]
    pub login: Option<Login>,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Group {
    /// The name as it was given.
    #[n(0)]
    pub name: String,
    /// The folder of the name.
    #[n(1)]
    pub path: String,
    /// `AGPA...`
    #[n(2)]
    pub id: String,
    /// When it was made, ms since the epoch.
    #[n(3)]
    pub created_ms: u64,
    /// Its members' policies.
    #[n(4)]
    #[cbor(default)]
    pub grants: Grants,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Role {
    /// The name as it was given.
    #[n(0)]
    pub name: String,
    /// The folder of the name.
    #[n(1)]
    pub path: String,
    /// `AROA...`
    #[n(2)]
    pub id: String,
    /// When it was made, ms since the epoch.
    #[n(3)]
    pub created_ms: u64,
    /// Its sessions' policies.
    #[n(4)]
    #[cbor(default)]
    pub grants: Grants,
    /// The ARN of the policy that bounds what its policies grant.
    #[n(5)]
    pub boundary: Option<String>,
    /// Its tags.
    #[n(6)]
    #[cbor(default)]
    pub tags: Vec<Tag>,
    /// The document that says who may assume it.
    #[n(7)]
    pub trust: String,
    /// What it is for.
    #[n(8)]
    pub description: Option<String>,
    /// The longest session.
    #[n(9)]
    pub session_seconds_max: u32,
}

/// A version of a managed policy.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PolicyVersion {
    /// `1` is `v1`.
    #[n(0)]
    pub number: u32,
    /// The document.
    #[n(1)]
    pub document: String,
    /// When it was made, ms since the epoch.
    #[n(2)]
    pub created_ms: u64,
}

/// A managed policy of the account.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ManagedPolicy {
    /// The name as it was given.
    #[n(0)]
    pub name: String,
    /// The folder of the name.
    #[n(1)]
    pub path: String,
    /// `ANPA...`
    #[n(2)]
    pub id: String,
    /// When it was made, ms since the epoch.
    #[n(3)]
    pub created_ms: u64,
    /// When it got its newest version, or another default.
    #[n(4)]
    pub updated_ms: u64,
    /// What it is for.
    #[n(5)]
    pub description: Option<String>,
    /// Oldest first.
    #[n(6)]
    pub versions: Vec<PolicyVersion>,
    /// The number of the version in force.
    #[n(7)]
    pub default_version: u32,
    /// The number of the next version: numbers are not used again.
    #[n(8)]
    pub next_version: u32,
    /// Its tags.
    #[n(9)]
    #[cbor(default)]
    pub tags: Vec<Tag>,
}

impl ManagedPolicy {
    /// The version in force.
    #[must_use]
    pub fn default_document(&self) -> Option<&PolicyVersion> {
        self.version(self.default_version)
    }

    /// The version of this number.
    #[must_use]
    pub fn version(&self, number: u32) -> Option<&PolicyVersion> {
        self.versions.iter().find(|version| version.number == number)
    }
}

/// An access key of a user, or of the account's root.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AccessKey {
    /// `AKIA...`
    #[n(0)]
    pub id: String,
    /// The user's name; None: the root's.
    #[n(1)]
    pub user: Option<String>,
    /// The secret, sealed.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed_secret: Vec<u8>,
    /// Whether requests may be signed with it.
    #[n(3)]
    pub is_active: bool,
    /// When it was made, ms since the epoch.
    #[n(4)]
    pub created_ms: u64,
}

/// A virtual MFA device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MfaDevice {
    /// The name as it was given.
    #[n(0)]
    pub name: String,
    /// The folder of the name.
    #[n(1)]
    pub path: String,
    /// When it was made, ms since the epoch.
    #[n(2)]
    pub created_ms: u64,
    /// The seed of its codes, sealed.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed_seed: Vec<u8>,
    /// Who has it, since when (ms).
    #[n(4)]
    pub owner: Option<DeviceOwner>,
    /// The newest time step of which a code was used: no code is good twice.
    #[n(5)]
    #[cbor(default)]
    pub last_step: u64,
    /// Time steps that its clock is ahead of ours.
    #[n(6)]
    #[cbor(default)]
    pub drift_steps: i64,
    /// Its tags.
    #[n(7)]
    #[cbor(default)]
    pub tags: Vec<Tag>,
}

/// Who has an MFA device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeviceOwner {
    /// The user's name; None: the account's root.
    #[n(0)]
    pub user: Option<String>,
    /// Since when, ms since the epoch.
    #[n(1)]
    pub enabled_ms: u64,
}

/// An OpenID Connect provider whose tokens may assume roles.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OidcProvider {
    /// The issuer's URL without `https://`.
    #[n(0)]
    pub url: String,
    /// The audiences that are accepted.
    #[n(1)]
    #[cbor(default)]
    pub client_ids: Vec<String>,
    /// SHA-1 fingerprints of certificates.
    #[n(2)]
    #[cbor(default)]
    pub thumbprints: Vec<String>,
    /// When it was made, ms since the epoch.
    #[n(3)]
    pub created_ms: u64,
    /// Its tags.
    #[n(4)]
    #[cbor(default)]
    pub tags: Vec<Tag>,
}

/// What an account blocks of public access, whatever its buckets say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[allow(missing_docs)] // the names are S3's
pub struct PublicAccessBlock {
    #[n(0)]
    pub block_public_acls: bool,
    #[n(1)]
    pub ignore_public_acls: bool,
    #[n(2)]
    pub block_public_policy: bool,
    #[n(3)]
    pub restrict_public_buckets: bool,
}

/// What passwords of an account's users must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
#[allow(missing_docs)] // the names are IAM's
pub struct PasswordPolicy {
    #[n(0)]
    pub minimum_length: u32,
    #[n(1)]
    pub require_symbols: bool,
    #[n(2)]
    pub require_numbers: bool,
    #[n(3)]
    pub require_uppercase: bool,
    #[n(4)]
    pub require_lowercase: bool,
    #[n(5)]
    pub allow_users_to_change: bool,
}

/// What is set for an account as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Settings {
    /// Another name of the account.
    #[n(0)]
    pub alias: Option<String>,
    /// The account's public access block.
    #[n(1)]
    pub public_access_block: Option<PublicAccessBlock>,
    /// What passwords must be like; None: IAM's default.
    #[n(2)]
    pub password_policy: Option<PasswordPolicy>,
}

/// How often an account was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Generation {
    /// Counted from 0.
    #[n(0)]
    pub number: u64,
}

const NAMES_BYTES: usize = 4 * 1024;
const ARN_BYTES_MAX: usize = 2_048;
const TAGS_BYTES: usize = TAGS_MAX * (4 * (128 + 256) + 16);
const GRANTS_BYTES: usize = ATTACHED_MAX * ARN_BYTES_MAX + 2 * INLINE_BYTES_MAX;

/// Records whose rows are named by one of their fields without regard to case; some have an id besides.
macro_rules! records {
    ($($record:ident: $kind:ident, $name:ident $(and $id:ident)?, at most $bytes:expr;)*) => {$(
        impl Record for $record {
            const KIND: Kind = Kind::$kind;
            const BYTES_MAX: usize = $bytes;

            fn row_name(&self) -> String {
                folded(&self.$name)
            }

            $(fn id(&self) -> &str {
                &self.$id
            })?
        }
    )*};
}

records! {
    User: User, name and id, at most
        NAMES_BYTES + GRANTS_BYTES + TAGS_BYTES + ARN_BYTES_MAX + 32 * GROUPS_OF_USER_MAX;
    Group: Group, name and id, at most NAMES_BYTES + GRANTS_BYTES;
    Role: Role, name and id, at most
        2 * NAMES_BYTES + GRANTS_BYTES + TAGS_BYTES + ARN_BYTES_MAX + 4 * DOCUMENT_CHARS_MAX;
    ManagedPolicy: Policy, name and id, at most
        2 * NAMES_BYTES + TAGS_BYTES + POLICY_VERSIONS_MAX * (4 * DOCUMENT_CHARS_MAX + 64);
    MfaDevice: MfaDevice, name, at most NAMES_BYTES + TAGS_BYTES;
    OidcProvider: OidcProvider, url, at most
        NAMES_BYTES + TAGS_BYTES + CLIENT_IDS_MAX * 1_024 + THUMBPRINTS_MAX * 64;
}

impl Record for AccessKey {
    const KIND: Kind = Kind::AccessKey;
    const BYTES_MAX: usize = 1_024;

    /// As it is: the ids of keys are not compared without regard to case.
    fn row_name(&self) -> String {
        self.id.clone()
    }
}

impl Record for Settings {
    const KIND: Kind = Kind::Settings;
    const BYTES_MAX: usize = 1_024;

    fn row_name(&self) -> String {
        String::new()
    }
}

impl Record for Generation {
    const KIND: Kind = Kind::Generation;
    const BYTES_MAX: usize = 16;

    fn row_name(&self) -> String {
        String::new()
    }
}
