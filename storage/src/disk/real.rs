//! The disk of the operating system.
//!
//! Every path is opened relative to a handle on the data directory, so that moving the directory or the process's
//! working directory changes nothing. System calls that a signal interrupted are made again, except syncs, which are
//! never made twice; all other errors are the caller's.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use super::{DirectoryId, Disk, DiskFile, Mount, Space};

/// The most slices that one system call takes (IOV_MAX on Linux).
const SLICES_PER_CALL_MAX: usize = 1_024;

/// New files belong to the server's user alone: they hold client data.
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

/// New directories likewise.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);

/// The directory tree below one root.
pub struct RealDisk {
    root: OwnedFd,
    root_path: PathBuf,
    cached_reads: Arc<AtomicBool>,
    /// Whether this system answers opens that must not wait.
    cached_opens: AtomicBool,
}

impl RealDisk {
    /// The tree below `root`, which must exist.
    ///
    /// # Errors
    /// The system's, if `root` cannot be opened as a directory.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root_path = root.into();
        let root = retry_on_intr(|| rustix::fs::openat(CWD, &root_path, directory_flags(), Mode::empty()))?;
        let cached_reads = Arc::new(AtomicBool::new(true));
        Ok(Self { root, root_path, cached_reads, cached_opens: AtomicBool::new(true) })
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // The root itself is the empty path, which the system calls ".".
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(retry_on_intr(|| rustix::fs::openat(&self.root, path, flags, mode))?)
    }

    fn file(&self, handle: OwnedFd) -> Arc<dyn DiskFile> {
        Arc::new(RealFile { handle, cached_reads: self.cached_reads.clone() })
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

impl fmt::Debug for RealDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RealDisk").field(&self.root_path).finish()
    }
}

impl Mount for PathBuf {
    fn mount(&self) -> io::Result<(Arc<dyn Disk>, DirectoryId)> {
        let disk = RealDisk::new(self)?;
        let stat = retry_on_intr(|| rustix::fs::fstat(&disk.root))?;
        Ok((Arc::new(disk), DirectoryId { device: stat.st_dev, inode: stat.st_ino }))
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let handle = self.open_at(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, FILE_MODE)?;
        Ok(self.file(handle))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let handle = self.open_at(path, OFlags::RDONLY, Mode::empty())?;
        Ok(self.file(handle))
    }

    fn open_cached(&self, path: &Path) -> io::Result<Option<Arc<dyn DiskFile>>> {
        if !self.cached_opens.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::CACHED) {
            Ok(handle) => Ok(Some(self.file(handle))),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            // Old kernels do not have the call, or not this flag; some sandboxes forbid it. Ask only once.
            Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                self.cached_opens.store(false, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::unlinkat(&self.root, path, AtFlags::empty()))?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(retry_on_intr(|| rustix::fs::renameat(&self.root, from, &self.root, to))?)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match retry_on_intr(|| rustix::fs::mkdirat(&self.root, path, DIRECTORY_MODE)) {
            Ok(()) => Ok(()),
            // Something of that name exists; only a directory will do.
            Err(Errno::EXIST) => self.open_at(path, directory_flags(), Mode::empty()).map(drop),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let handle = self.open_at(dir, directory_flags(), Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&handle)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && entry.file_type() != FileType::Directory {
                names.push(OsStr::from_bytes(name).to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let handle = self.open_at(dir, directory_flags(), Mode::empty())?;
        Ok(rustix::fs::fsync(&handle)?)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = retry_on_intr(|| rustix::fs::fstatvfs(&self.root))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total_bytes: bytes(stat.f_blocks), available_bytes: bytes(stat.f_bavail) })
    }
}

/// An open file.
struct RealFile {
    handle: OwnedFd,
    /// Whether this file system answers reads that must not wait; shared by all files of the disk.
    cached_reads: Arc<AtomicBool>,
}

impl fmt::Debug for RealFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RealFile").field(&self.handle.as_raw_fd()).finish()
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut offset = offset;
        let mut slices = slices.to_vec();
        let mut rest = slices.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0); // drops empty slices at the front
        while !rest.is_empty() {
            let count = rest.len().min(SLICES_PER_CALL_MAX);
            let written = retry_on_intr(|| rustix::io::pwritev(&self.handle, &rest[..count], offset))?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += written as u64;
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            match rustix::io::pread(&self.handle, rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        if !self.cached_reads.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut slices = [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.handle, &mut slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            // Overlay and some other file systems cannot tell (nor can old kernels); ask them only once.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.cached_reads.store(false, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        // The file's length must stay what was written, because the trailer is found from its end.
        match retry_on_intr(|| rustix::fs::fallocate(&self.handle, FallocateFlags::KEEP_SIZE, 0, length)) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn start_writeback(&self, offset: u64, length: u64) {
        start_writeback(self.handle.as_fd().as_raw_fd(), offset, length);
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.handle)?)
    }

    fn length(&self) -> io::Result<u64> {
        let stat = retry_on_intr(|| rustix::fs::fstat(&self.handle))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }
}

/// Asks the kernel to begin writing the range to the device. A hint: whether it worked shows in the final sync.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn start_writeback(handle: std::os::fd::RawFd, offset: u64, length: u64) {
    let (Ok(offset), Ok(length)) = (i64::try_from(offset), i64::try_from(length)) else { return };
    // SAFETY: the call takes integers only, and the caller's borrow keeps the descriptor open.
    let _ = unsafe { libc::sync_file_range(handle, offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(target_os = "linux"))]
fn start_writeback(_: std::os::fd::RawFd, _: u64, _: u64) {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let root = tempfile::tempdir().unwrap();
        let disk = RealDisk::new(root.path()).unwrap();
        (root, disk)
    }

    #[test]
    fn what_is_written_is_read_from_any_offset() {
        let (_root, disk) = disk();
        let file = disk.create(Path::new("file")).unwrap();
        file.write_at(0, &[IoSlice::new(b""), IoSlice::new(b"one "), IoSlice::new(b"two")]).unwrap();
        file.write_at(7, &[IoSlice::new(b" three")]).unwrap();
        file.sync_data().unwrap();
        let mut buffer = [0; 64];
        assert_eq!(file.read_at(4, &mut buffer).unwrap(), 9);
        assert_eq!(&buffer[..9], b"two three");
        assert_eq!(file.length().unwrap(), 13);
    }

    #[test]
    fn more_slices_than_one_system_call_takes_are_written_in_order() {
        let (_root, disk) = disk();
        let file = disk.create(Path::new("file")).unwrap();
        let bytes: Vec<u8> = (0..3 * SLICES_PER_CALL_MAX + 5).map(|i| (i % 251) as u8).collect();
        let slices: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        file.write_at(0, &slices).unwrap();
        let mut read = vec![0; bytes.len()];
        file.read_at(0, &mut read).unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn a_file_is_created_once_and_only_for_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let (root, disk) = disk();
        disk.create(Path::new("file")).unwrap();
        assert_eq!(disk.create(Path::new("file")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let mode = std::fs::metadata(root.path().join("file")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn allocating_does_not_change_the_length() {
        let (_root, disk) = disk();
        let file = disk.create(Path::new("file")).unwrap();
        file.allocate(1 << 20).unwrap();
        assert_eq!(file.length().unwrap(), 0);
        file.write_at(0, &[IoSlice::new(b"x")]).unwrap();
        file.start_writeback(0, 1);
        assert_eq!(file.length().unwrap(), 1);
    }

    #[test]
    fn cached_reads_answer_or_decline_but_never_lie() {
        let (_root, disk) = disk();
        let file = disk.create(Path::new("file")).unwrap();
        file.write_at(0, &[IoSlice::new(b"cached")]).unwrap();
        let mut buffer = [0; 6];
        if let Some(count) = file.read_cached(0, &mut buffer).unwrap() {
            assert_eq!(&buffer[..count], &b"cached"[..count]);
        }
    }

    #[test]
    fn cached_opens_answer_or_decline_but_never_lie() {
        let (_root, disk) = disk();
        disk.create(Path::new("file")).unwrap().write_at(0, &[IoSlice::new(b"cached")]).unwrap();
        if let Some(file) = disk.open_cached(Path::new("file")).unwrap() {
            assert_eq!(file.length().unwrap(), 6);
        }
        disk.remove(Path::new("file")).unwrap();
        match disk.open_cached(Path::new("file")) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("a removed file was opened"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
    }

    #[test]
    fn folders_list_their_files_and_renaming_replaces() {
        let (_root, disk) = disk();
        disk.create_dir(Path::new("a")).unwrap();
        disk.create_dir(Path::new("a")).unwrap();
        disk.create_dir(Path::new("a/inner")).unwrap();
        disk.create(Path::new("a/x")).unwrap().write_at(0, &[IoSlice::new(b"x")]).unwrap();
        disk.create(Path::new("a/y")).unwrap();
        disk.rename(Path::new("a/x"), Path::new("a/y")).unwrap();
        assert_eq!(disk.list(Path::new("a")).unwrap(), ["y"]);
        assert_eq!(disk.open(Path::new("a/y")).unwrap().length().unwrap(), 1);
        disk.sync_dir(Path::new("a")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        disk.remove(Path::new("a/y")).unwrap();
        assert_eq!(disk.open(Path::new("a/y")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_where_a_folder_should_be_is_an_error() {
        let (_root, disk) = disk();
        disk.create(Path::new("a")).unwrap();
        assert!(disk.create_dir(Path::new("a")).is_err());
    }

    #[test]
    fn a_link_is_not_followed() {
        let (root, disk) = disk();
        std::os::unix::fs::symlink("/etc/hostname", root.path().join("link")).unwrap();
        assert!(disk.open(Path::new("link")).is_err());
    }

    #[test]
    fn the_space_of_the_file_system_is_known() {
        let (_root, disk) = disk();
        let space = disk.space().unwrap();
        assert!(space.total_bytes >= space.available_bytes);
        assert!(space.total_bytes > 0);
    }
}
