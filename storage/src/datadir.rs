//! The data directory: its layout, who may use it, and whether it was left in order.
//!
//! ```text
//! data/
//!   LOCK               flock held by the running process
//!   format             text: `cairn-format 1` and `installation <uuid>`
//!   clean              exists only after a clean stop
//!   watermark          see `index::rocks`
//!   index/             see `index::rocks`
//!   blobs/00 .. ff/    see `blob`
//!   quarantine/        see `blob`
//! ```
//!
//! Invariants: one process at a time; a directory whose format this version does not know is left untouched; every
//! folder is durable before anything is put into it. What the files inside mean is left to the modules that own them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;
use uuid::Uuid;

use crate::clock::Entropy;

/// The newest format that this version reads, and the one that it writes.
pub const FORMAT: u32 = 1;

const LOCK: &str = "LOCK";
const FORMAT_FILE: &str = "format";
const CLEAN: &str = "clean";
const WATERMARK: &str = "watermark";
const INDEX: &str = "index";
const BLOBS: &str = "blobs";

/// Bytes that a format file has at most.
const FORMAT_FILE_BYTES_MAX: u64 = 4_096;

/// Only the owner may enter or read.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// An open data directory; the lock is held until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    installation: Uuid,
    was_clean: bool,
    /// Holds the flock.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Another process uses it.
    #[error("the data directory {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("the data directory has format {found}, this version knows formats up to {FORMAT}")]
    NewerFormat {
        /// The format it has.
        found: u32,
    },
    /// The format file is not one, or is gone although there is data.
    #[error("{} is not a data directory: {fault}", path.display())]
    NotADataDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The operating system refused something.
    #[error("{} failed for {}", doing, path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl DataDirError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

impl DataDir {
    /// Locks the directory, creating it if there is none. The folders of blobs are the blob store's to create. From
    /// here on the directory counts as not cleanly stopped.
    ///
    /// # Errors
    /// It is in use, has an unknown format, or the system refused something.
    pub fn open(path: impl Into<PathBuf>, entropy: &dyn Entropy) -> Result<Self, DataDirError> {
        let path = path.into();
        if !path.is_dir() {
            create_folder(&path)?;
        }
        let lock = lock(&path)?;
        let installation = match read_format(&path)? {
            Some(installation) => installation,
            None => create_format(&path, entropy)?,
        };
        create_folder(&path.join(INDEX))?;
        let was_clean = take_clean_mark(&path)?;
        Ok(Self { path, installation, was_clean, _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the index lies.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.path.join(INDEX)
    }

    /// Where the index keeps its watermark.
    #[must_use]
    pub fn watermark_path(&self) -> PathBuf {
        self.path.join(WATERMARK)
    }

    /// Identifies this installation for ever; made when the directory was created.
    #[must_use]
    pub fn installation(&self) -> Uuid {
        self.installation
    }

    /// Whether the last process that used it stopped in order. A new directory was not left by anybody: false.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// Records that everything was closed in order. The last act of a process that changed nothing after it.
    ///
    /// # Errors
    /// The system's; then the next start treats this stop as an unclean one.
    pub fn mark_clean(&self) -> Result<(), DataDirError> {
        write_file(&self.path, CLEAN, b"")
    }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let lock_path = path.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(&lock_path)
        .map_err(DataDirError::io("opening the lock", &lock_path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse { path: path.to_owned() }),
        Err(error) => Err(DataDirError::io("locking", &lock_path)(error.into())),
    }
}

/// The installation id; None if the directory is new.
fn read_format(path: &Path) -> Result<Option<Uuid>, DataDirError> {
    let not_a_data_dir = |fault| DataDirError::NotADataDir { path: path.to_owned(), fault };
    let format_path = path.join(FORMAT_FILE);
    match fs::metadata(&format_path) {
        Ok(metadata) if metadata.len() > FORMAT_FILE_BYTES_MAX => {
            return Err(not_a_data_dir("the format file is too long"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The format is written first, so data without it is not ours or is damaged.
            let has_data = [INDEX, BLOBS, WATERMARK].iter().any(|name| path.join(name).exists());
            return if has_data { Err(not_a_data_dir("it has data but no format file")) } else { Ok(None) };
        }
        Err(error) => return Err(DataDirError::io("reading", &format_path)(error)),
    }
    let text = fs::read(&format_path).map_err(DataDirError::io("reading", &format_path))?;
    let text = String::from_utf8(text).map_err(|_| not_a_data_dir("the format file is not text"))?;
    let mut lines = text.lines();
    let format: u32 = lines
        .next()
        .and_then(|line| line.strip_prefix("cairn-format "))
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| not_a_data_dir("the format file does not name a format"))?;
    if format > FORMAT {
        return Err(DataDirError::NewerFormat { found: format });
    }
    let installation = lines
        .next()
        .and_then(|line| line.strip_prefix("installation "))
        .and_then(|id| Uuid::parse_str(id).ok())
        .ok_or_else(|| not_a_data_dir("the format file does not name an installation"))?;
    Ok(Some(installation))
}

fn create_format(path: &Path, entropy: &dyn Entropy) -> Result<Uuid, DataDirError> {
    let installation = uuid::Builder::from_random_bytes(entropy.random_16()).into_uuid();
    let text = format!("cairn-format {FORMAT}\ninstallation {installation}\n");
    write_file(path, FORMAT_FILE, text.as_bytes())?;
    Ok(installation)
}

fn take_clean_mark(path: &Path) -> Result<bool, DataDirError> {
    let clean_path = path.join(CLEAN);
    match fs::remove_file(&clean_path) {
        Ok(()) => sync_folder(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(DataDirError::io("removing", &clean_path)(error)),
    }
}

/// Writes the file so that a power cut leaves all of it or none.
fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
    let path = folder.join(name);
    let new_path = folder.join(format!("{name}.new"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(FILE_MODE).open(&new_path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new_path, &path)
    };
    write().map_err(DataDirError::io("writing", &path))?;
    sync_folder(folder)
}

/// Creates the folder, and those above it, so that a power cut cannot take them away again.
fn create_folder(path: &Path) -> Result<(), DataDirError> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    if !parent.exists() {
        create_folder(parent)?;
    }
    make_folder(path)?;
    sync_folder(parent)
}

fn make_folder(path: &Path) -> Result<(), DataDirError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(DataDirError::io("creating", path)(error)),
    }
}

fn sync_folder(path: &Path) -> Result<(), DataDirError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(DataDirError::io("syncing", path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::SeededEntropy;

    fn open(path: &Path) -> Result<DataDir, DataDirError> {
        DataDir::open(path, &SeededEntropy::new(1))
    }

    #[test]
    fn a_new_directory_gets_its_format_and_the_index_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/data");
        let data = open(&path).unwrap();
        assert!(data.index_path().is_dir());
        let expected = format!("cairn-format 1\ninstallation {}\n", data.installation());
        assert_eq!(fs::read_to_string(path.join("format")).unwrap(), expected);
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let first = open(parent.path()).unwrap();
        assert!(matches!(open(parent.path()), Err(DataDirError::InUse { .. })));
        drop(first);
        assert!(open(parent.path()).is_ok());
    }

    #[test]
    fn the_installation_id_stays() {
        let parent = tempfile::tempdir().unwrap();
        let installation = open(parent.path()).unwrap().installation();
        let again = DataDir::open(parent.path(), &SeededEntropy::new(2)).unwrap();
        assert_eq!(again.installation(), installation);
    }

    #[test]
    fn only_a_marked_stop_is_a_clean_one() {
        let parent = tempfile::tempdir().unwrap();
        let data = open(parent.path()).unwrap();
        data.mark_clean().unwrap();
        drop(data);
        assert!(open(parent.path()).unwrap().was_clean());
        assert!(!open(parent.path()).unwrap().was_clean());
    }

    #[test]
    fn a_newer_format_is_refused_and_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        drop(open(parent.path()).unwrap());
        let text = "cairn-format 2\nwhatever comes then\n";
        fs::write(parent.path().join("format"), text).unwrap();
        fs::remove_dir(parent.path().join("index")).unwrap();
        assert!(matches!(open(parent.path()), Err(DataDirError::NewerFormat { found: 2 })));
        assert!(!parent.path().join("index").exists());
        assert_eq!(fs::read_to_string(parent.path().join("format")).unwrap(), text);
    }

    #[test]
    fn a_damaged_format_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        drop(open(parent.path()).unwrap());
        let long = "cairn-format 1\n".repeat(1_000);
        for text in ["", "cairn-format x\n", "cairn-format 1\n", "cairn-format 1\ninstallation 7\n", "\u{0}", &long] {
            fs::write(parent.path().join("format"), text).unwrap();
            assert!(matches!(open(parent.path()), Err(DataDirError::NotADataDir { .. })), "{text:?}");
        }
    }

    #[test]
    fn data_without_a_format_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        drop(open(parent.path()).unwrap());
        fs::remove_file(parent.path().join("format")).unwrap();
        assert!(matches!(open(parent.path()), Err(DataDirError::NotADataDir { .. })));
    }

    #[test]
    fn a_start_that_was_cut_short_is_completed() {
        let parent = tempfile::tempdir().unwrap();
        drop(open(parent.path()).unwrap());
        fs::remove_dir_all(parent.path().join("index")).unwrap();
        drop(open(parent.path()).unwrap());
        assert!(parent.path().join("index").is_dir());
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::write(&path, "").unwrap();
        assert!(matches!(open(&path), Err(DataDirError::Io { .. })));
    }
}
