//! Constructs everything and runs it: the one place that knows all parts.
//!
//! Order of a start: both ports are bound (so that a port in use is found out before anything is made), the operations port
//! answers (so that a supervisor can watch the rest), the store, the identities, the S3 endpoint. Order of a stop: not ready,
//! no new connections, requests in flight, store, operations port.

mod keys;
mod master_key_rotation;
mod store;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::restore::Delays;
use cairn_replication::worker::{self, Worker};
use cairn_storage::check::{Progress, Report};
use cairn_storage::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use cairn_storage::index::Partition;
use cairn_storage::index::family::bucket::ObjectOwnership;
use cairn_storage::index::family::walk::WalkKind;
use cairn_storage::jobs::moving::Mover;
use cairn_storage::jobs::walks::{self, WalkOptions, Walker};
use cairn_storage::ops::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::accesses::Accesses;
use crate::audit::Audit;
use crate::config::{self, Config, Domain, Limits, PageOrigin};
use crate::cors::Cors;
use crate::gate::{Apis, Gate, GateSettings, Hosts, InvalidRegion};
use crate::iam_api::IamApi;
use crate::identities::own::{NewKey, OwnAccountError};
use crate::identities::sealing::SealingError;
use crate::identities::{Identities, StartError};
use crate::key_store::KeyStoreError;
use crate::kms::external::{self, ExternalKms};
use crate::kms::{Kms, KmsError};
use crate::kms_api::KmsApi;
use crate::lifecycle_sweeps::Sweeps;
use crate::listener::tls::{Tls, TlsError};
use crate::listener::{ConnectionInfo, ConnectionLimits, ConnectionMetrics, Listener, Stopped};
use crate::master_key::MasterKeyError;
use crate::master_key::rotation::RotationError;
use crate::metrics::Metrics;
use crate::ops_port::{self, Readiness};
use crate::proxies::Proxies;
use crate::remotes::kept::KeptError;
use crate::remotes::{RemoteError, Remotes};
use crate::replication::carrier::Replicator;
use crate::replication::verify::Verifier;
use crate::replication::walks::Existing;
use crate::replication::{self, Replication, status};
use crate::rewrap::{self, Retirer, Rewrapper};
use crate::s3::Edge;
use crate::s3::encryption::EncryptionSettings;
use crate::s3::lifecycle::Lifecycle;
use crate::sts::StsApi;
use crate::sts::web_identity::issuers::{ClientError, Issuers};
use crate::website::{WebsiteParts, Websites};

use keys::{Keyed, keyed};
pub use master_key_rotation::{RotateError, Rotated, rotate_master_key};
pub use store::OpenError;
use store::OpenStore;

/// The status of a process that was told twice to stop.
const EXIT_ENDED: i32 = 1;

/// How long the last scrape and health question may take at a stop.
const OPS_GRACE: Duration = Duration::from_secs(1);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The process cannot be told to stop.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// There is no certificate for the S3 endpoint.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// There is no master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The master key was changed, and not to the end.
    #[error("changing the master key cannot be finished")]
    Rotation(#[from] RotationError),
    /// There is no key store.
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    /// The external KMS cannot be asked.
    #[error(transparent)]
    ExternalKms(#[from] external::BuildError),
    /// There are no KMS keys.
    #[error("the KMS keys cannot be read")]
    Kms(#[from] KmsError),
    /// There is no account.
    #[error(transparent)]
    Account(#[from] OwnAccountError),
    /// There are no identities.
    #[error(transparent)]
    Identities(#[from] StartError),
    /// The master key is another one than before.
    #[error(transparent)]
    Sealing(#[from] SealingError),
    /// No identity provider can be asked.
    #[error(transparent)]
    Issuers(#[from] ClientError),
    /// There is no audit log.
    #[error("the audit log cannot be written")]
    Audit(#[source] io::Error),
    /// Another S3 service cannot be used.
    #[error(transparent)]
    Remotes(#[from] RemoteError),
    /// Remotes that were added cannot be read.
    #[error(transparent)]
    KeptRemotes(#[from] KeptError),
    /// No signature can name the region.
    #[error(transparent)]
    Region(#[from] InvalidRegion),
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause: &&dyn Error| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Runs the server until a signal asks it to stop. `show_new_key` is called if root credentials were generated, with the
/// S3 endpoint and the region.
pub async fn serve(mut config: Config, show_new_key: impl FnOnce(&NewKey, SocketAddr, &str)) -> Result<(), ServeError> {
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::new());
    let stop = stop_on_signals(readiness.clone()).map_err(ServeError::Signals)?;
    let ops = listen(config.ops.listen, ops_port::CONNECTION_LIMITS, ConnectionMetrics::default())?;
    let limits = connection_limits(&config.limits);
    let mut s3 = listen(config.s3.listen, limits, metrics.connections())?.with_http2(config.s3.http2);
    let website = config.website.listen.map(|address| listen(address, limits, metrics.connections()));
    let mut website = website.transpose()?.map(|website| website.with_http2(config.s3.http2));
    if let Some((certificate_file, key_file)) = config.s3.tls_files() {
        let tls = Arc::new(Tls::load(certificate_file, key_file, config.s3.http2)?);
        let hangup = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
        let (fresh, until) = (Arc::clone(&tls), stop.clone());
        tokio::spawn(async move { fresh.keep_fresh(hangup, until).await });
        s3 = s3.with_tls(Arc::clone(&tls));
        if !config.website.plain {
            website = website.map(|website| website.with_tls(tls));
        }
    }
    let address = s3.address().map_err(|source| ServeError::Listen { address: config.s3.listen, source })?;

    let stop_ops = CancellationToken::new();
    let ops_service = ops_port::service(metrics.clone(), readiness.clone());
    let ops = tokio::spawn(ops.serve(ops_service, stop_ops.clone(), OPS_GRACE));

    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let remotes = Remotes::new(&config.remotes, &|name| std::env::var_os(name), &clock, &entropy)?;
    remotes.reserve(config.tiers.iter().filter_map(|tier| tier.home.bucket()));
    let rules = replication::Rules::default();
    let open = OpenStore::open(&config, &remotes, Arc::new(rules.clone()), metrics.clone()).await?;
    let begun = open.identity_partitions().map_err(ServeError::from).and_then(|partitions| {
        let audit = Audit::start(config.audit_log(), metrics.audit_lost()).map_err(ServeError::Audit)?;
        Ok((partitions, audit))
    });
    let (partitions, audit) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            open.close(true).await;
            return Err(error);
        }
    };
    let started = start(&mut config, (open.store(), &partitions, &remotes), rules, &metrics, &audit).await;
    let drained = match started {
        Ok(Started { gate, websites, edge, identities, kms, sweeps, accesses, walkers, external_kms, new_key }) => {
            if let Some(key) = &new_key {
                show_new_key(key, address, config.region.as_str());
            }
            open.tell_retrievals(audit.clone());
            let store = open.store();
            readiness.serving(store.health().clone(), store.lock_clock().clone(), store.blobs().clone());
            external_kms.iter().for_each(|external_kms| readiness.depends_on(external_kms.clone()));
            tracing::info!(%address, ops = %config.ops.listen, "serving");
            let writing_usage = tokio::spawn(identities.clone().keep_writing_usage());
            let keeping_keys = tokio::spawn(kms.keep_doing_what_is_due());
            let keeping_external_kms = external_kms.map(|external| tokio::spawn(external.keep()));
            let noting = tokio::spawn(accesses.clone().keep_flushing());
            let sweeping = tokio::spawn(sweeps.keep_sweeping());
            // A damaged index is for reading what is left, and for nothing else.
            let is_damaged = open.store().health().read_only().is_some();
            let walkers = if is_damaged { Vec::new() } else { walkers };
            let walking = walks::spawn(open.store().clone(), walkers, metrics.clone(), WalkOptions::default());
            let replicating = Replicating::start(edge, &metrics, &audit);
            let service = move |request, connection: ConnectionInfo| {
                let gate = gate.clone();
                async move { gate.answer(request, connection).await }
            };
            let grace = config.limits.shutdown_grace;
            let (stopped, _) =
                tokio::join!(s3.serve(service, stop.clone(), grace), serve_websites(website, websites, stop, grace));
            if let Stopped::Aborted(connections) = stopped {
                tracing::warn!(connections, "the grace period ended before the requests did");
            }
            noting.abort();
            accesses.flush_last().await;
            writing_usage.abort();
            keeping_keys.abort();
            keeping_external_kms.inspect(|keeping| keeping.abort());
            sweeping.abort();
            walking.stop().await;
            // Its end is awaited, because an act about a version may be under way.
            let _ = sweeping.await;
            replicating.stop().await;
            identities.write_usage().await;
            Ok(stopped == Stopped::Drained)
        }
        Err(error) => Err(error),
    };
    open.stop_jobs().await;
    audit.stop().await;
    open.close(*drained.as_ref().unwrap_or(&true)).await;

    stop_ops.cancel();
    if let Err(error) = ops.await {
        tracing::error!(%error, "the operations port failed");
    }
    drained.map(|_| ())
}

async fn serve_websites(
    listener: Option<Listener>,
    websites: Websites,
    stop: CancellationToken,
    grace: Duration,
) -> Option<Stopped> {
    let service = move |request, connection: ConnectionInfo| {
        let websites = websites.clone();
        async move { websites.answer(request, connection).await }
    };
    Some(listener?.serve(service, stop, grace).await)
}

/// The replication worker, and what measures how far behind it is.
struct Replicating {
    /// None: the store is read-only, so nothing could be noted.
    worker: Option<Worker>,
    sampling: JoinHandle<()>,
}

impl Replicating {
    fn start(edge: Edge, metrics: &Arc<Metrics>, audit: &Arc<Audit>) -> Self {
        let (store, replication) = (edge.store.clone(), edge.replication.clone());
        let sampling = tokio::spawn(status::keep_sampling(store.clone(), replication.clone(), metrics.clone()));
        let worker = store.health().read_only().is_none().then(|| {
            let carrier = Arc::new(Replicator::new(edge, metrics.clone(), audit.clone()));
            let worker = Worker::spawn(store, carrier, worker::Options::default());
            // Nobody sets it but this, once.
            let _ = replication.lanes.set(worker.states());
            worker
        });
        Self { worker, sampling }
    }

    async fn stop(self) {
        self.sampling.abort();
        if let Some(worker) = self.worker {
            worker.stop().await;
        }
    }
}

/// What answers requests.
struct Started {
    gate: Gate,
    websites: Websites,
    /// What the operations work with, for who acts without a request.
    edge: Edge,
    identities: Arc<Identities>,
    kms: Arc<Kms>,
    sweeps: Arc<Sweeps>,
    accesses: Arc<Accesses>,
    /// What does walk jobs.
    walkers: Vec<Arc<dyn Walker>>,
    external_kms: Option<Arc<ExternalKms>>,
    /// A root key, if one was made just now.
    new_key: Option<NewKey>,
}

/// The gate before the store.
async fn start(
    config: &mut Config,
    (store, identity_partitions, remotes): (&Store, &[Partition], &Remotes),
    rules: replication::Rules,
    metrics: &Arc<Metrics>,
    audit: &Arc<Audit>,
) -> Result<Started, ServeError> {
    let external_kms = config
        .take_external_kms()
        .map(|settings| ExternalKms::new(settings, store.entropy().clone(), metrics.external_kms()).map(Arc::new));
    let external_kms = external_kms.transpose()?;
    let Keyed { identities, sessions, key_store, kms, declared_keys, of_remotes, new_key } =
        keyed(config, store, identity_partitions, external_kms.clone()).await?;
    remotes.open(store.index().clone(), of_remotes).await?;
    let sts = StsApi {
        identities: identities.clone(),
        sessions: sessions.clone(),
        issuers: Issuers::new(store.clock().clone(), config.sts.plain_loopback_issuers)?,
        clock: store.clock().clone(),
        entropy: store.entropy().clone(),
        region: config.region.as_str().to_owned(),
    };
    let apis = Apis {
        iam: Arc::new(IamApi::new(identities.clone(), config.region.as_str().to_owned())),
        sts: Arc::new(sts),
        kms: Arc::new(KmsApi { kms: kms.clone() }),
    };
    let lifecycle = Arc::new(lifecycle(config, metrics));
    let interval = config.lifecycle.sweep_interval;
    let sweeps = Sweeps::new(store.clone(), lifecycle.calendar, interval, metrics.clone(), audit.clone());
    let sweeps = Arc::new(sweeps);
    let accesses = Arc::new(Accesses::new(store.clone(), lifecycle.calendar));
    let edge = Edge {
        store: store.clone(),
        identities: identities.clone(),
        kms: kms.clone(),
        region: config.region.as_str().to_owned(),
        recreate_own: config.new_buckets.recreate_own,
        object_ownership: match config.new_buckets.object_ownership {
            config::ObjectOwnership::BucketOwnerEnforced => ObjectOwnership::BucketOwnerEnforced,
            config::ObjectOwnership::BucketOwnerPreferred => ObjectOwnership::BucketOwnerPreferred,
            config::ObjectOwnership::ObjectWriter => ObjectOwnership::ObjectWriter,
        },
        block_public_access: config.new_buckets.block_public_access,
        policies: Arc::default(),
        encryption: EncryptionSettings {
            key_store: Arc::new(key_store),
            default: config.encryption.default,
            allow_ssec_over_http: config.s3.allow_ssec_over_http,
            bucket_keys: Arc::default(),
            declared_keys: Arc::new(declared_keys),
            metrics: metrics.clone(),
        },
        lifecycle,
        accesses: accesses.clone(),
        sweeps: sweeps.clone(),
        remotes: remotes.clone(),
        replication: Arc::new(Replication::new(rules, config.replication.bandwidth_limit)),
    };
    let walkers = walkers(&edge, &kms, audit);
    let settings = gate_settings(config, store);
    let (proxies, cors) = (settings.proxies.clone(), Arc::clone(&settings.cors));
    let gate =
        Gate::new(edge.clone(), sessions, apis, settings, metrics.clone(), audit.clone(), store.entropy().clone())?;
    let websites = Websites::new(WebsiteParts {
        edge: edge.clone(),
        hosts: Hosts { domains: texts(&config.website.domains, Domain::as_str), ..Hosts::default() },
        proxies,
        cors,
        in_flight: gate.in_flight(),
        metrics: metrics.clone(),
        audit: audit.clone(),
        entropy: store.entropy().clone(),
    });
    Ok(Started { gate, websites, edge, identities, kms, sweeps, accesses, walkers, external_kms, new_key })
}

/// What does walk jobs, one for each kind.
fn walkers(edge: &Edge, kms: &Arc<Kms>, audit: &Arc<Audit>) -> Vec<Arc<dyn Walker>> {
    let existing = |kind| Arc::new(Existing { rules: edge.replication.rules.clone(), kind });
    let keys = rewrap::Keys { settings: edge.encryption.clone(), kms: Arc::clone(kms) };
    vec![
        Arc::new(Rewrapper::new(keys.clone())),
        Arc::new(Retirer::new(keys)),
        Arc::new(Mover),
        existing(WalkKind::Backfill),
        existing(WalkKind::Resync),
        Arc::new(Verifier::new(edge.clone(), audit.clone())),
    ]
}

/// What the operations and the sweeps need to know of lifecycles.
fn lifecycle(config: &Config, metrics: &Arc<Metrics>) -> Lifecycle {
    let ms = |delay: Duration| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    let delays = Delays {
        expedited_ms: ms(config.restore.expedited),
        standard_ms: ms(config.restore.standard),
        bulk_ms: ms(config.restore.bulk),
        deep_standard_ms: ms(config.restore.deep_archive_standard),
        deep_bulk_ms: ms(config.restore.deep_archive_bulk),
    };
    Lifecycle::new(Calendar::with_day_seconds(config.lifecycle.day.as_secs()), delays, metrics.clone())
}

fn gate_settings(config: &Config, store: &Store) -> GateSettings {
    GateSettings {
        hosts: Hosts {
            domains: texts(&config.s3.domains, Domain::as_str),
            buckets: config.s3.bucket_hosts.iter().map(|host| host.as_str().to_owned()).collect(),
        },
        proxies: Proxies { trusted: config.proxies.trusted.clone(), headers: config.proxies.headers },
        cors: Arc::new(Cors::new(store.clone(), texts(&config.cors.origins, PageOrigin::as_str))),
        signature_v2: config.s3.signature_v2,
        requests_in_flight_max: config.limits.requests_in_flight_max,
    }
}

fn texts<T>(values: &[T], text: fn(&T) -> &str) -> Vec<String> {
    values.iter().map(|value| text(value).to_owned()).collect()
}

/// Verifies the data directory of a server that is not running.
///
/// # Errors
/// What kept the verification from being complete; what it found wrong is in the report.
pub fn check(config: &Config, mut progress: impl FnMut(Progress) + Send) -> Result<Report, OpenError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let remotes = Remotes::new(&config.remotes, &|name| std::env::var_os(name), &clock, &entropy)?;
        store::check(config, &remotes, &mut progress).await
    })
}

fn connection_limits(limits: &Limits) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: limits.connections_max,
        header_read_timeout: limits.header_read_timeout,
        body_progress_timeout: limits.body_progress_timeout,
        write_progress_timeout: limits.write_progress_timeout,
    }
}

fn listen(address: SocketAddr, limits: ConnectionLimits, metrics: ConnectionMetrics) -> Result<Listener, ServeError> {
    Listener::bind(address, limits, metrics).map_err(|source| ServeError::Listen { address, source })
}

/// Cancelled by the first SIGTERM or SIGINT. A second one ends the process at once, for who cannot wait for the grace
/// period: nothing acknowledged is lost by that.
fn stop_on_signals(readiness: Arc<Readiness>) -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        for second in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if second {
                tracing::warn!("asked to stop twice: ending at once");
                std::process::exit(EXIT_ENDED);
            }
            tracing::info!("stopping");
            readiness.stopping();
            cancelled.cancel();
        }
    });
    Ok(stop)
}
