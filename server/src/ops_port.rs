//! The operations port: is the server alive, is it ready, and what does it count.
//!
//! `/health/live` answers 200 as long as the process can answer; `/health/ready` answers 200 only when the server accepts
//! every kind of request, and otherwise 503 with the reason; `/metrics` is for Prometheus. There is no authentication: the
//! port is for the machine and its supervisors, and by default on the loopback address only.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use cairn_storage::blob::{BlobStore, TierStatus};
use cairn_storage::health::Health;
use cairn_storage::lock_clock::LockClock;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;

use crate::kms::external::ExternalKms;
use crate::listener::ConnectionLimits;
use crate::metrics::Metrics;

/// Supervisors are few and quick.
pub const CONNECTION_LIMITS: ConnectionLimits = ConnectionLimits {
    connections_max: 64,
    header_read_timeout: Duration::from_secs(30),
    body_progress_timeout: Duration::from_secs(5),
    write_progress_timeout: Duration::from_secs(5),
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Whether the server accepts every kind of request.
#[derive(Debug)]
pub struct Readiness {
    phase: Mutex<Phase>,
    store: OnceLock<(Health, Arc<LockClock>, BlobStore)>,
    external_kms: OnceLock<Arc<ExternalKms>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    Stopping,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Of a server that is starting.
    pub fn new() -> Self {
        Self { phase: Mutex::new(Phase::Starting), store: OnceLock::new(), external_kms: OnceLock::new() }
    }

    /// The server answers requests from now on, from a store with this health, this clock and these files.
    pub fn serving(&self, health: Health, lock_clock: Arc<LockClock>, blobs: BlobStore) {
        *self.phase.lock() = Phase::Serving;
        // A server opens one store in its life.
        let _ = self.store.set((health, lock_clock, blobs));
    }

    /// The server also depends on this external KMS.
    pub fn depends_on(&self, external_kms: Arc<ExternalKms>) {
        // Likewise.
        let _ = self.external_kms.set(external_kms);
    }

    /// What an operator should look at although the server accepts every kind of request; a line each.
    pub fn alarms(&self) -> Vec<String> {
        let Some((_, lock_clock, blobs)) = self.store.get() else { return Vec::new() };
        let mut alarms = Vec::new();
        let status = lock_clock.status();
        if status.held {
            let ahead_hours = (status.wall_time.0 - status.lock_time.0) / (60 * 60 * 1_000);
            alarms.push(format!(
                "the wall clock is {ahead_hours} hours ahead of the time by which object locks are judged; locks are held \
                 at the older time until the wall clock is set right or accepted"
            ));
        }
        for TierStatus { name, down, read_only, .. } in blobs.tiers() {
            alarms.extend(down.map(|reason| format!("the storage tier {name} is down: {reason}")));
            alarms.extend(read_only.map(|reason| format!("nothing is written to the storage tier {name}: {reason}")));
        }
        alarms.extend(self.external_kms.get().and_then(|external_kms| external_kms.alarm()));
        alarms
    }

    /// The server accepts no more requests.
    pub fn stopping(&self) {
        *self.phase.lock() = Phase::Stopping;
    }

    /// Ready, or why not.
    pub fn check(&self) -> Result<(), String> {
        match *self.phase.lock() {
            Phase::Starting => Err("starting".to_owned()),
            Phase::Stopping => Err("shutting down".to_owned()),
            Phase::Serving => match self.store.get().and_then(|(health, ..)| health.read_only()) {
                Some(reason) => Err(format!("read-only: {reason}")),
                None => Ok(()),
            },
        }
    }
}

/// The service of the operations port, for [`crate::listener::Listener::serve`].
pub fn service<B, C>(
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
) -> impl Fn(Request<B>, C) -> std::future::Ready<Response<Full<Bytes>>> + Clone {
    move |request, _| std::future::ready(answer(request.method(), request.uri().path(), &metrics, &readiness))
}

fn answer(method: &Method, path: &str, metrics: &Metrics, readiness: &Readiness) -> Response<Full<Bytes>> {
    let read = matches!(*method, Method::GET | Method::HEAD);
    match path {
        "/health/live" | "/health/ready" | "/metrics" if !read => {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        }
        "/health/live" => text(StatusCode::OK, "live"),
        "/health/ready" => match readiness.check() {
            Ok(()) => {
                let lines: Vec<_> = ["ready".to_owned()].into_iter().chain(readiness.alarms()).collect();
                text(StatusCode::OK, &lines.join("\n"))
            }
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
        },
        "/metrics" => match metrics.encode() {
            Ok(encoded) => with_type(StatusCode::OK, OPEN_METRICS, encoded),
            Err(error) => {
                tracing::error!(%error, "cannot encode the metrics");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded")
            }
        },
        _ => text(StatusCode::NOT_FOUND, "not found"),
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    with_type(status, TEXT, format!("{line}\n"))
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cairn_storage::blob::Offload;
    use cairn_storage::clock::SystemClock;
    use cairn_storage::disk::sim::SimDisk;
    use cairn_storage::observe::Silent;
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(method: Method, path: &str, readiness: &Readiness) -> (StatusCode, String) {
        let answer = answer(&method, path, &Metrics::new(), readiness);
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_is_live_while_it_starts() {
        assert_eq!(ask(Method::GET, "/health/live", &Readiness::new()).await, (StatusCode::OK, "live\n".to_owned()));
    }

    #[tokio::test]
    async fn it_is_ready_only_while_it_serves_and_accepts_writes() {
        let readiness = Readiness::new();
        let unavailable = |reason: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"));
        assert_eq!(ask(Method::GET, "/health/ready", &readiness).await, unavailable("starting"));
        let health = Health::default();
        let disk = Arc::new(SimDisk::new());
        let blobs = BlobStore::new(disk, health.clone(), Arc::new(Silent), Offload::Inline);
        readiness.serving(health.clone(), Arc::new(LockClock::new(Arc::new(SystemClock))), blobs);
        assert_eq!(ask(Method::GET, "/health/ready", &readiness).await, (StatusCode::OK, "ready\n".to_owned()));
        health.fail("fsync failed");
        assert_eq!(ask(Method::GET, "/health/ready", &readiness).await, unavailable("read-only: fsync failed"));
        readiness.stopping();
        assert_eq!(ask(Method::GET, "/health/ready", &readiness).await, unavailable("shutting down"));
    }

    #[tokio::test]
    async fn metrics_are_open_metrics_text() {
        let (status, text) = ask(Method::GET, "/metrics", &Readiness::new()).await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.contains("# TYPE cairn_received_bytes counter") && text.ends_with("# EOF\n"), "{text}");
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        assert_eq!(ask(Method::GET, "/", &Readiness::new()).await.0, StatusCode::NOT_FOUND);
        assert_eq!(ask(Method::POST, "/metrics", &Readiness::new()).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
}
