//! The lists of the settings, which come from the file only: accounts with their users, KMS keys, tiers and remotes.

use std::path::PathBuf;

use cairn_replication::client::Addressing;
use cairn_storage::id::AccountId;
use cairn_storage::object::StorageClass;
use serde::Deserialize;

use super::values::{
    self, AccessKey, CanonicalId, EndpointUrl, KeyPair, KmsKeyId, Region, RemoteBucket, RemoteName, RemotePrefix,
    SecretKey, TierName, TransitKeyName, UserName,
};

/// `[[account]]`: an owner of buckets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Account {
    /// The account's number.
    #[serde(deserialize_with = "values::account_id")]
    pub id: AccountId,
    /// The account's name in ACLs.
    pub canonical_id: CanonicalId,
    /// The account's name for people.
    pub display_name: String,
    /// The account's e-mail address, by which ACLs can name it too.
    pub email: Option<String>,
    /// The key that acts with the account's full rights.
    pub root_key: Option<KeyPair>,
    /// The accounts whose users this account's root may edit.
    #[serde(default, deserialize_with = "values::account_ids")]
    pub administers: Vec<AccountId>,
    /// IAM users that exist from the start.
    #[serde(default, rename = "user")]
    pub users: Vec<User>,
}

/// `[[account.user]]`: an IAM user that exists from the start.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct User {
    /// The user's name.
    pub name: UserName,
    /// The ARNs of the policies attached to the user.
    #[serde(default)]
    pub policies: Vec<String>,
    /// The user's access keys.
    #[serde(default)]
    pub keys: Vec<KeyPair>,
}

/// `[[kms_key]]`: a KMS key that exists from the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KmsKey {
    /// The key's id.
    pub id: KmsKeyId,
    /// The account that it belongs to; by default the first one, or the server's own.
    #[serde(default, deserialize_with = "values::some_account_id")]
    pub account: Option<AccountId>,
    /// The name of the key in the external KMS that has its material.
    pub transit_key: Option<TransitKeyName>,
}

/// `[[tier]]`: where the files of some storage classes lie.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "GivenTier")]
#[non_exhaustive]
pub struct Tier {
    /// Its name, which it keeps for as long as anything lies in it.
    pub name: TierName,
    /// Where it is.
    pub home: TierHome,
    /// The classes whose files lie in it.
    pub classes: Vec<StorageClass>,
}

/// Where a tier is.
#[derive(Debug, Clone)]
pub enum TierHome {
    /// In a directory, perhaps on another disk.
    Directory {
        /// The directory, which exists.
        path: PathBuf,
        /// Nothing is written to it while less space is left; by default `storage.free_space_floor_bytes`.
        free_space_floor_bytes: Option<u64>,
    },
    /// In a bucket of another S3 service.
    Bucket {
        /// The `[[remote]]`.
        remote: RemoteName,
        /// The bucket there.
        bucket: RemoteBucket,
        /// What the keys of its objects begin with.
        prefix: RemotePrefix,
    },
}

impl TierHome {
    /// The remote and the bucket there, if it is in one.
    pub(crate) fn bucket(&self) -> Option<(String, String)> {
        match self {
            Self::Directory { .. } => None,
            Self::Bucket { remote, bucket, .. } => Some((remote.as_str().to_owned(), bucket.as_str().to_owned())),
        }
    }

    /// Whether what one of them finds in the other service may be the other's.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Bucket { remote, bucket, prefix },
                Self::Bucket { remote: other_remote, bucket: other_bucket, prefix: other_prefix },
            ) => {
                let (one, other) = (prefix.as_str(), other_prefix.as_str());
                remote == other_remote && bucket == other_bucket && (one.starts_with(other) || other.starts_with(one))
            }
            _ => false,
        }
    }
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenTier {
    name: TierName,
    path: Option<PathBuf>,
    free_space_floor_bytes: Option<u64>,
    remote: Option<RemoteName>,
    bucket: Option<RemoteBucket>,
    #[serde(default)]
    prefix: Option<RemotePrefix>,
    #[serde(default, deserialize_with = "values::storage_classes")]
    classes: Vec<StorageClass>,
}

impl TryFrom<GivenTier> for Tier {
    type Error = &'static str;

    fn try_from(given: GivenTier) -> Result<Self, Self::Error> {
        let GivenTier { name, path, free_space_floor_bytes, remote, bucket, prefix, classes } = given;
        let home = match (path, remote, bucket) {
            (Some(path), None, None) if prefix.is_none() => TierHome::Directory { path, free_space_floor_bytes },
            (None, Some(remote), Some(bucket)) if free_space_floor_bytes.is_none() => {
                TierHome::Bucket { remote, bucket, prefix: prefix.unwrap_or_default() }
            }
            _ => return Err("a tier has a path, or a remote and a bucket"),
        };
        Ok(Self { name, home, classes })
    }
}

/// `[[remote]]`: another S3 service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Remote {
    /// Its name, by which other settings, and the ARNs of buckets there, mean it.
    pub name: RemoteName,
    /// Its URL: scheme, host and port.
    pub endpoint: EndpointUrl,
    /// The region that its signatures name; by default as the `aws` command line finds it.
    pub region: Option<Region>,
    /// Whose requests are signed; by default as the `aws` command line finds credentials.
    pub access_key: Option<AccessKey>,
    /// The secret of `access_key`.
    pub secret_key: Option<SecretKey>,
    /// The profile in `~/.aws` whose credentials are used.
    pub profile: Option<String>,
    /// Where its buckets are named.
    #[serde(default)]
    pub addressing: RemoteAddressing,
    /// The certificates in PEM that it is trusted by; by default the machine's.
    pub ca_file: Option<PathBuf>,
    /// Bytes a second at most, both ways together.
    #[serde(default, deserialize_with = "values::some_bandwidth")]
    pub bandwidth_limit: Option<u64>,
    /// The accounts whose buckets may replicate there, by its credentials; none: the first account alone.
    #[serde(default, deserialize_with = "values::account_ids")]
    pub accounts: Vec<AccountId>,
}

impl Remote {
    /// Whether its values go together; if not, what is wrong.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.access_key.is_some() == self.secret_key.is_some() {
            Ok(())
        } else {
            Err("access_key and secret_key must be set together")
        }
    }
}

/// Where a remote's buckets are named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemoteAddressing {
    /// In the path.
    #[default]
    Path,
    /// In the host's name.
    VirtualHost,
}

impl From<RemoteAddressing> for Addressing {
    fn from(addressing: RemoteAddressing) -> Self {
        match addressing {
            RemoteAddressing::Path => Self::Path,
            RemoteAddressing::VirtualHost => Self::VirtualHost,
        }
    }
}
