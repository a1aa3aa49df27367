//! All file access of the blob store, behind one trait with a real and a simulated implementation.
//!
//! Paths are relative to the data directory and made of fixed names and content ids only. The calls block; the blob
//! store decides on which thread they run.

mod real;
pub mod sim;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub use real::RealDisk;

/// A file system's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that this process may still use.
    pub available_bytes: u64,
}

/// A directory tree. Every change but `sync_dir` may be lost by a power cut until it is synced.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Creates a file for reading and writing; fails if it exists.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// The system's; `NotFound` if it does not exist.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// As `open` if the system finds the file without waiting; None if it would wait, or cannot tell.
    ///
    /// # Errors
    /// As `open`.
    fn open_cached(&self, path: &Path) -> io::Result<Option<Arc<dyn DiskFile>>>;

    /// Removes a file. An open file stays readable.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Moves a file, replacing what is there.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Creates a directory; no error if it exists.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a directory, in no order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes the directory's entries durable. A failure is final: see `Health`.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The file system's size and free space.
    ///
    /// # Errors
    /// The system's.
    fn space(&self) -> io::Result<Space>;
}

/// A directory that may come and go, such as where a disk is mounted.
pub trait Mount: Send + Sync + fmt::Debug + 'static {
    /// Opens the directory that is there now.
    ///
    /// # Errors
    /// The system's.
    fn mount(&self) -> io::Result<(Arc<dyn Disk>, DirectoryId)>;
}

/// Which directory it is, for as long as it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirectoryId {
    device: u64,
    inode: u64,
}

/// An open file. Positions are explicit, so that a file is shared without a lock.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all of `slices`, one after the other, from `offset`.
    ///
    /// # Errors
    /// The system's; the file's contents are then unknown.
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()>;

    /// Fills `buffer` from `offset`; short only at the end of the file.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// As `read_at` for what the page cache holds, without waiting (it may be short); None if it would wait, or if
    /// this file system cannot tell.
    ///
    /// # Errors
    /// The system's.
    fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Reserves `length` bytes; no error where the file system cannot.
    ///
    /// # Errors
    /// `StorageFull`.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Starts writing a range back, without waiting, so that the final sync has little left to do.
    fn start_writeback(&self, offset: u64, length: u64);

    /// Makes the file's contents and length durable. A failure is final: see `Health`.
    ///
    /// # Errors
    /// The system's.
    fn sync_data(&self) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn length(&self) -> io::Result<u64>;
}
