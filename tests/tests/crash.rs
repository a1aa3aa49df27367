//! Violent ends under load: the process is killed, or the power of its disk is cut. Whatever was acknowledged is there
//! afterwards, byte for byte, and what was not is there as a whole or not at all.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cairn_tests::ledger::Ledger;
use cairn_tests::mount::Mount;
use cairn_tests::version_ledger::{Mode, VersionLedger};
use cairn_tests::{Cairn, Config, Random, skip};

const KILLS: usize = 24;
const VERSION_KILLS: usize = 8;
const KILLS_SOAK: usize = 500;
const POWER_CUTS: usize = 6;
const POWER_CUTS_SOAK: usize = 200;

/// The first number, or the second with `CAIRN_SOAK=1`.
fn cycles(usual: usize, soak: usize) -> usize {
    if std::env::var("CAIRN_SOAK").is_ok_and(|value| value == "1") { soak } else { usual }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let seed = 0xDEAD;
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("killed").await;
    let mut ledger = Ledger::new(&bucket, seed);
    let mut random = Random::new(seed);
    for cycle in 1..=cycles(KILLS, KILLS_SOAK) {
        let before = ledger.acknowledgements();
        let load = ledger.start(&client);
        tokio::time::sleep(Duration::from_millis(200 + random.below(600) as u64)).await;
        cairn.kill9();
        ledger.finish(load).await;
        assert!(ledger.acknowledgements() > before, "cycle {cycle}: nothing was acknowledged");
        cairn.start_again();
        ledger.verify(&client).await;
    }
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_version_is_lost_or_out_of_order_when_the_process_is_killed() {
    let seed = 0x0DD;
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let mut random = Random::new(seed);
    let mut ledgers = Vec::new();
    for (mode, name) in [(Mode::Enabled, "killed-versions"), (Mode::Suspended, "killed-suspended")] {
        let bucket = client.fresh_bucket(name).await;
        ledgers.push(VersionLedger::new(&client, &bucket, mode, seed).await);
    }
    for cycle in 1..=cycles(VERSION_KILLS, KILLS_SOAK) {
        let before: usize = ledgers.iter().map(VersionLedger::acknowledgements).sum();
        let loads: Vec<_> = ledgers.iter_mut().map(|ledger| ledger.start(&client)).collect();
        tokio::time::sleep(Duration::from_millis(200 + random.below(600) as u64)).await;
        cairn.kill9();
        for (ledger, load) in ledgers.iter_mut().zip(loads) {
            ledger.finish(load).await;
        }
        let after: usize = ledgers.iter().map(VersionLedger::acknowledgements).sum();
        assert!(after > before, "cycle {cycle}: nothing was acknowledged");
        cairn.start_again();
        for ledger in &mut ledgers {
            ledger.verify(&client).await;
        }
    }
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_start_loses_nothing() {
    let mut cairn = Cairn::start(Config::default());
    let client = cairn.client();
    let bucket = client.fresh_bucket("killed-at-start").await;
    let mut ledger = Ledger::new(&bucket, 0x57A7);
    let load = ledger.start(&client);
    tokio::time::sleep(Duration::from_millis(800)).await;
    cairn.kill9();
    ledger.finish(load).await;
    for delay_ms in [0, 5, 20, 50, 100, 200] {
        cairn.spawn();
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        cairn.kill9();
    }
    cairn.start_again();
    ledger.verify(&client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mount = match Mount::ext4(&directory.path().join("disk"), &directory.path().join("image"), 2_048) {
        Ok(mount) => mount,
        Err(reason) => skip!("no loop-mounted ext4: {reason}"),
    };
    let data_dir = directory.path().join("disk/data");
    let mut cairn = Cairn::start(Config { data_dir: Some(data_dir), ..Config::default() });
    let client = cairn.client();
    let bucket = client.fresh_bucket("power-cut").await;
    let mut ledger = Ledger::new(&bucket, 0xC07);
    let mut random = Random::new(0xC07);
    for cycle in 1..=cycles(POWER_CUTS, POWER_CUTS_SOAK) {
        let before = ledger.acknowledgements();
        let load = ledger.start(&client);
        tokio::time::sleep(Duration::from_millis(200 + random.below(600) as u64)).await;
        let power = mount.prepare_cut().unwrap();
        load.stop_counting();
        if let Err(reason) = power.cut() {
            skip!("the file system cannot be shut down: {reason}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        cairn.kill9();
        ledger.finish(load).await;
        assert!(ledger.acknowledgements() > before, "cycle {cycle}: nothing was acknowledged");
        mount.remount().unwrap();
        cairn.start_again();
        ledger.verify(&client).await;
    }
    cairn.stop();
    let (status, report) = cairn.check();
    assert_eq!(status, Some(0), "{report}");
}
