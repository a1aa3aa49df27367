//! The types of single values. Each can be made only from text or a number that is valid for it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use cairn_crypto::secret::{EntropyError, SecretString};
use cairn_replication::client::Endpoint;
use cairn_storage::id::AccountId;
use cairn_storage::object::StorageClass;
use cairn_storage::tiers::NAME_BYTES_MAX;
use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error};

const NOT_AN_ACCOUNT_ID: &str = "an account's id is a text of 12 digits";

/// Why a value was refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(&'static str);

/// A text that is valid by construction: `$valid` decides, `$expected` tells people.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $valid:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                let valid: fn(&str) -> bool = $valid;
                if valid(&text) { Ok(Self(text)) } else { Err(InvalidValue($expected)) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        // A map keyed by the type can be asked with the text of a request.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text!(
    /// The name of another S3 service. It stands in ARNs.
    RemoteName,
    |text| (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
    "a remote's name is 1 to 32 lower-case letters, digits and -"
);

text!(
    /// A bucket of another S3 service.
    RemoteBucket,
    |text| (3..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)),
    "a bucket's name is 3 to 63 lower-case letters, digits, - and ."
);

text!(
    /// What keys in a bucket of another S3 service begin with.
    #[derive(Default)]
    RemotePrefix,
    |text| text.len() <= 512
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && !text.split('/').any(|segment| matches!(segment, "." | "..")),
    "a prefix is at most 512 letters, digits and -_./, without a segment . or .."
);

text!(
    /// Where another S3 service answers.
    EndpointUrl,
    |text| Endpoint::new(text, "").is_ok(),
    "an endpoint is http://HOST or https://HOST, without a path"
);

text!(
    /// The name of a storage tier.
    TierName,
    |text| (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')),
    "a tier's name is 1 to 64 letters, digits, - and _"
);

text!(
    /// The name of an account in ACLs.
    CanonicalId,
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()),
    "a canonical id is 1 to 64 letters and digits"
);
text!(
    /// The public half of a key pair. It stands in the credential scope of a signature, so `/`, `,` and blanks are not in it.
    AccessKey,
    |text| (3..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+=@".contains(&byte))
        // The secrets of those follow from the keys.
        && !text.starts_with(crate::sts::session::ACCESS_KEY_PREFIX),
    "an access key is 3 to 128 letters, digits and -_.+=@, and does not begin with ASIA, as those of sessions do"
);
text!(
    /// The name of an IAM user.
    UserName,
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+=@,".contains(&byte)),
    "a user's name is 1 to 64 letters, digits and -_.+=@,"
);
text!(
    /// The id of a KMS key.
    KmsKeyId,
    crate::kms::name::is_key_id,
    "the id of a KMS key is 1 to 128 letters, digits and -_."
);
text!(
    /// The name of a key of a transit engine.
    TransitKeyName,
    |text| (1..=128).contains(&text.len()) && is_path_segment(text),
    "the name of a transit key is 1 to 128 letters, digits and -_., and begins and ends with none of -."
);
text!(
    /// The path at which an engine is mounted.
    MountPath,
    |text| text.len() <= 256 && text.split('/').all(is_path_segment),
    "a mount is names of letters, digits and -_., with / between them"
);
text!(
    /// A namespace of a KMS.
    Namespace,
    |text| text.len() <= 256 && text.trim_end_matches('/').split('/').all(is_path_segment),
    "a namespace is names of letters, digits and -_., with / between them"
);
text!(
    /// Where a KMS is asked: without TLS only on this machine, because the answers are keys.
    KmsAddress,
    |text| text.len() <= 300
        && text.split_once("://").is_some_and(|(scheme, rest)| {
            is_authority(rest) && (scheme == "https" || scheme == "http" && is_loopback(rest))
        }),
    "the address of a KMS is https:// and a host in lower case, with a port if it is not 443; http:// for a loopback address only"
);
text!(
    /// The name of a region.
    Region,
    |text| (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
    "a region is 1 to 32 lower-case letters, digits and dashes"
);
text!(
    /// A DNS name in lower case, without a port.
    Domain,
    |text| text.len() <= 253 && text.split('.').all(is_dns_label),
    "a domain is a DNS name in lower case, without a port"
);

text!(
    /// The origin of a page, as browsers write it.
    PageOrigin,
    |text| text.split_once("://").is_some_and(|(scheme, rest)| {
        ["http", "https"].contains(&scheme) && text.len() <= 300 && is_authority(rest)
    }),
    "an origin is http:// or https:// and a host in lower case, with a port if it is not the scheme's own"
);

fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.parse().is_ok_and(|port: u16| port > 0) && !port.starts_with(['0', '+']);
    let is_address =
        || host.starts_with('[') && host.ends_with(']') && host[1..host.len() - 1].parse::<Ipv6Addr>().is_ok();
    port.is_none_or(is_port) && (host.split('.').all(is_dns_label) || is_address())
}

fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(authority, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_path_segment(text: &str) -> bool {
    let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(is_in_names) && !text.starts_with(['-', '.']) && !text.ends_with(['-', '.'])
}

fn is_dns_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The secret half of a key pair: never shown, wiped from memory when dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct SecretKey(SecretString);

impl SecretKey {
    /// 8 to 128 visible ASCII characters.
    pub fn new(text: String) -> Result<Self, InvalidValue> {
        let secret = SecretString::from(text);
        let text = secret.expose();
        if (8..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(secret))
        } else {
            Err(InvalidValue("a secret key is 8 to 128 visible ASCII characters"))
        }
    }

    /// A new secret of 40 characters.
    pub fn generate() -> Result<Self, EntropyError> {
        SecretString::generate().map(Self)
    }

    /// The secret, for the signature that it is needed for.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl<'de> Deserialize<'de> for SecretKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own complaint about a wrong type would show the value.
        let text = String::deserialize(deserializer).map_err(|_| D::Error::custom("a secret key is a text"))?;
        Self::new(text).map_err(D::Error::custom)
    }
}

/// An access key and its secret.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// The public half.
    pub access_key: AccessKey,
    /// The secret half.
    pub secret_key: SecretKey,
}

/// An account's number, which is a text so that leading zeros count.
pub(super) fn account_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccountId, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom(NOT_AN_ACCOUNT_ID))
}

/// An account's number that may be left out.
pub(super) fn some_account_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AccountId>, D::Error> {
    account_id(deserializer).map(Some)
}

/// Several accounts' numbers.
pub(super) fn account_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AccountId>, D::Error> {
    let parse = |text: String| text.parse().map_err(|_| D::Error::custom(NOT_AN_ACCOUNT_ID));
    Vec::<String>::deserialize(deserializer)?.into_iter().map(parse).collect()
}

/// The names of storage classes.
pub(super) fn storage_classes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StorageClass>, D::Error> {
    let parse = |name: String| {
        StorageClass::parse(&name).ok_or_else(|| D::Error::custom(format!("{name:?} is no storage class")))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(parse).collect()
}

/// Bytes a second, at least one chunk's.
pub(super) fn some_bandwidth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    bounded::<_, _, { 64 << 10 }, { 1 << 40 }>(deserializer).map(Some)
}

/// Networks in CIDR notation, or single addresses.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let parse = |text: String| {
        let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
        network.map_err(|_| D::Error::custom(format!("{text:?} is no address and no network such as 10.0.0.0/8")))
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(parse).collect()
}

/// An integer of `MIN ..= MAX`.
pub(super) fn bounded<'de, D, T, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = i64::deserialize(deserializer)?;
    u64::try_from(number)
        .ok()
        .filter(|number| (MIN..=MAX).contains(number))
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| D::Error::custom(format!("{number} is not between {MIN} and {MAX}")))
}

/// A whole number of seconds of `MIN ..= MAX`.
pub(super) fn seconds<'de, D, const MIN: u64, const MAX: u64>(deserializer: D) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    bounded::<D, u64, MIN, MAX>(deserializer).map(Duration::from_secs)
}
