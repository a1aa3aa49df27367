//! Keys: making, showing, enabling, disabling and deleting them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::kms::keys::{Draft, Key};
use crate::kms::name::{Name, S3_ALIAS};
use crate::kms::permission::Deed;
use crate::kms::record::{Backing, DESCRIPTION_CHARS_MAX, KeyRecord, Pair};
use crate::kms::{DAY_MS, KEYS_MAX, KeyRef, KmsError, KmsFault, new_record, policy};

use super::ask::{Ask, OfKey, Tag, bounded, bounded_length, seconds};
use super::page::{Lengths, Paging};
use super::{not_here, policies, tags};

pub(super) const ACTIONS: &[&str] = &[
    "CancelKeyDeletion",
    "CreateKey",
    "DescribeKey",
    "DisableKey",
    "EnableKey",
    "ListKeys",
    "ScheduleKeyDeletion",
    "UpdateKeyDescription",
];

const LENGTHS: Lengths = Lengths { default: 100, max: 1_000 };

/// How long a key waits for its deletion (KMS API reference, ScheduleKeyDeletion).
const WINDOW_DAYS: (i64, i64) = (7, 30);
const WINDOW_DAYS_DEFAULT: i64 = 30;

/// Kinds of keys that AWS has besides the one that is here.
const OTHER_SPECS: [&str; 20] = [
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_NIST_EDWARDS25519",
    "ECC_SECG_P256K1",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
    "SLH_DSA",
];

pub(super) async fn call(ask: &Ask) -> Result<Value, KmsError> {
    match ask.action() {
        "CancelKeyDeletion" => cancel_deletion(ask).await,
        "CreateKey" => create(ask).await,
        "DescribeKey" => describe(ask).await,
        "DisableKey" => enable(ask, false).await,
        "EnableKey" => enable(ask, true).await,
        "ListKeys" => list(ask),
        "ScheduleKeyDeletion" => schedule_deletion(ask).await,
        "UpdateKeyDescription" => update_description(ask).await,
        _ => Err(ask.misrouted()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateKey {
    policy: Option<String>,
    #[serde(default)]
    description: String,
    key_usage: Option<String>,
    key_spec: Option<String>,
    customer_master_key_spec: Option<String>,
    origin: Option<String>,
    custom_key_store_id: Option<String>,
    xks_key_id: Option<String>,
    #[serde(default)]
    bypass_policy_lockout_safety_check: bool,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    multi_region: bool,
}

impl CreateKey {
    /// That it is a key of the one kind that is here.
    fn check(&self) -> Result<(), KmsError> {
        let spec = self.key_spec.as_deref().or(self.customer_master_key_spec.as_deref());
        match spec {
            None | Some("SYMMETRIC_DEFAULT") => {}
            Some(other) if OTHER_SPECS.contains(&other) => return Err(not_here(&format!("The key spec {other}"))),
            Some(_) => return Err(not_in_set("keySpec", "SYMMETRIC_DEFAULT")),
        }
        match self.key_usage.as_deref() {
            None | Some("ENCRYPT_DECRYPT") => {}
            Some(usage @ ("SIGN_VERIFY" | "GENERATE_VERIFY_MAC" | "KEY_AGREEMENT")) => {
                return Err(KmsError::validation(format!(
                    "KeyUsage {usage} is not compatible with KeySpec SYMMETRIC_DEFAULT"
                )));
            }
            Some(_) => return Err(not_in_set("keyUsage", "ENCRYPT_DECRYPT")),
        }
        match self.origin.as_deref() {
            None | Some("AWS_KMS") => {}
            Some(origin @ ("EXTERNAL" | "AWS_CLOUDHSM" | "EXTERNAL_KEY_STORE")) => {
                return Err(not_here(&format!("The origin {origin}")));
            }
            Some(_) => return Err(not_in_set("origin", "AWS_KMS")),
        }
        if self.multi_region {
            return Err(not_here("A multi-Region key"));
        }
        if self.custom_key_store_id.is_some() || self.xks_key_id.is_some() {
            return Err(not_here("A custom key store"));
        }
        check_description(&self.description)
    }
}

fn not_in_set(name: &str, set: &str) -> KmsError {
    KmsError::validation(format!(
        "1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must satisfy enum value set: \
         [{set}]"
    ))
}

fn check_description(description: &str) -> Result<(), KmsError> {
    bounded_length("description", description.chars().count(), (0, DESCRIPTION_CHARS_MAX))
}

async fn create(ask: &Ask) -> Result<Value, KmsError> {
    let input: CreateKey = ask.input()?;
    input.check()?;
    let account = ask.account()?;
    let new_tags = tags::checked(&input.tags)?;
    let mut deed = Deed::of("CreateKey");
    deed.keys.one("kms:keyspec", "SYMMETRIC_DEFAULT");
    deed.keys.one("kms:keyusage", "ENCRYPT_DECRYPT");
    deed.keys.one("kms:keyorigin", "AWS_KMS");
    deed.keys.one("kms:multiregion", "false");
    deed.keys.one("kms:bypasspolicylockoutsafetycheck", input.bypass_policy_lockout_safety_check.to_string());
    deed.keys.request_tags(pairs(&new_tags));
    ask.allow_without_key(&deed)?;
    if !new_tags.is_empty() {
        ask.allow_without_key(&Deed { action: "TagResource", ..deed })?;
    }
    let (policy, is_safe) = match input.policy {
        None => (policy::by_default(account), true),
        Some(text) => (policies::checked(ask, &text)?.0, input.bypass_policy_lockout_safety_check),
    };
    let (asked, id, now, description) = (ask.clone(), ask.kms().new_id(), ask.now(), input.description);
    let make = move |draft: &mut Draft<'_>| {
        if draft.keys().keys.len() >= KEYS_MAX {
            return Err(KmsError::fault(
                KmsFault::LimitExceeded,
                format!("There are {KEYS_MAX} keys, which is the most"),
            ));
        }
        let first = draft.sealer().new_version((account, &id), 1, now, false)?;
        let record = KeyRecord {
            description: description.clone(),
            tags: new_tags.clone(),
            ..new_record(id.clone(), now, Backing::Local(vec![first]), policy.clone())
        };
        let key = draft.put_key(record)?;
        if !is_safe {
            policies::check_lockout(&asked, draft, &key, &key.policy.policy)?;
        }
        Ok(json!({ "KeyMetadata": metadata(&key) }))
    };
    ask.kms().change(account, make).await
}

fn pairs(tags: &[Pair]) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str()))
}

/// What is told of a key (KMS API reference, KeyMetadata).
fn metadata(key: &Key) -> Value {
    let KeyRecord { id, created, description, delete_at, is_aws_managed, .. } = &key.record;
    let mut metadata = json!({
        "AWSAccountId": key.account.to_string(),
        "KeyId": id,
        "Arn": key.arn,
        "CreationDate": seconds(*created),
        "Enabled": key.record.is_enabled && delete_at.is_none(),
        "Description": description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": state(&key.record),
        "Origin": "AWS_KMS",
        "KeyManager": if *is_aws_managed { "AWS" } else { "CUSTOMER" },
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": false,
    });
    if let Some(at) = delete_at {
        metadata["DeletionDate"] = seconds(*at);
    }
    metadata
}

fn state(record: &KeyRecord) -> &'static str {
    match (record.delete_at, record.is_enabled) {
        (Some(_), _) => "PendingDeletion",
        (None, true) => "Enabled",
        (None, false) => "Disabled",
    }
}

async fn describe(ask: &Ask) -> Result<Value, KmsError> {
    let OfKey { key_id } = ask.input()?;
    let key = KeyRef::parse(&key_id)?;
    let account = ask.account()?;
    // Who asks for the key that S3 uses has it made (KMS API reference, DescribeKey).
    let is_own = key.place.as_ref().is_none_or(|place| place.account == account);
    if is_own && key.name == Name::Alias(S3_ALIAS.to_owned()) {
        ask.kms().make_s3_key(account).await?;
    }
    let mut deed = Deed::of("DescribeKey");
    deed.request_alias(&key);
    let found = ask.allowed(&key, &deed)?;
    Ok(json!({ "KeyMetadata": metadata(&found.key) }))
}

fn list(ask: &Ask) -> Result<Value, KmsError> {
    let paging: Paging = ask.input()?;
    ask.allow_without_key(&Deed::of("ListKeys"))?;
    let keys = ask.kms().keys_of(ask.account()?);
    let keys = keys.iter().flat_map(|all| all.keys.values());
    let item =
        |key: &std::sync::Arc<Key>| (key.record.id.clone(), json!({ "KeyId": key.record.id, "KeyArn": key.arn }));
    paging.page("Keys", LENGTHS, keys.map(item))
}

async fn enable(ask: &Ask, is_enabled: bool) -> Result<Value, KmsError> {
    let OfKey { key_id } = ask.input()?;
    let deed = Deed::of(ask.action());
    ask.change_key(&key_id, deed, move |_, draft, key| {
        key.not_pending()?;
        if key.record.is_enabled != is_enabled {
            draft.put_key(KeyRecord { is_enabled, ..key.record.clone() })?;
        }
        Ok(Value::Null)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScheduleKeyDeletion {
    key_id: String,
    pending_window_in_days: Option<i64>,
}

async fn schedule_deletion(ask: &Ask) -> Result<Value, KmsError> {
    let ScheduleKeyDeletion { key_id, pending_window_in_days } = ask.input()?;
    let days = bounded("pendingWindowInDays", pending_window_in_days.unwrap_or(WINDOW_DAYS_DEFAULT), WINDOW_DAYS)?;
    // Lock time decides when it is due, and the wall clock may be behind it.
    let at = ask.now().max(ask.kms().lock_time()).plus_ms(days * DAY_MS);
    let mut deed = Deed::of("ScheduleKeyDeletion");
    deed.keys.one("kms:schedulekeydeletionpendingwindowindays", days.to_string());
    ask.change_key(&key_id, deed, move |_, draft, key| {
        key.not_pending()?;
        // Whoever takes it back gets a disabled key (KMS API reference, CancelKeyDeletion).
        draft.put_key(KeyRecord { delete_at: Some(at), is_enabled: false, ..key.record.clone() })?;
        Ok(json!({
            "KeyId": key.arn,
            "DeletionDate": seconds(at),
            "KeyState": "PendingDeletion",
            "PendingWindowInDays": days,
        }))
    })
    .await
}

async fn cancel_deletion(ask: &Ask) -> Result<Value, KmsError> {
    let OfKey { key_id } = ask.input()?;
    ask.change_key(&key_id, Deed::of("CancelKeyDeletion"), |_, draft, key| {
        if key.record.delete_at.is_none() {
            return Err(KmsError::fault(KmsFault::InvalidState, format!("{} is not pending deletion.", key.arn)));
        }
        draft.put_key(KeyRecord { delete_at: None, ..key.record.clone() })?;
        Ok(json!({ "KeyId": key.arn }))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateKeyDescription {
    key_id: String,
    description: String,
}

async fn update_description(ask: &Ask) -> Result<Value, KmsError> {
    let UpdateKeyDescription { key_id, description } = ask.input()?;
    check_description(&description)?;
    ask.change_key(&key_id, Deed::of("UpdateKeyDescription"), move |_, draft, key| {
        key.not_pending()?;
        draft.put_key(KeyRecord { description: description.clone(), ..key.record.clone() })?;
        Ok(Value::Null)
    })
    .await
}
