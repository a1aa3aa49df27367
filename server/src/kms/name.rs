//! How requests name keys: by id, by ARN, by an alias, or by an alias's ARN (KMS developer guide, "Key identifiers").

use cairn_crypto::kms::KMS_KEY_ID_BYTES_MAX;
use cairn_iam::acl::AccountNumber;

use super::error::{KmsError, KmsFault};

/// How the names of aliases begin.
pub const ALIAS: &str = "alias/";

/// How those begin that are AWS's, or here the server's.
pub const AWS_ALIAS: &str = "alias/aws/";

/// The alias of the key that is used for S3 if no other is named.
pub const S3_ALIAS: &str = "alias/aws/s3";

/// The longest name of an alias (KMS API reference, CreateAlias).
const ALIAS_BYTES_MAX: usize = 256;

/// The longest reference to a key (KMS API reference, DescribeKey).
const REFERENCE_BYTES_MAX: usize = 2_048;

/// A key as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Where it is. None: in the caller's account, in the server's region.
    pub place: Option<Place>,
    /// What it is there.
    pub name: Name,
}

/// Where an ARN says that something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The region.
    pub region: String,
    /// The account.
    pub account: AccountNumber,
}

/// A key in its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// By its id.
    Id(String),
    /// By an alias, `alias/...`.
    Alias(String),
}

impl KeyRef {
    /// The key that a text names.
    ///
    /// # Errors
    /// `ValidationException`, `InvalidArnException` or `NotFoundException` for what names none.
    pub fn parse(text: &str) -> Result<Self, KmsError> {
        if text.is_empty() || text.len() > REFERENCE_BYTES_MAX {
            return Err(KmsError::validation(format!(
                "1 validation error detected: Value at 'keyId' failed to satisfy constraint: Member must have length \
                 between 1 and {REFERENCE_BYTES_MAX}"
            )));
        }
        if !text.starts_with("arn:") {
            return Ok(Self { place: None, name: Name::parse(text)? });
        }
        let invalid = || KmsError::fault(KmsFault::InvalidArn, "Invalid arn");
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let &[_, "aws", "kms", region, account, resource] = parts.as_slice() else { return Err(invalid()) };
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let account = account.parse().ok().filter(|_| is_account).map(AccountNumber).ok_or_else(invalid)?;
        let name = match resource.strip_prefix("key/") {
            Some(id) => Name::Id(checked_id(id)?),
            None if resource.starts_with(ALIAS) => Name::parse(resource)?,
            None => return Err(invalid()),
        };
        Ok(Self { place: Some(Place { region: region.to_owned(), account }), name })
    }

    /// The key that is used for S3 in the caller's account if no other is named.
    pub fn for_s3() -> Self {
        Self { place: None, name: Name::Alias(S3_ALIAS.to_owned()) }
    }

    /// Whether it names an alias.
    pub fn is_alias(&self) -> bool {
        matches!(self.name, Name::Alias(_))
    }
}

impl Name {
    fn parse(text: &str) -> Result<Self, KmsError> {
        if text.starts_with(ALIAS) {
            let is_alias = text.len() <= ALIAS_BYTES_MAX && is_alias_name(text);
            return if is_alias { Ok(Self::Alias(text.to_owned())) } else { Err(invalid_id()) };
        }
        checked_id(text).map(Self::Id)
    }
}

fn invalid_id() -> KmsError {
    KmsError::not_found("Invalid keyId")
}

fn checked_id(id: &str) -> Result<String, KmsError> {
    if is_key_id(id) { Ok(id.to_owned()) } else { Err(invalid_id()) }
}

/// Whether a text can be the id of a key: those that are made here are UUIDs, the configuration may say others.
pub fn is_key_id(id: &str) -> bool {
    (1..=KMS_KEY_ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// Whether it is `alias/` and what may follow.
fn is_alias_name(text: &str) -> bool {
    text.strip_prefix(ALIAS).is_some_and(|rest| {
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte))
    })
}

/// The name of an alias that is to be made.
///
/// # Errors
/// As CreateAlias has them.
pub fn new_alias(name: &str) -> Result<&str, KmsError> {
    if name.is_empty() || name.len() > ALIAS_BYTES_MAX {
        return Err(KmsError::validation(format!(
            "1 validation error detected: Value at 'aliasName' failed to satisfy constraint: Member must have length \
             between 1 and {ALIAS_BYTES_MAX}"
        )));
    }
    if !name.starts_with(ALIAS) {
        return Err(KmsError::validation("Invalid identifier"));
    }
    if name.starts_with(AWS_ALIAS) || !is_alias_name(name) {
        return Err(KmsError::fault(
            KmsFault::InvalidAliasName,
            "Alias must not start with alias/aws/ or have other than a-zA-Z0-9/_-",
        ));
    }
    Ok(name)
}

/// The ARN of a key.
pub fn key_arn(region: &str, account: AccountNumber, id: &str) -> String {
    format!("arn:aws:kms:{region}:{account}:key/{id}")
}

/// The ARN of an alias.
pub fn alias_arn(region: &str, account: AccountNumber, name: &str) -> String {
    format!("arn:aws:kms:{region}:{account}:{name}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_four_forms_are_told_apart() {
        let place = Some(Place { region: "eu-1".to_owned(), account: AccountNumber(42) });
        for (text, expected_place, name) in [
            ("testkey-1", &None, Name::Id("testkey-1".to_owned())),
            ("alias/a/b", &None, Name::Alias("alias/a/b".to_owned())),
            ("arn:aws:kms:eu-1:000000000042:key/k", &place, Name::Id("k".to_owned())),
            ("arn:aws:kms:eu-1:000000000042:alias/aws/s3", &place, Name::Alias("alias/aws/s3".to_owned())),
        ] {
            assert_eq!(KeyRef::parse(text).unwrap(), KeyRef { place: expected_place.clone(), name }, "{text}");
        }
    }

    #[test]
    fn what_names_no_key_is_refused() {
        for (text, fault) in [
            ("", KmsFault::Validation),
            (&"k".repeat(2_049), KmsFault::Validation),
            (&"k".repeat(129), KmsFault::NotFound),
            ("a b", KmsFault::NotFound),
            ("a\0b", KmsFault::NotFound),
            ("alias/", KmsFault::NotFound),
            ("alias/ä", KmsFault::NotFound),
            ("key/k", KmsFault::NotFound),
            ("arn:aws:kms:eu-1:000000000042:key/", KmsFault::NotFound),
            ("arn:aws:kms:eu-1:42:key/k", KmsFault::InvalidArn),
            ("arn:aws:kms:eu-1:000000000042:k", KmsFault::InvalidArn),
            ("arn:aws:iam:eu-1:000000000042:key/k", KmsFault::InvalidArn),
            ("arn:aws:kms", KmsFault::InvalidArn),
        ] {
            assert_eq!(KeyRef::parse(text).unwrap_err().kind(), Some(fault), "{text}");
        }
    }

    #[test]
    fn new_aliases_are_nobody_elses() {
        assert!(new_alias("alias/mine").is_ok());
        for (name, fault) in [
            ("mine", KmsFault::Validation),
            ("", KmsFault::Validation),
            ("alias/aws/mine", KmsFault::InvalidAliasName),
            ("alias/", KmsFault::InvalidAliasName),
            ("alias/m.e", KmsFault::InvalidAliasName),
        ] {
            assert_eq!(new_alias(name).unwrap_err().kind(), Some(fault), "{name}");
        }
    }
}
