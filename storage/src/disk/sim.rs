//! A disk in memory that forgets what was not synced.
//!
//! It keeps three things apart: what processes see, what is durable, and the changes in between. [`SimDisk::crash_state`]
//! makes one of the states in which a power cut may leave the disk:
//!
//! - each write since the file's last `sync_data` is there, lost, or torn into sectors of 512 bytes that hold the new
//!   bytes, the old ones or garbage; the file's length is chosen independently;
//! - each change of a folder since its last `sync_dir` is there or lost, independently of the files' contents. A rename
//!   happens whole or not at all, as journalling file systems promise.
//!
//! Calls can be made to fail, power can be cut after any number of calls, and syncs can be made to do nothing, which is
//! how a test shows that it would notice a missing one. Everything is deterministic.

mod crash;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{DirectoryId, Disk, DiskFile, Mount, Space};
pub use crash::{CrashState, FilesRead, Look};
use tree::{Change, InodeId, Tree};

/// A kind of call, to count it, fail it or skip it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Disk::create`]
    Create,
    /// [`Disk::open`] and [`Disk::open_cached`]
    Open,
    /// [`Disk::remove`]
    Remove,
    /// [`Disk::rename`]
    Rename,
    /// [`Disk::create_dir`]
    CreateDir,
    /// [`Disk::list`]
    List,
    /// [`Disk::sync_dir`]
    SyncDir,
    /// [`Disk::space`]
    Space,
    /// [`DiskFile::write_at`]
    Write,
    /// [`DiskFile::read_at`] and [`DiskFile::read_cached`]
    Read,
    /// [`DiskFile::allocate`]
    Allocate,
    /// [`DiskFile::sync_data`]
    SyncData,
    /// [`DiskFile::length`]
    Length,
}

impl Call {
    /// Whether the call may change what a power cut leaves behind.
    fn mutates(self) -> bool {
        !matches!(self, Self::Open | Self::List | Self::Space | Self::Read | Self::Allocate | Self::Length)
    }
}

/// The simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    /// What processes see.
    seen: Tree,
    /// What a power cut cannot take.
    durable: Tree,
    /// Changes of folders that may be lost, in order.
    changes: Vec<Change>,
    faults: Faults,
    space: Space,
    cached: bool,
    /// Files whose contents or lengths a process has asked for.
    read: BTreeSet<InodeId>,
}

/// A file's contents. Vectors are shared between states until one of them is written to.
#[derive(Default)]
struct Inode {
    seen: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Writes that may be lost, in order.
    writes: Vec<Write>,
    /// A sync failed: writes before it will never become durable, although they are still seen.
    dropped: bool,
}

struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Faults {
    counts: BTreeMap<Call, u64>,
    mutations: u64,
    power_lasts: Option<u64>,
    failures: BTreeMap<(Call, u64), io::ErrorKind>,
    skipped: BTreeSet<Call>,
}

impl Write {
    fn apply(&self, contents: &mut Vec<u8>) {
        let end = self.offset + self.bytes.len();
        set_length(contents, contents.len().max(end));
        contents[self.offset..end].copy_from_slice(&self.bytes);
    }
}

/// Cuts or fills with zeros. Unlike `resize` it is quick without optimisation, on which the crash tests live.
fn set_length(contents: &mut Vec<u8>, length: usize) {
    if length > contents.len() {
        let mut longer = vec![0; length];
        longer[..contents.len()].copy_from_slice(contents);
        *contents = longer;
    }
    contents.truncate(length);
}

impl Faults {
    /// Counts a call that works or fails as a whole.
    fn enter(&mut self, call: Call) -> io::Result<()> {
        self.admit(call)?.map_or(Ok(()), Err)
    }

    fn has_power(&self) -> bool {
        self.power_lasts.is_none_or(|mutations| self.mutations < mutations)
    }

    /// Counts a call. An error: the power is gone and nothing happens. `Some`: the call must fail in its own way.
    fn admit(&mut self, call: Call) -> io::Result<Option<io::Error>> {
        if !self.has_power() {
            return Err(io::Error::other("the simulated power is gone"));
        }
        let count = self.counts.entry(call).or_default();
        *count += 1;
        self.mutations += u64::from(call.mutates());
        Ok(self.failures.remove(&(call, *count)).map(io::Error::from))
    }
}

impl SimDisk {
    /// An empty disk of which every read is answered from the cache.
    #[must_use]
    pub fn new() -> Self {
        Self::with_durable(BTreeMap::new(), Tree::default())
    }

    /// A disk on which everything is durable.
    fn with_durable(inodes: BTreeMap<InodeId, Inode>, tree: Tree) -> Self {
        let next_inode = inodes.keys().next_back().map_or(0, |last| last + 1);
        Self(Arc::new(Mutex::new(State {
            inodes,
            next_inode,
            seen: tree.clone(),
            durable: tree,
            changes: Vec::new(),
            faults: Faults::default(),
            space: Space { total_bytes: 1 << 40, available_bytes: 1 << 40 },
            cached: true,
            read: BTreeSet::new(),
        })))
    }

    /// Calls so far that may have changed what a power cut leaves: the unit of [`SimDisk::crash_after`].
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.0.lock().faults.mutations
    }

    /// Calls of one kind so far.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.0.lock().faults.counts.get(&call).copied().unwrap_or(0)
    }

    /// Cuts the power once `mutations` mutating calls (counted from the disk's beginning) have been made: every later
    /// call fails and changes nothing.
    pub fn crash_after(&self, mutations: u64) {
        self.0.lock().faults.power_lasts = Some(mutations);
    }

    /// Makes the `nth` call of this kind from now on (from 1) fail. A write that fails has written a part; a sync that
    /// fails has dropped what it should have made durable, for good, as kernels do.
    pub fn fail_call(&self, call: Call, nth: u64, kind: io::ErrorKind) {
        let mut state = self.0.lock();
        let count = state.faults.counts.get(&call).copied().unwrap_or(0);
        state.faults.failures.insert((call, count + nth), kind);
    }

    /// Makes syncs of this kind succeed without doing anything: a planted bug.
    pub fn skip_sync(&self, call: Call) {
        debug_assert!(matches!(call, Call::SyncData | Call::SyncDir), "only a sync can be skipped");
        self.0.lock().faults.skipped.insert(call);
    }

    /// Makes durable what is seen, as systems do by and by with what nobody has synced. Nothing happens without power.
    pub fn write_back(&self) {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        if !state.faults.has_power() {
            return;
        }
        state.durable = state.seen.clone();
        state.changes.clear();
        for inode in state.inodes.values_mut().filter(|inode| !inode.dropped) {
            inode.durable = inode.seen.clone();
            inode.writes.clear();
        }
    }

    /// Decides whether reads are answered from the cache (the beginning) or have to wait.
    pub fn set_cached(&self, cached: bool) {
        self.0.lock().cached = cached;
    }

    /// Decides what [`Disk::space`] answers.
    pub fn set_space(&self, space: Space) {
        self.0.lock().space = space;
    }

    /// A file's contents, past all faults and counters.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        let inode = state.seen.names.get(path)?;
        state.inodes.get(inode).map(|inode| inode.seen.to_vec())
    }

    /// Replaces a file's contents durably, past all faults and counters: decay, or another's hand.
    pub fn set_contents(&self, path: &Path, contents: Vec<u8>) {
        let mut state = self.0.lock();
        if let Some(inode) = state.seen.names.get(path).copied() {
            let contents = Arc::new(contents);
            state.inodes.insert(inode, Inode { seen: contents.clone(), durable: contents, ..Inode::default() });
        }
    }

    fn file(&self, inode: InodeId, writable: bool) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { state: self.0.clone(), inode, writable })
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("SimDisk").field("files", &state.seen.names.len()).finish_non_exhaustive()
    }
}

impl State {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.changes.push(change);
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        if self.seen.has_parent_of(path) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn inode(&self, id: InodeId) -> io::Result<&Inode> {
        self.inodes.get(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn inode_mut(&mut self, id: InodeId) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Mount for SimDisk {
    fn mount(&self) -> io::Result<(Arc<dyn Disk>, DirectoryId)> {
        Ok((Arc::new(self.clone()), DirectoryId::default()))
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.faults.enter(Call::Create)?;
        state.check_parent(path)?;
        if state.seen.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.change(Change::Link { path: path.to_owned(), inode });
        Ok(self.file(inode, true))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.faults.enter(Call::Open)?;
        let inode = *state.seen.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode, false))
    }

    fn open_cached(&self, path: &Path) -> io::Result<Option<Arc<dyn DiskFile>>> {
        if self.0.lock().cached { self.open(path).map(Some) } else { Ok(None) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.faults.enter(Call::Remove)?;
        if !state.seen.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Unlink { path: path.to_owned() });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.faults.enter(Call::Rename)?;
        state.check_parent(to)?;
        let inode = *state.seen.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.change(Change::Move { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        state.faults.enter(Call::CreateDir)?;
        state.check_parent(path)?;
        if !state.seen.folders.contains(path) {
            state.change(Change::Folder { path: path.to_owned() });
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.0.lock();
        state.faults.enter(Call::List)?;
        state.seen.list(dir).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        let fault = state.faults.admit(Call::SyncDir)?;
        if state.faults.skipped.contains(&Call::SyncDir) {
            return Ok(());
        }
        let (synced, rest): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut state.changes).into_iter().partition(|change| change.touches(dir));
        state.changes = rest;
        if let Some(fault) = fault {
            return Err(fault); // and has forgotten the changes without having made them durable
        }
        synced.iter().for_each(|change| change.apply(&mut state.durable));
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let mut state = self.0.lock();
        state.faults.enter(Call::Space)?;
        Ok(state.space)
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    inode: InodeId,
    writable: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimFile").field(&self.inode).finish()
    }
}

impl SimFile {
    fn read(&self, state: &mut State, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        state.read.insert(self.inode);
        let contents = &state.inode(self.inode)?.seen;
        let start = usize::try_from(offset).map_or(contents.len(), |offset| offset.min(contents.len()));
        let count = buffer.len().min(contents.len() - start);
        buffer[..count].copy_from_slice(&contents[start..start + count]);
        Ok(count)
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.state.lock();
        let fault = state.faults.admit(Call::Write)?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut bytes = slices.iter().map(|slice| &**slice).collect::<Vec<_>>().concat();
        if fault.is_some() {
            bytes.truncate(bytes.len() / 2);
        }
        let inode = state.inode_mut(self.inode)?;
        let write = Write { offset, bytes };
        write.apply(Arc::make_mut(&mut inode.seen));
        inode.writes.push(write);
        fault.map_or(Ok(()), Err)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        state.faults.enter(Call::Read)?;
        self.read(&mut state, offset, buffer)
    }

    fn read_cached(&self, offset: u64, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut state = self.state.lock();
        if !state.cached {
            return Ok(None);
        }
        state.faults.enter(Call::Read)?;
        self.read(&mut state, offset, buffer).map(Some)
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        self.state.lock().faults.enter(Call::Allocate)
    }

    fn start_writeback(&self, _: u64, _: u64) {}

    fn sync_data(&self) -> io::Result<()> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let fault = state.faults.admit(Call::SyncData)?;
        if state.faults.skipped.contains(&Call::SyncData) {
            return Ok(());
        }
        let inode = state.inode_mut(self.inode)?;
        let writes = std::mem::take(&mut inode.writes);
        if let Some(fault) = fault {
            inode.dropped = true;
            return Err(fault);
        }
        if inode.dropped {
            let durable = Arc::make_mut(&mut inode.durable);
            writes.iter().for_each(|write| write.apply(durable));
        } else {
            inode.durable = inode.seen.clone();
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.faults.enter(Call::Length)?;
        state.read.insert(self.inode);
        Ok(state.inode(self.inode)?.seen.len() as u64)
    }
}
