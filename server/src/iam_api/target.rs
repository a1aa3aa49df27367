//! What a call is done to, as policies see it: an ARN, and the values of condition keys (service authorization reference,
//! "Actions, resources, and condition keys for AWS Identity and Access Management").

use cairn_iam::acl::AccountNumber;
use cairn_iam::identity::name::{arn, resource_of, split_path};
use cairn_iam::identity::{Directory, Tag, Tagged};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::query_api::permission::Keys;

/// What a call is done to.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    arn: String,
    /// The ARN of the policy that the call attaches or detaches.
    policy_arn: Option<String>,
    /// The boundary that the call sets, or that what it changes has.
    boundary: Option<String>,
    request_tags: Vec<Tag>,
    request_tag_keys: Vec<String>,
    resource_tags: Vec<Tag>,
}

impl Target {
    /// The account as a whole.
    pub(super) fn everything() -> Self {
        Self { arn: "*".to_owned(), ..Self::default() }
    }

    /// All of a kind below a path, as lists ask for them.
    pub(super) fn all(account: AccountNumber, kind: &str, path_prefix: &str) -> Self {
        Self { arn: arn(account, kind, path_prefix, ""), ..Self::default() }
    }

    /// What is to be made.
    pub(super) fn new(account: AccountNumber, kind: &str, path: &str, name: &str) -> Self {
        Self { arn: arn(account, kind, path, name), ..Self::default() }
    }

    /// A user, with its tags and boundary.
    pub(super) fn user(directory: &Directory, name: &str) -> Self {
        match directory.user(name) {
            Ok(user) => Self {
                arn: directory.user_arn(user),
                boundary: user.boundary.clone(),
                resource_tags: user.tags.clone(),
                ..Self::default()
            },
            Err(_) => Self::new(directory.account(), "user", "/", name),
        }
    }

    /// The account's root.
    pub(super) fn root(directory: &Directory) -> Self {
        Self { arn: directory.root().arn().unwrap_or_default(), ..Self::default() }
    }

    /// A group.
    pub(super) fn group(directory: &Directory, name: &str) -> Self {
        match directory.group(name) {
            Ok(group) => Self { arn: directory.group_arn(group), ..Self::default() },
            Err(_) => Self::new(directory.account(), "group", "/", name),
        }
    }

    /// A role, with its tags and boundary.
    pub(super) fn role(directory: &Directory, name: &str) -> Self {
        match directory.role(name) {
            Ok(role) => Self {
                arn: directory.role_arn(role),
                boundary: role.boundary.clone(),
                resource_tags: role.tags.clone(),
                ..Self::default()
            },
            Err(_) => Self::new(directory.account(), "role", "/", name),
        }
    }

    /// What an ARN names: a policy, a device or a provider, with its tags.
    pub(super) fn named(directory: &Directory, tagged: Tagged<'_>) -> Self {
        let arn = match tagged {
            Tagged::User(name) => return Self::user(directory, name),
            Tagged::Role(name) => return Self::role(directory, name),
            Tagged::Policy(arn) | Tagged::Device(arn) | Tagged::Provider(arn) => arn.to_owned(),
        };
        Self { arn, resource_tags: directory.tags(tagged).unwrap_or_default().to_vec(), ..Self::default() }
    }

    /// Whatever an ARN names.
    pub(super) fn of_arn(directory: &Directory, arn: &str) -> Self {
        let account = directory.account();
        let name = |kind: &str| resource_of(arn, account, kind).map(|resource| split_path(resource).1);
        if let Some(name) = name("user") {
            return Self::user(directory, name);
        }
        match name("role") {
            Some(name) => Self::role(directory, name),
            None => Self { arn: arn.to_owned(), ..Self::default() },
        }
    }

    /// With a policy that is attached or detached.
    pub(super) fn with_policy(mut self, policy_arn: &str) -> Self {
        self.policy_arn = Some(policy_arn.to_owned());
        self
    }

    /// With the boundary that the call sets.
    pub(super) fn with_boundary(mut self, boundary: Option<&str>) -> Self {
        self.boundary = boundary.map(str::to_owned);
        self
    }

    /// With tags that the call sets.
    pub(super) fn with_tags(mut self, tags: &[Tag]) -> Self {
        self.request_tags = tags.to_vec();
        self
    }

    /// With the keys of tags that the call removes.
    pub(super) fn with_tag_keys(mut self, keys: &[String]) -> Self {
        self.request_tag_keys = keys.to_vec();
        self
    }

    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    /// The values of the condition keys that tell of it and of what the call does to it.
    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::default();
        keys.request_tags(pairs(&self.request_tags));
        keys.many("aws:tagkeys", self.request_tag_keys.iter().cloned());
        keys.resource_tags(pairs(&self.resource_tags));
        if let Some(arn) = &self.policy_arn {
            keys.one("iam:policyarn", arn);
        }
        if let Some(arn) = &self.boundary {
            keys.one("iam:permissionsboundary", arn);
        }
        keys
    }
}

fn pairs(tags: &[Tag]) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str()))
}

/// A time to the second, as IAM's documents and policies write it.
pub(super) fn iso_time(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1_000).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}
