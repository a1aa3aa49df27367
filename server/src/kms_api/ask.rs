//! One call: who makes it, what it names, and whether that is allowed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cairn_crypto::kms::EncryptionContext;
use cairn_iam::acl::AccountNumber;
use cairn_storage::clock::Timestamp;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::identities::Caller;
use crate::json_api::Call;
use crate::kms::keys::{Draft, Key};
use crate::kms::name::{Name, alias_arn, key_arn};
use crate::kms::permission::{self, Deed};
use crate::kms::{Asker, Found, KeyRef, Kms, KmsError, KmsFault};
use crate::query_api::faults::invalid_client_token;
use crate::s3::error::Failure;

/// Actions that a key of another account can be used for (KMS API reference, each action's "Cross-account use").
const ACROSS_ACCOUNTS: [&str; 12] = [
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "GetKeyRotationStatus",
    "ListGrants",
    "ReEncryptFrom",
    "ReEncryptTo",
    "RetireGrant",
    "RevokeGrant",
];

/// A call. Cheap to clone, so that a change can take it along.
#[derive(Clone, Debug)]
pub(super) struct Ask(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    action: &'static str,
    call: Call,
    caller: Arc<Caller>,
    kms: Arc<Kms>,
}

impl Ask {
    pub(super) fn new(kms: Arc<Kms>, action: &'static str, call: Call) -> Result<Self, Failure> {
        let caller = kms.identities().snapshot().signed_by(&call.signer).ok_or_else(invalid_client_token)?;
        call.trail.caller(&caller);
        Ok(Self(Arc::new(Inner { action, call, caller, kms })))
    }

    /// The action that is asked for.
    pub(super) fn action(&self) -> &'static str {
        self.0.action
    }

    pub(super) fn kms(&self) -> &Arc<Kms> {
        &self.0.kms
    }

    pub(super) fn asker(&self) -> Asker<'_> {
        Asker::itself(&self.0.caller, &self.0.call.trail, self.0.call.connection, &self.0.call.headers)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.kms().now()
    }

    /// The action is one of the file's that has nothing for it.
    pub(super) fn misrouted(&self) -> KmsError {
        KmsError::Internal(format!("{} was routed to the wrong file", self.action()))
    }

    /// What the call says.
    ///
    /// # Errors
    /// `ValidationException` for what is missing or impossible, `SerializationException` for what is of the wrong type.
    pub(super) fn input<T: DeserializeOwned>(&self) -> Result<T, KmsError> {
        T::deserialize(self.0.call.input.get()).map_err(|error| {
            let text = error.to_string();
            let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
            match missing {
                Some((name, _)) => KmsError::validation(format!(
                    "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
                    first_lower(name)
                )),
                None => KmsError::fault(KmsFault::Serialization, "A member has a value of the wrong type"),
            }
        })
    }

    /// The caller's account.
    pub(super) fn account(&self) -> Result<AccountNumber, KmsError> {
        let none = || KmsError::fault(KmsFault::AccessDenied, "The caller has no account.");
        self.0.caller.principal.account().ok_or_else(none)
    }

    /// A key as the call names it, by an id or an ARN.
    pub(super) fn key_ref(&self, text: &str) -> Result<KeyRef, KmsError> {
        let key = KeyRef::parse(text)?;
        if key.is_alias() {
            return Err(KmsError::not_found("Invalid keyId: an alias cannot be named here"));
        }
        Ok(key)
    }

    /// The key that is named, for a use of this permission.
    pub(super) fn find(&self, key: &KeyRef, action: &str) -> Result<Found, KmsError> {
        let own = self.account()?;
        if let Some(place) = key.place.as_ref().filter(|place| place.account != own)
            && !ACROSS_ACCOUNTS.contains(&action)
        {
            let resource = match &key.name {
                Name::Id(id) => key_arn(&place.region, place.account, id),
                Name::Alias(alias) => alias_arn(&place.region, place.account, alias),
            };
            let action = format!("kms:{action}");
            let because = format!("because no resource-based policy allows the {action} action");
            return Err(permission::denied(self.asker(), &action, &resource, &because));
        }
        self.kms().find(self.asker(), key, &format!("kms:{action}"))
    }

    /// The key that is named, if the action may be done to it.
    pub(super) fn allowed(&self, key: &KeyRef, deed: &Deed<'_>) -> Result<Found, KmsError> {
        let found = self.find(key, deed.action)?;
        self.kms().check(self.asker(), &found, deed)?;
        Ok(found)
    }

    /// Lets an action go on that is about no key.
    pub(super) fn allow_without_key(&self, deed: &Deed<'_>) -> Result<(), KmsError> {
        permission::check_without_key(self.asker(), self.kms().here(), ("*", self.account()?), deed)
    }

    /// Lets the call's action be done to a key in a state that is about to be changed.
    pub(super) fn allow_in(&self, draft: &Draft<'_>, key: &Key, deed: &Deed<'_>) -> Result<(), KmsError> {
        permission::check(self.asker(), self.kms().here(), (draft.keys(), key), deed).map(|_| ())
    }

    /// Changes a key if the caller may. `change` gets the state that is changed, and the key in it.
    pub(super) async fn change_key<T: Send + 'static>(
        &self,
        key_id: &str,
        deed: Deed<'static>,
        change: impl Fn(&Ask, &mut Draft<'_>, &Key) -> Result<T, KmsError> + Send + Sync + 'static,
    ) -> Result<T, KmsError> {
        let key = self.key_ref(key_id)?;
        let account = self.find(&key, deed.action)?.all.account;
        let ask = self.clone();
        let decide = move |draft: &mut Draft<'_>| {
            let found = Arc::clone(draft.keys().find(&key.name, ask.kms().region())?);
            ask.allow_in(draft, &found, &deed)?;
            change(&ask, draft, &found)
        };
        self.kms().change(account, decide).await
    }
}

/// `KeyId` as validation errors write it.
fn first_lower(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// That a number is in bounds.
pub(super) fn bounded<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    (min, max): (T, T),
) -> Result<T, KmsError> {
    if value >= min && value <= max {
        return Ok(value);
    }
    Err(KmsError::validation(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must have value \
         between {min} and {max}"
    )))
}

/// That a text, or a list, has a length in bounds.
pub(super) fn bounded_length(name: &str, length: usize, (min, max): (usize, usize)) -> Result<(), KmsError> {
    if (min..=max).contains(&length) {
        return Ok(());
    }
    Err(KmsError::validation(format!(
        "1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must have length between \
         {min} and {max}"
    )))
}

/// A time as the protocol writes it: seconds since 1970.
pub(super) fn seconds(time: Timestamp) -> Value {
    // Exact below 2^53 milliseconds, which is 285,000 years.
    Value::from(time.0 as f64 / 1_000.0)
}

/// Bytes in base 64; wiped when dropped.
pub(super) struct Blob(pub(super) Zeroizing<Vec<u8>>);

/// What it wraps would show its bytes.
impl std::fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Blob(redacted)")
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // What serde would say of it shows the value.
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| D::Error::custom("no base 64"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// Bytes as the protocol writes them.
pub(super) fn base64(bytes: &[u8]) -> Value {
    Value::from(STANDARD.encode(bytes))
}

/// An encryption context as a call gives it.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Context(pub(super) std::collections::BTreeMap<String, String>);

impl Context {
    pub(super) fn checked(self) -> Result<EncryptionContext, KmsError> {
        EncryptionContext::from_pairs(self.0).map_err(|error| KmsError::validation(error.to_string()))
    }
}

/// A tag as a call gives and gets it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    pub(super) tag_key: String,
    pub(super) tag_value: String,
}

/// A key that is named, and nothing else.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfKey {
    pub(super) key_id: String,
}

/// The answer that everything would have worked, for who asked for no more.
pub(super) fn dry(is_dry: Option<bool>) -> Result<(), KmsError> {
    if is_dry == Some(true) {
        let message = "The request would have succeeded, but the DryRun option is set.";
        return Err(KmsError::fault(KmsFault::DryRun, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_byte_of_a_plaintext() {
        assert_eq!(format!("{:?}", Blob(Zeroizing::new(vec![0xab; 4]))), "Blob(redacted)");
    }
}
