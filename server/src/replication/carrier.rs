//! Carries out replication tasks: as the configuration's role, whose permissions are asked at each of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cairn_replication::plan;
use cairn_replication::rules::{self, Configuration, Rule};
use cairn_replication::target::{Brought, Content, Failure, Need, Outgoing, Seal, Target};
use cairn_replication::worker::{Carried, Carrier, Told};
use cairn_storage::StorageError;
use cairn_storage::encryption::EncryptionMode;
use cairn_storage::id::BucketId;
use cairn_storage::index::family::version::Version;
use cairn_storage::jobs::replicate::Lane;
use cairn_storage::object::{ObjectKey, ObjectVersion};
use cairn_storage::ops::Bucket;
use cairn_storage::ops::replication::{QueuedTask, Standing};
use cairn_storage::replication::{Left, Progress, TargetStatus};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::audit::{Audit, Trail};
use crate::authorize::AsRole;
use crate::metrics::Metrics;
use crate::s3::Edge;
use crate::s3::replica_keys;

use super::decided::Decisions;
use super::local::Local;
use super::permitted;
use super::role::Roles;
use super::source::{Counted, SealedSource, SourceContent};

/// How long what is on its way goes on at most though its rules are gone, if nobody tells that they have changed.
const RULES_LOOKED_AT: Duration = Duration::from_secs(10);

/// How many tasks are on their way to one remote at once, or within this server, from all buckets together: each may hold a file, a
/// connection and a small object's bytes.
const AT_ONCE_MAX: usize = 64;

/// What the audit log calls a task.
const OPERATION: &str = "ReplicateVersion";

/// Carries out tasks.
#[derive(Debug)]
pub struct Replicator {
    /// The buckets, keys and identities.
    edge: Edge,
    /// Where it is counted.
    metrics: Arc<Metrics>,
    /// The names of the buckets that tasks are about, by the lanes that have any.
    names: Mutex<HashMap<Lane, String>>,
    /// Who may be on the way, by remote; None: within this server.
    turns: Mutex<HashMap<Option<String>, Arc<Semaphore>>>,
    /// By which it is done.
    roles: Roles,
    /// Where it is audited.
    decisions: Decisions,
}

/// A task with what it is about.
struct Errand<'q> {
    queued: &'q QueuedTask,
    bucket: Bucket,
    key: ObjectKey,
    version: Version,
    status: TargetStatus,
    rules: Arc<Configuration>,
}

#[async_trait]
impl Carrier for Replicator {
    async fn carry(&self, queued: &QueuedTask) -> Result<Carried, Failure> {
        let (trail, began) = (Trail::default(), Instant::now());
        let carried = self.carry_with(queued, &trail).await;
        let failure = carried.as_ref().err().map(ToString::to_string);
        self.decisions.note(queued.lane, &trail, began.elapsed(), failure.as_deref());
        carried
    }

    fn told(&self, told: Told<'_>) {
        let name = self.names.lock().get(&told.queued.lane).cloned().unwrap_or_default();
        self.metrics.replication().told(&name, &told);
    }

    fn over(&self, lane: Lane) {
        self.names.lock().remove(&lane);
    }
}

impl Errand<'_> {
    /// The rule by which it goes. A version that has not been there goes by the rule that takes it now: who has switched off, say, the
    /// replication of delete markers does not want those either that wait. What may change about one that has been there goes by the rule
    /// that took it, or by another one for the same target that is about its key now.
    fn rule(&self) -> Option<&Rule> {
        self.rule_of(&self.rules)
    }

    /// The same of these rules.
    fn rule_of<'r>(&self, rules: &'r Configuration) -> Option<&'r Rule> {
        if self.need() == Need::Version {
            return plan::taking(rules, self.queued.lane.target, &self.key, &self.version);
        }
        let arn = &self.queued.task.target;
        let holds = |rule: &&Rule| {
            rule.enabled
                && rule.destination.target.to_string() == *arn
                && self.key.as_str().starts_with(rule.scope.prefix())
        };
        let by_name = rules.rules.iter().filter(holds).find(|rule| rule.id == self.queued.task.rule);
        by_name.or_else(|| rules.rules.iter().filter(holds).max_by_key(|rule| rule.priority))
    }

    fn need(&self) -> Need {
        let replica = self.version.replication().is_some_and(|replication| replication.replica);
        if replica || self.status.arrived { Need::Settings } else { Need::Version }
    }
}

impl Replicator {
    /// With what the operations work with, too.
    #[must_use]
    pub fn new(edge: Edge, metrics: Arc<Metrics>, audit: Arc<Audit>) -> Self {
        let decisions = Decisions::new(OPERATION, audit, &edge.store);
        let (names, turns, roles) = (Mutex::default(), Mutex::default(), Roles::default());
        Self { edge, metrics, names, turns, roles, decisions }
    }

    /// Waits until one more may be on its way there.
    async fn turn(&self, remote: Option<&str>) -> Option<OwnedSemaphorePermit> {
        let new = || Arc::new(Semaphore::new(AT_ONCE_MAX));
        let place = Arc::clone(self.turns.lock().entry(remote.map(str::to_owned)).or_insert_with(new));
        // It is never closed.
        place.acquire_owned().await.ok()
    }

    async fn carry_with(&self, queued: &QueuedTask, trail: &Trail) -> Result<Carried, Failure> {
        // Before anything is read: what is carried is what is there when its turn has come, by the rules of then.
        let remote = queued.task.target.parse::<rules::Target>().ok().and_then(|target| target.remote);
        let _turn = self.turn(remote.as_deref()).await;
        let changes = self.edge.replication.changes.subscribe();
        let errand = match self.errand(queued).await? {
            Ok(errand) => errand,
            Err(carried) => return Ok(carried),
        };
        let rule = errand.rule().ok_or_else(not_taken)?;
        let destination = &rule.destination.target;
        let now = self.edge.store.clock().now();
        let identities = self.edge.identities.snapshot();
        let caller = self.roles.caller(&identities, &errand.rules.role, &errand.bucket, now);
        let caller = caller.map_err(|fault| refused("AssumeRoleNotPermitted", fault))?;
        let acting = AsRole { edge: &self.edge, identities: &identities, caller: &caller, trail };
        let local = Local { acting, name: &destination.bucket };
        let (there, with_tags);
        let target: &dyn Target = match &destination.remote {
            None => {
                with_tags = true;
                &local
            }
            Some(remote) => {
                let named = (remote.as_str(), destination.bucket.as_str());
                with_tags = permitted::send(acting, errand.bucket.owner, named, &errand.key, &errand.version)?;
                there = self.edge.remotes.target(remote, &destination.bucket).await?;
                there.as_ref()
            }
        };
        let standing = if target.keeps_ids() { Standing::default() } else { self.standing(&errand).await? };
        if standing.older_waits {
            return Ok(Carried::Wait);
        }
        let brought = tokio::select! {
            brought = self.bring(&errand, rule, acting, target, (standing, with_tags)) => brought,
            // What was brought so far goes with the future.
            () = self.no_rule_any_more(&errand, changes) => Err(not_taken()),
        };
        if let (Err(Failure::Down { .. }), Some(remote)) = (&brought, &destination.remote) {
            // It may not be what it was taken for any more.
            self.edge.remotes.forget(remote, &destination.bucket);
        }
        brought
    }

    /// What the task is about, or what came of it if there is nothing to bring.
    async fn errand<'q>(&self, queued: &'q QueuedTask) -> Result<Result<Errand<'q>, Carried>, Failure> {
        let store = &self.edge.store;
        let id = BucketId::from_bytes(queued.lane.partition.0);
        // One that is being deleted takes its tasks along, or stays after all.
        let Some(bucket) = store.bucket_of(id).await.map_err(of_store)? else {
            return Ok(Err(Carried::Wait));
        };
        self.names.lock().entry(queued.lane).or_insert_with(|| bucket.name.as_str().to_owned());
        let key = ObjectKey::new(&queued.task.key).ok_or_else(|| refused("Corrupt", "the task has no key"))?;
        let version = store.any_version(id, &key, queued.task.version).await.map_err(of_store)?;
        let Some(version) = version else { return Ok(Err(Carried::Nothing)) };
        let status = version.replication().and_then(|replication| replication.at(queued.lane.target));
        let Some(status) = status.filter(|status| status.progress == Progress::Pending).cloned() else {
            return Ok(Err(Carried::Nothing));
        };
        let rules = self.edge.replication.rules.of(store, &bucket).await.map_err(of_store)?;
        let rules = rules.ok_or_else(not_taken)?;
        Ok(Ok(Errand { queued, bucket, key, version, status, rules }))
    }

    /// Completes when no rule takes there what is on its way.
    async fn no_rule_any_more(&self, errand: &Errand<'_>, mut changes: watch::Receiver<()>) {
        loop {
            // Nobody drops the sender.
            let _changed = tokio::time::timeout(RULES_LOOKED_AT, changes.changed()).await;
            // What cannot be read now is read again.
            if matches!(self.is_taken(errand).await, Ok(false)) {
                return;
            }
        }
    }

    async fn is_taken(&self, errand: &Errand<'_>) -> Result<bool, StorageError> {
        let store = &self.edge.store;
        // One that is being deleted may stay after all.
        let Some(bucket) = store.bucket_of(errand.bucket.id).await? else { return Ok(true) };
        let rules = self.edge.replication.rules.of(store, &bucket).await?;
        Ok(rules.is_some_and(|rules| errand.rule_of(&rules).is_some()))
    }

    async fn standing(&self, errand: &Errand<'_>) -> Result<Standing, Failure> {
        let (store, task) = (&self.edge.store, &errand.queued.task);
        let standing = store.standing(errand.bucket.id, &errand.key, task.version, errand.queued.lane.target);
        standing.await.map_err(of_store)
    }

    async fn bring(
        &self,
        errand: &Errand<'_>,
        rule: &Rule,
        acting: AsRole<'_>,
        target: &dyn Target,
        (standing, with_tags): (Standing, bool),
    ) -> Result<Carried, Failure> {
        let need = errand.need();
        let mut outgoing = Outgoing { standing, ..outgoing(errand, rule, need) };
        let (mut content, mut settings) = (None, None);
        if let Version::Object(object) = &mut outgoing.version {
            settings = Some(object.settings.clone());
            let with_acl = !rule.destination.owner_override;
            let may_tags = permitted::read(acting, &errand.bucket, &errand.key, object, with_acl).await?;
            outgoing.left.tags = !(may_tags && with_tags);
            if outgoing.left.tags {
                object.settings.tags.clear();
            }
            if need == Need::Version {
                let opened = self.open(errand, acting, object).await?;
                let sent = self.metrics.replication().sent(errand.bucket.name.as_str(), &errand.queued.task.rule);
                content = Some(Arc::new(Counted { content: opened, sent }) as Arc<dyn Content>);
            }
        }
        match target.bring(&outgoing, content).await? {
            Brought::There { foreign_version } => {
                let foreign_version = foreign_version.or_else(|| errand.status.foreign_version.clone());
                Ok(Carried::Brought { settings, foreign_version })
            }
            // Somebody removed it there, which is not undone; or it never went there.
            Brought::Absent => Ok(Carried::Brought { settings, foreign_version: None }),
        }
    }

    async fn open(
        &self,
        errand: &Errand<'_>,
        acting: AsRole<'_>,
        object: &mut ObjectVersion,
    ) -> Result<Arc<dyn Content>, Failure> {
        let (store, bucket, key) = (&self.edge.store, &errand.bucket, &errand.key);
        if object.encryption.as_ref().is_some_and(|encryption| encryption.mode == EncryptionMode::Customer) {
            let sealed = SealedSource::open(store, bucket, key, object.version_id).await.map_err(of_store)?;
            let changed = || Failure::Later { reason: "the version was changed meanwhile".to_owned(), after: None };
            return Ok(Arc::new(sealed.ok_or_else(changed)?));
        }
        let data_key = replica_keys::open(&self.edge, acting.caller, acting.trail, (bucket, key), object)
            .await
            .map_err(of_store)?;
        // So that the bytes on their way are held to it, and the replica has it.
        object.reveal_checksum(data_key.as_ref()).map_err(of_store)?;
        Ok(Arc::new(SourceContent::open(store, bucket, key, object, data_key).await.map_err(of_store)?))
    }
}

fn outgoing(errand: &Errand<'_>, rule: &Rule, need: Need) -> Outgoing {
    let destination = &rule.destination;
    let (class, mode) = match &errand.version {
        Version::Object(object) => (object.storage_class, object.encryption.as_ref().map(|encryption| encryption.mode)),
        Version::Marker(_) => Default::default(),
    };
    let seal = match (mode, &destination.replica_kms_key) {
        (Some(EncryptionMode::Kms | EncryptionMode::KmsDsse), Some(key)) => Seal::Kms(key.clone()),
        (Some(EncryptionMode::S3), _) => Seal::Server,
        _ => Seal::Default,
    };
    let new_owner = destination.account.filter(|_| destination.owner_override);
    Outgoing {
        bucket: errand.bucket.name.as_str().to_owned(),
        key: errand.key.clone(),
        version: errand.version.clone(),
        need,
        foreign_version: errand.status.foreign_version.clone(),
        standing: Standing::default(),
        class: destination.storage_class.unwrap_or(class),
        new_owner,
        left: Left { tags: false, acl: new_owner.is_some() },
        seal,
    }
}

/// A refusal under the name that S3 has for its reason (S3 user guide, "Amazon S3 replication failure reasons").
pub(super) fn refused(code: &str, message: impl std::fmt::Display) -> Failure {
    Failure::Refused { reason: format!("{code}: {message}") }
}

/// Of what waits, or is on its way, when its rules are changed.
fn not_taken() -> Failure {
    refused("SrcBucketReplicationConfigMissing", "no rule takes it there any more")
}

/// What a failure of the store means for a task.
pub(super) fn of_store(error: StorageError) -> Failure {
    match error {
        StorageError::DiskFull { .. } => Failure::Full { reason: error.to_string() },
        StorageError::Overloaded
        | StorageError::ReadOnly { .. }
        | StorageError::OutcomeUnknown
        | StorageError::Contention
        | StorageError::BucketBusy
        // It went meanwhile: the next run finds that there is nothing to bring.
        | StorageError::NoSuchKey { .. }
        | StorageError::NoSuchVersion
        | StorageError::TierDown { .. }
        | StorageError::Io { .. } => Failure::Later { reason: error.to_string(), after: None },
        StorageError::Archived { .. } => refused("SrcObjectNotEligible", error),
        error => Failure::Refused { reason: told(&error) },
    }
}

/// An error with its causes.
fn told(error: &StorageError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What a failure of the edge's means for a task.
pub(super) fn of_failure(failure: crate::s3::error::Failure) -> Failure {
    let reason = match failure.cause() {
        Some(cause) => format!("{}: {} ({cause})", failure.code(), failure.message()),
        None => format!("{}: {}", failure.code(), failure.message()),
    };
    if failure.status_code().is_server_error() {
        Failure::Later { reason, after: None }
    } else {
        Failure::Refused { reason }
    }
}
