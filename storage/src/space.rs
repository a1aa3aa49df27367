//! Keeping the disk from running full: the floor and the ballast.
//!
//! RocksDB does not survive a full disk as well as a refused upload does. So the free space is measured all the time, and
//! uploads are refused below the floor (`Health`). Work in progress and the index itself can still take space below it. If
//! they take half of the floor, the ballast, a preallocated file, is given back, so that deletes and compactions go on; it
//! is taken again when there is space for it. A file system that cannot preallocate has none.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, Space};
use crate::health::Health;

const BALLAST: &str = "ballast";

/// Measures the disk's space and holds the ballast.
#[derive(Debug)]
pub struct SpaceKeeper {
    disk: Arc<dyn Disk>,
    health: Health,
    floor_bytes: u64,
    ballast_bytes: u64,
    held: Mutex<bool>,
}

impl SpaceKeeper {
    /// A keeper that holds no ballast yet: that of the last run, whose size may be another, is given back. Blocks.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(disk: Arc<dyn Disk>, health: Health, floor_bytes: u64, ballast_bytes: u64) -> io::Result<Self> {
        remove_if_there(disk.as_ref())?;
        Ok(Self { disk, health, floor_bytes, ballast_bytes, held: Mutex::new(false) })
    }

    /// Measures the space, gives the ballast back or takes it, and tells `Health`. Blocks, shortly. To be called several
    /// times a second: what is written between two calls must be less than the floor.
    ///
    /// # Errors
    /// The disk's; `Health` then knows what was measured last.
    pub fn measure(&self) -> io::Result<Space> {
        let mut held = self.held.lock();
        let mut space = self.disk.space()?;
        if *held && space.available_bytes < self.floor_bytes / 2 {
            remove_if_there(self.disk.as_ref())?;
            *held = false;
            space = self.disk.space()?;
            tracing::warn!(space.available_bytes, "the disk is nearly full: the ballast was given back");
        } else if !*held && space.available_bytes >= self.floor_bytes.saturating_add(self.ballast_bytes) {
            *held = self.take_ballast()?;
            space = self.disk.space()?;
        }
        self.health.record_space(space.available_bytes, self.floor_bytes);
        Ok(space)
    }

    fn take_ballast(&self) -> io::Result<bool> {
        if self.ballast_bytes == 0 {
            return Ok(false);
        }
        let allocated = self.disk.create(Path::new(BALLAST))?.allocate(self.ballast_bytes);
        match allocated {
            Ok(()) => Ok(true),
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                remove_if_there(self.disk.as_ref()).map(|()| false)
            }
            Err(error) => remove_if_there(self.disk.as_ref()).and(Err(error)),
        }
    }
}

fn remove_if_there(disk: &dyn Disk) -> io::Result<()> {
    match disk.remove(Path::new(BALLAST)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::sim::SimDisk;

    const FLOOR: u64 = 1_000;
    const BALLAST_BYTES: u64 = 300;

    fn with_space(disk: &SimDisk, available_bytes: u64) {
        disk.set_space(Space { total_bytes: 10_000, available_bytes });
    }

    fn keeper(disk: &SimDisk, health: &Health) -> SpaceKeeper {
        SpaceKeeper::new(Arc::new(disk.clone()), health.clone(), FLOOR, BALLAST_BYTES).unwrap()
    }

    fn ballast(disk: &SimDisk) -> bool {
        disk.open(Path::new(BALLAST)).is_ok()
    }

    #[test]
    fn what_is_measured_decides_over_uploads() {
        let (disk, health) = (SimDisk::new(), Health::default());
        let keeper = keeper(&disk, &health);
        with_space(&disk, FLOOR - 1);
        keeper.measure().unwrap();
        assert!(health.check_space_for(0).is_err());
        with_space(&disk, FLOOR);
        keeper.measure().unwrap();
        assert!(health.check_space_for(0).is_ok());
    }

    #[test]
    fn the_ballast_is_taken_when_the_floor_holds_without_it() {
        let (disk, health) = (SimDisk::new(), Health::default());
        let keeper = keeper(&disk, &health);
        with_space(&disk, FLOOR + BALLAST_BYTES - 1);
        keeper.measure().unwrap();
        assert!(!ballast(&disk));
        with_space(&disk, FLOOR + BALLAST_BYTES);
        keeper.measure().unwrap();
        assert!(ballast(&disk));
    }

    #[test]
    fn the_ballast_is_given_back_below_half_of_the_floor_and_taken_again_later() {
        let (disk, health) = (SimDisk::new(), Health::default());
        let keeper = keeper(&disk, &health);
        for (available_bytes, held) in
            [(9_000, true), (FLOOR / 2, true), (FLOOR / 2 - 1, false), (FLOOR, false), (9_000, true)]
        {
            with_space(&disk, available_bytes);
            keeper.measure().unwrap();
            assert_eq!(ballast(&disk), held, "at {available_bytes}");
        }
    }

    #[test]
    fn the_ballast_of_the_last_run_is_given_back() {
        let (disk, health) = (SimDisk::new(), Health::default());
        with_space(&disk, 9_000);
        keeper(&disk, &health).measure().unwrap();
        let next = keeper(&disk, &health);
        assert!(!ballast(&disk));
        next.measure().unwrap();
        assert!(ballast(&disk));
    }
}
