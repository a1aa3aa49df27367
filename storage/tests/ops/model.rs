//! Random sequences of all operations, with restarts, beside a plain model of buckets.
//!
//! The model knows S3's rules and nothing of rows, files or tasks. After every step the key at hand, now and then
//! everything, is compared; in the end, once the collector has come to rest, exactly the contents that the model still
//! holds may exist. A failure names its seed; `CAIRN_MODEL_SEED` runs that seed alone.

mod check;
mod home;
mod lock;
mod state;
mod step;
mod versions;

use home::Home;
use state::World;

/// Sequences and steps on the simulated store.
const SIMULATED_SEQUENCES: u64 = 60;
const SIMULATED_STEPS: usize = 200;

/// Sequences and steps on the database and a directory, where each commit is synced.
const REAL_SEQUENCES: u64 = 3;
const REAL_STEPS: usize = 120;

/// Steps between comparisons of everything.
const STEPS_PER_FULL_CHECK: usize = 20;

/// Every second seed's objects are sealed.
fn run(mut home: Home, seed: u64, steps: usize) {
    println!("model seed {seed}");
    home.sealed = seed % 2 == 1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(home.open(1).await, seed).await;
        for number in 0..steps {
            if world.chance(40) {
                world = world.restart(&home).await;
            }
            step::take(&mut world).await;
            if number % STEPS_PER_FULL_CHECK == 0 {
                check::everything(&world).await;
            }
        }
        check::everything(&world).await;
        check::nothing_else_is_left(&mut world).await;
    });
}

/// Runs `sequences` seeds from `first`, or the one that the environment names.
fn run_all(make: impl Fn() -> Home, first: u64, sequences: u64, steps: usize) {
    match std::env::var("CAIRN_MODEL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(make(), seed, steps),
        None => (first..first + sequences).for_each(|seed| run(make(), seed, steps)),
    }
}

#[test]
fn the_store_does_what_the_model_does() {
    run_all(Home::simulated, 1, SIMULATED_SEQUENCES, SIMULATED_STEPS);
}

#[test]
fn the_store_on_the_database_and_a_real_disk_does_what_the_model_does() {
    run_all(Home::real, 1_000, REAL_SEQUENCES, REAL_STEPS);
}
