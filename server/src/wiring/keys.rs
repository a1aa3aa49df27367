//! The master key, and what is opened with it at a start.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_crypto::wrap::MasterKeyWrap;
use cairn_storage::index::Partition;
use cairn_storage::ops::Store;

use crate::config::{self, Config};
use crate::identities::own::{self, NewKey};
use crate::identities::own_record::IndexRecord;
use crate::identities::sealing::Sealing;
use crate::identities::{Identities, IdentityParts};
use crate::key_store::KeyStore;
use crate::kms::external::{ExternalKeys, ExternalKms, Unheld};
use crate::kms::name::key_arn;
use crate::kms::{Kms, KmsParts};
use crate::master_key;
use crate::master_key::rotation;
use crate::s3::acl::account_number;
use crate::sts::session::Sessions;

use super::{ServeError, chain};

/// What the master key is for.
pub(super) struct Keyed {
    pub(super) identities: Arc<Identities>,
    /// What makes temporary credentials.
    pub(super) sessions: Sessions,
    pub(super) key_store: KeyStore,
    pub(super) kms: Arc<Kms>,
    /// The ids of the KMS keys that the configuration declares, by their ARNs.
    pub(super) declared_keys: HashMap<String, String>,
    /// The master key, for the secrets of remotes.
    pub(super) of_remotes: MasterKeyWrap,
    /// A root key, if one was made just now.
    pub(super) new_key: Option<NewKey>,
}

/// Finds the master key, and opens what is sealed under it.
///
/// # Errors
/// If it is not there, or is another one than before, and what cannot be read.
pub(super) async fn keyed(
    config: &mut Config,
    store: &Store,
    identity_partitions: &[Partition],
    external: Option<Arc<ExternalKms>>,
) -> Result<Keyed, ServeError> {
    let sealing = Sealing::new(store.index().clone());
    let source = config.take_master_key();
    if let (Some(file), Some(noted)) = (source.key_file(), sealing.noted().await?) {
        master_key::take_next(&file, &noted)?;
    }
    let unheld = external.as_deref().map(Unheld);
    let external_keys = unheld.as_ref().map(|unheld| unheld as &dyn ExternalKeys);
    let master_key = master_key::obtain(source, sealing.nothing_sealed().await?, external_keys).await?;
    sealing.note(MasterKeyWrap::new(&master_key).key_id()).await?;
    let mut former = rotation::former(store.index(), &MasterKeyWrap::new(&master_key)).await?;
    if former.is_some() {
        match rotation::finish(store.index(), identity_partitions, MasterKeyWrap::new(&master_key)).await {
            Ok(rows) => {
                tracing::info!(rows, "finished changing the master key, which was interrupted");
                former = None;
            }
            // What is still under the key before opens nevertheless.
            Err(error) => tracing::error!(error = chain(&error), "changing the master key is still not finished"),
        }
    }
    let sessions = Sessions::new(&master_key);
    let [of_keys, of_kms, of_remotes, master_key] = std::array::from_fn(|_| match &former {
        Some(former) => MasterKeyWrap::new(&master_key).with_former(former),
        None => MasterKeyWrap::new(&master_key),
    });
    let key_store = KeyStore::open(store.index().clone(), of_keys, store.clock().now()).await?;
    let mut declared = std::mem::take(&mut config.accounts);
    let mut new_key = None;
    if declared.is_empty() {
        let record = IndexRecord::new(store.index().clone());
        let given = config.root_key.take();
        let (account, made) = own::load_or_create(given, &record, &master_key, store.entropy().as_ref()).await?;
        declared.push(account);
        new_key = made;
    }
    let first = declared.first().map(|account| account.id);
    let mut kms_keys = std::mem::take(&mut config.kms_keys);
    kms_keys.iter_mut().for_each(|key| key.account = key.account.or(first));
    let arn_and_id = |key: &config::KmsKey| {
        let account = account_number(key.account?);
        Some((key_arn(config.region.as_str(), account, key.id.as_str()), key.id.as_str().to_owned()))
    };
    let declared_keys = kms_keys.iter().filter_map(arn_and_id).collect();
    let parts = IdentityParts {
        declared,
        index: store.index().clone(),
        master_key,
        clock: store.clock().clone(),
        entropy: store.entropy().clone(),
    };
    let identities = Identities::start(parts).await?;
    let parts = KmsParts {
        index: store.index().clone(),
        master_key: of_kms,
        region: config.region.as_str().to_owned(),
        identities: identities.clone(),
        declared: kms_keys,
        external: external.map(|external| external as Arc<dyn ExternalKeys>),
        clock: store.clock().clone(),
        lock_clock: store.lock_clock().clone(),
        entropy: store.entropy().clone(),
    };
    Ok(Keyed { identities, sessions, key_store, kms: Kms::start(parts).await?, declared_keys, of_remotes, new_key })
}
