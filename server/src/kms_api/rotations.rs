//! New versions of keys, by a period and on demand.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::kms::permission::Deed;
use crate::kms::record::{Backing, KeyRecord, KeyVersion, Rotation};
use crate::kms::{KmsError, KmsFault, ROTATION_DAYS_DEFAULT};

use super::ask::{Ask, OfKey, bounded, seconds};
use super::not_here;
use super::page::{Lengths, Paging};

pub(super) const ACTIONS: &[&str] =
    &["DisableKeyRotation", "EnableKeyRotation", "GetKeyRotationStatus", "ListKeyRotations", "RotateKeyOnDemand"];

const LENGTHS: Lengths = Lengths { default: 100, max: 1_000 };

/// The period of automatic rotation (KMS API reference, EnableKeyRotation).
const PERIOD_DAYS: (i64, i64) = (90, 2_560);

/// How often a key can be rotated on demand (KMS API reference, RotateKeyOnDemand).
const ON_DEMAND_MAX: usize = 25;

pub(super) async fn call(ask: &Ask) -> Result<Value, KmsError> {
    match ask.action() {
        "DisableKeyRotation" => disable(ask).await,
        "EnableKeyRotation" => enable(ask).await,
        "GetKeyRotationStatus" => status(ask),
        "ListKeyRotations" => list(ask),
        "RotateKeyOnDemand" => rotate(ask).await,
        _ => Err(ask.misrouted()),
    }
}

/// The versions of a key, if they are here.
fn versions(record: &KeyRecord) -> Result<&[KeyVersion], KmsError> {
    match &record.backing {
        Backing::Local(versions) => Ok(versions),
        Backing::External { .. } => Err(not_here("Rotation of a key whose material an external KMS has")),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EnableKeyRotation {
    key_id: String,
    rotation_period_in_days: Option<i64>,
}

async fn enable(ask: &Ask) -> Result<Value, KmsError> {
    let EnableKeyRotation { key_id, rotation_period_in_days } = ask.input()?;
    let days = rotation_period_in_days.unwrap_or(i64::from(ROTATION_DAYS_DEFAULT));
    let days = bounded("rotationPeriodInDays", days, PERIOD_DAYS)?;
    let period_days = u32::try_from(days).unwrap_or(ROTATION_DAYS_DEFAULT);
    let since = ask.now();
    let mut deed = Deed::of("EnableKeyRotation");
    deed.keys.one("kms:rotationperiodindays", days.to_string());
    ask.change_key(&key_id, deed, move |_, draft, key| {
        key.usable()?;
        versions(&key.record)?;
        if key.record.rotation.is_none_or(|rotation| rotation.period_days != period_days) {
            draft.put_key(KeyRecord { rotation: Some(Rotation { since, period_days }), ..key.record.clone() })?;
        }
        Ok(Value::Null)
    })
    .await
}

async fn disable(ask: &Ask) -> Result<Value, KmsError> {
    let OfKey { key_id } = ask.input()?;
    ask.change_key(&key_id, Deed::of("DisableKeyRotation"), |_, draft, key| {
        key.usable()?;
        versions(&key.record)?;
        draft.put_key(KeyRecord { rotation: None, ..key.record.clone() })?;
        Ok(Value::Null)
    })
    .await
}

fn status(ask: &Ask) -> Result<Value, KmsError> {
    let OfKey { key_id } = ask.input()?;
    let key = ask.allowed(&ask.key_ref(&key_id)?, &Deed::of("GetKeyRotationStatus"))?.key;
    versions(&key.record)?;
    let mut status = json!({ "KeyId": key.arn, "KeyRotationEnabled": key.record.rotation.is_some() });
    if let Some(rotation) = key.record.rotation {
        status["RotationPeriodInDays"] = rotation.period_days.into();
    }
    if let Some(next) = key.next_rotation().filter(|_| key.record.delete_at.is_none()) {
        status["NextRotationDate"] = seconds(next);
    }
    Ok(status)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListKeyRotations {
    key_id: String,
    #[serde(flatten)]
    paging: Paging,
}

fn list(ask: &Ask) -> Result<Value, KmsError> {
    let ListKeyRotations { key_id, paging } = ask.input()?;
    let key = ask.allowed(&ask.key_ref(&key_id)?, &Deed::of("ListKeyRotations"))?.key;
    // The first version came with the key.
    let rotations = versions(&key.record)?.iter().skip(1).map(|version| {
        let kind = if version.on_demand { "ON_DEMAND" } else { "AUTOMATIC" };
        let shown = json!({ "KeyId": key.arn, "RotationDate": seconds(version.key.created), "RotationType": kind });
        (format!("{:010}", version.key.number), shown)
    });
    paging.page("Rotations", LENGTHS, rotations)
}

async fn rotate(ask: &Ask) -> Result<Value, KmsError> {
    let OfKey { key_id } = ask.input()?;
    let now = ask.now();
    ask.change_key(&key_id, Deed::of("RotateKeyOnDemand"), move |_, draft, key| {
        key.usable()?;
        if versions(&key.record)?.iter().filter(|version| version.on_demand).count() >= ON_DEMAND_MAX {
            let message = format!("The key was rotated on demand {ON_DEMAND_MAX} times, which is the most");
            return Err(KmsError::fault(KmsFault::LimitExceeded, message));
        }
        draft.rotate(key, now, true)?;
        Ok(json!({ "KeyId": key.arn }))
    })
    .await
}
