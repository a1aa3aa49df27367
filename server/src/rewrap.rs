//! Re-wrapping: data keys come under the newest version of their key, so that older versions can be retired. No byte of an
//! object is touched.
//!
//! Two walk jobs: `rewrap` exchanges envelopes, of the key of SSE-S3 or of a KMS key; `retire` removes the older versions of
//! the key of SSE-S3 after it has seen that no envelope names one. Retiring waits for requests that began to seal before the
//! key was rotated, for they may still write an envelope of an older version. Versions of KMS keys are not retired: what
//! clients had encrypted under them is not known here.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cairn_crypto::kms::EncryptionContext;
use cairn_crypto::store_key::{Keyring, wrapped_under};
use cairn_crypto::wrap::{KeyWrap as _, WrapContext};
use cairn_storage::StorageError;
use cairn_storage::encryption::{Encryption, EncryptionMode, UnderKms};
use cairn_storage::index::family::walk::{WalkCounts, WalkKind, WalkRecord};
use cairn_storage::jobs::walks::{NewWalk, Step, StepFailure, WalkError, Walker};
use cairn_storage::ops::Store;
use cairn_storage::ops::rewrap::{EnvelopeLimits, EnvelopePosition, Rewrap};
use minicbor::{Decode, Encode};
use parking_lot::Mutex;

use crate::kms::Kms;
use crate::s3::encryption::EncryptionSettings;

/// Envelopes of bucket keys of which it is remembered what they became.
const EXCHANGED_MAX: usize = 4_096;

/// What a walk is about. It is its argument.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RewrapKey {
    /// The key of SSE-S3.
    #[n(0)]
    Server {
        /// To retire: the versions before this one.
        #[n(0)]
        below: Option<u32>,
    },
    /// The KMS key of this ARN.
    #[n(1)]
    Kms(#[n(0)] String),
}

impl RewrapKey {
    fn of(walk: &WalkRecord) -> Result<Self, StepFailure> {
        minicbor::decode(&walk.argument).map_err(|error| StepFailure::Refused(format!("the walk's argument: {error}")))
    }

    fn argument(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default() // writing to a Vec cannot fail
    }
}

/// Begins to re-wrap what is under a key.
///
/// # Errors
/// As of [`Store::start_walk`].
pub async fn start_rewrap(store: &Store, key: RewrapKey) -> Result<WalkRecord, WalkError> {
    store.start_walk(NewWalk { kind: WalkKind::Rewrap, bucket: None, argument: key.argument() }).await
}

/// Begins to retire the versions of the key of SSE-S3 before this one.
///
/// # Errors
/// As of [`Store::start_walk`].
pub async fn start_retiring(store: &Store, below: u32) -> Result<WalkRecord, WalkError> {
    let argument = RewrapKey::Server { below: Some(below) }.argument();
    store.start_walk(NewWalk { kind: WalkKind::Retire, bucket: None, argument }).await
}

/// Where the keys are.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The key of SSE-S3, and keys that the KMS issued for buckets.
    pub settings: EncryptionSettings,
    /// KMS keys.
    pub kms: Arc<Kms>,
}

/// What envelopes of bucket keys became: objects that shared one share one again.
#[derive(Clone, Default)]
struct Exchanged(Arc<Mutex<HashMap<Vec<u8>, Vec<u8>>>>);

impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchanged({})", self.0.lock().len())
    }
}

/// Re-wraps.
#[derive(Debug)]
pub struct Rewrapper {
    keys: Keys,
    exchanged: Exchanged,
}

impl Rewrapper {
    /// With these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys, exchanged: Exchanged::default() }
    }
}

#[async_trait]
impl Walker for Rewrapper {
    fn kind(&self) -> WalkKind {
        WalkKind::Rewrap
    }

    async fn step(&self, store: &Store, walk: &WalkRecord) -> Result<Step, StepFailure> {
        let exchange = match RewrapKey::of(walk)? {
            RewrapKey::Server { .. } => Exchange::Server(self.keys.settings.key_store.server_key()),
            RewrapKey::Kms(arn) => {
                if walk.cursor.is_empty() {
                    // Those that are held were issued by the version that was the newest then.
                    self.keys.settings.forget_bucket_keys();
                }
                let (kms, exchanged) = (Arc::clone(&self.keys.kms), self.exchanged.clone());
                Exchange::Kms { kms, arn, exchanged }
            }
        };
        let Some(place) = store.walk_place(walk).await? else { return Ok(done()) };
        let position = position(&place.within)?;
        let wanted = exchange.clone();
        let is_due = move |encryption: &Encryption| wanted.is_due(encryption);
        let page = store.envelope_page(place.bucket.id, position, EnvelopeLimits::default(), is_due).await?;
        let done = store.rewrap_page(place.bucket.id, &page, &exchange).await?;
        let counts = WalkCounts {
            examined: page.examined,
            changed: done.changed,
            skipped: page.examined.saturating_sub(done.changed + done.failed),
            failed: done.failed,
            bytes: done.bytes,
        };
        // What is passed by meanwhile, retiring will find.
        let next = page.next.map(|next| minicbor::to_vec(next.come_what_may()).unwrap_or_default());
        Ok(Step { cursor: place.then(next), counts, note: done.last_error })
    }
}

/// Retires versions of the key of SSE-S3.
#[derive(Debug)]
pub struct Retirer {
    keys: Keys,
}

impl Retirer {
    /// With these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys }
    }
}

#[async_trait]
impl Walker for Retirer {
    fn kind(&self) -> WalkKind {
        WalkKind::Retire
    }

    async fn step(&self, store: &Store, walk: &WalkRecord) -> Result<Step, StepFailure> {
        let RewrapKey::Server { below: Some(below) } = RewrapKey::of(walk)? else {
            return Err(StepFailure::Refused("only versions of the key of SSE-S3 can be retired".to_owned()));
        };
        let key_store = &self.keys.settings.key_store;
        let begins = walk.cursor.is_empty();
        if begins && key_store.is_in_use_below(below) {
            return Err(StepFailure::Later(
                "requests that began to encrypt before the key was rotated are still under way".to_owned(),
            ));
        }
        let Some(place) = store.walk_place(walk).await? else {
            let retired = key_store.retire_below(below).await;
            let status = retired.map_err(|error| StepFailure::Failed(error.to_string()))?;
            tracing::warn!(versions = status.versions.len(), "older versions of the key of SSE-S3 are retired");
            return Ok(done());
        };
        if begins {
            // A request that gave up may have left a commit in the index's queue. The cursor's own commit comes after it, so what
            // is looked through from the next step on has it.
            let next = minicbor::to_vec(EnvelopePosition::Start).unwrap_or_default();
            return Ok(Step { cursor: place.then(Some(next)), counts: WalkCounts::default(), note: None });
        }
        let position = position(&place.within)?;
        let kept = key_store.versions_from(below);
        // What cannot be read might name any.
        let names_older = move |encryption: &Encryption| {
            let named = encryption.wrapped().ok().and_then(|wrapped| wrapped_under(&wrapped));
            encryption.mode == EncryptionMode::S3 && named.is_none_or(|version| !kept.contains(&version))
        };
        let limits = EnvelopeLimits { found: 1, ..EnvelopeLimits::default() };
        let page = store.envelope_page(place.bucket.id, position, limits, names_older).await?;
        if let Some((key, _)) = page.found.first() {
            return Err(StepFailure::Refused(format!(
                "nothing is retired: an envelope of {}/{} names an older version; re-wrap first",
                place.bucket.name,
                key.as_str()
            )));
        }
        let counts = WalkCounts { examined: page.examined, skipped: page.examined, ..WalkCounts::default() };
        let next = page.next.map(|next| minicbor::to_vec(next).unwrap_or_default());
        Ok(Step { cursor: place.then(next), counts, note: None })
    }
}

fn done() -> Step {
    Step { cursor: None, counts: WalkCounts::default(), note: None }
}

fn position(within: &[u8]) -> Result<EnvelopePosition, StepFailure> {
    if within.is_empty() {
        return Ok(EnvelopePosition::Start);
    }
    minicbor::decode(within).map_err(|error| StepFailure::Refused(format!("the walk's cursor: {error}")))
}

/// How envelopes are exchanged.
#[derive(Clone)]
enum Exchange {
    /// Those under the key of SSE-S3.
    Server(Arc<Keyring>),
    /// Those of issued keys, under a KMS key.
    Kms { kms: Arc<Kms>, arn: String, exchanged: Exchanged },
}

impl Exchange {
    fn is_due(&self, encryption: &Encryption) -> bool {
        match self {
            // One that cannot be read is due, so that it is counted as failed.
            Self::Server(keyring) => {
                let named = encryption.wrapped().ok().and_then(|wrapped| wrapped_under(&wrapped));
                encryption.mode == EncryptionMode::S3 && named != Some(keyring.newest())
            }
            Self::Kms { kms, arn, .. } => encryption
                .kms
                .as_ref()
                .is_some_and(|under| under.key_arn == *arn && kms.is_under_newest(&under.envelope) == Some(false)),
        }
    }
}

/// The issued key in an envelope by the newest version.
async fn reissued(kms: &Kms, under: &UnderKms) -> Result<Vec<u8>, StorageError> {
    let context = under.context.iter().map(|(name, value)| (name.clone(), value.clone()));
    let context = EncryptionContext::from_pairs(context).map_err(unusable)?;
    kms.reencrypt(&under.key_arn, &under.envelope, &context).await.map_err(unusable)
}

fn unusable(error: impl fmt::Display) -> StorageError {
    StorageError::KeyUnusable { what: error.to_string() }
}

#[async_trait]
impl Rewrap for Exchange {
    async fn rewrap(
        &self,
        encryption: &Encryption,
        context: WrapContext<'_>,
    ) -> Result<Option<Encryption>, StorageError> {
        if !self.is_due(encryption) {
            return Ok(None);
        }
        match self {
            Self::Server(keyring) => {
                let key = keyring.unwrap(&encryption.wrapped()?, &context);
                let wrapped = key.and_then(|key| keyring.wrap(&key, &context));
                Ok(Some(encryption.rewrapped(&wrapped.map_err(unusable)?)))
            }
            Self::Kms { kms, exchanged, .. } => {
                let Some(under) = encryption.kms.as_ref() else { return Ok(None) };
                let known = exchanged.0.lock().get(&under.envelope).cloned();
                let envelope = match known.filter(|known| kms.is_under_newest(known) == Some(true)) {
                    Some(known) => known,
                    None => reissued(kms, under).await?,
                };
                if under.bucket_key {
                    let mut exchanged = exchanged.0.lock();
                    if exchanged.len() >= EXCHANGED_MAX {
                        exchanged.clear();
                    }
                    exchanged.insert(under.envelope.clone(), envelope.clone());
                }
                encryption.reissued(envelope).map(Some).ok_or(StorageError::MetadataTooLarge)
            }
        }
    }
}
