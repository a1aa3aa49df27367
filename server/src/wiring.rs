//! Constructs everything and runs it: the one place that knows all parts.
//!
//! Order of a start: operations port (so that a supervisor can watch the rest), data directory and master key, store,
//! accounts, S3 endpoint. Order of a stop: not ready, no new connections, requests in flight, store.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::accounts::own::NewKey;
use crate::config::{Config, Limits};
use crate::listener::{ConnectionInfo, ConnectionLimits, ConnectionMetrics, Listener, RequestBody, Stopped};
use crate::metrics::Metrics;
use crate::ops_port::{self, Readiness, Sample};

/// Why the server could not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The process cannot be told to stop.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

/// The status of a process that was told twice to stop.
const EXIT_ENDED: i32 = 1;

/// How long the last scrape and health question may take at a stop.
const OPS_GRACE: Duration = Duration::from_secs(1);

/// Runs the server until a signal asks it to stop. `show_new_key` is called if root credentials were generated, with the
/// S3 endpoint and the region.
pub async fn serve(config: Config, show_new_key: impl FnOnce(&NewKey, SocketAddr, &str)) -> Result<(), ServeError> {
    let metrics = Arc::new(Metrics::new());
    let readiness = Arc::new(Readiness::new());
    let stop = stop_on_signals(Arc::clone(&readiness)).map_err(ServeError::Signals)?;

    let ops = listen(config.ops.listen, ops_port::CONNECTION_LIMITS, ConnectionMetrics::default())?;
    let stop_ops = CancellationToken::new();
    let sample: Sample = Arc::new(|_| {});
    let ops_service = ops_port::service(Arc::clone(&metrics), Arc::clone(&readiness), sample);
    let ops = tokio::spawn(ops.serve(ops_service, stop_ops.clone(), OPS_GRACE));

    let s3 = listen(config.s3.listen, connection_limits(&config.limits), metrics.connections())?;
    let _ = show_new_key;
    match s3.serve(unavailable, stop, config.limits.shutdown_grace).await {
        Stopped::Drained => tracing::info!("every request was answered"),
        Stopped::Aborted(connections) => tracing::warn!(connections, "the grace period ended before the requests did"),
    }

    stop_ops.cancel();
    if let Err(error) = ops.await {
        tracing::error!(%error, "the operations port failed");
    }
    Ok(())
}

/// What the S3 endpoint answers as long as there is no gate.
async fn unavailable(_: Request<RequestBody>, _: ConnectionInfo) -> Response<Empty<Bytes>> {
    let mut answer = Response::new(Empty::new());
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer
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
