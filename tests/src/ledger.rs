//! Load with an account of what was acknowledged, kept outside the server, for tests that end it violently.
//!
//! Each worker owns its keys, so the last acknowledged state of a key is known exactly; what was asked for after that and
//! never acknowledged may have happened or not, but only as a whole.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use crate::client::{Call, Client};
use crate::multipart::complete_document;
use crate::random::{Random, body};
use crate::wire::{Connection, Reply};

const WORKERS: usize = 8;
const KEYS_PER_WORKER: usize = 12;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// Nothing.
    Absent,
    /// The bytes that belong to a seed.
    Bytes {
        /// See [`body`].
        seed: u64,
        /// Their number.
        size: usize,
    },
}

impl Content {
    fn is(self, reply: &Reply) -> bool {
        match self {
            Content::Absent => reply.status == 404,
            Content::Bytes { seed, size } => reply.status == 200 && reply.body == body(seed, size),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    acknowledged: Content,
    unacknowledged: Vec<Content>,
}

struct Worker {
    random: Random,
    entries: BTreeMap<String, Entry>,
    acknowledgements: usize,
}

/// All workers with what they know.
pub struct Ledger {
    bucket: String,
    workers: Vec<Worker>,
}

/// Load that is under way.
pub struct Load {
    tasks: Vec<JoinHandle<Worker>>,
    over: Arc<AtomicBool>,
}

impl Load {
    /// From here on nothing counts as acknowledged. For an end that the server outlives, as it never outlives a real power
    /// cut: what it answers while its disk is taken away proves nothing.
    pub fn stop_counting(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Ledger {
    /// A ledger over an empty bucket.
    pub fn new(bucket: &str, seed: u64) -> Ledger {
        let workers = (0..WORKERS).map(|number| Worker {
            random: Random::new(seed.wrapping_add(number as u64)),
            entries: (0..KEYS_PER_WORKER)
                .map(|key| {
                    let entry = Entry { acknowledged: Content::Absent, unacknowledged: vec![] };
                    (format!("worker-{number}/key-{key}"), entry)
                })
                .collect(),
            acknowledgements: 0,
        });
        Ledger { bucket: bucket.into(), workers: workers.collect() }
    }

    /// Starts all workers; they work until the server stops answering.
    pub fn start(&mut self, client: &Client) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let tasks = self.workers.drain(..).map(|mut worker| {
            let (client, bucket, over) = (client.clone(), self.bucket.clone(), over.clone());
            tokio::spawn(async move {
                // Whatever ends the work is what the test did to the server.
                let _ = worker.work(&client, &bucket, &over).await;
                worker
            })
        });
        let tasks = tasks.collect();
        Load { tasks, over }
    }

    /// Takes the workers back after the server's end.
    pub async fn finish(&mut self, load: Load) {
        for task in load.tasks {
            self.workers.push(task.await.expect("a worker does not panic"));
        }
    }

    /// How many operations were acknowledged so far.
    pub fn acknowledgements(&self) -> usize {
        self.workers.iter().map(|worker| worker.acknowledgements).sum()
    }

    /// Compares every key with the account, and the listing with the keys. What was found becomes the account.
    pub async fn verify(&mut self, client: &Client) {
        let mut present = Vec::new();
        for worker in &mut self.workers {
            for (key, entry) in &mut worker.entries {
                let reply = client.get(&self.bucket, key).await;
                let mut possible = vec![entry.acknowledged];
                possible.append(&mut entry.unacknowledged);
                let Some(found) = possible.iter().find(|content| content.is(&reply)) else {
                    let (status, length) = (reply.status, reply.body.len());
                    panic!("{key}: status {status}, {length} bytes, but acknowledged (then asked for): {possible:?}");
                };
                entry.acknowledged = *found;
                if *found != Content::Absent {
                    present.push(key.clone());
                }
            }
        }
        present.sort();
        assert_eq!(client.keys(&self.bucket).await, present, "the listing differs from the objects");
    }
}

impl Worker {
    async fn work(&mut self, client: &Client, bucket: &str, over: &AtomicBool) -> io::Result<()> {
        let mut connection = Connection::open(client.address).await?;
        let keys: Vec<String> = self.entries.keys().cloned().collect();
        loop {
            let key = self.random.pick(&keys).clone();
            let size = match self.random.below(4) {
                0 => 300_000 + self.random.below(200_000),
                1 => 32_000 + self.random.below(2_000),
                _ => self.random.below(8_000),
            };
            let content = match self.random.below(5) {
                0 => Content::Absent,
                _ => Content::Bytes { seed: self.random.number(), size },
            };
            let multipart = self.random.one_in(5);
            let entry = self.entries.get_mut(&key).expect("the key is one of the worker's");
            entry.unacknowledged.push(content);
            match content {
                Content::Absent => send(&mut connection, client.object("DELETE", bucket, &key)).await?,
                Content::Bytes { seed, size } if multipart => {
                    upload(&mut connection, client, bucket, &key, body(seed, size)).await?
                }
                Content::Bytes { seed, size } => {
                    send(&mut connection, client.object("PUT", bucket, &key).body(body(seed, size))).await?
                }
            };
            // Asked after the answer came, so an answer that counts came before.
            if over.load(Ordering::SeqCst) {
                return Ok(());
            }
            entry.acknowledged = content;
            entry.unacknowledged.clear();
            self.acknowledgements += 1;
        }
    }
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

async fn upload(
    connection: &mut Connection,
    client: &Client,
    bucket: &str,
    key: &str,
    content: Vec<u8>,
) -> io::Result<Reply> {
    let create = client.object("POST", bucket, key).query("uploads", "");
    let id = send(connection, create).await?.xml("UploadId");
    let part = client.object("PUT", bucket, key).query("partNumber", "1").query("uploadId", &id).body(content);
    let etag = send(connection, part).await?.etag();
    let complete = client.object("POST", bucket, key).query("uploadId", &id).body(complete_document(&[(1, etag)]));
    let reply = send(connection, complete).await?;
    match reply.text().contains("<Error>") {
        true => Err(io::Error::other("the upload was not completed")),
        false => Ok(reply),
    }
}
