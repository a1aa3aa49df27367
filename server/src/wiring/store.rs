//! Opening and closing the store with everything that runs beside it.
//!
//! Order of opening: the directory's lock, the index (which may find itself damaged and read-only), the blobs, unfinished
//! bucket sagas, runners of jobs, and, if the last run did not end in order, the scan for orphans. Closing is the
//! reverse, and leaves the mark of a clean stop only if nothing was cut short.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_storage::StorageError;
use cairn_storage::blob::{BlobStore, Compression, Offload};
use cairn_storage::check::{self, Progress, Report};
use cairn_storage::clock::{SystemClock, SystemEntropy};
use cairn_storage::datadir::{DataDir, DataDirError};
use cairn_storage::disk::{Disk, RealDisk};
use cairn_storage::health::Health;
use cairn_storage::index::rocks::{RocksIndex, RocksOptions};
use cairn_storage::index::{Family, Index, IndexError, Partition};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::forget_upload::ForgetUpload;
use cairn_storage::jobs::restore::Restorer;
use cairn_storage::jobs::retrieval::{RetrievalListener, Retrievals};
use cairn_storage::jobs::scan::{self, ScanOptions};
use cairn_storage::jobs::settle::{SettlePlanner, Settler};
use cairn_storage::jobs::{self, Handler, JobHandle, RunnerOptions};
use cairn_storage::observe::{Observer, Silent};
use cairn_storage::ops::planner::{NoPlan, Planner};
use cairn_storage::ops::{Limits, Store, StoreParts};
use cairn_storage::space::SpaceKeeper;
use cairn_storage::tiers::{self, ConfiguredHome, ConfiguredTier, TierError};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::config::{self, Config, TierHome};
use crate::identities;
use crate::metrics::Metrics;
use crate::remotes::{RemoteError, Remotes};
use crate::tiers::bucket::BucketTier;
use crate::tiers::{self as tier_watch, TierWatch};

/// The pause between two measurements. What can be written in it must be well below the floor of free space.
const MEASURE_INTERVAL: Duration = Duration::from_millis(100);

/// Between two scans for orphans.
const SCAN_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Until a scan that failed is tried again.
const SCAN_RETRY_DELAY: Duration = Duration::from_secs(10 * 60);

/// Between two times that lock time is kept.
const LOCK_TIME_INTERVAL: Duration = Duration::from_secs(60);

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The index cannot be used.
    #[error("the index cannot be opened")]
    Index(#[from] IndexError),
    /// The data directory's file system cannot be used.
    #[error("the disk cannot be used")]
    Disk(#[from] io::Error),
    /// The folders of blobs cannot be made.
    #[error("the folders of blobs cannot be made")]
    Folders(#[source] StorageError),
    /// Another S3 service cannot be used.
    #[error(transparent)]
    Remotes(#[from] RemoteError),
    /// The storage tiers cannot be used as they are configured.
    #[error(transparent)]
    Tiers(#[from] TierError),
    /// What the last run left unfinished cannot be finished.
    #[error("what the last run left unfinished cannot be finished")]
    Recovery(#[from] StorageError),
    /// The verification could not be completed.
    #[error("the verification could not be completed")]
    Check(#[source] StorageError),
}

/// The store, and what runs beside it.
pub(super) struct OpenStore {
    store: Store,
    data_dir: DataDir,
    index: Arc<RocksIndex>,
    runners: Runners,
    observer: Arc<dyn Observer>,
    monitor: JoinHandle<()>,
    scans: Option<Scans>,
    lock_times: Option<JoinHandle<()>>,
    tier_watch: TierWatch,
}

/// What runs the tasks of the queues; `monitor` looks at it, too.
type Runners = Arc<Mutex<Vec<JobHandle>>>;

/// The scans for orphans.
struct Scans {
    task: JoinHandle<()>,
    /// The last stop was unclean, and no scan has ended since.
    owed: Arc<AtomicBool>,
}

/// What is opened by blocking calls.
struct Opened {
    data_dir: DataDir,
    index: Arc<RocksIndex>,
    disk: Arc<dyn Disk>,
    keeper: SpaceKeeper,
    health: Health,
}

impl OpenStore {
    pub(super) async fn open(
        config: &Config,
        remotes: &Remotes,
        planner: Arc<dyn Planner>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let observer: Arc<dyn Observer> = metrics.clone();
        let (path, settings, for_index) = (config.data_dir.clone(), config.storage, observer.clone());
        let opened = tokio::task::spawn_blocking(move || open_blocking(path, settings, for_index));
        let Opened { data_dir, index, disk, keeper, health } = opened.await.map_err(io::Error::other)??;
        let dyn_index: Arc<dyn Index> = index.clone();
        let tiers = match health.read_only() {
            // Nothing can be made, nor forgotten.
            Some(_) => tiers::open_for_checking(&dyn_index, &configured_tiers(config, remotes)).await?,
            None => tiers::open(&dyn_index, &SystemEntropy, Offload::Pool, &configured_tiers(config, remotes)).await?,
        };
        let compression = Compression::new(config.compression.classes.clone(), config.compression.level);
        let blobs = BlobStore::with_tiers(disk, tiers, compression, health.clone(), observer.clone(), Offload::Pool);
        let store = Store::new(StoreParts {
            index: dyn_index,
            blobs: blobs.clone(),
            health: health.clone(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            planner: Arc::new(SettlePlanner::new(blobs, planner)),
            limits: Limits { inline_threshold_bytes: config.storage.inline_threshold_bytes },
        });
        let tier_watch = TierWatch::start(&store, &metrics).await;
        // A damaged index is for reading what is left, and for nothing else.
        let (runners, scans, lock_times) = match health.read_only() {
            Some(_) => (Vec::new(), None, None),
            None => {
                store.recover().await?;
                let scans = start_scans(&store, data_dir.was_clean());
                (run_jobs(&store, &observer), Some(scans), Some(tokio::spawn(keep_lock_time(store.clone()))))
            }
        };
        let runners = Arc::new(Mutex::new(runners));
        let monitor = tokio::spawn(monitor(keeper, store.clone(), metrics, runners.clone()));
        Ok(Self { store, data_dir, index, runners, observer, monitor, scans, lock_times, tier_watch })
    }

    /// The partitions that have identities, keys and other secrets. Blocks briefly.
    pub(super) fn identity_partitions(&self) -> Result<Vec<Partition>, OpenError> {
        Ok(self.index.partitions(Family::Identity)?)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Tells somebody, from now on, when archived versions can be read and when not any more.
    pub(super) fn tell_retrievals(&self, listener: Arc<dyn RetrievalListener>) {
        if self.store.health().read_only().is_none() {
            let handler = Arc::new(Retrievals::new(listener));
            let runner = jobs::spawn(self.store.clone(), handler, self.observer.clone(), RunnerOptions::default());
            self.runners.lock().push(runner);
        }
    }

    /// Lets the tasks at hand end, and begins no more.
    pub(super) async fn stop_jobs(&self) {
        let runners = std::mem::take(&mut *self.runners.lock());
        futures::future::join_all(runners.into_iter().map(JobHandle::stop)).await;
    }

    /// Stops what runs and closes the index. `drained`: no request was cut short, so that no file can be left over.
    pub(super) async fn close(self, drained: bool) {
        let scan_is_owed = self.scans.as_ref().is_some_and(|scans| scans.owed.load(Ordering::Relaxed));
        if let Some(scans) = &self.scans {
            scans.task.abort();
        }
        if let Some(lock_times) = &self.lock_times {
            lock_times.abort();
            keep_lock_time_once(&self.store).await;
        }
        self.stop_jobs().await;
        self.tier_watch.stop();
        self.monitor.abort();
        // Its end is awaited, because it looks at the store.
        let _ = self.monitor.await;
        let closed = tokio::task::spawn_blocking(move || {
            self.index.close()?;
            if drained && !scan_is_owed {
                self.data_dir.mark_clean()?;
            }
            Ok::<_, OpenError>(())
        });
        match closed.await {
            Ok(Ok(())) => tracing::info!("the store is closed"),
            Ok(Err(error)) => tracing::error!(error = super::chain(&error), "the store is not closed in order"),
            Err(error) => tracing::error!(%error, "the store is not closed in order"),
        }
    }
}

fn configured_tiers(config: &Config, remotes: &Remotes) -> Vec<ConfiguredTier> {
    let home = |home: &TierHome| match home {
        TierHome::Directory { path, free_space_floor_bytes } => ConfiguredHome::Directory {
            path: path.clone(),
            floor_bytes: free_space_floor_bytes.unwrap_or(config.storage.free_space_floor_bytes),
        },
        TierHome::Bucket { remote, bucket, prefix } => {
            let client = remotes.client(remote.as_str()).expect("the settings were checked to declare it");
            let tier = BucketTier::new(client, bucket.as_str(), prefix.as_str());
            ConfiguredHome::Remote(Arc::new(tier))
        }
    };
    let tiers = config.tiers.iter().map(|tier| ConfiguredTier {
        name: tier.name.as_str().to_owned(),
        home: home(&tier.home),
        classes: tier.classes.clone(),
    });
    tiers.collect()
}

fn open_blocking(path: PathBuf, settings: config::Storage, observer: Arc<dyn Observer>) -> Result<Opened, OpenError> {
    let data_dir = DataDir::open(path, &SystemEntropy)?;
    let health = Health::default();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(data_dir.path())?);
    BlobStore::create_folders(disk.as_ref()).map_err(OpenError::Folders)?;
    let keeper =
        SpaceKeeper::new(disk.clone(), health.clone(), settings.free_space_floor_bytes, settings.ballast_bytes)?;
    keeper.measure()?;
    let options = RocksOptions {
        block_cache_bytes: settings.block_cache_bytes,
        write_buffer_bytes: settings.write_buffer_bytes,
        ..RocksOptions::new(data_dir.index_path(), data_dir.watermark_path())
    };
    let index = Arc::new(RocksIndex::open(&options, health.clone(), observer)?);
    Ok(Opened { data_dir, index, disk, keeper, health })
}

/// Verifies a data directory that no server is using. Nothing is changed in it.
pub(super) async fn check(
    config: &Config,
    remotes: &Remotes,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, OpenError> {
    if !config.data_dir.is_dir() {
        return Err(OpenError::Disk(io::ErrorKind::NotFound.into()));
    }
    let data_dir = DataDir::open(&config.data_dir, &SystemEntropy)?;
    let health = Health::default();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(data_dir.path())?);
    let options = RocksOptions::new(data_dir.index_path(), data_dir.watermark_path());
    let index = Arc::new(RocksIndex::open_for_checking(&options, health.clone())?);
    let dyn_index: Arc<dyn Index> = index.clone();
    let tiers = tiers::open_for_checking(&dyn_index, &configured_tiers(config, remotes)).await?;
    let store = Store::new(StoreParts {
        index: dyn_index,
        blobs: BlobStore::with_tiers(
            disk,
            tiers,
            Compression::default(),
            health.clone(),
            Arc::new(Silent),
            Offload::Pool,
        ),
        health: health.clone(),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        planner: Arc::new(NoPlan),
        limits: Limits { inline_threshold_bytes: config.storage.inline_threshold_bytes },
    });
    for tier in store.blobs().tiers() {
        tier_watch::look(&store, tier.place, tier.is_remote).await;
    }
    let was_clean = data_dir.was_clean();
    let checked = check::check(&store, was_clean, progress).await;
    if was_clean {
        data_dir.mark_clean()?;
    }
    let mut report = checked.map_err(OpenError::Check)?;
    identities::check::check(&index, &mut report).await.map_err(OpenError::Check)?;
    if let Some(reason) = health.read_only() {
        report.find(reason);
    }
    Ok(report)
}

fn run_jobs(store: &Store, observer: &Arc<dyn Observer>) -> Vec<JobHandle> {
    let handlers: [Arc<dyn Handler>; 4] =
        [Arc::new(Collector), Arc::new(ForgetUpload), Arc::new(Restorer::default()), Arc::new(Settler)];
    handlers
        .into_iter()
        .map(|handler| jobs::spawn(store.clone(), handler, observer.clone(), RunnerOptions::default()))
        .collect()
}

/// Looks for files that no commit names: at once if the last run did not end in order, and daily.
fn start_scans(store: &Store, was_clean: bool) -> Scans {
    let owed = Arc::new(AtomicBool::new(!was_clean));
    let (store, of_task) = (store.clone(), owed.clone());
    let task = tokio::spawn(async move {
        loop {
            if !of_task.load(Ordering::Relaxed) {
                tokio::time::sleep(SCAN_INTERVAL).await;
            }
            match scan(&store).await {
                Ok(files) => {
                    of_task.store(false, Ordering::Relaxed);
                    tracing::info!(files, "the scan for orphans has ended");
                }
                Err(error) => {
                    tracing::error!(%error, "the scan for orphans failed; it will be tried again");
                    tokio::time::sleep(SCAN_RETRY_DELAY).await;
                }
            }
        }
    });
    Scans { task, owed }
}

async fn scan(store: &Store) -> Result<u64, StorageError> {
    scan::quarantine_orphans(store, scan::floor(store).await?, ScanOptions::default()).await
}

/// Keeps lock time for the next process.
async fn keep_lock_time(store: Store) {
    loop {
        tokio::time::sleep(LOCK_TIME_INTERVAL).await;
        keep_lock_time_once(&store).await;
    }
}

async fn keep_lock_time_once(store: &Store) {
    // A store that went read-only has said so.
    if store.health().read_only().is_none()
        && let Err(error) = store.keep_lock_time().await
    {
        tracing::warn!(%error, "the time by which object locks are judged cannot be kept");
    }
}

/// Says once that locks are held at an older time, and once that they are not any more.
fn watch_lock_clock(store: &Store, metrics: &Metrics, was_held: &mut bool) {
    let status = store.lock_clock().status();
    metrics.sample_lock_clock(status.held);
    if status.held && !*was_held {
        tracing::warn!(
            wall_time_ms = status.wall_time.0,
            lock_time_ms = status.lock_time.0,
            "the wall clock is too far ahead to be believed: object locks are held at the older time until it is set \
             right or accepted"
        );
    } else if *was_held && !status.held {
        tracing::info!("object locks are not held at an older time any more");
    }
    *was_held = status.held;
}

/// Keeps the measured space and the metrics that are states up to date.
async fn monitor(keeper: SpaceKeeper, store: Store, metrics: Arc<Metrics>, runners: Runners) {
    let keeper = Arc::new(keeper);
    let mut failing = false;
    let mut held = false;
    loop {
        let measuring = keeper.clone();
        let measured = tokio::task::spawn_blocking(move || measuring.measure()).await;
        match measured.map_err(io::Error::other).flatten() {
            Ok(space) => {
                failing = false;
                metrics.sample_disk(space.total_bytes, space.available_bytes);
            }
            // Said once, not ten times a second.
            Err(_) if failing => {}
            Err(error) => {
                failing = true;
                tracing::error!(%error, "the free space cannot be measured");
            }
        }
        metrics.sample_read_only(store.health().read_only().is_some());
        watch_lock_clock(&store, &metrics, &mut held);
        for runner in runners.lock().iter() {
            metrics.sample_jobs(runner.queue().name(), runner.status());
        }
        tokio::time::sleep(MEASURE_INTERVAL).await;
    }
}
