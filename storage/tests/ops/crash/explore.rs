//! Cutting the power everywhere in the workload, and recovering from what that leaves.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cairn_storage::blob::BlobStore;
use cairn_storage::clock::{Clock as _, ManualClock, Timestamp};
use cairn_storage::disk::sim::{Call, FilesRead, Look, SimDisk};
use cairn_storage::health::Health;
use cairn_storage::index::memory::{Fault, MemoryIndex, MemorySnapshot};
use cairn_storage::jobs::collect::Collector;
use cairn_storage::jobs::scan::{self, ScanOptions};

use crate::rig::{Rig, START};

use super::see::{check_files, check_usage, see, thaw};
use super::{Log, Work, work};

/// States tried at each point, distinct ones in all, and repetitions in a row after which a point counts as explored.
const SEEDS_PER_POINT: u64 = 250;
const STATES_COUNT_MIN: usize = 1_500;
const KNOWN_IN_A_ROW_MAX: usize = 25;

/// Where the power goes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Never,
    Disk(u64),
    Commit(u64, Fault),
}

/// What a cut leaves.
struct Wreck {
    disk: SimDisk,
    index: MemorySnapshot,
    log: Log,
    now: Timestamp,
}

async fn wreck(cut: Cut, skipped: Option<Call>) -> Wreck {
    let disk = SimDisk::new();
    BlobStore::create_folders(&disk).unwrap();
    if let Some(call) = skipped {
        disk.skip_sync(call);
    }
    let health = Health::default();
    let index = Arc::new(MemoryIndex::new(health.clone()));
    match cut {
        Cut::Never => {}
        Cut::Disk(point) => disk.crash_after(point),
        Cut::Commit(point, fault) => index.fail_after(point, fault),
    }
    let clock = Arc::new(ManualClock::new(START));
    let rig = Rig::over(index.clone(), Arc::new(disk.clone()), clock, health, 1);
    let mut process = Work { rig, disk: disk.clone(), log: Log::default() };
    let ended = work(&mut process).await;
    assert_eq!(ended.is_ok(), matches!(cut, Cut::Never), "{cut:?}: {ended:?}");
    Wreck { disk, index: index.snapshot(), log: process.log, now: process.rig.clock.now() }
}

impl Wreck {
    /// The next process.
    fn rig(&self, index: Arc<MemoryIndex>, disk: SimDisk, health: Health, seed: u64) -> Rig {
        Rig::over(index, Arc::new(disk), Arc::new(ManualClock::new(self.now)), health, seed)
    }
}

/// Recovers from one state of a wreck and says what is wrong, if anything.
async fn violation(disk: SimDisk, wreck: &Wreck) -> Result<(), String> {
    let health = Health::default();
    let index = Arc::new(MemoryIndex::from_snapshot(wreck.index.clone(), health.clone()));
    let rig = wreck.rig(index, disk, health, 2);
    rig.store.recover().await.map_err(|error| format!("recovery: {error}"))?;
    let seen = see(&rig).await.map_err(|error| error.to_string())?;
    let mut states = [&wreck.log.acknowledged].into_iter().chain(&wreck.log.possible);
    let state = states.find(|state| state.shown_at(wreck.now) == seen);
    let state = state.ok_or("neither the state before the operation nor the one after")?;
    check_usage(&rig, state).await?;
    // Orphans first, as a start does it; then the collector; in the end every file has a row and every row its file.
    let options = ScanOptions { pause: Duration::ZERO };
    scan::quarantine_orphans(&rig.store, Timestamp(0), options).await.map_err(|error| format!("scan: {error}"))?;
    for _ in 0..3 {
        rig.try_run_due(&Collector).await?;
    }
    check_files(&rig).await?;
    match see(&rig).await {
        Ok(again) if again == seen => {}
        Ok(_) => return Err("the scan or the collector changed what is seen".to_owned()),
        Err(error) => return Err(format!("after the scan: {error}")),
    }
    match thaw(&rig, state).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("what is archived is not what it was".to_owned()),
        Err(error) => Err(format!("restoring what is archived: {error}")),
    }
}

/// Cuts the power everywhere; returns how many distinct states were seen, or the first violation.
fn explore(skipped: Option<Call>) -> Result<usize, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let whole = wreck(Cut::Never, None).await;
        let first = {
            let disk = SimDisk::new();
            BlobStore::create_folders(&disk).unwrap();
            disk.mutations()
        };
        let commits_count = whole.index.last_revision();
        let disk_cuts = (first..whole.disk.mutations()).map(Cut::Disk);
        let commit_cuts = (0..commits_count)
            .flat_map(|point| [Cut::Commit(point, Fault::UnknownWritten), Cut::Commit(point, Fault::UnknownLost)]);
        let mut states_count = 0;
        for cut in disk_cuts.chain(commit_cuts) {
            states_count += explore_cut(cut, skipped).await?;
        }
        Ok(states_count)
    })
}

async fn explore_cut(cut: Cut, skipped: Option<Call>) -> Result<usize, String> {
    let wreck = wreck(cut, skipped).await;
    let mut states = HashSet::new();
    let mut recovered: Vec<(Look, FilesRead)> = Vec::new();
    let mut known_in_a_row = 0;
    for seed in 0..SEEDS_PER_POINT {
        let crash = wreck.disk.crash_state(seed);
        if !states.insert(crash.choices) {
            known_in_a_row += 1;
            if known_in_a_row > KNOWN_IN_A_ROW_MAX {
                break;
            }
            continue;
        }
        known_in_a_row = 0;
        if recovered.iter().any(|(look, read)| look.is_alike(&crash.look, read)) {
            continue;
        }
        let disk = crash.disk.clone();
        violation(crash.disk, &wreck).await.map_err(|what| format!("{cut:?}, seed {seed}: {what}"))?;
        recovered.push((crash.look, disk.files_read()));
    }
    Ok(states.len())
}

#[test]
fn acknowledged_operations_survive_every_power_cut_and_others_happen_whole_or_not_at_all() {
    let states_count = explore(None).unwrap();
    println!("{states_count} distinct crash states");
    assert!(states_count >= STATES_COUNT_MIN, "only {states_count} states");
}

/// Commits of a recovery after which the power goes again, at most.
const RECOVERY_COMMITS_MAX: u64 = 40;

/// Cuts the power during the recovery from every commit's cut, and recovers again.
async fn explore_recovery(cut: Cut) -> usize {
    let first = wreck(cut, None).await;
    let mut states_count = 0;
    for point in 0..RECOVERY_COMMITS_MAX {
        for fault in [Fault::UnknownWritten, Fault::UnknownLost] {
            let health = Health::default();
            let index = Arc::new(MemoryIndex::from_snapshot(first.index.clone(), health.clone()));
            index.fail_after(point, fault);
            let disk = first.disk.crash_state(0).disk;
            let rig = first.rig(index.clone(), disk.clone(), health, 3);
            if rig.store.recover().await.is_ok() {
                return states_count;
            }
            let log = Log { acknowledged: first.log.acknowledged.clone(), possible: first.log.possible.clone() };
            let second = Wreck { disk: disk.clone(), index: index.snapshot(), log, now: first.now };
            violation(disk, &second).await.unwrap_or_else(|what| panic!("{cut:?}, then {point} {fault:?}: {what}"));
            states_count += 1;
        }
    }
    panic!("the recovery from {cut:?} does not end");
}

#[tokio::test]
async fn a_recovery_that_is_cut_short_is_resumed() {
    let commits_count = wreck(Cut::Never, None).await.index.last_revision();
    let mut states_count = 0;
    for point in 0..commits_count {
        states_count += explore_recovery(Cut::Commit(point, Fault::UnknownWritten)).await;
    }
    println!("{states_count} states");
    assert!(states_count > 20, "the workload has sagas to resume");
}

#[test]
fn a_missing_sync_of_a_file_is_noticed() {
    println!("{}", explore(Some(Call::SyncData)).unwrap_err());
}

#[test]
fn a_missing_sync_of_a_folder_is_noticed() {
    println!("{}", explore(Some(Call::SyncDir)).unwrap_err());
}
