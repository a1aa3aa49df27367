//! Aliases: other names of keys, each in its own account.

use cairn_iam::acl::AccountNumber;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kms::keys::Draft;
use crate::kms::name::{alias_arn, new_alias};
use crate::kms::permission::{self, Deed};
use crate::kms::record::AliasRecord;
use crate::kms::{KeyRef, KmsError, KmsFault};

use super::ask::{Ask, seconds};
use super::page::{Lengths, Paging};

pub(super) const ACTIONS: &[&str] = &["CreateAlias", "DeleteAlias", "ListAliases", "UpdateAlias"];

const LENGTHS: Lengths = Lengths { default: 50, max: 100 };

/// Aliases of one key at most (KMS developer guide, "Resource quotas").
const ALIASES_MAX: usize = 50;

pub(super) async fn call(ask: &Ask) -> Result<Value, KmsError> {
    match ask.action() {
        "CreateAlias" => create(ask).await,
        "DeleteAlias" => delete(ask).await,
        "ListAliases" => list(ask),
        "UpdateAlias" => update(ask).await,
        _ => Err(ask.misrouted()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NamesKey {
    alias_name: String,
    target_key_id: String,
}

impl NamesKey {
    fn target(&self) -> Result<KeyRef, KmsError> {
        let key = KeyRef::parse(&self.target_key_id)?;
        if key.is_alias() {
            return Err(KmsError::validation("Aliases must refer to keys. Not aliases"));
        }
        Ok(key)
    }
}

/// Lets the call go on as far as the alias is concerned; about the key, its policy decides.
fn allow_alias(ask: &Ask, name: &str, account: AccountNumber) -> Result<(), KmsError> {
    let arn = alias_arn(ask.kms().region(), account, name);
    permission::check_without_key(ask.asker(), ask.kms().here(), (&arn, account), &Deed::of(ask.action()))
}

fn room_for_alias(draft: &Draft<'_>, key_id: &str) -> Result<(), KmsError> {
    if draft.keys().aliases_of(key_id).count() < ALIASES_MAX {
        return Ok(());
    }
    Err(KmsError::fault(KmsFault::LimitExceeded, format!("The key has {ALIASES_MAX} aliases, which is the most")))
}

async fn create(ask: &Ask) -> Result<Value, KmsError> {
    let input: NamesKey = ask.input()?;
    let (name, account) = (new_alias(&input.alias_name)?.to_owned(), ask.account()?);
    let target = input.target()?;
    allow_alias(ask, &name, account)?;
    ask.find(&target, ask.action())?;
    let (asked, now) = (ask.clone(), ask.now());
    let make = move |draft: &mut Draft<'_>| {
        let key = draft.keys().find(&target.name, asked.kms().region())?.clone();
        asked.allow_in(draft, &key, &Deed::of("CreateAlias"))?;
        if draft.keys().aliases.contains_key(&name) {
            let arn = alias_arn(asked.kms().region(), account, &name);
            let message = format!("An alias with the name {arn} already exists");
            return Err(KmsError::fault(KmsFault::AlreadyExists, message));
        }
        key.not_pending()?;
        room_for_alias(draft, &key.record.id)?;
        let key_id = key.record.id.clone();
        draft.put_alias(AliasRecord { name: name.clone(), key_id, created: now, updated: now })?;
        Ok(Value::Null)
    };
    ask.kms().change(account, make).await
}

async fn update(ask: &Ask) -> Result<Value, KmsError> {
    let input: NamesKey = ask.input()?;
    let (name, account) = (new_alias(&input.alias_name)?.to_owned(), ask.account()?);
    let target = input.target()?;
    allow_alias(ask, &name, account)?;
    ask.find(&target, ask.action())?;
    let (asked, now) = (ask.clone(), ask.now());
    let make = move |draft: &mut Draft<'_>| {
        let region = asked.kms().region();
        let old = draft.keys().find(&KeyRef::parse(&name)?.name, region)?.clone();
        let new = draft.keys().find(&target.name, region)?.clone();
        for key in [&old, &new] {
            asked.allow_in(draft, key, &Deed::of("UpdateAlias"))?;
        }
        new.not_pending()?;
        let Some(record) = draft.keys().aliases.get(&name).cloned() else { return Ok(Value::Null) };
        if record.key_id != new.record.id {
            room_for_alias(draft, &new.record.id)?;
            draft.put_alias(AliasRecord { key_id: new.record.id.clone(), updated: now, ..record })?;
        }
        Ok(Value::Null)
    };
    ask.kms().change(account, make).await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteAlias {
    alias_name: String,
}

async fn delete(ask: &Ask) -> Result<Value, KmsError> {
    let DeleteAlias { alias_name } = ask.input()?;
    let (name, account) = (new_alias(&alias_name)?.to_owned(), ask.account()?);
    allow_alias(ask, &name, account)?;
    let asked = ask.clone();
    let remove = move |draft: &mut Draft<'_>| {
        let key = draft.keys().find(&KeyRef::parse(&name)?.name, asked.kms().region())?.clone();
        asked.allow_in(draft, &key, &Deed::of("DeleteAlias"))?;
        draft.remove_alias(&name)?;
        Ok(Value::Null)
    };
    ask.kms().change(account, remove).await
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListAliases {
    key_id: Option<String>,
    #[serde(flatten)]
    paging: Paging,
}

fn list(ask: &Ask) -> Result<Value, KmsError> {
    let ListAliases { key_id, paging } = ask.input()?;
    ask.allow_without_key(&Deed::of("ListAliases"))?;
    let of_key = match key_id {
        Some(text) => Some(ask.find(&ask.key_ref(&text)?, "ListAliases")?.key.record.id.clone()),
        None => None,
    };
    let (account, region) = (ask.account()?, ask.kms().region());
    let all = ask.kms().keys_of(account);
    let aliases = all.iter().flat_map(|all| all.aliases.values());
    let aliases = aliases.filter(|alias| of_key.as_ref().is_none_or(|id| alias.key_id == *id));
    let item = |alias: &AliasRecord| {
        let shown = json!({
            "AliasName": alias.name,
            "AliasArn": alias_arn(region, account, &alias.name),
            "TargetKeyId": alias.key_id,
            "CreationDate": seconds(alias.created),
            "LastUpdatedDate": seconds(alias.updated),
        });
        (alias.name.clone(), shown)
    };
    paging.page("Aliases", LENGTHS, aliases.map(item))
}
