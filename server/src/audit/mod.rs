//! What was decided about each request, and why; and what the server did by itself.
//!
//! A request carries a [`Trail`], into which `authorize` writes its decisions. When the request has been answered, they and
//! what became of it are an [`Entry`]: the newest are kept in memory for `cairn why`, and all go to the audit log, written by a
//! thread of its own. The queue between is bounded. When it is full, entries are not written, which a metric counts: a
//! request never waits for its audit, and nothing grows. What lifecycle rules and access tiers do to versions and uploads,
//! and that restored versions can be read, or not any more, are lines of their own (`Deed`), and do not wait either.
//!
//! Secrets never: an entry knows access keys, and neither queries nor headers but the client's name for itself.

mod deed;
mod entry;
mod file;
mod newest;
mod trail;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use deed::Deed;
pub use entry::{Entry, Line};
use file::AuditFile;
pub use file::FileSettings;
use newest::Newest;
pub use trail::{Decided, Trail, VERDICTS_MAX, Verdict};

/// Entries that wait to be written.
const QUEUE_MAX: usize = 8_192;

/// How long the writer lets entries gather after the first: a request then pays neither for waking it nor for a write of its
/// own, and the queue has room for what comes meanwhile.
const GATHERING: Duration = Duration::from_millis(20);

/// Lines that are written together.
const LINES_TOGETHER_MAX: usize = 256;

/// Where entries go.
#[derive(Debug)]
pub struct Audit {
    newest: Newest,
    file: Option<FileSettings>,
    queue: Option<SyncSender<Message>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    lost: Counter,
}

#[derive(Debug)]
enum Message {
    Entry(Arc<Entry>),
    Deed(Box<Deed>),
    Stop,
}

impl Audit {
    /// An audit whose log goes to a file; without settings, there is none. `lost` counts what could not be written.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn start(file: Option<FileSettings>, lost: Counter) -> std::io::Result<Arc<Self>> {
        let (mut queue, mut writer) = (None, None);
        if let Some(settings) = &file {
            let open = AuditFile::open(settings.clone())?;
            let (sender, receiver) = sync_channel(QUEUE_MAX);
            let lost = lost.clone();
            let thread = std::thread::Builder::new().name("audit".to_owned());
            writer = Some(thread.spawn(move || write(open, &receiver, &lost))?);
            queue = Some(sender);
        }
        Ok(Arc::new(Self { newest: Newest::default(), file, queue, writer: Mutex::new(writer), lost }))
    }

    /// Takes in what became of a request.
    pub fn finished(&self, entry: Entry) {
        let entry = Arc::new(entry);
        self.newest.keep(Arc::clone(&entry));
        self.queue(|| Message::Entry(entry));
    }

    /// Has something written, if there is a log.
    fn queue(&self, message: impl FnOnce() -> Message) {
        if let Some(queue) = &self.queue
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(message())
        {
            self.lost.inc();
        }
    }

    /// What was decided about the request of this id: from memory, or else from the log.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn find(&self, request_id: &str) -> std::io::Result<Option<serde_json::Value>> {
        if let Some(entry) = self.newest.find(request_id) {
            return Ok(Some(serde_json::to_value(entry.line())?));
        }
        let Some(settings) = self.file.clone() else { return Ok(None) };
        let id = request_id.to_owned();
        let line =
            tokio::task::spawn_blocking(move || file::find(&settings, &id)).await.map_err(std::io::Error::other)??;
        Ok(line.map(|line| serde_json::from_str(&line)).transpose()?)
    }

    /// Writes what is still waiting. Nothing is written after that.
    pub async fn stop(self: &Arc<Self>) {
        let audit = Arc::clone(self);
        let stopped = tokio::task::spawn_blocking(move || {
            let (Some(queue), Some(writer)) = (&audit.queue, audit.writer.lock().take()) else { return };
            if queue.send(Message::Stop).is_ok() && writer.join().is_err() {
                tracing::error!("the writer of the audit log ended before its time");
            }
        });
        if let Err(error) = stopped.await {
            tracing::error!(%error, "the audit log was not ended");
        }
    }
}

/// Writes entries until it is told to stop. What cannot be written is counted and said once in a row.
fn write(mut file: AuditFile, queue: &Receiver<Message>, lost: &Counter) {
    let mut is_failing = false;
    let mut lines = Lines::default();
    let mut goes_on = true;
    while goes_on {
        goes_on = lines.gather(queue);
        if lines.count == 0 {
            continue;
        }
        match file.write(&lines.text) {
            Ok(()) => is_failing = false,
            Err(error) => {
                lost.inc_by(lines.count);
                if !is_failing {
                    tracing::error!(%error, "the audit log cannot be written");
                }
                is_failing = true;
            }
        }
    }
}

/// Lines that are written together.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    count: u64,
    /// The queue was not emptied by the last ones.
    is_behind: bool,
}

impl Lines {
    /// Waits for an entry, lets more gather, and takes what is there. The answer is whether there will be more.
    fn gather(&mut self, queue: &Receiver<Message>) -> bool {
        self.text.clear();
        self.count = 0;
        let mut next = queue.recv().map_err(|_| TryRecvError::Disconnected);
        if !self.is_behind && matches!(next, Ok(Message::Entry(_) | Message::Deed(_))) {
            std::thread::sleep(GATHERING);
        }
        loop {
            match next {
                Ok(Message::Entry(entry)) => self.add(&entry.line()),
                Ok(Message::Deed(deed)) => self.add(&deed.line()),
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => {
                    self.is_behind = false;
                    return true;
                }
            }
            if self.count == LINES_TOGETHER_MAX as u64 {
                self.is_behind = true;
                return true;
            }
            next = queue.try_recv();
        }
    }

    fn add(&mut self, line: &impl Serialize) {
        let before = self.text.len();
        // Writing to memory cannot fail, and the line has no map whose keys are not texts.
        match serde_json::to_writer(&mut self.text, line).map(|()| self.text.write_all(b"\n")) {
            Ok(_) => self.count += 1,
            Err(_) => self.text.truncate(before),
        }
    }
}
