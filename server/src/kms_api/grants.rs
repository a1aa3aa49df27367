//! Grants: permissions to use a key that are given without changing its policy, and given up by whom they name.
//!
//! A grant counts as soon as it is made, so its token is needed for nothing but to name it when it is retired.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cairn_crypto::secret::random_bytes;
use cairn_crypto::wrap::WrapError;
use cairn_iam::acl::AccountNumber;
use cairn_iam::evaluate::{Grant, Outcome};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::identities::Snapshot;
use crate::kms::keys::{Draft, Key};
use crate::kms::name::{Name, Place};
use crate::kms::permission::{self, Deed};
use crate::kms::record::{Constraint, GrantRecord, Pair};
use crate::kms::{KeyRef, KmsError, KmsFault};

use super::ask::{Ask, Context, bounded_length, dry, seconds};
use super::page::{Lengths, Paging};

pub(super) const ACTIONS: &[&str] = &["CreateGrant", "ListGrants", "ListRetirableGrants", "RetireGrant", "RevokeGrant"];

const LENGTHS: Lengths = Lengths { default: 50, max: 100 };

/// Grants of one key at most. AWS has 50,000.
const GRANTS_MAX: usize = 5_000;

/// Bytes of a grant's id.
const ID_BYTES: usize = 32;

const NAME_CHARS: (usize, usize) = (1, 256);

/// What a grant can let somebody do with a symmetric key (KMS API reference, CreateGrant).
const OPERATIONS: [&str; 9] = [
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "RetireGrant",
];

pub(super) async fn call(ask: &Ask) -> Result<Value, KmsError> {
    match ask.action() {
        "CreateGrant" => create(ask).await,
        "ListGrants" => list(ask),
        "ListRetirableGrants" => list_retirable(ask),
        "RetireGrant" => retire(ask).await,
        "RevokeGrant" => revoke(ask).await,
        _ => Err(ask.misrouted()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Constraints {
    encryption_context_subset: Option<Context>,
    encryption_context_equals: Option<Context>,
}

impl Constraints {
    fn checked(self) -> Result<Option<Constraint>, KmsError> {
        let (equals, context) = match (self.encryption_context_subset, self.encryption_context_equals) {
            (None, None) => return Ok(None),
            (Some(context), None) => (false, context),
            (None, Some(context)) => (true, context),
            (Some(_), Some(_)) => {
                return Err(KmsError::validation(
                    "A grant has one of EncryptionContextSubset and EncryptionContextEquals",
                ));
            }
        };
        let pairs = context.checked()?;
        let pairs = pairs.iter().map(|(name, value)| Pair { name: name.to_owned(), value: value.to_owned() });
        Ok(Some(Constraint { equals, pairs: pairs.collect() }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateGrant {
    key_id: String,
    grantee_principal: String,
    retiring_principal: Option<String>,
    operations: Vec<String>,
    constraints: Option<Constraints>,
    name: Option<String>,
    dry_run: Option<bool>,
}

/// A grant as a call wants it, without what only the server knows.
fn wanted(ask: &Ask, input: CreateGrant) -> Result<GrantRecord, KmsError> {
    let identities = ask.kms().identities().snapshot();
    let kept = |arn: &String| {
        let invalid = || KmsError::fault(KmsFault::InvalidArn, format!("Invalid arn {arn}"));
        identities.keep_principal(arn).ok_or_else(invalid)
    };
    let grantee = kept(&input.grantee_principal)?;
    let retiring = input.retiring_principal.as_ref().map(kept).transpose()?;
    bounded_length("operations", input.operations.len(), (1, OPERATIONS.len()))?;
    let mut operations = input.operations;
    operations.sort_unstable();
    operations.dedup();
    if let Some(other) = operations.iter().find(|operation| !OPERATIONS.contains(&operation.as_str())) {
        return Err(KmsError::validation(format!("The operation {other} is not one of a symmetric encryption key's")));
    }
    if let Some(name) = &input.name {
        bounded_length("name", name.chars().count(), NAME_CHARS)?;
    }
    let id = random_bytes(ID_BYTES).map_err(WrapError::from)?;
    Ok(GrantRecord {
        id: hex::encode(&*id),
        key_id: String::new(),
        name: input.name,
        grantee,
        retiring,
        operations,
        constraint: input.constraints.map(Constraints::checked).transpose()?.flatten(),
        created: ask.now(),
        issued_by: ask.asker().caller.principal.caller_arn().unwrap_or_default(),
    })
}

/// The condition keys of CreateGrant.
fn deed_of(identities: &Snapshot, grant: &GrantRecord) -> Deed<'static> {
    let mut deed = Deed::of("CreateGrant");
    deed.keys.one("kms:granteeprincipal", identities.show_principal(&grant.grantee));
    deed.keys.many("kms:grantoperations", grant.operations.iter().cloned());
    deed.keys.one("kms:grantisforawsresource", "false");
    if let Some(retiring) = &grant.retiring {
        deed.keys.one("kms:retiringprincipal", identities.show_principal(retiring));
    }
    if let Some(constraint) = &grant.constraint {
        let kind = if constraint.equals { "EncryptionContextEquals" } else { "EncryptionContextSubset" };
        deed.keys.one("kms:grantconstrainttype", kind);
    }
    deed
}

async fn create(ask: &Ask) -> Result<Value, KmsError> {
    let input: CreateGrant = ask.input()?;
    let (key, is_dry) = (ask.key_ref(&input.key_id)?, input.dry_run);
    let grant = wanted(ask, input)?;
    let account = ask.find(&key, "CreateGrant")?.all.account;
    let asked = ask.clone();
    let make = move |draft: &mut Draft<'_>| {
        let found = draft.keys().find(&key.name, asked.kms().region())?.clone();
        let (asker, here) = (asked.asker(), asked.kms().here());
        let deed = deed_of(&asked.kms().identities().snapshot(), &grant);
        let outcome = permission::check(asker, here, (draft.keys(), &found), &deed)?;
        if outcome == Outcome::Allowed(Grant::KmsGrant) && !is_within_a_grant_of(&found, &asked, &grant, &deed) {
            // Whom policies let is not bound by a grant that he has as well.
            asked.allow_in(draft, &without_grants(&found), &deed)?;
        }
        found.usable()?;
        dry(is_dry)?;
        if let Some(same) = made_before(&found, &grant) {
            return Ok(json!({ "GrantId": same.id, "GrantToken": token(&found, &same.id) }));
        }
        if found.grants.len() >= GRANTS_MAX {
            let message = format!("The key has {GRANTS_MAX} grants, which is the most");
            return Err(KmsError::fault(KmsFault::LimitExceeded, message));
        }
        draft.put_grant(GrantRecord { key_id: found.record.id.clone(), ..grant.clone() })?;
        Ok(json!({ "GrantId": grant.id, "GrantToken": token(&found, &grant.id) }))
    };
    ask.kms().change(account, make).await
}

/// Whether a grant that lets the caller make grants allows all that the new one would (KMS developer guide, "Granting
/// CreateGrant permission").
fn is_within_a_grant_of(key: &Key, ask: &Ask, new: &GrantRecord, deed: &Deed<'_>) -> bool {
    key.grants.values().any(|own| {
        permission::grants(own, ask.asker(), key.account, deed)
            && new.operations.iter().all(|operation| own.operations.contains(operation))
            && own.constraint.as_ref().is_none_or(|bound| is_within(bound, new.constraint.as_ref()))
    })
}

fn is_within(bound: &Constraint, new: Option<&Constraint>) -> bool {
    let Some(new) = new else { return false };
    let has_all = bound.pairs.iter().all(|pair| new.pairs.contains(pair));
    if bound.equals { new.equals && has_all && new.pairs.len() == bound.pairs.len() } else { has_all }
}

/// The grant that was made by the same call with the same name (KMS API reference, CreateGrant, `Name`).
fn made_before<'k>(key: &'k Key, wanted: &GrantRecord) -> Option<&'k GrantRecord> {
    wanted.name.as_ref()?;
    key.grants.values().find(|grant| {
        grant.name == wanted.name
            && grant.grantee == wanted.grantee
            && grant.retiring == wanted.retiring
            && grant.operations == wanted.operations
            && grant.constraint == wanted.constraint
    })
}

/// The token of a grant: where it is.
fn token(key: &Key, grant_id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("1 {} {} {grant_id}", key.account, key.record.id))
}

/// Key and id of the grant of a token.
fn read_token(ask: &Ask, token: &str) -> Result<(KeyRef, String), KmsError> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let &["1", account, key_id, grant_id] = text.split(' ').collect::<Vec<_>>().as_slice() else { return None };
        let place = Place { region: ask.kms().region().to_owned(), account: AccountNumber(account.parse().ok()?) };
        Some((KeyRef { place: Some(place), name: Name::Id(key_id.to_owned()) }, grant_id.to_owned()))
    };
    read().ok_or_else(|| KmsError::fault(KmsFault::InvalidGrantToken, "Invalid grant token"))
}

fn no_grant() -> KmsError {
    KmsError::not_found("Grant ID is not found")
}

/// A grant as lists show it (KMS API reference, GrantListEntry).
fn shown(identities: &Snapshot, key: &Key, grant: &GrantRecord) -> Value {
    let mut entry = json!({
        "KeyId": key.arn,
        "GrantId": grant.id,
        "CreationDate": seconds(grant.created),
        "GranteePrincipal": identities.show_principal(&grant.grantee),
        "IssuingAccount": format!("arn:aws:iam::{}:root", key.account),
        "Operations": grant.operations,
    });
    if let Some(name) = &grant.name {
        entry["Name"] = name.as_str().into();
    }
    if let Some(retiring) = &grant.retiring {
        entry["RetiringPrincipal"] = identities.show_principal(retiring).into();
    }
    if let Some(constraint) = &grant.constraint {
        let pairs = constraint.pairs.iter().map(|pair| (pair.name.clone(), Value::from(pair.value.as_str())));
        let kind = if constraint.equals { "EncryptionContextEquals" } else { "EncryptionContextSubset" };
        entry["Constraints"] = json!({ kind: pairs.collect::<Map<_, _>>() });
    }
    entry
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListGrants {
    key_id: String,
    grant_id: Option<String>,
    grantee_principal: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

fn list(ask: &Ask) -> Result<Value, KmsError> {
    let ListGrants { key_id, grant_id, grantee_principal, paging } = ask.input()?;
    let key = ask.allowed(&ask.key_ref(&key_id)?, &Deed::of("ListGrants"))?.key;
    if grant_id.as_ref().is_some_and(|id| !key.grants.contains_key(id)) {
        return Err(KmsError::fault(KmsFault::InvalidGrantId, "Invalid grant ID"));
    }
    let identities = ask.kms().identities().snapshot();
    let grantee = grantee_principal.map(|arn| identities.keep_principal(&arn).unwrap_or(arn));
    let grants = key.grants.values().filter(|grant| {
        grant_id.as_ref().is_none_or(|id| grant.id == *id) && grantee.as_ref().is_none_or(|kept| grant.grantee == *kept)
    });
    paging.page("Grants", LENGTHS, grants.map(|grant| (grant.id.clone(), shown(&identities, &key, grant))))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRetirableGrants {
    retiring_principal: String,
    #[serde(flatten)]
    paging: Paging,
}

fn list_retirable(ask: &Ask) -> Result<Value, KmsError> {
    let ListRetirableGrants { retiring_principal, paging } = ask.input()?;
    ask.allow_without_key(&Deed::of("ListRetirableGrants"))?;
    let all = ask.kms().keys_of(ask.account()?);
    let identities = ask.kms().identities().snapshot();
    let retiring = identities.keep_principal(&retiring_principal).unwrap_or(retiring_principal);
    let of_key = |key: &std::sync::Arc<Key>| {
        let retirable = key.grants.values().filter(|grant| grant.retiring.as_ref() == Some(&retiring));
        retirable
            .map(|grant| (format!("{} {}", key.record.id, grant.id), shown(&identities, key, grant)))
            .collect::<Vec<_>>()
    };
    let grants = all.iter().flat_map(|all| all.keys.values()).flat_map(of_key);
    paging.page("Grants", LENGTHS, grants)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RevokeGrant {
    key_id: String,
    grant_id: String,
    dry_run: Option<bool>,
}

async fn revoke(ask: &Ask) -> Result<Value, KmsError> {
    let RevokeGrant { key_id, grant_id, dry_run } = ask.input()?;
    ask.change_key(&key_id, Deed::of("RevokeGrant"), move |_, draft, key| {
        if !key.grants.contains_key(&grant_id) {
            return Err(no_grant());
        }
        dry(dry_run)?;
        draft.remove_grant(&key.record.id, &grant_id)?;
        Ok(Value::Null)
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RetireGrant {
    grant_token: Option<String>,
    key_id: Option<String>,
    grant_id: Option<String>,
    dry_run: Option<bool>,
}

async fn retire(ask: &Ask) -> Result<Value, KmsError> {
    let RetireGrant { grant_token, key_id, grant_id, dry_run } = ask.input()?;
    let (key, grant_id) = match (grant_token, key_id, grant_id) {
        (Some(token), None, None) => read_token(ask, &token)?,
        (None, Some(key_id), Some(grant_id)) => (ask.key_ref(&key_id)?, grant_id),
        _ => return Err(KmsError::validation("Please specify either a grant token, or a key ID and a grant ID.")),
    };
    let account = ask.find(&key, "RetireGrant")?.all.account;
    let asked = ask.clone();
    let remove = move |draft: &mut Draft<'_>| {
        let found = draft.keys().find(&key.name, asked.kms().region())?.clone();
        let grant = found.grants.get(&grant_id);
        allow_retiring(&asked, draft, &found, grant)?;
        if grant.is_none() {
            return Err(no_grant());
        }
        dry(dry_run)?;
        draft.remove_grant(&found.record.id, &grant_id)?;
        Ok(Value::Null)
    };
    ask.kms().change(account, remove).await
}

/// A grant is retired by its retiring principal, by its grantee if it says so, and by whom the key's policy lets (KMS API
/// reference, RetireGrant).
fn allow_retiring(ask: &Ask, draft: &Draft<'_>, key: &Key, grant: Option<&GrantRecord>) -> Result<(), KmsError> {
    let asker = ask.asker();
    let by_retiring =
        |grant: &GrantRecord| grant.retiring.as_ref().is_some_and(|arn| permission::names(arn, asker, key.account));
    let by_grantee = |grant: &GrantRecord| permission::grants(grant, asker, key.account, &Deed::of("RetireGrant"));
    // Another grant of the key says nothing about this one; and a deny counts against this one, too.
    let retirable = grant.and_then(|grant| {
        let by = grant.retiring.as_ref().filter(|_| by_retiring(grant));
        let by = by.or_else(|| by_grantee(grant).then_some(&grant.grantee))?;
        let operations = vec!["RetireGrant".to_owned()];
        Some(GrantRecord { grantee: by.clone(), operations, constraint: None, ..grant.clone() })
    });
    let grants = retirable.map(|grant| (grant.id.clone(), grant)).into_iter().collect();
    ask.allow_in(draft, &Key { grants, ..key.clone() }, &Deed::of("RetireGrant"))
}

/// The key as its policy alone, and those of the caller's account, let it be used.
fn without_grants(key: &Key) -> Key {
    Key { grants: BTreeMap::new(), ..key.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constraint(equals: bool, names: &[&str]) -> Constraint {
        let pair = |name: &&str| Pair { name: (*name).to_owned(), value: "v".to_owned() };
        Constraint { equals, pairs: names.iter().map(pair).collect() }
    }

    #[test]
    fn a_grant_made_by_a_grant_is_no_wider() {
        for (bound, new, expected) in [
            (constraint(false, &["a"]), None, false),
            (constraint(false, &["a"]), Some(constraint(false, &["a"])), true),
            (constraint(false, &["a"]), Some(constraint(false, &["a", "b"])), true),
            (constraint(false, &["a", "b"]), Some(constraint(false, &["a"])), false),
            (constraint(false, &["a"]), Some(constraint(true, &["a", "b"])), true),
            (constraint(true, &["a"]), Some(constraint(false, &["a"])), false),
            (constraint(true, &["a"]), Some(constraint(true, &["a"])), true),
            (constraint(true, &["a"]), Some(constraint(true, &["a", "b"])), false),
        ] {
            assert_eq!(is_within(&bound, new.as_ref()), expected, "{bound:?} {new:?}");
        }
    }
}
