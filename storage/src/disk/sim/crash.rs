//! What a power cut leaves of a simulated disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::tree::InodeId;
use super::{Inode, SimDisk, Write, set_length};

/// The unit that a device writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A disk after a power cut.
#[derive(Debug)]
pub struct CrashState {
    /// The disk as it comes up again: all that is left is durable.
    pub disk: SimDisk,
    /// A digest of the choices that made this state: equal digests of the same disk are equal states.
    pub choices: u64,
    /// What the state looks like to those who do not read everything.
    pub look: Look,
}

/// The choices that made a state, those of each file apart.
#[derive(Clone, Debug)]
pub struct Look {
    names: u64,
    files: BTreeMap<InodeId, u64>,
}

impl Look {
    /// Whether another state of the same disk has the same names, and the same contents of these files. What a process did that found the
    /// one and has read no others is what it does with the other.
    #[must_use]
    pub fn is_alike(&self, other: &Self, read: &FilesRead) -> bool {
        self.names == other.names && read.0.iter().all(|file| self.files.get(file) == other.files.get(file))
    }
}

/// The files that a process has read, or asked for their lengths.
#[derive(Clone, Debug, Default)]
pub struct FilesRead(BTreeSet<InodeId>);

/// Choices made by a seeded generator, and their digest.
struct Choices {
    random: SmallRng,
    digest: u64,
}

impl Choices {
    /// A number below `count`.
    fn below(&mut self, count: usize) -> usize {
        let choice = self.random.random_range(0..count);
        self.record(choice as u64);
        choice
    }

    fn record(&mut self, choice: u64) {
        // FNV-1a over words: only ever compared with digests of the same disk.
        self.digest = (self.digest ^ choice.wrapping_add(1)).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// The digest of the choices since it was taken last.
    fn take_digest(&mut self) -> u64 {
        std::mem::replace(&mut self.digest, NO_CHOICES)
    }
}

/// The digest of no choices.
const NO_CHOICES: u64 = 0xcbf2_9ce4_8422_2325;

impl SimDisk {
    /// One of the states in which a power cut at this moment may leave the disk; the same seed gives the same state.
    #[must_use]
    pub fn crash_state(&self, seed: u64) -> CrashState {
        let state = self.0.lock();
        let mut choices = Choices { random: SmallRng::seed_from_u64(seed), digest: NO_CHOICES };
        let mut tree = state.durable.clone();
        for change in &state.changes {
            if choices.below(2) == 1 {
                change.apply(&mut tree);
            }
        }
        tree.prune();
        let mut look = Look { names: choices.take_digest(), files: BTreeMap::new() };
        let mut inodes = BTreeMap::new();
        for id in tree.names.values() {
            if let Some(inode) = state.inodes.get(id).filter(|_| !inodes.contains_key(id)) {
                inodes.insert(*id, inode.after_crash(&mut choices));
                look.files.insert(*id, choices.take_digest());
            }
        }
        choices.record(look.names);
        look.files.values().for_each(|digest| choices.record(*digest));
        CrashState { disk: Self::with_durable(inodes, tree), choices: choices.digest, look }
    }

    /// The files that were read so far.
    #[must_use]
    pub fn files_read(&self) -> FilesRead {
        FilesRead(self.0.lock().read.clone())
    }
}

impl Inode {
    fn after_crash(&self, choices: &mut Choices) -> Self {
        let contents = if self.writes.is_empty() {
            self.durable.clone()
        } else {
            let mut contents = self.durable.to_vec();
            self.writes.iter().for_each(|write| write.survive(&mut contents, choices));
            set_length(&mut contents, self.length_after_crash(choices));
            Arc::new(contents)
        };
        Self { seen: contents.clone(), durable: contents, ..Self::default() }
    }

    /// The old length, the new one, that of any moment between, or one that no write ever ended at.
    fn length_after_crash(&self, choices: &mut Choices) -> usize {
        match choices.below(self.writes.len() + 3) {
            0 => self.durable.len(),
            1 => self.seen.len(),
            2 => choices.below(self.seen.len().max(self.durable.len()) + 1),
            nth => self.writes[nth - 3].offset + self.writes[nth - 3].bytes.len(),
        }
    }
}

impl Write {
    fn survive(&self, contents: &mut Vec<u8>, choices: &mut Choices) {
        match choices.below(3) {
            0 => {}
            1 => self.apply(contents),
            _ => self.survive_in_part(contents, choices),
        }
    }

    /// Each sector that the write touches, cut at multiples of 512 of the file, holds the old bytes, the new or garbage.
    fn survive_in_part(&self, contents: &mut Vec<u8>, choices: &mut Choices) {
        let end = self.offset + self.bytes.len();
        set_length(contents, contents.len().max(end));
        let mut start = self.offset;
        // One word of randomness serves 32 sectors.
        let mut fates = 0_u64;
        let mut fates_left = 0;
        while start < end {
            if fates_left == 0 {
                fates = choices.random.random();
                fates_left = 32;
                choices.record(fates);
            }
            let sector_end = end.min((start / SECTOR_BYTES + 1) * SECTOR_BYTES);
            let new = &self.bytes[start - self.offset..sector_end - self.offset];
            match fates & 3 {
                0 => {}
                1 => contents[start..sector_end].fill((fates >> 8) as u8),
                _ => contents[start..sector_end].copy_from_slice(new),
            }
            fates >>= 2;
            fates_left -= 1;
            start = sector_end;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::io::{self, IoSlice};
    use std::path::Path;

    use super::super::Call;
    use super::*;
    use crate::disk::{Disk, DiskFile};

    const STATES: u64 = 2_000;

    fn write(file: &dyn DiskFile, offset: u64, bytes: &[u8]) {
        file.write_at(offset, &[IoSlice::new(bytes)]).unwrap();
    }

    /// The contents of `file` in many crash states; None where it does not exist.
    fn states(disk: &SimDisk) -> BTreeSet<Option<Vec<u8>>> {
        (0..STATES).map(|seed| disk.crash_state(seed).disk.contents(Path::new("file"))).collect()
    }

    #[test]
    fn synced_contents_under_a_synced_name_survive_every_crash() {
        let disk = SimDisk::new();
        let file = disk.create(Path::new("file")).unwrap();
        write(&*file, 0, &[7; 2_000]);
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        assert_eq!(states(&disk), BTreeSet::from([Some(vec![7; 2_000])]));
    }

    #[test]
    fn a_name_may_be_lost_without_a_sync_of_its_folder() {
        let disk = SimDisk::new();
        let file = disk.create(Path::new("file")).unwrap();
        write(&*file, 0, b"x");
        file.sync_data().unwrap();
        assert_eq!(states(&disk), BTreeSet::from([None, Some(b"x".to_vec())]));
    }

    #[test]
    fn unsynced_contents_may_be_whole_lost_short_or_torn() {
        let disk = SimDisk::new();
        let file = disk.create(Path::new("file")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        write(&*file, 0, &[1; 1_024]);
        let states = states(&disk);
        assert!(states.contains(&Some(Vec::new())));
        assert!(states.contains(&Some(vec![1; 1_024])));
        assert!(states.contains(&Some(vec![0; 1_024])));
        assert!(states.contains(&Some([vec![1; 512], vec![0; 512]].concat())));
        assert!(states.contains(&Some([vec![0; 512], vec![1; 512]].concat())));
        assert!(states.iter().flatten().any(|contents| contents.iter().any(|&byte| byte > 1)), "garbage");
    }

    #[test]
    fn later_writes_may_survive_earlier_ones() {
        let disk = SimDisk::new();
        let file = disk.create(Path::new("file")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        write(&*file, 0, &[1; 512]);
        write(&*file, 512, &[2; 512]);
        assert!(states(&disk).contains(&Some([vec![0; 512], vec![2; 512]].concat())));
    }

    #[test]
    fn a_removed_file_may_come_back_until_its_folder_is_synced() {
        let disk = SimDisk::new();
        disk.create(Path::new("file")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        disk.remove(Path::new("file")).unwrap();
        assert_eq!(states(&disk).len(), 2);
        disk.sync_dir(Path::new("")).unwrap();
        assert_eq!(states(&disk), BTreeSet::from([None]));
    }

    #[test]
    fn a_renamed_file_is_never_lost() {
        let disk = SimDisk::new();
        disk.create_dir(Path::new("other")).unwrap();
        disk.create(Path::new("file")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        disk.rename(Path::new("file"), Path::new("other/file")).unwrap();
        for seed in 0..STATES {
            let after = disk.crash_state(seed).disk;
            let here = after.contents(Path::new("file")).is_some();
            assert!(here != after.contents(Path::new("other/file")).is_some());
        }
    }

    #[test]
    fn a_lost_folder_takes_its_files_along() {
        let disk = SimDisk::new();
        disk.create_dir(Path::new("folder")).unwrap();
        disk.create(Path::new("folder/file")).unwrap();
        disk.sync_dir(Path::new("folder")).unwrap();
        let lost = (0..STATES).filter(|&seed| disk.crash_state(seed).disk.list(Path::new("folder")).is_err());
        assert!(lost.count() > 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_state() {
        let disk = SimDisk::new();
        let file = disk.create(Path::new("file")).unwrap();
        write(&*file, 0, &[1; 4_096]);
        let (one, two) = (disk.crash_state(5), disk.crash_state(5));
        assert_eq!(one.choices, two.choices);
        assert_eq!(one.disk.contents(Path::new("file")), two.disk.contents(Path::new("file")));
    }

    #[test]
    fn states_are_alike_that_have_the_same_names_and_the_same_of_what_was_read() {
        let disk = SimDisk::new();
        let (one, other) = (disk.create(Path::new("one")).unwrap(), disk.create(Path::new("other")).unwrap());
        write(&*one, 0, b"one");
        write(&*other, 0, b"other");
        one.read_at(0, &mut [0; 4]).unwrap();
        let (none, read) = (FilesRead::default(), disk.files_read());
        let states: Vec<CrashState> = (0..100).map(|seed| disk.crash_state(seed)).collect();
        let contents = |state: &CrashState, path: &str| state.disk.contents(Path::new(path));
        let (mut alike, mut alike_where_read) = (0, 0);
        for (state, another) in states.iter().flat_map(|state| states.iter().map(move |another| (state, another))) {
            let has_same_names = ["one", "other"]
                .into_iter()
                .all(|path| contents(state, path).is_some() == contents(another, path).is_some());
            assert_eq!(state.look.is_alike(&another.look, &none), has_same_names);
            alike += u32::from(has_same_names);
            if state.look.is_alike(&another.look, &read) {
                alike_where_read += 1;
                assert!(has_same_names && contents(state, "one") == contents(another, "one"));
            }
        }
        assert!(100 < alike_where_read && alike_where_read < alike && alike < 10_000);
        other.length().unwrap();
        assert_eq!(disk.files_read().0.len(), 2);
    }

    #[test]
    fn after_the_power_is_cut_every_call_fails_and_changes_nothing() {
        let disk = SimDisk::new();
        disk.crash_after(2);
        let file = disk.create(Path::new("file")).unwrap();
        write(&*file, 0, b"seen");
        assert!(file.write_at(4, &[IoSlice::new(b" not")]).is_err());
        assert!(file.sync_data().is_err());
        assert!(disk.sync_dir(Path::new("")).is_err());
        assert!(file.read_at(0, &mut [0; 4]).is_err());
        assert_eq!(disk.contents(Path::new("file")), Some(b"seen".to_vec()));
        assert!(states(&disk).contains(&None), "the syncs did nothing");
    }

    #[test]
    fn a_failed_sync_drops_the_writes_even_if_a_later_one_succeeds() {
        let disk = SimDisk::new();
        let file = disk.create(Path::new("file")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        write(&*file, 0, b"lost");
        disk.fail_call(Call::SyncData, 1, io::ErrorKind::StorageFull);
        assert_eq!(file.sync_data().unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.sync_data().unwrap();
        assert_eq!(disk.contents(Path::new("file")), Some(b"lost".to_vec()));
        assert_eq!(states(&disk), BTreeSet::from([Some(Vec::new())]));
    }

    #[test]
    fn what_was_written_back_survives_and_nothing_is_without_power() {
        let disk = SimDisk::new();
        let file = disk.create(Path::new("file")).unwrap();
        write(&*file, 0, b"x");
        disk.write_back();
        assert_eq!(states(&disk), BTreeSet::from([Some(b"x".to_vec())]));
        disk.remove(Path::new("file")).unwrap();
        disk.crash_after(disk.mutations());
        disk.write_back();
        assert_eq!(states(&disk).len(), 2);
    }

    #[test]
    fn a_skipped_sync_makes_nothing_durable() {
        let disk = SimDisk::new();
        disk.skip_sync(Call::SyncDir);
        disk.create(Path::new("file")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        assert!(states(&disk).contains(&None));
    }

    #[test]
    fn only_the_named_call_fails() {
        let disk = SimDisk::new();
        disk.fail_call(Call::Create, 2, io::ErrorKind::PermissionDenied);
        disk.create(Path::new("a")).unwrap();
        assert_eq!(disk.create(Path::new("b")).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        disk.create(Path::new("b")).unwrap();
        assert_eq!(disk.calls(Call::Create), 3);
    }
}
