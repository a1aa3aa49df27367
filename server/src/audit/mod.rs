//! What was decided about each request, and why.
//!
//! A request carries a [`Trail`], into which `authorize` writes its decisions. When the request has been answered, they and
//! what became of it are an [`Entry`]: the newest are kept in memory for `cairn why`, and all go to the audit log, written by a
//! thread of its own. The queue between is bounded. When it is full, entries are not written, which a metric counts: a
//! request never waits for its audit, and nothing grows.
//!
//! Secrets never: an entry knows access keys, and neither queries nor headers but the client's name for itself.

mod entry;
mod file;
mod newest;
mod trail;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

pub use entry::{Entry, Line};
use file::AuditFile;
pub use file::FileSettings;
use newest::Newest;
pub use trail::{Decided, Trail, VERDICTS_MAX, Verdict};

/// Entries that wait to be written.
const QUEUE_MAX: usize = 8_192;

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
        self.newest.keep(&entry);
        if let Some(queue) = &self.queue
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(Message::Entry(entry))
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
    let mut goes_on = true;
    while goes_on {
        let (lines, count);
        (lines, count, goes_on) = next_lines(queue);
        if count == 0 {
            continue;
        }
        match file.write(lines.as_bytes()) {
            Ok(()) => is_failing = false,
            Err(error) => {
                lost.inc_by(count);
                if !is_failing {
                    tracing::error!(%error, "the audit log cannot be written");
                }
                is_failing = true;
            }
        }
    }
}

/// Waits for an entry and takes with it what else is there: the lines, their number, and whether there will be more.
fn next_lines(queue: &Receiver<Message>) -> (String, u64, bool) {
    let (mut lines, mut count) = (String::new(), 0);
    let mut next = queue.recv().ok();
    loop {
        match next {
            Some(Message::Entry(entry)) => {
                if let Ok(line) = serde_json::to_string(&entry.line()) {
                    // Writing to a String cannot fail.
                    let _ = writeln!(lines, "{line}");
                    count += 1;
                }
            }
            Some(Message::Stop) | None => return (lines, count, false),
        }
        if count == LINES_TOGETHER_MAX as u64 {
            return (lines, count, true);
        }
        match queue.try_recv() {
            Ok(message) => next = Some(message),
            Err(std::sync::mpsc::TryRecvError::Empty) => return (lines, count, true),
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return (lines, count, false),
        }
    }
}
