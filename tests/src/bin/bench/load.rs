//! Closed-loop load: each connection sends its next request when the answer to the last one has come.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_tests::wire::Connection;

use crate::process;

/// One request, ready for the wire.
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// Request line and headers.
    pub head: Vec<u8>,
    /// The body.
    pub body: Bytes,
}

/// What one cell measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Answers.
    pub operations: u64,
    /// Bytes of bodies, sent or received.
    pub bytes: u64,
    /// Bytes of the bodies that were sent.
    sent_bytes: u64,
    /// Bytes that the server had written to the disk.
    disk_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// The server's CPU time.
    pub cpu: Duration,
    /// The server's peak memory.
    pub peak_memory_mib: u64,
    /// How long each answer took, in order of length.
    latencies: Vec<Duration>,
}

impl Measured {
    /// Operations in a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }

    /// Megabytes in a second.
    pub fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    /// The server's CPU microseconds for one operation.
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.operations.max(1) as f64)
    }

    /// The bytes written to the disk for each byte sent; None if none was sent.
    pub fn disk_bytes_per_byte_sent(&self) -> Option<f64> {
        (self.sent_bytes > 0).then(|| self.disk_bytes as f64 / self.sent_bytes as f64)
    }

    /// The latency that this share of the answers did not exceed, in milliseconds.
    pub fn latency_ms(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

/// Drives a server for `duration`; `next(connection, count)` makes the requests, until it has no more.
pub async fn drive<F>(address: SocketAddr, pid: u32, connections: usize, duration: Duration, next: F) -> Measured
where
    F: Fn(usize, u64) -> Option<Request> + Clone + 'static,
{
    process::reset_peak_memory(pid);
    let cpu_before = process::cpu_time(pid);
    let disk_bytes_before = process::disk_bytes(pid);
    let started = Instant::now();
    let deadline = started + duration;
    let local = tokio::task::LocalSet::new();
    let workers: Vec<_> =
        (0..connections).map(|number| local.spawn_local(work(address, number, deadline, next.clone()))).collect();
    let mut latencies = Vec::new();
    let (mut sent_bytes, mut received_bytes) = (0, 0);
    local
        .run_until(async {
            for worker in workers {
                let done = worker.await.expect("a connection of the bench does not panic");
                latencies.extend(done.latencies);
                sent_bytes += done.sent_bytes;
                received_bytes += done.received_bytes;
            }
        })
        .await;
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    Measured {
        operations: latencies.len() as u64,
        bytes: sent_bytes + received_bytes,
        sent_bytes,
        disk_bytes: process::disk_bytes(pid).saturating_sub(disk_bytes_before),
        elapsed,
        cpu: process::cpu_time(pid).saturating_sub(cpu_before),
        peak_memory_mib: process::peak_memory_mib(pid),
        latencies,
    }
}

/// What one connection has done.
#[derive(Default)]
struct Done {
    latencies: Vec<Duration>,
    sent_bytes: u64,
    received_bytes: u64,
}

async fn work<F>(address: SocketAddr, number: usize, deadline: Instant, next: F) -> Done
where
    F: Fn(usize, u64) -> Option<Request>,
{
    let mut connection = Connection::open(address).await.expect("the server takes connections");
    let mut done = Done::default();
    for count in 0.. {
        let Some(request) = next(number, count) else { break };
        let sent = Instant::now();
        if sent >= deadline {
            break;
        }
        let reply = connection.exchange_with(request.method, &request.head, &request.body, false).await;
        let reply = reply.unwrap_or_else(|error| panic!("connection {number}, request {count}: {error}"));
        assert!(reply.status < 300, "connection {number}, request {count}: status {}", reply.status);
        done.latencies.push(sent.elapsed());
        done.sent_bytes += request.body.len() as u64;
        done.received_bytes += reply.body_bytes;
        if reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            connection = Connection::open(address).await.expect("the server takes connections");
        }
    }
    done
}
