//! Key policies: those that keys have if none is given, and what one may be.

use std::sync::Arc;

use cairn_iam::acl::AccountNumber;
use cairn_iam::policy::{Policy, PolicyKind, PrincipalEntry};

use crate::identities::Identities;

use super::error::{KmsError, KmsFault};

/// The policy of a key that none is given for: the account's policies decide (KMS developer guide, "Default key policy").
pub fn by_default(account: AccountNumber) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Id":"key-default-1","Statement":[{{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{account}:root"}},"Action":"kms:*","Resource":"*"}}]}}"#
    )
}

/// The policy of the key `alias/aws/s3`: whoever of the account may use S3 may use it there, and nowhere else.
pub fn of_s3_key(region: &str, account: AccountNumber) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Id":"auto-s3-2","Statement":[{{"Sid":"Allow access through S3 for all principals in the account that are authorized to use S3","Effect":"Allow","Principal":{{"AWS":"*"}},"Action":["kms:Encrypt","kms:Decrypt","kms:ReEncrypt*","kms:GenerateDataKey*","kms:DescribeKey"],"Resource":"*","Condition":{{"StringEquals":{{"kms:CallerAccount":"{account}","kms:ViaService":"s3.{region}.amazonaws.com"}}}}}},{{"Sid":"Allow direct access to key metadata to the account","Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{account}:root"}},"Action":["kms:Describe*","kms:Get*","kms:List*"],"Resource":"*"}}]}}"#
    )
}

/// A policy that a key is to have: its text as it is kept, with users and roles by their ids, and what it says.
///
/// # Errors
/// `MalformedPolicyDocumentException` for what is none, or names somebody who is not there.
pub fn parse(text: &str, identities: &Arc<Identities>) -> Result<(String, Policy), KmsError> {
    let malformed = |message: String| KmsError::fault(KmsFault::MalformedPolicy, message);
    let parsed = |text: &str| Policy::parse(text, PolicyKind::Key).map_err(|error| malformed(error.to_string()));
    let has_canonical = parsed(text)?.principals().any(|entry| matches!(entry, PrincipalEntry::CanonicalUser(_)));
    match identities.snapshot().keep_principals(text, PolicyKind::Key, None) {
        Ok(kept) if !has_canonical => {
            let policy = parsed(&kept)?;
            Ok((kept, policy))
        }
        _ => Err(malformed("Policy contains a statement with one or more invalid principals.".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_policies_of_the_server_are_policies() {
        for text in [by_default(AccountNumber(42)), of_s3_key("eu-1", AccountNumber(42))] {
            assert!(Policy::parse(&text, PolicyKind::Key).is_ok(), "{text}");
        }
    }
}
