//! Lifecycle sweeps: of each bucket with rules, or with objects in INTELLIGENT_TIERING, in its time, several at once, and when somebody asks.
//!
//! A bucket is swept anew one interval after its last sweep began, unless a sweep would find nothing ([`Rest`]). What was
//! asked for and what is paused is kept in the index, so that neither is forgotten by a restart; how far a sweep is is not,
//! because one that begins anew finds what is still due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_lifecycle::calendar::Calendar;
use cairn_lifecycle::documents;
use cairn_lifecycle::state::{End, Summary, SweepState};
use cairn_lifecycle::sweep::{self, Ended, Report, Rest, Watch};
use cairn_storage::StorageError;
use cairn_storage::clock::Timestamp;
use cairn_storage::id::BucketId;
use cairn_storage::index::Partition;
use cairn_storage::index::family::directory::EntryState;
use cairn_storage::index::family::document::DocumentKind;
use cairn_storage::index::family::usage::{self, Counter, Early};
use cairn_storage::object::StorageClass;
use cairn_storage::ops::{Bucket, BucketName, Store};
use cairn_storage::record::Record;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::audit::Audit;
use crate::metrics::Metrics;

/// Buckets that are swept at once, so that one in which much is to be moved holds up no other.
const SWEEPS_AT_ONCE: usize = 3;

/// Moves of one sweep take one part in so many of an interval; then other buckets have their turn.
const MOVES_SHARE: u32 = 4;

/// After a sweep that was cut short by a failure, the next one need not wait for an interval.
const FAILED_RETRY_DELAY: Duration = Duration::from_secs(60);

/// Between two samples of how late sweeps are.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(15);

/// What sweeping needs, and what is known of each bucket.
#[derive(Debug)]
pub struct Sweeps {
    store: Store,
    calendar: Calendar,
    interval: Duration,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
    known: Mutex<Known>,
    /// Something was asked for.
    woken: Notify,
}

#[derive(Debug, Default)]
struct Known {
    all_paused: bool,
    /// Those with rules, or with objects in INTELLIGENT_TIERING.
    buckets: BTreeMap<BucketId, Swept>,
}

/// What is known of a bucket's sweeps.
#[derive(Debug)]
struct Swept {
    name: BucketName,
    paused: bool,
    requested: Option<Timestamp>,
    /// When the next sweep begins by itself.
    next: Instant,
    running: Option<Arc<Running>>,
    rest: Option<Rest>,
    /// Nothing that was due before waits.
    covered: Instant,
    last: Option<Summary>,
}

/// A sweep under way.
#[derive(Debug)]
struct Running {
    started: Timestamp,
    watch: Watch,
}

/// What a caller is told of a bucket's sweeps.
#[derive(Clone, Debug)]
pub struct Status {
    /// The bucket is paused.
    pub paused: bool,
    /// All buckets are.
    pub all_paused: bool,
    /// A sweep was asked for then, and none that began later has ended.
    pub requested: Option<Timestamp>,
    /// When the sweep under way began, and what it has done.
    pub running: Option<(Timestamp, Report)>,
    /// The last one that has ended.
    pub last: Option<Summary>,
    /// For how long something due may have waited; None: the server has just started, or the bucket got its rules just now.
    pub lag: Option<Duration>,
}

/// How one turn of a bucket ended.
enum Turn {
    Swept(Ended),
    /// A sweep would have found nothing.
    Rested,
    /// It has no rules any more, or is gone.
    Gone,
}

impl Sweeps {
    /// Sweeps nothing yet.
    pub fn new(store: Store, calendar: Calendar, interval: Duration, metrics: Arc<Metrics>, audit: Arc<Audit>) -> Self {
        Self { store, calendar, interval, metrics, audit, known: Mutex::default(), woken: Notify::new() }
    }

    /// Sweeps until it is aborted. What it was doing then is done or not done, and due at the next start.
    pub async fn keep_sweeping(self: Arc<Self>) {
        let mut sweeping = FuturesUnordered::new();
        let first = Instant::now() + self.interval;
        let mut look = Instant::now();
        loop {
            if look <= Instant::now() {
                look = Instant::now() + self.interval;
                // Those that are there at the start wait for an interval, so that sweeps do not slow the start down.
                if let Err(error) = self.look_around(first.max(Instant::now())).await {
                    tracing::warn!(%error, "the buckets with lifecycle rules cannot be listed; the next look begins anew");
                }
            }
            while sweeping.len() < SWEEPS_AT_ONCE
                && let Some((id, running)) = self.begin_next()
            {
                sweeping.push(self.turn(id, running));
            }
            let (lag, paused) = self.lag_and_paused();
            self.metrics.lifecycle().sample_lag(lag, paused);
            let has_room = sweeping.len() < SWEEPS_AT_ONCE;
            let wake = self.next_turn().filter(|next| has_room && *next < look).unwrap_or(look);
            let wake = wake.min(Instant::now() + SAMPLE_INTERVAL);
            tokio::select! {
                Some(()) = sweeping.next() => {}
                () = self.woken.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Finds the buckets with rules, and adds up what all buckets hold. Those that were not known are swept at `next`.
    async fn look_around(&self, next: Instant) -> Result<(), StorageError> {
        let mut totals = Totals::default();
        let all_paused = self.store.sweeps_paused().await?;
        self.known.lock().all_paused = all_paused;
        for (name, entry) in self.store.all_buckets().await? {
            let Some(name) = BucketName::new(&name).filter(|_| entry.state == EntryState::Active) else { continue };
            let looked = async {
                add_usage(&self.store, entry.bucket.into(), &mut totals).await?;
                let bucket = self.store.bucket(&name).await?;
                if self.has_work(&bucket).await? { self.know(&bucket, next).await } else { Ok(()) }
            };
            match looked.await {
                // It was deleted meanwhile.
                Ok(()) | Err(StorageError::NoSuchBucket | StorageError::BucketBusy) => {}
                // What is wrong with one bucket holds up no other.
                Err(error) => {
                    tracing::warn!(bucket = name.as_str(), %error, "a bucket's lifecycle rules cannot be read")
                }
            }
        }
        for (class, counts) in StorageClass::ALL.into_iter().zip(totals) {
            self.metrics.lifecycle().sample_class(class.name(), counts);
        }
        Ok(())
    }

    /// Whether anything of the bucket ever falls due.
    ///
    /// # Errors
    /// The index's.
    pub async fn has_work(&self, bucket: &Bucket) -> Result<bool, StorageError> {
        Ok(bucket.lifecycle.is_some() || documents::holds_tiered(&self.store, bucket).await?)
    }

    /// Enters a bucket of which something falls due, if it is not known.
    async fn know(&self, bucket: &Bucket, next: Instant) -> Result<(), StorageError> {
        if self.known.lock().buckets.contains_key(&bucket.id) {
            return Ok(());
        }
        let SweepState { paused, requested, last } = self.kept(bucket).await?;
        let name = bucket.name.clone();
        let now = Instant::now();
        let swept = Swept { name, paused, requested, next, running: None, rest: None, covered: now, last };
        self.known.lock().buckets.entry(bucket.id).or_insert(swept);
        Ok(())
    }

    async fn kept(&self, bucket: &Bucket) -> Result<SweepState, StorageError> {
        let document = self.store.document(bucket, DocumentKind::SweepState).await?;
        Ok(document.map(|value| SweepState::from_value(&value)).transpose()?.unwrap_or_default())
    }

    async fn keep(&self, bucket: &Bucket, change: impl Fn(&mut SweepState)) -> Result<(), StorageError> {
        let change = |value: Option<&[u8]>| {
            let mut state = value.map(SweepState::from_value).transpose()?.unwrap_or_default();
            change(&mut state);
            state.to_value().map(Some)
        };
        self.store.change_document(bucket, DocumentKind::SweepState, change).await
    }

    /// The bucket whose turn it is: one for which somebody asked, or that which has waited longest.
    fn begin_next(&self) -> Option<(BucketId, Arc<Running>)> {
        let mut known = self.known.lock();
        let (all_paused, now) = (known.all_paused, Instant::now());
        let waiting = known.buckets.iter_mut();
        let due = waiting.filter(|(_, swept)| swept.running.is_none() && swept.is_due(all_paused, now));
        let (id, swept) = due.min_by_key(|(_, swept)| (swept.requested.is_none(), swept.next))?;
        let running = Arc::new(Running { started: self.store.clock().now(), watch: Watch::default() });
        swept.running = Some(running.clone());
        swept.next = now + self.interval;
        Some((*id, running))
    }

    /// When the next sweep begins by itself.
    fn next_turn(&self) -> Option<Instant> {
        let known = self.known.lock();
        let waiting = known.buckets.values().filter(|swept| swept.running.is_none());
        waiting.filter(|swept| !swept.paused && !known.all_paused).map(|swept| swept.next).min()
    }

    /// For how long something due may have waited in a bucket that is not paused, and how many are.
    fn lag_and_paused(&self) -> (Duration, usize) {
        let known = self.known.lock();
        let (paused, going): (Vec<_>, Vec<_>) =
            known.buckets.values().partition(|swept| known.all_paused || swept.paused);
        (going.into_iter().map(|swept| swept.covered.elapsed()).max().unwrap_or_default(), paused.len())
    }

    async fn turn(&self, id: BucketId, running: Arc<Running>) {
        let began = Instant::now();
        let (name, requested, rest) = match self.known.lock().buckets.get(&id) {
            Some(swept) => (swept.name.clone(), swept.requested, swept.rest),
            None => return,
        };
        let outcome = async {
            let bucket = self.store.bucket(&name).await.map_err(|error| (None, error))?;
            if bucket.id != id || !self.has_work(&bucket).await.map_err(|error| (None, error))? {
                return Ok((bucket, Turn::Gone));
            }
            if requested.is_none() && rest.is_some_and(|rest| rest.lasts(&self.store, &bucket)) {
                return Ok((bucket, Turn::Rested));
            }
            let moves_last = self.interval / MOVES_SHARE;
            let (watch, events) = (&running.watch, self.audit.as_ref());
            match sweep::sweep(&self.store, &bucket, self.calendar, moves_last, watch, events).await {
                Ok(ended) => Ok((bucket, Turn::Swept(ended))),
                Err(error) => Err((Some(bucket), error)),
            }
        };
        // Whether all that was due was looked after, and whether only moves were not.
        let (mut is_covered, mut moves_left) = (false, false);
        let (bucket, end, rest) = match outcome.await {
            Ok((_, Turn::Gone)) | Err((_, StorageError::NoSuchBucket | StorageError::BucketBusy)) => {
                self.known.lock().buckets.remove(&id);
                return;
            }
            Ok((_, Turn::Rested)) => return self.end_turn(id, Some(began), rest, None),
            Ok((bucket, Turn::Swept(ended))) => {
                is_covered = matches!(ended, Ended::Whole(_));
                moves_left = matches!(ended, Ended::MovesLeft);
                match ended {
                    Ended::Whole(rest) => (Some(bucket), End::Whole, Some(rest)),
                    Ended::Early | Ended::MovesLeft => (Some(bucket), End::Early, None),
                }
            }
            Err((bucket, error)) => (bucket, End::Failed(crate::wiring::chain(&error)), None),
        };
        let report = running.watch.report();
        self.metrics.lifecycle().swept(&report, matches!(end, End::Failed(_)));
        let again = match end {
            End::Whole => None,
            End::Early => Some(Duration::ZERO),
            End::Failed(_) => Some(FAILED_RETRY_DELAY.min(self.interval)),
        };
        let summary = Summary::new(report, running.started, self.store.clock().now(), end);
        log(name.as_str(), &summary);
        if let Some(bucket) = bucket
            && (requested.is_some() || summary.is_remarkable())
            && let Err(error) = self.keep(&bucket, |state| state.end(&summary)).await
        {
            tracing::warn!(bucket = name.as_str(), %error, "what a lifecycle sweep came to cannot be kept");
        }
        self.end_turn(id, is_covered.then_some(began), rest, Some(summary));
        if let Some(delay) = again
            && let Some(swept) = self.known.lock().buckets.get_mut(&id)
        {
            swept.next = Instant::now() + delay;
            // What was asked for is done when its moves are.
            swept.requested = swept.requested.or(requested.filter(|_| moves_left));
        }
    }

    fn end_turn(&self, id: BucketId, covered: Option<Instant>, rest: Option<Rest>, summary: Option<Summary>) {
        let mut known = self.known.lock();
        let Some(swept) = known.buckets.get_mut(&id) else { return };
        swept.running = None;
        swept.rest = rest;
        swept.covered = covered.unwrap_or(swept.covered);
        if let Some(summary) = summary {
            // What was asked for while the sweep ran is another one.
            swept.requested = swept.requested.filter(|requested| *requested > summary.started);
            swept.last = Some(summary);
        }
    }

    /// Asks for a sweep of the bucket, which has rules, also if sweeps are paused. Durable when it returns: a restart does not
    /// forget it.
    ///
    /// # Errors
    /// As [`Store::change_document`].
    pub async fn ask(&self, bucket: &Bucket) -> Result<Status, StorageError> {
        let now = self.store.clock().now();
        self.keep(bucket, |state| state.requested = Some(now)).await?;
        self.know(bucket, Instant::now()).await?;
        if let Some(swept) = self.known.lock().buckets.get_mut(&bucket.id) {
            swept.requested = Some(now);
        }
        self.woken.notify_one();
        self.status(bucket).await
    }

    /// Pauses the bucket's sweeps, of which one under way ends soon, or lets them go on. Durable when it returns.
    ///
    /// # Errors
    /// As [`Store::change_document`].
    pub async fn pause(&self, bucket: &Bucket, paused: bool) -> Result<Status, StorageError> {
        self.keep(bucket, |state| state.paused = paused).await?;
        if let Some(swept) = self.known.lock().buckets.get_mut(&bucket.id) {
            swept.paused = paused;
            swept.stop_if(paused);
        }
        self.woken.notify_one();
        self.status(bucket).await
    }

    /// The same for all buckets, whether they are paused themselves or not.
    ///
    /// # Errors
    /// As [`Store::set_sweeps_paused`].
    pub async fn pause_all(&self, paused: bool) -> Result<(), StorageError> {
        self.store.set_sweeps_paused(paused).await?;
        let mut known = self.known.lock();
        known.all_paused = paused;
        known.buckets.values().for_each(|swept| swept.stop_if(paused));
        drop(known);
        self.woken.notify_one();
        Ok(())
    }

    /// How the bucket's sweeps are.
    ///
    /// # Errors
    /// The index's.
    pub async fn status(&self, bucket: &Bucket) -> Result<Status, StorageError> {
        let kept = self.kept(bucket).await?;
        let all_paused = self.store.sweeps_paused().await?;
        let known = self.known.lock();
        let Some(swept) = known.buckets.get(&bucket.id) else {
            let SweepState { paused, requested, last } = kept;
            return Ok(Status { paused, all_paused, requested, running: None, last, lag: None });
        };
        Ok(swept.status(all_paused))
    }

    /// How the sweeps of all buckets are that have any, by the buckets' names.
    pub fn statuses(&self) -> Vec<(BucketName, Status)> {
        let known = self.known.lock();
        let status = |swept: &Swept| (swept.name.clone(), swept.status(known.all_paused));
        let mut statuses: Vec<_> = known.buckets.values().map(status).collect();
        statuses.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        statuses
    }
}

impl Swept {
    fn is_due(&self, all_paused: bool, now: Instant) -> bool {
        self.requested.is_some() || (self.next <= now && !self.paused && !all_paused)
    }

    fn status(&self, all_paused: bool) -> Status {
        Status {
            paused: self.paused,
            all_paused,
            requested: self.requested,
            running: self.running.as_ref().map(|running| (running.started, running.watch.report())),
            last: self.last.clone(),
            lag: Some(self.covered.elapsed()),
        }
    }

    fn stop_if(&self, paused: bool) {
        if paused && let Some(running) = &self.running {
            running.watch.stop();
        }
    }
}

/// Logs what a sweep did, if it did anything.
fn log(bucket: &str, summary: &Summary) {
    if !summary.is_remarkable() {
        return;
    }
    let done: u64 = summary.done.iter().map(|sum| sum.count).sum();
    let failed: u64 = summary.failed.iter().map(|sum| sum.count).sum();
    let (versions, overtaken, took_ms) = (summary.versions, summary.overtaken, summary.ended.0 - summary.started.0);
    tracing::info!(bucket, versions, done, overtaken, failed, took_ms, "a lifecycle sweep has ended");
    if let End::Failed(reason) = &summary.end {
        tracing::warn!(bucket, reason, "a lifecycle sweep was cut short; the next one begins anew");
    }
    for failure in &summary.failures {
        tracing::warn!(bucket, failure, "a lifecycle rule could not be carried out");
    }
}

/// Versions and bytes of each class, and versions and MiB days that left it early.
type Totals = [[i64; 4]; StorageClass::ALL.len()];

async fn add_usage(store: &Store, partition: Partition, totals: &mut Totals) -> Result<(), StorageError> {
    let page = store.index().view(partition, |view| {
        let mut of_bucket = Totals::default();
        for (class, counts) in StorageClass::ALL.into_iter().zip(&mut of_bucket) {
            *counts = [
                usage::read(view, class, Counter::Versions)?,
                usage::read(view, class, Counter::Bytes)?,
                usage::read_early(view, class, Early::Versions)?,
                usage::read_early(view, class, Early::MibDays)?,
            ];
        }
        Ok(of_bucket)
    });
    for (totals, of_bucket) in totals.iter_mut().zip(page.await?) {
        for (total, count) in totals.iter_mut().zip(of_bucket) {
            *total = total.saturating_add(count);
        }
    }
    Ok(())
}
