//! Key policies. Each key has one, called `default`.

use cairn_iam::policy::{KEY_POLICY_BYTES_MAX, Policy};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kms::keys::{Draft, Key};
use crate::kms::permission::{self, Deed};
use crate::kms::record::KeyRecord;
use crate::kms::{KmsError, KmsFault, policy};

use super::ask::{Ask, bounded_length};
use super::page::{Lengths, Paging};

pub(super) const ACTIONS: &[&str] = &["GetKeyPolicy", "ListKeyPolicies", "PutKeyPolicy"];

const LENGTHS: Lengths = Lengths { default: 100, max: 1_000 };

/// The name of every key's policy.
const NAME: &str = "default";

pub(super) async fn call(ask: &Ask) -> Result<Value, KmsError> {
    match ask.action() {
        "GetKeyPolicy" => get(ask),
        "ListKeyPolicies" => list(ask),
        "PutKeyPolicy" => put(ask).await,
        _ => Err(ask.misrouted()),
    }
}

/// A text that is to be a key's policy, as it is kept.
pub(super) fn checked(ask: &Ask, text: &str) -> Result<(String, Policy), KmsError> {
    bounded_length("policy", text.len(), (1, KEY_POLICY_BYTES_MAX))?;
    policy::parse(text, ask.kms().identities())
}

/// That the caller does not lock itself out of a key by a policy (KMS API reference, PutKeyPolicy, "key policy must allow the
/// calling principal to make a subsequent PutKeyPolicy request").
pub(super) fn check_lockout(ask: &Ask, draft: &Draft<'_>, key: &Key, policy: &Policy) -> Result<(), KmsError> {
    let (asker, here) = (ask.asker(), ask.kms().here());
    if permission::could_with(asker, here, (draft.keys(), key), &Deed::of("PutKeyPolicy"), policy.clone()) {
        return Ok(());
    }
    let message = "The new key policy will not allow you to update the key policy in the future.";
    Err(KmsError::fault(KmsFault::MalformedPolicy, message))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetKeyPolicy {
    key_id: String,
    policy_name: Option<String>,
}

fn check_name(name: Option<&str>) -> Result<(), KmsError> {
    match name {
        None | Some(NAME) => Ok(()),
        Some(_) => Err(KmsError::not_found("No such policy exists")),
    }
}

fn get(ask: &Ask) -> Result<Value, KmsError> {
    let GetKeyPolicy { key_id, policy_name } = ask.input()?;
    let found = ask.allowed(&ask.key_ref(&key_id)?, &Deed::of("GetKeyPolicy"))?;
    check_name(policy_name.as_deref())?;
    let policy = ask.kms().identities().snapshot().show_principals(&found.key.record.policy);
    Ok(json!({ "Policy": policy, "PolicyName": NAME }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListKeyPolicies {
    key_id: String,
    #[serde(flatten)]
    paging: Paging,
}

fn list(ask: &Ask) -> Result<Value, KmsError> {
    let ListKeyPolicies { key_id, paging } = ask.input()?;
    ask.allowed(&ask.key_ref(&key_id)?, &Deed::of("ListKeyPolicies"))?;
    paging.page("PolicyNames", LENGTHS, std::iter::once((NAME.to_owned(), NAME.into())))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutKeyPolicy {
    key_id: String,
    policy_name: Option<String>,
    policy: String,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
}

async fn put(ask: &Ask) -> Result<Value, KmsError> {
    let input: PutKeyPolicy = ask.input()?;
    check_name(input.policy_name.as_deref())?;
    let (text, bypass) = (input.policy, input.bypass_policy_lockout_safety_check);
    let mut deed = Deed::of("PutKeyPolicy");
    deed.keys.one("kms:bypasspolicylockoutsafetycheck", bypass.to_string());
    ask.change_key(&input.key_id, deed, move |ask, draft, key| {
        let (kept, policy) = checked(ask, &text)?;
        if !bypass {
            check_lockout(ask, draft, key, &policy)?;
        }
        draft.put_key(KeyRecord { policy: kept, ..key.record.clone() })?;
        Ok(Value::Null)
    })
    .await
}
