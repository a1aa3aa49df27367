//! As [`crate::ledger`], for a versioned bucket: of each key every version that was acknowledged is known, in order.
//!
//! Each worker owns its keys and does one thing at a time, so after a violent end a key has the versions that were
//! acknowledged, and besides them at most what was asked for last.

use std::collections::BTreeMap;
use std::io;

use tokio::task::JoinHandle;

use crate::client::{Call, Client};
use crate::random::{Random, body};
use crate::wire::{Connection, Reply};
use crate::xml;

const WORKERS: usize = 4;
const KEYS_PER_WORKER: usize = 4;

/// A key with more versions has some removed.
const VERSIONS_PER_KEY_MAX: usize = 12;

/// Whether writes add versions or replace the `null` one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Versioning is enabled.
    Enabled,
    /// Versioning is suspended.
    Suspended,
}

/// What a version holds: the bytes that belong to a seed and how many; None: it is a delete marker.
type Content = Option<(u64, usize)>;

/// A version: its id, and what it holds.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    /// None: it was not acknowledged, so only the server knows.
    id: Option<String>,
    content: Content,
}

/// What a worker asks for.
#[derive(Clone, Debug)]
enum Change {
    Write(Content),
    /// Removes a version for good.
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// Newest first.
    versions: Vec<Version>,
    unacknowledged: Option<Change>,
}

struct Worker {
    random: Random,
    entries: BTreeMap<String, Entry>,
    acknowledgements: usize,
}

/// All workers with what they know.
pub struct VersionLedger {
    bucket: String,
    mode: Mode,
    workers: Vec<Worker>,
}

/// Load that is under way.
pub struct VersionLoad(Vec<JoinHandle<Worker>>);

impl VersionLedger {
    /// A ledger over an empty bucket, in which each key is first given two versions.
    pub async fn new(client: &Client, bucket: &str, mode: Mode, seed: u64) -> VersionLedger {
        set_versioning(client, bucket, "Enabled").await;
        let mut ledger = VersionLedger { bucket: bucket.to_owned(), mode, workers: Vec::new() };
        for number in 0..WORKERS {
            let mut entries = BTreeMap::new();
            for key in 0..KEYS_PER_WORKER {
                let (key, mut entry) = (format!("worker-{number}/key-{key}"), Entry::default());
                for size in [10, 40_000] {
                    let reply = client.put(bucket, &key, body(seed, size)).await;
                    apply(&mut entry.versions, Change::Write(Some((seed, size))), Mode::Enabled, id_in(&reply));
                }
                entries.insert(key, entry);
            }
            let random = Random::new(seed.wrapping_add(number as u64));
            ledger.workers.push(Worker { random, entries, acknowledgements: 0 });
        }
        if mode == Mode::Suspended {
            set_versioning(client, bucket, "Suspended").await;
        }
        ledger
    }

    /// Starts all workers; they work until the server stops answering.
    pub fn start(&mut self, client: &Client) -> VersionLoad {
        let tasks = self.workers.drain(..).map(|mut worker| {
            let (client, bucket, mode) = (client.clone(), self.bucket.clone(), self.mode);
            tokio::spawn(async move {
                // Whatever ends the work is what the test did to the server.
                let _ = worker.work(&client, &bucket, mode).await;
                worker
            })
        });
        VersionLoad(tasks.collect())
    }

    /// Takes the workers back after the server's end.
    pub async fn finish(&mut self, load: VersionLoad) {
        for task in load.0 {
            self.workers.push(task.await.expect("a worker does not panic"));
        }
    }

    /// How many operations were acknowledged so far.
    pub fn acknowledgements(&self) -> usize {
        self.workers.iter().map(|worker| worker.acknowledgements).sum()
    }

    /// Compares every version of every key with the account. What was found becomes the account.
    pub async fn verify(&mut self, client: &Client) {
        for (key, entry) in self.workers.iter_mut().flat_map(|worker| &mut worker.entries) {
            let found = versions_of(client, &self.bucket, key).await;
            let before = entry.versions.clone();
            let mut after = before.clone();
            if let Some(change) = entry.unacknowledged.take() {
                apply(&mut after, change, self.mode, None);
            }
            let same = |expected: &[Version]| {
                expected.len() == found.len()
                    && expected.iter().zip(&found).all(|(expected, (id, is_marker))| {
                        expected.id.as_ref().is_none_or(|expected| expected == id)
                            && expected.content.is_none() == *is_marker
                    })
            };
            // A null version that replaces another looks the same in the listing: its bytes tell.
            let mut matching = None;
            for candidate in [after, before.clone()] {
                if same(&candidate) && holds(client, &self.bucket, key, &candidate, &found).await {
                    matching = Some(candidate);
                    break;
                }
            }
            let mut matching = matching.unwrap_or_else(|| panic!("{key}: found {found:?}, acknowledged {before:?}"));
            for (version, (id, _)) in matching.iter_mut().zip(found) {
                version.id = Some(id);
            }
            entry.versions = matching;
        }
    }
}

impl Worker {
    async fn work(&mut self, client: &Client, bucket: &str, mode: Mode) -> io::Result<()> {
        let mut connection = Connection::open(client.address).await?;
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        loop {
            let key = self.random.pick(&keys).clone();
            let entry = self.entries.get_mut(&key).expect("the key is one of the worker's");
            let too_many = entry.versions.len() > VERSIONS_PER_KEY_MAX;
            let change = match self.random.below(6) {
                _ if too_many => Change::Remove(self.random.pick(&entry.versions).id.clone().unwrap_or_default()),
                0 if !entry.versions.is_empty() => {
                    Change::Remove(self.random.pick(&entry.versions).id.clone().unwrap_or_default())
                }
                0 | 1 => Change::Write(None),
                2 => Change::Write(Some((self.random.number(), 40_000 + self.random.below(200_000)))),
                _ => Change::Write(Some((self.random.number(), self.random.below(5_000)))),
            };
            let call = match &change {
                Change::Write(Some((seed, size))) => client.object("PUT", bucket, &key).body(body(*seed, *size)),
                Change::Write(None) => client.object("DELETE", bucket, &key),
                Change::Remove(id) => client.object("DELETE", bucket, &key).query("versionId", id),
            };
            entry.unacknowledged = Some(change.clone());
            let reply = send(&mut connection, call).await?;
            entry.unacknowledged = None;
            apply(&mut entry.versions, change, mode, id_in(&reply));
            self.acknowledgements += 1;
        }
    }
}

/// What a change makes of a key's versions.
fn apply(versions: &mut Vec<Version>, change: Change, mode: Mode, id: Option<String>) {
    match change {
        Change::Remove(gone) => versions.retain(|version| version.id.as_ref() != Some(&gone)),
        Change::Write(content) if mode == Mode::Suspended => {
            let null = Some("null".to_owned());
            versions.retain(|version| version.id != null);
            versions.insert(0, Version { id: null, content });
        }
        Change::Write(content) => versions.insert(0, Version { id, content }),
    }
}

fn id_in(reply: &Reply) -> Option<String> {
    reply.header("x-amz-version-id").map(str::to_owned)
}

/// The ids of a key's versions, newest first, and which of them are delete markers.
async fn versions_of(client: &Client, bucket: &str, key: &str) -> Vec<(String, bool)> {
    let reply = client.bucket("GET", bucket).query("versions", "").query("prefix", key).send().await.expect(200);
    let text = reply.text();
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some((start, is_marker)) = ["<Version>", "<DeleteMarker>"]
        .into_iter()
        .filter_map(|tag| Some((rest.find(tag)?, tag == "<DeleteMarker>")))
        .min()
    {
        rest = &rest[start + 1..];
        if xml::text(rest, "Key").as_deref() == Some(key) {
            found.push((xml::text(rest, "VersionId").expect("a version has an id"), is_marker));
        }
    }
    found
}

/// Whether each version holds the bytes that it should.
async fn holds(client: &Client, bucket: &str, key: &str, expected: &[Version], found: &[(String, bool)]) -> bool {
    for (Version { content, .. }, (id, _)) in expected.iter().zip(found) {
        let Some((seed, size)) = content else { continue };
        let reply = client.object("GET", bucket, key).query("versionId", id).send().await;
        if reply.status != 200 || reply.body != body(*seed, *size) {
            return false;
        }
    }
    true
}

async fn set_versioning(client: &Client, bucket: &str, status: &str) {
    let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    client.bucket("PUT", bucket).query("versioning", "").body(document).send().await.expect(200);
}

/// Sends a call; any answer but success ends the worker.
async fn send(connection: &mut Connection, call: Call) -> io::Result<Reply> {
    let wire = call.build();
    let reply = connection.exchange(&wire.method, &wire.head_bytes(), &wire.body).await?;
    match reply.status {
        200..300 => Ok(reply),
        _ => Err(io::Error::other(format!("{} {}: {reply:?}", wire.method, wire.target))),
    }
}
