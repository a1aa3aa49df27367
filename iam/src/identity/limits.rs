//! Quotas (IAM user guide, "IAM and AWS STS quotas"). What AWS raises on request has its default here.

/// Users of an account.
pub const USERS_MAX: usize = 5_000;
/// Groups of an account.
pub const GROUPS_MAX: usize = 300;
/// Roles of an account.
pub const ROLES_MAX: usize = 1_000;
/// Managed policies of an account, without AWS's.
pub const POLICIES_MAX: usize = 1_500;
/// Versions of a managed policy.
pub const POLICY_VERSIONS_MAX: usize = 5;
/// Managed policies attached to a user, a group or a role.
pub const ATTACHED_MAX: usize = 10;
/// Groups of a user.
pub const GROUPS_OF_USER_MAX: usize = 10;
/// Access keys of a user.
pub const ACCESS_KEYS_OF_USER_MAX: usize = 2;
/// MFA devices of a user.
pub const MFA_DEVICES_OF_USER_MAX: usize = 8;
/// MFA devices of an account.
pub const MFA_DEVICES_MAX: usize = USERS_MAX;
/// OIDC providers of an account.
pub const OIDC_PROVIDERS_MAX: usize = 100;
/// Client ids of an OIDC provider.
pub const CLIENT_IDS_MAX: usize = 100;
/// Thumbprints of an OIDC provider.
pub const THUMBPRINTS_MAX: usize = 5;
/// Tags of whatever can have them.
pub const TAGS_MAX: usize = 50;

/// The name of a user or a role.
pub const USER_NAME_CHARS_MAX: usize = 64;
/// The name of a group, a policy or a device.
pub const NAME_CHARS_MAX: usize = 128;
/// A path.
pub const PATH_CHARS_MAX: usize = 512;
/// A tag's key.
pub const TAG_KEY_CHARS_MAX: usize = 128;
/// A tag's value.
pub const TAG_VALUE_CHARS_MAX: usize = 256;
/// What is said about a role or a policy.
pub const DESCRIPTION_CHARS_MAX: usize = 1_000;
/// An OIDC provider's URL, and a client id.
pub const URL_CHARS_MAX: usize = 255;

/// A document as it is sent, with its white space.
pub const DOCUMENT_CHARS_MAX: usize = 131_072;
/// A managed policy, without white space.
pub const MANAGED_POLICY_CHARS_MAX: usize = 6_144;
/// A role's trust policy, without white space.
pub const TRUST_POLICY_CHARS_MAX: usize = 2_048;
/// The inline policies of a user together, without white space.
pub const USER_INLINE_CHARS_MAX: usize = 2_048;
/// The inline policies of a group together, without white space.
pub const GROUP_INLINE_CHARS_MAX: usize = 5_120;
/// The inline policies of a role together, without white space.
pub const ROLE_INLINE_CHARS_MAX: usize = 10_240;
/// The inline policies of one user, group or role together, as they were sent. AWS has no such limit; this one bounds a row.
pub const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Sessions of a role last at least so long, and as long as this if the role does not say otherwise.
pub const SESSION_SECONDS_DEFAULT: u32 = 3_600;
/// The longest session that a role may allow.
pub const SESSION_SECONDS_MAX: u32 = 43_200;
