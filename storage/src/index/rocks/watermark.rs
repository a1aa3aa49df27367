//! The watermark: a sequence number known durable, in a small file beside the database.
//!
//! ```text
//!  0  8  magic "CAIRNWMK"
//!  8  2  format = 1
//! 10  6  zeros
//! 16  8  sequence
//! 24  8  crc64 of bytes 0 .. 24
//! ```
//!
//! A thread renews it at most once a second, so that no commit waits for it. It shows that the database lost what it
//! held when the watermark was last renewed; it cannot show the loss of what was committed after that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cairn_crypto::crc64::crc64;
use parking_lot::{Condvar, Mutex};

use crate::health::Health;

const MAGIC: &[u8; 8] = b"CAIRNWMK";
const FORMAT: u16 = 1;
const FILE_BYTES: usize = 32;
const CHECKSUM_OFFSET: usize = 24;

/// The time between two looks at whether to renew it.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watermark {
    /// There is none: a new data directory, or an operator removed it to accept the database as it is.
    Absent,
    /// The database held everything up to this sequence.
    At(u64),
    /// The file is not one that this version wrote.
    Unreadable(&'static str),
}

impl Watermark {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(Self::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Absent),
            Err(error) => Err(error),
        }
    }

    /// Why a database whose newest sequence is `sequence` must not be written, if so.
    pub(super) fn finds_fault_with(&self, sequence: u64) -> Option<String> {
        let advice = "remove the watermark file to accept the index as it is";
        match self {
            Self::Absent => None,
            Self::At(watermark) if sequence >= *watermark => None,
            Self::At(watermark) => Some(format!(
                "the index has lost acknowledged commits: it ends at sequence {sequence}, but {watermark} was durable; {advice}"
            )),
            Self::Unreadable(fault) => {
                Some(format!("the watermark cannot vouch for the index, because {fault}; {advice}"))
            }
        }
    }

    fn decode(bytes: &[u8]) -> Self {
        let Ok(bytes) = <&[u8; FILE_BYTES]>::try_from(bytes) else {
            return Self::Unreadable("its length is wrong");
        };
        let (covered, checksum) = bytes.split_at(CHECKSUM_OFFSET);
        if checksum != crc64(&[covered]).to_be_bytes() {
            return Self::Unreadable("its checksum is wrong");
        }
        if covered[..8] != MAGIC[..] || covered[8..10] != FORMAT.to_be_bytes() {
            return Self::Unreadable("its format is unknown");
        }
        let mut sequence = [0; 8];
        sequence.copy_from_slice(&covered[16..]);
        Self::At(u64::from_be_bytes(sequence))
    }
}

fn encode(sequence: u64) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&FORMAT.to_be_bytes());
    bytes[16..24].copy_from_slice(&sequence.to_be_bytes());
    let checksum = crc64(&[&bytes[..CHECKSUM_OFFSET]]);
    bytes[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// Replaces the file: whatever happens, the old one or the new one is there.
fn write(path: &Path, sequence: u64) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&encode(sequence))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

/// Renews the file as the database grows, and once more when it is dropped.
#[derive(Debug)]
pub(super) struct WatermarkKeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wanted: Mutex<Wanted>,
    closing: Condvar,
}

#[derive(Debug)]
struct Wanted {
    sequence: u64,
    closing: bool,
}

impl WatermarkKeeper {
    /// Writes the file for a database that durably holds everything up to `sequence`, and starts to keep it.
    pub(super) fn start(path: &Path, sequence: u64, health: Health) -> io::Result<Self> {
        write(path, sequence)?;
        let shared =
            Arc::new(Shared { wanted: Mutex::new(Wanted { sequence, closing: false }), closing: Condvar::new() });
        let worker = Worker { path: path.to_owned(), shared: shared.clone(), written: sequence, health };
        let thread = thread::Builder::new().name("index-watermark".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Everything up to `sequence` is durable.
    pub(super) fn record(&self, sequence: u64) {
        self.shared.wanted.lock().sequence = sequence;
    }
}

impl Drop for WatermarkKeeper {
    fn drop(&mut self) {
        self.shared.wanted.lock().closing = true;
        self.shared.closing.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that renews the watermark died");
        }
    }
}

struct Worker {
    path: PathBuf,
    shared: Arc<Shared>,
    written: u64,
    health: Health,
}

impl Worker {
    fn run(mut self) {
        let mut closing = false;
        while !closing {
            let mut wanted = self.shared.wanted.lock();
            let _ = self.shared.closing.wait_while_for(&mut wanted, |wanted| !wanted.closing, RENEWAL_INTERVAL);
            let sequence = wanted.sequence;
            closing = wanted.closing;
            drop(wanted);
            self.renew(sequence);
        }
    }

    fn renew(&mut self, sequence: u64) {
        // After a failed write nobody knows what is durable.
        if sequence == self.written || self.health.read_only().is_some() {
            return;
        }
        match write(&self.path, sequence) {
            Ok(()) => self.written = sequence,
            // The old watermark is still true.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!("the disk is too full to renew the index's watermark");
            }
            Err(error) => self.health.fail(format!("the index's watermark cannot be renewed: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        assert_eq!(Watermark::read(&path).unwrap(), Watermark::Absent);
        write(&path, 7).unwrap();
        write(&path, u64::MAX).unwrap();
        assert_eq!(Watermark::read(&path).unwrap(), Watermark::At(u64::MAX));
    }

    #[test]
    fn the_file_is_laid_out_as_documented() {
        let bytes = encode(0x0102_0304_0506_0708);
        assert_eq!(&bytes[..24], b"CAIRNWMK\x00\x01\0\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(bytes[24..], crc64(&[&bytes[..24]]).to_be_bytes());
    }

    #[test]
    fn a_flipped_bit_anywhere_makes_it_unreadable() {
        let bytes = encode(7);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Watermark::decode(&flipped), Watermark::Unreadable(_)), "bit {bit}");
        }
        assert!(matches!(Watermark::decode(&bytes[..31]), Watermark::Unreadable(_)));
    }

    #[test]
    fn only_a_database_that_reaches_it_is_whole() {
        assert_eq!(Watermark::At(7).finds_fault_with(7), None);
        assert_eq!(Watermark::Absent.finds_fault_with(0), None);
        assert!(Watermark::At(7).finds_fault_with(6).is_some());
        assert!(Watermark::Unreadable("it is damaged").finds_fault_with(7).is_some());
    }

    #[test]
    fn dropping_the_keeper_renews_it_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let keeper = WatermarkKeeper::start(&path, 1, Health::default()).unwrap();
        keeper.record(5);
        drop(keeper);
        assert_eq!(Watermark::read(&path).unwrap(), Watermark::At(5));
    }

    #[test]
    fn a_failed_store_no_longer_renews_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        let health = Health::default();
        let keeper = WatermarkKeeper::start(&path, 1, health.clone()).unwrap();
        health.fail("a write failed");
        keeper.record(5);
        drop(keeper);
        assert_eq!(Watermark::read(&path).unwrap(), Watermark::At(1));
    }
}
